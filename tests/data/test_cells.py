"""Cells of a table: values in the terms of its columns, and a table read by those of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest
import torch

from pyro_vae.data.cells import (
    cells_of,
    columns_from,
    context_like,
    described,
    values_like,
    with_cells,
)
from pyro_vae.data.kinds import Columns

NAN = float("nan")
KINDS = ("real", "counts", "binary", "categories:3")
CITIES = ("Bern", "Paris", "Rome")
COLUMNS = Columns(KINDS, (None, None, None, CITIES), ("datum", "visits", "smokes", "city"))
X = torch.tensor([[0.1, 2, 1, 2], [NAN, NAN, 0, NAN]])


def test_cells_speak_of_names_and_levels() -> None:
    assert cells_of(COLUMNS, X) == {
        "datum": [0.1, None],
        "visits": [2, None],
        "smokes": [1, 0],
        "city": ["Rome", None],
    }
    means = cells_of(COLUMNS, torch.tensor([[0.1, 2.5, 0.25, 0.0], [1, 2, 1, 1]]))
    assert means["visits"] == [2.5, 2.0] and means["smokes"] == [0.25, 1.0]
    assert means["city"] == ["Bern", "Paris"]


def test_a_name_that_the_table_has_already() -> None:
    table: dict[str, Any] = {"datum": [7, 8]}
    table |= {f"value_{place}": column for place, column in enumerate(X.unbind(1))}
    found = with_cells(table, COLUMNS)
    assert list(found) == ["datum", "datum_", "visits", "smokes", "city"]
    assert found["datum"] == [7, 8] and found["datum_"] == [0.1, None]
    assert with_cells(table, Columns()) == table


def test_what_is_written_of_columns_is_read_again() -> None:
    facts = described(COLUMNS)
    assert facts["levels"] == {"city": list(CITIES)}
    assert columns_from(facts, 4) == COLUMNS
    plain = Columns(("real",), None, ("a",))
    assert described(plain) == {"columns": {"a": "real"}} and columns_from({}, 4) == Columns()
    old = {"columns": facts["columns"]}  # of a version that did not write the levels
    assert cells_of(columns_from(old, 4), X)["city"] == [2, None]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": ["real"]}, "columns"),
        ({"columns": {"a": "real"}}, "one for each column"),
        ({"columns": dict.fromkeys("abcd", 3)}, "kinds"),
        ({"levels": {"city": ["Bern"]}}, "as many as 'categories:3'"),
        ({"levels": {"city": [1, 2, 3]}}, "texts"),
        ({"levels": 3}, "levels"),
    ],
)
def test_torn_facts_are_refused(change: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        columns_from(described(COLUMNS) | change, 4)


FRAME = pandas.DataFrame(
    {
        "city": ["Rome", None],
        "id": ["x", "y"],
        "smokes": pandas.array([True, False], dtype="boolean"),
        "visits": pandas.array([2, None], dtype="Int64"),
        "datum": [0.1, np.nan],
    }
)


def test_a_table_is_read_by_the_columns_that_are_known() -> None:
    assert torch.equal(values_like(COLUMNS, FRAME, "f").nan_to_num(-1), X.nan_to_num(-1))
    empty = FRAME.assign(visits=None, city=None)
    assert values_like(COLUMNS, empty, "f")[:, [1, 3]].isnan().all()
    years = Columns(("categories:2",), (("36", "40"),), ("shoe",))
    for shoes in ([40.0, np.nan], pandas.array([40, None], dtype="Int64"), ["40", None]):
        found = values_like(years, pandas.DataFrame({"shoe": shoes}), "f")
        assert found[0] == 1 and found[1].isnan()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"city": ["Rome", "Oslo"]}, "f: the column 'city' holds 'Oslo', expected .* Bern, Paris"),
        ({"visits": [1, -1]}, "f: the column 'visits' is no counts"),
        ({"visits": ["many", "few"]}, "f: the column 'visits' holds texts"),
        ({"smokes": [2, 0]}, "f: the column 'smokes' is no binary"),
        ({"datum": [np.inf, 0]}, "f holds"),
    ],
)
def test_values_of_another_kind_are_refused(change: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        values_like(COLUMNS, FRAME.assign(**change), "f")


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="f: it has no column 'city', expected those of the run"):
        values_like(COLUMNS, FRAME.drop(columns="city"), "f")


def test_a_context_is_read_by_its_names() -> None:
    names = ("city=Bern", "city=Rome", "visits")
    frame = pandas.DataFrame({"visits": [2, 5], "city": ["Rome", "Bern"]})
    assert context_like(names, frame, "f").tolist() == [[0, 1, 2], [1, 0, 5]]
    with pytest.raises(ValueError, match="'visits' has missing values"):
        context_like(names, frame.assign(visits=[1, None]), "f")
    with pytest.raises(ValueError, match="no column 'city', which is the run's context"):
        context_like(names, frame[["visits"]], "f")
    with pytest.raises(ValueError, match="'Oslo', expected the run's categories: Bern, Rome"):
        context_like(names, frame.assign(city="Oslo"), "f")
