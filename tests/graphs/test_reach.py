"""What a watch looks at beyond the attributes of objects, and what it refuses to."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import VAE, EncoderGuide
from pyro_vae.graphs import CaptureError, Compiled, Watch
from tests.scenarios import eager

OFFSET = 0.0
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
    "method replaced": (
        lambda p, x: p.helper(x),
        lambda p: setattr(Wide, "helper", lambda self, x: 3 * x),
    ),
    "attribute of a module": (lambda p, x: x * settings.TEMP, change(settings, "TEMP")),
    "attribute of a module's module": (
        lambda p, x: x * settings.part.TEMP,
        change(settings.part, "TEMP"),
    ),
    "attribute of a module that is held": (lambda p, x: x * p.held.TEMP, change(settings, "TEMP")),
    "import in a function": (imports_inside, change(settings, "TEMP")),
    "global in a helper": (lambda p, x: p.helper(x), change_global),
    "global in a property": (lambda p, x: x * p.factor, change_global),
    "global in a cached property": (lambda p, x: p.cached(x), change_global),
    "global in a static method": (lambda p, x: p.static(x), change_global),
    "attribute of a function": (with_attribute, change(with_attribute, "factor")),
    "default of a function": (
        with_default,
        lambda p: with_default.__defaults__[0].__setitem__(0, 3.0),
    ),
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
    "argument of a partial": (
        lambda p, x: p.partial(x),
        lambda p: setattr(p, "partial", partial(times, 3.0)),
    ),
    "keyword of a partial": (
        lambda p, x: p.keyword(x=x),
        lambda p: setattr(p, "keyword", partial(times, factor=3.0)),
    ),
    "array in place": (lambda p, x: x * float(p.array[1]), lambda p: p.array.__setitem__(1, 3.0)),
    "bytes in place": (lambda p, x: x * p.bytes[0], lambda p: p.bytes.__setitem__(0, 3)),
    "in a nest": (
        lambda p, x: x * p.nested[0][0]["factor"][0],
        lambda p: p.nested[0][0]["factor"].__setitem__(0, 3.0),
    ),
    "default dtype": (
        lambda p, x: x * torch.ones(()).element_size(),
        lambda p: torch.set_default_dtype(torch.double),
    ),
}


@pytest.fixture
def put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    eager(monkeypatch)
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
    assert not reach.named
    assert not any(isinstance(where, MappingProxyType) for where, _ in reach.dicts)
    assert sum(len(items) for _, items in reach.dicts) < 600  # half a microsecond a dozen


class Holder:
    sigma = 1.0


def test_objects_that_hold_one_another_otherwise_have_another_key() -> None:
    one, other = Holder(), Holder()
    assert Watch([one, one]).key != Watch([one, other]).key
    assert Watch([one, other]).key == Watch([Holder(), Holder()]).key
