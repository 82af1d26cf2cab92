"""Data sets: a train, a test and perhaps a validation split, of one shape and under one rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_kind, check_real
from pyro_vae.data.binarise import BINARY, LEVELS, RULES, Binarise
from pyro_vae.data.splits import Split
from pyro_vae.data.streams import Stream
from pyro_vae.results import Result, counted


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

    Raises:
        ValueError: splits of different shapes or rules.
    """

    name: str
    train: Split | Stream
    valid: Split | Stream | None
    test: Split

    def __post_init__(self) -> None:
        check_kind("name", self.name, str, "a name")
        check_kind("train", self.train, (Split, Stream), "a Split")
        check_kind("test", self.test, Split, "a Split")
        if self.valid is not None:
            check_kind("valid", self.valid, (Split, Stream), "a Split, or None")

        for part, split in (("valid", self.valid), ("test", self.test)):
            if split is None:
                continue
            got, expected = split.shape, self.shape
            if got != expected:
                raise ValueError(
                    f"{self.name}: a row of {part} has shape {got}, a row of train {expected}"
                )
            if split.binarise != self.binarise:
                raise ValueError(
                    f"{self.name}: {part} is {split.binarise!r}, train is {self.binarise!r}"
                )

        self._number()

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
        shape = " x ".join(map(str, self.shape)) or "single"
        kind = "real values" if self.train.is_real else "pixels"
        return f"{self.name}: data of {shape} {kind}, binarise {self.binarise!r}"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, split in self.splits.items():
            numbers = split.numbers()
            told = f"{counted(len(split), 'data')}, numbers {numbers.min()} to {numbers.max()}"
            yield name, f"{told}, seed {split.seed}, on {split.device}"

    def summary(self) -> dict[str, Any]:
        """Name, shape, rule, and the number of data in each split."""
        sizes = {f"num_{name}": len(split) for name, split in self.splits.items()}
        return {"name": self.name, "shape": list(self.shape), "binarise": self.binarise} | sizes

    def columns(self) -> dict[str, list[Any]]:
        """A row for each split."""
        splits = self.splits.values()
        return {
            "split": list(self.splits),
            "num_data": [len(split) for split in splits],
            "first_number": [int(split.numbers().min()) for split in splits],
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
    def is_binary(self) -> bool:
        """Whether the data are zeros and ones: by the rule, or as they came."""
        x = self.train.sample.x
        return self.binarise in BINARY or bool(((x == 0) | (x == 1)).all())

    def bits_per_dim(self, nats: float) -> float | None:
        """Bits per value, from the log-probability of a datum in nats (or its mean over the data).

        None for real values.

        For dequantised pixels they come from log p(x) - D log 256, which on average over the noise
        is a lower bound of the pixels' own log-probability: so the bits are an upper bound, and
        comparable with those of a discrete likelihood.
        """
        check_real("nats", nats)
        if self.is_binary:
            levels = 1
        elif self.binarise == "dequantise":
            levels = LEVELS
        else:
            return None
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
