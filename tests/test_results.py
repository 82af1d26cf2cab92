"""Every result of a public function shows itself: in a dozen lines, as a dictionary, as a frame."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

import pyro_vae as pv
from pyro_vae.files.texts import write_json
from pyro_vae.results import Result
from tests.found import RESULTS, parts


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_itself(name: str, tmp_path: Path) -> None:
    make, rows = RESULTS[name]
    result = make()
    assert isinstance(result, Result)

    told = repr(result)
    assert 2 <= len(told.splitlines()) <= 12 and max(map(len, told.splitlines())) <= 100, told
    assert "tensor" not in told and " object at " not in told and "cannot be shown" not in told

    write_json(tmp_path / "summary.json", result.summary())
    assert json.loads((tmp_path / "summary.json").read_text())

    frame = result.to_dataframe()
    assert isinstance(frame, pd.DataFrame) and len(frame) == rows
    assert all(frame[column].dtype != object or column in WORDS for column in frame), frame.dtypes
    assert result._repr_html_().count("<tr>") >= 2


WORDS = {"name", "method", "source", "guide", "unit", "site", "quantity", "split", "fingerprint"}
WORDS |= {"cell", "state", "reason"}


def test_the_figures_are_those_of_the_result() -> None:
    model, guide, x = parts()
    found = pv.log_evidence(model, guide, x, pv.Importance(50))
    frame = found.to_dataframe()
    assert frame["log_px"].mean() == pytest.approx(found.mean)
    assert frame["upper"].isin([math.inf]).any() == (~found.reliable).any().item()
    assert f"{found.mean:.2f}" in repr(found) and found.verdict.split(";")[0] in repr(found)
    curves = RESULTS["Curve"][0]()
    assert curves.to_dataframe()["rate"].tolist() == pytest.approx(curves.summary()["rate"])


class Odd(Result):
    """With text that is no HTML, more lines than fit, and a part that fails."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def headline(self) -> str:
        return "<b>odd</b>"

    def figures(self) -> list[tuple[str, str]]:
        if self.fails:
            raise RuntimeError("no")
        return [(f"line {number}", "a & b " * 20) for number in range(20)]

    def summary(self) -> dict[str, object]:
        return {}

    def columns(self) -> dict[str, list[int]]:
        return {"a": [1]}


def test_what_is_odd_is_shown_too() -> None:
    lines = repr(Odd()).splitlines()
    assert len(lines) == 12 and lines[-1] == "  ..." and max(map(len, lines)) <= 100
    shown = Odd()._repr_html_()
    assert "&lt;b&gt;odd" in shown and "a &amp; b" in shown and "<b>" not in shown
    assert repr(Odd(fails=True)) == "<Odd, which cannot be shown: no>"
    assert Odd(fails=True)._repr_html_() == "<pre>&lt;Odd, which cannot be shown: no&gt;</pre>"
