"""What every estimator asks of its arguments before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.arguments import (
    MAX_SEED,
    check_index,
    check_integer,
    check_no_infinity,
    check_number,
    check_rows,
    check_shape,
)
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.evaluation import device_of
from pyro_vae.programs.parts import default_index, known_numbers, takes_parts
from pyro_vae.programs.protocols import ChecksData, HasCaveat, HasLatentDim, HasRows, offers


def check_data(model: Program | None, x: Tensor) -> None:
    """Ask the model whether it can score `x` `(N, *shape)`, where it has a `check_data`; else only
    refuse infinite values. NaN is a missing value.
    """
    if offers(model, ChecksData):
        model.check_data(x)
    elif x.is_floating_point():
        check_no_infinity("x", x)


def check_inputs(
    model: Program | None, guide: Program | None, x: Tensor, index: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The data and their rows, on the programs' device.

    Raises:
        ValueError: no data, data that the model cannot score, rows that do not fit them or the
            guide.
    """
    check_rows("x", x)
    for name, program in (("model", model), ("guide", guide)):
        if program is not None:
            called(program, name)

    check_data(model, x)

    x = x.to(device_of(*filter(None, (model, guide))) or x.device)
    if index is None:
        rows = guide.num_rows if offers(guide, HasRows) else None
        if rows not in (None, len(x)):
            raise ValueError(
                f"index: got none for {len(x)} data, but the guide has parameters for"
                f" {rows}: say which rows these are"
            )
        return x, default_index(x, guide)

    check_index("index", index, len(x))
    _check_known(guide, index)
    return x, index.to(x.device)


def _check_known(guide: Program | None, index: Tensor) -> None:
    """Raise a ValueError for numbers of data for which a guide with a table of rows has none."""
    known = known_numbers(guide)
    if known is None or torch.isin(index.to(known.device), known).all():
        return

    told = f"index: got rows {index.min()} to {index.max()}"
    if torch.equal(known.cpu(), torch.arange(len(known))):
        raise ValueError(f"{told}, expected 0 to {len(known)} - 1, the guide's")
    raise ValueError(
        f"{told}, of which the guide has not all: its {len(known)} are of data from {known.min()}"
        f" to {known.max()}; expected the data that it was made for"
    )


def caveat_of(model: Program | None) -> str:
    """What a model, or its likelihood, says must stand beside every log p(x) of it; empty where
    that is a log p(x).
    """
    for told in (model, getattr(model, "likelihood", None)):
        if offers(told, HasCaveat) and isinstance(told.caveat, str) and told.caveat:
            return told.caveat
    return ""


def latent_dim_of(model: object) -> int:
    """The size of a model's one latent vector, which its guide is built from.

    Raises:
        ValueError: it names none.
    """
    size = model.latent_dim if offers(model, HasLatentDim) else None
    if not isinstance(size, int):
        raise ValueError(
            f"model: {type(model).__name__} has no integer `latent_dim`,"
            " which the guide is built from"
        )
    return size


MOST = {
    "num_particles": 10**7,
    "num_scouts": 10**5,
    "num_temperatures": 10**6,
    "num_chains": 2**16,
    "num_leapfrog": 10**5,
    "num_points": 10**4,
    "num_simulations": 10**6,
    "num_draws": 10**5,
    "num_samples": 10**5,
    "num_warmup": 10**6,
    "draws": 10**4,
    "max_bytes": 2**50,
    "seed": MAX_SEED,
}
"""The most that memory, or a generator, can bear at once; more is a slip, and not a wish."""


def check_numbers(numbers: Mapping[str, tuple[Any, int]]) -> None:
    """Raise a ValueError for a number, by its name, that is no integer of at least its least value
    and at most `MOST`.
    """
    for name, (value, least) in numbers.items():
        check_integer(name, value, least, MOST.get(name))


def check_budget(budget: float | None) -> None:
    """Raise a ValueError for what is no number of seconds, nor None."""
    if budget is not None:
        check_number("budget", budget, above=0, expected="a number of seconds > 0, or None")


def check_like(model: Program, like: Tensor) -> None:
    """Refuse what the model cannot simulate data on: `like` `(N, *shape)`, whatever its values."""
    called(model, "model")
    check_rows("like", like)
    shape = getattr(model, "shape", None)
    if isinstance(shape, tuple):
        parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
        check_shape("like", like, (None, *shape), None if parameter is None else parameter.dtype)


def check_any_x(guide: Program, like: Tensor) -> None:
    """Raise a ValueError for a guide that does not answer for data which it has not seen."""
    called(guide, "guide")
    rows = guide.num_rows if offers(guide, HasRows) else None
    if rows is not None or not takes_parts(guide, like):
        raise ValueError(
            f"guide: got a table with a row for each of {rows or len(like)} data, which says"
            " nothing of the data that are simulated here; expected a guide that answers for any x,"
            " such as Amortized"
        )


def simulated_rows(like: Tensor, index: Tensor | None, number: Tensor) -> tuple[Tensor, Tensor]:
    """The data of `like` `(N, *shape)` that simulated data of these numbers `(B,)` take turns with,
    and their `index`.
    """
    if index is not None:
        check_index("index", index, len(like))
    rows = number % len(like)
    return like[rows], rows if index is None else index.to(like.device)[rows]
