"""Where the data lie in the latent space: the guide's means in two dimensions, beside the prior.

Two numbers are shown as they are, more of them by their principal components, those of the data's
means; the prior's draws go through the same projection. Where the prior has mass and no datum lies,
there is a hole: samples from it are like no data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_integer, check_rows, check_seed
from pyro_vae.data.labels import Names, check_labels
from pyro_vae.latent.centres import Centre, centres, latent_sites, unit_names, units_of
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.inputs import MOST
from pyro_vae.programs.pair import Pair, opened
from pyro_vae.programs.sites import is_discrete
from pyro_vae.results import Result, counted, share

_TURNS = 50  # data whose priors are drawn from
_SHOWN = 2


@dataclass(frozen=True, repr=False)
class Embedding(Result):
    """The guide's means of data, and draws of the prior, in a plane.

    Attributes:
        means: of the latents `(N, d)`, all continuous sites side by side.
        points: the same in the plane `(N, 2)`; the second is 0 where d = 1.
        prior: draws of the prior in the same plane, `(M, 2)`.
        explained: share of the means' variance that each of the two axes has; None where the axes
            are the latent's own.
        units: what the numbers of the latent are called, d of them.
        labels: of the data `(N,)`, integers; None without.
        label_names: what the labels 0, 1, ... are called; None where the numbers are all there is.
        at: "mean" where the points are the guide's means, "draw" where they are draws of it.
    """

    means: Tensor
    points: Tensor
    prior: Tensor
    explained: tuple[float, float] | None
    units: tuple[str, ...]
    labels: Tensor | None
    label_names: Names
    at: Centre

    def headline(self) -> str:
        what = "the guide's means" if self.at == "mean" else "draws of the guide"
        data, numbers = counted(len(self.points), "data"), counted(len(self.units), "numbers")
        return f"{what} of {data}, {numbers} each"

    def figures(self) -> Iterator[tuple[str, str]]:
        if self.explained is not None:
            both = share(sum(self.explained))
            yield "principal components", f"two of {len(self.units)}, {both} of the variance"
        for axis in range(min(len(self.units), _SHOWN)):
            mine, theirs = (_sd(points[:, axis]) for points in (self.points, self.prior))
            yield f"axis {axis + 1}", f"sd {mine:.2f} of the data, {theirs:.2f} of the prior"
        if self.labels is not None:
            yield "labels", counted(len(self.labels.unique()), "classes")

    def summary(self) -> dict[str, Any]:
        """How many data, numbers and classes, and what the axes explain."""
        told = {"num_data": len(self.points), "num_units": len(self.units), "at": self.at}
        classes = 0 if self.labels is None else len(self.labels.unique())
        explained = None if self.explained is None else list(self.explained)
        return told | {"num_classes": classes, "explained": explained}

    def columns(self) -> dict[str, Any]:
        """A row for each datum: its point, and its label if it has one."""
        x, y = self.points.unbind(1)
        found: dict[str, Any] = {"datum": torch.arange(len(x)), "x": x, "y": y}
        return found if self.labels is None else found | {"label": self.labels}


def embed(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    label_names: list[str] | Names = None,
    num_prior: int = 2000,
    seed: int = 0,
) -> Embedding:
    """Lay the guide's means of data into a plane.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(N, *shape)`, at least two.
        index: rows of the dataset `(N,)`; 0..N-1 unless given.
        labels: of the data `(N,)`, integers, for colours alone: `split.labels`.
        label_names: what the labels 0, 1, ... are called: `split.label_names`.
        num_prior: draws of the prior to be shown beside them.
        seed: of these.

    Raises:
        ValueError: fewer than two data, labels that do not fit them, no continuous latent, programs
            that do not match.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> embed(model, ExactGuide(model), torch.randn(20, 5)).points.shape
        torch.Size([20, 2])
    """
    check_integer("num_prior", num_prior, 2, MOST["num_samples"])
    check_seed("seed", seed)
    called(guide, "guide")
    check_rows("x", x, least=2)
    names = tuple(label_names) if isinstance(label_names, list) else label_names
    check_labels(labels, names, len(x))

    with opened(model, guide, x, index, seed=seed) as pair:
        sites = [site["name"] for site in latent_sites(pair) if not is_discrete(site)]
        if not sites:
            raise ValueError("model: got no continuous latent, expected one with a mean")
        found, at = centres(pair)
        parts = {name: units_of(found[name], pair.depth)[0] for name in sites}
        means = torch.cat(list(parts.values()), -1).double().cpu()
        prior = _prior(pair, sites, num_prior)

    units = []
    for name, part in parts.items():
        units += unit_names(name, part.shape[1])
    points, shown, explained = _plane(means, prior)
    kept = None if labels is None else labels.cpu()
    return Embedding(means, points, shown, explained, tuple(units), kept, names, at)


def _prior(pair: Pair, sites: list[str], number: int) -> Tensor:
    """Draws of the prior `(number, d)`, of the priors of some data in turns."""
    rows = torch.arange(min(len(pair), _TURNS), device=pair.x.device)
    some = pair.under(None).take(rows)
    drawn, _ = some.sample(math.ceil(number / len(rows)))
    flat = [units_of(drawn[name], some.depth).flatten(0, 1) for name in sites]
    return torch.cat(flat, -1)[:number].double().cpu()


def _plane(means: Tensor, prior: Tensor) -> tuple[Tensor, Tensor, tuple[float, float] | None]:
    """Both in two dimensions, and what these explain of the means' variance."""
    dim = means.shape[1]
    if dim == 1:
        zeros = [torch.zeros_like(points) for points in (means, prior)]
        return torch.cat([means, zeros[0]], 1), torch.cat([prior, zeros[1]], 1), None
    if dim == _SHOWN:
        return means, prior, None

    from sklearn.decomposition import PCA  # seconds, which only this needs

    with np.errstate(invalid="ignore"):  # means that are all the same have no variance to share
        fitted = PCA(_SHOWN, svd_solver="full").fit(means.numpy())
    points, shown = (torch.from_numpy(fitted.transform(z.numpy())) for z in (means, prior))
    first, second = np.nan_to_num(fitted.explained_variance_ratio_).tolist()
    return points, shown, (first, second)


def _sd(values: Tensor) -> float:
    return values.std().item()
