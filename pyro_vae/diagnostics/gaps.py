"""The ledger of a guide: what it loses, to its family and to its source, datum by datum.

    inference gap  =  approximation gap  +  amortization gap
    log p(x) - L[q]  =  (log p(x) - L[q*])  +  (L[q*] - L[q])

q is the guide, q* the best member of its family for that datum, found by local optimisation. log
p(x) is one estimate for all guides. All candidates, the guides' importance weights and annealing if
it is given, are lower bounds in expectation, so that the highest is the nearest; but the larger of
two noisy numbers is no bound. So the guide is chosen by a pilot run, and reported on draws of its
own: the highest mean, or of those not told from it the one with the lightest tails, and an estimate
that was given before all of these. If log p(x) is itself too low, as a k-hat above its threshold
says, it is so by the same amount for every guide: the differences between guides do not depend on
it.

References:
    Cremer, Li, Duvenaud (2018). Inference suboptimality in variational autoencoders.
        arXiv:1801.03558.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_kind, check_progress, check_rows
from pyro_vae.diagnostics.ledger import Entry, Gap, Ledger
from pyro_vae.evidence import Estimate, Importance, ImportanceEstimate, log_evidence
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.pair import opened
from pyro_vae.programs.parts import own_numbers
from pyro_vae.programs.protocols import Fitted, HasFamily, HasRows, offers
from pyro_vae.progress import Progress, shares

_SURE = 2.0  # Monte Carlo standard errors of a mean below which it is not told from 0


def gap_ledger(
    model: Program,
    guides: Mapping[str, Program | Fitted],
    x: Tensor,
    index: Tensor | None = None,
    *,
    method: Importance | None = None,
    estimates: Mapping[str, Estimate] | None = None,
    progress: Progress | None = None,
) -> Ledger:
    """Score guides on the same data, model and number of particles, and split what each of them
    loses.

    A guide with a `family` is set beside the local guide (one with a table of rows, `num_rows`) of
    an equal family, if there is one among `guides`: its ELBO is L[q*]. Optimise that one first
    (`fit_local`).

    Args:
        model: Pyro program, frozen.
        guides: by a name for each; a classical one as `fit_local` returned it, so that what it took
            is known.
        x: data `(N, *shape)`.
        index: their numbers `(N,)`, one and the same for the model and all guides, local ones
            included, which know no data but their own; the `numbers` of the first local guide,
            0..N-1 unless given.
        method: how each guide is scored; `Importance()` unless given. The pilot run has a quarter
            of its particles, and the next seed.
        estimates: further ones of log p(x) of these data, by name, such as annealed ones, the one
            to be preferred first; one is taken unless the pilot run tells it from the highest, and
            lower.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: no guide, two local guides of one family, estimates of other data, or what
            `log_evidence` raises.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian, Local, MeanField, fit_local
        >>> model, x = LinearGaussian(5, 2), torch.randn(8, 5)
        >>> classical = fit_local(model, Local(MeanField(2), 8), x, num_steps=300)
        >>> guides = {"exact": ExactGuide(model), "classical": classical}
        >>> ledger = gap_ledger(model, guides, x, method=Importance(num_particles=1000))
        >>> abs(ledger.entries["classical"].inference.mean - model.mean_field_gap().item()) < 0.1
        True
    """
    check_kind("guides", guides, Mapping, "guides by their names")
    if not guides or not all(isinstance(name, str) for name in guides):
        raise ValueError(
            f"guides: got {list(guides) or 'none'}, expected at least one, by its name"
        )

    plain, costs = _parted(guides)
    _check_estimates(estimates or {})
    method = Importance() if method is None else method
    check_kind("method", method, Importance, "an Importance, or None")
    check_rows("x", x)
    check_progress(progress)
    best, given = _locals(plain), dict(estimates or {})
    if any(len(estimate.log_px) != len(x) for estimate in given.values()):
        raise ValueError(
            f"estimates: got some of another number of data, expected all of these {len(x)}"
        )
    index = own_numbers(x, *plain.values()) if index is None else index

    fewer = max(1, method.num_particles // 4)
    pilot = replace(method, num_particles=fewer, num_scouts=0, seed=method.seed + 1)

    def scored_by(one: Importance, progress: Progress | None) -> dict[str, ImportanceEstimate]:
        found = {}
        for (name, q), told in zip(plain.items(), shares(progress, *[1] * len(plain)), strict=True):
            found[name] = log_evidence(model, q, x, one, index=index, progress=told)
        return found

    scoring, piloting = shares(progress, 4, 1)
    scored, pilots = scored_by(method, scoring), scored_by(pilot, piloting)
    estimator = _chosen(pilots, given)
    log_px = {**scored, **given}[estimator]

    entries = {}
    for name, guide in plain.items():
        star = best.get(_family(guide))
        gaps = _gaps(log_px, scored[name], None if star is None else scored[star])
        cost = _cost(guide, x, index) if name not in costs else _taken(costs[name])
        entries[name] = Entry(_family(guide), star, scored[name], *gaps, *cost)
    return Ledger(entries, estimator, log_px, method.num_particles)


def _gaps(
    log_px: Estimate, own: ImportanceEstimate, star: ImportanceEstimate | None
) -> tuple[Gap, Gap | None, Gap | None]:
    """Inference, approximation and amortization gap; the last two where there is a q*."""
    inference = _below(log_px, own)
    if star is None:
        return inference, None, None

    approximation = _below(log_px, star)
    if star is own:
        return inference, approximation, None

    noise = torch.hypot(star.elbo_error, own.elbo_error)
    amortization = Gap(star.elbo - own.elbo, noise)
    total = Gap(approximation.values + amortization.values, inference.errors)  # to the last digit
    return total, approximation, amortization


def _chosen(pilots: Mapping[str, ImportanceEstimate], given: Mapping[str, Estimate]) -> str:
    """The name of the estimate of log p(x) that all guides share; see the module."""
    known: dict[str, Estimate] = {**pilots, **given}
    noise = {name: found.monte_carlo_error for name, found in known.items()}
    means = {}
    for name, found in known.items():
        means[name] = -math.inf if math.isnan(found.mean) else found.mean
    top = max(means, key=lambda name: means[name])

    level = []
    for name in known:
        below = means[top] - means[name]
        if not below > _SURE * math.hypot(noise[name], noise[top]):
            level.append(name)
    preferred = [name for name in level if name in given]
    return preferred[0] if preferred else min(level, key=lambda name: _heaviness(pilots[name]))


def _heaviness(found: ImportanceEstimate) -> tuple[float, float]:
    """How heavy the weights' tails are, on average over the data: by the upper limit of their
    shape, and where that is unknown by k-hat.
    """
    k = torch.nan_to_num(found.pareto_k, nan=math.inf)
    return found.shape_limit.mean().item(), k.mean().item()


def _parted(
    guides: Mapping[str, Program | Fitted],
) -> tuple[dict[str, Program], dict[str, Fitted]]:
    """The guides themselves, and those that come with what they took."""
    costs = {name: guide for name, guide in guides.items() if offers(guide, Fitted)}
    plain: dict[str, Program] = {}
    for name, guide in guides.items():
        plain[name] = costs[name].guide if name in costs else guide  # type: ignore[assignment]
    return plain, costs


def _check_estimates(estimates: Mapping[str, Estimate]) -> None:
    check_kind("estimates", estimates, Mapping, "estimates by their names")
    for estimate in estimates.values():
        check_kind("estimates", estimate, Estimate, "estimates as log_evidence returns them")


def _locals(guides: Mapping[str, Program]) -> dict[str, str]:
    """Names of the local guides by their families."""
    found: dict[str, str] = {}
    for name, guide in guides.items():
        family = _family(guide)
        if not family or not offers(guide, HasRows):
            continue
        if family in found:
            raise ValueError(
                f"guides: {found[family]!r} and {name!r} are both local guides of {family},"
                " expected one: the best that was found"
            )
        found[family] = name
    return found


def _family(guide: Any) -> str:
    """What tells a guide's family from others, its kind and its sizes; "" without a family."""
    own = guide.family if offers(guide, HasFamily) else None
    of_network = getattr(getattr(guide, "amortized", None), "family", None)
    return getattr(own or of_network, "name", "")


def _cost(guide: Any, x: Tensor, index: Tensor | None) -> tuple[Tensor, float]:
    """Evaluations of the model per datum and seconds per datum that it takes to know q; NaN for a
    table that comes without what its optimisation took.
    """
    if offers(guide, HasRows):
        return torch.full((len(x),), math.nan), math.nan
    steps = getattr(guide, "num_steps", 0)
    counts = torch.full((len(x),), steps if isinstance(steps, int) else 0)
    return counts, _seconds(guide, x, index) / len(x)


def _taken(found: Fitted) -> tuple[Tensor, float]:
    return found.num_evaluations.cpu(), found.seconds / len(found.num_evaluations)


def _seconds(guide: Program, x: Tensor, index: Tensor | None) -> float:
    """Of one run of the guide on all data, the better of two."""
    taken = []
    with opened(guide, guide, x, index, check=False) as pair:
        program = called(pair.guide, "guide")
        for _ in range(2):
            started = time.monotonic()
            program(pair.x, pair.index)
            if pair.x.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.monotonic() - started)
    return min(taken)


def _below(log_px: Estimate, lower: ImportanceEstimate) -> Gap:
    """log p(x) less a guide's ELBO; of the same draws where its own weights estimate log p(x)."""
    error = lower.gap_error
    if log_px is not lower:
        error = torch.hypot(log_px.log_px_error, lower.elbo_error)
    return Gap(log_px.log_px - lower.elbo, error)
