"""What a process holds does not grow with steps and calls; `python -m benchmarks.flat` has the
figures of 100,000 steps and 1,000 calls.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from benchmarks.flat import NUMBER, PARTS, Counter, grown, measured, measured_apart
from tests.faults.scale import times
from tests.faults.tally import Tally

LONG = times(0, 1)
COUNTED = ("files", "threads", "system's threads", "tensors", "with a graph", "random states")
COUNTED += ("captured graphs", "compiled code", "parameters in the store")
SHORT = {"train, pyro": 300}  # steps


@pytest.fixture
def only_what_is_new() -> Iterator[None]:
    """Garbage is looked for among new objects alone, which takes a tenth of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("part", times(list(SHORT), list(PARTS)))
def test_nothing_is_kept(
    part: str, only_what_is_new: None, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.setattr("benchmarks.flat.FIRST", times(0.5, 0.05))  # what comes once has come
    number = NUMBER[part] // 10 if LONG else SHORT[part]
    found = measured_apart(part, number) if LONG else measured(part, number, 3)
    more = grown(found["samples"])
    kept = {name: more[name] for name in COUNTED if more[name] > 0}
    print(
        f"{part}: {number} times in {found['seconds']} s, {more['MiB']:+.2f} MiB,"
        f" {more['objects']:+.0f} objects, {len(kept)} other figures grew"
    )
    tally("figures of a long process", len(more), len(kept))
    assert kept == {} and more["MiB"] < 8
    assert more["objects"] < 2000  # the bar remembers a thousand paces


def test_what_is_kept_is_seen(only_what_is_new: None) -> None:
    """Or the test above could not fail."""
    import torch

    told, kept = Counter(9, 3), []
    for _ in range(9):
        kept.append((torch.ones(1, requires_grad=True) * 2, torch.get_rng_state()))
        told()
    more = grown(told.samples)
    assert more["tensors"] >= 12 and more["with a graph"] >= 6 and more["random states"] >= 6
