"""One torch optimizer for all parameters of an SVI run.

`pyro.optim.PyroOptim` keeps an optimizer per parameter, since a program may meet new parameters at
any step, and clips each parameter's gradient by its own norm. Here one optimizer sees all of them:
any of torch's works, a learning-rate schedule acts on it as in plain torch, and clipping is by the
global norm. Stock `pyro.infer.SVI` takes it as it is.

Adam and AdamW run as torch's fused kernel unless told otherwise, and from the second step on
without the bookkeeping that torch repeats in Python at each (0.1 ms, of a step that may take 1).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_vae.arguments import check_kind

OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
ScheduleFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


def make_schedule(factory: ScheduleFactory | None, optimizer: torch.optim.Optimizer) -> Any:
    """The learning-rate schedule of an optimizer; None where there is to be none."""
    if factory is None:
        return None
    return _built("schedule", factory, optimizer, torch.optim.lr_scheduler.LRScheduler)


def _built(name: str, factory: Callable[[Any], Any], argument: Any, kind: type) -> Any:
    """What a function makes; a ValueError with the name of the argument where that fails, or is of
    another kind.
    """
    try:
        found = factory(argument)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from error
    check_kind(name, found, kind, f"a function that returns a torch {kind.__name__}")
    return found


class JointOptim(PyroOptim):
    """A `PyroOptim` that holds one torch optimizer.

    Args:
        constructor: from parameters to an optimizer, such as
            `functools.partial(torch.optim.Adam, lr=1e-3)`.
        params: the parameters, in a fixed order. One that is met only later is refused: a
            checkpoint could not hold it.
        clip_norm: largest norm of the gradient of all parameters together; None for no clipping.

    Attributes:
        reduce: called on all parameters before a step, to replace gradients by sums over processes;
            returns those that had no gradient before. None for nothing to sum.
    """

    reduce: Callable[[list[Tensor]], list[Tensor]] | None = None

    def __init__(
        self,
        constructor: OptimizerFactory,
        params: Iterable[Tensor],
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(constructor, {})
        self.params = list(dict.fromkeys(params))
        self.clip_norm = clip_norm
        self.optimizer = _built("optimizer", constructor, self.params, torch.optim.Optimizer)

        closure = inspect.signature(self.optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise ValueError(
                f"optimizer: {type(self.optimizer).__name__} evaluates the loss several times in a"
                " step, which a noisy ELBO does not allow: use another, such as torch.optim.Adam"
            )

        self._known = set(self.params)
        self._unused = self.params  # those that have had no gradient yet
        self._adam: _AdamGroup | None = None
        self._shortcut = False  # whether the last step took it

        if type(self.optimizer) in _FUSED:
            for group in self.optimizer.param_groups:
                if group["fused"] is None and not any(group[name] for name in _NOT_FUSED):
                    group["fused"] = all(p.is_floating_point() for p in group["params"])

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Step on the gradients of `params`, which SVI hands over as a set."""
        if not self._known.issuperset(params):
            new = [pyro.get_param_store().param_name(p) for p in set(params) - self._known]
            raise ValueError(
                f"parameters {sorted(map(str, new))} appeared during training, after the first run"
                " of the programs: run every pyro.param and pyro.module statement each time"
            )

        lent = [] if self.reduce is None else self.reduce(self.params)
        self._unused = [p for p in self._unused if p.grad is None]
        idle = [p for p in self.params if p.grad is None]
        for p in idle if len(idle) > len(self._unused) else ():
            if not any(p is other for other in self._unused):
                p.grad = torch.zeros_like(p)  # as stock SVI leaves it: moments and decay go on

        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.params, self.clip_norm)
        if not (torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()):
            self.refresh()

        gathered = self._adam if self._stands() else None
        shortcut = gathered is not None and gathered.step([p.grad for p in gathered.params])
        if not shortcut:
            self.optimizer.step()
            self._adam = _adam_group(self.optimizer)
        self._shortcut = shortcut
        for p in lent:  # whoever computes gradients knows nothing of these
            p.grad = None

    def steps_on(self, params: Iterable[Tensor], gradients: Sequence[Tensor | None]) -> bool:
        """Step on these gradients at once, without a word of them on the parameters; False, nothing
        done, where there is more to do than one call of the kernel.
        """
        more = self.clip_norm is not None or self.reduce is not None or self._unused
        if more or not self._shortcut or not self._stands():
            return False
        assert self._adam is not None
        self._adam.refresh()
        given = {p: g for p, g in zip(params, gradients, strict=False) if g is not None}
        if len(given) > len(self.params):
            return False
        return self._adam.step([given.get(p) for p in self._adam.params])

    def recordable(self) -> Any:
        """What a CUDA graph of a step takes for granted; None where a step reads more from the host
        than that.
        """
        if not self._shortcut or not self._stands():
            return None
        group = self.optimizer.param_groups[0]
        names = ("betas", "weight_decay", "eps", "amsgrad", "maximize")
        options = tuple(group[name] for name in names)
        # the group itself: held, its memory is not given to another that would look like it
        return self._adam, self.clip_norm, options, tuple(p.data_ptr() for p in self.params)

    def _stands(self) -> bool:
        return self._adam is not None and self._adam.stands(self.optimizer)

    def refresh(self) -> None:
        """Bring what a recorded step reads on the device up to date."""
        if self._adam is not None:
            self._adam.refresh()

    def take_over(self, earlier: JointOptim) -> None:
        """Go on from another one of the same kind, which has some of the parameters."""
        self.optimizer.state.update(earlier.optimizer.state)
        known = set(earlier.params) - set(earlier._unused)
        self._unused = [p for p in self.params if p not in known]

        earlier_groups = earlier.optimizer.param_groups
        for mine, theirs in zip(self.optimizer.param_groups, earlier_groups, strict=True):
            mine.update({name: value for name, value in theirs.items() if name != "params"})

    def get_state(self) -> dict[str, Any]:
        unused = set(self._unused)
        used = [i for i, p in enumerate(self.params) if p not in unused]
        return {**self.optimizer.state_dict(), "used": used}

    def set_state(self, state_dict: dict[str, Any]) -> None:
        known = {name: part for name, part in state_dict.items() if name != "used"}
        self.optimizer.load_state_dict(known)
        used = set(state_dict.get("used", state_dict["state"]))
        self._unused = [p for i, p in enumerate(self.params) if i not in used]
        self._adam = None


class _AdamGroup:
    """The group of a fused Adam with its state gathered in lists, so that a step is one call of
    torch's kernel.
    """

    def __init__(
        self, kernel: Callable[..., None], group: dict[str, Any], states: list[dict[str, Tensor]]
    ) -> None:
        self.kernel, self.group, self.params = kernel, group, group["params"]
        self.steps = torch.stack([state["step"] for state in states])
        for state, step in zip(states, self.steps, strict=True):
            state["step"] = step  # a view: one addition counts for all

        names = ["exp_avg", "exp_avg_sq"]
        if group["amsgrad"]:
            names.append("max_exp_avg_sq")
        self.moments = [[state[name] for state in states] for name in names]
        self.moments += [[]] * (3 - len(names))
        self.counts = list(self.steps)

        self._rate = group["lr"]
        self.rate: Tensor | None = None
        self.on_host = not self.steps.is_cuda
        if not self.on_host:
            self.rate = torch.tensor(self._rate, device=self.steps.device)

    def stands(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer is still what was gathered here: its state was not loaded anew, and
        no hook was added.
        """
        hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
        groups = optimizer.param_groups
        return len(groups) == 1 and groups[0] is self.group and not hooks

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None]) -> bool:
        """Step on the gradients of `params`; False, nothing done, where the kernel does not fit."""
        for p, gradient in zip(self.params, gradients, strict=True):
            if gradient is None or gradient.shape != p.shape or gradient.stride() != p.stride():
                return False

        names = ("weight_decay", "eps", "amsgrad", "maximize")
        options = {name: self.group[name] for name in names}
        options["lr"] = self.group["lr"] if self.rate is None else self.rate
        options["beta1"], options["beta2"] = self.group["betas"]
        self.steps.add_(1)
        self.kernel(self.params, gradients, *self.moments, self.counts, **options)
        if self.on_host and self.steps[0].item() % _CLEARED_EVERY == 0:
            _clear(self.moments[0])
        return True

    def refresh(self) -> None:
        """Write the learning rate to the device, where a recorded step reads it."""
        if self.rate is not None and self._rate != self.group["lr"]:
            self._rate = self.group["lr"]
            self.rate.fill_(self._rate)


def _clear(moments: list[Tensor]) -> None:
    """Put what is too small for a normal float at 0.

    The moments of a weight that gets no gradient any more, of a pixel that is dark in almost all
    images, shrink by a tenth a step, down to the smallest number there is, which rounding keeps:
    a tenth of the moments of MNIST after 1,000 steps, and a processor is slow with such numbers.
    """
    for moment in moments:
        moment.masked_fill_(moment.abs() < torch.finfo(moment.dtype).tiny, 0.0)


def _adam_group(optimizer: torch.optim.Optimizer) -> _AdamGroup | None:
    """An Adam's only group once it has stepped; None for other optimizers, or with more to do."""
    groups, kernel = optimizer.param_groups, _FUSED.get(type(optimizer))
    if kernel is None or len(groups) != 1:
        return None
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return None

    group = groups[0]
    if not group["fused"] or any(group[name] for name in _NOT_FUSED):
        return None
    if type(optimizer) is torch.optim.Adam and group.get("decoupled_weight_decay"):
        return None

    params = group["params"]
    states = [optimizer.state[p] for p in params if p in optimizer.state]
    kinds = {(p.device, p.dtype) for p in params}
    if len(states) < len(params) or len(kinds) > 1 or isinstance(group["lr"], Tensor):
        return None
    return _AdamGroup(kernel, group, states)


_FUSED: dict[type, Callable[..., None]] = {
    torch.optim.Adam: torch._fused_adam_,
    torch.optim.AdamW: torch._fused_adamw_,
}
_CLEARED_EVERY = 128  # steps, as counted in the state: a run that goes on does it at the same ones
_NOT_FUSED = ("foreach", "capturable", "differentiable")
