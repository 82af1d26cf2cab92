"""Encoder and decoder networks, in plain torch: nothing here knows of probability.

Two shapes of net are enough for every guide and model of the package, and a user's own may be of
any make:

* a *trunk* `trunk(shape, hidden, ...)` maps data `(..., *shape)` to features
  `(..., trunk.out_features)`;
* a *decoder* `decoder(latent_dim, hidden, shape, num_outputs, ...)` maps a latent
  `(..., latent_dim)` to `(..., num_outputs, *shape)`, one output per parameter of a pixel's
  likelihood, and has a `bias` of that shape.

Any number of leading dimensions is allowed, so that particles `(S, B, ...)` need no loop. Layers
start as torch's do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.arguments import (
    check_activation,
    check_callable,
    check_integer,
    check_kind,
    check_layer,
    check_sizes,
    refuse,
    shown,
)


class Standardise(nn.Module):
    """(x - shift) / scale, where shift and scale are of the training data: the identity until
    `start`.

    The shift is the mean of each value. The scale is one number for images, whose pixels have one
    unit, and a number for each column of a table (or where `each` asks for it). Zeros and ones have
    no units: they stay as they are. Shift and scale are buffers, so that they are kept with the
    weights; weights that were kept without them load as the identity.

    Args:
        each: a scale for each value; None goes by the shape of the data.

    Example:
        >>> units = Standardise()
        >>> units.start(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
        >>> units(torch.tensor([2.0, 20.0])), units.undo(torch.zeros(2))
        (tensor([0., 0.]), tensor([ 2., 20.]))
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, each: bool | None = None) -> None:
        super().__init__()
        self.each = each
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    @property
    def is_started(self) -> bool:
        """Whether shift and scale are of some data."""
        return self.shift.dim() > 0

    def start(self, x: Tensor) -> None:
        """Take shift and scale from training data `(N, *shape)`; a value that never changes gets
        the scale of all.
        """
        if bool(((x == 0) | (x == 1)).all()):
            self.shift, self.scale = self.shift.new_zeros(()), self.scale.new_ones(())
            return
        wide = x.detach().double()
        deviation = wide.var(0, correction=0).sqrt()
        overall = deviation.square().mean().sqrt()
        if not overall > 0:
            overall = torch.ones_like(overall)
        each = x.dim() == 2 if self.each is None else self.each
        scale = torch.where(deviation > 0, deviation, overall) if each else overall
        # of a dimension, by which one that has started is known
        shift = wide.mean(0).reshape(wide.shape[1:] or (1,))
        self.shift, self.scale = shift.to(self.shift), scale.to(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        check_kind("x", x, Tensor, "a tensor (..., *shape)")
        if not self.is_started:
            return x
        if self.shift.numel() > 1 and x.shape[-self.shift.dim() :] != self.shift.shape:
            refuse("x", x, f"(..., {', '.join(map(str, self.shift.shape))})")
        return (x - self.shift) / self.scale

    def undo(self, y: Tensor) -> Tensor:
        """shift + scale y, the value whose standardised one is y."""
        return self.shift + self.scale * y if self.is_started else y

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Take buffers of any shape, or none: the identity."""
        for name, identity in (("shift", torch.zeros(())), ("scale", torch.ones(()))):
            kept = state_dict.get(prefix + name, identity)
            state_dict = {**state_dict, prefix + name: kept}
            setattr(
                self, name, torch.empty_like(kept, dtype=self.shift.dtype, device=self.shift.device)
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def default_latent_dim(shape: Sequence[int]) -> int:
    """Latent units for data of a shape, if nobody says: twice the root of its size, 2 to 50."""
    return min(50, max(2, round(2 * math.sqrt(math.prod(shape)))))


def made(name: str, factory: Any, *arguments: Any) -> nn.Module:
    """The net that a class, or a function, makes of these arguments; a ValueError names the
    argument that it was.
    """
    check_callable(name, factory, "a class of networks")
    try:
        net = None if isinstance(factory, nn.Module) else factory(*arguments)
    except (TypeError, AttributeError) as error:
        told = ", ".join(map(str, arguments))
        raise ValueError(
            f"{name}: {shown(factory)} cannot be called with ({told}): {error}"
        ) from error
    if not isinstance(net, nn.Module):
        refuse(name, factory, "a class of networks")
    return net


def last_parameter(net: nn.Module) -> Tensor:
    """A copy of a net's last parameter: whoever kept it can tell later whether the net was trained,
    or loaded.
    """
    return next((p.detach().clone() for p in reversed(list(net.parameters()))), torch.zeros(0))


class Gated(nn.Module):
    """A gated linear layer, `(W x + b) * sigmoid(V x + c)` (Dauphin et al., 2017)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.glu(self.linear(x), dim=-1)


def _dense(sizes: Sequence[int], activation: type[nn.Module] | None) -> nn.Sequential:
    """Dense layers of the given sizes, gated where `activation` is None."""
    if activation is not None:
        check_activation("activation", activation)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        check_layer("hidden", n_in, n_out)
        layers += (
            [Gated(n_in, n_out)] if activation is None else [nn.Linear(n_in, n_out), activation()]
        )
    return nn.Sequential(*layers)


class MLP(nn.Module):
    """A multilayer perceptron over flattened data: `(..., *shape)` to `(..., hidden[-1])`.

    Args:
        shape: shape of one datum, or its number of values.
        hidden: units of each hidden layer; empty gives the identity, so that a linear head on it is
            a linear encoder.
        activation: class of the nonlinearity.

    Example:
        >>> MLP((1, 8, 8), (32,))(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        hidden: Sequence[int] = (200, 200),
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        check_activation("activation", activation)
        self._build(shape, hidden, activation)

    def _build(
        self, shape: int | Sequence[int], hidden: Sequence[int], activation: type[nn.Module] | None
    ) -> None:
        self.shape = check_sizes("shape", shape)
        sizes = (math.prod(self.shape), *check_sizes("hidden", hidden))
        self.out_features = sizes[-1]
        self.layers = _dense(sizes, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(_flatten(x, self.shape))


class GatedMLP(MLP):
    """A multilayer perceptron of gated layers, `h * sigmoid(g)`; otherwise as `MLP`."""

    def __init__(self, shape: int | Sequence[int], hidden: Sequence[int] = (300, 300)) -> None:
        nn.Module.__init__(self)
        self._build(shape, hidden, None)


def _flatten(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`(..., *shape)` to `(..., prod(shape))`; data that is flat already passes."""
    if not shape:  # a datum is one value
        return x[..., None]
    if x.shape[-len(shape) :] == shape:
        return x.flatten(-len(shape)) if len(shape) > 1 else x
    if x.shape[-1:] == (math.prod(shape),):
        return x
    raise ValueError(f"x: got shape {tuple(x.shape)}, expected (..., {', '.join(map(str, shape))})")


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
        self.dense = _dense(sizes, activation)
        self.out_features = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[: x.dim() - 3]
        if x.shape[-3:] != self.shape:
            raise ValueError(
                f"x: got shape {tuple(x.shape)}, expected (..., {', '.join(map(str, self.shape))})"
            )
        return self.dense(self.convolutions(x.reshape(-1, *self.shape))).reshape(
            *lead, self.out_features
        )


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


class MLPDecoder(nn.Module):
    """A multilayer perceptron from a latent `(..., latent_dim)` to `(..., num_outputs, *shape)`.

    Example:
        >>> MLPDecoder(2, (16,), (1, 8, 8), 1)(torch.zeros(3, 5, 2)).shape
        torch.Size([3, 5, 1, 1, 8, 8])
    """

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int],
        shape: Sequence[int],
        num_outputs: int,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        check_integer("latent_dim", latent_dim, 1)
        self._build(MLP(latent_dim, hidden, activation), shape, num_outputs)

    def _build(self, trunk: MLP, shape: Sequence[int], num_outputs: int) -> None:
        check_integer("num_outputs", num_outputs, 1)
        self.out_shape = (num_outputs, *check_sizes("shape", shape))
        self.trunk = trunk
        check_layer("shape", trunk.out_features, math.prod(self.out_shape))
        self.head = nn.Linear(trunk.out_features, math.prod(self.out_shape))

    @property
    def bias(self) -> Tensor:
        """The output's bias as a view of shape (num_outputs, *shape)."""
        return self.head.bias.view(self.out_shape)

    def forward(self, z: Tensor) -> Tensor:
        return self.head(self.trunk(z)).unflatten(-1, self.out_shape)


class GatedDecoder(MLPDecoder):
    """As `MLPDecoder`, with gated layers."""

    def __init__(
        self, latent_dim: int, hidden: Sequence[int], shape: Sequence[int], num_outputs: int
    ) -> None:
        nn.Module.__init__(self)
        check_integer("latent_dim", latent_dim, 1)
        self._build(GatedMLP(latent_dim, hidden), shape, num_outputs)


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
        self.dense = _dense(
            (latent_dim, *check_sizes("hidden", hidden), math.prod(self.grid)), activation
        )
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths[:-1]):
            layers += [nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1), activation()]
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
