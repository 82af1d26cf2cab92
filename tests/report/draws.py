"""How many draws of how many data, and their weights."""

from __future__ import annotations

from typing import Any

import arviz
import torch

OLD = hasattr(arviz, "psislw")  # ArviZ 0.23
NUM, DRAWS = 6, 400


def log_weights_of(data: Any) -> torch.Tensor:
    """The stored weights `(S, N)`."""
    return torch.tensor(data["guide_stats"]["log_weight"].values)[0]
