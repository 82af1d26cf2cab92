"""Is a guide right for *this* x? The local classifier two-sample test (L-C2ST).

A classifier learns from simulations to tell the latents that made x from a guide's draw for it:

    (z*, x) ~ p(z, x)    against    (z, x),  z ~ q(z | x)

Where q is the posterior nobody can, for no x. At a chosen x, its probabilities d(z, x) at draws of
the guide say how far it believes itself able to there,

    t(x) = mean_l (d(z_l, x) - 1/2)^2,    z_l ~ q(. | x)

held against the same of classifiers that learned from pairs whose labels were swapped at random.
The classifier sees z in units of the guide, u = (z - m(x)) / s(x) by other draws of it, and a few
principal components of x and of m(x); it is a logistic regression on u, u^2 and the products of two
units, each times these components and some curved functions of them, which finds shifts, widths and
correlations that change with x; or a network on u and the components. What it says of an x leans on
the data around it: where the guide is wrong on one side of a sharp border, the other side may be
told too, by a smaller t. A wrong shape that the classifier cannot tell is not found; and x must be
like the simulated data, or the classifier has never been there (`check_predictions`).

References:
    Linhart, Gramfort, Rodrigues (2023). L-C2ST: local diagnostics for posterior approximations in
        simulation-based inference. arXiv:2306.03580.
    Lopez-Paz, Oquab (2017). Revisiting classifier two-sample tests. arXiv:1610.06545.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_level, check_progress, check_rows, check_sizes
from pyro_vae.diagnostics.features import Seeing
from pyro_vae.diagnostics.simulations import drawn_of, vectors_of
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.inputs import check_any_x, check_inputs, check_numbers
from pyro_vae.programs.pair import opened
from pyro_vae.progress import Progress, over, shares
from pyro_vae.results import Result, counted

_MOMENTS = 50  # draws of the guide for its mean and standard deviation
_PLACES = 200  # draws at which a classifier is asked about a datum
_LOOSE = 1.0  # inverse of the penalty of a regression


@dataclass(frozen=True, repr=False)
class LocalTest(Result):
    """Whether a guide can be told from the posterior at each of some data.

    Attributes:
        statistic: t of each datum `(N,)`, 0 to 1/4.
        null: t of the classifiers that learned nothing, `(M, N)`.
        accuracy: of the classifier on simulations that it did not learn from; 1/2 for a guide that
            is right.
        accuracy_error: its binomial standard error at 1/2.
        num_simulations: R.
        seed: of all draws.
        alpha: the chance, at most, that any datum is flagged of a guide that is right.
    """

    statistic: Tensor
    null: Tensor
    accuracy: float
    accuracy_error: float
    num_simulations: int
    seed: int
    alpha: float

    @property
    def p_values(self) -> Tensor:
        """Chance of as large a statistic if the guide is right, of each datum by itself, `(N,)`."""
        return self._chance(self.statistic, self.null)

    @property
    def adjusted(self) -> Tensor:
        """The same of the largest statistic of all N data, each in units of its own null
        (Westfall and Young), `(N,)`.
        """
        mean, sd = self.null.mean(0), self.null.std(0).clamp(min=1e-30)
        largest = ((self.null - mean) / sd).amax(1, keepdim=True)
        return self._chance((self.statistic - mean) / sd, largest)

    @property
    def flagged(self) -> Tensor:
        """Whether the guide is told from the posterior at each datum, `(N,)`."""
        return self.adjusted <= self.alpha

    @staticmethod
    def _chance(statistic: Tensor, null: Tensor) -> Tensor:
        return (1 + (null >= statistic).sum(0)).double() / (1 + len(null))

    @property
    def verdict(self) -> str:
        """At how many data the guide is wrong, in a sentence."""
        number, size = int(self.flagged.sum()), counted(len(self.statistic), "data")
        if not number:
            level = f"{100 * self.alpha:g}% level"
            return f"not told from the posterior at any of {size}, at the {level}"
        worst = ", ".join(
            map(str, self.statistic.argsort(descending=True)[: min(4, number)].tolist())
        )
        return f"told from the posterior at {number} of {size}, most of all at rows {worst}"

    def headline(self) -> str:
        made = counted(self.num_simulations, "simulations")
        return f"a guide at {counted(len(self.statistic), 'data')}, by a classifier, {made}"

    def figures(self) -> Iterator[tuple[str, str]]:
        told = f"{100 * self.accuracy:.1f} +- {100 * self.accuracy_error:.1f}%"
        yield "accuracy", f"{told} over all simulations, 50% of a guide that is right"
        least = self.adjusted.min()
        yield "least p", f"{least:.3g} of all data together, {self.p_values.min():.3g} by itself"
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """Accuracy, p-values and the verdict, by name."""
        return {
            "accuracy": self.accuracy,
            "accuracy_error": self.accuracy_error,
            "p_values": self.p_values.tolist(),
            "adjusted": self.adjusted.tolist(),
            "num_flagged": int(self.flagged.sum()),
            "num_simulations": self.num_simulations,
            "num_null": len(self.null),
            "verdict": self.verdict,
            "seed": self.seed,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each datum."""
        found = {"statistic": self.statistic, "usual": self.null.mean(0)}
        found |= {"p_value": self.p_values, "adjusted": self.adjusted}
        return found | {"flagged": self.flagged}


def local_c2st(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_simulations: int = 1000,
    num_null: int = 99,
    hidden: Sequence[int] = (),
    seed: int = 0,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> LocalTest:
    """Whether a guide can be told from the posterior at chosen data.

    Args:
        model, guide: Pyro programs; the guide must answer for any x, and need not know its density.
        x: chosen data `(N, *shape)`.
        index: their numbers `(N,)`; simulated data take turns with them.
        num_simulations: R, from which the classifiers learn.
        num_null: M, classifiers that learn from swapped labels; p-values are 1 / (M + 1) at least.
        hidden: hidden units of a network as the classifier; a logistic regression unless given.
        seed: of all of it; the caller's random state is untouched.
        alpha: chance of flagging any datum of a guide that is right, at most.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ValueError: numbers out of range, a guide with parameters per datum, programs that do not
            match.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> local_c2st(model, ExactGuide(model), torch.randn(3, 5), num_null=19).verdict
        'not told from the posterior at any of 3 data, at the 5% level'
    """
    check_numbers({"num_simulations": (num_simulations, 50), "seed": (seed, 0)})
    check_numbers({"num_null": (num_null, 1)})
    layers = check_sizes("hidden", hidden)
    check_level("alpha", alpha)
    check_progress(progress)
    check_rows("x", x)
    check_any_x(called(guide, "guide"), x)
    check_inputs(model, guide, x, index)

    drawing, learning = shares(progress, 1, 4)
    number = num_simulations, _MOMENTS + 1
    truth, draws, made = drawn_of(model, guide, x, index, number, seed, drawing)
    with opened(model, guide, x, index, seed=seed + 1) as pair:
        chosen = torch.cat(
            [
                vectors_of(pair.take(rows).sample(_MOMENTS + _PLACES)[0], pair.depth)
                for rows in pair.blocks(100)
            ],
            1,
        )
    seen = Seeing(draws[1:], made)
    known = [seen(z[None], draws[1:], made) for z in (truth, draws[0])]
    here = seen(chosen[_MOMENTS:], chosen[:_MOMENTS], x.flatten(1).double().cpu())

    real, false = (each.features(bool(layers)) for each in known)
    asked = here.features(bool(layers))
    noise = np.random.default_rng(seed)
    statistic = _statistic(real, false, asked, len(x), layers, seed)
    null = []
    for _ in over(range(num_null), num_null, learning):
        swapped = noise.random(len(real))[:, None] < 0.5
        mixed = np.where(swapped, false, real), np.where(swapped, real, false)
        null.append(_statistic(*mixed, asked, len(x), layers, seed))

    accuracy = _accuracy(real, false, layers, seed)
    error = 0.5 / (2 * (num_simulations - num_simulations // 2)) ** 0.5
    return LocalTest(
        statistic, torch.stack(null), accuracy, error, num_simulations, seed, float(alpha)
    )


def _classifier(layers: Sequence[int], seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if layers:
        net = MLPClassifier(
            tuple(layers), solver="lbfgs", alpha=1.0, max_iter=80, random_state=seed
        )
        return make_pipeline(StandardScaler(), net)
    return make_pipeline(StandardScaler(), LogisticRegression(C=_LOOSE, max_iter=100))


def _learned(real: Any, false: Any, layers: Sequence[int], seed: int) -> Any:
    """A classifier of the one against the other, rows of features `(R, F)` each."""
    labels = np.repeat([1, 0], [len(real), len(false)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: its null has not, either
        return _classifier(layers, seed).fit(np.concatenate([real, false]), labels)


def _statistic(
    real: Any, false: Any, asked: Any, num_data: int, layers: Sequence[int], seed: int
) -> Tensor:
    """t `(N,)` of a classifier at features `(S N, F)`."""
    chance = _learned(real, false, layers, seed).predict_proba(asked)[:, 1]
    return (torch.from_numpy(chance).double() - 0.5).square().reshape(-1, num_data).mean(0)


def _accuracy(real: Any, false: Any, layers: Sequence[int], seed: int) -> float:
    """Of a classifier that learned from one half, on the other one."""
    half = len(real) // 2
    made = _learned(real[:half], false[:half], layers, seed)
    right = [made.predict(real[half:]) == 1, made.predict(false[half:]) == 0]
    return float(np.concatenate(right).mean())
