"""Splits: the dynamic draw against its probabilities, the fixed draw, fingerprints, moves, cuts."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor

from pyro_vae.data import Binarise, Dataset, Split, fingerprint
from pyro_vae.data.binarise import BINARY, RULES, bernoulli_draw, fast_bernoulli_draw, random_bits

GREY = torch.arange(256, dtype=torch.uint8).view(16, 1, 4, 4)
REAL = torch.linspace(0, 1, 256).view(16, 16)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_draw_has_the_probability_of_the_pixel(kind: str, device: str) -> None:
    n = 10_000
    values = torch.arange(256, dtype=torch.uint8, device=device)
    p = values.double() / 255
    pixels = values if kind == "uint8" else p.float()
    noise = torch.Generator(device=device).manual_seed(1)
    x = bernoulli_draw(pixels.expand(n, 256), noise)
    error = (x.double().mean(0) - p).abs()
    std_error = (p * (1 - p) / n).sqrt()
    print(f"largest error {(error / std_error)[1:-1].max():.2f} standard errors, n = {n}")
    assert (error <= 5 * std_error).all()  # 0 and 255 have no error at all
    total = math.sqrt(float((std_error**2).sum()))
    print(
        f"sum {float(x.double().mean(0).sum()):.4f}, truth {float(p.sum()):.4f},"
        f" standard error {total:.4f}"
    )
    # a bias common to all values would show
    assert abs(float(x.double().mean(0).sum() - p.sum())) <= 5 * total
    assert x.dtype == torch.float32 and set(x.unique().tolist()) == {0.0, 1.0}


def test_black_and_white_never_flicker() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8)
    x = bernoulli_draw(pixels.expand(500_000, 2), generator())
    assert not x[:, 0].any() and x[:, 1].all()


def test_dynamic_batches_are_fresh_and_reproducible() -> None:
    split = Split("train", GREY, "dynamic")
    index = torch.tensor([3, 8, 8])
    noise = generator()
    first, second = split.batch(index, noise), split.batch(index, noise)
    assert first.shape == (3, 1, 4, 4) and first.dtype == torch.float32
    assert not torch.equal(first, second)
    assert not torch.equal(first[1], first[2])  # two visits of one row in one batch are two draws
    assert torch.equal(first, split.batch(index, generator()))


@pytest.mark.parametrize("rule", ["static", "threshold", "none"])
@pytest.mark.parametrize("pixels", [GREY, REAL], ids=["uint8", "float"])
def test_other_rules_train_on_the_evaluation_draw(rule: Binarise, pixels: Tensor) -> None:
    split = Split("train", pixels, rule)
    index, noise = torch.tensor([5, 0]), generator()
    before = noise.get_state()
    assert torch.equal(split.batch(index, noise), split.x[index])
    assert torch.equal(noise.get_state(), before)


def test_threshold_and_none_are_what_they_say() -> None:
    p = torch.arange(256).view(16, 1, 4, 4) / 255
    assert torch.equal(Split("train", GREY, "none").x, p)
    assert torch.equal(Split("train", GREY, "threshold").x, (p > 0.5).float())
    assert torch.equal(Split("train", REAL, "threshold").x, (REAL > 0.5).float())
    raw = torch.randn(5, 3, generator=generator())
    assert torch.equal(Split("train", raw, "none").x, raw)


def test_binary_pixels_are_left_alone_by_every_rule() -> None:
    bits = torch.randint(0, 2, (7, 9), generator=generator())
    for rule in (*BINARY, "none"):
        split = Split("train", (bits * 255).to(torch.uint8), rule)  # type: ignore[arg-type]
        assert torch.equal(split.x, bits.float())
        assert torch.equal(split.batch(torch.arange(7), generator(3)), bits.float())


def test_evaluation_draw_hangs_on_seed_and_name_only() -> None:
    split = Split("test", GREY, "dynamic", seed=4)
    split.batch(torch.arange(16), generator())
    torch.manual_seed(123)
    same = Split("test", GREY.clone(), "static", seed=4)
    assert split.fingerprint == same.fingerprint == fingerprint(split.x)
    others = [Split("test", GREY, "dynamic", seed=5), Split("valid", GREY, "dynamic", seed=4)]
    assert len({split.fingerprint, *(other.fingerprint for other in others)}) == 3
    assert split.x is split.x


def test_global_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    Split("test", GREY, "dynamic").batch(torch.arange(3), generator())
    assert Split("test", GREY, "dynamic").x.any()
    assert torch.equal(torch.get_rng_state(), before)


def test_fingerprint_sees_values_shape_and_dtype() -> None:
    x = torch.arange(6, dtype=torch.float32)
    others = [x.view(2, 3), x.int(), x.double(), x.flip(0)]
    assert len({fingerprint(x), *map(fingerprint, others)}) == 5
    assert fingerprint(x.view(2, 3).T.contiguous()) == fingerprint(x.view(2, 3).T)
    assert len(fingerprint(x)) == 16 and int(fingerprint(x), 16) >= 0
    for odd in (torch.tensor(1.0), torch.empty(0, 3), torch.tensor([True]), x.bfloat16()):
        assert len(fingerprint(odd)) == 16


def test_mean() -> None:
    mean = Split("train", GREY, "dynamic").mean
    assert mean.shape == (1, 4, 4) and mean.dtype == torch.float32
    assert torch.allclose(mean, GREY.float().mean(0) / 255, rtol=1e-6)
    assert torch.allclose(Split("train", REAL - 3, "none").mean, (REAL - 3).mean(0), rtol=1e-6)
    white = torch.full((3, 2), 255, dtype=torch.uint8)
    assert Split("train", white, "none").mean.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rule", RULES)
def test_take_keeps_the_rows_of_the_evaluation_draw(rule: Binarise) -> None:
    split = Split("test", GREY, rule)
    part = split.take(5)
    assert len(part) == 5 and torch.equal(part.x, split.x[:5])
    assert torch.equal(part.take(2).x, split.x[:2])
    assert torch.equal(part.to("cpu").x, split.x[:5])
    assert split.take(16).fingerprint == split.fingerprint
    for n in (0, 17, -1):
        with pytest.raises(ValueError, match=f"n={n}: expected 1 <= n <= 16"):
            split.take(n)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES)
def test_moving_changes_neither_draw_nor_fingerprint(rule: Binarise, device: str) -> None:
    fresh, used = Split("test", GREY, rule), Split("test", GREY, rule)
    expected = used.fingerprint
    for moved in (fresh.to(device), used.to(device)):
        assert moved.x.device.type == moved.pixels.device.type == device
        assert moved.fingerprint == expected
        assert moved.mean.cpu().equal(fresh.mean)
        x = moved.batch(torch.arange(4, device=device), torch.Generator(device=device))
        assert x.device.type == device and x.shape == (4, 1, 4, 4)


def test_split_survives_pickling_and_tells_what_it_is() -> None:
    split = Split("test", GREY, "dynamic", seed=2)
    assert pickle.loads(pickle.dumps(split)).fingerprint == split.fingerprint
    assert (
        repr(split)
        == "Split('test', 16 x (1, 4, 4) uint8, binarise='dynamic', seed=2, device='cpu')"
    )


@pytest.mark.parametrize(
    ("pixels", "rule", "error", "message"),
    [
        (
            GREY,
            "maybe",
            ValueError,
            "binarise='maybe': expected one of 'dynamic', 'static',"
            " 'threshold', 'dequantise', 'none'",
        ),
        (GREY.half(), "none", ValueError, "torch.float16, expected torch.uint8"),
        (REAL, "dequantise", ValueError, "fills the gaps between the grey levels"),
        (GREY[:0], "none", ValueError, "expected \\(N, ...\\) with at least one row"),
        (GREY[0, 0, 0, 0], "none", ValueError, "shape \\(\\), expected \\(N, ...\\)"),
        (REAL.log(), "none", ValueError, "hold inf; drop"),
        (REAL * torch.nan, "none", ValueError, "are NaN, expected some that are there"),
        (REAL * 2, "dynamic", ValueError, "lie in \\[0, 2\\]; rescale"),
        (REAL - 0.5, "static", ValueError, "lie in \\[-0.5, 0.5\\]"),
        (REAL * 255, "threshold", ValueError, "save grey pixels as uint8"),
    ],
)
def test_bad_pixels(pixels: Tensor, rule: Binarise, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Split("train", pixels, rule)


def test_bad_index() -> None:
    split = Split("train", GREY, "dynamic")
    for index in (
        torch.zeros(16, dtype=torch.bool),
        torch.zeros(2, 2, dtype=torch.int64),
        torch.tensor(3),
    ):
        with pytest.raises(ValueError, match=r"index: expected \(B,\) torch.int64"):
            split.batch(index, generator())


def test_generator_on_another_device() -> None:
    split = Split("train", torch.zeros(2, 2, dtype=torch.uint8), "dynamic")
    object.__setattr__(split, "pixels", split.pixels.to("meta"))
    with pytest.raises(ValueError, match=r"generator: it is on cpu, the pixels are on meta"):
        split.batch(torch.zeros(1, dtype=torch.int64), generator())


def test_dataset() -> None:
    train, test = Split("train", GREY, "static"), Split("test", GREY[:3], "static")
    data = Dataset("grey", train, None, test)
    assert (data.shape, data.size, data.binarise) == ((1, 4, 4), 16, "static")
    assert torch.equal(data.mean, train.mean)
    assert data.to("cpu").test.fingerprint == test.fingerprint and data.to("cpu").valid is None
    with pytest.raises(
        ValueError, match=r"a row of test has shape \(16,\), a row of train \(1, 4, 4\)"
    ):
        Dataset("grey", train, None, Split("test", GREY.view(16, 16), "static"))
    with pytest.raises(ValueError, match="test is 'none', train is 'static'"):
        Dataset("grey", train, None, Split("test", GREY, "none"))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_16_bits_a_pixel_give_each_its_probability_to_a_131072nd(dtype: torch.dtype) -> None:
    # all 65,536 values of the bits once, under every grey value: exact probabilities, no estimate
    bits = torch.arange(-(2**15), 2**15).float()[:, None]
    grey = torch.arange(256, dtype=torch.uint8)
    pixels = grey if dtype == torch.uint8 else grey.float() / 255
    p = fast_bernoulli_draw(pixels.expand(65536, 256), bits.expand(-1, 256)).double().mean(0)
    assert ((p - grey.double() / 255).abs() <= 0.5 / 65536 + 1e-9).all()
    assert p[0] == 0 and p[255] == 1


def test_random_bits_are_uniform_and_seeded() -> None:
    bits = random_bits((1000, 333), generator(1))
    assert bits.shape == (1000, 333) and bits.dtype == torch.float32
    assert torch.equal(bits, random_bits((1000, 333), generator(1)))
    counts = torch.bincount(bits.flatten().int() + 32768, minlength=65536).view(256, 256).double()
    expected = bits.numel() / 256
    # low and high byte: chi-squared with 255 degrees of freedom, 5 standard deviations
    for axis in (0, 1):
        chi = ((counts.sum(axis) - expected) ** 2 / expected).sum()
        assert abs(chi - 255) < 5 * (2 * 255) ** 0.5


def test_bits_are_for_the_dynamic_rule_alone() -> None:
    assert Split("train", GREY, "static").bits(3, generator()) is None
    assert Split("train", GREY, "dynamic").bits(3, generator()).shape == (3, *GREY.shape[1:])  # type: ignore[union-attr]


def test_dequantised_pixels_are_uniform_in_their_cells() -> None:
    pixels = torch.randint(0, 256, (400, 30), dtype=torch.uint8, generator=generator(1))
    split = Split("train", pixels, "dequantise")
    for x in (split.x, split.batch(torch.arange(400), generator(2))):
        u = x * 256 - pixels  # uniform on [0, 1)
        assert u.min() >= 0 and u.max() <= 1
        assert abs(u.mean().item() - 0.5) < 5 * math.sqrt(1 / 12 / u.numel())
        assert abs(u.var().item() - 1 / 12) < 5 * math.sqrt(1 / 180 / u.numel())
    assert not torch.equal(split.x, split.batch(torch.arange(400), generator(2)))
    # the evaluation draw is fixed
    assert torch.equal(split.x, Split("train", pixels, "dequantise").x)
    torch.testing.assert_close(
        split.mean, split.x.mean(0), atol=5 / 256 / math.sqrt(12 * 400), rtol=0
    )


def test_bits_per_dim_of_known_densities() -> None:
    pixels = torch.randint(0, 255, (20, 12), dtype=torch.uint8)
    splits = [Split(name, pixels, "dequantise") for name in ("train", "test")]
    grey = Dataset("grey", splits[0], None, splits[1])
    # the uniform density knows nothing of a byte
    assert grey.bits_per_dim(0.0) == pytest.approx(8.0)
    assert grey.bits_per_dim(12 * math.log(256)) == pytest.approx(0.0)  # all mass in the right cell
    binary = grey.under("dynamic")
    assert binary.bits_per_dim(-12 * math.log(2)) == pytest.approx(1.0)
    real = Split("train", torch.rand(20, 3), "none")
    assert Dataset("real", real, None, real).bits_per_dim(-1.0) is None
