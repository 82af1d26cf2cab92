"""The units of the data, taken out and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_kind, refuse


class Standardise(nn.Module):
    """(x - shift) / scale, with shift and scale of the training data; the identity until `start`.

    The shift is the mean of each value. The scale is one number for images, whose pixels have one
    unit, and a number for each column of a table (or where `each` asks for it). Zeros and ones have
    no units: they stay as they are. A missing value (NaN) is left out of mean and scale, and comes
    out as 0, the mean; so zeros and ones are centred where some are missing. Shift and scale are
    buffers, so they are saved with the weights; weights that were saved without them load as the
    identity.

    Args:
        each: whether each value has a scale of its own; None goes by the shape of the data.

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
        """Whether shift and scale were taken from data."""
        return self.shift.dim() > 0

    def start(self, x: Tensor) -> None:
        """Take shift and scale from training data `(N, *shape)`; a value that never changes gets
        the scale of all values together.
        """
        missing = x.isnan()
        some = bool(missing.any())
        binary = bool(((x == 0) | (x == 1) | missing).all())
        if binary and not some:
            self.shift, self.scale = self.shift.new_zeros(()), self.scale.new_ones(())
            return

        wide = x.detach().double()
        mean = wide.nanmean(0).nan_to_num() if some else wide.mean(0)
        deviation = wide.var(0, correction=0).sqrt()
        if some:
            deviation = (wide - mean).square().nanmean(0).nan_to_num().sqrt()
        overall = deviation.square().mean().sqrt()
        if not overall > 0:
            overall = torch.ones_like(overall)

        each = x.dim() == 2 if self.each is None else self.each
        scale = torch.where(deviation > 0, deviation, overall) if each else overall
        if binary:  # they have no units
            scale = torch.ones_like(overall)

        # with at least one dimension, which tells a module that has started
        shift = mean.reshape(wide.shape[1:] or (1,))
        self.shift, self.scale = shift.to(self.shift), scale.to(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        check_kind("x", x, Tensor, "a tensor (..., *shape)")
        if not self.is_started:
            return _filled(x)
        if self.shift.numel() > 1 and x.shape[-self.shift.dim() :] != self.shift.shape:
            refuse("x", x, f"(..., {', '.join(map(str, self.shift.shape))})")
        return _filled((x - self.shift) / self.scale)

    def undo(self, y: Tensor) -> Tensor:
        """shift + scale y, the value whose standardised one is y."""
        return self.shift + self.scale * y if self.is_started else y

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Take buffers of any shape, or none: the identity."""
        for name, identity in (("shift", torch.zeros(())), ("scale", torch.ones(()))):
            kept = state_dict.get(prefix + name, identity)
            state_dict = {**state_dict, prefix + name: kept}
            room = torch.empty_like(kept, dtype=self.shift.dtype, device=self.shift.device)
            setattr(self, name, room)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _filled(x: Tensor) -> Tensor:
    """The same with 0 for NaN."""
    return x.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
