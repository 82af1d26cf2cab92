"""What a program may offer beside `program(x, index)`: each protocol is one thing to ask for.

A program that offers none of these works everywhere. One that does is asked by `offers`:

    if offers(model, KnowsLogPx):
        return model.log_px(x)

An attribute counts whatever its type, since nets keep theirs out of Python's sight.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar

from torch import Tensor

if TYPE_CHECKING:
    from pyro_vae.data import Binarise

AskedT = TypeVar("AskedT")


class ChecksData(Protocol):
    """A model that refuses data which it cannot score."""

    def check_data(self, x: Tensor) -> None:
        """Raise a ValueError for such data `(N, *shape)`."""


class KnowsLogPx(Protocol):
    """A model whose log p(x) has a closed form."""

    def log_px(self, x: Tensor) -> Tensor:
        """log p(x) `(N,)`, nats; may take `index` too."""


class HasLatentDim(Protocol):
    """A model with one latent vector per datum, for which guides can be built."""

    latent_dim: int


class Samples(Protocol):
    """A model that draws data."""

    def sample(self, num_samples: int) -> Tensor:
        """Means, or data, `(num_samples, *shape)`."""


class Starts(Protocol):
    """A program that takes its units from the training data, before the first step of `fit`."""

    def start(self, x: Tensor) -> None:
        """Look at data `(N, *shape)`."""


class TakesGuide(Protocol):
    """A model that asks for the guide that it is trained with, as that of a VampPrior does."""

    def take_guide(self, guide: Any) -> None:
        """Be told the guide, before the first run; a ValueError where it cannot be this one."""


class TakesModel(Protocol):
    """A guide that asks for the model whose latents it answers, as `JointGuide` does."""

    def take_model(self, model: Any, x: Tensor, index: Tensor | None = None) -> None:
        """Be told the model, and some data `(N, *shape)` to run it on, before the first run."""


class HasCaveat(Protocol):
    """A model whose figures need a word beside them; so may its `likelihood`."""

    caveat: str


class HasRules(Protocol):
    """A model that says by which rules data of pixels are data for it."""

    rules: Sequence[Binarise]


class HasRows(Protocol):
    """A guide with parameters for certain data, and none for others.

    It may say which data these are by their `numbers` `(num_rows,)`.
    """

    num_rows: int


class RunsModel(Protocol):
    """A guide that runs the model itself, and must know where that is the model of what is there of
    data with missing values (`missing.is_observing`).
    """

    runs_model: bool


class HasTable(HasRows, Protocol):
    """A guide whose parameters are a table, a row for each datum, of a family's parameters."""

    table: Any  # a parameter (num_rows, P)
    family: Any


class HasFamily(Protocol):
    """A guide of a family, which has a `name` that tells it from others."""

    family: Any


class Fitted(Protocol):
    """A guide together with what it took to fit it to certain data."""

    @property
    def guide(self) -> Any:
        """The Pyro program."""

    @property
    def num_evaluations(self) -> Tensor:
        """Times that the model scored each datum, `(N,)`."""

    @property
    def seconds(self) -> float:
        """For all of these data together."""


class HasParams(HasFamily, Protocol):
    """A guide whose parameters of its family come from x."""

    def params(self, x: Tensor) -> Tensor:
        """Parameters `(N, P)`."""


def offers(program: object, asked: type[AskedT]) -> TypeGuard[AskedT]:
    """Whether a program has all that a protocol names.

    Example:
        >>> from pyro_vae import VAE, LinearGaussian
        >>> [offers(model, KnowsLogPx) for model in (LinearGaussian(5, 2), VAE((1, 4, 4), 2))]
        [True, False]
    """
    names: set[str] = set()
    for protocol in asked.__mro__:
        if getattr(protocol, "_is_protocol", False) and protocol is not Protocol:
            own = {*inspect.get_annotations(protocol), *vars(protocol)}
            names |= {name for name in own if not name.startswith("_")}

    return all(hasattr(program, name) for name in names)
