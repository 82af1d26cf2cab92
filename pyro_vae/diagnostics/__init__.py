"""Diagnostics: what a model and a guide have learned, and whether to believe it."""

from pyro_vae.diagnostics.gaps import Entry, Gap, Ledger, gap_ledger
from pyro_vae.diagnostics.information import active_units, unit_variances

__all__ = ["Entry", "Gap", "Ledger", "active_units", "gap_ledger", "unit_variances"]
