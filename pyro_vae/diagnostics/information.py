"""What the latent says of the data: the mean rate is information and the prior's misfit.

    E_x[KL(q(z|x) || p(z))]  =  I_q(x; z)  +  KL(q(z) || p(z)),      q(z) = E_x[q(z|x)]

A draw z of datum n is scored under the guide of all data m of a batch of K, and

    lower       log q(z|x_n) - log 1/K sum_m q(z|x_m)                  at most log K
    upper       log q(z|x_n) - log 1/(K-1) sum_(m != n) q(z|x_m)
    stratified  log q(z|x_n) - log [q(z|x_n)/N + (N-1)/N of the mean over m != n]   at most log N

have means on either side of I_q, each in expectation: `lower` below it and `upper` above it, for
the distribution that the data come from and for these N data alone. `stratified` is above the
information of these N data. With all of them in one batch (K = N) `lower` and `stratified` are one,
and of these N data it is I_q itself, without bias: z tells which of them it belongs to, and log N
is the most there is to tell. `lower` at log K says that the batch is too small, not how much I_q
is. The mean rate is an upper bound too, from the prior in place of q(z).

References:
    Hoffman, Johnson (2016). ELBO surgery. Workshop on advances in approximate Bayesian inference.
    Chen, Li, Grosse, Duvenaud (2018). Isolating sources of disentanglement in variational
        autoencoders. arXiv:1802.04942, appendix C (stratified sampling).
    Poole, Ozair, van den Oord, Alemi, Tucker (2019). On variational bounds of mutual information.
        arXiv:1905.06922, eq. 12 and 13.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import (
    check_integer,
    check_progress,
    check_rows,
    check_seed,
    refuse,
)
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.pair import Latents, Pair, opened
from pyro_vae.progress import Progress, over, shares
from pyro_vae.results import Result, counted, share, with_error

_COLUMNS = 64  # data whose guides are asked at once
_PAIRS = 131_072  # draws by data that are scored at once
_SCORED = 4096  # draws that the model scores at once
_MANY = 30  # batches from which on their means have the error
_REACHED = 0.1  # nats below log K

BOUNDS = ("rate", "lower", "upper", "stratified")


@dataclass(frozen=True, repr=False)
class Information(Result):
    """Rates and bounds of I_q(x; z), float64 nats of each draw of each datum, `(S, N)` on the CPU.

    Attributes:
        rate: log q(z | x) - log p(z), whose mean is the KL term of the ELBO.
        lower: a lower bound of I_q, at most log K; of these data it is I_q where K = N.
        upper: an upper bound, from the batch without the datum itself.
        stratified: an upper bound of the information about these N data, at most log N.
        batch: the batch of each datum `(N,)`.
        seed: of the draws and of the batches.
    """

    rate: Tensor
    lower: Tensor
    upper: Tensor
    stratified: Tensor
    batch: Tensor
    seed: int

    @property
    def batch_size(self) -> int:
        """K, data of the smallest batch."""
        return int(self.batch.bincount().min())

    @property
    def is_whole(self) -> bool:
        """Whether all data are one batch."""
        return self.batch_size == len(self.batch)

    @property
    def marginal(self) -> Tensor:
        """log q(z) - log p(z) of each draw `(S, N)`, rate - lower, whose mean is KL(q(z) || p(z)):
        of these data without bias where K = N, and an upper bound of it otherwise.
        """
        return self.rate - self.lower

    @property
    def at_most(self) -> float:
        """The smaller of the two means that I_q does not exceed, `upper` and `rate`."""
        return min(self.upper.mean().item(), self.rate.mean().item())

    @property
    def has_reached(self) -> bool:
        """Whether `lower` is within 0.1 nats of log K: the batch is too small to show more."""
        return self.lower.mean().item() > math.log(self.batch_size) - _REACHED

    def error(self, values: Tensor) -> float:
        """Standard error, over the data, of the mean of values `(S, N)` such as `lower`: from the
        means of the batches where there are thirty, since data of one batch share their reference.
        """
        each, sizes = values.mean(0), self.batch.bincount()
        if len(sizes) >= _MANY:
            each = torch.zeros(len(sizes), dtype=each.dtype).index_add(0, self.batch, each) / sizes
        return standard_error(each)

    @property
    def verdict(self) -> str:
        """What the rate consists of, in a sentence."""
        told = f"log {self.batch_size:,} = {math.log(self.batch_size):.2f}"
        if self.has_reached:
            return (
                f"the lower bound has reached {told}, the most that it can say: a draw tells its"
                " datum from all others of its batch; more data would show more"
            )
        part = self.lower.mean() / self.rate.mean()
        if self.is_whole:
            return (
                f"{share(part.item())} of the rate is information about these data (at most"
                f" {told}), the rest is how far q(z) is from the prior"
            )
        return (
            f"at least {share(part.item())} of the rate is information; a batch says up to {told}"
        )

    def headline(self) -> str:
        draws, size = self.lower.shape
        batches = "all in one batch" if self.is_whole else f"batches of {self.batch_size:,}"
        data = f"{counted(size, 'data')}, {counted(draws, 'draws')} each, {batches}"
        return f"information of the latent, {data}, nats per datum"

    def figures(self) -> Iterator[tuple[str, str]]:
        yield "rate", self._mean_of(self.rate)
        yield "I_q(x; z)", f"at least {self._mean_of(self.lower)}, at most {self.at_most:.2f}"
        yield "without itself", f"{self._mean_of(self.upper)}, the upper bound from the other data"
        bias = "" if self.is_whole else ", at most"
        yield f"KL(q(z) || p(z)){bias}", self._mean_of(self.marginal)
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """Means and their errors over the data, by name, with log K and log N."""
        found: dict[str, Any] = {}
        for name in (*BOUNDS, "marginal"):
            values = getattr(self, name)
            found |= {name: values.mean().item(), f"{name}_error": self.error(values)}
        draws, size = self.lower.shape
        found |= {"log_batch_size": math.log(self.batch_size), "log_num_data": math.log(size)}
        found |= {"batch_size": self.batch_size, "num_data": size, "num_draws": draws}
        return found | {"seed": self.seed}

    def columns(self) -> dict[str, Tensor]:
        """A row for each datum: means over its draws."""
        return {name: getattr(self, name).mean(0) for name in BOUNDS} | {"batch": self.batch}

    def _mean_of(self, values: Tensor) -> str:
        return with_error(values.mean().item(), self.error(values))


def information(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    batch_size: int | None = None,
    num_draws: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Information:
    """Split the rate into I_q(x; z) and KL(q(z) || p(z)), with bounds of I_q from both sides.

    Args:
        model: Pyro program.
        guide: Pyro program whose density at any latent is known, with data in a plate.
        x: data `(N, *shape)`, at least two.
        index: their numbers `(N,)`.
        batch_size: K, at least two data whose guides stand for q(z) together, drawn without
            replacement; what is left over joins other batches. None: all N, which scores N x N
            pairs for each draw.
        num_draws: S, latents of each datum.
        seed: of the draws and the batches; the caller's random state is untouched.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: fewer than two data, a guide without a fixed density, or one that answers only
            for all data and a `batch_size` of fewer.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> found = information(model, ExactGuide(model), model.sample(100))
        >>> found.lower.max().item() <= math.log(100)
        True
    """
    check_rows("x", x, least=2)
    check_integer("num_draws", num_draws, 1)
    check_seed("seed", seed)
    check_progress(progress)
    if batch_size is not None:
        check_integer("batch_size", batch_size, 2, len(x))
    called(guide, "guide")

    with opened(model, guide, x, index, seed=seed) as pair:
        pair.check_density()
        size = len(pair) if batch_size is None else batch_size
        if size < len(pair) and pair.is_whole:
            refuse("batch_size", size, "None: the guide answers only for all data")

        groups = _groups(pair, size)
        found = torch.empty(len(BOUNDS), num_draws, len(pair), dtype=torch.double)
        batch = torch.empty(len(pair), dtype=torch.long)
        told = shares(progress, *[len(rows) ** 2 for rows in groups])
        for number, (rows, part) in enumerate(zip(groups, told, strict=True)):
            found[..., rows.cpu()] = _bounds(pair.take(rows), num_draws, len(pair), part).cpu()
            batch[rows.cpu()] = number
    rate, lower, upper, stratified = found
    return Information(rate, lower, upper, stratified, batch, seed)


def _groups(pair: Pair, size: int) -> tuple[Tensor, ...]:
    """The places of the data in batches of at least `size`, at random where there are several."""
    count = len(pair) // size
    rows = torch.arange(len(pair)) if count == 1 else torch.randperm(len(pair))
    return rows.to(pair.x.device).tensor_split(count)


def _bounds(pair: Pair, num_draws: int, total: int, progress: Progress | None) -> Tensor:
    """rate, lower, upper and stratified `(4, S, K)` of a batch of K out of `total` data."""
    size = len(pair)
    latents, log_own = pair.sample(num_draws)
    parts = torch.arange(num_draws, device=pair.x.device).split(max(1, _SCORED // size))
    log_prior = torch.cat([pair.score(_chosen(latents, draws))[0] for draws in parts])
    own, others = log_own.double(), _others(pair, latents, num_draws, progress)

    log_batch = torch.logaddexp(own, others) - math.log(size)
    log_rest = others - math.log(size - 1)
    log_all = torch.logaddexp(own - math.log(total), log_rest + math.log((total - 1) / total))
    return own - torch.stack([log_prior.double(), log_batch, log_rest, log_all])


def _chosen(latents: Latents, draws: Tensor) -> Latents:
    """Some of the draws of all data."""
    return {name: values[draws] for name, values in latents.items()}


def _others(pair: Pair, latents: Latents, num_draws: int, progress: Progress | None) -> Tensor:
    """log sum_(m != n) q(z | x_m) at the draws of each datum n, `(S, K)` float64."""
    size, device = len(pair), pair.x.device
    owner = torch.arange(size, device=device).repeat(num_draws)
    found = torch.full((len(owner),), -math.inf, dtype=torch.double, device=device)

    blocks = pair.blocks(_COLUMNS)
    for columns in over(blocks, len(blocks), progress):
        part = pair.take(columns)
        for draws in torch.arange(len(owner), device=device).split(max(1, _PAIRS // len(columns))):
            log_q = part.log_guide(_spread(latents, draws, len(columns), pair.depth)).double()
            log_q = log_q.masked_fill(owner[draws, None] == columns, -math.inf)
            found[draws] = torch.logaddexp(found[draws], torch.logsumexp(log_q, 1))
    return found.reshape(num_draws, size)


def _spread(latents: Latents, draws: Tensor, num_data: int, depth: int) -> Latents:
    """Some of the draws `(S, ..., K, *event)`, counted through, as particles that all of so many
    data share, `(P, ..., B, *event)`.
    """
    found = {}
    for name, values in latents.items():
        chosen = values.movedim(depth, 1).flatten(0, 1)[draws].unsqueeze(depth)
        shape = list(chosen.shape)
        shape[depth] = num_data
        found[name] = chosen.expand(shape)
    return found
