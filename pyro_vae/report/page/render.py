"""From a page's parts to one file: HTML with its pictures and its style in it, no script, nothing
that is fetched.
"""

from __future__ import annotations

import base64
import re
from importlib import resources
from itertools import count

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
    numbers = count(1)

    def drawn(picture: Picture) -> Markup:
        if isinstance(picture.figure, bytes):
            source = f"data:image/png;base64,{base64.b64encode(picture.figure).decode()}"
            return Markup('<img src="{}" alt="{}">').format(source, picture.alt)
        return Markup(inline(picture.figure, picture.alt, f"p{next(numbers)}"))

    style = Markup(_template("page.css"))
    return environment.get_template("page.html").render(page=page, drawn=drawn, style=style)


def _template(name: str) -> str:
    return (resources.files("pyro_vae.report.page") / name).read_text()
