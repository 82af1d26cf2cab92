"""A loss that is not finite, and what is left then."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    Dataset,
    EncoderGuide,
    Gaussian,
    MeanField,
    NonFiniteLoss,
    Split,
    fit,
)
from tests.inference.toys import NUM, SGD, SIZE, make


def test_non_finite_loss_names_epoch_step_and_cause(tmp_path: Path) -> None:
    model, guide, x = make()
    with pytest.raises(
        NonFiniteLoss, match=r"epoch \d+, step \d+.*lower the learning rate \(now 1e\+08\)"
    ):
        fit(
            model,
            guide,
            x,
            epochs=5,
            optimizer=partial(torch.optim.SGD, lr=1e8),
            folder=tmp_path / "run",
            quiet=True,
        )


def test_non_finite_loss_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    model, guide, x = make()
    calls = iter(range(10**6))

    def breaking(x: torch.Tensor, index: Any = None) -> Any:
        if next(calls) > 20:  # behind the checks and an epoch
            x = x * math.inf
        return model(x, index)

    with pytest.raises(NonFiniteLoss, match="last good checkpoint is in"):
        fit(breaking, guide, x, epochs=50, batch_size=32, folder=tmp_path, quiet=True)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(torch.isfinite(v).all() for v in state["weights"]["guide"].values())
    assert state["position"]["epoch"] >= 1


@pytest.mark.parametrize(("valid", "name"), [(10, "validation"), (0, "train")])
@pytest.mark.parametrize("rate", [1e3, 1e20])
def test_what_only_the_last_step_broke_is_a_non_finite_loss(
    valid: int, name: str, rate: float, tmp_path: Path
) -> None:
    # One step an epoch: its loss is finite, as are the parameters that it leaves; their densities
    # are not.
    model, guide = (
        VAE((SIZE,), 2, hidden=(8,), likelihood=Gaussian()),
        EncoderGuide((SIZE,), 2, hidden=(8,)),
    )
    x, sgd = torch.randn(NUM, SIZE), partial(torch.optim.SGD, lr=rate)
    with pytest.raises(
        NonFiniteLoss, match=f"of the {name} data is NaN or infinite after epoch 1.*learning rate"
    ) as told:
        fit(
            model,
            guide,
            x,
            epochs=1,
            batch_size=NUM,
            valid=valid,
            optimizer=sgd,
            folder=tmp_path,
            quiet=True,
        )
    assert "leading dimensions" not in str(told.value)
    assert all(torch.isfinite(p).all() for p in guide.parameters())
    assert (tmp_path / "checkpoint.pt").exists() and not (tmp_path / "weights.pt").exists()


def test_a_validation_datum_outside_the_support_is_no_divergence() -> None:
    # Uniform noise of width 4: the train data are within reach of every mean, but not one
    # validation datum.
    def model(x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
            low = pyro.param("low", torch.tensor(-2.0)).expand(x.shape[-1])
            pyro.sample("obs", dist.Uniform(low, 2.0, validate_args=False).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(1)), 1.0).to_event(1))

    x = torch.linspace(-1, 1, 20).reshape(20, 1)
    valid = torch.cat([x[:9], torch.tensor([[3.0]])])
    data = Dataset(
        "toy", Split("train", x, "none"), Split("valid", valid, "none"), Split("test", x, "none")
    )
    run = fit(model, guide, data, epochs=1, warmup_epochs=0, optimizer=SGD, quiet=True)
    assert run.history[0]["valid_elbo"] == -math.inf


def test_a_checkpoint_within_an_epoch_is_never_of_broken_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vae.inference.svi._SAVE_EVERY", -1.0)

    class Breaking(Amortized):
        calls = 0

        def forward(self, x: torch.Tensor, index: Any = None) -> Any:
            self.calls += 1
            z = super().forward(x, index)
            if self.calls > 12:  # a finite loss with a gradient that is not
                pyro.factor(
                    "nothing",
                    (self.head.bias - self.head.bias.detach()).square().sum().sqrt(),
                    has_rsample=True,
                )
            return z

    model, _, x = make()

    def scored(x: torch.Tensor, index: Any = None) -> Any:
        return model(x, index)

    guide = Breaking(MeanField(2), MLP(SIZE, ()))
    with pytest.raises(NonFiniteLoss, match="became non-finite in epoch"):
        fit(scored, guide, x, epochs=20, batch_size=8, folder=tmp_path, quiet=True)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(torch.isfinite(v).all() for v in state["weights"]["guide"].values())
