"""Diagnostics: what a model and a guide have learned, and whether to believe it."""

from pyro_vae.diagnostics.calibration import check_calibration
from pyro_vae.diagnostics.collapse import Alarm, CollapseWarning
from pyro_vae.diagnostics.coverage import Coverage, check_coverage
from pyro_vae.diagnostics.discrete import DiscretePosterior, discrete_posterior
from pyro_vae.diagnostics.gaps import gap_ledger
from pyro_vae.diagnostics.information import Information, information
from pyro_vae.diagnostics.ledger import Entry, Gap, Ledger
from pyro_vae.diagnostics.local_c2st import LocalTest, local_c2st
from pyro_vae.diagnostics.pairs import PosteriorPairs, posterior_pairs
from pyro_vae.diagnostics.posterior import PosteriorGrid, posterior_grid
from pyro_vae.diagnostics.predictions import Predictions, check_predictions
from pyro_vae.diagnostics.ranking import Ranking, rank
from pyro_vae.diagnostics.ranks import Calibration
from pyro_vae.diagnostics.reference import Agreement, Reference, agreement, reference_posterior
from pyro_vae.diagnostics.units import Units, latent_units

__all__ = [
    "Agreement",
    "Alarm",
    "Calibration",
    "CollapseWarning",
    "Coverage",
    "DiscretePosterior",
    "Entry",
    "Gap",
    "Information",
    "Ledger",
    "LocalTest",
    "PosteriorGrid",
    "PosteriorPairs",
    "Predictions",
    "Ranking",
    "Reference",
    "Units",
    "agreement",
    "check_calibration",
    "check_coverage",
    "check_predictions",
    "discrete_posterior",
    "gap_ledger",
    "information",
    "latent_units",
    "local_c2st",
    "posterior_grid",
    "posterior_pairs",
    "rank",
    "reference_posterior",
]
