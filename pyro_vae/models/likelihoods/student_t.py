"""Real values with outliers.

References:
    Lange, Little, Taylor (1989). Robust statistical modeling using the t distribution. JASA 84,
        doi:10.1080/01621459.1989.10478852.
    Takahashi, Iwata, Yamanaka, Yamada, Yagi (2018). Student-t variational autoencoder for robust
        density estimation. IJCAI, doi:10.24963/ijcai.2018/374.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_choice, check_number
from pyro_vae.models.likelihoods.likelihood import Likelihood
from pyro_vae.nets import Standardise

Scale = Literal["shared", "pixel", "output"]

_START = 5.0  # degrees of freedom
_LEAST = 1.0  # of them, above which there is a mean
_WIDEST = 10.0  # logarithm of a scale, as a share of that of the data
_FLOOR = 1e-3  # of a scale, as a share of that of the data


class StudentT(Likelihood):
    """Independent Student t values, location shift + scale * output, in the units of the data.

    Shift and scale are mean and standard deviation of the training data (`start`, which `fit`
    calls), as they are for `Gaussian`; a few values far out cost it little. Its tails fall like
    `|x|^-(df + 1)`.

    Args:
        df: degrees of freedom, more than 1; None learns one number for all values, from 5 on.
        learn: "shared" learns one scale; "pixel" one per value, in units of each value's own
            standard deviation; "output" lets the decoder give one per value and datum.

    Example:
        >>> from pyro_vae import VAE
        >>> VAE((5,), 2, (16,), StudentT(df=4.0)).likelihood.describe()
        'StudentT of 4 degrees of freedom, one scale learned'
    """

    rules = ("dequantise", "none")
    discrete_under = ("dequantise",)

    def __init__(self, df: float | None = None, learn: Scale = "shared") -> None:
        super().__init__()
        if df is not None:
            check_number("df", df, above=1)
        check_choice("learn", learn, Scale)
        self.df, self.learn = df, learn

        self.num_outputs = 2 if learn == "output" else 1
        self.units = Standardise(each=learn == "pixel")
        if df is None:
            self.log_df = nn.Parameter(torch.tensor(math.log(_START - _LEAST)))

    def bind(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        begin = torch.full(self.shape if self.learn == "pixel" else (), self._log_scale())
        if self.learn == "output":
            self.register_buffer("log_scale", begin)
        else:
            self.log_scale = nn.Parameter(begin)

    def forward(self, outputs: Tensor) -> dist.TorchDistribution:
        mean, *rest = outputs.unbind(-len(self.shape) - 1)
        offset = rest[0] if rest else 0.0
        scale = self.units.scale * (_FLOOR + (self.log_scale + offset).clamp(max=_WIDEST).exp())
        return dist.StudentT(self.degrees(), self.units.undo(mean), scale).to_event(len(self.shape))

    def degrees(self) -> Tensor | float:
        """Degrees of freedom."""
        return _LEAST + self.log_df.exp() if self.df is None else self.df

    def center(self, bias: Tensor, mean: Tensor) -> None:
        with torch.no_grad():
            bias[0].copy_(self.units(mean).reshape(self.shape))
            bias[1:].zero_()  # the offsets of log scale, where the decoder gives them

    def start(self, x: Tensor) -> bool:
        """Take shift and scale from training data `(N, *shape)`."""
        self.units.start(x)
        return self.units.is_started

    def describe(self) -> str:
        """What it is, in a few words."""
        learned = {"shared": "one scale learned", "pixel": "a scale for each value learned"}
        told = learned.get(self.learn, "scale by the decoder")
        if self.df is None:
            return f"StudentT, degrees of freedom learned, {told}"
        return f"StudentT of {self.df:g} degrees of freedom, {told}"

    def _log_scale(self) -> float:
        """Of a distribution with the standard deviation 1, where it has one."""
        df = _START if self.df is None else self.df
        return math.log(math.sqrt((df - 2) / df) - _FLOOR) if df > 2.1 else math.log(0.2)
