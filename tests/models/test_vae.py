from __future__ import annotations

import math
from functools import partial

import pyro
import pytest
import torch
from pyro import poutine

from pyro_vae import (
    VAE,
    Bernoulli,
    ConvDecoder,
    Dataset,
    GatedDecoder,
    Gaussian,
    Split,
    likelihood_for,
    load,
)
from pyro_vae.programs.traces import log_joint

SHAPE = (1, 6, 6)
LIKELIHOODS = [
    Bernoulli,
    partial(Bernoulli, grey=True),
    Gaussian,
    partial(Gaussian, 0.5, "shared"),
    partial(Gaussian, 0.5, "pixel"),
    partial(Gaussian, 0.5, "output"),
]


@pytest.mark.parametrize("make", LIKELIHOODS)
@pytest.mark.parametrize("decoder", [VAE.__init__.__defaults__[3], GatedDecoder, ConvDecoder])  # type: ignore[index]
def test_program_has_the_sites_and_shapes_of_the_contract(make: type, decoder: type) -> None:
    model = VAE(SHAPE, 3, (8,), make(), decoder)
    x = torch.randint(0, 2, (5, *SHAPE)).float()
    trace = poutine.trace(model).get_trace(x, torch.arange(5))
    trace.compute_log_prob()
    assert trace.nodes["latent"]["log_prob"].shape == (5,)
    assert trace.nodes["obs"]["log_prob"].shape == (5,)
    assert trace.nodes["data"]["fn"].size == 5
    names = {name for name, site in trace.nodes.items() if site["type"] == "param"}
    assert len(names) == len(list(model.parameters()))


@pytest.mark.parametrize("make", [*LIKELIHOODS])
def test_center_starts_the_model_at_the_training_mean(make: type) -> None:
    mean = torch.rand(SHAPE) * 0.8 + 0.1
    model = VAE(SHAPE, 3, (8,), make(), mean=mean)
    with torch.no_grad():
        model.decoder.head.weight.zero_()
    torch.testing.assert_close(model.sample(2)[1], mean, atol=1e-5, rtol=0)


def test_half_variance_gaussian_is_squared_error_up_to_its_constant() -> None:
    model = VAE((4,), 2, (8,), Gaussian(math.sqrt(0.5), "none"))
    x, z = torch.randn(3, 4), torch.randn(5, 3, 2)
    _, log_likelihood = log_joint(model, {"latent": z}, x, None, 1)
    squared = (model.decode(z) - x).square().sum(-1)
    torch.testing.assert_close(log_likelihood, -squared - 4 / 2 * math.log(math.pi))


@pytest.mark.parametrize(
    ("learn", "number"), [("none", 0), ("shared", 1), ("pixel", 36), ("output", 0)]
)
def test_gaussian_s_own_parameters(learn: str, number: int) -> None:
    likelihood = Gaussian(0.5, learn)  # type: ignore[arg-type]
    VAE(SHAPE, 3, (8,), likelihood)
    assert sum(p.numel() for p in likelihood.parameters()) == number
    scale = likelihood(torch.zeros(2, likelihood.num_outputs, *SHAPE)).base_dist.scale
    torch.testing.assert_close(scale, torch.full_like(scale, 0.5))


def test_two_instances_and_copies_have_names_of_their_own() -> None:
    import copy

    first = VAE(SHAPE, 3, (8,))
    x = torch.zeros(2, *SHAPE)
    # alive: the store keeps nothing of dead ones
    models = [first, copy.deepcopy(first), VAE(SHAPE, 3, (8,))]
    for model in models:
        model(x)
    assert len(pyro.get_param_store()) == 3 * len(list(first.parameters()))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((3, *SHAPE), 0.5), "grey values"),
        (torch.full((3, *SHAPE), math.nan), "got NaN alone"),
        (torch.full((3, *SHAPE), math.inf), "got infinite values"),
        (torch.zeros(3, 6, 6), r"x: got shape \(3, 6, 6\), expected \(N, 1, 6, 6\)"),
    ],
)
def test_data_that_cannot_be_scored_are_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VAE(SHAPE, 3, (8,)).check_data(x)


def test_grey_only_by_name_and_only_within_the_unit_interval() -> None:
    model = VAE(SHAPE, 3, (8,), Bernoulli(grey=True))
    model.check_data(torch.full((3, *SHAPE), 0.5))
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        model.check_data(torch.full((3, *SHAPE), 1.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VAE(SHAPE, 0), "latent_dim"),
        (lambda: VAE((), 3, mean=torch.zeros(2)), "mean"),
        (
            lambda: VAE(SHAPE, 3, (8,), mean=torch.zeros(3)),
            r"mean: got shape \(3,\), expected \(1, 6, 6\)",
        ),
        (lambda: Gaussian(-1.0), "sigma: got -1.0"),
        (lambda: Gaussian(1.0, "some"), "learn: got 'some'"),  # type: ignore[arg-type]
        (lambda: Gaussian(1.0, floor=2.0), "floor: got 2.0"),
        (lambda: Gaussian(learn="none"), "sigma: got None with learn='none'"),
    ],
)
def test_bad_arguments(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


# the start from the data


@pytest.mark.parametrize("learn", ["shared", "pixel", "output"])
def test_a_gaussian_starts_as_the_best_constant_model_in_the_units_of_the_data(learn: str) -> None:
    scales = torch.logspace(-3, 3, 5)
    x = 7 * scales + scales * torch.randn(4000, 5)
    model = VAE((5,), 2, (8,), Gaussian(learn=learn))  # type: ignore[arg-type]
    model.start(x)
    with torch.no_grad():
        model.decoder.head.weight.zero_()
        fn = model.likelihood(model.decoder(torch.zeros(1, 2)))
    torch.testing.assert_close(fn.mean[0], x.mean(0))
    each = x.std(0) if learn == "pixel" else x.var(0).mean().sqrt().expand(5)
    torch.testing.assert_close(fn.stddev[0], each, rtol=1e-3, atol=0)
    exact = torch.distributions.Normal(x.mean(0), fn.stddev[0]).log_prob(x).sum(-1)
    torch.testing.assert_close(fn.log_prob(x), exact, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("learn", ["none", "shared", "pixel", "output"])
def test_a_sigma_that_is_given_is_in_the_units_of_the_data(learn: str) -> None:
    likelihood = Gaussian(0.3, learn)  # type: ignore[arg-type]
    model = VAE((5,), 2, (8,), likelihood)
    model.start(100 + 20 * torch.randn(300, 5))
    scale = likelihood(torch.zeros(2, likelihood.num_outputs, 5)).base_dist.scale
    torch.testing.assert_close(scale, torch.full_like(scale, 0.3), rtol=1e-5, atol=0)


def test_a_model_that_was_trained_or_loaded_is_not_started() -> None:
    x = 5 + 2 * torch.randn(100, 5)
    fresh, trained, loaded = (VAE((5,), 2, (8,), Gaussian()) for _ in range(3))
    with torch.no_grad():
        trained.decoder.head.bias += 0.1
    loaded.load_state_dict(trained.state_dict())
    for model in (fresh, trained, loaded):
        model.start(x)
    assert fresh.likelihood.units.is_started  # type: ignore[union-attr]
    assert not trained.likelihood.units.is_started and not loaded.likelihood.units.is_started  # type: ignore[union-attr]
    again = VAE((5,), 2, (8,), Gaussian())
    again.load_state_dict(fresh.state_dict())
    again.start(3 * x)
    assert torch.equal(again.likelihood.units.shift, fresh.likelihood.units.shift)  # type: ignore[union-attr]


def test_the_likelihood_goes_with_the_data() -> None:
    def one(x: torch.Tensor, rule: str) -> Dataset:
        return Dataset("own", Split("train", x, rule), None, Split("test", x, rule))  # type: ignore[arg-type]

    pixels = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    assert isinstance(likelihood_for(load("digits")), Bernoulli)
    assert isinstance(likelihood_for(one(pixels, "dynamic")), Bernoulli)
    assert isinstance(likelihood_for(one(torch.randint(0, 2, (30, 6)).float(), "none")), Bernoulli)
    photographs, table = (
        likelihood_for(one(pixels, "dequantise")),
        likelihood_for(one(torch.randn(30, 6), "none")),
    )
    assert (
        isinstance(photographs, Gaussian)
        and photographs.describe() == "Gaussian, one sigma learned"
    )
    assert (
        isinstance(table, Gaussian)
        and table.describe() == "Gaussian, a sigma for each value learned"
    )


def test_latent_units_follow_the_size_of_a_datum() -> None:
    shapes = ((2,), (1, 8, 8), (1, 28, 28))
    assert [VAE(shape, hidden=(4,)).latent_dim for shape in shapes] == [3, 16, 50]
