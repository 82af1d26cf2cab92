"""The local guide, classical variational inference: each datum has parameters of its own, q_n(z) = family(table[n]).

No network stands between a datum and its q, so that what remains of the inference gap after convergence is the family's
alone. The price is an optimisation per datum, and nothing is known of a datum that was not optimised.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_integer, check_kind, check_rows, refuse
from pyro_vae.guides.amortized import Amortized
from pyro_vae.guides.families import Family, sample_latent
from pyro_vae.naming import unique_name


class Local(nn.Module):
    """q_n(z) by a family whose parameters are row n of a table `(num_data, P)`, started at N(0, I).

    Args:
        family: the family over the latent.
        num_data: number of rows N; `index` picks the rows of a minibatch, and without it the minibatch is the whole.

    Example:
        >>> from pyro_vae.guides.families import MeanField
        >>> Local(MeanField(2), 10).q(torch.tensor([0, 3])).batch_shape
        torch.Size([2])
    """

    def __init__(self, family: Family, num_data: int) -> None:
        super().__init__()
        check_kind("family", family, Family, "a Family such as MeanField(50)")
        check_integer("num_data", num_data, 1)
        self.family = family
        self.num_rows = num_data  # tells estimators that rows of other data mean nothing here
        self.table = nn.Parameter(family.standard().repeat(num_data, 1))

    def q(self, index: Tensor) -> dist.TorchDistribution:
        """q for the data of rows `index` `(B,)`, batch shape (B,), event shape (d,)."""
        check_kind("index", index, Tensor, "a tensor of rows")
        if index.dtype not in (torch.int64, torch.int32):
            refuse("index", index, "integers (B,)")
        try:
            rows = self.table.index_select(0, index)  # which takes no negative row
        except IndexError as error:
            raise ValueError(f"index: {error}; the guide has {len(self.table)} rows, one per datum") from error
        return self.family(rows)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide on a minibatch `(B, *shape)` of rows `index` `(B,)`; returns the latent `(..., B, d)`."""
        pyro.module(unique_name(self), self)
        if index is None:
            if len(x) != len(self.table):
                raise ValueError(
                    f"index: got none for {len(x)} data, but the guide has {len(self.table)} rows: say which rows these"
                    " data are, guide(x, index)"
                )
            index = torch.arange(len(x), device=x.device)
        return sample_latent(self.q(index), len(x))

    @classmethod
    def started_at(
        cls, guide: Amortized | Local, x: Tensor, family: Family | None = None, batch_size: int = 4096
    ) -> Local:
        """A table that starts from what another guide says of the data `(N, *shape)`, row by row.

        In another family, what the two families share is taken over: the mean and the scales always, all of a full-rank
        Gaussian in a spline flow.
        """
        check_rows("x", x)
        check_integer("batch_size", batch_size, 1)
        if not isinstance(guide, Local | Amortized):
            raise ValueError(f"guide: got {type(guide).__name__}, expected an Amortized or a Local guide to start from")
        family = guide.family if family is None else family
        check_kind("family", family, Family, "a Family such as MeanField(50), or None for the guide's")
        local = cls(family, len(x)).to(device=x.device, dtype=next(guide.parameters()).dtype)
        if family.dim != guide.family.dim:
            raise ValueError(f"family: got {family.dim} units, expected the guide's {guide.family.dim}")
        shared = family.num_shared(guide.family)
        with torch.no_grad():
            local.table[:, :shared] = _rows(guide, x, batch_size)[:, :shared]
        if hasattr(guide, "optimum"):  # what it took to get there
            local.optimum = guide.optimum
        return local


def _rows(guide: Amortized | Local, x: Tensor, batch_size: int) -> Tensor:
    """The parameters of each datum's q in a guide, `(N, P)`."""
    if isinstance(guide, Local):
        if guide.num_rows != len(x):
            raise ValueError(f"guide: got one of {guide.num_rows} rows for {len(x)} data, expected a row for each")
        return guide.table
    training = guide.training
    guide.eval()
    rows = torch.cat([guide.params(part) for part in x.split(batch_size)])
    guide.train(training)
    return rows
