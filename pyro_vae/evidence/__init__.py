"""Evidence: estimates of log p(x), each with its error and its health."""

from pyro_vae.evidence.annealed import Annealed, annealed
from pyro_vae.evidence.best import Best, best
from pyro_vae.evidence.bidirectional import Likeness, Sandwich, bidirectional, likeness
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.importance import Evidence, importance
from pyro_vae.evidence.methods import Method, log_evidence
from pyro_vae.evidence.quadrature import Integrated, exact, quadrature
from pyro_vae.evidence.rate_distortion import Curve, rate_distortion
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
    "annealed",
    "best",
    "bidirectional",
    "exact",
    "importance",
    "likeness",
    "log_evidence",
    "quadrature",
    "rate_distortion",
]
