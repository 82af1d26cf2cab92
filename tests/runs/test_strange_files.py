"""Links, and files that are larger than they look."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyro_vae.data.files import read_path
from pyro_vae.inference.weights import NAME as WEIGHTS
from tests.runs.folder import call


@pytest.mark.parametrize(
    "command",
    [
        "sample run",
        "reconstruct run --num_data 4",
        "embed run --num_data 4",
        "export run --num_data 2 --num_draws 5",
    ],
)
def test_a_link_is_replaced_and_not_followed(command: str, run: Path) -> None:
    name = {
        "sample": "samples.png",
        "reconstruct": "reconstructions.png",
        "embed": "embedding.csv",
        "export": "draws.nc",
    }[command.split()[0]]
    Path("precious").write_text("mine")
    (run / name).symlink_to(Path("precious").resolve())
    assert call(command) == 0
    assert Path("precious").read_text() == "mine" and not (run / name).is_symlink()


def test_a_folder_that_is_a_link_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("elsewhere").mkdir()
    for name in ("ledger", "earlier"):
        (run / name).symlink_to(Path("elsewhere").resolve())
    assert call("compare run --num_data 3 --guides amortized") == 2
    (run / "evidence.json").write_text("{}")
    assert call("evidence run --num_data 3 --method.num_particles 5") == 2
    assert "is a link, expected a folder" in capsys.readouterr().err
    assert not any(Path("elsewhere").iterdir()) and (run / "evidence.json").read_text() == "{}"


def test_a_lock_that_is_a_link(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("precious").write_text("mine")
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(Path("precious").resolve())
    assert call("resume run") == 2
    assert ".lock is a link" in capsys.readouterr().err and Path("precious").read_text() == "mine"


def test_a_stranger_s_other_files_of_a_folder_are_left_alone(run: Path) -> None:
    Path("precious").write_text("mine")
    (run / ".checkpoint.pt.x").symlink_to(Path("precious").resolve())
    assert call("resume run --quiet true") == 0
    assert Path("precious").read_text() == "mine" and not (run / ".checkpoint.pt.x").is_symlink()


def test_a_bomb_of_numbers(tmp_path: Path) -> None:
    """A header of 400 MB of zeros that need not be written out: only what the archive says of its
    size is read.
    """
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (4 * 10**8,)}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as file,
    ):
        file.write(header.getvalue())
        for _ in range(40):
            file.write(bytes(10**7))
    with pytest.raises(ValueError, match=r"unpacks to 400,\d+,\d+ bytes, \d,\d+ times its size"):
        read_path(path)


def test_numbers_that_compress_well_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", np.zeros((1000, 1000)))
    assert read_path(tmp_path / "x.npz")["all"].shape == (1000, 1000)


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    )
    (tmp_path / "x.npy").write_bytes(header.getvalue())
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ValueError, match="cannot be read as numpy arrays"):
            read_path(tmp_path / name)


def test_a_bomb_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (200, 200)).save(tmp_path / "x.png")
    for limit in (30_000, 10_000):  # Pillow warns above its limit and refuses above twice as much
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match="cannot be read as an image"):
            read_path(tmp_path)


def test_weights_of_any_size_are_not_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(run / WEIGHTS, 2**33)  # a file with a hole
    assert call("info run") == 2
    assert "expected at most" in capsys.readouterr().err
