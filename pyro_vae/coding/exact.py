"""A mode of torch in which programs give the same bits in any batch, on any number of threads.

    with Exact(model, guide):
        ...                     # run them

Every operation of torch that a program comes to is looked at. It runs as it is where IEEE 754 says
what its result is (additions, multiplications, comparisons, copies, views). Products, convolutions
and elementary functions are computed by `products` and `elementary` instead. All others are
refused, so that nothing is the same by luck. Sums are among the refused ones: their order is not
fixed. What is drawn at random may differ: who reads a program reads distributions and no draws.

It holds for torch as it comes, on the CPU: not where a process has it flush subnormal numbers to 0
(`torch.set_flush_denormal`), or compiles what runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vae.coding import elementary, products
from pyro_vae.coding.products import NotExact, Rounded, Rounding, rounded
from pyro_vae.programs.evaluation import modules_of

_COPIES = """
    _reshape_alias _reshape_copy _to_copy _unsafe_view alias arange as_strided cat clone copy_
    constant_pad_nd detach diagonal empty empty_like empty_strided expand eye fill_ flip full
    full_like gather im2col index index_select lift_fresh new_empty new_empty_strided new_full
    new_ones new_zeros ones ones_like permute repeat reshape resolve_conj resolve_neg scalar_tensor
    select slice split split_with_sizes squeeze stack t transpose tril triu unbind unfold unsqueeze
    view zero_ zeros zeros_like
"""
_ROUNDED_ONE_WAY = """
    abs add add_ ceil clamp clamp_min clamp_max div div_ floor hardtanh leaky_relu maximum minimum
    mul mul_ nan_to_num neg reciprocal relu relu_ round rsub sign sqrt square sub sub_ threshold
    where
"""
_OF_TRUTH = """
    _local_scalar_dense all any bitwise_and bitwise_not bitwise_or eq equal ge gt is_nonzero
    isfinite isinf isnan le logical_and logical_not logical_or lt ne
"""
_DRAWS = "bernoulli bernoulli_ normal normal_ rand randn uniform_"

ALIKE = frozenset(" ".join((_COPIES, _ROUNDED_ONE_WAY, _OF_TRUTH, _DRAWS)).split())
"""Operations of torch whose results do not depend on who computes them, or that are draws."""


class Exact(TorchDispatchMode):
    """The mode for some programs, whose weights it rounds once.

    Args:
        programs: their modules' parameters must stay as they are while the mode is used.
    """

    def __init__(self, *programs: Any) -> None:
        super().__init__()
        # their memory, which is held so that nothing else can take its place
        self._own = {}
        for module in modules_of(*programs):
            for parameter in module.parameters(recurse=False):
                storage = parameter.untyped_storage()
                self._own[storage.data_ptr()] = storage
        self._kept: dict[Any, Rounded] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        given = kwargs or {}
        if name in ALIKE and given.get("alpha", 1) == 1:  # else two roundings, or one
            return func(*args, **given)
        if name in FUNCTIONS:
            return FUNCTIONS[name](*args, **given)
        if name in PRODUCTS:
            return PRODUCTS[name](self._rounded, *args, **given)
        raise NotExact(
            f"model, guide: their operation {name!r} is not known to give the same result on both"
            " ends, expected linear layers, convolutions and activations such as ReLU"
        )

    def _rounded(self, matrix: Tensor, bits: int, dim: int) -> Rounded:
        """`rounded`; of weights once, since these stay where they are."""
        storage = matrix.untyped_storage().data_ptr()
        if storage not in self._own:
            return rounded(matrix, bits, dim)
        place = (storage, matrix.storage_offset(), matrix.shape, matrix.stride())
        if (*place, bits, dim) not in self._kept:
            self._kept[*place, bits, dim] = rounded(matrix, bits, dim)
        return self._kept[*place, bits, dim]


Function = Callable[[Tensor], Tensor]


def _of(function: Function) -> Callable[[Tensor], Tensor]:
    """A function of float64 as one that answers in the dtype that it is asked in."""
    return lambda x: function(x.to(torch.float64)).to(x.dtype)


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    left, gate = x.chunk(2, dim)
    return left * _of(elementary.sigmoid)(gate)


def _silu(x: Tensor) -> Tensor:
    return x * _of(elementary.sigmoid)(x)


def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    wide = x.to(torch.float64) * beta
    return (elementary.softplus(wide) / beta).to(x.dtype)


def _elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    wide = x.to(torch.float64)
    low = alpha * (elementary.exp(wide * input_scale) - 1)
    return (torch.where(wide > 0, wide, low) * scale).to(x.dtype)


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    wide = x.to(torch.float64)
    wide = wide - wide.amax(dim, keepdim=True)
    total = torch.zeros_like(wide.select(dim, 0))
    for each in elementary.exp(wide).unbind(dim):  # one after another, in this order
        total = total + each
    return (wide - elementary.log(total).unsqueeze(dim)).to(x.dtype)


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "exp": _of(elementary.exp),
    "expm1": _of(elementary.expm1),
    "log": _of(elementary.log),
    "log1p": _of(elementary.log1p),
    "_log_softmax": _log_softmax,
    "sigmoid": _of(elementary.sigmoid),
    "tanh": _of(elementary.tanh),
    "glu": _glu,
    "silu": _silu,
    "softplus": _softplus,
    "elu": _elu,
}


def _mm(rounding: Rounding, left: Tensor, right: Tensor) -> Tensor:
    return products.product(left, right, rounding).to(left.dtype)


def _addmm(
    rounding: Rounding,
    bias: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> Tensor:
    return (beta * bias + alpha * products.product(left, right, rounding)).to(left.dtype)


def _bmm(rounding: Rounding, left: Tensor, right: Tensor) -> Tensor:
    pairs = zip(left, right, strict=True)
    return torch.stack([_mm(rounding, a, b) for a, b in pairs])


def _convolution(
    rounding: Rounding,
    x: Tensor,
    weight: Tensor,
    bias: Parameter | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    more: Sequence[int],
    groups: int,
) -> Tensor:
    if groups != 1 or x.dim() != 4:
        raise NotExact(
            f"model, guide: got a convolution of {groups} groups on {tuple(x.shape)}, expected one"
            " group, on images (B, C, H, W)"
        )

    if transposed:
        made = products.transposed_convolution(x, weight, stride, padding, dilation, more)
    else:
        made = products.convolution(x, weight, stride, padding, dilation, rounding)
    if bias is not None:
        made = made + bias[:, None, None]
    return made.to(x.dtype)


PRODUCTS: dict[str, Callable[..., Tensor]] = {
    "mm": _mm,
    "addmm": _addmm,
    "bmm": _bmm,
    "convolution": _convolution,
}
