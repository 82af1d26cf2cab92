"""What does training a VAE do: raise log p(x), or close the gap below it? Both terms of the bound
through the epochs of a run, on fixed test images, with two latent units and every integral taken on
a grid.

    ELBO(x) = log p(x) - KL(q(z | x) || p(z | x))

For a fixed decoder log p(x) is a constant, and to raise the ELBO is to close the gap. For decoder
and encoder together the ELBO rises by either. So both are trained together first, and then a new
encoder on the frozen decoder. At each moment

    log p(x)   by sums of p(x, z) over the white points of a grid of [-6, 6]^2
    ELBO       by draws from q
    KL         by sums over a grid around each q, the posterior normalised by the black points

Only p(x, z) itself is common to the three. What a datum's residual may be off by is the error of
the draws and the difference between the two colours, which is large where a posterior is narrow.

Predicted: log p - ELBO - KL is 0 within its errors at each moment, and the bound rises. With the
decoder frozen all of the rise is the gap's. Together, most of it is log p(x); by the textbook the
gap shrinks meanwhile.

Run:  PYRO_VAE_DATA=... python experiments/elbo_epochs.py [--epochs E] [--json FILE]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import TraceMeanField_ELBO
from rich.table import Table
from torch import Tensor
from torch.distributions import Normal

import pyro_vae as pv
from pyro_vae.files.texts import write_json
from pyro_vae.report.plots.marks import MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank
from pyro_vae.report.tables import show

EDGE = 6.0  # of the grid, on each side of the prior's mean
OWN = 41  # points a side of the grid around each q
CHUNK = 10_000  # points at once
TERMS = ("elbo", "log_px", "kl")


class Square:
    """An even grid of [-6, 6]^2 in the two colours of a chessboard: two grids without a point in
    common, each of which has a log p(x) of its own.
    """

    def __init__(self, side: int) -> None:
        line = torch.linspace(-EDGE, EDGE, side, dtype=torch.double)
        self.points = torch.cartesian_prod(line, line)
        places = torch.arange(side)
        self.white = ((places[:, None] + places) % 2 == 0).flatten()
        self.log_cell = math.log(2 * (line[1] - line[0]).item() ** 2)  # of one colour

    def log_px(self, model: pv.VAE, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x) `(N,)` by the white points, and by the black ones."""
        joint = torch.cat([log_joint(model, x, z[:, None]) for z in self.points.split(CHUNK)])
        white, black = (torch.logsumexp(joint[part], 0) for part in (self.white, ~self.white))
        return white + self.log_cell, black + self.log_cell


@torch.no_grad()
def log_joint(model: pv.VAE, x: Tensor, z: Tensor) -> Tensor:
    """log p(x, z) `(G, N)` at points `(G, 1, 2)`, the same for all data, or `(G, N, 2)`."""
    logits = model.decoder(z).flatten(2)
    normaliser = torch.nn.functional.softplus(logits).sum(-1)
    pixels = x.flatten(1)
    fit = logits[:, 0] @ pixels.T if z.shape[1] == 1 else (logits * pixels).sum(-1)
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + fit - normaliser


@torch.no_grad()
def divergence(model: pv.VAE, guide: pv.Amortized, x: Tensor, log_px: Tensor) -> Tensor:
    """KL(q || p(z | x)) `(N,)` with p(z | x) = p(x, z) / p(x), by sums over six standard deviations
    of each q.
    """
    q = guide.q(x)
    line = torch.linspace(-6, 6, OWN, dtype=torch.double)
    unit = torch.cartesian_prod(line, line)[:, None]
    log_cell = 2 * (line[1] - line[0]).log() + q.base_dist.stddev.log().sum(-1)

    total = torch.zeros(len(x), dtype=torch.double)
    for part in unit.split(max(1, CHUNK // len(x))):
        z = q.base_dist.mean + q.base_dist.stddev * part
        log_q = q.log_prob(z)
        total += ((log_q + log_cell).exp() * (log_q - log_joint(model, x, z))).sum(0)
    return total + log_px


class Look:
    """The three terms on the same test data `(N, *shape)`, as the programs are at the moment."""

    def __init__(self, x: Tensor, options: argparse.Namespace) -> None:
        self.x, self.square = x.double(), Square(options.side)
        self.num_particles = options.num_particles
        self.frozen: tuple[Tensor, Tensor] | None = None  # of a decoder that stays as it is

    def __call__(self, model: pv.VAE, guide: pv.Amortized, step: int) -> dict[str, float]:
        model, guide = deepcopy(model).double().eval(), deepcopy(guide).double().eval()
        log_px, other = self.frozen or self.square.log_px(model, self.x)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            self.frozen = log_px, other
        kl = divergence(model, guide, self.x, other)

        method = pv.Importance(num_particles=self.num_particles, seed=step)
        drawn = pv.log_evidence(model, guide, self.x, method)
        coarse = (log_px - other).abs()
        off, error = log_px - drawn.elbo - kl, torch.hypot(drawn.elbo_error, coarse)
        return {
            "log_px": log_px.mean().item(),
            "elbo": drawn.elbo.mean().item(),
            "kl": kl.mean().item(),
            "rate": drawn.rate.mean().item(),
            "residual": off.mean().item(),
            "residual_error": error.square().sum().sqrt().item() / len(off),
            "worst_in_errors": (off.abs() / error).max().item(),
            "grid_error": coarse.max().item(),
        }


def trained(
    model: pv.VAE, guide: pv.Amortized, data: Any, num_epochs: float, look: Look
) -> list[dict[str, float]]:
    """Adam 1e-3, batches of 128, no warm-up; a row at the start and at each doubling of the steps,
    the first of them 1 / 256 of the way.
    """
    pyro.clear_param_store()
    adam = partial(torch.optim.Adam, lr=1e-3)
    svi = pv.CompiledSVI(model, guide, adam, TraceMeanField_ELBO())
    noise = torch.Generator().manual_seed(0)
    per_epoch = math.ceil(len(data.train) / 128)
    last = max(1, round(num_epochs * per_epoch))
    moments = {0} | {max(1, round(last / 2**halvings)) for halvings in range(9)}

    rows, step = [], 0
    while True:
        for index in torch.randperm(len(data.train), generator=noise).split(128):
            if step in moments:
                rows.append({"epoch": step / per_epoch} | look(model, guide, step))
                print(told(rows[-1]), flush=True)
            if step == last:
                return rows
            svi.step(data.train.batch(index, noise), index)
            step += 1


def moved(rows: list[dict[str, float]]) -> dict[str, Any]:
    """How far each term moves from moment to moment, and in all; where the gap is widest."""
    steps = []
    for before, after in pairwise(rows):
        change = {name: after[name] - before[name] for name in TERMS}
        steps.append({"from": before["epoch"], "to": after["epoch"]} | change)
    widest = max(rows, key=lambda row: row["kl"])
    return {
        "rows": rows,
        "steps": steps,
        "in_all": {name: rows[-1][name] - rows[0][name] for name in TERMS},
        "widest": {name: widest[name] for name in ("epoch", "kl")},
    }


def told(row: dict[str, float]) -> str:
    """A moment in a line."""
    terms = f"log p {row['log_px']:.3f} = ELBO {row['elbo']:.3f} + KL {row['kl']:.3f}"
    off = f"{row['residual']:+.4f} +- {row['residual_error']:.4f} off"
    return f"epoch {row['epoch']:.3f}: {terms}, {off}, worst {row['worst_in_errors']:.1f} errors"


def chart(results: dict[str, Any], path: Path) -> None:
    """log p(x) and the ELBO by epoch, the gap below them; the joint training and the frozen one."""
    figure = blank((9.0, 5.6))
    tops = figure.subplots(2, 2, sharex="col", height_ratios=(3, 2), width_ratios=(3, 2))
    titles = {
        "joint": "Decoder and encoder together",
        "frozen": "A new encoder, the decoder frozen",
    }
    for column, (name, words) in enumerate(titles.items()):
        rows = results[name]["rows"]
        when = [row["epoch"] for row in rows]
        bounds, gap = tops[0][column], tops[1][column]

        log_px, elbo = ([row[term] for row in rows] for term in ("log_px", "elbo"))
        bounds.fill_between(when, elbo, log_px, color=REST, alpha=0.3, linewidth=0)
        bounds.plot(when, log_px, "s-", color=SECOND, ms=4, label="log p(x), by a grid")
        bounds.plot(when, elbo, "o-", color=MAIN, ms=4, label="ELBO, by draws")
        bounds.set_title(words, fontsize="medium")
        bounds.legend(loc="lower right", fontsize="small", frameon=False)

        gap.plot(when, [row["kl"] for row in rows], "-", color=REST, label="KL, by grids")
        apart = [row["log_px"] - row["elbo"] for row in rows]
        gap.plot(when, apart, "x", color="black", ms=6, label="log p(x) - ELBO")
        gap.set_xscale("symlog", linthresh=when[1], linscale=0.4)
        gap.set_xticks(*ticks(when))
        gap.minorticks_off()
        gap.set_xlabel("epochs")
        gap.set_ylim(0, None)
        gap.legend(loc="best", fontsize="small", frameon=False)
    tops[0][0].set_ylabel("nats per test image")
    tops[1][0].set_ylabel("gap, nats per test image")
    figure.savefig(path, dpi=150)


def ticks(when: Sequence[float]) -> tuple[list[float], list[str]]:
    """Every other moment, with 0."""
    places = [0.0, *when[1:][::-1][::2][::-1]]
    return places, [f"{place:.2g}" for place in places]


def table(results: dict[str, Any]) -> Table:
    """A row for each moment."""
    made = Table(title="test images: log p(x) = ELBO + KL, means, nats")
    for name in ("trained", "epochs", "log p(x)", "ELBO", "KL", "residual", "worst in its errors"):
        made.add_column(name)
    for part in ("joint", "frozen"):
        for row in results[part]["rows"]:
            off = f"{row['residual']:+.4f} +- {row['residual_error']:.4f}"
            terms = (f"{row[term]:.3f}" for term in ("log_px", "elbo", "kl"))
            worst = f"{row['worst_in_errors']:.1f}"
            made.add_row(part, f"{row['epoch']:.3g}", *terms, off, worst)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--hidden", type=int, nargs="+", default=[200, 200])
    parser.add_argument(
        "--epochs", type=float, default=16, help="of both; a quarter for the encoder"
    )
    parser.add_argument("--num-data", type=int, default=60)
    parser.add_argument("--side", type=int, default=501, help="points of the grid on a side, odd")
    parser.add_argument("--num-particles", type=int, default=1000, help="for an ELBO by draws")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    started = time.monotonic()

    data = pv.load(options.data, valid=0)
    torch.manual_seed(0)
    model = pv.VAE(data.shape, 2, options.hidden, mean=data.mean)
    look = Look(data.test.take(options.num_data).x, options)
    results: dict[str, Any] = {"command": "python experiments/elbo_epochs.py", "device": "cpu"}
    results |= {"seed": 0, "threads": torch.get_num_threads()}
    results |= {name: version(name) for name in ("torch", "pyro-ppl")}
    results |= {name: getattr(options, name) for name in ("data", "epochs", "num_data", "side")}

    for name, share in (("joint", 1), ("frozen", 4)):
        guide = pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, options.hidden))
        results[name] = moved(trained(model, guide, data, options.epochs / share, look))
        model.requires_grad_(False).eval()
    results["seconds"] = round(time.monotonic() - started, 1)

    show(table(results))
    if options.json is not None:
        write_json(options.json, results)
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
