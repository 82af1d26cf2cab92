"""`pyro-vae compress` and `decompress`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from tests.commands.calls import call, train


def test_test_data_come_back(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"compress {run} test new/short --num-data 7") == 0
    told = capsys.readouterr().out
    assert told.startswith("new/short\n") and "7 data of 64 values" in told
    assert call(f"decompress {run} new/short back.npy") == 0
    x = pv.open_run(run).data.test.x[:7]
    assert np.array_equal(np.load("back.npy"), x.numpy())
    assert "7 data of shape (1, 8, 8), float32" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["uint8", "bool", "<i8", ">f8"])
def test_an_array_comes_back_byte_for_byte(run: Path, dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, (3, 1, 8, 8)).astype(dtype)
    np.save("x.npy", x)
    np.savez("x.npz", x=x)
    assert call(f"compress {run} x.npy short --num_particles 2 --bucket_bits 9") == 0
    assert call(f"compress {run} x.npz other --num_particles 2 --bucket_bits 9") == 0
    assert Path("short").read_bytes() == Path("other").read_bytes()
    assert call(f"decompress {run} short back.npy") == 0
    back = np.load("back.npy")
    assert np.array_equal(back, x) and back.dtype == x.dtype.newbyteorder("=")
    if dtype != ">f8":
        assert Path("back.npy").read_bytes() == Path("x.npy").read_bytes()


def test_bad_input_is_told_in_a_line_and_nothing_is_written(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("x.npy", np.zeros((3, 1, 8, 8)))
    np.save("grey.npy", np.full((3, 1, 8, 8), 0.5))
    np.save("flat.npy", np.zeros((3, 64)))
    np.save("half.npy", np.zeros((3, 1, 8, 8), np.float16))
    np.save("text.npy", np.array(["a"]))
    np.savez("two.npz", train=np.zeros((3, 64)), test=np.zeros((3, 64)))
    assert call(f"compress {run} x.npy short") == 0
    data = bytearray(Path("short").read_bytes())
    data[40] ^= 1
    Path("damaged").write_bytes(data)
    Path("cut").write_bytes(data[:50])
    train("other", "--seed 1")
    before = sorted(Path().rglob("*"))
    capsys.readouterr()

    lines = {
        f"compress {run} grey.npy new": "x: got",
        f"compress {run} flat.npy new": "x: got data of shape (64,)",
        f"compress {run} half.npy new": "x: got",
        f"compress {run} text.npy new": "data: text.npy has <U1",
        f"compress {run} two.npz new": "expected one array",
        f"compress {run} valid new": "expected a .npy or .npz file, or 'test'",
        f"compress {run} none.npy new": "there is no file",
        f"compress {run} x.npy {run}": "is a folder",
        f"compress {run} x.npy new --num_data 4": "num_data: got 4",
        f"compress {run} x.npy new --num_particles 0": "num_particles: got 0",
        f"compress {run} x.npy folder/new --bucket_bits 17": "bucket_bits: got 17",
        f"decompress {run} damaged new.npy": "damaged",
        f"decompress {run} cut new.npy": "damaged",
        f"decompress {run} x.npy new.npy": "begin otherwise",
        f"decompress {run} none new.npy": "there is no file none",
        f"decompress {run} short new.txt": "expected a .npy file",
        "decompress other short new.npy": "other weights",
    }
    for line, told in lines.items():
        assert call(line) == 2, line
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1, (line, error)
    assert sorted(Path().rglob("*")) == before


def test_what_a_run_has_is_told_where_it_cannot_be_coded_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = train("wide", "--guide.family pyro_vae.FullRank")
    assert call(f"compress {folder} test short --num_data 2") == 2
    assert "a family of MultivariateNormal" in capsys.readouterr().err
    assert not Path("short").exists() and torch.get_default_dtype() == torch.float32
