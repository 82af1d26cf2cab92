"""Functions among the settings are told by what they do."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from pyro_vae.inference.settings import settings_of
from tests.inference.schedules import Weighted, half

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


def several() -> list[dict[str, str]]:
    functions = [half, nested(0.9), Decay(0.9).at, within(0.5)]
    functions += [lambda e: e in {"a", "b", "c"}, holding(object())]
    return [told(function) for function in functions]


def test_functions_are_told_the_same_in_another_process() -> None:
    # sets of words are in another order there, and objects at other places
    there = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import several; print(several())"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert there == f"{several()}\n" and "0x" not in there


def test_the_code_of_libraries_is_no_setting() -> None:
    text = told(holding(torch.nn.functional.relu6))["lr_lambdas"]
    assert "relu6" in text and text.count(" code ") == 1, "that of the function which holds it"


def test_functions_that_hold_one_another_are_told() -> None:
    def first(epoch: int) -> float:
        return second(epoch - 1) if epoch > 0 else 1.0

    def second(epoch: int) -> float:
        return first(epoch - 1) if epoch > 0 else 1.0

    assert told(first) == told(first) != told(second)
