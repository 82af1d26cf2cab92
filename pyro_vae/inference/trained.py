"""The parameters that compiled programs have met, and the optimizer that steps on them.

A program may meet new parameters at any step, so the optimizer is made, and grows, with them. A
parameter that a step met without using it has a gradient of zero once it has had one: its moments
go on, as in stock SVI.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_vae.inference.optim import JointOptim, OptimizerFactory


class Trained:
    """Parameters by tensor, in the order in which graphs return their gradients.

    Attributes:
        names: of the unconstrained parameters in Pyro's store, by parameter.
        pending: a state that waits for the parameters to be made.

    Args:
        optim: a `PyroOptim`, or a function from parameters to a torch optimizer.
    """

    def __init__(self, optim: PyroOptim | OptimizerFactory) -> None:
        self._make = None if isinstance(optim, PyroOptim) else optim
        self._optim = optim if isinstance(optim, PyroOptim) else None
        self.pending: dict[str, Any] | None = None
        self.forget()

    def forget(self) -> None:
        """Start anew, without parameters."""
        self.names: dict[Tensor, str] = {}
        self._used: set[Tensor] = set()  # those that have had a gradient
        if self._make is not None:
            self._optim = None

    def meet(self, found: dict[Tensor, str]) -> None:
        """Add the parameters of a run that are new."""
        for p, name in found.items():
            self.names.setdefault(p, name)

    def take_gradients(self, found: dict[Tensor, str]) -> list[Tensor | None]:
        """The gradients of all parameters met so far, taken off them.

        None where the run did not come upon the parameter, and empty where the loss has no use for
        it.
        """
        gradients = [_empty(p) if p.grad is None and p in found else p.grad for p in self.names]
        self._clear()
        return gradients

    def update(self, gradients: Sequence[Tensor | None]) -> None:
        """Take the optimizer's turn, on the parameters that stock SVI hands it."""
        optim = self._optim
        if isinstance(optim, JointOptim) and optim.steps_on(self.names, gradients):
            return

        trained = []
        for p, gradient in zip(self.names, gradients, strict=False):
            if gradient is None:
                continue
            if gradient.shape == p.shape:
                self._used.add(p)
            elif p not in self._used:
                continue
            p.grad = gradient if gradient.shape == p.shape else torch.zeros_like(p)
            trained.append(p)

        self._optimizer()(trained)
        self._clear()

    def state_dict(self) -> dict[str, Any]:
        """Parameters by name, the optimizer's state, and which parameters have had a gradient."""
        if self.pending is not None:
            return deepcopy(self.pending)
        params = {name: p.detach().clone() for p, name in self.names.items()}
        optimizer = None if self._optim is None else deepcopy(self._optim.get_state())
        used = [name for p, name in self.names.items() if p in self._used]
        return {"params": params, "optimizer": optimizer, "used": used}

    def load(self, state: dict[str, Any]) -> None:
        """Put a state back, as soon as there are parameters."""
        missing = {"params", "optimizer"} - state.keys()
        if missing:
            raise ValueError(
                f"state: got {sorted(state)}, expected what state_dict()"
                f" returned, with {sorted(missing)}"
            )
        self.pending = state
        if self.names:
            self.restore()

    def restore(self) -> None:
        """Put back the state that has waited."""
        assert self.pending is not None
        known = {name: p for p, name in self.names.items()}
        unknown = self.pending["params"].keys() - known.keys()
        if unknown:
            raise ValueError(
                f"state: its parameters {sorted(unknown)[:3]} are not in these programs"
            )

        with torch.no_grad():
            for name, value in self.pending["params"].items():
                known[name].copy_(value)
        self._used = {known[name] for name in self.pending.get("used", ())}
        if self.pending["optimizer"] is not None:
            self._optimizer().set_state(deepcopy(self.pending["optimizer"]))
        self.pending = None

    def _optimizer(self) -> PyroOptim:
        """The optimizer; one that is made here grows with the parameters, and keeps its moments."""
        earlier, make = self._optim, self._make
        if make is not None and (earlier is None or len(self.names) > len(earlier.params)):  # type: ignore[attr-defined]
            self._optim = JointOptim(make, sorted(self.names, key=lambda p: self.names[p]))
            if isinstance(earlier, JointOptim):
                self._optim.take_over(earlier)
        assert self._optim is not None
        return self._optim

    def _clear(self) -> None:
        for p in self.names:
            p.grad = None


def _empty(p: Tensor) -> Tensor | None:
    """The mark of a parameter that a step met, unused; None for one that cannot be trained."""
    return torch.empty(0, dtype=p.dtype, device=p.device) if p.requires_grad else None
