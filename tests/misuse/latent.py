"""Walks through the latent space with wrong arguments."""

from __future__ import annotations

import torch

import pyro_vae as pv
from tests.misuse.estimates import GIVEN
from tests.misuse.values import (
    BINARY,
    EXACT,
    INF,
    MODEL,
    NAN,
    NO_COUNT,
    NO_DATA,
    NO_FLOATS,
    NO_LIKE,
    NO_PROGRAM,
    NO_ROWS,
    NO_SCALE,
    NO_SEED,
    ROWS,
    X,
    holed,
    use,
)

NO_STEPS = [1, *NO_COUNT, 10**6]

LATENT = [
    use(
        pv.sample,
        {"model": MODEL, "like": X, "num_samples": 3},
        model=NO_PROGRAM,
        like=NO_LIKE,
        index=[ROWS.float(), ROWS[:5], ROWS - 1, ROWS.tolist()],
        num_samples=[*NO_COUNT, 10**9],
        kind=["draws", None, 3, True],
        temperature=[-1, NAN, INF, "1", None, True],
        seed=NO_SEED,
    ),
    use(
        pv.nearest,
        {"x": X, "train": X},
        x=[*NO_DATA, holed(NAN), X.to(torch.complex64)],
        train=[*NO_DATA, holed(INF), X[:, :3], X[..., None], X.to(torch.complex64)],
    ),
    use(
        pv.reconstruct,
        GIVEN,
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        x=NO_FLOATS,
        index=NO_ROWS,
        seed=NO_SEED,
    ),
    use(
        pv.impute,
        {"model": MODEL, "guide": EXACT, "x": holed(NAN), "num_particles": 50},
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        x=[*NO_FLOATS, X, X * NAN],
        index=NO_ROWS,
        num_particles=[1, *NO_COUNT],
        num_draws=NO_COUNT,
        level=[0, 1, -0.5, NAN, "0.95", None, True],
        seed=NO_SEED,
    ),
    use(
        pv.interpolate,
        GIVEN,
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        x=[*NO_FLOATS, X[:1]],
        index=NO_ROWS,
        num_steps=NO_STEPS,
        path=["straight", None, 3],
        seed=NO_SEED,
    ),
    use(
        pv.traverse,
        GIVEN,
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        x=[*NO_FLOATS, X[:1]],
        index=NO_ROWS,
        datum=[-1, 12, 1.5, None, True, "0"],
        num_units=[*NO_COUNT[:6], 10**6],
        num_steps=NO_STEPS,
        span=NO_SCALE,
        seed=NO_SEED,
    ),
    use(
        pv.manifold,
        {"model": MODEL, "like": X, "side": 3},
        model=[*NO_PROGRAM, pv.LinearGaussian(4, 3)],
        like=NO_LIKE,
        index=[ROWS.float(), ROWS[:5], ROWS - 1, ROWS.tolist()],
        side=[*NO_STEPS, 51],
    ),
    use(
        pv.embed,
        {"model": MODEL, "guide": EXACT, "x": X, "labels": ROWS},
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        x=[*NO_FLOATS, X[:1]],
        index=NO_ROWS,
        labels=[ROWS.float(), ROWS[:3], ROWS.tolist(), BINARY, "abc"],
        label_names=[("a",), 3, list(range(12)), "abcdefghijkl"],
        num_prior=[1, *NO_COUNT, 10**9],
        seed=NO_SEED,
    ),
]
