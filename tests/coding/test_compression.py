"""Data come back bit for bit, in as many bits as the bound says."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.coding import compression
from tests.coding.programs import (
    PROGRAMS,
    Tutorial,
    TutorialGuide,
    binary,
    encoder,
    of_likelihood,
    vae,
)


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("name", PROGRAMS)
def test_what_goes_in_comes_out(name: str, num_particles: int) -> None:
    model, guide, x = PROGRAMS[name]()
    found = pv.compress(model, guide, x, num_particles=num_particles)
    back = pv.decompress(model, guide, found.data)
    assert torch.equal(back, x) and back.dtype == x.dtype


@pytest.mark.parametrize("bits", [1, 5, 16])
def test_any_number_of_buckets_will_do(bits: int) -> None:
    model, guide, x = vae(), encoder(), binary(20, 3, 2)
    found = pv.compress(model, guide, x, bucket_bits=bits)
    assert torch.equal(pv.decompress(model, guide, found.data), x)


def test_the_bytes_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, guide, x = PROGRAMS["convolutional"]()
    found = []
    for block in (1, 4, 256):
        monkeypatch.setattr(compression, "_BLOCK", block)
        found.append(pv.compress(model, guide, x).data)
    assert found[0] == found[1] == found[2]


def test_the_callers_random_state_is_kept_and_makes_no_difference() -> None:
    model, guide, x = vae(), encoder(), binary(9, 3, 2)
    first = pv.compress(model, guide, x).data
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert pv.compress(model, guide, x).data == first
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training and guide.training


ELSEWHERE = """
import numpy as np, torch
torch.set_num_threads(3)
import pyro_vae as pv
from tests.coding.programs import encoder, vae
model, guide = vae((20, 20), 5), encoder((20, 20), 5)
states = torch.load("weights", weights_only=True)  # other kernels initialise otherwise
model.load_state_dict(states[0]), guide.load_state_dict(states[1])
np.save("x.npy", pv.decompress(model, guide, open("data", "rb").read()).numpy())
"""


def test_another_process_with_other_threads_and_kernels_has_the_same_data(tmp_path: Path) -> None:
    model, guide, x = vae((20, 20), 5), encoder((20, 20), 5), binary(30, 20, 20)
    (tmp_path / "data").write_bytes(pv.compress(model, guide, x, num_particles=2).data)
    torch.save([model.state_dict(), guide.state_dict()], tmp_path / "weights")

    # kernels, and so sums in another order than here, as on an older machine
    there = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    there |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", ELSEWHERE]
    subprocess.run(command, check=True, cwd=tmp_path, env=os.environ | there)
    assert np.array_equal(np.load(tmp_path / "x.npy"), x.numpy())


def simulated(model: pv.VAE, number: int) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.bernoulli(model.sample(number))


def test_with_many_latents_a_datum_costs_its_log_probability() -> None:
    # two binary values and one latent: p(x) of each of the four data by quadrature
    model, guide = vae((2,), 1, 6.0), encoder((2,), 1)
    x = simulated(model, 50)
    exact = pv.log_evidence(model, guide, x, pv.Quadrature()).log_px.double() / -math.log(2)

    found = pv.compress(model, guide, x, num_particles=200)
    off = found.bits.double() - exact
    assert found.bits.std() > 0.3 and exact.std() > 0.3  # data that differ
    assert abs(off.mean()) < 5 * off.std() / math.sqrt(len(x))
    assert off.std() / math.sqrt(len(x)) < 0.1 * exact.std()
    assert torch.equal(pv.decompress(model, guide, found.data), x)


def test_a_latent_that_the_data_ignore_is_free() -> None:
    model, guide = vae((5,), 3), encoder((5,), 3)
    with torch.no_grad():
        for parameter in list(model.decoder.parameters())[:-1]:
            parameter.zero_()  # only the output's bias is left
    x = simulated(model, 50)
    log_px = torch.distributions.Bernoulli(logits=model.decoder.bias[0]).log_prob(x).sum(-1)
    with torch.no_grad():
        guide.head.weight.zero_()
        guide.head.bias.zero_()  # q = N(0, I)

    found = pv.compress(model, guide, x)
    # q's bits are halves up to the edges' rounding, 3 * 12 of them
    assert (found.bits + log_px.detach() / math.log(2)).abs().max() < 0.01


def test_the_length_is_the_negative_elbo() -> None:
    model, guide = vae((12,), 2, 4.0), encoder((12,), 2)
    x = simulated(model, 150)
    found = pv.compress(model, guide, x)
    elbo = pv.log_evidence(model, guide, x, pv.Importance(200)).elbo.double() / -math.log(2)

    off = found.ideal.double() - elbo  # of one draw of each datum: its noise has mean 0
    assert abs(off.mean()) < 5 * off.std() / math.sqrt(len(x))
    rounding = (found.bits - found.ideal).double()
    assert abs(rounding.mean()) < 0.01 * elbo.mean()


@pytest.mark.parametrize(
    "likelihood",
    [pv.BetaBinomial(30), pv.DiscretisedLogistic(30, "output"), pv.Categorical(3)],
    ids=["beta-binomial", "logistic", "categorical"],
)
def test_the_length_is_the_negative_elbo_of_other_values_too(likelihood: pv.Likelihood) -> None:
    model, guide, x = of_likelihood(likelihood, 40, (12,), gain=1.0)
    found = pv.compress(model, guide, x)
    elbo = pv.log_evidence(model, guide, x, pv.Importance(200)).elbo.double() / -math.log(2)

    off = found.ideal.double() - elbo
    assert abs(off.mean()) < 5 * off.std() / math.sqrt(len(x))
    rounding = (found.bits - found.ideal).double()
    assert abs(rounding.mean()) < 0.01 * elbo.mean()
    assert torch.equal(pv.decompress(model, guide, found.data), x)


def test_values_that_a_likelihood_has_not_are_refused() -> None:
    model, guide, x = of_likelihood(pv.BetaBinomial(6))
    for wrong in (x + 0.01, torch.round(5 * x.double()) / 5, x + 1):
        with pytest.raises(ValueError, match=r"x: got .* none of the 6 values"):
            pv.compress(model, guide, wrong)
    model, guide, x = of_likelihood(pv.Poisson())
    with pytest.raises(ValueError, match="a likelihood of LogPoisson, expected Bernoulli, or one"):
        pv.compress(model, guide, x)
    model, guide, x = of_likelihood(pv.Categorical(3000))
    with pytest.raises(ValueError, match="of 3,000 values, expected at most 2,048"):
        pv.compress(model, guide, x)
    model, guide, x = of_likelihood(pv.BetaBinomial(2000), 2, (60,))
    with pytest.raises(ValueError, match=r"num_particles: got 999 .* expected at most 559"):
        pv.compress(model, guide, x, num_particles=999)


def test_more_latents_take_less_room() -> None:
    model, guide = vae((12,), 2, 4.0), encoder((12,), 2)
    x = simulated(model, 40)
    lengths = [pv.compress(model, guide, x, num_particles=k).bits.mean() for k in (1, 4, 30)]
    assert lengths[0] > lengths[1] > lengths[2]


def test_a_compression_counts_every_bit() -> None:
    model, guide, x = vae(), encoder(), binary(200, 3, 2)
    found = pv.compress(model, guide, x)
    assert found.bits_per_dim == 8 * len(found.data) / x.numel()
    on_stack = found.bits.double().sum().item() + found.initial_bits
    header = 8 * len(found.data) - on_stack
    assert 8 * 60 < header < 8 * 80 + 33  # and the top word is not full
    told = repr(found)
    assert f"{found.bits_per_dim:.4f}" in told and f"{len(found.data):,} bytes" in told


def test_progress_goes_from_nothing_to_all() -> None:
    model, guide, x = vae(), encoder(), binary(9, 3, 2)
    told: list[float] = []
    data = pv.compress(model, guide, x, progress=told.append).data
    back: list[float] = []
    pv.decompress(model, guide, data, progress=back.append)
    for shares in (told, back):
        assert shares == sorted(shares) and shares[-1] == 1 and len(shares) == 9


FLAT = (6,)
REFUSED = {
    "a likelihood of Normal": lambda: (pv.LinearGaussian(6, 2), encoder(FLAT)),
    "expected the model's, \\['z'\\]": lambda: (Tutorial(), encoder(FLAT)),
    "not N\\(0, I\\)": lambda: (Tutorial(2.0), TutorialGuide()),
    "got the latents \\['\\w+', '\\w+'\\]": lambda: (pv.HierarchicalVAE(FLAT, 2, 3), encoder(FLAT)),
    "a family of MultivariateNormal": lambda: (
        vae(FLAT),
        pv.EncoderGuide(FLAT, 2, (8,), family=pv.FullRank),
    ),
    "a table with a row": lambda: (vae(FLAT), pv.Local(pv.MeanField(2), 9)),
    "expected \\(2,\\)": lambda: (vae(FLAT), encoder(FLAT, 3)),
    "of shape \\(6,\\), expected the model's, \\(3, 2\\)": lambda: (vae(), encoder()),
    "parameters of torch.bfloat16": lambda: (vae(FLAT).bfloat16(), encoder(FLAT).bfloat16()),
}


@pytest.mark.parametrize("told", REFUSED)
def test_other_programs_are_refused_by_what_they_are(told: str) -> None:
    model, guide = REFUSED[told]()
    with pytest.raises(ValueError, match=told) as raised:
        pv.compress(model, guide, binary(9, 6))
    assert "\n" not in str(raised.value)


def test_a_guide_that_optimises_is_refused() -> None:
    guide = pv.SemiAmortized(encoder(FLAT), vae(FLAT), num_steps=2)
    with pytest.raises(ValueError, match="guide"):
        pv.compress(vae(FLAT), guide, binary(9, 6))


class Peeking(Tutorial):
    """Its likelihood knows the data."""

    def forward(self, x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        self.net.bias.data = x[0]
        super().forward(x, index)


def test_a_likelihood_that_reads_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="reads the data"):
        pv.compress(Peeking(), TutorialGuide(), binary(9, 6))


def test_weights_that_are_not_finite_are_refused() -> None:
    model, guide = vae(), encoder()
    with torch.no_grad():
        model.decoder.bias.fill_(math.nan)
    with pytest.raises(ValueError, match=r"not finite|NaN"):
        pv.compress(model, guide, binary(9, 3, 2))
