"""What each step of a training is given of the data, in the order of the epoch.

Of rows in memory it is their places, and the step itself takes the rows. Rows of a `Stream` are
read ahead: by a thread, while the steps before are taken, or by processes of its own. The order is
the run's, and so a run that goes on reads on where it stood. Rows of a file are summed up as they
come (`sum_of_rows`): an epoch whose rows are not those of the first is told.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pyro_vae.data import Split
from pyro_vae.data.fingerprints import sum_of_rows
from pyro_vae.data.items import Passes
from pyro_vae.data.streams import Stream
from pyro_vae.processes import Share, count, gathered, own_share, rank

_AHEAD = 3  # readings that wait to be used
_AT_ONCE = 2**21  # values of a reading
_MOST_AT_ONCE = 16  # batches of a reading


class Feed:
    """The rows of a part of the data, batch after batch.

    Attributes:
        sums: of the rows of this epoch so far and, once known, of a whole epoch's.
    """

    def __init__(self, train: Split | Stream) -> None:
        self.train = train
        self.sums: tuple[int | None, int | None] = 0, None

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """For each batch of `order`, places of rows (B,), what a step takes: `(places,)` of rows in
        memory, `(rows, numbers)` of a stream. Of several processes each has its own rows.
        """
        train, parts = self.train, [own_share(len(index)) for index in order]
        mine = [part.rows for part in parts]
        if isinstance(train, Split):
            return ((index[own],) for index, own in zip(order, mine, strict=True))
        order = [index.cpu() for index in order]
        found: Iterator[tuple[Tensor, ...]]
        if train.reader.rows.in_order:  # by the thread that draws the noise, which it may share
            visits = (train.visit(index) for index in order)
            both = zip(visits, mine, strict=True)
            found = (tuple(tensor[own] for tensor in visit) for visit, own in both)
        else:
            order = [index[own] for index, own in zip(order, mine, strict=True)]
            found = _by_processes(train, order) if train.workers else _by_thread(train, order)
        if train.reader.rows.fixed:
            found = map(self._summed, found, parts)
        return (_moved(rows, train.device) for rows in found)

    def _summed(self, rows: tuple[Tensor, ...], part: Share) -> tuple[Tensor, ...]:
        so_far, whole = self.sums
        if part.counts and so_far is not None:
            self.sums = (so_far + sum_of_rows(*rows)) % 2**64, whole
        return rows

    @property
    def kept_sums(self) -> tuple[int | None, int | None]:
        """For a checkpoint: of an epoch in its middle, of which each of several processes has seen
        rows of its own, None, and that epoch is not compared.
        """
        so_far, whole = self.sums
        return (None if so_far and count() > 1 else so_far), whole

    def take_sums(self, sums: tuple[int | None, int | None]) -> None:
        """Those of a checkpoint, by however many processes."""
        self.sums = sums
        self.sums = self.kept_sums

    def end_epoch(self) -> None:
        """A ValueError where the rows of a file were others than in the first epoch."""
        so_far, whole = self.sums
        every = gathered({rank(): so_far}, count())
        found = None if None in every else sum(filter(None, every)) % 2**64
        if found is None:
            self.sums = 0, whole
            return
        if whole is not None and found != whole:
            source = self.train.reader.source if isinstance(self.train, Stream) else ""
            raise ValueError(
                f"data: {source} has changed while it was trained on: the rows of this epoch are"
                " not those of the first; train anew on data that stay as they are"
            )
        self.sums = 0, found

    def order(self, noise: torch.Generator) -> Tensor:
        """The rows of an epoch in their order, (N,): drawn, or as they come."""
        train = self.train
        if isinstance(train, Stream) and train.reader.rows.in_order:
            return torch.arange(len(train), device=noise.device)
        return torch.randperm(len(train), generator=noise, device=noise.device)

    def state(self) -> dict[str, Any] | None:
        """Where an iterable stands that says so, for a checkpoint."""
        passes = self._passes
        return None if passes is None else passes.state()

    def load(self, state: dict[str, Any] | None) -> None:
        """Put an iterable back where it stood."""
        if self._passes is not None and state is not None:
            self._passes.load(state)

    @property
    def _passes(self) -> Passes | None:
        rows = self.train.reader.rows if isinstance(self.train, Stream) else None
        return rows if isinstance(rows, Passes) else None


def _by_thread(train: Stream, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Batches read by a thread, a few ahead, some at once: two threads that wait for each other
    at every batch lose more time than a batch takes to be read.
    """
    each = max(1, _AT_ONCE // max(1, len(order[0]) * math.prod(train.shape))) if order else 1
    each = min(each, _MOST_AT_ONCE)
    parts = [order[start : start + each] for start in range(0, len(order), each)]

    reader = ThreadPoolExecutor(1, "pyro_vae feed")
    try:
        waiting = deque(reader.submit(_visits, train, part) for part in parts[:_AHEAD])
        for part in parts[_AHEAD:]:
            yield from waiting.popleft().result()
            waiting.append(reader.submit(_visits, train, part))
        while waiting:
            yield from waiting.popleft().result()
    finally:
        reader.shutdown(cancel_futures=True)


def _visits(train: Stream, batches: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Batches that are read at once."""
    rows, numbers = train.visit(torch.cat(list(batches)))
    sizes = [len(batch) for batch in batches]
    return list(zip(rows.split(sizes), numbers.split(sizes), strict=True))


class _Visits(torch.utils.data.Dataset[tuple[Tensor, ...]]):
    """Batches by the places of their rows, as a DataLoader asks for them."""

    def __init__(self, train: Stream) -> None:
        self.train = train

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        return self.train.visit(index)


def _by_processes(train: Stream, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Batches read by processes, a few ahead of each."""
    visits = _Visits(train)
    # with a generator of its own: the caller's noise is left alone
    own = torch.Generator()
    return iter(
        DataLoader(visits, batch_size=None, sampler=order, num_workers=train.workers, generator=own)
    )


def _moved(rows: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """The batch on the device of the programs."""
    if device.type != "cuda":
        return rows
    return tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in rows)
