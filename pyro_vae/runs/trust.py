"""Which classes a configuration may name, and how a file of settings is read: what a stranger sends
is data.

A configuration names classes, and to build a class is to run its code. So a class that a file names
is built without asking only if

* it is one of this package, of torch's nets and optimizers, or of Pyro's objectives,
* it is imported already, or a public name of this package: it is looked up among these, and nothing
  else is imported in order to look,
* it is of a kind that trainings are made of.

A user's own classes are built where the user says so, by `--trust my_models` or by naming the class
on the command line. Only then, and only while they are imported and built, is the working directory
on the path of Python's imports, as its last entry.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]
from pyro.infer import ELBO
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import pyro_vae
from pyro_vae.files.texts import plain_yaml, read_yaml
from pyro_vae.guides import Family
from pyro_vae.runs.card import MAX_CONFIG

# where known classes are defined
HOUSES = ("pyro_vae", "torch.nn", "torch.optim", "pyro.infer", "pyro.nn")
KINDS = (nn.Module, Family, Optimizer, LRScheduler, ELBO)
# where short names are sought
SHORT = ("pyro_vae", "torch.optim", "torch.optim.lr_scheduler", "pyro.infer", "torch.nn")
# settings that name files, or columns of a table: their dots are no classes'
PATHS = ("data", "data_root", "kinds", "context")
PARTS = ("--model", "--guide", "--optimizer", "--schedule", "--loss", "--method")

_MAX_DEPTH = 30
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")


def read_config(path: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Read a file of settings, and refuse classes that are neither known nor trusted.

    Raises:
        ValueError: no YAML, or a class that may not be built; the message says how to trust it.
    """
    settings = read_yaml(path, MAX_CONFIG)
    if "config" in settings:
        raise ValueError(
            f"{path}: config: names another file of settings, expected the settings themselves"
        )

    return check_settings(settings, path, trust)


def check_settings(
    settings: Mapping[str, Any], where: str | Path, trust: Sequence[str] = ()
) -> dict[str, Any]:
    """Settings by name, with short names of classes in full; a ValueError, which says where they
    are, at a class that is neither known nor trusted.
    """
    checked = {}
    for key, value in settings.items():
        _check_name(key, where)
        checked[key] = _checked(value, key, str(where), trust)
    return checked


def _check_name(key: Any, path: object) -> None:
    if not isinstance(key, str) or key.startswith("__") or not _is_plain(key):
        raise ValueError(f"{path}: got the name {key!r}, expected the name of a setting")


def _checked(value: Any, name: str, path: str, trust: Sequence[str], depth: int = 0) -> Any:
    """The value, with short names of classes in full; a ValueError at one that may not be built."""
    where = f"{path}: {name}"
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where}: more than {_MAX_DEPTH} levels, expected a few")

    if isinstance(value, dict):
        checked = {}
        for key, part in value.items():
            _check_name(key, where)
            full = _in_full(part, f"{where}.class_path") if key == "class_path" else part
            checked[key] = _checked(full, f"{name}.{key}", path, trust, depth + 1)
        return checked
    if isinstance(value, list | tuple):
        return [_checked(part, name, path, trust, depth + 1) for part in value]

    if isinstance(value, str):
        _check_text(value, name, path, trust, depth)
    elif value is not None and not isinstance(value, bool | int | float):
        raise ValueError(
            f"{where}: got a {type(value).__name__}, expected a number, a text or a list"
        )
    return value


def _check_text(text: str, name: str, path: str, trust: Sequence[str], depth: int) -> None:
    """Check a text, which may be the name of a class, or settings once more."""
    if not _is_plain(text):
        raise ValueError(
            f"{path}: {name}: got {text!r}, expected a text without control characters"
        )
    if name.partition(".")[0] in PATHS:
        return

    if _DOTTED.fullmatch(text):
        check_class(text, f"{path}: {name}", trust)
    elif re.search(r"[{\[:]", text):
        try:
            again = plain_yaml(text)
        except (yaml.YAMLError, RecursionError):
            return  # no settings, a text
        if not isinstance(again, str):
            _checked(again, name, path, trust, depth + 1)


def _is_plain(text: str) -> bool:
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _in_full(name: Any, where: str) -> str:
    """The full name of a class; a short one is sought among the known classes."""
    if not isinstance(name, str):
        raise ValueError(f"{where}: got {name!r}, expected the name of a class")
    if "." in name:
        return name
    for house in SHORT:
        if is_known(f"{house}.{name}"):
            return f"{house}.{name}"
    raise ValueError(
        f"{where}: got {name!r}, expected a class of pyro_vae, torch or Pyro, or its name in full"
    )


def check_class(name: str, where: str, trust: Sequence[str]) -> None:
    """A ValueError where a class is neither known nor trusted."""
    if is_known(name) or any(name == entry or name.startswith(f"{entry}.") for entry in trust):
        return

    told = (
        f"{where}: {name} is no class that a file may name (nets, optimizers and objectives of"
        " pyro_vae, torch and Pyro)"
    )
    top = name.split(".")[0]
    if top in sys.stdlib_module_names or top in {house.split(".")[0] for house in HOUSES}:
        raise ValueError(f"{told}: it is refused")
    raise ValueError(
        f"{told}: if it is your own, or you trust whoever made it with all that you may do here,"
        f" say --trust {name} (or --trust {top}; in Python, open_run(folder, trust=[{top!r}]))"
    )


def is_known(name: str) -> bool:
    """Whether a name is that of a known class. It is looked up among what is imported already, and
    nothing is run.

    Example:
        >>> names = ("pyro_vae.VAE", "torch.optim.Adam", "torch.hub.load", "os.system")
        >>> [is_known(name) for name in names]
        [True, True, False, False]
    """
    found = _look_up(name.split("."))
    if not isinstance(found, type) or not issubclass(found, KINDS):
        return False
    return any(f"{found.__module__}.".startswith(f"{house}.") for house in HOUSES)


def _look_up(parts: list[str]) -> Any:
    """What a dotted name stands for, None where that is not imported."""
    for number in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:number]))
        if found is None:
            continue
        for part in parts[number:]:
            found = _part(found, part)
        return found
    return None


def _part(whole: Any, name: str) -> Any:
    """What a module or a class has by this name, None where it has nothing."""
    if whole is pyro_vae and name in dir(pyro_vae):
        return getattr(whole, name)  # imported when it is first asked for
    return vars(whole).get(name) if isinstance(whole, ModuleType | type) else None


@contextmanager
def own_classes(trust: Sequence[str]) -> Iterator[None]:
    """Make the working directory the last place to look for a user's own classes, while they are
    imported and built.
    """
    here = os.getcwd() if trust else ""
    if not here or here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def split_trust(text: str | None) -> list[str]:
    """The names of `--trust`, separated by commas."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"trust: got {name!r}, expected a module or a class such as"
                " my_models or my_models.MyVAE"
            )
    return names


def trusted_by(arguments: Sequence[str]) -> list[str]:
    """The classes that a command line trusts: of `--trust`, and those it names as model, guide,
    optimizer, schedule or loss.

    Example:
        >>> options = ["--guide", "mine.Guide", "--optimizer=torch.optim.SGD", "--data", "x.npy"]
        >>> trusted_by(["train", *options, "--trust", "a"])
        ['mine.Guide', 'a']
    """
    found: list[str] = []
    for number, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if not equals:
            value = arguments[number + 1] if number + 1 < len(arguments) else ""
        if option == "--trust":
            found += split_trust(value)
        elif option.split(".")[0] in PARTS:
            found += [name for name in _DOTTED.findall(value) if not is_known(name)]
    return found


def config_action(trust: Sequence[str]) -> type[ActionConfigFile]:
    """The action of `--config`: settings from a file that names known and trusted classes only."""

    class ConfigFile(ActionConfigFile):
        def __call__(self, parser: Any, cfg: Any, values: Any, option_string: Any = None) -> None:
            path = Path(values)
            if not path.is_file():
                raise TypeError(f"config: there is no file {path}, looked for from {Path.cwd()}")
            try:
                settings = read_config(path, trust)
            except ValueError as error:
                raise TypeError(str(error)) from error
            self.apply_config(parser, cfg, self.dest, yaml.safe_dump(settings, sort_keys=False))

    return ConfigFile
