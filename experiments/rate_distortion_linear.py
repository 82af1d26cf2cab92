"""Rate and distortion of a linear VAE, where Shannon's curve is known: the part `linear` of
rate_distortion.py, which says what is asked, and what is tried out here before it meets MNIST.

With decoder variance s and weight b of the KL term the optimum on data whose covariance has the
eigenvalues e_i is reverse water-filling at the level b s:

    rate = sum_i max(0, log(e_i / (b s)) / 2),    E|x - E[x|z]|^2 = sum_i min(e_i, b s)

References:
    Cover, Thomas (2006). Elements of information theory, section 10.3. Wiley.
    Lucas, Tucker, Grosse, Norouzi (2019). Don't blame the ELBO! A linear VAE perspective on
        posterior collapse. arXiv:1911.02469.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import pyro_vae as pv
from collapse_linear import train, with_spectrum
from pyro_vae.evidence.estimate import standard_error

EIGENVALUES = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.12, 0.06)
UNITS, NUM_DATA = len(EIGENVALUES), 2000  # s = 1
BETAS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.5, 3.0, 5.0, 7.0, 20.0, 100.0)
BACK = (3.0, 0.3)  # after them, from where all units are dead
FIRST = 6  # times as many steps at the first, from random weights
FROZEN = (0.1,)  # whose decoders chains run along
ENDS = (1.0, 100.0)  # inverse temperatures of the two bounds


# ---- what MNIST needs too


class Noisy(Messenger):
    """Makes a model's observations Gaussian about their means, of variance 1 / (2t).

    Their density is e^(-t |x - mean|^2) times a number that the latent does not change. So latents
    from the prior, and data drawn from them, are an exact draw at the inverse temperature t of the
    squared error.
    """

    def __init__(self, t: float) -> None:
        super().__init__()
        self.deviation = (2 * t) ** -0.5

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"]:
            fn = msg["fn"]
            msg["fn"] = dist.Normal(fn.mean, self.deviation).to_event(fn.event_dim)


def both_sides(
    model: Any, t: float, like: Tensor, num_data: int, method: pv.Annealed
) -> tuple[Tensor, Tensor, Tensor]:
    """Simulated data, and -log Z_t of the squared error between two bounds for each of them, from
    below by chains that run backwards, from above by the curve, which ends at t.
    """
    noisy = Noisy(t)(model)
    made = pv.sandwich(noisy, None, like, num_data=num_data, method=method)
    changes: dict[str, Any] = {"distortion": pv.squared_error, "max_beta": t, "num_points": 1}
    curve = pv.rate_distortion_curve(noisy, made.x, method=method, **changes)
    normaliser = like[0].numel() / 2 * math.log(math.pi / t)
    return made.x, -made.reverse.log_px - normaliser, (curve.rate + t * curve.distortion)[-1]


def least(curve: pv.Curve, t: float) -> Tensor:
    """An upper bound of -log Z_t, the least rate + t distortion of an encoder, for each datum: of
    the points of a curve, each of which has an encoder, the one where the mean is lowest.
    """
    found = curve.rate + t * curve.distortion
    return found[found.mean(1).argmin()]


# ---- closed forms


def water_filling(level: float) -> tuple[float, float]:
    """Rate and mean squared error of Shannon's curve for a Gaussian with the eigenvalues."""
    rate = sum(max(0.0, math.log(e / level)) for e in EIGENVALUES) / 2
    return rate, sum(min(e, level) for e in EIGENVALUES)


@torch.no_grad()
def frozen(model: pv.LinearGaussian, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """Rate and mean squared error of the best encoder of a decoder that is left as it is, at the
    inverse temperature t of -log p(x|z), for each datum `(N,)`.
    """
    loading, variance = model.loading, (2 * model.log_sigma).exp()
    identity = torch.eye(model.latent_dim).to(x)
    precision = identity + t / variance * loading.T @ loading
    mean = torch.linalg.solve(precision, t / variance * loading.T @ (x - model.mean).T).T

    q = MultivariateNormal(mean, precision_matrix=precision)
    rate = kl_divergence(q, MultivariateNormal(torch.zeros_like(mean[0]), identity))
    spread = torch.trace(loading @ torch.linalg.solve(precision, loading.T))
    return rate, (x - model.mean - mean @ loading.T).square().sum(1) + spread


@torch.no_grad()
def trained(model: pv.LinearGaussian, guide: pv.Amortized, x: Tensor) -> tuple[float, float]:
    """Mean rate and squared error of a mean-field encoder."""
    q = guide.q(x)
    rate = kl_divergence(q.base_dist, Normal(0.0, 1.0)).sum(1)
    missed = (x - model.mean - q.mean @ model.loading.T).square().sum(1)
    spread = q.variance @ model.loading.square().sum(0)
    return rate.mean().item(), (missed + spread).mean().item()


# ---- the part


def linear(options: argparse.Namespace) -> dict[str, Any]:
    """The sweep against water-filling, chains along frozen decoders and between two bounds against
    closed forms.
    """
    known = torch.tensor(EIGENVALUES, dtype=torch.double)
    x = with_spectrum(known, NUM_DATA)
    torch.manual_seed(0)
    model = pv.LinearGaussian(UNITS, UNITS).to(x)
    guide = pv.Amortized(pv.MeanField(UNITS), pv.MLP(UNITS, ())).to(x)
    guide.start(x)
    model.eval().log_sigma.requires_grad_(False)

    chains = pv.Annealed(options.num_temperatures, "prior", options.num_chains)
    rows: list[dict[str, Any]] = []
    along: list[dict[str, Any]] = []
    bounds: list[dict[str, Any]] = []
    for number, beta in enumerate((*BETAS, *BACK)):
        steps = options.steps * (1 if number else FIRST)
        train((model, guide), x, steps, beta)
        leg = "up" if number < len(BETAS) else "back"
        rows.append({"leg": leg, "beta": beta} | against(model, guide, x, known, beta))
        if leg == "up" and beta in FROZEN:
            along += [{"decoder": beta} | each for each in annealed(model, x[:50], chains)]
        if leg == "up" and beta == FROZEN[0]:
            bounds = [between(model, t, x[:1], options.num_simulated, chains) for t in ENDS]

    entropy = (UNITS * math.log(2 * math.pi * math.e) + known.log().sum().item()) / 2
    return {"entropy": entropy, "sweep": rows, "annealed": along, "bounds": bounds}


def against(
    model: pv.LinearGaussian, guide: pv.Amortized, x: Tensor, known: Tensor, beta: float
) -> dict[str, Any]:
    """A point of the sweep beside the formula: both rates and squared errors, how far the objective
    is above its least value as a share of it, and living units.
    """
    rate, error = trained(model, guide, x)
    best_rate, best_error = water_filling(beta)
    constant = UNITS / 2 * math.log(2 * math.pi)
    units = pv.latent_units(model, guide, x)
    assert units is not None
    excess = (error - best_error) / 2 + beta * (rate - best_rate)
    return {
        "rate": rate,
        "squared_error": error,
        "distortion": error / 2 + constant,
        "formula_rate": best_rate,
        "formula_squared_error": best_error,
        "off": excess / (best_error / 2 + beta * best_rate),
        "units": units.num_active,
        "formula_units": int((known > beta).sum()),
    }


def annealed(model: pv.LinearGaussian, x: Tensor, chains: pv.Annealed) -> list[dict[str, Any]]:
    """How far points of the annealed curve are above the closed form in rate + t distortion, for
    either distortion, with the error over the data.
    """
    constant = UNITS / 2 * math.log(2 * math.pi)
    rows = []
    for distortion in (None, pv.squared_error):
        curve = pv.rate_distortion_curve(
            model, x, distortion=distortion, max_beta=100.0, num_points=10, method=chains
        )
        for t, rate, cost in zip(curve.beta.tolist(), curve.rate, curve.distortion, strict=True):
            # |x - mean|^2 is twice -log p(x|z), but for a constant
            exact_rate, error = frozen(model, x, t if distortion is None else 2 * t)
            exact = error / 2 + constant if distortion is None else error
            excess = rate + t * cost - exact_rate - t * exact
            row = {"distortion": curve.unit, "t": t, "rate": rate.mean().item()}
            row |= {"formula_rate": exact_rate.mean().item(), "excess": excess.mean().item()}
            rows.append(row | {"excess_error": standard_error(excess)})
    return rows


def between(
    model: pv.LinearGaussian, t: float, like: Tensor, num_data: int, chains: pv.Annealed
) -> dict[str, Any]:
    """How far the two bounds of -log Z_t are from the closed form."""
    x, lower, upper = both_sides(model, t, like, num_data, chains)
    rate, error = frozen(model, x, 2 * t)
    exact = rate + t * error
    row: dict[str, Any] = {"t": t, "exact": exact.mean().item()}
    for name, found in (("below", exact - lower), ("above", upper - exact)):
        row |= {name: found.mean().item(), f"{name}_error": standard_error(found)}
    return row
