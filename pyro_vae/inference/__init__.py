"""Inference: SVI on whole datasets, classical inference datum by datum, and coordinate ascent where
it has closed forms.
"""

from pyro_vae.inference.compiled_svi import CompiledSVI
from pyro_vae.inference.coordinate_ascent import Ascent, coordinate_ascent
from pyro_vae.inference.failure import NonFiniteLoss
from pyro_vae.inference.local import fit_local
from pyro_vae.inference.mixture_ascent import mixture_ascent
from pyro_vae.inference.optimum import Optimum
from pyro_vae.inference.outcome import Run
from pyro_vae.inference.recipe import Recipe
from pyro_vae.inference.svi import fit

__all__ = [
    "Ascent",
    "CompiledSVI",
    "NonFiniteLoss",
    "Optimum",
    "Recipe",
    "Run",
    "coordinate_ascent",
    "fit",
    "fit_local",
    "mixture_ascent",
]
