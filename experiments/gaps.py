"""What does a guide cost on a trained run? The gap ledger on one frozen model, train and test,
amortized and classical.

The run's own guide, its output after 100 steps of optimisation for each datum, and classical
inference to convergence in mean-field, full-rank and flow families: `pyro-vae compare`. Beside
these, amortized guides of the other families: the run's encoder with another head, trained further
on the frozen model and all training images.

Run:  PYRO_VAE_DATA=... python experiments/gaps.py [RUN] [--num-data N] [--draws K] [--epochs E]
      [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

import pyro_vae as pv
from pyro_vae.report.ledger import generalisation_table, ledger_table
from pyro_vae.report.tables import show
from pyro_vae.runs.opening import open_run
from pyro_vae.swap import FAMILIES, swap_guides

CLASSICAL = ("mean-field", "full-rank", "flow")


def retrain(
    model: Any, guide: pv.Amortized, family: pv.Family, data: pv.Dataset, epochs: int
) -> pv.Amortized:
    """The guide with a head for another family, trained on the frozen model: Adam 5e-4, falling to
    0 by a cosine.
    """
    torch.manual_seed(0)
    other = pv.Amortized(family, deepcopy(guide.encoder))
    shared = family.num_shared(guide.family)
    with torch.no_grad():
        other.head.weight.mul_(0.1)  # what is new begins close to doing nothing
        other.head.weight[:shared] = guide.head.weight[:shared]
        other.head.bias[:shared] = guide.head.bias[:shared]

    recipe = pv.Recipe(
        epochs=epochs,
        optimizer=partial(torch.optim.Adam, lr=5e-4),
        schedule=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
        warmup_epochs=0,
        keep="last",
    )
    pv.fit(model, other, data, recipe)
    return other


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", default=str(Path(__file__).parent / "mnist_gated"))
    parser.add_argument("--num-data", type=int, default=1000)
    parser.add_argument("--num-particles", type=int, default=2000)
    parser.add_argument(
        "--draws", type=int, default=4, help="of each datum in a step of classical inference"
    )
    parser.add_argument(
        "--epochs", type=int, default=20, help="of the other amortized guides; 0 leaves them out"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    parts = open_run(options.run)
    model, guide = parts.model.requires_grad_(False), parts.guide
    if not isinstance(guide, pv.Amortized):
        parser.error(
            f"RUN: its guide is a {type(guide).__name__}, expected an Amortized or EncoderGuide"
        )

    results: dict[str, Any] = {"run": Path(options.run).name, "torch": torch.__version__}
    for name in ("num_particles", "draws", "epochs"):
        results[name] = getattr(options, name)
    method = pv.Importance(num_particles=options.num_particles)
    others, started = {}, time.monotonic()
    for name in CLASSICAL if options.epochs else ():
        family = FAMILIES[name](guide.family.dim)
        if family.name != guide.family.name:
            others[f"amortized {name}"] = retrain(model, guide, family, parts.data, options.epochs)
    results["seconds_training_others"] = round(time.monotonic() - started, 1)

    ledgers = {}
    for split in ("train", "test"):
        part = getattr(parts.data, split).take(options.num_data)
        names = ("amortized", "semi-amortized", *CLASSICAL)
        guides = swap_guides(model, guide, part.x, names, num_particles=options.draws) | others
        ledger = ledgers[split] = pv.gap_ledger(model, guides, part.x, method=method)
        show(ledger_table(f"{split}: {len(part)} data, {part.fingerprint}", ledger))
        facts = {
            "log_px": ledger.log_px.mean().item(),
            "estimator": ledger.estimator,
            "fingerprint": part.fingerprint,
        }
        results[split] = {"rows": list(ledger.rows())} | facts
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n")
    show(generalisation_table(ledgers["train"], ledgers["test"]))


if __name__ == "__main__":
    main()
