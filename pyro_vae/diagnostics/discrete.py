"""What a datum says about the discrete latents that are summed out of its log p(x).

    p(k | x) = E_{z ~ p(z | x)} p(k | x, z),

the expectation by importance weights of the guide's draws, and p(k | x, z) exactly. Both are one
gradient: add t_k to each log p(k), and the derivative of log mean_s w_s in t_k, at 0, is the
probability of the state k, for a state of a chain or of a row of an inner plate as for one alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.enumeration import Summed
from pyro_vae.programs.evaluation import seed_noise
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.pair import Pair, opened
from pyro_vae.programs.sums import Tilt
from pyro_vae.programs.traces import log_joint
from pyro_vae.results import Result, counted

_ROWS = 65_536  # particles times states in one run


@dataclass(frozen=True, repr=False)
class DiscretePosterior(Result):
    """p(k | x) of each discrete latent that is summed out.

    Attributes:
        probabilities: by site, `(N, *rows, K)`: the states of each datum, in each row of the inner
            plates that the site is in.
        ess: effective number of the draws that they are averaged over, `(N,)`.
        num_particles: draws of each datum.
        seed: of the guide's noise.
    """

    probabilities: dict[str, Tensor]
    ess: Tensor
    num_particles: int
    seed: int

    @property
    def most_likely(self) -> dict[str, Tensor]:
        """The number of the most probable state, by site, `(N, *rows)`."""
        return {name: values.argmax(-1) for name, values in self.probabilities.items()}

    def headline(self) -> str:
        sites = counted(len(self.probabilities), "discrete latents")
        return f"p(k | x) of {sites}, {len(self.ess)} data"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, values in self.probabilities.items():
            sure = values.amax(-1).mean()
            yield name, f"{values.shape[-1]} states, the most likely one has {sure:.2f} on average"
        told = f"by {counted(self.num_particles, 'draws')} of each datum"
        yield "weights", f"{told}, median ESS {self.ess.median():,.0f}, seed {self.seed}"

    def summary(self) -> dict[str, Any]:
        """The mean of the largest probability of each site, and the effective draws."""
        sure = {name: values.amax(-1).mean().item() for name, values in self.probabilities.items()}
        return {"largest": sure, "median_ess": self.ess.median().item(), "seed": self.seed}

    def columns(self) -> dict[str, Tensor]:
        """A row for each datum, a column for each state of each site (and row)."""
        found = {"ess": self.ess}
        for name, values in self.probabilities.items():
            flat = values.reshape(len(values), -1)
            for number, column in enumerate(flat.unbind(1)):
                row, state = divmod(number, values.shape[-1])
                place = f"[{row}]" if values.dim() > 2 else ""
                found[f"{name}{place}={state}"] = column
        return found


def discrete_posterior(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_particles: int = 100,
    seed: int = 0,
) -> DiscretePosterior:
    """The probabilities of each state of the discrete latents that are summed out, given x.

    Args:
        model: Pyro program with latents marked `infer={"enumerate": "parallel"}`.
        guide: Pyro program of the other latents; one that does nothing where there are none.
        x: data `(N, *shape)`.
        index: their numbers `(N,)`, as in `log_evidence`.
        num_particles: draws of the guide for each datum.
        seed: of these; the caller's random state is untouched.

    Raises:
        ValueError: no choice that is summed out, or what `log_evidence` raises.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         even = dist.Bernoulli(torch.tensor(0.5))
        ...         k = pyro.sample("k", even, infer={"enumerate": "parallel"})
        ...         pyro.sample("obs", dist.Normal(2 * k, 1.0), obs=x)
        >>> found = discrete_posterior(model, lambda x: None, torch.tensor([0.0, 1.0, 9.0]))
        >>> found.probabilities["k"][:, 1]
        tensor([0.1192, 0.5000, 1.0000])
    """
    called(guide, "guide")
    check_numbers({"num_particles": (num_particles, 1), "seed": (seed, 0)})
    parts: list[dict[str, Tensor]] = []
    effective: list[Tensor] = []
    with opened(model, guide, x, index) as pair:
        size = max(1, _ROWS // (num_particles * pair.states))
        for number, rows in enumerate(pair.blocks(size)):
            seed_noise(seed, number)
            found, ess = _of_block(pair.take(rows), num_particles)
            parts.append(found)
            effective.append(ess)

    together = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return DiscretePosterior(together, torch.cat(effective), num_particles, seed)


def _of_block(pair: Pair, num_particles: int) -> tuple[dict[str, Tensor], Tensor]:
    """Probabilities by site `(B, *rows, K)`, and effective draws `(B,)`, on the CPU."""
    latents, log_guide = pair.sample(num_particles)
    tilts: dict[str, Tilt] = {}
    tilted = Summed(pair.model, tuple(latents), pair.depth, tilts)
    with torch.enable_grad():
        scored = log_joint(tilted, latents, pair.x, pair.index, pair.depth, num_particles)
        log_w = scored[0] + scored[1] - log_guide
        total = torch.logsumexp(log_w, 0).sum()
        if not tilts:
            raise ValueError(
                "model: got no discrete latent that is summed out, expected one marked"
                ' infer={"enumerate": "parallel"}, and not drawn by the guide'
            )
        slopes = torch.autograd.grad(total, [tilt.zeros for tilt in tilts.values()])

    pairs = zip(tilts.items(), slopes, strict=True)
    found = {name: tilt.marginal(slope).cpu() for (name, tilt), slope in pairs}
    shares = torch.softmax(log_w.detach().double(), 0)
    return found, (1 / shares.square().sum(0)).cpu()
