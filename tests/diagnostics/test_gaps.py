"""The ledger against the closed forms of the linear-Gaussian model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pyro_vae import (
    MLP,
    Amortized,
    ExactGuide,
    FullRank,
    LinearGaussian,
    Local,
    MeanField,
    SemiAmortized,
    fit_local,
    gap_ledger,
)
from pyro_vae.diagnostics.gaps import Gap, Ledger
from pyro_vae.evidence import Annealed, Importance, log_evidence
from tests.scenarios import Distorted, linear_gaussian

NUM = 15


@pytest.fixture(scope="module")
def made() -> tuple[LinearGaussian, torch.Tensor, Ledger]:
    model, x = linear_gaussian(NUM)
    amortized = Amortized(MeanField(2), MLP(5, ())).double()
    with torch.no_grad():  # the right means, all too wide
        weight = (
            torch.linalg.solve(model.precision(), model.loading.T) / (2 * model.log_sigma).exp()
        )
        amortized.head.weight[:2], amortized.head.bias[:2] = weight, 0.0
        amortized.head.weight[2:], amortized.head.bias[2:] = 0.0, 0.1
    guides = {
        "exact": ExactGuide(model),
        "amortized": amortized,
        "stepped": SemiAmortized(amortized, model, num_steps=60, learning_rate=0.05),
        "classical": fit_local(model, Local(MeanField(2), NUM).double(), x, num_particles=10),
        "full": fit_local(model, Local(FullRank(2), NUM).double(), x, num_particles=10),
    }
    return model, x, gap_ledger(model, guides, x, method=Importance(num_particles=4000))


def test_gaps_are_those_of_the_closed_form(
    made: tuple[LinearGaussian, torch.Tensor, Ledger],
) -> None:
    model, x, ledger = made
    torch.testing.assert_close(ledger.log_px, model.log_px(x), atol=1e-6, rtol=0)
    entry = ledger.entries["amortized"]
    assert (entry.family, entry.best) == ("MeanField(2)", "classical")
    assert entry.approximation is not None and entry.amortization is not None
    star = model.mean_field_gap().item()
    assert abs(entry.approximation.mean - star) < 5 * entry.approximation.monte_carlo_error
    scale = torch.full((2,), 0.1).double().exp()
    wide = (
        model.precision().diagonal() * scale**2
        - 1
        - (model.precision().diagonal() * scale**2).log()
    ).sum() / 2
    assert abs(entry.amortization.mean - wide.item()) < 5 * entry.amortization.monte_carlo_error
    assert torch.equal(
        entry.approximation.values + entry.amortization.values, entry.inference.values
    )
    z = (
        entry.inference.values - (model.log_px(x) - entry.evidence.elbo)
    ).abs() / entry.inference.errors
    assert z.max() < 1e-6


def test_the_local_guide_has_no_amortization_gap(
    made: tuple[LinearGaussian, torch.Tensor, Ledger],
) -> None:
    entry = made[2].entries["classical"]
    assert (
        entry.best == "classical" and entry.amortization is None and entry.approximation is not None
    )
    assert torch.equal(entry.approximation.values, entry.inference.values)
    assert (entry.evaluations > 1000).all() and entry.seconds > 0


def test_steps_buy_back_most_of_the_amortization_gap(
    made: tuple[LinearGaussian, torch.Tensor, Ledger],
) -> None:
    entries = made[2].entries
    before, after = entries["amortized"].amortization, entries["stepped"].amortization
    assert before is not None and after is not None and after.mean < 0.3 * before.mean
    assert entries["stepped"].best == "classical" and (entries["stepped"].evaluations == 60).all()


def test_what_is_noise_is_said_to_be_noise(
    made: tuple[LinearGaussian, torch.Tensor, Ledger],
) -> None:
    entry = made[2].entries["full"]  # its gap is zero
    assert entry.best == "full"
    noise = Gap(torch.tensor([0.1, -0.2]), torch.tensor([1.0, 1.0]))
    assert not noise.resolved and "not resolved" in str(noise)
    clear = Gap(torch.tensor([1.0, 1.2]), torch.tensor([0.1, 0.1]))
    assert clear.resolved and str(clear) == "1.100 +- 0.100"
    rows = {row["guide"]: row for row in made[2].rows()}
    assert rows["exact"]["approximation_gap"] is None and rows["exact"]["q*"] is None
    assert rows["amortized"]["inference_gap"] == pytest.approx(
        rows["amortized"]["approximation_gap"] + rows["amortized"]["amortization_gap"]
    )


@pytest.fixture(scope="module")
def small() -> tuple[LinearGaussian, torch.Tensor]:
    model, x = linear_gaussian(5, 4, 8, 0.5)
    return model.requires_grad_(False), x


def test_the_error_knows_that_both_numbers_share_their_draws(
    small: tuple[LinearGaussian, torch.Tensor],
) -> None:
    model, x = small
    guides = {"wide": Distorted(model, 1.5)}
    gaps = [
        gap_ledger(model, guides, x, method=Importance(num_particles=100, seed=seed))
        .entries["wide"]
        .inference
        for seed in range(100)
    ]
    spread = torch.tensor([gap.mean for gap in gaps]).std().item()
    told = sum(gap.monte_carlo_error for gap in gaps) / len(gaps)
    assert told == pytest.approx(spread, rel=0.25)  # as if independent: 1.5 times


def test_the_best_of_many_guides_stays_a_lower_bound(
    small: tuple[LinearGaussian, torch.Tensor],
) -> None:
    model, x = small
    kinds = ((1.4, 0.0), (1.5, 0.3), (1.6, 0.0), (1.5, -0.3), (1.45, 0.15), (1.55, 0.0))
    guides = {f"{width} {shift}": Distorted(model, width, shift) for width, shift in kinds}
    above = [
        gap_ledger(model, guides, x, method=Importance(num_particles=40, seed=2 * s)).log_px
        - model.log_px(x)
        for s in range(50)
    ]
    means = torch.stack(above).mean(1)
    # the largest of the six means: 4 standard errors above
    assert means.mean() < 1.6 * means.std() / 50**0.5


def test_an_annealed_estimate_is_taken_unless_it_is_lower(
    made: tuple[LinearGaussian, torch.Tensor, Ledger],
) -> None:
    model, x, _ = made
    guides = {"classical": fit_local(model, Local(MeanField(2), NUM).double(), x, num_steps=50)}
    chains = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=100))
    ledger = gap_ledger(
        model, guides, x, estimates={"chains": chains}, method=Importance(num_particles=50)
    )
    assert ledger.estimator == "chains" and torch.equal(ledger.log_px, chains.log_px)
    low = replace(chains, log_px=chains.log_px - 1)
    assert (
        gap_ledger(
            model, guides, x, estimates={"chains": low}, method=Importance(num_particles=50)
        ).estimator
        == "classical"
    )
    entry = ledger.entries["classical"]
    assert torch.equal(entry.inference.values, chains.log_px - entry.evidence.elbo)
    assert (entry.evaluations == 50).all() and entry.seconds > 0
    with pytest.raises(ValueError, match="expected all of these 3"):
        gap_ledger(
            model,
            {"amortized": ExactGuide(model)},
            x[:3],
            estimates={"chains": chains},
            method=Importance(num_particles=50),
        )


def test_what_a_table_took_is_not_known_without_its_optimum(
    made: tuple[LinearGaussian, torch.Tensor, Ledger],
) -> None:
    model, x, _ = made
    bare = fit_local(model, Local(MeanField(2), NUM).double(), x, num_steps=2).guide
    entry = gap_ledger(model, {"bare": bare}, x, method=Importance(50)).entries["bare"]
    assert entry.evaluations.isnan().all() and dict(entry.figures())["cost"] == "not known"


def test_bad_input(made: tuple[LinearGaussian, torch.Tensor, Ledger]) -> None:
    model, x, _ = made
    with pytest.raises(ValueError, match="guides: got none"):
        gap_ledger(model, {}, x)
    twice = {name: Local(MeanField(2), NUM).double() for name in ("one", "two")}
    with pytest.raises(ValueError, match="'one' and 'two' are both local"):
        gap_ledger(model, twice, x)
