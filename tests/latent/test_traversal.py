"""Units moved through the prior, in linear models of one layer and of two."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from tests.latent.strangers import (
    DOWN,
    NARROW,
    UP,
    X,
    categories,
    categories_guide,
    layered,
    layered_guide,
    plated,
    plated_guide,
)
from tests.scenarios import linear_gaussian


def test_a_linear_model_moves_along_its_loadings() -> None:
    model, x = linear_gaussian(dim=3)
    guide = pv.ExactGuide(model)
    found = pv.traverse(model, guide, x, datum=4, num_steps=7, span=2.0)
    assert found.x.shape == (3, 7, 6) and found.positions.tolist() == pytest.approx(
        torch.linspace(-2, 2, 7).tolist()
    )
    assert torch.equal(found.start, x[4])
    assert torch.allclose(found.centre, pv.reconstruct(model, guide, x).means[4])

    z = model.posterior(x).mean[4]
    for name, means in zip(found.units, found.x, strict=True):
        unit = int(name.removeprefix("latent[").removesuffix("]"))
        for position, mean in zip(found.positions, means, strict=True):
            moved = z.clone()
            moved[unit] = position.double()
            assert torch.allclose(mean, model.decode(moved))
        slope = (means[1] - means[0]) / (found.positions[1] - found.positions[0])
        assert torch.allclose(slope, model.loading[:, unit], atol=1e-6)


def test_units_are_moved_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pv.traverse(layered, layered_guide, X, num_units=5, num_steps=4)
    monkeypatch.setattr("pyro_vae.latent.traversal._ROWS", 8)
    parts = pv.traverse(layered, layered_guide, X, num_units=5, num_steps=4)
    assert torch.allclose(whole.x, parts.x) and whole.units == parts.units


def test_units_are_ranked_by_their_rates() -> None:
    model, x = linear_gaussian(dim=3, num_data=200)
    with torch.no_grad():
        model.loading *= torch.tensor([0.1, 3.0, 1.0])
    guide = pv.ExactGuide(model)
    found = pv.traverse(model, guide, x)
    units = pv.latent_units(model, guide, x)
    assert units is not None
    order = units.rates.argsort(descending=True)
    assert found.units[0] == "latent[1]" and found.units == tuple(units.names[i] for i in order)
    assert torch.allclose(found.rates.double(), units.rates[order])
    assert pv.traverse(model, guide, x, num_units=1).units == ("latent[1]",)


def test_unused_units_are_left_out_unless_asked_for() -> None:
    model, x = linear_gaussian(dim=3, num_data=50)
    with torch.no_grad():
        model.loading[:, :2] = 0
    guide = pv.ExactGuide(model)
    assert pv.traverse(model, guide, x).units == ("latent[2]",)
    every = pv.traverse(model, guide, x, num_units=8)
    assert len(every.units) == 3 and every.changes[1:].abs().max() < 1e-9


def test_what_follows_a_unit_keeps_its_own_place() -> None:
    found = pv.traverse(layered, layered_guide, X, num_units=9, num_steps=3, span=1.0)
    assert sorted(found.units) == sorted(
        [f"middle[{u}]" for u in range(3)] + [f"top[{u}]" for u in range(2)]
    )
    assert torch.allclose(found.centre, pv.reconstruct(layered, layered_guide, X).means[0])
    for name, means in zip(found.units, found.x, strict=True):
        site, unit = name[:-3], int(name[-2])
        column = 2 * DOWN @ UP[:, unit] if site == "top" else NARROW * DOWN[:, unit]
        assert torch.allclose(means[2] - means[1], column) and torch.allclose(
            means[1] - means[0], column
        )
    # the residual of the middle stays where the datum has it
    top, middle = X[0] @ DOWN @ UP, X[0] @ DOWN
    moved = torch.tensor([1.0 + 2.0, top[1]]).double()
    expected = DOWN @ (UP @ moved + middle - UP @ top)
    assert torch.allclose(found.x[found.units.index("top[0]"), 2], expected)


def test_latents_that_do_not_follow_stay() -> None:
    found = pv.traverse(plated, plated_guide, X, datum=2, num_units=9, num_steps=2)
    assert sorted(found.units) == ["part[0]", "part[1]"]  # a scale is not any real number
    first = found.x[found.units.index("part[0]")]
    assert torch.allclose(first[:, 1], X[2, 1]) and torch.allclose(
        first[:, 3], found.centre[3].expand(2)
    )
    assert first[:, 0].tolist() == pytest.approx([-3, 3])


def test_a_guide_that_does_not_tell_its_rates() -> None:
    def heavy(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.StudentT(5.0, x.new_zeros(4)).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    table = pv.Local.of(heavy, X, pv.MeanField)
    found = pv.traverse(heavy, table.double(), X, num_units=4)
    assert found.rates.isnan().all() and len(found.units) == 4


def test_latents_without_a_line_are_told() -> None:
    assert pv.traverse(categories, categories_guide, X).units == ("place",)

    def positive(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * x.new_ones(4), 1.0).to_event(1), obs=x)

    def guide(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.LogNormal(x[:, 0], 1.0))

    with pytest.raises(ValueError, match="model: got no latent of a datum that is any real number"):
        pv.traverse(positive, guide, X)
