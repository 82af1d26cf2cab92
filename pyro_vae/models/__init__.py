"""Models: Pyro programs `forward(x, index)`, the plate "data", the sites "latent" and "obs"."""

from pyro_vae.models.hierarchical import HierarchicalVAE
from pyro_vae.models.likelihoods import Bernoulli, Gaussian, Likelihood, likelihood_for
from pyro_vae.models.linear_gaussian import ExactGuide, LinearGaussian
from pyro_vae.models.mixture import GaussianMixture
from pyro_vae.models.priors import FlowPrior, MixturePrior, Prior, VampPrior
from pyro_vae.models.vae import VAE

__all__ = [
    "VAE",
    "Bernoulli",
    "ExactGuide",
    "FlowPrior",
    "Gaussian",
    "GaussianMixture",
    "HierarchicalVAE",
    "Likelihood",
    "LinearGaussian",
    "MixturePrior",
    "Prior",
    "VampPrior",
    "likelihood_for",
]
