"""pyro_vae: amortized variational inference that can be trusted.

A *model* names the random choices that made the data, a *guide* answers the same choices, both are Pyro programs, and
everything else is a function of `(model, guide, x)`. Swap the guide and nothing else changes.
"""

from pyro_vae.data import Binarise, Dataset, Split, fingerprint, load
from pyro_vae.diagnostics import Agreement, Ledger, Reference, agreement, gap_ledger, reference_posterior
from pyro_vae.evidence import Evidence, log_evidence
from pyro_vae.guides import (
    Amortized,
    AutoregressiveFlow,
    EncoderGuide,
    Family,
    FullRank,
    HierarchicalGuide,
    Local,
    LowRank,
    MeanField,
    MixtureGuide,
    SplineFlow,
    coordinate_ascent,
    mixture_ascent,
)
from pyro_vae.inference import CompiledSVI, NonFiniteLoss, Recipe, Run, SemiAmortized, fit, fit_local
from pyro_vae.models import (
    VAE,
    Bernoulli,
    ExactGuide,
    Gaussian,
    GaussianMixture,
    HierarchicalVAE,
    Likelihood,
    LinearGaussian,
)
from pyro_vae.nets import MLP, Conv, ConvDecoder, GatedDecoder, GatedMLP, MLPDecoder
from pyro_vae.traces import Particles, log_weights, particles

__all__ = [
    "MLP",
    "VAE",
    "Agreement",
    "Amortized",
    "AutoregressiveFlow",
    "Bernoulli",
    "Binarise",
    "CompiledSVI",
    "Conv",
    "ConvDecoder",
    "Dataset",
    "EncoderGuide",
    "Evidence",
    "ExactGuide",
    "Family",
    "FullRank",
    "GatedDecoder",
    "GatedMLP",
    "Gaussian",
    "GaussianMixture",
    "HierarchicalGuide",
    "HierarchicalVAE",
    "Ledger",
    "Likelihood",
    "LinearGaussian",
    "Local",
    "LowRank",
    "MLPDecoder",
    "MeanField",
    "MixtureGuide",
    "NonFiniteLoss",
    "Particles",
    "Recipe",
    "Reference",
    "Run",
    "SemiAmortized",
    "SplineFlow",
    "Split",
    "agreement",
    "coordinate_ascent",
    "fingerprint",
    "fit",
    "fit_local",
    "gap_ledger",
    "load",
    "log_evidence",
    "log_weights",
    "mixture_ascent",
    "particles",
    "reference_posterior",
]
