from __future__ import annotations

import pytest
import torch
from torch import nn

from pyro_vae.guides import Amortized, EncoderGuide, MeanField
from pyro_vae.nets import (
    MLP,
    Conv,
    ConvDecoder,
    GatedDecoder,
    GatedMLP,
    MLPDecoder,
    Standardise,
    WithMask,
)

IMAGE = (1, 9, 7)
TRUNKS = [MLP, GatedMLP, Conv]
DECODERS = [MLPDecoder, GatedDecoder, ConvDecoder]


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("lead", [(), (5,), (3, 5)])
def test_trunk_maps_any_leading_shape_datum_by_datum(trunk: type, lead: tuple[int, ...]) -> None:
    net = trunk(IMAGE, (12, 6))
    x = torch.rand(*lead, *IMAGE)
    out = net(x)
    assert out.shape == (*lead, 6) and net.out_features == 6
    torch.testing.assert_close(out.reshape(-1, 6)[-1], net(x.reshape(-1, *IMAGE)[-1]))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("num_outputs", [1, 2])
def test_decoder_shapes_and_bias(decoder: type, num_outputs: int) -> None:
    net = decoder(4, (12,), (2, 9, 7), num_outputs)
    z = torch.randn(3, 5, 4)
    before = net(z)
    assert before.shape == (3, 5, num_outputs, 2, 9, 7)
    with torch.no_grad():
        net.bias.add_(1.5)
    torch.testing.assert_close(net(z), before + 1.5)


def test_gated_layer_is_the_product_of_a_linear_and_a_sigmoid_map() -> None:
    net = GatedMLP(3, (2,))
    linear = net.layers[0].linear
    x = torch.randn(4, 3)
    a, b = linear(x).chunk(2, -1)
    torch.testing.assert_close(net(x), a * torch.sigmoid(b))


def test_standardise_is_the_identity_until_started_and_its_own_inverse_after() -> None:
    x = torch.tensor([0.0, 10.0]) + torch.tensor([1.0, 100.0]) * torch.randn(500, 2)
    units = Standardise()
    assert torch.equal(units(x), x) and units.undo(x) is x
    units.start(x)
    y = units(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(0), torch.ones(2), atol=2e-3, rtol=0)
    torch.testing.assert_close(units.undo(y), x)
    units.start(2 * x)  # other data, other units
    torch.testing.assert_close(units(2 * x), y)


def test_pixels_have_one_scale_constants_the_common_one_and_bits_none() -> None:
    image, table, bits = Standardise(), Standardise(), Standardise()
    image.start(torch.rand(50, 1, 4, 4))
    assert image.scale.dim() == 0 and image.shift.shape == (1, 4, 4)
    table.start(torch.stack([torch.full((50,), 3.0), torch.randn(50)], 1))
    assert table.scale[0] > 0 and torch.isfinite(table(torch.zeros(1, 2))).all()
    bits.start(torch.randint(0, 2, (50, 3)).float())
    assert not bits.is_started


def test_weights_that_were_kept_without_units_load_as_the_identity() -> None:
    net = nn.Sequential(Standardise(), nn.Linear(2, 2))
    net[0].start(torch.randn(50, 2))
    old = {name: value for name, value in net.state_dict().items() if not name.startswith("0.")}
    other = nn.Sequential(Standardise(), nn.Linear(2, 2))
    other.load_state_dict(old)
    assert not other[0].is_started
    other.load_state_dict(net.state_dict())
    assert torch.equal(other[0].shift, net[0].shift) and other[0].is_started
    other.load_state_dict(old)  # of weights that never saw units
    assert not other[0].is_started


def test_no_hidden_layer_is_the_identity_on_flat_data() -> None:
    x = torch.rand(5, *IMAGE)
    torch.testing.assert_close(MLP(IMAGE, ())(x), x.flatten(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP((1, 8, 8), (0,)), "hidden: got"),
        (lambda: MLP((1, 0), (4,)), "shape: got"),
        (lambda: Conv(64), "convolutions need images"),
        (lambda: ConvDecoder(2, (4,), (64,), 1), "convolutions need images"),
        (lambda: MLP((1, 8, 8))(torch.zeros(5, 9)), r"x: got shape \(5, 9\)"),
        (lambda: Conv((1, 8, 8))(torch.zeros(5, 1, 8, 9)), r"x: got shape"),
    ],
)
def test_bad_sizes_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_standardise_leaves_missing_values_out_and_puts_the_mean_in_their_place() -> None:
    x = torch.tensor([[1.0, 10.0], [3.0, torch.nan], [torch.nan, 30.0]])
    units = Standardise()
    units.start(x)
    assert torch.equal(units.shift, torch.tensor([2.0, 20.0]))
    assert torch.equal(units.scale, torch.tensor([1.0, 10.0]))
    assert torch.equal(units(x), torch.tensor([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]]))

    zeros_and_ones = torch.tensor([[1.0, 0.0], [0.0, torch.nan], [1.0, 0.0], [1.0, 1.0]])
    units.start(zeros_and_ones)  # centred, in units of their own
    torch.testing.assert_close(units.shift, torch.tensor([0.75, 1 / 3]))
    assert units.scale == 1 and units(zeros_and_ones)[1, 1] == 0
    assert Standardise()(x)[1, 1] == 0  # not started


@pytest.mark.parametrize("shape", [(), (4,), (1, 4, 4)])
def test_an_encoder_sees_the_mask(shape: tuple[int, ...]) -> None:
    trunk = Conv if len(shape) == 3 else MLP
    guide = Amortized(MeanField(2), WithMask(shape, (3,), trunk))
    x = torch.rand(5, *shape)
    guide.start(x)
    mean = guide.standardise.shift.expand(x.shape) + 0 * x
    missing = torch.full_like(x, torch.nan)
    # to a net without the mask both are the same
    assert torch.equal(guide.standardise(mean), guide.standardise(missing))
    assert not torch.equal(guide.params(mean), guide.params(missing))
    assert torch.isfinite(guide.params(missing)).all()


def test_the_mask_by_a_flag() -> None:
    guide = EncoderGuide((1, 8, 8), 2, (3,), encoder=Conv, mask=True)
    assert isinstance(guide.encoder, WithMask) and guide.encoder.out_features == 3
    assert isinstance(EncoderGuide((4,), 2, (3,)).encoder, MLP)
