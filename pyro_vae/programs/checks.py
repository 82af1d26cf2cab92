"""Whether two programs can be run together on the data at all: found by running them once on a few.

What is wrong with a user's program is a ValueError of one line here, before anything long begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.programs.calls import first_line, in_one_line, is_told
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.parts import some, takes_parts
from pyro_vae.programs.refusals import refuse_no_density
from pyro_vae.programs.sites import escapes, is_point, sample_sites, support_name
from pyro_vae.programs.traces import (
    Program,
    draw_and_score,
    guide_sites,
    paired_sites,
    plate_depth,
    prior,
    refuse_points,
    run_both,
)


def check_programs(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None
) -> int | None:
    """Run both programs once on a few data with Pyro's validation on; what is wrong with them is a
    ValueError.

    The datum of the largest number is among the few; guides that answer only for all data (`parts`)
    are run on all.

    Returns:
        How deep their plates are nested, as `plate_depth` does; None where the guide left the
        model's support.
    """
    if not takes_parts(model, x, index):
        raise ValueError(
            "model: it has parameters for just the data that it is run on, by their place, or a"
            " plate of their number: make them a table of all data that is read by `index`,"
            " pyro.param('table', torch.zeros(num_data, d))[index], and the plate len(x) large"
        )

    x, index = some(x, index, 8, guide, spread=True)

    with (
        in_one_line(x, 2),
        _told_by_index(model, guide, x, index),
        isolated_noise(x.device),
        torch.no_grad(),
    ):
        try:
            with pyro.validation_enabled(True):
                depth = plate_depth(model, guide, x, index)
                latents, _ = draw_and_score(model, guide, x, index, 2, depth)
                if any(torch.equal(z[0], z[1]) for z in latents.values()):
                    _check_points(guide, x, index)
                return depth
        except ValueError:
            if not _leaves_support(model, guide, x, index):
                raise
            # draws outside are of no use to the likelihood: try it at the prior's
            with pyro.validation_enabled(True):
                draw_and_score(model, prior(model), x, index, 2)
    return None


def shared_sites(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None
) -> list[str]:
    """The model's latents that are one draw for all data, on a few; none where the programs fail,
    as `check_programs` says.
    """
    x, index = some(x, index, 2, guide)
    if len(x) == 1:
        return []
    try:
        with isolated_noise(x.device), torch.no_grad(), poutine.block():
            sites = sample_sites(run_both(model, guide, x, index)[1])
    except Exception:  # whatever a user's program raises
        return []
    own = [site for site in sites if not site["is_observed"]]
    return [site["name"] for site in own if not any(map(_at_data, site["cond_indep_stack"]))]


def check_shared(model: Program, guide: Program, x: Tensor, index: Tensor | None) -> None:
    """What `check_programs` does, of programs that have no log-density of each datum."""
    x, index = some(x, index, 8, guide, spread=True)
    with (
        in_one_line(x, 1),
        isolated_noise(x.device),
        torch.no_grad(),
        pyro.validation_enabled(True),
        poutine.block(),
    ):
        traces = run_both(model, guide, x, index)
        refuse_no_density(guide, sample_sites(traces[0]))
        for trace in traces:
            trace.compute_log_prob()

    theirs, mine = ([s for s in sample_sites(t) if not s["is_observed"]] for t in reversed(traces))
    drawn = {site["name"] for site in mine if not site["infer"].get("is_auxiliary")}
    names = {site["name"] for site in theirs}
    if drawn != names:
        raise ValueError(
            f"guide: got latent sites {sorted(drawn)}, expected the model's {sorted(names)}: both"
            " programs must use the same names"
        )


def _at_data(frame: Any) -> bool:
    return bool(frame.vectorized and frame.dim == -1)


@contextmanager
def _told_by_index(
    model: Program, guide: Program, x: Tensor, index: Tensor | None
) -> Iterator[None]:
    """Programs that fail at these numbers, and would not at the first ones of a data set, fail by
    `index`.
    """
    try:
        yield
    except Exception as error:  # whatever a user's program raises
        if is_told(error) or index is None or not _answer(model, guide, x):
            raise
        raise ValueError(
            f"index: got {index.min()} to {index.max()}, where the programs fail"
            f" ({first_line(error)}), as they do not at 0 to {len(x) - 1}: expected programs"
            " that know these data, such as a table with a row for each datum, those of"
            " validation and test included"
        ) from error


def _check_points(guide: Program, x: Tensor, index: Tensor | None) -> None:
    """Raise a ValueError for a Delta that is the same in each draw, beside the auxiliary sites of
    others.
    """
    sites = guide_sites(guide, x, index)
    if not any(s["infer"].get("is_auxiliary") for s in sites):
        return  # `sample_guide` knows
    again = {s["name"]: s["value"] for s in guide_sites(guide, x, index)}
    fixed = []
    for site in sites:
        if is_point(site["fn"]) and torch.equal(site["value"], again[site["name"]]):
            fixed.append(site["name"])
    refuse_points(fixed)


def _answer(model: Program, guide: Program, x: Tensor) -> bool:
    """Whether the programs run where the data are the first ones of a set."""
    try:
        with isolated_noise(x.device), torch.no_grad(), pyro.validation_enabled(True):
            draw_and_score(model, guide, x, torch.arange(len(x), device=x.device), 2)
    except Exception:
        return False
    return True


def _leaves_support(model: Program, guide: Program, x: Tensor, index: Tensor | None) -> bool:
    """Whether the guide has drawn a latent outside of the model's support."""
    with pyro.validation_enabled(False):
        _, scores = draw_and_score(model, guide, x, index, 16)
    return bool(torch.isneginf(scores.log_prior).any())


def check_reach(model: Program, guide: Program, x: Tensor, index: Tensor | None = None) -> None:
    """Raise a ValueError for a guide that draws outside of the model's support: its ELBO is -inf,
    and no training helps.
    """
    with isolated_noise(x.device), torch.no_grad(), pyro.validation_enabled(False):
        for name, (mine, theirs) in paired_sites(model, guide, x, index, scored=False).items():
            if escapes(mine, theirs):
                raise ValueError(
                    f"guide: site {name!r} is drawn from all of the line, but the model's"
                    f" has support {support_name(theirs)}: outside of it the density is 0"
                    " and the ELBO -inf; use a distribution with that support, such as a"
                    " LogNormal for a positive value"
                )
