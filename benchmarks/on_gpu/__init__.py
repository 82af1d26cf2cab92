"""The sections of `benchmarks/gpu.py`; each is a function of a `Setting` that yields `Figure`s."""
