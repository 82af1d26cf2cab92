"""How far a long work has come: a function that is told the share that is done, and a bar that
shows it.

    with progress_bar("annealing both ways") as progress:
        found = sandwich(model, guide, like, progress=progress)

What takes long has an argument `progress`, a function that is called with the share of its work
that is done, from 0 to 1 and never less than before. A share needs no unit and no total, so that
the parts of a work can be joined: `shares` gives each part the share that it is of the whole.

A library that is called says nothing by itself: without the argument nothing is shown, and the bar
is for a terminal alone. Telling draws no noise, so that results are the same with and without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate, count, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from pyro_vae.arguments import refuse

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Live

Progress = Callable[[float], None]
"""Is told the share of a work that is done, from 0 to 1."""

T = TypeVar("T")

_MEMORY = 600.0  # seconds from whose pace the time left is estimated


def shares(progress: Progress | None, *weights: float) -> list[Progress | None]:
    """What tells the parts of a work, one after another, of these weights.

    Example:
        >>> told = []
        >>> first, second = shares(told.append, 1, 3)
        >>> first(1.0), second(0.5), second(1.0)
        (None, None, None)
        >>> told
        [0.25, 0.625, 1.0]
    """
    if progress is None:
        return [None] * len(weights)
    total = sum(weights) or 1.0
    ends = [end / total for end in accumulate(weights, initial=0.0)]
    return [_between(progress, *both) for both in pairwise(ends)]


def _between(progress: Progress, start: float, end: float) -> Progress:
    def tell(share: float) -> None:
        progress(end if share >= 1 else start + share * (end - start))

    return tell


def tell(progress: Progress | None, share: float) -> None:
    """Tell the share that is done, where somebody listens."""
    if progress is not None:
        progress(share)


def over(items: Iterable[T], number: int, progress: Progress | None) -> Iterator[T]:
    """The items, so many of them; the share that is done is told after each."""
    for done, item in enumerate(items, start=1):
        yield item
        tell(progress, done / number)


def counting(number: int, progress: Progress | None) -> Callable[..., None]:
    """A function to call after each of so many steps, whatever with; it tells the share."""
    done = count(1)
    return lambda *state: tell(progress, next(done) / number)


def progress_bar(what: str) -> AbstractContextManager[Progress | None]:
    """A bar on stderr with the time that is left, for the argument `progress` of a function; None,
    and nothing to see, where stderr is no terminal.

    Args:
        what: is being done, in a few words.

    Example:
        >>> from pyro_vae import Annealed, LinearGaussian, log_evidence
        >>> model, method = LinearGaussian(5, 2), Annealed(start="prior", num_temperatures=20)
        >>> x = model.sample(4)
        >>> with progress_bar("annealing") as progress:
        ...     found = log_evidence(model, None, x, method, progress=progress)
    """
    if not isinstance(what, str):
        refuse("what", what, "a text, what is being done")
    return _bar(what)


@contextmanager
def _bar(what: str) -> Iterator[Progress | None]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return

    told = TextColumn("{task.description}", markup=False)
    columns = (told, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with live_line(console, *columns, transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def live_line(console: Console, *columns: Any, transient: bool) -> Live:
    """A line of these columns that is kept up to date on a terminal.

    What is printed meanwhile appears above it, where it goes to a terminal too.
    """
    from rich.progress import Progress as Live

    return Live(
        *columns,
        console=console,
        transient=transient,
        redirect_stdout=sys.stdout.isatty(),
        speed_estimate_period=_MEMORY,
    )
