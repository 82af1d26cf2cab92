"""Programs that are plain functions over nets: these are found, put into eval mode, and resumed
with their statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.programs.evaluation import device_of, evaluation, modules_of
from tests.scenarios import eager

VOCABULARY = {str(i): i for i in range(60_000)}
X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
NETS: dict[str, nn.Module] = {}


def encoder() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 4))


def answer(net: nn.Module, x: Tensor) -> None:
    pyro.module("encoder", net)
    mean, log_scale = net(x).chunk(2, -1)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(mean, log_scale.exp()).to_event(1))


def by_global(x: Tensor, index: Any = None) -> None:
    answer(NETS["encoder"], x)


class Holder:
    """No module itself."""

    def __init__(self, net: nn.Module) -> None:
        self.nets = {"encoder": net}

    def method(self, x: Tensor, index: Any = None) -> None:
        answer(self.nets["encoder"], x)

    def __call__(self, x: Tensor, index: Any = None) -> None:
        answer(self.nets["encoder"], x)


def beside_a_large_dict(x: Tensor, index: Any = None) -> None:
    answer(HELD.nets["encoder"], x)
    assert VOCABULARY


HELD = Holder(nn.Identity())


def held(net: nn.Module) -> Callable[..., None]:
    HELD.nets["encoder"] = net
    return beside_a_large_dict


def by_argument(x: Tensor, index: Any = None, *, net: nn.Module) -> None:
    answer(net, x)


def by_closure(net: nn.Module) -> Callable[..., None]:
    return lambda x, index=None: answer(net, x)


WAYS: dict[str, Callable[[nn.Module], Callable[..., Any]]] = {
    "global": lambda net: by_global,
    "closure": by_closure,
    "partial": lambda net: partial(by_argument, net=net),
    "method": lambda net: Holder(net).method,
    "object": Holder,
    "handler": lambda net: poutine.scale(by_closure(net), scale=1.0),
    "beside a large dict": held,
    "longer than is watched": lambda net: by_closure(
        nn.Sequential(*(nn.Identity() for _ in range(300)), net)
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_nets_of_a_function_are_evaluated_in_eval_mode(way: str) -> None:
    model, net = pv.LinearGaussian(5, 2), encoder()
    NETS["encoder"] = net
    guide = WAYS[way](net)
    assert net[1] in modules_of(guide)
    assert device_of(guide) == torch.device("cpu")

    before = net[1].running_mean.clone()
    got = pv.log_evidence(model, guide, X, pv.Importance(num_particles=50)).elbo
    units = pv.latent_units(model, guide, X)
    assert torch.equal(net[1].running_mean, before), "an evaluation has changed the statistics"
    assert net.training and net[2].training

    net.eval()
    assert torch.equal(pv.log_evidence(model, guide, X, pv.Importance(num_particles=50)).elbo, got)
    again = pv.latent_units(model, guide, X)
    assert units is not None and again is not None and torch.equal(units.rates, again.rates)


def test_a_net_that_the_user_has_put_into_eval_mode_stays_there() -> None:
    net = encoder().eval()
    with evaluation(by_closure(net)):
        pass
    assert not net.training


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
def test_fit_leaves_the_statistics_of_a_function_s_nets_to_training(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)  # through the compiler in test_inductor.py
    model, net = pv.LinearGaussian(5, 2), encoder()
    pv.fit(
        model,
        by_closure(net),
        X,
        epochs=2,
        batch_size=10,
        valid=10,
        device="cpu",
        quiet=True,
        engine=engine,
    )
    assert net[1].num_batches_tracked == 6, "one for each step, none for a check or a validation"


def test_a_function_s_frozen_model_is_in_eval_mode_in_fit_local() -> None:
    decoder = nn.Sequential(nn.Linear(2, 5), nn.Dropout(0.5))
    modes = []

    def model(x: Tensor, index: Any = None) -> None:
        pyro.module("decoder", decoder)
        modes.append(decoder.training)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    pv.fit_local(model, pv.Local(pv.MeanField(2), len(X)), X, num_steps=2)
    assert modes and not any(modes)
    assert decoder.training and all(p.requires_grad for p in decoder.parameters())


def test_a_killed_run_of_a_function_goes_on_with_its_statistics(tmp_path: Path) -> None:
    def run(folder: Path, epochs: int, resume: bool = False) -> tuple[list[Any], Tensor]:
        pyro.clear_param_store()
        torch.manual_seed(0)
        model, net = pv.LinearGaussian(5, 2), encoder()
        options: dict[str, Any] = {
            "batch_size": 10,
            "valid": 10,
            "warmup_epochs": 1,
            "device": "cpu",
            "quiet": True,
        }
        done = pv.fit(
            model, by_closure(net), X, epochs=epochs, folder=folder, resume=resume, **options
        )
        rows = [(row["train_loss"], row["valid_elbo"]) for row in done.history]
        return rows, net[1].running_mean.clone()

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 4, resume=True)
    assert parts[0] == whole[0]
    assert torch.equal(parts[1], whole[1])
