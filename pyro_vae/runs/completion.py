"""How a command line may go on, for a shell that asks.

argcomplete runs the program with the line in the environment. Its way through a command's parser
inside another does not work with jsonargparse's, so a command is completed as if it were a program
of its own; and jsonargparse offers no values, which are a choice, a truth or a file here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from argcomplete.completers import ChoicesCompleter, FilesCompleter
from argcomplete.lexers import split_line
from jsonargparse import ArgumentParser


def words_before() -> list[str]:
    """The whole words between the program's name and the cursor."""
    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    before = len(line.encode()[:point].decode())  # a shell counts bytes
    *_, words, _ = split_line(line, before)
    return words[_program() :]


def _program() -> int:
    """How many words the program's name is."""
    return int(os.environ["_ARGCOMPLETE"])


def complete(parser: ArgumentParser, passed: int) -> None:
    """Write how a line may go on to where the shell reads it, and end the process.

    Args:
        parser: of what is to be completed.
        passed: words of the line that come before the options of this parser.
    """
    os.environ["_ARGCOMPLETE"] = str(_program() + passed)
    actions: list[Any] = parser._actions
    for action in actions:
        if hasattr(action, "_typehint"):
            action.completer = _completer(action._typehint)
    parser.parse_args([])


def _completer(hint: Any) -> Callable[..., Any]:
    """Of the values of an option of this type."""
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if hint is bool:
        choices = ("true", "false")
    return ChoicesCompleter(dict.fromkeys(choices, "")) if choices else FilesCompleter()
