"""The trace of one run of a program, without the plates that make minibatches by themselves.

    with pyro.plate("data", len(x), subsample_size=100) as rows: ...

chooses other rows in each run. The data of a run are a minibatch already, and the densities of a
datum come from several runs, which must be about the same data: so such a plate is refused by its
name, wherever programs are run. `plate("data", N, subsample=index)` says which rows are there, and
is fine.
"""

from __future__ import annotations

from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.programs.calls import Program


class _Choices(Messenger):
    """Note a plate that draws its rows, and stop there."""

    told = ""

    def _pyro_sample(self, msg: Any) -> None:
        fn = msg["fn"]
        if type(fn).__name__ != "_Subsample" or fn.subsample_size in (None, fn.size):
            return
        self.told = (
            f"plate {msg['name']!r}: got subsample_size={fn.subsample_size}, rows of its own"
            " choice, expected a plate of all data that the program is run on: leave it out (fit"
            " makes minibatches, by its batch_size)"
        )
        raise ValueError(self.told)


def traced(program: Program, x: Tensor, index: Tensor | None) -> poutine.Trace:
    """The trace of one run of a program of `(x, index)`, such as `called` returns.

    Raises:
        ValueError: a plate with a `subsample_size`; what the program raises is its own.
    """
    choices = _Choices()
    try:
        with choices:
            return poutine.trace(program).get_trace(x, index)
    except ValueError:
        if choices.told:  # without the tables that Pyro has put under it
            raise ValueError(choices.told) from None
        raise
