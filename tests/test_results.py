"""Every result of a public function shows itself: in a dozen lines, as a dictionary, as a frame."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch

import pyro_vae as pv
from pyro_vae.files.texts import write_json
from pyro_vae.results import Result

QUICK = pv.Annealed(6, num_chains=4)


@cache
def parts() -> tuple[pv.LinearGaussian, pv.Amortized, torch.Tensor]:
    torch.manual_seed(0)
    model = pv.LinearGaussian(4, 3)
    return model, pv.Amortized(pv.MeanField(3), pv.MLP(4, ())), model.sample(40)


def estimated(method: pv.Method) -> pv.Estimate:
    return pv.log_evidence(*parts(), method)


def ledger() -> pv.Ledger:
    model, guide, x = parts()
    guides = {"amortized": guide, "local": pv.Local(pv.MeanField(3), len(x))}
    return pv.gap_ledger(model, guides, x, method=pv.Importance(30))


def agreed() -> tuple[pv.Reference, pv.Agreement]:
    model, guide, x = parts()
    found = pv.reference_posterior(model, x[:2], num_chains=2, num_samples=8, num_warmup=8)
    return found, pv.agreement(guide, found, x[:2])


def sandwich() -> pv.Sandwich:
    model, guide, x = parts()
    return pv.sandwich(model, guide, x, num_data=5, method=QUICK)


def run() -> pv.Run:
    model, guide, x = parts()
    return pv.fit(model, guide, x, epochs=2, quiet=True)


def optimum() -> Result:
    model, _, x = parts()
    return pv.fit_local(model, pv.Local(pv.MeanField(3), 4), x[:4])


def curve() -> pv.Curve:
    model, _, x = parts()
    chains = pv.Annealed(6, "prior", num_chains=4)
    return pv.rate_distortion_curve(model, x, num_points=3, method=chains)


def embedding() -> pv.Embedding:
    return pv.embed(*parts(), labels=torch.arange(40) % 3)


RESULTS: dict[str, tuple[Callable[[], Result], int]] = {  # with the rows of its frame
    "Importance": (lambda: estimated(pv.Importance(50)), 40),
    "Annealed": (lambda: estimated(QUICK), 40),
    "Laplace": (lambda: estimated(pv.Laplace(50)), 40),
    "Exact": (lambda: estimated(pv.Exact()), 40),
    "Best": (lambda: estimated(pv.Best()), 40),
    "Ledger": (ledger, 80),
    "Entry": (lambda: ledger().entries["local"], 40),
    "Sandwich": (sandwich, 5),
    "Likeness": (lambda: pv.likeness(*parts(), sandwich()), 2),
    "Calibration": (
        lambda: pv.check_calibration(*parts(), num_simulations=30, num_draws=9),
        30,
    ),
    "Reference": (lambda: agreed()[0], 6),
    "Agreement": (lambda: agreed()[1], 6),
    "Run": (run, 2),
    "Curve": (curve, 3),
    "Dataset": (lambda: pv.load("digits"), 3),
    "Optimum": (optimum, 4),
    "Units": (lambda: pv.latent_units(*parts()), 3),  # type: ignore[dict-item,return-value]
    "Samples": (lambda: pv.sample(parts()[0], parts()[2], num_samples=5), 5),
    "Nearest": (lambda: pv.nearest(parts()[2][:3], parts()[2]), 3),
    "Reconstructions": (lambda: pv.reconstruct(*parts()), 40),
    "Interpolation": (lambda: pv.interpolate(*parts(), num_steps=3), 39 * 3),
    "Traversals": (lambda: pv.traverse(*parts(), num_units=3), 3 * 9),
    "Manifold": (lambda: pv.manifold(pv.LinearGaussian(4, 2), parts()[2], side=3), 9),
    "Embedding": (embedding, 40),
    "Ascent": (lambda: pv.coordinate_ascent(parts()[0], parts()[2], max_sweeps=5), 6),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_itself(name: str, tmp_path: Path) -> None:
    make, rows = RESULTS[name]
    result = make()
    assert isinstance(result, Result)

    told = repr(result)
    assert 2 <= len(told.splitlines()) <= 12 and max(map(len, told.splitlines())) <= 100, told
    assert "tensor" not in told and " object at " not in told and "cannot be shown" not in told

    write_json(tmp_path / "summary.json", result.summary())
    assert json.loads((tmp_path / "summary.json").read_text())

    frame = result.to_dataframe()
    assert isinstance(frame, pd.DataFrame) and len(frame) == rows
    assert all(frame[column].dtype != object or column in WORDS for column in frame), frame.dtypes
    assert result._repr_html_().count("<tr>") >= 2


WORDS = {"guide", "unit", "site", "quantity", "split", "fingerprint"}


def test_the_figures_are_those_of_the_result() -> None:
    model, guide, x = parts()
    found = pv.log_evidence(model, guide, x, pv.Importance(50))
    frame = found.to_dataframe()
    assert frame["log_px"].mean() == pytest.approx(found.mean)
    assert frame["upper"].isin([math.inf]).any() == (~found.reliable).any().item()
    assert f"{found.mean:.2f}" in repr(found) and found.verdict.split(";")[0] in repr(found)
    curves = RESULTS["Curve"][0]()
    assert curves.to_dataframe()["rate"].tolist() == pytest.approx(curves.summary()["rate"])


class Odd(Result):
    """With text that is no HTML, more lines than fit, and a part that fails."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def headline(self) -> str:
        return "<b>odd</b>"

    def figures(self) -> list[tuple[str, str]]:
        if self.fails:
            raise RuntimeError("no")
        return [(f"line {number}", "a & b " * 20) for number in range(20)]

    def summary(self) -> dict[str, object]:
        return {}

    def columns(self) -> dict[str, list[int]]:
        return {"a": [1]}


def test_what_is_odd_is_shown_too() -> None:
    lines = repr(Odd()).splitlines()
    assert len(lines) == 12 and lines[-1] == "  ..." and max(map(len, lines)) <= 100
    shown = Odd()._repr_html_()
    assert "&lt;b&gt;odd" in shown and "a &amp; b" in shown and "<b>" not in shown
    assert repr(Odd(fails=True)) == "<Odd, which cannot be shown: no>"
    assert Odd(fails=True)._repr_html_() == "<pre>&lt;Odd, which cannot be shown: no&gt;</pre>"
