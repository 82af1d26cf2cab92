"""Matrix products of a captured graph by oneDNN instead of MKL, where that is the faster of torch's
two libraries.

Torch multiplies float32 matrices by MKL, which does not use all that an AMD processor has; oneDNN,
which torch has for convolutions, does. Both multiply and add in float32, so no further rounding
comes in. Small products, and those with a short side, stay with MKL, whose calls cost less.

* Zen 4 and earlier: MKL is at 90% of the processor's speed. A product whose first matrix is a
  transposed one, as in the gradient of a weight, stays with it too: MKL reads it as it lies, oneDNN
  would want a copy, and is no faster with it.
* Zen 5, whose vectors are 512 bits wide: MKL is at half of it, and oneDNN twice as fast, the copy
  included.

The rule depends on processor and shapes, not on a timing of the two: a seeded run must repeat bit
for bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

_aten = torch.ops.aten
_BY_ROWS: dict[str, Any] = {"memory_format": torch.contiguous_format}


class Limits(NamedTuple):
    """Which products oneDNN takes.

    Attributes:
        least: multiplications.
        shortest: side of a matrix.
        transposed: whether also those of a transposed first matrix.
    """

    least: int
    shortest: int
    transposed: bool


ZEN_4 = Limits(least=8_000_000, shortest=100, transposed=False)
ZEN_5 = Limits(least=4_000_000, shortest=48, transposed=True)

# an op of our own, which Inductor calls as it is
_library = torch.library.Library("pyro_vae", "FRAGMENT")
_library.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.t() + bias`; x is contiguous, weight may be a transposed matrix."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def _linear_meta(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


_library.impl("linear", _linear, "CPU")
_library.impl("linear", _linear_meta, "Meta")


def limits() -> Limits | None:
    """Which products oneDNN takes, by what was measured on such a processor; None: none."""
    # an older torch does not tell: MKL then
    facts: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    if not both or not str(facts.get("cpu_name", "")).startswith("AMD"):
        return None
    return ZEN_5 if facts.get("avx512_f") and facts.get("avx_vnni") else ZEN_4


def products(graph: fx.Graph) -> None:
    """Rewrite every large `a @ b` and `bias + a @ b` of float32 matrices on the CPU in place."""
    taken = limits()
    if taken is None:
        return
    for node in list(graph.nodes):
        bias, a, b = _operands(node)
        if a is None or not _is_large(a.meta["val"], b.meta["val"], taken):
            continue

        with graph.inserting_before(node):
            if not a.meta["val"].is_contiguous():
                a = graph.call_function(_aten.clone.default, (a,), _BY_ROWS)
            weight = graph.call_function(_aten.t.default, (b,))
            result = graph.call_function(torch.ops.pyro_vae.linear.default, (a, weight, bias))

        result.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(result)
        graph.erase_node(node)


def _operands(node: Any) -> tuple[Any, Any, Any]:
    """Bias, a and b of `bias + a @ b`; all None where the node is nothing of that kind."""
    if node.kwargs or node.target not in (_aten.mm.default, _aten.addmm.default):
        return None, None, None
    bias, a, b = (None, *node.args) if node.target is _aten.mm.default else node.args
    if isinstance(bias, fx.Node) and bias.meta["val"].shape != b.meta["val"].shape[1:]:
        return None, None, None
    return bias, a, b


def _is_large(a: Tensor, b: Tensor, taken: Limits) -> bool:
    sides = (*a.shape, b.shape[1])
    plain = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (a, b))
    return (
        plain
        and (a.is_contiguous() or taken.transposed)
        and min(sides) >= taken.shortest
        and sides[0] * sides[1] * sides[2] >= taken.least
    )
