"""pyro_vae: amortized variational inference that can be trusted.

A *model* names the random choices that made the data, a *guide* answers the same choices, both are
Pyro programs, and everything else is a function of `(model, guide, x)`. Swap the guide and nothing
else changes.
"""

import re as _re
from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path
from typing import Any as _Any

# a name is imported when it is first used: torch and Pyro take seconds, and `pyro-vae --help` needs
# neither; the public names are the lines of __init__.pyi
_NAMES = _Path(__file__).with_suffix(".pyi").read_text()
_HOMES = {name: home for home, name in _re.findall(r"^from (\S+) import (\w+)", _NAMES, _re.M)}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> _Any:
    if name in _HOMES:
        found = getattr(_import_module(_HOMES[name]), name)
    elif not name.startswith("_") and _find_spec(f"{__name__}.{name}"):
        found = _import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
