"""The semi-amortized guide: a network says where the optimisation of each datum starts.

    lambda_0 = network(x),   lambda_{t+1} = lambda_t + Adam(gradient of x's ELBO at lambda_t),
    q(z | x) = family(lambda_T)

With T = 0 it is the amortized guide, with T large the local one: each step buys back some of the
amortization gap. In training, the gradient of the ELBO at lambda_T reaches the network in one of
two ways: straight, as if the steps were a constant shift, or through the steps themselves
(`through`), which also teaches the network to give good starts and costs about three times as much.
The steps draw noise of their own; given that noise, q is a distribution with a density, so
importance weights are as unbiased as with any other guide.

References:
    Kim, Wiseman, Miller, Sontag, Rush (2018). Semi-amortized variational autoencoders.
        arXiv:1802.02550.
    Marino, Yue, Mandt (2018). Iterative amortized inference. arXiv:1807.09356.
"""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vae.arguments import check_flag, check_integer, check_positive
from pyro_vae.programs.adam import Moments, adam
from pyro_vae.programs.calls import called
from pyro_vae.programs.missing import is_observing, observed_part
from pyro_vae.programs.naming import unique_name
from pyro_vae.programs.protocols import Starts, offers
from pyro_vae.programs.running import run_on
from pyro_vae.programs.traces import Program


class SemiAmortized(nn.Module):
    """An amortized guide whose parameters go on by some steps of optimisation for each datum.

    Args:
        amortized: guide with a `family` and `params(x)`, such as `Amortized`; its network is
            trained.
        model: the Pyro program whose ELBO the steps climb.
        num_steps: T.
        learning_rate: of Adam's first step, in which a parameter moves by about this much at most;
            it falls to 0 linearly.
        through: whether gradients go through the steps in training.

    Example:
        >>> from pyro_vae import MLP, Amortized, LinearGaussian, MeanField
        >>> model = LinearGaussian(5, 2)
        >>> guide = SemiAmortized(Amortized(MeanField(2), MLP(5, ())), model, num_steps=3)
        >>> guide(torch.randn(4, 5)).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        amortized: nn.Module,
        model: Program,
        num_steps: int = 20,
        learning_rate: float = 0.03,
        through: bool = False,
    ) -> None:
        super().__init__()
        called(model, "model")
        missing = [name for name in ("family", "params") if not hasattr(amortized, name)]
        if missing:
            raise ValueError(
                f"amortized: got {type(amortized).__name__} without {' and '.join(missing)},"
                " expected a guide whose family takes all its parameters from a network, such as"
                " Amortized(MeanField(50), encoder)"
            )

        check_integer("num_steps", num_steps, 0)
        check_positive("learning_rate", learning_rate)
        check_flag("through", through)

        self.amortized: Any = amortized
        self.num_steps, self.learning_rate, self.through = num_steps, learning_rate, through
        self._model = (model,)  # in a tuple: its parameters are not the guide's

    runs_model = True

    def start(self, x: Tensor) -> None:
        """Let the network take the units of training data `(N, *shape)`, where it can."""
        if offers(self.amortized, Starts):
            self.amortized.start(x)

    def params(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """The parameters `(B, P)` of each datum's q after the steps."""
        start = called(self.amortized.params)(x, index)
        through = self.through and torch.is_grad_enabled()

        with torch.enable_grad():
            rows = start if through else start.detach()
            moments = Moments.of(rows)
            for number in range(1, self.num_steps + 1):
                gradient = self._gradient(rows, x, index, through)
                move, moments = adam(gradient, moments, number, floor=1e-12)
                # it falls to 0, so that the noise settles
                rate = self.learning_rate * (1 - (number - 1) / self.num_steps)
                rows = rows + rate * move

        return rows if through else start + (rows - start).detach()

    def forward(self, x: Tensor, index: Tensor | None = None) -> Any:
        """Run the guide on a minibatch `(B, *shape)`; returns the latent `(..., B, d)`."""
        pyro.module(unique_name(self), self)
        return self.amortized.family.given(self.params(x, index))(x, index)

    def _gradient(self, rows: Tensor, x: Tensor, index: Tensor | None, through: bool) -> Tensor:
        """The gradient of each datum's one-sample ELBO in its row, through the draw alone; no row
        touches another's, so the gradient of the sum over the data holds them all.
        """
        rows = rows if through else rows.detach().requires_grad_()
        model = observed_part(self._model[0]) if is_observing() else self._model[0]
        with poutine.block():  # none of this is the guide's own doing
            given = self.amortized.family.given
            draw = poutine.trace(given(rows)).get_trace(x, index)

            guide = poutine.replay(given(rows.detach()), trace=draw)
            log_p = run_on(draw, called(model, "model"), x, index).log_prob_sum()
            log_q = poutine.trace(guide).get_trace(x, index).log_prob_sum()
            elbo = log_p - log_q

        (gradient,) = torch.autograd.grad(elbo, rows, create_graph=through)
        return gradient
