"""What SVI would train in two programs, and how it would weigh their sites."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_vae.programs.calls import called, first_line, in_one_line, is_told
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.sites import sample_sites
from pyro_vae.programs.traces import Program, run_both


def trainable_parameters(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None
) -> dict[str, Tensor]:
    """The unconstrained parameters that SVI would train, by their names in Pyro's parameter store,
    sorted by name.

    Raises:
        ValueError: a `pyro.module` name is taken by another net (Pyro would silently train that
            one), or a module has parameters that were never registered (Pyro would silently train
            none of them).
    """
    quiet = isolated_noise(x.device), torch.no_grad()
    with in_one_line(x), quiet[0], quiet[1], poutine.trace(param_only=True) as capture:
        run_both(model, guide, x, index)

    found: dict[str, Tensor] = {}
    for name, site in capture.trace.nodes.items():
        assert site["value"] is not None
        value = site["value"].unconstrained()
        given = site["args"][1] if len(site["args"]) > 1 else None
        if isinstance(given, nn.Parameter) and given is not value and "$$$" in name:
            raise ValueError(
                f"pyro.module: the name {name.split('$$$')[0]!r} is taken in Pyro's parameter store"
                " by another net, which would be trained in its stead: give each net a name of its"
                " own or call pyro.clear_param_store()"
            )

        found[name] = value

    registered = {id(value) for value in found.values()}
    for program in (model, guide):
        named = program.named_parameters() if isinstance(program, nn.Module) else ()

        missing = [name for name, p in named if p.requires_grad and id(p) not in registered]
        if any(name in pyro.get_param_store() for name in missing):
            raise ValueError(
                f"{type(program).__name__}: the names {missing[:3]} are taken in Pyro's parameter"
                " store by another module, which would be trained in its stead: give it a name of"
                " its own or call pyro.clear_param_store()"
            )
        if missing:
            raise ValueError(
                f"{type(program).__name__}: its parameters {missing[:3]} are not registered with"
                " Pyro and would not be trained: call pyro.module(name, net) in its forward, or"
                " freeze them with requires_grad_(False)"
            )
    return dict(sorted(found.items()))


def guide_parameters(guide: Program, x: Tensor, index: Tensor | None = None) -> dict[str, Tensor]:
    """The unconstrained parameters that the guide alone reads, by their names in Pyro's store."""
    with isolated_noise(x.device), torch.no_grad(), poutine.trace(param_only=True) as capture:
        program = called(guide, "guide")
        try:
            program(x, index)
        except Exception as error:  # whatever a user's program raises
            if is_told(error):
                raise
            reason = first_line(error)
            raise ValueError(
                f"guide: running it on x of shape {tuple(x.shape)} failed: {reason}"
            ) from error
    return {name: site["value"].unconstrained() for name, site in capture.trace.nodes.items()}  # type: ignore[union-attr]


def without_parameters(program: Program) -> Program:
    """The program with its `pyro.param` and `pyro.module` statements hidden from SVI, which then
    trains none of them.
    """
    return poutine.block(program, hide_types=["param"])


class _Unscaled(Messenger):
    """Let each site count once, whatever `poutine.scale` and subsampling say."""

    def _pyro_sample(self, msg: Any) -> None:
        msg["scale"] = 1.0


def as_density(model: Program) -> Program:
    """The model as log p(x, z) of the data that it is run on: its parameters held, its sites
    unscaled, as `log_weights` has them.

    A scale belongs to an objective. What samples from a scaled density samples another posterior.
    """
    return _Unscaled()(without_parameters(called(model, "model")))


class Scaling(NamedTuple):
    """How the sites of two programs are scaled.

    Attributes:
        plate_size: of the data plate from which a minibatch is a subsample, Pyro's
            `plate("data", N, subsample=index)`, so that each datum counts N / B times; None where
            the plate has the minibatch's own size.
        other: whether a site is scaled besides, by `poutine.scale` say; a loss is then no sum over
            the data.
    """

    plate_size: int | None
    other: bool


def scaling(model: Program, guide: Program, x: Tensor, index: Tensor | None = None) -> Scaling:
    """How the sites of the programs are scaled, on fewer data than all.

    Raises:
        ValueError: data plates of different sizes, whose sites would not be weighed alike.
    """
    with isolated_noise(x.device), torch.no_grad(), poutine.block():
        traces = run_both(model, guide, x, index)

    sizes: dict[str, int] = {}
    other = False
    for program, trace in zip(("guide", "model"), traces, strict=True):
        for site in sample_sites(trace):
            wholes = [f.full_size or f.size for f in site["cond_indep_stack"] if _is_data(f, x)]
            full = wholes[0] if wholes else None
            if full is not None:
                sizes[f"{program} {site['name']}"] = full
            times = torch.as_tensor(site["scale"]) / (1 if full is None else full / len(x))
            other |= bool(((times - 1).abs() > 1e-6).any())

    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"model, guide: the data plates have sizes {sizes}, expected one size for all sites of"
            " both programs: the number of training data with `subsample=index`, or the minibatch's"
        )
    size = next(iter(sizes.values()), len(x))
    return Scaling(None if size == len(x) else size, other)


def _is_data(frame: Any, x: Tensor) -> bool:
    """Whether a plate is that of the data `(B, *shape)`."""
    return bool(frame.vectorized and frame.dim == -1 and frame.size == len(x))
