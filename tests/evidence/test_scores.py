"""Evidence by compiled graphs: the same numbers as by Pyro, whatever the sizes."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import MLP, VAE, Amortized, Bernoulli, LinearGaussian, Local, MeanField, log_evidence
from pyro_vae.evidence import Importance, importance
from pyro_vae.graphs import Compiled
from pyro_vae.programs.naming import unique_name
from tests.scenarios import eager

SHAPE, DIM = (1, 4, 16), 3


def make(num: int) -> tuple[VAE, Amortized, Tensor]:
    model, guide = VAE(SHAPE, DIM, (8,)), Amortized(MeanField(DIM), MLP(SHAPE, (8,)))
    return model, guide, (torch.rand(num, *SHAPE) < 0.3).float()


FIELDS = ("log_px", "elbo", "rate", "distortion", "ess", "log_px_error")


@pytest.mark.parametrize(("num", "num_particles"), [(37, 700), (5, 3), (20, 1)])
@pytest.mark.parametrize("max_bytes", [None, 40_000])
def test_compiled_equals_pyro(
    num: int, num_particles: int, max_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # several noise blocks, blocks of data and chunks, all uneven
    monkeypatch.setattr(importance, "_ROWS", 4000)
    eager(monkeypatch)
    captures: list[int] = []
    build = Compiled._build
    monkeypatch.setattr(
        Compiled, "_build", lambda self, *a: captures.append(id(self)) or build(self, *a)
    )
    model, guide, x = make(num)
    a, b = (
        log_evidence(
            model,
            guide,
            x,
            Importance(num_particles=num_particles, engine=engine, max_bytes=max_bytes),
        )
        for engine in ("compiled", "pyro")
    )
    for name in FIELDS:
        torch.testing.assert_close(
            getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-4, equal_nan=True
        )
    assert len(captures) == len(set(captures)) == 2  # one shape for all chunks


def test_through_the_compiler() -> None:
    model, guide, x = make(20)
    a, b = (
        log_evidence(model, guide, x, Importance(num_particles=50, engine=e))
        for e in ("compiled", "pyro")
    )  # type: ignore[arg-type]
    torch.testing.assert_close(a.log_px, b.log_px, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        model.decoder.head.bias.add_(1)  # the graph that is kept reads the weights as they are now
    c, d = (
        log_evidence(model, guide, x, Importance(num_particles=50, engine=e))
        for e in ("compiled", "pyro")
    )  # type: ignore[arg-type]
    torch.testing.assert_close(c.log_px, d.log_px, rtol=1e-5, atol=1e-5)
    assert (c.log_px - a.log_px).abs().max() > 0.1


def test_local_guides_read_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    model, guide, x = LinearGaussian(5, 2), Local(MeanField(2), 40), torch.randn(3, 5)
    torch.nn.init.normal_(guide.table)
    index = torch.tensor([31, 2, 7])
    a, b = (
        log_evidence(model, guide, x, Importance(num_particles=50, engine=e), index=index)  # type: ignore[arg-type]
        for e in ("compiled", "pyro")
    )
    torch.testing.assert_close(a.log_px, b.log_px, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_biased_and_asked_for_by_name() -> None:
    model, guide, x = make(20)
    exact = log_evidence(model, guide, x, Importance(num_particles=50, engine="pyro"))
    half = log_evidence(
        model, guide, x, Importance(num_particles=50, engine="pyro", precision="bfloat16")
    )
    gap = (half.log_px - exact.log_px).abs()
    assert 1e-4 < gap.max() < 0.5


class Branch(nn.Module):
    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        pyro.module(unique_name(self), self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            logits = z.sum(-1)[..., None].expand(*z.shape[:-1], 64).unflatten(-1, SHAPE)
            pyro.sample(
                "obs", dist.Bernoulli(logits=logits if x.sum() > 0 else -logits).to_event(3), obs=x
            )


def test_what_cannot_be_compiled_runs_by_pyro_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, guide, x = make(20)
    with pytest.raises(ValueError, match="cannot be compiled: it looks at the value"):
        log_evidence(Branch(), guide, x, Importance(num_particles=50, engine="compiled"))
    monkeypatch.setattr("pyro_vae.graphs.engine.WORTH_IT", 1)
    model = Branch()
    with pytest.warns(UserWarning, match="Pyro runs them: it looks at the value") as caught:
        a = log_evidence(model, guide, x, Importance(num_particles=50))
    assert len(caught) == 1
    b = log_evidence(model, guide, x, Importance(num_particles=50, engine="pyro"))
    torch.testing.assert_close(a.log_px, b.log_px, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"engine": "svi"}, "engine: got 'svi'"), ({"precision": "half"}, "precision: got 'half'")],
)
def test_bad_arguments(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log_evidence(*make(3), Importance(**change))  # type: ignore[arg-type]


def test_grey_values_are_scored_too(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    _, guide, x = make(4)
    model = VAE(SHAPE, DIM, (8,), Bernoulli(grey=True))
    a, b = (
        log_evidence(model, guide, x * 0.4, Importance(num_particles=9, engine=e))  # type: ignore[arg-type]
        for e in ("compiled", "pyro")
    )
    torch.testing.assert_close(a.log_px, b.log_px, rtol=1e-5, atol=1e-5)
