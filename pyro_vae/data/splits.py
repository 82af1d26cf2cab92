"""Splits: pixels in memory, the rule that makes data of them (`binarise.py`), and the checksum of
these data.

The fingerprint of a split's evaluation draw says whether two numbers were computed on the same
data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import (
    check_choice,
    check_dense,
    check_index,
    check_kind,
    check_seed,
    check_shape,
    is_integer,
    refuse,
)
from pyro_vae.data.binarise import (
    LEVELS,
    REDRAWN,
    RULES,
    Binarise,
    evaluation_draw,
    fast_bernoulli_draw,
    fast_dequantised,
    random_bits,
)
from pyro_vae.data.context import check_context
from pyro_vae.data.fingerprints import fingerprint, with_context
from pyro_vae.data.kinds import Kinds, check_kinds, kept_under, told_kinds
from pyro_vae.data.labels import Names, check_labels
from pyro_vae.data.pixels import check_integers, check_pixels
from pyro_vae.results import share


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a data set, with its rule of binarisation.

    Attributes:
        name: "train", "valid" or "test"; together with the seed it fixes the evaluation draw.
        pixels: uint8, float32 or float64, `(N, *shape)`; NaN is a missing value.
        binarise: the rule, see `pyro_vae.data.binarise`.
        seed: of the evaluation draw.
        origin: (N,) int64, not negative, the number of each row, which programs get as `index`;
            0..N-1 unless given. A `Dataset` gives its splits numbers that do not overlap.
        drawn: the evaluation draw where it is already known; leave it out (`to` and `take` hand it
            on).
        labels: (N,) integers, the class of each row, for the colours of pictures; no program and
            no fingerprint sees them.
        label_names: what the labels 0, 1, ... are called.
        kinds: what the values of `x` are, of a table a text for each column: "real", "binary",
            "counts" or "categories:K" (`pyro_vae.data.kinds`); None for images, and where it is not
            known.
        context: what is known of each row besides, for model and guide: floats `(N, C)` or int64
            `(N,)`, see `pyro_vae.data.context`; it is in the fingerprint.

    Raises:
        ValueError: an unknown rule, another dtype, no rows, inf, NaN alone, floats outside [0, 1]
            under a rule that binarises, labels, kinds or a context that do not fit.
    """

    name: str
    pixels: Tensor
    binarise: Binarise
    seed: int = 0
    origin: Tensor | None = field(default=None, kw_only=True)
    drawn: Tensor | None = field(default=None, kw_only=True)
    labels: Tensor | None = field(default=None, kw_only=True)
    label_names: Names = field(default=None, kw_only=True)
    kinds: Kinds = field(default=None, kw_only=True)
    context: Tensor | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            refuse("name", self.name, "a name such as 'train'")
        check_seed("seed", self.seed)
        check_dense("pixels", self.pixels, "a tensor (N, *shape)")
        check_pixels(self.name, self.pixels, self.binarise)

        if self.origin is not None:
            check_index("origin", self.origin, len(self.pixels))
        if self.drawn is not None:
            check_shape("drawn", self.drawn, self.pixels.shape)
        check_labels(self.labels, self.label_names, len(self.pixels))
        check_kinds(self.kinds, self.pixels, self.binarise)
        check_context(self.context, len(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one datum."""
        return tuple(self.pixels.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.pixels.device

    @property
    def is_real(self) -> bool:
        """Whether the values are real, and no pixels."""
        return self.pixels.is_floating_point()

    @property
    def sample(self) -> Split:
        """The rows that stand for the split where some will do: all of them."""
        return self

    def __repr__(self) -> str:
        kind = str(self.pixels.dtype).removeprefix("torch.")
        if self.kinds is not None:
            kind += f" ({told_kinds(self.kinds)})"
        kind += f" ({share(self.missing)} missing)" if self.missing else ""
        given = ""
        if self.context is not None:
            given = f", context {tuple(self.context.shape[1:])}"
        return (
            f"Split({self.name!r}, {len(self)} x {tuple(self.pixels.shape[1:])} {kind}{given}, "
            f"binarise={self.binarise!r}, seed={self.seed}, device={str(self.pixels.device)!r})"
        )

    @cached_property
    def x(self) -> Tensor:
        """The evaluation draw, floats `(N, *shape)`, made once and kept; treat it as read-only."""
        if self.drawn is not None:
            return self.drawn
        draw = evaluation_draw(self.pixels, self.binarise, self.seed, self.name)
        return draw.to(self.pixels.device)

    @cached_property
    def mean(self) -> Tensor:
        """Mean of the data over the rows and the draws, float32 `(*shape)`: in [0, 1] for pixels,
        in their own units for floats. Missing values are left out; one that always is has 0.
        """
        pixels = self.pixels.cpu()  # summed in integers or float64: the same on every device
        if pixels.dtype == torch.uint8:
            mean = pixels.sum(0, dtype=torch.int64).to(torch.float64) / len(self)
            mean = (mean + 0.5) / LEVELS if self.binarise == "dequantise" else mean / 255
        elif self.missing:
            mean = pixels.nanmean(0, dtype=torch.float64).nan_to_num()
        else:
            mean = pixels.mean(0, dtype=torch.float64)
        return mean.to(torch.float32).to(self.pixels.device)

    @cached_property
    def missing(self) -> float:
        """The share of the values that is missing (NaN)."""
        if not self.pixels.is_floating_point():
            return 0.0
        return self.pixels.isnan().double().mean().item()

    def numbers(self, index: Tensor | None = None) -> Tensor:
        """What programs get as `index` for the rows `index` (B,), or for all rows: (B,) int64."""
        if index is None:
            index = torch.arange(len(self), device=self.pixels.device)
        check_integers(index)
        return index if self.origin is None else self.origin[index]

    @cached_property
    def fingerprint(self) -> str:
        """Checksum of the evaluation draw `x`, and of the context where there is one: 16 hex
        digits, the same on every device.
        """
        return with_context(fingerprint(self.x), self.context)

    @property
    def identity(self) -> str:
        """What a run that goes on compares, see `Stream.identity`."""
        return self.fingerprint

    def bits(self, size: int, generator: torch.Generator) -> Tensor | None:
        """The noise of `size` rows under a rule that draws at each visit, `random_bits`
        `(size, *shape)`; None under any other.

        Raises:
            ValueError: a generator on another kind of device than the pixels.
        """
        if self.binarise not in REDRAWN:
            return None
        check_kind("generator", generator, torch.Generator, "a torch.Generator")
        if generator.device.type != self.pixels.device.type:
            raise ValueError(
                f"generator: it is on {generator.device}, the pixels are on {self.pixels.device}; "
                f"make it with torch.Generator(device={str(self.pixels.device)!r})"
            )
        return random_bits((size, *self.pixels.shape[1:]), generator)

    def rows(self, index: Tensor, bits: Tensor | None) -> Tensor:
        """The rows of one training visit, floats `(B, *shape)`: a pure function of tensors.

        Args:
            index: (B,) int64, rows of this split, on the device of the pixels.
            bits: from `bits`, for a fresh draw; None gives the rows of the evaluation draw.
        """
        if bits is None:
            return self.x.index_select(0, index)
        draw = fast_dequantised if self.binarise == "dequantise" else fast_bernoulli_draw
        return draw(self.pixels.index_select(0, index), bits)

    def batch(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """The rows of one training visit, `rows(index, bits(B, generator))`.

        Args:
            index: (B,) int64, rows of this split, on the device of the pixels.
            generator: on the same device; only the rules that draw at each visit read it.

        Returns:
            `(B, *shape)` floats: a fresh draw under such a rule, else the evaluation draw's rows.

        Raises:
            ValueError: an index that is not (B,) int64, or a generator on another kind of device.
        """
        check_integers(index)
        check_index("index", index, num_rows=len(self))
        return self.rows(index, self.bits(len(index), generator))

    def under(self, binarise: Binarise) -> Split:
        """The same rows under another rule, with an evaluation draw of their own; their kinds go
        where the rule changes the values.
        """
        check_choice("binarise", binarise, RULES)
        kinds = kept_under(self.kinds, self.pixels, binarise)
        return replace(self, binarise=binarise, drawn=None, kinds=kinds)

    def to(self, device: str | torch.device) -> Split:
        """The same split on another device, with the same evaluation draw."""
        moved = {name: value.to(device) for name, value in self._per_row().items()}
        known = self._known_draw()
        drawn = None if known is None else known.to(device)
        return replace(self, pixels=self.pixels.to(device), drawn=drawn, **moved)

    def take(self, n: int) -> Split:
        """The first n rows; their evaluation draw is the first n rows of this one's.

        Raises:
            ValueError: unless 1 <= n <= len(self).
        """
        if not is_integer(n) or not 1 <= n <= len(self):
            raise ValueError(
                f"n={n!r}: expected 1 <= n <= {len(self)}, the number of rows in {self.name!r}"
            )

        drawn = self.x[:n].clone() if self._is_random() else None
        taken = {name: value[:n] for name, value in self._per_row().items()}
        return replace(self, pixels=self.pixels[:n], drawn=drawn, **taken)

    def _per_row(self) -> dict[str, Any]:
        """What goes with the rows, those of it that there are."""
        found = {name: getattr(self, name) for name in ("origin", "labels", "context")}
        return {name: value for name, value in found.items() if value is not None}

    def _numbered(self, origin: Tensor) -> Split:
        """The same rows by other numbers, with the same evaluation draw."""
        return replace(self, origin=origin, drawn=self._known_draw())

    def _is_random(self) -> bool:
        return self.binarise in ("dynamic", "static", "dequantise")

    def _known_draw(self) -> Tensor | None:
        """The evaluation draw of a random rule, if made; under other rules the pixels give it."""
        return self.__dict__.get("x", self.drawn) if self._is_random() else None
