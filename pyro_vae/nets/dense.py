"""Multilayer perceptrons, plain and gated: trunks and decoders.

References:
    Dauphin, Fan, Auli, Grangier (2017). Language modeling with gated convolutional networks.
        arXiv:1612.08083.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from pyro_vae.arguments import check_activation, check_integer, check_layer, check_sizes


class Gated(nn.Module):
    """A gated linear layer, `(W x + b) * sigmoid(V x + c)`."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.glu(self.linear(x), dim=-1)


class MLP(nn.Module):
    """A multilayer perceptron over flattened data: `(..., *shape)` to `(..., hidden[-1])`.

    Args:
        shape: shape of one datum, or its number of values.
        hidden: units of each hidden layer; empty gives the identity, and a linear head on that is
            a linear encoder.
        activation: class of the nonlinearity.

    Example:
        >>> import torch
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
        self.layers = dense_layers(sizes, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(_flatten(x, self.shape))


class GatedMLP(MLP):
    """A multilayer perceptron of gated layers, `h * sigmoid(g)`; otherwise the same as `MLP`."""

    def __init__(self, shape: int | Sequence[int], hidden: Sequence[int] = (300, 300)) -> None:
        nn.Module.__init__(self)
        self._build(shape, hidden, None)


class MLPDecoder(nn.Module):
    """A multilayer perceptron from a latent `(..., latent_dim)` to `(..., num_outputs, *shape)`.

    Example:
        >>> import torch
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
        """The output's bias as a view of shape `(num_outputs, *shape)`."""
        return self.head.bias.view(self.out_shape)

    def forward(self, z: Tensor) -> Tensor:
        return self.head(self.trunk(z)).unflatten(-1, self.out_shape)


class GatedDecoder(MLPDecoder):
    """The same as `MLPDecoder`, with gated layers."""

    def __init__(
        self, latent_dim: int, hidden: Sequence[int], shape: Sequence[int], num_outputs: int
    ) -> None:
        nn.Module.__init__(self)
        check_integer("latent_dim", latent_dim, 1)
        self._build(GatedMLP(latent_dim, hidden), shape, num_outputs)


def dense_layers(sizes: Sequence[int], activation: type[nn.Module] | None) -> nn.Sequential:
    """Dense layers of the given sizes, gated where `activation` is None."""
    if activation is not None:
        check_activation("activation", activation)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        check_layer("hidden", n_in, n_out)
        if activation is None:
            layers.append(Gated(n_in, n_out))
        else:
            layers += [nn.Linear(n_in, n_out), activation()]
    return nn.Sequential(*layers)


def _flatten(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`(..., *shape)` to `(..., prod(shape))`; data that are flat already pass."""
    if not shape:  # a datum is one value
        return x[..., None]
    if x.shape[-len(shape) :] == shape:
        return x.flatten(-len(shape)) if len(shape) > 1 else x
    if x.shape[-1:] == (math.prod(shape),):
        return x
    raise ValueError(f"x: got shape {tuple(x.shape)}, expected (..., {', '.join(map(str, shape))})")
