"""NaN in x is a value that is missing, and the model is that of the others.

    log p(x_o | z),   x_o the values of x that are no NaN

(what is missing may depend on x_o, but not on what it hides). Whether data have missing values is
settled where they come in, once: there the model is wrapped, so that its observed sites score what
is there (`present`). Complete data meet no wrapper, and cost nothing.

References:
    Rubin (1976). Inference and missing data. doi:10.1093/biomet/63.3.581.
    Mattei, Frellsen (2019). MIWAE: deep generative modelling and imputation of incomplete data
        sets. arXiv:1812.02633.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor, nn

from pyro_vae.arguments import check_callable
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.parts import some
from pyro_vae.programs.present import base_of, is_joint, present
from pyro_vae.programs.protocols import RunsModel, offers
from pyro_vae.programs.running import guide_sites, model_sites

_WITHOUT = (dist.Delta, dist.Unit)  # what `pyro.deterministic` and `pyro.factor` observe


class ObservedPart(nn.Module):
    """A program whose observed sites score the values that are there; everything else is the
    program's own. `observed_part` makes it.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "program" or name.startswith("__"):
                raise
        return getattr(self.program, name)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Any:
        """Run the program on a minibatch `(B, *shape)`, NaN where a value is missing."""
        with _ScorePresent():
            return called(self.program)(x, index)


class _ScorePresent(Messenger):
    """Puts the distribution of what is there in the place of an observed site's."""

    def _pyro_sample(self, msg: Any) -> None:
        value, fn = msg["value"], msg["fn"]
        if not msg["is_observed"] or isinstance(base_of(fn), _WITHOUT):
            return
        if isinstance(value, Tensor) and value.is_floating_point():
            msg["fn"], msg["value"] = present(fn, value)


def has_missing(*data: Tensor | None) -> bool:
    """Whether some of the data have NaN."""
    return any(x is not None and x.is_floating_point() and bool(x.isnan().any()) for x in data)


def observed_part(program: Program) -> Program:
    """The model of those values of x that are no NaN, for Pyro's own SVI, or `CompiledSVI`; all
    functions of this package take data with NaN as they are.

    Args:
        program: Pyro program `program(x, index)`.

    Returns:
        A module that is called like it and has its attributes. An observed site scores the values
        that are there, where these are independent given the latents (`.to_event(n)`) or normal;
        another joint distribution has a density only where an event is there as a whole, or not at
        all.

    Example:
        >>> import torch
        >>> from pyro_vae import VAE, Amortized, EncoderGuide, log_weights
        >>> x = torch.zeros(3, 1, 4, 4)
        >>> x[0, :, :2] = torch.nan
        >>> observed_part(VAE((1, 4, 4), 2))(x).shape
        torch.Size([3, 2])
    """
    check_callable("program", program, "a Pyro program")
    return program if isinstance(program, ObservedPart) else ObservedPart(program)


def observing(model: Program, guide: Any, *data: Tensor | None) -> tuple[Program, Any]:
    """Model and guide as they are, or those of what is there, where some of the data have NaN."""
    if not has_missing(*data):
        return model, guide
    same = guide is model
    model = observed_part(model)
    if same:
        return model, model
    runs_model = offers(guide, RunsModel)
    return model, observed_part(guide) if runs_model else guide


def is_observing() -> bool:
    """Whether a program runs now on data with missing values."""
    return any(isinstance(handler, _ScorePresent) for handler in _PYRO_STACK)


def missing_as(like: Tensor, x: Tensor) -> Tensor:
    """Data `(N, *shape)` with NaN where `like` has it."""
    return torch.where(like.isnan(), like, x) if has_missing(like) else x


def check_columns(name: str, x: Tensor) -> None:
    """Raise a ValueError for a value of a datum that is missing in all data `(N, *shape)`: of it
    nothing can be learned.
    """
    if not has_missing(x):
        return
    empty = x.isnan().all(0).flatten().nonzero().flatten()
    if len(empty):
        told = ", ".join(map(str, empty[:5].tolist())) + ", ..." * (len(empty) > 5)
        raise ValueError(
            f"{name}: got {len(empty)} values of a datum that are missing (NaN) in all {len(x)}"
            f" training data, at {told} of {x[0].numel()}: expected some to learn from, leave them"
            " out"
        )


def check_missing(model: Program, guide: Any, x: Tensor, index: Tensor | None) -> None:
    """Refuse programs that cannot take the missing values that there are; nothing for complete
    data.

    Raises:
        ValueError: observations that only have a density together, of which a part is missing; a
            guide that makes NaN of NaN.
    """
    if not has_missing(x):
        return
    model = model.program if isinstance(model, ObservedPart) else model
    _check_joint(model, x, index)
    if guide is not None:
        _check_guide(guide, x, index)


def _check_joint(model: Program, x: Tensor, index: Tensor | None) -> None:
    few, rows = some(x, index, 2)
    if not any(
        site["is_observed"] and is_joint(site["fn"]) for site in model_sites(model, few, rows)
    ):
        return

    for site in model_sites(model, x, index):
        fn, value = site["fn"], site["value"]
        if not site["is_observed"] or not is_joint(fn) or not value.is_floating_point():
            continue
        missing = value.isnan().flatten(value.dim() - base_of(fn).event_dim)
        if bool((missing.any(-1) & ~missing.all(-1)).any()):
            raise ValueError(
                f"x: got missing values (NaN) in parts of observations {site['name']!r}, whose"
                f" distribution {type(base_of(fn)).__name__} is of all their values together:"
                " expected each whole or wholly missing, values that are independent given the"
                " latents (`.to_event(n)`), or a distribution that has `log_prob_each(value)` and"
                " `valid_value()`, or takes NaN and says so by `takes_missing = True`"
            )


def _check_guide(guide: Any, x: Tensor, index: Tensor | None) -> None:
    rows = x.isnan().flatten(1).any(1) if x.dim() > 1 else x.isnan()
    order = torch.argsort((~rows).long(), stable=True)  # those with missing values first
    index = torch.arange(len(x), device=x.device) if index is None else index
    few, their = some(x[order], index[order], 8, guide)
    if len(few) == len(x):
        few, their = x, index

    with torch.no_grad(), isolated_noise(x.device), pyro.validation_enabled(False):
        try:
            sites = guide_sites(guide, few, their)
        except Exception:  # whatever a user's program raises; `check_programs` tells it
            return

    bad = [site["name"] for site in sites if _is_broken(site["value"])]
    if bad:
        raise ValueError(
            f"guide: its sites {bad} are NaN on data with missing values, expected one that puts"
            " something in the place of NaN before a net sees it, as Amortized does:"
            " x.nan_to_num(), and x.isnan() beside it where the net is to know"
        )


def _is_broken(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())
