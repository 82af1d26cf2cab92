"""What the public API is misused with: arguments that work, and values that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import pyro_vae as pv

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Use:
    """A function with arguments that work, and values of single arguments that do not."""

    name: str
    function: Callable[..., Any]
    good: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, list[Any]] = field(default_factory=dict)
    works: bool = True  # whether the good arguments are enough to run it


def use(
    function: Callable[..., Any],
    good: dict[str, Any],
    *,
    name: str = "",
    works: bool = True,
    **bad: Any,
) -> Use:
    return Use(name or getattr(function, "__qualname__", "?"), function, good, bad, works)


torch.manual_seed(0)
X = torch.randn(12, 4)
BINARY = (torch.rand(12, 4) > 0.5).float()
MODEL = pv.LinearGaussian(4, 2)
GUIDE = pv.Amortized(pv.MeanField(2), pv.MLP(4, (3,)))
EXACT = pv.ExactGuide(MODEL)
LOCAL = pv.Local(pv.MeanField(2), 12)
FLAT = pv.VAE((4,), 2, (3,))
ROWS = torch.arange(12)
SPLIT = pv.Split("train", BINARY, "none")
SET = pv.Dataset("some", SPLIT, None, SPLIT)
REFERENCE = pv.reference_posterior(MODEL, X[:3], num_chains=2, num_samples=8, num_warmup=8)
WEIGHED = pv.log_evidence(MODEL, EXACT, X, pv.Importance(num_particles=60))
RANKS = pv.check_calibration(MODEL, EXACT, X, num_simulations=40, num_draws=9)
DOUBLE, WHOLE = X.double(), torch.randint(0, 2, (12, 4))


def holed(value: float) -> Tensor:
    x = X.clone()
    x[3, 1] = value
    return x


NO_COUNT = [0, -1, 1.5, NAN, True, "2", None, 2.0]  # where a positive integer is meant
NO_SIZES = [[0], [3, -1], [2.5], [True], "33", None, [None], [[3]]]  # where sizes of layers are
NO_SEED = [-1, 0.5, True, "0", None, NAN]
NO_SCALE = [0, -1.0, NAN, INF, "1", True, [1.0]]  # a positive number
NO_DATA = [X.tolist(), X.numpy(), None, X[:0], X[:0, :0], X[0, 0], X.to("meta"), X.to_sparse(), 3]
NO_FLOATS = [
    *NO_DATA,
    holed(INF),
    X[:, :3],
    X[..., None],
    DOUBLE,
    WHOLE,
    X.half(),
    X.to(torch.complex64),
]
NO_LIKE = [
    x
    for x in NO_FLOATS
    if not isinstance(x, Tensor) or x.is_meta or x.is_sparse or torch.isfinite(x).all()
]
NO_ROWS = [
    ROWS.float(),
    ROWS[:5],
    ROWS - 1,
    ROWS[:, None],
    ROWS.tolist(),
    ROWS.bool(),
    -1,
    "0",
    ROWS.numpy(),
]
NO_PROGRAM = [3, None, "model", X]
NO_ENGINE = ["fast", None, 1]
