"""Which pixels, or values, can be a split's under a rule, and which numbers name its rows."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.data.binarise import RULES


def check_pixels(name: str, pixels: Tensor, binarise: str) -> None:
    """Raise unless the pixels can be used under the rule (see `Split`)."""
    if binarise not in RULES:
        raise ValueError(f"binarise={binarise!r}: expected one of {', '.join(map(repr, RULES))}")

    if pixels.dtype not in (torch.uint8, torch.float32, torch.float64):
        raise ValueError(
            f"{name}: pixels have dtype {pixels.dtype}, expected torch.uint8 (0..255),"
            " torch.float32 or torch.float64"
        )
    if pixels.ndim < 1 or pixels.numel() == 0:
        raise ValueError(
            f"{name}: pixels have shape {tuple(pixels.shape)}, "
            "expected (N, ...) with at least one row and one value a row"
        )

    if pixels.dtype == torch.uint8:
        return
    if bool(torch.isinf(pixels).any()):
        raise ValueError(
            f"{name}: the pixels, or values, hold inf; drop those rows, or put NaN where one is"
            " missing"
        )
    there = pixels[~pixels.isnan()] if pixels.isnan().any() else pixels
    if not there.numel():
        raise ValueError(f"{name}: the pixels, or values, are NaN, expected some that are there")
    if binarise == "dequantise":
        raise ValueError(
            f"{name}: binarise='dequantise' fills the gaps between the grey levels"
            f" 0..255, and these are real values ({pixels.dtype}); save 8-bit pixels as"
            " uint8, or use binarise='none'"
        )

    low, high = float(there.min()), float(there.max())
    if binarise != "none" and (low < 0 or high > 1):
        raise ValueError(
            f"{name}: binarise={binarise!r} reads floats as probabilities in [0, 1], and the"
            f" values lie in [{low:g}, {high:g}]; rescale them to [0, 1], save grey pixels as"
            " uint8, or use binarise='none'"
        )


def check_integers(index: object) -> None:
    """Raise a ValueError unless these are row numbers `(B,)`, judged by dtype and shape alone: a
    captured graph knows no values.
    """
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1:
        what = type(index).__name__
        if isinstance(index, Tensor):
            what = f"{tuple(index.shape)} {index.dtype}"
        raise ValueError(f"index: expected (B,) torch.int64 row numbers, got {what}")
