"""Random files of data, torn, lying, hostile and right: exit code 2 and one line that names the
file, or finite numbers.

A pickle in a file is never run, what a header promises is never allocated before the file is seen
to hold it, and an archive is not unpacked to more than a computer has.
"""

from __future__ import annotations

import io
import pickle
import random
import resource
import shutil
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonargparse import Namespace
from PIL import Image

from pyro_vae import cli
from pyro_vae.files.texts import read_json, read_table
from tests.faults.places import TINY, broken_promise, call, leftovers
from tests.faults.scale import times

FILES = times(60, 1000)
MAX_GROWTH = 2**30  # bytes

Maker = Callable[[random.Random, Path], None]
SHAPES = [(20, 3), (20, 16), (20, 4, 4), (20, 1, 4, 4), (20, 4, 4, 3), (20,), (10, 1), (40, 5)]
ODD_SHAPES = [
    (0, 3),
    (3, 0),
    (),
    (1, 3),
    (9, 3),
    (20, 2, 4, 4),
    (20, 1, 1, 1, 2),
    (2,) * 20,
    (20, 0, 0),
]
KINDS = ["f4", "f8", "f2", "u1", "i8", "i2", "u8", "?", ">f4", ">i4", "<f8", ">f8", "u2"]
ODD_KINDS = ["c8", "c16", "S3", "U3", "M8[s]", "m8[s]", "V4", [("a", "f4"), ("b", "i4")], "f16"]


class Pickled:
    """What leaves a marker when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (Path("marker"),)


def numbers(rng: random.Random, shape: tuple[int, ...], kind: Any) -> np.ndarray[Any, Any]:
    """An array that a user might have."""
    generator = np.random.default_rng(rng.randrange(2**32))
    drawn = rng.choice(
        [
            lambda: generator.normal(size=shape),
            lambda: generator.integers(0, 2, shape),
            lambda: generator.integers(0, 256, shape),
            lambda: generator.integers(0, 7, shape),
            lambda: generator.uniform(size=shape),
            lambda: np.zeros(shape),
            lambda: np.ones(shape),
            lambda: 1e6 * generator.normal(size=shape),
            lambda: 1e-6 * generator.normal(size=shape) + 1,
            lambda: 1.7e9 + generator.normal(size=shape),
        ]
    )()
    with np.errstate(all="ignore"):
        return np.asarray(drawn).astype(kind)


def plain(rng: random.Random) -> np.ndarray[Any, Any]:
    return numbers(rng, rng.choice(SHAPES), rng.choice(KINDS))


def save(path: Path, array: np.ndarray[Any, Any], allow_pickle: bool = False) -> None:
    """`numpy.save` under this very name."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=allow_pickle)


def right(rng: random.Random, path: Path) -> None:
    array = plain(rng)
    save(path, np.asfortranarray(array) if rng.random() < 0.5 else array)


def odd_shape(rng: random.Random, path: Path) -> None:
    save(path, numbers(rng, rng.choice(ODD_SHAPES), rng.choice(KINDS)))


def odd_kind(rng: random.Random, path: Path) -> None:
    shape = rng.choice(SHAPES)
    save(path, np.zeros(shape, rng.choice(ODD_KINDS)))


def with_holes(rng: random.Random, path: Path) -> None:
    array = numbers(rng, rng.choice(SHAPES), rng.choice(["f4", "f8", "f2"]))
    spots = array.reshape(-1)
    for _ in range(rng.choice([1, 1, 5])):
        spots[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf])
    save(path, array)


def extreme(rng: random.Random, path: Path) -> None:
    """Numbers at the ends of what their type holds."""
    array = numbers(rng, rng.choice(SHAPES), rng.choice(["f8", "f4", "i8", "u8"]))
    info = np.finfo(array.dtype) if array.dtype.kind == "f" else np.iinfo(array.dtype)
    ends = [info.max, info.min] + (
        [info.tiny, info.smallest_subnormal] if array.dtype.kind == "f" else [0, 1]
    )
    if rng.random() < 0.3:
        array[...] = rng.choice(ends)
    for _ in range(rng.choice([1, 10])):
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice(ends)
    save(path, array)


def torn(rng: random.Random, path: Path) -> None:
    right(rng, path)
    raw = path.read_bytes()
    path.write_bytes(raw[: rng.randrange(len(raw))])


def flipped(rng: random.Random, path: Path) -> None:
    """Bits of a file, mostly of its header."""
    rng.choice([right, archive])(rng, path)
    raw = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 3, 20])):
        place = rng.randrange(8 * min(len(raw), rng.choice([128, 10**9])))
        raw[place // 8] ^= 1 << place % 8
    path.write_bytes(raw)


def lying(rng: random.Random, path: Path) -> None:
    """A header that says something else than the file holds."""
    shape = rng.choice(
        [
            (10**12, 3),
            (2**62,),
            (20, 2**31),
            (5 * 10**8,),
            (-1, 3),
            (20, -3),
            (2**40, 0),
            (10**6, 10**6),
            (19, 3),
            (21, 3),
        ]
    )
    kind = rng.choice(
        [
            "'<f4'",
            "'|O'",
            "'<f8'",
            "'|V99999999'",
            "'<U2147483647'",
            "'<x4'",
            "None",
            "[('a', '<f4')]",
            "3",
        ]
    )
    text = rng.choice(
        [
            f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}",
            f"{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}}}",
            f"{{'descr': '<f4', 'fortran_order': 3, 'shape': {shape}}}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (20, 3), 'more': 1}",
            "{'descr': '<f4', 'shape': (20, 3)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': 20}",
            "__import__('pathlib').Path('marker').touch()",
            "[" * 5000,
            "(" * 200 + ")" * 200,
            "",
            "9" * 10_000,
        ]
    ).encode()
    version = rng.choice([b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
    length = struct.pack(
        "<H" if version[0] == 1 else "<I", rng.choice([len(text), len(text), 0, 60_000])
    )
    path.write_bytes(b"\x93NUMPY" + version + length + text + bytes(rng.choice([0, 240, 10_000])))


def pickled(rng: random.Random, path: Path) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        path.write_bytes(pickle.dumps(Pickled()))
    elif kind == 1:
        save(path, np.array([Pickled()] * 20, dtype=object), allow_pickle=True)
    elif kind == 2:
        with path.open("wb") as file:
            np.savez(file, train=np.array([Pickled()] * 20, dtype=object), test=np.eye(20))
    else:
        with path.open("wb") as file:
            np.savez(
                file, train=np.eye(20), test=np.eye(20), labels=np.array([Pickled()], dtype=object)
            )


def noise(rng: random.Random, path: Path) -> None:
    raw = rng.randbytes(rng.choice([0, 1, 6, 100, 10_000]))
    path.write_bytes(rng.choice([b"", b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06"]) + raw)


def archive(rng: random.Random, path: Path) -> None:
    """An .npz with parts that are there, missing, or more than was meant."""
    shape, kind = rng.choice(SHAPES), rng.choice(KINDS)
    names = rng.choice(
        [
            ["train", "test"],
            ["train", "valid", "test"],
            ["x_train", "x_test"],
            ["train", "x_train", "test"],
            ["train"],
            ["data"],
            ["train", "valid"],
            ["a", "b"],
            [],
            ["train", "test", "labels"],
            ["train/x", "test"],
        ]
    )
    parts = {name: numbers(rng, shape, kind) for name in names}
    if names and rng.random() < 0.4:
        other = rng.choice(names)
        parts[other] = rng.choice([plain, lambda rng: np.zeros(())])(rng)
    with path.open("wb") as file:
        (np.savez_compressed if rng.random() < 0.3 else np.savez)(file, **parts)


def bomb(rng: random.Random, path: Path) -> None:
    """An archive that unpacks to far more than it holds, or says so, or says less than it does."""
    head = io.BytesIO()
    rows = rng.choice([10**5, 10**7, 3 * 10**8])
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f8", "fortran_order": False, "shape": (rows, 10)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ("train.npy", "test.npy"):
            with packed.open(name, "w", force_zip64=True) as member:
                member.write(head.getvalue())
                for _ in range(rng.choice([1, 30])):
                    member.write(bytes(10**6))
    if rng.random() < 0.5:
        raw = bytearray(path.read_bytes())
        place = raw.rfind(b"PK\x01\x02") + 24  # the size unpacked, in the directory
        raw[place : place + 4] = struct.pack("<I", rng.choice([0, 100, 2**32 - 2]))
        path.write_bytes(raw)


def odd_zip(rng: random.Random, path: Path) -> None:
    with zipfile.ZipFile(
        path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    ) as packed:
        for name in rng.sample(
            [
                "train.npy",
                "test.npy",
                "../out.npy",
                "/train.npy",
                "train",
                "data.pkl",
                "a/b.npy",
                "",
            ],
            3,
        ):
            buffer = io.BytesIO()
            np.save(buffer, plain(rng))
            packed.writestr(
                name or "x",
                rng.choice([buffer.getvalue(), b"", b"nonsense", pickle.dumps(Pickled())]),
            )


def pictures(rng: random.Random, path: Path) -> None:
    """A folder of images in the place of a file."""
    path.mkdir()
    for number in range(rng.choice([0, 1, 12, 12, 12])):
        size = (4, 4) if rng.random() < 0.97 else rng.choice([(5, 4), (0, 4), (20_000, 20_000)])
        mode = "L" if rng.random() < 0.97 else rng.choice(["RGB", "RGBA", "CMYK", "I;16", "1", "F"])
        try:
            Image.new(mode, size, 1 if mode != "RGB" else (1, 2, 3)).save(path / f"{number}.png")
        except (OSError, ValueError, SystemError, TypeError):
            (path / f"{number}.png").write_bytes(b"")
    if rng.random() < 0.4 and (path / "0.png").exists():
        raw = (path / "0.png").read_bytes()
        (path / "0.png").write_bytes(
            rng.choice([raw[:50], b"", raw + raw, rng.randbytes(60), raw.replace(b"IDAT", b"IDAX")])
        )


def special(rng: random.Random, path: Path) -> None:
    target = rng.choice(
        ["/dev/zero", "/dev/null", "/dev/full", "missing", "/proc/self/mem", ".", path.name]
    )
    path.symlink_to(target)


MAKERS: list[Maker] = [
    right,
    right,
    odd_shape,
    odd_kind,
    with_holes,
    extreme,
    torn,
    flipped,
    flipped,
    lying,
    lying,
    pickled,
]
MAKERS += [noise, archive, archive, bomb, odd_zip, pictures, special]
MODELS = [
    TINY,
    TINY,
    f"{TINY} --values real",
    f"{TINY} --values pixels",
    f"{TINY} --model.likelihood Gaussian",
    f"{TINY} --model.likelihood Bernoulli",
    f"{TINY} --binarise dynamic",
    f"{TINY} --model LinearGaussian",
    f"{TINY} --valid 0",
]


def finite(folder: Path) -> bool:
    """Whether all that a training has written is finite; columns of what was not measured are empty
    of numbers.
    """
    rows = read_table(folder / "metrics.csv")
    told = [float(row[name]) for row in rows for name in ("train_loss", "beta", "learning_rate")]
    sizes = [value for value in read_json(folder / "data.json").values() if isinstance(value, int)]
    return bool(np.isfinite(told).all()) and min(sizes) > 0


def parsed_once(
    parse: Callable[[Sequence[str]], Namespace],
) -> Callable[[Sequence[str]], Namespace]:
    """The parser of the command line, which takes longer than a file does; the first word is the
    name of the data.
    """
    known: dict[str, Namespace] = {}

    def again(words: Sequence[str]) -> Namespace:
        data, rest = words[0], " ".join(words[1:])
        if rest not in known:
            known[rest] = parse(words[1:])
        found = known[rest].clone()
        found.train.data = data
        return found

    return again


def test_random_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    monkeypatch.setattr(cli, "_parse", parsed_once(cli._parse))
    monkeypatch.chdir(tmp_path)
    rng, found, codes = random.Random(0), [], Counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(FILES):
        maker = MAKERS[number % len(MAKERS)]
        path = Path(rng.choice(["x.npy", "x.npz", "x.npy", "./x.NPY", "dir/x.npz", "ünï.npy"]))
        path.parent.mkdir(exist_ok=True)
        maker(rng, path)
        case = (number, maker.__name__, str(path), options := rng.choice(MODELS))
        ended = call([str(path), *f"train --folder new {options}".split()])
        codes[ended.code] += 1
        told = broken_promise(ended)
        if (
            not told
            and ended.code == 2
            and path.stem not in ended.error
            and "error: data:" not in ended.error
        ):
            told = f"the file is not named: {ended.error}"
        if not told and ended.code == 0 and not finite(Path("new")):
            told = "numbers that are not finite"
        if ended.code == 2 and Path("new").exists():
            told += " a folder is left"
        if Path("marker").exists():
            told += " EXECUTED"
            Path("marker").unlink()
        found += [(*case, told or str(leftovers(tmp_path)))] if told or leftovers(tmp_path) else []
        shutil.rmtree("new", ignore_errors=True)
        for made in tmp_path.iterdir():
            shutil.rmtree(made) if made.is_dir() and not made.is_symlink() else made.unlink()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(
        f"{FILES} files, exit codes {dict(codes)}, {len(found)} broken"
        f" promises, {grown / 2**20:.0f} MiB"
    )
    assert found == [], "\n".join(str(case)[:600] for case in found)
    assert grown < MAX_GROWTH
