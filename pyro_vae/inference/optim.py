"""One torch optimizer for all parameters of an SVI run.

`pyro.optim.PyroOptim` keeps an optimizer per parameter, since a program may meet new parameters at any step, and clips
each parameter's gradient by its own norm. Here one optimizer sees all of them: any of torch's works, a learning-rate
schedule acts on it as in plain torch, and clipping is by the global norm. Stock `pyro.infer.SVI` takes it as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor

OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
ScheduleFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


class JointOptim(PyroOptim):
    """A `PyroOptim` that holds one torch optimizer.

    Args:
        constructor: from parameters to an optimizer, such as `functools.partial(torch.optim.Adam, lr=1e-3)`.
        params: the parameters, in a fixed order. One that is met only later is refused: a checkpoint could not hold it.
        clip_norm: largest norm of the gradient of all parameters together; None for no clipping.
    """

    def __init__(self, constructor: OptimizerFactory, params: Iterable[Tensor], clip_norm: float | None = None) -> None:
        super().__init__(constructor, {})
        self.params = list(params)
        self.clip_norm = clip_norm
        self.optimizer = constructor(self.params)
        closure = inspect.signature(self.optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise ValueError(
                f"optimizer: {type(self.optimizer).__name__} evaluates the loss several times in a step, which a noisy ELBO"
                " does not allow: use another, such as torch.optim.Adam"
            )
        self._known = set(self.params)

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Step on the gradients of `params`, which SVI hands over as a set."""
        new = [pyro.get_param_store().param_name(p) for p in set(params) - self._known]
        if new:
            raise ValueError(
                f"parameters {sorted(map(str, new))} appeared during training, after the first run of the programs:"
                " run every pyro.param and pyro.module statement each time"
            )
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.params, self.clip_norm)
        self.optimizer.step()

    def get_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_state(self, state_dict: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state_dict)
