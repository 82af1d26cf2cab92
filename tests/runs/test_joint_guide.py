"""A run whose guide answers all latents of its model, by the name of a class alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from tests.commands.calls import call, evidence, train

NETS = "--model pyro_vae.HierarchicalVAE --model.latent_dim 2 --model.middle_dim 3"
SIZES = "--model.hidden [8] --model.top_hidden [8] --guide pyro_vae.JointGuide --guide.hidden [8]"


def test_a_joint_guide_is_trained_opened_and_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = train("a", f"{NETS} {SIZES} --guide.family FullRank", "--quiet true")
    parts = pv.open_run(folder)
    assert parts.guide.family.name == "FullRank(5) over latent, middle"
    assert math.isfinite(evidence(folder)["log_px"])
    assert call("resume a --epochs 2") == 0, capsys.readouterr().err


def test_fit_tells_a_joint_guide_its_model() -> None:
    model, guide = pv.HierarchicalVAE((4,), 1, 2, (4,), (4,)), pv.JointGuide((4,), hidden=(4,))
    x = (torch.rand(30, 4) > 0.5).float()
    with pytest.raises(ValueError, match=r"guide: got a JointGuide that has not been told its"):
        pv.log_evidence(model, guide, x)

    pv.fit(model, guide, x, valid=0, epochs=1, engine="pyro", quiet=True)
    head = guide.head
    assert guide.family.name == "MeanField(3) over latent, middle"
    guide.take_model(pv.VAE((4,), 7), x)  # it has one
    assert guide.head is head


def test_other_guides_still_need_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="latent"):
        pv.JointGuide((4,)).take_model(lambda x: None, torch.zeros(2, 4))
