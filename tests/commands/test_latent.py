"""`sample`, `reconstruct`, `interpolate`, `traverse`, `manifold`, `embed`: pictures and tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.calls import TINY, call, train


def rows(path: str | Path) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


@pytest.mark.parametrize(
    ("command", "name", "told"),
    [
        ("sample run --kind draw", "samples.png", "64 draws of p(x | z) at z from the prior"),
        ("sample run --temperature 0.5", "samples.png", "from a tempered prior"),
        (
            "sample run --nearest true --num_samples 5",
            "samples.png",
            "beside each the nearest of 1,297 training data, by Euclidean distance",
        ),
        (
            "sample run --nearest true --num_samples 5 --kind draw",
            "samples.png",
            "training data, by values that differ",
        ),
        ("reconstruct run --split train", "reconstructions.png", "32 data and the means"),
        ("interpolate run --path spherical", "interpolations.png", "7 ways of 9 steps"),
        ("traverse run --num_units 2", "traversals.png", "2 units of one datum moved, -3 to 3 sd"),
        ("embed run --num_data 50", "embedding.png", "means of 50 data, 4 numbers each, coloured"),
    ],
)
def test_a_picture_is_written_and_told_of(
    command: str, name: str, told: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"run/{name}") and len(out) == 2
    assert out[1].startswith("to be seen: ") and told in out[1]
    with Image.open(run / name) as image:
        image.load()
        assert min(image.size) > 150


def test_a_map_of_two_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    train("two", "--model.latent_dim 2", TINY)
    assert call("manifold two --side 3") == 0 and Path("two/manifold.png").stat().st_size > 1000
    assert "3 x 3 quantiles of the prior, latent[0] to the right" in capsys.readouterr().out


def test_an_embedding_has_a_table(run: Path) -> None:
    from pyro_vae.data import load

    assert call("embed run --num_data 40") == 0
    found = rows("run/embedding.csv")
    labels = load("digits").test.labels
    assert labels is not None
    assert [int(row["label"]) for row in found] == labels[:40].tolist()
    assert list(found[0]) == ["datum", "x", "y", "label"]


def test_names_of_labels_and_data_without_labels() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez("named.npz", x=x, y=np.array(["cat", "dog"] * 20))
    np.save("bare.npy", x)
    for data, columns in (("named.npz", ["label", "name"]), ("bare.npy", [])):
        folder = train(Path(data).stem, f"--data {data}")
        assert call(f"embed {folder} --split train") == 0
        found = rows(folder / "embedding.csv")
        assert list(found[0]) == ["datum", "x", "y", *columns]
        assert not columns or {row["name"] for row in found} == {"cat", "dog"}


def test_data_that_are_no_pictures_are_tables() -> None:
    np.save("table.npy", np.random.default_rng(0).normal(5.0, 2.0, (40, 3)))
    train("a", "--data table.npy --model.latent_dim 2", TINY)
    values = ["value_0", "value_1", "value_2"]
    for command, name, columns, number in (
        ("interpolate a --num_steps 3", "interpolations", ["way", "position"], 9),
        ("traverse a --num_steps 3 --num_units 2", "traversals", ["unit", "rate", "position"], 6),
        ("manifold a --side 3", "manifold", ["z_1", "z_2"], 9),
        ("sample a --num_samples 4 --nearest true", "samples", ["datum", "what"], 8),
    ):
        assert call(command) == 0
        found = rows(f"a/{name}.csv")
        assert list(found[0]) == [*columns, *values] and len(found) == number, name
        assert not Path(f"a/{name}.png").exists()


def test_samples_need_no_data_unless_their_neighbours_are_asked_for(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("data: gone")

    monkeypatch.setattr("pyro_vae.runs.building.load", refuse)
    assert call("sample run --num_samples 4") == 0
    assert call("sample run --num_samples 4 --nearest true") == 2
    assert "data: gone" in capsys.readouterr().err
    assert call("sample run --num_samples 1001 --nearest true") == 2
    assert (
        "num_samples: got 1001, expected a positive integer up to 1,000" in capsys.readouterr().err
    )


def test_what_is_missing_of_a_file_is_imputed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyro_vae.data import load

    x = load("digits").test.x[:6].numpy()
    x[:4, :, :3] = np.nan
    np.save("holes.npy", x)
    assert call("impute run holes.npy --num_particles 30 --num_draws 2") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "run/imputed.npz" and "96 missing values of 6 data" in out[1]
    with np.load("run/imputed.npz") as saved:
        assert saved["x"].shape == x.shape and saved["draws"].shape == (2, *x.shape)
        np.testing.assert_array_equal(saved["missing"], np.isnan(x))
        np.testing.assert_array_equal(saved["x"][4:], x[4:])
        assert np.isfinite(saved["x"]).all()

    assert call("impute run holes.npy --num_particles 30 --out means.csv") == 0
    table = rows("means.csv")
    assert len(table) == 96 and 0 < float(table[0]["mean"]) < 1
    capsys.readouterr()

    np.save("whole.npy", np.nan_to_num(x))
    np.save("other.npy", x[..., :3])
    for file, told in (
        ("whole.npy", "nothing is missing"),
        ("other.npy", "rows of shape (1, 8, 3), expected (1, 8, 8)"),
        ("holes.npy --out x.png", "expected a .npz or .csv file"),
        ("none.npy", "there is no file"),
    ):
        assert call(f"impute run {file}") == 2
        assert told in capsys.readouterr().err


def test_a_run_on_data_with_missing_values(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.RandomState(0)
    np.save("x.npy", np.where(rng.rand(60, 4) < 0.7, rng.randn(60, 4), np.nan))
    train("table", "--guide.mask true --data x.npy")
    assert call("resume table --epochs 2 --quiet true") == 0
    assert call("evidence table --method.num_particles 30") == 0
    assert call("impute table x.npy --num_particles 30") == 0
    assert "of 60 data" in capsys.readouterr().out
