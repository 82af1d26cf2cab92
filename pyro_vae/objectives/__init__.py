"""What is minimised: Pyro's ELBOs, programs tempered by beta, and objectives of the particles'
log-weights.

`Trace_ELBO` and `TraceMeanField_ELBO` (analytic KL) are Pyro's own; their loss is minus the ELBO
*summed* over the minibatch. A KL weight beta, constant or annealed from 0 to 1, multiplies the
log-densities of all latent sites, in the model and in the guide:

    loss = distortion + beta * rate

With beta other than 1 the loss is no longer minus the ELBO and is never reported under that name.

`Bound` (IWAE, Renyi, MIWAE, PIWAE, CIWAE, sticking the landing, DReG), `ScoreFunction` and
`FreeBits` are ELBOs as Pyro knows them: each can be the `loss` of `fit`, of `pyro.infer.SVI` and of
`CompiledSVI`.

References:
    Higgins, Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed, Lerchner (2017). beta-VAE: learning
        basic visual concepts with a constrained variational framework. ICLR.
    Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio (2016). Generating sentences from a continuous
        space. arXiv:1511.06349.
"""

from pyro_vae.objectives.bound import Bound
from pyro_vae.objectives.free_bits import FreeBits, unit_rates
from pyro_vae.objectives.score_function import ScoreFunction
from pyro_vae.objectives.tempering import tempered, warmup, without_rate

__all__ = ["Bound", "FreeBits", "ScoreFunction", "tempered", "unit_rates", "warmup", "without_rate"]
