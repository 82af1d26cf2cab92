"""Diagnostics: what a model and a guide have learned, and whether to believe it."""

from pyro_vae.diagnostics.information import active_units, unit_variances

__all__ = ["active_units", "unit_variances"]
