"""How to train: everything `fit` needs beside the model, the guide and the data, in one value that
can be kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Literal, TypedDict, get_args

import torch
from pyro.infer import ELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO

from pyro_vae.arguments import check_integer, check_number, check_seed
from pyro_vae.graphs import Engine, check_engine
from pyro_vae.inference.optim import OptimizerFactory, ScheduleFactory

Keep = Literal["best", "last"]
# losses that are minus the ELBO, and with beta a tempered one
ELBOS = (Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO)

# steps of the KL warm-up that nobody asked for, kept between these shares of the epochs
WARMUP_STEPS = 2000
WARMUP_SHARES = (0.2, 0.5)
STEPS_PER_EPOCH = 20  # smaller minibatches give a small set as many
BATCH_SIZES = (16, 128)


class Changes(TypedDict, total=False):
    """Fields of a `Recipe` that are given by name instead of its own."""

    epochs: int
    batch_size: int | None
    optimizer: OptimizerFactory
    schedule: ScheduleFactory | None
    loss: ELBO
    beta: float
    warmup_epochs: float | None
    clip_norm: float | None
    patience: int | None
    keep: Keep | None
    seed: int
    engine: Engine


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    Attributes:
        epochs: passes over the training data.
        batch_size: data per step; the last, partial batch of an epoch is used too. None: 128, or on
            a small set the power of two, at least 16, that gives some 20 steps an epoch.
        optimizer: from parameters to a torch optimizer.
        schedule: from the optimizer to a torch learning-rate schedule, stepped once an epoch; None
            keeps the rate.
        loss: a Pyro ELBO: Trace_ELBO, or TraceMeanField_ELBO for the analytic KL term.
        beta: weight of the KL term.
        warmup_epochs: epochs over which the weight rises linearly from 0 to beta. None: 2,000
            steps, at least a fifth and at most half of the epochs, for Pyro's ELBOs, and 0 for
            other losses. Without it the KL term can switch the latent units off before the decoder
            has learned to use them.
        clip_norm: largest norm of the whole gradient; None for no clipping.
        patience: stop after this many epochs, from the end of the warm-up on, without a better
            validation ELBO, and keep the best parameters; None to train to the end.
        keep: which parameters a run ends with, those of the "best" epoch after the warm-up by the
            validation ELBO or of the "last". None: the best where that ELBO is maximised (ten
            validation data, one of Pyro's ELBOs, beta 1).
        seed: of the data order, the binarisation and the guide's noise.
        engine: "compiled" fuses the programs into one graph (`CompiledSVI`), "pyro" is stock
            `pyro.infer.SVI`, "auto" compiles where the run is long enough to pay for it and the
            programs can be compiled.
    """

    epochs: int = 100
    batch_size: int | None = None
    optimizer: OptimizerFactory = field(default=partial(torch.optim.Adam, lr=1e-3))
    schedule: ScheduleFactory | None = None
    loss: ELBO = field(default_factory=Trace_ELBO)
    beta: float = 1.0
    warmup_epochs: float | None = None
    clip_norm: float | None = None
    patience: int | None = None
    keep: Keep | None = None
    seed: int = 0
    engine: Engine = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None or name == "epochs":
                check_integer(name, value, 1)
        check_number("beta", self.beta, least=0)
        if self.warmup_epochs is not None:
            check_number("warmup_epochs", self.warmup_epochs, least=0)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, above=0)
        check_seed("seed", self.seed)
        check_engine(self.engine)
        self._check_keep()
        self._check_objects()

    def _check_keep(self) -> None:
        known = self.keep in (None, *get_args(Keep))
        if not known or (self.keep == "last" and self.patience is not None):
            expected = "None, 'best' or 'last'"
            if self.patience is not None:
                expected = "None or 'best' with patience"
            raise ValueError(f"keep: got {self.keep!r}, expected {expected}")

    def _check_objects(self) -> None:
        """Refuse what is no loss, schedule or optimizer, and numbers of a loss that Pyro lets
        pass.
        """
        if not isinstance(self.loss, ELBO):
            raise ValueError(
                f"loss: got {self.loss!r}, expected a Pyro ELBO such as pyro.infer.Trace_ELBO()"
            )
        check_integer("loss.num_particles", getattr(self.loss, "num_particles", 1), 1)
        nesting = getattr(self.loss, "max_plate_nesting", math.inf)
        if nesting != math.inf:
            check_integer("loss.max_plate_nesting", nesting, 0)

        if self.schedule is not None and not callable(self.schedule):
            raise ValueError(
                f"schedule: got {self.schedule!r}, expected a function from an optimizer to a"
                " torch schedule such as"
                " functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=100)"
            )
        if not callable(self.optimizer):
            raise ValueError(
                f"optimizer: got {self.optimizer!r}, expected a function from parameters to a torch"
                " optimizer such as functools.partial(torch.optim.Adam, lr=1e-3)"
            )

    def for_data(self, num_data: int, has_valid: bool = False) -> ResolvedRecipe:
        """The recipe with what was left to the number of training data, and to whether there are
        validation data.

        Example:
            >>> recipe = Recipe(epochs=100).for_data(1297)
            >>> recipe.batch_size, round(recipe.warmup_epochs, 1)
            (64, 50.0)
        """
        check_integer("num_data", num_data, 1)
        batch_size = default_batch_size(num_data) if self.batch_size is None else self.batch_size
        is_elbo = type(self.loss) in ELBOS

        warmup = self.warmup_epochs
        if warmup is None and is_elbo:
            steps = math.ceil(num_data / batch_size)
            least, most = (share * self.epochs for share in WARMUP_SHARES)
            warmup = min(max(WARMUP_STEPS / steps, least), most)

        best = self.patience is not None or (has_valid and is_elbo and self.beta == 1)
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        kept |= {"batch_size": batch_size, "warmup_epochs": 0.0 if warmup is None else warmup}
        kept |= {"keep": self.keep or ("best" if best else "last")}
        return ResolvedRecipe(**kept)


@dataclass(frozen=True)
class ResolvedRecipe(Recipe):
    """A recipe in which nothing is left to the data."""

    batch_size: int = BATCH_SIZES[1]
    warmup_epochs: float = 0.0
    keep: Keep = "last"


def default_batch_size(num_data: int) -> int:
    """128, or on a small set the power of two, at least 16, that gives some 20 steps an epoch."""
    least, most = BATCH_SIZES
    return min(most, max(least, 2 ** int(math.log2(max(1.0, num_data / STEPS_PER_EPOCH)))))


def changed(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe with some of its fields replaced; a TypeError for what is none of them."""
    for name in changes.keys() - Recipe.__dataclass_fields__.keys():
        near = get_close_matches(name, Recipe.__dataclass_fields__, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"{name}: no argument of fit and no field of Recipe{hint}")
    return replace(recipe, **changes)
