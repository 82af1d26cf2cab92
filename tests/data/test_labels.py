"""Labels: those of the named sets and of a user's .npz follow their rows, and change nothing."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_vae.data import Dataset, Split, load
from pyro_vae.data.named import LABELS
from tests.data.arrays import GREY, npz
from tests.data.test_sources import REAL_ROOT, idx_bytes, needs_mnist, write_set

TEXTS = np.array(["one", "two"] * 10)


def labels(split: Split | None) -> list[int]:
    assert split is not None and split.labels is not None
    return split.labels.tolist()


def test_the_digits_know_which_they_are() -> None:
    from sklearn.datasets import load_digits

    data, target = load("digits"), load_digits().target
    for split in data.splits.values():
        assert torch.equal(split.labels, torch.from_numpy(target)[split.numbers()])
        assert split.labels.dtype == torch.int64 and split.label_names is None
    assert data.test.fingerprint == "f1e5f961e9ad2775"  # as before there were labels


def test_labels_follow_their_rows() -> None:
    split = replace(load("digits").test, label_names=tuple("abcdefghij"))
    for other in (split.take(7), split.to("cpu").take(7), split._numbered(split.numbers() + 9)):
        assert torch.equal(other.labels, split.labels[: len(other)])
        assert other.label_names == split.label_names
    data = load("digits").under("threshold").to("cpu")
    assert torch.equal(data.test.labels, split.labels)


def test_no_fingerprint_knows_of_a_label() -> None:
    split = load("digits").test
    bare = replace(split, labels=None)
    assert bare.labels is None and bare.fingerprint == split.fingerprint
    assert torch.equal(bare.x, split.x) and torch.equal(bare.numbers(), split.numbers())
    assert "label" not in repr(split)


@needs_mnist
def test_mnist_has_labels() -> None:
    data = load("mnist", root=REAL_ROOT)
    assert labels(data.test)[:5] == [7, 2, 1, 0, 4]
    sizes = [len(labels(split)) for split in data.splits.values()]
    assert sizes == [50_000, 10_000, 10_000]
    counts = data.train.labels.bincount() + data.valid.labels.bincount()
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def with_labels(root: Path, folder: str, train: bytes, suffix: str = "") -> Path:
    """A set with label files: these bytes, and right ones of the test part."""
    write_set(root, idx_bytes(60_000), idx_bytes(10_000), folder)
    pack = gzip.compress if suffix else bytes
    test = struct.pack(">2i", 2049, 10_000) + bytes(range(10)) * 1000
    for name, content in zip(LABELS.values(), (train, test), strict=True):
        (root / folder / "raw" / f"{name}{suffix}").write_bytes(pack(content))
    return root


RIGHT = struct.pack(">2i", 2049, 60_000) + bytes(number % 7 for number in range(60_000))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_label_files_are_read(suffix: str, tmp_path: Path) -> None:
    root = with_labels(tmp_path, "FashionMNIST", RIGHT, suffix)
    data = load("fashion_mnist", root=root)
    for split in (data.train, data.valid):
        assert torch.equal(split.labels, split.numbers() % 7)
    assert labels(data.test)[:12] == [*range(10), 0, 1]
    assert data.test.label_names[9] == "boot" and len(data.test.label_names) == 10

    (root / "FashionMNIST" / "raw" / f"{LABELS['train']}{suffix}").unlink()
    data = load("fashion_mnist", root=root)
    assert data.train.labels is None is data.train.label_names and data.test.labels is not None


@pytest.mark.parametrize(
    "content",
    [RIGHT[:-1], RIGHT + b"0", b"", RIGHT[:3], struct.pack(">2i", 2051, 60_000) + RIGHT[8:]],
    ids=["short", "long", "empty", "torn", "magic"],
)
def test_a_broken_label_file_is_told(content: bytes, tmp_path: Path) -> None:
    root = with_labels(tmp_path, "MNIST", content)
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte is torn or another file"):
        load("mnist", root=root)


def test_a_label_out_of_range_is_told(tmp_path: Path) -> None:
    root = with_labels(tmp_path, "MNIST", RIGHT[:-1] + b"\xff")
    with pytest.raises(ValueError, match="holds the label 255, expected 0 to 9"):
        load("mnist", root=root)


def test_a_single_array_has_its_labels_shuffled_with_it(tmp_path: Path) -> None:
    data = load(npz(tmp_path, x=GREY, y=np.arange(20, dtype=np.uint8) - 5))
    for split in data.splits.values():
        assert np.array_equal(split.pixels[:, 0].numpy(), GREY[split.numbers()])
        assert torch.equal(split.labels, (split.numbers() - 5) % 256)


def test_parts_have_their_own(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"x_train": GREY, "x_test": GREY[:7]}
    data = load(npz(tmp_path, **parts, y_train=TEXTS, y_test=TEXTS[1:8]))
    assert [split.label_names for split in data.splits.values()] == [("one", "two")] * 3
    assert labels(data.train) == [0, 1] * 9 and labels(data.valid) == [0, 1]
    assert labels(data.test) == [1, 0, 1, 0, 1, 0, 1]

    data = load(npz(tmp_path, **parts, y_train=np.arange(20) % 2 == 0))
    assert labels(data.train)[:3] == [1, 0, 1] and data.test.labels is None
    data = load(npz(tmp_path, **parts, x_valid=GREY[:2], y_valid=[8, 9]))
    assert labels(data.valid) == [8, 9] and data.train.labels is None


@pytest.mark.parametrize(
    "y",
    [np.arange(20) + 0.5, np.eye(20, dtype=int), np.array(["a"] * 20, object), np.int64(3)],
    ids=["floats", "one-hot", "pickled", "single"],
)
def test_what_is_no_label_is_left_alone(y: Any, tmp_path: Path) -> None:
    assert load(npz(tmp_path, x=GREY, y=y)).train.labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y_train": TEXTS[:19]}, "y_train holds 19 labels, expected 20"),
        ({"y_train": TEXTS, "y_test": np.arange(20)}, "are numbers and texts"),
        ({"y_train": np.full(20, 2**64 - 1, np.uint64)}, "expected 64-bit integers"),
    ],
)
def test_labels_that_do_not_fit_are_told(arrays: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load(npz(tmp_path, train=GREY, test=GREY, **arrays))


def test_a_set_of_ones_own_keeps_its_labels() -> None:
    own = torch.tensor([3, -1, 4], dtype=torch.int32)
    split = Split("train", torch.zeros(3, 2), "none", labels=own)
    data = Dataset("own", split, None, split).under("threshold")
    kept: list[Tensor | None] = [data.train.labels, data.to("cpu").test.labels]
    assert all(values is not None and torch.equal(values, own) for values in kept)
