"""Coding: what a bound on log p(x) is worth in bytes, by bits-back coding."""

from pyro_vae.coding.compression import Compression, compress, decompress

__all__ = ["Compression", "compress", "decompress"]
