"""A latent that is not used is told of first, by every command."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.commands.calls import call, train


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of which no latent unit is used, and what was said on stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as told:
        folder = str(tmp_path_factory.mktemp("collapsed") / "a")
        return train(folder, "--epochs 20 --beta 30 --batch_size 64"), told.getvalue()


def test_a_collapse_is_a_line_and_is_repeated(
    collapsed: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(collapsed[0], "a")
    err = collapsed[1]
    assert err.startswith(
        "pyro-vae: warning: posterior collapse: none of the 4 latent units has been active in"
    )
    assert err.count("\n") == 1
    for command in (
        "evidence a --method.num_particles 30",
        "info a",
        "compare a --guides amortized --num_data 5",
    ):
        assert call(command) == 0
        err = capsys.readouterr().err
        assert (
            "pyro-vae: warning: posterior collapse: none of the 4 latent units is active" in err
        ), command


def test_the_verdict_on_a_dead_latent_says_so_first(
    collapsed: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    # The guide is the prior, and so is the posterior: calibrated, healthy weights, and useless.
    folder, unused = (
        Path(shutil.copytree(collapsed[0], "a")),
        "the latent is NOT used, 0 of 4 units active; ",
    )
    for method in ("Importance", "Best --method.num_temperatures 20"):
        options = f"--method {method} --method.num_particles 100"
        assert call(f"evidence a --num_data 9 {options}") == 0
        said = json.loads((folder / "evidence.json").read_text())["verdict"]
        assert said.startswith(unused) and said in capsys.readouterr().out.splitlines()
    assert call("compare a --guides amortized --split test --num_data 5 --num_particles 30") == 0
    assert capsys.readouterr().out.startswith(f"a, test: {unused.removesuffix('; ')}\n")
    assert (
        call("diagnose a --num_data 50 --num_particles 200 --num_simulations 100 --num_draws 19")
        == 0
    )
    said = json.loads((folder / "diagnosis.json").read_text())["guides"]["amortized"]["verdict"]
    assert said.startswith(unused) and f"amortized: {said}" in capsys.readouterr().out.splitlines()
    assert (
        "can be believed" not in said
        and "calibrated" in said
        and "importance weights healthy" in said
    )


def test_the_verdict_counts_the_units_that_are_used(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        call(f"diagnose {run} --num_data 20 --num_particles 100 --num_simulations 40 --num_draws 9")
        == 0
    )
    said = json.loads((run / "diagnosis.json").read_text())["guides"]["amortized"]
    assert re.match(
        rf"the latent is used(, 4|, 4| in part, {said['active_units']}) of 4 units active; ",
        said["verdict"],
    )
    assert call(f"evidence {run} --num_data 1 --method.num_particles 30") == 0
    assert (
        "whether the latent is used is not to be told from one datum; " in capsys.readouterr().out
    )
