"""Latent units against closed forms, and the alarm on histories of every kind."""

from __future__ import annotations

import re
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    AutoregressiveFlow,
    ExactGuide,
    FullRank,
    HierarchicalGuide,
    HierarchicalVAE,
    LinearGaussian,
    Local,
    MeanField,
    SplineFlow,
    latent_units,
    log_evidence,
)
from pyro_vae.diagnostics import CollapseWarning
from pyro_vae.diagnostics.collapse import find_collapse, warn_unused
from pyro_vae.evidence import Importance


def linear() -> tuple[LinearGaussian, torch.Tensor]:
    model = LinearGaussian(6, 3, sigma=0.5, seed=3)
    return model, model.sample(500)


def test_rates_of_the_exact_posterior_are_those_of_its_marginals() -> None:
    model, x = linear()
    q = model.posterior(x)
    exact = (
        kl_divergence(Normal(q.mean, q.variance.sqrt()), Normal(0.0, 1.0)).mean(0).detach().double()
    )
    units = latent_units(model, ExactGuide(model), x)
    assert units is not None and units.names == ("latent[0]", "latent[1]", "latent[2]")
    torch.testing.assert_close(units.rates, exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        units.variances, q.mean.var(0).detach().double(), rtol=1e-5, atol=1e-6
    )


def test_rates_of_independent_units_sum_to_the_rate() -> None:
    model, x = linear()
    guide = Amortized(MeanField(3), MLP(6, (8,)))
    units = latent_units(model, guide, x)
    score = log_evidence(model, guide, x, Importance(num_particles=400))
    error = (score.rate.std() / 500**0.5 / 10).item()
    assert (
        units is not None and abs(units.rates.sum().item() - score.rate.mean().item()) < 5 * error
    )


def test_units_do_not_hang_on_batches_and_leave_the_noise_alone() -> None:
    model, x = linear()
    guide = Amortized(FullRank(3), MLP(6, (8,)))
    state = torch.get_rng_state()
    a, b = latent_units(model, guide, x), latent_units(model, guide, x, batch_size=77)
    assert a is not None and b is not None and torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(a.rates, b.rates)
    torch.testing.assert_close(a.variances, b.variances)


@pytest.mark.parametrize(
    "make",
    [lambda: Amortized(SplineFlow(3), MLP(6, (8,))), lambda: AutoregressiveFlow(3, MLP(6, (8,)))],
)
def test_flows_are_followed_by_draws(make: Any) -> None:
    model, x = linear()
    units = latent_units(model, make(), x)
    assert (
        units is not None
        and len(units.names) == 3
        and torch.isfinite(units.rates).all()
        and (units.rates > -0.1).all()
    )


def test_a_guide_with_rows_and_two_layers() -> None:
    model, x = linear()
    units = latent_units(model, Local(MeanField(3), 500), x)
    # started at the prior
    assert units is not None and units.num_active == 0 and units.rates.abs().max() < 1e-6
    two = latent_units(
        HierarchicalVAE((6,), 2, 4, (8,), (8,)),
        HierarchicalGuide((6,), 2, 4, (8,), (8,)),
        (x > 0).float(),
    )
    assert (
        two is not None
        and [name.split("[")[0] for name in two.names] == ["middle"] * 4 + ["latent"] * 2
    )


def test_categories_count_by_their_rate_and_global_latents_not_at_all() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0])

    def model(x: torch.Tensor, index: Any = None) -> None:
        pyro.sample("weight", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            kind = pyro.sample("kind", dist.Categorical(logits=torch.zeros(3)))
            pyro.sample("obs", dist.Normal(kind[..., None].float(), 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: Any = None) -> None:
        pyro.sample("weight", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("kind", dist.Categorical(logits=logits.expand(len(x), 3)))

    units = latent_units(model, guide, torch.randn(4000, 1))
    assert units is not None and units.names == ("kind",) and units.num_active == 1
    p = torch.softmax(logits, 0)
    assert units.rates.item() == pytest.approx((p * (3 * p).log()).sum().item(), abs=0.1)


def test_one_datum_has_no_variance() -> None:
    model, x = linear()
    with pytest.raises(ValueError, match="at least two"):
        latent_units(model, ExactGuide(model), x[:1])


def alarm(
    active: list[int], epochs: int = 100, warmup: float = 20.0, steps_per_epoch: int = 20
) -> Any:
    done = len(active)
    last = [
        max((e for e, count in enumerate(active, 1) if count > unit), default=0)
        for unit in range(10)
    ]
    names = [f"latent[{unit}]" for unit in range(10)]
    return find_collapse(
        active, last, names, epochs=epochs, warmup=warmup, steps=done * steps_per_epoch
    )


@pytest.mark.parametrize(
    ("active", "since", "words"),
    [
        ([0] * 100, 1, "none of the 10 latent units has been active in 100 epochs"),
        ([0] * 30, 1, "none of the 10 latent units has been active in 30 epochs"),
        ([10] * 50 + [0] * 50, 51, "none is left of 10 that were active, since epoch 51"),
        ([10] * 20 + [0] * 80, 21, "since epoch 21"),
        (
            [10] * 60 + [1] * 40,
            61,
            "1 left of 10 that were active, since epoch 61 \\(latent\\[1\\], ",
        ),
    ],
    ids=["never", "never, told early", "died", "died with the warm-up", "nearly all died"],
)
def test_the_alarm_rings(active: list[int], since: int, words: str) -> None:
    found = alarm(active)
    assert found is not None and found.since == since
    assert re.search(words, str(found)), found
    assert (
        "a longer KL warm-up" in str(found) and "free bits" in str(found) and "IWAE" in str(found)
    )


@pytest.mark.parametrize(
    "active",
    [
        [10] * 100,
        [0] * 15 + [10] * 85,  # slow to wake
        [0] * 25,  # may still wake: dead for the warm-up and five epochs
        [10] * 20 + [4] * 80,  # superfluous units died as the weight rose
        [10] * 50 + [0] * 3 + [9] * 47,
        [0] * 10,
    ],
    ids=["all alive", "slow", "too early", "pruned", "a dip", "a run of 200 steps"],
)
def test_the_alarm_does_not_ring(active: list[int]) -> None:
    assert alarm(active) is None


def test_a_short_run_is_not_judged() -> None:
    assert alarm([0] * 10, epochs=10) is None and alarm([0] * 15, epochs=15) is not None


def test_a_guide_without_a_history_is_told_of_too() -> None:
    with pytest.warns(CollapseWarning, match="none of the 5 latent units is active on these data"):
        warn_unused(0, 5)
    warn_unused(1, 5)


def test_an_untrained_vae_uses_no_unit() -> None:
    units = latent_units(
        VAE((8,), 4, (16,)), Amortized(MeanField(4), MLP(8, (16,))), torch.zeros(10, 8)
    )
    assert units is not None and units.num_active == 0


def test_the_noise_of_a_parent_is_no_activity() -> None:
    torch.manual_seed(0)
    model, guide = (
        HierarchicalVAE((6,), 2, 3, (8,), (8,)),
        HierarchicalGuide((6,), 2, 3, (8,), (8,)),
    )
    with torch.no_grad():  # q does not listen to x
        guide.bottom_head.weight.zero_()
        guide.bottom_head.bias.zero_()
    units = latent_units(model, guide, (torch.rand(1000, 6) < 0.5).float())
    assert units is not None and units.num_active == 0, units.variances


def test_variances_of_a_known_encoder() -> None:
    model, guide = LinearGaussian(3, 3), Amortized(MeanField(3), MLP(3, ()))
    with torch.no_grad():
        guide.head.weight.zero_()
        guide.head.weight[0, 0], guide.head.weight[1, 1] = 1.0, 0.05
    x = torch.randn(5000, 3)
    units = latent_units(model, guide, x)
    assert units is not None and units.num_active == 1
    expected = torch.stack([x[:, 0].var(), x[:, 1].var() * 0.05**2, torch.tensor(0.0)])
    torch.testing.assert_close(units.variances.float(), expected)


def test_batches_make_no_difference() -> None:
    model, guide = LinearGaussian(3, 2), Amortized(MeanField(2), MLP(3, (4,)))
    x = torch.randn(50, 3)
    whole, parts = (latent_units(model, guide, x, batch_size=size) for size in (4096, 7))
    assert whole is not None and parts is not None
    torch.testing.assert_close(parts.variances, whole.variances)


def test_units_of_an_inner_plate() -> None:
    def plated(x: torch.Tensor, index: Any = None) -> Any:
        with pyro.plate("rows", len(x), dim=-1), pyro.plate("columns", 3, dim=-2):
            return pyro.sample("z", dist.Normal(100 * torch.arange(3.0)[:, None] + x[:, 0], 1.0))

    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("rows", len(x), dim=-1):
            with pyro.plate("columns", 3, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Normal(z.sum(-2)[..., None], 1.0).to_event(1), obs=x)

    x = torch.randn(40, 1)
    units = latent_units(model, plated, x)
    assert units is not None and units.names == ("z[0]", "z[1]", "z[2]")
    torch.testing.assert_close(units.variances.float(), x[:, 0].var().expand(3), rtol=1e-3, atol=0)
