"""How a program is called: `program(x, index=index)`, the rows by their name, whatever else it may
take.

    forward(x, index)               gets both
    forward(x)                      gets x
    forward(x, y=None, index=None)  gets x and the rows; y keeps its default
    forward(x, y)                   is refused: nobody fills y, and row numbers are no labels

What a program takes is read off its signature, through Pyro's handlers and `functools.partial`; an
autoguide takes what its model takes. A program that hides what it takes, `f(*args, **kwargs)`, gets
x and the rows by their name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import Parameter
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

from pyro.poutine.messenger import Messenger, _bound_partial
from torch import Tensor, nn

Program = Callable[..., Any]
"""A Pyro program `program(x, index)`, with every choice of a datum inside a plate of size B at dim
-1. x are data `(B, *shape)`; index `(B,)` are their numbers, handed over by that name where the
program takes it. It is run with S particles at once, so its nets must take leading dimensions: a
latent has shape (S, B, d) then.
"""

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def called(program: Program, name: str = "program") -> Program:
    """The program as a function of `(x, index)`, both by position: the program itself where it
    takes them so.

    Args:
        program: Pyro program.
        name: what it is called in an error, "model" or "guide".

    Raises:
        ValueError: no program at all, or an argument without a default that is neither the data nor
            `index`.

    Example:
        >>> called(lambda x, y=None, index=None: (x, y, index))(1, 2)
        (1, None, 2)
    """
    if not callable(program):
        raise ValueError(
            f"{name}: got {type(program).__name__}, expected a Pyro program,"
            " called as program(x, index)"
        )

    parameters = parameters_of(program)
    if parameters is None:
        return program
    _check(parameters, name)

    positional = [p for p in parameters if p.kind in _POSITIONAL]
    if len(positional) > 1 and positional[1].name == "index":
        return program

    kinds = {p.kind for p in parameters}
    if any(p.name == "index" for p in parameters) or Parameter.VAR_KEYWORD in kinds:
        return _by_name(program)
    return program if Parameter.VAR_POSITIONAL in kinds else _without(program)


def _by_name(program: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Tensor, index: Tensor | None = None) -> Any:
        return program(x, index=index)

    return run


def _without(program: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Tensor, index: Tensor | None = None) -> Any:
        return program(x)

    return run


def _check(parameters: list[Parameter], name: str) -> None:
    """Refuse what cannot be called with data and rows alone."""
    takes_x = bool(parameters) and parameters[0].kind in (*_POSITIONAL, Parameter.VAR_POSITIONAL)
    if not takes_x or parameters[0].name == "index":
        raise ValueError(
            f"{name}: it takes no data, expected a Pyro program whose first"
            " argument is x, then index"
        )

    rest = parameters if parameters[0].kind == Parameter.VAR_POSITIONAL else parameters[1:]
    for p in rest:
        if p.kind not in _VARIABLE and p.default is Parameter.empty and p.name != "index":
            mend = (
                "bind a table of it, a row for each datum, by pyro_vae.given(program, context)"
                if p.name == "context"
                else "bind it with functools.partial, make it an attribute, or call it `index` if"
                " it takes the rows of the dataset, `context` if it takes labels or covariates"
            )
            raise ValueError(
                f"{name}: its argument {p.name!r} is filled by nobody, programs are called as"
                f" program(x, index): {mend}"
            )


def parameters_of(program: Callable[..., Any]) -> list[Parameter] | None:
    """What the innermost function still has to be given, None where it does not say."""
    args: tuple[Any, ...] = ()
    bound: dict[str, Any] = {}
    while True:
        if isinstance(program, _bound_partial):
            program = program.func
        elif isinstance(program, partial):
            inner, given = program.func, program.args
            if given and isinstance(given[0], Messenger):
                # a handler's: itself, the program, and what a method is bound to
                inner, given = given[1], given[2:]
            args, bound, program = (*given, *args), {**program.keywords, **bound}, inner
        elif isinstance(program, nn.Module):
            program = _model_of(program) or program.forward
        else:
            break

    try:
        left = partial(program, *args, **bound) if args or bound else program
        found = _signature(left)
    except (TypeError, ValueError):
        # a built-in, or more arguments than it takes: it will say so itself
        return None

    if "index" not in bound:
        return found
    # rows that were bound stay
    return [p for p in found if p.name != "index" and p.kind != Parameter.VAR_KEYWORD]


def _model_of(program: nn.Module) -> Callable[..., Any] | None:
    """The model of an autoguide, which hands on to it all that it is given."""
    model = getattr(program, "model", None)
    if not callable(model):
        return None
    return model if all(p.kind in _VARIABLE for p in _signature(program.forward)) else None


_READ: WeakKeyDictionary[FunctionType, tuple[Any, list[Parameter]]] = WeakKeyDictionary()


def _signature(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a function. Those of a plain one or of a method are read once, since every
    run of a program asks.
    """
    plain = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain, FunctionType) or vars(plain):  # it may say that it is another's
        return list(inspect.signature(function).parameters.values())

    state = (plain.__code__, plain.__defaults__, plain.__kwdefaults__)
    before, parameters = _READ.get(plain, (None, []))
    if before is None or any(a is not b for a, b in zip(before, state, strict=True)):
        parameters = list(inspect.signature(plain).parameters.values())
        _READ[plain] = (state, parameters)

    if plain is function:
        return list(parameters)
    if not parameters:
        raise ValueError("a method without self")
    return parameters[parameters[0].kind in _POSITIONAL :]


class Refused(ValueError):
    """What a handler of ours refuses in the middle of a run. Its first line is all of it: Pyro adds
    the shapes of the trace.
    """


@contextmanager
def in_one_line(x: Tensor, num_particles: int | None = None) -> Iterator[None]:
    """What programs run on `x` raise as a ValueError of one line, without Pyro's tables; as many
    particles as they are run with, if any.
    """
    try:
        yield
    except Refused as error:
        raise ValueError(first_line(error)) from error
    except Exception as error:  # whatever a user's program raises
        if is_told(error):
            raise

        reason = first_line(error)
        if "to be within the support" in reason:
            raise ValueError(f"x: the model cannot score it: {reason}") from error
        many, hint = "", ""
        if num_particles is not None:
            many = f" with {num_particles} particles"
            hint = (
                f" (latents have shape ({num_particles}, B, ...) there; nets must take leading"
                " dimensions)"
            )
        raise ValueError(
            f"model, guide: running them{many} on x of shape {tuple(x.shape)} ({x.dtype}) failed:"
            f" {reason}{hint}"
        ) from error


def is_told(error: Exception) -> bool:
    """Whether an error is one of our own, or as short."""
    return isinstance(error, ValueError) and first_line(error) == str(error)


def first_line(error: Exception) -> str:
    """What an error says first, or else its kind."""
    return next(iter(str(error).splitlines()), type(error).__name__)
