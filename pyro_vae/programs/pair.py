"""Two programs that are opened once on data: checked, in evaluation state, their noise their own.

    with opened(model, guide, x, index) as pair:
        log_w = pair.log_weights(100)            # (S, B)
        for rows in pair.blocks(1000):
            part = pair.take(rows)               # the same programs on some of the data

Whoever estimates anything of `(model, guide, x)` is given a pair, and asks it what the programs
say. Whether the data and the programs fit each other, on which device they are, in which mode the
nets run, how deep the plates are nested, which numbers the data have: all of that is settled here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from pyro_vae.programs.calls import Program
from pyro_vae.programs.checks import check_programs
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.inputs import check_inputs
from pyro_vae.programs.missing import check_missing, observing
from pyro_vae.programs.parts import batches, some, takes_parts
from pyro_vae.programs.sites import is_discrete
from pyro_vae.programs.traces import (
    Particles,
    guide_sites,
    log_joint,
    num_states,
    plate_depth,
    prior,
    sample_guide,
)

Latents = dict[str, Tensor]
"""Values by site name, `(S, ..., B, *event)` each."""


@dataclass(frozen=True)
class Pair:
    """A model and a guide on data; its methods are for use inside of `opened`.

    Attributes:
        model: Pyro program.
        given: the guide; None stands for the model's prior.
        x: data `(B, *shape)`.
        index: their numbers `(B,)`.
    """

    model: Program
    given: Program | None
    x: Tensor
    index: Tensor
    parent: Pair | None = field(default=None, repr=False)  # of which these data are a part

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def guide(self) -> Program:
        """The guide, or the model's prior in place of one."""
        return prior(self.model) if self.given is None else self.given

    @cached_property
    def depth(self) -> int:
        """Number of plate dimensions of the programs."""
        if self.parent is not None:
            return self.parent.depth
        return plate_depth(self.model, self.guide, self.x, self.index)

    @cached_property
    def is_whole(self) -> bool:
        """Whether the guide answers for all of the data and not for some of them."""
        return self.given is not None and not takes_parts(self.given, self.x, self.index)

    @cached_property
    def states(self) -> int:
        """Joint states of the model's choices that are summed out for one particle of a datum: so
        many times the memory is taken.
        """
        if self.parent is not None:
            return self.parent.states
        few = self.few(2)
        if num_states(self.model, few.x, few.index) == 1:
            return 1
        known = [site["name"] for site in guide_sites(self.guide, few.x, few.index)]
        return num_states(self.model, few.x, few.index, known)

    def sample(self, num_particles: int) -> tuple[Latents, Tensor]:
        """Draws of the guide, and log q `(S, B)` of each."""
        return sample_guide(self.guide, self.x, self.index, num_particles, self.depth)

    def score(self, latents: Latents) -> tuple[Tensor, Tensor]:
        """log p(z) and log p(x | z), `(S, B)` each, at given latents."""
        return log_joint(self.model, latents, self.x, self.index, self.depth)

    def log_guide(self, latents: Latents) -> Tensor:
        """log q(z | x) `(S, B)` at given latents."""
        return log_joint(self.guide, latents, self.x, self.index, self.depth)[0]

    def particles(self, num_particles: int) -> Particles:
        """Log-densities `(S, B)` of draws of the guide."""
        latents, log_guide = self.sample(num_particles)
        return Particles(*self.score(latents), log_guide)

    def log_weights(self, num_particles: int) -> Tensor:
        """log p(x, z_s) - log q(z_s | x) of draws of the guide, `(S, B)` nats."""
        return self.particles(num_particles).log_weights

    def take(self, rows: Tensor) -> Pair:
        """The same programs on the data at these places."""
        return self._on(self.x[rows], self.index[rows])

    def few(self, number: int) -> Pair:
        """The same programs on the first data, or on all where the guide answers only for all."""
        x, index = some(self.x, self.index, number, *self._given())
        assert index is not None
        return self._on(x, index)

    def blocks(self, size: int) -> tuple[Tensor, ...]:
        """The places of the data, so many at a time; all where the guide answers only for all."""
        return batches(self.x, self.index, size, *self._given())

    def under(self, guide: Program | None) -> Pair:
        """The same model and data under another guide, or under the model's prior."""
        return replace(self, given=guide, parent=None)

    def has_latents(self) -> bool:
        """Whether there is anything for a guide: a model's latents may all be summed out."""
        few = self.few(2)
        return bool(guide_sites(self.guide, few.x, few.index))

    def has_discrete(self) -> bool:
        """Whether a latent of the guide is discrete."""
        few = self.few(2)
        return any(map(is_discrete, guide_sites(self.guide, few.x, few.index)))

    def check_sites(self) -> None:
        """Raise a ValueError for a guide with auxiliary sites, such as Pyro's AutoGuides."""
        few = self.few(2)
        sites = guide_sites(self.guide, few.x, few.index)
        auxiliary = [site["name"] for site in sites if site["infer"].get("is_auxiliary")]
        if auxiliary:
            raise ValueError(
                f"guide: got auxiliary sites {auxiliary}, expected none: they hide log q(z | x) at"
                " a given z (what can be had without it: importance sampling that is not"
                " defensive, annealing from the prior)"
            )

    def check_density(self) -> None:
        """Raise a ValueError for a guide whose density at a given latent is unknown, or another one
        each time it is asked.
        """
        self.check_sites()
        few = self.few(2)
        latents, _ = few.sample(2)
        if not torch.equal(few.log_guide(latents), few.log_guide(latents)):
            raise ValueError(
                "guide: its density at a given latent differs from run to run, as that of a"
                " semi-amortized one does: start from the prior (start='prior'), or fit a Local"
                " guide"
            )

    def _given(self) -> tuple[Program, ...]:
        return () if self.given is None else (self.given,)

    def _on(self, x: Tensor, index: Tensor) -> Pair:
        return replace(self, x=x, index=index, parent=self.parent or self)


@contextmanager
def opened(
    model: Program,
    guide: Program | None,
    x: Tensor,
    index: Tensor | None = None,
    *,
    seed: int | None = None,
    check: bool = True,
) -> Iterator[Pair]:
    """Open two programs on data: the nets in eval mode, no gradients, the caller's noise kept.

    Args:
        model: Pyro program; where only a guide is asked, the guide once more.
        guide: Pyro program, or None for the model's prior.
        x: data `(N, *shape)`, NaN where a value is missing: the pair's programs then score what is
            there.
        index: their numbers `(N,)`; those of the guide's table, 0..N-1 unless given.
        seed: of torch's generators inside; as they were unless given.
        check: run both programs on a few data first, so that what is wrong is told in one line.

    Raises:
        ValueError: data that the model cannot score, numbers that the guide does not know, programs
            that do not match.
    """
    programs = (model,) if guide is None else (model, guide)
    x, index = check_inputs(model, guide, x, index)
    with evaluation(*programs, device=x.device, seed=seed):
        model, guide = observing(model, guide, x)
        if check:
            check_missing(model, guide, x, index)
        pair = Pair(model, guide, x, index)
        depth = check_programs(model, pair.guide, x, index) if check else None
        if depth is not None:
            vars(pair)["depth"] = depth  # else both programs are run once more to find it
        yield pair
