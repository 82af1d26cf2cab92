"""What `fit` does where nothing is said: batches, warm-up, the epoch that is kept, units, the
alarm, the sentence.
"""

from __future__ import annotations

import csv
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    Bernoulli,
    CollapseWarning,
    Dataset,
    EncoderGuide,
    Gaussian,
    LinearGaussian,
    Local,
    MeanField,
    Recipe,
    Split,
    fit,
    load,
    log_evidence,
)
from pyro_vae.evidence import Importance
from pyro_vae.inference.recipe import default_batch_size
from pyro_vae.objectives import Bound, FreeBits

SIZE = 6


def curved(num: int = 400) -> np.ndarray[Any, Any]:
    """Data on a curve in odd units, with noise: one latent unit explains them."""
    draw = np.random.RandomState(0)
    t = draw.randn(num, 1)
    basis = np.concatenate([t, t**2, np.sin(2 * t)], 1) @ draw.randn(3, SIZE)
    return 1000 + 250 * (basis + 0.1 * draw.randn(num, SIZE))


def programs(dim: int = 3) -> tuple[VAE, EncoderGuide]:
    torch.manual_seed(0)
    return VAE((SIZE,), dim, (32,), Gaussian()), EncoderGuide((SIZE,), dim, (32,))


@pytest.mark.parametrize(
    ("num", "size"), [(10, 16), (457, 16), (1297, 64), (1573, 64), (2560, 128), (50_000, 128)]
)
def test_small_sets_have_small_batches(num: int, size: int) -> None:
    assert default_batch_size(num) == size


@pytest.mark.parametrize(
    ("loss", "epochs", "num", "expected"),
    [
        (Trace_ELBO(), 100, 50_000, 20.0),  # a fifth
        (Trace_ELBO(), 20, 50_000, 2000 / 391),  # 2,000 steps
        (TraceMeanField_ELBO(), 20, 1297, 10.0),  # half
        (Bound(5), 20, 1297, 0.0),
        (FreeBits(0.1), 20, 1297, 0.0),
        (RenyiELBO(num_particles=2), 20, 1297, 0.0),
    ],
)
def test_warm_up_follows_the_run(loss: Any, epochs: int, num: int, expected: float) -> None:
    recipe = Recipe(epochs=epochs, loss=loss).for_data(num)
    assert recipe.warmup_epochs == pytest.approx(expected)
    assert Recipe(epochs=epochs, loss=loss, warmup_epochs=3.0).for_data(num).warmup_epochs == 3.0


def test_what_is_kept() -> None:
    assert [
        Recipe(**change).for_data(100, True).keep
        for change in ({}, {"beta": 2.0}, {"loss": Bound(5)})
    ] == [
        "best",
        "last",
        "last",
    ]
    assert Recipe().for_data(100, False).keep == "last"
    assert Recipe(keep="last").for_data(100, True).keep == "last"
    with pytest.raises(ValueError, match="keep: got 'last', expected None or 'best' with patience"):
        Recipe(keep="last", patience=3)
    with pytest.raises(ValueError, match="keep: got 'first'"):
        Recipe(keep="first")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keep: the best epoch needs a validation split"):
        fit(*programs(), curved(), valid=0, keep="best", quiet=True)


def test_the_best_epoch_is_kept() -> None:
    model, guide = programs()
    rate = partial(torch.optim.Adam, lr=0.1)  # which jumps about
    run = fit(model, guide, curved(100), epochs=30, optimizer=rate, warmup_epochs=5, quiet=True)
    scores = [row["valid_elbo"] for row in run.history]
    assert run.epoch == 1 + max(range(5, 30), key=scores.__getitem__) < 30
    assert run.data.valid is not None
    now = log_evidence(
        model,
        guide,
        run.data.valid.x,
        Importance(num_particles=1, seed=0),
        index=run.data.valid.numbers(),
    )
    assert now.elbo.mean().item() == pytest.approx(scores[run.epoch - 1], abs=1e-6)
    assert f"at epoch {run.epoch}, which was kept" in str(run)


def test_a_table_in_odd_units_is_learned_without_a_word() -> None:
    x = curved()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        model, guide = programs()
        run = fit(model, guide, x, epochs=100, quiet=True)
    assert run.units is not None and run.units.num_active >= 1 and run.alarm is None
    assert run.data.valid is not None
    held = torch.from_numpy(x[run.data.valid.numbers().numpy()]).float()
    constant = torch.distributions.Normal(
        *(torch.from_numpy(f(0)).float() for f in (x.mean, x.std))
    )
    # in nats
    assert run.history[run.epoch - 1]["valid_elbo"] > constant.log_prob(held).sum(-1).mean() + SIZE


def test_units_are_written_and_followed(tmp_path: Path) -> None:
    run = fit(*programs(), curved(), epochs=30, folder=tmp_path, quiet=True)
    with (tmp_path / "units.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert run.units is not None and [row["unit"] for row in rows] == list(run.units.names)
    assert [float(row["rate"]) for row in rows] == pytest.approx(run.units.rates.tolist())
    assert sum(row["active"] == "True" for row in rows) == run.units.num_active
    assert all(int(row["last_active_epoch"]) <= 30 for row in rows)
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
            epochs=40,
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
            model, EncoderGuide((SIZE,), 3, (16,)), curved(), folder=tmp_path, quiet=True, **options
        )

    with pytest.warns(CollapseWarning):
        train(epochs=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        train(epochs=30, resume=True)


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


def test_the_sentence_says_what_was_learned(capfd: pytest.CaptureFixture[str]) -> None:
    run = fit(*programs(), curved(100), epochs=2)
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error == str(run)
    assert error.startswith("after 2 epochs the ELBO of 10 validation data is")
    assert "of 3 latent units active, rate" in error
    assert error.endswith("next: pv.log_evidence(model, guide, x)")


def test_rules_that_do_not_go_together_are_refused_by_name() -> None:
    model, guide = VAE((1, 8, 8), 2, (8,), Gaussian()), EncoderGuide((1, 8, 8), 2, (8,))
    with pytest.raises(
        ValueError, match="binarise='dynamic' makes no data for a Gaussian likelihood"
    ):
        fit(model, guide, load("digits"), quiet=True)
    with pytest.raises(
        ValueError, match="binarise='dequantise' makes no data for a Bernoulli likelihood"
    ):
        fit(VAE((1, 8, 8), 2, (8,)), guide, load("digits", binarise="dequantise"), quiet=True)


@pytest.mark.parametrize(
    ("likelihood", "rule"), [(Bernoulli(), "dynamic"), (Gaussian(), "dequantise")]
)
def test_pixels_in_an_array_become_what_the_likelihood_needs(likelihood: Any, rule: str) -> None:
    pixels = np.random.RandomState(0).randint(0, 250, (60, 4, 4)).astype(np.uint8)
    run = fit(
        VAE((1, 4, 4), 2, (8,), likelihood),
        EncoderGuide((1, 4, 4), 2, (8,)),
        pixels,
        epochs=1,
        quiet=True,
    )
    assert run.data.binarise == rule


def test_a_program_gets_the_numbers_of_the_user_s_rows() -> None:
    x = torch.randn(40, SIZE)
    guide = Amortized(MeanField(2), MLP(SIZE, ()))

    def spy(batch: torch.Tensor, index: torch.Tensor) -> Any:
        assert torch.equal(batch, x[index]) or torch.allclose(batch, x[index])
        return guide(batch, index)

    run = fit(LinearGaussian(SIZE, 2), spy, x, epochs=1, quiet=True)
    assert run.data.valid is not None and len(run.data.valid) == 4


def test_a_guide_with_rows_holds_nothing_out() -> None:
    x = torch.randn(40, SIZE)
    assert (
        fit(LinearGaussian(SIZE, 2), Local(MeanField(2), 40), x, epochs=1, quiet=True).data.valid
        is None
    )


def test_a_float64_model_trains_on_float64() -> None:
    model, guide = LinearGaussian(SIZE, 2).double(), Amortized(MeanField(2), MLP(SIZE, ())).double()
    run = fit(model, guide, curved(50), epochs=1, quiet=True)
    assert run.data.train.x.dtype == torch.float64 and np.isfinite(run.history[0]["train_loss"])


def test_plain_functions_get_a_float64_tensor_as_it_is() -> None:
    def model(x: torch.Tensor, index: Any = None) -> None:
        mean = pyro.param("mean", torch.zeros(SIZE, dtype=torch.float64))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=torch.float64), 1.0))
            pyro.sample("obs", dist.Normal(mean + z[..., None], 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: Any = None) -> None:
        assert x.dtype == torch.float64
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.mean(-1), 1.0))

    fit(model, guide, torch.randn(40, SIZE, dtype=torch.float64), epochs=1, quiet=True)


def test_data_given_as_a_set_have_nothing_held_out_twice() -> None:
    split = Split("train", torch.randn(40, SIZE), "none")
    with pytest.raises(ValueError, match="has its splits already"):
        fit(*programs(), Dataset("own", split, None, split), valid=3, quiet=True)


# what a hostile reader found


def test_a_refused_fit_leaves_no_units_behind() -> None:
    x = torch.from_numpy(curved(100)).float()
    model, guide = programs()
    with pytest.raises(ValueError, match="scaled"):
        fit(model, guide, 1000 * x + 5000, loss=Bound(2), beta=0.5, epochs=1, quiet=True)
    fit(model, guide, x, epochs=1, quiet=True)
    fresh, encoder = programs()
    fit(fresh, encoder, x, epochs=1, quiet=True)
    assert torch.equal(model.likelihood.units.shift, fresh.likelihood.units.shift)  # type: ignore[union-attr]
    assert torch.equal(guide.standardise.scale, encoder.standardise.scale)


def test_the_alarm_is_of_the_epoch_that_is_kept() -> None:
    torch.manual_seed(3)
    x = (torch.rand(50, 40) < 0.5).float()  # noise: what is learned later is learned by heart
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        run = fit(
            VAE((40,), 2, (64,)),
            EncoderGuide((40,), 2, (64,)),
            x,
            epochs=150,
            warmup_epochs=0,
            keep="best",
            quiet=True,
        )
    assert run.units is not None and (run.alarm is None) == (run.units.num_active > 0), (
        run.epoch,
        run.alarm,
    )


def test_bits_are_told_only_of_probabilities() -> None:
    x = (torch.rand(100, SIZE) < 0.3).float()
    for likelihood, told in ((Gaussian(), False), (Bernoulli(), True)):
        run = fit(
            VAE((SIZE,), 2, (8,), likelihood),
            EncoderGuide((SIZE,), 2, (8,)),
            x,
            epochs=1,
            quiet=True,
        )
        assert ("bits a value" in str(run)) == told


def test_counts_are_taken_once_the_question_is_answered() -> None:
    counts = np.random.RandomState(0).poisson(3.0, (60, SIZE))
    with pytest.raises(ValueError, match="pixels, counts"):
        fit(*programs(), counts, quiet=True)
    assert fit(*programs(), counts, values="real", epochs=1, quiet=True).data.train.x.max() > 2
    pixels = torch.randint(0, 200, (40, SIZE), dtype=torch.uint8)
    with pytest.raises(ValueError, match="does not say how it wants them"):
        fit(LinearGaussian(SIZE, 2), Amortized(MeanField(2), MLP(SIZE, ())), pixels, quiet=True)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (3, 8, 8)])
def test_images_stay_in_the_layout_of_the_model(shape: tuple[int, ...]) -> None:
    x = np.random.RandomState(0).rand(60, *shape)
    run = fit(
        VAE(shape, 2, (8,), Gaussian()), EncoderGuide(shape, 2, (8,)), x, epochs=1, quiet=True
    )
    assert torch.equal(run.data.train.x, torch.from_numpy(x).float()[run.data.train.numbers()])


def test_times_since_1970_are_not_rounded_away() -> None:
    x = np.random.RandomState(0).rand(60, SIZE)
    x[:, 2] = 1.7e9 + 60 * x[:, 2]
    for given in (x, torch.from_numpy(x)):
        with pytest.raises(
            ValueError, match=r"about 1\.7e\+09 in value 2 of a row .* subtract an offset"
        ):
            fit(*programs(), given, quiet=True)


def test_odd_arrays() -> None:
    x = torch.randn(40, SIZE, requires_grad=True)
    fit(*programs(), x, epochs=2, quiet=True)
    fit(*programs(), x.detach().numpy().astype(">f8"), epochs=1, quiet=True)
    model, guide = VAE((SIZE,), 2, (8,)).double(), EncoderGuide((SIZE,), 2, (8,)).double()
    fit(model, guide, np.random.RandomState(0).rand(60, SIZE) < 0.5, epochs=1, quiet=True)


def test_a_handful_of_validation_rows_decides_nothing() -> None:
    run = fit(*programs(), torch.randn(12, SIZE), epochs=3, quiet=True)
    assert run.epoch == 3 and run.units is not None  # followed on the train rows
