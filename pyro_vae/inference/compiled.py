"""The compiled SVI engine: the same Pyro programs and the same ELBO as `pyro.infer.SVI`, as one fused graph.

What stock SVI does in a step is run once and captured: `loss.loss_and_grads(model, guide, *args)`, backward pass
included. The graph holds the arithmetic of loss and gradients and nothing of poutine, so that a step costs about what a
hand-written and compiled one costs. Random numbers are torch's own, drawn in the order of the program: from the same
random state both engines see the same noise, and differ by the rounding of float32 alone.

What one graph cannot hold (control flow on values, random numbers from elsewhere) is found at the capture, or by comparing
with stock SVI at the second, third, fifth, ninth, ... call on the data at hand; after one warning the engine then is stock
SVI.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from typing import Any
from unittest import mock

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_vae.graphs import CaptureError, Compiled, Watch, rollback
from pyro_vae.inference.optim import JointOptim, OptimizerFactory
from pyro_vae.traces import Program

_LOSS_TOLERANCE, _GRADIENT_TOLERANCE = 1e-4, 1e-3  # relative; float32 graphs differ by 1e-6, another path by far more


class CompiledSVI:
    """`pyro.infer.SVI` with the same arguments, methods and results, several times as fast.

    Args:
        model, guide: Pyro programs of any signature.
        optim: a `PyroOptim`, as SVI takes it; or, faster, a function from parameters to any torch optimizer, such as
            `functools.partial(torch.optim.Adam, lr=1e-3, fused=True)`, which then sees all parameters together.
        loss: a Pyro ELBO with `loss_and_grads`, as SVI takes it.
        prepare: function from the positional arguments of `step` to those of the programs, made part of the graph
            (binarisation, say).
        fallback: where the programs cannot be compiled, warn once and go on by stock SVI; else raise the reason.

    Raises (at a step):
        ValueError: the programs cannot be compiled and `fallback` is off.

    Example:
        >>> from functools import partial
        >>> from pyro.infer import Trace_ELBO
        >>> from pyro_vae import Amortized, LinearGaussian, MeanField, MLP
        >>> guide = Amortized(MeanField(2), MLP(5, ()))
        >>> svi = CompiledSVI(LinearGaussian(5, 2), guide, partial(torch.optim.Adam, lr=1e-2), Trace_ELBO())
        >>> svi.step(torch.randn(16, 5)).shape  # minus the ELBO summed over the minibatch, on the device
        torch.Size([])
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        optim: PyroOptim | OptimizerFactory,
        loss: ELBO,
        *,
        prepare: Callable[..., Sequence[Any]] | None = None,
        fallback: bool = True,
    ) -> None:
        if not isinstance(loss, ELBO):
            raise ValueError(f"loss: got {loss!r}, expected a Pyro ELBO such as pyro.infer.Trace_ELBO()")
        if not callable(optim):
            raise ValueError(
                f"optim: got {optim!r}, expected a PyroOptim, or a function from parameters to an optimizer"
            )
        self.model, self.guide = model, guide
        self.loss: Any = loss  # the base class names neither `loss` nor `loss_and_grads`
        self.fallback = fallback
        self.reason: str | None = None  # why the programs are not compiled, where they are not
        self._prepare = prepare
        self._make_optim = None if isinstance(optim, PyroOptim) else optim
        self._optim = optim if isinstance(optim, PyroOptim) else None
        self._state: dict[str, Any] | None = None
        self._programs = (model, guide, prepare)
        self._forget()

    def step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take a gradient step; returns the loss, a scalar on the device that has not been waited for."""
        if not self._store_unchanged():
            self._forget()
        if self._state is not None:
            self._restore(args, kwargs)
        if self.reason is not None:
            return self._update(*self._loss_and_grads(*args, **kwargs))
        try:
            entry = self._step.entry(*args, **kwargs)
        except CaptureError as error:
            self._fall_back(str(error))
            return self._update(*self._loss_and_grads(*args, **kwargs))
        if entry.calls > 0 and entry.calls & (entry.calls - 1) == 0:
            return self._update(*self._compared(args, kwargs))
        return self.plain_step(*args, **kwargs)

    def plain_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """`step` by the graph alone, without comparisons; after `step` has been called with arguments like these."""
        return self._update(*self._step(*args, **kwargs))

    def settled(self) -> bool:
        """Whether the programs are compiled, and as they were at the last call."""
        return self.reason is None and self._step.unchanged() and self._store_unchanged()

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss, without a step."""
        if self.reason is None:
            try:
                return self._evaluate(*args, **kwargs)[0]
            except CaptureError as error:
                self._fall_back(str(error))
        return self._loss_alone(*args, **kwargs)[0]

    def state_dict(self) -> dict[str, Any]:
        """Unconstrained parameters by their names in Pyro's store, and the optimizer's state."""
        params = {name: p.detach().clone() for p, name in self._params.items()}
        return {"params": params, "optimizer": None if self._optim is None else deepcopy(self._optim.get_state())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned, before the next step: only that says which parameters there are."""
        missing = {"params", "optimizer"} - state.keys()
        if missing:
            raise ValueError(f"state: got {sorted(state)}, expected what state_dict() returned, with {sorted(missing)}")
        self._state = state

    def _forget(self) -> None:
        self._params: dict[Tensor, str] = {}  # in the order in which graphs return their gradients
        self._step = Compiled(self._loss_and_grads, *self._programs, context=self._capturing)
        self._evaluate = Compiled(self._loss_alone, *self._programs, context=self._capturing)

    def _store_unchanged(self) -> bool:
        """Whether bare `pyro.param`s are still those that the graphs read: the store may have been cleared."""
        store = pyro.get_param_store()._params
        return all("$$$" in name or store.get(name) is p for p, name in self._params.items())

    def _update(self, loss: Any, *gradients: Tensor | None) -> Tensor:
        params = [(p, g) for p, g in zip(self._params, gradients, strict=False) if g is not None]
        for p, gradient in params:
            p.grad = gradient
        self._optimizer()([p for p, _ in params])
        for p, _ in params:
            p.grad = None
        return loss

    def _optimizer(self) -> PyroOptim:
        if self._optim is None:
            assert self._make_optim is not None
            self._optim = JointOptim(self._make_optim, sorted(self._params, key=lambda p: self._params[p]))
        return self._optim

    def _restore(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert self._state is not None
        state, self._state = self._state, None
        with self._unmoved(args, kwargs), self._capturing():
            self._loss_and_grads(*args, **kwargs)  # meets the parameters
        known = {name: p for p, name in self._params.items()}
        unknown = state["params"].keys() - known.keys()
        if unknown:
            raise ValueError(f"state: its parameters {sorted(unknown)[:3]} are not in these programs")
        with torch.no_grad():
            for name, value in state["params"].items():
                known[name].copy_(value)
        if state["optimizer"] is not None:
            self._optimizer().set_state(deepcopy(state["optimizer"]))

    def _loss_and_grads(self, *args: Any, **kwargs: Any) -> list[Tensor | None]:
        """What stock SVI does before the optimizer's turn: the loss, and the gradients of all parameters met so far."""
        with poutine.trace(param_only=True) as capture:
            loss = self.loss.loss_and_grads(self.model, self.guide, *self._prepared(args), **kwargs)
        for name, site in capture.trace.nodes.items():
            self._params.setdefault(site["value"].unconstrained(), name)  # type: ignore[union-attr]
        if not isinstance(loss, (Tensor, float)):
            raise CaptureError(f"{type(self.loss).__name__} returns {type(loss).__name__} and not one loss")
        gradients = [p.grad for p in self._params]
        for p in self._params:
            p.grad = None
        return [torch.as_tensor(loss).detach(), *gradients]

    def _loss_alone(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        with torch.no_grad():
            return [torch.as_tensor(self.loss.loss(self.model, self.guide, *self._prepared(args), **kwargs))]

    def _prepared(self, args: tuple[Any, ...]) -> Sequence[Any]:
        return args if self._prepare is None else self._prepare(*args)

    def _unmoved(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[None]:
        devices = [a.device for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        return rollback(Watch(self.model, self.guide).modules, *devices)

    @contextmanager
    def _capturing(self) -> Iterator[None]:
        """No validation, no checks for NaN (both look at values), and no gradients from earlier."""
        modules = [m for name, m in sys.modules.items() if name.startswith("pyro.infer") and hasattr(m, "warn_if_nan")]
        with ExitStack() as stack:
            stack.enter_context(pyro.validation_enabled(False))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # stock SVI would say it; and a test that makes errors of them is no reason
            for module in modules:
                stack.enter_context(mock.patch.object(module, "warn_if_nan", lambda value, *_, **__: value))
            self._forget_gradients()
            try:
                yield
            finally:
                self._forget_gradients()

    def _forget_gradients(self) -> None:
        for p in [*self._params, *(p for m in Watch(self.model, self.guide).modules for p in m.parameters(False))]:
            p.grad = None

    def _compared(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor | None]:
        """Loss and gradients by the graph if they equal stock SVI's on the same noise; else, from now on, stock SVI's."""
        with self._unmoved(args, kwargs):
            compiled = list(self._step(*args, **kwargs))
        with self._capturing():
            reference = self._loss_and_grads(*args, **kwargs)
        if all(map(_close, compiled, reference, [_LOSS_TOLERANCE] + [_GRADIENT_TOLERANCE] * len(reference))):
            return compiled
        self._fall_back("its loss or gradients differ from Pyro's on other data or noise; a random generator or control"
                        " flow that is not torch's, say")  # fmt: skip
        return reference

    def _fall_back(self, reason: str) -> None:
        if not self.fallback:
            raise ValueError(f"model, guide: cannot be compiled: {reason}; use engine='svi' or 'auto'")
        self.reason = reason
        warnings.warn(f"the programs are not compiled, stock SVI runs them: {reason}", stacklevel=3)


def _close(got: Tensor | None, expected: Tensor | None, tolerance: float) -> bool:
    if got is None or expected is None:
        return got is expected
    gap, size = (got - expected).norm(), expected.norm()
    return bool(gap <= tolerance * size) or not bool(torch.isfinite(size))
