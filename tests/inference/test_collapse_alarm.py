"""The units that `fit` follows, and its alarm."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import VAE, CollapseWarning, EncoderGuide, Gaussian, fit
from tests.inference.curves import SIZE, curved, programs


def test_units_are_written_and_followed(tmp_path: Path) -> None:
    run = fit(*programs(), curved(200), epochs=10, folder=tmp_path, quiet=True)
    with (tmp_path / "units.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert run.units is not None and [row["unit"] for row in rows] == list(run.units.names)
    assert [float(row["rate"]) for row in rows] == pytest.approx(run.units.rates.tolist())
    assert sum(row["active"] == "True" for row in rows) == run.units.num_active
    assert all(int(row["last_active_epoch"]) <= 10 for row in rows)
    with (tmp_path / "metrics.csv").open() as file:
        counts = [float(row["active_units"]) for row in csv.DictReader(file)]
    assert counts == [row["active_units"] for row in run.history]


class Deaf(VAE):
    """A model that does not listen to z."""

    def forward(self, x: torch.Tensor, index: Any = None) -> Any:
        pyro.module("deaf", self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", self.prior(x))
            pyro.sample("obs", self.likelihood(self.decoder(0 * z)), obs=x)


@pytest.mark.parametrize("how", ["beta", "sigma", "deaf"])
def test_a_collapse_is_told_once_in_words(how: str) -> None:
    torch.manual_seed(0)
    sigma = Gaussian(1e5, "none") if how == "sigma" else Gaussian()
    model = (Deaf if how == "deaf" else VAE)((SIZE,), 3, (16,), sigma)
    with pytest.warns(
        CollapseWarning, match=r"posterior collapse: .* latent unit.*warmup_epochs"
    ) as told:
        run = fit(
            model,
            EncoderGuide((SIZE,), 3, (16,)),
            curved(),
            epochs=30,
            beta=500 if how == "beta" else 1,
            quiet=True,
        )
    assert len([w for w in told if w.category is CollapseWarning]) == 1
    assert told[0].filename == __file__  # it points to the call of fit
    assert run.alarm is not None and run.units is not None and run.units.num_active == 0
    assert "0 of 3 latent units active" in str(run) and "mend the collapse" in str(run)


def test_the_alarm_is_not_repeated_after_a_resume(tmp_path: Path) -> None:
    def train(**options: Any) -> None:
        torch.manual_seed(0)
        pyro.clear_param_store()
        model = VAE((SIZE,), 3, (16,), Gaussian(1e5, "none"))
        fit(
            model,
            EncoderGuide((SIZE,), 3, (16,)),
            curved(200),
            folder=tmp_path,
            quiet=True,
            **options,
        )

    with pytest.warns(CollapseWarning):
        train(epochs=28)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        train(epochs=32, resume=True)


def test_programs_whose_units_cannot_be_followed_train_all_the_same(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def model(x: torch.Tensor, index: Any = None) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample(
                "obs", dist.Normal(loc[..., None] * torch.ones(SIZE), 1.0).to_event(1), obs=x
            )

    def guide(x: torch.Tensor, index: Any = None) -> None:
        pyro.sample("loc", dist.Normal(pyro.param("mean", torch.zeros(())), 0.1))

    x = torch.randn(1, SIZE)
    run = fit(model, guide, x, epochs=2)
    assert run.units is None and "latent units active" not in str(run)


def test_the_alarm_is_of_the_epoch_that_is_kept() -> None:
    torch.manual_seed(3)
    x = (torch.rand(50, 40) < 0.5).float()  # noise: what is learned later is learned by heart
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        run = fit(
            VAE((40,), 2, (64,)),
            EncoderGuide((40,), 2, (64,)),
            x,
            epochs=60,
            warmup_epochs=0,
            keep="best",
            quiet=True,
        )
    assert run.units is not None and (run.alarm is None) == (run.units.num_active > 0), (
        run.epoch,
        run.alarm,
    )
