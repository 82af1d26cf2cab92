"""Evidence: estimates of log p(x), each with its error and its health."""

from pyro_vae.evidence.importance import Evidence, log_evidence
from pyro_vae.evidence.scores import Engine, Precision

__all__ = ["Engine", "Evidence", "Precision", "log_evidence"]
