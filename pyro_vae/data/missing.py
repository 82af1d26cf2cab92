"""The one place that decides whether a missing value, NaN, may stand in data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NAN_IS_REFUSED = True


def unfit(values: Any) -> Any:
    """Where values of a tensor or an array of floats may not stand in data: inf, and NaN as long as
    it is refused.
    """
    library: Any = torch if isinstance(values, Tensor) else np
    return ~library.isfinite(values) if NAN_IS_REFUSED else library.isinf(values)


def check_missing(values: NDArray[Any], where: str) -> None:
    """Raise a ValueError where float32 data `(N, ...)` hold values that may not stand in them."""
    rows = np.flatnonzero(unfit(values).any(axis=tuple(range(1, values.ndim))))
    if len(rows):
        raise ValueError(
            f"{where} holds NaN or inf (as float32) in {len(rows)} of {len(values)} rows, "
            f"the first is row {rows[0]}; drop or impute those rows"
        )
