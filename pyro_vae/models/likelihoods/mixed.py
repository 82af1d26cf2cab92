"""Columns of different kinds, for tables.

    real            Gaussian, a sigma for each column
    binary          Bernoulli
    counts          NegativeBinomial, a dispersion for each column
    categories:K    Categorical, codes 0..K-1

Columns of one kind are one group, scored together, however many there are; log p(x | z) is the sum
over the columns.

References:
    Nazabal, Olmos, Ghahramani, Valera (2020). Handling incomplete heterogeneous data using VAEs.
        Pattern Recognition 107, arXiv:1807.03653.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.arguments import refuse
from pyro_vae.models.likelihoods.bernoulli import Bernoulli
from pyro_vae.models.likelihoods.categorical import MOST_CLASSES, Categorical
from pyro_vae.models.likelihoods.gaussian import Gaussian
from pyro_vae.models.likelihoods.likelihood import Likelihood
from pyro_vae.models.likelihoods.negative_binomial import NegativeBinomial

KINDS = "'real', 'binary', 'counts' or 'categories:K'"
Part = tuple[Tensor, dist.TorchDistribution]


class Columns(dist.TorchDistribution):
    """Distributions of groups of columns, `(d,)` each, as one of all columns `(D,)`.

    Args:
        parts: the numbers of columns `(d,)`, and their distribution of event shape `(d,)`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.place = torch.cat([columns for columns, _ in self.parts]).argsort()
        batch_shape = torch.broadcast_shapes(*[fn.batch_shape for _, fn in self.parts])
        super().__init__(batch_shape, self.place.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        total: Any = 0.0
        for columns, fn in self.parts:
            total = total + fn.log_prob(value.index_select(-1, columns))
        return total

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._joined([fn.sample(torch.Size(sample_shape)) for _, fn in self.parts])

    @property
    def mean(self) -> Tensor:
        return self._joined([fn.mean for _, fn in self.parts])

    @property
    def are_codes(self) -> Tensor:
        """Which columns hold codes of categories, `(D,)`."""
        parts = ((columns, getattr(fn.base_dist, "are_codes", False)) for columns, fn in self.parts)
        return self._joined([torch.full_like(columns, found) for columns, found in parts]).bool()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Columns:
        return Columns([(columns, fn.expand(batch_shape)) for columns, fn in self.parts])

    def log_prob_each(self, value: Tensor) -> Tensor:
        """Log-densities `(*batch, D)` of each column's value."""
        parts = ((columns, fn.base_dist) for columns, fn in self.parts)
        found = [fn.log_prob(value.index_select(-1, columns)) for columns, fn in parts]
        return self._joined(found)

    def valid_value(self) -> Tensor:
        """0 for all columns: a number, a count, and a code."""
        return torch.zeros(self.event_shape, device=self.place.device)

    def _joined(self, values: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(values), -1).index_select(-1, self.place)


class Mixed(Likelihood):
    """A table's columns, each by the likelihood of its kind, independent given the latent.

    The decoder gives each column as many outputs as the largest K needs, and a column reads the
    first ones, as many as it needs.

    Args:
        kinds: one for each column: "real", "binary", "counts", or "categories:K".

    Example:
        >>> from pyro_vae import VAE
        >>> model = VAE((3,), 2, (16,), Mixed(["real", "categories:4", "binary"]))
        >>> model.likelihood.describe()
        'Mixed: 1 real, 1 categories:4, 1 binary'
    """

    rules = ("none",)

    def __init__(self, kinds: Sequence[str]) -> None:
        super().__init__()
        listed = isinstance(kinds, Sequence) and not isinstance(kinds, str)
        if not listed or not len(kinds):
            refuse("kinds", kinds, f"a list with one of {KINDS} for each column")
        self.kinds = list(kinds)

        names = list(dict.fromkeys(self.kinds))  # in the order of the columns
        self.groups = nn.ModuleList([likelihood_of(kind) for kind in names])
        self.names = names
        for number, name in enumerate(names):
            here = [column for column, kind in enumerate(self.kinds) if kind == name]
            self.register_buffer(f"columns_{number}", torch.tensor(here), persistent=False)

        self.num_outputs = max(group.num_outputs for _, group in self._parts())
        self.discrete_under = () if "real" in names else ("none",)

    def bind(self, shape: Sequence[int]) -> None:
        if tuple(shape) != (len(self.kinds),):
            raise ValueError(
                f"kinds: got {len(self.kinds)} of them for data of shape {tuple(shape)}, expected"
                " one for each column of a table (D,)"
            )
        self.shape = tuple(shape)
        for columns, group in self._parts():
            group.bind(columns.shape)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        parts = []
        for columns, group in self._parts():
            own = outputs.narrow(-2, 0, group.num_outputs).index_select(-1, columns)
            parts.append((columns, group(own)))
        return Columns(parts)

    def check(self, x: Tensor) -> None:
        for name, (columns, group) in zip(self.names, self._parts(), strict=True):
            try:
                group.check(x.index_select(-1, columns))
            except ValueError as error:
                told = str(error).removeprefix("x: ")
                raise ValueError(f"x: in the columns of kind {name!r}: {told}") from None

    def center(self, bias: Tensor, mean: Tensor) -> None:
        with torch.no_grad():
            bias.zero_()
            for columns, group in self._parts():
                own = bias[: group.num_outputs].index_select(-1, columns)
                group.center(own, mean.index_select(-1, columns))
                bias[: group.num_outputs, columns] = own

    def start(self, x: Tensor) -> bool:
        """Let each kind take the scale of its columns of data `(N, D)`."""
        for columns, group in self._parts():
            group.start(x.index_select(-1, columns))
        return True

    def describe(self) -> str:
        """What it is, in a few words."""
        told = ", ".join(f"{self.kinds.count(name)} {name}" for name in self.names)
        return f"Mixed: {told}"

    def _parts(self) -> Iterator[tuple[Tensor, Any]]:
        """The numbers of the columns of each kind, and their likelihood."""
        for number, group in enumerate(self.groups):
            yield getattr(self, f"columns_{number}"), group


def likelihood_of(kind: object) -> Likelihood:
    """The likelihood of columns of a kind."""
    plain: dict[str, Callable[[], Likelihood]] = {
        "real": lambda: Gaussian(learn="pixel"),
        "binary": Bernoulli,
        "counts": NegativeBinomial,
    }
    if isinstance(kind, str) and kind in plain:
        return plain[kind]()

    name, _, number = kind.partition(":") if isinstance(kind, str) else ("", "", "")
    if name == "categories" and number.isdecimal() and 2 <= int(number) <= MOST_CLASSES:
        return Categorical(int(number))
    refuse("kinds", kind, f"{KINDS}, with K from 2 on")
