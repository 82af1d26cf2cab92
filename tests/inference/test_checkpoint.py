from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pyro_vae.inference.checkpoint import load, load_weights, save, write_atomically


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
    torch.save({"format": 1, "x": Evil()}, tmp_path / "s.pt")
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
    torch.save({"format": 99}, tmp_path / "s.pt")
    with pytest.raises(ValueError, match="got checkpoint format 99, expected 1"):
        load(tmp_path / "s.pt")
    torch.save([1], tmp_path / "s.pt")
    with pytest.raises(ValueError, match="got checkpoint format list"):
        load(tmp_path / "s.pt")


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"guide: the checkpoint's parameters do not fit Linear: .*weight"):
        load_weights(torch.nn.Linear(2, 3), torch.nn.Linear(2, 4).state_dict(), "guide")
