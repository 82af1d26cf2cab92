"""Data of the model: latents from its prior, and what the likelihood makes of them.

    z ~ p(z),    then E[x | z]    (kind "mean")    or x ~ p(x | z)    (kind "draw")

A mean is what most papers print. It is no draw of the model, which has the noise of its likelihood
too: under a Bernoulli likelihood a mean is grey, a draw is black and white.

A temperature t scales the noise of the prior about its mean, z -> E[z] + t (z - E[z]), layer by
layer where there are several: less than 1 gives the more usual data and less variety.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_number
from pyro_vae.latent.centres import told_of, value_columns
from pyro_vae.programs.calls import Program, in_one_line
from pyro_vae.programs.evaluation import device_of, evaluation
from pyro_vae.programs.inputs import check_like, check_numbers, simulated_rows
from pyro_vae.programs.moving import Tempered
from pyro_vae.programs.simulation import simulate
from pyro_vae.programs.traces import constrained
from pyro_vae.results import Result, counted

Kind = Literal["mean", "draw"]


@dataclass(frozen=True, repr=False)
class Samples(Result):
    """Data that a model has made.

    Attributes:
        latents: by site name, `(..., N, *event)` each.
        x: `(N, *shape)`, means of p(x | z) or draws of it.
        kind: which of the two.
        temperature: factor of the prior's noise; 1 is the prior.
        seed: of the draws.
    """

    latents: dict[str, Tensor]
    x: Tensor
    kind: Kind
    temperature: float
    seed: int

    def headline(self) -> str:
        what = "means of p(x | z) at z" if self.kind == "mean" else "draws of p(x | z) at z"
        whence = "from the prior" if self.temperature == 1 else "from a tempered prior"
        return f"{len(self.x):,} {what} {whence}"

    def figures(self) -> Iterator[tuple[str, str]]:
        yield "latents", ", ".join(f"{n} {tuple(z.shape)}" for n, z in self.latents.items())
        yield "temperature", f"{self.temperature:g}"
        yield "values", told_of(self.x)

    def summary(self) -> dict[str, Any]:
        """How many of what kind, their mean and spread."""
        told = {"num_samples": len(self.x), "kind": self.kind, "temperature": self.temperature}
        spread = self.x.std().item() if self.x.numel() > 1 else 0.0
        return told | {"seed": self.seed, "mean": self.x.mean().item(), "sd": spread}

    def columns(self) -> dict[str, Any]:
        """A row for each datum, a column for each of its values."""
        return {"sample": torch.arange(len(self.x))} | value_columns(self.x)


def sample(
    model: Program,
    like: Tensor,
    index: Tensor | None = None,
    *,
    num_samples: int = 64,
    kind: Kind = "mean",
    temperature: float = 1.0,
    seed: int = 0,
) -> Samples:
    """Draw latents from the model's prior and give the data there.

    Args:
        model: Pyro program with one observed site; latents that all data share are drawn once.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter; one
            datum is enough.
        index: rows of the dataset `(N,)` of these; samples take turns with them.
        num_samples: how many.
        kind: "mean" for E[x | z], "draw" for x ~ p(x | z).
        temperature: factor of the prior's noise, >= 0; other than 1 only where all latents are
            real numbers.
        seed: of the draws; the caller's random state is untouched.

    Raises:
        ValueError: arguments out of range, a temperature of latents that are not real numbers, a
            model with several observed sites, or without means where these are asked for.

    Example:
        >>> from pyro_vae import VAE
        >>> sample(VAE((1, 8, 8), 2, (16,)), torch.zeros(1, 1, 8, 8), num_samples=5).x.shape
        torch.Size([5, 1, 8, 8])
    """
    check_numbers({"num_samples": (num_samples, 1), "seed": (seed, 0)})
    check_choice("kind", kind, Kind)
    check_number("temperature", temperature, least=0)
    check_like(model, like)

    like = like.to(device_of(model) or like.device)
    number = torch.arange(num_samples, device=like.device)
    like, index = simulated_rows(like, index, number)
    tempered = None if temperature == 1 else Tempered(temperature)

    with evaluation(model, device=like.device, seed=seed), in_one_line(like, 1):
        if tempered is not None:
            _refuse(constrained(model, like[:2], index[:2]))
        latents, x = simulate(model, like, index, mean=kind == "mean", under=tempered)
    if tempered is not None:
        _refuse(dict.fromkeys(sorted(tempered.left), "without a known mean"))
    found = {name: value.cpu() for name, value in latents.items()}
    return Samples(found, x.cpu(), kind, float(temperature), seed)


def _refuse(sites: dict[str, str]) -> None:
    if sites:
        told = ", ".join(f"{name!r} ({what})" for name, what in sites.items())
        raise ValueError(
            f"temperature: got one other than 1 for {counted(len(sites), 'latents')}, {told},"
            " expected real numbers with a known mean: leave it at 1"
        )
