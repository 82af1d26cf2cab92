"""`pyro-vae impute`: what is missing of a file's data, by the model and guide of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import Namespace

from pyro_vae.commands.filling import Holed, completed, read_holed, with_draws, with_names
from pyro_vae.commands.options import run_parser
from pyro_vae.commands.showing import rows_of
from pyro_vae.data.arrays import Values
from pyro_vae.files.atomic import check_replaceable, write_atomically
from pyro_vae.files.folders import making
from pyro_vae.files.texts import write_text
from pyro_vae.latent import Imputation, impute
from pyro_vae.progress import progress_bar
from pyro_vae.report.images import save_rows
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser

_OUT = (".npz", ".csv")


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Draw what is missing of a file's data given the rest: a mean, a standard deviation and an"
        " interval of each missing value, and draws of it."
    )
    made.add_argument(
        "file",
        type=str,
        help="data of the run's kind, NaN where one is missing, or empty cells of a table",
    )
    made.add_argument(
        "--values",
        type=Values | None,
        default=None,
        help="what the numbers of arrays are; what was said of the run's data unless given",
    )
    made.add_argument("--num_particles", type=int, default=1000, help="weighed for each datum")
    made.add_argument("--num_draws", type=int, default=10, help="of each missing value")
    made.add_argument("--level", type=float, default=0.95, help="of the intervals")
    made.add_argument("--seed", type=int, default=0, help="of all of them")
    made.add_argument(
        "--out",
        type=str | None,
        default=None,
        help="of arrays, instead of RUN/imputed.npz, the data completed and the draws, or a .csv"
        " with a row for each missing value; of a table, instead of RUN/imputed.csv, the table"
        " completed, beside which NAME_values.csv and NAME_draws.csv have these",
    )
    return made


def run(options: Namespace) -> None:
    """Impute, and write."""
    parts = open_from(options, need_data=False)
    holed = read_holed(options.file, parts, options["values"])
    paths = _places(options, holed)

    with progress_bar("imputing") as progress:
        found = impute(
            parts.model,
            parts.guide,
            holed.x,
            num_particles=options.num_particles,
            num_draws=options.num_draws,
            level=options.level,
            seed=options.seed,
            progress=progress,
        )
    with making("out", paths[0].parent):
        if holed.frame is None:
            _write(found, paths[0])
        else:
            _write_tables(found, holed, paths)
    print(", ".join(map(str, paths)))
    print(found)


def _places(options: Namespace, holed: Holed) -> list[Path]:
    """Where the results go; a ValueError, before the work, where they cannot go there."""
    is_table = holed.frame is not None
    usual = Path(options.run) / f"imputed{'.csv' if is_table else '.npz'}"
    path = Path(options.out) if options.out else usual
    allowed = _OUT[1:] if is_table else _OUT
    if path.suffix.lower() not in allowed:
        raise ValueError(f"out: got {str(path)!r}, expected a {' or '.join(allowed)} file")

    ends = ("", "_values", "_draws") if is_table else ("",)
    paths = [path.with_name(f"{path.stem}{end}{path.suffix}") for end in ends]
    for each in paths:
        check_replaceable("out", each)
    if is_table and Path(options.file).resolve() in [each.resolve() for each in paths]:
        raise ValueError(f"out: got {str(path)!r}, expected another file than the data")
    return paths


def _write(found: Imputation, path: Path) -> None:
    if path.suffix.lower() == ".csv":
        save_rows(rows_of(found), path)
        return

    arrays = {"x": found.completed(), "draws": found.drawn(), "ess": found.ess}
    arrays |= {"missing": found.x.isnan(), "pareto_k": found.pareto_k}
    kept: Mapping[str, Any] = {name: values.numpy() for name, values in arrays.items()}
    write_atomically(path, lambda to: np.savez(to, **kept))


def _write_tables(found: Imputation, holed: Holed, paths: Sequence[Path]) -> None:
    """The table completed, a row for each missing value, and the table with each draw."""
    save_rows(with_names(found, holed), paths[1])
    for path, frame in ((paths[2], with_draws(found, holed)), (paths[0], completed(found, holed))):
        write_text(path, frame.to_csv(index=False, lineterminator="\n"))
