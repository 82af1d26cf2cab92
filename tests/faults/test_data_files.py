"""Random data files: each is read or refused in one line."""

from __future__ import annotations

import random
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import Namespace

from pyro_vae import cli
from pyro_vae.files.texts import read_json, read_table
from tests.faults.files import (
    Maker,
    extreme,
    noise,
    odd_kind,
    odd_shape,
    pictures,
    right,
    special,
    torn,
    with_holes,
)
from tests.faults.hostile_files import archive, bomb, flipped, lying, odd_zip, pickled
from tests.faults.places import TINY, broken_promise, call, leftovers
from tests.faults.scale import times
from tests.faults.tally import Tally

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

FILES = times(60, 1000)
MAX_GROWTH = 2**30  # bytes

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


def test_random_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
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
    tally("data files", FILES, len(found))
    assert found == [], "\n".join(str(case)[:600] for case in found)
    assert grown < MAX_GROWTH
