"""Every objective, with `max_plate_nesting` given or left to a guess: the noise of a step does not
depend on who takes it.

Both engines see the same noise, and a state that goes on sees that of one that was never stopped,
whatever is made on the way: guesses of the plates, bare parameters, whether they start at random or
are met only in a later step.
"""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI
from torch import Tensor

from pyro_vae import CompiledSVI
from tests.inference.objectives import ADAM, ALL, FALL_BACK, GIVEN, objective_of, programs
from tests.scenarios import eager

pytestmark = pytest.mark.filterwarnings(
    "ignore:the programs are not compiled", "ignore:.*minimal finite variance"
)


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run graphs one operation at a time: what is asked of them here needs no compiler."""
    eager(monkeypatch)


def stepped(
    kind: Any, objective: str, given: bool
) -> tuple[list[float], dict[str, Tensor], Tensor]:
    """Losses, parameters and the random state after six steps in float64, the last three of which
    are called otherwise.
    """
    torch.set_default_dtype(torch.double)
    try:
        model, q = programs(torch.double)
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(3))
        svi = kind(
            lambda x, late: model(x),
            lambda x, late: q(x, late=late),
            pyro.optim.Adam(ADAM),
            objective_of(objective, given),
        )
        torch.manual_seed(9)
        losses = [float(svi.step(x, step >= 3)) for step in range(6)]
        assert kind is SVI or (svi.reason is not None) == (objective in FALL_BACK)
        params = {
            n.split("$$$")[-1]: p.detach().clone()
            for n, p in pyro.get_param_store()._params.items()
        }
        return losses, params, torch.get_rng_state()
    finally:
        torch.set_default_dtype(torch.float32)


@ALL
@GIVEN
def test_engines_see_the_same_noise(objective: str, given: bool) -> None:
    # What programs of modules alone do is a part of it, and held in test_captured_graphs.py, too.
    stock, compiled = (stepped(kind, objective, given) for kind in (SVI, CompiledSVI))
    assert torch.equal(stock[2], compiled[2])
    assert compiled[0] == pytest.approx(stock[0], rel=1e-10)
    assert stock[1].keys() == compiled[1].keys()
    for name, value in stock[1].items():
        torch.testing.assert_close(compiled[1][name], value, rtol=1e-8, atol=1e-10)


@ALL
@GIVEN
def test_a_state_goes_on_as_if_never_stopped(objective: str, given: bool) -> None:
    x = torch.randn(5, 6)
    model, q = programs(torch.float32)

    def begin() -> CompiledSVI:
        return CompiledSVI(model, q, pyro.optim.Adam(ADAM), objective_of(objective, given))

    def end(svi: CompiledSVI) -> list[Tensor]:
        return [*(svi.step(x) for _ in range(3)), *svi.state_dict()["params"].values()]

    whole = begin()
    for _ in range(3):
        whole.step(x)
    state, noise = whole.state_dict(), torch.get_rng_state()
    expected = end(whole)

    pyro.clear_param_store()  # as in a new process
    other = begin()
    other.load_state_dict(state)
    torch.set_rng_state(noise)
    assert all(map(torch.equal, end(other), expected))
