from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pyro_vae.inference.weights import digest_of, read_weights, write_weights

STATE = {
    "model": {"net.weight": torch.randn(3, 2), "net.count": torch.tensor(4)},
    "guide": {"mask": torch.tensor([True, False]), "turned": torch.randn(4, 3).T},
    "params": {"scale.of mine": torch.randn((), dtype=torch.float64)},
}


def test_round_trip(tmp_path: Path) -> None:
    write_weights(tmp_path / "w", STATE, "a run")
    back, run = read_weights(tmp_path / "w")
    assert run == "a run" and back.keys() == STATE.keys()
    for part, tensors in STATE.items():
        assert back[part].keys() == tensors.keys()
        assert all(
            torch.equal(back[part][name], x) and back[part][name].dtype == x.dtype
            for name, x in tensors.items()
        )
    assert digest_of(back) == digest_of(STATE)


def test_the_digest_is_of_names_shapes_and_values() -> None:
    others = [
        {"model": {"a": torch.zeros(2)}},
        {"model": {"b": torch.zeros(2)}},
        {"guide": {"a": torch.zeros(2)}},
    ]
    others += [{"model": {"a": torch.zeros(2, 1)}}, {"model": {"a": torch.ones(2)}}]
    others += [{"model": {"a": torch.zeros(2, dtype=torch.int32)}}]
    assert len({digest_of(state) for state in others}) == len(others)


def test_every_bit_that_flips_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w"
    write_weights(path, STATE, "a run")
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        bad = bytearray(whole)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(ValueError):
            read_weights(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"{}"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match="no readable weights"):
        read_weights(tmp_path / "w")
