"""Swap the guide: on one frozen model and the same data, guides of every kind that is asked for,
ready for the ledger.

    amortized        the guide that the model was trained with
    semi-amortized   its answer, and some steps of optimisation for each datum
    mean-field, low-rank, full-rank, flow
                     classical inference: parameters for each datum, optimised to convergence

A classical guide starts where the richest guide before it ended that shares parameters with it: the
trained one, or the full-rank optimum under a flow. The cost of that start is part of its own cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pyro_vae.arguments import check_progress
from pyro_vae.guides import (
    Amortized,
    Family,
    FullRank,
    Local,
    LowRank,
    MeanField,
    SemiAmortized,
    SplineFlow,
)
from pyro_vae.guides.joint import Joint, over_all
from pyro_vae.guides.local import is_network
from pyro_vae.inference import Optimum, fit_local
from pyro_vae.programs.given import Given
from pyro_vae.programs.inputs import check_inputs, check_numbers
from pyro_vae.programs.protocols import HasParams, offers
from pyro_vae.programs.traces import Program
from pyro_vae.progress import Progress, shares, tell

FAMILIES: dict[str, Callable[[int], Family]] = {
    "mean-field": MeanField,
    "low-rank": LowRank,
    "full-rank": FullRank,
    "flow": SplineFlow,
}
GUIDES = ("amortized", "semi-amortized", *FAMILIES)
Start = Amortized | Given | Optimum[Local]


def swap_guides(
    model: Program,
    guide: Any,
    x: Tensor,
    names: Sequence[str] = GUIDES,
    index: Tensor | None = None,
    *,
    num_steps: int = 100,
    num_particles: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Program | Optimum[Local]]:
    """The guides of these names, in the order of `GUIDES`, each fitted to the data: a classical one
    as `fit_local` returned it, with what it took, which `gap_ledger` takes so.

    Args:
        model: Pyro program, frozen; classical guides are over all of its continuous latents.
        guide: the one that it was trained with; an `Amortized`, or any program, from which
            classical guides do not start.
        x: data `(N, *shape)`.
        names: out of `GUIDES`.
        index: the numbers of the data `(N,)`, which the model gets, and to which the rows of
            classical guides belong; 0..N-1 unless given.
        num_steps: of the semi-amortized guide.
        num_particles: draws of each datum in a step of classical inference.
        seed: of the guides' noise.
        progress: called with the share of the fitting that is done, from 0 to 1.

    Returns:
        Guides by their names. `programs_of` has the guides alone.

    Raises:
        ValueError: unknown names, or a model and a guide that cannot be swapped so; found before
            anything is fitted.

    Example:
        >>> import torch
        >>> from pyro_vae import MLP, LinearGaussian
        >>> model, encoder = LinearGaussian(5, 2), Amortized(MeanField(2), MLP(5, ()))
        >>> list(swap_guides(model, encoder, torch.randn(4, 5), ["semi-amortized", "amortized"]))
        ['amortized', 'semi-amortized']
    """
    check_names(model, guide, names, "names")
    numbers = {"num_steps": (num_steps, 1), "num_particles": (num_particles, 1)}
    check_numbers(numbers | {"seed": (seed, 0)})
    check_progress(progress)
    x, _ = check_inputs(model, None, x, None)

    found: dict[str, Program | Optimum[Local]] = {}
    starts: list[Start] = [guide] if is_network(guide) else []
    chosen = [name for name in GUIDES if name in names]
    families = {n: over_all(model, x, FAMILIES[n], index) for n in chosen if n in FAMILIES}
    fitting = shares(progress, *[name in FAMILIES for name in chosen])
    for name, told in zip(chosen, fitting, strict=True):
        if name == "amortized":
            found[name] = guide
        elif name == "semi-amortized":
            found[name] = SemiAmortized(guide, model, num_steps)
        else:
            table, earlier = _start(families[name], starts, x, index)
            options = {"num_particles": num_particles, "seed": seed, "progress": told}
            optimum = fit_local(model, table, x, earlier=earlier, **options)  # type: ignore[arg-type]
            found[name] = optimum
            if name == "full-rank":
                starts.append(optimum)
    tell(progress, 1.0)
    return found


def _start(
    family: Family, starts: list[Start], x: Tensor, index: Tensor | None
) -> tuple[Local, Optimum[Local] | None]:
    """A table for the data that starts from the guide which shares the most parameters with the
    family, if any; and the optimum that this was.
    """
    if not starts:
        return Local(family, len(x), index).to(x.device), None

    def guide(start: Start) -> Amortized | Given | Local:
        return start.guide if isinstance(start, Optimum) else start

    nearest = max(starts, key=lambda start: family.num_shared(guide(start).family))
    table = Local.started_at(guide(nearest), x, family, numbers=index)
    return table, nearest if isinstance(nearest, Optimum) else None


def check_names(model: Program, guide: Any, names: Sequence[str], argument: str = "guides") -> None:
    """Raise a ValueError where `swap_guides` cannot make the guides of these names."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"{argument}: got {names!r}, expected a list out of {', '.join(GUIDES)}")
    unknown = [name for name in names if name not in GUIDES]
    if unknown or not names:
        got = ", ".join(filter(None, map(str, unknown))) or "none"
        raise ValueError(f"{argument}: got {got}, expected some of {', '.join(GUIDES)}")

    if "semi-amortized" in names and not offers(guide, HasParams):
        raise ValueError(
            "guides: semi-amortized goes on from the parameters that a network gives, which"
            f" {type(guide).__name__} has not: leave it out, or train an Amortized guide"
        )

    size = getattr(model, "latent_dim", None)
    is_plain = is_network(guide) and not isinstance(guide.family, Joint)
    if isinstance(size, int) and is_plain and guide.family.dim != size:
        raise ValueError(
            f"guide: got {guide.family.dim} units, expected the model's latent_dim {size}"
        )
