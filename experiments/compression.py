"""How many bits does an image cost, when the bound on log p(x) is paid out in bits?

Bits-back coding of binarised MNIST test images with a kept run, every image of them, and back again
in another process with another number of threads and other kernels of torch. Whoever compresses
asks the guide about 256 images together, whoever decompresses about one. Beside it gzip, bz2, xz
and PNG on the same bits.

    prediction, one latent for each image      -ELBO / (784 log 2) bits per pixel, all counted but
                                               some tens of bytes once
    prediction, K latents (Ruan et al., 2021)  minus the importance-weighted bound of K particles,
                                               so that with K the code goes down to -log p(x)

The second is measured on fewer images, against the bound by other draws on the same images. First
of all both are held to a model of two values and one latent, whose log p(x) is had by quadrature.

Run:  PYRO_VAE_DATA=... python experiments/compression.py [RUN] [--num-data N] [--latents K ...]
      [--num-latents-data M] [--json FILE]

References:
    Townsend, Bird, Barber (2019). Practical lossless compression with latent variables using bits
        back coding. ICLR, arXiv:1901.04866 (BB-ANS, table 2: bits per pixel of binarised MNIST).
    Ruan, Ullrich, Severo, Townsend, Khisti, Doucet, Makhzani, Maddison (2021). Improving lossless
        compression rates via Monte Carlo bits-back coding. ICML, arXiv:2102.11086.
"""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import lzma
import math
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import pyro_vae as pv
import study
from compression_chart import picture, tables
from pyro_vae.coding.buckets import CHANCE
from pyro_vae.coding.elementary import sigmoid
from pyro_vae.coding.exact import Exact
from pyro_vae.report.tables import show

ROOT = Path(__file__).parent
OTHER = {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "default"}
"""The environment of the other process: as many threads, and torch's kernels for older machines."""

PARTS = ("oracle", "sameness", "others", "whole", "by_latents")
PUBLISHED = 0.19  # bits per pixel of BB-ANS, Townsend et al., another VAE and binarisation
PACKERS = {
    "gzip": lambda data: gzip.compress(data, 9, mtime=0),
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
}


def oracle(latents: list[int], num_data: int, repetitions: int) -> list[dict[str, float]]:
    """Bits of a datum of two values and one latent, with K latents, against its exact -log2 p(x)
    and, with one, its -ELBO / log 2 by draws.
    """
    torch.manual_seed(1)
    model, guide = pv.VAE((2,), 1, (8,)), pv.EncoderGuide((2,), 1, (8,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6)  # so that the data tell something of the latent
    x = torch.bernoulli(model.sample(num_data))
    exact = in_bits(-pv.log_evidence(model, guide, x, pv.Quadrature()).log_px)

    rows = []
    for k in latents:
        bound = bound_by_draws(model, guide, x, k, repetitions)
        found = pv.compress(model, guide, x, num_particles=k)
        off = found.bits.double() - bound
        row = {"latents": k, "bits": mean(found.bits), "bound": mean(bound), "exact": mean(exact)}
        rows.append(row | {"error": error_of(off)})
    return rows


def bound_by_draws(
    model: nn.Module, guide: nn.Module, x: Tensor, k: int, repetitions: int
) -> Tensor:
    """Minus the importance-weighted bound of K particles, bits of each datum `(N,)`: the mean over
    repetitions, by draws that have nothing to do with the code.
    """
    torch.manual_seed(0)
    total = torch.zeros(len(x), dtype=torch.double)
    with torch.no_grad():
        for _ in range(repetitions):
            log_w = pv.log_weights(model, guide, x, num_particles=k).double()
            total += torch.logsumexp(log_w, 0) - math.log(k)
    return in_bits(-total / repetitions)


def in_bits(nats: Tensor) -> Tensor:
    """Nats as bits."""
    return nats.double() / math.log(2)


def mean(values: Tensor) -> float:
    """Of each datum."""
    return values.double().mean().item()


def error_of(values: Tensor) -> float:
    """The standard error of their mean."""
    return values.double().std().item() / math.sqrt(len(values))


def packed(x: Tensor) -> dict[str, float]:
    """Bits per pixel of other compressors on images `(N, 1, H, W)`: of all images in one piece,
    8 pixels or 1 in a byte, whichever is shorter; PNGs of 1 bit per pixel.
    """
    from PIL import Image

    pixels = x[:, 0].numpy().astype(np.uint8)
    pieces = np.packbits(pixels).tobytes(), pixels.tobytes()
    found = {}
    for name, pack in PACKERS.items():
        found[name] = 8 * min(len(pack(piece)) for piece in pieces) / pixels.size

    def png(image: np.ndarray) -> int:
        file = io.BytesIO()
        Image.fromarray(255 * image).convert("1").save(file, "PNG", optimize=True)
        return 8 * file.tell()

    found["PNG, one sheet"] = png(pixels.reshape(-1, pixels.shape[-1])) / pixels.size
    return found | {"PNG, each image": sum(map(png, pixels)) / pixels.size}


def elsewhere(run: Path, data: bytes) -> tuple[np.ndarray, float]:
    """What another process makes of the bytes, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        short, back = Path(folder) / "short", Path(folder) / "back.npy"
        short.write_bytes(data)
        line = [sys.executable, "-m", "pyro_vae.cli", "decompress", str(run), str(short), str(back)]

        started = time.monotonic()
        subprocess.run(line, check=True, env=os.environ | OTHER, stdout=subprocess.DEVNULL)
        return np.load(back), time.monotonic() - started


def sameness(model: Any, x: Tensor) -> dict[str, dict[str, float]]:
    """The shares of the decoder's outputs, of chances as multiples of 2^-22, and of images with
    any such, that differ between a batch of all latents and each latent alone: by torch in float32
    and float64, and as the coder runs it.
    """
    torch.manual_seed(0)
    z = torch.randn(len(x), model.latent_dim)
    wide = copy.deepcopy(model.decoder).double()
    nothing: AbstractContextManager[object] = nullcontext()
    with torch.no_grad():
        return {
            "float32": differing(model.decoder, z, nothing),
            "float64": differing(wide, z.double(), nothing),
            "exact": differing(model.decoder, z, Exact(model)),
        }


def differing(net: nn.Module, z: Tensor, mode: AbstractContextManager[object]) -> dict[str, float]:
    """Shares of outputs, of their chances, and of data with any chance, that differ."""
    with mode:
        together, alone = net(z), torch.cat([net(one[None]) for one in z])
    chances = [torch.floor(sigmoid(y.double()) * 2**CHANCE + 0.5) for y in (together, alone)]
    differs = (chances[0] != chances[1]).flatten(1)
    outputs = (together != alone).double().mean().item()
    return {
        "outputs": outputs,
        "chances": differs.double().mean().item(),
        "data": differs.any(1).double().mean().item(),
    }


def whole_set(
    run: Path, model: nn.Module, guide: nn.Module, x: Tensor, repetitions: int
) -> dict[str, Any]:
    """All images with one latent each, and back in another process."""
    found = pv.compress(model, guide, x)
    print(found, flush=True)
    back, seconds = elsewhere(run, found.data)
    exact = back.dtype == x.numpy().dtype and bool(np.array_equal(back, x.numpy()))

    bound = bound_by_draws(model, guide, x, 1, repetitions) / found.size
    bits = found.bits.double() / found.size
    return found.summary() | {
        "back_exactly": exact,
        "predicted": mean(bound),
        "predicted_error": error_of(bound),
        "difference": found.bits_per_dim - mean(bound),
        "difference_error": error_of(bits - bound),
        "seconds_back": round(seconds, 1),
        "back_with": OTHER,
    }


def by_latents(
    model: nn.Module, guide: nn.Module, x: Tensor, latents: list[int], repetitions: int
) -> list[dict[str, Any]]:
    """Some images with K latents each, there and back, against the bound of K particles."""
    rows = []
    for k in latents:
        found = pv.compress(model, guide, x, num_particles=k)
        started = time.monotonic()
        exact = torch.equal(pv.decompress(model, guide, found.data), x)
        seconds = time.monotonic() - started

        bound = bound_by_draws(model, guide, x, k, repetitions) / found.size
        bits = found.bits.double() / found.size
        row = {"latents": k, "bits": mean(bits), "bits_error": error_of(bits)}
        row |= {"all_counted": found.bits_per_dim, "initial_bits": found.initial_bits}
        row |= {"predicted": mean(bound), "difference": mean(bits - bound)}
        row |= {"difference_error": error_of(bits - bound), "back_exactly": exact}
        rows.append(row | {"seconds": round(found.seconds, 1), "seconds_back": round(seconds, 1)})
        print(rows[-1], flush=True)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("run", type=Path, nargs="?", default=ROOT / "mnist_gated")
    asked.add_argument("--num-data", type=int, default=10_000, help="images with one latent each")
    asked.add_argument("--latents", type=int, nargs="+", default=[1, 2, 5, 10])
    asked.add_argument("--num-latents-data", type=int, default=1000, help="images for --latents")
    asked.add_argument("--num-oracle", type=int, default=200, help="data of the oracle")
    asked.add_argument("--repetitions", type=int, default=20, help="of the draws for a bound")
    options = asked.parse_args(arguments)

    parts = pv.open_run(options.run, device="cpu")
    model, guide, x = parts.model, parts.guide, parts.data.test.x[: options.num_data]
    few, repetitions = x[: options.num_latents_data], options.repetitions
    work: study.Parts = {
        "oracle": lambda _: oracle([*options.latents, 100], options.num_oracle, 10 * repetitions),
        "sameness": lambda _: sameness(model, few[:256]),
        "others": lambda _: packed(x) | {"BB-ANS, published": PUBLISHED},
        "whole": lambda _: whole_set(options.run, model, guide, x, repetitions),
        "by_latents": lambda _: by_latents(model, guide, few, options.latents, repetitions),
    }
    facts = {"constriction": version("constriction"), "num_latents_data": len(few)}
    results = study.measured(asked, options, work, **facts)

    if tuple(options.parts) == PARTS:
        for made in tables(results):
            show(made)
        if options.json is not None:
            picture(results).savefig(options.json.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    main()
