"""Data sets: a train, a test and perhaps a validation split, of one shape and under one rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_flag, check_kind, check_real
from pyro_vae.data.binarise import BINARY, LEVELS, RULES, Binarise
from pyro_vae.data.codes import Levels
from pyro_vae.data.context import by_number, check_context_names
from pyro_vae.data.kinds import Columns, Kinds, check_columns, listed, told_columns, told_kinds
from pyro_vae.data.splits import Split
from pyro_vae.data.streams import Stream
from pyro_vae.results import Result, counted, share


def known_columns(columns: Columns) -> dict[str, Any]:
    """What is known of columns, as a `Dataset` is told it."""
    names, levels = columns.names, columns.levels
    return {"column_names": names, "levels": levels, "left_out": columns.left_out}


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Result):
    """Train, validation (or None) and test split of one set, all of one shape and one rule.

    Each row has a number, `split.numbers()`, which programs get as `index`. It is the `origin` of a
    split that has one: rows that were loaded keep the number that they have in their source. Any
    other split goes on after the largest number of the splits before it: train 0..N-1, valid
    N..N+V-1, then test. So a number means one row, and a model may look up covariates by it.

    Attributes:
        name: of the set, for titles and run folders.
        train, valid, test: the splits; where one serves as another too, both are the same object.
            Train and valid may be a `Stream`, whose rows are not in memory.
        column_names: what the columns of a table are called.
        levels: for each column what the codes 0, 1, ... of its categories stand for, None where it
            holds no categories.
        left_out: names of the columns of a file that are no data.
        context_names: what the columns of a context, or its codes, are called.

    Raises:
        ValueError: splits of different shapes, rules, kinds or contexts, or names that do not fit
            them.
    """

    name: str
    train: Split | Stream
    valid: Split | Stream | None
    test: Split
    column_names: tuple[str, ...] | None = field(default=None, kw_only=True)
    levels: tuple[Levels, ...] | None = field(default=None, kw_only=True)
    left_out: tuple[str, ...] = field(default=(), kw_only=True)
    context_names: tuple[str, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_kind("name", self.name, str, "a name")
        check_kind("train", self.train, (Split, Stream), "a Split")
        check_kind("test", self.test, Split, "a Split")
        if self.valid is not None:
            check_kind("valid", self.valid, (Split, Stream), "a Split, or None")

        for part, split in (("valid", self.valid), ("test", self.test)):
            if split is not None:
                self._check_alike(part, split)
        check_columns(self._columns(), self.size)
        check_context_names(self.context_names, self.train.context)
        self._number()

    def _check_alike(self, part: str, split: Split | Stream) -> None:
        """Raise a ValueError where a split has other data than train."""
        got, expected = split.shape, self.shape
        if got != expected:
            raise ValueError(
                f"{self.name}: a row of {part} has shape {got}, a row of train {expected}"
            )
        if split.binarise != self.binarise:
            raise ValueError(
                f"{self.name}: {part} is {split.binarise!r}, train is {self.binarise!r}"
            )
        if split.kinds != self.kinds:
            raise ValueError(
                f"{self.name}: the columns of {part} are of the kinds {split.kinds}, those of"
                f" train {self.kinds}"
            )

        contexts = []
        for context in (split.context, self.train.context):
            contexts.append(None if context is None else (context.dtype, context.shape[1:]))
        if contexts[0] != contexts[1]:
            raise ValueError(
                f"{self.name}: the context of {part} is {contexts[0]}, that of train {contexts[1]}"
            )

    def _columns(self) -> Columns:
        return Columns(self.kinds, self.levels, self.column_names, self.left_out)

    def _number(self) -> None:
        """Give numbers to the splits that have none, after those of the splits before them."""
        # by the id of what was given
        numbered: dict[int, Split | Stream] = {id(self.train): self.train}
        for name in ("valid", "test"):
            split = getattr(self, name)
            if split is None:
                continue

            if id(split) not in numbered:
                if split.origin is None:
                    taken = max(int(other.numbers().max()) for other in numbered.values()) + 1
                    origin = torch.arange(taken, taken + len(split), device=split.device)
                    numbered[id(split)] = split._numbered(origin)
                else:
                    numbered[id(split)] = split

            object.__setattr__(self, name, numbered[id(split)])

    @property
    def splits(self) -> dict[str, Split | Stream]:
        """The splits by their names; one that takes another's place is not named again."""
        present: dict[str, Split | Stream] = {"train": self.train}
        present |= {} if self.valid is None else {"valid": self.valid}
        present["test"] = self.test
        firsts = {id(split): name for name, split in reversed(present.items())}
        return {name: split for name, split in present.items() if firsts[id(split)] == name}

    def headline(self) -> str:
        return f"{self.name}: data of {self.told_values()}, binarise {self.binarise!r}"

    def told_values(self) -> str:
        """What a datum holds, in a few words: `28 x 28 pixels`, `3 columns (2 real, 1 counts)`."""
        shape = " x ".join(map(str, self.shape)) or "single"
        if not self.train.is_real:
            return f"{shape} pixels"
        if self.kinds is None or set(self.kinds) == {"real"}:
            return f"{shape} real values"
        return f"{shape} {'columns' if self.shape else 'values'} ({told_kinds(self.kinds)})"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, split in self.splits.items():
            numbers = split.numbers()
            told = f"{counted(len(split), 'data')}, numbers {numbers.min()} to {numbers.max()}"
            told += f", {share(split.missing)} of the values missing" if split.missing else ""
            yield name, f"{told}, seed {split.seed}, on {split.device}"

        if self.kinds is not None and (self.column_names or self.levels):
            yield "columns", told_columns(self._columns())
        if self.train.context is not None:
            names = self.context_names
            yield "context", self.told_context() + (f": {listed(names)}" if names else "")
        if self.left_out:
            yield "left out", listed(self.left_out)

    def told_context(self) -> str:
        """What a datum is given besides, in a few words; "" where that is nothing."""
        context = self.train.context
        if context is None:
            return ""
        return "a code" if context.ndim == 1 else counted(context.shape[1], "values")

    def summary(self) -> dict[str, Any]:
        """Name, shape, rule, and the number of data in each split; the kinds of the columns, and
        their names, where they are known.
        """
        sizes = {f"num_{name}": len(split) for name, split in self.splits.items()}
        found = {"name": self.name, "shape": list(self.shape), "binarise": self.binarise} | sizes
        for name in ("kinds", "column_names", "context_names"):
            if getattr(self, name) is not None:
                found[name] = list(getattr(self, name))
        return found

    def columns(self) -> dict[str, list[Any]]:
        """A row for each split."""
        splits = self.splits.values()
        return {
            "split": list(self.splits),
            "num_data": [len(split) for split in splits],
            "first_number": [int(split.numbers().min()) for split in splits],
            "missing": [split.missing for split in splits],
            "last_number": [int(split.numbers().max()) for split in splits],
            "fingerprint": [split.fingerprint for split in splits],
        }

    @property
    def num_rows(self) -> int:
        """One more than the largest number: the length of a table (of covariates, say) with a row
        for each datum.
        """
        splits = (self.train, self.valid, self.test)
        return max(int(split.numbers().max()) for split in splits if split is not None) + 1

    @cached_property
    def context(self) -> Tensor | None:
        """The contexts of all splits by number, `(num_rows, C)` floats or `(num_rows,)` int64, on
        the device of the data: row i is that of the datum whose number is i, and NaN, or -1,
        where there is none. None where the data have no context.
        """
        contexts, places = {}, {}
        for name, split in self.splits.items():
            if split.context is not None:
                contexts[name], places[name] = split.context, split.numbers()
        return by_number(contexts, places, self.num_rows) if contexts else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one datum, such as (1, 28, 28) or (D,)."""
        return self.train.shape

    @property
    def size(self) -> int:
        """Number of values in one datum."""
        return math.prod(self.shape)

    @property
    def mean(self) -> Tensor:
        """Mean of the training rows, float32 `(*shape)`; see `Split.mean`."""
        return self.train.mean

    @property
    def binarise(self) -> Binarise:
        """The rule of the splits."""
        return self.train.binarise

    @property
    def kinds(self) -> Kinds:
        """What the values of a table are, a text for each column; see `Split.kinds`."""
        return self.train.kinds

    @property
    def is_binary(self) -> bool:
        """Whether the data are zeros and ones: by the rule, or as they came."""
        x = self.train.sample.x
        return self.binarise in BINARY or bool(((x == 0) | (x == 1) | x.isnan()).all())

    @property
    def missing(self) -> float:
        """The share of the values of all splits that is missing (NaN)."""
        splits = self.splits.values()
        return sum(split.missing * len(split) for split in splits) / sum(map(len, splits))

    def bits_per_dim(self, nats: float, *, discrete: bool | None = None) -> float | None:
        """Bits per value, from the log-probability of a datum in nats (or its mean over the data).

        None where it is a density of real values, and where some values are missing: data have as
        many bits then as they have values, which differ.

        Args:
            nats: log p(x), or a bound of it.
            discrete: whether it is a log-probability of discrete values, or a bound of one, which
                is for the likelihood to say (`discrete_under`); None goes by the data, of which
                binary and dequantised ones are known to be discrete.

        For dequantised pixels they come from log p(x) - D log 256, which on average over the noise
        is a lower bound of the pixels' own log-probability: so the bits are an upper bound, and
        comparable with those of a discrete likelihood.
        """
        check_real("nats", nats)
        if discrete is not None:
            check_flag("discrete", discrete)

        dequantised = self.binarise == "dequantise" and not self.is_binary
        known = dequantised or self.is_binary if discrete is None else discrete
        if self.missing or not known:
            return None
        levels = LEVELS if dequantised else 1
        return math.log2(levels) - nats / (self.size * math.log(2))

    def under(self, binarise: Binarise) -> Dataset:
        """The same rows under another rule, with an evaluation draw of their own."""
        check_choice("binarise", binarise, RULES)
        return self._changed(lambda split: split.under(binarise))

    def to(self, device: str | torch.device) -> Dataset:
        """The same set on another device; fingerprints do not change."""
        return self._changed(lambda split: split.to(device))

    def _changed(self, change: Callable[[Any], Any]) -> Dataset:
        """The set with its splits changed; where one served as another too, it still does."""
        changed: dict[int, Any] = {}
        for split in (self.train, self.valid, self.test):
            if split is not None and id(split) not in changed:
                changed[id(split)] = change(split)

        train, test = changed[id(self.train)], changed[id(self.test)]
        valid = None if self.valid is None else changed[id(self.valid)]
        return replace(self, train=train, valid=valid, test=test)
