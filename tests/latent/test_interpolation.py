"""Ways between data: their ends, their middles, and great circles."""

from __future__ import annotations

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.latent.paths import Path, linear, spherical
from tests.latent.strangers import (
    X,
    categories,
    categories_guide,
    layered,
    layered_guide,
    plated,
    plated_guide,
)
from tests.scenarios import linear_gaussian

T = torch.linspace(0, 1, 9).double()


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_the_ends_are_the_reconstructions(path: Path) -> None:
    for model, guide, x in (
        (layered, layered_guide, X),
        (linear_gaussian()[0], pv.ExactGuide(linear_gaussian()[0]), linear_gaussian()[1]),
    ):
        found = pv.interpolate(model, guide, x, path=path)
        means = pv.reconstruct(model, guide, x).means
        assert found.x.shape == (len(x) - 1, 9, *x.shape[1:])
        assert torch.allclose(found.x[:, 0], means[:-1]) and torch.allclose(
            found.x[:, -1], means[1:]
        )
        assert torch.equal(found.data, x) and found.positions.tolist() == T.tolist()


def test_a_linear_model_is_linear_on_the_way() -> None:
    model, x = linear_gaussian()
    found = pv.interpolate(model, pv.ExactGuide(model), x, num_steps=5)
    assert torch.allclose(found.x[:, 1], found.x[:, 0].lerp(found.x[:, -1], 0.25))
    assert found.latents["latent"].shape == (19, 5, 2)


def test_inner_plates_and_positive_latents_go_straight() -> None:
    found = pv.interpolate(plated, plated_guide, X, num_steps=3)
    assert found.latents["part"].shape == (5, 3, 2)
    assert torch.allclose(found.x[:, 1, :2], (X[:-1, :2] + X[1:, :2]) / 2)
    with pytest.raises(ValueError, match=r"path: got 'spherical', but the latent 'scale'"):
        pv.interpolate(plated, plated_guide, X, path="spherical")
    with pytest.raises(ValueError, match=r"path: got 'linear', but the latent 'kind'"):
        pv.interpolate(categories, categories_guide, X)


def test_a_great_circle_turns_evenly_and_the_length_goes_straight() -> None:
    a, b = torch.randn(2, 7, 5).double()
    found = spherical(a, b, T)
    assert torch.allclose(found[0], a) and torch.allclose(found[-1], b)
    assert torch.allclose(
        found.norm(dim=2), linear(a.norm(dim=1)[:, None], b.norm(dim=1)[:, None], T)[..., 0]
    )
    turns = torch.cosine_similarity(found[:-1], found[1:], dim=2).clamp(max=1).acos()
    assert torch.allclose(turns, turns[0].expand_as(turns), atol=1e-6)
    assert torch.allclose(turns.sum(0), torch.cosine_similarity(a, b, dim=1).acos(), atol=1e-6)


def test_degenerate_ends() -> None:
    a = torch.tensor([[3.0, 0, 0], [0, 0, 0], [1, 2, 3], [0, 0, 0], [1, 1, 0]]).double()
    b = torch.tensor([[-6.0, 0, 0], [1, 0, 0], [2, 4, 6], [0, 0, 0], [1, 1, 0]]).double()
    found = spherical(a, b, T)
    assert found.isfinite().all()
    assert torch.allclose(found[0], a) and torch.allclose(found[-1], b)
    assert torch.allclose(found[:, 1:4], linear(a, b, T)[:, 1:4])
    middle = found[4, 0]  # half way round from 3 to -6
    assert middle[0].abs() < 1e-9 and middle.norm().item() == pytest.approx(4.5)
    one = spherical(a[:1, :1], b[:1, :1], T)
    assert torch.allclose(one, linear(a[:1, :1], b[:1, :1], T))
    assert math.isclose(one[4].item(), -1.5)
