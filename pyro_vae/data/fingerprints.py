"""Checksums of data: whether two numbers were computed on the same."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_vae.arguments import check_dense

_LENGTH = 16  # hex digits
_WORD = 8  # bytes


def fingerprint(x: Tensor) -> str:
    """Checksum of a tensor: the first 16 hex digits of the SHA-256 of its dtype, shape and bytes.

    Args:
        x: any dense tensor, on any device; the device does not enter.

    Returns:
        16 hex digits.
    """
    check_dense("x", x)
    flat = x.detach().cpu().contiguous().reshape(-1)
    digest = hashlib.sha256(f"{x.dtype}{tuple(x.shape)}".encode())
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_LENGTH]


def with_context(data: str, context: Tensor | None) -> str:
    """The checksum of data that have a context; that of the data alone where they have none."""
    if context is None:
        return data
    both = f"{data} {fingerprint(context)}"
    return hashlib.sha256(both.encode()).hexdigest()[:_LENGTH]


def sum_of_rows(rows: Tensor, places: Tensor) -> int:
    """A checksum of rows at their places, whatever their order: those of the parts of a set add up,
    modulo 2**64, to that of the whole.

    It is a sum of products with odd numbers that place and position choose: one changed word is
    always noticed, others but for one case in 2**64 or so; it is no guard against who means harm.

    Args:
        rows: `(B, *shape)`, on the CPU.
        places: `(B,)` int64, the place of each row in its set.

    Returns:
        0 to 2**64 - 1.

    Example:
        >>> x, places = torch.arange(12.0).reshape(4, 3), torch.arange(4)
        >>> parts = [sum_of_rows(x[i], places[i]) for i in ([2, 0], [1, 3])]
        >>> sum(parts) % 2**64 == sum_of_rows(x, places) != sum_of_rows(x.flip(0), places)
        True
    """
    raw = rows.contiguous().reshape(len(rows), -1).view(torch.uint8).numpy()
    words = np.pad(raw, ((0, 0), (0, -raw.shape[1] % _WORD))).view(np.uint64)
    position = np.arange(1, words.shape[1] + 1, dtype=np.uint64)
    each = (words * _odd(position)).sum(1, dtype=np.uint64)
    of_place = _odd(~places.numpy().astype(np.uint64))
    return int((each * of_place).sum(dtype=np.uint64))


def _odd(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """An odd number for each number: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
