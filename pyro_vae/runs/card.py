"""What a run folder says of itself, read from its small files alone.

Nothing is built, and neither data nor weights are opened, so that a hundred runs are looked through
in a moment. What is missing or torn is a problem that is told, and no error: a card is for looking.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from pyro_vae.files.texts import printable, read_json, read_table, read_yaml

CONFIG = "config.yaml"
STATES = ("finished", "in training", "stopped", "not begun")
MAX_CONFIG = 2**18  # bytes of config.yaml that are read
_DEPTH = 3

FileT = TypeVar("FileT")


@dataclass(frozen=True)
class Card:
    """A run as its folder tells it.

    Attributes:
        folder: the run.
        state: one of `STATES`; a run that is stopped has a checkpoint to go on from.
        config, data, versions: what config.yaml, data.json and versions.json hold.
        history: the rows of metrics.csv, one for each epoch.
        units: the rows of units.csv, one for each latent unit.
        evidence, diagnosis: what evidence.json and diagnosis.json hold.
        ledgers: the rows of ledger/train.csv and ledger/test.csv, by the split.
        problems: files that are torn, a sentence for each.
    """

    folder: Path
    state: str
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, str]] = field(default_factory=list)
    units: list[dict[str, str]] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    diagnosis: dict[str, Any] = field(default_factory=dict)
    ledgers: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's own name."""
        return printable(self.folder.resolve().name)

    def class_of(self, part: str) -> str:
        """The name of the class of model, guide, optimizer or loss, without its module."""
        found = self.config.get(part)
        path = found.get("class_path") if isinstance(found, dict) else found
        return printable(str(path).rpartition(".")[2]) if path else ""

    def options_of(self, part: str) -> dict[str, Any]:
        """The options of the class of a part."""
        found = self.config.get(part)
        options = found.get("init_args") if isinstance(found, dict) else None
        return options if isinstance(options, dict) else {}

    @property
    def epochs(self) -> tuple[int, int]:
        """Epochs that were made, and that were planned; 0 where that is not known."""
        planned = self.config.get("epochs")
        return len(self.history), planned if isinstance(planned, int) else 0

    @property
    def kept_epoch(self) -> int:
        """The epoch whose parameters were kept: the best one's after the warm-up, by the validation
        ELBO, where the settings say so; else the last.
        """
        elbos = [number(row.get("valid_elbo")) for row in self.history]
        warm = number(self.config.get("warmup_epochs"))
        if self.config.get("keep") == "best" and self.state == "finished":
            judged = {e: value for e, value in enumerate(elbos, 1) if e > warm and value == value}
            if judged:
                return max(judged, key=lambda epoch: judged[epoch])
        return len(self.history)

    def kept(self, column: str) -> float:
        """A metric after the epoch whose parameters were kept; NaN where it was not measured."""
        return number(self.history[self.kept_epoch - 1].get(column)) if self.history else math.nan

    @property
    def active(self) -> tuple[int, int] | None:
        """Active latent units, and all of them; None where nobody counted."""
        if self.units:
            return sum(row.get("active") == "True" for row in self.units), len(self.units)
        found = self.evidence.get("active_units")
        total = self.evidence.get("num_units") or self.options_of("model").get("latent_dim")
        if isinstance(found, int) and isinstance(total, int):
            return found, total
        return None


def number(value: object) -> float:
    """A number of a file; NaN for what is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def is_run(folder: Path) -> bool:
    """Whether a folder holds the settings of a run."""
    return (folder / CONFIG).is_file()


def runs_in(folder: Path) -> list[Path]:
    """The run folders in a folder and in its folders, in the order of their names."""
    found = []
    for here, inner, _ in os.walk(folder):
        path = Path(here)
        if is_run(path):
            found.append(path)
            inner.clear()
        elif len(path.relative_to(folder).parts) >= _DEPTH:
            inner.clear()
        inner[:] = sorted(name for name in inner if not name.startswith("."))
    return found


def read_card(folder: str | Path) -> Card:
    """What a run folder says of itself.

    Raises:
        FileNotFoundError: no such folder, or no config.yaml in it.
    """
    path = Path(folder)
    if not is_run(path):
        what = f"no {CONFIG} in it" if path.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"{folder}: {what}, expected the folder of a run made by `pyro-vae train`"
        )

    problems: list[str] = []

    def read(name: str, how: Callable[[Path], FileT], otherwise: FileT) -> FileT:
        if not (path / name).is_file():
            return otherwise
        try:
            return how(path / name)
        except (ValueError, OSError) as error:
            problems.append(printable(error))
            return otherwise

    nothing: list[dict[str, str]] = []
    ledgers = {s: read(f"ledger/{s}.csv", read_table, nothing) for s in ("train", "test")}
    return Card(
        path,
        state_of(path),
        read(CONFIG, lambda file: read_yaml(file, MAX_CONFIG), {}),
        read("data.json", read_json, {}),
        read("versions.json", read_json, {}),
        read("metrics.csv", read_table, nothing),
        read("units.csv", read_table, nothing),
        read("evidence.json", read_json, {}),
        read("diagnosis.json", read_json, {}),
        {split: rows for split, rows in ledgers.items() if rows},
        tuple(problems),
    )


def state_of(folder: Path) -> str:
    """Whether a run has ended, goes on, was stopped, or has not begun."""
    if any((folder / name).is_file() for name in ("weights.safetensors", "weights.pt")):
        return "finished"
    if _is_locked(folder / ".lock"):
        return "in training"
    return "stopped" if (folder / "checkpoint.pt").is_file() else "not begun"


def _is_locked(path: Path) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    lock = FileLock(str(path), timeout=0)
    try:
        with lock:
            return False
    except Timeout:
        return True
    except OSError:  # of somebody else, who may be training: it cannot be told
        return False


def cards(folder: Path) -> Iterator[Card]:
    """The cards of all runs in a folder."""
    return map(read_card, runs_in(folder))
