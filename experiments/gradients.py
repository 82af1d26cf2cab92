"""How noisy are the gradients of a guide, and are they right? Reparameterised, sticking the landing
and score-function estimators where the exact gradient and most variances are known.

Linear-Gaussian model with the posterior's precision L, a mean-field guide q = N(m, diag(v)), the
gradient of minus the ELBO in m and in log sqrt(v), two particles. With a the exact gradient in m,
off_i = sum_(j != i) L_ij^2 v_j, and h = 0 for the reparameterised gradient, 1 with an analytic KL
term (a is then that of the likelihood alone), 1 / v when sticking the landing, predicted for one
particle:

    Var in m_i              off_i + (L_ii - h_i)^2 v_i
    Var in log sqrt(v_i)    v_i a_i^2 + 2 (L_ii - h_i)^2 v_i^2 + v_i off_i

So at the optimum, v_i = 1 / L_ii, sticking the landing has only `off`, nothing where the family
holds the posterior; the reparameterised gradient has the Fisher information of q besides. And where
q is narrower than 1 / sqrt(2) of its optimum, sticking the landing is the noisier one.

    guides    bias in standard errors, and variances against these predictions, at four guides,
              where the family holds the posterior (L diagonal) and where it does not
    latents   variance per parameter against the number d of units, all alike: path gradients do not
              grow; the score function's grow like d^2, since log w does not vanish; with the
              leave-one-out baseline they are linear in d, the variance of log w; at the exact
              posterior, whose log w is constant, that one is 0
    batch     an amortized guide, minibatches of B fresh data: variance like 1 / B, split into that
              of the draws and that of the data, which no estimator takes away

On a trained run: estimators.py.

Run:  python experiments/gradients.py [--parts P ...] [--repetitions R] [--json FILE]

References:
    Roeder, Wu, Duvenaud (2017). Sticking the landing: simple, lower-variance gradient estimators
        for variational inference. arXiv:1703.09194.
    Mohamed, Rosca, Figurnov, Mnih (2020). Monte Carlo gradient estimation in machine learning.
        arXiv:1906.10652.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

import pyro_vae as pv
import study
from gradients_chart import chart, slopes
from pyro_vae.files.texts import write_json
from pyro_vae.objectives import Bound, ScoreFunction

PARTICLES = 2
ESTIMATORS: dict[str, Callable[[], Trace_ELBO]] = {
    "reparameterised": partial(Trace_ELBO, PARTICLES, vectorize_particles=True),
    "analytic KL": partial(TraceMeanField_ELBO, PARTICLES, vectorize_particles=True),
    "sticking the landing": partial(Bound, PARTICLES, alpha=1.0, path_only=True),
    "score function": partial(ScoreFunction, PARTICLES),
    "score, leave-one-out": partial(ScoreFunction, PARTICLES, baseline=True),
}
GUIDES = {  # shift in deviations of the optimum, width as a share of it
    "optimum": (0.0, 1.0),
    "shifted by 1": (1.0, 1.0),
    "half as wide": (0.0, 0.5),
    "twice as wide": (0.0, 2.0),
}
DIMS = (1, 2, 4, 8, 16, 32, 64)
BATCHES = (1, 4, 16, 64, 256)


def frozen(dim: int, correlated: bool) -> pv.LinearGaussian:
    """2 d values from d units; L = 4 I, or with random loadings full."""
    model = pv.LinearGaussian(2 * dim, dim, sigma=1.0).double()
    with torch.no_grad():
        if not correlated:
            model.loading.copy_(3**0.5 * torch.linalg.qr(model.loading).Q)
    return model.requires_grad_(False).eval()


def simulated(model: pv.LinearGaussian, num_data: int) -> Tensor:
    """Data of the model `(N, D)`."""
    mean = model.sample(num_data)
    return mean + model.log_sigma.exp() * torch.randn_like(mean)


def exact_loss(model: pv.LinearGaussian, params: Tensor, x: Tensor) -> Tensor:
    """Minus the ELBO of N(m, diag(v)) for params = (m, log sqrt(v)) `(N, 2 d)`, summed; without
    what does not depend on them.
    """
    mean, log_scale = params.chunk(2, dim=-1)
    variance = (2 * log_scale).exp()
    noise = (2 * model.log_sigma).exp()

    residual = x - model.mean - mean @ model.loading.T
    spread = variance @ model.loading.square().sum(0)
    rate = (mean.square() + variance - 2 * log_scale).sum() / 2
    return (residual.square().sum() + spread.sum()) / (2 * noise) + rate


def guide_params(model: pv.LinearGaussian, x: Tensor, name: str) -> Tensor:
    """(m, log sqrt(v)) `(N, 2 d)` of one of the guides."""
    shift, width = GUIDES[name]
    best = model.optimal_mean_field(x)
    deviation = best.stddev.expand_as(best.mean)
    return torch.cat([best.mean + shift * deviation, (width * deviation).log()], -1)


def predicted(model: pv.LinearGaussian, params: Tensor, x: Tensor, name: str) -> Tensor:
    """Variances of the gradient `(2 d,)` for one datum `(1, D)`, of the path estimators."""
    mean, log_scale = params[0].chunk(2)
    v, precision = (2 * log_scale).exp(), model.precision()
    leaf = params.clone().requires_grad_()
    a = torch.autograd.grad(exact_loss(model, leaf, x), leaf)[0][0, : len(mean)]

    h = {"reparameterised": 0 * v, "analytic KL": 1 + 0 * v, "sticking the landing": 1 / v}[name]
    if name == "analytic KL":
        a = a - mean
    own = precision.diagonal()
    off = (precision.square() - torch.diag(own.square())) @ v

    in_mean = off + (own - h).square() * v
    in_scale = v * a.square() + 2 * (own - h).square() * v.square() + v * off
    return torch.cat([in_mean, in_scale]) / PARTICLES


def drawn(
    name: str, model: pv.LinearGaussian, params: Tensor, x: Tensor, repetitions: int
) -> Tensor:
    """Independent gradients `(R, 2 d)` by an estimator, for one datum `(1, D)` or R of them: those
    of the rows of a table.
    """
    guide = pv.Local(pv.MeanField(model.latent_dim), repetitions).double()
    with torch.no_grad():
        guide.table.copy_(params.expand(repetitions, -1))
    _backward(name, model, guide, x.expand(repetitions, -1))
    assert guide.table.grad is not None
    return guide.table.grad


def _backward(name: str, model: nn.Module, guide: nn.Module, x: Tensor) -> None:
    loss = ESTIMATORS[name]()
    loss.max_plate_nesting = 2  # the data and the particles
    with pyro.validation_enabled(False):
        loss.loss_and_grads(model, guide, x, torch.arange(len(x)))


def guides(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each model, guide and estimator."""
    rows: list[dict[str, Any]] = []
    for correlated in (False, True):
        model = frozen(8, correlated)
        torch.manual_seed(1)
        x = simulated(model, 1)
        for where in GUIDES:
            params = guide_params(model, x, where)
            for name in ESTIMATORS:
                row = {"posterior": "correlated" if correlated else "in the family"}
                row |= {"guide": where, "estimator": name}
                rows.append(row | judged(name, model, params, x, options.repetitions))
    return rows


def judged(
    name: str, model: pv.LinearGaussian, params: Tensor, x: Tensor, repetitions: int
) -> dict[str, Any]:
    """Bias in standard errors, variance per parameter of the means and of the log-scales, and how
    far they are from the predictions, in errors of theirs.
    """
    leaf = params.clone().requires_grad_()
    exact = torch.autograd.grad(exact_loss(model, leaf, x), leaf)[0][0]
    torch.manual_seed(0)
    found = drawn(name, model, params, x, repetitions)

    error = (found.var(0) / repetitions).sqrt() + 1e-12  # nothing where nothing is random
    scores = (found.mean(0) - exact) / error
    row: dict[str, Any] = {"worst_bias_in_errors": scores.abs().max().item()}
    row["mean_square_bias_in_errors"] = scores.square().mean().item()

    known = predicted(model, params, x, name) if "score" not in name else None
    for place, block in enumerate(("mean", "log_scale")):
        part = found.chunk(2, -1)[place]
        squares = (part - part.mean(0)).square().mean(-1)  # (R,)
        row[f"{block}_variance"] = squares.mean().item()
        row[f"{block}_error"] = squares.std().item() / repetitions**0.5
        if known is not None:
            row[f"{block}_predicted"] = known.chunk(2)[place].mean().item()
    return row


def latents(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each guide, estimator and number of units."""
    rows: list[dict[str, Any]] = []
    repetitions = max(100, options.repetitions // 5)
    for where in ("optimum", "half as wide"):
        for dim in DIMS:
            model = frozen(dim, correlated=False)
            torch.manual_seed(1)
            x = simulated(model, repetitions)  # the exact gradients of these guides are all alike
            params = guide_params(model, x, where)
            for name in ESTIMATORS:
                torch.manual_seed(0)
                found = drawn(name, model, params, x, repetitions)
                row = {"guide": where, "estimator": name, "units": dim}
                rows.append(row | {"variance": found.var(0).mean().item()})
    return rows


def encoder(model: pv.LinearGaussian, width: float = 1.0, gain: float = 1.0) -> pv.Amortized:
    """The linear encoder that is the best mean-field guide for every x, its deviations times
    `width` and its means times `gain`.
    """
    size, dim = model.loading.shape
    guide = pv.Amortized(pv.MeanField(dim), pv.MLP(size, ())).double()
    precision, noise = model.precision(), (2 * model.log_sigma).exp()
    with torch.no_grad():
        guide.head.weight.zero_()
        guide.head.weight[:dim] = gain * torch.linalg.solve(precision, model.loading.T) / noise
        guide.head.bias[dim:] = (width * precision.diagonal().rsqrt()).log()
    return guide


def batch(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each encoder, estimator and size of the minibatch."""
    model = frozen(8, correlated=True)
    made = {"optimum": encoder(model), "half as wide, means halved": encoder(model, 0.5, 0.5)}
    rows: list[dict[str, Any]] = []
    for where, guide in made.items():
        for name in ESTIMATORS:
            for size in BATCHES:
                torch.manual_seed(0)
                row = {"guide": where, "estimator": name, "batch_size": size}
                repetitions = max(20, options.repetitions // 200)
                rows.append(row | spread(name, model, guide, size, repetitions))
    return rows


def spread(
    name: str, model: pv.LinearGaussian, guide: pv.Amortized, size: int, repetitions: int
) -> dict[str, float]:
    """Variance of the gradient per datum, summed over the encoder's parameters: of the draws, of
    the data, and of both; bias against the exact gradients of the same minibatches.
    """
    params = list(guide.parameters())
    totals, apart, biases = [], [], []
    for _ in range(repetitions):
        x = simulated(model, size)
        exact = torch.autograd.grad(exact_loss(model, guide.params(x), x), params)
        truth = torch.cat([g.flatten() for g in exact]) / size

        one, other = (_gradient(name, model, guide, x) for _ in range(2))
        totals.append(one)
        apart.append((one - other).square().sum() / 2)
        biases.append((one + other) / 2 - truth)

    off = torch.stack(biases)
    scores = off.mean(0) / (off.std(0) / repetitions**0.5 + 1e-12)
    total, draws = torch.stack(totals).var(0).sum().item(), torch.stack(apart).mean().item()
    found = {"variance": total, "of_the_draws": draws, "of_the_data": total - draws}
    return found | {"worst_bias_in_errors": scores.abs().max().item()}


def _gradient(name: str, model: nn.Module, guide: nn.Module, x: Tensor) -> Tensor:
    """Of minus the ELBO, per datum, as one vector `(P,)`."""
    guide.zero_grad()
    _backward(name, model, guide, x)
    parts = [p.grad.flatten() for p in guide.parameters() if p.grad is not None]
    return torch.cat(parts) / len(x)


PARTS: study.Parts = {"guides": guides, "latents": latents, "batch": batch}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument(
        "--repetitions", type=int, default=20_000, help="of a gradient; 1/200 of them in `batch`"
    )
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS, particles=PARTICLES)
    for part, by in (("latents", "units"), ("batch", "batch_size")):
        if part in results:
            results[f"{part}_slopes"] = slopes(results[part], by)
    for part in (name for name in results if name.startswith(tuple(PARTS))):
        study.told(results[part])

    if options.json is not None:
        write_json(options.json, results)
        if {"latents", "batch"} <= results.keys():
            chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
