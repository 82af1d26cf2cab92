"""Checksums of data: whether two numbers were computed on the same."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from pyro_vae.arguments import check_dense

_LENGTH = 16  # hex digits


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
