"""Errors of a wrong command line, in one line: what was wrong, and which known names are near.

jsonargparse prints the usage of a command, thirty lines of it, then an error nested as deeply as
the option. Here the usage is left to `--help`, the option is named by its path, such as
`model.likelihood.sigma`, and an unknown name is answered by those that look like it.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

import pyro_vae


def _expected(found: re.Match[str]) -> str:
    """What was expected, in plain words."""
    if found[2]:
        return f"expected one of {found[2]}."
    words = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a text"}
    name = found[1].rpartition(".")[2]
    return f"expected {words.get(name, f'a {name.lower()}')}."


_NOISE: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"Type collections\.abc\.\S*\[.*?\] expects a function or a callable class: ", ""),
    (r"Does not validate against any of the Union subtypes.*?Errors: ", ""),
    (r" ?-? ?Expected a <class 'NoneType'>", ""),
    (r" ?Given value type: .*? Given value: ", " Got value: "),
    (r"[Ee]xpected a (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])\.?", _expected),
    (r"NestedArg\(key='(.*?)', val=(.*?)\)", r"\1=\2"),
    (r"Namespace\(class_path='[^']*', init_args=Namespace\((.*?)\)\)", r"\1"),
    (r"Problem with given class_path '[^']*': ", ""),
    (r"^\s*-\s*", ""),
    (
        r"Expected a dot import path string: ([\w.]+)",
        r"no class is called '\1', expected one or its path, as my_file.MyClass",
    ),
    (r"(arguments are required): \w+\.run", r"\1: run, the folder of one"),
    (r"\.? Got value: ", ", got "),
    (r"(, got .*?)(?:, got .*)", r"\1"),
)
_MOST = 400  # characters of a message


class UsageError(ValueError):
    """A command line that cannot be understood."""


class WorkFailed(ValueError):
    """A command line that was understood, some of whose work failed."""


class OneLineParser(ArgumentParser):
    """A parser whose errors are a `UsageError` of one line.

    Attributes:
        nested: options of the classes that may be named, for who forgets where they belong.
    """

    nested: Sequence[str] = ()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser inside another, which reports the error
            super().error(message, ex)
        raise UsageError(explain(message, self._option_strings())) from ex

    def _option_strings(self) -> list[str]:
        own = [option for action in self._actions for option in action.option_strings]
        return [option for option in own if option.startswith("--")] + list(self.nested)


class ShortHelp(DefaultHelpFormatter):
    """Leaves the hundreds of known subclasses of torch's Module out of the help."""

    def _expand_help(self, action: Any) -> str:
        text = super()._expand_help(action)
        return re.sub(r", known subclasses: [^()]{600,}", "", text)


def explain(message: str, options: Iterable[str] = ()) -> str:
    """What jsonargparse says of a wrong command line, in one line.

    Args:
        message: of jsonargparse.
        options: those of the command, such as `--num_data`.

    Example:
        >>> explain("unrecognized arguments: --num_dat 3", ["--num_data", "--seed"])
        'unknown option --num_dat: did you mean --num_data?'
    """
    text = " ".join(message.split())
    unknown = re.match(r"[Uu]nrecognized arguments: (.*)", text)
    if unknown:
        return _unknown(unknown[1].split(), sorted(options))

    path, text = _path(text)
    near = _near_names(text)
    for pattern, replacement in _NOISE:
        text = re.sub(pattern, replacement, text)
    text = " ".join(text.split())
    if len(text) > _MOST:
        text = f"{text[: _MOST - 4]} ..."
    return f"{path + ': ' if path else ''}{text}{near}"


def _unknown(words: list[str], options: list[str]) -> str:
    """Arguments that no command has, and the nearest of its options."""
    names = [word.split("=")[0] for word in words if word.startswith("-")]
    if not names:
        return f"got more arguments than the command takes: {' '.join(words)}"
    inner = [name for name in options if name.rpartition(".")[2] == names[0].lstrip("-")]
    flat = [name for name in options if "." in names[0] or "." not in name]
    near = f": did you mean {inner[0]}?" if inner else _did_you_mean(names[0], flat)
    return f"unknown option {', '.join(names)}{near}"


def _path(text: str) -> tuple[str, str]:
    """The path of the option, put together from the nested `Parser key "model":`, and the rest of
    the message.
    """
    keys = re.findall(r'Parser key "([^"]+)":', text)
    rest = re.sub(r'Parser key "[^"]+": ?', "", text)
    refused = re.search(r"Option '([\w.]+)' is not accepted", rest)
    if refused:
        keys.append(refused[1])
    return ".".join(keys), rest


def _near_names(text: str) -> str:
    """The names that look like the one that a message complains of."""
    refused = re.search(r"Option '([\w.]+)' is not accepted.*?class_path='([\w.]+)'", text)
    if refused:
        return _did_you_mean(refused[1], _arguments(refused[2]))
    given = re.search(r"given class_path '([\w.]+)': Option '([\w.]+)' is not accepted", text)
    if given:
        return _did_you_mean(given[2], _arguments(given[1]))

    missing = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", text)
    if missing:
        return _did_you_mean(missing[2], dir(sys.modules.get(missing[1], pyro_vae)))

    name = re.search(r"Expected a dot import path string: ([\w.]+)", text)
    if name:
        return _did_you_mean(name[1], _classes())

    choice = re.search(r"invalid choice: '(\S+)' \(choose from (.*?)\)", text)
    if choice:
        return _did_you_mean(choice[1], re.findall(r"'(\S+?)'", choice[2]), cutoff=0.7)

    literal = re.search(r"Literal\[(.*?)\]\.? Got value: (\S+)", text)
    if literal:
        return _did_you_mean(literal[2], re.findall(r"'(\S+?)'", literal[1]))
    return ""


def _did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    plain = {option.lower(): option for option in known}
    keys = difflib.get_close_matches(name.lower(), list(plain), n=3, cutoff=cutoff)
    close = [plain[key] for key in keys]
    return f": did you mean {' or '.join(close)}?" if close else ""


def _arguments(path: str) -> list[str]:
    """The arguments of a class imported already, by its path; none where it is not found."""
    module, _, name = path.rpartition(".")
    found: Any = getattr(sys.modules.get(module), name, None)
    try:
        return list(signature(found).parameters)
    except (TypeError, ValueError):
        return []


def _classes() -> list[str]:
    """Classes that go without a path on the command line."""
    import pyro.infer
    import torch

    names = [
        *dir(pyro_vae),
        *torch.optim.__all__,
        *dir(torch.optim.lr_scheduler),
        *dir(pyro.infer),
    ]
    return [name for name in names if name[0].isupper()]
