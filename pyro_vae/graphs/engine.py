"""Who runs a function of tensors: its compiled graph, or Pyro; and one rule for which of them.

    guard = Guard(engine, calls=4000, rows=1000)
    score = guard(function, model)          # called like `function`

"compiled" runs the graph or raises the reason why there is none, "pyro" runs the function as it is,
"auto" compiles where that pays and goes on as it is, after one warning, where it cannot be.

Compiling takes seconds, and then saves time with every call: Python's, which is the same for a call
of one row and of a thousand, and some of each row's. A call is taken to save as much as 600 rows
do (fitted to the thresholds that single methods had, and not timed), so that compiling pays from

    calls (600 + rows)  >=  7,000,000

on: a count that follows from the arguments and not from a clock, so that a run can be repeated.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pyro_vae.arguments import check_choice
from pyro_vae.graphs.capturing import CaptureError
from pyro_vae.graphs.compiled import Compiled

Engine = Literal["auto", "compiled", "pyro"]

WORTH_IT = 7_000_000
_PER_CALL = 600  # rows that a call counts for


def check_engine(engine: object) -> None:
    """Raise a ValueError for an engine that does not exist."""
    check_choice("engine", engine, Engine)


def is_worth_it(engine: Engine, calls: float, rows: float) -> bool:
    """Whether to compile for so many calls with so many rows each, where that can be chosen."""
    pays = calls * (_PER_CALL + rows) >= WORTH_IT
    return engine == "compiled" or (engine == "auto" and pays)


class Guard:
    """Whether graphs run, for functions that share one answer and one warning.

    Args:
        engine: see the module.
        calls: of the graphs, about.
        rows: of a call, data by particles.
        instead: who runs what is not compiled.
        level: of the warning, frames between the guarded call and the user's.

    Attributes:
        on: whether graphs run.
        reason: why they do not any more; None where nothing went wrong.
    """

    def __init__(
        self,
        engine: Engine,
        calls: float = math.inf,
        rows: float = 1,
        *,
        instead: str = "Pyro",
        level: int = 5,
    ) -> None:
        check_engine(engine)
        self.engine, self.instead, self.level = engine, instead, level
        self.on = is_worth_it(engine, calls, rows)
        self.reason: str | None = None

    def __call__(
        self, function: Callable[..., Sequence[Any]], *programs: Any
    ) -> Callable[..., Sequence[Any]]:
        """The function, run by its graph as long as graphs run; `programs` are what it runs."""
        compiled = Compiled(function, *programs)

        def guarded(*args: Any) -> Sequence[Any]:
            if not self.on:
                return function(*args)
            try:
                return compiled(*args)
            except CaptureError as error:
                self.give_up(error)
                return function(*args) if error.first is None else error.first.take()

        return guarded

    def give_up(self, error: CaptureError) -> None:
        """Run no graphs from now on, and say why; a ValueError where nothing else will do."""
        if self.engine == "compiled":
            raise ValueError(
                f"model, guide: cannot be compiled: {error}; use engine='pyro' or 'auto'"
            ) from error
        self.on, self.reason = False, str(error)
        told = f"the programs are not compiled, {self.instead} runs them: {error}"
        warnings.warn(told, stacklevel=self.level)
