"""Does the model know *these* data? Posterior-predictive checks of chosen data, and where they lie
among data that the model simulates.

    fit       P(T(x~, z) >= T(x, z)),   z ~ q(z | x),  x~ ~ p(x | z),   T = -log p(x | z)
    place     the share of simulated data whose ELBO is not above that of x

The first asks whether a datum fits its own latents as well as the data do that those latents make:
near 0 it fits worse than all of them. T may be any discrepancy of data. It is not uniform for data
of the model, since x is used twice, but closer to 1/2. The second asks whether the datum is one
that the model simulates, and is uniform over data of the model, whatever the guide: one below all
of them is too strange, one above all of them too plain. What is known of the guide from simulated
data (calibration, coverage, the sandwich) says nothing of real data that lie outside.

References:
    Gelman, Meng, Stern (1996). Posterior predictive assessment of model fitness via realized
        discrepancies. Statistica Sinica 6(4).
    Rubin (1984). Bayesianly justifiable and relevant frequency calculations for the applied
        statistician. Annals of Statistics 12(4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_callable, check_level, check_progress, check_rows, refuse
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.inputs import check_any_x, check_inputs, check_numbers
from pyro_vae.programs.pair import Latents, Pair, opened
from pyro_vae.programs.simulation import predict, simulated
from pyro_vae.progress import Progress, over, shares
from pyro_vae.results import Result, counted, share

Discrepancy = Callable[[Tensor], Tensor]
"""From data `(..., *shape)` to one number each, `(...)`, larger for what is stranger."""

_ROWS = 10_000  # data scored in one run
_MANY = 3.0  # binomial errors by which too many lie outside


@dataclass(frozen=True, repr=False)
class Predictions(Result):
    """Where each datum lies among data of its own latents, and among simulated data.

    Attributes:
        fit: share of the data drawn at the datum's own latents that are at least as strange as it
            is, (1 + number) / (1 + S), `(N,)`.
        place: share of the simulated data whose ELBO is not above the datum's, (1 + number) /
            (1 + M) at least, `(N,)`.
        elbo: of each datum, `(N,)` nats.
        simulated: ELBOs of the simulated data `(M,)`.
        num_draws: S.
        seed: of all draws.
        alpha: share of the data of a right model that count as outside.
    """

    fit: Tensor
    place: Tensor
    elbo: Tensor
    simulated: Tensor
    num_draws: int
    seed: int
    alpha: float

    @property
    def outside(self) -> Tensor:
        """Whether each datum's ELBO is among the most extreme of simulated data, at both ends
        alpha / 2, `(N,)`.
        """
        return self.place.minimum(1 - self.place + 1 / (1 + len(self.simulated))) <= self.alpha / 2

    @property
    def misfits(self) -> Tensor:
        """Whether each datum fits its own latents worse than all but a share alpha of what these
        make, `(N,)`.
        """
        return self.fit <= self.alpha

    @property
    def too_many(self) -> bool:
        """Whether more data are outside than of a right model, by three binomial errors."""
        expected, size = self.alpha, len(self.place)
        error = (expected * (1 - expected) / size) ** 0.5
        return self.outside.double().mean().item() > expected + _MANY * error

    @property
    def verdict(self) -> str:
        """Whether the data are such as the model simulates, in a sentence."""
        part = self.outside.double().mean().item()
        low = (self.place[self.outside] < 0.5).double().mean().item()
        usual = f"{100 * self.alpha:g}%"
        if not self.too_many:
            return f"the data are such as the model simulates: {share(part)} outside, of {usual}"
        side = "stranger" if low >= 0.5 else "plainer"
        return (
            f"{share(part)} of the data lie OUTSIDE what the model simulates (of its own data"
            f" {usual}), most of them {side}: what holds for simulated data need not hold for them"
        )

    def headline(self) -> str:
        made = counted(len(self.simulated), "simulated data")
        return f"{counted(len(self.fit), 'data')} beside {made}, {self.num_draws} draws of each"

    def figures(self) -> Iterator[tuple[str, str]]:
        yield "ELBO", f"{self.elbo.mean():.2f} nats, of simulated data {self.simulated.mean():.2f}"
        part = share(self.outside.double().mean().item())
        yield "outside", f"{part} of the data, by their ELBO among simulated data"
        part = share(self.misfits.double().mean().item())
        yield "misfits", f"{part} of the data, by data of their own latents (p <= {self.alpha:g})"
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """Shares, means and the verdict, by name."""
        return {
            "share_outside": self.outside.double().mean().item(),
            "share_misfits": self.misfits.double().mean().item(),
            "elbo": self.elbo.mean().item(),
            "simulated_elbo": self.simulated.mean().item(),
            "num_data": len(self.fit),
            "num_simulated": len(self.simulated),
            "num_draws": self.num_draws,
            "verdict": self.verdict,
            "seed": self.seed,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each datum."""
        found = {"fit": self.fit, "place": self.place, "elbo": self.elbo}
        return found | {"outside": self.outside, "misfit": self.misfits}


def check_predictions(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    discrepancy: Discrepancy | None = None,
    num_draws: int = 100,
    num_simulated: int = 1000,
    seed: int = 0,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Predictions:
    """Hold chosen data to what the model predicts of them, and to what it simulates.

    Args:
        model, guide: Pyro programs; one observed site, and a guide that answers for any x.
        x: data `(N, *shape)`.
        index: their numbers `(N,)`; simulated data take turns with them.
        discrepancy: T, a function from data `(..., *shape)` to `(...)`; minus log p(x | z) unless
            given.
        num_draws: S, latents of each datum, and a draw of data at each; of an ELBO too.
        num_simulated: M.
        seed: of all of it; the caller's random state is untouched.
        alpha: share of the data of a right model that count as outside.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: numbers out of range, several observed sites, a guide with parameters per datum,
            a discrepancy that does not give a number for each datum.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian, sample
        >>> model = LinearGaussian(5, 2)
        >>> x = sample(model, torch.zeros(1, 5), num_samples=200, kind="draw", seed=1).x
        >>> check_predictions(model, ExactGuide(model), x).too_many
        False
    """
    check_numbers({"num_draws": (num_draws, 2), "num_simulated": (num_simulated, 20)})
    check_numbers({"seed": (seed, 0)})
    check_level("alpha", alpha)
    check_progress(progress)
    check_rows("x", x)
    check_any_x(called(guide, "guide"), x)
    check_inputs(model, guide, x, index)
    if discrepancy is not None:
        check_callable("discrepancy", discrepancy, "a function of data, or None")

    _, made, numbers = simulated(model, x, index, num_simulated, seed)
    fitting, placing = shares(progress, 2, 1)
    fit, elbo = _fitted(model, guide, x, index, discrepancy, num_draws, seed, fitting)
    with opened(model, guide, made, numbers, seed=seed + 1) as pair:
        blocks = pair.blocks(max(1, _ROWS // num_draws))
        parts = [
            pair.take(rows).log_weights(num_draws).mean(0)
            for rows in over(blocks, len(blocks), placing)
        ]
        theirs = torch.cat(parts).double().cpu()

    below = (theirs <= elbo[:, None]).sum(1)
    place = (1 + below) / (1 + num_simulated)
    return Predictions(fit, place, elbo, theirs, num_draws, seed, alpha)


def _fitted(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None,
    discrepancy: Discrepancy | None,
    num_draws: int,
    seed: int,
    progress: Progress | None,
) -> tuple[Tensor, Tensor]:
    """The share of strange draws, and the ELBO, of each datum, `(N,)` each."""
    found, elbos = [], []
    with opened(model, guide, x, index, seed=seed) as pair:
        blocks = pair.blocks(max(1, _ROWS // num_draws))
        for rows in over(blocks, len(blocks), progress):
            part = pair.take(rows)
            latents, log_guide = part.sample(num_draws)
            log_prior, log_likelihood = part.score(latents)
            drawn = predict(part, latents)
            if drawn is None:
                raise ValueError("model: got several observed sites, expected one")

            if discrepancy is None:
                own, theirs = -log_likelihood, -_scores(part, latents, drawn)
            else:
                own, theirs = _asked(discrepancy, part.x[None]), _asked(discrepancy, drawn)
            found.append((1 + (theirs >= own).sum(0)).double().cpu() / (1 + num_draws))
            elbos.append((log_prior + log_likelihood - log_guide).mean(0).double().cpu())
    return torch.cat(found), torch.cat(elbos)


def _scores(pair: Pair, latents: Latents, drawn: Tensor) -> Tensor:
    """log p(x~ | z) `(S, B)` of data `(S, B, *shape)` at the latents that they were drawn at."""
    num, size = drawn.shape[:2]
    flat = {}
    for name, value in latents.items():
        moved = value.movedim(0, pair.depth - 1).flatten(pair.depth - 1, pair.depth)
        flat[name] = moved[None]
    index = pair.index.repeat(num)
    both = Pair(pair.model, pair.given, drawn.flatten(0, 1), index)
    return both.score(flat)[1].reshape(num, size)


def _asked(discrepancy: Discrepancy, x: Tensor) -> Tensor:
    """The discrepancy of data `(S, B, *shape)`, `(S, B)`."""
    found = discrepancy(x)
    if not isinstance(found, Tensor) or found.shape != x.shape[:2]:
        refuse("discrepancy", found, f"one number for each datum, {tuple(x.shape[:2])}")
    return found
