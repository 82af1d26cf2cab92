"""Estimates where memory does not hold a chunk: the chunk is halved, the numbers are the same.

A decoder that raises what torch raises on a GPU stands for the GPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pyro_vae import MLP, VAE, Amortized, Annealed, Importance, MeanField, log_evidence
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.scores import Scores
from pyro_vae.programs.pair import opened
from tests.scenarios import eager

SHAPE, DIM = (1, 2, 8), 2
MEMORY = 50  # rows of the decoder that it holds
METHODS = [
    Importance(9, num_scouts=0),
    Annealed(2, num_chains=9, num_leapfrog=1, start="guide"),
]


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is collected after an error takes long among all that tests have imported."""
    monkeypatch.setattr("gc.collect", lambda: 0)


class Small(nn.Module):
    """A decoder on a device of little memory."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.rows = MEMORY
        self.largest = 0

    def forward(self, z: Tensor) -> Tensor:
        rows = z.numel() // z.shape[-1]
        if rows > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.largest = max(self.largest, rows)
        return self.decoder(z)


def estimates(method: Method[Estimate]) -> tuple[Estimate, Estimate, Small]:
    """With memory enough, and with little."""
    torch.manual_seed(0)
    model, guide = VAE(SHAPE, DIM, (4,)), Amortized(MeanField(DIM), MLP(SHAPE, (4,)))
    x = (torch.rand(11, *SHAPE) < 0.3).float()
    enough = log_evidence(model, guide, x, method)

    model.decoder = small = Small(model.decoder)
    with pytest.warns(UserWarning, match=r"out of memory with \d+ rows at once") as caught:
        little = log_evidence(model, guide, x, method)
    assert len(caught) == 1
    return enough, little, small


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
@pytest.mark.parametrize(
    "method",
    [Importance(9, num_scouts=0), Annealed(2, num_chains=9, num_leapfrog=1, start="guide")],
)
def test_chunks_are_halved_and_the_result_is_the_same(
    method: Method[Estimate], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    # what looks for missed modes draws from the model itself, all at once
    monkeypatch.setattr(
        "pyro_vae.evidence.annealed.missed", lambda pair, *_, **__: pair.x[:, 0, 0, 0] > 1
    )
    method = replace(method, engine=engine)  # type: ignore[type-var]
    enough, little, small = estimates(method)
    torch.testing.assert_close(little.log_px, enough.log_px, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(little.log_px_error, enough.log_px_error, rtol=1e-3, atol=1e-5)
    assert MEMORY / 2 < small.largest <= MEMORY


def test_what_no_half_of_can_be_held_is_raised() -> None:
    torch.manual_seed(0)
    model, guide = VAE(SHAPE, DIM, (4,)), Amortized(MeanField(DIM), MLP(SHAPE, (4,)))
    x, calls = torch.zeros(2, *SHAPE), 0

    def no_memory(z: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with opened(model, guide, x) as pair:
        scores = Scores(pair, 2, 4, 8, engine="pyro", precision="float32", defensive=0.0,
                        max_bytes=None)  # fmt: skip
        model.decoder.forward = no_memory  # type: ignore[method-assign]
        with pytest.raises(torch.OutOfMemoryError):
            scores.particles(pair, 4)
    assert calls == 4  # of 8, 4, 2 and 1 rows
