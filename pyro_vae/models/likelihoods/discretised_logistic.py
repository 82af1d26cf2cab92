"""Grey levels as a logistic variable that was rounded.

    P(v) = F((x + h - m) / s) - F((x - h - m) / s),    x = v / (levels - 1),  h = half a level,

with F(t) = 1 / (1 + e^-t); the first level takes all below it, the last all above. The difference
is F(b) F(-a) (1 - e^(a - b)), so its logarithm is a sum of three that float32 holds however far x
is from m.

References:
    Salimans, Karpathy, Chen, Kingma (2017). PixelCNN++: improving the PixelCNN with discretized
        logistic mixture likelihood and other modifications. ICLR, arXiv:1701.05517.
    Kingma et al. (2016). Improving variational inference with inverse autoregressive flow.
        arXiv:1606.04934.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyro_vae.arguments import check_choice
from pyro_vae.models.likelihoods.grey import all_levels, check_grey, check_levels, level_of
from pyro_vae.models.likelihoods.likelihood import Likelihood, moments

Scale = Literal["shared", "pixel", "output"]

_LEAST = 0.1  # of a level: the smallest scale
_WIDEST = 3.0  # of log scale
_HALVINGS = 60


class GreyLogistic(dist.TorchDistribution):
    """A logistic variable of each loc and scale, rounded to grey levels in [0, 1]."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.unit_interval
    has_enumerate_support = True

    def __init__(self, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        v, most = level_of(value, self.levels), self.levels - 1
        wide = 1 / (most * self.scale)  # of a level
        low = (v - 0.5 - most * self.loc) * wide

        # an infinite end leaves its factor out
        above = torch.where(v < most, softplus(-low - wide), 0.0)
        below = torch.where(v > 0, softplus(low), 0.0)
        between = torch.where((v > 0) & (v < most), torch.log(-torch.expm1(-wide)), 0.0)
        return between - above - below

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
            noise = torch.logit(uniform, eps=torch.finfo(uniform.dtype).tiny)
            drawn = (self.loc + self.scale * noise).clamp(0, 1)
            return level_of(drawn, self.levels) / (self.levels - 1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = all_levels(self.levels, self.loc, len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    @property
    def mean(self) -> Tensor:
        return grey_mean(self.loc, self.scale, self.levels)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GreyLogistic:
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return GreyLogistic(loc, scale, self.levels)


def grey_mean(loc: Tensor, scale: Tensor, levels: int) -> Tensor:
    """E[x] = sum over v >= 1 of P(at least v) / (levels - 1)."""
    total, most = torch.zeros_like(loc), levels - 1
    for v in range(1, levels):
        total += torch.sigmoid((loc - (v - 0.5) / most) / scale)
    return total / most


class DiscretisedLogistic(Likelihood):
    """Independent grey levels, each a logistic variable that was rounded; its location comes from
    the decoder, in units of x.

    The log-probability is one of grey levels, so it needs no log 256 to be told in bits.

    Args:
        levels: grey levels; data are x = v / (levels - 1).
        learn: "shared" learns one scale; "pixel" one per pixel; "output" lets the decoder give one
            per pixel and datum. It starts at that of the training data.

    Example:
        >>> from pyro_vae import VAE
        >>> VAE((1, 8, 8), 2, (16,), DiscretisedLogistic(learn="output")).likelihood.num_outputs
        2
    """

    rules = ("none",)
    discrete_under = ("none",)

    def __init__(self, levels: int = 256, learn: Scale = "shared") -> None:
        super().__init__()
        check_levels(levels)
        check_choice("learn", learn, Scale)
        self.levels, self.learn = levels, learn
        self.num_outputs = 2 if learn == "output" else 1

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        begin = torch.full(self.shape if self.learn == "pixel" else (), math.log(0.1))
        if self.learn == "output":
            self.register_buffer("log_scale", begin)
        else:
            self.log_scale = nn.Parameter(begin)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        loc, *rest = outputs.unbind(-len(self.shape) - 1)
        scale = self.scale(rest[0] if rest else 0.0)
        return GreyLogistic(loc, scale, self.levels).to_event(len(self.shape))

    def scale(self, offset: Tensor | float = 0.0) -> Tensor:
        """s in units of x; `offset` is added to its logarithm."""
        least = _LEAST / (self.levels - 1)
        return least + (self.log_scale + offset).clamp(max=_WIDEST).exp()

    def check(self, x: Tensor) -> None:
        check_grey(x, self.levels)

    def center(self, bias: Tensor, mean: Tensor) -> None:
        """Find the locations by halvings: what lies beyond black and white counts as these."""
        with torch.no_grad():
            wanted, scale = mean.double().clamp(1e-3, 1 - 1e-3), self.scale().double()
            low, high = -40 * scale.expand_as(wanted), 1 + 40 * scale.expand_as(wanted)
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                short = grey_mean(middle, scale, self.levels) < wanted
                low, high = torch.where(short, middle, low), torch.where(short, high, middle)

            bias[0].copy_(low.reshape(self.shape))
            bias[1:].zero_()  # the offsets of log s, where the decoder gives them

    def start(self, x: Tensor) -> bool:
        """Take the scale of data `(N, *shape)` about the mean of each pixel."""
        _, variance = moments(x)
        overall = variance.mean()
        if self.learn == "pixel":
            overall = torch.where(variance > 0, variance, overall)

        scale = (overall.sqrt() * math.sqrt(3) / math.pi).clamp(min=1 / (self.levels - 1))
        with torch.no_grad():
            self.log_scale.copy_((scale - _LEAST / (self.levels - 1)).log())
        return True

    def describe(self) -> str:
        """What it is, in a few words."""
        learned = {"shared": "one scale", "pixel": "a scale for each pixel"}
        told = learned.get(self.learn, "scale by the decoder")
        return f"DiscretisedLogistic of {self.levels} grey levels, {told}"
