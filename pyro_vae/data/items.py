"""The items of a torch Dataset as rows: of map-style ones by place, of iterable ones by passes.

An item is x, or a tuple whose first part is x, as torchvision's sets give them: a tensor, a numpy
array, a number or a picture. An iterable is read in its own order, from the first row to the last;
a row that was passed is reached by a new pass. Its rows are counted by a first pass, where it does
not say how many there are. One with `state_dict` and `load_state_dict`, torchdata's
StatefulDataLoader among them, is put back where it stood by its own state; of any other the rows up
to there are read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pyro_vae.data.arrays import Array
from pyro_vae.data.readers import Places

_FEW = 8  # rows by which two passes are compared


def first_of(item: Any) -> Any:
    """x of an item; a ValueError where the item has none."""
    x = item[0] if isinstance(item, tuple | list) and len(item) else item
    if isinstance(x, dict | str | bytes | tuple | list) or x is None:
        raise ValueError(
            f"data: got an item of {type(item).__name__}, expected x, or a tuple whose first part"
            " is x, a tensor or an array"
        )
    return x


def as_array(x: Any) -> Array:
    """A tensor, an array, a number or a picture as an array."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def stacked(items: list[Any], places: Places) -> Array:
    """Items as rows `(B, *shape)`; a ValueError where one has another shape than the first."""
    arrays = [as_array(first_of(item)) for item in items]
    for array, place in zip(arrays, places, strict=True):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"data: item {place} has shape {array.shape}, item {places[0]} {arrays[0].shape},"
                " expected one shape: resize them, or drop what differs"
            )
    return np.stack(arrays)


def is_floating(x: Any) -> bool:
    """Whether x is a tensor of floats, which are real values; others are judged by their look."""
    return isinstance(x, Tensor) and x.is_floating_point()


class Items:
    """The rows of a map-style torch Dataset.

    Attributes:
        is_real: whether the rows are tensors of floats, once one has been read.
    """

    in_order = False
    fixed = False  # a user's transforms may draw

    def __init__(self, dataset: Any) -> None:
        self.dataset, self.is_real = dataset, False

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, places: Places) -> Array:
        """The items at these places."""
        at_once = getattr(self.dataset, "__getitems__", None)
        if at_once is not None:
            items = list(at_once(places.tolist()))
        else:
            items = [self.dataset[place] for place in places.tolist()]
        self.is_real = is_floating(first_of(items[0]))
        return stacked(items, places)


class Passes:
    """The rows of an iterable torch Dataset, or of a DataLoader, in the order in which they come.

    Attributes:
        source: gives rows, or batches of them where it is a loader that makes batches.
        keeps_place: whether it can say where it stands.
        is_real: whether the rows are tensors of floats, once one has been read.
    """

    in_order = True
    fixed = False

    def __init__(self, source: Any) -> None:
        self.source = source
        self.batched = isinstance(source, DataLoader) and source.batch_sampler is not None
        self.keeps_place = hasattr(source, "state_dict") and hasattr(source, "load_state_dict")
        self.is_real = False
        self._rows: Iterator[Any] | None = None
        self._next = 0  # the place of the row that comes next
        self._left: list[Any] = []  # of a batch that was begun
        self._before: dict[str, Any] | None = None  # where the source stood before that batch
        self._resumed = False  # put back, and not yet read on

        known = None if isinstance(source, DataLoader) else getattr(source, "__len__", None)
        self._total = None if known is None else int(known())
        if self._total is None:
            self._total = self._count()

    def __len__(self) -> int:
        assert self._total is not None
        return self._total

    def read(self, places: Places) -> Array:
        """The rows at these places, which ascend."""
        if np.any(np.diff(places) < 0):
            raise ValueError("data: the rows of an iterable come in its own order, from 0 on")
        if self._resumed or self._rows is None or places[0] < self._next:
            self._begin(int(places[0]))

        items = []
        for place in places.tolist():
            while self._next < place:
                self._take()
            items.append(self._take())
        return stacked(items, places)

    def is_repeatable(self) -> bool:
        """Whether the first rows of two passes are the same, whatever torch's noise."""
        firsts = []
        for seed in (0, 1):
            with torch.random.fork_rng([]):
                torch.manual_seed(seed)
                self._begin(0)
                firsts.append(self.read(np.arange(min(_FEW, len(self)))))
        return bool(np.array_equal(firsts[0], firsts[1]))

    def state(self) -> dict[str, Any] | None:
        """Where the source stands, for a checkpoint; None where it cannot say, or has not begun."""
        if not self.keeps_place or self._rows is None:
            return None
        if self._left and self._before is not None:
            return self._before
        return {"place": self._next, "state": self.source.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Put the source back where it stood."""
        self.source.load_state_dict(state["state"])
        self._new_pass(state["place"])
        self._resumed = True

    def _begin(self, place: int) -> None:
        """Begin a pass, unless the source was put back where this row is still to come."""
        if self._resumed and place >= self._next:
            self._resumed = False
            return
        if self.keeps_place and self._rows is not None:
            for _ in self._rows:  # it would go on from there
                pass
        self._new_pass()

    def _new_pass(self, place: int = 0) -> None:
        """Begin to iterate, at the first row unless the source was put back at another."""
        # a loader draws a seed, which is no part of the run's noise
        with torch.random.fork_rng([]):
            self._rows = iter(self.source)
        self._next, self._left, self._resumed = place, [], False

    def _take(self) -> Any:
        """The next row."""
        if not self._left:
            self._left = self._fetch()
        self._next += 1
        return self._left.pop()

    def _fetch(self) -> list[Any]:
        """The rows that come next, the last one first."""
        assert self._rows is not None
        if self.batched and self.keeps_place:
            self._before = {"place": self._next, "state": self.source.state_dict()}
        try:
            item = next(self._rows)
        except StopIteration:
            raise ValueError(
                f"data: a pass gave {self._next} rows, expected {len(self)} as before: an iterable"
                " must give as many at each pass"
            ) from None
        x = first_of(item)
        self.is_real = is_floating(x)
        return list(x)[::-1] if self.batched else [x]

    def _count(self) -> int:
        """The number of rows of a pass."""
        with torch.random.fork_rng([]):
            return sum(len(first_of(item)) if self.batched else 1 for item in self.source)


def is_iterable(data: Any) -> bool:
    """Whether data are to be read by passes."""
    return isinstance(data, torch.utils.data.IterableDataset | DataLoader)
