"""Sets whose rows stay in a file: the same splits, draws and fingerprints as in memory, and little
memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_vae.data import Binarise, Dataset, Split, Stream, as_dataset, load
from pyro_vae.data.readers import spread_over
from tests.data.arrays import images, npy, npz

GREY = np.random.RandomState(0).randint(0, 256, (60, 4, 5)).astype(np.uint8)
REAL = np.random.RandomState(1).randn(60, 6).astype(np.float32)
ZERO_ONE = (REAL > 0).astype(np.int64)


def streamed(array: Any, path: Path, **options: Any) -> Dataset:
    """A set of a memory-mapped file."""
    return load(npy(path, array), memory_map=True, **options)


def stream_of(data: Dataset) -> Stream:
    assert isinstance(data.train, Stream)
    return data.train


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of few rows, whose sizes do not divide anything, and samples that are not all rows."""
    monkeypatch.setattr("pyro_vae.data.streams._BLOCK", 7 * 20)
    monkeypatch.setattr("pyro_vae.data.readers.MOST_ROWS", 17)


@pytest.mark.parametrize("rule", ["dynamic", "threshold", "dequantise", "none"])
@pytest.mark.usefixtures("small_blocks")
def test_rows_draws_and_fingerprints_are_those_in_memory(rule: Binarise, tmp_path: Path) -> None:
    there, here = streamed(GREY, tmp_path, binarise=rule), load(tmp_path / "own.npy", binarise=rule)
    train = stream_of(there)
    assert train.fingerprint == here.train.fingerprint
    assert there.test.fingerprint == here.test.fingerprint
    assert there.valid is not None and here.valid is not None
    assert torch.equal(there.valid.x, here.valid.x)
    assert torch.equal(train.numbers(), here.train.numbers())
    assert torch.equal(train.take(30).x, here.train.take(30).x)
    assert torch.allclose(there.mean, here.mean, rtol=1e-6)
    assert torch.equal(torch.cat([part.x for part in train.blocks(7)]), here.train.x)

    index = torch.tensor([3, 41, 0])
    one, two = (torch.Generator().manual_seed(5) for _ in range(2))
    assert torch.equal(train.batch(index, one), here.train.batch(index, two))
    assert len(train.sample) < len(train) == len(here.train)


@pytest.mark.parametrize(
    ("array", "dtype"), [(GREY, torch.uint8), (REAL, torch.float32), (ZERO_ONE, torch.uint8)]
)
def test_what_the_numbers_are_is_judged_as_in_memory(
    array: Any, dtype: torch.dtype, tmp_path: Path
) -> None:
    there, here = streamed(array, tmp_path), load(tmp_path / "own.npy")
    assert (there.shape, there.binarise, there.is_binary) == (
        here.shape,
        here.binarise,
        here.is_binary,
    )
    assert there.train.sample.pixels.dtype == dtype
    assert stream_of(there).identity == here.train.fingerprint  # all rows are the sample
    assert str(there).splitlines()[0] == str(here).splitlines()[0]
    assert "of" in repr(there.train) and there.num_rows == 60


def test_a_memory_map_in_a_users_hands(tmp_path: Path) -> None:
    array = np.load(npy(tmp_path, REAL), mmap_mode="r")
    there, here = as_dataset(array), as_dataset(REAL)
    assert isinstance(there.train, Stream) and isinstance(there.valid, Split)
    assert there.train.fingerprint == here.train.fingerprint
    assert there.test is there.valid and there.valid.fingerprint == here.test.fingerprint
    assert isinstance(as_dataset(array, 0).test, Split)
    wide = as_dataset(array, dtype=torch.float64).train
    assert wide.sample.x.dtype == torch.float64


def test_many_validation_rows_stay_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vae.data.readers.MOST_ROWS", 17)
    there = streamed(GREY, tmp_path, valid=20)
    assert isinstance(there.valid, Stream) and len(there.valid) == 20
    assert there.valid.fingerprint == load(tmp_path / "own.npy", valid=20).valid.fingerprint  # type: ignore[union-attr]


def test_the_largest_number_is_in_the_sample(small_blocks: None, tmp_path: Path) -> None:
    train = stream_of(streamed(GREY, tmp_path))
    assert train.numbers().max() in train.sample.numbers()
    assert spread_over(5, 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("array", "bad", "message"),
    [
        (REAL, np.nan, "finite values"),
        (REAL.astype(np.float64), 1e39, "finite values"),
        (ZERO_ONE, 2, "0 and 1 alone"),
        (np.clip(GREY.astype(int), 1, 255), 256, "pixels, whole numbers in 0..255"),
    ],
)
@pytest.mark.usefixtures("small_blocks")
def test_a_row_that_does_not_fit_is_named(
    array: Any, bad: float, message: str, tmp_path: Path
) -> None:
    array = array.copy()
    array[31, 2] = bad  # no row that is looked at first
    with pytest.raises(ValueError, match=f"row 31 does not hold {message}"):
        stream_of(streamed(array, tmp_path)).fingerprint  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"binarise": "static"}, "binarise='static' keeps one draw of all rows"),
        ({"valid": 54}, "valid=54: expected 0 <= valid < 54"),
        ({"memory_map": 1}, "memory_map: got 1, expected True or False"),
        ({"source": "digits"}, "memory_map: got the source 'digits', expected a path"),
        ({"source": "nowhere.npy"}, "there is no file or folder"),
    ],
)
def test_bad_arguments(arguments: Any, message: str, tmp_path: Path) -> None:
    usual = {"source": npy(tmp_path, GREY), "memory_map": True}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(**(usual | arguments))


def test_what_cannot_be_mapped_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"an \.npz is packed"):
        load(npz(tmp_path, x=GREY), memory_map=True)
    with pytest.raises(ValueError, match="cannot be read as numpy arrays"):
        streamed(np.array([{}] * 20), tmp_path)
    with pytest.raises(ValueError, match="holds complex128"):
        streamed(REAL.astype(complex), tmp_path)
    with pytest.raises(ValueError, match="9 rows, expected at least 10"):
        streamed(GREY[:9], tmp_path)
    with pytest.raises(ValueError, match=r"x: the 48 rows of 'train' are not in memory"):
        streamed(GREY, tmp_path).train.x  # noqa: B018


@pytest.mark.usefixtures("small_blocks")
def test_a_folder_of_images_is_read_picture_by_picture(tmp_path: Path) -> None:
    images(tmp_path, GREY)
    there, here = load(tmp_path, memory_map=True), load(tmp_path)
    train = stream_of(there)
    assert (there.name, there.shape, there.binarise) == (here.name, (1, 4, 5), here.binarise)
    assert train.fingerprint == here.train.fingerprint
    assert there.test.fingerprint == here.test.fingerprint
    assert torch.equal(train.pixels_at(torch.arange(9)), here.train.pixels[:9])

    images(tmp_path, [GREY[0, :3]])  # 000.png, the first of them, has another size now
    with pytest.raises(ValueError, match=r"is 5 x 4 grey, 000\.png is 5 x 3 grey, expected all"):
        load(tmp_path, memory_map=True)
