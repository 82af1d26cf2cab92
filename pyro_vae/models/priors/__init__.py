"""What the latents are drawn from: a standard normal distribution, or one that is learned.

A prior's own parameters are parameters of the model that it is part of:

    bind          makes what depends on the number of units and on the shape of a datum
    forward       p(z), of the dtype and device of the tensor that it is given
    start         takes a look at the training data
    take_guide    is told the guide that the model is trained with

With a learned prior the rate, E_q[log q(z | x) - log p(z)], has no closed form: it is measured at
the guide's draws. Bounds of log p(x) are the same as ever.

References:
    Tomczak, Welling (2018). VAE with a VampPrior. arXiv:1705.07120.
"""

from pyro_vae.models.priors.flow import FlowPrior
from pyro_vae.models.priors.mixture import MixturePrior
from pyro_vae.models.priors.prior import Prior
from pyro_vae.models.priors.standard import StandardNormal, chosen_prior
from pyro_vae.models.priors.vamp import VampPrior

__all__ = ["FlowPrior", "MixturePrior", "Prior", "StandardNormal", "VampPrior", "chosen_prior"]
