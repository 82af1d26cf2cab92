"""Where the real MNIST is, for the tests that need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_ROOT = Path(os.environ.get("PYRO_VAE_DATA") or Path(__file__).parents[2] / "shared" / "data")
HAS_MNIST = (REAL_ROOT / "MNIST").is_dir()
needs_mnist = pytest.mark.skipif(not HAS_MNIST, reason="no MNIST under PYRO_VAE_DATA")
