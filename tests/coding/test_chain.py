"""One datum after another: what is pushed is popped, and the stack is as it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pyro_vae.coding import chain
from pyro_vae.coding.buckets import buckets
from pyro_vae.coding.reading import Reader, reading
from pyro_vae.coding.stack import Stack, initial_words, lifted
from tests.coding.programs import binary, encoder, vae

X = binary(2, 6).numpy().astype(np.int64)


@pytest.fixture
def reader() -> Iterator[Reader]:
    with reading(vae((6,), 3), encoder((6,), 3), (6,), buckets(10)) as opened:
        yield opened


def pushed(stack: Stack, reader: Reader, number: int, k: int) -> float:
    q = chain.posterior(reader, X[number], number)
    return chain.push(stack, reader, X[number], q, number, chain.draw(stack, reader, q, k))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_popping_leaves_the_stack_as_it_was(reader: Reader, k: int) -> None:
    stack = Stack(initial_words(40))
    for number in (0, 1):
        pushed(stack, reader, number, k)
    for number in (1, 0):
        assert (chain.pop(stack, reader, number, k) == X[number]).all()
    assert (stack.words() == initial_words(40)).all()


@pytest.mark.parametrize("k", [1, 3])
def test_more_words_may_come_below_in_between(reader: Reader, k: int) -> None:
    stack = Stack(initial_words(20))
    pushed(stack, reader, 0, k)
    stack = lifted(stack, 20, 7)
    pushed(stack, reader, 1, k)
    for number in (1, 0):
        assert (chain.pop(stack, reader, number, k) == X[number]).all()
    assert (stack.words() == initial_words(27)).all()


def test_a_datum_costs_what_its_weight_says(reader: Reader) -> None:
    for k in (1, 4):
        stack = Stack(initial_words(400))
        before, ideal = stack.size, 0.0
        for _ in range(40):
            ideal += pushed(stack, reader, 0, k)
        # 2^10 buckets of three latents: in each of 40 draws the density is not flat in a bucket
        assert stack.size - before == pytest.approx(ideal, rel=0.02)


def test_a_stack_that_ends_too_early_is_told(reader: Reader) -> None:
    stack = Stack(initial_words(2))
    with pytest.raises(ValueError, match="end too early"):
        for _ in range(100):
            chain.pop(stack, reader, 0, 1)
