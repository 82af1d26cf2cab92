"""Diagnoses and reports with wrong arguments."""

from __future__ import annotations

from dataclasses import replace

import pyro_vae as pv
from pyro_vae.report.arviz_data import to_arviz
from pyro_vae.report.export import draws_to_arviz, reference_to_arviz
from pyro_vae.swap import swap_guides
from tests.misuse.estimates import GIVEN
from tests.misuse.values import (
    EXACT,
    GUIDE,
    LOCAL,
    MODEL,
    NAN,
    NO_COUNT,
    NO_DATA,
    NO_FLOATS,
    NO_LIKE,
    NO_PROGRAM,
    NO_ROWS,
    NO_SEED,
    RANKS,
    REFERENCE,
    ROWS,
    WEIGHED,
    WHOLE,
    X,
    holed,
    use,
)

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
