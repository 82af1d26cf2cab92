"""Data through guide and model: the mean of p(x | z) at the guide's mean of z.

Where the guide has no mean (a flow, a category), z is one draw of it, and the result says so. The
fit of each datum is log p(x | z) at this z, in nats; it is no ELBO, which has a rate besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_seed
from pyro_vae.latent.centres import Centre, centres, decoded
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.pair import Latents, Pair, opened
from pyro_vae.results import Result, counted, with_error


@dataclass(frozen=True, repr=False)
class Reconstructions(Result):
    """Data beside what a model makes of their latents.

    Attributes:
        x: the data `(N, *shape)`; errors are of those values that are there.
        means: of p(x | z), `(N, *shape)`.
        latents: z by site name, `(1, ..., N, *event)` each.
        at: "mean" where z is the guide's mean, "draw" where it is one draw of the guide.
        log_likelihood: log p(x | z) `(N,)`, nats.
    """

    x: Tensor
    means: Tensor
    latents: Latents
    at: Centre
    log_likelihood: Tensor

    def headline(self) -> str:
        where = "the guide's mean of z" if self.at == "mean" else "a draw of the guide"
        return f"{counted(len(self.x), 'data')} and the means of p(x | z) at {where}"

    def figures(self) -> Iterator[tuple[str, str]]:
        told = self.summary()
        mean, error = told["log_likelihood"], told["std_error"]
        yield "log p(x | z)", with_error(mean, error, "nats per datum")
        yield "mean squared error", f"{told['squared_error']:.3g} of a value"

    def summary(self) -> dict[str, Any]:
        """Mean log p(x | z) with its standard error over the data, and the error of a value."""
        fit = self.log_likelihood.double()
        error = fit.std().item() / len(fit) ** 0.5 if len(fit) > 1 else float("nan")
        square = (self.x.double() - self.means.double()).square().nanmean().item()
        told = {"num_data": len(fit), "at": self.at, "log_likelihood": fit.mean().item()}
        return told | {"std_error": error, "squared_error": square}

    def columns(self) -> dict[str, Any]:
        """A row for each datum."""
        square = (
            (self.x.double() - self.means.double()).square().reshape(len(self.x), -1).nanmean(1)
        )
        number = torch.arange(len(self.x))
        return {"datum": number, "log_likelihood": self.log_likelihood, "squared_error": square}


def reconstruct(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None, *, seed: int = 0
) -> Reconstructions:
    """Pass data through the guide and the model.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(N, *shape)`.
        index: rows of the dataset `(N,)`; 0..N-1 unless given.
        seed: of the draws of a guide without means.

    Raises:
        ValueError: data that the model cannot score, programs that do not match, observations
            without a mean.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> reconstruct(model, ExactGuide(model), torch.zeros(3, 5)).means.shape
        torch.Size([3, 5])
    """
    check_seed("seed", seed)
    called(guide, "guide")
    with opened(model, guide, x, index, seed=seed) as pair:
        latents, at = centres(pair)
        means, fit = _through(pair, latents)
        found = {name: value.cpu() for name, value in latents.items()}
        return Reconstructions(pair.x.cpu(), means, found, at, fit)


def _through(pair: Pair, latents: Latents) -> tuple[Tensor, Tensor]:
    """Means `(N, *shape)`, and log p(x | z) `(N,)`, at latents `(1, ..., N, *event)`."""
    means, fits = [], []
    for rows in pair.blocks(1024):
        part = pair.take(rows)
        own = {name: z.index_select(pair.depth, rows) for name, z in latents.items()}
        means.append(decoded(part, own)[0])
        fits.append(part.score(own)[1][0].cpu())
    return torch.cat(means), torch.cat(fits)
