"""The share of a work that is done: told from 0 to 1, without a trace in the results, and shown on
a terminal alone.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.progress import Progress, over, shares
from tests.scenarios import Distorted, on_a_terminal

torch.manual_seed(1)
MODEL = pv.LinearGaussian(5, 3)
GUIDE = pv.Amortized(pv.MeanField(3), pv.MLP(5, ()))
X = torch.randn(6, 5)
QUICK = pv.Annealed(8, num_chains=2, num_leapfrog=1)
FROM_PRIOR = pv.Annealed(8, "prior", num_chains=2, num_leapfrog=1)


def plain(x: Tensor, index: Tensor) -> Any:
    """The model without its closed form of log p(x)."""
    return MODEL(x, index)


def evidence(
    method: pv.Method[Any], model: Any = MODEL, guide: Any = GUIDE
) -> Callable[[Progress | None], dict[str, Any]]:
    return lambda told: pv.log_evidence(model, guide, X, method, progress=told).columns()


def local(**options: Any) -> Callable[[Progress | None], dict[str, Any]]:
    def run(told: Progress | None) -> dict[str, Any]:
        guide = pv.Local(pv.MeanField(3), len(X))
        pv.fit_local(MODEL, guide, X, progress=told, **options)
        return {"table": guide.table.detach()}

    return run


def swapped(told: Progress | None) -> dict[str, Any]:
    names = ["amortized", "mean-field", "full-rank"]
    found = pv.swap_guides(MODEL, GUIDE, X, names, progress=told)
    return {name: found[name].guide.table.detach() for name in names[1:]}  # type: ignore[union-attr]


def ledger(told: Progress | None) -> dict[str, Any]:
    guides = {"a": GUIDE, "b": pv.ExactGuide(MODEL)}
    found = pv.gap_ledger(MODEL, guides, X, method=pv.Importance(60), progress=told)
    return {"log_px": found.log_px}


WORKS: dict[str, Callable[[Progress | None], dict[str, Any]]] = {
    "importance": evidence(pv.Importance(100)),
    "importance to a target": evidence(
        pv.Importance(100, target_error=0.02, num_scouts=0), guide=Distorted(MODEL, 1.2)
    ),
    "annealed": evidence(QUICK),
    "Laplace": evidence(pv.Laplace(50, 2)),
    "quadrature": evidence(pv.Quadrature(51), pv.LinearGaussian(5, 1)),
    "exact": evidence(pv.Exact()),
    "best, by the closed form": evidence(pv.Best()),
    "best of two": evidence(pv.Best(60, 8), plain),
    "sandwich": lambda told: pv.sandwich(
        MODEL, None, X, num_data=3, method=QUICK, progress=told
    ).columns(),
    "rate-distortion curve": lambda told: pv.rate_distortion_curve(
        MODEL, X, num_points=3, method=FROM_PRIOR, progress=told
    ).columns(),
    "calibration": lambda told: (
        pv.check_calibration(MODEL, GUIDE, X, num_simulations=300, progress=told).ranks
    ),
    "NUTS": lambda told: (
        pv.reference_posterior(
            MODEL, X[:1], num_chains=2, num_samples=8, num_warmup=8, progress=told
        ).draws
    ),
    "ledger": ledger,
    "local, to convergence": local(restarts=1),
    "local, some steps": local(num_steps=5),
    "swap": swapped,
}


@pytest.mark.usefixtures("hasty_convergence")
@pytest.mark.parametrize("name", WORKS)
@pytest.mark.filterwarnings("ignore")
def test_shares_go_up_to_one_and_leave_no_trace(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[float] = []
    with_it, without = WORKS[name](told.append), WORKS[name](None)
    assert told and told[0] > 0 and told[-1] == 1
    assert all(before <= after for before, after in pairwise(told))

    assert with_it.keys() == without.keys()
    for key, value in with_it.items():
        torch.testing.assert_close(
            torch.as_tensor(value), torch.as_tensor(without[key]), rtol=0, atol=0, equal_nan=True
        )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "least"), [("annealed", 37), ("sandwich", 74), ("NUTS", 14)])
def test_what_takes_long_is_told_step_by_step(name: str, least: int) -> None:
    told: list[float] = []
    WORKS[name](told.append)
    steps = [after - before for before, after in pairwise([0.0, *told])]
    assert len(told) >= least and max(steps) < 0.2


def test_parts_of_a_work() -> None:
    told: list[float] = []
    for part in shares(told.append, 2, 0, 2):
        list(over("abcd", 4, part))
    assert told == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.5, 0.5, 0.625, 0.75, 0.875, 1.0]
    assert shares(None, 1, 1) == [None, None]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with pv.progress_bar("annealing [both ways]") as progress:
        assert progress is not None
        for share in (0.25, 1.0):
            progress(share)
        print("said meanwhile", file=sys.stderr)
    text = terminal.plain()
    assert "annealing [both ways]" in text and "100%" in text and "0:00:00" in text
    assert "said meanwhile\n" in text


def test_no_bar_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with pv.progress_bar("annealing") as progress:
        assert progress is None
    assert stderr.getvalue() == ""
