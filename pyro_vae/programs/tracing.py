"""The trace of one run of a program, without the plates that make minibatches by themselves.

    with pyro.plate("data", len(x), subsample_size=100) as rows: ...

chooses other rows in each run. The data of a run are a minibatch already, and the densities of a
datum come from several runs, which must be about the same data: so such a plate is refused by its
name, wherever programs are run. `plate("data", N, subsample=index)` says which rows are there, and
is fine, and so is a plate of as many rows as there are data, `subsample_size=len(x)`.
"""

from __future__ import annotations

from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.programs.calls import Program, first_line


class Refusal(ValueError):
    """What this package has to say inside of a run, in one line."""


class _NoChoice(Messenger):
    """Refuse a plate that draws other rows than the data of the run, `num_data` of them."""

    def __init__(self, num_data: int) -> None:
        super().__init__()
        self.num_data = num_data

    def _pyro_sample(self, msg: Any) -> None:
        fn = msg["fn"]
        if type(fn).__name__ != "_Subsample":
            return
        if fn.subsample_size in (None, fn.size, self.num_data):
            return
        raise Refusal(
            f"plate {msg['name']!r}: got subsample_size={fn.subsample_size}, rows of its own"
            " choice, expected a plate of all data that the program is run on: leave it out (fit"
            " makes minibatches, by its batch_size)"
        )


def traced(program: Program, x: Tensor, index: Tensor | None) -> poutine.Trace:
    """The trace of one run of a program of `(x, index)`, such as `called` returns.

    Raises:
        ValueError: a plate with a `subsample_size`; what the program raises is its own.
    """
    try:
        with _NoChoice(len(x)):
            return poutine.trace(program).get_trace(x, index)
    except Refusal as error:  # Pyro has put tables under it
        raise ValueError(first_line(error)) from None
