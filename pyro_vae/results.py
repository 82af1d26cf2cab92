"""How a result shows itself: in a terminal, as a dictionary, as a frame of pandas, in a notebook.

    print(result)           what it is, its figures with errors and units, and the verdict
    result.summary()        the same figures by name, numbers that a JSON file can hold
    result.to_dataframe()   a row for each datum (unit, epoch, guide), a column for each quantity

`print` takes twelve lines at most, however large the result is. A class says what is its own, a
headline, figures and columns, and has the rest from here.
"""

from __future__ import annotations

import html
import math
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 100
_LINES = 12

Figures = Iterable[tuple[str, str]]
"""Names and texts, in the order in which they are to be read; the verdict last."""


class Result(ABC):
    """What a function has found; a dataclass of it is made with `repr=False`."""

    @abstractmethod
    def headline(self) -> str:
        """What it is, in a line."""

    @abstractmethod
    def figures(self) -> Figures:
        """What it says, by name, each in a line with its error and unit."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The figures as plain numbers and texts, by name."""

    @abstractmethod
    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """The columns of `to_dataframe`, all of one length."""

    def to_dataframe(self) -> pd.DataFrame:
        """A frame of pandas with a row for each datum, or whatever the result has many of."""
        import pandas as pd  # half a second, which only frames need

        return pd.DataFrame({name: _plain(values) for name, values in self.columns().items()})

    def __repr__(self) -> str:
        try:
            return self._told()
        except Exception as error:  # of parts that do not fit each other: to show one never fails
            return f"<{type(self).__name__}, which cannot be shown: {error}>"

    def _told(self) -> str:
        figures = list(self.figures())
        indent = max((len(name) for name, _ in figures), default=0) + 4

        lines = [_fitted(self.headline())]
        for name, text in figures:
            lines += _hanging(name, text, indent)
        if len(lines) > _LINES:
            lines[_LINES - 1 :] = ["  ..."]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        try:
            figures, headline = list(self.figures()), self.headline()
        except Exception:  # as above
            return f"<pre>{html.escape(repr(self))}</pre>"

        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in figures
        )
        return f"<table><caption>{html.escape(headline)}</caption>{rows}</table>"


def share(value: float) -> str:
    """A share as a percentage, or n/a where it is unknown."""
    return f"{100 * value:.1f}%" if math.isfinite(value) else "n/a"


def with_error(value: float, error: float, unit: str = "") -> str:
    """A value with its standard error, to the digit that the error leaves.

    Example:
        >>> with_error(-83.7612, 0.0213, "nats"), with_error(-83.7612, math.nan), with_error(2.5, 0)
        ('-83.761 +- 0.021 nats', '-83.76', '2.50')
    """
    if not math.isfinite(error) or error <= 0:
        text = f"{value:.2f}"
    else:
        digits = min(6, max(2, 1 - math.floor(math.log10(error))))
        text = f"{value:.{digits}f} +- {error:.{digits}f}"
    return f"{text} {unit}".rstrip()


def counted(number: int, noun: str) -> str:
    """Such as `1,000 data`; a datum is one.

    Example:
        >>> counted(1000, "data"), counted(1, "data"), counted(2, "epochs")
        ('1,000 data', '1 datum', '2 epochs')
    """
    if number == 1:
        noun = "datum" if noun == "data" else noun.removesuffix("s")
    return f"{number:,} {noun}"


def _plain(values: Tensor | Sequence[Any]) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else list(values)


def _fitted(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 4]} ..."


def _hanging(name: str, text: str, indent: int) -> list[str]:
    """A figure's line, and those on which a long text goes on."""
    first = f"  {name}".ljust(indent)
    lines = textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=" " * indent, break_long_words=False
    )
    return lines or [first.rstrip()]
