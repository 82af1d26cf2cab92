"""How to train: everything `fit` needs beside the model, the guide and the data, in one value that can be kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import torch
from pyro.infer import ELBO, Trace_ELBO

from pyro_vae.inference.optim import OptimizerFactory, ScheduleFactory

Engine = Literal["auto", "compiled", "svi"]


def check_engine(engine: str) -> None:
    """Raise a ValueError for an engine that does not exist."""
    if engine not in get_args(Engine):
        raise ValueError(f"engine: got {engine!r}, expected one of {', '.join(map(repr, get_args(Engine)))}")


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    Attributes:
        epochs: passes over the training data.
        batch_size: data per step; the last, partial batch of an epoch is used too.
        optimizer: from parameters to a torch optimizer.
        schedule: from the optimizer to a torch learning-rate schedule, stepped once an epoch; None keeps the rate.
        loss: a Pyro ELBO: Trace_ELBO, or TraceMeanField_ELBO for the analytic KL term.
        beta: weight of the KL term.
        warmup_epochs: epochs over which the weight rises linearly from 0 to beta.
        clip_norm: largest norm of the whole gradient; None for no clipping.
        patience: stop after this many epochs without a better validation ELBO and keep the best parameters; None to
            train to the end and keep the last.
        seed: of the data order, the binarisation and the guide's noise.
        engine: "compiled" fuses the programs into one graph (`CompiledSVI`), "svi" is stock `pyro.infer.SVI`, "auto"
            compiles where the run is long enough to pay for it and the programs can be compiled.
    """

    epochs: int = 100
    batch_size: int = 128
    optimizer: OptimizerFactory = field(default=partial(torch.optim.Adam, lr=1e-3))
    schedule: ScheduleFactory | None = None
    loss: ELBO = field(default_factory=Trace_ELBO)
    beta: float = 1.0
    warmup_epochs: float = 0
    clip_norm: float | None = None
    patience: int | None = None
    seed: int = 0
    engine: Engine = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name}: got {value!r}, expected a positive integer")
        for name, least in (("beta", 0.0), ("warmup_epochs", 0.0), ("clip_norm", 1e-30)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                raise ValueError(f"{name}: got {value!r}, expected a finite number {'> 0' if least else '>= 0'}")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed: got {self.seed!r}, expected an integer >= 0")
        check_engine(self.engine)
        if not isinstance(self.loss, ELBO):
            raise ValueError(f"loss: got {self.loss!r}, expected a Pyro ELBO such as pyro.infer.Trace_ELBO()")
        if self.schedule is not None and not callable(self.schedule):
            raise ValueError(
                f"schedule: got {self.schedule!r}, expected a function from an optimizer to a torch schedule such as"
                " functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=100)"
            )
        if not callable(self.optimizer):
            raise ValueError(
                f"optimizer: got {self.optimizer!r}, expected a function from parameters to a torch optimizer such as"
                " functools.partial(torch.optim.Adam, lr=1e-3)"
            )
