"""The table of Pyro's autoguides in docs/programs.md: each cell works, or is refused in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import autoguide
from torch import Tensor

import pyro_vae as pv
from tests.written import ROOT

NUM = 5


def per_datum(x: Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)


def shared(x: Tensor, index: Any = None) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", NUM, subsample=index, dim=-1):
        pyro.sample("obs", dist.Normal(w, 1.0).to_event(1), obs=x)


def importance(num_particles: int = 5) -> pv.Importance:
    return pv.Importance(num_particles, num_scouts=0, engine="pyro")


MADE = {
    "AutoIAFNormal": lambda model: autoguide.AutoIAFNormal(model, hidden_dim=[64]),
    "AutoStructured": lambda model: autoguide.AutoStructured(
        model, conditionals="normal", dependencies={}
    ),
}
USES: dict[str, Callable[[Any, Any, Tensor], Any]] = {
    "fit": lambda m, g, x: pv.fit(m, g, x, valid=0, epochs=1, engine="pyro", quiet=True),
    "fit_local": lambda m, g, x: pv.fit_local(m, g, x, num_steps=1, engine="pyro"),
    "log_evidence": lambda m, g, x: pv.log_evidence(m, g, x, importance()),
    "gap_ledger": lambda m, g, x: pv.gap_ledger(m, {"auto": g}, x, method=importance()),
    "annealing from it": lambda m, g, x: pv.log_evidence(
        m, g, x, pv.Annealed(2, num_chains=2, engine="pyro")
    ),
    "check_calibration": lambda m, g, x: pv.check_calibration(
        m, g, x, num_simulations=20, num_draws=5
    ),
}
WORDS = "|".join(
    [
        "by their place",
        "is one draw for all",
        "are Delta, a point has no density",
        "AutoMessengers run the model",
        "got auxiliary sites",
        "got a table with a row for each",
    ]
)
WORK = {"any": {"one", "many", "shared"}, "one": {"one"}, "shared": {"one", "shared"}, "no": set()}


def table() -> dict[str, dict[str, str]]:
    """The cells by guide and function."""
    page = (ROOT / "docs" / "programs.md").read_text()
    lines = page[page.index("| guide |") :].split("\n\n")[0].splitlines()
    head, _, *rows = [[c.strip(" `") for c in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


@pytest.mark.parametrize("name", table())
def test_each_cell(name: str) -> None:
    make = MADE.get(name, getattr(autoguide, name))
    torch.manual_seed(0)
    x = torch.randn(NUM, 2)
    for use, cell in table()[name].items():
        cases = {
            "one": [(per_datum, x[:1]), (pv.whole(shared), x[None])],
            "many": [(per_datum, x)],
            "shared": [(shared, x)] if use == "fit" else [],
        }
        for case, programs in cases.items():
            for model, given in programs:
                if use == "check_calibration" and given.dim() == 3:
                    continue  # it simulates many data, and a whole set is one
                pyro.clear_param_store()
                guide = make(model)
                if case in WORK[cell]:
                    USES[use](model, guide, given)
                    continue
                with pytest.raises(ValueError, match=WORDS) as told:
                    USES[use](model, guide, given)
                assert re.match(r"(guide|site '\w+'): ", str(told.value))


def test_the_table_has_every_use() -> None:
    assert all(list(row) == list(USES) for row in table().values())
