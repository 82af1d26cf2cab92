"""Compression with wrong arguments."""

from __future__ import annotations

from copy import deepcopy

import torch

import pyro_vae as pv
from tests.misuse.values import BINARY, FLAT, GUIDE, NO_COUNT, NO_DATA, NO_PROGRAM, X, use

# programs of their own, as other rows train those that are shared
CODER, ITS_GUIDE = deepcopy(FLAT), deepcopy(GUIDE)
GIVEN = {"model": CODER, "guide": ITS_GUIDE}
SHORT = pv.compress(CODER, ITS_GUIDE, BINARY[:2]).data

CODING = [
    use(
        pv.compress,
        GIVEN | {"x": BINARY},
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        x=[*NO_DATA, X, BINARY[:, :3], BINARY[..., None], BINARY.half(), BINARY.to(torch.cfloat)],
        num_particles=[*NO_COUNT, 10**6],
        bucket_bits=[*NO_COUNT[:3], 17, 10**6],
        progress=[3, "bar"],
    ),
    use(
        pv.decompress,
        GIVEN | {"data": SHORT},
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        data=[b"", SHORT[:-1], SHORT + b"0", SHORT[1:], bytes(200), "text", None, 3, BINARY],
        progress=[3, "bar"],
    ),
]
