"""A cell of a sweep: what `pyro-vae train` (or `resume`) and `pyro-vae evidence` do, in its folder.

So a cell is a run like any other. What the commands print goes to the cell's log, with the
traceback where it fails; why it failed, in a line, to its record.
"""

from __future__ import annotations

import contextlib
import json
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyro
from jsonargparse import Namespace

import pyro_vae
from pyro_vae.commands import evidence, resume, train
from pyro_vae.commands.options import choose
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import CollapseWarning
from pyro_vae.evidence import Method
from pyro_vae.files.texts import printable
from pyro_vae.inference import Recipe
from pyro_vae.inference.folder import is_trained
from pyro_vae.programs.calls import first_line
from pyro_vae.runs.building import build
from pyro_vae.runs.card import state_of
from pyro_vae.runs.settings import Settings, known_parser, settings_parser
from pyro_vae.runs.trust import check_settings, own_classes
from pyro_vae.sweeps.cells import LOG, Cell

NAMES = tuple(each.name for known in (Settings, Recipe) for each in fields(known))
_OPTIONS = ("method", "split", "num_data")
_LONGEST = 240  # characters of a reason
_PATIENCE, _LOOK = 5.0, 0.1  # seconds until a worker that lost its parent has let go of a cell


def understood(settings: Mapping[str, Any], where: str, trust: Sequence[str]) -> Namespace:
    """Settings by their full names, as the options of `pyro-vae train` that they are.

    Raises:
        ValueError: an unknown one, a value of another type, a class that may not be built.
    """
    for name in settings:
        top = name.partition(".")[0]
        if top not in NAMES:
            raise ValueError(f"{where}: unknown setting {printable(name)}{_hint(name)}")

    checked = check_settings(settings, where, trust)
    parser = settings_parser(trust) if trust else known_parser()
    # a class before its options
    ordered = sorted(checked.items(), key=lambda item: item[0].count("."))
    arguments = [f"--{name}={_written(value)}" for name, value in ordered]
    try:
        with own_classes(trust), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = parser.parse_args(arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).replace('option --', 'setting ')}") from error
    found.pop("config", None)
    return found


def _hint(name: str) -> str:
    """The nearest of the known names, those inside of the usual model and guide among them."""
    usual = known_parser().get_defaults()
    inner = [n for n in usual.keys(branches=False) if n.startswith(("model.", "guide.", "optim"))]
    plain = [n.replace("init_args.", "") for n in inner]
    own = [n for n in plain if n.count(".") == 1 and n.rpartition(".")[2] == name]
    near = own[:2] or get_close_matches(name, NAMES, n=1)
    return f": did you mean {' or '.join(near)}?" if near else ""


def _written(value: Any) -> str:
    """A value as it is written on a command line."""
    return value if isinstance(value, str) else json.dumps(value)


def scoring(
    options: Mapping[str, Any], folder: Path, where: str, trust: Sequence[str], device: str = "auto"
) -> Namespace:
    """The options of `pyro-vae evidence` that a spec asks for; what is none of its own is one of
    the method.
    """
    name = options.get("method", "Importance")
    known = name in dir(pyro_vae) and _is_method(getattr(pyro_vae, str(name)))
    if isinstance(name, str) and not known and "." not in name:
        methods = [n for n in dir(pyro_vae) if _is_method(getattr(pyro_vae, n))]
        near = get_close_matches(name, methods, n=1, cutoff=0.5)
        hint = f": did you mean {near[0]}?" if near else ""
        raise ValueError(f"{where}: method: got {name!r}, expected one such as Importance{hint}")

    checked = check_settings(dict(options), where, trust)
    arguments = [str(folder), f"--method={_written(name)}", f"--device={device}"]
    for option, value in checked.items():
        if option != "method":
            path = option if option in _OPTIONS else f"method.{option.removeprefix('method.')}"
            arguments.append(f"--{path}={_written(value)}")
    try:
        with own_classes(trust):
            found = evidence.parser(trust).parse_args(arguments)
            evidence.parser(()).instantiate(found)
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).replace('option --', 'option ')}") from error
    found.trust = ",".join(trust) or None
    return found


def _is_method(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Method) and found is not Method


def check(
    settings: Namespace, scored: Namespace | None, data: Dataset, where: str, trust: Sequence[str]
) -> None:
    """Build what a cell describes, and look for the data to score, so that what is wrong with it is
    told before any is trained.
    """
    try:
        with own_classes(trust):
            parts = build(known_parser(), settings.clone(), data=data)
        if scored is not None:
            choose(parts, scored.split, scored.num_data)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def work(cell: Cell, device: str = "auto", trust: Sequence[str] = ()) -> Cell:
    """Train a cell, or go on with it, and score it; the cell, done or failed."""
    cell.now("begun")
    with (cell.folder / LOG).open("a") as log, contextlib.redirect_stdout(log):
        try:
            with warnings.catch_warnings():
                # the table has how many units are used
                warnings.simplefilter("ignore", CollapseWarning)
                with pyro.get_param_store().scope(), own_classes(trust):
                    _train(cell, device, trust)
                with pyro.get_param_store().scope(), own_classes(trust):
                    _score(cell, device, trust)
        except Exception as error:  # whatever a program raises: the other cells go on
            traceback.print_exc(file=log)
            return cell.now("failed", _reason(error))
    return cell.now("done")


def _reason(error: Exception) -> str:
    """Why a cell failed, in a line."""
    told = printable(first_line(error))
    if not isinstance(error, ValueError | OSError):
        told = f"{type(error).__name__}: {told}"
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 4]} ..."


def _train(cell: Cell, device: str, trust: Sequence[str]) -> None:
    left = _PATIENCE
    while state_of(cell.folder) == "in training" and left > 0:
        time.sleep(_LOOK)
        left -= _LOOK

    if state_of(cell.folder) == "finished":
        return

    common = {"device": device, "quiet": True, "trust": ",".join(trust) or None}
    if is_trained(cell.folder) or (cell.folder / "config.yaml").is_file():
        options = Namespace(run=str(cell.folder), data_root=None, epochs=None, **common)
        resume.run(options)
        return

    options = understood(cell.settings, "settings", trust)
    options.update(Namespace(folder=str(cell.folder), **common))
    train.run(options)


def _score(cell: Cell, device: str, trust: Sequence[str]) -> None:
    if cell.evidence is not None:
        evidence.run(scoring(cell.evidence, cell.folder, "evidence", trust, device))
