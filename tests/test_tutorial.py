"""The chapters of the tutorial print what they say that they print.

`python -m tests.test_tutorial [CHAPTER ...]` writes the outputs and the pictures anew.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import time
import warnings
from contextlib import chdir, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any

import pytest

from tests.real import HAS_MNIST, REAL_ROOT
from tests.scenarios import eager
from tests.written import DOCS, PIECE, ROOT, last_place, numbers, words

CHAPTERS = [page for page in DOCS if page.parent.name == "tutorial" and page.stem != "index"]


def printed(code: str, names: dict[str, Any]) -> str:
    """What a piece of code prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, "a chapter", "exec"), names)
    return out.getvalue()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=[page.stem for page in CHAPTERS])
def test_a_chapter_prints_what_it_says(
    chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "mnist_gated" in chapter.read_text() and not HAS_MNIST:
        pytest.skip("no MNIST under PYRO_VAE_DATA")
    monkeypatch.setenv("PYRO_VAE_DATA", str(REAL_ROOT))
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    eager(monkeypatch)
    names: dict[str, Any] = {"__name__": "__main__"}
    for piece in PIECE.finditer(chapter.read_text()):
        found, said = printed(piece["code"], names), piece["out"] or ""
        assert words(found) == words(said), found
        for mine, theirs in zip(numbers(found), numbers(said), strict=True):
            near = pytest.approx(float(theirs), rel=0.03, abs=2 * last_place(theirs))
            assert float(mine) == near, found


def write(chapter: Path) -> None:
    """Run a chapter, put in what it prints, and keep its pictures."""
    names: dict[str, Any] = {"__name__": "__main__"}

    def run(piece: re.Match[str]) -> str:
        out = printed(piece["code"], names)
        shown = "\n".join(fill(line, 100, subsequent_indent="    ") for line in out.splitlines())
        return f"```python\n{piece['code']}```" + (f"\n\n```\n{shown}\n```" if out else "")

    started = time.monotonic()
    with TemporaryDirectory() as folder, chdir(folder):
        Path("experiments").symlink_to(ROOT / "experiments")
        text = PIECE.sub(run, chapter.read_text())
        for picture in Path().glob("*.png"):
            shutil.copy(picture, chapter.parent)
    chapter.write_text(text)
    print(f"{chapter.stem}: {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    warnings.simplefilter("error")
    for page in CHAPTERS:
        if not sys.argv[1:] or page.stem in sys.argv[1:]:
            write(page)
