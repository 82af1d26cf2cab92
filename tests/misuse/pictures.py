"""Plots of wrong things, into wrong places."""

from __future__ import annotations

import pyro_vae as pv
from pyro_vae.report.plots import blank, interval_plot, learning_curve, rate_curve
from tests.misuse.values import NAN, RANKS, WEIGHED, use

AXES = blank((3.0, 2.0)).add_subplot()
NO_AXES = [None, 3, AXES.figure, "axes"]
EPOCH = {"epoch": 1, "train_loss": 3.0, "valid_rate": 1.0, "valid_distortion": 2.0}
NO_HISTORY = [
    None,
    [],
    EPOCH,
    [3],
    "rows",
    [{}],
    [{"train_loss": NAN}],
    [EPOCH | {"valid_rate": "a"}],
]

PICTURES = [
    use(
        pv.plot,
        {"result": WEIGHED, "view": "pareto_k", "ax": AXES},
        result=[None, 3, {}, "run", pv.Importance()],
        view=["elbo", 3, True],
        ax=[3, AXES.figure, "axes"],
    ),
    use(pv.plot, {"result": RANKS}, name="plot of ranks", view=["log_px"]),
    use(
        learning_curve,
        {"history": [EPOCH], "axes": AXES},
        history=NO_HISTORY[:-1],
        axes=NO_AXES,
        kept=["1", 1.5, True, 0],
        loss_is_elbo=["yes", 3],
    ),
    use(
        rate_curve,
        {"history": [EPOCH], "axes": AXES},
        history=NO_HISTORY,
        axes=NO_AXES,
        kept=["1", 1.5, True, 0],
    ),
    use(
        interval_plot,
        {"rows": [{"log_px": "-3.0", "lower": "-4.0", "upper": "inf"}], "axes": AXES},
        rows=[None, [], [3], "rows", [{}], [{"log_px": "a"}]],
        axes=NO_AXES,
    ),
]
