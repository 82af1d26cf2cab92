"""Convolutional nets of images: a trunk and a decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_activation, check_integer, check_sizes
from pyro_vae.nets.dense import dense_layers


class Conv(nn.Module):
    """Strided convolutions, then dense layers: `(..., C, H, W)` to `(..., out_features)`.

    Args:
        shape: (channels, height, width) of an image.
        hidden: units of the dense layers after the convolutions.
        channels: channels of each convolution (kernel 3, stride 2).
        activation: class of the nonlinearity.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (256,),
        channels: Sequence[int] = (32, 64),
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.shape = _image_shape(shape)
        widths = (self.shape[0], *check_sizes("channels", channels, least=1))
        check_activation("activation", activation)

        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), activation()]

        height, width = (_halved(n, len(widths) - 1) for n in self.shape[1:])
        sizes = (widths[-1] * height * width, *check_sizes("hidden", hidden))
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.dense = dense_layers(sizes, activation)
        self.out_features = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[: x.dim() - 3]
        if x.shape[-3:] != self.shape:
            raise ValueError(
                f"x: got shape {tuple(x.shape)}, expected (..., {', '.join(map(str, self.shape))})"
            )
        features = self.dense(self.convolutions(x.reshape(-1, *self.shape)))
        return features.reshape(*lead, self.out_features)


class ConvDecoder(nn.Module):
    """Dense layers, then strided transposed convolutions, `(..., latent_dim)` to
    `(..., num_outputs, C, H, W)`.

    Args:
        channels: channels from the coarsest to the finest grid; sides need not be powers of two
            (the output is cropped).
    """

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int],
        shape: Sequence[int],
        num_outputs: int,
        channels: Sequence[int] = (64, 32),
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.shape = _image_shape(shape)
        check_integer("latent_dim", latent_dim, 1)
        check_integer("num_outputs", num_outputs, 1)
        check_activation("activation", activation)

        widths = (*check_sizes("channels", channels, least=1), num_outputs * self.shape[0])
        self.grid = (widths[0], *(_halved(n, len(widths) - 1) for n in self.shape[1:]))
        sizes = (latent_dim, *check_sizes("hidden", hidden), math.prod(self.grid))
        self.dense = dense_layers(sizes, activation)

        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths[:-1]):
            layers += [nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1), activation()]
        # one bias for each value of the output, in place of one for each channel
        layers += [nn.ConvTranspose2d(widths[-2], widths[-1], 4, stride=2, padding=1, bias=False)]

        self.convolutions = nn.Sequential(*layers)
        self.num_outputs = num_outputs
        self.bias = nn.Parameter(torch.zeros(num_outputs, *self.shape))

    def forward(self, z: Tensor) -> Tensor:
        lead = z.shape[:-1]
        _, height, width = self.shape
        grid = self.dense(z).reshape(-1, *self.grid)
        out = self.convolutions(grid)[..., :height, :width]
        return out.reshape(*lead, self.num_outputs, *self.shape) + self.bias


def _image_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = check_sizes("shape", shape)
    if len(sizes) != 3:
        raise ValueError(
            f"shape: got {shape}, expected (channels, height, width): convolutions need images"
        )
    return sizes


def _halved(n: int, times: int) -> int:
    """Length of a side after `times` convolutions of stride 2, kernel 3, padding 1."""
    for _ in range(times):
        n = (n + 1) // 2
    return n
