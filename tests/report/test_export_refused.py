"""What cannot be exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import LinearGaussian, Local, MeanField, Reference
from pyro_vae.report.export import draws_to_arviz, reference_to_arviz


def called(name: str) -> Callable[..., None]:
    """A model, and its own guide, of a latent of this name."""

    def program(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample(name, dist.Normal(torch.zeros(2), 1.0).to_event(1))

    return program


def broken(x: torch.Tensor, index: Any = None) -> None:
    raise RuntimeError("out of order")


MODEL, GUIDE, X = LinearGaussian(5, 2), Local(MeanField(2), 3), torch.ones(3, 5)
CHAINS = Reference({"latent": torch.ones(2, 10, 3, 2)}, {}, {}, 0, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draws_to_arviz(MODEL, GUIDE, X, num_draws=0), "num_draws: got 0"),
        (lambda: draws_to_arviz(MODEL, GUIDE, X, num_draws=1.5), "num_draws: got 1.5"),  # type: ignore[arg-type]
        (lambda: draws_to_arviz(MODEL, GUIDE, X, seed=-1), "seed: got -1"),
        (lambda: draws_to_arviz(MODEL, GUIDE, X[:, :4]), r"x: got shape \(3, 4\)"),
        (lambda: draws_to_arviz(MODEL, GUIDE, X * torch.nan), "x: got"),
        (lambda: draws_to_arviz(MODEL, GUIDE, X[0]), r"x: got shape \(5,\), expected \(N, 5\)"),
        (lambda: draws_to_arviz(MODEL, GUIDE, X[:0]), r"x: got shape \(0, 5\)"),
        (lambda: draws_to_arviz(MODEL, GUIDE, X[:2]), "index: got none for 2 data, but .* for 3"),
        (
            lambda: draws_to_arviz(MODEL, GUIDE, X, torch.tensor([0, 1, 3])),
            r"index: got rows 0 to 3, expected 0 to 3 - 1",
        ),
        (
            lambda: draws_to_arviz(MODEL, GUIDE, X, torch.tensor([0, 1])),
            r"index: got torch.int64 \(2,\)",
        ),
        (
            lambda: draws_to_arviz(MODEL, GUIDE, X, torch.tensor([0, -1, 1])),
            "index: got rows -1 to 1",
        ),
        (lambda: draws_to_arviz(MODEL, called("code"), X), r"guide: got latent sites \['code'\]"),
        (lambda: draws_to_arviz(broken, GUIDE, X), "out of order"),
        (
            lambda: draws_to_arviz(called("x"), called("x"), X),
            r"model: got sites \['x'\], expected names",
        ),
        (
            lambda: draws_to_arviz(called("datum"), called("datum"), X),
            r"model: got sites \['datum'\]",
        ),
        (
            lambda: reference_to_arviz(CHAINS, X[:1]),
            r"x, axes: got 1 data, expected those .* \(3, 2\)",
        ),
        (lambda: reference_to_arviz(CHAINS, X, axes={"latent": 1}), "x, axes: got 3 data"),
        (
            lambda: reference_to_arviz(CHAINS, X, torch.arange(2)),
            r"index: got torch.int64 \(2,\), expected integers of shape \(3,\)",
        ),
    ],
)
def test_bad_input(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
