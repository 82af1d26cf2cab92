"""Are wrong guides found out, and is the right one left in peace? 100 repetitions on a
linear-Gaussian model with 10 units.

The exact posterior, and what is wrong in one way each: its deviations halved; its mean shifted by
half a deviation in every unit; collapsed to the prior. Each is judged by three means, with fresh
noise and data of its own each time:

    k-hat         importance weights (2,500 particles) on 20 data: flagged where it is high on more
                  than 5% of them
    calibration   ranks of every unit and density of 500 simulations: flagged at the 5% level, all
                  of them together
    coverage      the 95% highest-density regions hold the truth less, or more, often than 2.58 of
                  its errors allow (1%)

Run:  python experiments/wrong_guides.py [--repetitions R] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from rich.table import Table
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.diagnostics import check_calibration
from pyro_vae.report.tables import show

DIM = 10


class Distorted(nn.Module):
    """The exact posterior, its deviations times `width`, shifted by `shift` of them; or the prior,
    where `collapsed`.
    """

    def __init__(
        self,
        model: pv.LinearGaussian,
        width: float = 1.0,
        shift: float = 0.0,
        collapsed: bool = False,
    ) -> None:
        super().__init__()
        self.posterior, self.width = model.posterior, width
        self.shift, self.collapsed = shift, collapsed

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide."""
        q = self.posterior(x)
        if self.collapsed:
            q = dist.MultivariateNormal(torch.zeros_like(q.mean), scale_tril=torch.eye(DIM).to(x))
        mean, tril = q.mean + self.shift * q.stddev, self.width * q.scale_tril
        q = dist.MultivariateNormal(mean, scale_tril=tril)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("latent", q)


GUIDES: dict[str, dict[str, Any]] = {
    "right": {},
    "deviations halved": {"width": 0.5},
    "mean shifted": {"shift": 0.5},
    "collapsed": {"collapsed": True},
}


def judged(
    model: pv.LinearGaussian, guide: nn.Module, seed: int, num_simulations: int
) -> dict[str, bool]:
    """What each of the three says: True where the guide is flagged."""
    torch.manual_seed(seed)
    x = model.sample(20) + model.log_sigma.exp() * torch.randn(20, 20).double()
    weights = pv.log_evidence(model, guide, x, pv.Importance(num_particles=2500, seed=seed))

    ranks = check_calibration(model, guide, x, num_simulations=num_simulations, seed=seed)
    held, deviation = ranks.coverage([0.95])
    return {
        "k-hat": weights.share_above_threshold > 0.05,
        "calibration": not ranks.calibrated,
        "coverage": bool((held - 0.95).abs() > 2.58 * deviation),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--num-simulations", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    model = pv.LinearGaussian(20, DIM, sigma=0.7).double().requires_grad_(False)
    num_simulations = options.num_simulations
    results: dict[str, Any] = {"repetitions": options.repetitions}
    results["num_simulations"] = num_simulations
    table = Table(title=f"share of {options.repetitions} repetitions in which a guide is flagged")
    for name in ("guide", "k-hat", "calibration", "coverage"):
        table.add_column(name)

    for name, change in GUIDES.items():
        guide, seeds = Distorted(model, **change), range(options.repetitions)
        said = [judged(model, guide, seed, num_simulations) for seed in seeds]
        rates = {means: sum(one[means] for one in said) / len(said) for means in said[0]}
        results[name] = rates
        table.add_row(name, *(f"{rate:.0%}" for rate in rates.values()))
        print(name, rates, flush=True)
    show(table)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
