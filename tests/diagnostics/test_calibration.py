"""Calibration against the linear-Gaussian model, whose exact posterior is known: right guides pass,
wrong ones are told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import MLP, Amortized, ExactGuide, LinearGaussian, Local, MeanField, SemiAmortized
from pyro_vae.diagnostics.calibration import DENSITIES, Calibration, check_calibration
from pyro_vae.diagnostics.uniformity import _tables, _tail, critical, limits, p_value

LIKE = torch.zeros(1, 5)


def linear_gaussian(latent_dim: int = 2) -> LinearGaussian:
    return LinearGaussian(5, latent_dim, sigma=0.7)


def distorted(model: LinearGaussian, scale: float = 1.0, shift: float = 0.0) -> Callable[..., None]:
    """The exact posterior with its deviations scaled, and its mean shifted by some of the first
    unit's deviations.
    """

    def guide(x: torch.Tensor, index: Any = None) -> None:
        exact = model.posterior(x)
        mean = exact.mean.clone()
        mean[:, 0] += shift * exact.stddev[:, 0]
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample(
                "latent", dist.MultivariateNormal(mean, scale_tril=scale * exact.scale_tril)
            )

    return guide


def prior(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def test_the_exact_guide_is_flagged_at_most_at_alpha() -> None:
    model, alpha, num = linear_gaussian(), 0.05, 100
    found = [
        check_calibration(
            model, ExactGuide(model), LIKE, num_simulations=40, num_draws=19, seed=seed, alpha=alpha
        )
        for seed in range(num)
    ]
    rate, error = (
        sum(not one.calibrated for one in found) / num,
        math.sqrt(alpha * (1 - alpha) / num),
    )
    assert rate < alpha + 5 * error, (
        f"flagged {rate:.3f}, expected at most {alpha} +- {error:.3f} (n = {num})"
    )
    for name in found[0].ranks:
        ranks = torch.cat([one.ranks[name] for one in found])
        counts, expected = torch.bincount(ranks, minlength=20), len(ranks) / 20
        z = (counts - expected).abs().max() / math.sqrt(expected * 0.95)
        assert z < 5, f"{name}: {counts.tolist()}, expected {expected} each, {z:.1f} errors off"
        assert p_value(ranks, 19) > 1e-3


@pytest.mark.parametrize(
    ("change", "flagged", "cause"),
    [
        ({"scale": 0.5}, ("latent[0]", "latent[1]", "log_guide"), "too narrow in 2 of 2 units"),
        ({"scale": 2.0}, ("latent[0]", "latent[1]", "log_guide"), "too wide in 2 of 2 units"),
        ({"shift": 0.5}, ("latent[0]",), "biased (too high) in 1 of 2 units"),
        ({"shift": -0.5}, ("latent[0]",), "biased (too low) in 1 of 2 units"),
    ],
    ids=str,
)
def test_a_wrong_guide_is_flagged_and_told(
    change: dict[str, float], flagged: tuple[str, ...], cause: str
) -> None:
    model = linear_gaussian()
    found = check_calibration(model, distorted(model, **change), LIKE, num_simulations=300)
    assert not found.calibrated and set(flagged) <= set(found.flagged), found.p_values
    verdict = found.verdict
    assert verdict.startswith("miscalibrated: ") and verdict.endswith(f": the guide is {cause}"), (
        verdict
    )
    if "shift" in change:
        assert "latent[1]" not in found.flagged


def test_the_prior_passes_on_its_units_and_fails_on_what_looks_at_x() -> None:
    found = check_calibration(linear_gaussian(), prior, LIKE, num_simulations=300)
    assert set(found.flagged) == {"log_joint", "log_likelihood"}, found.p_values
    assert (
        found.p_values["log_likelihood"] < 1e-6
        and min(found.p_values[f"latent[{i}]"] for i in (0, 1)) > 0.01
    )
    assert found.verdict.endswith("(p < 1e-4): the guide ignores x, or a part of it")


def test_coverage_is_that_of_the_closed_form() -> None:
    """One latent whose scale is off by a factor s: the region of level c holds the truth with 2
    Phi(s z_c) - 1.
    """
    model, levels = linear_gaussian(1), torch.tensor([0.5, 0.8, 0.95], dtype=torch.float64)
    z_c = math.sqrt(2) * torch.erfinv(levels)
    for scale in (1.0, 0.5, 2.0):
        found = check_calibration(
            model, distorted(model, scale), LIKE, num_simulations=1000, num_draws=499
        )
        held, _ = found.coverage(levels.tolist())
        truth = torch.erf(scale * z_c / math.sqrt(2))
        error = (truth * (1 - truth) / 1000).sqrt()
        assert ((held - truth).abs() < 5 * error).all(), (
            f"scale {scale}: {held}, expected {truth} +- {error}"
        )


def test_coverage_counts_ranks() -> None:
    ranks = {"log_guide": torch.arange(10).repeat(10)}
    found = Calibration(ranks, 9, 0, 0.05)
    held, error = found.coverage([0.0, 0.2, 0.55, 1.0])
    torch.testing.assert_close(held, torch.tensor([0.0, 0.2, 0.55, 1.0]).double())
    smooth = torch.tensor([1 / 102, 21 / 102, 56 / 102, 101 / 102]).double()
    torch.testing.assert_close(error, (smooth * (1 - smooth) / 100).sqrt())
    # every draw is denser
    lowest = Calibration({"log_guide": torch.zeros(30, dtype=torch.long)}, 9, 0, 0.05)
    assert lowest.coverage([0.9])[0] == 0 and lowest.coverage([1.0])[0] == 1
    with pytest.raises(ValueError, match=r"levels: got \[1.5\]"):
        found.coverage([1.5])


@pytest.mark.parametrize(("num", "num_draws"), [(30, 5), (50, 19), (400, 99)])
def test_p_values_are_those_of_simulated_ranks(num: int, num_draws: int) -> None:
    generator, size = np.random.default_rng(0), 20_000
    uniform = np.full(num_draws + 1, 1 / (num_draws + 1))
    counts = generator.multinomial(num, uniform, size).cumsum(1)[:, :-1]
    below, above = (table[np.arange(num_draws), counts] for table in _tables(num, num_draws))
    gammas = 2 * np.minimum(below, above).min(1)
    for quantile in (0.002, 0.01, 0.05, 0.3, 0.9):
        gamma = np.quantile(gammas, quantile, method="lower")
        share, exact = (gammas <= gamma * (1 + 1e-7)).mean(), _tail(gamma, num, num_draws)
        error = math.sqrt(exact * (1 - exact) / size)
        assert abs(share - exact) < 5 * error, (
            f"{share} simulated, {exact} exact, +- {error} (n = {size})"
        )
    for alpha in (0.05, 0.002):
        lower, upper = limits(critical(num, num_draws, alpha), num, num_draws)
        outside = ((counts < lower) | (counts > upper)).any(1).mean()
        assert outside < alpha + 5 * math.sqrt(alpha / size), (
            f"{outside} outside of a band of level {1 - alpha}"
        )
        assert outside > alpha / 4 or num < 50  # not much wider than it need be


def test_p_values_by_hand() -> None:
    """Five draws: all 20 ranks 0, so that the statistic is 2 P(C_0 >= 20) = 2 / 6^20."""
    assert p_value(torch.zeros(20, dtype=torch.long), 5) == pytest.approx(5 * 2 / 6**20, rel=1e-6)
    even = torch.arange(6).repeat(20)
    assert p_value(even, 5) > 0.99
    assert p_value(even.flip(0), 5) == p_value(even, 5)


def test_a_quantity_is_flagged_where_its_ecdf_leaves_the_band() -> None:
    generator = torch.Generator().manual_seed(0)
    names = [*(f"latent[{number}]" for number in range(197)), *DENSITIES]
    power = torch.linspace(1, 2, len(names))  # ever further from uniform
    ranks = {
        name: (torch.rand(100, generator=generator) ** p * 20).long()
        for name, p in zip(names, power, strict=True)
    }
    found = Calibration(ranks, 19, 0, 0.05)
    lower, upper = found.band()
    assert lower.shape == upper.shape == (20,) and lower[-1] == upper[-1] == 1
    left = {
        name for name in names if ((found.ecdf(name) < lower) | (found.ecdf(name) > upper)).any()
    }
    assert left == set(found.flagged) and 10 < len(left) < 190
    wide, narrow = found.band(0.999), found.band(0.5)
    assert (
        (wide[0] <= narrow[0]).all()
        and (wide[1] >= narrow[1]).all()
        and (wide[1] > narrow[1]).any()
    )
    with pytest.raises(ValueError, match=r"level: got 1\.0"):
        found.band(1.0)
    assert "more of 200: the guide is biased (too high) in" in found.verdict


def two_site_model(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("columns", 3, dim=-2):
            b = pyro.sample("b", dist.LogNormal(a, 1.0))
            pyro.sample("y", dist.Normal(b.log(), 1.0), obs=x.T)


def two_site_guide(scale: float) -> Callable[..., None]:
    """The posterior of a, then that of b given a, whose scale is off by a factor in the second of
    three columns.
    """
    scales = torch.tensor([[1.0], [scale], [1.0]])

    def guide(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("rows", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(x.sum(-1) / 5, math.sqrt(2 / 5)))
            with pyro.plate("columns", 3, dim=-2):
                pyro.sample("b", dist.LogNormal((a + x.T) / 2, scales * math.sqrt(1 / 2)))

    return guide


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_several_sites_and_an_inner_plate(dtype: torch.dtype) -> None:
    like = torch.ones(4, 3, dtype=dtype)
    guides = two_site_guide(1.0), two_site_guide(0.25)
    right, wrong = (
        check_calibration(two_site_model, guide, like, num_simulations=300, num_draws=29)
        for guide in guides
    )
    assert list(right.ranks) == ["a[0]", "b[0]", "b[1]", "b[2]", *DENSITIES]
    assert all(
        ranks.shape == (300,) and ranks.min() >= 0 and ranks.max() <= 29
        for ranks in right.ranks.values()
    )
    assert right.calibrated, right.p_values
    assert "b[1]" in wrong.flagged and not {"a[0]", "b[0]", "b[2]"} & set(wrong.flagged), (
        wrong.p_values
    )
    assert wrong.verdict.endswith("the guide is too narrow in 1 of 4 units")


def test_discrete_quantities_tie_and_stay_uniform() -> None:
    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * z[..., None]).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: Any = None) -> None:
        one, zero = (
            0.3 * dist.Bernoulli(0.9).log_prob(x).exp(),
            0.7 * dist.Bernoulli(0.1).log_prob(x).exp(),
        )
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Bernoulli((one / (one + zero))[:, 0]))

    found = check_calibration(model, guide, torch.zeros(1, 1), num_simulations=2000, num_draws=9)
    assert found.calibrated, found.p_values
    assert all(len(ranks.unique()) == 10 for ranks in found.ranks.values())


def test_a_guide_that_is_noisy_besides_its_sites_is_one_q_in_both_runs() -> None:
    """Its mean is off by noise of its own, which is in the density of its own draws: coverage is
    that of a shift.
    """
    model = linear_gaussian(1)

    def noisy(x: torch.Tensor, index: Any = None) -> None:
        exact = model.posterior(x)
        # a draw that no site knows of
        mean = exact.mean + 2 * torch.randn(exact.mean.shape) * exact.stddev
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.MultivariateNormal(mean, scale_tril=exact.scale_tril))

    held, _ = check_calibration(model, noisy, LIKE, num_simulations=2000, num_draws=199).coverage(
        [0.5, 0.95]
    )
    # z* - mean has variance 1 + 4
    for share, level in zip(held.tolist(), (0.5, 0.95), strict=True):
        truth = math.erf(
            torch.special.ndtri(torch.tensor((1 + level) / 2)).item() / math.sqrt(2 * 5)
        )
        error = math.sqrt(truth * (1 - truth) / 2000)
        assert abs(share - truth) < 5 * error, f"{share}, expected {truth} +- {error}"
    amortized = SemiAmortized(Amortized(MeanField(2), MLP(5, ())), linear_gaussian(), num_steps=2)
    assert (
        check_calibration(linear_gaussian(), amortized, LIKE, num_simulations=20).num_simulations
        == 20
    )


def test_it_is_repeatable_and_leaves_no_trace() -> None:
    model = linear_gaussian()
    encoder = nn.Sequential(MLP(5, (4,)), nn.Dropout(0.5))
    encoder.out_features = 4  # type: ignore[assignment]
    guide = Amortized(MeanField(2), encoder).train()
    options = {"num_simulations": 250, "num_draws": 99}
    state = torch.get_rng_state()
    first, second = (check_calibration(model, guide, LIKE, **options) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state) and guide.training and model.training
    other = check_calibration(model, guide, LIKE, seed=1, **options)
    for name, ranks in first.ranks.items():
        assert torch.equal(ranks, second.ranks[name]) and not torch.equal(ranks, other.ranks[name])
    # of like, which do not matter
    values = check_calibration(model, guide, torch.randn(7, 5), **options)
    evaluated = check_calibration(model, guide.eval(), LIKE, **options)
    for name, ranks in first.ranks.items():
        assert torch.equal(ranks, values.ranks[name]) and torch.equal(ranks, evaluated.ranks[name])


def test_the_verdict_of_a_right_guide() -> None:
    model = linear_gaussian().double()
    found = check_calibration(model, ExactGuide(model), LIKE.double(), num_simulations=200)
    assert (
        found.verdict
        == "calibrated: no deviation of 5 quantities at the 5% level (200 simulations)"
    )
    assert found.calibrated and not found.flagged


def auxiliary(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample(
            "u", dist.Normal(torch.zeros(2), 1.0).to_event(1), infer={"is_auxiliary": True}
        )
        pyro.sample("latent", dist.Delta(z, event_dim=1))


def positive_model(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample(
            "latent", dist.Gamma(torch.full((2,), 2.0), 1.0, validate_args=False).to_event(1)
        )
        pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)


def of_other_size(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(torch.zeros(1), 1.0).to_event(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, g: check_calibration(m, g, LIKE, num_simulations=19),
            "num_simulations: got 19, expected an integer >= 20",
        ),
        (
            lambda m, g: check_calibration(m, g, LIKE, num_draws=4),
            "num_draws: got 4, expected an integer >= 5",
        ),
        (lambda m, g: check_calibration(m, g, LIKE, seed=-1), "seed: got -1"),
        (lambda m, g: check_calibration(m, g, LIKE, alpha=1.0), "alpha: got 1.0"),
        (
            lambda m, g: check_calibration(m, g, LIKE[0]),
            r"like: got shape \(5,\), expected \(N, 5\)",
        ),
        (
            lambda m, g: check_calibration(m, Local(MeanField(2), 3), LIKE),
            "guide: got a table with a row for each of 3",
        ),
        (
            lambda m, g: check_calibration(m, g, torch.zeros(1, 4)),
            r"like: got shape \(1, 4\), expected \(N, 5\)",
        ),
        (
            lambda m, g: check_calibration(m, Local(MeanField(2), 3), LIKE),
            "guide: got a table with a row for each of 3 data",
        ),
        (lambda m, g: check_calibration(m, auxiliary, LIKE), r"guide: got auxiliary sites \['u'\]"),
        (
            lambda m, g: check_calibration(m, two_site_guide(1.0), torch.zeros(1, 5)),
            "model, guide: running them",
        ),
        (
            lambda m, g: check_calibration(positive_model, prior, LIKE[:, :2]),
            "log_joint: got .* values that are not finite",
        ),
        (
            lambda m, g: check_calibration(positive_model, of_other_size, LIKE[:, :2]),
            "site 'latent': the guide's value has shape",
        ),
    ],
)
def test_bad_input(call: Callable[..., object], message: str) -> None:
    model = linear_gaussian()
    with pytest.raises(ValueError, match=message):
        call(model, ExactGuide(model))
