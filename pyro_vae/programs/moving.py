"""Latents moved as they are drawn: towards the mean of their distribution, or away from it.

    z  ->  E[z] + t (z - E[z])

with E the mean of the site's own distribution, given the latents before it: they were moved too. So
t = 1 leaves a program as it is, t = 0 has it answer with its means, and whatever lies between draws
from it with less noise. It is a handler to be put around a whole run, plates included.
"""

from __future__ import annotations

from typing import Any

from pyro import poutine

from pyro_vae.programs.sites import is_discrete, mean_of


class Tempered(poutine.messenger.Messenger):
    """Scale the deviation of each continuous latent from its mean.

    Attributes:
        temperature: t, the factor.
        left: names of the latents that were left as they were drawn: discrete ones, and those whose
            distribution does not know its mean.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.left: set[str] = set()

    def _pyro_post_sample(self, msg: Any) -> None:
        infer = msg["infer"] or {}
        if msg["is_observed"] or infer.get("was_observed") or infer.get("_deterministic"):
            return
        if type(msg["fn"]).__name__ == "_Subsample":
            return

        mean = None if is_discrete(msg) else mean_of(msg["fn"])
        if mean is None:
            self.left.add(msg["name"])
        else:
            msg["value"] = mean + self.temperature * (msg["value"] - mean)
