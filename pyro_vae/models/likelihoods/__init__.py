"""What a decoder's output means: a map from its `(..., num_outputs, *shape)` to a distribution over
one datum.

A likelihood's own parameters (a learned sigma) are parameters of the model it is part of:

    num_outputs   how many values it needs for each pixel
    rules         by which rules pixels become data for it
    check         refuses data that it cannot score
    center        puts the training mean into the decoder's output bias
    start         takes the data's scale

With `center` and `start`, training begins at the best constant model. `likelihood_for` chooses a
likelihood for a set.

References:
    Dai, Wipf (2019). Diagnosing and enhancing VAE models. arXiv:1903.05789.
"""

from pyro_vae.models.likelihoods.bernoulli import Bernoulli
from pyro_vae.models.likelihoods.beta_binomial import BetaBinomial
from pyro_vae.models.likelihoods.categorical import Categorical
from pyro_vae.models.likelihoods.choosing import chosen, likelihood_for, start_likelihood
from pyro_vae.models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyro_vae.models.likelihoods.discretised_logistic import DiscretisedLogistic
from pyro_vae.models.likelihoods.gaussian import Gaussian
from pyro_vae.models.likelihoods.likelihood import Likelihood
from pyro_vae.models.likelihoods.mixed import Mixed
from pyro_vae.models.likelihoods.negative_binomial import NegativeBinomial
from pyro_vae.models.likelihoods.poisson import Poisson
from pyro_vae.models.likelihoods.student_t import StudentT

__all__ = [
    "Bernoulli",
    "BetaBinomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Gaussian",
    "Likelihood",
    "Mixed",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
    "chosen",
    "likelihood_for",
    "start_likelihood",
]
