"""The two runs behind an estimate: latents drawn from the guide, and scored by the model.

Graphs run them where that pays. A graph serves one shape, so all chunks of an estimate are made of
one shape: particles are cut evenly, and a block or chunk that is short (the last data, say) is
filled up with copies of its last row, whose scores are thrown away. What is drawn is never padded:
the noise is the same whichever engine runs. Where memory does not hold a chunk, it is halved.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pyro_vae.graphs import Engine, Guard
from pyro_vae.programs.memory import Fitting, joined, places, tiles
from pyro_vae.programs.pair import Latents, Pair
from pyro_vae.programs.traces import Particles, log_joint, sample_guide

Precision = Literal["float32", "bfloat16"]


class Scores:
    """Draws and log-densities of a model and a guide, in blocks of `width` data.

    Args:
        pair: of all data.
        width: data of a block; the last may have fewer.
        per_block: particles of each datum that are drawn at once, at most.
        num_rows: particles to be scored, of all data together.
        engine: who runs the programs.
        precision: of the model's matrix products.
        defensive: share of the particles that the model's prior draws.
        max_bytes: of the model's largest tensors, about.

    Raises (at a call):
        ValueError: programs that cannot be compiled under engine "compiled".
    """

    def __init__(
        self,
        pair: Pair,
        width: int,
        per_block: int,
        num_rows: int,
        *,
        engine: Engine,
        precision: Precision,
        defensive: float,
        max_bytes: int | None,
    ) -> None:
        self.pair, self.width, self.defensive = pair, width, defensive
        self.half = precision == "bfloat16"
        # about four tensors (S, B, *shape) live at a time
        size = 4 * pair.x[0].numel() * pair.x.element_size() * pair.states
        most = max(1, (max_bytes or (2**30 if pair.x.is_cuda else 2**24)) // size)
        self._per_block, self._fitting = per_block, Fitting()
        self._rows = rows = math.prod(tiles(per_block, width, most))  # of a chunk
        self._guard = guard = Guard(engine, calls=num_rows / rows, rows=rows)
        self._names: tuple[str, ...] = ()
        self._most = 0  # particles of the largest noise block, which comes first
        self._sample = guard(self._sample_tensors, pair.guide)
        self._score = guard(self._score_tensors, pair.model)

    def particles(self, pair: Pair, num_particles: int) -> Particles:
        """Log-densities `(S, B)` of S particles of each datum of a block."""
        num_prior = self._num_prior(num_particles)
        latents, log_guide = self._from_guide(pair, num_particles - num_prior)
        if num_prior:
            others, _ = pair.under(None).sample(num_prior)
            log_guide = torch.cat([log_guide, pair.log_guide(others)])  # of what it did not draw
            latents = {name: torch.cat([z, others[name]]) for name, z in latents.items()}

        log_prior, log_likelihood = self._scored(latents, pair, num_particles)
        if num_prior:  # what drew them is the mixture of both, in these proportions
            share = num_prior / num_particles
            log_guide = torch.logaddexp(log_guide + math.log1p(-share), log_prior + math.log(share))
        return Particles(log_prior, log_likelihood, log_guide)

    def _num_prior(self, num_particles: int) -> int:
        if not self.defensive:
            return 0
        return min(max(1, round(self.defensive * num_particles)), num_particles - 1)

    def _from_guide(self, pair: Pair, num_particles: int) -> tuple[Latents, Tensor]:
        """Draws by a graph where their number is that of a graph."""
        same = len(pair) == self.width and num_particles >= self._most
        if not (self._guard.on and same):
            return pair.sample(num_particles)
        self._most = num_particles
        log_guide, *values = self._sample(num_particles, pair.x, pair.index)
        return dict(zip(self._names, values, strict=True)), log_guide

    def _scored(self, latents: Latents, pair: Pair, number: int) -> tuple[Tensor, Tensor]:
        """log p(z) and log p(x | z), `(S, B)` each, of S particles in chunks."""
        if not latents:  # all are summed out, and one particle knows
            alone = [part.expand(number, -1) for part in self._parts(latents, pair, 1)]
            return alone[0], alone[1]
        log_prior, log_likelihood = self._parts(latents, pair, number)
        return log_prior, log_likelihood

    def _parts(self, latents: Latents, pair: Pair, number: int) -> list[Tensor]:
        return self._fitting(partial(self._in_chunks, latents, pair, number), self._rows)

    def _in_chunks(self, latents: Latents, pair: Pair, number: int, rows: int) -> list[Tensor]:
        """The same in chunks of at most so many rows."""
        shape = tiles(self._per_block, self.width, rows)
        parts = []
        for s in places(number, shape[0]):
            of_data = places(len(pair), shape[1])
            parts.append([self._chunk(latents, pair, s, d, shape) for d in of_data])
        return joined(parts)

    def _chunk(
        self, latents: Latents, pair: Pair, s: slice, d: slice, shape: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        """One chunk, of particles `s` of the data `d`; its graph has one `shape` for all."""
        depth, (chunk, columns) = self.pair.depth, shape
        x, index = pair.x[d], pair.index[d]
        values = [z[s].narrow(depth, d.start, len(x)) for z in latents.values()]
        size = len(values[0]) if values else 1, len(x)

        if self._guard.on:
            values = [_fill(_fill(z, 0, chunk), depth, columns).contiguous() for z in values]
            x, index = _fill(x, 0, columns), _fill(index, 0, columns)
        outputs = self._score(tuple(latents), x, index, *values)
        return tuple(part[: size[0], : size[1]] for part in outputs)

    def _sample_tensors(self, num_particles: int, x: Tensor, index: Tensor) -> list[Tensor]:
        guide, depth = self.pair.guide, self.pair.depth
        latents, log_guide = sample_guide(guide, x, index, num_particles, depth)
        self._names = tuple(latents)
        return [log_guide, *latents.values()]

    def _score_tensors(
        self, names: tuple[str, ...], x: Tensor, index: Tensor, *values: Tensor
    ) -> list[Tensor]:
        latents = dict(zip(names, values, strict=True))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            return list(log_joint(self.pair.model, latents, x, index, self.pair.depth))


def _fill(values: Tensor, dim: int, size: int) -> Tensor:
    """Copies of the last slice along `dim` until there are `size`."""
    missing = size - values.shape[dim]
    if missing == 0:
        return values
    last = values.narrow(dim, values.shape[dim] - 1, 1)
    more = [missing if i == dim else -1 for i in range(values.dim())]
    return torch.cat([values, last.expand(*more)], dim)
