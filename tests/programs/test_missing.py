"""Missing values, held to the closed forms of what is observed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.models.linear_gaussian import ExactGuide
from pyro_vae.programs.missing import ObservedPart, observing
from tests.scenarios import eager, linear_gaussian

SIZE, DIM = 5, 2


def holes(x: Tensor, share: float = 0.3, seed: int = 1) -> Tensor:
    """The data with so many values missing at random."""
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(noise < share, torch.nan, x)


def scenario(num_data: int = 12) -> tuple[pv.LinearGaussian, Tensor]:
    """A model and data of its own; of the last datum everything is missing."""
    model, x = linear_gaussian(num_data)
    x = holes(x)
    x[-1] = torch.nan
    return model.eval().requires_grad_(False), x


MODEL, X = scenario()
HIDDEN = X.isnan()


def joint(model: pv.LinearGaussian) -> tuple[Tensor, Tensor]:
    noise = (2 * model.log_sigma).exp() * torch.eye(SIZE, dtype=torch.double)
    return model.mean, model.loading @ model.loading.T + noise


def marginal(model: pv.LinearGaussian, x: Tensor) -> Tensor:
    """log p(x_o) of each datum, by the rows and columns that are there."""
    mean, covariance = joint(model)
    found = []
    for row in x:
        there = ~row.isnan()
        if there.any():
            normal = MultivariateNormal(mean[there], covariance[there][:, there])
            found.append(normal.log_prob(row[there]))
        else:
            found.append(row.new_zeros(()))
    return torch.stack(found)


TRUTH = marginal(MODEL, X)


def user_model(x: Tensor, index: Any = None) -> None:
    """The same model as a program of a user's own, its values in a plate."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("latent", dist.Normal(x.new_zeros(DIM), 1.0).to_event(1))
        mean = (z @ MODEL.loading.T + MODEL.mean).movedim(-1, -2)
        with pyro.plate("values", SIZE, dim=-2):
            mean = mean.reshape(*z.shape[:-3], SIZE, len(x))  # particles first
            pyro.sample("y", dist.Normal(mean, MODEL.log_sigma.exp()), obs=x.T)


def joint_model(x: Tensor, index: Any = None) -> None:
    """The same, with the second latent unit summed out: a normal whose values hang together."""
    loading, noise = MODEL.loading, (2 * MODEL.log_sigma).exp() * torch.eye(SIZE).double()
    covariance = noise + loading[:, 1:] @ loading[:, 1:].T
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("latent", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
        mean = z @ loading[:, :1].T + MODEL.mean
        pyro.sample("y", dist.MultivariateNormal(mean, covariance), obs=x)


def test_closed_forms_are_those_of_what_is_there() -> None:
    torch.testing.assert_close(MODEL.log_px(X), TRUTH)
    assert MODEL.log_px(X)[-1] == 0

    mean, covariance = joint(MODEL)
    found, deviation = MODEL.conditional(X)
    for row, (m, s) in zip(X, zip(found, deviation, strict=True), strict=True):
        there = ~row.isnan()
        gain = torch.linalg.solve(covariance[there][:, there], covariance[there][:, ~there]).T
        torch.testing.assert_close(
            m[~there], mean[~there] + gain @ (row[there] - mean[there]), atol=1e-6, rtol=1e-6
        )
        left = covariance[~there][:, ~there] - gain @ covariance[there][:, ~there]
        torch.testing.assert_close(s[~there], left.diagonal().sqrt(), atol=1e-6, rtol=1e-6)
        assert torch.equal(m[there], row[there]) and (s[there] == 0).all()


def test_the_exact_guide_knows_the_evidence_of_what_is_there() -> None:
    log_w = pv.log_weights(MODEL, ExactGuide(MODEL), X, num_particles=3)
    torch.testing.assert_close(log_w, TRUTH.expand(3, -1))


@pytest.mark.parametrize(
    "method",
    [
        pv.Importance(num_particles=1000),
        pv.Annealed(num_temperatures=30, num_chains=8, start="prior"),
        pv.Laplace(num_particles=500),
        pv.Quadrature(),
        pv.Exact(),
        pv.Best(),
    ],
    ids=lambda method: type(method).__name__,
)
def test_every_method_estimates_the_evidence_of_what_is_there(method: Any) -> None:
    guide = pv.Amortized(pv.MeanField(DIM), pv.MLP(SIZE, ())).double()  # not trained: the prior
    found = pv.log_evidence(MODEL, guide, X, method)
    assert ((found.log_px - TRUTH).abs() < 5 * found.log_px_error + 1e-6).all()
    assert found.log_px[-1].abs() < 0.1


@pytest.mark.parametrize("model", [user_model, joint_model])
def test_a_program_of_ones_own(model: Any) -> None:
    found = pv.log_evidence(model, None, X, pv.Quadrature())
    torch.testing.assert_close(found.log_px, TRUTH, atol=1e-3, rtol=1e-3)


def test_classical_guides_and_the_ledger() -> None:
    table = pv.Local(pv.MeanField(DIM), len(X)).double()
    best = pv.fit_local(MODEL, table, X, num_steps=150, engine="pyro")
    q, want = best.guide.q(torch.arange(len(X))), MODEL.optimal_mean_field(X, missing=True)
    torch.testing.assert_close(q.mean, want.mean, atol=0.25, rtol=0)

    guides = {"exact": ExactGuide(MODEL), "classical": best}
    ledger = pv.gap_ledger(MODEL, guides, X, method=pv.Importance(num_particles=200))
    torch.testing.assert_close(ledger.log_px, TRUTH)
    precision = MODEL.precision(X)
    diagonal = precision.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    gap = (diagonal - torch.logdet(precision)) / 2  # of each datum, in closed form
    found = ledger.entries["classical"].evidence
    assert ((TRUTH - found.elbo - gap).abs() < 5 * found.elbo_error + 0.01).all()


def test_a_semi_amortized_guide_climbs_the_elbo_of_what_is_there() -> None:
    start = pv.Amortized(pv.MeanField(DIM), pv.MLP(SIZE, ())).double()
    guide = pv.SemiAmortized(start, MODEL, num_steps=20, learning_rate=0.2)
    method = pv.Importance(num_particles=50)
    before, after = (pv.log_evidence(MODEL, g, X, method).elbo for g in (start, guide))
    assert after.mean() > before.mean() + 0.2
    assert (after <= TRUTH + 0.5).all()


def test_simulated_data_miss_what_the_data_miss() -> None:
    quick = pv.Annealed(num_temperatures=5, num_chains=4)
    found = pv.sandwich(MODEL, ExactGuide(MODEL), X, num_data=24, method=quick)
    assert torch.equal(found.x.isnan(), HIDDEN.repeat(2, 1))
    torch.testing.assert_close(found.forward.log_px, marginal(MODEL, found.x))
    assert not pv.sample(MODEL, X, num_samples=12).x.isnan().any()


def test_calibration_sees_what_a_guide_makes_of_missing_values() -> None:
    check = partial(pv.check_calibration, MODEL, like=X, num_simulations=200, num_draws=20)
    assert check(ExactGuide(MODEL)).calibrated

    class Filled(nn.Module):
        """The posterior of data in which 0 stands for what is missing."""

        def forward(self, x: Tensor, index: Any = None) -> Tensor:
            with pyro.plate("data", len(x), dim=-1):
                return pyro.sample("latent", MODEL.posterior(x.nan_to_num(), missing=False))

    assert not check(Filled()).calibrated


def test_nuts_samples_the_posterior_given_what_is_there() -> None:
    few = X[:1]
    found = pv.reference_posterior(MODEL, few, num_chains=2, num_samples=40, num_warmup=20)
    mean, deviation = found.moments("latent")
    error = deviation / found.ess["latent"].sqrt()
    assert ((mean - MODEL.posterior(few, missing=True).mean).abs() < 5 * error).all()


def test_the_loss_of_an_exact_guide_is_minus_the_evidence() -> None:
    model, guide = observing(MODEL, ExactGuide(MODEL), X)
    loss = Trace_ELBO().loss(model, guide, X)
    assert loss == pytest.approx(-TRUTH.sum().item(), rel=1e-6)


def test_fit_maximises_the_evidence_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation ELBO of an exact guide is log p(x_o), while the model is trained."""
    eager(monkeypatch)
    model = pv.LinearGaussian(SIZE, DIM, sigma=2.0).double()
    options = {"epochs": 5, "valid": 3, "batch_size": 4, "warmup_epochs": 0, "quiet": True}
    run = pv.fit(model, ExactGuide(model), X[:-1], engine="compiled", **options)  # type: ignore[arg-type]
    assert run.data.valid is not None
    want = marginal(model, run.data.valid.x).mean().item()
    assert run.history[run.epoch - 1]["valid_elbo"] == pytest.approx(want, rel=1e-6)
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]


def trainable() -> tuple[Any, Any]:
    torch.manual_seed(0)
    pyro.clear_param_store()
    model = pv.VAE((SIZE,), DIM, (4,), pv.Gaussian(learn="pixel"))
    return model, pv.Amortized(pv.MeanField(DIM), pv.MLP(SIZE, (4,)))


def test_the_compiled_engine_has_the_loss_of_pyro(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x, losses = X[:-1].float(), {}
    for engine in ("pyro", "compiled"):
        run = pv.fit(*trainable(), x, epochs=3, valid=3, batch_size=4, engine=engine, quiet=True)
        losses[engine] = [row[name] for row in run.history for name in ("train_loss", "valid_elbo")]
    assert losses["compiled"] == pytest.approx(losses["pyro"], rel=1e-5)


def test_gradients_are_those_of_the_values_that_are_there() -> None:
    model, _ = trainable()
    z = torch.randn(len(X), DIM)
    fn = model.likelihood(model.decoder(z))
    there = ~X.isnan()
    each = fn.base_dist.log_prob(X.float().nan_to_num())
    parameters = list(model.parameters())
    want = torch.autograd.grad(each[there].sum(), parameters)

    replayed = pyro.poutine.condition(observed_and_named(model), data={"latent": z})
    trace = pyro.poutine.trace(replayed).get_trace(X.float())
    trace.compute_log_prob()
    got = torch.autograd.grad(trace.nodes["obs"]["log_prob_sum"], parameters)
    torch.testing.assert_close(got, want)


def observed_and_named(model: Any) -> ObservedPart:
    wrapped = pv.observed_part(model)
    assert pv.observed_part(wrapped) is wrapped
    assert isinstance(wrapped, ObservedPart) and wrapped.latent_dim == model.latent_dim
    with pytest.raises(AttributeError, match="nothing"):
        _ = wrapped.nothing
    return wrapped


def test_complete_data_meet_no_wrapper() -> None:
    guide = ExactGuide(MODEL)
    assert observing(MODEL, guide, X.nan_to_num()) == (MODEL, guide)
    model, same = observing(MODEL, MODEL, X)
    assert model is same and isinstance(model, ObservedPart)


def test_a_guide_that_makes_nan_of_nan_is_refused() -> None:
    net = nn.Linear(SIZE, DIM).double()

    def guide(x: Tensor, index: Any = None) -> None:
        pyro.module("net", net)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(net(x), 1.0).to_event(1))

    told = r"guide: its sites \['latent'\] are NaN on data with missing values"
    with pytest.raises(ValueError, match=told):
        pv.log_evidence(MODEL, guide, X)
    with pytest.raises(ValueError, match=told):
        pv.fit_local(MODEL, guide, X, num_steps=2)  # type: ignore[type-var]
    with pytest.raises(ValueError, match=told):
        pv.fit(MODEL, guide, X[:-1], epochs=1, quiet=True)


def test_a_value_that_is_never_there_is_refused_by_fit() -> None:
    x = X.float().clone()
    x[:, 3] = torch.nan
    with pytest.raises(ValueError, match=r"got 1 values .* in all 10 training data, at 3 "):
        pv.fit(*trainable(), x[:10], valid=0, epochs=1, quiet=True)
    with pytest.raises(ValueError, match="x: got NaN alone"):
        pv.log_evidence(MODEL, ExactGuide(MODEL), X * torch.nan)
    with pytest.raises(ValueError, match="x: got infinite values"):
        pv.log_evidence(MODEL, ExactGuide(MODEL), X / 0)


def test_a_distortion_leaves_out_what_is_missing() -> None:
    method = pv.Annealed(num_temperatures=10, num_chains=4, start="prior")
    options = {"distortion": pv.squared_error, "num_points": 3, "method": method}
    curve = pv.rate_distortion_curve(MODEL, X, **options)  # type: ignore[arg-type]
    assert (curve.distortion[:, :-1] > 0).all() and (curve.distortion[:, -1] == 0).all()
