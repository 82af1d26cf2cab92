"""A graph is never stale: whatever changes about the programs, the result follows."""

from __future__ import annotations

import sys
import weakref
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import VAE, EncoderGuide
from pyro_vae.graphs import CaptureError, Compiled, Watch

OFFSET = 0.0


class Holder:
    sigma: float

    def __init__(self) -> None:
        self.sigma = 1.0


class Program(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.scale = 1.0
        self.offset = torch.zeros(3)  # no buffer: a plain attribute
        self.options = {"sigma": 1.0}
        self.holder = Holder()
        self.activation = torch.relu
        self.others = [nn.Dropout(0.5)]

    def forward(self, x: Tensor) -> Tensor:
        out = self.scale * self.net(x) * self.options["sigma"] * self.holder.sigma + self.offset + OFFSET
        out = self.others[0](self.activation(out))
        return out.double().float() if any(not p.requires_grad for p in self.parameters()) else out


def change_in_place(program: Program) -> None:
    with torch.no_grad():
        program.net[0].weight.mul_(2)


def load(program: Program) -> None:
    program.load_state_dict({k: v + 1 for k, v in program.state_dict().items()})


def load_by_assignment(program: Program) -> None:
    program.load_state_dict({k: v + 1 for k, v in program.state_dict().items()}, assign=True)


def replace_parameter(program: Program) -> None:
    program.net[0].bias = nn.Parameter(torch.randn(3))


def replace_module(program: Program) -> None:
    program.net[0] = nn.Linear(3, 3)


def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return 2 * output


CHANGES: dict[str, Callable[[Program], object]] = {
    "number in a dict": lambda p: p.options.update(sigma=3.0),
    "number of an object": lambda p: setattr(p.holder, "sigma", 3.0),
    "function": lambda p: setattr(p, "activation", torch.tanh),
    "hook": lambda p: p.net.register_forward_hook(hook),
    "module appended": lambda p: p.net.append(nn.Tanh()),
    "module in a list": lambda p: p.others[0].eval(),
    "strides": lambda p: setattr(p.net[0].weight, "data", p.net[0].weight.data.t().contiguous().t()),
    "global in forward": lambda p: globals().update(OFFSET=5.0),
    "weight in place": change_in_place,
    "state dict": load,
    "state dict by assignment": load_by_assignment,
    "parameter replaced": replace_parameter,
    "module replaced": replace_module,
    "evaluation mode": lambda p: p.eval(),
    "one module to evaluation mode": lambda p: p.net[2].eval(),
    "frozen": lambda p: p.net[0].weight.requires_grad_(False),
    "float64": lambda p: p.double(),
    "number": lambda p: setattr(p, "scale", 3.0),
    "tensor attribute": lambda p: setattr(p, "offset", torch.ones(3)),
    "tensor attribute in place": lambda p: p.offset.add_(1),
    "dropout rate": lambda p: setattr(p.net[2], "p", 0.1),
    "buffer in place": lambda p: p.net[1].running_mean.add_(1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_result_follows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_vae.graphs.compiled.compile_graph", lambda graph, inputs: graph.module)
    program = Program()
    compiled = Compiled(lambda x: [program(x)], program)

    def check() -> None:
        x = torch.randn(8, 3, dtype=program.net[0].weight.dtype)
        before = [b.clone() for b in program.buffers()]
        torch.manual_seed(1)
        got = compiled(x)[0]
        after = [b.clone() for b in program.buffers()]
        for buffer, value in zip(program.buffers(), before, strict=True):
            buffer.copy_(value)
        torch.manual_seed(1)
        with torch.no_grad():
            assert torch.equal(got, program(x)), name
        assert all(map(torch.equal, after, program.buffers()))

    check()
    check()
    assert compiled.num_captures == 1
    CHANGES[name](program)
    check()
    check()
    assert compiled.num_captures <= 2


def test_going_back_needs_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_vae.graphs.compiled.compile_graph", lambda graph, inputs: graph.module)
    program = Program()
    compiled = Compiled(lambda x: [program(x)], program)
    for size in (8, 3, 8, 3):
        for mode in (True, False):
            program.train(mode)
            compiled(torch.randn(size, 3))
    assert compiled.num_captures == 4


FACTOR = 2.0
NET = nn.Linear(3, 3)


def test_globals_closures_and_wrappers_are_seen() -> None:
    inner, other = nn.Linear(3, 3), nn.Linear(3, 3)
    tensor = torch.ones(3)

    def function(x: Tensor, net: nn.Module) -> Tensor:
        return FACTOR * NET(inner(net(x))) + tensor

    watch = Watch(partial(function, net=other))
    assert {id(m) for m in watch.modules} >= {id(inner), id(other), id(NET)}
    assert watch.unchanged()
    globals()["FACTOR"] = 3.0
    assert not watch.unchanged()
    assert Watch(partial(function, net=other)).key != watch.key
    globals()["FACTOR"] = 2.0
    assert Watch(partial(function, net=other)).key == watch.key
    NET.eval()
    assert not watch.unchanged()


# what is looked at beyond the attributes of objects

SCALE = 1.0
settings = ModuleType("settings_of_a_user")
settings.TEMP = 1.0
settings.part = ModuleType("settings_of_a_user.part")
settings.part.TEMP = 1.0
sys.modules["settings_of_a_user"] = settings


def times(factor: float, x: Tensor) -> Tensor:
    return factor * x


@dataclass(slots=True)
class Slots:
    factor: float = 1.0


class Constants:
    """A class that is named and never instantiated."""

    FACTOR = 1.0


class Base(nn.Module):
    INHERITED = 1.0

    @staticmethod
    def static(x: Tensor) -> Tensor:
        return x * SCALE

    @classmethod
    def of_class(cls, x: Tensor) -> Tensor:
        return x * cls.INHERITED


class Wide(Base):
    """A program that scales its input by a number which it finds somewhere."""

    FACTOR = 1.0
    TABLE: ClassVar = [1.0]

    def __init__(self, use: Callable[[Wide, Tensor], Any]) -> None:
        super().__init__()
        self.use = use
        self.slots = Slots()
        self.list = [1.0] * 3000
        self.dict = dict.fromkeys(range(3000), 1.0)
        self.set: set[str] = set()
        self.deque = deque([1.0])
        self.ordered = OrderedDict(a=1.0)
        self.source = {"factor": 1.0}
        self.view = MappingProxyType(self.source)
        self.partial = partial(times, 1.0)
        self.keyword = partial(times, factor=1.0)
        self.array = np.ones(3)
        self.bytes = bytearray(b"1")
        self.held = settings
        self.nested = ([{"factor": [1.0]}],)
        self.weight = nn.Parameter(torch.ones(3))

    def helper(self, x: Tensor) -> Tensor:
        return x * SCALE

    @property
    def factor(self) -> float:
        return SCALE

    @cached_property
    def cached(self) -> Callable[[Tensor], Tensor]:
        return self.helper

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x) * self.weight


def imports_inside(p: Wide, x: Tensor) -> Tensor:
    from settings_of_a_user import TEMP

    return x * TEMP


def with_attribute(p: Wide, x: Tensor) -> Tensor:
    return x * with_attribute.factor


with_attribute.factor = 1.0


def with_default(p: Wide, x: Tensor, table: list[float] = [1.0]) -> Tensor:  # noqa: B006
    return x * table[0]


def change(target: Any, name: str) -> Callable[[Wide], None]:
    return lambda p: setattr(target, name, 3.0)


def change_global(p: Wide) -> None:
    globals()["SCALE"] = 3.0


FURTHER: dict[str, tuple[Callable[[Wide, Tensor], Any], Callable[[Wide], object]]] = {
    "class attribute": (lambda p, x: x * p.FACTOR, change(Wide, "FACTOR")),
    "list of a class": (lambda p, x: x * p.TABLE[0], lambda p: Wide.TABLE.__setitem__(0, 3.0)),
    "inherited class attribute": (lambda p, x: x * p.INHERITED, change(Base, "INHERITED")),
    "in a class method": (lambda p, x: p.of_class(x), change(Base, "INHERITED")),
    "class that is named": (lambda p, x: x * Constants.FACTOR, change(Constants, "FACTOR")),
    "method replaced": (lambda p, x: p.helper(x), lambda p: setattr(Wide, "helper", lambda self, x: 3 * x)),
    "attribute of a module": (lambda p, x: x * settings.TEMP, change(settings, "TEMP")),
    "attribute of a module's module": (lambda p, x: x * settings.part.TEMP, change(settings.part, "TEMP")),
    "attribute of a module that is held": (lambda p, x: x * p.held.TEMP, change(settings, "TEMP")),
    "import in a function": (imports_inside, change(settings, "TEMP")),
    "global in a helper": (lambda p, x: p.helper(x), change_global),
    "global in a property": (lambda p, x: x * p.factor, change_global),
    "global in a cached property": (lambda p, x: p.cached(x), change_global),
    "global in a static method": (lambda p, x: p.static(x), change_global),
    "attribute of a function": (with_attribute, change(with_attribute, "factor")),
    "default of a function": (with_default, lambda p: with_default.__defaults__[0].__setitem__(0, 3.0)),
    "slot": (lambda p, x: x * p.slots.factor, lambda p: setattr(p.slots, "factor", 3.0)),
    "long list": (lambda p, x: x * p.list[7], lambda p: p.list.__setitem__(7, 3.0)),
    "long dict": (lambda p, x: x * p.dict[7], lambda p: p.dict.update({7: 3.0})),
    "key of a dict": (
        lambda p, x: x * (3 if "b" in p.ordered else 1),
        lambda p: p.ordered.update(b=p.ordered.pop("a")),
    ),
    "set": (lambda p, x: x * (3 if "b" in p.set else 1), lambda p: p.set.add("b")),
    "deque": (lambda p, x: x * p.deque[0], lambda p: p.deque.__setitem__(0, 3.0)),
    "view of a dict": (lambda p, x: x * p.view["factor"], lambda p: p.source.update(factor=3.0)),
    "argument of a partial": (lambda p, x: p.partial(x), lambda p: setattr(p, "partial", partial(times, 3.0))),
    "keyword of a partial": (lambda p, x: p.keyword(x=x), lambda p: setattr(p, "keyword", partial(times, factor=3.0))),
    "array in place": (lambda p, x: x * float(p.array[1]), lambda p: p.array.__setitem__(1, 3.0)),
    "bytes in place": (lambda p, x: x * p.bytes[0], lambda p: p.bytes.__setitem__(0, 3)),
    "in a nest": (lambda p, x: x * p.nested[0][0]["factor"][0], lambda p: p.nested[0][0]["factor"].__setitem__(0, 3.0)),
    "default dtype": (lambda p, x: x * torch.ones(()).element_size(), lambda p: torch.set_default_dtype(torch.double)),
}


@pytest.fixture
def put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("pyro_vae.graphs.compiled.compile_graph", lambda graph, inputs: graph.module)
    for target, name in (
        (Wide, "FACTOR"),
        (Wide, "helper"),
        (Wide, "TABLE"),
        (Base, "INHERITED"),
        (Constants, "FACTOR"),
    ):
        monkeypatch.setattr(target, name, vars(target)[name])
    for target, name in ((settings, "TEMP"), (settings.part, "TEMP"), (with_attribute, "factor")):
        monkeypatch.setattr(target, name, getattr(target, name))
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    yield
    Wide.TABLE[0] = with_default.__defaults__[0][0] = 1.0
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", FURTHER)
def test_the_result_follows_what_is_found_elsewhere(name: str, put_back: None) -> None:
    use, changes = FURTHER[name]
    program = Wide(use)
    compiled = Compiled(lambda x: [program(x)], program)
    x = torch.ones(3)
    for _ in range(9):  # the tenth call is not compared
        before = compiled(x)[0]
    assert compiled.num_captures == 1
    changes(program)
    got, expected = compiled(x)[0], program(x)
    assert torch.equal(got, expected) and not torch.equal(before, expected)
    assert compiled.num_captures == 2
    compiled(x)
    assert compiled.num_captures == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda p, x: x * float(p.weight.detach().numpy()[0]),
        lambda p, x: x * p.weight.tolist()[0],
        lambda p, x: x * float(np.asarray(p.weight.data)[0]),
        lambda p, x: x * float(np.from_dlpack(p.weight.detach())[0]),
        lambda p, x: x * float(p.weight.detach()[0]),
        lambda p, x: x * (2.0 if p.weight[0] > 2 else 1.0),
        lambda p, x: x * float(x.numpy()[0]),
    ],
)
def test_values_that_leave_torch_are_refused(use: Any, put_back: None) -> None:
    program = Wide(use)
    noise = torch.get_rng_state()
    with pytest.raises(CaptureError, match=r"out of torch|value of a tensor"):
        Compiled(lambda x: [program(x)], program)(torch.ones(3))
    assert torch.equal(noise, torch.get_rng_state())


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([1.0] * 5000, "a list of 5000 items, too many"),
        (dict.fromkeys(range(5000)), "a dict of 5000 items"),
        (set(range(5000)), "a set of 5000 items"),
        (np.ones(1000), "a ndarray of 8000 bytes"),
        ([[1.0] * 4000 for _ in range(20)], "a list of 4000 items"),
        (iter([1.0]), "a list_iterator, which gives another value each time"),
        (count(), "a count, which"),
        ((n for n in [1.0]), "a generator, which"),
    ],
)
def test_what_cannot_be_compared_is_refused(value: Any, what: str, put_back: None) -> None:
    program = Wide(lambda p, x: x)
    program.value = value
    with pytest.raises(CaptureError, match=f"it can come upon {what}"):
        Compiled(lambda x: [program(x)], program)(torch.ones(3))


loss = 0.0


def test_a_global_that_is_named_as_an_attribute_alone_is_not_watched(put_back: None) -> None:
    class Program:
        loss = torch.ones(())

        def __call__(self, x: Tensor) -> list[Tensor]:
            return [x * self.loss]

    program = Program()
    compiled = Compiled(program, program)
    for step in range(20):
        globals()["loss"] = float(step)
        compiled(torch.ones(3))
    assert compiled.num_captures == 1


def test_the_code_of_libraries_is_not_looked_at() -> None:
    model, guide = VAE((1, 28, 28), 50, (200, 200)), EncoderGuide((1, 28, 28), 50, (200, 200))
    watch = Watch(model, guide)
    assert len(watch.modules) == sum(1 for program in (model, guide) for _ in program.modules())
    reach = watch._reach
    assert not reach.named and not any(isinstance(where, MappingProxyType) for where, _ in reach.dicts)
    assert sum(len(items) for _, items in reach.dicts) < 600  # half a microsecond a dozen


def test_objects_that_hold_one_another_otherwise_have_another_key() -> None:
    one, other = Holder(), Holder()
    assert Watch([one, one]).key != Watch([one, other]).key
    assert Watch([one, other]).key == Watch([Holder(), Holder()]).key


# subclasses of built-in classes, relative imports, weak references, methods of built-in classes


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
    "partial": lambda: Late(times, 1.0),
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
    "method of a dict": (lambda: (lambda source: (source.get, source))({"a": 1.0}), lambda d: d.update(a=2.0)),
    "factory of a dict": (
        lambda: itself(defaultdict(lambda: 1.0)),
        lambda d: setattr(d, "default_factory", lambda: 2.0),
    ),
    "slot of a dict": (lambda: itself(ordered()), lambda d: setattr(d, "slot", 2.0)),
    "bytes of an array of a class": (lambda: itself(np.ones(3).view(Table)), lambda a: a.__setitem__(0, 2.0)),
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
    "name", ["programs.sibling", "programs.name", "deep.programs.sibling", "deep.programs.name", "deep.programs.whole"]
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
    held, inside = Holder(), nn.Dropout()
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
