"""The compiled engine against stock SVI, whatever the programs, without a compiler."""

from __future__ import annotations

import pytest
import torch

from tests.inference.parity import (
    FURTHER_GUIDES,
    FURTHER_LOSSES,
    GUIDES,
    LOSSES,
    MODELS,
    assert_parity,
)
from tests.scenarios import eager

# An objective meets a model in the densities of its sites alone, so that all of them are met with
# three models: a guide with units, no net, and a discrete site with parameters outside of modules.
# What the others differ in, their decoder and their likelihood, an objective sees only where a
# plate of particles stands before the data (each goes through Inductor besides, by Trace_ELBO, in
# test_inductor.py). What Local differs in, its table, is read before any decoder is met.
COMBINATIONS = [
    (m, g, loss)
    for m in ("bernoulli", "linear", "two sites")
    for g in (GUIDES if m != "two sites" else ["amortized"])
    for loss in LOSSES
    # a KL term that Pyro does not know in closed form
    if not (m == "two sites" and loss == "mean field")
]

COMBINATIONS += [
    (m, "amortized", "trace, vectorised")
    for m in MODELS
    if m not in ("bernoulli", "linear", "two sites")
]

COMBINATIONS += [("linear", "exact", loss) for loss in LOSSES]

COMBINATIONS += [
    ("bernoulli", guide, loss)
    for guide in list(FURTHER_GUIDES)[1:]
    for loss in ("trace", "trace, vectorised")
]

COMBINATIONS += [
    ("two layers", "two layers", loss)
    for loss in (*LOSSES, *FURTHER_LOSSES)
    if loss != "mean field"
]

COMBINATIONS += [("bernoulli", "amortized", loss) for loss in FURTHER_LOSSES]

COMBINATIONS += [
    (f"{prior} prior", "amortized", loss)
    for prior in ("mixture", "vamp", "flow")
    for loss in ("trace, vectorised", "free nats", "iwae")
]


@pytest.mark.parametrize(
    ("model", "guide", "loss", "dtype"),
    # the two types differ in what an objective or a program makes by itself: once for each
    [(*c, torch.float64) for c in COMBINATIONS]
    + [(m, "amortized", "trace, vectorised", torch.float32) for m in MODELS]
    + [("bernoulli", "amortized", loss, torch.float32) for loss in FURTHER_LOSSES],
)
def test_captured_loss_and_gradients_are_pyro_s(
    model: str, guide: str, loss: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models, guides and objectives, the graph run one operation at a time."""
    eager(monkeypatch)
    assert_parity(model, guide, loss, dtype)
