"""What a coder reads off two programs, in integers that are the same whoever reads them.

    guide  q(z | x)   the means and inverse scales of a mean-field normal
    model  p(x | z)   the mass of each symbol, for each value of a datum

The model's latent must be one vector with prior N(0, I). Its likelihood must be Bernoulli, or give
a few values, the same ones everywhere, their probabilities (`enumerate_support`), as those of grey
levels and categories do. Programs are run under `Exact`. The model sees zeros in place of x:
whoever decodes has no x yet.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Normal

from pyro_vae.coding import elementary
from pyro_vae.coding.buckets import Buckets, Integers, fixed
from pyro_vae.coding.exact import Exact
from pyro_vae.coding.products import NotExact
from pyro_vae.coding.symbols import MOST_SYMBOLS, Symbols, binary_symbols, table_symbols
from pyro_vae.programs.calls import Program, called, in_one_line
from pyro_vae.programs.evaluation import device_of, evaluation, modules_of
from pyro_vae.programs.present import base_of
from pyro_vae.programs.running import Substitute, guide_sites, model_sites, run_particles
from pyro_vae.programs.sites import sample_sites

_AT_ONCE = 2**14  # masses that are computed together
_PROBES = 3  # data and latents that tell programs apart


@dataclass(frozen=True)
class Reader:
    """Two programs of data of one shape; `reading` makes it, and it is for use in there.

    Attributes:
        site: name of the latent.
        dim: d, its length.
        dtype: of what the programs are given.
        values: that a value of a datum can have, by their symbols' numbers, `(L,)`.
        mode: in which they are run.
    """

    model: Program
    guide: Program
    shape: tuple[int, ...]
    site: str
    dim: int
    dtype: torch.dtype
    buckets: Buckets
    values: Tensor
    mode: Exact

    @property
    def size(self) -> int:
        """D, values of a datum."""
        return math.prod(self.shape)

    def posterior(self, x: Tensor, index: Tensor) -> tuple[Integers, Integers]:
        """q's means and inverse scales `(B, d)`, as `fixed` gives them, for data `(B, *shape)`
        and their numbers.
        """
        with self.mode:
            (site,) = guide_sites(self.guide, x.to(self.dtype), index)
            q = base_of(site["fn"])
            mean, scale = (v.expand(len(x), self.dim) for v in (q.loc, q.scale))

        if not (torch.isfinite(mean).all() and torch.isfinite(scale).all()):
            raise ValueError("guide: got a mean or scale that is not finite, expected finite ones")
        return fixed(mean, scale)

    def symbols(self, bucket: Integers, index: Tensor, like: Tensor | None = None) -> Symbols:
        """Masses of symbols `(K, B, D, ...)` at K latents of each datum, by their buckets
        `(K, B, d)`.
        """
        num_particles, num_data = bucket.shape[:2]
        z = torch.from_numpy(self.buckets.centres[bucket]).to(self.dtype)
        x = torch.zeros(num_data, *self.shape, dtype=self.dtype) if like is None else like
        size = (num_particles, num_data, self.size)
        with self.mode:
            program = Substitute({self.site: z})(self.model)
            sites = sample_sites(run_particles(program, x, index, num_particles, 1))
            (likelihood,) = (base_of(s["fn"]) for s in sites if s["is_observed"])
            if not isinstance(likelihood, Bernoulli):
                values = self.values.reshape(-1, *[1] * len(likelihood.batch_shape))
                few = max(1, _AT_ONCE // math.prod(size))  # tensors that a cache holds
                log_prob = torch.cat([likelihood.log_prob(part) for part in values.split(few)])

        if isinstance(likelihood, Bernoulli):
            return binary_symbols(_chances(likelihood).reshape(size))
        return table_symbols(log_prob.reshape(-1, *size))

    def numbers(self, x: Tensor) -> Integers:
        """The symbols `(N, D)` of data `(N, *shape)`; a ValueError where they have other values."""
        flat = x.reshape(len(x), -1)
        order = self.values.argsort()
        place = torch.searchsorted(self.values[order], flat.to(self.dtype).contiguous())
        symbol = order[place.clamp(max=len(order) - 1)]
        wrong = self.values[symbol].to(x.dtype) != flat

        if wrong.any():
            told = ", ".join(f"{value:g}" for value in self.values[:3].tolist())
            told += ", ..." if len(self.values) > 3 else ""
            raise ValueError(
                f"x: got {flat[wrong][0].item():g}, as {x.dtype}, which is none of the"
                f" {len(self.values)} values of the model's likelihood ({told}, {self.dtype}),"
                " expected only these"
            )
        return symbol.numpy()

    def data(self, symbols: Integers) -> Tensor:
        """Data `(N, *shape)` of symbols `(N, D)`."""
        found = self.values[torch.from_numpy(symbols.astype(np.int64))]
        return found.reshape(len(symbols), *self.shape)

    @cached_property
    def fingerprint(self) -> bytes:
        """A SHA-256 of the programs: their weights, and what they answer to a few latents and data
        that are always the same ones.
        """
        digest = hashlib.sha256()
        for module in modules_of(self.model, self.guide):
            for name, value in sorted(module.state_dict().items()):
                if "." not in name and isinstance(value, Tensor):
                    flat = value.detach().cpu().contiguous().flatten().view(torch.uint8)
                    digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                    digest.update(flat.numpy().tobytes())

        index = torch.arange(_PROBES)
        numbers = _noise(_PROBES * self.size) % len(self.values)
        x = self.data(numbers.reshape(_PROBES, -1))
        bucket = _noise(_PROBES * self.dim) & (2**self.buckets.bits - 1)
        symbols = self.symbols(bucket.reshape(1, _PROBES, -1), index)
        for answer in (*self.posterior(x, index), symbols.told):
            digest.update(answer.astype("<i8").tobytes())
        return digest.digest()

    def check(self, x: Tensor) -> None:
        """Refuse programs that could not be asked by whoever decodes; `x` are a few data
        `(B, *shape)`.
        """
        index = torch.arange(len(x))
        mean, inverse = self.posterior(x, index)
        again = self.posterior(x, index)
        if not (np.array_equal(mean, again[0]) and np.array_equal(inverse, again[1])):
            raise ValueError(
                "guide: its answer differs from run to run, as that of a semi-amortized one does,"
                " expected one that answers alike on both ends, such as Amortized"
            )

        bucket = _noise(mean.size).reshape(1, *mean.shape) & (2**self.buckets.bits - 1)
        seen = self.symbols(bucket, index, x.to(self.dtype))
        if not np.array_equal(self.symbols(bucket, index).below, seen.below):
            raise ValueError(
                "model: its likelihood reads the data that it is a likelihood of, which a decoder"
                " has not, expected one of the latent alone"
            )


@contextmanager
def reading(
    model: Program, guide: Program, shape: Sequence[int], buckets: Buckets
) -> Iterator[Reader]:
    """Open two programs to be read; see the module for what they must be.

    Raises:
        ValueError: programs that are something else, by what they are.
    """
    called(model, "model")
    called(guide, "guide")
    own = getattr(model, "shape", shape)
    if isinstance(own, tuple | list | torch.Size) and tuple(own) != tuple(shape):
        raise ValueError(f"x: got data of shape {tuple(shape)}, expected the model's, {tuple(own)}")
    device = device_of(model, guide)
    if device is not None and device.type != "cpu":
        raise ValueError(
            f"model, guide: they are on {device}, expected the CPU, where both ends compute alike:"
            " model.cpu()"
        )

    parameters = [p for module in modules_of(model, guide) for p in module.parameters()]
    dtype = parameters[0].dtype if parameters else torch.get_default_dtype()
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"model: got parameters of {dtype}, expected torch.float32 or float64")

    like = torch.zeros(2, *shape, dtype=dtype)
    with evaluation(model, guide), in_one_line(like, 1):
        site, dim, values = _latent(model, guide, like)
        mode = Exact(model, guide)
        try:
            yield Reader(model, guide, tuple(shape), site, dim, dtype, buckets, values, mode)
        except NotExact as error:
            raise ValueError(str(error)) from error


def _latent(model: Program, guide: Program, like: Tensor) -> tuple[str, int, Tensor]:
    """Name and length of the one latent vector, and the values of the likelihood; a ValueError
    where the programs have another.
    """
    index = torch.arange(len(like))
    latents = [s for s in model_sites(model, like, index) if not s["is_observed"]]
    if len(latents) != 1 or latents[0]["fn"].event_dim != 1:
        names = [s["name"] for s in latents]
        raise ValueError(
            f"model: got the latents {names}, expected one vector (B, d) of each datum"
        )

    sites = sample_sites(run_particles(model, like, index, 1, 1))
    latents = [s for s in sites if not s["is_observed"]]
    observed = [s for s in sites if s["is_observed"]]
    prior = latents[0]["fn"]
    base = base_of(prior)
    if not isinstance(base, Normal):
        _refuse("model", "a prior", base, "a standard normal one")
    if not (bool((base.loc == 0).all()) and bool((base.scale == 1).all())):
        raise ValueError("model: got a normal prior that is not N(0, I), expected N(0, I)")

    if len(observed) != 1:
        names = [s["name"] for s in observed]
        raise ValueError(f"model: got the observed sites {names}, expected one")
    values = _values(base_of(observed[0]["fn"]), like)
    if observed[0]["fn"].event_shape.numel() != like[0].numel():
        raise ValueError(
            f"model: got data of shape {tuple(observed[0]['fn'].event_shape)} from it, expected"
            f" {tuple(like.shape[1:])}, in the event (`to_event`)"
        )

    name, dim = latents[0]["name"], prior.event_shape[0]
    _check_guide(guide, like, index, name, dim)
    return name, dim, values


def _values(likelihood: Any, like: Tensor) -> Tensor:
    """The values `(L,)` that a likelihood gives probabilities."""
    if isinstance(likelihood, Bernoulli):
        return torch.tensor([0, 1]).to(like)
    if not getattr(likelihood, "has_enumerate_support", False) or likelihood.event_shape:
        few = "Bernoulli, or one of a few values, such as those of grey levels and categories"
        _refuse("model", "a likelihood", likelihood, few)

    values = likelihood.enumerate_support(expand=False).detach().flatten().to(like)
    if len(values) > MOST_SYMBOLS:
        raise ValueError(
            f"model: got a likelihood of {len(values):,} values, expected at most {MOST_SYMBOLS:,}"
        )
    return values


def _check_guide(guide: Program, like: Tensor, index: Tensor, name: str, dim: int) -> None:
    """Refuse a guide that is no mean-field normal of the model's latent."""
    sites = guide_sites(guide, like, index)
    if [s["name"] for s in sites] != [name]:
        raise ValueError(
            f"guide: got the latents {[s['name'] for s in sites]}, expected the model's, [{name!r}]"
        )

    q = sites[0]["fn"]
    if not isinstance(base_of(q), Normal):
        _refuse("guide", "a family", base_of(q), "a mean-field normal, such as MeanField")
    if q.event_shape != (dim,):
        raise ValueError(f"guide: got a latent of {tuple(q.event_shape)}, expected ({dim},)")


def _chances(likelihood: Bernoulli) -> Tensor:
    """Chances of a one, float64."""
    if "logits" in vars(likelihood):
        return elementary.sigmoid(likelihood.logits.to(torch.float64))
    return likelihood.probs.to(torch.float64)


def _refuse(name: str, what: str, got: Distribution, expected: str) -> NoReturn:
    raise ValueError(f"{name}: got {what} of {type(got).__name__}, expected {expected}")


def _noise(number: int) -> Integers:
    """Integers without a pattern, always the same ones."""
    made = b"".join(hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(number // 8 + 1))
    return np.frombuffer(made, "<u4")[:number].astype(np.int64)
