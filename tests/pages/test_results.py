"""Kept results on a page: every number, whatever its name; torn files told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyro_vae.pages.results import results, tables_of
from pyro_vae.report.page import Chapter, Page, render

ROOT = Path(__file__).parents[2]


def test_plain_values_rows_and_groups_are_tables() -> None:
    facts = {
        "seed": 3,
        "dims": [1, 2],
        "a": {"x": 1.5, "y": None},
        "b": {"x": 2.5},
        "rows": [{"n": 1, "deep": {"m": 2}}, {"n": 3}],
        "deeper": {"inner": {"z": {"w": 7}}},
    }
    found = {table.title: table for table in tables_of(facts, "figures")}
    assert list(found) == ["figures", "figures: a, b", "rows", "inner: z"]
    assert list(found["figures"].rows) == [("seed", "3"), ("dims", "1, 2")]
    groups = found["figures: a, b"]
    assert list(groups.headers) == ["", "x", "y"]
    assert list(groups.rows) == [["a", "1.5", ""], ["b", "2.5", ""]]
    assert list(found["rows"].headers) == ["n", "deep.m"]
    assert list(found["rows"].rows) == [["1", "2"], ["3", ""]]
    assert list(found["inner: z"].rows) == [["z", "7"]]


def test_all_kept_results_are_shown() -> None:
    kept = sorted((ROOT / "experiments" / "results").glob("*.json"))
    chapter = results(ROOT / "experiments" / "results")
    assert [section.title for section in chapter.sections] == [
        path.stem.replace("_", " ") for path in kept
    ]
    for path, section in zip(kept, chapter.sections, strict=True):
        cells = {cell for table in section.folded for row in table.rows for cell in row}
        plain = [v for v in json.loads(path.read_text()).values() if type(v) is int]
        assert {str(value) for value in plain} <= cells and section.folded
    pictures = [section for section in chapter.sections if section.pictures]
    drawn = [path for path in kept if path.with_suffix(".png").is_file()]
    assert [section.title for section in pictures] == [p.stem.replace("_", " ") for p in drawn]
    assert "amortization" in [section.title for section in pictures]


def test_what_is_torn_or_no_picture(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "good.json").write_text('{"n": 1, "command": "run <it>"}')
    (tmp_path / "good.png").write_bytes(b"<svg onload=x>")
    good, torn = results(tmp_path).sections
    assert good.words == ["`run <it>`"] and not good.pictures
    assert "Not read" in torn.words[0] and "torn.json" in torn.words[0]
    (tmp_path / "good.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (picture,) = results(tmp_path).sections[0].pictures
    page = render(Page("", "", [], [Chapter("", "", sections=results(tmp_path).sections)], ""))
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in page and picture.alt in page
    for folder in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(FileNotFoundError, match="expected the results of experiments"):
            results(folder)
