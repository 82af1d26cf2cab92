"""Every objective, with `max_plate_nesting` given or left to a guess, and programs with bare
parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
)
from torch import Tensor

from pyro_vae import MLP, Amortized, LinearGaussian, MeanField
from pyro_vae.objectives import Bound, FreeBits, ScoreFunction

VECTORISED: dict[str, Any] = {"num_particles": 3, "vectorize_particles": True}


OBJECTIVES: dict[str, Callable[[], Any]] = {
    "trace": Trace_ELBO,
    "trace, 2 particles": partial(Trace_ELBO, num_particles=2),
    "trace, vectorised": partial(Trace_ELBO, **VECTORISED),
    "mean field": TraceMeanField_ELBO,
    "mean field, vectorised": partial(TraceMeanField_ELBO, **VECTORISED),
    "graph": TraceGraph_ELBO,
    "graph, vectorised": partial(TraceGraph_ELBO, **VECTORISED),
    "enumerating": partial(TraceEnum_ELBO, strict_enumeration_warning=False),
    "enumerating, vectorised": partial(
        TraceEnum_ELBO, strict_enumeration_warning=False, **VECTORISED
    ),
    "renyi": partial(RenyiELBO, 0.5, num_particles=2),
    "renyi, vectorised": partial(RenyiELBO, 0.5, **VECTORISED),
    "tail-adaptive": partial(TraceTailAdaptive_ELBO, **VECTORISED),
    "bound, one particle": partial(Bound, 1),
    "bound": partial(Bound, 3),
    "bound of order 1/2": partial(Bound, 3, 0.5),
    "sticking the landing": partial(Bound, 1, 1.0, path_only=True),
    "doubly reparameterised": partial(Bound, 3, 0.0, path_only=True),
    "bound in groups": partial(Bound, 4, groups=2),
    "bound in groups for the guide, mixed": partial(Bound, 4, guide_groups=2, mix=0.3),
    "score function": ScoreFunction,
    "score function, baseline": partial(ScoreFunction, 3, baseline=True),
    "free nats": partial(FreeBits, 0.1),
}


FALL_BACK = ("enumerating", "enumerating, vectorised")  # Pyro looks at values in them


GIVEN = pytest.mark.parametrize("given", [False, True], ids=["guessed", "given"])


ALL = pytest.mark.parametrize("objective", OBJECTIVES)


ADAM = {"lr": 0.02}


def objective_of(name: str, given: bool) -> Any:
    loss = OBJECTIVES[name]()
    if given:
        loss.max_plate_nesting = 1 + (loss.vectorize_particles and loss.num_particles > 1)
    return loss


class Bare(Amortized):
    """A guide with bare parameters: one starts from a number, one at random, one at random and in a
    later step.
    """

    def forward(self, x: Tensor, index: Tensor | None = None, late: bool = False) -> None:
        pyro.module("guide", self)
        loc = (
            self.encoder(x)[:, :2]
            + pyro.param("fixed", torch.zeros(2))
            + pyro.param("random", lambda: torch.randn(2))
        )
        if late:
            loc = loc * pyro.param("late", lambda: torch.randn(2))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(loc, 1.0).to_event(1))


def programs(dtype: torch.dtype) -> tuple[Any, Any]:
    pyro.clear_param_store()
    torch.manual_seed(2)
    return LinearGaussian(6, 2).to(dtype), Bare(MeanField(2), MLP(6, ())).to(dtype)
