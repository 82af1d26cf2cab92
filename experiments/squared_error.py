"""Which Gaussian decoder is "squared error + beta KL", and where does a learned sigma settle?

    equal       -log N(x; f(z), s I) = |x - f(z)|^2 / (2 s) + D/2 log(2 pi s), so for each datum

                    2 s (distortion + b rate) = |x - f(z)|^2 + beta rate + s D log(2 pi s),
                    beta = 2 s b

                and the gradients are proportional. Predicted: for any net and any s = sigma^2, the
                package's tempered Gaussian ELBO and a squared error written by hand agree to 1e-6
                in loss and gradients, and move the parameters alike under SGD (rate over 2 s) and
                Adam (the same rate, epsilon times 2 s).
    reductions  the usual ways to write the squared error with beta = 1: summed, s = 1/2; half the
                sum, s = 1; averaged over the D pixels, s = D / 2. Predicted for linear nets: as
                many units live as the data's covariance has eigenvalues above s, which depends on
                the units of the data; with sigma learned it does not.
    learned     with s learned, d loss / d s = 0 says: s = E_q |x - f(z)|^2 / D, the mean squared
                error. Predicted for linear nets with eigenvalues e_1 >= ... >= e_D and k living
                units: s = sum_(i > k) e_i / (D - k b), at b = 1 the mean of the discarded
                eigenvalues (Tipping & Bishop, 1999).

Run:  python experiments/squared_error.py [--parts P ...] [--steps S] [--json FILE]

References:
    Tipping, Bishop (1999). Probabilistic principal component analysis. doi:10.1111/1467-9868.00196.
    Lucas, Tucker, Grosse, Norouzi (2019). Don't blame the ELBO! A linear VAE perspective on
        posterior collapse. arXiv:1911.02469.
    Rybkin, Daniilidis, Levine (2021). Simple and effective VAE training with calibrated decoders.
        arXiv:2006.13202.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor, nn

import pyro_vae as pv
import study
from collapse_linear import with_spectrum
from pyro_vae.objectives import tempered
from squared_error_chart import chart

SIGMAS = (0.1, 0.3, math.sqrt(0.5), 1.0, 3.0)
BETAS = (1.0, 4.0)
EIGENVALUES = (8.0, 6.0, 4.5, 3.0, 2.0, 1.4, 1.0, 0.8, *(0.05 * n for n in range(12, 0, -1)))
FITS = ((2, 1.0), (2, 2.0), (5, 1.0), (5, 2.0), (8, 1.0))  # units and KL weights
REDUCTIONS: dict[str, Callable[[int], float]] = {
    "summed": lambda size: 0.5,
    "half the sum": lambda size: 1.0,
    "averaged": lambda size: size / 2,
}
PIXELS = {"0 to 1": 1.0, "0 to 16": 16.0}
NUM_DATA = 500  # of the linear data
NUM_DIGITS = 1797
MOVES = 20  # of the optimizers that are compared


def digits() -> Tensor:
    """Scikit-learn's digits as real numbers in [0, 1], `(N, 64)`, in float64."""
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().data[:NUM_DIGITS]).double() / 16


def spectrum(x: Tensor) -> Tensor:
    """Eigenvalues of the covariance of data `(N, D)`, the largest first."""
    return torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)


def pair(sigma: float, dtype: torch.dtype, x: Tensor) -> tuple[pv.VAE, pv.Amortized]:
    """A small nonlinear VAE with a fixed sigma."""
    torch.manual_seed(0)
    likelihood = pv.Gaussian(sigma=sigma, learn="none")
    model = pv.VAE(x.shape[1:], 4, (32,), likelihood, mean=x.mean(0).float())
    guide = pv.Amortized(pv.MeanField(4), pv.MLP(x.shape[1:], (32,)))
    return model.to(dtype), guide.to(dtype)


def gaussian_loss(model: Any, guide: pv.Amortized, x: Tensor, beta: float) -> Tensor:
    """Distortion + beta rate, summed over the data, by the package's programs and Pyro's ELBO."""
    weight = torch.tensor(beta, dtype=x.dtype)
    elbo = TraceMeanField_ELBO()
    with pyro.validation_enabled(False):
        return elbo.differentiable_loss(tempered(model, weight), tempered(guide, weight), x)


def squared_loss(model: pv.VAE, guide: pv.Amortized, x: Tensor, beta: float) -> Tensor:
    """|x - f(z)|^2 + beta KL(q || p), summed over the data, as one writes it without a density."""
    mean, log_scale = guide.params(x).chunk(2, dim=-1)
    z = mean + log_scale.exp() * torch.randn_like(mean)
    rate = (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum() / 2
    return (x - model.decoder(z).squeeze(1)).square().sum() + beta * rate


def gradient(loss: Tensor, params: list[nn.Parameter]) -> Tensor:
    """All gradients as one vector `(P,)`."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, params)])


def off(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def equal(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each precision, sigma and beta: how far the two losses and gradients are apart."""
    rows: list[dict[str, Any]] = []
    for dtype in (torch.double, torch.float):
        x = digits()[:256].to(dtype)
        for sigma in SIGMAS:
            for beta in BETAS:
                rows.append({"dtype": str(dtype)[6:], "sigma": sigma, "kl_weight": beta})
                rows[-1] |= compared(sigma, beta, x)
    return rows


def compared(sigma: float, beta: float, x: Tensor) -> dict[str, float]:
    """Loss and gradients of both forms at a start, and parameters after training by both."""
    s, size = sigma**2, x[0].numel()
    model, guide = pair(sigma, x.dtype, x)
    params = [*model.parameters(), *guide.parameters()]
    constant = len(x) * s * size * math.log(2 * math.pi * s)

    torch.manual_seed(1)
    gaussian = 2 * s * gaussian_loss(model, guide, x, beta)
    torch.manual_seed(1)
    squared = squared_loss(model, guide, x, 2 * s * beta)
    apart = off(gradient(gaussian, params), gradient(squared, params))
    found = {"beta": 2 * s * beta, "loss": off(gaussian, squared + constant), "gradients": apart}

    found["sgd"] = off(
        moved(partial(torch.optim.SGD, lr=1e-5 * 2 * s), gaussian_loss, (sigma, beta), x),
        moved(partial(torch.optim.SGD, lr=1e-5), squared_loss, (sigma, 2 * s * beta), x),
    )
    adam = partial(torch.optim.Adam, lr=1e-3)
    found["adam"] = off(
        moved(partial(adam, eps=1e-8), gaussian_loss, (sigma, beta), x),
        moved(partial(adam, eps=2 * s * 1e-8), squared_loss, (sigma, 2 * s * beta), x),
    )
    return found


def moved(
    make: Callable[..., Any], loss: Callable[..., Tensor], weights: tuple[float, float], x: Tensor
) -> Tensor:
    """How far some steps move the parameters, `(P,)`."""
    sigma, beta = weights
    model, guide = pair(sigma, x.dtype, x)
    params = [*model.parameters(), *guide.parameters()]
    start = torch.cat([p.detach().flatten() for p in params])
    optimizer = make(params)

    torch.manual_seed(2)
    for _ in range(MOVES):
        optimizer.zero_grad(set_to_none=True)
        loss(model, guide, x, beta).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in params]) - start


def train(model: Any, guide: pv.Amortized, x: Tensor, steps: int, beta: float = 1.0) -> None:
    """Minimise the tempered Gaussian loss of all data at each step, at a rate that goes to zero."""
    params = [p for p in (*model.parameters(), *guide.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(params, lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        (gaussian_loss(model, guide, x, beta) / len(x)).backward()
        optimizer.step()
        schedule.step()


def linear(x: Tensor, latent_dim: int, sigma: float) -> tuple[pv.LinearGaussian, pv.Amortized]:
    """A linear VAE with a linear encoder, that starts at the data's mean with small loadings."""
    torch.manual_seed(0)
    model = pv.LinearGaussian(x.shape[1:], latent_dim, sigma=sigma).to(x)
    model.center(x.mean(0))
    guide = pv.Amortized(pv.MeanField(latent_dim), pv.MLP(x.shape[1:], ())).to(x)
    guide.start(x)
    with torch.no_grad():
        model.loading.mul_(0.1 * x.std())
    return model, guide


def reductions(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way to write it and unit of the pixels: living units of a linear VAE."""
    rows: list[dict[str, Any]] = []
    for unit, scale in PIXELS.items():
        x = scale * digits()
        known = spectrum(x)
        for name, variance in REDUCTIONS.items():
            s = variance(x.shape[1])
            model, guide = linear(x, 16, math.sqrt(s))
            model.eval().log_sigma.requires_grad_(False)  # eval: Pyro warns of what is frozen
            rows.append({"pixels": unit, "reduction": name, "variance": s})
            rows[-1] |= {"predicted": min(16, int((known > s).sum()))}
            rows[-1] |= {"found": living(model, guide, x, options.steps)}

        model, guide = linear(x, 16, x.std().item())
        row = {"pixels": unit, "reduction": "sigma learned", "predicted": 16}
        row["found"] = living(model, guide, x, options.steps)
        rows.append(row | {"variance": (2 * model.log_sigma).exp().item()})
    return rows


def living(model: nn.Module, guide: pv.Amortized, x: Tensor, steps: int) -> int:
    """Train, and count the units that are used."""
    train(model, guide, x, steps)
    units = pv.latent_units(model, guide, x)
    assert units is not None
    return units.num_active


def learned(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each fit: the learned variance, the mean squared error, the closed form."""
    rows: list[dict[str, Any]] = []
    known = torch.tensor(EIGENVALUES, dtype=torch.double)
    x = with_spectrum(known, NUM_DATA)
    for latent_dim, beta in FITS:
        model, guide = linear(x, latent_dim, x.std().item())
        train(model, guide, x, options.steps, beta)
        expected = known[latent_dim:].sum() / (len(known) - latent_dim * beta)
        found = (2 * model.log_sigma).exp().item()

        row = {"data": "linear", "units": latent_dim, "kl_weight": beta, "variance": found}
        row["mean_squared_error"] = mean_squared_error(model, guide, x)
        rows.append(row | {"closed_form": expected.item()})

    x = digits()
    torch.manual_seed(0)
    likelihood = pv.Gaussian()
    net = pv.VAE(x.shape[1:], 8, (64,), likelihood).to(x)
    guide = pv.Amortized(pv.MeanField(8), pv.MLP(x.shape[1:], (64,))).to(x)
    net.start(x)
    guide.start(x)
    train(net, guide, x, options.steps)
    with torch.no_grad():
        found = float(likelihood.standard_deviation()) ** 2
    row = {"data": "digits", "units": 8, "kl_weight": 1.0, "variance": found}
    rows.append(row | {"mean_squared_error": mean_squared_error(net, guide, x)})
    return rows


@torch.no_grad()
def mean_squared_error(model: Any, guide: pv.Amortized, x: Tensor, num_draws: int = 100) -> float:
    """E_q |x - f(z)|^2 / D, averaged over the data."""
    torch.manual_seed(3)
    z = guide.q(x).sample((num_draws,))
    return (x - model.decode(z)).square().mean().item()


PARTS: study.Parts = {"equal": equal, "reductions": reductions, "learned": learned}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--steps", type=int, default=2000, help="steps of each training")
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    for part in options.parts:
        study.told(results[part])
    if options.json is not None and {"equal", "learned"} <= results.keys():
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
