"""A step of training by several processes, each with its rows of the minibatch: the same step as by
one.

The loss of a minibatch is the sum of those of its parts, where the programs and the objective treat
data apart. So each process computes the gradients of its own rows, with the noise that one process
would draw for them (`draws.py`), all of them are summed in one go, and every process takes the same
step of the optimizer.

    loss(x_1, ..., x_B)  =  sum over processes of  w loss(own rows)

w is 1; where the data plate subsamples, so that the loss of any rows stands for all data, w is the
share of the rows. That it is a sum is not taken for granted: before the first step it is computed
on a few data whole and in two parts (`check_sum`). Batch normalisation, say, is found so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.data import Split
from pyro_vae.graphs import rollback
from pyro_vae.graphs.capturing import Moment
from pyro_vae.inference.draws import SIZES, Draw, Drawn, plan
from pyro_vae.inference.job import Job, set_weights, weights
from pyro_vae.inference.quiet import own_gradients
from pyro_vae.objectives import FreeBits
from pyro_vae.processes import Share, agreed, count, gathered, on, rank, summed_
from pyro_vae.programs.calls import called
from pyro_vae.programs.evaluation import modules_of
from pyro_vae.programs.traces import Program

_CLOSE = 1e-3  # relative; sums in float32 differ by 1e-6 or so


class OfPart(ELBO):
    """A loss of some rows of a minibatch, which are its last argument.

    Attributes:
        inner: the loss.
        draws: the plan of the random numbers.
    """

    def __init__(self, inner: ELBO, draws: tuple[Draw, ...]) -> None:
        super().__init__()
        self.inner: Any = inner
        self.draws = draws

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Any:
        return self.inner._get_trace(model, guide, args, kwargs)

    def loss(self, model: Program, guide: Program, *args: Any) -> Any:
        """The inner one's of the rows, with the whole minibatch's noise."""
        *given, part = args
        with Drawn(self.draws, part), on(part):
            return self.inner.loss(model, guide, *given)

    def loss_and_grads(self, model: Program, guide: Program, *args: Any) -> Any:
        """The same, and its gradients added to the parameters'."""
        *given, part = args
        with Drawn(self.draws, part), on(part):
            return self.inner.loss_and_grads(model, guide, *given)


class Dealing(NamedTuple):
    """How a step is dealt out: the plan of its random numbers, and whether its data plate is of all
    data, of which a minibatch is a subsample.
    """

    draws: tuple[Draw, ...]
    subsamples: bool


class Reduction:
    """Sums gradients over the processes.

    Attributes:
        weight: of this process's gradients in the step that is taken.
    """

    def __init__(self) -> None:
        self.weight = 1.0

    def __call__(self, params: Sequence[Tensor]) -> list[Tensor]:
        """Replace the gradients by their sums; a parameter has one where it has one in any process.
        Returns those that had none here.
        """
        device = params[0].device
        has = torch.tensor([float(p.grad is not None) for p in params], device=device)
        parts = [has]
        for p in params:
            # of rows that do not count even NaN is nothing
            none = p.grad is None or not self.weight
            gradient = torch.zeros_like(p) if none else p.grad
            assert gradient is not None
            if gradient.is_sparse:
                raise ValueError(
                    f"model, guide: a gradient {tuple(p.shape)} is sparse, expected dense ones:"
                    " train with one process"
                )
            parts.append((gradient if self.weight == 1 else gradient * self.weight).reshape(-1))

        flat = summed_(torch.cat(parts))
        sums = flat[len(params) :].split([p.numel() for p in params])
        new = []
        for p, total, known in zip(params, sums, (flat[: len(params)] > 0).tolist(), strict=True):
            if not known:
                continue
            if p.grad is None:
                new.append(p)
            p.grad = total.to(p.dtype).view(p.shape)
        return new


def weight_of(part: Share, subsamples: bool) -> float:
    """What the loss of these rows counts for in that of the minibatch."""
    return part.weight if subsamples or not part.counts else 1.0


def total(loss: Tensor, weight: float) -> Tensor:
    """The loss of the minibatch, from those of each process's rows."""
    mine = loss.double() * weight if weight else torch.zeros_like(loss, dtype=torch.double)
    return summed_(mine.reshape(1))[0]


def check_sum(
    loss: ELBO,
    model: Program,
    guide: Program,
    params: Iterable[Tensor],
    train: Split,
    subsamples: bool,
) -> tuple[Draw, ...]:
    """Find how the programs draw random numbers, and whether the loss of a few data is the sum of
    those of its parts; nothing of it is left behind.

    Args:
        loss, model, guide: as a step runs them.
        params: all that is trained.
        train: a few of the data.
        subsamples: whether the data plate is of all data, of which a minibatch is a subsample.

    Raises:
        ValueError: they are not to be trained by several processes.
    """
    modules, params = modules_of(model, guide), list(params)
    whole, some = SIZES[-1], SIZES[-1] // 2
    programs = called(model, "model"), called(guide, "guide")
    loss = loss.unpressed() if isinstance(loss, FreeBits) else loss
    found: dict[Any, tuple[list[Tensor], Moment]] = {}

    def run(size: int, part: Share | None = None, draws: tuple[Draw, ...] = ()) -> None:
        rows = torch.arange(size, device=train.x.device) % len(train.x)
        rows = rows if part is None else rows[part.rows]
        of = loss if part is None else OfPart(loss, draws)
        given = train.x[rows], train.numbers()[rows], *(() if part is None else (part,))
        with rollback(modules), own_gradients(params):
            value = of.loss_and_grads(*programs, *given)  # type: ignore[attr-defined]
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
            told = torch.as_tensor(value, dtype=torch.double).detach()
            found[size if part is None else part] = [told, *gradients], Moment(modules)

    # with a memory of its own: the gradients of a net may be reused
    with pyro.validation_enabled(False):
        draws = plan(run)
        parts = [Share(0, some, whole), Share(some, whole, whole)]
        for part in parts:
            run(whole, part, draws)

    expected, after = found[whole]
    for part in parts:
        if not found[part][1].has_noise_of(after):
            raise ValueError(
                "model, guide: a part of a minibatch takes other random numbers than the whole of"
                " it: train with one process"
            )
        if not found[part][1].has_buffers_of(after):
            _refuse(model, guide, loss, "leaves other buffers behind than the whole minibatch does")

    weights = [weight_of(part, subsamples) for part in parts]
    both = zip(*(found[part][0] for part in parts), strict=True)
    sums = [one * weights[0] + other * weights[1] for one, other in both]
    if not _agree(sums, expected):
        told = f"{expected[0].item():.6g} for {whole} data, and {sums[0].item():.6g} as a sum"
        _refuse(model, guide, loss, f"is not the sum of its parts ({told} of two parts)")
    return draws


def _refuse(model: Program, guide: Program, loss: ELBO, what: str) -> None:
    """Say what does not treat data apart, as far as it is known."""
    modules = modules_of(model, guide)
    norms = sorted({type(m).__name__ for m in modules if "BatchNorm" in type(m).__name__})
    cause = "the model, the guide or the objective mixes data of a minibatch"
    if norms:
        cause = f"{', '.join(norms)} computes with the whole minibatch (LayerNorm does not)"
    raise ValueError(
        f"model, guide, loss: {count()} processes need a loss that is a sum over data, and"
        f" {type(loss).__name__} of a part of a minibatch {what}: {cause}; train with one process"
    )


def _agree(got: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether sums are the same up to rounding; small ones are judged by the size of the rest.
    Where one process finds NaN or infinity, the first step will say so.
    """
    sizes = [t.double().norm().item() for t in expected]
    if not all(torch.isfinite(t).all() for t in expected):
        return True
    rest = max(sizes[1:], default=0.0) / 100
    for place, (mine, other) in enumerate(zip(got, expected, strict=True)):
        apart = (mine - other).double().norm().item()
        if not apart <= _CLOSE * max(sizes[place], rest if place else 1.0):
            return False
    return True


def meet(job: Job) -> None:
    """Begin with the same in all processes: the first one's parameters, and data that are alike.

    Raises:
        ValueError: other data, or other parameters, than those of the first process.
    """
    if count() == 1:
        return

    train = job.train
    mine = {
        "data": train.fingerprint if isinstance(train, Split) else train.identity,
        "model, guide": [(name, tuple(p.shape)) for name, p in job.params.items()],
        "recipe": [job.recipe.seed, job.recipe.batch_size, job.recipe.epochs],
    }
    first, *others = gathered({rank(): mine}, count())
    for what in mine:
        if any(other[what] != first[what] for other in others):  # and all of them say so
            raise ValueError(
                f"{what}: got others than the first process's in another one, expected the same in"
                f" all {count()}: seed what makes them"
            )
    set_weights(job.model, job.guide, job.params, agreed(weights(job.model, job.guide, job.params)))
