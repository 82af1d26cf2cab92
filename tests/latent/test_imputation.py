"""What is missing, drawn given the rest: held to the conditional of the linear-Gaussian model."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from tests.programs.test_missing import DIM, MODEL, SIZE, X
from tests.scenarios import Distorted

MISSING = X.isnan()
MEAN, SD = (part[MISSING] for part in MODEL.conditional(X))


def prior_guide() -> pv.Amortized:
    """A guide that was not trained."""
    return pv.Amortized(pv.MeanField(DIM), pv.MLP(SIZE, ())).double()


def prior_guide_of(size: int) -> pv.Amortized:
    return pv.Amortized(pv.MeanField(1), pv.MLP(size, ()))


@pytest.mark.parametrize("guide", [pv.ExactGuide(MODEL), prior_guide()], ids=["exact", "prior"])
def test_means_and_deviations_are_those_of_the_conditional(guide: Any) -> None:
    found = pv.impute(MODEL, guide, X, num_particles=3000, num_draws=200)
    assert ((found.mean - MEAN).abs() < 5 * found.error).all()
    effective = found.ess[found.datum]
    assert ((found.sd / SD - 1).abs() < 5 * (0.5 / effective).sqrt() + 0.01).all()
    ends = 1.96 * SD
    off = torch.stack([found.low - MEAN + ends, found.high - MEAN - ends]) / SD
    assert (off.abs() < 12 / effective.sqrt()).all()

    # the draws, too, of which those of a datum belong together
    wrong = (found.draws.mean(0) - MEAN) / SD
    assert (wrong.abs() < 5 * (1 / effective + 1 / 200).sqrt()).all()
    last = found.datum == len(X) - 1  # of which nothing is known: a draw of the model
    noise = (2 * MODEL.log_sigma).exp() * torch.eye(SIZE).double()
    covariance = MODEL.loading @ MODEL.loading.T + noise
    assert (torch.cov(found.draws[:, last].T) - covariance).abs().max() < 1.0
    assert torch.corrcoef(found.draws[:, last].T).fill_diagonal_(0).abs().max() > 0.3


def test_the_data_completed() -> None:
    found = pv.impute(MODEL, pv.ExactGuide(MODEL), X, num_particles=100, num_draws=3)
    whole, drawn = found.completed(), found.drawn()
    assert torch.equal(whole[~MISSING], X[~MISSING]) and torch.equal(whole[MISSING], found.mean)
    assert drawn.shape == (3, *X.shape) and torch.equal(drawn[1][MISSING], found.draws[1])
    assert (drawn[:, ~MISSING] == X[~MISSING]).all()
    again = pv.impute(MODEL, pv.ExactGuide(MODEL), X, num_particles=100, num_draws=3)
    assert torch.equal(again.draws, found.draws)
    assert torch.equal(found.ess.isnan(), ~MISSING.any(1))


def test_weights_tell_of_a_guide_that_is_off() -> None:
    class Off(Distorted):
        runs_model = True

    exact = pv.impute(MODEL, pv.ExactGuide(MODEL), X, num_particles=400)
    off = pv.impute(MODEL, Off(MODEL, width=0.3, shift=2.0), X, num_particles=400)
    assert exact.reliable.all() and "healthy on all" in exact.verdict
    assert not off.reliable[off.asked].all() and "not healthy on" in off.verdict
    assert off.summary()["median_ess"] < 50 < exact.summary()["median_ess"]


def test_pictures_and_other_shapes() -> None:
    model = pv.VAE((1, 5, 5), 2, (4,))
    guide = pv.EncoderGuide((1, 5, 5), 2, (4,), mask=True)
    x = (torch.rand(6, 1, 5, 5) < 0.3).float()
    x[:4, :, :2] = torch.nan
    found = pv.impute(model, guide, x, num_particles=20, num_draws=2)
    assert found.completed().shape == x.shape and found.drawn().shape == (2, *x.shape)
    assert set(found.draws.unique().tolist()) <= {0.0, 1.0}
    assert ((found.mean > 0) & (found.mean < 1)).all()
    for view in ("pictures", "weights"):
        assert pv.plot(found, view).axes[0].get_title()
    table = pv.impute(MODEL, pv.ExactGuide(MODEL), X, num_particles=20)
    assert "datum:place" in pv.plot(table, "intervals").axes[0].get_xlabel()


def test_a_program_without_means() -> None:
    """Categories, whose mean means nothing."""

    def model(x: Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            logits = torch.stack([z.expand(*z.shape[:-1], 3) * k for k in (0.0, 2.0)], -1)
            pyro.sample("y", dist.Categorical(logits=logits).to_event(1), obs=x)

    guide = pv.Amortized(pv.MeanField(1), pv.MLP(3, ()))
    x = torch.tensor([[1.0, 1.0, torch.nan], [0.0, 0.0, torch.nan]])
    found = pv.impute(model, guide, x, num_particles=500)
    assert found.mean.tolist() == [1.0, 0.0] and found.error.isnan().all()
    assert (found.chance > 0.55).all() and "2 values, the most likely" in str(found)


def test_a_category_has_a_likeliest_code_and_no_mean() -> None:
    model = pv.VAE((3,), 1, (), pv.Mixed(["real", "categories:3", "counts"]))
    with torch.no_grad():
        model.decoder.head.weight.zero_()
        model.decoder.head.bias.view(3, 3)[:, 1] = torch.tensor([0.4, 0.2, 0.4]).log()
    x = torch.tensor([[0.0, torch.nan, 1.0], [torch.nan, 2.0, torch.nan]])
    found = pv.impute(model, prior_guide_of(3), x, num_particles=4000)

    assert found.mean[0] in (0.0, 2.0)  # their mean would be 1, the rarest
    assert abs(found.chance[0] - 0.4) < 5 * 0.5 / 4000**0.5
    assert found.error[0].isnan() and found.sd[1:].isfinite().all()
    assert found.chance[1:].isnan().all() and found.columns()["chance"].shape == (3,)
    assert found.summary()["sd"] > 0


def test_complete_data_are_refused() -> None:
    with pytest.raises(ValueError, match="x: got data of which nothing is missing"):
        pv.impute(MODEL, pv.ExactGuide(MODEL), X.nan_to_num())
