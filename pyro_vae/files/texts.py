"""The small files of a run, JSON, CSV and YAML: written atomically, read as data from anybody.

What is read is limited in size, is never run as code, and is printed without the control characters
that a terminal would obey.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pyro_vae.files.atomic import read_whole, write_atomically

MAX_TEXT = 2**24  # bytes of a JSON or CSV file that is read


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write a JSON file atomically; NaN becomes null and infinity "inf", since JSON has neither."""
    write_text(path, json.dumps(_strict(facts), indent=2, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def by_row(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each place of columns of one length, tensors or lists, by name."""
    values = [list(getattr(column, "tolist", lambda c=column: c)()) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows with the same keys, at least one, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder; a ValueError where it is torn."""
    try:
        facts = json.loads(read_whole(path, MAX_TEXT))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: cannot be read as JSON ({error}): delete it and run the command again"
        ) from error
    if not isinstance(facts, dict):
        raise ValueError(
            f"{path}: got a {type(facts).__name__}, expected names with"
            " values: delete it and run again"
        )
    return facts


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file of a run folder, at least one; a ValueError where it is torn."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_whole(path, MAX_TEXT).decode(), newline="")))
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{path}: cannot be read as a table ({error}): the file is torn"
        ) from error
    if not rows or any(None in row or None in row.values() for row in rows):
        raise ValueError(
            f"{path}: got no whole row, expected at least one, all of a length: the file is torn"
        )
    return rows


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors and aliases, which can grow without bounds, and without a name twice;
    1e-3 is a number.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError("it has an anchor or an alias, expected plain settings")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [part.value for part, _ in node.value if isinstance(part, yaml.ScalarNode)]
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(problem=f"it has {twice!r} twice")
        return super().construct_mapping(node, deep)


_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def plain_yaml(text: str | bytes) -> Any:
    """What a text of YAML says; yaml.YAMLError, ValueError or RecursionError where it is none."""
    return yaml.load(text, Loader=_PlainLoader)


def read_yaml(path: Path, limit: int) -> dict[str, Any]:
    """Read a YAML file of at most so many bytes; a ValueError where it holds no settings."""
    try:
        settings = plain_yaml(read_whole(path, limit))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(
            f"{path}: cannot be read as YAML ({' '.join(str(error).split())[:200]})"
        ) from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: got a {type(settings).__name__}, expected settings by name")
    return settings


def printable(text: object) -> str:
    r"""A text on one line, with characters that cannot be printed escaped as Python writes them.

    Example:
        >>> printable("plain \x1b[31mred\nß")
        'plain \\x1b[31mred\\nß'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
