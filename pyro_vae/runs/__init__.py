"""Runs: the folder that a training leaves, its settings, the classes that they may name, and what
was measured on it.
"""
