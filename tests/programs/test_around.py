"""Programs around programs: copied, pickled, saved and loaded as what they are around."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyro_vae as pv

WRAPPED: dict[str, Callable[[Tensor], Any]] = {
    "given": lambda c: pv.given(pv.ConditionalVAE((2,), 2, 1, (8,), pv.Gaussian()), c),
    "guide": lambda c: pv.given(pv.ConditionalGuide((2,), 2, 1, (8,)), c),
    "both": lambda c: pv.observed_part(
        pv.given(pv.ConditionalVAE((2,), 2, 1, (8,), pv.Gaussian()), c)
    ),
    "held": lambda c: nn.ModuleDict({"one": WRAPPED["given"](c), "two": WRAPPED["both"](c)}),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_is_copied_pickled_and_loaded(name: str) -> None:
    x, context = torch.randn(6, 2), torch.randn(6, 1)
    x[::2, 0] = torch.nan
    made = WRAPPED[name](context)
    other = WRAPPED[name](context)
    other.load_state_dict(made.state_dict())
    for again in (other, deepcopy(made), pickle.loads(pickle.dumps(made))):
        pairs = list(zip(made.parameters(), again.parameters(), strict=True))
        assert pairs and all(torch.equal(a, b) and a is not b for a, b in pairs)
    assert all(p.dtype == torch.float64 for p in made.double().parameters())
    if name == "both":
        assert made.latent_dim == 2 and made.program.context.dtype == torch.float64
        guide = WRAPPED["guide"](context).double()
        assert pv.log_weights(made, guide, x.double()).isfinite().all()
