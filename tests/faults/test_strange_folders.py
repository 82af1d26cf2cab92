"""Hostile folders of runs: no traceback, no growth, nothing run."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import resource
import shutil
import zipfile
from pathlib import Path

import torch

from pyro_vae.inference.checkpoint import _seal
from pyro_vae.inference.weights import NAME as WEIGHTS
from tests.faults.scale import times
from tests.faults.stranger import COMMANDS, Pickled, call
from tests.faults.tally import Tally

FOLDERS = times(20, 300)

ESCAPES = [
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\r\x1b[1A",
    "\u202e",
    "\x00",
    "\ud800",
    "\x08" * 9,
]

TEXTS = ("data.json", "versions.json", "run.json", "evidence.json", "diagnosis.json")

LINKS = (
    "samples.png",
    "reconstructions.png",
    "embedding.png",
    "embedding.csv",
    "draws.nc",
    "evidence.json",
    "evidence.csv",
    ".lock",
    "config.yaml",
    "earlier",
)

LINKS += (
    "metrics.csv",
    "units.csv",
    "checkpoint.pt",
    WEIGHTS,
    "run.json",
    "data.json",
    ".checkpoint.pt.x",
)


def with_escapes(rng: random.Random) -> None:
    path = Path("run") / rng.choice(TEXTS)
    facts = (
        json.loads(path.read_text()) if path.exists() else {"guides": {"a": {"verdict": "fine"}}}
    )
    evil = "".join(rng.sample(ESCAPES, 3))
    facts = facts | rng.choice(
        [{evil: 1}, {"name": evil}, {"settings": {evil: evil}}, {"shape": evil}, {"binarise": evil}]
    )
    path.write_text(json.dumps(facts))


def with_escapes_in_a_table(rng: random.Random) -> None:
    path = Path("run") / rng.choice(["metrics.csv", "units.csv"])
    lines = path.read_text().splitlines()
    number = rng.randrange(len(lines))
    lines[number] = rng.choice(["", "a,", lines[number]]) + "".join(ESCAPES[:5]) + lines[number]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")


def with_a_link(rng: random.Random) -> None:
    path = Path("run") / rng.choice(LINKS)
    path.unlink(missing_ok=True)
    path.symlink_to(
        Path(rng.choice(["precious", ".", "/dev/null", "/dev/zero", "missing", "run"])).absolute()
    )


def with_a_wrong_kind(rng: random.Random) -> None:
    path = Path("run") / rng.choice(
        [*TEXTS, "config.yaml", "metrics.csv", "units.csv", WEIGHTS, "checkpoint.pt"]
    )
    path.unlink(missing_ok=True)
    if rng.random() < 0.5:
        path.mkdir()
    else:
        os.mkfifo(path)


def with_nested_brackets(rng: random.Random) -> None:
    opened = rng.choice(["[", '{"a":', "- "]) * rng.choice([50, 10**4, 10**5])
    (Path("run") / rng.choice([*TEXTS, "config.yaml"])).write_text(opened)


def with_aliases(rng: random.Random) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (Path("run") / "config.yaml").write_text("\n".join(lines))


def with_a_hole(rng: random.Random) -> None:
    name = rng.choice([*TEXTS, "config.yaml", "metrics.csv", WEIGHTS, "checkpoint.pt"])
    with (Path("run") / name).open("ab") as file:
        file.truncate(rng.choice([2**33, 2**36]))


def with_a_packed_checkpoint(rng: random.Random) -> None:
    (Path("run") / WEIGHTS).unlink()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Pickled()))
        archive.writestr("archive/data/0", bytes(rng.choice([10**6, 10**8])))
    (Path("run") / "checkpoint.pt").write_bytes(_seal(packed.getvalue()))


def with_a_pickle(rng: random.Random) -> None:
    name = rng.choice([WEIGHTS, "checkpoint.pt", "config.yaml", "data.json", "weights.pt"])
    if name in ("checkpoint.pt", "weights.pt"):
        (Path("run") / WEIGHTS).unlink()
    archive = io.BytesIO()
    torch.save({"format": 2, "weights": Pickled()}, archive)
    plain = [pickle.dumps(Pickled()), archive.getvalue(), _seal(archive.getvalue())]
    (Path("run") / name).write_bytes(rng.choice(plain))


def with_noise(rng: random.Random) -> None:
    name = rng.choice([*TEXTS, "config.yaml", "metrics.csv", "units.csv", WEIGHTS, "checkpoint.pt"])
    (Path("run") / name).write_bytes(rng.randbytes(rng.choice([0, 1, 8, 100, 10**4])))


KINDS = [
    with_escapes,
    with_escapes_in_a_table,
    with_a_link,
    with_a_wrong_kind,
    with_nested_brackets,
    with_aliases,
]

KINDS += [with_a_hole, with_a_packed_checkpoint, with_a_pickle, with_noise]
MAX_GROWTH = 2**30  # bytes


def test_hostile_folders(trained: Path, place: Path, tally: Tally) -> None:
    rng = random.Random(0)
    executed, tracebacks, obeyed, followed = [], [], [], []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(FOLDERS):
        shutil.copytree(trained, "run")
        kind = KINDS[number % len(KINDS)]
        kind(rng)
        listed = sorted(path.name for path in place.iterdir())
        command = rng.choice(COMMANDS[:-1])
        case = (number, kind.__name__, command)
        try:
            code, told = call(command)
        except Exception as error:
            tracebacks.append((*case, repr(error)))
            code, told = 2, ""
        if "Traceback" in told or code not in (0, 2):
            tracebacks.append((*case, told))
        if Path("marker").exists():
            executed.append(case)
            Path("marker").unlink()
        if not all(character.isprintable() or character == "\n" for character in told):
            obeyed.append((*case, told))
        if (
            Path("precious").read_text() != "mine"
            or sorted(path.name for path in place.iterdir()) != listed
        ):
            followed.append(case)
            Path("precious").write_text("mine")
        shutil.rmtree("run")
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    told = (
        f"{len(executed)} executed, {len(tracebacks)} tracebacks, {len(obeyed)} escapes,"
        f" {len(followed)} links followed"
    )
    print(f"{FOLDERS} folders: {told}, {grown / 2**20:.0f} MiB")
    tally("strange folders", FOLDERS, len(executed + tracebacks + obeyed + followed))
    assert (executed, tracebacks, obeyed, followed) == ([], [], [], [])
    assert grown < MAX_GROWTH
