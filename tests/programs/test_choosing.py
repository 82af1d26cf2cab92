"""Discrete latents that are summed out, drawn given all else, and averaged over."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.programs.choosing import with_choices
from tests.programs.mixed import MARK, MOVES, PLACES, SHARES, chain, plate

NAN = float("nan")
S = 20_000


def apart(x: Tensor, index: Any = None) -> None:
    """A choice that is independent of z: x = z + 5 mu_k + noise of 0.1, twice."""
    with plate(x):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        k = pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
        mean = (z + 5 * x.new_tensor(PLACES)[k])[..., None]
        pyro.sample("obs", dist.Normal(mean, x.new_tensor([0.1, 0.1])).to_event(1), obs=x)


def above(x: Tensor, index: Any = None) -> None:
    """A choice that z depends on, and the data besides: z ~ N(mu_k, 1), x = z + mu_k + noise."""
    with plate(x):
        place = x.new_tensor(PLACES)[
            pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
        ]
        z = pyro.sample("z", dist.Normal(place, 1.0))
        noise = dist.Normal((z + place)[..., None], x.new_tensor([0.5, 1.0])).to_event(1)
        pyro.sample("obs", noise, obs=x)


def clusters_of_two(x: Tensor, index: Any = None) -> None:
    """A choice that z depends on, and the data through z alone."""
    with plate(x):
        k = pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
        z = pyro.sample("z", dist.Normal(x.new_tensor(PLACES)[k], 1.0))
        pyro.sample("obs", dist.Normal(z[..., None], x.new_ones(2)).to_event(1), obs=x)


def tree(x: Tensor, index: Any = None) -> None:
    """Two choices of a datum, the second of which bends the choices of its values."""
    with plate(x):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        k = pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
        up = pyro.sample("up", dist.Bernoulli(torch.sigmoid(x.new_tensor(PLACES)[k])), infer=MARK)
        with pyro.plate("values", x.shape[1], dim=-2):
            far = pyro.sample("far", dist.Bernoulli(0.3 + 0.5 * up), infer=MARK)
            pyro.sample("obs", dist.Normal(z + up + far, 1.0), obs=x.T)


def prior_of_z(x: Tensor, index: Any = None) -> None:
    with plate(x):
        pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))


def close(drawn: Tensor, expected: Tensor | float, errors: float = 5.0) -> bool:
    """Whether the mean of draws `(S, ...)` is the expected one, by its own error."""
    drawn = drawn.double()
    error = drawn.std(0).clamp(min=len(drawn) ** -0.5) / len(drawn) ** 0.5
    return bool(((drawn.mean(0) - torch.as_tensor(expected)).abs() < errors * error).all())


def test_means_are_over_all_states() -> None:
    x, z = torch.tensor([[0.3, 0.1], [-9.0, -9.1]]), 0.0
    expected = z + 5 * sum(s * p for s, p in zip(SHARES, PLACES, strict=True))
    means = pv.reconstruct(apart, prior_of_z, x).means
    assert torch.allclose(means, torch.tensor(expected), atol=1e-4)
    path = pv.interpolate(apart, prior_of_z, x).x
    assert torch.allclose(path, torch.tensor(expected), atol=1e-4)


def test_means_over_choices_of_values_and_of_data() -> None:
    x = torch.randn(3, 4)
    up = sum(s * torch.sigmoid(torch.tensor(p)) for s, p in zip(SHARES, PLACES, strict=True))
    means = pv.reconstruct(tree, prior_of_z, x).means
    assert torch.allclose(means, (up + 0.3 + 0.5 * up).expand(3, 4), atol=1e-5)


def test_choices_are_drawn_given_the_data() -> None:
    x = torch.tensor([[0.2, 0.9, 1.4, 0.1], [2.0, 1.5, 0.8, 1.9]])
    torch.manual_seed(0)
    with pv.opened(tree, prior_of_z, x) as pair:
        drawn = with_choices(pair, {"z": torch.zeros(S, 1, 2)}, S)
    up, far = drawn["up"][:, 0], drawn["far"]  # (S, 2), (S, 4, 2)
    assert drawn["k"].shape == (S, 1, 2)

    shares, places = torch.tensor(SHARES), torch.tensor(PLACES)
    each, likely = torch.sigmoid(places), []
    for choice in (0.0, 1.0):
        odds = torch.tensor(0.3 + 0.5 * choice)
        near = dist.Normal(choice, 1.0).log_prob(x) + (1 - odds).log()
        likely.append(torch.logaddexp(near, dist.Normal(choice + 1, 1.0).log_prob(x) + odds.log()))
    by_k = torch.stack([1 - each, each], 1)[..., None] * torch.stack(likely).sum(-1).exp()
    joint = shares[:, None, None] * by_k  # (K, 2, B)
    joint = joint / joint.sum((0, 1))
    assert close(up, joint[:, 1].sum(0))
    for k in range(3):
        both = (drawn["k"][:, 0] == k) & (up == 1)
        assert close(both, joint[k, 1])
    row = dist.Normal(2.0, 1.0).log_prob(x) - dist.Normal(1.0, 1.0).log_prob(x)
    expected = torch.sigmoid(row + torch.tensor(0.8 / 0.2).log())  # (B, values)
    for datum in range(2):
        assert close(far[up[:, datum] == 1, :, datum], expected[datum])


def test_a_chain_is_drawn_as_a_whole() -> None:
    x = torch.tensor([[-1.0, -1.1, 0.5]])

    def still(x: Tensor, index: Any = None) -> None:
        with plate(x):
            pyro.sample("shift", dist.Normal(x.new_zeros(len(x)), 1.0))

    torch.manual_seed(0)
    with pv.opened(chain, still, x) as pair:
        drawn = with_choices(pair, {"shift": torch.zeros(S, 1)}, S)

    states = torch.cartesian_prod(*[torch.arange(3)] * 3)
    log_p = torch.tensor(SHARES).log()[states[:, 0]]
    for step in range(3):
        here = states[:, step]
        log_p = log_p + dist.Normal(torch.tensor(PLACES)[here], 0.3).log_prob(x[0, step])
        if step:
            log_p = log_p + torch.tensor(MOVES).log()[states[:, step - 1], here]
    number = 9 * drawn["state_0"] + 3 * drawn["state_1"] + drawn["state_2"]
    shares = torch.softmax(log_p, 0)
    assert shares.max() < 0.999
    assert close(number == torch.arange(27), shares)


def test_missing_values_follow_the_choice_that_the_others_tell() -> None:
    x = torch.tensor([[-10.0, NAN], [15.0, NAN], [0.5, NAN]])
    found = pv.impute(apart, prior_of_z, x, num_particles=4000, num_draws=50)
    assert torch.allclose(found.mean, torch.tensor([-10.0, 15.0, 0.5]).double(), atol=0.1)
    assert (found.sd < 0.3).all() and (found.draws - found.mean).abs().max() < 1


def test_missing_values_where_a_latent_hangs_on_the_choice() -> None:
    x = torch.tensor([[-1.5, NAN], [1.0, NAN], [NAN, 3.0], [0.5, 0.2]])
    known = torch.tensor([-1.5, 1.0, 3.0]).double()
    own = torch.tensor([0.5, 0.5, 1.0]).double()
    centre = 2 * torch.tensor(PLACES).double()  # of x given k, which is z + mu_k
    weights = torch.tensor(SHARES).log() + dist.Normal(
        centre, (1 + own[:, None] ** 2).sqrt()
    ).log_prob(known[:, None])
    gain = 1 / (1 + own**2)
    means = centre + gain[:, None] * (known[:, None] - centre)
    expected = (torch.softmax(weights, 1) * means).sum(1)

    def guide(x: Tensor, index: Any = None) -> None:
        with plate(x):
            pyro.sample("z", dist.Normal(x.nan_to_num()[:, 0] / 2, 3.0))

    found = pv.impute(above, guide, x, num_particles=4000)
    assert ((found.mean - expected).abs() < 5 * found.error).all() and found.error.max() < 0.1


def test_a_model_of_choices_alone() -> None:
    def alone(x: Tensor, index: Any = None) -> None:
        with plate(x):
            k = pyro.sample("k", dist.Categorical(x.new_tensor(SHARES)), infer=MARK)
            mean = x.new_tensor(PLACES)[k][..., None]
            pyro.sample("obs", dist.Normal(mean, x.new_tensor([1.0, 0.1])).to_event(1), obs=x)

    def nothing(x: Tensor, index: Any = None) -> None:
        """A guide where all latents are summed out."""

    x = torch.tensor([[-1.0, NAN], [1.5, NAN]])
    places, known = torch.tensor(PLACES), x[:, :1]
    each = torch.tensor(SHARES).log() + dist.Normal(places, 1.0).log_prob(known)
    expected = (torch.softmax(each, 1) * places).sum(1)
    found = pv.impute(alone, nothing, x, num_particles=4000)
    assert ((found.mean - expected).abs() < 5 * found.error).all() and found.error.max() < 0.1
    for refused in (pv.reconstruct, pv.interpolate, pv.check_predictions):
        with pytest.raises(ValueError, match=r"^model: got no latents at which data could be"):
            refused(alone, nothing, x.nan_to_num())


def test_a_latent_is_not_moved_by_the_prior_of_one_drawn_state() -> None:
    x = torch.tensor([[0.3, 0.1], [-9.0, -9.1]])
    with pytest.raises(ValueError, match=r"^model: its latents \['z'\] depend on discrete ones"):
        pv.traverse(clusters_of_two, prior_of_z, x)
    moved = pv.traverse(apart, prior_of_z, x, num_steps=3, span=1.0)
    offset = 5 * sum(s * p for s, p in zip(SHARES, PLACES, strict=True))
    assert torch.allclose(moved.x[0, :, 0], offset + torch.tensor([-1.0, 0.0, 1.0]), atol=1e-4)
