"""The libraries whose code is taken as it stands, and what is no part of a program at all."""

from __future__ import annotations

import sys

_PACKAGE = __name__.partition(".")[0]
_LIBRARIES = {
    *(_PACKAGE, "torch", "torchvision", "functorch", "pyro", "pyroapi", "numpy", "scipy", "zuko"),
    *("pytest", "_pytest", "pluggy", "hypothesis", "IPython", "pandas", "sklearn"),
    *("matplotlib", "arviz", "tqdm"),
    *sys.stdlib_module_names,
}
_APART = (  # objects that run programs, or report on them: no part of what is run
    *("logging", "torch.optim", "torch.utils.tensorboard", "pyro.optim", "pyro.infer.svi"),
    *(f"{_PACKAGE}.graphs", f"{_PACKAGE}.inference"),
)


def is_library(module: str | None) -> bool:
    """Whether code of this module is taken as it stands."""
    return str(module).partition(".")[0] in _LIBRARIES


def is_apart(module: object) -> bool:
    """Whether an object of a class of this module runs programs, or reports on them."""
    return str(module).startswith(_APART)
