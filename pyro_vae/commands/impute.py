"""`pyro-vae impute`: what is missing of a file's data, by the model and guide of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import Namespace
from torch import Tensor

from pyro_vae.commands.options import run_parser
from pyro_vae.commands.showing import rows_of
from pyro_vae.data import Split
from pyro_vae.data.arrays import judged
from pyro_vae.data.binarise import BINARY, Binarise
from pyro_vae.data.files import read_path
from pyro_vae.files.atomic import check_replaceable, write_atomically
from pyro_vae.files.folders import making
from pyro_vae.latent import Imputation, impute
from pyro_vae.programs.protocols import HasRules, offers
from pyro_vae.progress import progress_bar
from pyro_vae.report.images import save_rows
from pyro_vae.runs.building import Parts
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser

_OUT = (".npz", ".csv")


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Draw what is missing of a file's data given the rest: a mean, a standard deviation and an"
        " interval of each missing value, and draws of it."
    )
    made.add_argument("file", type=str, help="data of the run's kind, NaN where one is missing")
    made.add_argument("--num_particles", type=int, default=1000, help="weighed for each datum")
    made.add_argument("--num_draws", type=int, default=10, help="of each missing value")
    made.add_argument("--level", type=float, default=0.95, help="of the intervals")
    made.add_argument("--seed", type=int, default=0, help="of all of them")
    made.add_argument(
        "--out",
        type=str | None,
        default=None,
        help="file instead of RUN/imputed.npz: the data completed, and the draws; a .csv has a row"
        " for each missing value",
    )
    return made


def run(options: Namespace) -> None:
    """Impute, and write."""
    path = Path(options.out) if options.out else Path(options.run) / "imputed.npz"
    if path.suffix.lower() not in _OUT:
        raise ValueError(f"out: got {str(path)!r}, expected a .npz or .csv file")
    check_replaceable("out", path)

    parts = open_from(options, need_data=False)
    x = _read(options.file, parts)
    with progress_bar("imputing") as progress:
        found = impute(
            parts.model,
            parts.guide,
            x,
            num_particles=options.num_particles,
            num_draws=options.num_draws,
            level=options.level,
            seed=options.seed,
            progress=progress,
        )
    with making("out", path.parent):
        _write(found, path)
    print(path)
    print(found)


def _read(file: str, parts: Parts) -> Tensor:
    """The data of a file `(N, *shape)`, drawn by the rule of the model's likelihood where they are
    grey.
    """
    arrays = read_path(Path(file))
    if list(arrays) != ["all"]:
        raise ValueError(f"file: {file} has the arrays {sorted(arrays)}, expected one array")
    rows = judged(arrays, file).parts["all"]
    if tuple(rows.shape[1:]) != tuple(parts.shape):
        raise ValueError(
            f"file: {file} has rows of shape {tuple(rows.shape[1:])}, expected {parts.shape},"
            " the run's"
        )

    rules: Sequence[Binarise] = parts.model.rules if offers(parts.model, HasRules) else ()
    rule: Binarise = rules[0] if rules and rules[0] in BINARY else "none"
    parameter = next(parts.model.parameters())
    return Split("file", rows, rule).x.to(parameter)


def _write(found: Imputation, path: Path) -> None:
    if path.suffix.lower() == ".csv":
        save_rows(rows_of(found), path)
        return

    arrays = {"x": found.completed(), "draws": found.drawn(), "ess": found.ess}
    arrays |= {"missing": found.x.isnan(), "pareto_k": found.pareto_k}
    kept: dict[str, Any] = {name: values.numpy() for name, values in arrays.items()}
    write_atomically(path, lambda to: np.savez(to, **kept))
