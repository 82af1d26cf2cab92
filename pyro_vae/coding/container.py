"""The file of compressed data: what a decoder must know, the words of the stack, and checksums.

    8 bytes   magic, of which byte 8 is the version
    5         bits of the buckets, code of the dtype, dimensions n, latents for each datum K (2)
    4 n + 8   shape, number of data
    4         words at the bottom that were there before the first datum
    16 + 8    fingerprint of the programs, checksum of the data
    4 w       words of the stack, the top one last
    16        checksum of all bytes before it

All numbers are little-endian, all checksums the first bytes of a SHA-256. The last one notices
damage of any kind, the first that the file is of other programs; that of the data, and the bottom
of the stack, would tell if the two ends had not computed the same.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_vae.coding.buckets import MOST_BUCKETS
from pyro_vae.coding.stack import Words

Numbers = NDArray[Any]
"""Whole numbers from 0 on, of symbols: zeros and ones, say."""

MAGIC = b"\x89pvbits\x01"
MOST_PARTICLES = 1000
DTYPES = (torch.float32, torch.float64, torch.uint8, torch.bool, torch.int64, torch.int32)
"""Of the data, by their codes."""

_FIRST = struct.Struct("<8sBBBH")
_THEN = struct.Struct("<QI16s8s")
_CHECK = 16  # bytes of the file's own checksum
_MOST_DATA, _MOST_VALUES, _MOST_DIMS = 10**9, 2**24, 8


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        bucket_bits: k, where a latent is one of 2^k buckets.
        dtype: of the data.
        num_particles: K, latents for each datum.
        shape: of a datum.
        num_data: N.
        num_initial: words that were on the stack before the first datum.
        programs: fingerprint of the programs, 16 bytes.
        data: checksum of the data, 8 bytes.
        words: of the stack.
    """

    bucket_bits: int
    dtype: torch.dtype
    num_particles: int
    shape: tuple[int, ...]
    num_data: int
    num_initial: int
    programs: bytes
    data: bytes
    words: Words


def pack(contents: Contents) -> bytes:
    """The bytes of a file."""
    c = contents
    code = DTYPES.index(c.dtype)
    first = _FIRST.pack(MAGIC, c.bucket_bits, code, len(c.shape), c.num_particles)
    shape = struct.pack(f"<{len(c.shape)}I", *c.shape)
    then = _THEN.pack(c.num_data, c.num_initial, c.programs, c.data)
    made = first + shape + then + c.words.astype("<u4").tobytes()
    return made + _checksum(made)


def unpack(data: bytes) -> Contents:
    """What the bytes of a file hold.

    Raises:
        ValueError: no such file, one of another version, or a damaged one.
    """
    if data[: len(MAGIC) - 1] != MAGIC[:-1]:
        raise ValueError(
            f"data: got {len(data):,} bytes that begin otherwise than what `compress` makes,"
            " expected such, or the file is damaged"
        )
    if data[len(MAGIC) - 1 : len(MAGIC)] != MAGIC[-1:]:
        raise ValueError(
            "data: they are of another version, or damaged, expected those of version 1"
        )
    if len(data) < _FIRST.size + _CHECK or _checksum(data[:-_CHECK]) != data[-_CHECK:]:
        raise ValueError(
            "data: their checksum is not that of the rest: they are damaged, or cut off; expected"
            " the bytes as `compress` made them"
        )
    return _read(data[:-_CHECK])


def _read(data: bytes) -> Contents:
    """What bytes that are whole say; a stranger may have made them."""
    _, bits, code, dims, particles = _FIRST.unpack_from(data)
    start = _FIRST.size + 4 * dims
    size = len(data) - start - _THEN.size
    if dims > _MOST_DIMS or size < 0 or size % 4 or code >= len(DTYPES):
        raise ValueError("data: their header makes no sense, expected that of `compress`")

    shape = struct.unpack_from(f"<{dims}I", data, _FIRST.size)
    num_data, initial, programs, data_check = _THEN.unpack_from(data, start)
    words = np.frombuffer(data, "<u4", offset=start + _THEN.size).astype(np.uint32)

    fits = 1 <= bits <= MOST_BUCKETS and 1 <= particles <= MOST_PARTICLES
    fits = fits and 1 <= num_data <= _MOST_DATA and 1 <= math.prod(shape) <= _MOST_VALUES
    if not fits or len(words) < 2 or words[-1] == 0 or initial > len(words) + 2**20:
        raise ValueError("data: their header makes no sense, expected that of `compress`")
    return Contents(
        bits, DTYPES[code], particles, shape, num_data, initial, programs, data_check, words
    )


def checksum_of(x: Numbers) -> bytes:
    """Of symbols `(N, D)`, 8 bytes."""
    whole = np.packbits(x.astype(np.uint8)) if x.max() < 2 else x.astype("<u2")
    return hashlib.sha256(whole.tobytes()).digest()[:8]


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_CHECK]
