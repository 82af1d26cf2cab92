"""What does a guide cost on a trained run? The gap ledger on the same model and data, train and test.

The run's own amortized guide, its output after 100 steps of optimisation for each datum, and classical inference to
convergence in the family of the guide (mean-field), full-rank and a spline flow, started at the encoder's answer, and the
flow at the full-rank optimum.

Run:  PYRO_VAE_DATA=... python experiments/gaps.py [RUN] [--num-data N] [--num-particles S] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

import pyro_vae as pv
from pyro_vae.report.tables import ledger_table, show
from pyro_vae.runs import open_run

STEPS = 100


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default=str(Path(__file__).parent / "mnist_gated"))
    parser.add_argument("--num-data", type=int, default=1000)
    parser.add_argument("--num-particles", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1, help="of each datum in a step of local inference")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    parts = open_run(options.run)
    assert parts.data is not None
    model, amortized = parts.model, parts.guide
    if not isinstance(amortized, pv.Amortized):
        parser.error(f"RUN: its guide is a {type(amortized).__name__}, expected an Amortized or EncoderGuide")
    dim = amortized.family.dim
    results: dict[str, object] = {
        "run": Path(options.run).name,
        "num_particles": options.num_particles,
        "torch": torch.__version__,
    }
    for split in ("train", "test"):
        part = getattr(parts.data, split).take(options.num_data)
        guides: dict[str, Any] = {"amortized": amortized}
        guides["stepped"] = pv.SemiAmortized(amortized, model, STEPS)
        seconds = {}
        for name, family in {"mean-field": None, "full-rank": pv.FullRank(dim), "flow": pv.SplineFlow(dim)}.items():
            start = pv.Local.started_at(amortized, part.x, family)
            if name == "flow":  # from the optimum of the family within it
                rows = guides["full-rank"].table.detach()
                start.table.data[:, : rows.shape[1]] = rows
            started = time.monotonic()
            guides[name] = pv.fit_local(model, start, part.x, num_particles=options.draws)
            seconds[name] = round(time.monotonic() - started, 1)
        ledger = pv.gap_ledger(model, guides, part.x, num_particles=options.num_particles)
        show(ledger_table(f"{split}: {options.num_data} data", ledger))
        print(f"seconds of local inference: {seconds}; data fingerprint {part.fingerprint}")
        results[split] = {
            "rows": list(ledger.rows()),
            "log_px": ledger.log_px.mean().item(),
            "estimator": ledger.estimator,
            "seconds": seconds,
            "fingerprint": part.fingerprint,
        }
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
