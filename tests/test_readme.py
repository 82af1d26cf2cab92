"""The README: short, and its code does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.written import README, blocks, output, run, words

SMALLER = {
    "(128,)": "(16,)",
    "epochs=100": "epochs=2",
    "num_particles=1000": "num_particles=50",
    "[:100]": "[:20]",
}


def test_it_is_short() -> None:
    (code,) = blocks(README)
    assert len(code.strip().splitlines()) <= 20
    assert len(README.read_text().splitlines()) <= 130


@pytest.mark.usefixtures("quick_convergence")
def test_it_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(README, SMALLER)
    assert words(capsys.readouterr().out) == words(output(README))
    assert (tmp_path / "log_px.png").stat().st_size > 10_000
