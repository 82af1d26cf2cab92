from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
import torch

from pyro_vae.files.atomic import write_atomically
from pyro_vae.inference.checkpoint import FORMAT, _seal, load, load_weights, save


def test_round_trip(tmp_path: Path) -> None:
    state = {"a": torch.randn(3), "b": {"c": [1, 2.5, None, "x"]}}
    save(tmp_path / "s.pt", state)
    back = load(tmp_path / "s.pt")
    assert torch.equal(back["a"], state["a"]) and back["b"] == state["b"]  # type: ignore[arg-type]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    save(tmp_path / "s.pt", {"a": 1})

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "s.pt", fail)
    assert os.listdir(tmp_path) == ["s.pt"] and load(tmp_path / "s.pt")["a"] == 1


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo evil",)


def test_code_in_a_file_is_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "s.pt", {"x": Evil()})  # its checksum is right
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load(tmp_path / "s.pt")
    assert "evil\n" not in capfd.readouterr().out


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_torn_files(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s.pt"
    save(path, {"a": torch.randn(1000)})
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(ValueError, match=r"s\.pt: not a readable checkpoint"):
        load(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "none.pt")
    save(tmp_path / "s.pt", {"format": 99})
    with pytest.raises(ValueError, match="got checkpoint format 99, expected 2"):
        load(tmp_path / "s.pt")
    torch.save({"format": 1}, tmp_path / "s.pt")
    with pytest.raises(ValueError, match="it has no checksum at its end"):
        load(tmp_path / "s.pt")


def test_torch_itself_reads_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "s.pt", {"a": torch.arange(3)})
    assert torch.equal(torch.load(tmp_path / "s.pt", weights_only=True)["a"], torch.arange(3))


def test_every_bit_that_flips_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.pt"
    save(path, {"a": torch.arange(3), "b": "text"})
    whole = path.read_bytes()
    for place in range(len(whole)):
        bad = bytearray(whole)
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"s\.pt: not a readable checkpoint"):
            load(path)


def test_an_archive_that_unpacks_to_more_than_it_holds(tmp_path: Path) -> None:
    """A bomb whose checksum is right: every entry is compressed."""
    plain, packed = io.BytesIO(), io.BytesIO()
    torch.save({"format": FORMAT, "a": torch.zeros(10**6)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    (tmp_path / "s.pt").write_bytes(_seal(packed.getvalue()))
    with pytest.raises(ValueError, match="is compressed"):
        load(tmp_path / "s.pt")


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(
        ValueError, match=r"guide: the checkpoint's parameters do not fit Linear: .*weight"
    ):
        load_weights(torch.nn.Linear(2, 3), torch.nn.Linear(2, 4).state_dict(), "guide")
