"""What experiments found, as they keep it: a JSON file each, and a picture of the same name where
there is one. Numbers are shown as tables, folded, whatever their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyro_vae.files.atomic import read_whole
from pyro_vae.files.texts import printable, read_json
from pyro_vae.report.page import Chapter, Picture, Section, Table
from pyro_vae.report.page.parts import told

_MAX_PICTURE = 2**21  # bytes
_PNG = b"\x89PNG\r\n\x1a\n"


def results(folder: Path) -> Chapter:
    """A section for each JSON file of a folder, in the order of their names.

    Raises:
        FileNotFoundError: no such folder, or no JSON file in it.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        what = "no JSON file in it" if folder.is_dir() else "no such folder"
        raise FileNotFoundError(f"{folder}: {what}, expected the results of experiments")

    lead = f"{len(files)} kept results in {printable(folder)}, with their settings."
    return Chapter("Experiments", lead, sections=[_section(path) for path in files])


def _section(path: Path) -> Section:
    title = printable(path.stem).replace("_", " ")
    try:
        facts = read_json(path)
    except ValueError as error:
        return Section(title, [f"Not read: {printable(error)}"])

    command = facts.pop("command", None)
    words = [f"`{printable(command)}`"] if isinstance(command, str) else []
    return Section(title, words, pictures=list(_picture(path)), folded=list(tables_of(facts)))


def _picture(path: Path) -> Iterator[Picture]:
    picture = path.with_suffix(".png")
    if not picture.is_file():
        return
    content = read_whole(picture, _MAX_PICTURE)
    if content.startswith(_PNG):
        yield Picture(content, f"the picture that the experiment {printable(path.stem)} has made")


def tables_of(facts: Mapping[str, Any], title: str = "settings and figures") -> Iterator[Table]:
    """Nested facts as tables: plain values by name; rows of one kind side by side; the rest by
    itself, under its name.
    """
    plain = {name: value for name, value in facts.items() if not _is_nested(value)}
    if plain:
        yield Table((), [(name, _short(value)) for name, value in plain.items()], title)

    flat = {name: value for name, value in facts.items() if _is_flat(value)}
    if flat:
        rows = [{"": name} | value for name, value in flat.items()]
        yield Table.of(_filled(rows), title=f"{title}: {', '.join(flat)}"[:100])

    for name, value in facts.items():
        if isinstance(value, list) and _is_nested(value):
            yield Table.of(_filled([_flattened(row) for row in value]), title=name)
        elif isinstance(value, dict) and name not in flat:
            yield from tables_of(value, name)


def _is_nested(value: Any) -> bool:
    rows = isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)
    return rows or isinstance(value, dict)


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and not any(_is_nested(part) for part in value.values())


def _flattened(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= _flattened(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the same names, in the order in which these come first."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: _short(row.get(name)) for name in names} for row in rows]


def _short(value: Any) -> str:
    if isinstance(value, list):
        first = ", ".join(told(part) for part in value[:12])
        return f"{first}, ..." if len(value) > 12 else first
    return told(value)
