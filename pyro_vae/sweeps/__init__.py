"""Sweeps: many trainings that differ in a few settings, a run folder for each, one table."""

from pyro_vae.sweeps import plots
from pyro_vae.sweeps.slurm import Slurm
from pyro_vae.sweeps.swept import Sweep, is_sweep, read_sweep

__all__ = ["Slurm", "Sweep", "is_sweep", "plots", "read_sweep"]
