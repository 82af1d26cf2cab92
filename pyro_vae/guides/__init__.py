"""Guides: Pyro programs `forward(x, index)` that answer the model's latent sites; family x source of the parameters."""

from pyro_vae.guides.amortized import Amortized, EncoderGuide
from pyro_vae.guides.families import Family, MeanField
from pyro_vae.guides.local import Local

__all__ = ["Amortized", "EncoderGuide", "Family", "Local", "MeanField"]
