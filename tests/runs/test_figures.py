"""What was measured is kept by its settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyro_vae.runs.figures import earlier, make_way
from tests.runs.folder import call


def facts(path: Path) -> dict[str, object]:
    return {
        name: value for name, value in json.loads(path.read_text()).items() if name != "seconds"
    }


def test_a_short_measurement_does_not_replace_a_long_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "evidence.json"
    assert call("evidence run --method.num_particles 40") == 0
    long, table = facts(path), path.with_suffix(".csv").read_text()
    assert call("evidence run --method.num_particles 40 --num_data 20") == 0
    (kept,) = earlier(path)
    assert facts(kept) == long and kept.with_suffix(".csv").read_text() == table
    assert facts(path)["num_data"] == 20 and path.with_suffix(".csv").read_text() != table
    assert (
        long["settings"].items()
        >= {"method": "Importance", "num_particles": 40, "num_data": 300, "seed": 0}.items()
    )
    capsys.readouterr()
    assert call("info run") == 0
    out = capsys.readouterr().out
    assert all(f"log_px {fact['log_px']:.6g}" in out for fact in (long, facts(path)))
    assert out.index("num_data 300") < out.index("num_data 20,")


def test_the_same_settings_replace_their_figures(run: Path) -> None:
    for _ in range(2):
        assert call("evidence run --method.num_particles 5 --num_data 20") == 0
    assert earlier(run / "evidence.json") == []


def test_every_setting_makes_a_difference(run: Path) -> None:
    base = "evidence run --method.num_particles 5 --num_data 20"
    others = [
        "",
        "--method.seed 1",
        "--num_data 21",
        "--split train",
        "--method.defensive 0.2",
        "--method.engine pyro",
        "--method.num_particles 6",
    ]
    for number, other in enumerate(others):
        assert call(f"{base} {other}") == 0
        assert len(earlier(run / "evidence.json")) == number
    assert call("resume run --epochs 2 --quiet true") == 0
    assert call(f"{base} {others[-1]}") == 0  # other weights
    assert len(earlier(run / "evidence.json")) == len(others)
    assert call(base) == 0
    assert len(earlier(run / "evidence.json")) == len(others) + 1


def test_figures_of_other_weights_are_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "stale  evidence.json was measured on other weights than the run has now"
    assert call("evidence run --method.num_particles 5 --num_data 20") == 0
    assert call("info run") == 0 and told not in capsys.readouterr().out
    assert call("resume run --epochs 2 --quiet true") == 0
    assert call("info run") == 0 and told in capsys.readouterr().out


def test_figures_of_an_earlier_version_are_kept(run: Path) -> None:
    (run / "evidence.json").write_text('{"log_px": -83.75}')
    assert call("evidence run --method.num_particles 5 --num_data 20") == 0
    assert [facts(path) for path in earlier(run / "evidence.json")] == [{"log_px": -83.75}]


def test_a_file_that_is_named_is_kept_too(run: Path) -> None:
    for seed in (0, 1):
        options = f"--method.num_particles 5 --num_data 20 --method.seed {seed}"
        assert call(f"evidence run {options} --out made/x.json") == 0
    assert len(earlier(Path("made/x.json"))) == 1


def test_verdicts_and_ledgers_are_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = "--num_data 20 --num_particles 100 --num_simulations 40 --num_draws 9"
    for seed in (0, 1):
        assert call(f"diagnose run {small} --seed {seed}") == 0
        assert (
            call(f"compare run --guides amortized --num_data 3 --num_particles 20 --seed {seed}")
            == 0
        )
    assert len(earlier(run / "diagnosis.json")) == 1
    for split in ("train", "test"):
        (kept,) = earlier(run / "ledger" / f"{split}.json")
        assert facts(kept)["settings"]["seed"] == 0  # type: ignore[index]
        key = kept.stem.removeprefix(split)
        names = {f"{split}{key}.{end}" for end in ("csv", "nc", "png", "json")} | {
            f"{split}_data{key}.csv"
        }
        assert names <= {path.name for path in kept.parent.iterdir()}
    capsys.readouterr()
    assert call("info run") == 0
    out = capsys.readouterr().out
    assert (
        "diagnosis.json  amortized " in out
        and "earlier/diagnosis-" in out
        and "ledger/test.json  measured with" in out
    )


def test_a_kill_between_two_moves_loses_nothing(tmp_path: Path) -> None:
    """The settings are moved last, so that what is left is moved the next time."""
    path, table = tmp_path / "x.json", tmp_path / "x.csv"
    path.write_text('{"settings": {"seed": 0}}')
    table.write_text("0")
    make_way(path, [table], {"seed": 0})
    assert path.exists() and table.exists()
    make_way(path, [table], {"seed": 1})
    assert not path.exists() and not table.exists()
    (kept,) = earlier(path)
    kept.rename(path)  # as if the process had been killed before its last move
    make_way(path, [table], {"seed": 1})
    assert earlier(path) == [kept] and kept.with_suffix(".csv").read_text() == "0"
