"""What a spec means, and what it must not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyro_vae.sweeps.cells import names_of
from pyro_vae.sweeps.spec import read_spec


def test_every_combination_in_the_order_of_the_spec() -> None:
    train = {"data": "digits", "model": {"latent_dim": 1, "hidden": [8]}}
    grid = {"model.latent_dim": [2, 5], "seed": [0, 1]}
    spec = read_spec({"train": train, "grid": grid})
    common = {"data": "digits", "model.hidden": [8]}
    assert spec.cells[2] == common | {"model.latent_dim": 5, "seed": 0}
    told = ["latent_dim=2,seed=0", "latent_dim=2,seed=1", "latent_dim=5,seed=0"]
    assert names_of(spec) == [*told, "latent_dim=5,seed=1"]


def test_a_list_comes_with_every_combination_of_a_grid() -> None:
    free = {"class_path": "pyro_vae.objectives.FreeBits", "init_args": {"nats": 0.5}}
    cells: list[dict[str, Any]] = [{"beta": 4.0, "model.hidden": []}, {"loss": free}, {}]
    spec = read_spec({"cells": cells, "grid": {"seed": [0, 1]}})
    assert [cell["seed"] for cell in spec.cells] == [0, 1] * 3
    assert names_of(spec)[::2] == [
        "beta=4.0,hidden=none,seed=0",
        "loss=FreeBits(nats=0.5),seed=0",
        "seed=0",
    ]


def test_names_are_those_of_folders() -> None:
    long = [f"{'a' * 150}{end}.npy" for end in "bc"]
    spec = read_spec({"cells": [{}, {"data": "../x/é y.npy"}, *({"data": x} for x in long)]})
    names = names_of(spec)
    assert names[:2] == ["as-given", "data=..-x-é-y.npy"]
    assert len(set(names)) == 4 and max(map(len, names)) == 100

    twins = read_spec({"grid": {"data": ["a/b", "a-b"]}})
    assert names_of(twins) == ["data=a-b", "data=a-b'"]


BAD: list[tuple[Any, str]] = [
    ({"gird": {"seed": [1]}}, "unknown part 'gird'.*did you mean grid"),
    ({"train": {"epochs": 1}}, "got neither grid nor cells"),
    ({"grid": {}}, "grid: got no settings"),
    ({"grid": {"seed": []}}, r"grid: seed: got \[\], expected a list of values"),
    ({"grid": {"seed": 3}}, "grid: seed: got 3, expected a list"),
    ({"grid": {"seed": "abc"}}, "grid: seed: got 'abc', expected a list"),
    ({"grid": {"seed": [1, 1]}}, "grid: seed: got 1 twice"),
    ({"grid": {"beta": [float("nan")]}}, "grid: beta: got NaN"),
    ({"grid": {"a b": [1]}}, "grid: got the name 'a b'"),
    ({"grid": {3: [1]}}, "grid: got the name 3"),
    ({"grid": [1]}, r"grid: got \[1\], expected settings by name"),
    ({"grid": {"seed": [1], "model": {"a": [1]}, "model.a": [2]}}, "got model.a twice"),
    ({"grid": {name: list(range(22)) for name in "abc"}}, "got 10,648 cells, expected at most"),
    ({"cells": []}, r"cells: got \[\], expected a list of settings"),
    ({"cells": {"seed": 1}}, "cells: got {'seed': 1}, expected a list"),
    ({"cells": [3]}, "cells: 0: got 3, expected settings by name"),
    ({"cells": [{"seed": 1}, {"seed": 1}]}, "cells: got {'seed': 1} twice"),
    ({"cells": [{"seed": 1}], "grid": {"seed": [1]}}, "seed is in grid and in cells"),
    ({"grid": {"seed": [1]}, "train": {"lr": [1, float("nan")]}}, "train: lr: got NaN"),
    ({"grid": {"seed": [1]}, "train": 3}, "train: got 3, expected settings by name"),
    ({"grid": {"seed": [1]}, "evidence": "all"}, "evidence: got 'all', expected settings"),
]


@pytest.mark.parametrize(("spec", "told"), BAD)
def test_what_is_refused(spec: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^spec: .*{told}") as raised:
        read_spec(spec)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("grid: {seed: [1}", "cannot be read as YAML"),
        ("grid: {seed: [1]}\ngrid: {seed: [2]}", "it has 'grid' twice"),
        ("grid: {seed: [1], seed: [2]}", "it has 'seed' twice"),
        ("grid: &a {seed: [1]}", "an anchor"),
        ("grid: {seed: !!python/object/apply:os.getpid []}", "cannot be read as YAML"),
        ("- seed", "got a list, expected settings by name"),
        ("", "got a NoneType"),
        ("grid: {beta: [.nan]}", "grid: beta: got NaN"),
    ],
)
def test_files_that_are_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^{path}: .*{told}"):
        read_spec(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_spec(tmp_path / "missing.yaml")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        read_spec(tmp_path)
