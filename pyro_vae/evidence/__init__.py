"""Evidence: estimates of log p(x), each with its error and its health; one file for each method."""

from pyro_vae.evidence.annealed import Annealed
from pyro_vae.evidence.annealed_estimate import AnnealedEstimate
from pyro_vae.evidence.best import Best, BestEstimate
from pyro_vae.evidence.bidirectional import Likeness, Sandwich, likeness, sandwich
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.exact import Exact, IntegratedEstimate
from pyro_vae.evidence.importance import Importance
from pyro_vae.evidence.importance_estimate import ImportanceEstimate
from pyro_vae.evidence.laplace import Laplace
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.methods import log_evidence
from pyro_vae.evidence.quadrature import Quadrature
from pyro_vae.evidence.rate_distortion import Curve, rate_distortion_curve
from pyro_vae.evidence.refined import Refined
from pyro_vae.evidence.scores import Precision
from pyro_vae.programs.distorted import squared_error

__all__ = [
    "Annealed",
    "AnnealedEstimate",
    "Best",
    "BestEstimate",
    "Curve",
    "Estimate",
    "Exact",
    "Importance",
    "ImportanceEstimate",
    "IntegratedEstimate",
    "Laplace",
    "Likeness",
    "Method",
    "Precision",
    "Quadrature",
    "Refined",
    "Sandwich",
    "likeness",
    "log_evidence",
    "rate_distortion_curve",
    "sandwich",
    "squared_error",
]
