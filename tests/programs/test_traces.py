"""log_joint and log_weights on programs of any make: several sites, inner plates, masks, scales,
subsampling.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae import MLP, VAE, Amortized, LinearGaussian, Local, MeanField, log_weights, particles
from pyro_vae.programs.checks import check_programs
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.parameters import trainable_parameters
from pyro_vae.programs.simulation import simulate
from pyro_vae.programs.traces import plate_depth

X = torch.tensor([[0.3, -1.0, 0.5], [1.2, 0.1, -0.4]])


def two_site_model(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Gamma(2.0, 1.0))
        with pyro.plate("columns", 3, dim=-2):
            pyro.sample("y", dist.Normal(a, b), obs=x.T)


def two_site_guide(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        pyro.sample("a", dist.Normal(x.mean(-1), 0.5))
        pyro.sample("b", dist.LogNormal(0.0, 0.3))


def test_several_sites_and_an_inner_plate_by_hand() -> None:
    assert plate_depth(two_site_model, two_site_guide, X) == 2
    torch.manual_seed(3)
    draws = particles(two_site_model, two_site_guide, X, None, 4)
    # the same noise by hand, in the shape that the particle plate gives: (S, 1, B)
    torch.manual_seed(3)
    a = dist.Normal(X.mean(-1), 0.5).expand((4, 1, 2)).rsample()
    b = dist.LogNormal(0.0, 0.3).expand((4, 1, 2)).rsample()
    prior = dist.Normal(0.0, 1.0).log_prob(a) + dist.Gamma(2.0, 1.0).log_prob(b)
    likelihood = dist.Normal(a, b).log_prob(X.T).sum(1)
    guide = dist.Normal(X.mean(-1), 0.5).log_prob(a) + dist.LogNormal(0.0, 0.3).log_prob(b)
    torch.testing.assert_close(draws.log_prior, prior[:, 0])
    torch.testing.assert_close(draws.log_likelihood, likelihood)
    torch.testing.assert_close(draws.log_guide, guide[:, 0])
    assert draws.log_weights.shape == (4, 2)


def test_agrees_with_pyro_s_trace_elbo() -> None:
    model, guide = VAE((6,), 2, (8,)), Amortized(MeanField(2), MLP(6, (8,)))
    x = torch.randint(0, 2, (5, 6)).float()
    torch.manual_seed(1)
    theirs = -pyro.infer.Trace_ELBO().loss(model, guide, x)
    torch.manual_seed(1)
    ours = log_weights(model, guide, x).sum().item()
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_scales_and_subsampling_are_left_out() -> None:
    model, guide = LinearGaussian(3, 2), Amortized(MeanField(2), MLP(3, ()))

    def subsampled(program: nn.Module) -> Any:
        def run(x: torch.Tensor, index: Any = None) -> None:
            with poutine.scale(scale=10.0):
                program(x, index)

        return run

    torch.manual_seed(1)
    plain = log_weights(model, guide, X, None, 3)
    torch.manual_seed(1)
    torch.testing.assert_close(log_weights(subsampled(model), subsampled(guide), X, None, 3), plain)


def test_a_plate_of_the_whole_data_that_subsamples() -> None:
    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("all", 100, subsample=index, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample(
                "x", dist.Normal(z[..., None], 1.0).expand((*z.shape, 3)).to_event(1), obs=x
            )

    def guide(x: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("all", 100, subsample=index, dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    draws = particles(model, guide, X, torch.tensor([40, 7]), 5)
    torch.testing.assert_close(draws.log_prior, draws.log_guide)
    assert draws.log_likelihood.abs().max() < 100  # 50 times that, were the scale in it


def test_masked_entries_do_not_count() -> None:
    observed = torch.tensor([True, False])

    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with poutine.mask(mask=observed):
                pyro.sample(
                    "obs",
                    dist.Normal(z.sum(-1, keepdim=True) * torch.ones(3), 1.0).to_event(1),
                    obs=x,
                )

    guide = Amortized(MeanField(2), MLP(3, ()))
    likelihood = particles(model, guide, X, None, 4).log_likelihood
    assert (likelihood[:, 1] == 0).all() and (likelihood[:, 0] != 0).all()


def test_gradients_reach_the_parameters() -> None:
    model, guide = LinearGaussian(3, 2), Amortized(MeanField(2), MLP(3, ()))
    log_weights(model, guide, X, None, 3).mean().backward()
    assert all(p.grad is not None for m in (model, guide) for p in m.parameters())


def outside(x: torch.Tensor, index: Any = None) -> None:
    pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def misnamed(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("code", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def observing(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("more", dist.Normal(0.0, 1.0), obs=x[:, 0])


def empty(x: torch.Tensor, index: Any = None) -> None: ...


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (outside, "'latent': not inside a plate of size 2"),
        (misnamed, r"got latent sites \['code'\], expected the model's \['latent'\]"),
        (observing, r"observed sites \['more'\]"),
        (empty, "no latent site"),
    ],
)
def test_programs_that_do_not_match(guide: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log_weights(LinearGaussian(3, 2), guide, X)


def test_evaluation_keeps_modes_noise_and_validation() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout().eval()))
    state, validate = torch.get_rng_state(), torch.distributions.Distribution._validate_args
    with evaluation(net, seed=5):
        assert not any(m.training for m in net.modules()) and not torch.is_grad_enabled()
        torch.randn(3)
    assert [m.training for m in net.modules()] == [True, True, True, False]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.distributions.Distribution._validate_args == validate


def test_names_taken_in_the_parameter_store_are_refused() -> None:
    net = MLP(3, (4,))

    def guide(x: torch.Tensor, index: Any = None, net: nn.Module = net) -> None:
        pyro.module("encoder", net)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(net(x)[..., :2], 1.0).to_event(1))

    model = LinearGaussian(3, 2)
    assert len(trainable_parameters(model, guide, X)) == 3 + 2
    with pytest.raises(ValueError, match="'encoder' is taken"):
        trainable_parameters(model, lambda x, index: guide(x, index, MLP(3, (4,))), X)


def test_parameters_that_were_never_registered_are_refused() -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor, index: Any = None) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("latent", dist.Normal(self.net(x), 1.0).to_event(1))

    with pytest.raises(
        ValueError, match=r"Silent: its parameters \['net.weight', 'net.bias'\] are not registered"
    ):
        trainable_parameters(LinearGaussian(3, 2), Silent(), X)


def test_a_deterministic_site_has_no_density() -> None:
    model, guide = LinearGaussian(3, 2), Amortized(MeanField(2), MLP(3, ()))

    def noted(x: torch.Tensor, index: Any = None) -> None:
        pyro.deterministic("note", torch.ones(()))
        model(x, index)

    torch.manual_seed(1)
    plain = log_weights(model, guide, X, None, 3)
    torch.manual_seed(1)
    torch.testing.assert_close(log_weights(noted, guide, X, None, 3), plain)


def test_a_point_is_no_guide() -> None:
    def point(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Delta(torch.zeros(len(x), 2)).to_event(1))

    with pytest.raises(ValueError, match=r"\['latent'\] are Delta"):
        log_weights(LinearGaussian(3, 2), point, X)


def test_nets_without_leading_dimensions_are_told_of() -> None:
    class Normed(LinearGaussian):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: torch.Tensor, index: Any = None) -> Any:
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample(
                    "obs", dist.Normal(self.norm(z) @ torch.ones(2, 3), 1.0).to_event(1), obs=x
                )

    x = torch.randn(7, 3)
    with pytest.raises(ValueError, match="nets must take leading dimensions"):
        check_programs(Normed(), Amortized(MeanField(2), MLP(3, ())), x)


def test_a_local_guide_s_whole_table_needs_no_index() -> None:
    model, guide, x = LinearGaussian(5, 2), Local(MeanField(2), 7), torch.randn(7, 5)
    assert log_weights(model, guide, x, num_particles=3).shape == (3, 7)


def test_simulated_data_have_the_model_s_moments() -> None:
    model = LinearGaussian((2, 3), 2, sigma=0.5)
    latents, x = simulate(model, torch.zeros(4, 2, 3), num_data=20_000)
    assert (
        x.shape == (20_000, 2, 3)
        and latents.keys() == {"latent"}
        and latents["latent"].shape == (20_000, 2)
    )
    covariance = (model.loading @ model.loading.T + 0.25 * torch.eye(6)).detach()
    assert (x.flatten(1).T.cov() - covariance).abs().max() < 0.1
    noise = x.flatten(1) - latents["latent"] @ model.loading.T.detach()
    assert abs(noise.std().item() - 0.5) < 0.01


def test_simulated_data_of_an_inner_plate_lie_as_the_data_do() -> None:
    latents, x = simulate(two_site_model, X, num_data=5000)
    means = x.mean(1) - latents["a"]
    assert x.shape == (5000, 3) and means.abs().mean() < 2 * latents["b"].mean() / 3**0.5


def test_only_one_observed_site_can_be_simulated() -> None:
    def twice(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            for name in "ab":
                pyro.sample(name, dist.Normal(0.0, 1.0).expand([3]).to_event(1), obs=x)

    with pytest.raises(ValueError, match="model: got observed sites"):
        simulate(twice, X)
