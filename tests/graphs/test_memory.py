"""Memory that a step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import platform
import resource

import pytest
import torch

from pyro_vae.graphs.memory import keep_freed_memory


def faults_of_a_turn() -> int:
    """Pages that ten turns of making and freeing some matrices of 3 MB ask the system for."""

    def turn() -> None:
        first = torch.zeros(800_000)
        kept = [torch.zeros(400_000), torch.zeros(800_000)]
        del first, kept

    for _ in range(3):
        turn()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        turn()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_pages_are_not_asked_for_again() -> None:
    mallopt = ctypes.CDLL(None).mallopt
    assert mallopt(-3, 2**17)
    assert mallopt(-1, 2**17)  # what glibc starts with
    if faults_of_a_turn() < 10_000:
        pytest.skip("the heap has room between what other tests have left")
    keep_freed_memory.cache_clear()
    assert keep_freed_memory()
    assert faults_of_a_turn() < 100


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory.cache_clear()
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()
