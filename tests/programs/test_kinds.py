"""No kind of program that a user brings is scored wrong, or fails in another library's words."""

from __future__ import annotations

import pytest

from tests.programs.brought.kind import Brought
from tests.programs.columns import COLUMNS
from tests.programs.expected import EVERYWHERE, REFUSED
from tests.programs.kinds import KINDS, PAGE, cells, hasten, page, wrong
from tests.programs.words import WORDS


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_works_or_is_refused(kind: str) -> None:
    found = [wrong(kind, column) for column in cells(kind)]
    assert not any(found), "\n".join(filter(None, found))


def test_the_table_names_kinds_functions_and_words() -> None:
    assert set(REFUSED) <= set(KINDS) and len(KINDS) > 20
    for told in (*REFUSED.values(), {words: column for column, words in EVERYWHERE.items()}):
        for words, columns in told.items():
            assert words in ("*", "works", *WORDS)
            assert words == "*" or set(columns.split()) <= set(COLUMNS)
    assert all(isinstance(make(), Brought) for make in KINDS.values())


def test_a_wrong_number_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.programs.columns.truth_of", lambda b, *_: b.exact(b.x, None) + 0.5)
    assert "AssertionError" in (wrong("functions", "Importance") or "")


def test_the_page_has_the_table() -> None:
    assert PAGE.read_text() == page(), "python -m tests.programs.kinds"
