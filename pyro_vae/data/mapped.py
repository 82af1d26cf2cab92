"""A memory-mapped array, read by rows, without filling the memory with what was read.

The pages of a file that were read count as the process's own memory until the system takes them
back, which it does late. Here they are given back every now and then; they stay in the system's
cache as long as nobody needs the room.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vae.data.arrays import KINDS, Array
from pyro_vae.data.files import torn_is_told
from pyro_vae.data.readers import Places

_PAGES = 2**16  # bytes that the system maps around a row that is read
_MOST = 2**26  # bytes of pages that are kept


class Mapped:
    """The rows of a `numpy.memmap`."""

    in_order = False
    fixed = True

    def __init__(self, array: np.memmap[Any, Any], source: str) -> None:
        if array.dtype.kind not in KINDS or array.ndim == 0:
            raise ValueError(
                f"{source} holds {array.dtype} of shape {array.shape}, expected rows of bool,"
                " integers or floats"
            )
        self.array: Array = np.asarray(array)
        self.source = source
        self._file: mmap.mmap | None = getattr(array, "_mmap", None)
        self._size = 0 if self._file is None else self._file.size()
        row = self.array[:1].nbytes
        self._each = row + _PAGES  # bytes of pages that a row takes, at most
        self._read = 0
        # what is written to a copy-on-write map would be lost with its pages
        shared = getattr(array, "mode", "c") != "c" and hasattr(mmap, "MADV_DONTNEED")
        large = self.array.nbytes > _MOST
        self._pages = self._file if shared and large else None

    def __len__(self) -> int:
        return len(self.array)

    def read(self, places: Places) -> Array:
        """These rows, copied into memory; a ValueError where the file has been cut, since to read
        beyond its end would kill the process.
        """
        size = 0 if self._file is None else self._file.size()
        if size < self._size:
            raise ValueError(
                f"{self.source}: the file has {size:,} bytes, expected {self._size:,} as when it"
                " was opened: it has been cut since; put the old file back"
            )
        found: Array = self.array.take(places, axis=0)
        self._read += len(places) * self._each
        if self._read > _MOST and self._pages is not None:
            self._pages.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return found


def map_file(path: Path) -> Mapped:
    """Map a .npy file; a ValueError where it cannot be mapped."""
    if path.suffix.lower() != ".npy":
        raise ValueError(
            f"memory_map: got {path}, expected a .npy file or a folder of images; an .npz is packed"
            " and cannot be mapped: save its arrays as .npy files"
        )
    with torn_is_told(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return Mapped(array, str(path))
