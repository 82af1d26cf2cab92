"""A run on a file that stays where it is: trained, resumed, opened, scored as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pyro_vae as pv
from pyro_vae.runs.opening import open_run
from tests.inference.resumed import call, check_same, train

GREY = np.random.RandomState(0).randint(0, 256, (120, 9)).astype(np.uint8)


def test_a_run_on_a_mapped_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pyro_vae.data.readers.MOST_ROWS", 17)
    np.save(tmp_path / "big.npy", GREY)
    options = f"--data {tmp_path / 'big.npy'} --memory_map true --binarise dynamic"
    run = train(tmp_path / "run", f"{options} --epochs 1 --warmup_epochs 1")
    whole = train(tmp_path / "again", f"{options} --epochs 2 --warmup_epochs 1")
    assert call(f"resume {run} --epochs 2 --quiet true") == 0
    check_same(run, whole)

    parts = open_run(run)
    assert isinstance(parts.data.train, pv.Stream) and parts.data.test.x.shape == (12, 9)
    assert call(f"evidence {run} --method.num_particles 20 --num_data 5") == 0
    assert call(f"evidence {run} --method.num_particles 20 --split train") == 2
    assert "num_data: got none, expected a number" in capsys.readouterr().err
    assert call(f"sample {run} --nearest true --num_samples 3") == 0
    assert "nearest of 17 training data" in capsys.readouterr().out
