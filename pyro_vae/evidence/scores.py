"""The two runs behind an estimate, latents drawn from the guide and scored by the model, compiled
where it pays.

A graph serves one shape, so all chunks of an estimate are made of one shape: particles are cut
evenly, and a block or chunk that is short (the last data, say) is filled up with copies of its last
row, whose scores are thrown away. What is drawn is never padded: the noise is the same whichever
engine runs.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice
from pyro_vae.graphs import CaptureError, Compiled
from pyro_vae.programs.traces import Program, log_joint, prior, sample_guide

Engine = Literal["auto", "compiled", "pyro"]
Precision = Literal["float32", "bfloat16"]


def check_engine(engine: str) -> None:
    """Raise a ValueError for an engine that does not exist."""
    check_choice("engine", engine, Engine)


_WORTH_IT = 5_000_000  # particles, over all data, from which on "auto" compiles


class Scores:
    """Draws and log-densities of a model and a guide, in blocks of `width` data.

    Args:
        model, guide: Pyro programs.
        depth: of their plates, from `plate_depth`.
        width: data of a block; the last may have fewer.
        engine: see `log_evidence`; "auto" needs `_WORTH_IT` particles or more to compile.
        num_rows: particles to be scored, of all data together.
        precision: of the model's matrix products.
        defensive: share of the particles that the model's prior draws.

    Raises:
        ValueError: an unknown engine or precision; at a call, programs that cannot be compiled
            under engine "compiled".
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        depth: int,
        width: int,
        engine: Engine,
        num_rows: int,
        precision: Precision,
        defensive: float = 0.0,
    ) -> None:
        check_engine(engine)
        check_choice("precision", precision, Precision)
        self.model, self.guide, self.depth, self.width, self.defensive = (
            model,
            guide,
            depth,
            width,
            defensive,
        )
        self.half = precision == "bfloat16"
        self.compiled = engine == "compiled" or (engine == "auto" and num_rows >= _WORTH_IT)
        self.fallback = engine == "auto"
        self._names: tuple[str, ...] = ()
        self._most = 0  # particles of the largest noise block, which comes first
        self._sample = Compiled(self._sample_tensors, guide)
        self._score = Compiled(self._score_tensors, model)

    def sample(
        self, x: Tensor, index: Tensor, num_particles: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Latents by site name, each `(S, ..., B, *event)`, and log q `(S, B)`; the last ones are
        the prior's.
        """
        num_prior = self._num_prior(num_particles)
        latents, log_guide = self._from_guide(x, index, num_particles - num_prior)
        if not num_prior:
            return latents, log_guide
        others, _ = sample_guide(prior(self.model), x, index, num_prior, self.depth)
        # log q of what it did not draw
        theirs, _ = log_joint(self.guide, others, x, index, self.depth)
        both = {name: torch.cat([z, others[name]]) for name, z in latents.items()}
        return both, torch.cat([log_guide, theirs])

    def mixed(self, log_guide: Tensor, log_prior: Tensor) -> Tensor:
        """The log-density `(S, B)` of what drew the particles: q, or its mixture with the prior in
        these proportions.
        """
        num_prior = self._num_prior(len(log_guide))
        if not num_prior:
            return log_guide
        share = num_prior / len(log_guide)
        return torch.logaddexp(log_guide + math.log1p(-share), log_prior + math.log(share))

    def _num_prior(self, num_particles: int) -> int:
        if not self.defensive:
            return 0
        return min(max(1, round(self.defensive * num_particles)), num_particles - 1)

    def _from_guide(
        self, x: Tensor, index: Tensor, num_particles: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        if self.compiled and len(x) == self.width and num_particles >= self._most:
            self._most = num_particles
            outputs = self._try(self._sample, num_particles, x, index)
            if outputs is not None:
                log_guide, *values = outputs
                return dict(zip(self._names, values, strict=True)), log_guide
        return sample_guide(self.guide, x, index, num_particles, self.depth)

    def chunk(self, num_particles: int, most_rows: int) -> tuple[int, int]:
        """Particles and data of a chunk of at most `most_rows` rows, where noise blocks have
        `num_particles` at most.
        """
        columns = min(self.width, most_rows)
        chunks = math.ceil(num_particles / max(1, most_rows // columns))
        return math.ceil(num_particles / chunks), columns

    def score(
        self, latents: dict[str, Tensor], x: Tensor, index: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """log p(z) and log p(x | z), `(S, B)` each, in chunks of `shape`."""
        num_particles = len(next(iter(latents.values())))
        chunk, columns = shape
        parts = []
        for s in range(0, num_particles, chunk):
            row = [
                self._chunk(latents, x, index, s, chunk, d, columns)
                for d in range(0, len(x), columns)
            ]
            parts.append([torch.cat(part, 1) for part in zip(*row, strict=True)])
        prior, likelihood = (torch.cat(part) for part in zip(*parts, strict=True))
        return prior, likelihood

    def _chunk(
        self,
        latents: dict[str, Tensor],
        x: Tensor,
        index: Tensor,
        s: int,
        chunk: int,
        d: int,
        columns: int,
    ) -> tuple[Tensor, ...]:
        values = {
            name: z[s : s + chunk].narrow(self.depth, d, min(columns, len(x) - d))
            for name, z in latents.items()
        }
        x, index = x[d : d + columns], index[d : d + columns]
        size = len(next(iter(values.values()))), len(x)
        if self.compiled:
            names = tuple(values)
            filled = [
                _fill(_fill(z, 0, chunk), self.depth, columns).contiguous() for z in values.values()
            ]
            outputs = self._try(
                self._score, names, _fill(x, 0, columns), _fill(index, 0, columns), *filled
            )
            if outputs is not None:
                return tuple(part[: size[0], : size[1]] for part in outputs)
        return tuple(self._score_tensors(tuple(values), x, index, *values.values()))

    def _try(self, function: Compiled, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except CaptureError as error:
            if not self.fallback:
                raise ValueError(
                    f"model, guide: cannot be compiled: {error}; use engine='pyro' or 'auto'"
                ) from error
            warnings.warn(f"the programs are not compiled, Pyro runs them: {error}", stacklevel=5)
            self.compiled = False
            return None

    def _sample_tensors(self, num_particles: int, x: Tensor, index: Tensor) -> list[Tensor]:
        latents, log_guide = sample_guide(self.guide, x, index, num_particles, self.depth)
        self._names = tuple(latents)
        return [log_guide, *latents.values()]

    def _score_tensors(
        self, names: tuple[str, ...], x: Tensor, index: Tensor, *values: Tensor
    ) -> list[Tensor]:
        latents = dict(zip(names, values, strict=True))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            return list(log_joint(self.model, latents, x, index, self.depth))


def _fill(values: Tensor, dim: int, size: int) -> Tensor:
    """Copies of the last slice along `dim` until there are `size`."""
    missing = size - values.shape[dim]
    if missing == 0:
        return values
    last = values.narrow(dim, values.shape[dim] - 1, 1)
    return torch.cat(
        [values, last.expand(*(missing if i == dim else -1 for i in range(values.dim())))], dim
    )
