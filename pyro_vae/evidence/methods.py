"""log p(x) by any method, under one name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, overload

from torch import Tensor

from pyro_vae.arguments import check_progress, refuse
from pyro_vae.evidence.best import BestEstimate
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.importance import Importance
from pyro_vae.evidence.importance_estimate import ImportanceEstimate
from pyro_vae.evidence.method import EstimateT, Method
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.inputs import caveat_of
from pyro_vae.programs.pair import opened
from pyro_vae.programs.parts import own_numbers
from pyro_vae.progress import Progress, tell


@overload
def log_evidence(
    model: Program,
    guide: Program | None,
    x: Tensor,
    *,
    index: Tensor | None = ...,
    progress: Progress | None = ...,
) -> ImportanceEstimate: ...


@overload
def log_evidence(
    model: Program,
    guide: Program | None,
    x: Tensor,
    method: Method[EstimateT],
    *,
    index: Tensor | None = ...,
    progress: Progress | None = ...,
) -> EstimateT: ...


def log_evidence(
    model: Program,
    guide: Program | None,
    x: Tensor,
    method: Method[Any] | None = None,
    *,
    index: Tensor | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate log p(x) of each datum.

    Args:
        model, guide: Pyro programs `program(x, index)`; the guide may be None where the method has
            no use for one.
        x: data `(N, *shape)`, binarised already where the model is of binary data.
        method: `Importance`, from the guide, unless given; `Refined`, from a Gaussian fitted to
            each datum's posterior; `Annealed`, from the guide, the prior or that Gaussian to the
            posterior; `Laplace`, from the modes of the posterior; `Quadrature`, for one or two
            latents; `Exact`, for models with a method `log_px`; `Best`, what each datum needs, with
            a verdict.
        index: what the programs get as `index`, the number of each datum `(N,)`, such as
            `data.test.numbers()` with `data.test.x`. Unless given, a `Local` guide's own `numbers`
            where it has some, else 0..N-1: right for programs that do not read it, and for data
            that are counted so. A model that looks up covariates by number must be told.
        progress: called with the share of the work that is done, from 0 to 1; such as
            `progress_bar` gives.

    Returns:
        An `Estimate`, that of the method: per-datum values with errors and intervals; of
        `Importance` with ELBO, ESS and k-hat.

    Raises:
        ValueError: data that the model cannot score, or programs that do not match each other or
            the method.

    Example:
        >>> import torch
        >>> from pyro_vae import Exact, ExactGuide, Importance, LinearGaussian
        >>> model, x = LinearGaussian(5, 2), torch.randn(3, 5)
        >>> log_evidence(model, ExactGuide(model), x, Importance(num_particles=10)).log_px.shape
        torch.Size([3])
        >>> log_evidence(model, None, x, Exact()).verdict
        "log p(x) is exact, by the model's own closed form"
    """
    method = Importance() if method is None else method
    if not isinstance(method, Method):
        refuse("method", method, "a method such as Importance(num_particles=5000) or Best()")
    check_progress(progress)
    if method.uses_guide:
        called(guide, "guide")  # type: ignore[arg-type]
    index = own_numbers(x, guide) if index is None else index
    with opened(model, guide if method.uses_guide else None, x, index) as pair:
        found = method(pair, progress)
    tell(progress, 1.0)  # a method may end before it thought
    return _with_caveat(found, caveat_of(model))


def _with_caveat(found: Any, caveat: str) -> Any:
    """The same, saying what the model's likelihood says of its figures."""
    if caveat and isinstance(found, BestEstimate):
        parts = [replace(p, found=replace(p.found, caveat=caveat)) for p in found.parts]
        found = replace(found, parts=tuple(parts))
    return replace(found, caveat=caveat) if caveat else found
