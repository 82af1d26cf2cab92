"""Halving what memory does not hold, by a fake that raises what torch raises on a GPU."""

from __future__ import annotations

import sys
import warnings
import weakref

import pytest
import torch
from torch import Tensor

from pyro_vae.programs.memory import Fitting, joined, places, tiles

NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory.")


def test_rows_are_halved_until_they_fit_and_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)
    tried: list[int] = []

    def evaluate(rows: int) -> int:
        tried.append(rows)
        if rows > 30:
            raise NO_MEMORY
        return rows

    fitting = Fitting()
    told = "out of memory with 100 rows at once: 25 from here on"
    with pytest.warns(UserWarning, match=told) as caught:
        assert fitting(evaluate, 100) == 25
    with warnings.catch_warnings(record=True) as again:  # told once
        assert fitting(evaluate, 90) == 25 and fitting(evaluate, 7) == 7
    assert len(caught) == 1 and not again
    assert tried == [100, 50, 25, 25, 7]


def test_one_row_that_is_too_much_is_the_callers_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)

    def evaluate(rows: int) -> int:
        raise NO_MEMORY

    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        Fitting()(evaluate, 8)


def test_what_the_failed_call_held_is_gone_before_the_cache_is_emptied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[weakref.ref[Tensor]] = []
    seen: list[bool] = []

    def evaluate(rows: int) -> int:
        large = torch.zeros(rows)
        held.append(weakref.ref(large))
        if rows > 3:
            error = torch.OutOfMemoryError("CUDA out of memory.")
            raise error  # from a frame that knows it, as Pyro's does: it keeps itself alive
        return len(large)

    def empty_cache() -> None:
        seen.append(held[-1]() is None and sys.exc_info() == (None, None, None))

    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    with pytest.warns(UserWarning, match="out of memory"):
        Fitting()(evaluate, 4)
    assert seen == [True]


def test_pieces_cover_everything_once() -> None:
    values = torch.arange(7 * 5).view(7, 5)
    for rows in (1, 3, 5, 12, 35, 99):
        size = tiles(7, 5, rows)
        assert size[0] * size[1] <= max(rows, 1)
        pieces = []
        for s in places(7, size[0]):
            pieces.append([(values[s, d], -values[s, d]) for d in places(5, size[1])])
        one, other = joined(pieces)
        assert torch.equal(one, values) and torch.equal(other, -values)
