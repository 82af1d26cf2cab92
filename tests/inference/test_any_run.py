"""Every objective: a run that goes on sees the noise of one that was never stopped."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

from pyro_vae import fit
from pyro_vae.inference import steps
from tests.inference.objectives import GIVEN, OBJECTIVES, objective_of, programs
from tests.scenarios import eager

pytestmark = pytest.mark.filterwarnings(
    "ignore:the programs are not compiled", "ignore:.*minimal finite variance"
)


# of infinite loss
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name != "tail-adaptive"])
@GIVEN
@pytest.mark.parametrize("name", ["pyro", "auto"])
def test_a_run_goes_on_as_if_never_stopped(
    name: Any, objective: str, given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "auto" compiles what can be compiled, one graph for each size of a minibatch: of two sizes
    # where no graph is made
    eager(monkeypatch)
    monkeypatch.setattr("pyro_vae.graphs.engine.WORTH_IT", 1)
    num_data = 40 if name == "pyro" else 48
    x = torch.randn(num_data, 6, generator=torch.Generator().manual_seed(1))

    def train(folder: str, **changes: Any) -> tuple[Any, list[Tensor]]:
        run = fit(
            *programs(torch.float32),
            x,
            epochs=2,
            batch_size=16,
            engine=name,
            loss=objective_of(objective, given),
            valid=0,
            folder=tmp_path / folder,
            quiet=True,
            device="cpu",
            **changes,
        )
        losses = [row["train_loss"] for row in run.history]
        return losses, list(pyro.get_param_store()._params.values())

    whole = train("whole")
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.inference.svi._SAVE_EVERY", -1.0)  # a checkpoint at every step
        _stop_at(5, patch)  # of two times three
        with pytest.raises(KeyboardInterrupt):
            train("cut")
    cut = train("cut", resume=True)
    assert cut[0] == whole[0]
    assert all(map(torch.equal, cut[1], whole[1]))


def _stop_at(number: int, patch: pytest.MonkeyPatch) -> None:
    """Interrupt a run before a step in the middle of an epoch."""
    make = steps.make_step

    def failing(*arguments: Any) -> Any:
        step, taken = make(*arguments), count(1)

        def fails(*tensors: Any) -> Any:
            if next(taken) == number:
                raise KeyboardInterrupt
            return step(*tensors)

        return fails

    patch.setattr("pyro_vae.inference.prepare.make_step", failing)
