"""Checks of the arguments of public functions: one for each kind of thing, in one wording.

    num_particles: got 1.5, expected a positive integer

A check raises a ValueError of one line that begins with the argument's name, or does nothing. True,
False and NaN do not count as numbers here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, NoReturn, get_args

import torch
from torch import Tensor, nn

MAX_SEED = 2**63 - 1
MAX_SAMPLES = 10**8
MAX_PARTICLES = 10**6  # of each datum, all at once
MAX_WEIGHTS = 2**30  # of one layer, 4 GiB
_LONGEST = 80  # characters of a value in a message


def refuse(name: str, value: object, expected: str) -> NoReturn:
    """Raise the ValueError that says what an argument was and what was expected of it."""
    raise ValueError(f"{name}: got {shown(value)}, expected {expected}")


def shown(value: object) -> str:
    """A value in one short line; a tensor or an array by its type and shape.

    Example:
        >>> shown(torch.zeros(2, 3)), shown("a" * 200)[-8:]
        ('a torch.float32 tensor of shape (2, 3)', 'aaaa ...')
    """
    if isinstance(value, Tensor):
        layout = "" if value.layout == torch.strided else f" {value.layout}"
        where = " on meta" if value.is_meta else ""
        return f"a {value.dtype}{layout} tensor of shape {tuple(value.shape)}{where}"

    if hasattr(value, "dtype") and hasattr(value, "shape"):
        kind = f"{type(value).__module__} {type(value).__name__}"
        return f"a {kind} of {value.dtype} and shape {tuple(value.shape)}"

    told = " ".join(repr(value).split())
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 4]} ..."


def is_integer(value: object) -> bool:
    """Whether a value is an integer, and not True or False."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_integer(
    name: str, value: object, least: int | None = None, most: int | None = None
) -> None:
    """An integer, from `least` to `most`."""
    ok = is_integer(value)
    if ok and (least is None or value >= least) and (most is None or value <= most):  # type: ignore[operator]
        return

    if least is None:
        expected = "an integer"
    else:
        expected = "a positive integer" if least == 1 else f"an integer >= {least}"
    if most is not None and ok and value > most:  # type: ignore[operator]
        expected += f" up to {most:,}"
    refuse(name, value, expected)


def check_seed(name: str, value: object) -> None:
    """A seed of torch's generators, not negative."""
    check_integer(name, value, 0, MAX_SEED)


def check_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    expected: str = "",
) -> None:
    """A finite number, >= `least`, > `above` and < `below` where they are given."""
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        too_low = (least is not None and value < least) or (above is not None and value <= above)
        if not too_low and (below is None or value < below):
            return

    limits = []
    for sign, limit in ((">=", least), (">", above), ("<", below)):
        if limit is not None:
            limits.append(f"{sign} {limit:g}")
    refuse(name, value, expected or f"a finite number {' and '.join(limits)}".rstrip())


def check_real(name: str, value: object) -> None:
    """A number, which may be infinite or NaN."""
    if not isinstance(value, Real) or isinstance(value, bool):
        refuse(name, value, "a number")


def check_positive(name: str, value: object) -> None:
    """A positive, finite number."""
    check_number(name, value, above=0, expected="a positive number")


def check_level(name: str, value: object) -> None:
    """A probability that is neither 0 nor 1."""
    check_number(name, value, above=0, below=1, expected="a number between 0 and 1")


def check_flag(name: str, value: object) -> None:
    """True or False."""
    if not isinstance(value, bool):
        refuse(name, value, "True or False")


def check_choice(name: str, value: object, known: Any) -> None:
    """One of the values of a Literal, or of a tuple of strings."""
    values = known if isinstance(known, tuple) else get_args(known)
    if not isinstance(value, str) or value not in values:
        refuse(name, value, f"one of {', '.join(map(repr, values))}")


def check_callable(name: str, value: object, expected: str) -> None:
    """A function, or whatever can be called like one."""
    if not callable(value):
        refuse(name, value, expected)


def check_kind(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """An instance of a class."""
    if not isinstance(value, kind):
        refuse(name, value, expected)


def check_activation(name: str, value: object) -> None:
    """A class of modules, or whatever makes one when it is called without arguments."""
    if not callable(value) or isinstance(value, nn.Module):
        refuse(name, value, "a class of modules such as torch.nn.ReLU")


def check_sizes(name: str, sizes: object, least: int = 0) -> tuple[int, ...]:
    """At least `least` sizes, as a tuple of positive integers; one integer is one size.

    Example:
        >>> check_sizes("hidden", [200, 200]), check_sizes("dim", 3)
        ((200, 200), (3,))
    """
    found: Any = (sizes,) if isinstance(sizes, int) else sizes
    listed = isinstance(found, Sequence) and not isinstance(found, str | bytes)
    if listed and len(found) >= least and all(is_integer(size) and size > 0 for size in found):
        return tuple(found)

    told = shown(list(found) if isinstance(found, tuple) else found)
    raise ValueError(f"{name}: got {told}, expected positive integers such as [200, 200]")


def check_layer(name: str, num_in: int, num_out: int) -> None:
    """Refuse a layer too large for any machine, before a gigabyte of it is filled."""
    if num_in * num_out > MAX_WEIGHTS:
        raise ValueError(
            f"{name}: got a layer from {num_in:,} to {num_out:,} units, expected at most"
            f" {MAX_WEIGHTS:,} weights in one"
        )


def check_dense(name: str, value: object, expected: str = "a tensor") -> None:
    """A dense tensor whose values are there to be read."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: got {type(value).__name__}, expected {expected}")
    if value.layout != torch.strided or value.is_meta:
        refuse(name, value, expected)


def check_rows(name: str, value: object, least: int = 1) -> None:
    """A dense tensor `(N, *shape)` with at least `least` rows, one or two, and values in them."""
    expected = f"a tensor (N, *shape) with {'N > 0' if least == 1 else 'at least two rows'}"
    check_dense(name, value, expected)
    assert isinstance(value, Tensor)
    if value.dim() < 1 or len(value) < least or value.numel() == 0:
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected {expected}")


def check_finite(name: str, value: Tensor) -> None:
    """A tensor without NaN and infinite values."""
    if not torch.isfinite(value).all():
        raise ValueError(
            f"{name}: got NaN or infinite values, expected finite data: clean the data first"
        )


def check_no_infinity(name: str, value: Tensor) -> None:
    """A tensor without infinite values, and with some that are no NaN, which stands for a value
    that is missing.
    """
    if torch.isfinite(value).all():
        return
    if torch.isinf(value).any():
        raise ValueError(
            f"{name}: got infinite values, expected finite ones, or NaN where one is missing"
        )
    if torch.isnan(value).all():
        raise ValueError(f"{name}: got NaN alone, expected some values that are not missing")


def check_shape(
    name: str, value: object, shape: Sequence[int | None], dtype: torch.dtype | None = None
) -> None:
    """A dense tensor of floats of this dtype and shape, in which None stands for any size."""
    sizes = ", ".join("N" if size is None else str(size) for size in shape)
    told = f"({sizes}{',' * (len(shape) == 1)})"
    check_dense(name, value, f"floats of shape {told}")
    assert isinstance(value, Tensor)

    same = value.dim() == len(shape)
    if same:
        same = all(size in (None, got) for size, got in zip(shape, value.shape, strict=True))
    if not same:
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected {told}")
    if not value.is_floating_point():
        refuse(name, value, f"floats of shape {told}")
    if dtype is not None and value.dtype != dtype:
        refuse(name, value, f"{dtype}, as the parameters are: {name}.to({dtype})")


def check_data_of(name: str, value: object, shape: Sequence[int], like: Tensor) -> None:
    """Data `(N, *shape)`, N > 0, of the dtype of a model's parameter `like`; NaN is a missing
    value.
    """
    check_rows(name, value)
    check_shape(name, value, (None, *shape), like.dtype)
    assert isinstance(value, Tensor)
    check_no_infinity(name, value)


def check_mean(name: str, value: object, shape: Sequence[int]) -> None:
    """The mean of some data, `(*shape)`."""
    check_shape(name, value, shape)
    assert isinstance(value, Tensor)
    check_finite(name, value)


def check_index(
    name: str, index: object, num_data: int | None = None, num_rows: int | None = None
) -> None:
    """Rows of a dataset of `num_rows`: integers from 0 on, a tensor `(num_data,)`."""
    size = "N" if num_data is None else num_data
    check_dense(name, index, f"a tensor of {size} integers, the rows of the data")
    assert isinstance(index, Tensor)
    counts = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
    if not counts or index.dim() != 1 or num_data not in (None, len(index)):
        raise ValueError(
            f"{name}: got {index.dtype} {tuple(index.shape)}, expected integers of shape ({size},)"
        )

    if len(index) and (index.min() < 0 or (num_rows is not None and index.max() >= num_rows)):
        raise ValueError(
            f"{name}: got rows {index.min()} to {index.max()}, expected 0 to {num_rows or 'N'} - 1"
        )


def check_progress(progress: object) -> None:
    """A function that is told the share of the work that is done, or None."""
    if progress is not None:
        check_callable(
            "progress", progress, "a function of the share that is done, from 0 to 1, or None"
        )
