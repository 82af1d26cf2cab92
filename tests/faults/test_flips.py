"""A flipped bit in any file of a run: always noticed in weights and checkpoint, no traceback."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.scale import times
from tests.faults.stranger import call
from tests.faults.tally import Tally

FLIPS = times(60, 3000)
TRAIN = (
    "--quiet true --epochs 2 --batch_size 512 --model.hidden [8]"
    " --model.latent_dim 3 --guide.hidden [8]"
)
BINARY = ("weights.safetensors", "checkpoint.pt")
TEXT = (
    "config.yaml",
    "data.json",
    "versions.json",
    "run.json",
    "metrics.csv",
    "units.csv",
    "evidence.json",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert call(f"train --folder {folder} {TRAIN}")[0] == 0
    assert call(f"evidence {folder} --method.num_particles 3 --num_data 5")[0] == 0
    return folder


def command(name: str, rng: random.Random) -> str:
    """A command that reads the file."""
    if name == "checkpoint.pt":
        return rng.choice(["resume RUN --epochs 3 --quiet true", "resume RUN --quiet true"])
    if name == "config.yaml":
        return rng.choice(
            [
                "info RUN",
                "sample RUN --num_samples 2",
                "evidence RUN --method.num_particles 2 --num_data 3",
            ]
        )
    return "info RUN"


def test_flipped_bits(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)  # a name that flips is sought here
    rng = random.Random(0)
    unnoticed, tracebacks, counts = [], [], dict.fromkeys((*BINARY, *TEXT), 0)
    for number in range(FLIPS):
        name = rng.choice(BINARY) if rng.random() < 0.5 else rng.choice(TEXT)
        run = tmp_path / "run"
        shutil.copytree(trained, run)
        raw = bytearray((run / name).read_bytes())
        place = rng.randrange(8 * len(raw))
        raw[place // 8] ^= 1 << place % 8
        (run / name).write_bytes(raw)
        counts[name] += 1
        arguments = command(name, rng)
        if name == "checkpoint.pt" and rng.random() < 0.3:
            (run / "weights.safetensors").unlink()
            arguments = "info RUN"
        try:
            code, told = call(arguments.replace("RUN", str(run)))
        except Exception as error:
            tracebacks.append((number, name, place, arguments, repr(error)))
            code, told = 2, ""
        if "Traceback" in told or code not in (0, 1, 2):
            tracebacks.append((number, name, place, arguments, told))
        if name in BINARY and code != 2:
            unnoticed.append((number, name, place, arguments))
        shutil.rmtree(run)
    print(f"{FLIPS} flips {counts}, unnoticed {len(unnoticed)}, tracebacks {len(tracebacks)}")
    tally("flipped bits", FLIPS, len(unnoticed) + len(tracebacks))
    assert (unnoticed, tracebacks) == ([], [])
