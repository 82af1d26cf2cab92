"""A figure of matplotlib as a piece of HTML: an SVG whose texts are texts, in the colours of the
page it stands on, light or dark, and whose names collide with no other's.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLACK = re.compile(r"(?i)(?<=: )#000000(?=[;\"])|(?<=: )black(?=[;\"])")
_WHITE = re.compile(r"(?i)(?<=: )#ffffff(?=[;\"])|(?<=: )white(?=[;\"])")
_FAMILIES = re.compile(r"'DejaVu Sans'[^;\"]*?sans-serif")
# a style would hold for the page as well, and comments repeat what is written
_IDLE = re.compile(r"<style.*?</style>|<!--.*?-->", re.DOTALL)


def inline(figure: Figure, alt: str, name: str) -> str:
    """A figure as `<svg>`.

    Args:
        figure: black becomes the colour of the page's text, white that of its paper.
        alt: what the picture shows, for those who cannot see it.
        name: of this picture, its own on the page.
    """
    import matplotlib as mpl
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if not _is_math(text.get_text()):  # a dollar in the name of a run is a dollar
            text.set_parse_math(False)
    figure.patch.set_alpha(0.0)
    for axes in figure.axes:
        axes.patch.set_alpha(0.0)

    written = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure.savefig(
            written,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _page_like(written.getvalue(), alt, name)


def _is_math(text: str) -> bool:
    """Whether what stands between dollars can be set."""
    from matplotlib.mathtext import MathTextParser

    try:
        for line in text.splitlines():
            if "$" in line:
                MathTextParser("path").parse(line)
    except ValueError:
        return False
    return True


def _page_like(text: str, alt: str, name: str) -> str:
    text = text[text.index("<svg") :]
    opening, rest = text.split(">", 1)
    sizes = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    assert sizes is not None
    width, height = sizes.groups()

    rest = _WHITE.sub("var(--paper)", _BLACK.sub("currentColor", rest))
    rest = _FAMILIES.sub("system-ui, sans-serif", _IDLE.sub("", rest))
    rest = re.sub(r'\bid="', f'id="{name}-', rest)
    rest = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", rest)

    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}"'
        f' fill="currentColor" style="max-width: {width}pt">'
    )
    return f"{start}<title>{escape(alt)}</title>{rest}"
