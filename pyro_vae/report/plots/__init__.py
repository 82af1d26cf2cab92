"""Plots of results: one file for each kind, which registers its views."""

from pyro_vae.report.plots import (
    bounds,
    calibration,
    classical,
    coding,
    dataset,
    discrete,
    imputation,
    information,
    latent,
    ledger,
    posterior,
    predictions,
    ranking,
)
from pyro_vae.report.plots.evidence import interval_plot
from pyro_vae.report.plots.training import learning_curve, rate_curve
from pyro_vae.report.plots.view import View, Views, blank, plot, views

__all__ = [
    "View",
    "Views",
    "blank",
    "bounds",
    "calibration",
    "classical",
    "coding",
    "dataset",
    "discrete",
    "imputation",
    "information",
    "interval_plot",
    "latent",
    "learning_curve",
    "ledger",
    "plot",
    "posterior",
    "predictions",
    "ranking",
    "rate_curve",
    "views",
]
