"""What `fit` does where nothing is said: batches, warm-up, the epoch that is kept, the sentence."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO

from pyro_vae import (
    VAE,
    Bernoulli,
    CollapseWarning,
    EncoderGuide,
    Gaussian,
    Recipe,
    fit,
    log_evidence,
)
from pyro_vae.evidence import Importance
from pyro_vae.inference.recipe import default_batch_size
from pyro_vae.objectives import Bound, FreeBits
from tests.inference.curves import SIZE, curved, programs


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


def test_the_sentence_says_what_was_learned(capfd: pytest.CaptureFixture[str]) -> None:
    run = fit(*programs(), curved(100), epochs=2)
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error == str(run)
    assert error.startswith("after 2 epochs the ELBO of 10 validation data is")
    assert "of 3 latent units active, rate" in error
    assert error.endswith("next: pv.log_evidence(model, guide, x)")


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


def test_a_handful_of_validation_rows_decides_nothing() -> None:
    run = fit(*programs(), torch.randn(12, SIZE), epochs=3, quiet=True)
    assert run.epoch == 3 and run.units is not None  # followed on the train rows
