"""Do closed intervals around log p(x) hold the truth as often as they say, and how many stay open?

One datum, 1,000 independent repetitions of each estimate of its log p(x), which is known. An
interval that is open above vouches for nothing and cannot be wrong by being too low; what counts is
the share of *closed* ones that hold the truth, at a nominal 95%, and the share that had to stay
open for it.

    weights   importance sampling with S particles, from guides that are wrong in one way each
    chains    annealing by T temperatures and 16 chains, from the prior and from those guides

The guides: the exact posterior with its deviations times 0.6 to 1.5; its mean shifted by half a
deviation in every unit; the best mean-field guide where the units' posteriors are correlated in
pairs (r = 0.9); and the exact posterior of one of two equal modes, the other one missed.

Run:  python experiments/coverage.py {weights,chains} [--dims D ...] [--sizes S ...]
      [--repetitions R] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from rich.table import Table
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.evidence import (
    Annealed,
    Estimate,
    Importance,
    log_evidence,
)
from pyro_vae.files.texts import write_json
from pyro_vae.report.tables import show


class Case(NamedTuple):
    """A model, a guide of it, one datum `(1, D)` and its exact log p(x)."""

    model: nn.Module
    guide: nn.Module
    x: Tensor
    log_px: float


class Gaussian(nn.Module):
    """The guide N(mean(x), L L') of one latent vector."""

    def __init__(self, at: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide."""
        mean, tril = self.at(x)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("latent", dist.MultivariateNormal(mean, scale_tril=tril))


class Folded(nn.Module):
    """x_1 = |z_1| + noise, x_j = z_j + noise: the posterior has two modes, mirror images."""

    scale, sigma = 3.0, 0.3  # of z and of the noise

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the program."""
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros_like(x[0]), self.scale).to_event(1))
            mean = torch.cat([z[..., :1].abs(), z[..., 1:]], -1)
            pyro.sample("obs", dist.Normal(mean, self.sigma).to_event(1), obs=x)
        return z

    def one_mode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and Cholesky factor of the posterior where z_1 is positive."""
        share = self.scale**2 / (self.scale**2 + self.sigma**2)
        root = math.sqrt(share) * self.sigma * torch.eye(x.shape[-1]).to(x)
        return share * x, root.expand(len(x), -1, -1)

    def log_px(self, x: Tensor) -> Tensor:
        """Exact: the straight model's, times twice its posterior's mass where z_1 is positive."""
        straight = dist.Normal(0.0, math.hypot(self.scale, self.sigma)).log_prob(x).sum(-1)
        mean, tril = self.one_mode(x)
        return straight + math.log(2) + torch.special.log_ndtr(mean[:, 0] / tril[:, 0, 0])


def distorted(dim: int, width: float = 1.0, shift: float = 0.0) -> Case:
    """A linear-Gaussian model with the exact posterior as its guide, made wider and shifted."""
    model = pv.LinearGaussian(dim + 10, dim, sigma=0.7)
    q = model.posterior

    def at(x: Tensor) -> tuple[Tensor, Tensor]:
        return q(x).mean + shift * q(x).stddev, width * q(x).scale_tril

    return gaussian_case(model, at)


def correlated(dim: int, r: float = 0.9) -> Case:
    """Data that are the differences of pairs of units, and the best mean-field guide."""
    model = pv.LinearGaussian(dim // 2, dim, sigma=math.sqrt(1 / r - 1))
    with torch.no_grad():
        model.loading.copy_(torch.kron(torch.eye(dim // 2), torch.tensor([1.0, -1.0])))

    def at(x: Tensor) -> tuple[Tensor, Tensor]:
        q = model.optimal_mean_field(x)
        return q.mean, torch.diag_embed(q.stddev.expand_as(q.mean))

    return gaussian_case(model, at)


def gaussian_case(model: pv.LinearGaussian, at: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Case:
    """With a datum of the model's own."""
    model = model.double().requires_grad_(False)
    torch.manual_seed(0)
    x = model.sample(1) + model.log_sigma.exp() * torch.randn(1, *model.shape).double()
    return Case(model, Gaussian(at), x, model.log_px(x).item())


def one_mode(dim: int) -> Case:
    """Two equal modes, of which the guide has one."""
    model = Folded()
    torch.manual_seed(0)
    x = torch.full((1, dim), 2.0).double() + 0.3 * torch.randn(1, dim).double()
    return Case(model, Gaussian(model.one_mode), x, model.log_px(x).item())


WIDTHS = (0.6, 0.7, 0.8, 0.9, 1.25, 1.5)
CASES: dict[str, Callable[[int], Case]] = {
    f"{w:g} as wide": partial(distorted, width=w) for w in WIDTHS
} | {
    "exact": distorted,
    "shifted by 0.5": partial(distorted, shift=0.5),
    "mean-field, r = 0.9": correlated,
    "one of two modes": one_mode,
}
STARTS = (
    "0.7 as wide",
    "1.25 as wide",
    "shifted by 0.5",
    "mean-field, r = 0.9",
    "one of two modes",
)


def weights(case: Case, x: Tensor, size: int) -> Estimate:
    """Importance sampling by S particles."""
    return log_evidence(case.model, case.guide, x, Importance(num_particles=size))


def chains(case: Case, x: Tensor, size: int, from_prior: bool = False) -> Estimate:
    """Annealing by T temperatures."""
    method = Annealed(size, "prior" if from_prior else "guide")
    return log_evidence(case.model, case.guide, x, method)


def measured(found: Estimate, exact: float) -> dict[str, float]:
    """Coverage of closed intervals, its error, the share of open ones, the width of the closed."""
    lower, upper = found.interval(0.95)
    closed = upper.isfinite()
    inside = ((lower <= exact) & (exact <= upper))[closed].double()
    count = int(closed.sum())
    return {
        "closed": closed.double().mean().item(),
        "coverage": inside.mean().item() if count else math.nan,
        "coverage_error": math.sqrt(0.05 * 0.95 / count) if count else math.nan,
        "width": (upper - lower)[closed].median().item() if count else math.nan,
        "bias": (found.log_px.mean() - exact).item(),
        "error": found.log_px_error.median().item(),
        "seconds": round(found.seconds, 2),
    }


def cells(what: str) -> dict[str, tuple[Callable[[int], Case], Callable[..., Estimate]]]:
    """Cases by their names, with how each is estimated."""
    if what == "weights":
        return {name: (make, weights) for name, make in CASES.items()}
    prior = {"the prior": (distorted, partial(chains, from_prior=True))}
    return prior | {name: (CASES[name], chains) for name in STARTS}


def main(arguments: list[str] | None = None) -> None:
    """Command line; cells that the file has already are not measured again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("weights", "chains"))
    parser.add_argument("--dims", type=int, nargs="+", default=[4, 10, 50])
    parser.add_argument("--sizes", type=int, nargs="+", help="particles S, or temperatures T")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    defaults = [100, 1000, 5000] if options.what == "weights" else [50, 100, 200, 1000]
    sizes = options.sizes or defaults

    command = f"python experiments/coverage.py {options.what}"
    facts: dict[str, Any] = {"command": command, "device": "cpu"}
    facts |= {"repetitions": options.repetitions, "level": 0.95, "seed": 0}
    facts |= {name: version(name) for name in ("torch", "pyro-ppl")}
    rows: list[dict[str, Any]] = []
    if options.json is not None and options.json.is_file():
        rows = json.loads(options.json.read_text())["rows"]
    known = {(row["case"], row["dim"], row["size"]) for row in rows}

    for dim in options.dims:
        for name, (make, estimate) in cells(options.what).items():
            case = make(dim)
            for size in sizes:
                if (name, dim, size) in known:
                    continue
                found = estimate(case, case.x.repeat(options.repetitions, 1), size)
                row = {"case": name, "dim": dim, "size": size} | measured(found, case.log_px)

                rows.append({key: None if value != value else value for key, value in row.items()})
                print(told(rows[-1]), flush=True)
                if options.json is not None:
                    write_json(options.json, facts | {"rows": rows})
    show(table(options.what, rows))


def told(row: dict[str, Any]) -> str:
    """One line for a cell."""
    covered = "" if row["coverage"] is None else f", of which {row['coverage']:.1%} hold the truth"
    where = f"{row['case']}, d = {row['dim']}, {row['size']}"
    off = f"{row['bias']:+.3f} off, {row['seconds']} s"
    return f"{where}: {row['closed']:.1%} closed{covered}; {off}"


def table(what: str, rows: list[dict[str, Any]]) -> Table:
    """Coverage of the closed intervals and their share, a line for each case and dimension."""
    sizes = sorted({row["size"] for row in rows})
    letter = "S" if what == "weights" else "T"
    made = Table(title="coverage of the closed 95% intervals (share that is closed)")
    for name in ("guide", "d", *(f"{letter} = {size:,}" for size in sizes)):
        made.add_column(name)

    by_place = {(row["case"], row["dim"], row["size"]): row for row in rows}
    for case, dim in dict.fromkeys((row["case"], row["dim"]) for row in rows):
        found = [by_place.get((case, dim, size)) for size in sizes]
        made.add_row(case, str(dim), *("" if row is None else short(row) for row in found))

    closed = [row for row in rows if row["coverage"] is not None]
    if closed:
        count = sum(row["closed"] for row in closed)
        pooled = sum(row["closed"] * row["coverage"] for row in closed) / count
        wrong = max(row["closed"] * (1 - row["coverage"]) for row in closed)
        made.caption = (
            f"all closed ones together: {pooled:.1%}; closed: {count / len(rows):.0%} of all;"
            f" closed and wrong: at most {wrong:.1%} of a cell's repetitions"
        )
    return made


def short(row: dict[str, Any]) -> str:
    """A cell of the table."""
    return "all open" if row["coverage"] is None else f"{row['coverage']:.1%} ({row['closed']:.0%})"


if __name__ == "__main__":
    main()
