"""What classical inference found: the guide at its optimum, and what it took to get there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from pyro_vae.programs.traces import Program
from pyro_vae.results import Result, counted, share

GuideT = TypeVar("GuideT")


@dataclass(frozen=True, repr=False)
class Optimum(Result, Generic[GuideT]):
    """What `fit_local` returns.

    Attributes:
        guide: the guide that was given, its parameters at the optimum.
        num_steps: steps that each datum took, `(N,)`; those of an `earlier` optimum are counted.
        num_evaluations: times that the model scored each datum for a gradient, `(N,)`: steps by
            draws.
        converged: whether each datum was frozen by its own test, `(N,)`; None where the number of
            steps was fixed, and nothing is known of it.
        seconds: wall clock for all data together.
    """

    guide: GuideT
    num_steps: Tensor
    num_evaluations: Tensor
    converged: Tensor | None
    seconds: float

    def headline(self) -> str:
        name = type(self.guide).__name__
        family = getattr(getattr(self.guide, "family", None), "name", "")
        kind = f"{name}, {family}" if family else name
        return f"classical VI of a {kind}; {counted(len(self.num_steps), 'data')}"

    def figures(self) -> Iterator[tuple[str, str]]:
        steps = self.num_steps.double()
        yield "steps", f"{steps.median():,.0f} in the median, at most {steps.max():,.0f}"
        yield "cost", f"{self.num_evaluations.double().mean():,.0f} evaluations per datum"
        yield "seconds", f"{self.seconds:.1f}"
        yield "verdict", self._verdict()

    def _verdict(self) -> str:
        if self.converged is None:
            return "not known whether it converged: the number of steps was fixed"
        held = share(self.converged.double().mean().item())
        return f"{held} of the data converged, by their own test"

    def summary(self) -> dict[str, Any]:
        """Mean steps and evaluations per datum, the share that converged, and seconds."""
        converged = None if self.converged is None else self.converged.double().mean().item()
        return {
            "num_data": len(self.num_steps),
            "num_steps": self.num_steps.double().mean().item(),
            "num_evaluations": self.num_evaluations.double().mean().item(),
            "share_converged": converged,
            "seconds": self.seconds,
        }

    def columns(self) -> dict[str, Tensor]:
        found = {"num_steps": self.num_steps, "num_evaluations": self.num_evaluations}
        return found if self.converged is None else found | {"converged": self.converged}


def programs_of(guides: Mapping[str, Program | Optimum[Any]]) -> dict[str, Program]:
    """The guides alone, of those that classical inference found too."""
    return {name: g.guide if isinstance(g, Optimum) else g for name, g in guides.items()}
