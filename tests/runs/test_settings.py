"""What a file of settings means is found out once, and each who asks has it alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from pyro_vae.runs.opening import read_settings
from pyro_vae.runs.settings import understood
from tests.runs.folder import change


def test_settings_are_understood_once_and_are_nobody_s_else(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_settings(run)[1]
    before = str(first)
    first.epochs = 99
    first.model.init_args["latent_dim"] = 99
    first.model.init_args.hidden.append(99)

    with monkeypatch.context() as patch:
        patch.setattr(ArgumentParser, "parse_object", lambda *_: pytest.fail("parsed again"))
        assert str(read_settings(run)[1]) == before
    change(run, epochs=7)
    assert read_settings(run)[1].epochs == 7


def test_numbers_of_every_kind_stay_what_they_are() -> None:
    got = understood({"epochs": 10**12, "clip_norm": 1e-300, "seed": 0, "valid": None})
    assert (got.epochs, got.clip_norm, got.seed, got.valid) == (10**12, 1e-300, 0, None)
