"""Programs on another device than the CPU: torch's fake tensors, which say where they lie and hold
nothing, refuse whatever mixes devices or reads a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import pyro_vae as pv
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.smoothing import smoothed
from pyro_vae.evidence.tails import tail
from pyro_vae.evidence.weights import ess, log_mean_exp, log_mean_exp_error
from pyro_vae.programs.pair import Pair
from tests.processes.forked import apart

SHAPE, DIM, NUM = (6,), 3, 7


@contextmanager
def on_gpu(model: nn.Module, guide: nn.Module) -> Iterator[Pair]:
    """Programs and data on a GPU, as far as that can be told without one; no gradients, for which
    autograd asks the driver.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    if hasattr(model, "take_guide"):
        model.take_guide(guide)
    with pyro.validation_enabled(False), fake, torch.no_grad():
        moved(model, guide)
        pair = Pair(model, guide, torch.ones(NUM, *SHAPE, device="cuda"), numbers())
        # which are found by running the programs on values
        vars(pair).update(depth=1, is_whole=False, states=1)
        yield pair


def numbers() -> Tensor:
    return torch.arange(NUM, device="cuda")


def moved(*modules: nn.Module) -> None:
    """What `module.to("cuda")` moves: parameters and buffers, and nothing else."""
    for module in (m for top in modules for m in top.modules()):
        for name, p in list(module._parameters.items()):
            if p is not None:
                fake = torch.empty(p.shape, dtype=p.dtype, device="cuda")
                module._parameters[name] = nn.Parameter(fake, p.requires_grad)
        for name, b in list(module._buffers.items()):
            if b is not None:
                module._buffers[name] = torch.empty(b.shape, dtype=b.dtype, device="cuda")


def vae(**options: Any) -> nn.Module:
    return pv.VAE(SHAPE, DIM, (8,), **options)


def amortized(family: pv.Family) -> nn.Module:
    return pv.Amortized(family, pv.MLP(SHAPE, (8,)))


GUIDES: dict[str, Callable[[], nn.Module]] = {
    "mean-field": lambda: amortized(pv.MeanField(DIM)),
    "low-rank": lambda: amortized(pv.LowRank(DIM, 2)),
    "full-rank": lambda: amortized(pv.FullRank(DIM)),
    "spline flow": lambda: amortized(pv.SplineFlow(DIM)),
    "autoregressive": lambda: pv.AutoregressiveFlow(DIM, pv.MLP(SHAPE, (8,)), hidden=(8,)),
    "local": lambda: pv.Local(pv.FullRank(DIM), NUM),
    "local flow": lambda: pv.Local(pv.SplineFlow(DIM, 4), NUM),
}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "Bernoulli": vae,
    "Gaussian": lambda: vae(likelihood=pv.Gaussian()),
    "Student t": lambda: vae(likelihood=pv.StudentT()),
    "Poisson": lambda: vae(likelihood=pv.Poisson()),
    "negative binomial": lambda: vae(likelihood=pv.NegativeBinomial()),
    "categorical": lambda: vae(likelihood=pv.Categorical(4)),
    "beta-binomial": lambda: vae(likelihood=pv.BetaBinomial()),
    "discretised logistic": lambda: vae(likelihood=pv.DiscretisedLogistic()),
    "mixture prior": lambda: vae(prior=pv.MixturePrior(3)),
    "Vamp prior": lambda: vae(prior=pv.VampPrior(3)),
    "flow prior": lambda: vae(prior=pv.FlowPrior(2, (8,), 4)),
    "linear Gaussian": lambda: pv.LinearGaussian(SHAPE[0], DIM),
}


def check(pair: Pair) -> None:
    """Draws and scores lie where the data do."""
    latents, log_guide = pair.sample(5)
    for t in (log_guide, *pair.score(latents), pair.log_guide(latents), *latents.values()):
        assert t.device.type == "cuda"


@pytest.mark.parametrize("name", GUIDES)
@apart
def test_a_guide_works_where_its_data_are(name: str) -> None:
    with on_gpu(vae(), GUIDES[name]()) as pair:
        check(pair)


@pytest.mark.parametrize("name", MODELS)
@apart
def test_a_model_works_where_its_data_are(name: str) -> None:
    with on_gpu(MODELS[name](), GUIDES["mean-field"]()) as pair:
        check(pair)


@apart
def test_paths_and_weights_stay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pair, "check_density", lambda pair: None)  # it compares values
    for name in ("get_rng_state", "set_rng_state"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)  # of the driver
    with on_gpu(vae(), GUIDES["mean-field"]()) as pair:
        path = Path(pair)
        z = path.draw(4)
        assert {t.device.type for t in (z, *path.densities(z))} == {"cuda"}

        log_w = pair.log_weights(200).double()
        for statistic in (log_mean_exp, log_mean_exp_error, ess, tail, smoothed):
            found: Any = statistic(log_w)
            for t in found if isinstance(found, tuple) else (found,):
                assert t.device.type == "cuda"


@apart
def test_rows_and_their_noise_lie_together() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        pixels = torch.zeros(9, *SHAPE, dtype=torch.uint8, device="cuda")
        bits = torch.zeros(NUM, *SHAPE, device="cuda")
        for rule in ("dynamic", "dequantise"):
            split = pv.Split("train", pixels, rule)  # type: ignore[arg-type]
            assert split.rows(numbers(), bits).device.type == "cuda"
            assert split.numbers(numbers()).device.type == "cuda"


@apart
def test_what_mixes_devices_is_refused() -> None:
    """The test of the tests: a constant that `to` does not move."""
    model = Shifted(SHAPE, DIM, (8,))
    model.shift = torch.ones(SHAPE)
    with (
        on_gpu(model, GUIDES["mean-field"]()) as pair,
        pytest.raises(Exception, match=r"same device|different devices|DeviceMismatch"),
    ):
        check(pair)


class Shifted(pv.VAE):
    shift: Tensor

    def forward(self, x: Tensor, index: Tensor | None = None) -> Any:
        return super().forward(x + self.shift, index)
