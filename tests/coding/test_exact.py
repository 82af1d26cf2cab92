"""Programs give the same bits in any batch, and nearly what torch gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.coding import elementary
from pyro_vae.coding.exact import Exact
from pyro_vae.coding.products import NotExact, product, rounded

POINTS = torch.linspace(-30, 30, 4001, dtype=torch.double)
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "exp": (torch.exp, torch.linspace(-700, 700, 4001, dtype=torch.double)),
    "log": (torch.log, torch.logspace(-300, 300, 4001, dtype=torch.double)),
    "sigmoid": (torch.sigmoid, POINTS),
    "tanh": (torch.tanh, POINTS),
    "softplus": (nn.functional.softplus, POINTS),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_elementary_function_is_right_to_a_few_units_in_the_last_place(name: str) -> None:
    theirs, x = FUNCTIONS[name]
    mine, exact = getattr(elementary, name)(x), theirs(x)
    off = (mine - exact).abs() / exact.abs().clamp(min=1 if name != "exp" else 0)
    # torch's softplus is x itself beyond 20, which is exp(-20) off
    assert off.max() < (2.1e-9 if name == "softplus" else 1e-15)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_elementary_function_does_not_depend_on_the_place_in_a_tensor(name: str) -> None:
    _, x = FUNCTIONS[name]
    function = getattr(elementary, name)
    alone = torch.cat([function(x[n : n + 1]) for n in range(0, 4000, 7)])
    assert torch.equal(alone, function(x)[:4000:7])


def test_logarithms_near_one_and_of_powers() -> None:
    assert elementary.log(torch.tensor([1.0], dtype=torch.double)).item() == 0
    x = 1 + torch.linspace(-1e-6, 1e-6, 101, dtype=torch.double)
    assert torch.allclose(elementary.log(x), torch.log(x), rtol=1e-9, atol=0)
    two = elementary.log(torch.tensor([2.0], dtype=torch.double)).item()
    assert abs(two - math.log(2)) < 1e-16


@pytest.mark.parametrize("size", [1, 2, 3, 300, 784, 1025])
def test_products_do_not_depend_on_the_order(size: int) -> None:
    torch.manual_seed(size)
    left = torch.randn(7, size, dtype=torch.double) * 10 ** torch.linspace(-3, 3, 7)[:, None]
    right = torch.randn(size, 11, dtype=torch.double)
    order = torch.randperm(size)

    made = product(left, right)
    assert torch.equal(made, product(left[:, order], right[order]))
    assert torch.equal(made[3:4], product(left[3:4], right))
    scale = left.abs().amax(1)[:, None] * right.abs().amax(0) * size
    assert ((made - left @ right).abs() / scale).max() < 2.0**-20


def test_the_worst_sum_is_still_an_integer_that_a_float_holds() -> None:
    for size in (1, 255, 256, 257, 4096):
        bits = (52 - (size - 1).bit_length()) // 2
        integers, _ = rounded(torch.full((1, size), 1 - 2.0**-50, dtype=torch.double), bits, 1)
        assert integers.max() == 2**bits
        assert size * int(integers.max()) ** 2 <= 2**52


NETS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "MLP": lambda: (pv.MLP((6, 5), (12, 7)), torch.randn(9, 6, 5)),
    "tanh": lambda: (pv.MLP(30, (12, 7), nn.Tanh), torch.randn(9, 30)),
    "ELU": lambda: (pv.MLP(30, (12, 7), nn.ELU), torch.randn(9, 30)),
    "SiLU": lambda: (pv.MLP(30, (12, 7), nn.SiLU), torch.randn(9, 30)),
    "softplus": lambda: (pv.MLP(30, (12, 7), nn.Softplus), torch.randn(9, 30)),
    "gated": lambda: (pv.GatedDecoder(4, (12, 7), (6, 5), 1), torch.randn(9, 4)),
    "particles": lambda: (pv.GatedDecoder(4, (12, 7), (6, 5), 1), torch.randn(9, 3, 4)),
    "conv": lambda: (pv.Conv((2, 7, 6), (8,), (3, 4)), torch.randn(9, 2, 7, 6)),
    "conv decoder": lambda: (pv.ConvDecoder(4, (8,), (2, 7, 6), 1, (3, 4)), torch.randn(9, 4)),
    "wide stride": lambda: (
        nn.ConvTranspose2d(2, 3, 3, stride=(3, 2), padding=1, output_padding=1, dilation=2),
        torch.randn(9, 2, 4, 5),
    ),
}


@pytest.fixture(params=list(NETS))
def net(request: pytest.FixtureRequest) -> Iterator[tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    made, x = NETS[request.param]()
    with torch.no_grad():
        yield made.eval(), x


def test_a_net_gives_nearly_what_torch_gives(net: tuple[nn.Module, Tensor]) -> None:
    made, x = net
    with Exact(made):
        exact = made(x)
    assert exact.shape == made(x).shape and exact.dtype == torch.float32
    assert torch.allclose(exact, made(x), rtol=1e-5, atol=1e-5)


def test_a_net_gives_the_same_bits_in_any_batch(net: tuple[nn.Module, Tensor]) -> None:
    made, x = net
    with Exact(made):
        alone = torch.cat([made(x[n : n + 1]) for n in range(len(x))])
        halves = torch.cat([made(x[:4]), made(x[4:])])
        turned = made(x.flip(0)).flip(0)
        assert torch.equal(made(x), alone)
        assert torch.equal(made(x), halves)
        assert torch.equal(made(x), turned)


def test_a_net_gives_the_same_bits_on_any_number_of_threads() -> None:
    torch.manual_seed(0)
    made, x = pv.GatedMLP(784, (300, 300)), torch.randn(60, 784)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.no_grad(), Exact(made):
                found.append(made(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_what_is_not_known_to_be_the_same_is_refused() -> None:
    x = torch.randn(5, 4)
    for function in (torch.sum, torch.cos, lambda x: torch.add(x, x, alpha=0.1), nn.LayerNorm(4)):
        with torch.no_grad(), Exact(), pytest.raises(NotExact, match="not known to give the same"):
            function(x)
    with torch.no_grad(), Exact(), pytest.raises(NotExact, match="2 groups"):
        nn.Conv2d(2, 2, 3, groups=2)(torch.randn(1, 2, 5, 5))
    with torch.no_grad(), Exact(), pytest.raises(NotExact, match="NaN or infinite"):
        nn.Linear(4, 2)(x / 0)
