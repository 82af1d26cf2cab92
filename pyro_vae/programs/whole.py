"""A program of many data as one of a single datum: the whole set.

A latent outside of the data plate (the weights of a Bayesian regression, of a decoder) is one draw
for all data, and no datum has a log p(x) of its own. The set has:

    log p(x_1, ..., x_N) = log integral p(w) prod_n p(x_n | w) dw

`whole(model)` is the program of that: its one datum `(1, N, *shape)` is the set, its latents are
those of the datum, whatever plates the model has them in, and all that takes a program takes it.
The model runs as it is. Its plates move one dimension to the left, and a plate of size 1 takes
their place at dim -1.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.arguments import check_index
from pyro_vae.programs.calls import Program, Refused, called


def whole(model: Program, index: Tensor | None = None) -> Program:
    """The program whose one datum is the whole set, `x[None]`.

    It runs the model on the set, with S particles to the left of the model's own plates: a weight
    `(D,)` is `(S, 1, D)` there, and `(features * weight).sum(-1)` is `(S, N)`.

    Args:
        model: Pyro program with a data plate at dim -1; or a guide of one.
        index: what it gets as `index`, the numbers of the N data; 0..N-1 unless given.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> import pyro_vae as pv
        >>> def mean_of_all(x):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("obs", dist.Normal(mean, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> pv.log_evidence(pv.whole(mean_of_all), None, x[None], pv.Quadrature()).log_px
        tensor([-3.4500], dtype=torch.float64)
    """
    called(model, "model")
    if index is not None:
        check_index("index", index)
    return Whole(model, index)


class Whole:
    """What `whole` returns.

    Attributes:
        model: that it runs.
        index: which that gets; None for 0..N-1.
    """

    def __init__(self, model: Program, index: Tensor | None) -> None:
        self.model, self.index = model, index

    def __call__(self, x: Tensor, index: Tensor | None = None) -> Any:
        if len(x) != 1 or x.dim() < 2:
            raise Refused(
                f"x: got data of shape {tuple(x.shape)} for a program of the whole set, expected"
                " one datum (1, N, ...): x[None]"
            )
        rows = torch.arange(x.shape[1], device=x.device) if self.index is None else self.index
        with _Shifting():
            return called(self.model, "model")(x[0], rows)


class _Shifting(Messenger):
    """Show the sites of a run one dimension further left, and the run what it knows."""

    def _pyro_sample(self, msg: Any) -> None:
        if type(msg["fn"]).__name__ == "_Subsample":
            msg["name"] = _renamed(msg["name"])  # or a guide's plate would be replayed into it
            return
        frames = [_moved(frame) for frame in msg["cond_indep_stack"]]
        msg["cond_indep_stack"] = (*frames, CondIndepStackFrame("whole", -1, 1, 0))
        msg["fn"] = _Left(msg["fn"])
        for name, event_dim in (("value", msg["fn"].event_dim), ("mask", 0), ("scale", 0)):
            part = msg[name]
            if isinstance(part, Tensor) and (name == "value" or part.dim()):
                msg[name] = part.unsqueeze(-1 - event_dim)

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], TorchDistribution) and type(msg["fn"]).__name__ != "_Subsample":
            msg["value"] = msg["value"].squeeze(-1 - msg["fn"].event_dim)


def _moved(frame: Any) -> Any:
    """A plate one dimension further left, under a name that no plate of a guide has."""
    dim = None if frame.dim is None else frame.dim - 1
    return CondIndepStackFrame(_renamed(frame.name), dim, frame.size, frame.counter)


def _renamed(plate: str) -> str:
    return f"{plate} of the whole"


class _Left(TorchDistribution):
    """A distribution with one more dimension of size 1, at the right of its batch."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    is_moved = True

    def __init__(self, of: Any) -> None:
        self.base_dist = of
        super().__init__(torch.Size((*of.batch_shape, 1)), of.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return bool(self.base_dist.has_rsample)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        return bool(self.base_dist.has_enumerate_support)

    @constraints.dependent_property
    def support(self) -> Any:
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        return self._there(self.base_dist.mean)

    @property
    def variance(self) -> Tensor:
        return self._there(self.base_dist.variance)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Left:
        return _Left(self.base_dist.expand(torch.Size(batch_shape)[:-1]))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._there(self.base_dist.sample(torch.Size(sample_shape)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._there(self.base_dist.rsample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base_dist.log_prob(value.squeeze(-1 - self.event_dim)).unsqueeze(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._there(self.base_dist.enumerate_support(expand))

    def _there(self, value: Tensor) -> Tensor:
        return value.unsqueeze(-1 - self.event_dim)
