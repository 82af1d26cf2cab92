"""From a page's parts to one file: HTML with its pictures and its style in it, no script, nothing
that is fetched.
"""

from __future__ import annotations

import re
from importlib import resources

from pyro_vae.report.page.parts import Page, Picture
from pyro_vae.report.page.svg import inline

_CODE = re.compile("`([^`]+)`")


def render(page: Page) -> str:
    """The page as one HTML text; whatever comes from a file is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_template),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def code(text: str) -> Markup:
        return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))

    environment.filters["code"] = code
    drawn = iter(range(1, 10**6))

    def svg(picture: Picture) -> Markup:
        return Markup(inline(picture.figure, picture.alt, f"p{next(drawn)}"))

    style = Markup(_template("page.css"))
    return environment.get_template("page.html").render(page=page, svg=svg, style=style)


def _template(name: str) -> str:
    return (resources.files("pyro_vae.report.page") / name).read_text()
