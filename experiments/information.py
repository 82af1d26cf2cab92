"""How much does the latent say of the data, and how much of the KL term is paid for nothing? The
mean rate in its two parts, with bounds of the information from both sides.

    E_x[KL(q(z|x) || p(z))] = I_q(x; z) + KL(q(z) || p(z)),    q(z) = E_x[q(z|x)]

    channel   x Gaussian and q(z|x) linear in it: I_q and KL(q(z) || p(z)) in closed form, against
              the bounds by batches of K data (InfoNCE below, leave-one-out above, the stratified
              one above), and minibatch weighting as in beta-TCVAE, log 1/(NK) sum_m q(z|x_m)
    grid      two units on MNIST: KL(q(z) || p(z)) by sums over a grid
    beta      encoders and decoders trained with the weight beta on the KL term (digits, 10 units)
    runs      kept runs, 2,000 test images, and the rates of their units

The identity is held to terms that share no draw: the rate, I_q and KL(q(z) || p(z)) come from three
seeds, in `grid` the last from no draws at all.

Predicted: the residual is 0 within its errors, each bound is on its side, I_q <= log N and
I_q <= rate. With beta the rate falls, and I_q with it, to 0 where all units collapse. Where the
rate is far above log N, I_q of N data is log N: a draw tells its datum from all others, and the
rest of the rate is no proof of a misfit but of too few data.

Run:  PYRO_VAE_DATA=... python experiments/information.py [--parts channel grid beta runs]
      [--json FILE]     parts that the file has already are not measured again
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceMeanField_ELBO
from rich.table import Table
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

import pyro_vae as pv
import study
from pyro_vae.report.plots.marks import DISTORTION, MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank
from pyro_vae.report.tables import show

KEPT = ("mnist_gated", "mnist_flow", "mnist_iwae")
NAMES = {"channel": "Gaussian channel", "grid": "MNIST, 2 units, KL by a grid"}
BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)
SIZES = (2, 8, 32, 128)  # of batches
DIM, NOISE = 4, 2.0  # of the latent of `channel`, and its noise


def noise(values: Tensor) -> float:
    """Monte Carlo error of the mean of draws `(S, N)` for these very data."""
    return (values.var(0) / len(values)).sum().sqrt().item() / values.shape[1]


@torch.no_grad()
def rates(model: Any, guide: Any, x: Tensor, num_draws: int) -> Tensor:
    """log q(z|x) - log p(z) of draws with a seed of their own, `(S, N)`."""
    torch.manual_seed(2)
    drawn = [pv.particles(model, guide, x, num_particles=10) for _ in range(num_draws // 10)]
    return torch.cat([each.log_guide - each.log_prior for each in drawn]).double()


def split(
    model: Any, guide: Any, x: Tensor, num_draws: int, marginal: float | None = None
) -> dict[str, Any]:
    """The rate, I_q and KL(q(z) || p(z)) of these data by three seeds, the last unless given; the
    residual with its Monte Carlo error; bounds, with errors over the data.
    """
    first = pv.information(model, guide, x, num_draws=num_draws)
    second = pv.information(model, guide, x, num_draws=num_draws, seed=1)
    rate = rates(model, guide, x, 100)
    wanted = {
        "rate": rate.mean().item(),
        "information": first.lower.mean().item(),
        "marginal": second.marginal.mean().item() if marginal is None else marginal,
    }
    errors = (noise(rate), noise(first.lower), noise(second.marginal) * (marginal is None))
    off = wanted["rate"] - wanted["information"] - wanted["marginal"]
    units = pv.latent_units(model, guide, x)
    assert units is not None
    return wanted | {
        "residual": off,
        "residual_error": math.hypot(*errors),
        "bounds": first.summary() | {"at_most": first.at_most},
        "unit_rates": units.rates.sort(descending=True).values.tolist(),
        "num_active": units.num_active,
    }


# ---- channel: everything in closed form


def channel(options: argparse.Namespace) -> dict[str, Any]:
    """The bounds by batches of each size, and all data, against the closed form. The guide has the
    exact posterior's means times 1.3 and moved by 0.3, and its variances times two.
    """
    torch.manual_seed(0)
    model = pv.LinearGaussian(10, DIM, sigma=NOISE).double().eval().requires_grad_(False)
    data = model.loading @ model.loading.T + NOISE**2 * torch.eye(10).double()
    x = MultivariateNormal(torch.zeros(10).to(data), data).sample((options.num_data,))
    weight = 1.3 * torch.linalg.solve(model.precision(), model.loading.T) / NOISE**2
    covariance = 2 * model.precision().inverse()

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        q = dist.MultivariateNormal(x @ weight.T + 0.3, covariance)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", q)

    spread = covariance + weight @ data @ weight.T
    marginal = torch.trace(spread) + DIM * 0.3**2 - DIM - torch.logdet(spread)
    truth = {
        "information": ((torch.logdet(spread) - torch.logdet(covariance)) / 2).item(),
        "marginal": marginal.item() / 2,
    }
    rows = []
    for size in (*(size for size in SIZES if size < len(x)), len(x)):
        found = pv.information(model, guide, x, batch_size=size, num_draws=options.num_draws)
        rows.append(found.summary() | {"weighted": found.lower.mean().item() + math.log(len(x))})
    return {"truth": truth, "batches": rows} | split(model, guide, x, options.num_draws)


# ---- trained programs


def grid(options: argparse.Namespace) -> dict[str, Any]:
    """Two units: q(z) of all data on a grid of [-8, 8]^2."""
    data = pv.load(options.data, valid=0)
    torch.manual_seed(0)
    model = pv.VAE(data.shape, 2, (200, 200), mean=data.mean)
    guide = pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, (200, 200)))
    changes: dict[str, Any] = {"loss": TraceMeanField_ELBO(), "keep": "last"}
    pv.fit(model, guide, data, epochs=options.epochs, warmup_epochs=0, quiet=True, **changes)

    x = data.test.x[: options.num_data]
    line = torch.linspace(-8, 8, 401, dtype=torch.double)
    points, cell = torch.cartesian_prod(line, line), (line[1] - line[0]).item() ** 2
    with torch.no_grad():
        q = guide.double().eval().q(x.double())
        log_q = torch.cat([torch.logsumexp(q.log_prob(z[:, None]), 1) for z in points.split(2000)])
        log_q = log_q - math.log(len(x))
    log_p = Normal(0.0, 1.0).log_prob(points).sum(-1)
    marginal = (log_q.exp() * (log_q - log_p)).sum().item() * cell
    mass = log_q.exp().sum().item() * cell
    found = split(model.double().eval(), guide, x.double(), options.num_draws, marginal)
    return found | {"mass": mass}


def beta(options: argparse.Namespace) -> dict[str, Any]:
    """Digits with each weight of the KL term; what is asked is about the training data."""
    data = pv.load("digits", valid=0)
    x = data.train.x[: options.num_data]
    rows = []
    for weight in BETAS:
        torch.manual_seed(0)
        model = pv.VAE(data.shape, 10, (64,), mean=data.mean)
        guide = pv.Amortized(pv.MeanField(10), pv.MLP(data.shape, (64,)))
        changes: dict[str, Any] = {"epochs": options.beta_epochs, "beta": weight, "keep": "last"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pv.CollapseWarning)  # it is what is looked for
            pv.fit(model, guide, data, quiet=True, **changes)
        rows.append({"beta": weight} | split(model, guide, x, options.num_draws))
    return {"rows": rows}


def runs(options: argparse.Namespace) -> dict[str, Any]:
    """Kept runs, test images."""
    found = {}
    for folder in options.runs:
        parts = pv.open_run(folder)
        x = parts.data.test.x[: options.num_data]
        found[Path(folder).name] = split(parts.model, parts.guide, x, 2)
    return {"rows": found}


PARTS: study.Parts = {"channel": channel, "grid": grid, "beta": beta, "runs": runs}


# ---- what is shown


def table(results: dict[str, Any]) -> Table:
    """A row for each model and guide."""
    rows = {NAMES[part]: results[part] for part in NAMES if part in results}
    for row in results.get("beta", {"rows": []})["rows"]:
        rows[f"digits, beta {row['beta']:g}"] = row
    rows |= results.get("runs", {"rows": {}})["rows"]

    made = Table(title="rate = I_q(x; z) + KL(q(z) || p(z)) of N data, nats per datum")
    for name in ("where", "log N", "rate", "I_q", "KL", "residual", "I_q at most", "active"):
        made.add_column(name)
    for name, row in rows.items():
        terms = (f"{row[term]:.3f}" for term in ("rate", "information", "marginal"))
        off = f"{row['residual']:+.4f} +- {row['residual_error']:.4f}"
        active = f"{row['num_active']} of {len(row['unit_rates'])}"
        most = f"{row['bounds']['log_num_data']:.2f}"
        made.add_row(name, most, *terms, off, f"{row['bounds']['at_most']:.2f}", active)
    return made


def chart(results: dict[str, Any], path: Path) -> None:
    """The bounds by batches, the sweep over beta, and the units of the kept runs."""
    draws = {"channel": by_size, "beta": by_beta, "runs": by_unit}
    figure = blank((12.6, 3.8))
    for part, axes in zip(draws, figure.subplots(1, 3), strict=True):
        if part in results:
            draws[part](results[part], axes)
            axes.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=150)


def by_size(found: dict[str, Any], axes: Any) -> None:
    """Bounds of I_q against the size of a batch."""
    rows = found["batches"]
    sizes = [row["batch_size"] for row in rows]
    looks = zip(("upper", "stratified", "lower"), (SECOND, DISTORTION, MAIN), "^Do", strict=True)
    for name, colour, marker in looks:
        values, errors = ([row[key] for row in rows] for key in (name, f"{name}_error"))
        reach = [1.96 * error for error in errors]
        axes.errorbar(sizes, values, yerr=reach, color=colour, marker=marker, ms=4, label=name)

    axes.axhline(found["truth"]["information"], color=REST, label="closed form")
    axes.plot(sizes, [math.log(size) for size in sizes], "--", color=REST, label="log K")
    axes.set_ylim(0, max(row["upper"] for row in rows) * 1.25)
    axes.set(xscale="log", xlabel="K, data of a batch", ylabel="bounds of I_q(x; z), nats")
    axes.set_title("Gaussian channel", fontsize="medium")


def by_beta(found: dict[str, Any], axes: Any) -> None:
    """The rate and its parts against beta."""
    rows = found["rows"]
    betas, size = [row["beta"] for row in rows], rows[0]["bounds"]["num_data"]
    words = {"rate": "rate", "information": f"I_q of {size:,} data", "marginal": "KL(q(z) || p(z))"}
    for name, colour, marker in zip(words, (SECOND, MAIN, DISTORTION), "soD", strict=True):
        values = [row[name] for row in rows]
        axes.plot(betas, values, f"{marker}-", color=colour, ms=4, label=words[name])

    axes.axhline(math.log(size), color=REST, linestyle="--", label=f"log N = {math.log(size):.2f}")
    axes.set(xscale="log", xlabel=r"$\beta$, weight of the KL term", ylabel="nats per datum")
    axes.set_title("Digits, 10 units", fontsize="medium")


def by_unit(found: dict[str, Any], axes: Any) -> None:
    """Rates of the units, the highest first."""
    styles = zip(found["rows"], (MAIN, SECOND, DISTORTION), ("-", "--", "-."), strict=False)
    for name, colour, style in styles:
        row = found["rows"][name]
        label = f"{name}: {row['num_active']} active, rate {row['rate']:.1f}"
        places = range(1, len(row["unit_rates"]) + 1)
        axes.plot(places, row["unit_rates"], color=colour, linestyle=style, label=label)
    axes.set(xlabel="latent units, sorted by rate", ylabel="rate of a unit, nats per datum")
    axes.set_title("Kept runs", fontsize="medium")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    kept = [str(Path(__file__).parent / name) for name in KEPT]
    asked.add_argument("--runs", nargs="+", default=kept)
    asked.add_argument("--num-data", type=int, default=2000, help="N at most")
    asked.add_argument("--num-draws", type=int, default=10, help="2 for the kept runs")
    asked.add_argument("--data", default="mnist", help="of the two units")
    asked.add_argument("--epochs", type=int, default=5, help="of the same")
    asked.add_argument("--beta-epochs", type=int, default=100)
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    show(table(results))
    if options.json is not None:
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
