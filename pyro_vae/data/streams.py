"""Streams: a part of a data set whose rows stay where they are.

A `Stream` is to `fit` what a `Split` is, with the same rules, numbers and draws: on the same rows
both give the same run, bit for bit. It holds 8 bytes for each row, its place in the source, which
is also the row's number. What needs all values goes through them in blocks: the fingerprint, which
is that of the same rows in memory, and the mean. What looks at some rows (checks, a start from the
data, pictures) looks at `sample`, which is all of them where they are few.

A static binarisation is refused: its one draw, of all rows, would have to be kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import (
    check_index,
    check_integer,
    check_kind,
    check_seed,
    is_integer,
    refuse,
)
from pyro_vae.data.binarise import (
    LEVELS,
    REDRAWN,
    Binarise,
    draw_seed,
    evaluation_block,
    fast_bernoulli_draw,
    fast_dequantised,
)
from pyro_vae.data.pixels import check_integers, check_pixels
from pyro_vae.data.readers import Reader, affordable, some_of
from pyro_vae.data.splits import Split

_CPU = torch.device("cpu")
_BLOCK = 2**22  # values of a block


@dataclass(frozen=True, eq=False, repr=False)
class Stream:
    """One part of a data set that is read as it is needed, with its rule of binarisation.

    Attributes:
        name: "train" or "valid"; together with the seed it fixes the evaluation draw.
        reader: the rows of the source, as tensors.
        origin: (N,) int64, the places of this part's rows in the source, and their numbers.
        binarise: the rule, any but "static".
        seed: of the evaluation draw.
        device: where programs get the rows.
        workers: processes that read ahead; 0 for a thread, which is as fast where a row is read
            without much Python.

    Raises:
        ValueError: no rows, places outside the source, a rule that is unknown, static, or not for
            these values.
    """

    name: str
    reader: Reader
    origin: Tensor
    binarise: Binarise
    seed: int = 0
    device: torch.device = _CPU
    workers: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            refuse("name", self.name, "a name such as 'train'")
        check_kind("reader", self.reader, Reader, "a Reader")
        check_index("origin", self.origin, num_rows=len(self.reader))
        check_seed("seed", self.seed)
        check_integer("workers", self.workers, 0)
        if len(self.origin) == 0:
            raise ValueError(f"origin: got no rows for {self.name!r}, expected at least one")
        if self.binarise == "static":
            raise ValueError(
                f"{self.name}: binarise='static' keeps one draw of all rows, and these are not in"
                " memory: use 'dynamic', or save the binarised data"
            )
        check_pixels(self.name, self.pixels_at(torch.zeros(1, dtype=torch.int64)), self.binarise)

    def __len__(self) -> int:
        return len(self.origin)

    def __repr__(self) -> str:
        kind = str(self.reader.dtype).removeprefix("torch.")
        return (
            f"Stream({self.name!r}, {len(self)} x {self.shape} {kind} of {self.reader.source}, "
            f"binarise={self.binarise!r}, seed={self.seed}, device={str(self.device)!r})"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one datum."""
        return self.reader.shape

    @property
    def is_real(self) -> bool:
        """Whether the values are real, and no pixels."""
        return self.reader.dtype != torch.uint8

    @property
    def x(self) -> Tensor:
        """Refused: the rows of a stream are not in memory."""
        raise ValueError(
            f"x: the {len(self):,} rows of {self.name!r} are not in memory: use take(n).x,"
            " sample.x, or blocks(size), whose parts have an x"
        )

    @property
    def pixels(self) -> Tensor:
        """Refused, as `x`; `pixels_at` reads some."""
        return self.x

    @property
    def labels(self) -> None:
        """A stream carries none, and neither kinds of columns nor a context."""
        return None

    kinds = context = labels

    @property
    def missing(self) -> float:
        """The share of the values that is missing (NaN), of the sample's."""
        return self.sample.missing

    @cached_property
    def sample(self) -> Split:
        """Rows in memory, evenly spread, the one of the largest number among them, or the first of
        an iterable: all where they are few, up to 10,000, else with an evaluation draw of their
        own.
        """
        rows = self.reader.rows
        few = some_of(rows, len(self), affordable(math.prod(self.shape)))
        if not rows.in_order:
            few = np.union1d(few, [int(self.origin.argmax())])
        chosen = torch.from_numpy(few)
        pixels, numbers = self.pixels_at(chosen), self.origin[chosen]
        split = Split(self.name, pixels, self.binarise, self.seed, origin=numbers)
        return split.to(self.device)

    @cached_property
    def mean(self) -> Tensor:
        """Mean of the data over all rows and the draws, as `Split.mean`; read in blocks."""
        if len(self.sample) == len(self):
            return self.sample.mean

        total = torch.zeros(self.shape, dtype=torch.float64)
        for places in torch.arange(len(self)).split(self._rows_of_a_block):
            total += self.pixels_at(places).sum(0, dtype=torch.float64)
        mean = total / len(self)
        if not self.is_real:
            mean = (mean + 0.5) / LEVELS if self.binarise == "dequantise" else mean / 255
        return mean.to(torch.float32).to(self.device)

    def numbers(self, index: Tensor | None = None) -> Tensor:
        """What programs get as `index` for the rows `index` (B,), or for all rows: (B,) int64."""
        numbers = self.origin.to(self.device)
        if index is None:
            return numbers
        check_integers(index)
        return numbers[index]

    def blocks(self, size: int | None = None) -> Iterator[Split]:
        """All rows in blocks of `size`, each in memory, with the whole's evaluation draw."""
        if size is not None:
            check_integer("size", size, 1)
        return self._blocks(size or self._rows_of_a_block)

    def _blocks(self, size: int) -> Iterator[Split]:
        generator = torch.Generator().manual_seed(draw_seed(self.seed, self.name))
        for places in torch.arange(len(self)).split(size):
            pixels = self.pixels_at(places)
            drawn = evaluation_block(pixels, self.binarise, generator)
            numbers = self.origin[places]
            block = Split(self.name, pixels, self.binarise, origin=numbers, drawn=drawn)
            yield block.to(self.device)

    @cached_property
    def fingerprint(self) -> str:
        """Checksum of the evaluation draw of all rows, that of a `Split` of the same rows; reads
        all of them, in blocks.
        """
        digest = None
        for block in self.blocks():
            if digest is None:
                shape = (len(self), *self.shape)
                digest = hashlib.sha256(f"{block.x.dtype}{shape}".encode())
            flat = block.x.cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
        assert digest is not None
        return digest.hexdigest()[:16]

    @cached_property
    def identity(self) -> str:
        """What a run that goes on compares: the fingerprint where there are few rows, else the
        sample's, since to read all of them takes as long as an epoch.
        """
        found = self.sample.fingerprint
        few = len(self.sample) == len(self)
        return found if few else f"{found} of {len(self.sample)} of {len(self)} rows"

    def bits(self, size: int, generator: torch.Generator) -> Tensor | None:
        """The noise of `size` rows, see `Split.bits`."""
        return self.sample.bits(size, generator)

    def pixels_at(self, index: Tensor) -> Tensor:
        """The rows `index` (B,) of this part as they are stored, on the CPU, `(B, *shape)`."""
        return self.reader.tensor(self.origin[index].numpy())

    def visit(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The rows `index` (B,), on the CPU, and their numbers: pixels where `bits` make data of
        them, else the data.
        """
        pixels = self.pixels_at(index)
        if self.binarise not in REDRAWN:
            pixels = evaluation_block(pixels, self.binarise, torch.Generator())
        return pixels, self.origin[index]

    def batch(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """The rows of one training visit, see `Split.batch`."""
        check_integers(index)
        check_index("index", index, num_rows=len(self))
        pixels, _ = self.visit(index.cpu())
        return drawn(self.binarise, pixels.to(self.device), self.bits(len(index), generator))

    def to(self, device: str | torch.device) -> Stream:
        """The same rows, handed to programs on another device."""
        return replace(self, device=torch.device(device))

    def under(self, binarise: Binarise) -> Stream:
        """The same rows under another rule."""
        return replace(self, binarise=binarise)

    def take(self, n: int) -> Split:
        """The first n rows, in memory, with their evaluation draw."""
        if not is_integer(n) or not 1 <= n <= len(self):
            raise ValueError(
                f"n={n!r}: expected 1 <= n <= {len(self)}, the number of rows in {self.name!r}"
            )
        rows = torch.arange(n)
        pixels, numbers = self.pixels_at(rows), self.origin[rows]
        split = Split(self.name, pixels, self.binarise, self.seed, origin=numbers)
        return split.to(self.device)

    @property
    def _rows_of_a_block(self) -> int:
        return max(1, _BLOCK // max(1, math.prod(self.shape)))


def drawn(binarise: Binarise, pixels: Tensor, bits: Tensor | None) -> Tensor:
    """The data of a training visit, from what `Stream.visit` gave: a pure function of tensors."""
    if bits is None:
        return pixels
    draw = fast_dequantised if binarise == "dequantise" else fast_bernoulli_draw
    return draw(pixels, bits)
