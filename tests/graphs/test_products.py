"""Large products by oneDNN are the same products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyro_vae.graphs import capture, products
from pyro_vae.graphs.compiling import compile_graph
from pyro_vae.graphs.rewrite import rewrite

LINEAR = torch.ops.pyro_vae.linear.default


def layer(x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor) -> list[Tensor]:
    """A layer's products in both directions: inputs, weights, biases as autograd lays them out."""
    return [torch.addmm(bias, x, weight.t()), gradient.t() @ x, gradient @ weight, x @ weight.t()]


def arguments(rows: int, n_in: int, n_out: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    shapes = [(rows, n_in), (n_out, n_in), (n_out,), (rows, n_out)]
    return [torch.randn(*shape, dtype=torch.float64).to(dtype) for shape in shapes]


@pytest.fixture(autouse=True)
def zen_4(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "limits", lambda: products.ZEN_4)


@pytest.mark.parametrize("compiled", [False, True], ids=["op by op", "compiled"])
@pytest.mark.parametrize(
    "taken", [(products.ZEN_4, 3), (products.ZEN_5, 4)], ids=["Zen 4", "Zen 5"]
)
def test_are_as_exact_as_before(
    taken: tuple[products.Limits, int], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, number = taken  # the gradient of a weight among them or not
    monkeypatch.setattr(products, "limits", lambda: limits)
    inputs = arguments(128, 784, 200)
    graph = capture(layer, inputs)
    rewrite(graph.module)
    assert len(graph.module.graph.find_nodes(op="call_function", target=LINEAR)) == number
    with torch.no_grad():
        got = (compile_graph(graph, inputs) if compiled else graph.module)(*inputs)
    for mine, exact in zip(got, layer(*(t.double() for t in inputs)), strict=True):
        assert mine.shape == exact.shape
        # float32 with float32 sums: bfloat16 or TF32 factors would be off by 1e-3
        assert (mine - exact).norm() <= 1e-6 * exact.norm()


@pytest.mark.parametrize(
    "inputs",
    [
        arguments(20, 784, 200),
        arguments(128, 200, 200),
        arguments(1024, 784, 50),
        arguments(128, 784, 200, torch.float64),
    ],
    ids=["few rows", "few multiplications", "short side", "float64"],
)
def test_others_are_left_alone(inputs: list[Tensor]) -> None:
    graph = capture(layer, inputs)
    rewrite(graph.module)
    assert not graph.module.graph.find_nodes(op="call_function", target=LINEAR)


def test_a_weight_that_the_function_reads_is_a_product_too() -> None:
    _, weight, bias, _ = arguments(128, 784, 200)
    x = torch.randn(128, 784)
    graph = capture(lambda x: [torch.nn.functional.linear(x, weight, bias)], [x])
    rewrite(graph.module)
    assert graph.module.graph.find_nodes(op="call_function", target=LINEAR)
    weight.mul_(2)  # in place: the graph reads it
    (got,) = graph.module(*graph.reads, x)
    expected = torch.nn.functional.linear(x, weight, bias)
    assert (got - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: [torch.addmm(torch.ones(128, 784), a, b.t())],
        lambda a, b: [torch.addmm(torch.ones(784), a, b.t(), beta=2)],
    ],
    ids=["a matrix is added", "with a factor"],
)
def test_other_sums_are_left_alone(function: object) -> None:
    a, b = torch.randn(128, 200), torch.randn(784, 200)
    graph = capture(function, [a, b])  # type: ignore[arg-type]
    rewrite(graph.module)
    assert not graph.module.graph.find_nodes(op="call_function", target=LINEAR)


def test_nothing_is_done_on_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "limits", lambda: None)
    inputs = arguments(128, 784, 200)
    graph = capture(layer, inputs)
    rewrite(graph.module)
    assert not graph.module.graph.find_nodes(op="call_function", target=LINEAR)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_f": True, "avx_vnni": True}, "ZEN_5"),
        ({"cpu_name": "AMD EPYC", "avx512_f": True, "avx_vnni": False}, "ZEN_4"),
        ({"cpu_name": "AMD EPYC"}, "ZEN_4"),
        ({"cpu_name": "Intel(R) Xeon(R)", "avx512_f": True, "avx_vnni": True}, None),
        ({}, None),
    ],
    ids=["Zen 5", "Zen 4", "Zen 3", "Intel", "not told"],
)
def test_the_processor_is_known_by_what_it_can(
    facts: dict[str, object], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: facts)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert products.limits() == (None if expected is None else getattr(products, expected))
