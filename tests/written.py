"""What is written for readers: the README and the pages of docs/, and the code in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "tutorial").glob("*.md"))


PIECE = re.compile(r"```python\n(?P<code>.*?)```(?:\n\n```\n(?P<out>.*?)```)?", re.DOTALL)
"""A piece of Python, and what a page says that it prints."""

NUMBER = re.compile(r"[+-]?\d[\d.,]*(?<=\d)(?:e[+-]?\d+)?")


def blocks(page: Path) -> list[str]:
    """The pieces of Python on a page."""
    return [piece["code"] for piece in PIECE.finditer(page.read_text())]


def block(page: Path, word: str) -> str:
    """The one piece of Python on a page in which a word stands."""
    (found,) = [code for code in blocks(page) if word in code]
    return found


def run(page: Path, smaller: Mapping[str, str]) -> dict[str, Any]:
    """Run a page's code from top to bottom, with smaller numbers in the place of its own; the names
    that it leaves behind.
    """
    code = "\n".join(blocks(page))
    for own, small in smaller.items():
        assert own in code, f"{page.name}: {own!r} is not there any more"
        code = code.replace(own, small)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, page.name, "exec"), names)
    return names


def words(text: str) -> list[str]:
    """The words of an output, each number as #."""
    return NUMBER.sub("#", text).split()


def numbers(text: str) -> list[str]:
    """The numbers of an output, as they are written."""
    return [found.replace(",", "") for found in NUMBER.findall(text)]


def last_place(number: str) -> float:
    """What one more in the last digit of a written number is worth."""
    digits, _, power = number.partition("e")
    return 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))


def output(page: Path) -> str:
    """What a page says that its first piece of code prints."""
    first = next(PIECE.finditer(page.read_text()))
    assert first["out"] is not None, f"{page.name} has no output after its code"
    return first["out"]
