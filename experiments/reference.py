"""Whose posterior is right? Guides against NUTS, unit by unit, on a few test images of a trained
run.

NUTS samples the exact posterior of each image (chains from the prior, ArviZ's R-hat and ESS).
Against its moments, over the run's active units: the shift of each guide's means in posterior
standard deviations (root mean square, the Monte Carlo part taken off), and the ratio of its
standard deviations to the posterior's (geometric mean, and the smallest).

With `--pyro`, Pyro's own NUTS samples the same posteriors: how long it takes, and how far its
moments are from those of the chains that all move at once, in units of their Monte Carlo errors.

Run:  PYRO_VAE_DATA=... python experiments/reference.py [RUN] [--num-data N] [--num-chains C]
      [--pyro] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

import pyro_vae as pv
from pyro_vae.inference.optimum import programs_of
from pyro_vae.report.tables import show
from pyro_vae.runs.opening import open_run
from pyro_vae.swap import swap_guides

GUIDES = ("amortized", "mean-field", "full-rank", "flow")


def against(found: pv.Agreement, active: Tensor) -> dict[str, float]:
    """Shift and ratios of a guide over the active units of all data."""
    parts = (found.shift, found.shift_error, found.ratio)
    shift, error, ratio = (part["latent"][..., active] for part in parts)  # (N, units)
    square = (shift.square() - error.square()).mean().clamp(min=0)
    return {
        "shift": square.sqrt().item(),
        "ratio": ratio.log().mean().exp().item(),
        "least_ratio": ratio.min().item(),
    }


def health(found: pv.Reference) -> dict[str, Any]:
    """What tells whether the chains can be believed, and what they took."""
    return {
        "r_hat": found.r_hat["latent"].max().item(),
        "ess": found.ess["latent"].min().item(),
        "num_divergent": found.num_divergent,
        "seconds": round(found.seconds, 1),
    }


def apart(first: pv.Reference, second: pv.Reference) -> dict[str, float]:
    """How far two references' moments are apart, root mean square over all units in units of the
    Monte Carlo error of the difference: 1 for means where both are right; more for deviations,
    since the effective sizes are those of the means.
    """
    (mean, sd), (other_mean, other_sd) = first.moments("latent"), second.moments("latent")
    noise = 1 / first.ess["latent"] + 1 / second.ess["latent"]
    means = (mean - other_mean) / (other_sd * noise.sqrt())
    sds = (sd / other_sd).log() / (noise / 2).sqrt()
    return {
        "means": means.square().mean().sqrt().item(),
        "sds": sds.square().mean().sqrt().item(),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", default=str(Path(__file__).parent / "mnist_gated"))
    parser.add_argument("--num-data", type=int, default=3)
    parser.add_argument("--num-chains", type=int, default=4)
    parser.add_argument("--num-samples", type=int, default=500)
    parser.add_argument("--num-warmup", type=int, default=300)
    parser.add_argument(
        "--draws", type=int, default=8, help="of each datum in a step of classical inference"
    )
    parser.add_argument("--pyro", action="store_true", help="sample by Pyro's NUTS too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    parts = open_run(options.run)
    model, guide = parts.model.requires_grad_(False), parts.guide
    x = parts.data.test.take(options.num_data).x
    units = pv.latent_units(model, guide, parts.data.test.x[:1000])
    assert units is not None
    active = units.variances > 0.01
    active |= ~active.any()  # all of them where none is

    sizes = {name: getattr(options, name) for name in ("num_chains", "num_samples", "num_warmup")}
    reference = pv.reference_posterior(model, x, **sizes)
    results: dict[str, Any] = {"run": Path(options.run).name, "num_data": len(x), **sizes}
    results["guides"] = {}
    results |= health(reference)
    results |= {"active_units": int(active.sum()), "torch": torch.__version__}
    if options.pyro:
        slow = pv.reference_posterior(model, x, **sizes, engine="pyro")
        results["pyro"] = health(slow) | {"apart": apart(reference, slow)}

    told = f"R-hat at most {results['r_hat']:.3f}, ESS at least {results['ess']:.0f}"
    told += f", {reference.num_divergent} divergent, {reference.seconds:.0f} s"
    table = Table(title=f"{len(x)} test images against NUTS: {told}")
    for name in ("guide", "shift of the means", "ratio of standard deviations", "the smallest"):
        table.add_column(name)
    others = programs_of(swap_guides(model, guide, x, GUIDES, num_particles=options.draws))
    for name, other in others.items():
        row = results["guides"][name] = against(pv.agreement(other, reference, x), active)
        table.add_row(name, *(f"{value:.3f}" for value in row.values()))
    show(table)
    if options.pyro:
        print(f"Pyro's NUTS: {results['pyro']}")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
