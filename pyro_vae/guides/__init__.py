"""Guides: Pyro programs `forward(x, index)` that answer the model's latent sites.

Most combine a family of distributions with a source of its parameters: a network, a table of rows,
or both.
"""

from pyro_vae.guides.amortized import Amortized, EncoderGuide, JointGuide
from pyro_vae.guides.autoregressive import AutoregressiveFlow
from pyro_vae.guides.conditional import ConditionalGuide
from pyro_vae.guides.families import Family, FullRank, LowRank, MeanField
from pyro_vae.guides.flows import SplineFlow
from pyro_vae.guides.hierarchical import HierarchicalGuide
from pyro_vae.guides.local import Local
from pyro_vae.guides.mixture import MixtureGuide
from pyro_vae.guides.semi_amortized import SemiAmortized

__all__ = [
    "Amortized",
    "AutoregressiveFlow",
    "ConditionalGuide",
    "EncoderGuide",
    "Family",
    "FullRank",
    "HierarchicalGuide",
    "JointGuide",
    "Local",
    "LowRank",
    "MeanField",
    "MixtureGuide",
    "SemiAmortized",
    "SplineFlow",
]
