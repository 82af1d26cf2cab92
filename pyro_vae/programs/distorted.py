"""A program whose observations are scored by a distortion in place of their log-likelihood.

    log p(x | z)   becomes   -d(x, E[x | z])

which needs no normalised density, such as that of the squared error. The latents, their prior and
the decoder stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.programs.calls import Program, first_line
from pyro_vae.programs.running import model_sites
from pyro_vae.programs.sites import mean_of

Distortion = Callable[[Tensor, Tensor], Tensor]
"""d(x, mean) of data `(..., D)` and of their means `(..., D)` given latents, flat, whose leading
dimensions are broadcast; it returns `(...)`, differentiable in the means.
"""


Sizes = torch.Size | list[int] | tuple[int, ...]
_ONE = torch.Size()  # of a sample without particles


def squared_error(x: Tensor, mean: Tensor) -> Tensor:
    """`|x - mean|^2` of data and means `(..., D)`, summed over the values of a datum, `(...)`.

    Example:
        >>> squared_error(torch.ones(3, 4), torch.zeros(2, 1, 4)).shape
        torch.Size([2, 3])
    """
    return (x - mean).square().sum(-1)


def distorted(model: Program, x: Tensor, index: Tensor, distortion: Distortion) -> Program:
    """The model with the distortion at its one observed site.

    Args:
        model: Pyro program.
        x, index: some data `(B, *shape)`, on which both are tried, and their numbers `(B,)`.
        distortion: of data and means.

    Raises:
        ValueError: a model with none or several observed sites, observations without a mean, a
            distortion that fails, or does not return a number for each datum.
    """
    observed = [site for site in model_sites(model, x, index) if site["is_observed"]]
    names = [site["name"] for site in observed]
    if len(observed) != 1:
        raise ValueError(f"model: got observed sites {names}, expected one for a distortion")

    (site,) = observed
    if mean_of(site["fn"]) is None:
        raise ValueError(
            f"model: its observations {names[0]!r} have no mean, expected one for a distortion"
        )
    _check(distortion, _Distorted(site["fn"], distortion), site["value"])
    return _Score(names[0], distortion)(model)


def _check(distortion: Distortion, fn: _Distorted, value: Tensor) -> None:
    """Raise a ValueError for what is no distortion on these values."""
    expected = "a function of data and means (..., D) that returns numbers (...)"
    try:
        found = fn.log_prob(value)
    except Exception as error:  # whatever a user's function raises
        told = f"got one that failed: {first_line(error)}"
        raise ValueError(f"distortion: {told}; expected {expected}") from error

    if not isinstance(found, Tensor) or found.shape != fn.batch_shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        told = f"got {shape} for data of {tuple(value.shape)}"
        raise ValueError(f"distortion: {told}, expected {expected}")
    if not found.is_floating_point() or not torch.isfinite(found).all():
        raise ValueError(f"distortion: got values that are no finite floats, expected {expected}")


class _Score(Messenger):
    """Puts the distortion in the place of the distribution of an observed site."""

    def __init__(self, name: str, distortion: Distortion) -> None:
        super().__init__()
        self.name, self.distortion = name, distortion

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] == self.name:
            msg["fn"] = _Distorted(msg["fn"], self.distortion)


class _Distorted(dist.TorchDistribution):
    """A distribution that scores values by minus the distortion from its mean."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    takes_missing = True

    def __init__(self, fn: Any, distortion: Distortion) -> None:
        self.fn, self.distortion = fn, distortion
        super().__init__(fn.batch_shape, fn.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return dist.constraints.independent(dist.constraints.real, self.event_dim)

    @property
    def mean(self) -> Tensor:
        return self.fn.mean

    def expand(self, batch_shape: Sizes, _instance: Any = None) -> _Distorted:
        return _Distorted(self.fn.expand(batch_shape), self.distortion)

    def sample(self, sample_shape: Sizes = _ONE) -> Tensor:
        return self.fn.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        mean, size = self.fn.mean, self.event_dim
        value = torch.where(value.isnan(), mean, value)  # what is missing is not distorted
        flat = (each[..., None].flatten(each.dim() - size) for each in (value, mean))
        return -self.distortion(*flat)
