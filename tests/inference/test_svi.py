"""`fit`: where it ends, and what its loss, steps and rates are."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from pyro_vae import MLP, Amortized, LinearGaussian, MeanField, Recipe, fit, log_evidence
from pyro_vae.evidence import Importance
from pyro_vae.inference import NonFiniteLoss
from pyro_vae.inference.optim import JointOptim
from tests.inference.toys import SGD, SIZE, adam, make, with_valid


def test_trained_mean_field_approaches_its_closed_form_optimum() -> None:
    # The decoder is known; a linear encoder can reach the optimum, of one scale for all data.
    _, guide, x = make(512)
    model = LinearGaussian(SIZE, 2, sigma=0.5, seed=7).requires_grad_(False)
    assert model.mean_field_gap() > 0.1  # its posterior is correlated: the family costs something
    fit(model, guide, x, adam(60, 0.1, 64), valid=0, quiet=True)
    q = guide.q(x)
    full = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    gap = (
        torch.distributions.kl_divergence(full, model.posterior(x)).mean() - model.mean_field_gap()
    )
    assert -1e-5 < gap.item() < 2e-3, gap  # the amortization gap, in closed form
    est = log_evidence(model, guide, x, Importance(num_particles=500))
    error = est.elbo_error.square().sum().sqrt().item() / 512
    assert (
        abs((model.log_px(x).mean() - model.mean_field_gap() - gap - est.elbo.mean()).item())
        < 5 * error
    )


def test_trained_model_approaches_maximum_likelihood() -> None:
    model, guide, x = make(512)
    fit(model, guide, x, adam(80, 0.05), valid=0, quiet=True)
    best = LinearGaussian.maximum_likelihood(x, 2)
    # Mean-field training finds maximum likelihood all the same (Lucas et al., 2019):
    # loadings can be orthogonal.
    gap = (best.log_px(x) - model.log_px(x)).mean().item()
    assert 0 <= gap < 2e-3, gap


@pytest.mark.parametrize("loss", [Trace_ELBO(), TraceMeanField_ELBO(), Trace_ELBO(num_particles=3)])
def test_train_loss_is_minus_the_elbo_per_datum(loss: Any) -> None:
    model, guide, x = make(1000)
    run = fit(
        model, guide, x, epochs=1, optimizer=SGD, loss=loss, warmup_epochs=0, valid=0, quiet=True
    )
    est = log_evidence(model, guide, x, Importance(num_particles=100))
    error = (est.elbo_error * 10).square().sum().sqrt().item() / 1000  # one particle in the loss
    assert abs(run.history[0]["train_loss"] + est.elbo.mean().item()) < 5 * error, (
        run.history,
        est.elbo.mean(),
        error,
    )


def test_beta_weighs_the_rate() -> None:
    model, guide, x = make(1000)
    est = log_evidence(model, guide, x, Importance(num_particles=100))
    options = {"epochs": 1, "optimizer": SGD, "warmup_epochs": 0, "valid": 0, "quiet": True}
    run = fit(model, guide, x, loss=TraceMeanField_ELBO(), beta=3.0, **options)  # type: ignore[arg-type]
    expected = (est.distortion + 3 * est.rate).mean().item()
    error = (est.elbo_error * 10).square().sum().sqrt().item() / 1000
    assert abs(run.history[0]["train_loss"] - expected) < 5 * error
    run = fit(model, guide, x, beta=0.0, **options)  # type: ignore[arg-type]
    assert abs(run.history[0]["train_loss"] - est.distortion.mean().item()) < 5 * error


@pytest.mark.parametrize("loss", [Trace_ELBO(), TraceMeanField_ELBO()])
def test_beta_0_trains_on_where_the_density_of_the_guide_overflows(loss: Trace_ELBO) -> None:
    # 1 / scale^2 is infinite in float32, and 0 times that is NaN
    model, guide, x = make(100)
    with torch.no_grad():
        guide.head.bias[2:] = -45.0
    before = [p.detach().clone() for p in guide.parameters()]
    options = {"epochs": 2, "warmup_epochs": 0, "valid": 0, "quiet": True, "engine": "pyro"}
    run = fit(model, guide, x, loss=loss, beta=0.0, **options)  # type: ignore[arg-type]
    assert math.isfinite(run.history[-1]["train_loss"])
    assert any(not torch.equal(p, q) for p, q in zip(guide.parameters(), before, strict=True))

    with torch.no_grad():
        guide.head.bias[2:] = -80.0  # the square is 0, and so there is no density
    with pytest.raises(NonFiniteLoss, match="with beta 0 nothing keeps a guide's scale from 0"):
        fit(model, guide, x, loss=loss, beta=0.0, **options)  # type: ignore[arg-type]


def test_beta_collapses_a_dimension_exactly_below_its_eigenvalue() -> None:
    # Linear VAE, fixed decoder noise s: dimension i collapses exactly when beta * s >= e_i
    # (Dai et al.; Lucas et al.).
    generator = torch.Generator().manual_seed(1)
    scales = torch.tensor([3.0, 1.5, 0.5])
    # e = scales ** 2
    x = torch.linalg.qr(torch.randn(2000, 3, generator=generator)).Q * math.sqrt(2000) * scales

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = nn.Linear(3, 3, bias=False)
            self.latent_dim = 3

        def forward(self, x: torch.Tensor, index: Any = None) -> None:
            pyro.module("collapse", self)
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("latent", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                pyro.sample("obs", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    model, guide = Linear(), Amortized(MeanField(3), MLP(3, ()))
    beta = 1.5
    fit(model, guide, x, replace(adam(40, 0.05, 100), beta=beta), valid=0, quiet=True)
    singular = torch.linalg.svdvals(model.decoder.weight.detach())
    expected = (scales**2 - beta).clamp(min=0).sqrt()
    torch.testing.assert_close(singular, expected, atol=0.03, rtol=0)


def test_warm_up_rises_to_beta_by_step() -> None:
    model, guide, x = make()
    run = fit(
        model, guide, x, epochs=4, batch_size=32, beta=2.0, warmup_epochs=2, valid=0, quiet=True
    )
    # the last step of each epoch of three: 2/3 and 5/3 of two epochs, then all
    assert [row["beta"] for row in run.history] == pytest.approx([2 / 3, 5 / 3, 2, 2])


def test_every_datum_is_seen_once_an_epoch_with_its_row() -> None:
    model, guide, x = make(50)
    seen: list[torch.Tensor] = []

    def spy(batch: torch.Tensor, index: torch.Tensor) -> Any:
        assert torch.equal(batch, x[index])
        seen.append(index)
        return guide(batch, index)

    fit(model, spy, x, epochs=1, batch_size=16, valid=0, quiet=True)
    sizes = [len(rows) for rows in seen]  # before and behind the steps, looks at the programs
    first = next(n for n in range(len(sizes)) if sizes[n : n + 4] == [16, 16, 16, 2])
    steps = seen[first : first + 4]
    assert torch.equal(torch.cat(steps).sort().values, torch.arange(50))


def test_same_seed_same_end_and_the_caller_s_noise_untouched() -> None:
    ends = []
    for seed, caller in ((1, 5), (1, 6), (2, 5)):
        model, guide, x = make()
        torch.manual_seed(caller)
        state = torch.get_rng_state()
        fit(model, guide, x, epochs=2, seed=seed, quiet=True)
        assert torch.equal(torch.get_rng_state(), state)
        ends.append(model.loading.detach().clone())
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_one_optimizer_is_pyro_s_adam_per_parameter() -> None:
    ends = []
    for joint in (True, False):
        model, guide, x = make()
        pyro.clear_param_store()
        params = [p for m in (guide, model) for p in m.parameters()]
        optim = (
            JointOptim(partial(torch.optim.Adam, lr=0.01), params)
            if joint
            else pyro.optim.Adam({"lr": 0.01})
        )
        svi = pyro.infer.SVI(model, guide, optim, Trace_ELBO())
        torch.manual_seed(3)
        for _ in range(10):
            svi.step(x)
        ends.append(model.loading.detach().clone())
    torch.testing.assert_close(ends[0], ends[1], atol=1e-6, rtol=0)


def test_an_optimizer_of_one_s_own_needs_no_closure() -> None:
    class Plain(torch.optim.SGD):
        def step(self) -> None:  # type: ignore[override]
            super().step()

    model, guide, x = make()
    before = model.loading.detach().clone()
    fit(model, guide, x, epochs=1, optimizer=partial(Plain, lr=1e-4), quiet=True)
    assert not torch.equal(model.loading, before)


@pytest.mark.parametrize(
    "name", ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD"]
)
def test_any_torch_optimizer_trains(name: str) -> None:
    model, guide, x = make()
    before = model.loading.detach().clone()
    fit(model, guide, x, epochs=1, optimizer=getattr(torch.optim, name), quiet=True)
    assert not torch.equal(model.loading, before)


def test_clipping_is_by_the_global_norm() -> None:
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optim = JointOptim(partial(torch.optim.SGD, lr=1.0), [a, b], clip_norm=1.0)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    optim({a, b})
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([-0.6, -0.8]))


def test_a_parameter_that_appears_later_is_refused() -> None:
    a = nn.Parameter(torch.zeros(1))
    optim = JointOptim(partial(torch.optim.SGD, lr=1.0), [a])
    late = pyro.param("late", torch.zeros(1)).unconstrained()
    with pytest.raises(ValueError, match=r"\['late'\] appeared during training"):
        optim({a, late})


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (None, [0.1, 0.1, 0.1]),
        (partial(StepLR, step_size=1, gamma=0.5), [0.1, 0.05, 0.025]),
        (
            partial(ReduceLROnPlateau, patience=0, threshold=1e9, threshold_mode="abs", factor=0.1),
            [0.1, 0.1, 0.01],
        ),
    ],
)
def test_schedule_steps_once_an_epoch(schedule: Any, rates: list[float]) -> None:
    model, guide, x = make()
    optimizer = partial(torch.optim.Adam, lr=0.1)
    run = fit(
        model, guide, with_valid(x), epochs=3, optimizer=optimizer, schedule=schedule, quiet=True
    )
    assert [row["learning_rate"] for row in run.history] == pytest.approx(rates)


def test_early_stopping_keeps_the_best_parameters() -> None:
    model, guide, x = make()
    data = with_valid(x)
    recipe = Recipe(200, 8, partial(torch.optim.Adam, lr=0.3), warmup_epochs=0, patience=3)
    run = fit(model, guide, data, recipe, quiet=True)
    scores = [row["valid_elbo"] for row in run.history]
    assert len(scores) < 200 and len(scores) - 1 - scores.index(max(scores)) == 3
    now = (
        log_evidence(model, guide, data.valid.x, Importance(num_particles=1, seed=0))
        .elbo.mean()
        .item()
    )  # type: ignore[union-attr]
    assert now == max(scores)
