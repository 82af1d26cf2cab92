"""`pyro-vae report`: what the page of a run says and shows, and how a browser takes it."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pyro_vae.files.texts import read_json, write_json
from tests.report.browser import console, needs_browser, overflow, screenshot
from tests.runs.conftest import run, trained  # noqa: F401
from tests.runs.folder import call


def text_of(page: str) -> str:
    """What a reader reads, without marks."""
    plain = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", plain)).split())


@pytest.fixture(scope="module")
def measured(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A run with everything measured."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    shutil.copytree(trained, folder)
    assert call(f"evidence {folder} --num_data 20 --method.num_particles 50") == 0
    guides = "--guides amortized,semi-amortized --steps 2"
    assert call(f"compare {folder} {guides} --num_data 5 --num_particles 20 --split test") == 0
    small = "--num_data 20 --num_simulations 20 --num_draws 9 --num_particles 200"
    assert call(f"diagnose {folder} {small} --num_nuts 0 --num_sandwich 0") == 0
    assert call(f"report {folder} --num_data 40") == 0
    return folder


def test_every_section_is_there_with_its_numbers(measured: Path) -> None:
    page = (measured / "report.html").read_text()
    text = text_of(page)
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "What it makes: samples", "What it keeps: reconstructions", "The latent space",
        "How it went", "How good: log p(x)", "What the guide costs: the ledger",
        "Whether the posterior can be believed: calibration", "What was trained",
        "Settings and versions",
    ]  # fmt: skip
    assert "Not shown" not in text and "Not measured" not in text and "Not read" not in text

    evidence = read_json(measured / "evidence.json")
    assert f"log p(x) {evidence['log_px']:.2f} +- {evidence['log_px_error']:.2f} nats" in text
    assert evidence["verdict"] in text
    diagnosis = read_json(measured / "diagnosis.json")["guides"]["amortized"]
    assert diagnosis["verdict"] in text
    assert "semi-amortized" in text and "digits: 1,297 train, 200 valid, 300 test" in text
    assert f"torch</td><td>{read_json(measured / 'versions.json')['torch']}" in page.replace(
        "\n", ""
    ).replace("> <", "><")
    assert page.count("<svg") >= 11 and page.count("<summary>the numbers</summary>") >= 5
    assert len(page) < 5e6


def test_every_picture_says_what_it_shows(measured: Path) -> None:
    page = (measured / "report.html").read_text()
    labels = re.findall(r'role="img" aria-label="([^"]*)"', page)
    assert len(labels) == page.count("<svg") and all(len(label) > 20 for label in labels)


@needs_browser
def test_a_browser_has_nothing_to_complain_of(measured: Path, tmp_path: Path) -> None:
    page = measured / "report.html"
    assert console(page) == []
    for width in (360, 1280):
        shown, over = overflow(page, width)
        assert shown <= width and over == "", (width, shown, over)
    screenshot(page, tmp_path / "light.png", 800, 600)
    screenshot(page, tmp_path / "dark.png", 800, 600, dark=True)
    light, dark = (brightness(tmp_path / f"{name}.png") for name in ("light", "dark"))
    assert light > 200 and dark < 60, (light, dark)


def brightness(path: Path) -> float:
    from PIL import Image

    grey = Image.open(path).convert("L").resize((20, 20))
    return float(np.median(np.asarray(grey)))


def test_what_was_not_measured_is_said_with_the_command(run: Path) -> None:  # noqa: F811
    assert call("report run --num_data 30 --num_particles 30 --out page/here.html") == 0
    text = text_of(Path("page/here.html").read_text())
    assert "Estimated for this page, on the first 30 test data with 30 particles" in text
    assert "Not measured: pyro-vae compare run" in text
    assert "Not measured: pyro-vae diagnose run" in text
    assert not (run / "report.html").exists()


def test_figures_of_other_weights_are_an_alarm(measured: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(measured, other)
    facts = read_json(other / "evidence.json")
    facts["settings"]["weights"] = "0" * 16
    write_json(other / "evidence.json", facts)
    assert call(f"report {other} --num_data 20") == 0
    told = "evidence.json was measured on other weights than the run has now: measure again"
    assert told in text_of((other / "report.html").read_text())


def test_figures_of_a_file_are_read_as_numbers_whatever_they_are(run: Path) -> None:  # noqa: F811
    found = {"log_px": "-3.5", "log_px_error": "0.25", "log_px_lower": -3.6, "log_px_upper": "inf"}
    write_json(run / "evidence.json", found)
    (run / "ledger").mkdir()
    rows = "guide,q*,inference_gap,inference_error,approximation_gap,amortization_gap"
    (run / "ledger" / "test.csv").write_text(f"{rows}\nmine,,0.5,0.1,,\n")
    assert call("report run --num_data 10") == 0
    page = (run / "report.html").read_text()
    text = text_of(page)
    assert "On these very data at least -3.600 (97.5%, in expectation)." in text
    assert "-3.500" in text and "0.250" in text
    assert ">inference gap</text>" in page  # a bar of a guide without a q*


def test_several_runs_are_compared_on_the_same_data(
    run: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(run, "again")
    assert call("report run again --num_data 20 --num_particles 25") == 0
    assert "report.html: open it in a browser" in capsys.readouterr().out
    page = Path("report.html").read_text()
    text = text_of(page)
    assert "not resolved: run and again are level on these data" in text
    assert page.count("<article") == 2 and 'href="#run-2"' in page


def test_a_hostile_run_is_shown_as_text(run: Path) -> None:  # noqa: F811
    evil = "<script>alert(1)</script>"
    Path("evil <b>$x$").mkdir()
    folder = Path("evil <b>$x$") / "r"
    shutil.copytree(run, folder)
    write_json(folder / "evidence.json", {"log_px": -3.0, "verdict": evil, "split": evil})
    data = read_json(folder / "data.json") | {"name": evil}
    (folder / "data.json").write_text(json.dumps(data))
    (folder / "metrics.csv").write_bytes(b"\xff\xfe")
    from pyro_vae.cli import main

    assert main(["report", str(folder), "--num_data", "10"]) == 0
    page = (folder / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "Not read:" in page and "metrics.csv" in page


def test_what_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    for arguments, told in (
        ("report missing", "missing: no such folder"),
        ("report run --num_particles 24", "num_particles: got 24"),
        ("report run --num_data 0", "num_data: got 0"),
        ("report run --out run", "out:"),
    ):
        assert call(arguments) == 2, arguments
        assert told in capsys.readouterr().err
