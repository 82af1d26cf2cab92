"""The one file that speaks poutine: log-densities of Pyro programs, per particle and per datum.

A model and a guide are run under one more plate, of S particles, to the left of all of theirs. Whatever their sites are
called, each site's log-density is then of shape (S, ..., B), and summed to (S, B):

    log_weights = log p(x, z_s) - log q(z_s | x),   never scaled, never summed over the data.

Their exponential has mean p(x) exactly, so the log of their average is a lower bound of log p(x) in expectation. Scales
(`poutine.scale`, subsampling) are left out on purpose: they belong to an objective, not to a density.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.poutine.guide import GuideMessenger
from torch import Tensor, nn

from pyro_vae.calls import called
from pyro_vae.modes import isolated_noise
from pyro_vae.parts import default_index, some, takes_parts
from pyro_vae.sites import check_shape, escapes, is_line, is_point, log_density, sample_sites, support_name

Program = Callable[..., Any]
"""A Pyro program `program(x, index)`: x `(B, *shape)`, index `(B,)` the rows of the dataset, by that name and where the
program takes it (`calls`), every choice of a datum inside a plate of size B at dim -1. It is run with S particles at once,
so its nets must take leading dimensions: a latent has shape (S, B, d) then."""


class Particles(NamedTuple):
    """Log-densities of S particles of each datum, `(S, B)` nats each."""

    log_prior: Tensor
    log_likelihood: Tensor
    log_guide: Tensor

    @property
    def log_weights(self) -> Tensor:
        """log p(x, z) - log q(z | x), `(S, B)`."""
        return self.log_prior + self.log_likelihood - self.log_guide


class _Substitute(poutine.messenger.Messenger):
    """Give the latent sites of a model their values, without calling them observed."""

    def __init__(self, values: dict[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True


def particles(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None, num_particles: int = 1
) -> Particles:
    """Draw `num_particles` latents per datum from the guide and score them, in one vectorised run of each program.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(B, *shape)`.
        index: rows of the dataset `(B,)`; 0..B-1 unless given (a table's own numbers, of a guide that has one for B data).
        num_particles: S.

    Returns:
        Log-densities `(S, B)` in nats, differentiable where the programs are.

    Raises:
        ValueError: a site of one program has no counterpart in the other, or lies outside the data plate.
    """
    return _draws(model, guide, x, index, num_particles)[1]


def _draws(
    model: Program, guide: Program, x: Tensor, index: Tensor | None, num_particles: int
) -> tuple[dict[str, Tensor], Particles]:
    """The latents of `particles`, by site name, and their log-densities."""
    index = default_index(x, guide) if index is None else index
    depth = plate_depth(model, guide, x, index)
    latents, log_guide = sample_guide(guide, x, index, num_particles, depth)
    return latents, Particles(*log_joint(model, latents, x, index, depth), log_guide)


def log_weights(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None, num_particles: int = 1
) -> Tensor:
    """log p(x, z_s) - log q(z_s | x) for S particles of each datum, `(S, B)` nats; see `particles`.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> x = torch.randn(3, 5)
        >>> torch.allclose(log_weights(model, ExactGuide(model), x)[0], model.log_px(x), atol=1e-4)
        True
    """
    return particles(model, guide, x, index, num_particles).log_weights


def sample_guide(
    guide: Program, x: Tensor, index: Tensor | None, num_particles: int, depth: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Latents by site name, each `(S, ..., B, *event)`, and log q `(S, B)`; `depth` as `plate_depth` returns it."""
    trace = _run(guide, x, index, num_particles, depth)
    sites = sample_sites(trace)
    drawn = [s for s in sites if s["infer"].get("is_auxiliary")] or sites  # what autoguides make of these is a point
    _refuse_points([s["name"] for s in drawn if is_point(s["fn"])])
    observed = [site["name"] for site in sites if site["is_observed"]]
    if observed:
        hint = " (Pyro's AutoMessengers run the model: use AutoNormal)" if isinstance(guide, GuideMessenger) else ""
        raise ValueError(f"guide: got observed sites {observed}, expected a guide to sample latents only{hint}")
    latents = {s["name"]: s["value"] for s in sites if not s["infer"].get("is_auxiliary")}
    return latents, _total(sites, x, num_particles, depth, drawn=True)[0]


def prior(model: Program) -> Program:
    """The guide that answers with the model's own prior, whatever x is."""
    return poutine.block(
        poutine.uncondition(model), hide_fn=lambda site: bool((site["infer"] or {}).get("was_observed"))
    )


def constrained(model: Program, x: Tensor, index: Tensor | None = None) -> dict[str, str]:
    """The supports, by site name, of those latents of the model that are not any real numbers."""
    with isolated_noise(x.device), torch.no_grad(), poutine.block():
        sites = sample_sites(poutine.trace(called(model, "model")).get_trace(x, index))
    return {s["name"]: support_name(s) for s in sites if not s["is_observed"] and not is_line(s)}


def log_joint(
    model: Program, latents: dict[str, Tensor], x: Tensor, index: Tensor | None, depth: int
) -> tuple[Tensor, Tensor]:
    """log p(z) and log p(x | z), `(S, B)` each, at latents `(S, ..., B, *event)` by site name.

    Both are -inf where a latent is outside of its site's support: what the likelihood makes of such a latent is nothing.

    Raises:
        ValueError: latents of other sites than the model's, or of another shape than the model's sites have.
    """
    if not latents:
        raise ValueError("guide: got no latent site, expected one for each latent of the model")
    num_particles = next(iter(latents.values())).shape[0]
    sites = sample_sites(_run(_Substitute(latents)(model), x, index, num_particles, depth))
    unobserved = {s["name"] for s in sites if not s["is_observed"]}
    if unobserved != latents.keys():
        raise ValueError(
            f"guide: got latent sites {sorted(latents)}, expected the model's {sorted(unobserved)}: both programs must"
            " use the same names"
        )
    prior = [s for s in sites if not s["is_observed"]]
    for site in prior:
        check_shape(site, num_particles, len(x), depth)
    log_prior, inside = _total(prior, x, num_particles, depth)
    log_likelihood, _ = _total([s for s in sites if s["is_observed"]], x, num_particles, depth)
    if inside is None:
        return log_prior, log_likelihood
    return torch.where(inside, log_prior, -math.inf), torch.where(inside, log_likelihood, -math.inf)


def simulate(
    model: Program, like: Tensor, index: Tensor | None = None, num_data: int | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Draw latents from the prior and data from the likelihood: an exact draw from the posterior of each of these data.

    Args:
        model: Pyro program with one observed site.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)`; 0, 1, ... unless given.
        num_data: how many to draw; N unless given, and then `index` is not.

    Returns:
        Latents by site name, each `(..., N, *event)`, and the data `(N, *shape)`.

    Raises:
        ValueError: a model with none or several observed sites, or one whose observations are not of the data's size.
    """
    if num_data is not None:
        like = like[torch.arange(num_data, device=like.device) % len(like)]
    program = called(model, "model")
    if index is None:
        index = torch.arange(len(like), device=like.device)
    with poutine.block(), torch.no_grad():
        sites = sample_sites(poutine.trace(poutine.uncondition(program)).get_trace(like, index))
    observed = [s for s in sites if s["infer"].get("was_observed")]
    if len(observed) != 1 or observed[0]["value"].numel() != like.numel():
        names = {s["name"]: tuple(s["value"].shape) for s in observed}
        raise ValueError(f"model: got observed sites {names}, expected one with the values of x {tuple(like.shape)}")
    latents = {s["name"]: s["value"] for s in sites if s is not observed[0]}
    x = observed[0]["value"].movedim(-1 - observed[0]["fn"].event_dim, 0)  # the data plate first
    return latents, x.reshape(like.shape)


def predict(
    model: Program, latents: dict[str, Tensor], like: Tensor, index: Tensor | None, depth: int
) -> Tensor | None:
    """Draw data from p(x | z) `(S, N, *shape)` at latents `(S, ..., N, *event)`; None for several observed sites.

    Args:
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        depth: as `plate_depth` returns it.
    """
    num_particles = next(iter(latents.values())).shape[0]
    program = _Substitute(latents)(poutine.uncondition(model))
    observed = [
        s for s in sample_sites(_run(program, like, index, num_particles, depth)) if s["infer"].get("was_observed")
    ]
    if len(observed) != 1 or observed[0]["value"].numel() != num_particles * like.numel():
        return None
    drawn = observed[0]["value"].movedim(-1 - observed[0]["fn"].event_dim, 1)  # the data plate behind the particles
    return drawn.reshape(num_particles, *like.shape)


def plate_depth(model: Program, guide: Program, x: Tensor, index: Tensor | None = None) -> int:
    """Number of plate dimensions that the programs use, found by running them once, on two data where these will do."""
    rows = torch.arange(len(x), device=x.device) if index is None else index
    few, rows = some(x, rows, 2, guide)  # type: ignore[assignment]
    frames = [f for site in _all_sites(model, guide, few, rows) for f in site["cond_indep_stack"] if f.vectorized]
    return max((-f.dim for f in frames), default=1)


def check_programs(model: Program, guide: Program, x: Tensor, index: Tensor | None = None) -> None:
    """Run both programs once on a few data with Pyro's validation on; what is wrong with them is a ValueError.

    The datum of the largest number is among them; on all data run guides that answer only for all (`parts`).
    """
    if not takes_parts(model, x, index):
        raise ValueError(
            "model: it has parameters for just the data that it is run on, by their place: make them a table of all data"
            " that is read by `index`, pyro.param('table', torch.zeros(num_data, d))[index]"
        )
    x, index = some(x, index, 8, guide, spread=True)
    try:
        with isolated_noise(x.device), torch.no_grad():
            try:
                with pyro.validation_enabled(True):
                    latents, _ = _draws(model, guide, x, index, 2)
                    if any(torch.equal(z[0], z[1]) for z in latents.values()):
                        _check_points(guide, x, index)
            except ValueError:
                if not _leaves_support(model, guide, x, index):
                    raise
                with pyro.validation_enabled(
                    True
                ):  # draws outside are of no use to the likelihood: try it at the prior's
                    particles(model, prior(model), x, index, 2)
    except Exception as error:  # whatever a user's program raises
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, ValueError) and reason == str(error):
            raise  # one of our own, or as short
        if index is not None and _answer(model, guide, x):
            raise ValueError(
                f"index: got {index.min()} to {index.max()}, where the programs fail ({reason}), as they do not at 0 to"
                f" {len(x) - 1}: expected programs that know these data, such as a table with a row for each datum, those of"
                " validation and test included"
            ) from error
        if "to be within the support" in reason:
            raise ValueError(f"x: the model cannot score it: {reason}") from error
        raise ValueError(
            f"model, guide: running them with 2 particles on x of shape {tuple(x.shape)} failed: {reason} (latents have"
            " shape (2, B, ...) there; nets must take leading dimensions)"
        ) from error


def _check_points(guide: Program, x: Tensor, index: Tensor | None) -> None:
    """Raise a ValueError for a Delta that is the same in each draw, beside the auxiliary sites of others."""
    sites = guide_sites(guide, x, index)
    if not any(s["infer"].get("is_auxiliary") for s in sites):
        return  # `sample_guide` knows
    again = {s["name"]: s["value"] for s in guide_sites(guide, x, index)}
    _refuse_points([s["name"] for s in sites if is_point(s["fn"]) and torch.equal(s["value"], again[s["name"]])])


def _refuse_points(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"guide: the sites {names} are Delta, a point has no density to weigh: use a distribution, such as AutoNormal"
            " (of an AutoLaplaceApproximation what its laplace_approximation(x) returns)"
        )


def _answer(model: Program, guide: Program, x: Tensor) -> bool:
    """Whether the programs run where the data are the first ones of a set."""
    try:
        with isolated_noise(x.device), torch.no_grad(), pyro.validation_enabled(True):
            particles(model, guide, x, torch.arange(len(x), device=x.device), 2)
    except Exception:
        return False
    return True


def _leaves_support(model: Program, guide: Program, x: Tensor, index: Tensor | None) -> bool:
    """Whether the guide has drawn a latent outside of the model's support."""
    with pyro.validation_enabled(False):
        return bool(torch.isneginf(particles(model, guide, x, index, 16).log_prior).any())


def check_reach(model: Program, guide: Program, x: Tensor, index: Tensor | None = None) -> None:
    """Raise a ValueError for a guide that draws outside of the model's support: its ELBO is -inf, and no training helps."""
    with isolated_noise(x.device), torch.no_grad(), pyro.validation_enabled(False):
        for name, (mine, theirs) in paired_sites(model, guide, x, index, scored=False).items():
            if escapes(mine, theirs):
                raise ValueError(
                    f"guide: site {name!r} is drawn from all of the line, but the model's has support"
                    f" {support_name(theirs)}: outside of it the density is 0 and the ELBO -inf; use a distribution with"
                    " that support, such as a LogNormal for a positive value"
                )


def trainable_parameters(model: Program, guide: Program, x: Tensor, index: Tensor | None = None) -> dict[str, Tensor]:
    """The unconstrained parameters that SVI would train, by their names in Pyro's parameter store, sorted by name.

    Raises:
        ValueError: a `pyro.module` name is taken by another net (Pyro would silently train that one), or a module has
            parameters that were never registered (Pyro would silently train none of them).
    """
    with isolated_noise(x.device), torch.no_grad(), poutine.trace(param_only=True) as capture:
        _run_both(model, guide, x, index)
    found: dict[str, Tensor] = {}
    for name, site in capture.trace.nodes.items():
        assert site["value"] is not None
        value = site["value"].unconstrained()
        given = site["args"][1] if len(site["args"]) > 1 else None
        if isinstance(given, nn.Parameter) and given is not value and "$$$" in name:
            raise ValueError(
                f"pyro.module: the name {name.split('$$$')[0]!r} is taken in Pyro's parameter store by another net, which"
                " would be trained in its stead: give each net a name of its own or call pyro.clear_param_store()"
            )
        found[name] = value
    registered = {id(value) for value in found.values()}
    for program in (model, guide):
        named = program.named_parameters() if isinstance(program, nn.Module) else ()
        missing = [name for name, p in named if p.requires_grad and id(p) not in registered]
        if any(name in pyro.get_param_store() for name in missing):
            raise ValueError(
                f"{type(program).__name__}: the names {missing[:3]} are taken in Pyro's parameter store by another module,"
                " which would be trained in its stead: give it a name of its own or call pyro.clear_param_store()"
            )
        if missing:
            raise ValueError(
                f"{type(program).__name__}: its parameters {missing[:3]} are not registered with Pyro and would not be"
                " trained: call pyro.module(name, net) in its forward, or freeze them with requires_grad_(False)"
            )
    return dict(sorted(found.items()))


def guide_parameters(guide: Program, x: Tensor, index: Tensor | None = None) -> dict[str, Tensor]:
    """The unconstrained parameters that the guide alone reads, by their names in Pyro's parameter store."""
    with isolated_noise(x.device), torch.no_grad(), poutine.trace(param_only=True) as capture:
        program = called(guide, "guide")
        try:
            program(x, index)
        except ValueError:
            raise
        except Exception as error:  # whatever a user's program raises
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(f"guide: running it on x of shape {tuple(x.shape)} failed: {reason}") from error
    return {name: site["value"].unconstrained() for name, site in capture.trace.nodes.items()}  # type: ignore[union-attr]


def without_parameters(program: Program) -> Program:
    """The program with its `pyro.param` and `pyro.module` statements hidden from SVI, which then trains none of them."""
    return poutine.block(program, hide_types=["param"])


class Scaling(NamedTuple):
    """How the sites of two programs are scaled.

    Attributes:
        plate_size: of the data plate from which a minibatch is a subsample, Pyro's `plate("data", N, subsample=index)`, so
            that each datum counts N / B times; None where the plate has the minibatch's own size.
        other: whether a site is scaled besides, by `poutine.scale` say; a loss is then no sum over the data.
    """

    plate_size: int | None
    other: bool


def scaling(model: Program, guide: Program, x: Tensor, index: Tensor | None = None) -> Scaling:
    """How the sites of the programs are scaled, on fewer data than all.

    Raises:
        ValueError: data plates of different sizes, whose sites would not be weighed alike.
    """
    with isolated_noise(x.device), torch.no_grad(), poutine.block():
        traces = _run_both(model, guide, x, index)
    sizes: dict[str, int] = {}
    other = False
    for program, trace in zip(("guide", "model"), traces, strict=True):
        for site in sample_sites(trace):
            full = next((f.full_size or f.size for f in site["cond_indep_stack"] if _is_data(f, x)), None)
            if full is not None:
                sizes[f"{program} {site['name']}"] = full
            times = torch.as_tensor(site["scale"]) / (1 if full is None else full / len(x))
            other |= bool(((times - 1).abs() > 1e-6).any())

    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"model, guide: the data plates have sizes {sizes}, expected one size for all sites of both programs: the"
            " number of training data with `subsample=index`, or the minibatch's"
        )
    size = next(iter(sizes.values()), len(x))
    return Scaling(None if size == len(x) else size, other)


def _is_data(frame: Any, x: Tensor) -> bool:
    """Whether a plate is that of the data `(B, *shape)`."""
    return bool(frame.vectorized and frame.dim == -1 and frame.size == len(x))


def guide_sites(guide: Program, x: Tensor, index: Tensor | None = None) -> list[Any]:
    """The latent sites of one run of the guide, without particles."""
    with poutine.block():
        return sample_sites(poutine.trace(called(guide, "guide")).get_trace(x, index))


def paired_sites(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None, scored: bool = True
) -> dict[str, tuple[Any, Any]]:
    """The sites of the guide and of the model, run on the guide's draw, for each latent that is chosen anew for each datum.

    Each pair has its log-densities computed, where `scored`.
    """
    with poutine.block():
        guide_trace, model_trace = _run_both(model, guide, x, index)
    if scored:
        guide_trace.compute_log_prob()
        model_trace.compute_log_prob()
    theirs = {s["name"]: s for s in sample_sites(model_trace) if not s["is_observed"]}
    return {
        s["name"]: (s, theirs[s["name"]])
        for s in sample_sites(guide_trace)
        if s["name"] in theirs and any(f.vectorized and f.dim == -1 and f.size == len(x) for f in s["cond_indep_stack"])
    }


def _run(program: Program, x: Tensor, index: Tensor | None, num_particles: int, depth: int) -> poutine.Trace:
    with poutine.block(), pyro.plate("_particles", num_particles, dim=-1 - depth):
        return poutine.trace(called(program)).get_trace(x, index)


def _run_both(model: Program, guide: Program, x: Tensor, index: Tensor | None) -> tuple[poutine.Trace, poutine.Trace]:
    """The traces of one run of the guide, and of the model on its latents."""
    theirs, mine = called(model, "model"), called(guide, "guide")
    guide_trace = poutine.trace(mine).get_trace(x, index)
    return guide_trace, poutine.trace(poutine.replay(theirs, trace=guide_trace)).get_trace(x, index)


def _all_sites(model: Program, guide: Program, x: Tensor, index: Tensor | None) -> list[Any]:
    """The sites of one run of the guide and of the model on its latents, leaving no trace in noise and parameters."""
    with isolated_noise(x.device), torch.no_grad(), poutine.block():
        guide_trace, model_trace = _run_both(model, guide, x, index)
    return sample_sites(guide_trace) + sample_sites(model_trace)


def _total(
    sites: list[Any], x: Tensor, num_particles: int, depth: int, drawn: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Sum of the sites' unscaled log-densities over everything but particles and data, `(S, B)`.

    And whether all their values are in the sites' supports, `(S, B)`; None where they must be.
    """
    total = x.new_zeros((), dtype=torch.get_default_dtype() if not x.is_floating_point() else x.dtype)
    outside = None
    for site in sites:
        if len(x) > 1 and not any(f.vectorized and f.dim == -1 and f.size == len(x) for f in site["cond_indep_stack"]):
            raise ValueError(_misplaced(site, len(x)))
        log_prob, inside = log_density(site, drawn)
        total = total + _per_datum(log_prob, depth)
        if inside is not None:
            missed = _per_datum((~inside).to(total.dtype), depth)
            outside = missed if outside is None else outside + missed
    shape = (num_particles, len(x))
    return total.expand(shape), None if outside is None else (outside == 0).expand(shape)


def _misplaced(site: Any, num_data: int) -> str:
    """What is to be said of a site that is not inside the plate of so many data."""
    name, sizes = site["name"], [f.size for f in site["cond_indep_stack"] if f.vectorized and f.dim == -1]
    if sizes:
        return (
            f"site {name!r}: inside a plate of size {sizes[0]} at dim -1, expected {num_data}, the number of data: a guide"
            " that was made for the data of its first run, such as AutoNormal, answers for no others: make a new one"
        )
    if site["infer"].get("is_auxiliary"):
        return (
            f"guide: its site {name!r} is one draw for all {num_data} data, which has no log q(z | x) of each: use"
            " AutoNormal, or Local(FullRank(d), num_data) for units of a datum that are tied together; or a single datum"
        )
    return (
        f"site {name!r}: not inside a plate of size {num_data} at dim -1, expected every choice of a datum"
        " inside `with pyro.plate('data', x.shape[0], dim=-1)`, or a single datum"
    )


def _per_datum(values: Tensor, depth: int) -> Tensor:
    """Values of a site `(S, ..., B)` summed over the plates between particles and data, those it is not in included."""
    middle = (1,) * (depth + 1 - values.dim())
    values = values.reshape(values.shape[:1] + middle + values.shape[1:])
    return values.sum(dim=tuple(range(1, depth))) if depth > 1 else values
