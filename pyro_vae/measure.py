"""The commands that measure a run, `pyro-vae evidence` and `pyro-vae compare`: their options, and what they do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.progress import Progress
from rich.status import Status

from pyro_vae.calls import first_line
from pyro_vae.data import Split
from pyro_vae.diagnostics import Units, gap_ledger, latent_units
from pyro_vae.diagnostics.collapse import use_of_latent, warn_unused
from pyro_vae.evidence import Engine, Evidence, Method, Precision, log_evidence
from pyro_vae.evidence.checks import check_numbers
from pyro_vae.figures import make_way, own_folder, settings_of
from pyro_vae.files import check_replaceable, staged
from pyro_vae.inference.folder import making
from pyro_vae.inference.outcome import bits_per_dim
from pyro_vae.report.intervals import full_verdict, interval_text, write_intervals
from pyro_vae.report.ledger import ENDS, generalisation_table, ledger_table, write_ledger
from pyro_vae.report.tables import evidence_table, show
from pyro_vae.runs import Parts, open_from
from pyro_vae.swap import GUIDES, check_names, swap_guides
from pyro_vae.texts import write_json
from pyro_vae.traces import Program


def add_evidence(parser: ArgumentParser) -> ArgumentParser:
    """Options of `evidence`."""
    parser.add_argument("--method", type=Method, default="importance", help="estimator; best chooses, and says why")
    add_data(parser)
    parser.add_argument("--num_particles", type=int, default=5000, help="of importance sampling, per datum")
    parser.add_argument("--defensive", type=float, default=0.0, help="share of the particles from the prior")
    parser.add_argument(
        "--target_error", type=float | None, default=None, help="more particles until each error is so small"
    )
    parser.add_argument("--start", type=Literal["guide", "prior"], default="guide", help="where annealing starts")
    parser.add_argument("--num_temperatures", type=int, default=1000, help="of annealing")
    parser.add_argument("--num_chains", type=int, default=16, help="of annealing, per datum")
    parser.add_argument("--num_leapfrog", type=int, default=5, help="steps of a trajectory of annealing")
    parser.add_argument(
        "--budget", type=float | None, default=None, help="seconds, about: fewer temperatures, or more particles"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the particles and chains")
    parser.add_argument(
        "--max_bytes", type=int | None, default=None, help="memory for importance sampling's largest tensors"
    )
    parser.add_argument("--engine", type=Engine, default="auto", help="run the programs compiled or by Pyro")
    parser.add_argument("--precision", type=Precision, default="float32", help="bfloat16 is faster and biased")
    parser.add_argument("--out", type=str | None, default=None, help="JSON file instead of RUN/evidence.json")
    return parser


def add_data(parser: ArgumentParser, usual: str = "all") -> None:
    """The options `split` and `num_data`."""
    parser.add_argument("--split", type=Literal["train", "valid", "test"], default="test", help="part of the data")
    parser.add_argument("--num_data", type=int | None, default=None, help=f"first rows only; {usual} unless given")


_OPTIONS = {
    "importance": ("num_particles", "defensive", "target_error", "budget", "seed", "max_bytes", "engine", "precision"),
    "annealed": ("start", "num_temperatures", "num_chains", "num_leapfrog", "budget", "seed", "engine"),
    "quadrature": (),
    "exact": (),
    "best": ("num_particles", "num_temperatures", "budget", "seed", "engine"),
}


def evidence(options: Namespace) -> None:
    """Estimate log p(x) of held-out data and write it, for all data together and for each; earlier figures are kept."""
    out = Path(options.out) if options.out else Path(options.run) / "evidence.json"
    if out.suffix == ".csv":
        raise ValueError(f"out: got {out}, expected a JSON file: the row of each datum goes to a CSV beside it")
    for path in (out, out.with_suffix(".csv")):
        check_replaceable("out", path)
    parts = open_from(options)
    with making("out", out.parent):  # before the work, not after it
        _evidence(options, parts, out)


def _evidence(options: Namespace, parts: Parts, out: Path) -> None:
    split = choose(parts, options.split, options.num_data)
    chosen = {name: options[name] for name in _OPTIONS[options.method] if options[name] is not None}
    settings = settings_of({"method": options.method, "split": options.split} | chosen, parts, split)
    with ExitStack() as stack:
        if options.method != "exact":
            chosen["progress"] = _progress(stack, len(split))
        estimate = log_evidence(parts.model, parts.guide, split.x, split.numbers(), method=options.method, **chosen)
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
        show(evidence_table(f"{title}, {estimate.evaluations:.0f} particles", [(name, summary, estimate.seconds)]))
    print(f"{title}: log p(x) {interval_text(estimate)}")
    print(verdict)
    print(f"data fingerprint {split.fingerprint}; written to {out} and {out.with_suffix('.csv')}")


def look_at_latent(model: Program, guide: Program, split: Split) -> tuple[Units | None, str]:
    """The latent units on these data, and how much of them is used, in the words with which a verdict begins.

    A latent that is not used is a warning too. None where no latent belongs to a datum, or a program does not say.
    """
    if len(split) < 2:
        return None, "whether the latent is used is not to be told from one datum"
    try:
        units = latent_units(model, guide, split.x, split.numbers())
    except Exception as error:  # whatever a user's program raises, or a distribution does not know
        return None, f"whether the latent is used is not known: {first_line(error)}"
    if units is None:
        return None, ""
    warn_unused(units.num_active, len(units.names))
    return units, use_of_latent(units.num_active, len(units.names))


def add_compare(parser: ArgumentParser) -> ArgumentParser:
    """Options of `compare`."""
    parser.add_argument("--guides", type=str, default=",".join(GUIDES), help="names with commas between them")
    parser.add_argument("--split", type=Literal["train", "test", "both"], default="both", help="part of the data")
    parser.add_argument("--num_data", type=int | None, default=None, help="first rows of each part, 100 unless given")
    parser.add_argument("--num_particles", type=int, default=5000, help="particles per datum of the estimates")
    parser.add_argument("--draws", type=int, default=1, help="of each datum in a step of classical inference")
    parser.add_argument("--num_temperatures", type=int, default=0, help="of annealing, for log p(x); 0 for none")
    parser.add_argument("--steps", type=int, default=100, help="of the semi-amortized guide")
    parser.add_argument("--seed", type=int, default=0, help="of the guides' noise and the particles")
    parser.add_argument("--out", type=str | None, default=None, help="folder instead of RUN/ledger")
    return parser


def compare(options: Namespace) -> None:
    """Swap the run's guide for others on its frozen model, and write the ledger of what each one costs."""
    parts = open_from(options)
    splits = ["train", "test"] if options.split == "both" else [options.split]
    data = {name: choose(parts, name, options.num_data, usual=100) for name in splits}
    names = [name.strip() for name in options.guides.split(",")]
    least = {"num_particles": 2, "draws": 1, "steps": 1, "num_temperatures": 0, "seed": 0}
    if options.num_temperatures == 1:
        raise ValueError("num_temperatures: got 1, expected 0 for no annealing, or at least 2")
    check_numbers({name: (options[name], number) for name, number in least.items()})  # before the work, not after it
    check_names(parts.model, parts.guide, names)
    out = Path(options.out) if options.out else Path(options.run) / "ledger"
    with own_folder("out", out):
        _compare(options, parts, data, names, out)


def _compare(options: Namespace, parts: Parts, data: dict[str, Split], names: list[str], out: Path) -> None:
    ledgers, written = {}, []
    for split, part in data.items():
        with Console(stderr=True).status(f"{split}: fitting the guides") as status:
            guides = swap_guides(
                parts.model,
                parts.guide,
                part.x,
                names,
                part.numbers(),
                num_steps=options.steps,
                num_particles=options.draws,
                seed=options.seed,
                progress=partial(_show, status, split),
            )
            _show(status, split, "log p(x)")
            estimates = {}
            if options.num_temperatures:
                numbers = {"num_temperatures": options.num_temperatures, "seed": options.seed}
                estimates["annealing"] = log_evidence(
                    parts.model, parts.guide, part.x, part.numbers(), method="annealed", **numbers
                )
            scores = {"num_particles": options.num_particles, "seed": options.seed}
            ledgers[split] = gap_ledger(parts.model, guides, part.x, part.numbers(), estimates=estimates, **scores)
        settings = settings_of(options, parts, part) | {"split": split}
        known, others = out / f"{split}.json", [out / f"{split}{end}" for end in ENDS]
        with staged(out, partial(make_way, known, others, settings)) as new:
            write_ledger(ledgers[split], new, split)
            write_json(new / known.name, {"settings": settings})
        written += others
        _, use = look_at_latent(parts.model, parts.guide, part)
        print("; ".join(filter(None, [f"{options.run}, {split}: {use}", ledgers[split].estimate.caveat])))
        show(ledger_table(f"{options.run}: {len(part)} {split} data, {part.fingerprint}", ledgers[split]))
    if len(ledgers) == 2:
        show(generalisation_table(*ledgers.values()))
    print("written: " + ", ".join(map(str, written)))


def _show(status: Status, split: str, what: str) -> None:
    status.update(f"{split}: {what}")


def choose(parts: Parts, name: str, num_data: int | None, usual: int | None = None) -> Split:
    """The first rows of a split of a run's data; where no number is given the usual one, if there are as many, or all."""
    split = getattr(parts.data, name)
    if split is None:
        raise ValueError(f"split: the data have no {name!r} split, expected one of the others")
    if num_data is None:
        return split if usual is None else split.take(min(usual, len(split)))
    if not 1 <= num_data <= len(split):
        raise ValueError(f"num_data: got {num_data}, expected 1 to {len(split)}, the {name} data")
    return split.take(num_data)


def _progress(stack: ExitStack, total: int) -> Callable[[int], None] | None:
    """A bar on stderr that counts data, where stderr is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    bar = stack.enter_context(Progress(console=console, transient=True))
    task = bar.add_task("log p(x)", total=total)
    return lambda done: bar.advance(task, done)
