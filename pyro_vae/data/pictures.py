"""A folder of pictures, each read when its row is: by a few threads, since decoding leaves Python
free.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pyro_vae.data.arrays import Array
from pyro_vae.data.files import check_same_picture, image_paths, read_image
from pyro_vae.data.readers import Places

_THREADS = 4


class Pictures:
    """The pictures directly in a folder, in the order of their names, as rows (C, H, W) uint8."""

    in_order = False
    fixed = True

    def __init__(self, folder: Path) -> None:
        self.paths = image_paths(folder)
        self.first = read_image(self.paths[0])

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, places: Places) -> Array:
        """The pictures at these places; a ValueError that names one of another size or colour."""
        with ThreadPoolExecutor(_THREADS) as threads:
            images = list(threads.map(self._read, places.tolist()))
        return np.stack(images)

    def _read(self, place: int) -> Array:
        image = read_image(self.paths[place])
        check_same_picture(image, self.paths[place], self.first, self.paths[0])
        return image
