"""Arrays from folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae.data import load
from tests.data.arrays import GREY, images


@pytest.mark.parametrize("suffix", ["png", "bmp", "PNG"])
def test_folder_of_grey_images(suffix: str, tmp_path: Path) -> None:
    folder = images(tmp_path, GREY, suffix)
    (folder / "notes.txt").write_text("not an image")
    (folder / "._000.png").write_text("what macOS leaves behind")
    data = load(folder)
    assert data.shape == (1, 4, 5) and data.name == tmp_path.name and len(data.train) == 16
    np.save(tmp_path / "same.npy", GREY)
    assert torch.equal(load(tmp_path / "same.npy").train.pixels, data.train.pixels)


def test_folder_of_rgb_images(tmp_path: Path) -> None:
    rgb = np.stack([GREY, 255 - GREY, GREY // 2], 3)
    data = load(images(tmp_path, rgb))
    np.save(tmp_path / "same.npy", rgb)
    assert data.shape == (3, 4, 5)
    assert torch.equal(load(tmp_path / "same.npy").test.pixels, data.test.pixels)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_folder_of_jpegs(suffix: str, tmp_path: Path) -> None:
    assert load(images(tmp_path, GREY, suffix)).shape == (1, 4, 5)


def test_bilevel_images_are_binary_data(tmp_path: Path) -> None:
    for number, array in enumerate(GREY):
        Image.fromarray(array).convert("1").save(tmp_path / f"{number:03d}.png")
    assert set(load(tmp_path).train.pixels.unique().tolist()) == {0, 255}


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no images"):
        load(tmp_path)
    images(tmp_path, GREY)
    last = tmp_path / "999.png"
    Image.fromarray(GREY[0, 1:]).save(last)
    with pytest.raises(
        ValueError, match=r"999.png is 5 x 3 grey, 000.png is 5 x 4 grey, expected all of one size"
    ):
        load(tmp_path)
    Image.fromarray(np.stack([GREY[0]] * 3, 2)).save(last)
    with pytest.raises(ValueError, match=r"999.png is 5 x 4 RGB, 000.png is 5 x 4 grey"):
        load(tmp_path)
    Image.fromarray(np.stack([GREY[0]] * 4, 2)).save(last)
    with pytest.raises(
        ValueError, match=r"999.png has the mode 'RGBA', expected 8-bit grey or RGB"
    ):
        load(tmp_path)
    Image.fromarray(GREY[0]).convert("P").save(last, transparency=0)
    with pytest.raises(ValueError, match=r"999.png has the mode 'P with transparency'"):
        load(tmp_path)
    Image.fromarray(GREY[0].astype(np.uint16) * 99).save(last)
    with pytest.raises(ValueError, match=r"999.png has the mode 'I;16'"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 20, 40, 50])
def test_torn_image_is_named(keep: int, tmp_path: Path) -> None:
    images(tmp_path, GREY)
    path = tmp_path / "007.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"007.png cannot be read as an image"):
        load(tmp_path)
