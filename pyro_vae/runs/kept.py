"""A calibration as it is kept in a JSON file, and read again from anybody's: ranks as a line of
numbers for each quantity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pyro_vae.diagnostics import Calibration

_MOST = 10**6  # ranks of one quantity, and draws


def pack(calibration: Calibration) -> dict[str, Any]:
    """The ranks, and what they were made with, for a JSON file."""
    lines = {name: " ".join(map(str, r.tolist())) for name, r in calibration.ranks.items()}
    facts = {"num_draws": calibration.num_draws, "seed": calibration.seed}
    return facts | {"alpha": calibration.alpha, "ranks": lines}


def unpack(facts: object) -> Calibration | None:
    """The calibration that such facts tell; None where they tell none, as those of an earlier
    version, or damaged ones.
    """
    if not isinstance(facts, Mapping) or not isinstance(facts.get("ranks"), Mapping):
        return None
    draws, seed, alpha = (facts.get(name) for name in ("num_draws", "seed", "alpha"))
    if type(draws) is not int or type(seed) is not int or not 0 < draws <= _MOST:
        return None
    if not isinstance(alpha, float) or not 0 < alpha < 1:
        return None

    ranks = {}
    for name, line in facts["ranks"].items():
        words = line.split() if isinstance(line, str) else []
        if not 0 < len(words) <= _MOST or not all(w.isascii() and w.isdecimal() for w in words):
            return None
        numbers = [int(word) for word in words if len(word) < 8]
        if len(numbers) < len(words) or max(numbers) > draws:
            return None
        ranks[str(name)] = torch.tensor(numbers)

    alike = len({len(values) for values in ranks.values()}) == 1
    return Calibration(ranks, draws, seed, alpha) if alike and "log_guide" in ranks else None
