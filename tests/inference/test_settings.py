"""A run that goes on is held to the settings of its loss and its schedule, not to the names of
their classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from pyro_vae import MLP, Amortized, LinearGaussian, MeanField, fit
from pyro_vae.inference.checkpoint import load, save
from pyro_vae.inference.settings import difference, settings_of
from pyro_vae.objectives import Bound, FreeBits, ScoreFunction
from tests.inference.schedules import Weighted, half

X = torch.randn(32, 5, generator=torch.Generator().manual_seed(0))


class Around(Trace_ELBO):
    def __init__(self, inner: Trace_ELBO) -> None:
        super().__init__()
        self.inner = inner


def then(milestone: int, size: int) -> Any:
    def schedule(optimizer: torch.optim.Optimizer) -> Any:
        steps = [StepLR(optimizer, size), StepLR(optimizer, 2)]
        return SequentialLR(optimizer, steps, milestones=[milestone])  # type: ignore[arg-type]

    return schedule


def train(folder: Path, epochs: int, resume: bool = False, **changes: Any) -> int:
    pyro.clear_param_store()
    torch.manual_seed(0)
    model, guide = LinearGaussian(5, 2), Amortized(MeanField(2), MLP(5, ()))
    options = {
        "batch_size": 16,
        "warmup_epochs": 0,
        "valid": 0,
        "device": "cpu",
        "engine": "pyro",
        "quiet": True,
    }
    return len(
        fit(
            model, guide, X, epochs=epochs, folder=folder, resume=resume, **options | changes
        ).history
    )


OTHERS: list[tuple[str, Any, Any, str]] = [
    ("loss", lambda: Bound(5), lambda: Bound(50), "num_particles=5, got num_particles=50"),
    (
        "loss",
        lambda: Bound(2),
        lambda: Bound(2, 0.5, True),
        "alpha=0.0, path_only=False, got alpha=0.5, path_only=True",
    ),
    (
        "loss",
        lambda: Bound(4, groups=2),
        lambda: Bound(4, guide_groups=2),
        "groups=2, got groups=1",
    ),
    ("loss", lambda: Bound(4, mix=0.05), lambda: Bound(4, mix=0.5), "mix=0.05, got mix=0.5"),
    (
        "loss",
        lambda: ScoreFunction(4),
        lambda: ScoreFunction(4, True),
        "baseline=False, got baseline=True",
    ),
    ("loss", lambda: FreeBits(0.1), lambda: FreeBits(3.0), "nats=0.1, got nats=3.0"),
    (
        "loss",
        Trace_ELBO,
        lambda: Trace_ELBO(num_particles=2),
        "num_particles=1, got num_particles=2",
    ),
    ("loss", Weighted, lambda: Weighted(0.5), "weight=1.0, got weight=0.5"),
    ("loss", Weighted, lambda: Weighted(1.0, (1.0, 3.0)), r"table=\(2,\) .*, got table=\(2,\)"),
    ("loss", lambda: Around(FreeBits(0.1)), lambda: Around(FreeBits(0.2)), "nats: 0.1.*nats: 0.2"),
    (
        "schedule",
        partial(StepLR, step_size=1),
        partial(StepLR, step_size=100),
        "step_size=1, got step_size=100",
    ),
    (
        "schedule",
        partial(CosineAnnealingLR, T_max=3),
        partial(CosineAnnealingLR, T_max=9),
        "T_max=3, got T_max=9",
    ),
    (
        "schedule",
        partial(LambdaLR, lr_lambda=half),
        partial(LambdaLR, lr_lambda=lambda e: 0.9**e),
        "lr_lambdas",
    ),
    ("schedule", then(1, 2), then(2, 2), "milestones=.1., got _milestones=.2."),
    ("schedule", then(1, 2), then(1, 3), "step_size: 2.*step_size: 3"),
    (
        "schedule",
        partial(ReduceLROnPlateau, patience=1),
        partial(ReduceLROnPlateau, patience=7),
        "patience=1",
    ),
    ("schedule", partial(StepLR, step_size=1), None, "schedule = StepLR, got NoneType"),
    ("loss", Trace_ELBO, TraceMeanField_ELBO, "loss = Trace_ELBO, got TraceMeanField_ELBO"),
]


def built(name: str, make: Any) -> dict[str, Any]:
    return {name: make() if name == "loss" else make}


@pytest.mark.parametrize(("name", "begun", "other", "message"), OTHERS)
def test_other_settings_are_refused_and_the_same_go_on(
    tmp_path: Path, name: str, begun: Any, other: Any, message: str
) -> None:
    train(tmp_path, 1, **built(name, begun))
    with pytest.raises(ValueError, match=f"resume: the run was started with .*{message}"):
        train(tmp_path, 2, resume=True, **built(name, other))
    assert train(tmp_path, 2, resume=True, **built(name, begun)) == 2


def test_one_object_in_two_runs_of_a_process_is_no_other(tmp_path: Path) -> None:
    loss = Bound(2)  # whose first step finds out how deep the plates are
    train(tmp_path, 1, loss=loss)
    assert train(tmp_path, 2, resume=True, loss=loss) == 2
    assert "max_plate_nesting" not in settings_of(loss)


def test_a_checkpoint_without_settings_goes_on(tmp_path: Path) -> None:
    train(tmp_path, 1, loss=FreeBits(0.1))
    state = load(tmp_path / "checkpoint.pt")
    del state["settings"]
    save(tmp_path / "checkpoint.pt", state)
    assert train(tmp_path, 2, resume=True, loss=FreeBits(0.1)) == 2


def test_code_of_another_version_of_python_is_not_compared() -> None:
    begun = {"function": "half ['0.5'] code 3.9:00ff"}
    assert difference(begun, {"function": "half ['0.5'] code 3.11:ff00"}) is None
    assert difference(begun, {"function": "half ['0.6'] code 3.11:ff00"}) is not None
    assert difference(begun, {"function": "half ['0.5'] code 3.9:ff00"}) is not None
    assert (
        difference({"function": "half ['0.5']"}, {"function": "half ['0.5'] code 3.11:ff00"})
        is None
    )
