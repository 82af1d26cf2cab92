"""The plane of an embedding: data coloured by their labels, over the draws of the prior and its
ellipses at one, two and three standard deviations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_vae.files.texts import printable
from pyro_vae.latent import Embedding
from pyro_vae.results import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PRIOR = "gray"
# of matplotlib's tab20, strong ones before pale ones; its greys last, since the prior is grey
_COLOURS = (0, 2, 4, 6, 8, 10, 12, 16, 18, 5, 1, 3, 7, 9, 11, 13, 17, 19, 14, 15)
_NAMED = len(_COLOURS)  # classes that have colours and names of their own
_SDS = (1, 2, 3)


def draw_plane(result: Embedding, ax: Axes) -> None:
    """Points in two dimensions."""
    prior = result.prior.numpy()
    ax.plot(*prior.T, ".", color=_PRIOR, markersize=2, alpha=0.3, zorder=0)
    _ellipses(ax, result.prior)

    size = 9 if len(result.points) <= 2000 else 4
    groups = _groups(result)
    if groups is None:
        x, y = result.points.T.numpy()
        drawn = ax.scatter(x, y, size, _codes(result), linewidths=0)
        ax.figure.colorbar(drawn, ax=ax, label="label")
    else:
        for name, colour, mine in groups:
            x, y = result.points[mine].T.numpy()
            ax.scatter(x, y, size, color=colour, label=name, linewidths=0, alpha=0.8)

    ax.set(xlabel=_axis(result, 0), ylabel=_axis(result, 1))
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_title(
        f"where {counted(len(result.points), 'data')} lie in the latent", fontsize="medium"
    )
    _legend(ax)


def draw_line(result: Embedding, ax: Axes) -> None:
    """One number: its histograms, the prior's as a line."""
    both = torch.cat([result.points[:, 0], result.prior[:, 0]])
    edges = torch.linspace(both.min().item(), both.max().item(), 61).tolist()
    groups = _groups(result) or [("data", "C0", torch.ones(len(result.points), dtype=torch.bool))]
    values = [result.points[mine, 0].numpy() for _, _, mine in groups]
    shares = [torch.full((len(each),), 1 / len(result.points)).numpy() for each in values]

    names, colours = [name for name, _, _ in groups], [colour for _, colour, _ in groups]
    ax.hist(values, edges, weights=shares, color=colours, label=names, stacked=True)
    prior = result.prior[:, 0].numpy()
    even = torch.full((len(prior),), 1 / len(prior)).numpy()
    told = "prior"
    ax.hist(prior, edges, weights=even, histtype="step", color=_PRIOR, label=told)
    ax.set(xlabel=result.units[0], ylabel="share of the data")
    ax.set_title(
        f"where {counted(len(result.points), 'data')} lie in the latent", fontsize="medium"
    )
    _legend(ax)


def _ellipses(ax: Axes, prior: Tensor) -> None:
    """The ellipses of the prior's draws, of their mean and covariance; nothing where these are flat
    or none.
    """
    values, axes = torch.linalg.eigh(prior.T.cov())
    turn = torch.linspace(0, 2 * torch.pi, 200, dtype=prior.dtype)
    circle = torch.stack([turn.cos(), turn.sin()])
    edge = axes * values.clamp(min=0).sqrt() @ circle  # (2, 200)
    for sd in _SDS:
        told = "prior: 1, 2, 3 sd" if sd == 1 else None
        ax.plot(
            *(prior.mean(0)[:, None] + sd * edge).numpy(), color=_PRIOR, linewidth=1.2, label=told
        )


def _groups(result: Embedding) -> list[tuple[str, Any, Tensor]] | None:
    """Name, colour and data of each class, the first one first; None where there are too many."""
    from matplotlib import colormaps

    if result.labels is None:
        return [("data", "C0", torch.ones(len(result.points), dtype=torch.bool))]
    classes = result.labels.unique().tolist()
    if len(classes) > _NAMED:
        return None

    colours = [colormaps["tab20"](number) for number in _COLOURS]
    found = []
    for number, label in enumerate(classes):
        found.append((_name(result, int(label)), colours[number], result.labels == label))
    return found


def _codes(result: Embedding) -> Any:
    return None if result.labels is None else result.labels.numpy()


def _name(result: Embedding, label: int) -> str:
    """What a class is called, as plain text: matplotlib reads $ as mathematics, and hides what
    begins with an underscore.
    """
    if result.label_names is None:
        return str(label)
    name = printable(result.label_names[label])[:40].replace("$", r"\$")
    return f" {name}" if name.startswith("_") or not name else name


def _axis(result: Embedding, number: int) -> str:
    if result.explained is None:
        return result.units[number]
    return f"principal component {number + 1}, {100 * result.explained[number]:.0f}% of variance"


def _legend(ax: Axes) -> None:
    """What the colours mean, beside the axes."""
    from matplotlib.collections import PathCollection

    drawn = ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=9)
    for handle in drawn.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([30])
