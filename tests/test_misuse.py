"""The public API, misused: each wrong argument is a ValueError of one line that begins with the
argument's name.

A row is a function, arguments with which it works, and one of them replaced. What works is run too,
so that no row fails for another reason than the one it is about.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.data import as_dataset
from pyro_vae.inference.checkpoint import load as load_checkpoint
from pyro_vae.objectives import Bound, FreeBits, ScoreFunction
from pyro_vae.report.arviz_data import to_arviz
from pyro_vae.report.export import draws_to_arviz, reference_to_arviz
from pyro_vae.runs.opening import open_run
from pyro_vae.swap import swap_guides

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Use:
    """A function with arguments that work, and values of single arguments that do not."""

    name: str
    function: Callable[..., Any]
    good: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, list[Any]] = field(default_factory=dict)
    works: bool = True  # whether the good arguments are enough to run it


def use(
    function: Callable[..., Any],
    good: dict[str, Any],
    *,
    name: str = "",
    works: bool = True,
    **bad: Any,
) -> Use:
    return Use(name or getattr(function, "__qualname__", "?"), function, good, bad, works)


torch.manual_seed(0)
X = torch.randn(12, 4)
BINARY = (torch.rand(12, 4) > 0.5).float()
MODEL = pv.LinearGaussian(4, 2)
GUIDE = pv.Amortized(pv.MeanField(2), pv.MLP(4, (3,)))
EXACT = pv.ExactGuide(MODEL)
LOCAL = pv.Local(pv.MeanField(2), 12)
FLAT = pv.VAE((4,), 2, (3,))
ROWS = torch.arange(12)
SPLIT = pv.Split("train", BINARY, "none")
SET = pv.Dataset("some", SPLIT, None, SPLIT)
REFERENCE = pv.reference_posterior(MODEL, X[:3], num_chains=2, num_samples=8, num_warmup=8)
WEIGHED = pv.log_evidence(MODEL, EXACT, X, pv.Importance(num_particles=60))
RANKS = pv.check_calibration(MODEL, EXACT, X, num_simulations=40, num_draws=9)
DOUBLE, WHOLE = X.double(), torch.randint(0, 2, (12, 4))


def holed(value: float) -> Tensor:
    x = X.clone()
    x[3, 1] = value
    return x


NO_COUNT = [0, -1, 1.5, NAN, True, "2", None, 2.0]  # where a positive integer is meant
NO_SIZES = [[0], [3, -1], [2.5], [True], "33", None, [None], [[3]]]  # where sizes of layers are
NO_SEED = [-1, 0.5, True, "0", None, NAN]
NO_SCALE = [0, -1.0, NAN, INF, "1", True, [1.0]]  # a positive number
NO_DATA = [X.tolist(), X.numpy(), None, X[:0], X[:0, :0], X[0, 0], X.to("meta"), X.to_sparse(), 3]
NO_FLOATS = [
    *NO_DATA,
    holed(NAN),
    holed(INF),
    X[:, :3],
    X[..., None],
    DOUBLE,
    WHOLE,
    X.half(),
    X.to(torch.complex64),
]
NO_LIKE = [
    x
    for x in NO_FLOATS
    if not isinstance(x, Tensor) or x.is_meta or x.is_sparse or torch.isfinite(x).all()
]
NO_ROWS = [
    ROWS.float(),
    ROWS[:5],
    ROWS - 1,
    ROWS[:, None],
    ROWS.tolist(),
    ROWS.bool(),
    -1,
    "0",
    ROWS.numpy(),
]
NO_PROGRAM = [3, None, "model", X]
NO_ENGINE = ["fast", None, 1]

CONSTRUCTORS = [
    use(
        pv.MLP,
        {"shape": 4, "hidden": (3,)},
        shape=[0, -1, (2, 0), 2.5, "4", None, True],
        hidden=NO_SIZES[:6],
    ),
    use(pv.MLP, {"shape": 4}, name="MLP's activation", activation=["relu", None, 3, nn.ReLU()]),
    use(pv.GatedMLP, {"shape": 4, "hidden": (3,)}, shape=[0, (2, -1), None], hidden=NO_SIZES[:4]),
    use(
        pv.Conv,
        {"shape": (1, 8, 8), "hidden": (3,), "channels": (2,)},
        shape=[64, (8, 8), (0, 8, 8), None, "188"],
        hidden=NO_SIZES[:3],
        channels=[[0], [1.5], "2", []],
        activation=["relu", nn.ReLU()],
    ),
    use(
        pv.MLPDecoder,
        {"latent_dim": 2, "hidden": (3,), "shape": (4,), "num_outputs": 1},
        latent_dim=NO_COUNT[:6],
        hidden=NO_SIZES[:5],
        shape=[(0,), None, (1.5,)],
        num_outputs=NO_COUNT[:5],
        activation=["relu"],
    ),
    use(
        pv.GatedDecoder,
        {"latent_dim": 2, "hidden": (3,), "shape": (4,), "num_outputs": 1},
        latent_dim=[0, 1.5, None],
        num_outputs=[0, True],
    ),
    use(
        pv.ConvDecoder,
        {"latent_dim": 2, "hidden": (3,), "shape": (1, 8, 8), "num_outputs": 1, "channels": (4,)},
        latent_dim=[0, 1.5, None],
        shape=[(8, 8), None],
        num_outputs=[0, True, 1.0],
        channels=[[0], []],
    ),
    use(
        pv.VAE,
        {"shape": (4,), "latent_dim": 2, "hidden": (3,)},
        shape=[(0,), (2, -2), None, "4", 2.5, (True,)],
        latent_dim=NO_COUNT[:6],
        hidden=NO_SIZES,
        likelihood=["bernoulli", pv.Bernoulli, 3],
        decoder=["mlp", None, nn.Linear(2, 4), lambda *sizes: None],
        mean=[torch.full((4,), NAN), torch.zeros(3), [0.0] * 4, 0.5, torch.full((4,), INF)],
    ),
    use(
        pv.HierarchicalVAE,
        {"shape": (4,), "latent_dim": 2, "middle_dim": 3, "hidden": (3,), "top_hidden": (3,)},
        shape=[(0,), None],
        latent_dim=NO_COUNT[:6],
        middle_dim=NO_COUNT[:4],
        hidden=NO_SIZES[:3],
        top_hidden=NO_SIZES[:3],
        likelihood=["gaussian", pv.Gaussian],
        mean=[torch.full((4,), NAN), torch.zeros(3), [0.0] * 4],
    ),
    use(pv.Bernoulli, {}, grey=["no", None, 1, NAN]),
    use(
        pv.Gaussian,
        {"sigma": 1.0},
        sigma=NO_SCALE,
        learn=["both", None, True],
        floor=[-0.1, 1.5, NAN, INF, None, "0"],
    ),
    use(
        pv.LinearGaussian,
        {"shape": 4, "latent_dim": 2},
        shape=[0, (2, 0), None, "4", 2.5],
        latent_dim=NO_COUNT,
        sigma=NO_SCALE,
        seed=NO_SEED,
    ),
    use(
        pv.LinearGaussian.maximum_likelihood,
        {"x": X, "latent_dim": 2},
        x=[X.tolist(), None, X[:0], holed(NAN), WHOLE, X[0, 0]],
        latent_dim=[0, 4, 1.5, True],
    ),
    use(
        pv.GaussianMixture,
        {"dim": 2, "num_components": 2},
        dim=NO_COUNT[:6],
        num_components=NO_COUNT[:6],
        spread=NO_SCALE[:6],
        sigma=NO_SCALE[:6],
    ),
    use(pv.ExactGuide, {"model": MODEL}, model=[FLAT, None, 3, "model"]),
    use(pv.MeanField, {"dim": 2}, dim=NO_COUNT),
    use(pv.LowRank, {"dim": 2, "rank": 1}, dim=[0, True, 1.5], rank=NO_COUNT[:6]),
    use(pv.FullRank, {"dim": 2}, dim=NO_COUNT[:6]),
    use(pv.SplineFlow, {"dim": 2, "num_bins": 4}, dim=[0, True, 1.5], num_bins=NO_COUNT[:6]),
    use(
        pv.Amortized,
        {"family": pv.MeanField(2), "encoder": pv.MLP(4, (3,))},
        family=[pv.MeanField, 2, None, "mean-field"],
        encoder=[nn.Linear, nn.ReLU(), None, 4, "mlp"],
    ),
    use(
        pv.EncoderGuide,
        {"shape": (4,), "latent_dim": 2, "hidden": (3,)},
        shape=[(0,), None, "4"],
        latent_dim=NO_COUNT[:6],
        hidden=NO_SIZES[:6],
        family=["full-rank", pv.MeanField(2), lambda dim: None],
        encoder=["mlp", pv.MLP(4, (3,)), lambda shape, hidden: nn.ReLU()],
    ),
    use(
        pv.AutoregressiveFlow,
        {"dim": 2, "encoder": pv.MLP(4, (3,)), "num_transforms": 1, "hidden": (4,), "num_bins": 4},
        dim=NO_COUNT[:5],
        encoder=[None, nn.ReLU(), 4],
        num_transforms=[0, 1.5, True],
        hidden=NO_SIZES[:4],
        num_bins=[0, 1.5],
    ),
    use(
        pv.HierarchicalGuide,
        {"shape": (4,), "latent_dim": 2, "middle_dim": 3, "hidden": (3,), "top_hidden": (3,)},
        shape=[(0,), None],
        latent_dim=[0, True],
        middle_dim=[0, 1.5],
        hidden=NO_SIZES[:3],
        top_hidden=NO_SIZES[:3],
        activation=["tanh"],
    ),
    use(
        pv.Local,
        {"family": pv.MeanField(2), "num_data": 12},
        family=[pv.MeanField, 2, None],
        num_data=NO_COUNT[:6],
    ),
    use(
        pv.Local.started_at,
        {"guide": GUIDE, "x": X, "family": pv.FullRank(2)},
        guide=[EXACT, None, 3],
        x=[X.tolist(), None, X[:0]],
        family=[pv.FullRank(3), pv.FullRank, 2],
        batch_size=[0, -1, 1.5],
    ),
    use(
        pv.SemiAmortized,
        {"amortized": GUIDE, "model": MODEL, "num_steps": 2},
        amortized=[LOCAL, None, 3],
        model=NO_PROGRAM[:3],
        num_steps=[-1, 1.5, True, None, "2"],
        learning_rate=NO_SCALE,
        through=["yes", None, 2],
    ),
    use(
        pv.MixtureGuide,
        {
            "mean": torch.zeros(2, 3),
            "variance": torch.ones(2),
            "responsibilities": torch.full((5, 2), 0.5),
        },
        mean=[torch.zeros(3), [[0.0]], torch.full((2, 3), NAN)],
        variance=[torch.zeros(2), -torch.ones(2), torch.ones(3), [1.0, 1.0], torch.full((2,), NAN)],
        responsibilities=[
            torch.ones(5, 2),
            torch.full((5, 3), 1 / 3),
            -torch.ones(5, 2),
            None,
            torch.ones(0, 2),
        ],
    ),
    use(
        pv.Recipe,
        {"epochs": 2},
        epochs=NO_COUNT,
        batch_size=NO_COUNT[:6],
        beta=[-1, NAN, INF, "1", True, None],
        warmup_epochs=[-1, NAN, INF, "1", True],
        clip_norm=[0, -1, NAN, INF, "1", True],
        patience=NO_COUNT[:6],
        keep=["first", 1, True],
        seed=NO_SEED,
        engine=NO_ENGINE,
        optimizer=["adam", None, 3],
        schedule=["cosine", 3],
        loss=[
            "elbo",
            Trace_ELBO,
            None,
            Trace_ELBO("2"),
            Trace_ELBO([1]),
            Trace_ELBO(0),
            Trace_ELBO(max_plate_nesting="1"),
        ],
    ),
    use(
        Bound,
        {"num_particles": 2},
        num_particles=NO_COUNT[:6],
        alpha=[-1, NAN, INF, "0", None],
        path_only=["yes", None],
    ),
    use(ScoreFunction, {"num_particles": 2}, num_particles=NO_COUNT[:6], baseline=["yes", None]),
    use(FreeBits, {"nats": 0.1}, nats=[-1, NAN, INF, "1", None, True]),
    use(
        pv.CompiledSVI,
        {
            "model": MODEL,
            "guide": GUIDE,
            "optim": partial(torch.optim.Adam, lr=1e-3),
            "loss": Trace_ELBO(),
        },
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        optim=["adam", None, 3],
        loss=["elbo", Trace_ELBO, None],
        prepare=[3, "x"],
        fallback=["yes", None],
    ),
]

DATA = [
    use(
        pv.Split,
        {"name": "train", "pixels": BINARY, "binarise": "none"},
        name=[None, 3, ""],
        pixels=[
            BINARY.tolist(),
            BINARY.numpy(),
            None,
            BINARY[:0],
            BINARY[0, 0],
            holed(NAN),
            BINARY.long(),
            BINARY.half(),
        ],
        binarise=["sometimes", None, True],
        seed=NO_SEED,
        origin=[ROWS.float(), ROWS[:3], ROWS.tolist(), ROWS - 1],
        drawn=[BINARY[:3], BINARY.tolist(), WHOLE],
    ),
    use(
        SPLIT.batch,
        {"index": ROWS[:3], "generator": torch.Generator()},
        index=[-ROWS[:3] - 1, ROWS + 1, ROWS.float(), [0, 1], 3, ROWS.int()],
    ),
    use(
        replace(SPLIT, binarise="dynamic").batch,
        {"index": ROWS[:3], "generator": torch.Generator()},
        generator=[None, 0],
    ),
    use(SPLIT.take, {"n": 3}, n=[0, -1, 13, 1.5, True, "3", None]),
    use(SPLIT.numbers, {"index": ROWS[:3]}, index=[ROWS.float(), [0, 1], 3]),
    use(
        pv.Dataset,
        {"name": "some", "train": SPLIT, "valid": None, "test": SPLIT},
        name=[None, 3],
        train=[BINARY, None, [SPLIT]],
        valid=[BINARY, 3, pv.Split("valid", BINARY[:, :3], "none")],
        test=[BINARY, None, replace(SPLIT, binarise="dynamic")],
    ),
    use(SET.bits_per_dim, {"nats": -2.0}, nats=["two", None, [1.0]]),
    use(SET.under, {"binarise": "threshold"}, binarise=["sometimes", None, "dequantise"]),
    use(pv.fingerprint, {"x": X}, x=[X.tolist(), X.numpy(), None, X.to_sparse(), X.to("meta")]),
    use(pv.likelihood_for, {"data": SET}, data=[X, None, "digits", SPLIT]),
    use(
        pv.load,
        {"source": "digits"},
        source=[
            None,
            3,
            "",
            "mnits",
            "nowhere/x.npy",
            b"digits",
            "nul\0.npy",
            "~nobody/x.npy",
            "x" * 5000 + ".npy",
        ],
        binarise=["sometimes", True, 3],
        values=["grey", 3, "real"],
        valid=[-1, 99999, 0.1, True, "3"],
        seed=NO_SEED,
        root=[3, b"here"],
    ),
    use(
        as_dataset,
        {"data": X, "valid": 2},
        data=[
            X.tolist(),
            None,
            "digits",
            X[:0],
            X[0, 0],
            holed(NAN),
            X.numpy().astype(object),
            X.to(torch.complex64),
        ],
        valid=[-1, 12, 0.1, True, "3"],
        values=["grey", 3],
    ),
]

NUMBERS: dict[str, list[Any]] = {"num_particles": NO_COUNT, "seed": NO_SEED}
GIVEN = {"model": MODEL, "guide": GUIDE, "x": X}
PROGRAMS = {"model": NO_PROGRAM, "guide": NO_PROGRAM, "x": NO_FLOATS, "index": NO_ROWS}
ANNEALING: dict[str, list[Any]] = {
    "num_temperatures": [1, *NO_COUNT],
    "num_chains": [1, *NO_COUNT[:6]],
    "num_leapfrog": NO_COUNT[:6],
    "seed": NO_SEED,
    "engine": NO_ENGINE,
}
SHORT = {"num_temperatures": 4, "num_chains": 2, "num_leapfrog": 1}
NO_BUDGET = [0, -1, NAN, INF, "1", True]

ESTIMATES = [
    use(
        pv.log_evidence,
        GIVEN | {"method": pv.Importance(3)},
        **PROGRAMS,
        method=["magic", 3, "Importance", pv.Importance],
        progress=[3, "bar"],
    ),
    use(
        pv.Importance,
        {"num_particles": 3},
        **NUMBERS,
        defensive=[-0.1, 1, 1.5, NAN, "0", None, True],
        num_scouts=[-1, 1.5, True, None],
        max_bytes=[0, -1, 1.5, True, "1"],
        engine=NO_ENGINE,
        precision=["float16", None, 32],
        target_error=[0, -1, NAN, INF, "1", True],
        budget=NO_BUDGET,
    ),
    use(
        pv.log_evidence,
        GIVEN | {"method": pv.Annealed(4, num_chains=2, num_leapfrog=1)},
        name="log_evidence by annealing",
        x=[X.tolist(), X[:0], holed(NAN), WHOLE],
        index=NO_ROWS[:4],
        progress=[3],
    ),
    use(
        pv.Annealed,
        SHORT,
        start=["posterior", None, 3],
        budget=NO_BUDGET,
        **ANNEALING,
    ),
    use(
        pv.log_evidence,
        GIVEN | {"method": pv.Quadrature(), "x": X[:1]},
        name="log_evidence by quadrature",
        x=[X.tolist(), X[:0], holed(NAN), WHOLE],
        index=NO_ROWS[:3],
        progress=[3],
    ),
    use(pv.Quadrature, {}, num_points=[0, 49, 100, 51.0, True, None]),
    use(
        pv.log_evidence,
        GIVEN | {"method": pv.Laplace(30, 2)},
        name="log_evidence by Laplace",
        x=[X.tolist(), X[:0], holed(NAN), WHOLE],
        index=NO_ROWS[:3],
        progress=[3],
    ),
    use(
        pv.Laplace,
        {},
        **NUMBERS,
        num_climbs=NO_COUNT[:6],
        freedom=[0, -1, NAN, INF, "1", True, None],
    ),
    use(
        pv.log_evidence,
        GIVEN | {"method": pv.Exact(), "x": (X > 0).float()},
        name="log_evidence in closed form",
        model=[FLAT, None],
        x=[X.tolist(), X[:0], holed(NAN), WHOLE, X[:, :3]],
    ),
    use(
        pv.log_evidence,
        GIVEN | {"method": pv.Best()},
        name="log_evidence, the best",
        x=[X.tolist(), X[:0], holed(NAN), WHOLE],
        guide=[3, None],
        index=NO_ROWS[:3],
        progress=[3],
    ),
    use(
        pv.Best,
        {},
        num_particles=NO_COUNT,
        num_temperatures=[1, *NO_COUNT[:6]],
        budget=NO_BUDGET,
        seed=NO_SEED,
        engine=NO_ENGINE,
    ),
    use(pv.log_weights, GIVEN, **PROGRAMS, num_particles=NO_COUNT),
    use(
        pv.particles,
        GIVEN,
        x=NO_DATA,
        index=NO_ROWS[:5],
        num_particles=NO_COUNT[:5],
        model=[3],
        guide=[3],
    ),
    use(
        pv.sandwich,
        {"model": MODEL, "guide": None, "like": X, "num_data": 3, "method": pv.Annealed(**SHORT)},
        model=NO_PROGRAM,
        like=NO_LIKE,
        index=[ROWS.float(), ROWS[:5], ROWS - 1, ROWS.tolist()],
        guide=[3, "prior", LOCAL],
        num_data=NO_COUNT,
        method=[3, "annealed", pv.Importance(3)],
        progress=[3],
    ),
    use(
        pv.rate_distortion_curve,
        {"model": MODEL, "x": X, "num_points": 2, "method": pv.Annealed(start="prior", **SHORT)},
        model=NO_PROGRAM,
        x=NO_FLOATS[:14],
        index=NO_ROWS[:4],
        num_points=[*NO_COUNT, 5],
        method=[3, "annealed", pv.Annealed(**SHORT)],
    ),
    use(WEIGHED.interval, {"level": 0.9}, level=[0, 1, -1, 2, NAN, "0.9", None, True]),
    use(WEIGHED.mean_interval, {"level": 0.9}, level=[0, 1, NAN, None]),
]

DIAGNOSES = [
    use(
        pv.gap_ledger,
        {"model": MODEL, "guides": {"a": GUIDE}, "x": X, "method": pv.Importance(3)},
        model=NO_PROGRAM,
        guides=[
            {},
            [GUIDE],
            GUIDE,
            None,
            {1: GUIDE},
            {"a": LOCAL, "b": pv.Local(pv.MeanField(2), 12)},
        ],
        x=NO_FLOATS[:14],
        estimates=[{"other": 3}, [WEIGHED], {"other": replace(WEIGHED, log_px=WEIGHED.log_px[:3])}],
        method=[3, "importance", pv.Best()],
    ),
    use(
        pv.check_calibration,
        {"model": MODEL, "guide": EXACT, "like": X, "num_simulations": 20, "num_draws": 5},
        model=NO_PROGRAM,
        guide=[*NO_PROGRAM, LOCAL],
        like=NO_LIKE,
        index=[ROWS.float(), ROWS[:5], ROWS - 1, ROWS.tolist()],
        num_simulations=[5, *NO_COUNT],
        num_draws=[4, *NO_COUNT[:6]],
        seed=NO_SEED,
        alpha=[0, 1, -0.5, NAN, "0.05", None, True],
    ),
    use(RANKS.coverage, {"levels": (0.5,)}, levels=[0.5, (2.0,), (NAN,), "half", None, [[0.5]]]),
    use(RANKS.band, {"level": 0.9}, level=[0, 1, NAN, "0.9", True]),
    use(RANKS.ecdf, {"name": "log_guide"}, name=["elbo", None, 3]),
    use(
        pv.latent_units,
        GIVEN,
        model=NO_PROGRAM,
        guide=NO_PROGRAM,
        x=[*NO_DATA, X[:1], holed(NAN), WHOLE],
        index=NO_ROWS,
        batch_size=NO_COUNT[:6],
    ),
    use(
        pv.reference_posterior,
        {"model": MODEL, "x": X[:2], "num_chains": 2, "num_samples": 4, "num_warmup": 1},
        model=NO_PROGRAM,
        x=NO_FLOATS,
        index=NO_ROWS,
        num_chains=[1, *NO_COUNT[:6]],
        num_samples=[3, *NO_COUNT[:6]],
        num_warmup=NO_COUNT[:6],
        seed=NO_SEED,
    ),
    use(
        pv.agreement,
        {"guide": GUIDE, "reference": REFERENCE, "x": X[:3], "num_draws": 5},
        guide=[*NO_PROGRAM, pv.Amortized(pv.MeanField(3), pv.MLP(4, (3,)))],
        reference=[None, 3, WEIGHED],
        x=[*NO_DATA, X[:2]],
        index=[ROWS[:3].float(), ROWS[:5], ROWS[:3] - 1, [0, 1, 2]],
        num_draws=[1, *NO_COUNT],
        seed=NO_SEED,
    ),
    use(REFERENCE.moments, {"name": "latent"}, name=["z", None]),
    use(
        draws_to_arviz,
        GIVEN | {"num_draws": 3},
        model=NO_PROGRAM[:2],
        guide=NO_PROGRAM[:2],
        x=NO_FLOATS[:8],
        index=NO_ROWS[:5],
        num_draws=NO_COUNT,
        seed=NO_SEED,
    ),
    use(
        reference_to_arviz,
        {"reference": REFERENCE, "x": X[:3]},
        reference=[None, 3],
        x=[X[:5], X.tolist(), None],
        index=[ROWS[:2], [0, 1, 2], ROWS[:3].float()],
        axes=[{"latent": 5}, {"z": 0}, {"latent": True}, [0]],
    ),
    use(
        to_arviz,
        {"groups": {"posterior": {"z": [[0.1]]}}, "dims": {"z": ("chain", "draw")}},
        groups=[[], None, {"posterior": [1.0]}, {"posterior": {"z": [[object()]]}}],
        dims=[{}, None, {"z": ("chain",)}, {"z": 3}],
        coords=[{"chain": [0, 1, 2]}, [3]],
        attrs=[{"prior": {"a": "b"}}, [3]],
    ),
    use(
        swap_guides,
        {"model": MODEL, "guide": GUIDE, "x": X, "names": ["amortized"]},
        names=[[], ["best"], "amortized", None],
        x=[X.tolist(), None],
        num_steps=[0, 1.5, True],
        num_particles=[0, 1.5, True],
        seed=NO_SEED,
    ),
]

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
        data=[X.tolist(), None, "digits", X[:0], X[0, 0], holed(NAN), X[:, :3], 3],
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
        x=[X.tolist(), X[:0], holed(NAN), WHOLE, None, X[0], X[:1]],
        seed=NO_SEED,
        max_sweeps=NO_COUNT[:6],
        tolerance=[-1, NAN, "0", None],
    ),
]

METHODS = [
    use(MODEL.log_px, {"x": X}, x=[X.tolist(), X[:, :3], holed(NAN), WHOLE, DOUBLE, None]),
    use(MODEL.posterior, {"x": X}, x=[X.tolist(), X[:, :3], WHOLE, DOUBLE]),
    use(MODEL.optimal_mean_field, {"x": X}, x=[X.tolist(), X[:, :3], WHOLE]),
    use(
        MODEL.decode,
        {"z": torch.zeros(3, 2)},
        z=[torch.zeros(3, 3), [[0.0, 0.0]], torch.zeros(3, 2).long(), None],
    ),
    use(MODEL.sample, {"num_samples": 2}, name="LinearGaussian.sample", num_samples=NO_COUNT),
    use(
        MODEL.center,
        {"mean": torch.zeros(4)},
        mean=[torch.zeros(3), [0.0] * 4, torch.full((4,), NAN), None, 0.0],
    ),
    use(FLAT.sample, {"num_samples": 2}, name="VAE.sample", num_samples=NO_COUNT),
    use(
        FLAT.decode,
        {"z": torch.zeros(3, 2)},
        name="VAE.decode",
        z=[torch.zeros(3, 3), [[0.0, 0.0]], WHOLE[:, :2], None],
    ),
    use(
        FLAT.center,
        {"mean": torch.zeros(4)},
        name="VAE.center",
        mean=[torch.zeros(3), torch.full((4,), NAN), None],
    ),
    use(
        FLAT.check_data,
        {"x": BINARY},
        x=[X, BINARY.tolist(), WHOLE, BINARY.double(), BINARY[:, :3], None],
    ),
    use(
        pv.HierarchicalVAE((4,), 2, 3, (3,), (3,)).sample,
        {"num_samples": 2},
        name="HierarchicalVAE.sample",
        num_samples=NO_COUNT[:4],
    ),
    use(
        pv.GaussianMixture(2, 2).sample,
        {"num_samples": 2},
        name="GaussianMixture.sample",
        num_samples=NO_COUNT[:6],
    ),
    use(
        pv.GaussianMixture(2, 2).log_evidence,
        {"x": X[:3, :2]},
        x=[X, X.tolist(), None, X[:0, :2], holed(NAN)[:5, :2], WHOLE[:3, :2]],
    ),
    use(pv.Recipe().for_data, {"num_data": 12}, num_data=NO_COUNT[:6]),
    use(
        pv.MeanField(2),
        {"params": torch.zeros(3, 4)},
        name="MeanField(params)",
        params=[torch.zeros(3, 5), None, [0.0]],
    ),
    use(LOCAL.q, {"index": ROWS}, index=[ROWS + 1, -ROWS - 1, ROWS.float(), [0, 1]]),
    use(GUIDE.q, {"x": X}, name="Amortized.q", x=[X[:, :3], X.tolist(), None]),
]

USES = [*CONSTRUCTORS, *DATA, *ESTIMATES, *DIAGNOSES, *TRAINING, *METHODS]


def told(value: Any) -> str:
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype}{tuple(value.shape)}{value.layout}{value.device}"
    return re.sub(r"\s+|0x[0-9a-f]+", " ", f"{type(value).__name__} {value!r}")[:40]


def misuses() -> Iterator[Any]:
    for each in USES:
        for argument, values in each.bad.items():
            for number, value in enumerate(values):
                yield pytest.param(
                    each, argument, value, id=f"{each.name}-{argument}-{number}-{told(value)}"
                )


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("each", "argument", "value"), list(misuses()))
def test_a_misuse_names_its_argument(each: Use, argument: str, value: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings(), pytest.raises((ValueError, FileNotFoundError)) as raised:
        warnings.simplefilter("error")
        each.function(**each.good | {argument: value})
    message = str(raised.value)
    assert "\n" not in message
    head = ":".join(message.split(":")[:2])[
        :60
    ]  # the argument, or the split or file that holds it and then the argument
    assert re.search(rf"\b{argument}\b", head), message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("each", USES, ids=lambda each: each.name)
def test_what_is_right_is_accepted(each: Use) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each.function(**each.good)


def test_there_are_many() -> None:
    assert sum(len(values) for each in USES for values in each.bad.values()) >= 250
    assert len({id(each.function) for each in USES}) >= 50


def test_an_unknown_keyword_is_a_type_error() -> None:
    for each in (pv.fit, pv.log_evidence, pv.gap_ledger):
        with pytest.raises(TypeError, match="speed"):
            each(MODEL, {"a": GUIDE} if each is pv.gap_ledger else GUIDE, X, speed=3)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            load_checkpoint(path)


@pytest.mark.parametrize("trust", ["my", 3, [3], b"my"])
def test_trust_is_a_list_of_names(trust: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^trust: got"):
        open_run(tmp_path, trust=trust)
