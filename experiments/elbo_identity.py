"""Is log p(x) the ELBO plus KL(q || posterior)? Datum by datum, in three
models, with each term measured as independently as it goes.

    log p(x) = ELBO(x) + KL(q(z | x) || p(z | x))

    exact     linear-Gaussian, 10 units: log p(x) and the KL in closed form, the ELBO in closed form
              and by draws
    grid      two units on MNIST: log p(x) by quadrature, the KL by sums over another grid, on which
              the posterior is normalised by itself, the ELBO by draws from q
    annealed  a kept run, 40 units: log p(x) by the weights of annealing, the ELBO by draws, and the
              KL by the variance of U = log p(x, z) - log q(z | x) along other chains from q to the
              posterior, for which neither log p(x) nor the ELBO is needed:

                  KL(q || p(z | x)) = int_0^1 (1 - b) Var_b[U] db

              The chains share their method and so its failures; a sandwich on simulated data bounds
              these.

Predicted: the residual log p - ELBO - KL is 0 within its errors for every datum.

Run:  PYRO_VAE_DATA=... python experiments/elbo_identity.py [RUN] [--parts exact grid annealed]
      [--json FILE]     parts that the file has already are not measured again
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pyro.infer import TraceMeanField_ELBO
from rich.table import Table
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import pyro_vae as pv
import study
from pyro_vae.evidence.annealed import blocks
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.programs.pair import opened
from pyro_vae.report.plots.marks import MAIN, REST
from pyro_vae.report.plots.view import blank
from pyro_vae.report.tables import show


def identity(log_px: Tensor, elbo: Tensor, kl: Tensor, error: Tensor) -> dict[str, Any]:
    """Means of the three terms, nats, and the residual log p - ELBO - KL: its mean, the mean's
    error, and the worst of all data, in nats and in its errors; log p - ELBO and KL of each.
    """
    off = (log_px - elbo - kl).double()
    return {
        "log_px": log_px.mean().item(),
        "elbo": elbo.mean().item(),
        "kl": kl.mean().item(),
        "residual": off.mean().item(),
        "residual_error": error.square().sum().sqrt().item() / len(off),
        "worst": off.abs().max().item(),
        "worst_in_errors": (off.abs() / error).max().item(),
        "gaps": (log_px - elbo).tolist(),
        "kls": kl.tolist(),
    }


def exact(options: argparse.Namespace) -> dict[str, Any]:
    """An encoder trained a little, so that both approximation and amortization cost something."""
    torch.manual_seed(0)
    model = pv.LinearGaussian(20, 10, sigma=0.5).requires_grad_(False)
    guide = pv.Amortized(pv.MeanField(10), pv.MLP(20, ()))
    x = model.sample(2000) + 0.5 * torch.randn(2000, 20)
    adam = partial(torch.optim.Adam, lr=1e-2)
    pv.fit(model, guide, x, epochs=20, optimizer=adam, warmup_epochs=0, keep="last", quiet=True)

    model, guide, x = model.double(), guide.double(), x[: options.num_data].double()
    posterior = model.posterior(x)
    with torch.no_grad():
        base = guide.q(x).base_dist
        q = MultivariateNormal(base.mean, torch.diag_embed(base.variance))
        kl = kl_divergence(q, MultivariateNormal(posterior.mean, posterior.covariance_matrix))

        # E_q[log p(x | z)] - KL(q || p(z)), by hand
        sigma = model.log_sigma.exp()
        fit = Normal(model.decode(base.mean), sigma).log_prob(x).sum(-1)
        fit = fit - (base.variance * model.loading.square().sum(0)).sum(-1) / (2 * sigma**2)
        elbo = fit - kl_divergence(base, Normal(0.0, 1.0)).sum(-1)

    drawn = pv.log_evidence(model, guide, x, pv.Importance(num_particles=20_000))
    log_px = model.log_px(x)
    off = (log_px - elbo - kl).abs().max().item()
    by_draws = identity(log_px, drawn.elbo, kl, drawn.elbo_error)
    return by_draws | {"worst_in_closed_form": off, "num_data": len(x)}


def grid(options: argparse.Namespace) -> dict[str, Any]:
    """Two units, trained for some epochs."""
    data = pv.load(options.data, valid=0)
    torch.manual_seed(0)
    model = pv.VAE(data.shape, 2, options.hidden, mean=data.mean)
    guide = pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, options.hidden))
    recipe = pv.Recipe(
        epochs=options.epochs, warmup_epochs=0, keep="last", loss=TraceMeanField_ELBO()
    )
    pv.fit(model, guide, data, recipe, quiet=True)

    model, guide = model.double().eval().requires_grad_(False), guide.double().eval()
    log_px, kl, errors = [], [], []
    x = data.test.take(options.num_grids).x.double()
    for row in x.split(1):
        seen = pv.posterior_grid(model, {"q": guide}, row, side=201)
        log_px.append(seen.log_px)
        errors.append(seen.log_px_error)
        kl.append(seen.kl["q"] + math.log(seen.masses["posterior"]))

    drawn = pv.log_evidence(model, guide, x, pv.Importance(num_particles=20_000))
    terms = [torch.tensor(values, dtype=torch.double) for values in (log_px, kl)]
    found = identity(terms[0], drawn.elbo, terms[1], drawn.elbo_error)
    return found | {"num_data": len(x), "quadrature_error": max(errors)}


def annealed(options: argparse.Namespace) -> dict[str, Any]:
    """40 units: weights of chains, draws, and variances along other chains."""
    parts = pv.open_run(options.run)
    model, guide = parts.model.requires_grad_(False), parts.guide
    x = parts.data.test.take(options.num_annealed).x
    method = pv.Annealed(options.num_temperatures)

    found = pv.log_evidence(model, guide, x, method)
    drawn = pv.log_evidence(model, guide, x, pv.Importance(num_particles=5000))
    kl = divergence_along(model, guide, x, pv.Annealed(options.num_temperatures, seed=1))
    gap = found.log_px - drawn.elbo
    off = gap - kl
    both = pv.sandwich(model, guide, x, num_data=options.num_annealed, method=method)
    return {
        "run": Path(options.run).name,
        "num_data": len(x),
        "num_temperatures": options.num_temperatures,
        "log_px": found.mean,
        "log_px_error": found.monte_carlo_error,
        "elbo": drawn.elbo.mean().item(),
        "gap": gap.mean().item(),
        "gap_error": standard_error(gap),
        "kl": kl.mean().item(),
        "kl_error": standard_error(kl),
        "residual": off.mean().item(),
        "residual_error": standard_error(off),
        "correlation": torch.corrcoef(torch.stack([gap, kl]))[0, 1].item(),
        "importance_gap": (drawn.log_px - drawn.elbo).mean().item(),
        "gaps": gap.tolist(),
        "kls": kl.tolist(),
        "sandwich": both.gap,
        "sandwich_error": both.gap_error,
    }


def divergence_along(model: Any, guide: Any, x: Tensor, method: pv.Annealed) -> Tensor:
    """KL(q || p(z | x)) `(N,)` by the variances of U under the chains' weights, along the path."""
    found = []
    with opened(model, guide, x) as pair:
        for block in blocks(method, pair):
            total, before = torch.zeros(()), 0.0
            for stage in block.stages:
                u = (stage.point.log_joint - stage.point.log_start).double()
                weight = torch.softmax(stage.log_w, 0)
                spread = (weight * (u - (weight * u).sum(0)).square()).sum(0)
                spread = spread / (1 - weight.square().sum(0))
                # the integral of 1 - b over the step that ends here
                share = (stage.beta - before) * (1 - (stage.beta + before) / 2)
                total, before = total + share * spread, stage.beta
            found.append(total[: block.size].cpu())
    return torch.cat(found)


# ---- what is shown


NAMES = {
    "exact": "linear-Gaussian, 10 units",
    "grid": "MNIST, 2 units, by grids",
    "annealed": "MNIST, 40 units, annealed",
}


def chart(results: dict[str, Any], path: Path) -> None:
    """KL against log p(x) - ELBO, a point for each datum; on the line the identity holds."""
    found = [name for name in PARTS if name in results]
    figure = blank((3.3 * len(found), 3.4))
    for name, axes in zip(found, figure.subplots(1, len(found), squeeze=False)[0], strict=True):
        gaps, kls = results[name]["gaps"], results[name]["kls"]
        ends = [min(*gaps, *kls), max(*gaps, *kls)]
        axes.plot(ends, ends, "-", color=REST, linewidth=1, label="the identity")
        axes.plot(gaps, kls, "o", color=MAIN, ms=3.5, alpha=0.7, label=f"{len(gaps)} data")
        axes.set_title(NAMES[name], fontsize="medium")
        axes.set_xlabel("log p(x) - ELBO, nats")
        axes.set_ylabel("KL(q || p(z | x)), nats")
        axes.set_aspect("equal", adjustable="datalim")
        axes.legend(loc="upper left", fontsize="small", frameon=False)
    figure.savefig(path, dpi=150)


def table(results: dict[str, Any]) -> Table:
    """The identity, a row for each model."""
    made = Table(title="log p(x) = ELBO + KL, means, nats per datum")
    for name in ("model", "log p(x)", "ELBO", "KL", "residual", "worst in its errors"):
        made.add_column(name)
    for part in filter(results.__contains__, PARTS):
        row = results[part]
        off = f"{row['residual']:+.4f} +- {row['residual_error']:.4f}"
        worst = f"{row['worst_in_errors']:.1f}" if "worst_in_errors" in row else ""
        terms = (f"{row[term]:.3f}" for term in ("log_px", "elbo", "kl"))
        made.add_row(NAMES[part], *terms, off, worst)
    return made


PARTS: study.Parts = {"exact": exact, "grid": grid, "annealed": annealed}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("run", nargs="?", default=str(Path(__file__).parent / "mnist_gated"))
    asked.add_argument("--data", default="mnist", help="of the two units")
    asked.add_argument("--hidden", type=int, nargs="+", default=[200, 200], help="of the same")
    asked.add_argument("--epochs", type=int, default=5, help="of the same")
    asked.add_argument("--num-data", type=int, default=100, help="for the closed form")
    asked.add_argument("--num-grids", type=int, default=20, help="data for grids")
    asked.add_argument("--num-annealed", type=int, default=30, help="data of the kept run")
    asked.add_argument("--num-temperatures", type=int, default=500)
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    show(table(results))
    if options.json is not None:
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
