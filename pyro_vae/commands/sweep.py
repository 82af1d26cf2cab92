"""`pyro-vae sweep`: many trainings that differ in a few settings, a run folder for each, one table.

What is done is not done again: run once more, a sweep goes on from where it was stopped, tries the
cells that failed, and takes on those that the spec has more.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout
from jsonargparse import Namespace

from pyro_vae.arguments import check_choice, check_flag, check_integer, check_kind, refuse
from pyro_vae.commands import cell as cells
from pyro_vae.commands.options import add_device
from pyro_vae.data import Dataset
from pyro_vae.files.folders import making
from pyro_vae.files.texts import printable, write_text
from pyro_vae.inference.folder import is_trained
from pyro_vae.processes import count
from pyro_vae.report.tables import show
from pyro_vae.results import counted, with_error
from pyro_vae.runs.building import load_data
from pyro_vae.runs.card import is_run
from pyro_vae.runs.opening import check_trust
from pyro_vae.runs.settings import known_parser
from pyro_vae.runs.trust import split_trust
from pyro_vae.runs.usage import OneLineParser, WorkFailed
from pyro_vae.sweeps.cells import LOG, Cell, names_of, placed, read_cell
from pyro_vae.sweeps.machines import Work, on_this_machine
from pyro_vae.sweeps.slurm import Slurm, on_slurm
from pyro_vae.sweeps.spec import Spec, read_spec
from pyro_vae.sweeps.swept import SPEC, TABLE, Sweep, read_sweep
from pyro_vae.sweeps.table import table_of

_DATA = ("data", "data_root", "binarise", "values", "kinds", "context", "memory_map", "valid")


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = OneLineParser(
        description="Train what a file of YAML describes: a grid or a list of settings. Run again,"
        " it goes on where it was stopped, and tries what failed."
    )
    made.add_argument("spec", type=str, help="YAML file with train, grid or cells, evidence")
    made.add_argument(
        "--folder", type=str | None, default=None, help="of the sweep; runs/SPEC unless given"
    )
    made.add_argument("--jobs", type=int | None, default=None, help="cells at once; 1 unless given")
    made.add_argument("--slurm", type=Slurm | None, default=None, help="as jobs of Slurm")
    add_device(made)
    made.add_argument("--quiet", type=bool, default=False, help="no line for each cell")
    return made


def run(options: Namespace) -> None:
    """Train the cells, and show them as a table."""
    slurm = options.slurm
    found = sweep(
        options.spec,
        options.folder,
        jobs=options.jobs,
        slurm=None if slurm is None else Slurm(**vars(slurm)),
        device=options.device,
        trust=split_trust(options.trust),
        quiet=options.quiet,
    )
    show(table_of(found))
    place = printable(found.folder)
    print(f"the table is {place}/{TABLE}; a page of it: pyro-vae report {place}")
    if found.failed:
        name, reason = next(iter(found.failed.items()))
        more = f" (and {len(found.failed) - 1} more)" if len(found.failed) > 1 else ""
        raise WorkFailed(
            f"{name} failed: {reason}{more}; {printable(found.folder / name / LOG)} has it in full,"
            " and the same command tries it again"
        )


def sweep(
    spec: str | Path | Mapping[str, Any],
    folder: str | Path | None = None,
    *,
    jobs: int | None = None,
    slurm: Slurm | None = None,
    device: str = "auto",
    trust: Sequence[str] = (),
    quiet: bool = False,
) -> Sweep:
    """Train what a spec describes, a run folder for each cell; what is done already is not done
    again.

    Args:
        spec: a file of YAML, or the same as a dictionary, with `train` (settings of all cells),
            `grid` (lists of values, every combination of which is a cell) or `cells` (a list of
            settings) or both, and `evidence` (options of `pyro-vae evidence`, for each cell).
        folder: of the sweep; runs/NAME, by the name of the file, unless given.
        jobs: cells at once, in processes of their own that share the threads; 1 unless given, in
            this process.
        slurm: submit the cells as jobs of Slurm instead, at most `jobs` at once, and wait.
        device: where each is trained.
        trust: modules or classes of your own that the spec may name: their code is run.
        quiet: no line on stderr for each cell.

    Returns:
        A row for each cell. A cell that failed says why, and is tried again by the same call.

    Raises:
        ValueError: a spec that cannot be understood, settings that cannot be built, or a folder
            with trained cells that are not of the spec; nothing has been trained then.
        FileNotFoundError: no such file.

    Example:
        >>> from tempfile import mkdtemp
        >>> small = {"data": "digits", "epochs": 1, "model.hidden": [4], "guide.hidden": [4]}
        >>> spec = {"train": small, "grid": {"model.latent_dim": [2]}}
        >>> found = sweep(spec, mkdtemp(), quiet=True)
        >>> found.names, [row["state"] for row in found.rows]
        (('latent_dim',), ['done'])
    """
    if count() > 1:
        raise ValueError(
            f"sweep: got {count()} processes of torchrun, expected one: cells are trained in"
            " processes of its own, by --jobs or --slurm"
        )
    if jobs is not None:
        check_integer("jobs", jobs, 1)
    check_kind("slurm", slurm, Slurm | None, "a Slurm, or None")  # type: ignore[arg-type]
    check_choice("device", device, ("auto", "cpu", "cuda"))
    check_trust(trust)
    check_flag("quiet", quiet)
    if slurm is not None:
        slurm.check()
    wanted = read_spec(spec)
    where = _place(spec, folder)

    planned, gone = _planned(wanted, where, trust)
    bring = partial(cells.work, device=device, trust=tuple(trust))
    with making("folder", where), _alone(where):
        for cell in gone:
            shutil.rmtree(cell.folder)
        write_text(where / SPEC, _text(spec))
        known = [cell.now("done" if cell.state == "done" else "to do") for cell in planned]
        todo = [cell for cell in known if cell.state != "done"]
        if slurm is not None:
            ended = on_slurm(bring, todo, slurm, where / "slurm", jobs)
        else:
            work = Work(bring, _began, _lost)
            ended = on_this_machine(work, todo, jobs or 1, _threads(jobs or 1))
        _follow(ended, where, len(known) - len(todo), len(known), _quiet if quiet else _say)
    return read_sweep(where)


def _follow(
    ended: Generator[Cell, None, None],
    where: Path,
    before: int,
    total: int,
    say: Callable[[str], None],
) -> None:
    """Say how each cell ended, and write the table, whatever comes."""
    told = f"{printable(where)}: {counted(total, 'cells')}"
    say(f"{told}, {before} done before" if before else told)
    try:
        with closing(ended):  # which ends the workers
            for number, cell in enumerate(ended, start=before + 1):
                say(f"[{number}/{total}] {_after(read_sweep(where), cell)}")
    finally:
        read_sweep(where).write()


def _place(spec: Any, folder: str | Path | None) -> Path:
    """The sweep's folder."""
    if folder is None:
        if isinstance(spec, Mapping):
            raise ValueError("folder: got none, expected one for a spec that is no file")
        folder = Path("runs") / Path(spec).stem
    if not isinstance(folder, str | Path) or not str(folder):
        refuse("folder", folder, "a path")
    path = Path(folder)
    if is_run(path):
        raise ValueError(
            f"folder: {printable(path)} holds a run, expected a new folder, or that of a sweep"
        )
    return path


def _text(spec: str | Path | Mapping[str, Any]) -> str:
    """The spec as a file has it."""
    if isinstance(spec, Mapping):
        return yaml.safe_dump(dict(spec), sort_keys=False)
    return Path(spec).read_text()


def _planned(wanted: Spec, where: Path, trust: Sequence[str]) -> tuple[list[Cell], list[Cell]]:
    """The cells of the spec as they stand in the folder, each looked at before any is trained; and
    those that the folder has besides.
    """
    names = names_of(wanted)
    scored = None
    if wanted.evidence is not None:
        scored = cells.scoring(wanted.evidence, where, f"{wanted.source}: evidence", trust)
    settings = [
        cells.understood(each, f"{wanted.source}: {name}", trust)
        for name, each in zip(names, wanted.cells, strict=True)
    ]
    keys = [known_parser().dump(each) for each in settings]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            other = names[keys.index(key)]
            wanted.refuse(f"the cells {other} and {names[place]} are the same, expected each once")

    def key_of(kept: Mapping[str, Any]) -> str:
        same = [place for place, each in enumerate(wanted.cells) if each == kept]
        if same:
            return keys[same[0]]
        return known_parser().dump(cells.understood(kept, printable(where), trust))

    planned, gone = placed(wanted, where, keys, key_of)
    data, of = None, ""
    with torch.random.fork_rng(devices=[]):
        for name, cell, each in zip(names, planned, settings, strict=True):
            if is_trained(cell.folder):
                continue
            asked = str([each[setting] for setting in _DATA])
            if data is None or asked != of:
                data, of = _loaded(each, f"{wanted.source}: {name}"), asked
            cells.check(each, scored, data, f"{wanted.source}: {name}", trust)
    return planned, gone


def _loaded(settings: Namespace, where: str) -> Dataset:
    try:
        return load_data(settings)
    except (ValueError, OSError) as error:
        raise ValueError(f"{where}: {error}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Have the sweep's folder for oneself."""
    lock = FileLock(str(folder / ".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"folder: {printable(folder)} is being swept by another process: wait until it has"
            " ended, or choose another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _began(cell: Cell) -> bool:
    return read_cell(cell.folder).state == "begun"


def _lost(cell: Cell) -> Cell:
    return cell.now("failed", "its process was killed, as where memory runs out")


def _threads(jobs: int) -> int:
    """Of each process, so that together they have as many as this one."""
    return max(1, torch.get_num_threads() // jobs)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _quiet(line: str) -> None:
    """Say nothing."""


def _after(found: Sweep, cell: Cell) -> str:
    """How a cell ended, in a line."""
    if cell.state == "failed":
        return f"{printable(cell.name)}: failed: {cell.reason}"
    row = next(row for row in found.rows if row["cell"] == cell.name)
    told = [f"trained in {row['seconds']:.1f} s"]
    if math.isfinite(row["valid_elbo"]):
        told.append(f"validation ELBO {row['valid_elbo']:.2f}")
    if math.isfinite(row["log_px"]):
        told.append(f"log p(x) {with_error(row['log_px'], row['log_px_error'])}")
    return f"{printable(cell.name)}: {', '.join(told)}"
