"""`compare`, `diagnose`, `export`, `sample`, `reconstruct`: what they write."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pytest
from PIL import Image

from tests.commands.calls import PROGRAMS, SIZE, call, train


@pytest.mark.usefixtures("quick_convergence")
def test_compare_writes_the_ledger(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--guides full-rank,amortized,mean-field --num_data 5"
        " --num_particles 50 --num_temperatures 20"
    )
    assert call(f"compare {run} {options}") == 0
    ends = (".csv", "_data.csv", ".nc", ".png", ".json")
    assert {p.name for p in (run / "ledger").iterdir()} == {
        split + end for split in ("train", "test") for end in ends
    }
    with (run / "ledger" / "test.csv").open() as file:
        rows = {row["guide"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["amortized", "mean-field", "full-rank"]
    assert (
        rows["amortized"]["q*"] == "mean-field" and float(rows["mean-field"]["evaluations"]) >= 100
    )
    out = capsys.readouterr().out
    assert (
        "5 train data" in out
        and "5 test data" in out
        and "inference on test data less that on train data" in out
    )


@pytest.mark.usefixtures("quick_convergence")
def test_compare_works_on_a_guide_that_is_not_amortized_by_a_family(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (Path.cwd() / "programs.py").write_text(PROGRAMS)
    folder = train("mine", "--guide programs.MyGuide", base=SIZE)
    assert (
        call(
            f"compare {folder} --guides amortized,mean-field --split test --num_data 4"
            " --num_particles 50 --trust programs"
        )
        == 0
    )
    assert call(f"compare {folder} --guides semi-amortized --num_data 4 --trust programs") == 2
    assert "semi-amortized goes on from the parameters" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "evidence run --method.num_particles 5",
        "sample run",
        "reconstruct run",
        "interpolate run",
        "traverse run",
        "embed run",
    ],
)
def test_out_makes_its_folder(command: str, run: Path) -> None:
    name = "made/here.json" if command.startswith("evidence") else "made/here.png"
    assert call(f"{command} --out {name}") == 0
    assert Path(name).stat().st_size > 0


def test_diagnose_ends_in_a_verdict_per_guide(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--num_data 20 --num_particles 100 --num_simulations 200 --num_draws 19"
        " --num_sandwich 4 --num_temperatures 20"
    )
    assert call(f"diagnose {run} {options}") == 0
    out = capsys.readouterr().out
    found = json.loads((run / "diagnosis.json").read_text())
    assert (
        found["guides"]["amortized"]["verdict"] in out
        and "regions hold the truth" in out
        and "sandwich: AIS" in out
    )
    assert call(f"diagnose {run} --guides best") == 2


def test_export_opens_in_arviz(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"export {run} --num_data 3 --num_draws 30") == 0
    data = arviz.from_netcdf(run / "draws.nc")
    assert data["posterior"]["latent"].shape == data["guide"]["latent"].shape == (1, 30, 3, 4)
    assert data["posterior_predictive"]["x"].shape == (1, 30, 3, 1, 8, 8)
    assert data["weights"]["pareto_k"].shape == (3,)


def test_sample_writes_a_picture(run: Path) -> None:
    pictures = []
    for seed in (0, 0, 1):
        assert call(f"sample {run} --num_samples 9 --seed {seed}") == 0
        pictures.append((run / "samples.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
    with Image.open(run / "samples.png") as image:
        image.load()
        assert 300 < image.width < 500 and 1 < image.height / image.width < 1.3


def test_reconstruct_writes_a_picture(run: Path) -> None:
    assert call(f"reconstruct {run} --num-data 12 --out pairs.png") == 0
    with Image.open("pairs.png") as image:
        image.load()
        assert 4 < image.width / image.height < 6  # 12 of 2 pictures, names and a title
        assert image.getextrema()[0] == (0, 255)  # the data are black and white
    assert not (run / "reconstructions.png").exists()


def test_few_test_data_are_enough_for_every_command() -> None:
    np.save("few.npy", (np.random.default_rng(0).random((20, 5, 5)) > 0.5))
    train("a", "--data few.npy --valid 0")  # with 2 test data
    few = "--num_particles 30 --num_simulations 20 --num_draws 5"
    for command in (
        "reconstruct a",
        "export a --num_draws 30",
        "compare a --guides amortized --num_particles 30",
    ):
        assert call(command) == 0, command
    assert call(f"diagnose a {few}") == 0 and Path("a/reconstructions.png").is_file()


@pytest.mark.parametrize("columns", [(), (3,), (4,)])
def test_tables_are_sampled_and_reconstructed_as_tables(
    columns: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("table.npy", np.random.default_rng(0).normal(5.0, 2.0, (40, *columns)))
    train("a", "--data table.npy")
    size = columns[0] if columns else 1
    capsys.readouterr()
    assert call("sample a --num_samples 7") == 0
    told = "a/samples.csv (these data are no pictures: a table, with a row for each)\n"
    assert capsys.readouterr().out.startswith(f"{told}to be seen: 7 means of p(x | z)")
    rows = list(csv.DictReader(Path("a/samples.csv").read_text().splitlines()))
    assert len(rows) == 7 and all(math.isfinite(float(row[f"value_{size - 1}"])) for row in rows)
    assert call("reconstruct a --out r.png") == 0 and not Path("r.png").exists()
    rows = list(csv.DictReader(Path("r.csv").read_text().splitlines()))
    assert [row["what"] for row in rows] == ["data", "mean"] * 4
