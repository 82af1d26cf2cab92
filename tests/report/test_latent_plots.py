"""What is drawn of the latent space: which pictures, where, under which names and colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import Tensor

import pyro_vae as pv
from pyro_vae.report.images import as_images
from pyro_vae.report.plots import views
from pyro_vae.results import Result
from tests.scenarios import linear_gaussian

torch.manual_seed(0)
MODEL = pv.VAE((1, 4, 4), 2, (8,))
GUIDE = pv.Amortized(pv.MeanField(2), pv.MLP((1, 4, 4), (4,)))
X = (torch.rand(20, 1, 4, 4) > 0.5).float()
GAP = 1  # pixels between pictures of 4 x 4


def drawn(result: Result, view: str | None = None) -> Any:
    """The axes of a figure, drawn once, so that what cannot be drawn fails here."""
    figure = pv.plot(result, view)
    figure.canvas.draw()  # type: ignore[attr-defined]
    return figure.axes[0]


def tiles(ax: Any, tops: list[float], lefts: list[float], side: int = 4) -> list[list[Any]]:
    """The pictures in an image whose middles are at these places."""
    pixels = ax.images[0].get_array()
    found = []
    for top in tops:
        row = round(top - (side - 1) / 2)
        columns = [round(left - (side - 1) / 2) for left in lefts]
        found.append([pixels[row : row + side, c : c + side] for c in columns])
    return found


def names(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def same(tile: Any, image: Tensor) -> bool:
    return bool(np.allclose(np.asarray(tile), as_images(image[None])[0, 0].numpy(), atol=1e-6))


def test_samples_lie_in_rows() -> None:
    found = pv.sample(MODEL, X, num_samples=7, temperature=0.5)
    ax = drawn(found)
    pixels = ax.images[0].get_array()
    assert pixels.shape == (3 * 4 + 2 * GAP, 3 * 4 + 2 * GAP)
    assert same(pixels[:4, 5:9], found.x[1]) and same(pixels[10:, :4], found.x[6])
    assert pixels.mask[10:, 5:].all() and pixels.mask[4].all()  # places without a sample, and gaps
    assert ax.images[0].get_interpolation() == "nearest" and ax.images[0].get_cmap().name == "gray"
    assert "temperature 0.5" in ax.get_title() and "means of p(x | z)" in ax.get_title()


def test_data_and_means_lie_in_pairs() -> None:
    found = pv.reconstruct(MODEL, GUIDE, X)
    ax = drawn(found)
    assert names(ax.yaxis) == ["data", "mean"] * 2
    columns = [1.5 + 5 * place for place in range(16)]
    grid = tiles(ax, ax.get_yticks(), columns)
    for number in range(16):
        assert same(grid[0][number], found.x[number]) and same(grid[1][number], found.means[number])
    assert same(grid[2][3], found.x[19]) and grid[2][4].mask.all()
    assert drawn(found, "fit").get_xlabel() == "log p(x | z), nats"


def test_a_sample_stands_over_its_neighbour() -> None:
    found = pv.nearest(pv.sample(MODEL, X, num_samples=3, kind="draw").x, X)
    ax = drawn(found)
    assert names(ax.yaxis) == ["sample", "nearest"]
    grid = tiles(ax, ax.get_yticks(), [1.5, 6.5, 11.5])
    assert all(same(grid[1][n], found.found[n]) for n in range(3))
    told = [text.get_text() for text in ax.texts]
    assert told == [f"{distance:.0f}" for distance in found.distance]
    assert "below, values that differ" in ax.get_title().replace("\n", " ")
    assert drawn(found, "distances").get_xlabel().startswith("values that differ")


def test_ways_begin_and_end_at_data() -> None:
    found = pv.interpolate(MODEL, GUIDE, X[:3], num_steps=5)
    ax = drawn(found)
    assert names(ax.yaxis) == ["0 to 1", "1 to 2"]
    assert names(ax.xaxis) == ["data", "0", "0.25", "0.5", "0.75", "1", "data"]
    grid = tiles(ax, ax.get_yticks(), ax.get_xticks())
    assert same(grid[1][0], X[1]) and same(grid[1][6], X[2])
    assert all(same(grid[1][1 + step], found.x[1, step]) for step in range(5))


def test_units_are_named_with_their_rates() -> None:
    found = pv.traverse(MODEL, GUIDE, X, num_units=2, num_steps=3)
    ax = drawn(found)
    rates = [
        f"{unit}\nrate {rate:.2f}" for unit, rate in zip(found.units, found.rates, strict=True)
    ]
    assert names(ax.yaxis) == rates and names(ax.xaxis) == ["data", "-3", "0", "3"]
    grid = tiles(ax, ax.get_yticks(), ax.get_xticks())
    assert same(grid[1][0], X[0]) and same(grid[1][3], found.x[1, 2])
    assert "standard deviations of the prior" in ax.get_xlabel()


def test_the_first_number_grows_to_the_right_the_second_upwards() -> None:
    found = pv.manifold(MODEL, X, side=3)
    ax = drawn(found)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("latent[0]", "latent[1]")
    assert names(ax.xaxis) == names(ax.yaxis) == ["-0.97", "0.00", "0.97"]
    grid = tiles(ax, ax.get_yticks(), ax.get_xticks())  # the lowest first, as their ticks are
    assert ax.get_yticks()[0] > ax.get_yticks()[2]
    assert all(same(grid[j][i], found.x[i, j]) for i in range(3) for j in range(3))


def test_each_class_has_a_colour_and_a_name() -> None:
    labels = torch.arange(20) % 3
    found = pv.embed(MODEL, GUIDE, X, labels=labels, label_names=["$a", "_b", "c"])
    ax = drawn(found)
    classes = ax.collections
    assert len(classes) == 3 and len({to_hex(each.get_facecolor()[0]) for each in classes}) == 3
    for label, each in enumerate(classes):
        assert np.allclose(each.get_offsets(), found.points[labels == label])

    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["prior: 1, 2, 3 sd", r"\$a", " _b", "c"]
    assert len(ax.lines) == 4 and np.allclose(ax.lines[0].get_xydata(), found.prior)
    for sd, line in enumerate(ax.lines[1:], 1):  # ellipses, at that many standard deviations
        centred = torch.from_numpy(line.get_xydata()) - found.prior.mean(0)
        inverse = torch.linalg.inv(found.prior.T.cov())
        assert torch.allclose((centred @ inverse * centred).sum(1), torch.tensor(sd**2.0).double())


def test_embeddings_without_labels_of_many_classes_and_of_one_number() -> None:
    plain = drawn(pv.embed(MODEL, GUIDE, X))
    assert [text.get_text() for text in plain.get_legend().get_texts()][1] == "data"

    x = torch.cat([X, X])
    many = drawn(pv.embed(MODEL, GUIDE, x, labels=torch.arange(40)))
    assert len(many.collections) == 1 and many.figure.axes[1].get_ylabel() == "label"

    model, data = linear_gaussian(dim=1)
    line = drawn(pv.embed(model, pv.ExactGuide(model), data, labels=torch.arange(20) % 2))
    assert line.get_xlabel() == "latent" and line.get_ylabel() == "share of the data"
    bars = [sum(bar.get_height() for bar in each) for each in line.containers if len(each) > 1]
    assert sum(bars) == pytest.approx(1.0)

    model, data = linear_gaussian(dim=3)
    told = drawn(pv.embed(model, pv.ExactGuide(model), data)).get_xlabel()
    assert told.startswith("principal component 1, ") and told.endswith("% of variance")


def colourful() -> dict[str, Result]:
    model = pv.VAE((3, 5, 4), 2, (8,))
    guide = pv.Amortized(pv.MeanField(2), pv.MLP((3, 5, 4), (4,)))
    x = (torch.rand(4, 3, 5, 4) > 0.5).float()
    return {
        "samples": pv.sample(model, x, num_samples=5),
        "interpolation": pv.interpolate(model, guide, x),
        "manifold": pv.manifold(model, x, side=2),
    }


def test_colours_are_kept_and_gaps_let_the_page_through() -> None:
    results = colourful()
    pixels = drawn(results["samples"]).images[0].get_array()
    assert pixels.shape == (5 * 2 + GAP, 4 * 3 + 2 * GAP, 4)
    assert np.allclose(pixels[:5, :4, :3], results["samples"].x[0].movedim(0, 2), atol=1e-6)  # type: ignore[attr-defined]
    assert (pixels[:5, :4, 3] == 1).all() and (pixels[5, :, 3] == 0).all()
    for result in results.values():
        assert drawn(result).images


@pytest.mark.parametrize("size", [1, 7])
def test_data_that_are_no_pictures(size: int) -> None:
    model, x = linear_gaussian(size=size)
    guide = pv.ExactGuide(model)
    samples = pv.sample(model, x, kind="draw")
    lines = len(drawn(samples).lines)
    assert lines == (64 if size > 1 else 0)
    assert list(views(pv.nearest(samples.x, x))) == ["distances"]

    pairs = drawn(pv.reconstruct(model, guide, x))
    assert len(pairs.lines[0].get_xdata()) == x.numel()
    way = drawn(pv.interpolate(model, guide, x, num_steps=5))
    assert len(way.lines) == (5 if size > 1 else 1)
    moved = pv.plot(pv.traverse(model, guide, x, num_units=2))
    told = [ax.get_title() for ax in moved.axes if ax.get_title()]
    assert len(told) == 2 and told[0].startswith("latent[") and ", rate " in told[0]
    heat = pv.plot(pv.manifold(model, x, side=3)).axes
    assert len(heat) == 2 * min(size, 6)


def test_a_view_goes_into_axes_of_ones_own() -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    pv.plot(pv.sample(MODEL, X, num_samples=4), ax=left)
    pv.plot(pv.embed(MODEL, GUIDE, X), ax=right)
    assert len(left.images) == 1 and right.get_legend() is not None and not figure.legends
