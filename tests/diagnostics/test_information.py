"""The rate's two parts against a Gaussian channel, against brute force, and against each other."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

import pyro_vae as pv
from pyro_vae.evidence.estimate import standard_error


class Channel(nn.Module):
    """q(z | x) = N(A x + b, C): for Gaussian data everything has a closed form."""

    def __init__(self, weight: Tensor, bias: Tensor, covariance: Tensor) -> None:
        super().__init__()
        self.weight, self.bias, self.covariance = weight, bias, covariance

    def q(self, x: Tensor) -> MultivariateNormal:
        return dist.MultivariateNormal(x @ self.weight.T + self.bias, self.covariance)

    def forward(self, x: Tensor, index: Any = None) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("latent", self.q(x))

    def closed_form(self, mean: Tensor, covariance: Tensor) -> tuple[float, float]:
        """I_q(x; z) and KL(q(z) || p(z)) for x ~ N(mean, covariance), nats."""
        spread = self.covariance + self.weight @ covariance @ self.weight.T
        q = MultivariateNormal(self.weight @ mean + self.bias, spread)
        p = MultivariateNormal(torch.zeros_like(self.bias), torch.eye(len(self.bias)).to(spread))
        told = (torch.logdet(spread) - torch.logdet(self.covariance)) / 2
        return told.item(), kl_divergence(q, p).item()


def channel(num_data: int) -> tuple[pv.LinearGaussian, Channel, Tensor]:
    torch.manual_seed(0)
    model = pv.LinearGaussian(4, 2, sigma=1.5).double().requires_grad_(False)
    x = torch.randn(num_data, 2).double() @ model.loading.T + 1.5 * torch.randn(num_data, 4)
    weight = 0.4 * torch.randn(2, 4).double()
    covariance = torch.tensor([[0.5, 0.1], [0.1, 0.3]]).double()
    return model, Channel(weight, torch.tensor([0.5, -0.3]).double(), covariance), x


def true_covariance(model: pv.LinearGaussian) -> Tensor:
    return model.loading @ model.loading.T + 1.5**2 * torch.eye(4).double()


@pytest.mark.parametrize("batch_size", [None, 8])
def test_a_gaussian_channel_is_between_the_bounds(batch_size: int | None) -> None:
    model, guide, x = channel(1000)
    told, marginal = guide.closed_form(torch.zeros(4).double(), true_covariance(model))
    found = pv.information(model, guide, x, batch_size=batch_size, num_draws=2)

    mean = {name: getattr(found, name).mean().item() for name in ("rate", "lower", "upper")}
    error = {name: found.error(getattr(found, name)) for name in mean}
    assert abs(mean["rate"] - told - marginal) < 5 * error["rate"], (mean, told, marginal)
    assert mean["lower"] - 5 * error["lower"] < told < mean["upper"] + 5 * error["upper"]
    assert mean["lower"] < mean["upper"] and found.at_most == min(mean["upper"], mean["rate"])
    if batch_size is None:  # with many data both bounds are tight
        assert mean["upper"] - mean["lower"] < 0.02
        off = abs(found.marginal.mean().item() - marginal)
        assert off < 5 * found.error(found.marginal), (off, marginal)
        assert abs(mean["lower"] - told) < 5 * error["lower"], (mean["lower"], told)
    else:  # with eight they are not, and are where they should be beyond their errors
        assert mean["lower"] + 5 * error["lower"] < told < mean["upper"] - 5 * error["upper"]


def test_of_these_data_it_is_what_brute_force_says() -> None:
    model, guide, x = channel(12)
    found = pv.information(model, guide, x, num_draws=400)
    assert torch.equal(found.lower, found.stratified) or torch.allclose(
        found.lower, found.stratified, rtol=0, atol=1e-12
    )

    # the integral of q_n log(q_n / q) over a grid, for each datum
    line = torch.linspace(-8, 8, 401).double()
    z = torch.cartesian_prod(line, line)
    log_q = guide.q(x).log_prob(z[:, None])
    ratio = log_q - torch.logsumexp(log_q, 1, keepdim=True) + math.log(12)
    truth = (log_q.exp() * ratio).sum(0) * (line[1] - line[0]) ** 2
    error = found.lower.std(0) / math.sqrt(400)
    assert ((found.lower.mean(0) - truth).abs() < 5 * error).all()
    assert truth.mean() < math.log(12)

    others = log_q.masked_fill(torch.eye(12, dtype=torch.bool)[None, 0], -math.inf)
    rest = log_q[:, 0] - torch.logsumexp(others, 1) + math.log(11)
    upper = (log_q[:, 0].exp() * rest).sum() * (line[1] - line[0]) ** 2
    noise = found.upper[:, 0].std() / math.sqrt(400)
    assert abs(found.upper[:, 0].mean() - upper) < 5 * noise


def test_directions_hold_for_batches_of_these_data() -> None:
    model, guide, x = channel(60)
    whole = pv.information(model, guide, x, num_draws=100)
    truth = whole.lower.mean().item()
    for size in (2, 5, 20):
        part = pv.information(model, guide, x, batch_size=size, num_draws=100)
        assert part.batch_size == size and part.lower.max() <= math.log(size) + 1e-9
        assert part.stratified.max() <= math.log(60) + 1e-9
        assert part.lower.mean() < truth < part.stratified.mean() < part.upper.mean()
        assert part.marginal.mean() > whole.marginal.mean()


def test_a_guide_that_knows_each_datum_reaches_log_n_and_says_so() -> None:
    model, _, x = channel(50)
    sharp = Channel(
        torch.eye(4).double()[:2], torch.zeros(2).double(), 1e-8 * torch.eye(2).double()
    )
    found = pv.information(model, sharp, x)
    assert found.lower.mean().item() == pytest.approx(math.log(50), abs=1e-6)
    assert found.has_reached and "has reached log 50 = 3.91" in found.verdict
    assert found.at_most == found.rate.mean().item() > 10  # the rate is the tighter one here


def test_a_guide_that_knows_nothing_says_nothing() -> None:
    model, _, x = channel(50)
    found = pv.information(model, Channel(torch.zeros(2, 4).double(), torch.zeros(2).double(),
                                          torch.eye(2).double()), x)  # fmt: skip
    for name in ("rate", "lower", "upper", "stratified"):
        assert getattr(found, name).abs().max() < 1e-9, name


def test_batches_take_all_data_and_their_means_have_the_error() -> None:
    model, guide, x = channel(200)
    found = pv.information(model, guide, x, batch_size=6)
    sizes = found.batch.bincount()
    assert sizes.sum() == 200 and len(sizes) == 33 and set(sizes.tolist()) == {6, 7}
    means = torch.stack([found.lower[:, found.batch == n].mean() for n in range(33)])
    assert found.error(found.lower) == pytest.approx(standard_error(means))
    few = pv.information(model, guide, x, batch_size=100)
    assert few.error(few.lower) == pytest.approx(standard_error(few.lower.mean(0)))


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    model, guide, x = channel(30)
    whole = pv.information(model, guide, x, num_draws=3)
    module = import_module("pyro_vae.diagnostics.information")  # the function has its name
    for name, value in {"_COLUMNS": 7, "_PAIRS": 50, "_SCORED": 40}.items():
        monkeypatch.setattr(module, name, value)
    told: list[float] = []
    state = torch.get_rng_state()
    parts = pv.information(model, guide, x, num_draws=3, progress=told.append)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(parts.lower, whole.lower)
    torch.testing.assert_close(parts.upper, whole.upper)
    assert told[-1] == 1.0 and told == sorted(told)


def plated(x: Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        kind = pyro.sample("kind", dist.Categorical(logits=torch.stack([x[:, 0], -x[:, 0]], -1)))
        with pyro.plate("columns", 3, dim=-2):
            pyro.sample("z", dist.Normal(x[:, 1] + kind, 0.5))


def plated_model(x: Tensor, index: Any = None) -> None:
    with pyro.plate("rows", len(x), dim=-1):
        kind = pyro.sample("kind", dist.Categorical(logits=torch.zeros(2)))
        with pyro.plate("columns", 3, dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        mean = (z.sum(-2) + kind)[..., None]
        pyro.sample("obs", dist.Normal(mean, 1.0).expand([*mean.shape[:-1], 2]).to_event(1), obs=x)


def test_several_latents_one_of_them_discrete_one_in_an_inner_plate() -> None:
    x = torch.randn(9, 2)
    found = pv.information(plated_model, plated, x, num_draws=1000)

    # by sums: q is a mixture over the two kinds, of three like normals whose sum is enough
    line = torch.linspace(-20, 25, 1501)
    logits = torch.log_softmax(torch.stack([x[:, 0], -x[:, 0]], -1), -1)
    log_q = [
        logits[:, kind] + dist.Normal(3 * (x[:, 1] + kind), 0.5 * 3**0.5).log_prob(line[:, None])
        for kind in (0, 1)
    ]
    total = torch.zeros(9)
    for part in log_q:
        ratio = part - torch.logsumexp(part, 1, keepdim=True) + math.log(9)
        total += (part.exp() * ratio).sum(0) * (line[1] - line[0])
    error = found.lower.std(0) / math.sqrt(1000)
    assert ((found.lower.mean(0) - total).abs() < 5 * error).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: pv.Amortized(pv.FullRank(2), pv.MLP(4, (3,))),
        lambda: pv.Amortized(pv.SplineFlow(2), pv.MLP(4, (3,))),
        lambda: pv.AutoregressiveFlow(2, pv.MLP(4, (3,))),
        lambda: pv.Local(pv.MeanField(2), 20),
    ],
)
def test_every_guide_with_a_density_has_it(make: Any) -> None:
    torch.manual_seed(0)
    model, guide, x = pv.LinearGaussian(4, 2), make(), torch.randn(20, 4)
    with torch.no_grad():  # away from the prior
        for parameter in guide.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    found = pv.information(model, guide, x, num_draws=20)
    assert 0.05 < found.lower.mean() < found.upper.mean()
    assert found.lower.max() <= math.log(20) + 1e-4


def test_two_layers_and_a_guide_made_for_all_data() -> None:
    x = (torch.rand(20, 6) > 0.5).float()
    sizes = ((6,), 2, 4, (8,), (8,))
    two = pv.information(pv.HierarchicalVAE(*sizes), pv.HierarchicalGuide(*sizes), x)
    assert torch.isfinite(two.upper).all()

    model = pv.LinearGaussian(4, 2)

    def made(x: Tensor, index: Any = None) -> None:
        loc = pyro.param("loc", lambda: torch.randn(len(x), 2))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(loc, 0.3).to_event(1))

    whole = pv.information(model, made, torch.randn(20, 4))
    assert whole.lower.shape == (10, 20) and whole.lower.max() <= math.log(20)
    with pytest.raises(ValueError, match="batch_size: got 5, expected None: the guide answers"):
        pv.information(model, made, torch.randn(20, 4), batch_size=5)


def test_a_guide_whose_density_is_not_fixed_is_refused() -> None:
    model = pv.LinearGaussian(4, 2)
    encoder = pv.Amortized(pv.MeanField(2), pv.MLP(4, ()))
    with pytest.raises(ValueError, match="guide: its density at a given latent differs"):
        pv.information(model, pv.SemiAmortized(encoder, model, 2), torch.randn(6, 4))
