"""What a page is made of. A page has chapters, one for each run; a chapter has sections; a section
says something, shows pictures, and has the numbers of each picture folded under it.

All texts are plain: whatever comes from a file is escaped when the page is written; what stands
between backticks is set as code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 200


@dataclass(frozen=True)
class Table:
    """Texts in rows under headers; `note` says what is not shown."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""

    @staticmethod
    def of(rows: Iterable[Mapping[str, Any]], title: str = "", whole: str = "") -> Table:
        """A table of rows with the same names; of a long one the first rows, and `whole` says where
        the others are.
        """
        listed = list(rows)
        headers = list(listed[0]) if listed else []
        shown = [[told(row.get(name)) for name in headers] for row in listed[:MOST_ROWS]]
        note = ""
        if len(listed) > MOST_ROWS:
            note = f"the first {MOST_ROWS:,} of {len(listed):,} rows"
            note += f"; all are in {whole}" if whole else ""
        return Table([name.replace("_", " ") for name in headers], shown, title, note)


@dataclass(frozen=True)
class Picture:
    """A figure, or the bytes of a PNG file that was kept; what it shows to somebody who cannot see
    it; and its numbers.
    """

    figure: Figure | bytes
    alt: str
    caption: str = ""
    numbers: Table | None = None


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in this order."""

    title: str
    words: Sequence[str] = ()
    alarm: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()


@dataclass(frozen=True)
class Chapter:
    """A run: its name, what it came to in a sentence, what to look at first, figures, sections."""

    title: str
    lead: str
    alarm: str = ""
    figures: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """The whole: what stands before the chapters, and these."""

    title: str
    lead: str
    before: Sequence[Section]
    chapters: Sequence[Chapter]
    made: str


def told(value: Any) -> str:
    """A value of a table as a text: numbers to five digits, nothing for what is not known.

    Example:
        >>> told(-83.76320077), told(12), told(float("nan")), told(True), told(None)
        ('-83.763', '12', '', 'yes', '')
    """
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else value.tolist()
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)
