"""Which gradient is the quietest, and do more particles in the bound make a better model?

    variance   the gradient of the guide's parameters by each estimator, at equal numbers of
               particles, on a trained run, one batch of test images: spread over repetitions
               against the size of the mean, and time. Estimators of one objective share their mean
               (the ELBO's four; IWAE's two); those of different objectives do not.
    iwae       runs that were trained by the importance-weighted bound of k particles, the same in
               all else: L_5000 of the same test images, against the first run, paired. The kept
               one, with k = 50, and its fellows with 5 and 1:

                   pyro-vae train --config experiments/mnist_iwae/config.yaml \\
                       --loss.num_particles 5 --folder runs/iwae5

Run:  PYRO_VAE_DATA=... python experiments/estimators.py {variance,iwae} [RUN ...] [--num-data N]
      [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

import pyro_vae as pv
from pyro_vae.objectives import Bound, ScoreFunction
from pyro_vae.runs.opening import open_run

PARTICLES = 16
ESTIMATORS: dict[str, Callable[[], Trace_ELBO]] = {
    "ELBO, reparameterised": lambda: Trace_ELBO(PARTICLES, vectorize_particles=True),
    "ELBO, sticking the landing": lambda: Bound(PARTICLES, alpha=1.0, path_only=True),
    "ELBO, score function": lambda: ScoreFunction(PARTICLES),
    "ELBO, score function, leave-one-out baseline": lambda: ScoreFunction(PARTICLES, baseline=True),
    "IWAE, reparameterised": lambda: Bound(PARTICLES, alpha=0.0),
    "IWAE, doubly reparameterised": lambda: Bound(PARTICLES, alpha=0.0, path_only=True),
}


def variance(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each estimator, about its gradient G `(P,)`: |E G|, the noise
    sqrt(E |G - E G|^2), and their ratio.
    """
    parts = open_run(options.run[0])
    x = parts.data.test.take(options.num_data or 100).x
    rows = {}

    for name, loss in ESTIMATORS.items():
        torch.manual_seed(0)
        rows[name] = _spread(loss(), parts.model, parts.guide, x, options.repetitions)
        told = "  ".join(f"{key} {value:.4g}" for key, value in rows[name].items())
        print(f"{name:46}{told}", flush=True)

    facts = {"run": Path(options.run[0]).name, "num_data": len(x)}
    return facts | {"particles": PARTICLES, "repetitions": options.repetitions} | rows


def _spread(
    loss: Trace_ELBO, model: Any, guide: Any, x: Tensor, repetitions: int
) -> dict[str, float]:
    index, params = torch.arange(len(x)), list(guide.parameters())
    total: Any = 0.0
    squares, seconds = 0.0, []

    for _ in range(repetitions):
        for p in (*params, *model.parameters()):
            p.grad = None
        started = time.monotonic()
        with pyro.validation_enabled(False):
            loss.loss_and_grads(model, guide, x, index)
        seconds.append(time.monotonic() - started)

        parts = [p.grad.flatten() for p in params if p.grad is not None]
        gradient = torch.cat(parts).double() / len(x)
        total += gradient
        squares += gradient.square().sum().item()

    mean_square = total.square().sum().item() / repetitions**2
    noise = (squares / repetitions - mean_square) * repetitions / (repetitions - 1)
    # the mean of few is too long by its own noise
    signal = max(mean_square - noise / repetitions, 0.0)
    return {
        "signal": signal**0.5,
        "noise": noise**0.5,
        "signal_to_noise": (signal / noise) ** 0.5,
        "ms": 1000 * statistics.median(seconds),
    }


def iwae(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each run: L_5000 by its own guide, and the gain on the first run."""
    rows: dict[str, Any] = {}
    first: Tensor | None = None
    for folder in options.run:
        parts = open_run(folder)
        x = parts.data.test.take(options.num_data or 1000).x
        est = pv.log_evidence(parts.model, parts.guide, x, pv.Importance(num_particles=5000))
        first = est.log_px if first is None else first
        gain = est.log_px - first

        units = pv.latent_units(parts.model, parts.guide, x)
        with (Path(folder) / "metrics.csv").open() as file:
            *_, last = csv.DictReader(file)

        row = est.summary() | {
            "particles_in_training": getattr(parts.recipe.loss, "num_particles", 1),
            "epochs": int(last["epoch"]),
            "train_seconds": float(last["seconds"]),
            "active_units": 0 if units is None else units.num_active,
            "gain": gain.mean().item(),
            "gain_error": gain.std().item() / len(gain) ** 0.5,
        }
        rows[Path(folder).name] = row
        told = f"L_5000 {est.mean:.2f} +- {est.std_error:.2f}"
        told += f", gain {row['gain']:.3f} +- {row['gain_error']:.3f}, ELBO {row['elbo']:.2f}"
        told += f", {row['active_units']} active units"
        told += f", k-hat high on {est.share_above_threshold:.0%}"
        print(f"{folder}: k = {row['particles_in_training']}, {told}", flush=True)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["variance", "iwae"])
    parser.add_argument("run", nargs="*", default=[str(Path(__file__).parent / "mnist_gated")])
    parser.add_argument("--num-data", type=int)
    parser.add_argument("--repetitions", type=int, default=200, help="gradients of each estimator")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    measure = {"variance": variance, "iwae": iwae}[options.what]
    results = measure(options) | {"torch": version("torch")}
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
