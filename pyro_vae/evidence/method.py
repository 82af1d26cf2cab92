"""A way to estimate log p(x): a small value that holds its options, and is called on a pair.

    found = Importance(num_particles=1000)(pair)

A new one is a dataclass in a file of its own, which answers a `Pair` with an `Estimate`; whoever
calls `log_evidence` has opened the programs for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from pyro_vae.evidence.estimate import Estimate
from pyro_vae.programs.pair import Pair
from pyro_vae.progress import Progress

EstimateT = TypeVar("EstimateT", bound=Estimate, covariant=True)


class Method(ABC, Generic[EstimateT]):
    """How log p(x) is estimated, with its options; a frozen dataclass that checks them."""

    @property
    def uses_guide(self) -> bool:
        """Whether the guide has a part in it."""
        return True

    @abstractmethod
    def __call__(self, pair: Pair, progress: Progress | None = None) -> EstimateT:
        """log p(x) of each datum of a pair that has been opened.

        Args:
            pair: of a model and a guide, on data.
            progress: called with the share of the work that is done, from 0 to 1.

        Raises:
            ValueError: programs that the method is not made for.
        """
