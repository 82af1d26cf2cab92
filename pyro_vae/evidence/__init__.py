"""Evidence: estimates of log p(x), each with its error and its health."""

from pyro_vae.evidence.importance import Evidence, log_evidence

__all__ = ["Evidence", "log_evidence"]
