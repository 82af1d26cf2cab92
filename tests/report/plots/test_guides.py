"""What guides lose, and whether they are calibrated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import Entry, Gap
from tests.found import RESULTS, ledger
from tests.report.plots.reading import axes_of, drawn, line, words


def entry(inference: float, approximation: float | None) -> Entry:
    """Of two data, with gaps that are told from noise."""
    errors = torch.full((40,), 1e-3, dtype=torch.double)
    spread = torch.linspace(-1, 1, 40, dtype=torch.double) / 10
    gaps = [Gap(inference + spread, errors), None, None]
    if approximation is not None:
        gaps[1] = Gap(approximation + 0 * spread, errors)
        gaps[2] = Gap(inference - approximation + spread, errors)
    known = ledger().entries["local"]
    return replace(known, inference=gaps[0], approximation=gaps[1], amortization=gaps[2])


def entries() -> pv.Ledger:
    return replace(ledger(), entries={"a": entry(0.5, 0.2), "b": entry(0.3, None)})


def test_bars_of_gaps_end_at_the_inference_gap() -> None:
    found = entries()
    axes = axes_of(found)
    widths = [(bar.get_x(), bar.get_width(), bar.get_y() + 0.4) for bar in axes.patches]
    np.testing.assert_allclose(widths, [(0, 0.2, 0), (0.2, 0.3, 0), (0, 0.3, 1)], atol=1e-12)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert words(axes) == [
        "approximation gap",
        "amortization gap",
        "inference gap in all, ± standard error",
        "inference gap",
    ]
    ends = np.array([part.get_segments()[0] for part in axes.collections])
    error = found.entries["a"].inference.std_error
    np.testing.assert_allclose(ends[0, :, 0], [0.5 - error, 0.5 + error])
    estimate = found.estimate
    told = f"nats below log p(x) = {found.log_px.mean():.2f}, by {estimate.method}"
    assert axes.get_xlabel().startswith(told)


def test_a_gap_that_is_noise_has_no_bar() -> None:
    noisy = entry(0.5, 0.2)
    wide = torch.full((40,), 100.0, dtype=torch.double)
    assert noisy.amortization is not None
    noisy = replace(noisy, amortization=Gap(noisy.amortization.values, wide))
    axes = axes_of(replace(ledger(), entries={"a": noisy}))
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.2, 0.0])


def test_a_guide_of_no_finite_gap_is_counted() -> None:
    axes = axes_of(replace(ledger(), entries={"a": entry(0.5, None), "b": entry(math.nan, None)}))
    assert "1 left out: not finite" in words(axes) and len(axes.patches) == 1
    with pytest.raises(ValueError, match="result: got no finite gaps"):
        pv.plot(replace(ledger(), entries={"b": entry(math.inf, None)}))


def test_rate_against_distortion_of_each_guide() -> None:
    found = ledger()
    axes = axes_of(found, "rates")
    for name, one in found.entries.items():
        evidence = one.evidence
        point = line(axes, f"{name}: ELBO {evidence.elbo.mean():.2f}")
        np.testing.assert_allclose(point[:, 0], [evidence.rate.mean(), evidence.distortion.mean()])
    bound = line(axes, "rate + distortion")
    np.testing.assert_allclose(bound.sum(0), -found.log_px.mean())
    assert axes.get_xlabel() == "rate, nats per datum"
    assert axes.get_ylabel() == "distortion, nats per datum"


def test_gaps_of_a_guide_by_datum() -> None:
    one = entry(0.5, 0.2)
    one.inference.values[3] = math.nan
    axes = axes_of(one)
    total = line(axes, "inference gap: ")[1]
    assert len(total) == 39 and (np.diff(total) >= 0).all()
    parts = line(axes, "approximation gap: 0.200")[1] + line(axes, "amortization gap: ")[1]
    np.testing.assert_allclose(parts, total)
    assert "1 left out: not finite" in words(axes)
    assert axes.get_ylabel() == "gap, nats"


def calibration(shift: int = 0) -> pv.Calibration:
    ranks = {}
    for place, name in enumerate(("latent[0]", "latent[1]", "log_guide")):
        even = torch.arange(100) % 10
        ranks[name] = (even + shift).clamp(max=9) if place == 0 else even.clone()
    return pv.Calibration(ranks, 9, 0, 0.05)


def test_ranks_within_their_band() -> None:
    found = calibration()
    axes = axes_of(found)
    assert words(axes) == ["98.3% band", "3 within it"]
    np.testing.assert_allclose(drawn(axes, "tab:blue", "None")[1], 0, atol=1e-6)
    edge = axes.collections[0].get_paths()[0].vertices
    lower, upper = found.band()
    even = (torch.arange(10) + 1) / 10
    for side in (lower, upper):
        points = np.stack([even, side - even], 1)
        near = np.abs(edge[:, None] - points).max(-1).min(0)
        assert (near < 1e-9 + 1e-7).all()
    assert axes.get_title() == "Ranks of the truth, 100 simulations: calibrated"
    assert axes.get_xlabel() == "rank of the truth among 9 draws, as a share of them"
    assert axes.get_ylabel() == "ECDF less that of uniform ranks"


def test_ranks_that_deviate_are_named_with_their_chance() -> None:
    found = calibration(shift=5)
    axes = axes_of(found)
    assert words(axes)[1:] == ["2 within it", "latent[0] (p < 1e-4)"]
    expected = found.ecdf("latent[0]") - (torch.arange(10) + 1) / 10
    np.testing.assert_allclose(line(axes, "latent[0]")[1][1:], expected, atol=1e-6)
    assert axes.get_title().endswith("miscalibrated")


def test_of_many_that_deviate_the_worst_are_named() -> None:
    ranks = {f"latent[{unit}]": torch.zeros(50, dtype=torch.long) for unit in range(9)}
    found = pv.Calibration(ranks | {"log_guide": torch.arange(50) % 10}, 9, 0, 0.05)
    told = words(axes_of(found))
    assert sum("p < 1e-4" in word for word in told) == 6 and "3 more that deviate" in told


def test_coverage_against_its_level() -> None:
    found = RESULTS["Calibration"][0]()
    axes = axes_of(found, "coverage")
    levels, held = line(axes, "this guide")
    expected, error = found.coverage(levels.tolist())
    np.testing.assert_allclose(held, expected)
    assert len(levels) == 19
    np.testing.assert_array_equal(line(axes, "a right guide"), [[0, 1], [0, 1]])
    edge = axes.collections[0].get_paths()[0].vertices[:, 1]
    for end in ((expected - 1.96 * error).clamp(min=0), (expected + 1.96 * error).clamp(max=1)):
        assert np.abs(edge[:, None] - end.numpy()).min(0).max() < 1e-9
    assert axes.get_xlabel() == "level of the guide's highest-density region"
    assert axes.get_ylabel() == "share of the truths in it"
