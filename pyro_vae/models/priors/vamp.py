"""The VampPrior: a mixture of the guide's own posteriors of K learned pseudo-inputs.

    p(z) = 1 / K  sum_k  q(z | u_k)

The prior that makes the ELBO of some data largest is their aggregated posterior, the mean of q over
all of them; this is the mean over K data that are made up. Model and guide share the encoder, which
belongs to the guide: the prior keeps it out of its own parameters. So a guide that is swapped in
later changes q and not the model, whose prior still asks the guide that it was trained with.

References:
    Tomczak, Welling (2018). VAE with a VampPrior. arXiv:1705.07120. Equation 9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_integer, refuse
from pyro_vae.models.priors.components import Mixture
from pyro_vae.models.priors.prior import Prior
from pyro_vae.programs.given import inside, takes_context
from pyro_vae.programs.naming import unique_name
from pyro_vae.programs.protocols import HasRows, offers


class VampPrior(Prior):
    """p(z) = 1 / K sum_k q(z | u_k), with q by the guide and the u_k learned.

    The pseudo-inputs start as K of the training data (`fit` calls `start`), with the mean in the
    place of what is missing, and are any real numbers later. `fit` tells the prior which guide it
    goes through, and so does `open_run`; elsewhere call `model.take_guide(guide)` first.

    Args:
        num_components: K, pseudo-inputs.
        guide: with `q(x)`, such as `Amortized`; None where it is told later.

    Example:
        >>> from pyro_vae import MLP, VAE, Amortized, MeanField
        >>> guide = Amortized(MeanField(2), MLP((1, 8, 8), (16,)))
        >>> model = VAE((1, 8, 8), latent_dim=2, hidden=(16,), prior=VampPrior(5, guide))
        >>> model.sample(3).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(self, num_components: int = 500, guide: nn.Module | None = None) -> None:
        super().__init__()
        check_integer("num_components", num_components, 1)
        self.num_components = num_components
        self._through: tuple[Any, ...] = ()  # in a tuple: its parameters are not the prior's
        if guide is not None:
            _check_guide(guide)
            self._through = (guide,)

    def bind(self, latent_dim: int, shape: Sequence[int]) -> None:
        super().bind(latent_dim, shape)
        self.inputs = nn.Parameter(0.5 + 0.1 * torch.randn(self.num_components, *shape))
        if self._through:
            self._check_answer(self._through[0])

    def start(self, x: Tensor) -> None:
        """Take data `(N, *shape)` at even distances for pseudo-inputs; two that are the same would
        stay so, so that there must be one for each.
        """
        if len(x) < self.num_components:
            refuse("num_components", self.num_components, f"at most the {len(x)} training data")
        rows = torch.linspace(0, len(x) - 1, self.num_components).round().long()
        chosen = x[rows.to(x.device)]
        with torch.no_grad():
            self.inputs.copy_(torch.where(chosen.isnan(), x.nanmean(0), chosen))

    def take_guide(self, guide: Any) -> None:
        """Go through this guide; a ValueError where the prior goes through another one."""
        if self._through and self._through[0] is guide:
            return
        _check_guide(guide)
        if self._through:
            raise ValueError(
                "guide: the model's VampPrior goes through another guide, whose encoder would not"
                " be trained with it: train that one, or let go of it by"
                " model.latent_prior.forget_guide()"
            )
        self._check_answer(guide)
        self._through = (guide,)

    def forget_guide(self) -> None:
        """Go through no guide, until the next one is taken: p(z) is another one then."""
        self._through = ()

    def forward(self, like: Tensor) -> dist.TorchDistribution:
        if not self._through:
            raise ValueError(
                "model: its VampPrior has not been told a guide: call model.take_guide(guide)"
            )
        guide = self._through[0]
        pyro.module(unique_name(guide), guide)  # the model trains it, too
        logits = torch.zeros(self.num_components, dtype=like.dtype, device=like.device)
        return Mixture(logits, guide.q(self.inputs))

    def describe(self) -> str:
        return f"the VampPrior of {self.num_components} pseudo-inputs"

    def _check_answer(self, guide: Any) -> None:
        """A ValueError for a guide whose q is over something else, or of other data."""
        expected = (self.num_components,), (self.latent_dim,)
        try:
            with torch.no_grad():
                q = guide.q(self.inputs)
        except (RuntimeError, ValueError, TypeError) as error:
            told = " ".join(str(error).split())[:200]
            raise ValueError(
                f"guide: its q cannot answer the VampPrior's pseudo-inputs of shape"
                f" {tuple(self.inputs.shape)}: {told}"
            ) from error
        if (tuple(q.batch_shape), tuple(q.event_shape)) != expected:
            raise ValueError(
                f"guide: its q has {tuple(q.event_shape)} latents, expected the model's"
                f" {expected[1]} for the VampPrior"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> VampPrior:
        """A model that is moved takes the encoder with it."""
        super()._apply(fn, recurse)
        for guide in self._through:
            guide._apply(fn)
        return self


def _check_guide(guide: Any) -> None:
    answers = isinstance(guide, nn.Module) and callable(getattr(guide, "q", None))
    if not answers or offers(guide, HasRows):
        raise ValueError(
            f"guide: got {type(guide).__name__}, which has no q(x) of any data, expected a guide"
            " with an encoder, such as Amortized, for a model with a VampPrior"
        )
    program: Any = inside(guide)
    if takes_context(program.q):
        raise ValueError(
            f"guide: got {type(program).__name__}, whose q(z | x, c) asks for a context, and"
            " the pseudo-inputs of a VampPrior have none: expected a guide of x alone, such as"
            " Amortized, or another prior"
        )
