"""Models: Pyro programs `forward(x, index)`, the plate "data", the sites "latent" and "obs"."""

from pyro_vae.models.conditional import ConditionalVAE
from pyro_vae.models.hierarchical import HierarchicalVAE
from pyro_vae.models.likelihoods import (
    Bernoulli,
    BetaBinomial,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gaussian,
    Likelihood,
    Mixed,
    NegativeBinomial,
    Poisson,
    StudentT,
    likelihood_for,
)
from pyro_vae.models.linear_gaussian import ExactGuide, LinearGaussian
from pyro_vae.models.mixture import GaussianMixture
from pyro_vae.models.priors import FlowPrior, MixturePrior, Prior, VampPrior
from pyro_vae.models.vae import VAE

__all__ = [
    "VAE",
    "Bernoulli",
    "BetaBinomial",
    "Categorical",
    "ConditionalVAE",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "ExactGuide",
    "FlowPrior",
    "Gaussian",
    "GaussianMixture",
    "HierarchicalVAE",
    "Likelihood",
    "LinearGaussian",
    "Mixed",
    "MixturePrior",
    "NegativeBinomial",
    "Poisson",
    "Prior",
    "StudentT",
    "VampPrior",
    "likelihood_for",
]
