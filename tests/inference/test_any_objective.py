"""Every objective, with `max_plate_nesting` given or left to a guess: the noise of a step does not
depend on who takes it.

Both engines see the same noise, and a run that goes on sees that of one that was never stopped,
whatever is made on the way: guesses of the plates, bare parameters, whether they start at random or
are met only in a later step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    SVI,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
)
from torch import Tensor

from pyro_vae import MLP, Amortized, CompiledSVI, LinearGaussian, MeanField, fit
from pyro_vae.inference import steps
from pyro_vae.objectives import Bound, FreeBits, ScoreFunction

VECTORISED: dict[str, Any] = {"num_particles": 3, "vectorize_particles": True}
OBJECTIVES: dict[str, Callable[[], Any]] = {
    "trace": Trace_ELBO,
    "trace, 3 particles": partial(Trace_ELBO, num_particles=3),
    "trace, vectorised": partial(Trace_ELBO, **VECTORISED),
    "mean field": TraceMeanField_ELBO,
    "mean field, vectorised": partial(TraceMeanField_ELBO, **VECTORISED),
    "graph": TraceGraph_ELBO,
    "graph, vectorised": partial(TraceGraph_ELBO, **VECTORISED),
    "enumerating": partial(TraceEnum_ELBO, strict_enumeration_warning=False),
    "enumerating, vectorised": partial(
        TraceEnum_ELBO, strict_enumeration_warning=False, **VECTORISED
    ),
    "renyi": partial(RenyiELBO, 0.5, num_particles=3),
    "renyi, vectorised": partial(RenyiELBO, 0.5, **VECTORISED),
    "tail-adaptive": partial(TraceTailAdaptive_ELBO, **VECTORISED),
    "bound, one particle": partial(Bound, 1),
    "bound": partial(Bound, 3),
    "bound of order 1/2": partial(Bound, 3, 0.5),
    "sticking the landing": partial(Bound, 1, 1.0, path_only=True),
    "doubly reparameterised": partial(Bound, 3, 0.0, path_only=True),
    "score function": ScoreFunction,
    "score function, baseline": partial(ScoreFunction, 3, baseline=True),
    "free nats": partial(FreeBits, 0.1),
}
FALL_BACK = ("enumerating", "enumerating, vectorised")  # Pyro looks at values in them
GIVEN = pytest.mark.parametrize("given", [False, True], ids=["guessed", "given"])
ALL = pytest.mark.parametrize("objective", OBJECTIVES)
ADAM = {"lr": 0.02}


pytestmark = pytest.mark.filterwarnings(
    "ignore:the programs are not compiled", "ignore:.*minimal finite variance"
)


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run graphs one operation at a time: what is asked of them here needs no compiler."""
    monkeypatch.setattr(
        "pyro_vae.graphs.compiled.compile_graph", lambda graph, inputs: graph.module
    )


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


GUIDES = {"modules": Amortized, "bare parameters": Bare}


def programs(guide: str, dtype: torch.dtype) -> tuple[Any, Any]:
    pyro.clear_param_store()
    torch.manual_seed(2)
    return LinearGaussian(6, 2).to(dtype), GUIDES[guide](MeanField(2), MLP(6, (8,))).to(dtype)


def stepped(
    kind: Any, guide: str, objective: str, given: bool
) -> tuple[list[float], dict[str, Tensor], Tensor]:
    """Losses, parameters and the random state after six steps in float64, the last three of which
    are called otherwise.
    """
    torch.set_default_dtype(torch.double)
    try:
        model, q = programs(guide, torch.double)
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(3))
        svi = kind(
            lambda x, late: model(x),
            lambda x, late: q(x, late=late) if late and guide != "modules" else q(x),
            pyro.optim.Adam(ADAM),
            objective_of(objective, given),
        )
        torch.manual_seed(9)
        losses = [float(svi.step(x, step >= 3)) for step in range(6)]
        assert kind is SVI or (svi.reason is not None) == (objective in FALL_BACK)
        params = {
            n.split("$$$")[-1]: p.detach().clone()
            for n, p in pyro.get_param_store()._params.items()
        }
        return losses, params, torch.get_rng_state()
    finally:
        torch.set_default_dtype(torch.float32)


@ALL
@GIVEN
@pytest.mark.parametrize("guide", GUIDES)
def test_engines_see_the_same_noise(guide: str, objective: str, given: bool) -> None:
    stock, compiled = (stepped(kind, guide, objective, given) for kind in (SVI, CompiledSVI))
    assert torch.equal(stock[2], compiled[2])
    assert compiled[0] == pytest.approx(stock[0], rel=1e-10)
    assert stock[1].keys() == compiled[1].keys()
    for name, value in stock[1].items():
        torch.testing.assert_close(compiled[1][name], value, rtol=1e-8, atol=1e-10)


@ALL
@GIVEN
def test_a_state_goes_on_as_if_never_stopped(objective: str, given: bool) -> None:
    x = torch.randn(5, 6)
    model, q = programs("bare parameters", torch.float32)

    def begin() -> CompiledSVI:
        return CompiledSVI(model, q, pyro.optim.Adam(ADAM), objective_of(objective, given))

    def end(svi: CompiledSVI) -> list[Tensor]:
        return [*(svi.step(x) for _ in range(3)), *svi.state_dict()["params"].values()]

    whole = begin()
    for _ in range(3):
        whole.step(x)
    state, noise = whole.state_dict(), torch.get_rng_state()
    expected = end(whole)

    pyro.clear_param_store()  # as in a new process
    other = begin()
    other.load_state_dict(state)
    torch.set_rng_state(noise)
    assert all(map(torch.equal, end(other), expected))


# of infinite loss
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name != "tail-adaptive"])
@GIVEN
@pytest.mark.parametrize("name", ["pyro", "auto"])
def test_a_run_goes_on_as_if_never_stopped(
    name: Any, objective: str, given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "auto" compiles what can be compiled
    monkeypatch.setattr("pyro_vae.graphs.engine.WORTH_IT", 1)
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))

    def train(folder: str, **changes: Any) -> tuple[Any, list[Tensor]]:
        run = fit(
            *programs("bare parameters", torch.float32),
            x,
            epochs=2,
            batch_size=16,
            engine=name,
            loss=objective_of(objective, given),
            valid=0,
            folder=tmp_path / folder,
            quiet=True,
            device="cpu",
            **changes,
        )
        losses = [row["train_loss"] for row in run.history]
        return losses, list(pyro.get_param_store()._params.values())

    whole = train("whole")
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.inference.svi._SAVE_EVERY", -1.0)  # a checkpoint at every step
        _stop_at(5, patch)  # of two times three
        with pytest.raises(KeyboardInterrupt):
            train("cut")
    cut = train("cut", resume=True)
    assert cut[0] == whole[0]
    assert all(map(torch.equal, cut[1], whole[1]))


def _stop_at(number: int, patch: pytest.MonkeyPatch) -> None:
    """Interrupt a run before a step in the middle of an epoch."""
    make = steps.make_step

    def failing(*arguments: Any) -> Any:
        step, taken = make(*arguments), count(1)

        def fails(*tensors: Any) -> Any:
            if next(taken) == number:
                raise KeyboardInterrupt
            return step(*tensors)

        return fails

    patch.setattr("pyro_vae.inference.prepare.make_step", failing)
