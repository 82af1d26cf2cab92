"""`load`: from a name or a path to a `Dataset`.

Whoever asks for the same source gets the same rows in the same splits, whatever the seed: the seed
only moves the evaluation draw. Sets that come as one array are shuffled by a fixed permutation and
lose their last rows to the test split; then, as for every other set, the last rows of train become
the validation split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pyro_vae.arguments import check_flag, check_kind, check_seed, is_integer, refuse
from pyro_vae.data.arrays import Values, check_values
from pyro_vae.data.binarise import RULES, Binarise, default_rule
from pyro_vae.data.context import by_number
from pyro_vae.data.datasets import Dataset, known_columns
from pyro_vae.data.frames import ColumnKinds, check_column_kinds
from pyro_vae.data.kinds import kept_under
from pyro_vae.data.labels import labels_of
from pyro_vae.data.named import KNOWN
from pyro_vae.data.order import MIN_ROWS, permutation
from pyro_vae.data.reading import Source, looks_like_path, read_source
from pyro_vae.data.splits import Split
from pyro_vae.data.streaming import stream_path


def load(
    source: str | Path,
    *,
    root: str | Path | None = None,
    binarise: Binarise | None = None,
    values: Values | None = None,
    kinds: ColumnKinds = None,
    context: str | Sequence[str] | None = None,
    valid: int | None = None,
    seed: int = 0,
    memory_map: bool = False,
) -> Dataset:
    """Load a data set, into memory unless `memory_map` says otherwise.

    Splits (train / valid / test); `valid` moves the border between the first two, 0 means no
    validation:

        mnist, fashion_mnist       50000 / 10000 / 10000: valid is the last 10000 rows of train
        digits                     1297 / 200 / 300 of a fixed permutation
        a single array or table    80 / 10 / 10 per cent of a fixed permutation, from 10 rows on
        an .npz with train, test   valid is the file's own, else the last 10 per cent of train

    Each row keeps the number that it has in its source, `split.numbers()`, which programs get as
    `index`: the row of a single array or of scikit-learn's digits, the place of an image in its
    folder by name. Where train and test come apart, the rows are counted through train, the file's
    own validation rows and test (MNIST: train 0..49999, valid 50000..59999, test from 60000 on).

    Args:
        source: "digits", "mnist", "fashion_mnist", or the path of a .npy file (N, ...), of an .npz
            file (one array, or train, test and perhaps valid, also as x_train ...; labels of them
            as y, or y_train ...; their context as c, or c_train ...), of a table (.csv, .tsv,
            .parquet) or of a folder of images of one size. Known names come first: a folder called
            mnist is reached as "./mnist".
        root: where mnist and fashion_mnist lie or are downloaded to; else the variable
            PYRO_VAE_DATA, else ~/.cache/pyro_vae. Not read for the other sources.
        binarise: "dynamic", "static", "threshold", "dequantise" or "none", see
            `pyro_vae.data.binarise`. None means "dynamic" for the named sets, for data that are all
            0 or 1 and for pixels that are mostly black or white, "dequantise" for other pixels,
            "none" for real values.
        values: what the numbers of a file are, "pixels", "counts", "categories" or "real"; None
            goes by their look (`pyro_vae.data.arrays`) and asks where that does not tell.
        kinds: what columns of a table hold, by their names, where it is not to be inferred: "real",
            "binary", "counts", "categories" or "drop" (`pyro_vae.data.columns`).
        context: what programs are given of each datum besides (`pyro_vae.data.context`): "labels"
            for the labels, one-hot; of a table the names of columns, which are no data then.
        valid: number of validation rows; None means the default above.
        seed: of the evaluation draw.
        memory_map: leave the training rows of a .npy file or a folder of images where they are and
            read them batch by batch (`pyro_vae.data.streams`). Valid and test are read into memory,
            up to 10,000 rows each.

    Returns:
        The set; images have the shape (C, H, W), rows of an (N, D) array the shape (D,), those of
        an (N,) array ().

    Raises:
        FileNotFoundError: no such path, a folder without images, or a download that failed.
        ValueError: arguments or arrays of the wrong type, an unknown name or rule, files that are
            torn or hold the wrong thing, too few rows, whole numbers that may be counts as well as
            pixels.

    Example:
        >>> data = load("digits")
        >>> data.shape, len(data.train), data.test.x.shape
        ((1, 8, 8), 1297, torch.Size([300, 1, 8, 8]))
    """
    check_options(source, root, binarise, valid, seed)
    check_column_kinds(kinds)
    check_flag("memory_map", memory_map)
    if memory_map:
        check_values(values)
        if source in KNOWN or not (isinstance(source, Path) or looks_like_path(source)):
            raise ValueError(f"memory_map: got the source {source!r}, expected a path")
        for name, value in (("kinds", kinds), ("context", context)):
            if value is not None:
                refuse(name, value, "None, where rows stay in their file")
        return stream_path(Path(source).expanduser(), binarise, values, valid, seed)

    found = read_source(source, root, values, kinds, context)
    rows = split_rows(found, valid)
    numbers = split_rows(found._replace(parts=row_numbers(found.parts)), valid)
    if binarise is None:
        binarise = "dynamic" if source in KNOWN else default_rule(rows["train"])

    try:
        splits = _splits(found, rows, numbers, binarise, seed)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error

    return Dataset(
        found.name,
        splits["train"],
        splits.get("valid"),
        splits["test"],
        **known_columns(found.columns),
        context_names=found.context_names,
    )


def _splits(
    found: Source,
    rows: dict[str, Tensor],
    numbers: dict[str, Tensor],
    binarise: Binarise,
    seed: int,
) -> dict[str, Split]:
    """The splits, each with what goes with its rows."""
    places = row_numbers(found.parts)
    total = sum(len(place) for place in places.values())
    table = by_number(found.context, places, total) if found.context else None
    kinds = kept_under(found.columns.kinds, rows["train"], binarise)

    splits = {}
    for part, pixels in rows.items():
        labels = labels_of(found.labels, places, numbers[part])
        splits[part] = Split(
            part,
            pixels,
            binarise,
            seed,
            origin=numbers[part],
            labels=labels,
            label_names=None if labels is None else found.label_names,
            kinds=kinds,
            context=None if table is None else table[numbers[part]],
        )
    return splits


def check_options(
    source: object, root: object, binarise: object, valid: object, seed: object
) -> None:
    """Raise on arguments that are wrong before anything is read."""
    if not isinstance(source, str | Path):
        raise ValueError(f"source: expected a name or a path, got {type(source).__name__}")
    if binarise is not None and binarise not in RULES:
        raise ValueError(
            f"binarise={binarise!r}: expected None or one of {', '.join(map(repr, RULES))}"
        )

    for name, value in (("valid", valid), ("seed", seed)):
        optional = name == "valid" and value is None
        if not optional and not is_integer(value):
            raise ValueError(f"{name}={value!r}: expected an int, got {type(value).__name__}")

    check_seed("seed", seed)
    if root is not None:
        check_kind("root", root, (str, Path), "a path, or None")


def split_rows(found: Source, valid: int | None) -> dict[str, Tensor]:
    """Cut what was read into train, test and, unless there is to be none, valid."""
    if "valid" in found.parts:
        if valid is not None:
            raise ValueError(
                f"valid={valid}: {found.name} brings its own validation rows; leave valid out"
            )
        return found.parts

    parts = found.parts
    if "all" in parts:
        parts = cut_test(parts["all"], found.num_test, found.name)
    return hold_out(parts, found.num_valid if valid is None else valid, found.name)


def row_numbers(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The number of each row of what was read: its place in one array, or in train, valid and test
    one after the other.
    """
    numbers: dict[str, Tensor] = {}
    taken = 0
    for part in ("all", "train", "valid", "test"):
        if part in parts:
            numbers[part] = torch.arange(taken, taken + len(parts[part]))
            taken += len(parts[part])
    return numbers


def cut_test(rows: Tensor, num_test: int, name: str) -> dict[str, Tensor]:
    """Shuffle the rows by the fixed permutation and cut the last ones off as test."""
    if len(rows) < MIN_ROWS:
        raise ValueError(
            f"{name}: {len(rows)} rows, expected at least {MIN_ROWS} to cut train, valid and test"
            " from; add rows, or save an .npz with train and test"
        )
    rows = rows[permutation(len(rows))]
    return {"train": rows[:-num_test], "test": rows[-num_test:]}


def hold_out(parts: dict[str, Tensor], num_valid: int, name: str) -> dict[str, Tensor]:
    """Move the last `num_valid` rows of train to valid."""
    total = len(parts["train"])
    if not 0 <= num_valid < total:
        raise ValueError(
            f"valid={num_valid}: expected 0 <= valid < {total}, the rows of"
            f" {name} that are not test rows"
        )
    if num_valid == 0:
        return parts
    cut = total - num_valid
    return parts | {"train": parts["train"][:cut], "valid": parts["train"][cut:]}
