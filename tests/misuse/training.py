"""Training with wrong arguments."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any

import torch
from pyro.infer import Trace_ELBO

import pyro_vae as pv
from tests.misuse.values import (
    EXACT,
    FLAT,
    GUIDE,
    INF,
    LOCAL,
    MODEL,
    NAN,
    NO_COUNT,
    NO_ENGINE,
    NO_FLOATS,
    NO_PROGRAM,
    NO_SCALE,
    NO_SEED,
    WHOLE,
    X,
    holed,
    use,
)

SPEC = {
    "train": {"epochs": 1, "batch_size": 600, "engine": "pyro", "model.hidden": [4]},
    "grid": {"model.latent_dim": [1]},
}
QUICK = {"epochs": 1, "quiet": True, "device": "cpu", "engine": "pyro"}


def trained(
    model: object = MODEL, guide: object = GUIDE, data: object = X, **options: Any
) -> pv.Run:
    return pv.fit(model, guide, data, **QUICK | options)  # type: ignore[arg-type]


TRAINING = [
    use(
        trained,
        {},
        name="fit",
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        data=[X.tolist(), None, "digits", X[:0], X[0, 0], holed(INF), X[:, :3], 3],
        recipe=[3, {"epochs": 2}, "fast"],
        valid=[-1, 12, 0.1, True, "3"],
        values=["grey", 3],
        folder=[3, b"x", True, ""],
        device=["gpu", None, 3, torch.device("cpu")],
        resume=["yes", None, True],
        quiet=["yes", None, 3],
        epochs=NO_COUNT,
        batch_size=NO_COUNT[:6],
        beta=[-1, NAN, "1"],
        seed=NO_SEED,
        patience=[0, 1.5, True],
        engine=NO_ENGINE,
        optimizer=[
            "adam",
            partial(torch.optim.Adam, lr=-1.0),
            torch.optim.LBFGS,
            lambda params: None,
            partial(torch.optim.Adam, speed=1),
        ],
        schedule=["cosine", lambda optimizer: None, torch.optim.lr_scheduler.CosineAnnealingLR],
        loss=["elbo", Trace_ELBO],
    ),
    use(
        pv.fit_local,
        {"model": MODEL, "guide": LOCAL, "x": X, "num_steps": 2},
        model=NO_PROGRAM,
        guide=[*NO_PROGRAM, EXACT, pv.Local(pv.MeanField(2), 5)],
        x=NO_FLOATS,
        num_steps=[0, -1, 1.5, True, "2"],
        learning_rate=NO_SCALE,
        num_particles=[0, -1, 1.5, True, "2", None],
        restarts=[-1, 1.5, True, "2", None],
        loss=["elbo", Trace_ELBO],
        seed=NO_SEED,
        engine=NO_ENGINE,
        progress=[3, "bar"],
    ),
    use(
        pv.coordinate_ascent,
        {"model": MODEL, "x": X},
        model=[GUIDE, FLAT, None, 3],
        x=[X.tolist(), X[:0], holed(NAN), X[:, :3], WHOLE, None, X[0, 0]],
        max_sweeps=NO_COUNT[:6],
        tolerance=[-1, NAN, "0", None, True],
    ),
    use(
        pv.mixture_ascent,
        {"model": pv.GaussianMixture(4, 2), "x": X},
        model=[MODEL, GUIDE, None, 3],
        x=[X.tolist(), X[:0], holed(INF), WHOLE, None, X[0], X[:1]],
        seed=NO_SEED,
        max_sweeps=NO_COUNT[:6],
        tolerance=[-1, NAN, "0", None],
    ),
    use(
        pv.Slurm,
        {},
        partition=[3, True],
        account=[3],
        minutes=NO_COUNT,
        cpus=NO_COUNT,
        gpus=[-1, 1.5, True, "2", None],
        memory_gb=NO_SCALE,
        cluster=["cloud", None, 3],
    ),
    use(
        pv.sweep,
        {"spec": SPEC, "folder": tempfile.mkdtemp(), "quiet": True},
        spec=[None, 3, [SPEC], "no.yaml", {}, {"grid": {}}, {"gird": {"seed": [0]}}, ""],
        folder=[None, 3, "", True],
        jobs=[0, -1, 1.5, True, "2"],
        slurm=["gpu", 3, True],
        device=["gpu", None, 3],
        trust=["my", 3, [3]],
        quiet=["yes", None, 3],
    ),
]
