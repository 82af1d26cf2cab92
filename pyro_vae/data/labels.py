"""Labels: the class of each datum, for the colours of a picture and for nothing else.

No program is given a label, no fingerprint and no checkpoint knows of it. A split carries integers,
and names of them where they have any:

    integers, True and False   as they are
    texts                      numbered in alphabetical order, through all parts of a set together

What is neither, or is not one value a datum (targets of a regression, say), is no label.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_dense, refuse
from pyro_vae.data.arrays import Array

Names = tuple[str, ...] | None
"""What the labels 0, 1, ... are called; None where the numbers are all there is."""


def as_labels(
    arrays: Mapping[str, Array], sizes: Mapping[str, int], source: str
) -> tuple[dict[str, Tensor], Names]:
    """Labels by part, int64 `(N,)`, of those arrays that are labels; and their names.

    Args:
        arrays: by part, as they were saved.
        sizes: number of data of each part.
        source: what to call the origin in an error.

    Raises:
        ValueError: labels of another number than the data, numbers in one part and texts in
            another, or numbers that int64 cannot hold.
    """
    found = {part: array for part, array in arrays.items() if _are_labels(array)}
    for part, array in found.items():
        if len(array) != sizes[part]:
            name = "y" if part == "all" else f"y_{part}"
            raise ValueError(
                f"{source}: {name} holds {len(array)} labels, expected {sizes[part]}, one for each"
                " datum"
            )

    texts = {array.dtype.kind == "U" for array in found.values()}
    if len(texts) > 1:
        raise ValueError(f"{source}: the labels y_... are numbers and texts, expected one kind")
    if True in texts:
        return _numbered(found)

    for array in found.values():
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{source}: got the label {array.max()}, expected 64-bit integers")
    return {part: _tensor(array) for part, array in found.items()}, None


def _are_labels(array: Array) -> bool:
    return array.ndim == 1 and array.dtype.kind in "biuU"


def _numbered(texts: Mapping[str, Array]) -> tuple[dict[str, Tensor], Names]:
    names, codes = np.unique(np.concatenate(list(texts.values())), return_inverse=True)
    cuts = np.cumsum([len(array) for array in texts.values()])[:-1]
    parts = dict(zip(texts, np.split(codes, cuts), strict=True))
    return {part: _tensor(code) for part, code in parts.items()}, tuple(map(str, names))


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))


def labels_of(
    labels: Mapping[str, Tensor], places: Mapping[str, Tensor], numbers: Tensor
) -> Tensor | None:
    """The labels of the data of these numbers; None where one of them has none.

    Args:
        labels: by part of what was read, for the parts that have any.
        places: the numbers of the data of each part.
        numbers: `(B,)`.
    """
    total = sum(len(place) for place in places.values())
    table, known = torch.zeros(total, dtype=torch.int64), torch.zeros(total, dtype=torch.bool)
    for part, values in labels.items():
        table[places[part]], known[places[part]] = values, True
    return table[numbers] if known[numbers].all() else None


def check_labels(labels: Tensor | None, names: Names, num_data: int) -> None:
    """Raise a ValueError unless labels are integers, one for each datum, each with a name where
    there are names.
    """
    if labels is not None:
        check_dense("labels", labels, f"a tensor of {num_data} integers, or None")
        counts = not (labels.is_floating_point() or labels.is_complex())
        if not counts or labels.shape != (num_data,):
            refuse("labels", labels, f"integers of shape ({num_data},), or None")

    if names is None:
        return
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        refuse("label_names", names, "a tuple of texts, or None")
    if labels is None:
        raise ValueError("label_names: got names, but no labels that they are of")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
        raise ValueError(
            f"label_names: got {len(names)} names for labels {labels.min()} to {labels.max()},"
            " expected one for each from 0 on"
        )
