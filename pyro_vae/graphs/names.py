"""The names by which a function's code finds what is not its own: globals, imports, and attributes
of anything.
"""

from __future__ import annotations

import dis
from functools import lru_cache
from importlib.util import resolve_name
from types import CodeType
from typing import Any, NamedTuple


class Names(NamedTuple):
    """Names in the order of the code, inner functions' included; a relative import has its dots."""

    variables: tuple[str, ...]
    imports: tuple[str, ...]
    attributes: tuple[str, ...]


@lru_cache(maxsize=4096)
def names_in(code: CodeType) -> Names:
    """What a function's code names.

    Example:
        >>> names_in((lambda x: x.shape[0] * torch.pi).__code__)
        Names(variables=('torch',), imports=(), attributes=('shape', 'pi'))
    """
    variables: dict[str, None] = {}
    imports: dict[str, None] = {}
    attributes: dict[str, None] = {}

    instructions = [i for i in dis.get_instructions(code) if i.opname != "EXTENDED_ARG"]
    for place, instruction in enumerate(instructions):
        name, kind = str(instruction.argval), instruction.opname
        if kind in _VARIABLES:
            variables[name] = None
        elif kind == "IMPORT_NAME":
            # two instructions before: the number of dots; one before: what is taken from the module
            level = instructions[place - 2].argval
            imports["." * level + name] = None
        elif kind in _ATTRIBUTES:
            attributes[name] = None

    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = names_in(constant)
            variables |= dict.fromkeys(inner.variables)
            imports |= dict.fromkeys(inner.imports)
            attributes |= dict.fromkeys(inner.attributes)

    return Names(tuple(variables), tuple(imports), tuple(attributes))


def imported_by(name: str, namespace: dict[str, Any]) -> list[str]:
    """The module that an import in the code of a module names, and the packages that it lies in."""
    package = namespace.get("__package__")
    if package is None:
        package = str(namespace.get("__name__", ""))
        package = package if "__path__" in namespace else package.rpartition(".")[0]
    try:
        parts = resolve_name(name, package).split(".")
    except ImportError:  # above the highest package: it cannot be imported
        return []
    return [".".join(parts[: k + 1]) for k in range(len(parts))]


_VARIABLES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM")
