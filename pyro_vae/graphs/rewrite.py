"""Rewrites of a captured graph before it is compiled.

The first is for speed: the same numbers, up to the rounding of float32, in fewer passes over
memory. The sum of Bernoulli log-densities over the pixels of a datum, with logits l and values x,

    sum_d x_d l_d - log(1 + e^{l_d})  =  sum_d (x_d l_d - max(l_d, 0)) - sum_d log(1 + e^{-|l_d|})

needs a logarithm a pixel, which is most of its cost. Each factor 1 + e^{-|l|} lies between 1 and 2:
the product of several cannot overflow, and one logarithm of it serves for all of them. What is lost
is below float32's rounding of the sum: at most 6e-8 a pixel, where e^{-|l|} vanishes beside 1.

Tests for NaN are comparisons of a value with itself, since Inductor's own leave the vectors and
look at one number after another, and what comes from truth values or integers is not tested.

The others keep the noise what it is without a graph. Inductor draws a Bernoulli variable from
float32 numbers whatever its dtype, which torch does not; and where a program fills an empty tensor
with normal numbers, Inductor draws into a copy.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vae.graphs.products import products

_aten = torch.ops.aten
_ENTROPY = _aten.binary_cross_entropy_with_logits.default
_LANES = 16  # floats in a vector register
_MOST = 16  # factors under one logarithm


def rewrite(module: fx.GraphModule) -> None:
    """All rewrites, large products among them (`products.py`), in place; the module's code is
    written anew.
    """
    for change in (_nan_tests, _bernoulli_sums, _bernoulli_draws, _normal_draws, products):
        change(module.graph)
    module.graph.eliminate_dead_code(lambda n: n.op == "placeholder" or n.target not in _PURE)
    module.graph.lint()
    module.recompile()


def _nan_tests(graph: fx.Graph) -> None:
    """Every `isnan(x)` as `x != x`, and `nan_to_num(x, fill, inf, -inf)` as a choice by `x == x`;
    none of a number that was no float before.
    """
    for node in graph.find_nodes(op="call_function", target=_aten.isnan.default):
        with graph.inserting_before(node):
            differs = graph.call_function(_aten.ne.Tensor, (node.args[0], node.args[0]))
        _replace(graph, node, differs)

    for node in graph.find_nodes(op="call_function", target=_aten.nan_to_num.default):
        x, *given = node.args
        if given[1:] != [math.inf, -math.inf] or node.kwargs:
            continue
        if _was_no_float(x):
            _replace(graph, node, x)
            continue
        with graph.inserting_before(node):
            same = graph.call_function(_aten.eq.Tensor, (x, x))
            kept = graph.call_function(_aten.where.ScalarOther, (same, x, given[0] or 0.0))
        _replace(graph, node, kept)


def _was_no_float(node: Any) -> bool:
    """Whether floats were made of truth values or integers, which cannot be NaN."""
    if node.op != "call_function" or node.target is not _aten._to_copy.default:
        return False
    return not node.args[0].meta["val"].dtype.is_floating_point


def _replace(graph: fx.Graph, node: fx.Node, other: fx.Node) -> None:
    other.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(other)
    graph.erase_node(node)


def _bernoulli_sums(graph: fx.Graph) -> None:
    """Every `sum(-binary_cross_entropy_with_logits(l, x), -1)`: a logarithm for several pixels."""
    for node in graph.find_nodes(op="call_function", target=_aten.sum.dim_IntList):
        _rewrite_sum(graph, node)


def _bernoulli_draws(graph: fx.Graph) -> None:
    """Every `bernoulli(p)` as `rand < p` in the dtype of p, which is how torch draws it."""
    for node in graph.find_nodes(op="call_function", target=_aten.bernoulli.default):
        if len(node.args) > 1 or node.kwargs or node.meta["val"].device.type != "cpu":
            continue

        p = node.args[0]
        with graph.inserting_before(node):
            uniform = graph.call_function(_aten.rand_like.default, (p,))
            below = graph.call_function(_aten.lt.Tensor, (uniform, p))
            dtype = {"dtype": node.meta["val"].dtype}
            drawn = graph.call_function(_aten._to_copy.default, (below,), dtype)

        _replace(graph, node, drawn)


def _normal_draws(graph: fx.Graph) -> None:
    """Every `empty(size).normal_()` as `randn(size)`."""
    for node in graph.find_nodes(op="call_function", target=_aten.normal_.default):
        empty: Any = node.args[0]
        if len(node.args) > 1 or node.kwargs:
            continue
        if empty.target is not _aten.empty.memory_format or len(empty.users) > 1:
            continue

        options = {key: empty.kwargs[key] for key in ("dtype", "device") if key in empty.kwargs}
        with graph.inserting_before(node):
            drawn = graph.call_function(_aten.randn.default, empty.args, options)

        _replace(graph, node, drawn)
        graph.erase_node(empty)


def log_bernoulli_sum(logits: Tensor, x: Tensor, size: int, num_factors: int) -> Tensor:
    """The sum over the last dimension `(..., size)`, with `num_factors` factors, a divisor of size,
    under one logarithm.
    """
    length = size // num_factors
    product: Any = 1.0
    linear: Any = 0.0

    for start in range(0, size, length):
        part, value = logits.narrow(-1, start, length), x.narrow(-1, start, length)
        product = product * (1 + torch.exp(-part.abs()))
        linear = linear + (part * value - part.clamp(min=0))

    return (linear - torch.log(product)).sum(-1)


def num_factors(size: int) -> int:
    """How many factors to put under one logarithm for `size` pixels: whole vectors are left where
    possible. 1 means none.
    """
    divisors = [m for m in range(2, _MOST + 1) if size % m == 0 and size // m >= _LANES]
    whole = [m for m in divisors if size // m % _LANES == 0]
    return max(whole or divisors, default=1)


def _rewrite_sum(graph: fx.Graph, node: Any) -> None:
    chain = _chain(node, _aten.view.default, _aten.neg.default, _ENTROPY)
    if chain is None or list(node.args[1]) != [-1] or len(node.args) > 2 or node.kwargs:
        return

    view, _, entropy = chain
    logits, x, *options = entropy.args
    shape = view.meta["val"].shape
    factors = num_factors(shape[-1])
    same = logits.meta["val"].shape == x.meta["val"].shape
    if options[:2] != [None, None] or factors == 1 or not same:
        return

    def total(logits: Tensor, x: Tensor) -> Tensor:
        return log_bernoulli_sum(logits, x, shape[-1], factors)

    with graph.inserting_before(node):
        inner = fx.Tracer().trace(total)
        copied: dict[fx.Node, fx.Node] = {}
        for place, value in zip(inner.find_nodes(op="placeholder"), (logits, x), strict=True):
            copied[place] = graph.call_function(_aten.reshape.default, (value, list(shape)))
        result = graph.graph_copy(inner, copied)

    node.replace_all_uses_with(result)


def _chain(node: Any, *targets: object) -> list[Any] | None:
    """The first argument of `node`, that argument's first argument and so on, if they call these
    targets.
    """
    found = []
    for target in targets:
        node = node.args[0]
        if not isinstance(node, fx.Node) or node.target is not target:
            return None
        found.append(node)
    return found


_PURE = {
    _aten.view.default,
    _aten.neg.default,
    _ENTROPY,
    _aten.sum.dim_IntList,
}
