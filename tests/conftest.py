"""One torch thread (the nets of the tests are small, and the machine may be busy), and a clean
parameter store.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pyro
import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _less_garbage_collection() -> None:
    # a full one looks at a million objects of torch's; those who count what is left collect first
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(autouse=True)
def _clean_state() -> Iterator[None]:
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    assert torch.get_default_dtype() == torch.float32, "a test left another default dtype"


@pytest.fixture(scope="module")
def less_patience() -> Iterator[None]:
    """Local inference that waits half as long: for tests of what it is used for, held to what they
    are held to anyway; how good it is with the patience that it has is for test_local.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_vae.inference.converge.PATIENCE", (2, 2, 2, 2, 8))
        yield


@pytest.fixture
def quick_convergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local inference that gives up early: for tests of its use, not of how good it is."""
    monkeypatch.setattr("pyro_vae.inference.converge.PATIENCE", (1, 1, 1, 1, 1))


@pytest.fixture
def hasty_convergence(quick_convergence: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few dozen steps of it: for tests that only look at whether its results are passed on."""
    monkeypatch.setattr("pyro_vae.inference.converge.WINDOW", 5)
