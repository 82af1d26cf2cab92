from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from pyro_vae.report.images import as_images, save_figure
from pyro_vae.report.plots import blank
from pyro_vae.report.tables import cell, evidence_table, share, show


def test_flat_squares_become_images_and_others_are_refused() -> None:
    assert as_images(torch.rand(3, 64)).shape == (3, 1, 8, 8)
    with pytest.raises(ValueError, match=r"images: got shape \(3, 7\)"):
        as_images(torch.rand(3, 7))


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="out: cannot make"):
        save_figure(blank((1, 1)), tmp_path / "file" / "grid.png")


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("elbo", "rate", "distortion", "log_px")
    summary = (
        dict.fromkeys(keys, -1.234)
        | {f"{k}_error": 0.5 for k in keys}
        | {"share_above_threshold": 0.125}
    )
    show(evidence_table("title", [("mine", summary, 2.0)]))
    out = capsys.readouterr().out
    assert "-1.23 +- 0.50" in out and "12.5%" in out and "mine" in out
    assert cell(1.0, math.nan) == "1.00" and share(math.nan) == "n/a"
