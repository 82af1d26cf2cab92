"""Kinds of programs that users bring, against every public function: works, or is refused with
which words (`expected.py`). Nothing else may happen: no wrong number, no traceback of another
library.

`python -m tests.programs.kinds` writes the table of docs/programs.md anew; with `--check` it runs
every cell (a minute or two), of which the tests run a part.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from string import ascii_letters
from textwrap import fill

import pyro
import pytest
import torch
from pyro.infer import NUTS

from tests.programs.brought import autoguides, handlers, mistakes, observed, plain, supports
from tests.programs.brought.kind import Brought
from tests.programs.columns import COLUMNS, SLOW
from tests.programs.expected import EVERYWHERE, REFUSED
from tests.programs.words import WORDS
from tests.scenarios import eager

PAGE = Path(__file__).parents[2] / "docs" / "programs.md"
BEGIN, END = "<!-- kinds: python -m tests.programs.kinds -->", "<!-- end of kinds -->"


def _found() -> dict[str, Callable[[], Brought]]:
    """Kinds by name: the functions of `brought/` that take nothing and return what is brought."""
    kinds: dict[str, Callable[[], Brought]] = {}
    for module in (plain, handlers, supports, observed, autoguides, mistakes):
        for name, make in vars(module).items():
            own = inspect.isfunction(make) and make.__module__ == module.__name__
            if own and make.__annotations__ == {"return": "Brought"}:
                kinds[name] = make
    return kinds | {name: autoguides.auto(make) for name, make in autoguides.AUTO.items()}


KINDS = _found()


def expected(kind: str, column: str) -> str:
    """What is to happen: "works", or a key of `WORDS`."""
    told = REFUSED.get(kind, {})
    for words, columns in told.items():
        if column in columns.split():
            return words
    return EVERYWHERE.get(column, told.get("*", "works"))


def wrong(kind: str, column: str) -> str | None:
    """What is wrong with a cell; None where all is as expected."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    words, said = expected(kind, column), ""
    try:
        COLUMNS[column](KINDS[kind])
    except ValueError as error:
        said = str(error)
    except Exception as error:
        return f"{column}: {type(error).__name__}: {error}"

    if words == "works":
        return f"{column}: refused: {said}" if said else None
    if not said:
        return f"{column}: works, expected {words!r}"
    as_told = re.search(WORDS[words].pattern, said) and "\n" not in said
    return None if as_told else f"{column}: expected {words!r}, said {said}"


def cells(kind: str) -> Iterator[str]:
    """The columns that are run in the tests: refused ones, quick ones, and of the slow ones one in
    ten, other ones for each kind.
    """
    row = list(KINDS).index(kind)
    for number, column in enumerate(COLUMNS):
        slow = column in SLOW and expected(kind, column) == "works"
        if not slow or (row + number) % 10 == 0:
            yield column


def hasten(patch: pytest.MonkeyPatch) -> None:
    """Less of what is done many times, and nothing compiled."""
    eager(patch)
    less = {
        "inference.converge.PATIENCE": (1, 1, 1, 1, 1),
        "inference.converge.WINDOW": 5,
        "evidence.scouts._STEPS": 4,
        "evidence.scouts._DRAWS": 20,
        "evidence.laplace._NEWTON": 1,
        "evidence.chains._SETTLE": 3,
        "diagnostics.chains.NUTS": partial(NUTS, max_tree_depth=2),
        "evidence.trees.DEPTH": 2,
    }
    for place, value in less.items():
        patch.setattr(f"pyro_vae.{place}", value)


def counts() -> tuple[int, int]:
    """Cells that work, and that are refused."""
    found = [expected(kind, column) for kind in KINDS for column in COLUMNS]
    works = found.count("works")
    return works, len(found) - works


def table() -> str:
    """The table as it stands in the documentation, and what its letters say."""
    works, refused = counts()
    columns = [f"{number} `{name}`" for number, name in enumerate(COLUMNS, 1)]
    told = (
        f"{len(KINDS)} kinds by {len(COLUMNS)} functions: {works:,} cells work (✓), {refused:,} are"
        f" refused (a letter, explained below), none is wrong. The functions: {', '.join(columns)}."
    )
    numbers = " | ".join(str(number) for number in range(1, len(COLUMNS) + 1))
    lines = [fill(told, 100), "", f"| kind | {numbers} |", "| --- |" + " --- |" * len(COLUMNS)]

    letters = dict(zip(WORDS, ascii_letters, strict=False))
    for kind in KINDS:
        row = [letters.get(expected(kind, column), "✓") for column in COLUMNS]
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(row)} |")

    lines.append("")
    for name, words in WORDS.items():
        lines.append(fill(f"- {letters[name]}: {words.told}", 100, subsequent_indent="  "))
    return "\n".join(lines)


def page() -> str:
    """docs/programs.md with the table put in."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    if "--check" in sys.argv:
        with pytest.MonkeyPatch.context() as context:
            hasten(context)
            for name in KINDS:
                found = [wrong(name, column) for column in COLUMNS]
                print(name, *filter(None, found), sep="\n  ", flush=True)
    else:
        PAGE.write_text(page())
