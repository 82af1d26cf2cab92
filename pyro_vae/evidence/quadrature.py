"""log p(x) of models with one or two latent values per datum, by sums over a grid.

    p(x) = sum_g p(x, z_g) h^P,    z_g an even grid of spacing h in each of P = 1 or 2 dimensions

For a smooth integrand that has died out at the grid's edges the error falls faster than any power
of h. The grid of each datum is moved and stretched to cover the mean and ten standard deviations of
what the last one has found; the first one covers the prior. As long as a handful of points hold all
the mass, it is chance which of them do. So the density is flattened, by a power below 1, until more
points count, and no mode is lost on the way down. The error that is told is the difference to the
sum over every other point, which has 2^P times fewer, and the mass at the grid's edges: about the
error of a density that is smooth between two points, and no proof that it is.

Random points, from the grid's cells and from the prior, look for what lies between the points:
their weights must agree with the sum, and be healthy. Thirty thousand find half of the mass in a
spike a thousandth of the prior wide, where the one latent value is not far out, and may miss a
spike that is narrower, or one in two latent values.

A model that knows its log p(x) in closed form (a method `log_px(x)`) needs none of this: `Exact`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evidence.exact import TRUSTED, IntegratedEstimate
from pyro_vae.evidence.method import Method
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.tails import tail
from pyro_vae.evidence.weights import log_mean_exp, log_mean_exp_error
from pyro_vae.processes import dealt, gathered
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.pair import Pair
from pyro_vae.progress import Progress, over

_REACH = 10.0  # standard deviations on each side of the mean
_DRAWS = 1000  # of the prior, for its mean and standard deviation
_ROUNDS = 40  # grids of each datum at most
_SETTLED = 0.05  # relative change of the standard deviations below which a grid is kept
_ROWS = 65_536  # points by data that are scored at once
_RANDOM = 32_768  # points between those of the grid
_AGREE = 4.0  # standard errors of theirs


@dataclass(frozen=True)
class Quadrature(Method[IntegratedEstimate]):
    """A sum over a grid of a datum's one or two latent values, which must be continuous.

    Attributes:
        num_points: of the grid on a side, odd and at least 51.
    """

    num_points: int = 201

    def __post_init__(self) -> None:
        check_numbers({"num_points": (self.num_points, 51)})
        if self.num_points % 2 == 0:
            raise ValueError(
                f"num_points: got {self.num_points}, expected an odd number: every other point is a"
                " grid too"
            )

    @property
    def uses_guide(self) -> bool:
        return False

    def __call__(self, pair: Pair, progress: Progress | None = None) -> IntegratedEstimate:
        started, own = time.monotonic(), {}
        torch.manual_seed(0)
        path = Path(pair.under(None))
        if path.size > 2:
            raise ValueError(
                f"model: got {path.size} latent values per datum, expected one or two: use the"
                " method Annealed or Best"
            )

        rows = torch.arange(len(pair), device=pair.x.device).split(1)
        mine = dealt(len(rows))
        for number in over(range(len(rows)), len(rows), progress):
            one = path.take(rows[number])
            if number not in mine:
                one.draw(_DRAWS)  # one stream of draws: those of other processes' data are made too
            else:
                grid = settled(one, self.num_points)
                own[number] = (*integrated(one, grid, self.num_points), grid.rounds)

        found = gathered(own, len(rows))
        log_px, error, rounds = torch.tensor(found, dtype=torch.double).T
        evaluations = rounds.mean().item() * self.num_points**path.size + _RANDOM
        seconds = time.monotonic() - started
        return IntegratedEstimate(log_px, error, evaluations, seconds, 0, self.num_points)


class Grid(NamedTuple):
    """The last grid of a datum, on which the moments of its posterior have settled.

    Attributes:
        centre, std: where it lies, and the standard deviations that it is laid out in, `(P,)`.
        unit: its points in these units, from -10 to 10, `(G, P)`.
        log_joint: log p(x, z) at them `(G,)`, nats.
        rounds: grids that it took.
    """

    centre: Tensor
    std: Tensor
    unit: Tensor
    log_joint: Tensor
    rounds: int


def settled(path: Path, num_points: int) -> Grid:
    """Move and stretch a grid until it covers the posterior of the one datum of a path."""
    draws = path.draw(_DRAWS)[:, 0]
    mean, std = draws.mean(0), draws.std(0)
    line = torch.linspace(-_REACH, _REACH, num_points, dtype=draws.dtype, device=draws.device)
    unit = torch.cartesian_prod(*[line] * path.size).reshape(-1, path.size)
    spacing = line[1] - line[0]

    rounds = 0
    while rounds < _ROUNDS:
        rounds += 1
        centre, grid = mean, mean + std * unit
        log_joint = joint_at(path, grid)

        power, mass = _flattened(log_joint, 3**path.size)
        before, mean = std, (mass * grid).sum(0).to(draws.dtype)
        std = (mass * (grid - mean).square()).sum(0).sqrt().to(draws.dtype)
        # what lies between two points is not seen
        std = torch.maximum(std, before * spacing / 2)
        if power == 1 and (std / before - 1).abs().max() < _SETTLED:
            break
    return Grid(centre, before, unit, log_joint, rounds)


def joint_at(path: Path, z: Tensor) -> Tensor:
    """log p(x, z) of the one datum of a path at points `(G, P)`, `(G,)` float64 nats."""
    points = z.split(max(1, _ROWS // path.pair.states))
    parts = [path.densities(part[:, None])[1][:, 0] for part in points]
    return torch.cat(parts).double()


def integrated(path: Path, grid: Grid, num_points: int) -> tuple[float, float]:
    """log p(x) of one datum by its grid, and what every other point, or random ones between, make
    of it.
    """
    spacing = 2 * _REACH / (num_points - 1)
    log_joint, unit = grid.log_joint, grid.unit
    log_cell = (grid.std.double() * spacing).log().sum()

    every_other = (slice(None, None, 2),) * path.size
    coarse = log_joint.reshape([num_points] * path.size)[every_other].flatten()
    fine = torch.logsumexp(log_joint, 0)
    halved = torch.logsumexp(coarse, 0) + path.size * math.log(2)
    edge = torch.softmax(log_joint, 0)[(unit.abs() == _REACH).any(1)].sum()
    log_px, error = (fine + log_cell).item(), ((fine - halved).abs() + edge).item()

    if error < TRUSTED:
        heights = torch.log_softmax(log_joint, 0) - log_cell
        cells = _Cells(grid.centre, grid.std * spacing, num_points, heights)
        error = max(error, _between(path, cells, log_px))
    return log_px, error


class _Cells(NamedTuple):
    """The density that is flat around each point of a grid: its centre and widths `(P,)`, points a
    side, log-heights.
    """

    centre: Tensor
    width: Tensor
    num_points: int
    heights: Tensor

    def draw(self, number: int) -> Tensor:
        """Points of it `(G, P)`."""
        masses = torch.softmax(self.heights, 0)
        spots = torch.multinomial(masses, number, replacement=True)
        size, middle = len(self.centre), self.num_points // 2
        strides = [self.num_points ** (size - 1 - dim) for dim in range(size)]
        places = torch.stack([(spots // stride) % self.num_points for stride in strides], -1)
        offsets = places - middle + torch.rand(number, size, device=spots.device) - 0.5
        return (self.centre + self.width * offsets).to(self.centre.dtype)

    def log_density(self, z: Tensor) -> Tensor:
        """At points `(G, P)`, `(G,)`."""
        places = ((z - self.centre) / self.width).round().long() + self.num_points // 2
        inside = ((places >= 0) & (places < self.num_points)).all(-1)
        spots = torch.zeros_like(places[:, 0])
        for place in places.clamp(0, self.num_points - 1).unbind(-1):
            spots = spots * self.num_points + place
        return torch.where(inside, self.heights[spots], -math.inf)


def _between(path: Path, cells: _Cells, log_px: float) -> float:
    """What random points between those of the grid object to its sum, nats: 0 where they agree."""
    with isolated_noise(path.pair.x.device):
        torch.manual_seed(0)
        z = torch.cat([cells.draw(_RANDOM // 2), path.draw(_RANDOM // 2)[:, 0]])
        z = z[torch.randperm(len(z), device=z.device)]  # so that both halves have some of both
    log_prior, log_joint = (part[:, 0].double() for part in path.densities(z[:, None]))
    log_w = (log_joint - torch.logaddexp(cells.log_density(z), log_prior) + math.log(2))[:, None]

    told, error = log_mean_exp(log_w).item(), log_mean_exp_error(log_w).item()
    off = abs(told - log_px)
    agree = off <= _AGREE * error + TRUSTED and tail(log_w).limit.item() <= 1
    return 0.0 if agree else max(off, error)


def _flattened(log_joint: Tensor, least: int) -> tuple[float, Tensor]:
    """The largest power of the density, halved from 1, whose mass `(G, 1)` is spread over `least`
    points in effect.
    """
    power = 1.0
    while True:
        mass = torch.softmax(power * log_joint, 0)
        if 1 / mass.square().sum() >= least or power < 1e-9:
            return power, mass[:, None]
        power /= 2
