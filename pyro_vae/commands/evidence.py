"""`pyro-vae evidence`: estimate log p(x) of held-out data, for all together and for each; earlier
figures are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from jsonargparse import Namespace

from pyro_vae.commands.options import add_data, choose, look_at_latent, run_parser
from pyro_vae.evidence import (
    Annealed,
    Best,
    Estimate,
    Importance,
    ImportanceEstimate,
    Laplace,
    Method,
    Quadrature,
    Refined,
    log_evidence,
)
from pyro_vae.files.atomic import check_replaceable, staged
from pyro_vae.files.folders import making
from pyro_vae.files.texts import write_json
from pyro_vae.inference.outcome import bits_per_dim
from pyro_vae.programs.given import inside
from pyro_vae.progress import progress_bar
from pyro_vae.report.intervals import full_verdict, interval_text, write_intervals
from pyro_vae.report.tables import evidence_table, show
from pyro_vae.runs.figures import make_way, measured_by
from pyro_vae.runs.opening import Parts, open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options; `--method.help Annealed` lists those of a method."""
    made = run_parser(
        "Estimate log p(x) of held-out data; writes evidence.json and, for each datum,"
        " evidence.csv."
    )
    made.add_argument(
        "--method",
        type=Method,
        help="Importance, Refined, Annealed, Laplace, Quadrature, Exact, or Best, which takes"
        " what each datum needs",
    )
    add_data(made)
    made.add_argument(
        "--out", type=str | None, default=None, help="JSON file instead of RUN/evidence.json"
    )
    made.set_defaults({"method": {"class_path": "pyro_vae.Importance"}})

    methods = (Importance, Refined, Annealed, Laplace, Quadrature, Best)
    made.nested = [f"--method.{option.name}" for known in methods for option in fields(known)]
    return made


def run(options: Namespace) -> None:
    """Estimate log p(x) of held-out data and write it, for all data together and for each; earlier
    figures are kept.
    """
    out = Path(options.out) if options.out else Path(options.run) / "evidence.json"
    if out.suffix == ".csv":
        raise ValueError(
            f"out: got {out}, expected a JSON file: the row of each datum goes to a CSV beside it"
        )
    for path in (out, out.with_suffix(".csv")):
        check_replaceable("out", path)

    parts = open_from(options)
    with making("out", out.parent):  # before the work, not after it
        _evidence(options, parts, out)


def _evidence(options: Namespace, parts: Parts, out: Path) -> None:
    split = choose(parts, options.split, options.num_data)
    method: Method[Estimate] = parser(()).instantiate(options).method
    chosen = {"method": type(method).__name__, "split": options.split}
    settings = measured_by(chosen | asdict(method), parts, split)  # type: ignore[call-overload]

    with progress_bar("log p(x)") as progress:
        numbers = split.numbers()
        estimate = log_evidence(
            parts.model, parts.guide, split.x, method, index=numbers, progress=progress
        )

    summary = estimate.summary()
    units, use = look_at_latent(parts.model, parts.guide, split)
    verdict = full_verdict(estimate, use)
    facts = {
        "split": options.split,
        "precision": getattr(method, "precision", "float32"),
        "fingerprint": split.fingerprint,
        "active_units": None if units is None else units.num_active,
        "num_units": None if units is None else len(units.names),
        "verdict": verdict,
        "log_px_bits_per_dim": bits_per_dim(parts.model, parts.data, estimate.mean),
    }

    table = out.with_suffix(".csv")
    with staged(out.parent, lambda: make_way(out, [table], settings)) as new:
        write_intervals(estimate, new / table.name)
        write_json(new / out.name, summary | facts | {"settings": settings})

    title = f"{options.run}: {len(split)} {options.split} data"
    if isinstance(estimate, ImportanceEstimate):
        proposal = type(inside(parts.guide) if method.uses_guide else method).__name__
        rows = [(proposal, summary, estimate.seconds)]
        show(evidence_table(f"{title}, {estimate.evaluations:.0f} particles", rows))
    print(f"{title}: log p(x) {interval_text(estimate)}")
    print(verdict)
    print(f"data fingerprint {split.fingerprint}; written to {out} and {out.with_suffix('.csv')}")
