"""The distribution of what is there, for any distribution of an observation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.programs.present import a_value, is_joint, present

SHAPE = (3, 4)


MADE: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "Normal": dist.Normal,
    "Bernoulli": lambda a, b: dist.Bernoulli(logits=a),
    "Poisson": lambda a, b: dist.Poisson(a),
    "NegativeBinomial": lambda a, b: dist.NegativeBinomial(a, logits=b),
    "Gamma": dist.Gamma,
    "Beta": dist.Beta,
    "LogNormal": dist.LogNormal,
    "StudentT": lambda a, b: dist.StudentT(a + 2, b),
    "ContinuousBernoulli": lambda a, b: dist.ContinuousBernoulli(a / 2),
    "Uniform": lambda a, b: dist.Uniform(a - 3, a + b),
    "HalfCauchy": lambda a, b: dist.HalfCauchy(a),
    "Categorical": lambda a, b: dist.Categorical(logits=torch.stack([a, b, a * b], -1)),
    "Binomial": lambda a, b: dist.Binomial(5, logits=a),
    "Pareto": lambda a, b: dist.Pareto(a, b + 1),
    "VonMises": dist.VonMises,
}


@pytest.mark.parametrize("name", MADE)
def test_values_that_are_there_count_and_no_gradient_is_nan(name: str) -> None:
    torch.manual_seed(0)
    a, b = (torch.rand(SHAPE).add(0.5).requires_grad_() for _ in range(2))
    fn = MADE[name](a, b)
    value = fn.sample()
    missing = torch.rand(SHAPE) < 0.5
    holed = torch.where(missing, torch.nan, value.float())
    with pyro.validation_enabled(True):
        found, filled = present(fn.to_event(1), holed)
        log_prob = found.log_prob(filled)
        assert fn.support.check(a_value(fn, holed)).all()
        each = fn.log_prob(value.float())
    torch.testing.assert_close(log_prob, torch.where(missing, 0.0, each).sum(-1))

    for gradient in torch.autograd.grad(log_prob.sum(), [a, b], allow_unused=True):
        assert gradient is None or torch.isfinite(gradient).all()
    assert found.sample().shape == SHAPE and not found.sample().isnan().any()
    assert not is_joint(fn.to_event(1)) and found.expand((2, 3)).log_prob(filled).shape == (2, 3)


def test_a_normal_has_a_marginal() -> None:
    torch.manual_seed(0)
    factor, diagonal = torch.randn(4, 2).double(), torch.ones(4).double()
    low_rank = dist.LowRankMultivariateNormal(torch.randn(4).double(), factor, diagonal)
    value = low_rank.sample((3,))
    value[0, :2] = value[1, 3] = torch.nan
    value[2] = torch.nan
    for fn in (low_rank, dist.MultivariateNormal(low_rank.mean, low_rank.covariance_matrix)):
        found, filled = present(fn, value)
        log_prob = found.log_prob(filled)
        for row, got in zip(value, log_prob, strict=True):
            there = ~row.isnan()
            if there.any():
                part = fn.covariance_matrix[there][:, there]
                want = dist.MultivariateNormal(fn.mean[there], part).log_prob(row[there])
                torch.testing.assert_close(got, want)
        assert log_prob[2].abs() < 1e-12
        assert found.mean is fn.mean or torch.equal(found.mean, fn.mean)


def test_a_joint_event_is_there_or_not() -> None:
    fn = dist.Dirichlet(torch.ones(3, 4))
    value = fn.sample()
    value[1] = torch.nan
    with pyro.validation_enabled(True):
        found, filled = present(fn, value)
        log_prob = found.log_prob(filled)
    assert log_prob[1] == 0 and torch.equal(log_prob[[0, 2]], fn.log_prob(filled)[[0, 2]])
    value[0, 0] = torch.nan  # never a number of something else
    with pyro.validation_enabled(False):
        found, filled = present(fn, value)
        assert found.log_prob(filled)[0].isnan()

    one_hot = dist.OneHotCategorical(torch.ones(2, 3))
    assert a_value(one_hot, torch.zeros(2, 3)).tolist() == [1, 0, 0]

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Dirichlet(torch.ones(4)), obs=x)

    with pytest.raises(ValueError, match=r"parts of observations 'y', whose distribution Diric"):
        pv.log_evidence(model, None, value, pv.Quadrature())


class Mixed(dist.TorchDistribution):
    """A number and a count, as a distribution of a user's own."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, rate: Tensor) -> None:
        self.rate = rate
        super().__init__(rate.shape, (2,), validate_args=False)

    @property
    def parts(self) -> tuple[Any, Any]:
        return dist.Normal(self.rate, 1.0), dist.Poisson(self.rate.exp())

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        return torch.stack([part.sample(sample_shape) for part in self.parts], -1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Mixed:
        return Mixed(self.rate.expand(batch_shape))

    def log_prob_each(self, value: Tensor) -> Tensor:
        columns = zip(self.parts, value.unbind(-1), strict=True)
        return torch.stack([part.log_prob(column) for part, column in columns], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_each(value).sum(-1)

    def valid_value(self) -> Tensor:
        return torch.tensor([0.0, 1.0])


class Knowing(Mixed):
    """One that scores NaN itself, as 0."""

    takes_missing = True

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_each(value.nan_to_num(1.0)).masked_fill(value.isnan(), 0.0).sum(-1)


@pytest.mark.parametrize("kind", [Mixed, Knowing])
def test_a_distribution_may_say_what_to_do(kind: Any) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", kind(z), obs=x)

    x = torch.tensor([[0.3, 2.0], [torch.nan, 2.0], [0.3, torch.nan], [torch.nan, torch.nan]])
    found = pv.log_evidence(model, None, x, pv.Quadrature()).log_px
    assert found[3].abs() < 1e-4
    # log p of the number alone is that of N(0, 2)
    assert found[2] == pytest.approx(dist.Normal(0.0, 2**0.5).log_prob(x[2, 0]).item(), abs=1e-3)
    assert found[0] != found[1]
    drawn = pv.sample(model, x, num_samples=4, kind="draw").x
    assert not drawn.isnan().any()
