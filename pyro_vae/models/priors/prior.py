"""What every prior is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn


class Prior(nn.Module, ABC):
    """p(z) of a model with one latent vector: subclasses say what it is.

    Attributes:
        latent_dim: units d, once the model has bound it.
    """

    latent_dim: int

    def bind(self, latent_dim: int, shape: Sequence[int]) -> None:
        """Make the parameters for d units and data of this shape; called once, by the model."""
        self.latent_dim = latent_dim

    @abstractmethod
    def forward(self, like: Tensor) -> dist.TorchDistribution:
        """p(z), batch shape () and event shape (d,), of the dtype and device of `like`."""

    def start(self, x: Tensor) -> None:
        """Look at training data `(N, *shape)`, before anything is trained."""

    def take_guide(self, guide: Any) -> None:
        """Be told the guide that the model is trained with."""

    def describe(self) -> str:
        """What it is, in a few words."""
        return type(self).__name__
