"""Where Python objects keep what they hold: slots, cells of closures, weak proxies."""

from __future__ import annotations

from types import CellType, MemberDescriptorType
from typing import Any


def slots_of(kind: type) -> list[str]:
    """The names of the slots of a class and of all that it derives from."""
    found: list[str] = []
    for base in kind.__mro__:
        if "__slots__" in vars(base):
            found += [n for n, v in vars(base).items() if isinstance(v, MemberDescriptorType)]
    return found


def is_filled(cell: CellType) -> bool:
    """Whether a cell of a closure has a value."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def referent(proxy: Any) -> list[Any]:
    """What a weak proxy stands for; nothing where that is dead."""
    try:
        return [proxy.__dir__.__self__]
    except (ReferenceError, AttributeError):
        return []
