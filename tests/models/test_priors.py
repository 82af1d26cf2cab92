"""Learned priors: densities that are normalised, and known everywhere that N(0, I) is."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.models.priors.components import Mixture
from pyro_vae.objectives import Bound
from tests.runs.folder import call
from tests.scenarios import eager

SHAPE = (5,)
PRIORS: dict[str, Callable[[], pv.Prior]] = {
    "mixture": lambda: pv.MixturePrior(3),
    "vamp": lambda: pv.VampPrior(3),
    "flow": lambda: pv.FlowPrior(2, (8,), 4),
}


def pair(
    name: str, dim: int = 2, family: type[pv.Family] = pv.MeanField
) -> tuple[pv.VAE, nn.Module]:
    """A model with this prior and its guide, all weights of it somewhere, in float64."""
    torch.manual_seed(0)
    guide = pv.Amortized(family(dim), pv.MLP(SHAPE, (8,)))  # type: ignore[call-arg]
    model = pv.VAE(SHAPE, dim, (8,), prior=PRIORS[name]())
    model.take_guide(guide)
    with torch.no_grad():
        for p in (*model.latent_prior.parameters(), *guide.head.parameters()):
            p.add_(0.3 * torch.randn_like(p))
    return model.double(), guide.double()


def data(number: int = 40) -> Tensor:
    return (torch.rand(number, *SHAPE, generator=torch.Generator().manual_seed(0)) > 0.5).float()


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", PRIORS)
def test_density_integrates_to_one_and_the_draws_are_its_own(name: str, dim: int) -> None:
    model, _ = pair(name, dim)
    p = model.prior(torch.zeros(1).double())
    line = torch.linspace(-12, 12, 1201 if dim == 1 else 301).double()
    grid = torch.cartesian_prod(*[line] * dim).reshape(-1, dim)
    mass = p.log_prob(grid).exp() * (line[1] - line[0]) ** dim
    assert mass.sum().item() == pytest.approx(1, abs=2e-3)

    torch.manual_seed(0)
    drawn, mean = p.sample((4000,)), (mass[:, None] * grid).sum(0)
    assert drawn.shape == (4000, dim)
    second = (mass[:, None] * grid**2).sum(0)
    for values, truth in ((drawn, mean), (drawn**2, second)):
        error = values.std(0) / math.sqrt(len(values))
        assert ((values.mean(0) - truth).abs() < 5 * error).all()
    torch.testing.assert_close(p.mean, mean, atol=5e-3, rtol=0)
    torch.testing.assert_close(p.variance, second - mean**2, atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", PRIORS)
def test_quantiles_leave_the_same_mass_below(name: str) -> None:
    p = pair(name)[0].prior(torch.zeros(1).double())
    torch.manual_seed(0)
    z = p.quantiles(torch.rand(4000, 2).double())  # type: ignore[attr-defined]
    drawn = p.sample((4000,))
    for power in (1, 2):
        error = (drawn**power).std(0) * math.sqrt(2 / 4000)
        assert (((z**power).mean(0) - (drawn**power).mean(0)).abs() < 5 * error).all()


@pytest.mark.parametrize("family", [pv.MeanField, pv.FullRank])
def test_vamp_density_is_the_plain_formula(family: type[pv.Family]) -> None:
    model, guide = pair("vamp", 2, family)
    z = 3 * torch.randn(6, 4, 2).double()
    each = guide.q(model.latent_prior.inputs).log_prob(z[..., None, :])  # type: ignore[operator]
    found = model.prior(z).log_prob(z)
    torch.testing.assert_close(found, torch.logsumexp(each, -1) - math.log(3))


def test_a_narrow_mixture_far_out_keeps_its_digits_in_float32() -> None:
    means, scales = 50 + torch.randn(4, 30), 1e-3 * torch.ones(4, 30)
    p = Mixture(torch.zeros(4), dist.Normal(means, scales).to_event(1))
    z = means[2] + 1e-3 * torch.randn(30)
    exact = dist.Normal(means.double(), scales.double()).to_event(1).log_prob(z.double())
    expected = torch.logsumexp(exact, -1) - math.log(4)
    assert p.log_prob(z).item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_reach_every_parameter_under_stock_pyro(name: str) -> None:
    model, guide = pair(name)
    before = copy.deepcopy(dict(model.named_parameters()))
    pyro.clear_param_store()
    SVI(model, guide, Adam({"lr": 1e-2}), Trace_ELBO()).step(data().double())
    own = [name for name in before if name.startswith("latent_prior")]
    assert own
    for parameter, value in model.named_parameters():
        assert parameter not in own or not torch.equal(value, before[parameter]), parameter


def test_parameters_of_the_guide_are_the_guide_s_alone() -> None:
    model, guide = pair("vamp")
    assert not {id(p) for p in model.parameters()} & {id(p) for p in guide.parameters()}
    assert [n for n in model.state_dict() if "prior" in n] == ["latent_prior.inputs"]
    model.float()
    assert next(guide.parameters()).dtype == torch.float32  # moved with the model


def test_an_objective_that_parts_model_and_guide_is_refused() -> None:
    model, guide = pair("vamp")
    with pytest.raises(ValueError, match="share parameters"):
        pv.fit(model, guide, data(), loss=Bound(2, path_only=True), engine="pyro", quiet=True)


# ---- evidence


@pytest.fixture(scope="module")
def linear() -> tuple[pv.VAE, Tensor, Tensor]:
    """A linear decoder with one latent unit and a mixture as its prior, data, and log p(x):
    p(x) = sum_k w_k N(x; W m_k + b, s_k^2 W W' + sigma^2 I).
    """
    torch.manual_seed(0)
    gaussian = pv.Gaussian(0.7, "none")
    model = pv.VAE((3,), 1, (), gaussian, prior=pv.MixturePrior(3)).double()
    prior = model.latent_prior
    with torch.no_grad():
        prior.means.copy_(torch.tensor([[-2.0], [0.5], [3.0]]))
        prior.log_scales.copy_(torch.tensor([[-0.5], [0.2], [-1.0]]))
        prior.logits.copy_(torch.tensor([0.3, 0.0, -0.5]))
        model.decoder.head.weight.copy_(torch.tensor([[1.0], [-0.5], [0.8]]))
    x = pv.sample(model, torch.zeros(1, 3).double(), num_samples=6, kind="draw").x

    loading, bias = model.decoder.head.weight, model.decoder.head.bias
    noise = 0.49 * torch.eye(3).double()
    parts = dist.MultivariateNormal(
        prior.means @ loading.T + bias,
        prior.log_scales.exp()[..., None] ** 2 * (loading @ loading.T) + noise,
    )
    log_w = prior.logits.log_softmax(-1)
    exact = torch.logsumexp(parts.log_prob(x[:, None]) + log_w, -1).detach()
    return model, x, exact


METHODS = {
    "importance": pv.Importance(2000, engine="pyro", num_scouts=0),
    "annealed": pv.Annealed(num_temperatures=40, start="prior", num_chains=60, engine="pyro"),
    "quadrature": pv.Quadrature(),
}


@pytest.mark.parametrize("name", METHODS)
def test_evidence_of_a_linear_decoder_is_that_of_a_mixture(
    name: str, linear: tuple[pv.VAE, Tensor, Tensor]
) -> None:
    model, x, exact = linear
    guide = pv.Local(pv.MeanField(1), 6).double()
    with torch.no_grad():
        guide.table[:, 1] = 1.0  # wide: N(0, e^2)
    found = pv.log_evidence(model, guide, x, METHODS[name])
    error = 5 * found.log_px_error + 1e-6
    assert ((found.log_px - exact).abs() < error).all(), (found.log_px, exact, found.log_px_error)
    assert name == "quadrature" or error.max() < 2, error


def test_fit_local_and_the_ledger_know_the_prior(linear: tuple[pv.VAE, Tensor, Tensor]) -> None:
    model, x, exact = linear
    local = pv.fit_local(model, pv.Local(pv.MeanField(1), 6).double(), x, num_steps=150)
    ledger = pv.gap_ledger(model, {"local": local}, x, method=pv.Importance(500))
    entry = ledger.entries["local"]
    assert (entry.evidence.elbo < exact + 5 * entry.evidence.elbo_error).all()
    assert entry.inference.mean < 1.5


def test_bounds_of_simulated_data_meet() -> None:
    model, guide = pair("vamp")
    chains = pv.Annealed(num_temperatures=10, num_chains=6, engine="pyro")
    found = pv.sandwich(model, guide, data(4).double(), num_data=12, method=chains)
    assert found.gaps.mean() > -5 * found.gaps.std() / math.sqrt(12)
    assert found.gaps.mean() < 0.3


@pytest.mark.parametrize("name", PRIORS)
def test_a_guide_is_judged_under_the_prior_s_own_model(name: str) -> None:
    """The prior as the guide is right where x tells nothing, and only there."""
    model, _ = pair(name)
    with torch.no_grad():
        model.decoder.head.weight.zero_()

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", model.prior(x))

    found = pv.check_calibration(model, guide, data().double(), num_simulations=100, num_draws=19)
    assert found.calibrated, found.verdict
    assert pv.information(model, guide, data(10).double()).rate.abs().max() < 1e-9


def test_rates_of_units_are_those_of_the_mixture_s_marginals() -> None:
    model, guide = pair("mixture")
    with torch.no_grad():  # one component: a Gaussian, whose KL is known
        model.latent_prior.logits.copy_(torch.tensor([0.0, -1e3, -1e3]))
    x = data().double()
    prior = model.latent_prior
    p = dist.Normal(prior.means[0], prior.log_scales[0].exp())
    expected = torch.distributions.kl_divergence(guide.q(x).base_dist, p).mean(0)  # type: ignore[operator]
    units = pv.latent_units(model, guide, x)
    assert units is not None
    torch.testing.assert_close(units.rates, expected.detach())


# ---- the guide of a VampPrior


def test_the_evidence_by_another_guide_is_that_of_the_same_model() -> None:
    model, guide = pair("vamp")
    x = data(6).double()
    local = pv.fit_local(model, pv.Local(pv.FullRank(2), 6).double(), x, num_steps=100)
    exact = pv.log_evidence(model, guide, x, pv.Quadrature()).log_px
    for other in (guide, local.guide):
        found = pv.log_evidence(model, other, x, pv.Importance(1000, num_scouts=0))
        assert ((found.log_px - exact).abs() < 5 * found.log_px_error + 1e-6).all()


def test_pseudo_inputs_start_as_training_data_and_only_once() -> None:
    model, _ = pair("vamp")
    x = torch.arange(50.0).reshape(10, 5).double()
    model.start(x)
    torch.testing.assert_close(model.latent_prior.inputs.detach(), x[[0, 4, 9]])
    with torch.no_grad():
        model.decoder.head.bias.add_(1)  # it was trained
    model.start(x + 1)
    torch.testing.assert_close(model.latent_prior.inputs.detach(), x[[0, 4, 9]])
    with pytest.raises(ValueError, match="at most the 2 training data"):
        model.latent_prior.start(x[:2])


def test_a_vamp_prior_without_its_guide_says_so() -> None:
    model = pv.VAE(SHAPE, 2, (8,), prior=pv.VampPrior(3))
    with pytest.raises(ValueError, match="has not been told a guide"):
        model.sample(2)
    for guide, told in (
        (pv.Local(pv.MeanField(2), 40), "got Local, which has no q"),
        (pv.Amortized(pv.MeanField(3), pv.MLP(SHAPE, ())), r"its q has \(3,\) latents"),
        (pv.Amortized(pv.MeanField(2), pv.MLP((4,), ())), "cannot answer the VampPrior's"),
    ):
        with pytest.raises(ValueError, match=told):
            pv.fit(model, guide, data(), quiet=True)

    own = pv.Amortized(pv.MeanField(2), pv.MLP(SHAPE, ()))
    model.take_guide(own)
    with pytest.raises(ValueError, match="goes through another guide"):
        pv.fit(model, copy.deepcopy(own), data(), quiet=True)
    model.latent_prior.forget_guide()
    model.take_guide(copy.deepcopy(own))


# ---- runs


NETS = "--model.hidden [4] --model.latent_dim 2 --guide.hidden [4] --batch_size 700 --keep last"


@pytest.mark.parametrize("name", ["MixturePrior", "VampPrior", "FlowPrior"])
def test_a_run_with_a_prior_opens_as_it_was_and_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    folder, whole = tmp_path / "run", tmp_path / "whole"
    size = "num_transforms 1" if name == "FlowPrior" else "num_components 4"
    options = f"--quiet true {NETS} --warmup_epochs 0 --model.prior {name} --model.prior.{size}"
    assert call(f"train --folder {folder} --epochs 1 {options}") == 0

    opened, again = pv.open_run(folder), pv.open_run(folder)
    x = opened.data.test.x[:8]
    found = [pv.log_evidence(p.model, p.guide, x, pv.Importance(20)) for p in (opened, again)]
    assert torch.equal(found[0].log_px, found[1].log_px)
    prior = opened.model.latent_prior
    assert type(prior).__name__ == name
    if not isinstance(prior, pv.VampPrior):
        return

    assert prior._through[0] is opened.guide
    assert prior.inputs.std() > 0.2  # they are training data
    assert call(f"resume {folder} --epochs 2") == 0
    assert call(f"train --folder {whole} --epochs 2 {options}") == 0
    states = [pv.open_run(each).model.state_dict() for each in (folder, whole)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
