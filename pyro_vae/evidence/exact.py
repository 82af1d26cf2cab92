"""log p(x) of models that know it: a method `log_px(x)`, or `log_px(x, index)`, in closed form."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.method import Method
from pyro_vae.programs.calls import called
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.protocols import KnowsLogPx, offers
from pyro_vae.progress import Progress

TRUSTED = 0.01  # nats of error above which a grid is not believed


@dataclass(frozen=True, repr=False)
class IntegratedEstimate(Estimate):
    """log p(x) by quadrature or in closed form; its error is one of discretisation, zero for the
    closed form.

    Attributes:
        num_points: points of the grid on a side; 0 for the closed form.
    """

    num_points: int

    @property
    def method(self) -> str:
        """Such as `quadrature(201 points a side)`, or `exact`."""
        return f"quadrature({self.num_points} points a side)" if self.num_points else "exact"

    @property
    def reliable(self) -> Tensor:
        """Whether the discretisation error is below 0.01 nats."""
        return self.log_px_error < TRUSTED

    @property
    def verdict(self) -> str:
        """Whether the errors can be believed, in a sentence."""
        if self.num_points == 0:
            return "log p(x) is exact, by the model's own closed form"
        return super().verdict

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The value less and plus its discretisation error, whatever the level; all of the line
        where not `reliable`.
        """
        low, high = self.log_px - self.log_px_error, self.log_px + self.log_px_error
        low = torch.where(self.reliable, low, -math.inf)
        return low, torch.where(self.reliable, high, math.inf)

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The mean of the intervals' ends."""
        low, high = self.interval(level)
        return low.mean().item(), high.mean().item()


@dataclass(frozen=True)
class Exact(Method[IntegratedEstimate]):
    """The model's own closed form."""

    @property
    def uses_guide(self) -> bool:
        return False

    def __call__(self, pair: Pair, progress: Progress | None = None) -> IntegratedEstimate:
        started, model = time.monotonic(), pair.model
        if not offers(model, KnowsLogPx):
            raise ValueError(
                f"model: {type(model).__name__} has no method `log_px`, which the method Exact"
                " needs: use Quadrature for one or two latents, Annealed or Best"
            )

        log_px = called(model.log_px, "log_px")(pair.x, pair.index).double().cpu()
        if log_px.shape != (len(pair),):
            raise ValueError(
                f"model: its `log_px` gave shape {tuple(log_px.shape)}, expected a value per"
                f" datum, ({len(pair)},)"
            )
        seconds = time.monotonic() - started
        return IntegratedEstimate(log_px, torch.zeros_like(log_px), 0.0, seconds, 0, num_points=0)
