"""The local guide, classical variational inference: each datum has parameters of its own, q_n(z) = family(table[n]).

No network stands between a datum and its q, so that what remains of the inference gap after convergence is the family's
alone. The price is an optimisation per datum, and nothing is known of a datum that was not optimised.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.guides.amortized import Amortized
from pyro_vae.guides.families import Family, sample_latent
from pyro_vae.naming import unique_name
from pyro_vae.nets import check_sizes


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
        (num_data,) = check_sizes("num_data", (num_data,))
        self.family = family
        self.num_rows = num_data  # tells estimators that rows of other data mean nothing here
        self.table = nn.Parameter(family.standard().repeat(num_data, 1))

    def q(self, index: Tensor) -> dist.TorchDistribution:
        """q for the data of rows `index` `(B,)`, batch shape (B,), event shape (d,)."""
        try:
            rows = self.table[index]
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
    def started_at(cls, guide: Amortized, x: Tensor, family: Family | None = None, batch_size: int = 4096) -> Local:
        """A table that starts from what an amortized guide says of the data `(N, *shape)`.

        In another family, the mean and the scales (the first 2 d parameters of all families here) are taken over.
        """
        local = cls(family or guide.family, len(x)).to(device=x.device, dtype=next(guide.parameters()).dtype)
        if local.family.dim != guide.family.dim:
            raise ValueError(f"family: got {local.family.dim} units, expected the guide's {guide.family.dim}")
        training = guide.training
        guide.eval()
        with torch.no_grad():
            rows = torch.cat([guide.params(part) for part in x.split(batch_size)])
            num_shared = rows.shape[1] if family is None else 2 * family.dim
            local.table[:, :num_shared] = rows[:, :num_shared]
        guide.train(training)
        return local
