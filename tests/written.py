"""What is written for readers: the README and the pages of docs/, and the code in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "tutorial").glob("*.md"))


def blocks(page: Path) -> list[str]:
    """The pieces of Python on a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


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
    return re.sub(r"\d[\d.,]*(?<=\d)", "#", text).split()


def output(page: Path) -> str:
    """What a page says that its first piece of code prints."""
    found = re.search(r"```python\n.*?```\n\n```\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None, f"{page.name} has no output after its code"
    return found[1]
