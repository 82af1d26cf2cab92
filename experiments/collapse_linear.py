"""When does a latent unit of a linear VAE die? At the optimum, exactly where theory says?

A linear VAE with decoder variance s and weight b of the KL term, on data whose covariance has the
eigenvalues e_1 >= ... >= e_D. Predicted (Lucas et al., 2019): at the optimum unit i lives where
b s < e_i, with

    Var_x(E_q[z_i | x]) = 1 - b s / e_i

so that the criterion Var > 0.01 (Burda et al.) calls it dead one per cent early, at b s = 0.99 e_i.

    threshold   s fixed: training on both sides of three eigenvalues; each is located, to 1% as was
                asked, by the line that Var is of b below it (b / (1 - Var)), and by bisection
    learned     s learned: with k living units s_k = sum_(i > k) e_i / (D - k b), which grows with
                b, so that units die sooner than with s = s_k at b = 1 kept. An optimum has b s_k
                between e_(k+1) and e_k; where that is so for no k, or for several, it says so

What else kills units, and what keeps them alive: collapse.py.

Run:  python experiments/collapse_linear.py [--parts P ...] [--steps S] [--json FILE]

References:
    Lucas, Tucker, Grosse, Norouzi (2019). Don't blame the ELBO! A linear VAE perspective on
        posterior collapse. arXiv:1911.02469.
    Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. arXiv:1509.00519.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

import pyro_vae as pv
import study
from pyro_vae.objectives import tempered
from pyro_vae.report.plots import blank
from pyro_vae.report.plots.marks import MAIN, REST, SECOND, legend, looks

EIGENVALUES = (4.0, 2.0, 1.0, 0.5, *(0.04 * n for n in range(6, 0, -1)))
UNITS = 5
NUM_DATA = 2000
LOCATED = EIGENVALUES[:3]
SIDES = (0.5, 0.8, 0.9, 0.97, 1.03, 1.1)  # of a threshold, where it is trained
LEARNED_BETAS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def with_spectrum(eigenvalues: Tensor, num_data: int) -> Tensor:
    """Data `(N, D)` of mean 0 whose covariance, that of the sample, has just these eigenvalues."""
    generator = torch.Generator().manual_seed(0)
    size = len(eigenvalues)
    noise = torch.randn(num_data, size, generator=generator, dtype=torch.double)
    white = torch.linalg.qr(noise - noise.mean(0)).Q * math.sqrt(num_data)
    turn = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.double)).Q
    return white * eigenvalues.sqrt() @ turn.T


def linear(x: Tensor, variance: float, learn: bool = False) -> tuple[Any, Any]:
    """A linear VAE with a linear encoder and small loadings."""
    torch.manual_seed(0)
    model = pv.LinearGaussian(x.shape[1], UNITS, sigma=math.sqrt(variance)).to(x)
    guide = pv.Amortized(pv.MeanField(UNITS), pv.MLP(x.shape[1], ())).to(x)
    guide.start(x)
    model.loading.data.mul_(0.1)
    model.eval().log_sigma.requires_grad_(learn)
    return model, guide


def train(pair: tuple[Any, Any], x: Tensor, steps: int, beta: float) -> None:
    """Minimise distortion + beta rate of all data at each step, at a rate that goes to zero."""
    weight = torch.tensor(beta, dtype=x.dtype)
    model, guide = (tempered(program, weight) for program in pair)
    loss = TraceMeanField_ELBO()
    params = [p for program in pair for p in program.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(params, lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    with pyro.validation_enabled(False):
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss.loss_and_grads(model, guide, x)
            optimizer.step()
            schedule.step()


def variances(pair: tuple[Any, Any], x: Tensor) -> Tensor:
    """Var_x(E_q[z_i | x]) of the units, the largest first."""
    units = pv.latent_units(*pair, x)
    assert units is not None
    return units.variances.sort(descending=True).values


def threshold(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """A row for each weight that was trained at, and for each eigenvalue that was located."""
    known = torch.tensor(EIGENVALUES, dtype=torch.double)
    x = with_spectrum(known, NUM_DATA)
    rows: list[dict[str, Any]] = []
    located = []
    for place, e in enumerate(LOCATED):
        estimates = []
        for side in SIDES:
            pair = linear(x, 1.0)
            train(pair, x, options.steps, side * e)
            expected = (1 - side * e / known[:UNITS]).clamp(min=0)
            found = variances(pair, x)

            row = {"beta": side * e, "units": int((found > 0.01).sum())}
            row["predicted_units"] = int((expected > 0.01).sum())
            off = (found - expected).abs().max().item()
            rows.append(row | {"variances": found.tolist(), "worst_difference": off})
            print(rows[-1], flush=True)
            if side < 0.95:
                estimates.append(side * e / (1 - found[place].item()))

        by_line = sum(estimates) / len(estimates)
        row = {"eigenvalue": e, "by_line": by_line, "by_line_off": by_line / e - 1}
        bisected = bisection(x, place, e, options.steps)
        located.append(row | {"bisected": bisected, "bisected_off": bisected / e - 1})
        print(located[-1], flush=True)
    return {"rows": rows, "located": located}


def bisection(x: Tensor, place: int, e: float, steps: int) -> float:
    """The weight, within 0.4%, above which a unit's mean varies by less than 0.005. Each training
    starts anew: near the threshold a unit that lives dies more slowly than one that does not is
    born.
    """
    low, high = 0.95 * e, 1.05 * e
    while high - low > 0.008 * e:
        beta = (low + high) / 2
        pair = linear(x, 1.0)
        train(pair, x, steps, beta)
        alive = variances(pair, x)[place] > 0.005
        low, high = (beta, high) if alive else (low, beta)
    return (low + high) / 2


def optima(known: Tensor, beta: float) -> list[tuple[int, float]]:
    """The numbers k of living units, with their s, that a learned s can rest at."""
    found = []
    for k in range(UNITS + 1):
        if k * beta >= len(known):
            break
        s = (known[k:].sum() / (len(known) - k * beta)).item()
        below = known[k].item() if k < UNITS else 0.0
        above = known[k - 1].item() if k else math.inf
        if below <= beta * s < above:
            found.append((k, s))
    return found


def learned(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each weight: living units and s, with the closed form's."""
    known = torch.tensor(EIGENVALUES, dtype=torch.double)
    x = with_spectrum(known, NUM_DATA)
    rows: list[dict[str, Any]] = []
    for beta in LEARNED_BETAS:
        pair = linear(x, known.mean().item(), learn=True)
        train(pair, x, options.steps, beta)
        row = {"beta": beta, "units": int((variances(pair, x) > 0.01).sum())}
        row["variance"] = (2 * pair[0].log_sigma).exp().item()
        expected = optima(known, beta)
        rows.append(row | {"predicted": [{"units": k, "variance": s} for k, s in expected]})
        print(rows[-1], flush=True)
    return rows


def chart(found: dict[str, Any], path: Path) -> None:
    """Left: how much the units' means vary, against the weight. Right: how many live."""
    figure = blank((10, 4))
    left, right = figure.subplots(1, 2)
    rows = sorted(found["threshold"]["rows"], key=lambda row: row["beta"])
    betas = torch.logspace(-0.5, 0.7, 200, dtype=torch.double)
    names = [f"eigenvalue {e:g}" for e in LOCATED]

    for place, (name, colour, style, marker) in enumerate(looks(names)):
        exact = (1 - betas / EIGENVALUES[place]).clamp(min=0)
        left.plot(betas, exact, style, color=colour)
        at = [row["variances"][place] for row in rows]
        left.plot([r["beta"] for r in rows], at, marker, color=colour, label=name, markersize=5)
    left.axhline(0.01, color=REST, linestyle=":", label="called active above 0.01")
    left.set(
        xscale="log", xlabel="KL weight, decoder variance 1", ylabel="variance of a unit's mean"
    )
    left.set_title("lines: 1 - b s / e; points: trained", fontsize="medium")
    legend(left, "upper right")

    right.step(betas, [sum(e > b for e in EIGENVALUES[:UNITS]) for b in betas.tolist()],
               where="mid", color=MAIN, label="fixed variance 1: predicted")  # fmt: skip
    right.plot([r["beta"] for r in rows], [r["units"] for r in rows], "o", color=MAIN,
               label="fixed variance 1: trained")  # fmt: skip
    rows = found["learned"]
    for row in rows:
        for one in row["predicted"]:
            right.plot(row["beta"], one["units"], "_", color=SECOND, markersize=16)
    right.plot([], [], "_", color=SECOND, label="learned variance: the optima")
    right.plot([r["beta"] for r in rows], [r["units"] for r in rows], "s", color=SECOND,
               markersize=5, label="learned variance: trained")  # fmt: skip
    right.set(xscale="log", xlabel="KL weight", ylabel="active units", ylim=(-0.3, 5.5))
    legend(right, "upper right", headroom=True)
    right.set_yticks(range(UNITS + 1))
    for axes in (left, right):
        axes.set_xticks((0.25, 0.5, 1, 2, 4), ("0.25", "0.5", "1", "2", "4"))
        axes.minorticks_off()
    figure.savefig(path, dpi=150)


PARTS: study.Parts = {"threshold": threshold, "learned": learned}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--steps", type=int, default=1000, help="of each training")
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    if options.json is not None and PARTS.keys() <= results.keys():
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
