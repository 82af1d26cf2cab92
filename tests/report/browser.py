"""A page in headless Chromium: what its console says, how wide it is, a screenshot."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

_FRAME = """<!DOCTYPE html><html><body style="margin:0">
<iframe id="page" src="{page}" style="width:{width}px;height:3000px;border:0"></iframe>
<script>
window.addEventListener("load", () => {{
  const shown = document.getElementById("page").contentDocument;
  const root = shown.documentElement, found = [];
  for (const part of shown.querySelectorAll("body *")) {{
    if (part.closest(".scroll") && !part.matches(".scroll")) continue;
    if (part.closest("svg") && !part.matches("svg")) continue;
    if (part.getBoundingClientRect().right > {width} + 0.5) found.push(part.tagName);
  }}
  document.title = "width " + root.scrollWidth + " over " + found.join(",");
}});
</script></body></html>"""


def chromium(*arguments: str) -> str:
    """Run it without a window; what it writes to stdout and stderr."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += ["--allow-file-access-from-files", "--enable-logging=stderr", "--v=0"]
    done = subprocess.run(
        [CHROMIUM, *options, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout + done.stderr


def console(page: Path) -> list[str]:
    """What the page makes the browser say."""
    said = chromium("--virtual-time-budget=2000", "--dump-dom", page.resolve().as_uri())
    return [line for line in said.splitlines() if "CONSOLE" in line]


def overflow(page: Path, width: int) -> tuple[int, str]:
    """How wide the page is in a window of this width, and what reaches beyond it."""
    frame = page.with_name(f"frame-{width}.html")
    frame.write_text(_FRAME.format(page=page.name, width=width))
    said = chromium(
        "--virtual-time-budget=3000", "--window-size=1400,3000", "--dump-dom",
        frame.resolve().as_uri(),
    )  # fmt: skip
    found = re.search(r"<title>width (\d+) over ([^<]*)</title>", said)
    assert found is not None, said[-2000:]
    return int(found[1]), found[2]


def screenshot(page: Path, path: Path, width: int, height: int, dark: bool = False) -> None:
    """A picture of the page's first screen."""
    scheme = ["--force-dark-mode", "--enable-features=WebUIDarkMode"] if dark else []
    if dark:
        scheme = ["--blink-settings=preferredColorScheme=0"]
    chromium(
        *scheme, f"--screenshot={path}", f"--window-size={width},{height}", page.resolve().as_uri()
    )
