"""Runs: the folder that a training leaves, its settings, the classes that they may name, and what
was measured on it.
"""

from pyro_vae.runs.opening import Parts, convert, open_run

__all__ = ["Parts", "convert", "open_run"]
