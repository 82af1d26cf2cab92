"""What a sweep is to train: a file of YAML, or the same as a dictionary.

    train: {data: digits, epochs: 10}                    # of all cells
    grid: {model.latent_dim: [2, 5, 10], seed: [0, 1]}   # every combination: 6 cells
    evidence: {method: Importance, num_particles: 1000}  # of each, once it is trained

Names are those of `pyro-vae train`'s options, `model.latent_dim` for `--model.latent_dim`. `cells`
is a list of settings, `cells: [{beta: 1}, {beta: 4, warmup_epochs: 3}]`; with a grid besides, each
of the list comes with every combination. Nothing in a spec is run: it is read as a config.yaml is,
and names known classes alone, or trusted ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

from pyro_vae.arguments import shown
from pyro_vae.files.texts import printable, read_yaml

PARTS = ("train", "grid", "cells", "evidence")
MOST = 10_000  # cells
MAX_SPEC = 2**18  # bytes of a file

Plain = dict[str, Any]
"""Settings by their full names, such as `model.latent_dim`."""


@dataclass(frozen=True)
class Spec:
    """What a sweep is to do.

    Attributes:
        cells: the settings of each, by full names, those of all cells among them.
        names: the settings that vary, in the order of the spec.
        evidence: options of `pyro-vae evidence`; None where it is not asked for.
        source: what to call the spec in a message.
    """

    cells: list[Plain]
    names: list[str]
    evidence: Plain | None = None
    source: str = "spec"
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def refuse(self, told: str) -> NoReturn:
        """Raise the ValueError that says what is wrong."""
        raise ValueError(f"{self.source}: {told}")


def read_spec(spec: str | Path | Mapping[str, Any]) -> Spec:
    """The cells of a spec.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no YAML, an unknown part, a grid of nothing, a value or a cell twice, NaN.
    """
    if isinstance(spec, Mapping):
        return _understood(spec, "spec")
    if not isinstance(spec, str | Path) or not str(spec):
        raise ValueError(f"spec: got {shown(spec)}, expected a file of YAML, or a dictionary")
    path = Path(spec)
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise FileNotFoundError(f"spec: {printable(path)}: {what}, expected a file of YAML")
    return _understood(read_yaml(path, MAX_SPEC), printable(path))


def _understood(plain: Mapping[str, Any], source: str) -> Spec:
    """A spec of plain values."""
    empty = Spec([], [], None, source)
    for name in plain:
        if name not in PARTS:
            near = get_close_matches(str(name), PARTS, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            empty.refuse(f"unknown part {shown(name)}, expected {', '.join(PARTS)}{hint}")
    if plain.get("grid") is None and plain.get("cells") is None:
        empty.refuse("got neither grid nor cells, expected what is to vary")

    common = _flat(empty, "train", plain.get("train") or {})
    axes = _axes(empty, plain.get("grid"))
    listed = _listed(empty, plain.get("cells"))
    both = [name for each in listed for name in each if name in axes]
    if both:
        empty.refuse(f"{both[0]} is in grid and in cells, expected it in one of them")

    number = len(listed) * math.prod(map(len, axes.values()))
    if number > MOST:
        empty.refuse(f"got {number:,} cells, expected at most {MOST:,}")
    cells = [
        common | own | dict(zip(axes, values, strict=True))
        for own in listed
        for values in product(*axes.values())
    ]
    names = list(dict.fromkeys([*(name for own in listed for name in own), *axes]))
    evidence = plain.get("evidence")
    if evidence is not None:
        evidence = _flat(empty, "evidence", evidence)
    return Spec(cells, names, evidence, source, plain)


def _axes(spec: Spec, grid: Any) -> dict[str, list[Any]]:
    """The values of each setting of a grid, all different."""
    if grid is None:
        return {}
    axes = _flat(spec, "grid", grid)
    if not axes:
        spec.refuse("grid: got no settings, expected some with a list of values each")

    for name, values in axes.items():
        if not isinstance(values, list | tuple) or not values:
            expected = "expected a list of values such as [0, 1, 2]"
            spec.refuse(f"grid: {name}: got {shown(values)}, {expected}")
        twice = [value for at, value in enumerate(values) if same(value, values[:at])]
        if twice:
            spec.refuse(f"grid: {name}: got {shown(twice[0])} twice, expected each value once")
    return {name: list(values) for name, values in axes.items()}


def same(value: Any, others: Sequence[Any]) -> bool:
    """Whether a value is among others; 1 is not true, though Python has them equal."""
    return any(value == other and type(value) is type(other) for other in others)


def _listed(spec: Spec, cells: Any) -> list[Plain]:
    """The settings of each cell of a list; one without any where there is no list."""
    if cells is None:
        return [{}]
    if not isinstance(cells, list | tuple) or not cells:
        spec.refuse(f"cells: got {shown(cells)}, expected a list of settings such as [{{seed: 0}}]")
    found = [_flat(spec, f"cells: {at}", each) for at, each in enumerate(cells)]
    for at, each in enumerate(found):
        if each in found[:at]:
            spec.refuse(f"cells: got {shown(each)} twice, expected each once")
    return found


def _flat(spec: Spec, where: str, settings: Any) -> Plain:
    """Settings by their full names: `{model: {latent_dim: 2}}` is `{model.latent_dim: 2}`."""
    if not isinstance(settings, Mapping):
        spec.refuse(f"{where}: got {shown(settings)}, expected settings by name")

    found: Plain = {}
    for name, value in _walk(settings, spec, where):
        if name in found:
            spec.refuse(f"{where}: got {name} twice, expected each setting once")
        if _has_nan(value):
            spec.refuse(f"{where}: {name}: got NaN, expected a number")
        found[name] = value
    return found


def _walk(settings: Mapping[Any, Any], spec: Spec, where: str) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.]*", name):
            spec.refuse(f"{where}: got the name {shown(name)}, expected the name of a setting")
        if isinstance(value, Mapping) and "class_path" not in value:
            yield from ((f"{name}.{inner}", part) for inner, part in _walk(value, spec, where))
        else:
            yield name, value


def _has_nan(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def shorts(names: Sequence[str]) -> dict[str, str]:
    """The last part of each name where no other ends like it, else the whole name.

    Example:
        >>> shorts(["model.latent_dim", "seed", "model.hidden", "guide.hidden"])["seed"]
        'seed'
        >>> list(shorts(["model.latent_dim", "model.hidden", "guide.hidden"]).values())
        ['latent_dim', 'model.hidden', 'guide.hidden']
    """
    last = [name.rpartition(".")[2] for name in names]
    return {n: part if last.count(part) == 1 else n for n, part in zip(names, last, strict=True)}


def value_told(value: Any) -> str:
    """A value in a word: a class by its own name, sizes as `200x200`.

    Example:
        >>> options = {"class_path": "pyro_vae.objectives.FreeBits", "init_args": {"nats": 0.1}}
        >>> [value_told(each) for each in (options, "torch.optim.Adam", "a.npy", [200, 200], [])]
        ['FreeBits(nats=0.1)', 'Adam', 'a.npy', '200x200', 'none']
        >>> [value_told(each) for each in (None, True, 1e-3)]
        ['null', 'true', '0.001']
    """
    if isinstance(value, Mapping):
        options = value.get("init_args") or {k: v for k, v in value.items() if k != "class_path"}
        inner = ",".join(f"{name}={value_told(each)}" for name, each in options.items())
        return f"{value_told(value.get('class_path', ''))}({inner})"
    if isinstance(value, list | tuple):
        return "x".join(map(value_told, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text.rpartition(".")[2] if re.fullmatch(r"([A-Za-z_]\w*\.)+[A-Z]\w*", text) else text
