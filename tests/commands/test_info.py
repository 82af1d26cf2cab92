"""`info`, help, and runs of which not every file is there."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from pathlib import Path

import pytest

from tests.commands.calls import call, evidence


def test_info_tells_the_facts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = evidence(run)
    capsys.readouterr()
    assert call(f"info {run}") == 0
    out = capsys.readouterr().out
    torch_version = f"torch {importlib.metadata.version('torch')}"
    for fact in (
        "name digits, shape [1, 8, 8]",
        "train 1297",
        "test 300",
        "VAE",
        "EncoderGuide",
        "parameters",
        torch_version,
    ):
        assert fact in out
    assert f"log_px {facts['log_px']:.6g}" in out
    assert "epoch 2," in out


def test_a_kept_run_needs_three_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = evidence(run)
    Path("kept").mkdir()
    for name in ("config.yaml", "weights.safetensors", "metrics.csv"):
        shutil.copy(run / name, "kept")
    assert evidence(Path("kept")) == whole
    assert all(call(f"{command} kept") == 0 for command in ("sample", "reconstruct", "info"))
    capsys.readouterr()
    assert call("resume kept") == 2
    assert "no checkpoint.pt in it, only weights" in capsys.readouterr().err


def test_a_run_that_has_not_ended_is_served_from_its_checkpoint(run: Path) -> None:
    whole = evidence(run)
    (run / "weights.safetensors").unlink()
    assert evidence(run) == whole


OPTIONS = {
    "": "train resume evidence compare diagnose export sample reconstruct info",
    "train": "--config --data --binarise --valid --model --guide --epochs --batch_size --optimizer"
    " --schedule --loss --beta --warmup_epochs --clip_norm --patience --seed --folder --device"
    " --quiet --trust",
    "resume": "run --epochs --device --quiet --data_root --trust",
    "evidence": "run --method --method.help --split --num_data --out --device --trust",
    "diagnose": "run --guides --split --num_data --num_particles --num_simulations --num_draws"
    " --num_sandwich --num_nuts --num_temperatures --seed --out --device --trust",
    "export": "run --split --num_data --num_draws --seed --out --device --trust",
    "compare": "run --guides --split --num_data --num_particles --draws --num_temperatures --steps"
    " --seed --out --device --trust",
    "sample": "run --num_samples --seed --out --trust",
    "reconstruct": "run --num_data --seed --out --trust",
    "info": "run --data_root --device --trust",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        call(f"{command} --help")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert [option for option in OPTIONS[command].split() if option not in out] == []


def test_info_tells_of_the_units(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"info {run}") == 0
    assert re.search(
        r"^units  \d of 4 active, rates in nats: ", capsys.readouterr().out, re.MULTILINE
    )
    (run / "units.csv").write_text("unit,rate\nlatent[0],1.0\n")
    assert call(f"info {run}") == 2
    assert "cannot be read as a table of units" in capsys.readouterr().err
