"""Diagnostics: what a model and a guide have learned, and whether to believe it."""

from pyro_vae.diagnostics.calibration import Calibration, check_calibration
from pyro_vae.diagnostics.collapse import Alarm, CollapseWarning
from pyro_vae.diagnostics.gaps import Entry, Gap, Ledger, gap_ledger
from pyro_vae.diagnostics.information import active_units, unit_variances
from pyro_vae.diagnostics.reference import Agreement, Reference, agreement, reference_posterior
from pyro_vae.diagnostics.units import Units, latent_units

__all__ = [
    "Agreement",
    "Alarm",
    "Calibration",
    "CollapseWarning",
    "Entry",
    "Gap",
    "Ledger",
    "Reference",
    "Units",
    "active_units",
    "agreement",
    "check_calibration",
    "gap_ledger",
    "latent_units",
    "reference_posterior",
    "unit_variances",
]
