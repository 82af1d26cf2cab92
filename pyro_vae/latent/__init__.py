"""The latent space of a model and a guide: what is drawn from it, and what lies where.

    sample, nearest       data of the model, and the training data that they are closest to
    reconstruct           data through guide and model
    impute                what is missing of data, given the rest
    interpolate, traverse from datum to datum, and along the units that say most
    manifold, embed       a map of two latent numbers, and where the data lie

Each is a function of any Pyro programs that the package takes, and returns a result that can be
printed and plotted.
"""

from pyro_vae.latent.embedding import Embedding, embed
from pyro_vae.latent.imputation import Imputation, impute
from pyro_vae.latent.interpolation import Interpolation, interpolate
from pyro_vae.latent.maps import Manifold, manifold
from pyro_vae.latent.neighbours import Nearest, nearest
from pyro_vae.latent.reconstruction import Reconstructions, reconstruct
from pyro_vae.latent.sampling import Samples, sample
from pyro_vae.latent.traversal import Traversals, traverse

__all__ = [
    "Embedding",
    "Imputation",
    "Interpolation",
    "Manifold",
    "Nearest",
    "Reconstructions",
    "Samples",
    "Traversals",
    "embed",
    "impute",
    "interpolate",
    "manifold",
    "nearest",
    "reconstruct",
    "sample",
    "traverse",
]
