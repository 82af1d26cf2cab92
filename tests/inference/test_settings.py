"""A run that goes on is held to the settings of its loss and its schedule, not to the names of
their classes.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
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

X = torch.randn(32, 5, generator=torch.Generator().manual_seed(0))


class Weighted(Trace_ELBO):
    """A user's own: settings under its own names, a count, and something that says nothing."""

    def __init__(self, share: float = 1.0, table: Any = (1.0, 2.0)) -> None:
        super().__init__()
        self.weight = share
        self.table = torch.tensor(table)
        self.calls = 0
        self.cache = object()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return super().loss_and_grads(model, guide, *args, **kwargs)


class Around(Trace_ELBO):
    def __init__(self, inner: Trace_ELBO) -> None:
        super().__init__()
        self.inner = inner


def half(epoch: int) -> float:
    return 0.5**epoch


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


RATE = 0.9


def closure(rate: Any) -> Callable[[int], float]:
    return lambda epoch: rate**epoch


def holding(thing: Any) -> Callable[[int], float]:
    return lambda epoch: 1.0 if thing else 0.0


def item(rates: list[float]) -> Callable[[int], float]:
    return lambda epoch: rates[0] ** epoch


def by_default(rate: float) -> Callable[[int], float]:
    def decay(epoch: int, rate: float = rate) -> float:
        return rate**epoch

    return decay


def by_keyword(rate: float) -> Callable[[int], float]:
    def decay(epoch: int, *, rate: float = rate) -> float:
        return rate**epoch

    return decay


class Decay:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, epoch: int) -> float:
        return self.rate**epoch

    def at(self, epoch: int) -> float:
        return self.rate**epoch


def within(rate: float) -> Callable[[int], float]:
    decay = Decay(rate)
    return lambda epoch: decay.rate**epoch


def nested(rate: float) -> Callable[[int], float]:
    inner = closure(rate)
    return lambda epoch: inner(epoch)


def told(function: Any) -> dict[str, str]:
    return settings_of(LambdaLR(torch.optim.Adam([torch.zeros(1, requires_grad=True)]), function))


UNLIKE: dict[str, Callable[[], tuple[Any, Any]]] = {
    "operator": lambda: (lambda e: 0.9**e, lambda e: 0.9 * e),
    "name": lambda: (lambda e: e.real, lambda e: e.imag),
    "inner code": lambda: (
        lambda e: sum(0.9**k for k in (e,)),
        lambda e: sum(0.9 * k for k in (e,)),
    ),
    "constant in a tuple": lambda: (lambda e: e in (1, 2), lambda e: e in (1, 3)),
    "constant in a set": lambda: (lambda e: e in {1, 2}, lambda e: e in {1, 3}),
    "closure": lambda: (closure(0.9), closure(0.1)),
    "tensor in a closure": lambda: (closure(torch.tensor(0.9)), closure(torch.tensor(0.1))),
    "list in a closure": lambda: (item([0.9]), item([0.1])),
    "object in a closure": lambda: (within(0.9), within(0.1)),
    "function in a closure": lambda: (nested(0.9), nested(0.1)),
    "default": lambda: (by_default(0.9), by_default(0.1)),
    "default of a keyword": lambda: (by_keyword(0.9), by_keyword(0.1)),
    "object": lambda: (Decay(0.9), Decay(0.1)),
    "method": lambda: (Decay(0.9).at, Decay(0.1).at),
    "built-in function": lambda: (math.exp, math.cos),
    "class in a closure": lambda: (holding(Decay), holding(Weighted)),
    "long list": lambda: (item([0.9] * 5000), item([0.9] * 4999 + [0.1])),
    "partial of an object": lambda: (partial(Decay(0.9)), partial(Decay(0.1))),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_functions_that_differ_are_told_apart(name: str) -> None:
    one, other = UNLIKE[name]()
    again = UNLIKE[name]()[0]
    assert told(one) != told(other)
    assert told(one) == told(again), "the same, made anew"
    for _ in range(3000):  # Python adapts code that has run often
        again(1)
    assert told(one) == told(again)


def test_a_number_among_the_globals_of_a_function_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = told(lambda e: RATE**e)
    monkeypatch.setitem(globals(), "RATE", 0.1)
    assert (
        "RATE=0.9" in before["lr_lambdas"] and "RATE=0.1" in told(lambda e: RATE**e)["lr_lambdas"]
    )


def test_weights_that_a_function_holds_are_no_setting() -> None:
    net, optimizer = torch.nn.Linear(2, 2), torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    before = told(holding([net, optimizer, holding(net)]))
    with torch.no_grad():
        net.weight.add_(1)
    optimizer.param_groups[0]["lr"] = 3.0
    net.eval()
    assert told(holding([net, optimizer, holding(net)])) == before


def test_functions_are_told_the_same_in_another_process() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_settings import *\n"
        "functions = [half, nested(0.9), Decay(0.9).at, within(0.5), lambda e: e in {'a', 'b',"
        " 'c'}, holding(object())]\n"
        "print([told(function) for function in functions])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1 and "0x" not in seen.pop()


def test_the_code_of_libraries_is_no_setting() -> None:
    text = told(holding(torch.nn.functional.relu6))["lr_lambdas"]
    assert "relu6" in text and text.count(" code ") == 1, "that of the function which holds it"


def test_functions_that_hold_one_another_are_told() -> None:
    def first(epoch: int) -> float:
        return second(epoch - 1) if epoch > 0 else 1.0

    def second(epoch: int) -> float:
        return first(epoch - 1) if epoch > 0 else 1.0

    assert told(first) == told(first) != told(second)


def test_code_of_another_version_of_python_is_not_compared() -> None:
    begun = {"function": "half ['0.5'] code 3.9:00ff"}
    assert difference(begun, {"function": "half ['0.5'] code 3.11:ff00"}) is None
    assert difference(begun, {"function": "half ['0.6'] code 3.11:ff00"}) is not None
    assert difference(begun, {"function": "half ['0.5'] code 3.9:ff00"}) is not None
    assert (
        difference({"function": "half ['0.5']"}, {"function": "half ['0.5'] code 3.11:ff00"})
        is None
    )
