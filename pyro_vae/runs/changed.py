"""Whether the data that a run names are those that it was trained on.

`data.json` keeps a checksum of the rows of each part as they are stored, under no rule, with their
context; of rows that stay in their file, of some of them (`Stream.identity`). Data that have
changed since are refused before anything is computed with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pyro_vae.data import Binarise, Dataset, Split, Stream, fingerprint
from pyro_vae.data.fingerprints import with_context
from pyro_vae.files.texts import read_json

NAME = "data.json"


def checksums(data: Dataset) -> dict[str, str]:
    """The checksum of each part's rows, by the part's name."""
    parts = (data.train, data.valid, data.test)
    return {part.name: _checksum(part) for part in parts if part is not None}


def _checksum(part: Split | Stream) -> str:
    if isinstance(part, Stream):
        return part.identity
    return with_context(fingerprint(part.pixels), part.context)


def check_unchanged(folder: Path, source: str, data: Dataset) -> None:
    """A ValueError that says what has changed, where data are not those of a run; nothing is said
    where the run's folder does not tell.

    Args:
        folder: of the run.
        source: what the data were loaded from.
        data: under any rule.
    """
    path = folder / NAME
    known = read_json(path) if path.is_file() else {}
    told = _changed(known, data)
    if told:
        raise ValueError(
            f"data: {source} has changed since the run was trained on it: {told}; put the old data"
            f" back, or train anew; where the new data are meant, delete {path}"
        )


def _changed(known: Mapping[str, Any], data: Dataset) -> str:
    """What is not as it was, in words; empty where nothing is known to differ."""
    shape = known.get("shape")
    if isinstance(shape, list) and shape != list(data.shape):
        return f"its data have the shape {tuple(data.shape)}, expected {tuple(shape)}"

    parts = {part.name: part for part in (data.train, data.valid, data.test) if part is not None}
    for name, part in parts.items():
        size = known.get(name)
        if type(size) is int and size != len(part):
            return f"it has {len(part):,} {name} data, expected {size:,}"

    rows = known.get("rows")
    if isinstance(rows, Mapping):
        found = checksums(data)
        others = [name for name in found if rows.get(name, found[name]) != found[name]]
        return f"its {' and '.join(others)} data have other values" if others else ""
    return _changed_under(known, data)


def _changed_under(known: Mapping[str, Any], data: Dataset) -> str:
    """The same for a run of an earlier version, which kept a checksum of its test data alone, under
    the run's rule.
    """
    rule: Any = known.get("binarise")
    test = known.get("test_fingerprint")
    if rule not in get_args(Binarise) or not isinstance(test, str):
        return ""
    found = (data if data.binarise == rule else data.under(rule)).test.fingerprint
    return "" if found == test else "its test data have other values"
