"""What is timed: the networks, and what the command line chose. Plain data, without torch or jax,
since the processes of both import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

PIXELS = 784
Layer = tuple[int, int]  # inputs, outputs


@dataclass(frozen=True)
class Net:
    """A variational autoencoder of dense layers: encoder 784-hidden-2d, mirrored decoder
    d-hidden reversed-784.

    Attributes:
        hidden: units of the encoder's hidden layers.
        latent: d.
        gated: layers `(W x + b) * sigmoid(V x + c)` in place of ReLU ones; their matrices have
            twice the outputs.
    """

    hidden: tuple[int, ...]
    latent: int
    gated: bool = False

    @property
    def name(self) -> str:
        """Such as 784-200-200-50."""
        sizes = "-".join(map(str, (PIXELS, *self.hidden, self.latent)))
        return f"{sizes} gated" if self.gated else sizes

    @property
    def encoder(self) -> list[Layer]:
        """Sizes of the encoder's matrices; the last is the head, the mean and log scale of q."""
        return self._chain((PIXELS, *self.hidden), 2 * self.latent)

    @property
    def decoder(self) -> list[Layer]:
        """Sizes of the decoder's matrices; the last gives the logits."""
        return self._chain((self.latent, *reversed(self.hidden)), PIXELS)

    def _chain(self, sizes: tuple[int, ...], outputs: int) -> list[Layer]:
        factor = 2 if self.gated else 1
        return [(a, factor * b) for a, b in pairwise(sizes)] + [(sizes[-1], outputs)]


TWO_LAYERS = Net((200, 200), 50)
ONE_LAYER = Net((400,), 50)
GATED = Net((300, 300), 40, gated=True)


@dataclass(frozen=True)
class Settings:
    """The choices of a run.

    Attributes:
        rounds: turns that each side gets; None for the section's own number.
        quick: a smoke run of tiny sizes, whose figures mean nothing.
        device: "cpu" or "cuda", of the torch sides.
        data: "mnist" or "fashion_mnist".
        num_data, num_particles: of the sections `evidence` and `local`.
        baseline: side to which ratios are taken; None for the section's own.
        sides: parts of the names of the sides to time, separated by "|"; None for all.
    """

    rounds: int | None = None
    quick: bool = False
    device: str = "cpu"
    data: str = "mnist"
    num_data: int = 1000
    num_particles: int = 5000
    baseline: str | None = None
    sides: str | None = None

    def pick(self, sides: dict[str, Any]) -> dict[str, Any]:
        """The sides that were asked for."""
        wanted = (self.sides or "").split("|")
        return {name: side for name, side in sides.items() if any(part in name for part in wanted)}
