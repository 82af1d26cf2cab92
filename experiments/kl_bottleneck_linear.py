"""Where an encoder's sigma goes as the weight beta of the KL term goes to 0, where that is known.

A linear-Gaussian decoder with noise s, frozen, A = W'W / s^2, and loss = distortion + beta * rate.
The best mean-field q has

    means (A + beta)^-1 W'(x - mu) / s^2        sigma_i^2 = beta / (beta + A_ii)

so that sigma vanishes like sqrt(beta / A_ii), and the means go to the least-squares fit, whose
spread is no longer held to the prior's. At beta = 0 there is no optimum: the loss has the slope

    d loss / d log sigma_i = A_ii sigma_i^2 > 0

whatever sigma, so that gradient descent of rate eta takes eta A_ii sigma_i^2 off log sigma_i at
each step: sigma_i goes like 1 / sqrt(2 eta A_ii t), for ever.

    optima    linear encoders trained by `fit` at beta = 1 to 0.001
    descent   the same at beta = 0, so many steps of gradient descent on all data at once (`fit`
              minimises their sum, the formula is of their mean)

Predicted: the formulas, to the noise of one draw a step. (A very small beta is not the same as
none: it has an optimum, and that is reached.)

Run:  python experiments/kl_bottleneck_linear.py [--parts optima descent] [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

import pyro_vae as pv
import study
from pyro_vae.report.plots.marks import MAIN, REST
from pyro_vae.report.plots.view import blank
from pyro_vae.report.tables import show

BETAS = (1.0, 0.1, 0.01, 0.001)
STEPS = (1, 3, 10, 30, 100, 300, 1000)  # at beta = 0
UNITS, NOISE = 4, 0.7
MEMORY = 0.95  # beta2 of Adam: with 0.999 its steps shrink with the gradient, sigma^2, and stop


class Known:
    """The decoder, data of its own `(N, 10)`, and A.

    Attributes:
        model, x: the decoder, frozen, and the data.
        curvature: A, `(4, 4)`.
    """

    def __init__(self, num_data: int) -> None:
        torch.manual_seed(0)
        self.model = pv.LinearGaussian(10, UNITS, sigma=NOISE).eval().requires_grad_(False)
        self.x = self.model.sample(num_data) + NOISE * torch.randn(num_data, 10)
        self.curvature = self.model.loading.T @ self.model.loading / NOISE**2

    def means(self, beta: float) -> Tensor:
        """Of the best q, `(N, 4)`."""
        precision = self.curvature + beta * torch.eye(UNITS)
        moment = self.model.loading.T @ (self.x - self.model.mean).T / NOISE**2
        return torch.linalg.solve(precision, moment).T


def encoder() -> pv.Amortized:
    """A linear one, all means 0 and all sigmas 1 at the start."""
    guide = pv.Amortized(pv.MeanField(UNITS), pv.MLP(10, ()))
    torch.nn.init.zeros_(guide.head.weight)
    return guide


@torch.no_grad()
def held_to(guide: pv.Amortized, x: Tensor, sigma: Tensor) -> dict[str, float]:
    """The encoder's sigmas, geometric means over the data, beside those predicted `(4,)`."""
    found = guide.q(x).base_dist.stddev.log().mean(0)
    return {
        "sigma": found.mean().exp().item(),
        "predicted_sigma": sigma.log().mean().exp().item(),
        "worst_ratio": (found - sigma.log()).abs().max().exp().item(),
    }


def spread(means: Tensor) -> float:
    """Root mean square distance of means `(N, d)` from their mean, per unit."""
    return (means - means.mean(0)).square().mean().sqrt().item()


def optima(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each beta."""
    known, length = Known(options.num_data), options.epochs
    rows = []
    for beta in BETAS:
        guide = encoder()
        changes: dict[str, Any] = {"epochs": length, "beta": beta, "batch_size": 100}
        changes["optimizer"] = partial(torch.optim.Adam, lr=1e-2, betas=(0.9, MEMORY))
        changes["schedule"] = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=length)
        fitted(known, guide, changes)

        sigma = (beta / (beta + known.curvature.diagonal())).sqrt()
        row = {"beta": beta} | held_to(guide, known.x, sigma)
        row["spread"] = spread(guide.q(known.x).base_dist.mean.detach())
        rows.append(row | {"predicted_spread": spread(known.means(beta))})
        study.told(rows[-1:])
    return {"rows": rows}


def descent(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each number of steps without a KL term."""
    known = Known(options.num_data)
    rate = 0.5 / torch.linalg.eigvalsh(known.curvature)[-1].item()
    rows = []
    for steps in STEPS:
        guide = encoder()
        changes: dict[str, Any] = {"epochs": steps, "beta": 0.0, "batch_size": options.num_data}
        changes |= {"optimizer": partial(torch.optim.SGD, lr=rate / len(known.x))}
        changes |= {"engine": "pyro"}
        fitted(known, guide, changes)

        log_sigma = torch.zeros(UNITS)
        for _ in range(steps):
            log_sigma -= rate * known.curvature.diagonal() * (2 * log_sigma).exp()
        rows.append({"steps": steps} | held_to(guide, known.x, log_sigma.exp()))
        study.told(rows[-1:])
    return {"rate": rate, "rows": rows, "least_squares_spread": spread(known.means(0.0))}


def fitted(known: Known, guide: pv.Amortized, changes: dict[str, Any]) -> None:
    """Train by `fit`, without a warm-up."""
    kept: dict[str, Any] = {"warmup_epochs": 0, "keep": "last", "valid": 0, "quiet": True}
    pv.fit(known.model, guide, known.x, **kept, **changes)


PARTS: study.Parts = {"optima": optima, "descent": descent}


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """A table for each part."""
    for part, key in (("optima", "beta"), ("descent", "steps")):
        rows = results.get(part, {"rows": []})["rows"]
        made = Table(title=f"{part}: sigma, geometric mean over data and units")
        for name in (key, "measured", "predicted", "worst unit off by", "spread", "predicted"):
            made.add_column(name)
        for row in rows:
            sigmas = f"{row['sigma']:.4f}", f"{row['predicted_sigma']:.4f}"
            spreads = [f"{row[n]:.3f}" for n in ("spread", "predicted_spread") if n in row]
            off = f"{100 * (row['worst_ratio'] - 1):.2f}%"
            made.add_row(f"{row[key]:g}", *sigmas, off, *spreads)
        yield made


def chart(results: dict[str, Any], path: Path) -> None:
    """Sigma against beta, and against the steps without a KL term."""
    figure = blank((8.4, 3.6))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, part, key in ((left, "optima", "beta"), (right, "descent", "steps")):
        rows = results[part]["rows"] if part in results else []
        at = [row[key] for row in rows]
        axes.plot(at, [row["predicted_sigma"] for row in rows], "-", color=REST, label="predicted")
        axes.plot(at, [row["sigma"] for row in rows], "o", color=MAIN, ms=5, label="trained")
        axes.set(xscale="log", yscale="log")
        axes.legend(fontsize="small", frameon=False)
    left.invert_xaxis()
    left.set(xlabel=r"$\beta$, weight of the KL term", ylabel=r"$\sigma$ of the encoder")
    left.set_title("trained to the optimum", fontsize="medium")
    right.set_xlabel("steps of gradient descent")
    right.set_title(r"$\beta = 0$: no optimum", fontsize="medium")
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--num-data", type=int, default=2000)
    asked.add_argument("--epochs", type=int, default=100, help="of `optima`")
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    for table in tables(results):
        show(table)
    if options.json is not None:
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
