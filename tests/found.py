"""A result of each class, from tiny models, with the rows of its frame."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache

import torch

import pyro_vae as pv
from pyro_vae.results import Result
from tests.programs.mixed import alone

QUICK = pv.Annealed(6, num_chains=4)


@cache
def parts() -> tuple[pv.LinearGaussian, pv.Amortized, torch.Tensor]:
    torch.manual_seed(0)
    model = pv.LinearGaussian(4, 3)
    return model, pv.Amortized(pv.MeanField(3), pv.MLP(4, ())), model.sample(40)


def estimated(method: pv.Method) -> pv.Estimate:
    return pv.log_evidence(*parts(), method)


@cache
def ledger() -> pv.Ledger:
    model, guide, x = parts()
    guides = {"amortized": guide, "local": pv.Local(pv.MeanField(3), len(x))}
    return pv.gap_ledger(model, guides, x, method=pv.Importance(30))


@cache
def agreed() -> tuple[pv.Reference, pv.Agreement]:
    model, guide, x = parts()
    found = pv.reference_posterior(model, x[:2], num_chains=2, num_samples=8, num_warmup=8)
    return found, pv.agreement(guide, found, x[:2])


def states() -> pv.DiscretePosterior:
    torch.manual_seed(0)
    x = 2 * torch.randn(20, 1)
    return pv.discrete_posterior(alone, lambda x: None, x, num_particles=1)


def in_pairs() -> pv.PosteriorPairs:
    _, guide, x = parts()
    return pv.posterior_pairs({"amortized": guide}, agreed()[0], x[:2], num_draws=20)


def grid() -> pv.PosteriorGrid:
    torch.manual_seed(0)
    model = pv.LinearGaussian(4, 2)
    return pv.posterior_grid(model, {"exact": pv.ExactGuide(model)}, model.sample(1), side=51)


@cache
def sandwich() -> pv.Sandwich:
    model, guide, x = parts()
    return pv.sandwich(model, guide, x, num_data=5, method=QUICK)


@cache
def run() -> pv.Run:
    model, guide, x = parts()
    return pv.fit(model, guide, x, epochs=2, quiet=True)


def optimum() -> Result:
    model, _, x = parts()
    return pv.fit_local(model, pv.Local(pv.MeanField(3), 4), x[:4], num_steps=30)


def curve() -> pv.Curve:
    model, _, x = parts()
    chains = pv.Annealed(6, "prior", num_chains=4)
    return pv.rate_distortion_curve(model, x, num_points=3, method=chains)


def imputation() -> pv.Imputation:
    model, guide, x = parts()
    x = x[:20].clone()
    x[::2, 1] = torch.nan
    return pv.impute(model, guide, x, num_particles=50, num_draws=3)


def embedding() -> pv.Embedding:
    return pv.embed(*parts(), labels=torch.arange(40) % 3)


def compression() -> pv.Compression:
    torch.manual_seed(0)
    guide = pv.EncoderGuide((4,), 2, (3,))
    return pv.compress(pv.VAE((4,), 2, (3,)), guide, torch.arange(40).reshape(10, 4) % 2)


def ranking() -> pv.Ranking:
    return pv.rank({"weights": estimated(pv.Importance(50)), "exact": estimated(pv.Exact())})


def sweep() -> pv.Sweep:
    small = {"epochs": 1, "batch_size": 600, "engine": "pyro", "guide.hidden": [4]}
    grid = {"model.latent_dim": [1, 2], "model.hidden": [[4]]}
    spec = {"train": small, "grid": grid, "evidence": {"method": "Importance", "num_particles": 3}}
    return pv.sweep(spec, tempfile.mkdtemp(), quiet=True)


_MADE: dict[str, tuple[Callable[[], Result], int]] = {  # with the rows of its frame
    "Importance": (lambda: estimated(pv.Importance(50)), 40),
    "Annealed": (lambda: estimated(QUICK), 40),
    "Laplace": (lambda: estimated(pv.Laplace(50)), 40),
    "Exact": (lambda: estimated(pv.Exact()), 40),
    "Best": (lambda: estimated(pv.Best()), 40),
    "Ledger": (ledger, 80),
    "Entry": (lambda: ledger().entries["local"], 40),
    "Sandwich": (sandwich, 5),
    "Likeness": (lambda: pv.likeness(*parts(), sandwich()), 2),
    "Calibration": (
        lambda: pv.check_calibration(*parts(), num_simulations=30, num_draws=9),
        30,
    ),
    "Coverage": (lambda: pv.check_coverage(*parts(), num_simulations=30, num_draws=9), 30),
    "LocalTest": (
        lambda: pv.local_c2st(*parts(), num_simulations=50, num_null=4),
        40,
    ),
    "Predictions": (
        lambda: pv.check_predictions(*parts(), num_draws=5, num_simulated=30),
        40,
    ),
    "Reference": (lambda: agreed()[0], 6),
    "PosteriorGrid": (grid, 51**2),
    "PosteriorPairs": (in_pairs, 16 + 20),
    "Agreement": (lambda: agreed()[1], 6),
    "Run": (run, 2),
    "Curve": (curve, 3),
    "Dataset": (lambda: pv.load("digits"), 3),
    "Optimum": (optimum, 4),
    "Units": (lambda: pv.latent_units(*parts()), 3),  # type: ignore[dict-item,return-value]
    "DiscretePosterior": (states, 20),
    "Information": (lambda: pv.information(*parts(), batch_size=10, num_draws=3), 40),
    "Ranking": (ranking, 2),
    "Samples": (lambda: pv.sample(parts()[0], parts()[2], num_samples=5), 5),
    "Nearest": (lambda: pv.nearest(parts()[2][:3], parts()[2]), 3),
    "Reconstructions": (lambda: pv.reconstruct(*parts()), 40),
    "Imputation": (imputation, 10),
    "Interpolation": (lambda: pv.interpolate(*parts(), num_steps=3), 39 * 3),
    "Traversals": (lambda: pv.traverse(*parts(), num_units=3), 3 * 9),
    "Manifold": (lambda: pv.manifold(pv.LinearGaussian(4, 2), parts()[2], side=3), 9),
    "Embedding": (embedding, 40),
    "Compression": (compression, 10),
    "Sweep": (sweep, 2),
    "Ascent": (lambda: pv.coordinate_ascent(parts()[0], parts()[2], max_sweeps=5), 6),
}
RESULTS = {name: (cache(make), rows) for name, (make, rows) in _MADE.items()}
