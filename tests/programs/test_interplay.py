"""Missing values, discrete latents that are summed out, a context, learned priors, streams and
objectives, together: each pair on a model whose log p(x) is known.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.objectives import Bound, FreeBits, ScoreFunction, tempered
from pyro_vae.programs.naming import unique_name
from pyro_vae.programs.traces import without_choices
from tests.programs.kinds import hasten
from tests.programs.mixed import MARK, PLACES, SHARES, plate
from tests.scenarios import eager

NUM = 24
NOISE = (0.5, 1.0)


def in_context(x: Tensor, index: Any = None, context: Any = None) -> None:
    """k ~ shares, z ~ N(mu_k + c, 1), x_j ~ N(z, noise_j): a mixture of three normals."""
    with plate(x):
        k = pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
        moved = 0.0 if context is None else context[:, 0]
        z = pyro.sample("z", dist.Normal(x.new_tensor(PLACES)[k] + moved, 1.0))
        pyro.sample("obs", dist.Normal(z[..., None], x.new_tensor(NOISE)).to_event(1), obs=x)


def exact(x: Tensor, context: Tensor) -> Tensor:
    """log p(x_o | c), `(N,)`, in float64."""
    found = []
    for row, moved in zip(x.double(), context[:, 0].double(), strict=True):
        there = ~row.isnan()
        size = int(there.sum())
        if not size:
            found.append(row.new_zeros(()))
            continue
        cov = torch.ones(size, size) + torch.diag(torch.tensor(NOISE)[there] ** 2)
        means = (torch.tensor(PLACES) + moved)[:, None].expand(-1, size)
        each = dist.MultivariateNormal(means.double(), cov.double()).log_prob(row[there])
        found.append(torch.logsumexp(each + torch.tensor(SHARES).double().log(), 0))
    return torch.stack(found)


class Encoder(nn.Module):
    """q(z | x_o, c), which knows the data and the context a little."""

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(())), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, index: Any = None, context: Any = None) -> None:
        pyro.module(unique_name(self), self)
        moved = 0.0 if context is None else 0.2 * context[:, 0]
        mean = torch.where(x.isnan(), x.nan_to_num().sum(1, keepdim=True), x).mean(1)
        with plate(x):
            pyro.sample("z", dist.Normal(0.8 * mean + moved + self.loc, self.scale))


def data(missing: bool = True, number: int = NUM) -> tuple[Tensor, Tensor]:
    """x `(N, 2)`, and a context `(N, 1)`."""
    torch.manual_seed(1)
    x, context = 2 * torch.randn(number, 1) + torch.randn(number, 2), torch.randn(number, 1)
    if missing:
        x[::3, 0] = x[1::4, 1] = torch.nan
    return x, context


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    pyro.clear_param_store()
    torch.manual_seed(0)


def recipe(engine: Any = "pyro", **options: Any) -> pv.Recipe:
    return pv.Recipe(**({"epochs": 2, "batch_size": 8, "engine": engine} | options))


IMPORTANCE = pv.Importance(4000)
ANNEALED = pv.Annealed(num_temperatures=15, num_chains=20, start="prior")


@pytest.mark.parametrize(
    ("method", "bound", "missing"),
    [
        (IMPORTANCE, False, True),
        (IMPORTANCE, True, False),
        (IMPORTANCE, True, True),
        (ANNEALED, True, True),
    ],
)
def test_evidence_is_the_mixture_s(method: Any, bound: bool, missing: bool) -> None:
    x, context = data(missing)
    rows = torch.arange(4, 16)  # by number, and not by place
    model: Any = in_context
    guide: Any = Encoder()
    if bound:
        model, guide = pv.given(model, context), pv.given(guide, context)
    found = pv.log_evidence(model, guide, x[rows], method, index=rows)
    truth = exact(x, context if bound else 0 * context)[rows].mean().item()
    assert abs(found.mean - truth) < 5 * method_error(found)


def method_error(found: Any) -> float:
    """The standard error of the mean of an estimate for these very data."""
    return float(found.log_px_error.square().mean().sqrt() / len(found.log_px) ** 0.5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta": 2.0, "warmup_epochs": 1},
        {"loss": Bound(4)},
        {"loss": FreeBits(0.2)},
        {"loss": ScoreFunction(2)},
    ],
    ids=["elbo", "beta", "bound", "free bits", "score"],
)
def test_engines_agree(options: Any) -> None:
    x, context = data()
    start, losses = Encoder(), []
    for engine in ("pyro", "compiled"):
        guide = deepcopy(start)
        given = pv.as_dataset(x, context=context)
        run = pv.fit(in_context, guide, given, recipe(engine, **options), quiet=True)
        losses.append([guide.loc.item(), run.history[-1]["train_loss"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0][0] != 0


def test_beta_weighs_the_summed_prior() -> None:
    x, _ = data()
    model, guide, beta = pv.observed_part(in_context), Encoder(), torch.tensor(0.3)
    torch.manual_seed(3)
    parts = pv.particles(model, guide, x)
    expected = parts.log_likelihood + beta * (parts.log_prior - parts.log_guide)
    taken = without_choices(model, guide, x)
    torch.manual_seed(3)
    found = Trace_ELBO().loss(tempered(taken, beta), tempered(guide, beta), x, None)
    assert found == pytest.approx(-expected.sum().item(), rel=1e-5)
    torch.manual_seed(3)
    log_w = pv.particles(model, guide, x, num_particles=5).log_weights
    torch.manual_seed(3)
    bound = Bound(5)
    bound.max_plate_nesting = 2
    tight = -(torch.logsumexp(log_w, 0) - np.log(5)).sum().item()
    assert bound.loss(taken, guide, x, None) == pytest.approx(tight, rel=1e-5)


def test_missing_values_in_a_memory_map(tmp_path: Path) -> None:
    x, context = data(number=40)
    np.save(tmp_path / "x.npy", x.numpy())
    start, losses = Encoder(), []
    for rows in (x, np.load(tmp_path / "x.npy", mmap_mode="r")):
        model, guide = pv.given(in_context, context), deepcopy(start)
        losses.append(pv.fit(model, guide, rows, recipe(), quiet=True).history[-1])
    assert losses[0]["train_loss"] == losses[1]["train_loss"]
    with pytest.raises(ValueError, match=r"^context: got .*, expected None, where rows stay"):
        pv.as_dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), context=torch.zeros(40, 1))


def test_a_run_is_resumed_to_the_last_bit(tmp_path: Path) -> None:
    x, context = data()
    given, start, found = pv.as_dataset(x, context=context), Encoder(), []
    for name, stages in (("one", (3,)), ("two", (1, 3))):
        guide = deepcopy(start)
        for number, epochs in enumerate(stages):
            told = recipe(epochs=epochs, keep="last", beta=0.7, warmup_epochs=0.5)
            folder = tmp_path / name
            pv.fit(in_context, guide, given, told, folder=folder, resume=number > 0, quiet=True)
        found.append(torch.stack([guide.loc, guide.scale]))
    assert torch.equal(*found)


def test_classical_inference_and_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)
    x, context = (part[:5] for part in data())
    model = pv.given(in_context, context)
    local = pv.fit_local(model, pv.Local.of(model, x, pv.FullRank), x)
    tight = pv.log_evidence(model, local.guide, x, pv.Importance(4000))
    truth = exact(x, context)
    assert abs(tight.mean - truth.mean().item()) < 5 * method_error(tight)
    guides = {"local": local, "net": pv.given(Encoder(), context)}
    method = pv.Importance(300, engine="pyro")
    ledger = pv.gap_ledger(model, guides, x, method=method)
    assert (ledger.log_px - truth).abs().max() < 0.5


def test_a_whole_set_with_choices_context_and_missing_values() -> None:
    def shared(x: Tensor, index: Any = None, context: Any = None) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(()), 1.0))
        with plate(x):
            k = pyro.sample("k", dist.Bernoulli(x.new_tensor(0.3)), infer=MARK)
            pyro.sample("obs", dist.Normal(w * context[:, 0] + k, 1.0), obs=x)

    x, context = data()[0][:7, 0], data()[1][:7]
    assert x.isnan().any()
    w = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    mean = w[:, None] * context[:, 0]
    off = dist.Normal(mean, 1.0).log_prob(x.nan_to_num()) + np.log(0.7)
    on = dist.Normal(mean + 1, 1.0).log_prob(x.nan_to_num()) + np.log(0.3)
    each = torch.where(x.isnan(), 0.0, torch.logaddexp(off, on)).sum(1)
    truth = torch.logsumexp(each + dist.Normal(0.0, 1.0).log_prob(w), 0) + np.log(16 / 2000)

    numbers = torch.arange(10, 17)
    model = pv.whole(pv.given(shared, context, numbers), numbers)
    found = pv.log_evidence(model, None, x[None], pv.Quadrature())
    assert found.log_px.item() == pytest.approx(truth.item(), abs=1e-4)


GENERATOR = torch.Generator().manual_seed(0)


def noisy(x: Tensor, index: Any = None) -> None:
    """A model that draws from a generator of its own."""
    noise = 0.1 * torch.randn(len(x), 1, generator=GENERATOR)
    with plate(x):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("obs", dist.Normal(z[..., None] + noise, x.new_ones(2)).to_event(1), obs=x)


def test_a_generator_of_one_s_own_is_no_part_of_a_graph() -> None:
    x, _ = data()
    with pytest.raises(ValueError, match=r"cannot be compiled: it draws from a torch\.Generator"):
        pv.fit(noisy, Encoder(), x, recipe("compiled"), quiet=True)
    with pytest.raises(ValueError, match=r"cannot be compiled: it draws from a torch\.Generator"):
        pv.log_evidence(noisy, Encoder(), x, pv.Importance(5, engine="compiled"))
    optim = pyro.optim.Adam({"lr": 0.01})
    svi = pv.CompiledSVI(noisy, Encoder(), optim, Trace_ELBO())
    with pytest.warns(UserWarning, match=r"torch\.Generator of its own"):
        assert svi.step(x.nan_to_num(), torch.arange(NUM)) > 0


def vae(prior: pv.Prior) -> pv.VAE:
    return pv.VAE((2,), 2, hidden=(8,), likelihood=pv.Gaussian(), prior=prior)


@pytest.mark.parametrize("prior", [pv.VampPrior, pv.MixturePrior])
def test_a_learned_prior_of_data_with_missing_values(prior: Any) -> None:
    x, _ = data()
    model, guide = vae(prior(6)), pv.EncoderGuide((2,), 2, (8,))
    assert pv.fit(model, guide, x, recipe(), quiet=True).history[-1]["train_loss"] < 100
    assert all(p.isfinite().all() for p in model.parameters())
    assert pv.log_evidence(model, guide, x[:4], pv.Importance(50)).log_px.isfinite().all()


class InContext(pv.VAE):
    def forward(self, x: Tensor, index: Any = None, context: Any = None) -> Tensor:
        return super().forward(x - context, index)


def test_a_vamp_prior_refuses_a_guide_that_needs_a_context() -> None:
    x, context = data(missing=False)
    guide = pv.ConditionalGuide((2,), 2, 1, (8,))
    model = InContext((2,), 2, hidden=(8,), likelihood=pv.Gaussian(), prior=pv.VampPrior(4))
    for given in (guide, pv.given(guide, context)):
        with pytest.raises(ValueError, match=r"^guide: got Cond.*, whose q\(z \| x, c\)"):
            model.take_guide(given)
    with pytest.raises(ValueError, match=r"^guide: got ConditionalGuide"):
        pv.fit(model, guide, pv.as_dataset(x, context=context), recipe(), quiet=True)
    pv.fit(model, pv.EncoderGuide((2,), 2, (8,)), pv.as_dataset(x, context=context), recipe())


def test_a_guide_of_all_latents_beside_a_choice_and_missing_values() -> None:
    x, context = data()
    model, guide = pv.given(in_context, context), pv.JointGuide((2,), hidden=(4,))
    pv.fit(model, guide, x, recipe(), quiet=True)
    assert guide.family.dim == 1
    found = pv.log_evidence(model, guide, x[:8], pv.Importance(4000))
    assert abs(found.mean - exact(x, context)[:8].mean().item()) < 5 * method_error(found)


def test_a_local_test_of_data_with_missing_values() -> None:
    x, context = data()
    model, guide = pv.given(in_context, context), pv.given(Encoder(), context)
    found = pv.local_c2st(model, guide, x[:2], num_simulations=100)
    assert x[0].isnan().any()
    assert "nan" not in str(found.summary())
