"""Which likelihood a model has, and which one goes with a set of data."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyro_vae.arguments import (
    check_kind,
)
from pyro_vae.data import Dataset
from pyro_vae.models.likelihoods.bernoulli import Bernoulli
from pyro_vae.models.likelihoods.gaussian import Gaussian
from pyro_vae.models.likelihoods.likelihood import Likelihood
from pyro_vae.models.likelihoods.mixed import Mixed, likelihood_of


def chosen(likelihood: Likelihood | None) -> Likelihood:
    """The likelihood of a model, `Bernoulli()` unless given."""
    if likelihood is None:
        return Bernoulli()
    check_kind("likelihood", likelihood, Likelihood, "a likelihood such as pyro_vae.Gaussian()")
    return likelihood


def start_likelihood(model: Any, x: Tensor) -> None:
    """Let a model's likelihood take the scale of training data `(N, *shape)`, and its decoder begin
    at their mean.
    """
    if model.likelihood.start(x) and isinstance(getattr(model.decoder, "bias", None), Tensor):
        model.center(x.nanmean(0) if x.isnan().any() else x.mean(0))


def likelihood_for(data: Dataset) -> Likelihood:
    """The likelihood that goes with a set.

    Of a table whose columns have kinds: NegativeBinomial, Categorical or Bernoulli where they are
    all counts, categories of one number or binary, Gaussian where they are all real, else Mixed. Of
    any other: Bernoulli for binary data, else Gaussian, with one learned sigma for images and one
    for each column of a table.

    Example:
        >>> from pyro_vae import load
        >>> likelihood_for(load("digits")).describe()
        'Bernoulli'
    """
    check_kind("data", data, Dataset, "a Dataset, as pyro_vae.load makes one")
    if data.kinds is not None:
        return Mixed(data.kinds) if len(set(data.kinds)) > 1 else likelihood_of(data.kinds[0])
    if data.is_binary:
        return Bernoulli()
    return Gaussian(learn="pixel" if len(data.shape) == 1 else "shared")
