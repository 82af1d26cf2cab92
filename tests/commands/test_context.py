"""Conditional programs from the command line: the context is in the settings, and comes back with
the data.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_vae import given, open_run
from pyro_vae.programs.given import Given
from tests.commands.calls import call, evidence, settings, train

NETS = "--model pyro_vae.ConditionalVAE --guide pyro_vae.ConditionalGuide"
TINY = f"{NETS} --context labels --model.hidden [8] --model.latent_dim 2 --guide.hidden [8]"


def test_a_conditional_run_from_training_to_samples(capsys: pytest.CaptureFixture[str]) -> None:
    folder = train("a", TINY, "--quiet true")
    kept = settings(folder)
    assert kept["context"] == "labels"
    assert kept["model"]["init_args"]["context_dim"] == 10
    assert kept["guide"]["init_args"]["context_dim"] == 10
    told = evidence(folder)["log_px"]

    parts = open_run(folder)
    assert isinstance(parts.model, Given)
    test = parts.data.test
    assert test.context is not None and test.labels is not None
    assert (test.context.argmax(1) == test.labels).all()
    rows = parts.model.rows(test.x, test.numbers())
    assert (rows == test.context).all()
    assert "ConditionalVAE" in repr(parts) and told < 0

    own = given(parts.model.program, test.context)
    assert (own.rows(test.x) == rows).all()

    for command in ("sample a --given 3", "manifold a --given 3", "sample a", "reconstruct a"):
        assert call(command) == 0, capsys.readouterr().err
    assert call("resume a --epochs 2") == 0
    capsys.readouterr()
    assert call("info a") == 0
    assert "model  ConditionalVAE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("sample a --given seven", "given: got 'seven', expected one of 0, 1"),
        ("compress a test a.bin", "run: got programs that are given a context"),
        (f"train --folder b {NETS}", "context: got none, or codes, for a ConditionalVAE"),
    ],
)
def test_what_is_refused(command: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("a").exists():
        train("a", TINY, "--quiet true")
    assert call(command) == 2
    assert told in capsys.readouterr().err


def test_other_runs_are_given_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    train("c", "--quiet true --model.hidden [8] --model.latent_dim 2 --guide.hidden [8]")
    assert call("sample c --given 3") == 2
    assert "given: got a name, but the run's model is given no context" in capsys.readouterr().err
