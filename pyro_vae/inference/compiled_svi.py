"""The compiled SVI engine: the same Pyro programs and the same ELBO as `pyro.infer.SVI`, as one
fused graph.

What stock SVI does in a step is run once and captured: `loss.loss_and_grads(model, guide, *args)`,
backward pass included. The graph holds the arithmetic of loss and gradients and nothing of poutine,
so that a step costs about what a hand-written and compiled one costs. Random numbers are torch's
own, drawn in the order of the program: from the same random state both engines see the same noise,
and differ by the rounding of float32 alone. A step that makes something on the way and draws noise
for it (a random `pyro.param`, a prototype, a guess of `max_plate_nesting`) is a step by stock SVI.

What the programs reach (`graphs.reach`) is compared before each step, and a change has a graph of
its own. What one graph cannot hold (control flow on values, values that leave torch, random numbers
from elsewhere) is found at the capture, or by comparing with Pyro's own loss and gradients at the
second, ninth, 65th, ... call, on the data at hand; the steps are then those of stock SVI, after one
warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_vae.arguments import check_callable, check_flag, check_kind
from pyro_vae.graphs import CaptureError, Compiled, Engine, Guard, Watch, rollback
from pyro_vae.inference.optim import OptimizerFactory
from pyro_vae.inference.quiet import own_gradients, quietly
from pyro_vae.inference.trained import Trained
from pyro_vae.programs.traces import Program


class CompiledSVI:
    """`pyro.infer.SVI` with the same arguments and the same steps, faster, most of all for small
    minibatches.

    `step` and `evaluate_loss` return the loss as a tensor where SVI returns a float: reading it
    would wait for the device.

    Attributes:
        model, guide, loss: may be set to others between steps; the parameters of the earlier ones
            keep their moments.
        rows_to_compile: of the first argument; what has as many rows is compiled, the graph of what
            has others runs one operation at a time, which takes no seconds to prepare. None
            compiles everything.

    Args:
        model, guide: Pyro programs of any signature.
        optim: a `PyroOptim`, as SVI takes it; or, faster, a function from parameters to any torch
            optimizer, such as `functools.partial(torch.optim.Adam, lr=1e-3, fused=True)`, which
            then sees all parameters together.
        loss: a Pyro ELBO with one loss, as SVI takes it (not ReweightedWakeSleep, which has two).
        prepare: function from the positional arguments of `step` to those of the programs, made
            part of the graph (binarisation, say).
        fallback: where the programs cannot be compiled, warn once and go on by stock SVI; else
            raise the reason.

    Raises (at a step):
        ValueError: the programs cannot be compiled and `fallback` is off.

    Example:
        >>> from functools import partial
        >>> from pyro.infer import Trace_ELBO
        >>> from pyro_vae import Amortized, LinearGaussian, MeanField, MLP
        >>> guide = Amortized(MeanField(2), MLP(5, ()))
        >>> adam = partial(torch.optim.Adam, lr=1e-2)
        >>> svi = CompiledSVI(LinearGaussian(5, 2), guide, adam, Trace_ELBO())
        >>> svi.step(torch.randn(16, 5)).shape  # minus the ELBO, summed over the minibatch
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
        for name, program in (("model", model), ("guide", guide)):
            check_callable(name, program, "a Pyro program")
        check_kind("loss", loss, ELBO, "a Pyro ELBO such as pyro.infer.Trace_ELBO()")
        check_flag("fallback", fallback)
        if prepare is not None:
            told = "a function from the arguments of a step to those of the programs"
            check_callable("prepare", prepare, told)
        check_callable("optim", optim, "a PyroOptim, or a function from parameters to an optimizer")

        self.model, self.guide = model, guide
        self.loss: Any = loss  # the base class names neither `loss` nor `loss_and_grads`
        self.fallback = fallback
        self._begin()
        self.rows_to_compile: set[int] | None = None
        self._prepare = prepare
        self._trained = Trained(optim)
        # whether the programs have run, with the user's own validation and warnings
        self._met = False
        self._capturing = False
        self._compile()

    @property
    def reason(self) -> str | None:
        """Why the programs are not compiled; None where they are, or may be."""
        return self._guard.reason

    def _begin(self) -> None:
        """Compile what comes, or say once why not."""
        engine: Engine = "auto" if self.fallback else "compiled"
        self._guard = Guard(engine, instead="stock SVI", level=3)

    def step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take a gradient step; returns the loss, a scalar on the device, not waited for."""
        self._meet(args, kwargs)
        if self.reason is None:
            try:
                return self._update(*self._step(*args, **kwargs))
            except CaptureError as error:
                self._guard.give_up(error)
                if error.first is not None:
                    return self._update(*error.first.take())
        return self._update(*self._loss_and_grads(*args, **kwargs))

    def plain_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """`step` by the graph alone, without comparisons; after `step` has been called with
        arguments like these.
        """
        return self._update(*self._step.plain(*args, **kwargs))

    def settled(self) -> bool:
        """Whether the programs are compiled, and as they were at the last call."""
        same = self._programs_unchanged() and self._store_unchanged()
        return self.reason is None and same and self._step.unchanged()

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss, without a step."""
        self._meet(args, kwargs)
        if self.reason is None:
            try:
                return self._evaluate(*args, **kwargs)[0]
            except CaptureError as error:
                self._guard.give_up(error)
                if error.first is not None:
                    return error.first.take()[0]
        return self._loss_alone(*args, **kwargs)[0]

    def state_dict(self) -> dict[str, Any]:
        """Unconstrained parameters by their names in Pyro's store, and the optimizer's state."""
        return self._trained.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned: at once, or before the first step, which makes the
        parameters.

        Raises (now or then):
            ValueError: another program's state. Names hold for one process: a net of a new instance
                has another name.
        """
        self._trained.load(state)

    def _compile(self) -> None:
        """Start without graphs, of the programs as they are."""
        self._programs = {
            "model": self.model,
            "guide": self.guide,
            "loss": self.loss,
            "prepare": self._prepare,
        }
        options: Any = {"context": self._running, "pays": self._pays}
        self._step = Compiled(self._loss_and_grads, self._programs, **options)
        self._evaluate = Compiled(self._loss_alone, self._programs, **options)

    def _pays(self, inputs: Sequence[Tensor]) -> bool:
        """Whether to compile a graph for minibatches like this one."""
        return self.rows_to_compile is None or len(inputs[0]) in self.rows_to_compile

    def _meet(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Start anew where Pyro's store did, and put back a state that waits for the parameters.

        The parameters are made by a rehearsal that leaves no trace in the noise: in a run that goes
        on, what makes them was drawn before the state was kept.
        """
        if not self._store_unchanged():
            self._trained.forget()
            self._compile()
        if not self._programs_unchanged():
            self._programs.update(model=self.model, guide=self.guide, loss=self.loss)
            self._begin()
            self._met = False
        if self._trained.pending is None:
            return

        if not self._trained.names:
            with rollback(Watch(self.model, self.guide).modules), self._own_gradients():
                self._loss_and_grads(*args, **kwargs)
        self._trained.restore()

    def _programs_unchanged(self) -> bool:
        """Whether model, guide and loss are those of the last call: they may be set, as those of
        stock SVI may.
        """
        now = {"model": self.model, "guide": self.guide, "loss": self.loss}
        return all(self._programs[name] is program for name, program in now.items())

    def _store_unchanged(self) -> bool:
        """Whether bare `pyro.param`s are still those that the graphs read: the store may have been
        written or cleared.
        """
        store = pyro.get_param_store()._params
        known = self._trained.names.items()
        return all("$$$" in name or store.get(name) is p for p, name in known)

    def _update(self, loss: Any, *gradients: Tensor | None) -> Tensor:
        """Take the optimizer's turn, and return the loss."""
        self._trained.update(gradients)
        return loss

    def _loss_and_grads(self, *args: Any, **kwargs: Any) -> list[Tensor | None]:
        """What stock SVI does before the optimizer's turn: the loss, and the gradients of all
        parameters met so far.

        A gradient is None where the programs did not come upon the parameter, and empty where the
        loss has no use for it.
        """
        store = pyro.get_param_store()._params
        before = dict(store)
        with poutine.trace(param_only=True) as capture:
            loss = self.loss.loss_and_grads(self.model, self.guide, *self._prepared(args), **kwargs)

        replaced = [name for name, p in before.items() if store.get(name, p) is not p]
        if replaced and self._capturing:
            store.update(before)
            raise CaptureError(f"running it replaces the parameters {replaced[:3]} in Pyro's store")

        met = {site["value"].unconstrained(): name for name, site in capture.trace.nodes.items()}  # type: ignore[union-attr]
        self._trained.meet(met)
        if not isinstance(loss, (Tensor, float)):
            raise ValueError(
                f"loss: {type(self.loss).__name__} returns a {type(loss).__name__}, expected an"
                " ELBO with one loss: use pyro.infer.SVI"
            )
        gradients = self._trained.take_gradients(met)
        self._met = True
        return [self._scalar(loss), *gradients]

    def _loss_alone(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        with torch.no_grad():
            loss = self.loss.loss(self.model, self.guide, *self._prepared(args), **kwargs)
        self._met = True
        return [self._scalar(loss)]

    def _scalar(self, loss: Tensor | float) -> Tensor:
        """The loss on the device of the parameters; Pyro's own is read from it, and a float."""
        if isinstance(loss, Tensor):
            return loss.detach()
        like = next(iter(self._trained.names), torch.empty(()))
        return torch.tensor(loss, dtype=like.dtype, device=like.device)

    def _prepared(self, args: tuple[Any, ...]) -> Sequence[Any]:
        return args if self._prepare is None else self._prepare(*args)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Around a run of the programs: the first has the user's own validation and warnings, those
        for a graph have none.
        """
        with ExitStack() as stack:
            stack.enter_context(self._own_gradients())
            if self._met:
                stack.enter_context(quietly())
                stack.callback(setattr, self, "_capturing", self._capturing)
                self._capturing = True
            yield

    def _own_gradients(self) -> AbstractContextManager[None]:
        modules = Watch(self.model, self.guide).modules
        reached = (p for module in modules for p in module.parameters(recurse=False))
        return own_gradients([*self._trained.names, *reached])
