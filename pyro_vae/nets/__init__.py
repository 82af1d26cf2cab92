"""Encoder and decoder networks, in plain torch: nothing here knows of probability.

Two kinds of net are enough for every guide and model of the package, and a user's own net of either
kind may be of any make:

* a *trunk* `trunk(shape, hidden, ...)` maps data `(..., *shape)` to features
  `(..., trunk.out_features)`;
* a *decoder* `decoder(latent_dim, hidden, shape, num_outputs, ...)` maps a latent
  `(..., latent_dim)` to `(..., num_outputs, *shape)`, one output per parameter of a pixel's
  likelihood, and has a `bias` of that shape.

Any number of leading dimensions is allowed, so that particles `(S, B, ...)` need no loop. Layers
are initialised as torch does it.
"""

from pyro_vae.nets.convolutional import Conv, ConvDecoder
from pyro_vae.nets.dense import MLP, Gated, GatedDecoder, GatedMLP, MLPDecoder
from pyro_vae.nets.making import default_latent_dim, last_parameter, made
from pyro_vae.nets.masking import WithMask, encoded
from pyro_vae.nets.standardise import Standardise

__all__ = [
    "MLP",
    "Conv",
    "ConvDecoder",
    "Gated",
    "GatedDecoder",
    "GatedMLP",
    "MLPDecoder",
    "Standardise",
    "WithMask",
    "default_latent_dim",
    "encoded",
    "last_parameter",
    "made",
]
