"""`pyro-vae compare`: swap the guide on the frozen model, and measure what each costs, in nats and
in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from pyro_vae.commands.options import choose, look_at_latent, run_parser
from pyro_vae.data import Split
from pyro_vae.diagnostics import Ledger, gap_ledger
from pyro_vae.evidence import Annealed, Importance, log_evidence
from pyro_vae.files.atomic import staged
from pyro_vae.files.folders import own_folder
from pyro_vae.files.texts import write_json
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.progress import progress_bar
from pyro_vae.report.ledger import ENDS, generalisation_table, ledger_table, write_ledger
from pyro_vae.report.tables import show
from pyro_vae.runs.figures import make_way, measured_by
from pyro_vae.runs.opening import Parts, open_from
from pyro_vae.runs.usage import OneLineParser
from pyro_vae.swap import GUIDES, check_names, swap_guides


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Swap the guide on the frozen model, and measure what each costs; writes RUN/ledger."
    )
    made.add_argument(
        "--guides", type=str, default=",".join(GUIDES), help="names with commas between them"
    )
    made.add_argument(
        "--split", type=Literal["train", "test", "both"], default="both", help="part of the data"
    )
    made.add_argument(
        "--num_data",
        type=int | None,
        default=None,
        help="first rows of each part, 100 unless given",
    )
    made.add_argument(
        "--num_particles", type=int, default=5000, help="particles per datum of the estimates"
    )
    made.add_argument(
        "--draws", type=int, default=1, help="of each datum in a step of classical inference"
    )
    made.add_argument(
        "--num_temperatures", type=int, default=0, help="of annealing, for log p(x); 0 for none"
    )
    made.add_argument("--steps", type=int, default=100, help="of the semi-amortized guide")
    made.add_argument("--seed", type=int, default=0, help="of the guides' noise and the particles")
    made.add_argument("--out", type=str | None, default=None, help="folder instead of RUN/ledger")
    return made


def run(options: Namespace) -> None:
    """Swap the run's guide for others on its frozen model, and write the ledger of their costs."""
    parts = open_from(options)
    splits = ["train", "test"] if options.split == "both" else [options.split]
    data = {name: choose(parts, name, options.num_data, usual=100) for name in splits}
    names = [name.strip() for name in options.guides.split(",")]

    least = {"num_particles": 2, "draws": 1, "steps": 1, "num_temperatures": 0, "seed": 0}
    if options.num_temperatures == 1:
        raise ValueError("num_temperatures: got 1, expected 0 for no annealing, or at least 2")
    # before the work, not after it
    check_numbers({name: (options[name], number) for name, number in least.items()})
    check_names(parts.model, parts.guide, names)

    out = Path(options.out) if options.out else Path(options.run) / "ledger"
    with own_folder("out", out):
        _compare(options, parts, data, names, out)


def _compare(
    options: Namespace, parts: Parts, data: dict[str, Split], names: list[str], out: Path
) -> None:
    ledgers: dict[str, Ledger] = {}
    written = []
    for split, part in data.items():
        ledger = ledgers[split] = _ledger(options, parts, split, part, names)
        written += _write(options, parts, split, part, ledger, out)

        _, use = look_at_latent(parts.model, parts.guide, part)
        print("; ".join(filter(None, [f"{options.run}, {split}: {use}", ledger.estimate.caveat])))
        title = f"{options.run}: {len(part)} {split} data, {part.fingerprint}"
        show(ledger_table(title, ledger))

    if len(ledgers) == 2:
        show(generalisation_table(*ledgers.values()))
    print("written: " + ", ".join(map(str, written)))


def _ledger(options: Namespace, parts: Parts, split: str, part: Split, names: list[str]) -> Ledger:
    """What each of the guides loses on a part of the data."""
    model, guide, x, index = parts.model, parts.guide, part.x, part.numbers()
    with progress_bar(f"{split}: fitting the guides") as progress:
        guides = swap_guides(
            model,
            guide,
            x,
            names,
            index,
            num_steps=options.steps,
            num_particles=options.draws,
            seed=options.seed,
            progress=progress,
        )

    estimates = {}
    if options.num_temperatures:
        annealed = Annealed(options.num_temperatures, seed=options.seed)
        with progress_bar(f"{split}: annealing") as progress:
            estimates["annealing"] = log_evidence(
                model, guide, x, annealed, index=index, progress=progress
            )

    method = Importance(options.num_particles, seed=options.seed)
    with progress_bar(f"{split}: scoring the guides") as progress:
        return gap_ledger(
            model, guides, x, index, method=method, estimates=estimates, progress=progress
        )


def _write(
    options: Namespace, parts: Parts, split: str, part: Split, ledger: Ledger, out: Path
) -> list[Path]:
    """Write a part's ledger and what it was measured with; the files of the ledger."""
    settings = measured_by(options, parts, part) | {"split": split}
    known, others = out / f"{split}.json", [out / f"{split}{end}" for end in ENDS]
    with staged(out, partial(make_way, known, others, settings)) as new:
        write_ledger(ledger, new, split)
        write_json(new / known.name, {"settings": settings})
    return others
