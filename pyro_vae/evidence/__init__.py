"""Evidence: estimates of log p(x), each with its error and its health."""

from pyro_vae.evidence.annealed import Annealed, by_annealing
from pyro_vae.evidence.best import Best, best_evidence
from pyro_vae.evidence.bidirectional import Likeness, Sandwich, likeness, sandwich
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.importance import Evidence, by_importance
from pyro_vae.evidence.methods import Method, log_evidence
from pyro_vae.evidence.quadrature import Integrated, by_closed_form, by_quadrature
from pyro_vae.evidence.rate_distortion import Curve, rate_distortion_curve
from pyro_vae.evidence.scores import Engine, Precision

__all__ = [
    "Annealed",
    "Best",
    "Curve",
    "Engine",
    "Estimate",
    "Evidence",
    "Integrated",
    "Likeness",
    "Method",
    "Precision",
    "Sandwich",
    "best_evidence",
    "by_annealing",
    "by_closed_form",
    "by_importance",
    "by_quadrature",
    "likeness",
    "log_evidence",
    "rate_distortion_curve",
    "sandwich",
]
