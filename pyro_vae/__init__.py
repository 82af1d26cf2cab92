"""pyro_vae: amortized variational inference that can be trusted.

A *model* names the random choices that made the data, a *guide* answers the same choices, both are Pyro programs, and
everything else is a function of `(model, guide, x)`. Swap the guide and nothing else changes.
"""

from pyro_vae.evidence import Evidence, log_evidence
from pyro_vae.guides import Amortized, Family, Local, MeanField
from pyro_vae.models import VAE, Bernoulli, ExactGuide, Gaussian, Likelihood, LinearGaussian
from pyro_vae.nets import MLP, Conv, ConvDecoder, GatedDecoder, GatedMLP, MLPDecoder
from pyro_vae.traces import Particles, log_weights, particles
