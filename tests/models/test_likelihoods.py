"""One table of likelihoods, and what is asked of each: that it is the distribution which it says,
that data are checked, that training begins at the best constant model, and that it goes through the
package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from scipy import stats
from torch import Tensor

import pyro_vae as pv
from tests.models.likelihoods import EACH, FIRST, ROWS, SINGLE, SIZE, Row, of_kinds
from tests.scenarios import eager


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    pyro.clear_param_store()
    yield


def near(values: Tensor, truth: Tensor) -> None:
    """Within five standard errors of the mean of draws."""
    error = values.std(0) / math.sqrt(len(values))
    assert ((values.mean(0) - truth).abs() < 5 * error + 1e-9).all()


def bound(row: Row, dtype: torch.dtype = torch.double) -> pv.Likelihood:
    likelihood = row.make()
    likelihood.bind((SIZE,))
    return likelihood.to(dtype)


def single(fn: Any) -> Any:
    """A distribution of single values, without parameters that ask for a gradient."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    for name, value in vars(fn).items():
        if isinstance(value, Tensor):
            setattr(fn, name, value.detach())
    return fn


def started(row: Row, x: Tensor) -> pv.VAE:
    """A VAE that begins at these data, and answers alike for every latent."""
    model = pv.VAE((SIZE,), 2, (8,), row.make())
    model.start(x)
    with torch.no_grad():
        model.decoder.head.weight.zero_()
    return model


@SINGLE
def test_agrees_with_another_hand_and_is_normalised(row: Row) -> None:
    likelihood = bound(row)
    fn = likelihood(torch.randn(10, likelihood.num_outputs, SIZE).double())
    one = single(fn)
    x = row.data((10, SIZE)).double()
    found = one.log_prob(x)
    assert row.reference is not None
    np.testing.assert_allclose(found, row.reference(one, x.numpy()), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(fn.log_prob(x).detach(), found.sum(-1))

    if row.values is not None:
        mass = one.log_prob(row.values[:, None, None]).exp().sum(0)
        torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-6, atol=0)
    elif isinstance(likelihood, pv.ContinuousBernoulli):
        grid = torch.linspace(0, 1, 4001).double()
        mass = torch.trapezoid(one.log_prob(grid[:, None, None]).exp(), grid, dim=0)
        torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-5, atol=0)


def test_mixed_is_the_sum_of_its_columns() -> None:
    row = ROWS["mixed"]
    likelihood = bound(row)
    assert likelihood.num_outputs == 3 and likelihood.discrete_under == ()
    outputs, x = torch.randn(50, 3, SIZE).double(), row.data((50, SIZE)).double()
    fn = likelihood(outputs)
    assert (fn.event_shape, fn.batch_shape, fn.mean.shape) == ((SIZE,), (50,), (50, SIZE))

    real, binary, count, codes = (outputs[:, :, column] for column in range(SIZE))
    by_hand = (
        dist.Normal(real[:, 0], 1.0).log_prob(x[:, 0])
        + dist.Bernoulli(logits=binary[:, 0]).log_prob(x[:, 1])
        + torch.from_numpy(stats.nbinom.logpmf(x[:, 2], 1, 1 / (1 + count[:, 0].exp())))
        + dist.Categorical(logits=codes).log_prob(x[:, 3])
    )
    torch.testing.assert_close(fn.log_prob(x), by_hand)


def test_many_columns_of_few_kinds_are_few_groups() -> None:
    kinds = ["categories:3", "real", "binary", "counts", "categories:2"] * 40
    likelihood = pv.Mixed(kinds)
    likelihood.bind((200,))
    fn = likelihood(torch.randn(7, likelihood.num_outputs, 200))
    assert len(fn.parts) == 5
    x = fn.sample((3,))
    assert x.shape == (3, 7, 200)
    likelihood.check(x.flatten(0, 1))
    assert fn.log_prob(x).shape == (3, 7) and fn.expand((2, 7)).log_prob(x[:2]).shape == (2, 7)
    assert pv.Mixed(["counts", "categories:3"]).discrete_under == ("none",)


@EACH
def test_gradients_are_finite_and_float32_is_as_good(row: Row) -> None:
    wide, narrow = bound(row), bound(row, torch.float)
    x = row.data((300, SIZE))
    outputs = torch.randn(300, wide.num_outputs, SIZE) * torch.logspace(-6, 2, 300)[:, None, None]
    both = []
    for likelihood, dtype in ((wide, torch.double), (narrow, torch.float)):
        given = outputs.to(dtype).requires_grad_()
        found = likelihood(given).log_prob(x.to(dtype))
        found.sum().backward()
        assert given.grad is not None and given.grad.isfinite().all()
        for parameter in likelihood.parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all()
        both.append((found.detach().double(), given.grad.double()))

    (exact, slope), (found, found_slope) = both
    assert exact.isfinite().all()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found_slope, slope, rtol=1e-3, atol=1e-3)


@EACH
def test_data_outside_the_support_are_refused_and_its_own_draws_are_not(row: Row) -> None:
    model = pv.VAE((SIZE,), 2, (8,), row.make())
    for value, message in row.wrong.items():
        x = row.data((5, SIZE))
        x[0], x[2, 1] = 0.0, value
        with pytest.raises(ValueError, match=message):
            model.check_data(x)
    fn = model.likelihood(torch.randn(5, model.likelihood.num_outputs, SIZE))
    model.check_data(fn.sample())


@EACH
def test_training_begins_at_the_best_constant_model(row: Row) -> None:
    x = row.data((2000, SIZE))
    model = started(row, x)
    fn = model.likelihood(model.decoder(torch.zeros(1, 2)))
    if row.has_mean:
        torch.testing.assert_close(fn.mean[0], x.mean(0), rtol=1e-4, atol=1e-4)
    best = fn.log_prob(x).sum()

    # no other constant near it is better by more than a little
    bias = model.decoder.bias
    assert isinstance(bias, Tensor)
    for step in (-0.2, 0.2):
        moved = bias.detach().clone()
        moved[0] += step
        assert model.likelihood(moved[None]).log_prob(x).sum() < best + 0.002 * best.abs()


def scaled(sigma: float | None, learn: Any) -> Row:
    return Row(partial(pv.Gaussian, sigma, learn), lambda shape: 20 * torch.randn(shape) + 9, {})


@pytest.mark.parametrize("row", [*ROWS.values(), scaled(0.3, "output"), scaled(None, "output")])
def test_weights_that_are_loaded_say_the_same(row: Row) -> None:
    x = row.data((100, SIZE))
    model, again = started(row, x), pv.VAE((SIZE,), 2, (8,), row.make())
    again.load_state_dict(model.state_dict())
    z = torch.zeros(1, 2)
    one, other = (each.likelihood(each.decoder(z)) for each in (model, again))
    assert torch.equal(one.log_prob(x), other.log_prob(x))


def test_categories_begin_at_their_frequencies_and_mixed_at_those_of_its_kinds() -> None:
    x = (torch.rand(4000, SIZE) < 0.3).float() + (torch.rand(4000, SIZE) < 0.2).float()
    model = started(ROWS["categorical"], x)
    logits = single(model.likelihood(model.decoder(torch.zeros(1, 2)))).logits
    shares = torch.stack([(x == code).float().mean(0) for code in range(3)], -1)
    torch.testing.assert_close(logits.softmax(-1)[0], shares, rtol=1e-2, atol=1e-3)

    table = of_kinds((2000, SIZE))
    mixed = started(ROWS["mixed"], table)
    mean = mixed.likelihood(mixed.decoder(torch.zeros(1, 2))).mean[0]
    torch.testing.assert_close(mean[:3], table.mean(0)[:3], rtol=1e-4, atol=1e-4)
    assert mean[3] == table[:, 3].long().bincount().argmax()


@SINGLE
def test_draws_agree_with_the_density(row: Row) -> None:
    likelihood = bound(row)
    fn = single(likelihood(torch.randn(2, likelihood.num_outputs, SIZE).double()))
    draws = fn.sample((20_000,))
    log_prob = fn.log_prob(draws)

    if row.has_mean:
        near(draws.sum((1, 2)), fn.mean.sum())
    if row.values is not None:
        log_mass = fn.log_prob(row.values[:, None, None])
        entropy = -(log_mass.exp() * log_mass).sum()
    elif isinstance(likelihood, pv.StudentT):
        entropy = torch.as_tensor(stats.t(fn.df, fn.loc, fn.scale).entropy().sum())
    else:
        grid = torch.linspace(0, 1, 4001).double()
        log_mass = fn.log_prob(grid[:, None, None])
        entropy = -torch.trapezoid(log_mass.exp() * log_mass, grid, dim=0).sum()
    near(log_prob.sum((1, 2)), -entropy)


@EACH
def test_the_captured_engine_gives_pyro_s_loss(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x, index = row.data((6, SIZE)), torch.arange(6)
    model = pv.VAE((SIZE,), 2, (4,), row.make())
    model.start(row.data((50, SIZE)))
    guide = pv.EncoderGuide((SIZE,), 2, (4,))
    svi = pv.CompiledSVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO(), fallback=False)
    torch.manual_seed(1)
    expected = Trace_ELBO().loss(model, guide, x, index)
    torch.manual_seed(1)
    assert float(svi.step(x, index)) == pytest.approx(expected, rel=1e-5)
    assert svi.reason is None


@FIRST
def test_goes_through_the_package(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x = row.data((40, SIZE))
    model = pv.VAE((SIZE,), 1, (4,), row.make())
    guide = pv.EncoderGuide((SIZE,), 1, (4,))
    run = pv.fit(model, guide, x, epochs=2, valid=0, values="real", quiet=True)
    assert math.isfinite(run.history[-1]["train_loss"])

    few = x[:4]
    classical = pv.fit_local(model, pv.Local(pv.MeanField(1), 4), few, num_steps=5)
    truth = pv.log_evidence(model, guide, few, pv.Quadrature()).log_px
    found = pv.log_evidence(model, guide, few, pv.Importance(num_particles=2000))
    assert ((found.log_px - truth).abs() < 0.2).all()
    assert pv.log_weights(model, classical.guide, few).isfinite().all()
    assert pv.reconstruct(model, guide, few).means.shape == (4, SIZE)
    drawn = pv.sample(model, few, num_samples=5, kind="draw").x
    model.check_data(drawn)


@EACH
def test_missing_values_are_left_out(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x = row.data((200, SIZE))
    holed = torch.where(torch.rand(x.shape) < 0.3, torch.nan, x)
    model = pv.VAE((SIZE,), 1, (4,), row.make())
    guide = pv.EncoderGuide((SIZE,), 1, (4,))
    run = pv.fit(model, guide, holed, epochs=1, valid=0, values="real", quiet=True)
    assert math.isfinite(run.history[-1]["train_loss"])
    assert all(p.isfinite().all() for p in model.parameters())

    few, z = holed[:6], torch.randn(6, 1)
    seen = pv.observed_part(model)
    given = pyro.poutine.condition(seen, {"latent": z})
    found = pyro.poutine.trace(given).get_trace(few, torch.arange(6))
    found.compute_log_prob()

    fn = model.likelihood(model.decoder(z))
    whole = torch.where(few.isnan(), x[:6], few)
    if hasattr(fn, "log_prob_each"):
        each = fn.log_prob_each(whole)
        torch.testing.assert_close(each.sum(-1), fn.log_prob(whole))
    else:
        each = fn.base_dist.log_prob(whole)
    by_hand = torch.where(few.isnan(), 0.0, each).sum(-1)
    torch.testing.assert_close(found.nodes["obs"]["log_prob"], by_hand)
