"""Any result is drawn, into axes of its own or given ones, and nothing else is."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

import pyro_vae as pv
from pyro_vae.inference.coordinate_ascent import Ascent
from pyro_vae.report.plots import blank, views
from pyro_vae.results import Result
from tests.found import RESULTS
from tests.report.plots.reading import svg
from tests.written import ROOT

CLASSES = [
    kind
    for kind in (getattr(pv, name) for name in pv.__all__)
    if isinstance(kind, type) and issubclass(kind, Result)
]


@pytest.mark.parametrize("kind", [*CLASSES, Ascent], ids=lambda kind: kind.__name__)
def test_every_class_of_results_has_views(kind: type[Result]) -> None:
    assert views.dispatch(kind) is not views.dispatch(object)
    assert any(issubclass(type(make()), kind) for make, _ in RESULTS.values())


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_drawn_with_labels_and_on_no_ground(name: str) -> None:
    result = RESULTS[name][0]()
    assert views(result)
    for view in views(result):
        figure = pv.plot(result, view)
        shown = [axes for axes in figure.axes if axes.axison]
        if name == "Dataset":
            assert not shown  # pictures have no axes
            continue
        assert any(axes.get_xlabel() for axes in shown) and any(
            axes.get_ylabel() or axes.get_yticklabels() for axes in shown
        )
        assert figure.axes[0].get_title() or figure.get_suptitle()
        assert "#ffffff" not in svg(figure)


def test_the_documentation_has_the_views_of_every_result() -> None:
    page = (ROOT / "docs" / "seeing.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\| (`.*) \|$", page, re.MULTILINE)
    told = {name: re.findall(r"`(\w+)`", cell) for name, cell in rows}

    seen = {}
    for make, _ in RESULTS.values():
        result = make()
        # the data are no pictures here
        drawn = ["pictures" if name == "values" else name for name in views(result)]
        seen[type(result).__name__] = drawn
    assert told.keys() == seen.keys()
    for name, drawn in seen.items():
        assert drawn == [
            view for view in told[name] if view in drawn or view not in ("pictures", "intervals")
        ], name


def test_axes_that_are_given_are_drawn_into() -> None:
    figure = blank((6.4, 4.0))
    first, second = figure.subplots(1, 2)
    units = RESULTS["Units"][0]()
    assert pv.plot(units, ax=second) is figure
    assert second.has_data() and not first.has_data()
    assert second.get_ylabel() == "rate, nats per datum"


def test_a_whole_figure_takes_no_axes() -> None:
    with pytest.raises(ValueError, match="ax: got axes, but 'pairs' draws several"):
        pv.plot(RESULTS["Reference"][0](), ax=blank((1, 1)).add_subplot())


@pytest.mark.parametrize("value", [None, 3, "run", torch.zeros(3), {"elbo": 1.0}])
def test_what_is_no_result_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^result: got .*, expected what a function of pyro_vae"):
        pv.plot(value)


def test_what_no_view_is_and_what_no_axes_are_is_refused() -> None:
    units = RESULTS["Units"][0]()
    for view in ("elbo", 3):
        with pytest.raises(ValueError, match=r"^view: got .*, expected one of 'rates', 'activity'"):
            pv.plot(units, view)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^ax: got Figure, expected axes of matplotlib"):
        pv.plot(units, ax=blank((1, 1)))  # type: ignore[arg-type]
