"""Methods called with wrong arguments."""

from __future__ import annotations

import torch

import pyro_vae as pv
from tests.misuse.values import (
    BINARY,
    DOUBLE,
    FLAT,
    GUIDE,
    INF,
    LOCAL,
    MODEL,
    NAN,
    NO_COUNT,
    ROWS,
    WHOLE,
    X,
    holed,
    use,
)

METHODS = [
    use(MODEL.log_px, {"x": X}, x=[X.tolist(), X[:, :3], holed(INF), WHOLE, DOUBLE, None]),
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
