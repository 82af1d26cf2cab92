"""Programs that are given more than the data: labels, covariates, a dose, a time.

    model(x, index, context)    p(x | c) = integral p(x | z, c) p(z | c) dz
    guide(x, index, context)    q(z | x, c)

with a row of context `(B, *c)` for each datum. `given(program, context)` binds a whole table of
them, and what it returns is a program of `(x, index)` that looks its rows up by the numbers of the
data. So everything that takes a model and a guide takes conditional ones: evidence is log p(x | c)
then. `fit` binds the context that a data set carries (`Dataset.context`) by itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from pyro_vae.arguments import check_finite, check_index, check_kind, check_shape, refuse
from pyro_vae.programs.calls import Program, parameters_of
from pyro_vae.programs.protocols import Starts, offers

ProgramT = TypeVar("ProgramT", bound=Program)

BY_DATUM = ("log_px", "params", "q")
"""Methods of a program of `(x, context)` that `Given` offers as `(x, index)`."""


class Given(nn.Module):
    """A program with its context bound; see `given`.

    What the program offers beside being called, it offers too. It is saved and loaded as the
    program alone: the context is data, and no weight.
    """

    context: Tensor

    def __init__(self, program: Program, context: Tensor, numbers: Tensor | None = None) -> None:
        super().__init__()
        self.program = program
        self._takes_index = _takes(program, "index")
        self.register_buffer("context", _by_number(context, numbers), persistent=False)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Any:
        """Run the program on data `(B, *shape)` and their rows of the context."""
        numbers = {"index": index} if self._takes_index else {}
        return self.program(x, **numbers, context=self.rows(x, index))

    def rows(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """The context `(B, *c)` of data `(B, *shape)` of these numbers; of 0..B-1 unless given."""
        return self.context[: len(x)] if index is None else self.context[index]

    def start(self, x: Tensor) -> None:
        """Let the program take the units of training data `(N, *shape)`, and of the context."""
        if not offers(self.program, Starts):
            return
        known = self.context
        if known.is_floating_point():
            known = known[known.flatten(1).isfinite().all(1)]
        told = {"context": known} if _takes(self.program.start, "context") else {}
        self.program.start(x, **told)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self._saved().state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self._saved().load_state_dict(*args, **kwargs)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Within a module that holds it: what was saved is the program's."""
        for name in [name for name in state_dict if name.startswith(prefix)]:
            state_dict[f"{prefix}program.{name.removeprefix(prefix)}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _saved(self) -> nn.Module:
        return self.program if isinstance(self.program, nn.Module) else nn.Module()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "program" or name.startswith("__"):
                raise
            found = getattr(self.program, name)
        return self._bound(found) if name in BY_DATUM and takes_context(found) else found

    def _bound(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(x: Tensor, index: Tensor | None = None) -> Any:
            return method(x, context=self.rows(x, index))

        return run


def given(program: Program, context: Tensor, numbers: Tensor | None = None) -> Given:
    """The program `(x, index)` that a program `(x, index, context)` is with its context bound.

    Args:
        program: Pyro program with an argument called `context`, of which it gets `(B, *c)`, the
            rows of its minibatch; `index` is optional. Where it has particles, latents are
            `(S, B, d)`: `context.expand(*z.shape[:-1], -1)` stands beside each.
        context: `(N, *c)`, a row for each datum.
        numbers: the numbers of the data that the rows are of, `(N,)`, such as `split.numbers()`;
            0..N-1 unless given.

    Raises:
        ValueError: a program without such an argument, NaN in the context, numbers that are not one
            for each row.

    Example:
        >>> import torch
        >>> import pyro_vae as pv
        >>> model = pv.ConditionalVAE((1, 8, 8), latent_dim=2, context_dim=10, hidden=(16,))
        >>> digits = torch.eye(10)
        >>> pv.sample(given(model, digits), torch.zeros(10, 1, 8, 8), num_samples=10).x.shape
        torch.Size([10, 1, 8, 8])
    """
    if not takes_context(program):
        raise ValueError(
            f"program: got {type(program).__name__}, which takes no context, expected a Pyro"
            " program with an argument of that name, program(x, index, context)"
        )
    _check(context, numbers)
    return Given(program, context, numbers)


def takes_context(program: Any) -> bool:
    """Whether a program has an argument called `context` that nobody has bound."""
    return callable(program) and _takes(program, "context")


def with_context(program: ProgramT, context: Tensor | None) -> ProgramT | Given:
    """The program with the context of a data set bound, where it takes any; `context` has a row for
    each number, those of no datum too.

    Raises:
        ValueError: a program that takes a context, of data that have none.
    """
    if not takes_context(program):
        return program
    if context is None and _needs(program):
        raise ValueError(
            f"data: got a set without a context, which {type(program).__name__} takes: load it with"
            " context='labels', or the names of columns, or bind one by pyro_vae.given(program,"
            " context)"
        )
    return program if context is None else Given(program, context)


def check_given(context: object, num_data: int, size: int) -> None:
    """Raise a ValueError for what is no context `(B, C)` of so many data, in a program that takes
    one.
    """
    if context is None:
        raise ValueError(
            f"context: got none, expected ({num_data}, {size}): pyro_vae.given(program, context)"
            " binds one to a program"
        )
    check_shape("context", context, (num_data, size))


def inside(program: Program) -> Program:
    """The program itself, of one with its context bound."""
    return inside(program.program) if isinstance(program, Given) else program


def _takes(program: Any, name: str) -> bool:
    found = parameters_of(program)
    return found is not None and any(p.name == name for p in found)


def _needs(program: Any) -> bool:
    """Whether a program cannot be called without a context."""
    found = parameters_of(program) or []
    return any(p.name == "context" and p.default is inspect.Parameter.empty for p in found)


def _check(context: object, numbers: object) -> None:
    check_kind("context", context, Tensor, "a tensor (N, *c), a row for each datum")
    assert isinstance(context, Tensor)
    if context.dim() < 1 or not len(context):
        refuse("context", context, "(N, *c), a row for each datum")
    if context.is_floating_point():
        check_finite("context", context)
    if numbers is not None:
        check_index("numbers", numbers, len(context))


def _by_number(context: Tensor, numbers: Tensor | None) -> Tensor:
    """The context with row n that of datum n; NaN, or -1, where nobody has said what it is."""
    context = context.detach()
    if numbers is None:
        return context.clone()
    if len(numbers.unique()) < len(numbers):
        raise ValueError("numbers: got some twice, expected a number of its own for each row")

    unknown = float("nan") if context.is_floating_point() else -1
    table = context.new_full((int(numbers.max()) + 1, *context.shape[1:]), unknown)
    table[numbers.to(context.device)] = context
    return table
