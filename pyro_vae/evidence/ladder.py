"""A ladder of estimates, each step only for the data that the one before does not vouch for.

    importance    S / 10 particles of the guide, and S where these have a light tail
    refined       S particles of a Gaussian fitted to the datum's own posterior (`refined.py`)
    refined       4 S particles of it
    annealed      T / 20 temperatures from that Gaussian
    annealed      T temperatures from there, or as many of them as the short chains say are needed;
                  from the prior where a scout has found what it misses; without a budget few
                  data begin here

A step costs a datum more than the one before it, and fewer data ask for it. Short chains that are
judged good enough are run again, and these are told. A datum for which nothing vouches
keeps the last estimate, unless the guide's weights lie above it by more than their noise, on
average over such data, or agree with it and have less noise: then fresh weights are told.

With a budget, the first step has as many particles as half of it bears, and the others take their
data in parcels, as long as the pace of the last one leaves time for another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pyro_vae.evidence import lengths
from pyro_vae.evidence.annealed import Annealed, annealed
from pyro_vae.evidence.clock import SCOUTING, Clock
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.gaussians import Collected
from pyro_vae.evidence.importance import Importance
from pyro_vae.evidence.importance_estimate import ImportanceEstimate
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.refined import Refined, weighed
from pyro_vae.evidence.refining import fitted, starts
from pyro_vae.evidence.scouts import Climbs, climbed, floor_by_prior, missed
from pyro_vae.evidence.standing import Part, Standing, told
from pyro_vae.evidence.tails import FEWEST
from pyro_vae.graphs import Engine
from pyro_vae.programs.pair import Pair
from pyro_vae.progress import Progress, shares, tell

_LOOK = 10  # times fewer particles at first
_LIGHT = 0.6  # k-hat of these, which is known to 0.1 or so
_MORE = 4  # times as many particles of a Gaussian that nearly serves
_LONG = 120.0  # seconds of a budget from which on it bears a compiler
_SURE = 2.0  # standard errors
_MATTERS = 0.05  # nats


@dataclass
class Ladder:
    """A pair's data on their way up.

    Attributes:
        pair: opened.
        num_particles, num_temperatures, seed, engine: as in `Best`.
        clock: of its budget.
        standing: how far each datum has come.
        first: the weights of the guide.
        remarks: what else is to be said.
    """

    pair: Pair
    num_particles: int
    num_temperatures: int
    seed: int
    engine: Engine
    clock: Clock
    standing: Standing
    first: Part | None = None
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        short = self.clock.budget is not None and self.clock.budget < _LONG
        if self.engine == "auto" and short:
            self.engine = "pyro"
        self._number = self.num_particles
        self._climbs: Climbs | None = None
        self._shapes = Collected(len(self.pair))
        self._noise = torch.full((len(self.pair),), math.inf, dtype=torch.double)

    def climb(self, progress: Progress | None = None) -> None:
        """Take every datum up, as far as it must go."""
        weighing, refining, more, short, long = shares(progress, 3, 5, 1, 3, 8)
        self._weigh(weighing)
        if len(self.standing.left()) and self._can_climb():
            self._refine(refining)
            self._weigh_more(more)
            self._anneal_short(short)
            self._anneal_long(long)
            self._prefer_weights()

        tell(progress, 1.0)
        if self.clock.late and len(self.standing.left()):
            self.remarks.append("the budget ended before all steps were taken")

    def _weigh(self, progress: Progress | None) -> None:
        """The first step: particles of the guide, few of them at first: where their tail is heavy
        already, more of them will not help.
        """
        left = self.standing.left()
        self._number = number = self.clock.particles(self.pair, len(left), self.num_particles)
        looking, weighing = shares(progress, 1, 10)
        few = number // _LOOK
        if few < 2 * FEWEST:
            self.first = self._by_guide(number, left, self.seed, weighing)
            return

        self.first = self._by_guide(few, left, self.seed, looking)
        assert isinstance(self.first.found, ImportanceEstimate)
        light = self.first.found.pareto_k <= _LIGHT
        rows = left[light & torch.isin(left, self.standing.left())]
        if len(rows):
            self._by_guide(number, rows, self._seed(1, 0), weighing)

    def _by_guide(self, number: int, rows: Tensor, seed: int, progress: Progress | None) -> Part:
        """So many particles of the guide, scouts beside them."""
        begun, pair = self.clock.spent(), self.pair
        method = Importance(number, num_scouts=0, seed=seed, engine=self.engine)
        found = self._drawn(method, rows, progress)

        if number >= 2 * FEWEST and pair.has_latents() and not pair.has_discrete():
            if self._climbs is None:
                self._climbs = climbed(pair, seed=self.seed, engine=self.engine)
                if self._climbs is not None:
                    floor = floor_by_prior(pair, self.seed, self.engine)
                    self._climbs = self._climbs._replace(floor=floor)
            climbs = None if self._climbs is None else self._climbs.take(rows.to(pair.x.device))
            log_px, error = found.log_px, found.log_px_error
            blind = missed(self._under(rows), log_px, error, seed=self.seed, climbs=climbs)
            found = replace(found, blind=found.blind | blind)

        self.standing.take(rows, found, self.clock.spent() - begun)
        return Part(rows, found)

    def _can_climb(self) -> bool:
        """Whether the latents are numbers, and log p(x, z) has a gradient."""
        why = "no bijection makes real numbers of the latents"
        try:
            path = Path(self.pair.under(None).few(2))
            why = "log p(x, z) has no gradient"
            path.at(path.draw(1))
        except Exception:  # whatever a program without a gradient raises
            self.remarks.append(why)
            return False
        return True

    def _refine(self, progress: Progress | None) -> None:
        """The second step: particles of a Gaussian of each datum's own."""
        method = Refined(self.num_particles, engine=self.engine)
        spent = lengths.GRADIENT * method.num_steps * method.num_draws
        whole = starts(self.pair, self.seed) if self.pair.is_whole else None

        cost = spent + self.num_particles + SCOUTING
        parcels = self.clock.parcels(self.standing.left(), cost, progress)
        for number, (rows, now) in enumerate(parcels):
            begun, one = self.clock.spent(), replace(method, seed=self._seed(2, number))
            fitting, weighing = shares(now, 1, 1)
            start = starts(self._part(rows), one.seed) if whole is None else whole.take(rows)

            pair, climbs = self._under(rows), self._scouts(rows)
            shape = fitted(pair, start, one.seed, self.engine, progress=fitting)
            self._shapes.add(rows, shape)
            found = weighed(one, pair, shape, climbs=climbs, progress=weighing)
            self.standing.take(rows, found, self.clock.spent() - begun)

    def _weigh_more(self, progress: Progress | None) -> None:
        """The third step: more particles of the same Gaussian."""
        number = _MORE * self.num_particles
        method, rows = Refined(number, engine=self.engine), self._seen()

        for count, (some, now) in enumerate(self.clock.parcels(rows, number, progress)):
            begun, one = self.clock.spent(), replace(method, seed=self._seed(3, count))
            of, climbs = (self._under(some), self._shapes.of(some)), self._scouts(some)
            found = weighed(one, *of, climbs=climbs, progress=now)
            found = replace(found, evaluations=number)  # nothing is fitted anew
            self.standing.take(some, found, self.clock.spent() - begun)

    def _anneal_short(self, progress: Progress | None) -> None:
        """The fourth step: chains from the Gaussian, and again where they are good enough. Few data
        skip it: what a step of chains takes is then mostly its call.
        """
        method = replace(lengths.short_chains(self.num_temperatures), engine=self.engine)
        rows = self._seen()
        if self.clock.budget is None and lengths.are_few(len(rows), self.num_temperatures):
            return

        cost = 2 * lengths.GRADIENT * method.plan.evaluations
        for number, (some, now) in enumerate(self.clock.parcels(rows, cost, progress)):
            begun, judging, telling = self.clock.spent(), *shares(now, 1, 1)
            chains = replace(method, seed=self._seed(4, number))
            found = self._chains(chains, some, judging)
            settled = found.reliable & ~self.standing.unsettled[some]
            self._noise[some] = found.log_px_error.where(settled, math.inf)
            good = self.standing.take(some, found, self.clock.spent() - begun)
            if len(good):
                fresh = replace(method, seed=self._seed(5, number))
                self.standing.again(good, self._chains(fresh, good, telling))

    def _anneal_long(self, progress: Progress | None) -> None:
        """The last step: chains from the Gaussian, from the prior where that misses something."""
        rows, most = self._refined(), self.num_temperatures
        misses = rows[self.standing.missed[rows]]
        number = lengths.borne(self.clock, len(rows), most)
        needs = lengths.needed(self._noise, self.standing.target_error, most).clamp(max=number)
        plan = lengths.planned(most, number)

        weights = [length * int((needs[rows] <= length).sum()) for length in plan]
        prior, *parts = shares(progress, 1 + number * len(misses), *weights)
        self._anneal(Annealed(number, "prior"), misses, 6, prior)
        for step, (length, part) in enumerate(zip(plan, parts, strict=True), 7):
            todo = self._refined()
            todo = todo[(needs[todo] <= length) & ~torch.isin(todo, misses)]
            method = lengths.long_chains(length, len(todo), self.clock.budget)
            self._anneal(method, todo, step, part)

    def _anneal(self, method: Annealed, rows: Tensor, step: int, progress: Progress | None) -> None:
        cost = lengths.GRADIENT * method.plan.evaluations
        for count, (some, now) in enumerate(self.clock.parcels(rows, cost, progress)):
            begun, seed = self.clock.spent(), self._seed(step, count)
            chains = replace(method, seed=seed, engine=self.engine)
            found = self._chains(chains, some, now)
            self.standing.take(some, found, self.clock.spent() - begun)

    def _chains(self, method: Annealed, rows: Tensor, progress: Progress | None) -> Estimate:
        pair = self._under(rows)
        if method.start == "prior":
            return annealed(method, pair, progress=progress)
        shape, climbs = self._shapes.of(rows), self._scouts(rows)
        return annealed(method, pair, shape=shape, climbs=climbs, progress=progress)

    def _prefer_weights(self) -> None:
        """Where nothing vouches, tell weights of the guide if chains do not lie above them by more
        than the weights' own noise, and are the noisier ones.
        """
        rows = self.standing.unvouched()
        if self.first is None or not len(rows) or self.clock.late:
            return

        weights, chains = self.first.of(rows), [part[rows] for part in told(self.standing.parts())]
        gain = (chains[0] - weights.log_px).mean().item()
        own, other = (
            e.square().sum().sqrt() / len(rows) for e in (chains[1], weights.log_px_error)
        )
        noise = torch.hypot(own, other).item()
        most = max(_MATTERS, _SURE * other.item())
        if not (gain < -max(_MATTERS, _SURE * noise) or (gain <= most and own > other)):
            return

        method = Importance(self._number, num_scouts=0, seed=self._seed(0, 1), engine=self.engine)
        found = self._drawn(method, rows)
        self.standing.put(rows, replace(found, blind=torch.ones_like(found.blind)))
        if gain < -max(_MATTERS, _SURE * noise):
            self.remarks.append(
                f"where nothing vouches, annealing is {-gain:.2f} +- {noise:.2f} nats below"
                " importance sampling: it needs more temperatures"
            )

    def _drawn(
        self, method: Importance, rows: Tensor, progress: Progress | None = None
    ) -> ImportanceEstimate:
        """Particles of the guide, which may answer for nothing but all data."""
        if self.pair.is_whole:
            return method(self.pair, progress).take(rows)
        return method(self._part(rows), progress)

    def _seed(self, step: int, parcel: int) -> int:
        """Of the noise of a step."""
        return self.seed + 1_000 * step + 10_000 * parcel

    def _part(self, rows: Tensor) -> Pair:
        """The pair on data at these places."""
        everything = len(rows) == len(self.pair)
        return self.pair if everything else self.pair.take(rows.to(self.pair.x.device))

    def _under(self, rows: Tensor) -> Pair:
        """The same without the guide, which may answer for nothing but all data."""
        alone = self.pair.under(None)
        return alone.take(rows.to(alone.x.device))

    def _scouts(self, rows: Tensor) -> Climbs | None:
        """Of these data, who have climbed with all others or climb now."""
        if self._climbs is not None:
            return self._climbs.take(rows.to(self.pair.x.device))
        return climbed(self._under(rows), seed=self.seed, engine=self.engine)

    def _refined(self) -> Tensor:
        """The data that are left and have a Gaussian of their own."""
        left = self.standing.left()
        return left[self._shapes.has(left)]

    def _seen(self) -> Tensor:
        """Those of them whose Gaussian misses nothing that a scout has found."""
        rows = self._refined()
        return rows[~self.standing.missed[rows]]
