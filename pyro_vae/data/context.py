"""Context: what is known of each datum besides the datum, and is given to model and guide.

It is float32 `(N, C)`, covariates or one-hot classes, or int64 `(N,)`, codes. It comes from

    an .npz           arrays c, or c_train, c_test and c_valid: floats, or integers as codes
    labels            load(..., context="labels"): y of an .npz, or of a named set, one-hot
    a table           load(..., context=["age", "city"]): columns, categories one-hot
    an array          as_dataset(x, context=c)

A context changes what a number of the data means, so it is in their fingerprint; nothing of it may
be missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_dense, refuse
from pyro_vae.data.arrays import Array, as_reals
from pyro_vae.data.labels import Names

EXPECTED = "floats (N, C) or int64 codes (N,)"


def check_context(context: object, num_data: int) -> None:
    """Raise a ValueError unless context is None, floats `(N, C)` or int64 codes `(N,)`."""
    if context is None:
        return
    check_dense("context", context, f"{EXPECTED}, or None")
    assert isinstance(context, Tensor)
    floats = context.ndim == 2 and context.dtype in (torch.float32, torch.float64)
    codes = context.ndim == 1 and context.dtype == torch.int64
    if not (floats or codes) or len(context) != num_data or 0 in context.shape:
        refuse("context", context, f"{EXPECTED} of N = {num_data} data, or None")
    if floats and not bool(torch.isfinite(context).all()):
        raise ValueError("context: got NaN or infinity, expected a context known of every datum")


def check_context_names(names: object, context: Tensor | None) -> None:
    """Raise a ValueError unless names are None, or one for each column or code of a context."""
    if names is None:
        return
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        refuse("context_names", names, "a tuple of texts, or None")
    if context is None:
        raise ValueError("context_names: got names, but no context that they are of")
    if context.ndim == 2 and len(names) != context.shape[1]:
        refuse("context_names", names, f"{context.shape[1]} names, one for each column")
    if context.ndim == 1 and not 0 <= int(context.min()) <= int(context.max()) < len(names):
        refuse("context_names", names, "a name for each code from 0 on")


def as_context(given: Any, num_data: int, where: str) -> Tensor:
    """An array or a tensor as a context; a ValueError where it is none."""
    if isinstance(given, Tensor):
        check_dense(where, given, EXPECTED)
        given = given.detach().cpu().numpy()
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "biuf":
        refuse(where, given, f"{EXPECTED}, or as many integers or floats")
    if given.ndim not in (1, 2) or len(given) != num_data or given.size == 0:
        refuse(where, given, f"(N, C) or (N,) with N = {num_data}, a row for each datum")

    if given.ndim == 1 and given.dtype.kind in "biu":
        return torch.from_numpy(given.astype(np.int64))
    wide = given.reshape(len(given), -1)
    if not np.isfinite(wide).all():
        raise ValueError(f"{where}: holds NaN or inf, expected a context known of every datum")
    return as_reals(wide, where)


def contexts_of(
    arrays: Mapping[str, Array], sizes: Mapping[str, int], source: str
) -> dict[str, Tensor]:
    """The contexts of the parts of a set; none where no part has one.

    Raises:
        ValueError: parts without one beside parts with one, or with one of another kind.
    """
    missing = [part for part in sizes if part not in arrays]
    if not arrays:
        return {}
    if missing:
        raise ValueError(
            f"{source}: there is a context c_{next(iter(arrays))} and no c_{missing[0]}, expected"
            " one of each part"
        )

    found = {}
    for part, array in arrays.items():
        name = "c" if part == "all" else f"c_{part}"
        found[part] = as_context(array, sizes[part], f"{source}: {name}")
    kinds = {(context.dtype, context.shape[1:]) for context in found.values()}
    if len(kinds) > 1:
        raise ValueError(
            f"{source}: the contexts c_... differ in dtype or width, expected one kind"
        )
    return found


def context_of_labels(
    labels: Mapping[str, Tensor], names: Names, sizes: Mapping[str, int], source: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Labels one-hot, float32 `(N, K)` by part, and what the K classes are called: K is the number
    of names, or of labels that differ in all parts together, in their order.

    Raises:
        ValueError: parts without labels.
    """
    missing = [part for part in sizes if part not in labels]
    if missing:
        which = "" if missing[0] == "all" else f" for {missing[0]}"
        raise ValueError(
            f"context: got 'labels', but {source} has none{which}, expected a class for each datum"
        )

    classes = torch.cat(list(labels.values())).unique()
    if names is not None:
        classes = torch.arange(len(names))
    found = {}
    for part, values in labels.items():
        found[part] = (values[:, None] == classes).to(torch.float32)
    return found, names or tuple(str(label) for label in classes.tolist())


def by_number(contexts: Mapping[str, Tensor], places: Mapping[str, Tensor], total: int) -> Tensor:
    """A table of contexts `(total, ...)`, each in the row of its number; NaN, or -1, in others."""
    some = next(iter(contexts.values()))
    unknown = math.nan if some.is_floating_point() else -1
    table = some.new_full((total, *some.shape[1:]), unknown)
    for part, context in contexts.items():
        table[places[part]] = context
    return table
