"""Data made short by a model and a guide, and data made long again: bits-back coding.

    found = compress(model, guide, x)
    found.data                                  # bytes
    decompress(model, guide, found.data)        # x, bit for bit

A bound on log p(x) is a promise, this is the coin: -ELBO nats of a datum are paid as -ELBO / log 2
bits, up to a per mille or so, and to the bits that must lie on the stack before the first datum.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_integer, check_kind, check_progress, check_rows, refuse
from pyro_vae.coding import chain
from pyro_vae.coding.buckets import MOST_BUCKETS, Integers, buckets
from pyro_vae.coding.container import (
    DTYPES,
    MOST_PARTICLES,
    Contents,
    Numbers,
    checksum_of,
    pack,
    unpack,
)
from pyro_vae.coding.reading import Reader, reading
from pyro_vae.coding.stack import Stack, initial_words, lifted
from pyro_vae.programs.calls import Program
from pyro_vae.programs.inputs import check_any_x
from pyro_vae.progress import Progress
from pyro_vae.results import Result, counted, with_error

_BLOCK = 256  # data whose posteriors are computed together
MOST_MASSES = 2**26  # of symbols, of one datum and all its latents
_ROUNDS = 100  # as often progress is told


@dataclass(frozen=True, repr=False)
class Compression(Result):
    """Data in few bytes.

    Attributes:
        data: the bytes, for `decompress`.
        bits: by which each datum made the stack longer, `(N,)`.
        ideal: -log2 of its mean weight at the latents that were drawn, without rounding, `(N,)`; in
            expectation -ELBO / log 2, or less with several latents.
        size: D, values of a datum.
        num_particles: K, latents for each datum.
        bucket_bits: k, where each latent is one of 2^k buckets.
        initial_bits: that were on the stack before the first datum; part of `data`.
        seconds: that it took.
    """

    data: bytes
    bits: Tensor
    ideal: Tensor
    size: int
    num_particles: int
    bucket_bits: int
    initial_bits: int
    seconds: float

    @property
    def bits_per_dim(self) -> float:
        """Bits of all of `data` for each value, everything counted."""
        return 8 * len(self.data) / (len(self.bits) * self.size)

    @property
    def ideal_per_dim(self) -> float:
        """Bits for each value without rounding, initial bits, header and checksums."""
        return self.ideal.mean().item() / self.size

    @property
    def overhead(self) -> float:
        """By which share `data` is longer than the ideal."""
        return self.bits_per_dim / self.ideal_per_dim - 1

    def headline(self) -> str:
        drawn = "" if self.num_particles == 1 else f", {self.num_particles} latents each"
        return (
            f"{counted(len(self.bits), 'data')} of {self.size:,} values in {len(self.data):,}"
            f" bytes{drawn}"
        )

    def figures(self) -> Iterator[tuple[str, str]]:
        ideal = self.ideal.double() / self.size
        error = ideal.std().item() / math.sqrt(len(ideal)) if len(ideal) > 1 else math.nan
        bound = "-ELBO" if self.num_particles == 1 else "-importance-weighted bound"

        yield "bits per value", f"{self.bits_per_dim:.4f}, everything counted"
        yield "ideal", f"{with_error(ideal.mean().item(), error)}, {bound} / log 2 at these latents"
        yield "overhead", f"{100 * self.overhead:.2f}% over the ideal, of which"
        rounding = self.bits.sum().item() / self.ideal.sum().item() - 1
        yield "  rounding", f"{100 * rounding:.3f}%, 2^{self.bucket_bits} buckets for each latent"
        yield "  initial bits", f"{self.initial_bits:,} bits, once"
        yield "seconds", f"{self.seconds:.1f}"

    def summary(self) -> dict[str, Any]:
        """Lengths in bytes and bits."""
        return {
            "num_data": len(self.bits),
            "size": self.size,
            "bytes": len(self.data),
            "bits_per_dim": self.bits_per_dim,
            "ideal_per_dim": self.ideal_per_dim,
            "overhead": self.overhead,
            "rounding": self.bits.sum().item() / self.ideal.sum().item() - 1,
            "initial_bits": self.initial_bits,
            "num_particles": self.num_particles,
            "bucket_bits": self.bucket_bits,
            "seconds": self.seconds,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each datum."""
        return {"bits": self.bits, "ideal": self.ideal}


def compress(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    num_particles: int = 1,
    bucket_bits: int = 12,
    progress: Progress | None = None,
) -> Compression:
    """Compress discrete data by bits-back coding, in one chain.

    Args:
        model: Pyro program with one latent vector, of prior N(0, I), and a likelihood of few
            values: Bernoulli, grey levels (`BetaBinomial`, `DiscretisedLogistic`), `Categorical`.
        guide: Pyro program, a mean-field normal that answers for any x, such as
            `Amortized(MeanField(d), ...)`.
        x: data `(N, *shape)` of values that the likelihood can take, such as zeros and ones, of
            any of `container.DTYPES` that holds them.
        num_particles: K latents for each datum (Ruan et al., 2021): the code is as long as the
            importance-weighted bound says, at K times the work and the initial bits.
        bucket_bits: k; each latent is one of 2^k buckets.
        progress: told the share that is done.

    Returns:
        The bytes, with what each datum cost. Only the same model and guide, weight for weight, make
        data of them again; on the CPU, whatever the machine, batch and number of threads.

    Raises:
        ValueError: data of other values, or programs that cannot be coded with: other latents,
            families, likelihoods, or operations that are not known to be exact.

    Example:
        >>> from pyro_vae import VAE, EncoderGuide
        >>> model, guide = VAE((4, 4), 2, (8,)), EncoderGuide((4, 4), 2, (8,))
        >>> x = (torch.rand(5, 4, 4) < 0.5).float()
        >>> found = compress(model, guide, x)
        >>> torch.equal(decompress(model, guide, found.data), x)
        True
    """
    check_rows("x", x)
    if x.dtype not in DTYPES:
        refuse("x", x, f"data of one of {', '.join(map(str, DTYPES))}")
    check_integer("num_particles", num_particles, 1, MOST_PARTICLES)
    check_integer("bucket_bits", bucket_bits, 1, MOST_BUCKETS)
    check_progress(progress)
    started = time.perf_counter()

    x = x.detach().cpu()
    with reading(model, guide, x.shape[1:], buckets(bucket_bits)) as reader:
        check_any_x(guide, x.to(reader.dtype))
        symbols = reader.numbers(x)
        _check_room(reader, num_particles)
        reader.check(x[:8])
        stack, initial, bits, ideal = _encoded(reader, x, symbols, num_particles, progress)
        programs = reader.fingerprint[:16]

    data = pack(
        Contents(
            bucket_bits=bucket_bits,
            dtype=x.dtype,
            num_particles=num_particles,
            shape=tuple(x.shape[1:]),
            num_data=len(x),
            num_initial=initial,
            programs=programs,
            data=checksum_of(symbols),
            words=stack.words(),
        )
    )
    seconds = time.perf_counter() - started
    size, initial_bits = x[0].numel(), 32 * initial
    return Compression(data, bits, ideal, size, num_particles, bucket_bits, initial_bits, seconds)


def decompress(
    model: Program,
    guide: Program,
    data: bytes,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """The data `(N, *shape)` of which `compress` made these bytes, in their dtype.

    Args:
        model, guide: those that compressed them, with the same weights.
        data: the bytes.
        progress: told the share that is done.

    Raises:
        ValueError: bytes that are damaged, cut off, or of other programs.
    """
    check_kind("data", data, bytes, "bytes, as `compress` makes them")
    check_progress(progress)
    contents = unpack(data)

    with reading(model, guide, contents.shape, buckets(contents.bucket_bits)) as reader:
        if reader.fingerprint[:16] != contents.programs:
            raise ValueError(
                "data: they were compressed with another model and guide, or other weights,"
                " expected those of the same run"
            )
        _check_room(reader, contents.num_particles)
        return reader.data(_decoded(reader, contents, progress)).to(contents.dtype)


def _encoded(
    reader: Reader, x: Tensor, symbols: Integers, k: int, progress: Progress | None
) -> tuple[Stack, int, Tensor, Tensor]:
    """The stack of all data, its initial words, and what each datum cost and should cost."""
    stack, initial = Stack(initial_words(0)), 0
    bits, ideal = torch.zeros(len(x)), torch.zeros(len(x))

    for rows in torch.arange(len(x)).split(_BLOCK):
        means, inverses = reader.posterior(x[rows], rows)
        for n, mean, inverse in zip(rows.tolist(), means, inverses, strict=True):
            q = chain.Posterior(mean, inverse)
            stack, before, bucket, initial = _drawn(stack, reader, q, k, initial)
            ideal[n] = chain.push(stack, reader, symbols[n], q, n, bucket)
            bits[n] = stack.size - before
            _tell(progress, n + 1, len(x))
    return stack, initial, bits, ideal


def _drawn(
    stack: Stack, reader: Reader, q: chain.Posterior, k: int, initial: int
) -> tuple[Stack, float, Integers, int]:
    """A stack after a draw of latents, its size before it, the latents, and its initial words, of
    which there are as many as it takes.
    """
    while True:
        trial = stack.copy()
        bucket = chain.draw(trial, reader, q, k)
        if trial.size >= chain.LEAST:
            return trial, stack.size, bucket, initial
        stack, initial = lifted(stack, initial, 1), initial + 1


def _decoded(reader: Reader, contents: Contents, progress: Progress | None) -> Numbers:
    """Symbols `(N, D)` off a stack; a ValueError where the ends do not agree."""
    stack, found = Stack(contents.words), []
    for n in reversed(range(contents.num_data)):
        x = chain.pop(stack, reader, n, contents.num_particles)
        found.append(x.astype(np.uint16))
        _tell(progress, len(found), contents.num_data)

    whole = np.stack(found[::-1])
    bottom = np.array_equal(stack.words(), initial_words(contents.num_initial))
    if not bottom or checksum_of(whole) != contents.data:
        raise ValueError(
            "data: what was found in them is not what was put in, although they are whole: the two"
            " ends did not compute the same, or a stranger has made them"
        )
    return whole


def _check_room(reader: Reader, num_particles: int) -> None:
    """Refuse more masses at once than a machine has room for."""
    each = reader.size * len(reader.values)
    if num_particles * each > MOST_MASSES:
        most = max(1, MOST_MASSES // each)
        raise ValueError(
            f"num_particles: got {num_particles} latents for each datum of {reader.size:,} values,"
            f" one of {len(reader.values):,} each, expected at most {most}"
        )


def _tell(progress: Progress | None, done: int, total: int) -> None:
    """Tell the share that is done, now and then."""
    if progress is not None and (done == total or done % max(1, total // _ROUNDS) == 0):
        progress(done / total)
