"""How Sphinx makes the pages, `make docs`: those of docs/, and what stands elsewhere in the house
for readers. The reference of each room is made from the docstrings of its public names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module, metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

import pyro_vae

ROOT = Path(__file__).parents[1]
API = ROOT / "docs" / "api"

project = "pyro_vae"
author = "the authors of pyro_vae"
release = metadata.version("pyro-vae")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
include_patterns = ["docs/**.md", "experiments/*.md", "benchmarks/*.md", "C*.md", "README.md"]
exclude_patterns = ["docs/_build"]
root_doc = "docs/index"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # as GitHub names them
default_role = "code"  # docstrings write `name`
autodoc_typehints = "signature"
napoleon_use_ivar = True  # attributes as a list
highlight_language = "none"  # a block without a language is an output

html_theme = "furo"
html_title = "pyro_vae"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_math_renderer = "mathml"  # drawn by the browser itself: no script, no network


def reference(app: Sphinx) -> None:
    """A page for each room, in the order of the file of public names."""
    API.mkdir(exist_ok=True)
    for room, members in groupby(pyro_vae._HOMES.items(), key=lambda item: item[1].split(".")[1]):
        told = (import_module(f"pyro_vae.{room}").__doc__ or "").strip().splitlines()
        lines = [f"# {room}", "", "```{eval-rst}", *set_apart(told), ""]
        for name, _ in members:
            is_class = isinstance(getattr(pyro_vae, name), type)
            lines += [f".. auto{'class' if is_class else 'function'}:: pyro_vae.{name}"]
            lines += ["   :members:"] * is_class + [""]
        (API / f"{room}.md").write_text("\n".join([*lines, "```", ""]))


def set_apart(lines: Sequence[str]) -> list[str]:
    """A docstring in which what stands apart, a formula or code, stays as it is and is no
    quotation.
    """
    told: list[str] = []
    depth, is_apart = 0, False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line and told and not told[-1] and indent > depth and not is_apart:
            told += [" " * depth + "::", ""]
            is_apart = True
        if line and (not is_apart or indent <= depth):
            depth, is_apart = indent, False
        told.append(re.sub(r"(^|\s)([A-Z]\.)$", r"\1\\\2", line))  # "R." begins no list
    return told


def displayed(app: Sphinx, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """The same of what autodoc has found."""
    lines[:] = set_apart(lines)


def _formula(display: str) -> Any:
    """What writes a formula as MathML."""

    def visit(self: Any, node: Any) -> None:
        drawn = convert(node.astext().replace(r"\log ", r"\log\, "), display=display)
        self.body.append(drawn.replace("<mo>&#x23DF;", '<mo stretchy="true">&#x23DF;'))
        raise nodes.SkipNode

    return visit


def setup(app: Sphinx) -> None:
    """Take MathML for formulas, and make the reference."""
    app.add_html_math_renderer("mathml", (_formula("inline"), None), (_formula("block"), None))
    app.connect("builder-inited", reference)
    app.connect("autodoc-process-docstring", displayed, priority=400)  # napoleon has 500
