"""One site of a program: which sites count, and what a value is worth there.

A distribution's `log_prob` is a formula, and it goes on outside of the distribution's support: an
Exponential gives log rate - rate * s at s < 0 too. A value outside the support has density zero,
log-density -inf, and a particle that holds one weighs nothing. That is how a hard constraint
(uniform noise, say) is a model like any other, and how a guide that leaves the prior's support
stays a valid proposal, if a wasteful one.

A value has one shape, too: the plates' sizes and then the distribution's event. Anything else would
be broadcast, and the density be one of another model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.programs.present import Present, there_of

# times 2 pi: so far out every density on the line has died out, and a periodic one has not
_TURNS = 2**30
_DIED_OUT = 0.1  # nats


def sample_sites(trace: Any) -> list[Any]:
    """The sites of a trace that have a density: no plate's subsampling, nothing deterministic."""
    found = []
    for site in trace.nodes.values():
        if site["type"] != "sample" or type(site["fn"]).__name__ == "_Subsample":
            continue
        if not (site["infer"] or {}).get("_deterministic"):
            found.append(site)
    return found


def plates_of(site: Any) -> Any:
    """The plates that a site is in; one that stands for a sum over states knows them itself."""
    return getattr(site.get("fn"), "frames", site.get("cond_indep_stack", ()))


def is_point(fn: Any) -> bool:
    """Whether a distribution is a Delta."""
    return isinstance(_base(fn), dist.Delta)


def is_discrete(site: Any) -> bool:
    """Whether a site's values are atoms."""
    return bool(getattr(support_of(site["fn"]), "is_discrete", False))


def mean_of(fn: Any) -> Tensor | None:
    """A distribution's mean; None where it has none, or does not know it."""
    try:
        mean = fn.mean
    except NotImplementedError:  # a flow, say
        return None
    return None if mean.isnan().any() else mean


def are_codes(fn: Any) -> Tensor | bool:
    """Whether a distribution's values are codes of categories, which have no mean and no order; for
    each value `(*event)` where they differ.
    """
    base = _base(fn)
    return getattr(base, "are_codes", isinstance(base, torch.distributions.Categorical))


def is_line(site: Any) -> bool:
    """Whether a site's values are any real numbers, by its support, and its density dies out on
    both sides.

    (A distribution of angles, such as VonMises, says that its support is the line, but its density
    comes back at each full turn: it integrates to one over a turn and to infinity over the line.)
    """
    if not _is_real(support_of(site["fn"])):
        return False
    fn, value = getattr(site["fn"], "of_states", site["fn"]), site["value"].double()
    try:
        least = fn.log_prob(value) - _DIED_OUT
        return all(bool((fn.log_prob(value + far) < least).all()) for far in _far())
    except RuntimeError:  # a flow whose nets are of another dtype: no angle
        return True


def is_circle(site: Any) -> bool:
    """Whether a site's values are angles: its support is the line, and its density comes back."""
    return _is_real(support_of(site["fn"])) and not is_line(site)


def shares_density(site: Any) -> bool:
    """Whether a site is drawn together with others, so that it has no density of its own."""
    return getattr(site["fn"], "shares_density", False)


def support_name(site: Any) -> str:
    """A site's support in words."""
    support = support_of(site["fn"])
    if support is None:
        return f"{type(_base(site['fn'])).__name__}, without a support"
    return f"{type(_base(site['fn'])).__name__}, circular" if _is_real(support) else str(support)


def log_density(site: Any, drawn: bool = False) -> tuple[Tensor, Tensor | None]:
    """The log-density of a site at its value, unscaled, and where the value is in the support.

    Args:
        site: of a trace.
        drawn: the value is the site's own draw, and needs no look.

    Returns:
        Log-densities `(*batch)`, -inf outside the support; and whether each value is inside, None
        where all must be.
    """
    fn, value = site["fn"], site["value"]
    support = None if drawn else _to_check(fn, site["is_observed"])
    if support is None:
        log_prob = fn.log_prob(value, *site["args"], **site["kwargs"])
        return scale_and_mask(log_prob, mask=site["mask"]), None

    with _unchecked(fn):
        log_prob = fn.log_prob(value, *site["args"], **site["kwargs"])
    inside = support.check(value)
    for _ in range(fn.event_dim - support.event_dim):  # a constraint on each value of an event
        inside = inside.all(-1)

    inside = inside.expand_as(log_prob)

    if isinstance(site["mask"], Tensor):
        inside = inside | ~site["mask"]
    log_prob = torch.where(inside, log_prob, -math.inf)
    return scale_and_mask(log_prob, mask=site["mask"]), inside


def check_value_shape(site: Any, num_particles: int, num_data: int, depth: int) -> None:
    """Raise a ValueError where a value that was handed to a latent site has another shape than the
    site's own.

    Args:
        site: of a trace of the model, its value `(S, ..., B, *event)`.
        num_particles: S.
        num_data: B.
        depth: dimensions of the plates.
    """
    plates = {frame.dim: frame.size for frame in plates_of(site) if frame.vectorized}
    batch = [plates.get(dim, 1) for dim in range(-depth, 0)]
    batch[-1] = num_data
    expected, got = (num_particles, *batch, *site["fn"].event_shape), tuple(site["value"].shape)

    if got != expected:
        raise ValueError(
            f"site {site['name']!r}: the guide's value has shape {got[1:]} for each particle,"
            f" expected the model's {expected[1:]}: plates {tuple(batch)}, then an event"
            f" {tuple(site['fn'].event_shape)}; both programs must have the site in the same"
            " plates, with an event of the same shape"
        )


def escapes(mine: Any, theirs: Any) -> bool:
    """Whether a guide's site has draws on all of the line where the model's site has not."""
    mine_on, there = support_of(mine["fn"]), support_of(theirs["fn"])
    if there is None or is_point(mine["fn"]):
        return False
    return _is_real(mine_on) and not _is_real(there)


def _base(fn: Any) -> Any:
    inner = torch.distributions.Independent | Present
    while isinstance(fn, inner) or getattr(fn, "is_moved", False):
        fn = fn.base_dist
    return fn


def support_of(fn: Any) -> Any:
    """A distribution's support; None of one of a user's own that does not say."""
    try:
        return fn.support
    except (NotImplementedError, AttributeError):
        return None


def _far() -> tuple[float, float]:
    return 2 * math.pi * _TURNS, -2 * math.pi * _TURNS


def _is_real(support: Any) -> bool:
    while hasattr(support, "base_constraint"):  # of an Independent, or a mixture
        support = support.base_constraint
    return support is constraints.real


def _to_check(fn: Any, is_observed: bool) -> Any:
    """The support that a value is to be compared with; None where there is nothing to compare.

    An observed value is compared where the support depends on the parameters, as that of a Uniform
    does. Else it is the data that are wrong, for every latent alike, and `check_programs` says so.
    """
    # it knows which values count; what is missing was filled with a value of the support
    masked = any(isinstance(part, dist.MaskedDistribution) for part in _parts(fn))
    if (masked and there_of(fn) is None) or getattr(fn, "knows_support", False):
        return None
    if is_observed and not isinstance(getattr(type(_base(fn)), "support", None), property):
        return None
    support = support_of(fn)
    return None if support is None or _is_real(support) else support


@contextmanager
def _unchecked(fn: Any) -> Iterator[None]:
    """A distribution, and those inside it, whose `log_prob` takes any value."""
    parts = [part for part in _parts(fn) if "_validate_args" not in _properties(part)]
    before = [part.__dict__.get("_validate_args") for part in parts]
    for part in parts:
        part._validate_args = False
    try:
        yield
    finally:
        for part, flag in zip(parts, before, strict=True):
            if flag is None:
                del part._validate_args
            else:
                part._validate_args = flag


def _properties(fn: Any) -> set[str]:
    """Names of a distribution's properties; Independent hands its flag on to the one inside."""
    kinds = type(fn).__mro__
    return {name for kind in kinds for name in vars(kind) if isinstance(vars(kind)[name], property)}


def _parts(fn: Any) -> Iterator[Any]:
    yield fn
    for part in vars(fn).values():
        if isinstance(part, torch.distributions.Distribution):
            yield from _parts(part)
