"""How much of the fault suite runs: the short version in `make test`, the long by `make faults`."""

from __future__ import annotations

import os


def times(short: int, long: int) -> int:
    """How many cases to run; `long` where PYRO_VAE_FAULTS=long."""
    return long if os.environ.get("PYRO_VAE_FAULTS") == "long" else short
