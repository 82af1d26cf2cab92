"""Arrays from .npy and .npz files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_vae.data import load
from tests.data.arrays import GREY, REAL, npy, npz


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (GREY.reshape(20, 20), (20,)),
        (GREY, (1, 4, 5)),
        (GREY[:, None], (1, 4, 5)),
        (GREY[..., None], (1, 4, 5)),
        (np.stack([GREY] * 3, 1), (3, 4, 5)),
        (np.stack([GREY] * 3, 3), (3, 4, 5)),
    ],
    ids=["N,D", "N,H,W", "N,1,H,W", "N,H,W,1", "N,3,H,W", "N,H,W,3"],
)
def test_layouts(array: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    data = load(npy(tmp_path, array))
    assert data.shape == shape and data.binarise == "dequantise" and data.name == "own"
    parts = [data.train, data.valid, data.test]
    assert [len(part) for part in parts if part is not None] == [16, 2, 2]
    seen = {
        row.numpy().tobytes()
        for part in parts
        if part is not None
        for row in part.pixels[:, ..., 0]
    }
    assert len(seen) == 20 or len(shape) == 1
    same = load(str(npy(tmp_path, array)))
    assert torch.equal(same.train.pixels, data.train.pixels)


def test_channels_last_is_permuted_and_not_reshaped(tmp_path: Path) -> None:
    rgb = np.stack([GREY, 255 - GREY, GREY // 2], 3)  # (20, 4, 5, 3)
    data = load(npz(tmp_path, train=rgb, test=rgb), valid=0)
    assert np.array_equal(data.train.pixels.numpy(), np.moveaxis(rgb, 3, 1))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint16", ">i4"])
def test_integers_in_range_are_pixels(dtype: str, tmp_path: Path) -> None:
    data = load(npz(tmp_path, train=GREY.astype(dtype), test=GREY.astype(dtype)), valid=0)
    assert data.train.pixels.dtype == torch.uint8
    assert np.array_equal(data.train.pixels.numpy()[:, 0], GREY)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_stay_real(dtype: str, tmp_path: Path) -> None:
    data = load(npz(tmp_path, train=REAL.astype(dtype), test=REAL.astype(dtype)))
    assert data.binarise == "none" and data.train.pixels.dtype == torch.float32
    assert np.array_equal(data.test.x.numpy(), REAL.astype(dtype).astype(np.float32))
    unit = load(npy(tmp_path, np.abs(REAL.astype(dtype)) / 9))
    assert unit.binarise == "none"
    asked = load(npy(tmp_path, np.abs(REAL.astype(dtype)) / 9), binarise="dynamic")
    assert set(asked.train.x.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_zeros_and_ones_are_binary_data(dtype: str, tmp_path: Path) -> None:
    bits = GREY > 127
    data = load(npz(tmp_path, train=bits.astype(dtype), test=bits.astype(dtype)))
    assert data.binarise == "dynamic" and set(data.train.pixels.unique().tolist()) == {0, 255}
    assert np.array_equal(data.test.x.numpy()[:, 0], bits)
    again = load(npz(tmp_path, train=bits.astype(dtype), test=bits.astype(dtype)), seed=9)
    assert again.test.fingerprint == data.test.fingerprint


def test_parts_are_judged_together(tmp_path: Path) -> None:
    data = load(npz(tmp_path, train=GREY, test=GREY // 255))
    assert int(data.test.pixels.max()) <= 1  # nearly black, not binary


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("prefix", ["", "x_"])
def test_npz_with_parts(save: Callable[..., None], prefix: str, tmp_path: Path) -> None:
    arrays = {
        f"{prefix}train": GREY,
        f"{prefix}test": GREY[:7],
        "y_train": np.array(["a"] * 20, object),
    }
    save(tmp_path / "parts.npz", **arrays)  # labels, even pickled ones, are not looked at
    data = load(tmp_path / "parts.npz")
    assert data.valid is not None
    assert (len(data.train), len(data.valid), len(data.test)) == (18, 2, 7)
    assert np.array_equal(data.train.pixels.numpy()[:, 0], GREY[:18])
    assert np.array_equal(data.valid.pixels.numpy()[:, 0], GREY[18:])
    save(tmp_path / "parts.npz", **arrays, **{f"{prefix}valid": GREY[:3]})
    data = load(tmp_path / "parts.npz")
    assert data.valid is not None
    assert (len(data.train), len(data.valid), len(data.test)) == (20, 3, 7)
    with pytest.raises(ValueError, match=r"valid=4: parts brings its own validation rows"):
        load(tmp_path / "parts.npz", valid=4)


def test_npz_with_one_array_and_sizes(tmp_path: Path) -> None:
    data = load(npz(tmp_path, anything=GREY), valid=7)
    assert data.valid is not None
    assert (len(data.train), len(data.valid), len(data.test)) == (11, 7, 2)
    with pytest.raises(ValueError, match=r"valid=18: expected 0 <= valid < 18"):
        load(tmp_path / "own.npz", valid=18)
    assert [len(split) for split in (load(npy(tmp_path, GREY[:10])).train, data.test)] == [8, 2]


def test_a_file_named_like_a_known_set_is_split_like_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", GREY)
    assert len(load(tmp_path / "digits.npy").test) == 2


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (GREY[0, 0, 0], ValueError, "own.npy has shape \\(\\), expected \\(N,\\), \\(N, D\\)"),
        (GREY[None, None], ValueError, "has shape \\(1, 1, 20, 4, 5\\)"),
        (np.float64(3), ValueError, "has shape \\(\\)"),
        (GREY[:0], ValueError, "at least one row"),
        (GREY[:, :0], ValueError, "one value a row"),
        (np.stack([GREY] * 4, 1), ValueError, "expected 1 or 3 channels"),
        (GREY[:9], ValueError, "9 rows, expected at least 10"),
        (GREY.astype("i2") - 1, ValueError, "whole numbers \\(int16\\) in \\[-1, 25[34]\\]"),
        (
            GREY.astype("i8") * 2,
            ValueError,
            "pixels, counts, categories or grades\\? Say values='pixels'",
        ),
        (
            np.where(REAL > 2, np.inf, REAL),
            ValueError,
            "holds inf .* in [1-9] of 20 rows, the first is row",
        ),
        (REAL * 1e300, ValueError, "inf \\(as float32\\) in 20 of 20 rows"),
        (REAL * np.nan, ValueError, "holds nothing but NaN"),
        (REAL.astype(complex), ValueError, "complex128, expected bool, integers or floats"),
        (REAL.astype(str), ValueError, "dtype <U"),
        (
            REAL.astype(object),
            ValueError,
            "own.npy cannot be read .*pickled objects.*allow_pickle=False",
        ),
    ],
)
def test_bad_arrays(array: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        load(npy(tmp_path, array))


@pytest.mark.parametrize("rule", ["dynamic", "static", "threshold"])
def test_floats_out_of_range_cannot_be_binarised(rule: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"train: binarise='{rule}' .* lie in \\[-[0-9.]+, [0-9.]+\\]; rescale"
    ):
        load(npy(tmp_path, REAL), binarise=rule)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": GREY, "b": GREY}, "holds the arrays \\['a', 'b'\\], expected either one array"),
        ({"train": GREY, "valid": GREY}, "expected either one array, or 'train' and 'test'"),
        ({"train": GREY, "x_train": GREY, "test": GREY}, "holds both 'train' and 'x_train'"),
        (
            {"train": GREY, "test": GREY[:, 1:]},
            "different shapes \\(train \\(1, 4, 5\\), test \\(1, 3, 5\\)\\)",
        ),
        (
            {"train": GREY, "test": GREY / 255},
            "mix kinds of numbers \\(train uint8, test float64\\)",
        ),
        (
            {"train": GREY, "test": GREY[:0]},
            "test has shape \\(0, 4, 5\\), expected at least one row",
        ),
        ({"train": GREY[:1], "test": GREY}, "valid=1: expected 0 <= valid < 1"),
        ({}, "holds the arrays \\[\\]"),
    ],
)
def test_bad_npz(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = npz(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_one_array_of_any_name_is_one_array(tmp_path: Path) -> None:
    assert len(load(npz(tmp_path, train=GREY)).train) == 16


@pytest.mark.parametrize("keep", [1, 7, 60, 200, 500])
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_torn_files_are_named(kind: str, keep: int, tmp_path: Path) -> None:
    path = npy(tmp_path, GREY) if kind == "npy" else npz(tmp_path, all=GREY)
    if kind == "compressed":
        np.savez_compressed(path, all=GREY)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read as numpy arrays: it is torn"):
        load(path)


def test_damage_inside_an_npz_is_told(tmp_path: Path) -> None:
    path = npz(tmp_path, all=GREY)
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(
        ValueError, match=r"own.npz cannot be read as numpy arrays: it is torn.*CRC"
    ):
        load(path)


def test_other_bad_paths(tmp_path: Path) -> None:
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npy").write_text("hello, this is text")
    (tmp_path / "table.txt").write_text("1,2")
    with pytest.raises(ValueError, match=r"empty.npy is empty \(0 bytes\)"):
        load(tmp_path / "empty.npy")
    with pytest.raises(ValueError, match=r"text.npy cannot be read as numpy arrays"):
        load(tmp_path / "text.npy")
    with pytest.raises(ValueError, match=r"table.txt: expected a .npy or .npz file, a table"):
        load(tmp_path / "table.txt")
    with pytest.raises(
        FileNotFoundError, match=r"there is no file or folder missing.npz, looked for from"
    ):
        load("missing.npz")
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder missing"):
        load(Path("missing"))
