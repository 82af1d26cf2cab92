"""Sweeps: many trainings that differ in a few settings, a run folder for each, one table."""
