"""Data on a curve in odd units, and programs for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyro_vae import VAE, EncoderGuide, Gaussian

SIZE = 6


def curved(num: int = 400) -> np.ndarray[Any, Any]:
    """Data on a curve in odd units, with noise: one latent unit explains them."""
    draw = np.random.RandomState(0)
    t = draw.randn(num, 1)
    basis = np.concatenate([t, t**2, np.sin(2 * t)], 1) @ draw.randn(3, SIZE)
    return 1000 + 250 * (basis + 0.1 * draw.randn(num, SIZE))


def programs(dim: int = 3) -> tuple[VAE, EncoderGuide]:
    torch.manual_seed(0)
    return VAE((SIZE,), dim, (32,), Gaussian()), EncoderGuide((SIZE,), dim, (32,))
