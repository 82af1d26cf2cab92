"""Estimates of the evidence with wrong arguments."""

from __future__ import annotations

from typing import Any

import pyro_vae as pv
from tests.misuse.values import (
    FLAT,
    GUIDE,
    INF,
    LOCAL,
    MODEL,
    NAN,
    NO_COUNT,
    NO_DATA,
    NO_ENGINE,
    NO_FLOATS,
    NO_LIKE,
    NO_PROGRAM,
    NO_ROWS,
    NO_SCALE,
    NO_SEED,
    ROWS,
    WEIGHED,
    WHOLE,
    X,
    holed,
    use,
)
from tests.programs.mixed import alone, nothing

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
NO_DISTORTION: list[Any] = [
    3,
    "squared",
    X,
    lambda x: x,
    lambda x, mean: 1.0,
    lambda x, mean: (x - mean) ** 2,
    lambda x, mean: (x - mean).sum(),
    lambda x, mean: ((x - mean) ** 2).sum(-1) * NAN,
    lambda x, mean: ((x - mean) ** 2).sum(-1) > 1,
]
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
        x=[X.tolist(), X[:0], holed(INF), WHOLE],
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
        x=[X.tolist(), X[:0], holed(INF), WHOLE],
        index=NO_ROWS[:3],
        progress=[3],
    ),
    use(pv.Quadrature, {}, num_points=[0, 49, 100, 51.0, True, None]),
    use(
        pv.log_evidence,
        GIVEN | {"method": pv.Laplace(30, 2)},
        name="log_evidence by Laplace",
        x=[X.tolist(), X[:0], holed(INF), WHOLE],
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
        x=[X.tolist(), X[:0], holed(INF), WHOLE, X[:, :3]],
    ),
    use(
        pv.log_evidence,
        GIVEN | {"method": pv.Best()},
        name="log_evidence, the best",
        x=[X.tolist(), X[:0], holed(INF), WHOLE],
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
    use(pv.observed_part, {"program": MODEL}, program=[None, 3, "model"]),
    use(pv.log_weights, GIVEN, **PROGRAMS, num_particles=NO_COUNT),
    use(pv.whole, {"model": MODEL}, model=[None, 3], index=[3, X, [0, 1]]),
    use(
        pv.discrete_posterior,
        {"model": alone, "guide": nothing, "x": X[:, :1]},
        **PROGRAMS | {"x": [X.tolist(), X[:0], holed(INF), None]},
        num_particles=NO_COUNT,
        seed=NO_SEED,
    ),
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
        distortion=NO_DISTORTION,
        max_beta=NO_SCALE,
        num_points=[*NO_COUNT, 5],
        method=[3, "annealed", pv.Annealed(**SHORT)],
        progress=[3, "bar"],
    ),
    use(pv.progress_bar, {"what": "annealing"}, what=[3, None]),
    use(WEIGHED.interval, {"level": 0.9}, level=[0, 1, -1, 2, NAN, "0.9", None, True]),
    use(WEIGHED.mean_interval, {"level": 0.9}, level=[0, 1, NAN, None]),
]
