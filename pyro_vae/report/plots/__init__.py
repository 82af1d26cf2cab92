"""Plots of results: one file for each kind, which registers its views."""

from pyro_vae.report.plots import latent as latent
from pyro_vae.report.plots.view import View, Views, plot, views

__all__ = ["View", "Views", "plot", "views"]
