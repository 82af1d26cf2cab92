"""The rule that makes data of pixels: three that binarise, one that fills the gaps between grey
levels, and none.

A grey pixel v in 0..255 stands for the probability p = v / 255, or for the real values that were
rounded to it. The rules:

    dynamic     x ~ Bernoulli(p), drawn again at every training visit; evaluation sees a fixed draw
    static      x ~ Bernoulli(p), drawn once; training and evaluation see that draw
    threshold   x = 1 if p > 1/2 else 0
    dequantise  x = (v + u) / 256, u uniform on [0, 1), drawn again at every visit like dynamic
    none        x = p, or the raw real values of float data

A missing value (NaN, of float pixels) is missing in every draw.

The first three are for a Bernoulli likelihood, dequantise for a density on 8-bit pixels: averaged
over u, log p(x) - D log 256 is a lower bound of the log-probability of the pixels themselves (Theis
et al.), which gives bits per dimension a meaning. `Dataset.bits_per_dim` counts them.

The fixed draw comes from a CPU generator seeded by (seed, name of the split) and is then moved, so
it is the same whichever device the pixels lie on.

References:
    Theis, van den Oord, Bethge (2016). A note on the evaluation of generative models.
        arXiv:1511.01844.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Binarise = Literal["dynamic", "static", "threshold", "dequantise", "none"]
RULES: tuple[str, ...] = get_args(Binarise)
BINARY = ("dynamic", "static", "threshold")
REDRAWN = ("dynamic", "dequantise")
LEVELS = 256


def bernoulli_draw(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw x ~ Bernoulli(p) for every pixel, with p = pixel / 255 (uint8) or p = pixel (float in
    [0, 1]).

    For uint8 an integer u, uniform on the 255 values 0..254, is compared with the pixel v. Exactly
    v of the 255 values are below v, so P(u < v) = v / 255; in particular v = 0 is never and v = 255
    always one. (A byte uniform on 0..255 would give v / 256, and a white pixel would flicker.) For
    floats u is uniform on [0, 1), so p = 0 is never and p = 1 always one.

    Args:
        pixels: uint8 or float32, any shape.
        generator: on the device of the pixels.

    Returns:
        float32 zeros and ones of the shape of `pixels`.
    """
    kind: Any = {"dtype": pixels.dtype, "device": pixels.device, "generator": generator}
    if pixels.dtype == torch.uint8:
        noise = torch.randint(0, 255, pixels.shape, **kind)
    else:
        noise = torch.rand(pixels.shape, **kind)
    return _as_missing(pixels, (noise < pixels).to(torch.float32))


def random_bits(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Integers uniform on -32768..32767, as float32 of a shape: four of them from each 64-bit draw
    of the generator.
    """
    size = math.prod(shape)
    words = torch.empty((size + 3) // 4, dtype=torch.int64, device=generator.device)
    words.random_(-(2**63), None, generator=generator)
    # loops over int16 do not vectorise
    return words.view(torch.int16)[:size].view(*shape).to(torch.float32)


def fast_bernoulli_draw(pixels: Tensor, bits: Tensor) -> Tensor:
    """Draw x ~ Bernoulli(p) from 16 random bits a pixel: a pure function, made of operations that
    fuse.

    x = 1 where the bits, as u in 0..65535, are below 65536 p rounded to an integer: so P(x = 1) is
    p to 7.7e-6, p = 0 is never and p = 1 always one.

    Args:
        pixels: uint8, p = pixel / 255, or float32, p = pixel, any shape.
        bits: of the same shape, from `random_bits`.

    Returns:
        float32 zeros and ones of the shape of `pixels`.
    """
    scale = 65536 / 255 if pixels.dtype == torch.uint8 else 65536.0
    return _as_missing(
        pixels, (bits + 32768.5 < pixels.to(torch.float32) * scale).to(torch.float32)
    )


def dequantised(pixels: Tensor, uniform: Tensor) -> Tensor:
    """(v + u) / 256 in (0, 1) for pixels v, uint8, and u in [0, 1), float32, both of one shape."""
    return (pixels.to(torch.float32) + uniform) / LEVELS


def fast_dequantised(pixels: Tensor, bits: Tensor) -> Tensor:
    """The same from 16 random bits a pixel (`random_bits`): u is one of 65,536 midpoints."""
    return dequantised(pixels, (bits + 32768.5) / 65536)


def default_rule(pixels: Tensor) -> Binarise:
    """The rule that data ask for: pixels of strokes are binarised, photographs dequantised, real
    values left alone.

    Strokes: at least half of the pixels are 0 or 255, as 81% are in MNIST.
    """
    if pixels.dtype != torch.uint8:
        return "none"
    extreme = ((pixels == 0) | (pixels == 255)).double().mean().item()
    return "dynamic" if extreme >= 0.5 else "dequantise"


def rule_for(rules: Sequence[Binarise], pixels: Tensor) -> Binarise:
    """The rule for pixels and a model that takes `rules`, the usual one first; one that has none
    takes any.
    """
    default = default_rule(pixels)
    if pixels.dtype != torch.uint8 or not rules:
        return default
    return default if default in rules else rules[0]


def check_rule(rules: Sequence[Binarise], binarise: Binarise, likelihood: str) -> None:
    """Raise a ValueError where the rule makes no data for a likelihood that takes `rules`; one that
    has none takes any.
    """
    if rules and binarise not in rules:
        raise ValueError(
            f"binarise={binarise!r} makes no data for a {likelihood} likelihood, which goes with"
            f" {' or '.join(map(repr, rules))}: leave binarise out or use {rules[0]!r}, or"
            " choose another likelihood"
        )


def draw_seed(seed: int, name: str) -> int:
    """A 63-bit seed for one use of a run's seed, such as a split's evaluation draw: a hash, so the
    seeds of different uses have nothing to do with each other.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def evaluation_draw(pixels: Tensor, binarise: Binarise, seed: int, name: str) -> Tensor:
    """A split's fixed draw, made on the CPU and returned there: float32, shaped as `pixels`."""
    generator = torch.Generator().manual_seed(draw_seed(seed, name))
    return evaluation_block(pixels.cpu(), binarise, generator)


def evaluation_block(pixels: Tensor, binarise: Binarise, generator: torch.Generator) -> Tensor:
    """The next rows of a fixed draw: the generators of torch's CPU go from value to value, so that
    blocks drawn one after another are those of the whole.
    """
    whole = pixels.dtype == torch.uint8
    if binarise == "threshold":
        # v / 255 > 1/2 means v >= 128
        return _as_missing(pixels, (pixels > (127 if whole else 0.5)).to(torch.float32))
    if binarise == "none":
        return pixels.to(torch.float32) / 255 if whole else pixels
    if binarise == "dequantise":
        return dequantised(pixels, torch.rand(pixels.shape, generator=generator))
    return bernoulli_draw(pixels, generator)


def _as_missing(pixels: Tensor, drawn: Tensor) -> Tensor:
    """What was drawn, with NaN where pixels of floats have it."""
    return torch.where(pixels.isnan(), torch.nan, drawn) if pixels.is_floating_point() else drawn
