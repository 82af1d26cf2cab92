"""Bounds in groups (MIWAE, PIWAE) and mixed with the ELBO (CIWAE), held to the formulas of
Rainforth et al. (2018) in plain torch, to the bounds that they are at the ends, and to what that
paper predicts of their order and of their gradients' noise.

References:
    Rainforth et al. (2018). Tighter variational bounds are not necessarily better.
        arXiv:1802.04537.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from pyro_vae import MLP, Amortized, LinearGaussian, Local, MeanField
from pyro_vae.objectives import Bound
from pyro_vae.programs.naming import unique_name

DATA, UNITS, SIGMA = 5, 3, 0.7
MODEL = LinearGaussian(DATA, UNITS, sigma=SIGMA).double()
GUIDE = Amortized(MeanField(UNITS), MLP(DATA, ())).double()
X = torch.randn(4, DATA, generator=torch.Generator().manual_seed(1)).double()
THEIRS, MINE = list(MODEL.parameters()), list(GUIDE.parameters())


def by_pyro(loss: Bound) -> tuple[float, list[Tensor]]:
    """Loss and gradients, the model's first."""
    loss.max_plate_nesting = 1 + (loss.num_particles > 1)
    MODEL.zero_grad()
    GUIDE.zero_grad()
    torch.manual_seed(3)
    value = loss.loss_and_grads(MODEL, GUIDE, X)
    torch.manual_seed(3)
    assert loss.loss(MODEL, GUIDE, X) == pytest.approx(value, rel=1e-12)
    gradients = [p.grad for p in (*THEIRS, *MINE)]
    return value, [torch.zeros(()) if g is None else g.clone() for g in gradients]


def log_weights(num_particles: int, score: bool = True) -> Tensor:
    """log p(x, z) - log q(z | x) by hand, `(S, B)`, of the same noise; without the score log q has
    no gradient but through z.
    """
    torch.manual_seed(3)
    shape = (num_particles, len(X), UNITS)
    noise = torch.normal(torch.zeros(shape).double(), torch.ones(shape).double())
    loc, log_scale = (X @ GUIDE.head.weight.T + GUIDE.head.bias).chunk(2, -1)
    z = loc + log_scale.exp() * noise

    if not score:
        loc, log_scale = loc.detach(), log_scale.detach()
    p = Normal(z @ MODEL.loading.T + MODEL.mean, MODEL.log_sigma.exp())
    log_q = Normal(loc, log_scale.exp()).log_prob(z).sum(-1)
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + p.log_prob(X).sum(-1) - log_q


def elbo(log_w: Tensor) -> Tensor:
    return log_w.mean(0).sum()


def iwae(log_w: Tensor) -> Tensor:
    return log_w.exp().mean(0).log().sum()


def miwae(log_w: Tensor, groups: int) -> Tensor:
    return sum(iwae(part) for part in log_w.chunk(groups)) / groups  # type: ignore[return-value]


def squared(log_w: Tensor, groups: int) -> Tensor:
    """What has the doubly reparameterised gradient: the squares of the normalised weights."""
    total: Any = 0.0
    for part in log_w.chunk(groups):
        weights = (part.exp() / part.exp().sum(0)).detach()
        total = total + (weights**2 * part).sum()
    return total / groups


def renyi(log_w: Tensor) -> Tensor:
    return 2 * log_w.div(2).exp().mean(0).log().sum()


Hand = Callable[[Tensor], Tensor]
# a bound, what the model climbs by the log-weights, and what the guide does
FORMULAS: dict[str, tuple[Bound, Hand, Hand]] = {
    "IWAE": (Bound(6), iwae, iwae),
    "MIWAE": (Bound(6, groups=3), lambda w: miwae(w, 3), lambda w: miwae(w, 3)),
    "PIWAE": (Bound(6, guide_groups=3), iwae, lambda w: miwae(w, 3)),
    "PIWAE, the guide by the ELBO": (Bound(6, guide_groups=6), iwae, elbo),
    "CIWAE": (Bound(6, mix=0.05), *2 * (lambda w: 0.05 * elbo(w) + 0.95 * iwae(w),)),
    "half of each": (Bound(6, mix=0.5), *2 * (lambda w: (elbo(w) + iwae(w)) / 2,)),
    "groups of order 1/2": (
        Bound(6, 0.5, groups=2),
        *2 * (lambda w: (renyi(w[:3]) + renyi(w[3:])) / 2,),
    ),
    "all at once": (
        Bound(6, groups=2, guide_groups=3, mix=0.3),
        lambda w: 0.3 * elbo(w) + 0.7 * miwae(w, 2),
        lambda w: 0.3 * elbo(w) + 0.7 * miwae(w, 3),
    ),
    "MIWAE, path only": (
        Bound(6, path_only=True, groups=3),
        lambda w: miwae(w, 3),
        lambda w: squared(w, 3),
    ),
    "PIWAE, path only": (Bound(6, path_only=True, guide_groups=3), iwae, lambda w: squared(w, 3)),
    "CIWAE, path only": (
        Bound(6, path_only=True, mix=0.05),
        lambda w: 0.05 * elbo(w) + 0.95 * iwae(w),
        lambda w: 0.05 * elbo(w) + 0.95 * squared(w, 1),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_loss_and_gradients_are_the_paper_s(name: str) -> None:
    loss, model_s, guide_s = FORMULAS[name]
    value, gradients = by_pyro(loss)
    assert value == pytest.approx(-model_s(log_weights(6)).item(), rel=1e-12)

    theirs = torch.autograd.grad(-model_s(log_weights(6)), THEIRS)
    mine = torch.autograd.grad(-guide_s(log_weights(6, score=not loss.path_only)), MINE)
    for got, expected in zip(gradients, (*theirs, *mine), strict=True):
        assert expected.abs().max() > 1e-3
        assert (got - expected).abs().max() < 1e-10


SAME = [
    (Bound(6, groups=1), Bound(6)),
    (Bound(6, guide_groups=1), Bound(6)),
    (Bound(6, mix=0), Bound(6)),
    (Bound(6, groups=6), Bound(6, 1.0)),
    (Bound(6, 0.5, groups=6, guide_groups=6), Bound(6, 1.0)),
    (Bound(6, mix=1), Bound(6, 1.0)),
    (Bound(6, groups=3, guide_groups=3), Bound(6, groups=3)),
    (Bound(6, path_only=True, groups=1), Bound(6, path_only=True)),
    (Bound(6, path_only=True, groups=6), Bound(6, 1.0, path_only=True)),
    (Bound(6, path_only=True, mix=1.0), Bound(6, 1.0, path_only=True)),
]


@pytest.mark.parametrize("number", range(len(SAME)))
def test_at_the_ends_they_are_the_known_bounds(number: int) -> None:
    (value, gradients), (expected, others) = map(by_pyro, SAME[number])
    assert value == pytest.approx(expected, rel=1e-12)
    for got, other in zip(gradients, others, strict=True):
        assert (got - other).abs().max() < 1e-10


def test_they_lie_in_order_between_the_elbo_and_the_evidence() -> None:
    model = LinearGaussian(3, 2, sigma=0.5).double()
    x = torch.tensor([[0.5, -1.0, 1.5]]).double().expand(100, 3)
    guide = Local(MeanField(2), len(x)).double()

    def values(loss: Bound, first: int = 0) -> Tensor:
        """The bound, nats per datum, at each of 20 seeds."""
        found = []
        for seed in range(first, first + 20):
            torch.manual_seed(seed)
            found.append(-loss.loss(model, guide, x) / len(x))
        return torch.tensor(found)

    iwae_64, miwae_64 = values(Bound(64)), values(Bound(64, groups=8))
    rows = [values(Bound(64, 1.0)), miwae_64, values(Bound(64, mix=0.05)), iwae_64]
    for lower, upper in itertools.pairwise(rows):
        assert (lower < upper).all()
    assert torch.equal(values(Bound(64, guide_groups=8)), iwae_64)  # PIWAE tells the model's

    room = model.log_px(x[:1]).item() - iwae_64.mean()
    assert room > -5 * iwae_64.std() / 20**0.5
    eight = values(Bound(8), 100)  # MIWAE(8, 8) is IWAE-8 in expectation
    error = ((miwae_64.var() + eight.var()) / 20).sqrt()
    assert (miwae_64.mean() - eight.mean()).abs() < 5 * error


def signal_to_noise(loss: Bound) -> tuple[float, float]:
    """|mean| / standard deviation of a gradient in the model's parameter and in the guide's: the
    example of the paper's section 4, x ~ N(z, 1), z ~ N(m, 1), q = N(b, 2/3), in one dimension,
    with 20,000 of each parameter.
    """
    pyro.clear_param_store()
    torch.manual_seed(0)
    x = torch.ones(20_000)

    def model(x: Tensor) -> None:
        mean = pyro.param("mean", torch.zeros(len(x)))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(mean, 1.0))
            pyro.sample("obs", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        loc = pyro.param("loc", torch.ones(len(x)))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(loc, (2 / 3) ** 0.5))

    loss.max_plate_nesting = 2
    loss.loss_and_grads(model, guide, x)
    gradients = [pyro.param(name).grad for name in ("mean", "loc")]
    theirs, mine = (float(g.mean().abs() / g.std()) for g in gradients if g is not None)
    return theirs, mine


def test_groups_give_the_guide_s_gradient_its_signal_back() -> None:
    kinds: dict[str, dict[str, int]] = {"miwae": {"groups": 8}, "piwae": {"guide_groups": 8}}
    theirs, mine = {}, {}
    for name, loss in (
        *((f"iwae {k}", Bound(k)) for k in (8, 16, 64)),
        *((name, Bound(64, **groups)) for name, groups in kinds.items()),
    ):
        theirs[name], mine[name] = signal_to_noise(loss)

    error = 20_000**-0.5  # of the guide's, well below 1
    # with K particles in the logarithm, of order K^(-1/2) for the guide and K^(1/2) for the model
    assert mine["iwae 64"] == pytest.approx(mine["iwae 16"] / 2, abs=5 * error)
    assert theirs["iwae 64"] == pytest.approx(theirs["iwae 16"] * 2, rel=0.05)
    # the mean of M has M^(1/2) times that of one
    assert mine["miwae"] == pytest.approx(8**0.5 * mine["iwae 8"], abs=5 * 3 * error)
    assert mine["miwae"] > 8 * mine["iwae 64"]
    # and PIWAE has what is best for each
    assert (theirs["piwae"], mine["piwae"]) == (theirs["iwae 64"], mine["miwae"])


class Tied(nn.Module):
    """A model and a guide with one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> None:
        pyro.module(unique_name(self), self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(self.loc, 1.0))
            pyro.sample("obs", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module(unique_name(self), self)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(self.loc, 1.0))


def test_a_parameter_of_both_cannot_follow_two_bounds() -> None:
    tied, x = Tied(), torch.randn(3)
    Bound(4, groups=2).loss_and_grads(tied, tied.guide, x)
    with pytest.raises(ValueError, match="guide_groups: the model and the guide share parameters"):
        Bound(4, guide_groups=2).loss_and_grads(tied, tied.guide, x)


@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_weights_that_are_all_zero_bound_by_minus_infinity(mix: float) -> None:
    def impossible(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Delta(z), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(0.0, 1.0))

    assert Bound(4, groups=2, mix=mix).loss(impossible, guide, torch.zeros(3)) == math.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bound(6, groups=4), "groups: got 4, expected a divisor of num_particles, 6"),
        (lambda: Bound(6, guide_groups=4), "guide_groups: got 4, expected a divisor"),
        (lambda: Bound(6, 1.0, groups=2), "groups: got 2, expected 1 with alpha 1, the ELBO"),
        (lambda: Bound(6, guide_groups=2, mix=1), "guide_groups: got 2, expected 1 with mix 1"),
        (lambda: Bound(6, 1.0, mix=0.5), "mix: got 0.5, expected 0 with alpha 1, the ELBO"),
        (lambda: Bound(6, mix=1.5), "mix: got 1.5, expected a number from 0 to 1"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(make: Callable[[], Bound], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
