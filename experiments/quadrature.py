"""Is every family what it says it is? Two latent units on MNIST, where every integral can be taken
on a grid.

Trains a VAE with two latent units (784-200-200-2), freezes it, fits each family to some test images
one by one until they have converged, and takes all integrals over z by sums over a grid of
[-6, 6]^2:

    integral of q = 1;    ELBO(mean-field) <= low-rank <= full-rank <= flow
    KL(q || posterior), by the grid
        = log p(x), by the grid - ELBO(q), by draws from q as everywhere in the package

Run:  PYRO_VAE_DATA=... python experiments/quadrature.py [--data mnist] [--epochs E] [--num-data N]
      [--side G] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

import pyro_vae as pv
from pyro_vae.report.tables import show
from pyro_vae.swap import FAMILIES

EDGE = 6.0
CHUNK = 20_000


def log_joint(model: pv.VAE, x: Tensor, grid: Tensor) -> Tensor:
    """log p(x, z) at the points of a grid `(G, 2)`, `(G, N)` nats."""
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid).sum(-1)
    found = []
    for points in grid.split(CHUNK):
        logits = model.decoder(points).flatten(1)
        normaliser = torch.nn.functional.softplus(logits).sum(1, keepdim=True)
        found.append(logits @ x.flatten(1).T - normaliser)
    return torch.cat(found) + prior[:, None]


def judge(guide: pv.Local, joint: Tensor, grid: Tensor, log_cell: float) -> tuple[Tensor, Tensor]:
    """For each datum `(N,)`: the integral of q, and KL(q || posterior), by sums over the grid."""
    posterior = joint - torch.logsumexp(joint, 0)
    mass, divergence = (torch.zeros(joint.shape[1], dtype=torch.double) for _ in range(2))
    q = guide.q(torch.arange(joint.shape[1]))
    for points, part in zip(grid.split(CHUNK), posterior.split(CHUNK), strict=True):
        log_q = q.log_prob(points[:, None]) + log_cell
        mass += log_q.exp().sum(0)
        divergence += torch.nan_to_num(log_q.exp() * (log_q - part)).sum(0)
    return mass, divergence / mass - mass.log()


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--num-data", type=int, default=20)
    parser.add_argument("--side", type=int, default=1201, help="points of the grid on a side")
    parser.add_argument(
        "--draws", type=int, default=50, help="of each datum in a step of local inference"
    )
    parser.add_argument(
        "--num-particles", type=int, default=20_000, help="of each datum for its ELBO by draws"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    data = pv.load(options.data, valid=0)
    torch.manual_seed(0)
    model = pv.VAE(data.shape, 2, (200, 200), mean=data.mean)
    encoder = pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, (200, 200)))
    pv.fit(model, encoder, data, epochs=options.epochs, warmup_epochs=0, keep="last", quiet=True)
    model, encoder = model.double().requires_grad_(False).eval(), encoder.double()

    x = data.test.take(options.num_data).x.double()
    facts = {"epochs": options.epochs, "num_data": len(x), "side": options.side}
    results = facts | {"torch": torch.__version__} | measured(model, encoder, x, options)
    show(table(results, len(x)))
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def measured(
    model: pv.VAE, encoder: pv.Amortized, x: Tensor, options: argparse.Namespace
) -> dict[str, Any]:
    """log p(x) by the grid, and a row for each family."""
    line = torch.linspace(-EDGE, EDGE, options.side, dtype=torch.double)
    grid, log_cell = torch.cartesian_prod(line, line), 2 * math.log((line[1] - line[0]).item())
    with torch.no_grad():
        joint = log_joint(model, x, grid)
    log_px = torch.logsumexp(joint, 0) + log_cell
    results: dict[str, Any] = {"log_px": log_px.mean().item()}

    method = pv.Importance(num_particles=options.num_particles)
    poorer: Tensor | None = None
    before: Any = encoder
    optimum = None
    for name, family in FAMILIES.items():
        start = pv.Local.started_at(before, x, family(2))
        optimum = pv.fit_local(model, start, x, earlier=optimum, num_particles=options.draws)
        before = optimum.guide
        with torch.no_grad():
            mass, divergence = judge(before, joint, grid, log_cell)

        est = pv.log_evidence(model, before, x, method)
        off = (divergence - (log_px - est.elbo)).abs()
        elbo = log_px - divergence
        results[name] = {
            "elbo": elbo.mean().item(),
            "mass_error": (mass - 1).abs().max().item(),
            "divergence_error": off.max().item(),
            "divergence_error_in_standard_errors": (off / est.elbo_error).max().item(),
            "least_gain": math.nan if poorer is None else (elbo - poorer).min().item(),
        }
        poorer = elbo
    return results


def table(results: dict[str, Any], num_data: int) -> Table:
    """A row for each family: the worst of all images."""
    log_px = f"log p(x) {results['log_px']:.4f} by quadrature"
    made = Table(title=f"{num_data} test images, {log_px}; nats, the worst of all images")
    columns = ("family", "mean ELBO", "|integral - 1|", "|KL - (log p(x) - ELBO)|",
               "in standard errors", "least gain on the poorer family")  # fmt: skip
    for name in columns:
        made.add_column(name)
    for name in FAMILIES:
        elbo, *errors = results[name].values()
        made.add_row(name, f"{elbo:.4f}", *(f"{value:.1e}" for value in errors))
    return made


if __name__ == "__main__":
    main()
