"""Data: one call from a name or a path to tensors that know how they are binarised.

    data = load("mnist")
    x = data.train.batch(index, generator)   # a training visit: a fresh Bernoulli draw
    data.test.x                              # the one evaluation draw that every estimator sees
    data.test.fingerprint                    # its checksum, to be written beside every number

A likelihood of binary data is a likelihood of *one* binarisation, so each split holds a fixed
evaluation draw (seeded by the seed and the split's name, the same on every device) besides the
fresh draws that training sees. Sets lie in memory and are indexed with tensors, without a
DataLoader; one that does not fit is a `Stream`. Importing this changes no global state.
"""

from pyro_vae.data.binarise import Binarise
from pyro_vae.data.datasets import Dataset
from pyro_vae.data.fingerprints import fingerprint
from pyro_vae.data.given import as_dataset
from pyro_vae.data.sources import load
from pyro_vae.data.splits import Split
from pyro_vae.data.streams import Stream

__all__ = ["Binarise", "Dataset", "Split", "Stream", "as_dataset", "fingerprint", "load"]
