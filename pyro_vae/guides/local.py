"""The local guide, classical variational inference: each datum has parameters of its own, q_n(z) =
family(table[n]).

No network stands between a datum and its q: what remains of the inference gap after convergence is
due to the family alone. The price is one optimisation for each datum, and nothing is known of a
datum that was not optimised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_integer, check_kind, check_rows, refuse
from pyro_vae.guides.amortized import Amortized
from pyro_vae.guides.families import Family
from pyro_vae.guides.joint import over_all
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.given import Given
from pyro_vae.programs.naming import unique_name
from pyro_vae.programs.protocols import HasParams, offers


class Local(nn.Module):
    """q_n(z) by a family whose parameters are row n of a table `(num_data, P)`, started at N(0, I).

    Args:
        family: the family over the latent.
        num_data: number of rows N; `index` picks the rows of a minibatch, and without it the
            minibatch is the whole.
        numbers: `(N,)`, the number of the datum that each row belongs to, by which programs look
            it up (`index`); for part of a data set, `split.numbers()`. 0..N-1 unless given.

    Example:
        >>> from pyro_vae.guides.families import MeanField
        >>> Local(MeanField(2), 10).q(torch.tensor([0, 3])).batch_shape
        torch.Size([2])
        >>> guide = Local(MeanField(2), 3, torch.tensor([70, 60, 65]))
        >>> torch.equal(guide.q(torch.tensor([60])).mean[0], guide.table[1, :2])
        True
    """

    _sorted: Tensor | None
    _places: Tensor | None

    def __init__(self, family: Family, num_data: int, numbers: Tensor | None = None) -> None:
        super().__init__()
        check_kind("family", family, Family, "a Family such as MeanField(50)")
        check_integer("num_data", num_data, 1)

        self.family = family
        self.num_rows = num_data  # tells estimators that rows of other data mean nothing here
        self.table = nn.Parameter(family.standard().repeat(num_data, 1))

        in_order, places = _in_order(num_data, numbers)
        self.register_buffer("_sorted", in_order)
        self.register_buffer("_places", places)

    @property
    def numbers(self) -> Tensor:
        """The numbers of the data that the rows belong to, `(N,)`."""
        if self._sorted is None or self._places is None:
            return torch.arange(self.num_rows, device=self.table.device)
        return torch.empty_like(self._sorted).index_copy(0, self._places, self._sorted)

    def _rows(self, index: Tensor) -> Tensor:
        """Where in the table the data of these numbers are; N for a number that is none of them."""
        if self._sorted is None or self._places is None:
            return index
        at = torch.searchsorted(self._sorted, index).clamp(max=self.num_rows - 1)
        return torch.where(self._sorted[at] == index, self._places[at], self.num_rows)

    def q(self, index: Tensor) -> dist.TorchDistribution:
        """q for the data of rows `index` `(B,)`, batch shape (B,), event shape (d,)."""
        check_kind("index", index, Tensor, "a tensor of rows")
        if index.dtype not in (torch.int64, torch.int32):
            refuse("index", index, "integers (B,)")

        try:
            rows = self.table.index_select(0, self._rows(index))  # refuses negative rows
        except IndexError as error:
            raise ValueError(
                f"index: got {_range(index)}, but the guide has {len(self.table)} rows, of data"
                f" {_range(self.numbers)}, and knows nothing of other data"
            ) from error
        return self.family(rows)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on data `(B, *shape)` of rows `index` `(B,)`: the latent `(..., B, d)`."""
        pyro.module(unique_name(self), self)
        if index is None:
            if len(x) != len(self.table):
                raise ValueError(
                    f"index: got none for {len(x)} data, but the guide has {len(self.table)} rows:"
                    " say which rows these data are, guide(x, index)"
                )
            index = self.numbers

        return self.family.draw(self.q(index), len(x))

    @classmethod
    def of(
        cls,
        model: Program,
        x: Tensor,
        family: Callable[[int], Family],
        index: Tensor | None = None,
    ) -> Local:
        """A guide of all continuous latents of a model, with a row for each of the data
        `(N, *shape)`.

        Args:
            model: Pyro program.
            x: data.
            family: from the number of latent values of a datum to a family, such as `FullRank`.
            index: the numbers of the data `(N,)`; 0..N-1 unless given.

        Raises:
            ValueError: latents that are discrete, or of no fixed support.

        Example:
            >>> from pyro_vae import HierarchicalVAE
            >>> from pyro_vae.guides.families import FullRank
            >>> model = HierarchicalVAE((1, 8, 8), latent_dim=1, middle_dim=2)
            >>> Local.of(model, torch.zeros(5, 1, 8, 8), FullRank).family.name
            'FullRank(3) over latent, middle'
        """
        return Local(over_all(model, x, family, index), len(x), index).to(x.device)

    @classmethod
    def started_at(
        cls,
        guide: Amortized | Given | Local,
        x: Tensor,
        family: Family | None = None,
        batch_size: int = 4096,
        numbers: Tensor | None = None,
    ) -> Local:
        """A table that starts from what another guide says of the data `(N, *shape)`, row by row.

        In another family, the parameters that the two families share are taken over: the mean and
        the scales always, all of a full-rank Gaussian in a spline flow. Unless `numbers` are given,
        they are taken over from a `guide` that is a table itself.
        """
        if numbers is None and isinstance(guide, Local) and guide._sorted is not None:
            numbers = guide.numbers

        check_rows("x", x)
        check_integer("batch_size", batch_size, 1)
        if not isinstance(guide, Local) and not is_network(guide):
            raise ValueError(
                f"guide: got {type(guide).__name__}, expected an Amortized or a"
                " Local guide to start from"
            )

        family = guide.family if family is None else family
        check_kind(
            "family", family, Family, "a Family such as MeanField(50), or None for the guide's"
        )
        family = guide.family.around(family)

        dtype = next(guide.parameters()).dtype
        local = cls(family, len(x), numbers).to(device=x.device, dtype=dtype)
        if family.dim != guide.family.dim:
            raise ValueError(
                f"family: got {family.dim} units, expected the guide's {guide.family.dim}"
            )

        shared = family.num_shared(guide.family)
        with torch.no_grad():
            local.table[:, :shared] = _rows(guide, x, numbers, batch_size)[:, :shared]
        return local


def _in_order(num_data: int, numbers: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The numbers in order, and the rows they belong to; None where row n belongs to number n."""
    if numbers is None:
        return None, None
    if numbers.shape != (num_data,) or numbers.is_floating_point():
        raise ValueError(
            f"numbers: got {numbers.dtype} {tuple(numbers.shape)}, expected integers of shape"
            f" ({num_data},), one for each row, such as split.numbers()"
        )

    in_order, places = numbers.detach().clone().long().sort()
    if in_order[0] < 0 or (in_order.diff() == 0).any():
        raise ValueError(
            "numbers: got some twice, or below 0, expected a number of its own for each datum"
        )

    plain = torch.arange(num_data, device=numbers.device)
    if torch.equal(numbers.long(), plain):
        return None, None
    return in_order, places


def _range(numbers: Tensor) -> str:
    return f"{int(numbers.min())} to {int(numbers.max())}"


def is_network(guide: object) -> TypeGuard[Amortized | Given]:
    """Whether a guide's parameters of its family come from a network, in a context or in none."""
    return isinstance(guide, Amortized | Given) and offers(guide, HasParams)


def _rows(
    guide: Amortized | Given | Local, x: Tensor, numbers: Tensor | None, batch_size: int
) -> Tensor:
    """The parameters of each datum's q in a guide, `(N, P)`."""
    if isinstance(guide, Local):
        if guide.num_rows != len(x):
            raise ValueError(
                f"guide: got one of {guide.num_rows} rows for {len(x)}"
                " data, expected a row for each"
            )
        return guide.table

    training = guide.training
    guide.eval()
    params, places = called(guide.params), torch.arange(len(x), device=x.device)
    index = places if numbers is None else numbers.to(x.device)
    rows = torch.cat([params(x[part], index[part]) for part in places.split(batch_size)])
    guide.train(training)
    return rows
