"""Likelihoods made of wrong arguments."""

from __future__ import annotations

import pyro_vae as pv
from tests.misuse.values import (
    INF,
    NAN,
    NO_SCALE,
    use,
)

LIKELIHOODS = [
    use(pv.Bernoulli, {}, grey=["no", None, 1, NAN]),
    use(
        pv.Gaussian,
        {"sigma": 1.0},
        sigma=NO_SCALE,
        learn=["both", None, True],
        floor=[-0.1, 1.5, NAN, INF, None, "0"],
    ),
    use(pv.BetaBinomial, {}, levels=[1, 2.5, None, "256", True, 2**20]),
    use(
        pv.DiscretisedLogistic,
        {},
        levels=[1, 2.5, None, "256"],
        learn=["none", "both", None, True],
    ),
    use(pv.Categorical, {"num_classes": 3}, num_classes=[1, 2.5, None, "3", True]),
    use(pv.NegativeBinomial, {}, dispersion=["shared", "gene", None, 1.0]),
    use(pv.StudentT, {}, df=[1.0, 0, -3.0, NAN, INF, "5", True], learn=["none", None]),
    use(
        pv.Mixed,
        {"kinds": ["real", "counts"]},
        kinds=["real", [], None, ["text"], ["categories"], ["categories:1"], [3], 5],
    ),
]
