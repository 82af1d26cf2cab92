"""Matrix products and convolutions that are exact, and so the same whatever their order.

A sum of floats depends on the order of its terms, and this on the batch, the threads, the library
and the machine. A sum of integers does not. So each row of the left matrix, and each column of the
right one, is rounded to integers of h bits times a power of two of its own:

    a = 2^s A,  |A| <= 2^h,     b = 2^t B,  |B| <= 2^h,     K 2^(2h) <= 2^52

Whatever the order, every product and every partial sum of the K terms is an integer below 2^53,
which float64 holds exactly, with fused multiplication or without. What a row gives is a function of
this row alone. With K = 784, h is 21: the error is that of arithmetic with 21 bits, against 24 of
float32.

References:
    Balle, Johnston, Minnen (2019). Integer networks for data compression with latent-variable
        models. ICLR, openreview.net/forum?id=S1zz2i0cY7.
    Ozaki, Ogita, Oishi, Rump (2012). Error-free transformations of matrix multiplication.
        doi:10.1007/s11075-011-9478-1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pyro_vae.coding.elementary import exponent_of, power_of_two

Rounded = tuple[Tensor, Tensor]
"""Integers in float64, and the powers of two to multiply them by."""

Rounding = Callable[[Tensor, int, int], Rounded]
"""`rounded`, or what remembers its results."""


class NotExact(Exception):
    """What is not computed here, in a line: no ValueError, to which Pyro would add its tables."""


_SUM = 52  # bits of a sum


def rounded(matrix: Tensor, bits: int, dim: int) -> Rounded:
    """Integers of at most `bits` bits, and the powers of two, one for all values along `dim`."""
    matrix = matrix.to(torch.float64)
    most = matrix.abs().amax(dim, keepdim=True) if matrix.shape[dim] else matrix.sum(dim, True)
    if not torch.isfinite(most).all():
        raise NotExact("model, guide: a net gave NaN or infinite values, expected finite ones")

    exponent = exponent_of(most).clamp(-900, 900)
    scaled = matrix * power_of_two(bits - exponent)
    return torch.floor(scaled + 0.5), power_of_two(exponent - bits)


def product(left: Tensor, right: Tensor, rounding: Rounding = rounded) -> Tensor:
    """left `(n, K)` times right `(K, m)`, float64 `(n, m)`.

    Raises:
        NotExact: values that are not finite.
    """
    bits = (_SUM - (max(left.shape[1], 1) - 1).bit_length()) // 2
    rows, low = rounding(left, bits, 1)
    columns, high = rounding(right, bits, 0)
    return (rows @ columns) * low * high


def convolution(
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    rounding: Rounding = rounded,
) -> Tensor:
    """A convolution of images x `(B, C, H, W)` by weight `(E, C, h, w)`: a product of patches."""
    sizes = weight.shape[-2:]
    patches = functional.unfold(x, sizes, tuple(dilation), tuple(padding), tuple(stride))
    num_data, length, places = patches.shape  # (B, C h w, L)

    flat = patches.transpose(1, 2).reshape(-1, length)
    made = product(flat, weight.reshape(len(weight), -1).T, rounding)

    reach = [d * (k - 1) for d, k in zip(dilation, sizes, strict=True)]
    pairs = zip(x.shape[-2:], padding, reach, stride, strict=True)
    height, width = ((n + 2 * p - r - 1) // s + 1 for n, p, r, s in pairs)
    made = made.reshape(num_data, places, len(weight)).transpose(1, 2)
    return made.reshape(num_data, len(weight), height, width)


def transposed_convolution(
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    more: Sequence[int],
) -> Tensor:
    """A transposed convolution of x `(B, C, H, W)` by weight `(C, E, h, w)`: a convolution of x
    with zeros between its values, by the weight turned round.
    """
    num_data, channels, *sides = x.shape
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[-2:], strict=True)]
    edge = [r - p for r, p in zip(reach, padding, strict=True)]
    if min(edge) < 0:
        raise NotExact("model, guide: got a padding wider than its kernel, expected a narrower")

    inner = [(n - 1) * s + 1 for n, s in zip(sides, stride, strict=True)]
    shape = [n + 2 * e + m for n, e, m in zip(inner, edge, more, strict=True)]
    spread = x.new_zeros(num_data, channels, *shape)
    rows = slice(edge[0], edge[0] + inner[0], stride[0])
    columns = slice(edge[1], edge[1] + inner[1], stride[1])
    spread[:, :, rows, columns] = x
    return convolution(spread, weight.flip(2, 3).transpose(0, 1), (1, 1), (0, 0), dilation)
