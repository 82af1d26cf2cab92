from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO

from pyro_vae import VAE, ExactGuide, LinearGaussian, Local, MeanField, NonFiniteLoss, fit_local


def make() -> tuple[LinearGaussian, torch.Tensor]:
    model = LinearGaussian(6, 3, sigma=0.7)
    return model, model.sample(20) + 0.7 * torch.randn(20, 6)


@pytest.mark.parametrize("loss", [None, TraceMeanField_ELBO()])
def test_finds_the_optimal_mean_field_of_each_datum(loss: object) -> None:
    model, x = make()
    guide = fit_local(model, Local(MeanField(3), 20), x, num_steps=2000, loss=loss)  # type: ignore[arg-type]
    q = guide.q(torch.arange(20))
    full = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    excess = torch.distributions.kl_divergence(full, model.posterior(x)) - model.mean_field_gap()
    assert excess.min() > -1e-4 and excess.mean() < 2e-2 and excess.max() < 0.1, excess


def test_the_model_is_frozen_and_left_as_it_was() -> None:
    model, x = make()
    model.mean.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    fit_local(model, Local(MeanField(3), 20), x, num_steps=3)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert model.training and model.loading.requires_grad and not model.mean.requires_grad
    assert torch.equal(torch.get_rng_state(), state)


def test_parameters_outside_of_modules_are_frozen_too() -> None:
    net = torch.nn.Linear(3, 6)

    def model(x: torch.Tensor, index: object = None) -> None:
        pyro.module("net", net)
        sigma = pyro.param("sigma", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(net(z), sigma).to_event(1), obs=x)

    before = net.weight.detach().clone()
    fit_local(model, Local(MeanField(3), 4), torch.randn(4, 6), num_steps=20)
    assert torch.equal(net.weight, before) and pyro.param("sigma").item() == 1
    assert net.weight.requires_grad and net.weight.grad is None
    assert pyro.param("sigma").unconstrained().requires_grad


def test_a_guide_without_parameters() -> None:
    model, x = make()
    with pytest.raises(ValueError, match="ExactGuide has no parameter to optimise"):
        fit_local(model, ExactGuide(model), x, num_steps=2)


def test_dropout_is_off_in_the_frozen_model() -> None:
    model = VAE((6,), 2, (8,))
    modes: list[bool] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: modes.append(module.training))
    fit_local(model, Local(MeanField(2), 4), torch.zeros(4, 6), num_steps=2)
    assert not any(modes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"x": torch.zeros(21, 6)}, "20 rows"),
        ({"x": torch.zeros(20, 7)}, r"x: got shape \(20, 7\)"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    model, x = make()
    arguments = {"x": x} | change
    with pytest.raises(ValueError, match=message):
        fit_local(model, Local(MeanField(3), 20), **arguments)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_what_explodes_is_an_error() -> None:
    model = LinearGaussian(5, 2)
    with pytest.raises(NonFiniteLoss, match="lower the learning rate"):
        fit_local(model, Local(MeanField(2), 4), torch.randn(4, 5), num_steps=50, learning_rate=1e4)
