"""The command line, `pyro-vae COMMAND`: train, resume, evidence, compare, diagnose, export, sample,
reconstruct, info.

Options may be written with hyphens or underscores. Exit codes: 0; 1 for a run that failed (a
non-finite loss, a full disk); 2 for bad usage or input; 130 for Ctrl-C; 141 where the reader of a
pipe has gone. A user's mistake gives one line on stderr and no traceback; PYRO_VAE_DEBUG=1 shows
it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from jsonargparse import Namespace

from pyro_vae.commands import (
    compare,
    diagnose,
    evidence,
    export,
    info,
    list,
    rank,
    reconstruct,
    resume,
    sample,
    train,
)
from pyro_vae.diagnostics import CollapseWarning
from pyro_vae.files.atomic import FULL, CannotWrite
from pyro_vae.files.texts import printable
from pyro_vae.inference import NonFiniteLoss
from pyro_vae.runs.opening import ShortHelp
from pyro_vae.runs.trust import own_classes, trusted_by
from pyro_vae.runs.usage import OneLineParser

COMMANDS = {
    "train": train,
    "resume": resume,
    "evidence": evidence,
    "compare": compare,
    "diagnose": diagnose,
    "export": export,
    "sample": sample,
    "reconstruct": reconstruct,
    "info": info,
    "list": list,
    "rank": rank,
}
"""Each a module with its `parser(trust)`, its `HELP` in a line, and `run(options)`."""

_DESCRIPTION = """Train VAEs as Pyro programs, and measure what their guides cost.

A first run: pyro-vae train --data digits --folder runs/first; pyro-vae evidence runs/first"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        parsed = _parse(sys.argv[1:] if arguments is None else arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("always", CollapseWarning)
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            COMMANDS[parsed.command].run(parsed[parsed.command])
        # whoever reads may have gone, which is to be known here and not when Python ends
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("pyro-vae: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `pyro-vae info RUN | head`: the reader has what it wanted
        _let_go_of_stdout()
        return 128 + 13  # as a program that SIGPIPE ends
    except (ValueError, OSError, NonFiniteLoss) as error:
        if os.environ.get("PYRO_VAE_DEBUG"):
            raise

        broken = isinstance(error, NonFiniteLoss | CannotWrite)
        if isinstance(error, OSError) and not broken and error.errno in FULL:
            _let_go_of_stdout()
            broken, error = True, OSError(f"standard output: cannot be written ({error.strerror})")

        print(f"pyro-vae: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 1 if broken else 2
    return 0


def _let_go_of_stdout() -> None:
    """Let what is still to be printed go nowhere, so that Python does not complain when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *args: Any
) -> None:
    """A collapse in one line, other warnings as ever."""
    if issubclass(category, CollapseWarning):
        print(f"pyro-vae: warning: {message}", file=sys.stderr)
    else:
        otherwise(message, category, *args)


def _parse(arguments: Sequence[str]) -> Namespace:
    arguments = [_normalise(a) for a in arguments]
    trust = trusted_by(arguments)
    try:
        with own_classes(trust), warnings.catch_warnings():
            # jsonargparse says what it will refuse one day
            warnings.simplefilter("ignore", DeprecationWarning)
            called = [name for name in arguments[:1] if name in COMMANDS]
            return _parser(trust, called or COMMANDS).parse_args(arguments)
    except ValueError:
        raise
    except Exception as error:  # the file of a user's class runs while it is imported
        raise ValueError(
            f"a class that was named cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _normalise(argument: str) -> str:
    """`--num-data=5` as `--num_data=5`; a value is left alone."""
    return re.sub(r"^--[\w.-]+", lambda m: "--" + m[0][2:].replace("-", "_"), argument)


def _parser(trust: Sequence[str], called: Collection[str] = COMMANDS) -> OneLineParser:
    """The parser of all commands, with the options of those that are called."""
    parser = OneLineParser(prog="pyro-vae", description=_DESCRIPTION, formatter_class=ShortHelp)
    commands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        options = command.parser(trust) if name in called else OneLineParser()
        commands.add_subcommand(name, options, help=command.HELP)
    return parser


if __name__ == "__main__":
    sys.exit(main())
