"""The compiled engine against stock SVI, by Inductor."""

from __future__ import annotations

import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyro_vae import VAE, Amortized, CompiledSVI, MeanField
from pyro_vae.graphs import compiling
from pyro_vae.inference.optim import JointOptim
from pyro_vae.programs.parameters import trainable_parameters
from tests.inference.parity import (
    ADAM,
    DIM,
    GUIDES,
    LOSSES,
    MODELS,
    SHAPE,
    TOLERANCE,
    assert_parity,
    batch,
    programs,
)

# Each graph has a lowering of its own. What makes vector instructions of its loops is the same for
# all of them, Inductor's, and a third of their compilation: by those only of a net of either type,
# which besides are what hundreds of steps run, the rest one number at a time.
BY_VECTORS = ("bernoulli", "amortized", "trace")


@pytest.mark.parametrize(
    ("model", "guide", "loss", "dtype"),
    [(m, "amortized", "trace", torch.float32) for m in MODELS]
    # one code for both types, by Inductor's generator: a net, a scale by a buffer, a discrete site
    + [
        (m, "amortized", "trace", torch.float64)
        for m in ("bernoulli", "gaussian, in the units of the data", "two sites")
    ]
    + [("bernoulli", g, "mean field", torch.float32) for g in GUIDES]
    + [
        ("bernoulli", "amortized", loss, torch.float32)
        for loss in LOSSES
        if loss not in ("trace", "mean field")
    ],
)
def test_compiled_loss_and_gradients_are_pyro_s(
    model: str, guide: str, loss: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each model, guide and objective once through Inductor."""
    if (model, guide, loss) != BY_VECTORS:
        monkeypatch.setitem(compiling._OPTIONS, "cpp.simdlen", 1)
    assert_parity(model, guide, loss, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_hundreds_of_steps_end_in_the_same_place(dtype: torch.dtype) -> None:
    ends = []
    for engine in (CompiledSVI, SVI):
        p, q, loss = programs("bernoulli", "amortized", "trace", dtype)
        optim = JointOptim(ADAM, trainable_parameters(p, q, *batch("bernoulli", 0, dtype)).values())
        svi = engine(p, q, optim, loss)
        torch.manual_seed(5)
        losses = [float(svi.step(*batch("bernoulli", seed, dtype))) for seed in range(400)]
        ends.append((losses, [v.detach() for m in (p, q) for v in m.parameters()]))
    (a, end_a), (b, end_b) = ends
    assert sum(a[-100:]) < 0.95 * sum(a[:100])  # it has learnt something on the way
    exact = dtype == torch.float64
    assert a == pytest.approx(b, rel=1e-9 if exact else 1e-3)
    for got, expected in zip(end_a, end_b, strict=True):
        assert (got - expected).norm() <= (1e-9 if exact else 1e-3) * expected.norm()


def test_a_bias_before_a_normalisation_is_no_reason_to_fall_back() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.BatchNorm1d(8), nn.ReLU())
    encoder.out_features = 8  # type: ignore[assignment]
    svi = CompiledSVI(
        VAE(SHAPE, DIM, (8,)),
        Amortized(MeanField(DIM), encoder),
        ADAM,
        Trace_ELBO(),
        fallback=False,
    )
    for seed in range(10):
        svi.step(*batch("bernoulli", seed, torch.float32))
    assert encoder[2].num_batches_tracked == 10
