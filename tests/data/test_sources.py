"""`load` on the named sets: sizes, disjoint fixed splits, roots, torn idx files, bad arguments."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_vae.data import Binarise, Dataset, load
from pyro_vae.data.named import digits
from pyro_vae.data.reading import looks_like_path
from tests.real import REAL_ROOT, needs_mnist

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def rows_of(pixels: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in pixels}


def sizes(data: Dataset) -> tuple[int, int, int]:
    return len(data.train), 0 if data.valid is None else len(data.valid), len(data.test)


def idx_bytes(rows: int, first: int = 0) -> bytes:
    """An idx file whose images spell their number (first, first + 1, ...) in 4 bytes."""
    images = np.zeros((rows, 784), np.uint8)
    images[:, :4] = np.arange(first, first + rows, dtype=">u4")[:, None].view(np.uint8)
    return struct.pack(">4i", 2051, rows, 28, 28) + images.tobytes()


def numbers(pixels: Tensor) -> list[int]:
    """The numbers that the images of `idx_bytes` spell."""
    spelled = pixels.reshape(len(pixels), -1)[:, :4].contiguous().numpy().view(">u4")
    return [int(number) for number in spelled[:, 0]]


def write_set(
    root: Path, train: bytes, test: bytes, folder: str = "MNIST", suffix: str = ""
) -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    pack = (lambda data: gzip.compress(data, 1)) if suffix else (lambda data: data)
    (raw / f"{TRAIN}{suffix}").write_bytes(pack(train))
    (raw / f"{TEST}{suffix}").write_bytes(pack(test))
    return root


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)


def test_digits() -> None:
    data = load("digits")
    assert sizes(data) == (1297, 200, 300)
    assert (data.name, data.shape, data.size, data.binarise) == ("digits", (1, 8, 8), 64, "dynamic")
    whole, _ = digits()
    assert whole.shape == (1797, 1, 8, 8) and whole.dtype == torch.uint8
    assert len(whole.unique()) == 17 and int(whole.max()) == 255
    assert data.valid is not None
    parts = [data.train.pixels, data.valid.pixels, data.test.pixels]
    assert torch.cat(parts).flatten(1).sum(1).sort()[0].equal(whole.flatten(1).sum(1).sort()[0])
    # disjoint, nothing lost
    assert sum(len(rows_of(part)) for part in parts) == len(rows_of(whole))


def test_splits_are_fixed_and_the_seed_moves_only_the_draw() -> None:
    one, same, other = load("digits"), load("digits"), load("digits", seed=1)
    assert torch.equal(one.train.pixels, other.train.pixels)
    assert one.test.fingerprint == same.test.fingerprint != other.test.fingerprint
    fewer = load("digits", valid=50)
    assert torch.equal(fewer.test.pixels, one.test.pixels) and sizes(fewer) == (1447, 50, 300)
    assert torch.equal(fewer.train.pixels[:1297], one.train.pixels)
    assert load("digits", valid=0).valid is None


def test_rules_reach_every_split() -> None:
    rules: tuple[Binarise, ...] = ("dynamic", "static", "threshold", "none")
    for rule in rules:
        data = load("digits", binarise=rule)
        assert data.valid is not None
        assert {data.binarise, data.valid.binarise, data.test.binarise} == {rule}


@needs_mnist
def test_mnist() -> None:
    data = load("mnist", root=REAL_ROOT)
    assert sizes(data) == (50_000, 10_000, 10_000) and data.shape == (1, 28, 28)
    assert abs(float(data.mean.mean()) - 0.1307) < 1e-3
    assert (
        data.test.take(100).fingerprint == load("mnist", root=REAL_ROOT).test.take(100).fingerprint
    )
    everything = load("mnist", root=REAL_ROOT, valid=0)
    assert sizes(everything) == (60_000, 0, 10_000)
    assert data.valid is not None
    assert torch.equal(everything.train.pixels[50_000:], data.valid.pixels)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_validation_is_the_end_of_train(name: str, suffix: str, tmp_path: Path) -> None:
    folder = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    root = write_set(tmp_path, idx_bytes(60_000), idx_bytes(10_000, 60_000), folder, suffix)
    data = load(name, root=root)
    assert data.valid is not None
    spelled = [
        number for part in (data.train, data.valid, data.test) for number in numbers(part.pixels)
    ]
    assert spelled == list(range(70_000)) and sizes(data) == (50_000, 10_000, 10_000)


def test_root_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    write_set(tmp_path / "here", idx_bytes(60_000), idx_bytes(10_000), suffix=".gz")
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "here"))
    assert sizes(load("mnist", valid=1)) == (59_999, 1, 10_000)
    with pytest.raises(ValueError, match="valid=60000: expected 0 <= valid < 60000"):
        load("mnist", valid=60_000)
    with pytest.raises(FileNotFoundError, match="elsewhere does not hold MNIST/raw"):
        load("mnist", root=tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]
)
def test_failed_download_names_root_and_variable(
    name: str, folder: str, tmp_path: Path, offline: None
) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} does not hold {folder}/raw") as caught:
        load(name, root=tmp_path)
    assert "PYRO_VAE_DATA" in str(caught.value) and "download failed" in str(caught.value)


def test_what_is_missing_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def deliver(url: str, download_root: str, filename: str, md5: str) -> None:
        fetched.append(filename)
        rows = 60_000 if "train" in filename else 10_000
        labels = struct.pack(">2i", 2049, rows) + bytes(rows)
        data = labels if "labels" in filename else idx_bytes(rows)
        (Path(download_root) / filename.removesuffix(".gz")).write_bytes(data)

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", deliver)
    assert sizes(load("fashion_mnist", root=tmp_path / "new")) == (50_000, 10_000, 10_000)
    assert len(fetched) == 4
    assert sizes(load("fashion_mnist", root=tmp_path / "new")) == (50_000, 10_000, 10_000)
    assert len(fetched) == 4


def test_root_that_is_a_file(tmp_path: Path, offline: None) -> None:
    root = tmp_path / "file"
    root.write_text("x")
    with pytest.raises(FileNotFoundError, match="PYRO_VAE_DATA"):
        load("mnist", root=root)


WHOLE_TEST = idx_bytes(10_000)


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b"\0\0\x08",
        WHOLE_TEST[:-1],
        WHOLE_TEST + b"x",
        b"\0" + WHOLE_TEST[1:4] + WHOLE_TEST[3:],
        idx_bytes(500),
    ],
    ids=["empty", "three bytes", "a byte short", "a byte long", "shifted", "500 rows"],
)
def test_torn_idx_file_is_named(torn: bytes, tmp_path: Path, offline: None) -> None:
    root = write_set(tmp_path, torn, WHOLE_TEST)
    with pytest.raises(
        ValueError, match=f"MNIST/raw/{TRAIN} is torn or another file: {len(torn)} bytes"
    ) as caught:
        load("mnist", root=root)
    assert str(root) in str(caught.value) and "PYRO_VAE_DATA" in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-20], lambda data: b"x" + data, lambda data: data[:400] + b"xx"]
)
def test_torn_gzip_file_is_named(damage: Any, tmp_path: Path, offline: None) -> None:
    root = write_set(tmp_path, b"", WHOLE_TEST, suffix=".gz")
    path = root / "MNIST" / "raw" / f"{TRAIN}.gz"
    path.write_bytes(damage(gzip.compress(WHOLE_TEST, 1)))
    with pytest.raises(ValueError, match=f"{TRAIN}.gz cannot be read .*PYRO_VAE_DATA"):
        load("mnist", root=root)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MNIST", "did you mean 'mnist'"),
        ("fashion-mnist", "'fashion_mnist'"),
        ("digit", "'digits'"),
        ("", "'digits'"),
    ],
)
def test_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"source={name!r}: no such data set or path.*{hint}"):
        load(name)


def test_unknown_name_without_a_neighbour_has_no_hint() -> None:
    with pytest.raises(ValueError) as caught:
        load("xyzzy")
    assert "did you mean" not in str(caught.value)


def test_known_names_win_over_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "plain").mkdir()
    assert sizes(load("digits")) == (1297, 200, 300)
    with pytest.raises(FileNotFoundError, match="holds no images"):
        load("./digits")
    assert looks_like_path("plain") and looks_like_path("a.npy") and looks_like_path("a/b")
    assert not looks_like_path("nothing")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": 3}, ValueError, "source: expected a name or a path, got int"),
        (
            {"binarise": "Dynamic"},
            ValueError,
            "binarise='Dynamic': expected None or one of 'dynamic'",
        ),
        ({"valid": 0.1}, ValueError, "valid=0.1: expected an int, got float"),
        ({"valid": True}, ValueError, "valid=True: expected an int, got bool"),
        ({"valid": -1}, ValueError, "valid=-1: expected 0 <= valid < 1497"),
        ({"valid": 1497}, ValueError, "valid=1497: expected 0 <= valid < 1497, the rows of digits"),
        ({"seed": None}, ValueError, "seed=None: expected an int, got NoneType"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(**({"source": "digits"} | arguments))


def test_loading_leaves_global_generators_alone() -> None:
    state, before = torch.get_rng_state(), np.random.get_state(legacy=False)
    assert load("digits").test.x.any()
    assert torch.equal(state, torch.get_rng_state())
    after = np.random.get_state(legacy=False)
    assert np.array_equal(before["state"]["key"], after["state"]["key"])
