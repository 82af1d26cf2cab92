"""One torch thread (the nets of the tests are small, and the machine may be busy), a clean
parameter store, and the longest files first.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import pyro
import pytest
import torch

# Workers take whole files: what is left when they come to an end should be short.
LONGEST = (
    "test_tutorial.py",
    "test_inductor.py",
    "test_experiments.py",
    "test_local.py",
    "test_gaps.py",
    "test_stopped.py",
    "test_kills.py",
    "test_report.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist take files in our order, not those of most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and then those of most tests, as pytest-xdist would."""
    numbers = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[int, int]:
        name = item.path.name
        first = LONGEST.index(name) if name in LONGEST else len(LONGEST)
        return first, -numbers[item.path]

    items.sort(key=place)


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
