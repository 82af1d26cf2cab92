"""What is pushed comes back, at the price of its probability; what is popped first goes back."""

from __future__ import annotations

import numpy as np

from pyro_vae.coding.buckets import CHANCE, Integers
from pyro_vae.coding.stack import Stack, initial_words, lifted

RNG = np.random.default_rng(0)


def test_what_is_pushed_comes_back_and_costs_its_logarithm() -> None:
    stack = Stack(initial_words(200))
    start, words = stack.size, stack.words()
    sizes = RNG.integers(2, 2**20, 50)
    values = RNG.integers(0, sizes)
    chances = RNG.integers(1, 2**CHANCE, 500)
    bits = (RNG.random(500) < chances / 2**CHANCE).astype(np.int64)
    low, width = RNG.integers(0, 2**15, 40), RNG.integers(2, 2**14, 40)

    stack.push_uniform(values, sizes)
    stack.push_binary(bits, chances)
    stack.push_intervals(low, width, 16)
    share = np.where(bits == 1, chances, 2**CHANCE - chances) / 2**CHANCE
    price = np.log2(sizes).sum() - np.log2(share).sum() - np.log2(width / 2**16).sum()
    assert abs(stack.size - start - price) < 1e-3 * price + 1.0

    def locate(mass: Integers) -> tuple[Integers, Integers, Integers]:
        assert ((low <= mass) & (mass < low + width)).all()
        return mass, low, width

    stack.pop_intervals(40, 16, locate)
    assert (stack.pop_binary(chances) == bits).all()
    assert (stack.pop_uniform(sizes) == values).all()
    assert (stack.words() == words).all() and stack.size == start


def test_what_is_popped_and_pushed_again_leaves_the_stack_as_it_was() -> None:
    stack = Stack(initial_words(300))
    words = stack.words()
    chances = RNG.integers(1, 2**CHANCE, 3000)
    drawn = stack.pop_binary(chances)
    off = (drawn - chances / 2**CHANCE).sum() / np.sqrt(3000 / 6)  # a chance's variance is 1/6
    assert abs(off) < 5  # draws of these chances
    stack.push_binary(drawn, chances)
    assert (stack.words() == words).all()


def test_words_go_below() -> None:
    stack = Stack(initial_words(0))
    assert stack.size == 0
    for number in (0, 2):
        stack = lifted(stack, number, 2)
    assert (stack.words() == initial_words(4)).all()

    words = stack.words()
    drawn = stack.pop_uniform(2**22, 2)
    stack = lifted(stack, 4, 3)
    assert (Stack(initial_words(7)).pop_uniform(2**22, 2) == drawn).all()
    stack.push_uniform(drawn, 2**22)
    assert (stack.words() == initial_words(7)).all() and (stack.words()[3:] == words).all()
