"""Missing values on their way from a file, or a tensor, to the rows of a visit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_vae.data import Split, as_dataset, load

RNG = np.random.RandomState(0)
REAL = RNG.rand(20, 6).astype(np.float32) + 1
GREY = RNG.randint(0, 256, (20, 4, 4)).astype(np.uint8)
MASK = RNG.rand(20, 6) < 0.8
HOLES = np.where(MASK, REAL, np.nan)


def test_nan_in_floats_stays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", HOLES)
    data = load(tmp_path / "x.npy")
    assert data.binarise == "none" and "of the values missing" in repr(data)
    assert data.missing == pytest.approx((~MASK).mean())
    assert data.bits_per_dim(-3.0) is None
    numbers = data.train.numbers()
    np.testing.assert_array_equal(data.train.x.isnan().numpy(), ~MASK[numbers])
    np.testing.assert_allclose(data.mean, np.nanmean(HOLES[numbers], 0), rtol=1e-6)
    assert "missing)" in repr(data.train)
    assert torch.equal(as_dataset(torch.tensor(HOLES), 0).train.x.isnan(), torch.tensor(~MASK))


def test_zeros_and_ones_with_nan_are_binary() -> None:
    x = np.where(MASK, (REAL > 1.5).astype(float), np.nan)
    data = as_dataset(x, 0)
    assert data.is_binary and data.train.pixels.dtype == torch.float32
    assert set(data.train.x[torch.tensor(MASK)].unique().tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match="pixels, counts, categories"):
        as_dataset(np.where(MASK, np.rint(4 * REAL), np.nan))


def test_a_mask_in_an_npz(tmp_path: Path) -> None:
    mask = RNG.rand(20, 4, 4) < 0.7
    np.savez(tmp_path / "x.npz", x=GREY, mask=mask, y=np.arange(20) % 3)
    data = load(tmp_path / "x.npz", values="pixels")
    there = torch.tensor(mask[data.train.numbers()])[:, None]
    grey = torch.tensor(GREY[data.train.numbers()])[:, None] / 255
    assert torch.equal(data.train.x.isnan(), ~there) and data.train.labels is not None
    torch.testing.assert_close(data.train.x[there], grey[there])

    parts = {"train": HOLES[:15], "test": HOLES[15:], "mask_test": np.arange(5) > 0}
    np.savez(tmp_path / "parts.npz", **parts)
    data = load(tmp_path / "parts.npz")
    assert data.test.x[0].isnan().all() and not data.test.x[1].isnan().all()


@pytest.mark.parametrize("mask", [MASK.astype(int), MASK[:5], np.ones((20, 7), bool)])
def test_masks_that_are_none(mask: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=REAL, mask=mask)
    with pytest.raises(ValueError, match=r"its mask is .* expected bools of the shape"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("rule", ["dynamic", "static", "threshold", "none"])
def test_what_is_missing_is_missing_in_each_draw(rule: Any) -> None:
    pixels = torch.tensor(HOLES).float() - 1
    missing = pixels.isnan()
    split = Split("train", pixels, rule)
    assert torch.equal(split.x.isnan(), missing)
    batch = split.batch(torch.arange(20), torch.Generator().manual_seed(0))
    assert torch.equal(batch.isnan(), missing)
    if rule != "none":
        assert set(batch[~missing].unique().tolist()) == {0.0, 1.0}
        whole = Split("train", pixels.nan_to_num(), rule)  # the same draws where nothing is missing
        assert torch.equal(whole.x[~missing], split.x[~missing])
