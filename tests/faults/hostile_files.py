"""Data files at random: those that lie about what is in them."""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from pathlib import Path

import numpy as np

from tests.faults.files import KINDS, SHAPES, Pickled, numbers, plain, right, save


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


def flipped(rng: random.Random, path: Path) -> None:
    """Bits of a file, mostly of its header."""
    rng.choice([right, archive])(rng, path)
    raw = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 3, 20])):
        place = rng.randrange(8 * min(len(raw), rng.choice([128, 10**9])))
        raw[place // 8] ^= 1 << place % 8
    path.write_bytes(raw)
