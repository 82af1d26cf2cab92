"""`pyro-vae sweep`: each cell is a run as by hand; what is done is not done again; what fails is
named, and tried again alone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import pyro_vae as pv
from pyro_vae.commands import cell as cells
from pyro_vae.files.texts import read_table
from pyro_vae.runs.card import read_card
from pyro_vae.sweeps.cells import placed
from pyro_vae.sweeps.spec import read_spec
from pyro_vae.sweeps.swept import read_sweep
from tests.commands.calls import call, same_run

TRAIN: dict[str, Any] = {"data": "digits", "epochs": 1, "batch_size": 600, "engine": "pyro"}
TRAIN |= {"model": {"latent_dim": 2, "hidden": [4]}, "guide.hidden": [4]}
BY_HAND = (
    "--epochs 1 --batch_size 600 --engine pyro --quiet true --model.latent_dim 2"
    " --model.hidden [4] --guide.hidden [4] --device cpu"
)
EVIDENCE = {"num_particles": 5, "num_data": 10}
SPEC: dict[str, Any] = {"train": TRAIN, "grid": {"seed": [0, 1]}, "evidence": EVIDENCE}


def written(spec: dict[str, Any]) -> str:
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    return "sweep spec.yaml --folder s --device cpu"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept") / "s"
    found = pv.sweep(SPEC, folder, device="cpu", quiet=True)
    assert found.num_done == 2
    return folder


@pytest.fixture
def s(swept: Path) -> Path:
    """A copy of a sweep that is done, `s` in the working directory."""
    shutil.copytree(swept, "s")
    return Path("s")


def stamps(folder: Path) -> dict[str, int]:
    """When the weights of each cell were written."""
    return {
        path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/weights.safetensors")
    }


def test_a_cell_is_a_run_as_by_hand(s: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"train --folder by_hand --seed 1 {BY_HAND}") == 0
    assert call("evidence by_hand --method.num_particles 5 --num_data 10 --device cpu") == 0
    assert same_run(Path("by_hand"), s / "seed=1")
    kept = [read_card(folder).evidence for folder in (Path("by_hand"), s / "seed=1")]
    assert kept[0]["log_px"] == kept[1]["log_px"]

    found = read_sweep(s)
    assert found.names == ("seed",) and found.rows[1]["log_px"] == kept[0]["log_px"]
    assert found.rows[1]["valid_elbo"] == read_card("by_hand").kept("valid_elbo")
    rows = read_table(s / "sweep.csv")
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert float(rows[1]["log_px"]) == kept[0]["log_px"]


def test_what_is_done_is_not_done_again(s: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stamps(s)
    more = SPEC | {"grid": {"seed": [0, 2, 1]}}
    assert call(written(more)) == 0
    told = capsys.readouterr()
    assert told.err.startswith("s: 3 cells, 2 done before\n[3/3] seed=2: trained in")
    assert "3 done" in told.out and "s/sweep.csv" in told.out
    assert {name: at for name, at in stamps(s).items() if name != "seed=2"} == before
    assert [row["seed"] for row in read_sweep(s).rows] == [0, 2, 1]
    assert yaml.safe_load((s / "sweep.yaml").read_text()) == more


def test_other_figures_need_no_training(s: Path) -> None:
    before = stamps(s)
    assert call(written(SPEC | {"evidence": EVIDENCE | {"num_particles": 40}})) == 0
    assert stamps(s) == before
    for folder in (s / "seed=0", s / "seed=1"):
        assert read_card(folder).evidence["settings"]["num_particles"] == 40
        assert len(list((folder / "earlier").glob("evidence-*.json"))) == 1


def test_settings_that_mean_the_same_are_the_same_cell(s: Path) -> None:
    before = stamps(s)
    same = {"beta": 1.0, "model.latent_dim": "2"} | TRAIN | {"data": "digits"}
    del same["model"]
    same |= {"model.hidden": [4]}
    assert call(written({"train": same, "cells": [{}, {"seed": 1}], "evidence": EVIDENCE})) == 0
    assert stamps(s) == before


def test_new_cells_take_no_folder_of_others(tmp_path: Path) -> None:
    """Called as old ones were called, which have other settings."""

    def key(settings: Any) -> str:
        return json.dumps(settings, sort_keys=True)

    base = {"data": "digits", "model.latent_dim": 2}
    old = read_spec({"train": base, "grid": {"seed": [0, 1]}})
    for cell in placed(old, tmp_path, [key(c) for c in old.cells], key)[0]:
        cell.now("done")

    wider = [{"model.latent_dim": 2, "seed": 0}, {"model.latent_dim": 2, "seed": 1}, {"seed": 0}]
    new = read_spec({"train": {"data": "digits"}, "cells": wider})
    found, _ = placed(new, tmp_path, [key(c) for c in new.cells], key)
    assert [cell.state for cell in found] == ["done", "done", "to do"]
    assert len({cell.folder for cell in found}) == 3


def test_a_cell_with_other_settings_is_refused(s: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in s.rglob("*") if path.is_file()}
    for spec, told in (
        (SPEC | {"train": TRAIN | {"epochs": 3}}, "trained with epochs 1, and the spec says 3"),
        (SPEC | {"grid": {"seed": [1]}}, "holds the cell seed=0, which the spec does not have"),
    ):
        assert call(written(spec)) == 2
        assert told in capsys.readouterr().err
    assert {path: path.read_bytes() for path in s.rglob("*") if path.is_file()} == before


def test_killed_between_training_and_scoring(
    s: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = read_sweep(s)
    shutil.rmtree(s)

    def interrupted(options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cells.evidence, "run", interrupted)
        assert call(written(SPEC)) == 130
    assert [row["state"] for row in read_sweep(s).rows] == ["begun", "to do"]
    assert read_table(s / "sweep.csv")[0]["state"] == "begun"

    before = stamps(s)
    assert call(written(SPEC)) == 0
    assert stamps(s)["seed=0"] == before["seed=0"]
    ours, theirs = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in found.rows]
        for found in (read_sweep(s), expected)
    )
    assert ours == theirs


FAILING = """
from pathlib import Path
from pyro_vae import EncoderGuide


class Sometimes(EncoderGuide):
    def forward(self, x, index=None):
        if Path("broken").exists() and self.training:
            raise RuntimeError("the disk of tape has run out")
        return super().forward(x, index)
"""


def test_a_cell_that_fails_is_named_and_tried_again_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("my_guides.py").write_text(FAILING)
    Path("broken").touch()
    common = {name: value for name, value in TRAIN.items() if name != "guide.hidden"}
    options = {"class_path": "my_guides.Sometimes", "init_args": {"hidden": [4]}}
    usual = {"class_path": "pyro_vae.EncoderGuide", "init_args": {"hidden": [4]}}
    spec = {"train": common, "grid": {"guide": [options, usual]}}
    assert call(written(spec)) == 2
    assert "say --trust my_guides" in capsys.readouterr().err and not Path("s").exists()

    assert call(f"{written(spec)} --trust my_guides") == 1
    told = capsys.readouterr()
    first = "guide=Sometimes(hidden=4)"
    assert f"{first}: failed: RuntimeError: the disk of tape has run out" in told.err
    assert f"error: {first} failed: RuntimeError: the disk of tape" in told.err
    assert "Traceback" not in told.err and "1 done, 1 failed" in told.out
    assert "Traceback" in (Path("s") / first / "log.txt").read_text()
    assert read_sweep("s").failed == {first: "RuntimeError: the disk of tape has run out"}

    before = stamps(Path("s"))
    Path("broken").unlink()
    assert call(f"{written(spec)} --trust my_guides") == 0
    assert "2 cells, 1 done before" in capsys.readouterr().err
    assert read_sweep("s").num_done == 2 and before.items() <= stamps(Path("s")).items()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": {"epoch": 1}}, "seed=0: unknown setting epoch: did you mean epochs?"),
        ({"grid": {"latent_dim": [1]}}, "setting latent_dim: did you mean model.latent_dim?"),
        ({"grid": {"hidden": [[1]]}}, "did you mean model.hidden or guide.hidden?"),
        ({"train": {"folder": "x"}}, "seed=0: unknown setting folder"),
        ({"grid": {"model.latent_dim": [1, "two"]}}, "model.latent_dim: expected an integer, got"),
        ({"grid": {"model.latent_dim": [1, 0]}}, "latent_dim=0: model: latent_dim: got 0"),
        ({"cells": [{}, {"beta": 1.0}]}, "the cells seed=0 and beta=1.0,seed=0 are the same"),
        ({"train": {"guide": "os.system"}}, "os.system is no class that a file may name"),
        ({"train": {"data": "no.npy"}}, "seed=0: source: there is no file or folder no.npy"),
        ({"evidence": {"method": "importance"}}, "did you mean Importance?"),
        ({"evidence": {"method": "os.system"}}, "evidence: method: os.system is no class"),
        ({"evidence": {"particles": 3}}, "did you mean num_particles?"),
        ({"evidence": {"num_particles": 0}}, "evidence: num_particles: got 0"),
        ({"evidence": {"num_data": 10_000}}, "num_data: got 10000, expected 1 to 300"),
    ],
)
def test_what_is_refused_before_any_cell(
    change: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(written({"grid": {"seed": [0]}} | change)) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and error.startswith("pyro-vae: error: spec")
    assert not Path("s").exists()


def test_the_page_of_a_sweep(s: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report s") == 0
    assert "s/report.html: open it in a browser" in capsys.readouterr().out
    page = (s / "report.html").read_text()
    assert "2 cells, 2 of them done: what varies is seed" in page and "<svg" in page
    assert call("list s") == 0
    assert "2 runs in s" in capsys.readouterr().out

    (s / "seed=0" / "cell.json").unlink()
    (s / "seed=1" / "cell.json").unlink()
    assert call("report s") == 2
    assert "s: no cell.json in its folders" in capsys.readouterr().err


def test_places_that_are_refused(s: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"{written(SPEC)} --folder s/seed=0") == 2
    assert "folder: s/seed=0 holds a run, expected a new folder" in capsys.readouterr().err
    (s / "seed=0" / "cell.json").write_text(json.dumps({"state": "done"}))
    assert call(written(SPEC)) == 2
    assert "expected the record of a sweep's cell" in capsys.readouterr().err


def test_the_folder_is_named_by_the_file(s: Path) -> None:
    written(SPEC)
    Path("runs").mkdir()
    s.rename("runs/spec")
    assert pv.sweep("spec.yaml", quiet=True, device="cpu").folder == Path("runs/spec")
