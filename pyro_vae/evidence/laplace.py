"""log p(x) by importance sampling from where the posterior is: its mode and the curvature there.

    z* = argmax_z log p(x, z),    A = -(d/dz)^2 log p(x, z) at z*
    q(z | x) = t_nu(z*, A^-1),    log p_hat(x) = log (1/S) sum_s p(x, z_s) / q(z_s | x)

The proposal needs no guide, only a model whose latents are continuous and whose log-density has
two derivatives. So it says what a guide is worth beside the textbook's approximation, and serves
where there is no guide yet. The estimate is a *lower bound* in expectation, whatever q is. A
Student's t has heavier tails than the Gaussian of Laplace, and bounded weights where the posterior
has Gaussian tails.

The mode is looked for by climbs from draws of the prior (`scouts.py`), the highest of which is
polished by steps of Newton. Where another climb ends elsewhere and nearly as high, the proposal
misses that mode, and no interval is closed. The coverage of these intervals has been measured for
guides as proposals (`experiments/coverage.py`), not for this one.

References:
    Tierney, Kadane (1986). Accurate approximations for posterior moments and marginal densities.
        JASA 81, doi:10.1080/01621459.1986.10478240.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vae.arguments import check_positive
from pyro_vae.evidence.importance_estimate import ImportanceEstimate, statistics_of
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.scouts import climb, heights, starts
from pyro_vae.processes import dealt, gathered
from pyro_vae.programs.evaluation import seed_noise
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.pair import Pair
from pyro_vae.programs.traces import Particles
from pyro_vae.progress import Progress, over

_NEWTON = 3  # steps
_FLATTEST = 0.01  # curvature, in units of the prior's standard deviations, below which it is set
_ROWS = 65_536  # latents scored in one run of the model


@dataclass(frozen=True)
class Laplace(Method[ImportanceEstimate]):
    """Importance sampling from a Student's t at the posterior's mode: a lower bound of log p(x) in
    expectation.

    Attributes:
        num_particles: S, particles per datum.
        num_climbs: starts from the prior, in search of the highest mode.
        freedom: nu, degrees of freedom of the proposal.
        seed: of the climbs and the particles; the caller's random state is untouched.
    """

    num_particles: int = 5000
    num_climbs: int = 8
    freedom: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"num_particles": 1, "num_climbs": 1, "seed": 0}
        check_numbers({name: (getattr(self, name), number) for name, number in least.items()})
        check_positive("freedom", self.freedom)

    @property
    def uses_guide(self) -> bool:
        return False

    def __call__(self, pair: Pair, progress: Progress | None = None) -> ImportanceEstimate:
        started, path = time.monotonic(), Path(pair.under(None))
        size = max(1, _ROWS // self.num_particles)
        places = torch.arange(len(pair), device=pair.x.device).split(size)
        mine, own = dealt(len(places)), {}

        for number in over(mine, len(mine), progress):
            seed_noise(self.seed, number)
            part = path.take(places[number])
            proposal, missed = self._proposal(part)
            own[number] = statistics_of(self._particles(part, proposal)), missed.cpu()

        done, blind = zip(*gathered(own, len(places)), strict=True)
        found = {name: torch.cat([one[name] for one in done]) for name in done[0]}
        return ImportanceEstimate(
            **found,  # type: ignore[arg-type]
            blind=torch.cat(blind),
            num_particles=self.num_particles,
            proposal="Laplace",
            evaluations=self.num_particles,
            seconds=time.monotonic() - started,
            seed=self.seed,
        )

    def _proposal(self, path: Path) -> tuple[dist.MultivariateStudentT, Tensor]:
        """q of each datum of a block, and whether there is another mode `(B,)`."""
        z, scale = starts(path, self.num_climbs)
        ends = climb(path, z, scale)  # (K, B, P)
        found, high = heights(path, ends)
        top = found.argmax(0)
        mode = ends[top, torch.arange(len(top), device=top.device)]  # (B, P)

        for _ in range(_NEWTON):
            mode = _newton(path, mode, scale)
        root = _root(path, mode, scale)
        q = dist.MultivariateStudentT(self.freedom, mode, root, validate_args=False)

        away = torch.linalg.solve_triangular(root, (ends - mode)[..., None], upper=False)
        # the square is chi-squared about the mode, P on average: a climb that ends where draws of
        # that mode do not come is at another one
        far = away[..., 0].square().sum(-1) > 3 * (mode.shape[-1] + 10)
        return q, (far & high).any(0)

    def _particles(self, path: Path, q: dist.MultivariateStudentT) -> Particles:
        """Log-densities `(S, B)` of draws of q."""
        z = q.sample((self.num_particles,))  # (S, B, P)
        parts = [path.densities(some) for some in z.split(max(1, _ROWS // z.shape[1]))]
        log_prior, log_joint = (torch.cat(part) for part in zip(*parts, strict=True))
        return Particles(log_prior, log_joint - log_prior, q.log_prob(z))


def _newton(path: Path, mode: Tensor, scale: Tensor) -> Tensor:
    """One step of Newton up log p(x, z) from each mode `(B, P)`, where that leads up."""
    root = _root(path, mode, scale)
    gradient = path.at(mode[None]).grad_joint[0]
    step = (root @ (root.transpose(-1, -2) @ gradient[..., None]))[..., 0]
    before, after = (path.densities(z[None])[1][0] for z in (mode, mode + step))
    return torch.where((after > before)[:, None], mode + step, mode)


def _root(path: Path, mode: Tensor, scale: Tensor) -> Tensor:
    """A lower triangular root of A^-1 `(B, P, P)`: eigenvalues of A are positive from here on."""
    curvature = -_hessian(path, mode)
    scaled = curvature * scale[..., None] * scale[:, None]
    values, vectors = torch.linalg.eigh(scaled.nan_to_num())
    spread = values.clamp(min=_FLATTEST).rsqrt()
    half = scale[..., None] * vectors * spread[:, None]
    return torch.linalg.cholesky(half @ half.transpose(-1, -2))


def _hessian(path: Path, z: Tensor) -> Tensor:
    """Second derivatives of log p(x, z) at `(B, P)`, `(B, P, P)`, one row after another."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        total = path.densities(z[None])[1].sum()
        (gradient,) = torch.autograd.grad(total, z, create_graph=True)
        rows = []
        for unit in range(z.shape[-1]):
            column = gradient[:, unit].sum()
            if not column.requires_grad:
                rows.append(torch.zeros_like(z))
                continue

            (row,) = torch.autograd.grad(column, z, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(z) if row is None else row)
    hessian = torch.stack(rows, 1)
    return (hessian + hessian.transpose(-1, -2)) / 2
