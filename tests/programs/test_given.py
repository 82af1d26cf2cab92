"""Programs with a context: whatever takes a model and a guide takes conditional ones, and each
datum gets its own row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.inference.optimum import programs_of
from pyro_vae.programs.given import takes_context, with_context
from pyro_vae.programs.naming import unique_name
from tests.scenarios import eager

SIZE, NUM, FAR = 3, 12, 5.0  # far apart: another datum's context is seen at once


class Shifted(nn.Module):
    """z ~ N(c, I), x | z ~ N(z + shift, I): so x | c ~ N(c + shift, 2 I)."""

    latent_dim = SIZE

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, index: Tensor, context: Tensor) -> Tensor:
        pyro.module(unique_name(self), self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(context, 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z + self.shift, 1.0).to_event(1), obs=x)
        return z

    def log_px(self, x: Tensor, context: Tensor) -> Tensor:
        return dist.Normal(context + self.shift, 2**0.5).to_event(1).log_prob(x)


def posterior(x: Tensor, context: Tensor) -> Tensor:
    with pyro.plate("data", len(x), dim=-1):
        return pyro.sample("latent", dist.Normal((x + context) / 2, 0.5**0.5).to_event(1))


def table(number: int = NUM) -> Tensor:
    return FAR * torch.arange(float(number))[:, None].expand(-1, SIZE) % 97


def drawn(context: Tensor) -> Tensor:
    torch.manual_seed(0)
    return context + 2**0.5 * torch.randn(len(context), SIZE)


Found = Callable[[Any, Any, Tensor, Tensor], Tensor]

METHODS: dict[str, Found] = {
    "exact": lambda m, g, x, n: pv.log_evidence(m, g, x, pv.Exact(), index=n).log_px,
    "importance": lambda m, g, x, n: (
        pv.log_evidence(m, g, x, pv.Importance(num_particles=10), index=n).log_px
    ),
    "compiled": lambda m, g, x, n: (
        pv.log_evidence(m, g, x, pv.Importance(num_particles=10, engine="compiled"), index=n).log_px
    ),
    "annealed": lambda m, g, x, n: (
        pv.log_evidence(m, g, x, pv.Annealed(num_temperatures=20), index=n).log_px
    ),
    "ledger": lambda m, g, x, n: (
        pv.gap_ledger(m, {"exact": g}, x, n, method=pv.Importance(num_particles=100)).log_px
    ),
    "local": lambda m, g, x, n: (
        pv.log_evidence(
            m,
            programs_of(pv.swap_guides(m, g, x, ["mean-field"], n))["mean-field"],
            x,
            pv.Importance(num_particles=300),
            index=n,
        ).log_px
    ),
}


@pytest.mark.usefixtures("less_patience")
@pytest.mark.parametrize("name", METHODS)
def test_evidence_is_that_in_the_context(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    context, numbers = table(), torch.arange(NUM).flip(0) + 4
    x = drawn(context)
    model, guide = pv.given(Shifted(), context, numbers), pv.given(posterior, context, numbers)

    found = METHODS[name](model, guide, x, numbers)
    truth = Shifted().log_px(x, context)
    assert (found - truth).abs().max() < 0.05, (found, truth)  # another's is some ten nats off
    few = torch.tensor([7, 2])
    part = METHODS[name](model, guide, x[few], numbers[few])
    assert (part - truth[few]).abs().max() < 0.05


@pytest.mark.usefixtures("less_patience")
def test_diagnostics_take_conditional_programs() -> None:
    context = table(40)
    x, index = drawn(context), torch.arange(40)
    model, guide = pv.given(Shifted(), context), pv.given(posterior, context)
    assert pv.check_calibration(model, guide, x, index, num_simulations=200).calibrated
    both = pv.sandwich(model, guide, x, index, num_data=4, method=pv.Annealed(num_temperatures=20))
    truth = model.log_px(both.x, both.index)
    assert torch.allclose(both.forward.log_px.float(), truth, atol=0.05)
    made = pv.sample(model, x, index, num_samples=40).x
    assert ((made - context).abs() < 6).all()


def conditional(family: Any = pv.MeanField) -> tuple[pv.ConditionalVAE, pv.ConditionalGuide]:
    torch.manual_seed(1)
    likelihood = pv.Gaussian(learn="none", sigma=0.5)
    model = pv.ConditionalVAE((4,), 2, 2, hidden=(8,), likelihood=likelihood)
    return model, pv.ConditionalGuide((4,), 2, 2, hidden=(8,), family=family)


def test_the_conditional_vae_learns_what_the_context_says(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    torch.manual_seed(0)
    context = torch.randn(300, 2) * torch.tensor([1.0, 1000.0]) + 500  # whatever the units
    means = ((context - context.mean(0)) / context.std(0)) @ torch.randn(2, 4) * 3
    x = means + 0.5 * torch.randn(300, 4)
    model, guide = (pv.given(program, context) for program in conditional())
    fast = partial(torch.optim.Adam, lr=0.02)
    pv.fit(model, guide, x, valid=0, epochs=60, batch_size=30, optimizer=fast, quiet=True)

    truth = dist.Normal(means, 0.5).to_event(1).log_prob(x).mean()
    log_px = pv.log_evidence(model, guide, x, pv.Importance(num_particles=100)).log_px
    assert (log_px.mean() - truth).abs() < 1.0
    swapped = model.program.decode(torch.zeros(300, 2), context.flip(0))
    assert ((swapped - means.flip(0)).square().mean() < 0.3 * means.var()).all()


@pytest.mark.parametrize("family", [pv.MeanField, pv.SplineFlow])
def test_guides_of_a_conditional_vae(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    context = torch.randn(6, 2)
    x = torch.randn(6, 4)
    model, guide = (pv.given(program, context) for program in conditional(family))
    names = ["amortized", "semi-amortized", "mean-field"]
    guides = pv.swap_guides(model, guide, x, names, num_steps=5)
    ledger = pv.gap_ledger(model, guides, x, method=pv.Importance(num_particles=500))
    elbos = {name: entry.evidence.elbo.mean() for name, entry in ledger.entries.items()}
    assert elbos["mean-field"] > elbos["amortized"]

    started = pv.Local.started_at(guide, x[[4, 1]], numbers=torch.tensor([4, 1]))
    assert torch.equal(started.table, guide.program.params(x[[4, 1]], context[[4, 1]]))


def test_it_is_saved_as_the_program_alone(tmp_path: Path) -> None:
    context, x = torch.randn(20, 2), torch.randn(20, 4)
    plain = conditional()
    model, guide = (pv.given(program, context) for program in plain)
    assert model.state_dict().keys() == plain[0].state_dict().keys()

    options: dict[str, Any] = {"valid": 0, "warmup_epochs": 0, "quiet": True}
    pv.fit(model, guide, x, epochs=2, folder=tmp_path / "run", **options)
    again = [pv.given(program, context) for program in conditional()]
    pv.fit(*again, x, epochs=3, folder=tmp_path / "run", resume=True, **options)
    straight = [pv.given(program, context) for program in conditional()]
    pv.fit(*straight, x, epochs=3, **options)
    assert all(map(torch.equal, again[0].parameters(), straight[0].parameters()))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no context taken": (
        lambda: pv.given(pv.VAE((4,), 2), table()),
        "program: got VAE, which takes no context",
    ),
    "no tensor": (lambda: pv.given(Shifted(), [1.0]), r"context: got \[1.0\]"),
    "NaN": (lambda: pv.given(Shifted(), table() * float("nan")), "context: got NaN"),
    "numbers twice": (
        lambda: pv.given(Shifted(), table(2), torch.tensor([1, 1])),
        "numbers: got some twice",
    ),
    "numbers of others": (lambda: pv.given(Shifted(), table(2), torch.arange(3)), "numbers: "),
    "not bound": (
        lambda: pv.log_evidence(Shifted(), posterior, table(2)),
        r"'context' is filled by nobody.*pyro_vae\.given\(program, context\)",
    ),
    "data without one": (
        lambda: pv.fit(Shifted(), posterior, table(20), quiet=True),
        "data: got a set without a context, which Shifted takes",
    ),
    "another size": (
        lambda: pv.log_evidence(
            *(pv.given(program, table(4)) for program in conditional()), torch.zeros(4, 4)
        ),
        "context: got",
    ),
    "conditional, not bound": (
        lambda: pv.log_evidence(*conditional(), torch.zeros(4, 4)),
        "context: got none",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_context_is_told(name: str) -> None:
    misuse, told = REFUSED[name]
    with pytest.raises(ValueError, match=told):
        misuse()


def test_data_that_nobody_gave_a_context_are_refused() -> None:
    model = pv.given(Shifted(), table(3), torch.tensor([0, 2, 3]))
    with pytest.raises(ValueError, match="found invalid values"):
        pv.log_weights(model, pv.given(posterior, table(4)), table(4)[:2])


def test_a_program_that_needs_none_is_left_alone() -> None:
    assert with_context(posterior, table()) is not posterior
    vae = pv.VAE((4,), 2)
    assert with_context(vae, table()) is vae and not takes_context(vae)
