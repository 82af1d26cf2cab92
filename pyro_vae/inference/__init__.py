"""Inference: SVI on whole datasets, and on one datum's own parameters."""

from pyro_vae.inference.compiled import CompiledSVI
from pyro_vae.inference.failure import NonFiniteLoss
from pyro_vae.inference.local import fit_local
from pyro_vae.inference.outcome import Run
from pyro_vae.inference.recipe import Recipe
from pyro_vae.inference.semi_amortized import SemiAmortized
from pyro_vae.inference.svi import fit

__all__ = ["CompiledSVI", "NonFiniteLoss", "Recipe", "Run", "SemiAmortized", "fit", "fit_local"]
