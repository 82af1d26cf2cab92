"""`pyro-vae evidence`: estimate log p(x) of held-out data, for all together and for each; earlier
figures are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace
from rich.console import Console
from rich.progress import Progress

from pyro_vae.commands.options import add_data, choose, look_at_latent, run_parser
from pyro_vae.evidence import Engine, Evidence, Method, Precision, log_evidence
from pyro_vae.files.atomic import check_replaceable, staged
from pyro_vae.files.folders import making
from pyro_vae.files.texts import write_json
from pyro_vae.inference.outcome import bits_per_dim
from pyro_vae.report.intervals import full_verdict, interval_text, write_intervals
from pyro_vae.report.tables import evidence_table, show
from pyro_vae.runs.figures import make_way, settings_of
from pyro_vae.runs.opening import Parts, open_from
from pyro_vae.runs.usage import OneLineParser

HELP = "estimate log p(x) of held-out data"


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Estimate log p(x) of held-out data; writes evidence.json and, for"
        " each datum, evidence.csv."
    )
    made.add_argument(
        "--method", type=Method, default="importance", help="estimator; best chooses, and says why"
    )
    add_data(made)
    made.add_argument(
        "--num_particles", type=int, default=5000, help="of importance sampling, per datum"
    )
    made.add_argument(
        "--defensive", type=float, default=0.0, help="share of the particles from the prior"
    )
    made.add_argument(
        "--target_error",
        type=float | None,
        default=None,
        help="more particles until each error is so small",
    )
    made.add_argument(
        "--start", type=Literal["guide", "prior"], default="guide", help="where annealing starts"
    )
    made.add_argument("--num_temperatures", type=int, default=1000, help="of annealing")
    made.add_argument("--num_chains", type=int, default=16, help="of annealing, per datum")
    made.add_argument(
        "--num_leapfrog", type=int, default=5, help="steps of a trajectory of annealing"
    )
    made.add_argument(
        "--budget",
        type=float | None,
        default=None,
        help="seconds, about: fewer temperatures, or more particles",
    )
    made.add_argument("--seed", type=int, default=0, help="of the particles and chains")
    made.add_argument(
        "--max_bytes",
        type=int | None,
        default=None,
        help="memory for importance sampling's largest tensors",
    )
    made.add_argument(
        "--engine", type=Engine, default="auto", help="run the programs compiled or by Pyro"
    )
    made.add_argument(
        "--precision", type=Precision, default="float32", help="bfloat16 is faster and biased"
    )
    made.add_argument(
        "--out", type=str | None, default=None, help="JSON file instead of RUN/evidence.json"
    )
    return made


_OPTIONS = {
    "importance": (
        "num_particles",
        "defensive",
        "target_error",
        "budget",
        "seed",
        "max_bytes",
        "engine",
        "precision",
    ),
    "annealed": (
        "start",
        "num_temperatures",
        "num_chains",
        "num_leapfrog",
        "budget",
        "seed",
        "engine",
    ),
    "quadrature": (),
    "exact": (),
    "best": ("num_particles", "num_temperatures", "budget", "seed", "engine"),
}


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
    chosen = {name: options[name] for name in _OPTIONS[options.method] if options[name] is not None}
    settings = settings_of(
        {"method": options.method, "split": options.split} | chosen, parts, split
    )
    with ExitStack() as stack:
        if options.method != "exact":
            chosen["progress"] = _progress(stack, len(split))
        estimate = log_evidence(
            parts.model, parts.guide, split.x, split.numbers(), method=options.method, **chosen
        )
    summary = estimate.summary()
    units, use = look_at_latent(parts.model, parts.guide, split)
    verdict = full_verdict(estimate, use)
    assert parts.data is not None
    facts = {
        "split": options.split,
        "precision": chosen.get("precision", "float32"),
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
    if isinstance(estimate, Evidence):
        name = type(parts.guide).__name__
        show(
            evidence_table(
                f"{title}, {estimate.evaluations:.0f} particles",
                [(name, summary, estimate.seconds)],
            )
        )
    print(f"{title}: log p(x) {interval_text(estimate)}")
    print(verdict)
    print(f"data fingerprint {split.fingerprint}; written to {out} and {out.with_suffix('.csv')}")


def _progress(stack: ExitStack, total: int) -> Callable[[int], None] | None:
    """A bar on stderr that counts data, where stderr is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    bar = stack.enter_context(Progress(console=console, transient=True))
    task = bar.add_task("log p(x)", total=total)
    return lambda done: bar.advance(task, done)
