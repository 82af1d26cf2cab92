"""What does an 8-bit pixel of MNIST cost, by which likelihood of grey levels, and is it paid?

Two VAEs of 784-200-200-50 and back, alike but for the likelihood, trained for a few epochs on the
grey levels themselves; then test images, in bits per pixel, all three of them log-probabilities of
grey levels and in need of no correction:

    -ELBO / (784 log 2)    an upper bound of the best code with one latent for each image
    -log p(x)              by importance sampling, an upper bound in expectation
    coded                  the bytes of `compress`, everything counted, and back again

    published: 1.41 (BB-ANS, beta-binomial, 50 latents), 1.29 (Bit-Swap, a hierarchy of latents),
    and of compressors that know no images of digits 1.64 (gzip), 1.42 (bz2)

Predicted: coded = -ELBO to 1%. The beta-binomial is ahead of the logistic: it has two peaks, black
and white, where its concentration is below 2, and the edge of a stroke is dark or light more often
than in between; a logistic variable has one. With a hundredth of the published training both are
behind the published figures.

Run:  PYRO_VAE_DATA=... python experiments/grey_levels.py [--parts beta-binomial logistic]
      [--runs FOLDER] [--json FILE]     runs in the folder are gone on with
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import nn

import pyro_vae as pv

LIKELIHOODS: dict[str, Callable[[], pv.Likelihood]] = {
    "beta-binomial": pv.BetaBinomial,
    "logistic": lambda: pv.DiscretisedLogistic(learn="output"),
}


def trained(
    name: str, options: argparse.Namespace, data: pv.Dataset
) -> tuple[nn.Module, nn.Module]:
    """A model and a guide, trained on grey levels, or gone on with in the folder of runs."""
    torch.manual_seed(0)
    likelihood, hidden = LIKELIHOODS[name](), tuple(options.hidden)
    model = pv.VAE(data.shape, options.latent_dim, hidden, likelihood)
    guide = pv.EncoderGuide(data.shape, options.latent_dim, hidden)

    folder = None if options.runs is None else options.runs / name
    begun = folder is not None and (folder / "checkpoint.pt").is_file()
    recipe = pv.Recipe(epochs=options.epochs, batch_size=options.batch_size)
    pv.fit(model, guide, data, recipe, folder=folder, resume=begun, quiet=True)
    return model, guide
