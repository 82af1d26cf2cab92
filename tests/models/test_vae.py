from __future__ import annotations

import math
from functools import partial

import pyro
import pytest
import torch
from pyro import poutine

from pyro_vae import VAE, Bernoulli, ConvDecoder, GatedDecoder, Gaussian
from pyro_vae.traces import log_joint

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
    model = VAE((4,), 2, (8,), Gaussian(math.sqrt(0.5)))
    x, z = torch.randn(3, 4), torch.randn(5, 3, 2)
    _, log_likelihood = log_joint(model, {"latent": z}, x, None, 1)
    squared = (model.decode(z) - x).square().sum(-1)
    torch.testing.assert_close(log_likelihood, -squared - 4 / 2 * math.log(math.pi))


@pytest.mark.parametrize(("learn", "number"), [("none", 0), ("shared", 1), ("pixel", 36), ("output", 0)])
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
    for model in (first, copy.deepcopy(first), VAE(SHAPE, 3, (8,))):
        model(x)
    assert len(pyro.get_param_store()) == 3 * len(list(first.parameters()))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((3, *SHAPE), 0.5), "grey values"),
        (torch.full((3, *SHAPE), math.nan), "NaN or infinite"),
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
        (lambda: VAE(SHAPE, 3, (8,), mean=torch.zeros(3)), r"mean: got a mean of shape \(3,\)"),
        (lambda: Gaussian(-1.0), "sigma: got -1.0"),
        (lambda: Gaussian(1.0, "some"), "learn: got 'some'"),  # type: ignore[arg-type]
        (lambda: Gaussian(1.0, floor=2.0), "floor: got 2.0"),
    ],
)
def test_bad_arguments(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
