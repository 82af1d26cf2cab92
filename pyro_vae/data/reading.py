"""From a name or a path to what is there: data by part, and whatever goes with them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from pyro_vae.arguments import refuse
from pyro_vae.data.arrays import Values, check_values, judged
from pyro_vae.data.context import context_of_labels, contexts_of
from pyro_vae.data.files import is_there, read_beside, read_path
from pyro_vae.data.frames import ColumnKinds, column_names, from_frame
from pyro_vae.data.kinds import Columns
from pyro_vae.data.labels import Names, as_labels
from pyro_vae.data.named import KNOWN, LABEL_NAMES, data_root, digits, idx_images, idx_labels
from pyro_vae.data.tables import is_table, read_frame


class Source(NamedTuple):
    """What was read ("all", or "train", "test" and perhaps "valid"), the default sizes of the
    splits, labels of the parts that have any, what is known of the columns, and the context of
    each part, if there is one.
    """

    name: str
    parts: dict[str, Tensor]
    num_valid: int
    num_test: int = 0
    labels: dict[str, Tensor] = {}  # noqa: RUF012 - read only
    label_names: Names = None
    columns: Columns = Columns()
    context: dict[str, Tensor] = {}  # noqa: RUF012 - read only
    context_names: Names = None


def read_source(
    source: str | Path,
    root: str | Path | None,
    values: Values | None,
    kinds: ColumnKinds,
    context: str | Sequence[str] | None,
) -> Source:
    """Read a named set or a path."""
    check_values(values)
    if isinstance(source, str) and source not in KNOWN and not looks_like_path(source):
        raise ValueError(unknown_name(source))
    path = Path(source).expanduser()
    if source not in KNOWN and is_table(path) and path.is_file():
        return read_table(path, values, kinds, context)

    if kinds is not None:
        refuse("kinds", dict(kinds), f"None, since {source} has no columns with names")
    if context not in (None, "labels"):
        refuse("context", context, f"None or 'labels', since {source} has no columns with names")
    found = read_named(str(source), root, values) if source in KNOWN else read_file(path, values)
    if context is None:
        return found

    sizes = {part: len(rows) for part, rows in found.parts.items()}
    given = context_of_labels(found.labels, found.label_names, sizes, str(source))
    return found._replace(context=given[0], context_names=given[1])


def read_named(source: str, root: str | Path | None, values: Values | None) -> Source:
    """Read a set that has a name."""
    if values is not None:
        raise ValueError(
            f"values={values!r}: {source} is a set of pixels, expected values"
            " only for a file or a folder"
        )

    if source == "digits":
        pixels, labels = digits()
        return Source("digits", {"all": pixels}, 200, 300, {"all": labels})
    where = data_root(root)
    return Source(
        source,
        idx_images(source, where),
        num_valid=10_000,
        labels=idx_labels(source, where),
        label_names=LABEL_NAMES.get(source),
    )


def read_file(path: Path, values: Values | None) -> Source:
    """Read arrays or images, with their labels and context."""
    parts, columns = judged(read_path(path), str(path), values)
    sizes = {part: len(rows) for part, rows in parts.items()}
    tenth = max(1, sizes.get("all", sizes.get("train", 0)) // 10)
    name = path.resolve().name if path.is_dir() else path.stem
    named = as_labels(read_beside(path, parts, "y"), sizes, str(path))
    contexts = contexts_of(read_beside(path, parts, "c"), sizes, str(path))
    return Source(name, parts, tenth, tenth, *named, columns, contexts)


def read_table(
    path: Path, values: Values | None, kinds: ColumnKinds, context: str | Sequence[str] | None
) -> Source:
    """Read a table with names of columns."""
    columns = () if context is None else column_names("context", context)
    made, given, names = from_frame(read_frame(path), str(path), values, kinds, columns)
    tenth = max(1, len(made.parts["all"]) // 10)
    contexts = {} if given is None else {"all": given}
    found = Source(path.stem, made.parts, tenth, tenth, columns=made.columns)
    return found._replace(context=contexts, context_names=names)


def looks_like_path(source: str) -> bool:
    """Whether a string is meant as a path: it is there, or it has a separator or a suffix."""
    if not source:
        return False
    return is_there(Path(source)) or bool(Path(source).suffix) or "/" in source or os.sep in source


def unknown_name(source: str) -> str:
    """The error for a name that is neither known nor a path."""
    close = difflib.get_close_matches(source.lower().replace("-", "_"), KNOWN, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    return (
        f"source={source!r}: no such data set or path, expected {', '.join(map(repr, KNOWN))}, "
        f"or a path of a .npy or .npz file, a table (.csv, .tsv, .parquet) or a folder of"
        f" images{hint}"
    )
