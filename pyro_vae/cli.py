"""The command line, `pyro-vae COMMAND`, with the commands of `COMMANDS`.

Options may be written with hyphens or underscores. Exit codes: 0; 1 for a run that failed (a
non-finite loss, a full disk); 2 for bad usage or input; 130 for Ctrl-C; 141 where the reader of a
pipe has gone. A user's mistake gives one line on stderr and no traceback; PYRO_VAE_DEBUG=1 shows
it. Of several processes (`torchrun -m pyro_vae COMMAND`) the first one says it.

torch and Pyro take seconds to import. So only the command that was named is imported: `--help`,
`--version`, a name that is none and the completion of a command's name answer at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

from jsonargparse import Namespace

from pyro_vae.files.atomic import FULL, CannotWrite, MayBeLost
from pyro_vae.files.texts import printable
from pyro_vae.processes import LostProcess, is_spoken_for, is_told, silence, started
from pyro_vae.runs.usage import OneLineParser, ShortHelp, WorkFailed

COMMANDS = {
    "train": "train a model and a guide by SVI",
    "resume": "go on with a run that was stopped",
    "sweep": "train a grid or a list of settings, one table of all",
    "evidence": "estimate log p(x) of held-out data",
    "compare": "what each guide costs, in nats and in seconds",
    "diagnose": "whether guides and figures can be believed",
    "compress": "discrete data in about -ELBO / log 2 bits each, by bits-back coding",
    "decompress": "the data again, bit for bit",
    "export": "draws, weights and data for ArviZ",
    "sample": "draw from the model, as a picture",
    "reconstruct": "data beside their reconstructions, as a picture",
    "impute": "what is missing of a file's data, drawn given the rest",
    "interpolate": "the way from datum to datum through the latent, as a picture",
    "traverse": "what each unit of the latent does, as a picture",
    "manifold": "a map of a latent of two numbers, as a picture",
    "embed": "where data and prior lie in the latent, as a picture and a table",
    "info": "print what a run is",
    "list": "the runs in a folder, a row for each",
    "rank": "which of several runs is best, paired on the same data",
    "report": "one page of what runs learned, with pictures",
}
"""What each is for, in a line. It is the module of this name in `pyro_vae.commands`, with its
`parser(trust)` and `run(options)`.
"""

_DESCRIPTION = """Train VAEs as Pyro programs, and measure what their guides cost.

A first run: pyro-vae train --data digits --folder runs/first; pyro-vae evidence runs/first"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    met = False
    try:
        parsed = _parse(sys.argv[1:] if arguments is None else arguments)
        with started(), silence():
            met = True
            _run(parsed.command, parsed[parsed.command])
        # whoever reads may have gone, which is to be known here and not when Python ends
        sys.stdout.flush()
    except KeyboardInterrupt:
        if not is_spoken_for():
            print("pyro-vae: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `pyro-vae info RUN | head`: the reader has what it wanted
        _let_go_of_stdout()
        return 128 + 13  # as a program that SIGPIPE ends
    except (ValueError, OSError, ArithmeticError, LostProcess) as error:
        if os.environ.get("PYRO_VAE_DEBUG"):
            raise

        broken = isinstance(error, CannotWrite | LostProcess | MayBeLost | WorkFailed)
        if isinstance(error, ArithmeticError):
            if not _is_loss(error):
                raise
            broken = True
        if isinstance(error, OSError) and not broken and error.errno in FULL:
            _let_go_of_stdout()
            broken, error = True, OSError(f"standard output: cannot be written ({error.strerror})")

        if not (is_told(error) if met else is_spoken_for()):  # else the first process says so
            print(f"pyro-vae: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 1 if broken else 2
    return 0


def _run(name: str, options: Namespace) -> None:
    """Run a command, and say in one line where a latent is not used."""
    from pyro_vae.diagnostics.collapse import CollapseWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", CollapseWarning)
        warnings.showwarning = partial(_show_warning, CollapseWarning, warnings.showwarning)
        _module(name).run(options)


def _is_loss(error: ArithmeticError) -> bool:
    """Whether a training failed by a loss that is not finite."""
    from pyro_vae.inference.failure import NonFiniteLoss

    return isinstance(error, NonFiniteLoss)


def _let_go_of_stdout() -> None:
    """Let what is still to be printed go nowhere, so that Python does not complain when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    short: type[Warning],
    otherwise: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *args: Any,
) -> None:
    """A warning of one kind in one line, others as ever."""
    if issubclass(category, short):
        print(f"pyro-vae: warning: {message}", file=sys.stderr)
    else:
        otherwise(message, category, *args)


def _parse(arguments: Sequence[str]) -> Namespace:
    arguments = [_normalise(a) for a in arguments]
    if "_ARGCOMPLETE" in os.environ:
        _complete()
        sys.exit(0)
    name = _command_of(arguments)
    if name is None:
        return _parser(None).parse_args(arguments)  # which helps, or says what is wrong

    from pyro_vae.runs.trust import own_classes, trusted_by

    trust = trusted_by(arguments)
    try:
        with own_classes(trust), warnings.catch_warnings():
            # jsonargparse says what it will refuse one day
            warnings.simplefilter("ignore", DeprecationWarning)
            return _parser(name, trust).parse_args(arguments)
    except ValueError:
        raise
    except Exception as error:  # the file of a user's class runs while it is imported
        raise ValueError(
            f"a class that was named cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _normalise(argument: str) -> str:
    """`--num-data=5` as `--num_data=5`; a value is left alone."""
    return re.sub(r"^--[\w.-]+", lambda m: "--" + m[0][2:].replace("-", "_"), argument)


def _command_of(arguments: Sequence[str]) -> str | None:
    """The command that a command line is of, None where it names none."""
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    return first if first in COMMANDS else None


def _complete() -> None:
    """Tell a shell how the line may go on, to which it has the cursor."""
    from pyro_vae.runs.completion import complete, words_before

    words = words_before()
    name = _command_of(words)
    if name is None:
        complete(_parser(None), 0)
    else:
        complete(_module(name).parser(()), words.index(name) + 1)


def _parser(name: str | None, trust: Sequence[str] = ()) -> OneLineParser:
    """The parser of all commands; only the one of the name knows its options."""
    parser = OneLineParser(
        prog="pyro-vae",
        description=_DESCRIPTION,
        formatter_class=ShortHelp,
        version=version("pyro-vae"),
    )
    commands = parser.add_subcommands(dest="command")
    for known, told in COMMANDS.items():
        made = _module(known).parser(trust) if known == name else OneLineParser()
        commands.add_subcommand(known, made, help=told)
    return parser


def _module(name: str) -> Any:
    return import_module(f"pyro_vae.commands.{name}")


if __name__ == "__main__":
    sys.exit(main())
