"""A page: everything from files escaped, pictures in the page's colours, names of its own."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from pyro_vae.report.page import Chapter, Page, Picture, Section, Table, render
from pyro_vae.report.page.svg import inline

EVIL = """</title><script>alert(1)</script><img src=x onerror="y"> & 'q' "p" {{ 7 * 7 }}"""


def figure(text: str = "a title", image: bool = False) -> Figure:
    made = Figure(figsize=(12, 8), layout="constrained")
    axes = made.add_subplot()
    axes.plot([0, 1, 2], [1, 3, 2], label=text)
    if image:
        axes.imshow([[0.0, 1.0], [0.5, 0.2]], cmap="gray")
    axes.set_title(text)
    axes.legend()
    return made


def page(text: str = "words") -> Page:
    table = Table((text,), [(text,)], text, text)
    picture = Picture(figure(text), text, text, table)
    section = Section(text, [text], text, [picture, Picture(figure(text), text)], [table], [table])
    chapters = [Chapter(text, text, text, [(text, text)], [section]) for _ in range(2)]
    return Page(text, text, [section], chapters, text)


class Reader(HTMLParser):
    """The tags and the names of a page, and whether each that is opened is closed."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert not reader.open
    return reader


def test_what_comes_from_files_is_escaped() -> None:
    html = render(page(EVIL))
    found = read(html)
    assert not {"script", "img", "iframe", "object"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert html.count("&lt;script&gt;alert(1)") > 20 and "49" not in re.sub(r"[\d.]{3,}", "", html)


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    html = render(page())
    found = read(html)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("content", policy) in found.attributes
    links = [v for name, v in found.attributes if name in ("src", "href", "xlink:href")]
    assert links and all(str(link).startswith(("#", "data:")) for link in links)
    assert "@import" not in html and "url(http" not in html


def test_names_are_each_there_once_and_references_find_them() -> None:
    found = read(render(page()))
    assert len(found.ids) == len(set(found.ids)) > 40
    for name, value in found.attributes:
        if name in ("href", "xlink:href") and str(value).startswith("#"):
            assert str(value)[1:] in found.ids


def test_a_picture_takes_the_colours_of_the_page_and_keeps_its_texts() -> None:
    name = r"log p(x), $\nats{$ & <more>"  # no mathematics
    svg = inline(figure(name), 'the "alt"', "p7")
    assert "currentColor" in svg and "#000000" not in svg and "#ffffff" not in svg
    assert "#1f77b4" in svg  # a line keeps its own
    assert svg.count(r"log p(x), $\nats{$ &amp; &lt;more&gt;</text>") == 2
    assert 'aria-label="the &quot;alt&quot;"' in svg and "<title>the" in svg
    assert 'width="' not in svg.split(">")[0] and "<style" not in svg
    assert svg == inline(figure(name), 'the "alt"', "p7")
    assert "beta" not in inline(figure(r"$\beta < 1$"), "", "p8")


def test_images_are_in_the_page() -> None:
    svg = inline(figure(image=True), "", "p1")
    assert "data:image/png;base64," in svg


def test_words_between_backticks_are_code() -> None:
    html = render(page("run `pyro-vae evidence <RUN>` now"))
    assert "<p>run <code>pyro-vae evidence &lt;RUN&gt;</code> now</p>" in html


@pytest.mark.parametrize(("number", "note"), [(3, ""), (250, "the first 200 of 250 rows; all are")])
def test_long_tables_are_cut_and_say_so(number: int, note: str) -> None:
    table = Table.of([{"a_b": n, "c": 1 / 3} for n in range(number)], whole="x.csv")
    assert list(table.headers) == ["a b", "c"] and list(table.rows[1]) == ["1", "0.33333"]
    assert len(table.rows) == min(200, number) and table.note.startswith(note)
