"""What `fit` makes of the data that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    Bernoulli,
    Dataset,
    EncoderGuide,
    Gaussian,
    LinearGaussian,
    Local,
    MeanField,
    Split,
    fit,
    load,
)
from tests.inference.curves import SIZE, curved, programs


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
    run = fit(*programs(), x, epochs=2, quiet=True)
    assert not run.data.train.x.requires_grad and x.grad is None
    other = fit(*programs(), x.detach().numpy().astype(">f8"), epochs=1, quiet=True)
    assert torch.equal(other.data.train.x, run.data.train.x)
    model, guide = VAE((SIZE,), 2, (8,)).double(), EncoderGuide((SIZE,), 2, (8,)).double()
    run = fit(model, guide, np.random.RandomState(0).rand(60, SIZE) < 0.5, epochs=1, quiet=True)
    assert run.data.train.x.dtype == torch.float64 and run.data.train.x.unique().tolist() == [0, 1]
