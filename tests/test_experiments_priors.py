"""What the study of learned priors claims, with tiny arguments."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from tests.scenarios import eager
from tests.test_experiments import script

TINY = "--data digits --hidden 6 --latent-dim 2 --num-components 4 --epochs 1 --warmup 0"


def test_priors_are_paired_and_a_kept_one_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    out, made = tmp_path / "out.json", script("priors")
    sizes = "--batch-size 700 --num-data 12 --num-particles 20"
    arguments = [*TINY.split(), *sizes.split(), f"--json={out}"]
    made.main([*arguments, "--parts", "standard", "vamp"])
    first = json.loads(out.read_text())
    made.main([*arguments, "--parts", "standard", "vamp", "mixture"])
    found = json.loads(out.read_text())
    assert found["vamp"] == first["vamp"] and set(found["gains"]) == {"vamp", "mixture"}

    difference = made.each(found["vamp"]) - made.each(found["standard"])
    row = found["gains"]["vamp"]
    assert row["gain"] == pytest.approx(difference.mean().item())
    assert row["gain"] == pytest.approx(
        found["standard"]["nll"] - found["vamp"]["nll"], abs=1e-3
    )  # three digits are kept
    assert row["elbo"] == pytest.approx(-row["rate"] - row["distortion"], abs=1e-3)
    assert out.with_suffix(".png").stat().st_size > 1000


def test_the_nets_begin_alike_whatever_the_prior() -> None:
    made = script("priors")

    options = argparse.Namespace(seed=0, hidden=[6], latent_dim=2, num_components=3)
    data = pv.load("digits", binarise="static")
    pairs = [made.pair(name, options, data) for name in made.PRIORS]
    for model, guide in pairs[1:]:
        for mine, first in ((model.decoder, pairs[0][0].decoder), (guide, pairs[0][1])):
            states = mine.state_dict(), first.state_dict()
            assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
