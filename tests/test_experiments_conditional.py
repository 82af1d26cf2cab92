"""What a label is worth: the study on tiny settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenarios import eager
from tests.test_experiments import script


def test_what_the_label_is_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    study, out = script("conditional"), tmp_path / "conditional.json"
    sizes = "--data digits --epochs 2 --seeds 1 --units 2 --hidden 16 --num-data 30 --particles 30"
    study.main([*sizes.split(), "--json", str(out)])
    (row,) = json.loads(out.read_text())["mnist"]["rows"]
    assert out.with_suffix(".png").is_file()
    assert row["worth"][0] == pytest.approx(row["given"] - row["plain"])
    # a sum over labels holds each of them
    assert row["given"] - 2.302586 - 1e-6 < row["summed"]
    assert 0 <= row["accuracy"] <= 1
