"""Names of instances, and what Pyro's store keeps under them."""

from __future__ import annotations

import gc
from copy import deepcopy
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO

from pyro_vae import MLP, Amortized, LinearGaussian, MeanField, fit, log_evidence
from pyro_vae.evidence import Importance
from pyro_vae.programs.naming import unique_name
from tests.scenarios import eager

X = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))


def test_a_copy_has_a_name_of_its_own() -> None:
    model = LinearGaussian(5, 2)
    assert unique_name(model) == unique_name(model) != unique_name(deepcopy(model))


def train(engine: Any) -> None:
    model, guide = LinearGaussian(5, 2), Amortized(MeanField(2), MLP(5, (4,)))
    fit(model, guide, X, epochs=1, valid=0, engine=engine, device="cpu", quiet=True)
    log_evidence(model, guide, X, Importance(num_particles=10))


@pytest.mark.parametrize(("engine", "times"), [("pyro", 20), ("compiled", 3)])
def test_the_store_forgets_the_parameters_of_dead_programs(
    engine: Any, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)  # that the compiler keeps nothing either is for test_capture.py
    pyro.param("a user's own", torch.zeros(2))
    before = len(pyro.get_param_store())
    for _ in range(times):
        train(engine)
    gc.collect()
    assert len(pyro.get_param_store()) == before


def test_the_store_keeps_them_while_the_program_lives() -> None:
    model, guide = LinearGaussian(5, 2), Amortized(MeanField(2), MLP(5, (4,)))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    svi.step(X)
    names = set(pyro.get_param_store().keys())
    train("pyro")
    gc.collect()
    assert set(pyro.get_param_store().keys()) == names

    before = pyro.get_param_store()[f"{unique_name(model)}$$$loading"].detach().clone()
    svi.step(X)
    assert not torch.equal(model.loading.detach(), before)
