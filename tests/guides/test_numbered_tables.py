"""A table of rows belongs to the data of its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_vae import FullRank, Local, MeanField, fit, fit_local, gap_ledger, load, log_evidence
from pyro_vae.evidence import Importance
from tests.programs.covariates import SIZE, data_set, programs


@pytest.mark.usefixtures("less_patience")
def test_a_table_of_rows_belongs_to_the_data_of_its_numbers() -> None:
    data = data_set()
    model, _ = programs(data.num_rows)
    x, numbers = data.test.x, data.test.numbers()
    guide = fit_local(model, Local(FullRank(SIZE), len(x), numbers), x).guide
    truth = model.closed_form(x, numbers)
    own = log_evidence(
        model, guide, x, Importance(num_particles=500)
    )  # its own data, which it knows
    assert (own.log_px - truth).abs().max() < 0.05
    some = torch.tensor([7, 2])
    assert (
        log_evidence(
            model, guide, x[some], Importance(num_particles=500), index=numbers[some]
        ).log_px
        - truth[some]
    ).abs().max() < 0.05
    assert torch.equal(guide.numbers, numbers)
    for other in (torch.arange(12), numbers + 1):
        with pytest.raises(
            ValueError, match="of which the guide has not all: its 12 are of data from 48 to 59"
        ):
            log_evidence(model, guide, x, Importance(num_particles=10), index=other)
    with pytest.raises(
        ValueError, match="index: got 47 to 47, but the guide has 12 rows, of data 48 to 59"
    ):
        guide(x[:1], torch.tensor([47]))
    again = Local.started_at(guide, x, MeanField(SIZE))
    assert torch.equal(again.numbers, numbers)
    ledger = gap_ledger(
        model,
        {"full": guide, "mean": fit_local(model, again, x)},
        x,
        method=Importance(num_particles=500),
    )
    assert (ledger.log_px - truth).abs().max() < 0.05


def test_a_table_in_any_order_is_saved_with_its_numbers() -> None:
    numbers = torch.tensor([70, 60, 65])
    guide, other = (Local(MeanField(2), 3, n) for n in (numbers, numbers.flip(0)))
    with torch.no_grad():
        guide.table.copy_(torch.arange(12.0).reshape(3, 4))
    assert torch.equal(guide.q(numbers).mean, guide.table[:, :2])
    other.load_state_dict(guide.state_dict())
    assert torch.equal(other.numbers, numbers)
    assert torch.equal(other.q(torch.tensor([65])).mean, guide.table[2:, :2])
    assert not [name for name, _ in Local(MeanField(2), 3, torch.arange(3)).named_buffers()]


@pytest.mark.parametrize(
    "numbers", [torch.arange(4), torch.tensor([1, 1, 2]), torch.tensor([-1, 0, 1]), torch.ones(3)]
)
def test_bad_numbers_of_a_table(numbers: Tensor) -> None:
    with pytest.raises(ValueError, match="numbers: got"):
        Local(MeanField(2), 3, numbers)


def test_fit_trains_a_table_of_some_rows_by_their_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, SIZE)).astype(np.float32))
    data = load(tmp_path / "x.npy", valid=0)
    model, _ = programs(data.num_rows)
    with pytest.raises(
        ValueError,
        match=r"has not a row for each of the train data, whose numbers go from \d to 49",
    ):
        fit(model, Local(MeanField(SIZE), len(data.train)), data, epochs=1, quiet=True)
    guide = Local(MeanField(SIZE), len(data.train), data.train.numbers())
    fit(model, guide, data, epochs=150, batch_size=15, optimizer=adam, quiet=True)
    means = guide.q(data.train.numbers()).mean
    exact = (data.train.x + model.table[data.train.numbers()] + model.shift) / 2
    assert (means - exact).abs().mean() < 0.5


def adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=0.3)
