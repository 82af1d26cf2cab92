"""Several processes train as one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.processes.forked import together
from tests.processes.trainings import ALL, Found, all_of_them
from tests.scenarios import eager

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.CollapseWarning")


@pytest.fixture(scope="module")
def found() -> Iterator[tuple[dict[str, Found], list[dict[str, Found]]]]:
    with pytest.MonkeyPatch.context() as patch:
        eager(patch)
        yield all_of_them(), together(2, all_of_them)


@pytest.mark.parametrize("name", ALL)
def test_two_processes_train_as_one(
    name: str, found: tuple[dict[str, Found], list[dict[str, Found]]]
) -> None:
    (rows, parameters), others = found[0][name], [other[name] for other in found[1]]
    for theirs, ours in zip(others[0][0], rows, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5, nan_ok=True)
    for theirs, ours in zip(others[0][1], parameters, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    # and what the two hold is the same to the bit
    assert all(map(torch.equal, others[0][1], others[1][1]))
