"""zuko's spline transforms, imported so that torch's validation of arguments stays as it was."""

from __future__ import annotations

from torch.distributions import Distribution

_validate = Distribution._validate_args
from zuko.flows import MaskedAutoregressiveTransform  # noqa: E402  switches torch's validation off, for everyone
from zuko.transforms import MonotonicRQSTransform  # noqa: E402

Distribution.set_default_validate_args(_validate)

__all__ = ["BOUND", "MaskedAutoregressiveTransform", "MonotonicRQSTransform"]

BOUND = 5.0  # the splines are straight lines outside [-5, 5]
