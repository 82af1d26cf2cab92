"""The cells of a sweep, a run folder for each, and what each has come to.

    SWEEP/sweep.yaml                       the spec
    SWEEP/sweep.csv                        a row for each cell
    SWEEP/latent_dim=2,seed=0/             a run, as `pyro-vae train` makes it
    SWEEP/latent_dim=2,seed=0/cell.json    what was asked of it, and whether it is done
    SWEEP/latent_dim=2,seed=0/log.txt      what its commands said

`cell.json` is written before a cell begins and after it ends. A cell whose process was killed says
that it has begun, and goes on from its checkpoint the next time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyro_vae.files.texts import printable, read_json, write_json
from pyro_vae.inference.folder import is_trained
from pyro_vae.sweeps.spec import Plain, Spec, shorts, value_told

RECORD = "cell.json"
LOG = "log.txt"
STATES = ("done", "failed", "begun", "to do")
_LONGEST = 100  # characters of a name


@dataclass(frozen=True)
class Cell:
    """A training of a sweep.

    Attributes:
        folder: of the run.
        number: its place in the sweep.
        settings: by their full names, as the spec has them.
        own: the names of those that vary in the sweep.
        evidence: options of `pyro-vae evidence`, None where it is not asked for.
        state: one of `STATES`.
        reason: why it failed, in a line.
    """

    folder: Path
    number: int
    settings: Plain
    own: Sequence[str] = ()
    evidence: Plain | None = None
    state: str = "to do"
    reason: str = ""

    @property
    def name(self) -> str:
        """That of its folder, which says what is its own."""
        return self.folder.name

    def now(self, state: str, reason: str = "") -> Cell:
        """The cell in another state, which is written down."""
        cell = replace(self, state=state, reason=reason)
        facts = {name: getattr(cell, name) for name in cell.__dataclass_fields__}
        del facts["folder"]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / RECORD, facts)
        return cell


def read_cell(folder: Path) -> Cell:
    """The cell of a folder; a ValueError where its record is damaged."""
    path = folder / RECORD
    facts = read_json(path)
    settings, evidence = facts.get("settings"), facts.get("evidence")
    number, state, reason = (facts.get(name) for name in ("number", "state", "reason"))
    own = facts.get("own")
    whole = isinstance(settings, dict) and isinstance(evidence, dict | None)
    whole = whole and isinstance(own, list) and all(isinstance(name, str) for name in own)
    if not whole or type(number) is not int or state not in STATES or not isinstance(reason, str):
        raise ValueError(f"{path}: holds something else, expected the record of a sweep's cell")
    assert isinstance(settings, dict) and isinstance(own, list)
    return Cell(folder, number, settings, own, evidence, str(state), printable(reason))


def read_cells(folder: Path) -> list[Cell]:
    """The cells of a sweep's folder, in the order of the spec."""
    found = [read_cell(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))]
    return sorted(found, key=lambda cell: cell.number)


def names_of(spec: Spec) -> list[str]:
    """A name for each cell, of what varies, which is a folder's too."""
    short = shorts(spec.names)
    found: list[str] = []
    for settings in spec.cells:
        own = [f"{short[n]}={value_told(settings[n])}" for n in spec.names if n in settings]
        name = re.sub(r"[^\w.+=,()-]+", "-", ",".join(own)) or "as-given"
        if len(name) > _LONGEST:
            name = f"{name[: _LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        while name in found:  # of values that differ in what no name of a folder can have
            name += "'"
        found.append(name)
    return found


def placed(
    spec: Spec, folder: Path, keys: Sequence[str], key_of: Callable[[Plain], str]
) -> tuple[list[Cell], list[Cell]]:
    """The cells of a spec in a sweep's folder, where those that it has go on and others are new;
    and cells that it has besides, none of them trained.

    A cell is the same where its settings mean the same, whatever it is called.

    Args:
        spec: what is asked for.
        folder: may hold a sweep.
        keys: of each cell of the spec, a text that says what its settings mean.
        key_of: such a text of settings that were kept.

    Raises:
        ValueError: the folder has cells, trained at least in part, that the spec does not have.
    """
    known = read_cells(folder)
    by_key = {key_of(cell.settings): cell for cell in known}
    taken = {by_key[key].folder for key in keys if key in by_key}
    cells = []
    for number, (name, settings) in enumerate(zip(names_of(spec), spec.cells, strict=True)):
        old = by_key.pop(keys[number], None)
        if old is None:
            place = folder / name
            while place in taken:  # by a cell of other settings that was called so
                place = place.with_name(f"{place.name}'")
            taken.add(place)
            cells.append(Cell(place, number, settings, spec.names, spec.evidence))
            continue
        done = old.state == "done" and old.evidence == spec.evidence
        state = old.state if done or old.state != "done" else "begun"
        cell = Cell(old.folder, number, settings, spec.names, spec.evidence, state, old.reason)
        cells.append(cell)

    gone = list(by_key.values())
    for cell in gone:
        if is_trained(cell.folder):
            _refuse(spec, folder, cell, cells)
    return cells, gone


def _refuse(spec: Spec, folder: Path, old: Cell, cells: Sequence[Cell]) -> None:
    """Say in which settings a trained cell differs from the spec's."""
    told = "which the spec does not have"
    for cell in cells:
        if cell.folder == old.folder:
            told = f"trained with {'; '.join(_differences(old.settings, cell.settings))}"
    spec.refuse(
        f"{printable(folder)} holds the cell {printable(old.name)}, {told}: name another folder,"
        " or delete that cell's"
    )


def _differences(old: Plain, new: Plain) -> Iterator[str]:
    for name in dict.fromkeys([*old, *new]):
        was, now = (value_told(s[name]) if name in s else "its default" for s in (old, new))
        if was != now:
            yield f"{name} {was}, and the spec says {now}"
