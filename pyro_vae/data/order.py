"""The fixed order of the rows of a set, from which its splits are cut."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

PERMUTATION_SEED = 20_131_220  # arbitrary, but fixed for good: the splits depend on it
MIN_ROWS = 10


def permutation(num_rows: int) -> Tensor:
    """The fixed permutation of so many rows, (N,) int64."""
    frozen = np.random.RandomState(PERMUTATION_SEED)  # numpy promises never to change its streams
    return torch.from_numpy(frozen.permutation(num_rows))
