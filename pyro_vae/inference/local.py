"""Classical variational inference on a frozen model: each datum's own parameters, optimised by SVI.

A simple version: all data in every step, Adam with a cosine schedule, a fixed number of steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import pyro
import torch
from pyro.infer import ELBO, SVI, Trace_ELBO
from torch import Tensor, nn

from pyro_vae.evidence.importance import check_data
from pyro_vae.inference.compiled import CompiledSVI
from pyro_vae.inference.failure import NonFiniteLoss
from pyro_vae.inference.optim import JointOptim
from pyro_vae.inference.recipe import Engine, check_engine
from pyro_vae.traces import (
    Program,
    check_programs,
    device_of,
    guide_parameters,
    trainable_parameters,
    without_parameters,
)

_WORTH_IT = 2_000_000  # steps, over all data, from which on "auto" compiles

GuideT = TypeVar("GuideT", bound=nn.Module)


def fit_local(
    model: Program,
    guide: GuideT,
    x: Tensor,
    *,
    num_steps: int = 500,
    learning_rate: float = 0.1,
    loss: ELBO | None = None,
    seed: int = 0,
    engine: Engine = "auto",
) -> GuideT:
    """Optimise a guide's per-datum parameters for data `x` in place; the model is frozen and in eval mode.

    Args:
        model: Pyro program; its parameters do not change.
        guide: such as `Local(MeanField(50), len(x))`, on the device of x.
        x: data `(N, *shape)`, row n of the guide's table for datum n.
        num_steps: steps of Adam, each on all of x with one particle.
        learning_rate: at the first step; it falls to 0 by a cosine.
        loss: a Pyro ELBO; Trace_ELBO unless given.
        seed: of the guide's noise.
        engine: "compiled", "svi" or "auto", as in `Recipe`.

    Returns:
        The guide.

    Raises:
        NonFiniteLoss: the parameters became NaN or infinite.
        ValueError: data that the model cannot score, programs that do not match, numbers out of range.

    Example:
        >>> from pyro_vae import LinearGaussian, Local, MeanField
        >>> x = torch.randn(4, 5)
        >>> guide = fit_local(LinearGaussian(5, 2), Local(MeanField(2), 4), x, num_steps=10)
    """
    if num_steps < 1 or not learning_rate > 0:
        raise ValueError(f"num_steps, learning_rate: got {num_steps}, {learning_rate}, expected both positive")
    check_engine(engine)
    x = x.to(device_of(model) or x.device)
    check_data(model, x)
    guide.to(x.device)
    index = torch.arange(len(x), device=x.device)
    with torch.random.fork_rng([x.device] if x.is_cuda else []), _frozen(model, guide, x, index) as (fixed, params):
        torch.manual_seed(seed)
        check_programs(fixed, guide, x, index)
        optim = JointOptim(partial(torch.optim.Adam, lr=learning_rate, betas=(0.9, 0.99)), params)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim.optimizer, num_steps)
        svi: SVI | CompiledSVI = SVI(fixed, guide, optim, loss or Trace_ELBO())
        if engine == "compiled" or (engine == "auto" and num_steps * len(x) >= _WORTH_IT):
            svi = CompiledSVI(fixed, guide, optim, loss or Trace_ELBO(), fallback=engine == "auto")
        with pyro.validation_enabled(False):
            for _ in range(num_steps):
                svi.step(x, index)
                schedule.step()
        if not all(torch.isfinite(p).all() for p in params):
            raise NonFiniteLoss(
                f"the guide's parameters became non-finite: lower the learning rate (now {learning_rate:g})"
            )
    return guide


@contextmanager
def _frozen(model: Program, guide: Program, x: Tensor, index: Tensor) -> Iterator[tuple[Program, list[Tensor]]]:
    """The model with none of its parameters trained, modules in eval mode, and the guide's own parameters."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [m for m in modules if m.training]
    others: list[Tensor] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*requires_grad=False")
        try:
            for module in training:
                module.training = False
            own = guide_parameters(guide, x, index)
            if not own:
                raise ValueError(
                    f"guide: {type(guide).__name__} has no parameter to optimise, expected one such as Local"
                )
            others += [p for name, p in trainable_parameters(model, guide, x, index).items() if name not in own]
            for p in others:
                p.requires_grad_(False)
            yield without_parameters(model), list(own.values())
        finally:
            for p in others:
                p.requires_grad_(True)
            for module in training:
                module.training = True
