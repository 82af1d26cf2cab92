"""What a watch finds in subclasses and methods of built-ins, relative imports, weak references."""

from __future__ import annotations

import sys
import weakref
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pyro_vae.graphs import Watch

OFFSET = 0.0


class Cfg(dict[str, Any]):
    scale = 1.0


class Row(list[float]):
    scale = 1.0


class Pair(namedtuple("Pair", "first")):
    scale = 1.0


class Share(float):
    scale = 1.0


class Level(IntEnum):
    LOW = 1


class Late(partial[Any]):
    scale = 1.0


class Table(np.ndarray):
    scale = 1.0


class Ordered(OrderedDict[str, Any]):
    __slots__ = ("slot",)


class Kind(type):
    scale = 1.0


class Named(metaclass=Kind):
    pass


def ordered() -> Ordered:
    made = Ordered()
    made.slot = 1.0
    return made


OF_BUILT_INS: dict[str, Callable[[], Any]] = {
    "dict": lambda: Cfg(a=1),
    "empty dict": Cfg,
    "list": lambda: Row([1.0]),
    "namedtuple": lambda: Pair(1),
    "float": lambda: Share(2.0),
    "enum": lambda: Level.LOW,
    "partial": lambda: Late(torch.mul, 1.0),
    "array": lambda: np.ones(3).view(Table),
}


@pytest.mark.parametrize("where", ["object", "class"])
@pytest.mark.parametrize("name", OF_BUILT_INS)
def test_attributes_of_subclasses_of_built_in_classes_are_seen(
    name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = OF_BUILT_INS[name]()
    target = thing if where == "object" else type(thing)
    monkeypatch.setattr(target, "scale", 1.0, raising=False)
    watch = Watch(lambda x: x * thing.scale)
    assert watch.unchanged() and not watch.unseen
    monkeypatch.setattr(target, "scale", 2.0)
    assert not watch.unchanged()
    assert Watch(lambda x: x * thing.scale).key != watch.key


class Referent:
    def __init__(self) -> None:
        self.scale = 1.0

    def method(self) -> float:
        return self.scale


def set_scale(thing: Any) -> None:
    thing.scale = 2.0


def by(reach: Callable[[Referent], Any]) -> Callable[[], tuple[Any, Referent]]:
    def make() -> tuple[Any, Referent]:
        thing = Referent()
        return reach(thing), thing

    return make


def itself(thing: Any) -> tuple[Any, Any]:
    return thing, thing


HIDDEN: dict[str, tuple[Callable[[], tuple[Any, Any]], Callable[[Any], None]]] = {
    "weak reference": (by(weakref.ref), set_scale),
    "weak method": (by(lambda thing: weakref.WeakMethod(thing.method)), set_scale),
    "proxy": (by(weakref.proxy), set_scale),
    "weak set": (by(lambda thing: weakref.WeakSet([thing])), set_scale),
    "key of a dict": (by(lambda thing: {thing: 1}), set_scale),
    "method wrapper": (by(lambda thing: thing.__getattribute__), set_scale),
    "method of a dict": (
        lambda: (lambda source: (source.get, source))({"a": 1.0}),
        lambda d: d.update(a=2.0),
    ),
    "factory of a dict": (
        lambda: itself(defaultdict(lambda: 1.0)),
        lambda d: setattr(d, "default_factory", lambda: 2.0),
    ),
    "slot of a dict": (lambda: itself(ordered()), lambda d: setattr(d, "slot", 2.0)),
    "bytes of an array of a class": (
        lambda: itself(np.ones(3).view(Table)),
        lambda a: a.__setitem__(0, 2.0),
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_held_in_other_ways_is_seen(name: str) -> None:
    make, changes = HIDDEN[name]
    held, target = make()
    watch = Watch([held])
    assert watch.unchanged() and not watch.unseen
    changes(target)
    assert not watch.unchanged()
    assert Watch([held]).key != watch.key


def test_a_proxy_of_what_is_no_more_is_no_error() -> None:
    assert Watch([weakref.proxy(Referent())]).unchanged()


def test_attributes_of_a_metaclass_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, of_object = Watch(lambda x: x * Named.scale), Watch([Named()])
    monkeypatch.setattr(Kind, "scale", 2.0)
    assert not watch.unchanged() and not of_object.unchanged()


PACKAGE = {
    "__init__": "",
    "conf": "scale = 1.0",
    "late": "scale = 1.0",
    "deep/__init__": "",
    "deep/programs": """
def sibling(x):
    from .. import conf
    return x * conf.scale

def name(x):
    from ..conf import scale
    return x * scale

def whole(x):
    import a_user_s_package.conf as q
    return x * q.scale

def first_time(x):
    from ..late import scale
    return x * scale
""",
    "programs": """
def sibling(x):
    from . import conf
    return x * conf.scale

def name(x):
    from .conf import scale
    return x * scale
""",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name, text in PACKAGE.items():
        file = tmp_path / "a_user_s_package" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("conf", "programs", "deep.programs"):
        import_module(f"a_user_s_package.{name}")
    yield sys.modules["a_user_s_package"]
    for name in [name for name in sys.modules if name.startswith("a_user_s_package")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "name",
    [
        "programs.sibling",
        "programs.name",
        "deep.programs.sibling",
        "deep.programs.name",
        "deep.programs.whole",
    ],
)
def test_imports_in_a_function_of_a_package_are_seen(name: str, package: Any) -> None:
    module, function = name.rsplit(".", 1)
    program = getattr(sys.modules[f"a_user_s_package.{module}"], function)
    watch = Watch(program)
    assert watch.unchanged()
    package.conf.scale = 2.0
    assert not watch.unchanged()


def test_a_module_that_a_function_is_the_first_to_import_is_seen(package: Any) -> None:
    program = package.deep.programs.first_time
    compared = Watch(program)
    program(1.0)
    assert not compared.unchanged() and compared.changed()
    watch = Watch(program)
    package.late.scale = 2.0
    assert not watch.unchanged()


def test_a_large_container_hides_nothing_of_what_lies_beside_it() -> None:
    held, inside = Referent(), nn.Dropout()
    held.net, held.sigma = nn.Sequential(nn.Linear(3, 3), nn.Dropout()), 1.0  # type: ignore[attr-defined]
    large = {"table": dict.fromkeys(range(60_000), 1), "nets": [*range(5000), inside]}
    for programs in ((held, large), (large, held)):
        watch = Watch(*programs)
        assert {id(m) for m in watch.modules} == {id(m) for m in (inside, *held.net.modules())}  # type: ignore[attr-defined]
        assert sorted(text.split(",")[0] for text in watch.unseen) == [
            "a dict of 60000 items",
            "a list of 5001 items",
        ]
        held.sigma += 1
        assert not watch.unchanged()
