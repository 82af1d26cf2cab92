"""Which likelihood goes with which data, what it is worth in bits, and arguments that make none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import Namespace
from scipy import special

import pyro_vae as pv
from pyro_vae.inference.outcome import bits_per_dim
from pyro_vae.models.likelihoods.multichoose import log_multichoose
from pyro_vae.runs.choices import choose_likelihood
from tests.models.likelihoods import ROWS, SIZE, Row
from tests.scenarios import eager


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (None, "Gaussian, a sigma for each value learned"),
        (("counts",) * 3, "NegativeBinomial, a dispersion for each value learned"),
        (("categories:4",) * 3, "Categorical of 4 classes"),
        (("binary",) * 3, "Bernoulli"),
        (("real",) * 3, "Gaussian, a sigma for each value learned"),
        (("real", "counts", "categories:4"), "Mixed: 1 real, 1 counts, 1 categories:4"),
    ],
)
def test_the_likelihood_goes_with_the_kinds_of_the_columns(
    kinds: tuple[str, ...] | None, told: str
) -> None:
    x = torch.randn(20, 3) if kinds is None else torch.randint(0, 2, (20, 3)).float()
    train, test = (pv.Split(name, x, "none", kinds=kinds) for name in ("train", "test"))
    data = pv.Dataset("own", train, None, test)
    found = pv.likelihood_for(data)
    assert found.describe() == told
    found.bind((3,))

    # and a run's configuration keeps it
    config = Namespace(model=Namespace(init_args=Namespace(likelihood=None)))
    choose_likelihood(config, data)
    kept = config.model.init_args.likelihood
    again = getattr(pv, kept.class_path.removeprefix("pyro_vae."))(**kept.init_args.as_dict())
    assert again.describe() == told


@pytest.mark.parametrize(
    ("row", "rule", "levels"),
    [
        (ROWS["beta-binomial"], "none", 1),
        (ROWS["logistic"], "none", 1),
        (ROWS["categorical"], "none", 1),
        (ROWS["poisson"], "none", 1),
        (ROWS["student"], "none", None),
        (ROWS["student"], "dequantise", 256),
        (ROWS["continuous Bernoulli"], "dequantise", 256),
        (ROWS["mixed"], "none", None),
    ],
)
def test_bits_are_told_where_values_have_probabilities(
    row: Row, rule: Any, levels: int | None
) -> None:
    pixels = torch.randint(0, 256, (20, SIZE), dtype=torch.uint8)
    data = pv.Dataset("own", pv.Split("train", pixels, rule), None, pv.Split("test", pixels, rule))
    model = pv.VAE((SIZE,), 2, (4,), row.make())
    assert rule in model.rules
    found = bits_per_dim(model, data, -math.log(2) * SIZE)
    assert found == (None if levels is None else 1 + math.log2(levels))


def test_pixels_become_grey_levels_for_their_likelihoods(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    pixels = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    model = pv.VAE((1, 4, 4), 2, (4,), pv.BetaBinomial())
    run = pv.fit(model, pv.EncoderGuide((1, 4, 4), 2, (4,)), pixels, epochs=1, quiet=True, valid=10)
    assert run.data.binarise == "none"
    assert "bits a value" in str(run)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pv.BetaBinomial(1), "levels: got 1"),
        (lambda: pv.DiscretisedLogistic(2.5), "levels: got 2.5"),  # type: ignore[arg-type]
        (lambda: pv.DiscretisedLogistic(learn="none"), "learn: got 'none'"),  # type: ignore[arg-type]
        (lambda: pv.Categorical(1), "num_classes: got 1"),
        (lambda: pv.NegativeBinomial("gene"), "dispersion: got 'gene'"),  # type: ignore[arg-type]
        (lambda: pv.StudentT(1.0), "df: got 1.0"),
        (lambda: pv.Mixed("real"), "kinds: got 'real'"),
        (lambda: pv.Mixed(["real", "categories:1"]), "kinds: got 'categories:1'"),
        (lambda: pv.VAE((3,), 2, (4,), pv.Mixed(["real"])), "kinds: got 1 of them for data"),
    ],
)
def test_bad_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.double, 1e-9), (torch.float, 1e-6)])
def test_real_binomial_coefficients_keep_their_figures(dtype: torch.dtype, rtol: float) -> None:
    a = torch.logspace(-6, 5, 40, dtype=dtype)[:, None]
    k = torch.tensor([0, 1, 2, 7, 40, 255, 10_000], dtype=dtype)
    wide_a, wide_k = a.double().numpy(), k.double().numpy()
    truth = special.gammaln(wide_a + wide_k) - special.gammaln(wide_a) - special.gammaln(wide_k + 1)
    np.testing.assert_allclose(log_multichoose(a, k).double(), truth, rtol=rtol, atol=2 * rtol)
