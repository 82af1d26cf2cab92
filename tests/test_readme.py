"""The README's code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import pyro_vae as pv

TEXT = (Path(__file__).parents[1] / "README.md").read_text()


def block(what: str) -> str:
    """The one piece of code in which a word stands."""
    (found,) = [
        code for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if what in code
    ]
    return found


@pytest.mark.usefixtures("hasty_convergence")
def test_swap_a_guide(capsys: pytest.CaptureFixture[str]) -> None:
    code = block("pv.Local(")
    assert len(code.strip().splitlines()) <= 20
    exec(
        code.replace("epochs=100", "epochs=2").replace("num_particles=1000", "num_particles=50"), {}
    )
    out = capsys.readouterr().out
    assert (
        "amortized: ELBO -" in out and "classical: ELBO -" in out and "k-hat above threshold" in out
    )


def test_compile() -> None:
    data = pv.load("digits")
    model, guide = (
        pv.VAE(data.shape, 2, (8,)),
        pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, (8,))),
    )
    names = {"pv": pv, "data": data, "model": model, "amortized": guide}
    exec(block("CompiledSVI"), names)
    assert torch.isfinite(names["loss"])  # type: ignore[call-overload]


def test_believe_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    data = pv.load("digits")
    model, guide = (
        pv.VAE(data.shape, 8, (8,)),
        pv.Amortized(pv.MeanField(8), pv.MLP(data.shape, (8,))),
    )
    names = {"pv": pv, "data": data, "model": model, "amortized": guide, "x": data.test.x[:2]}
    exec(block("sandwich").replace("num_data=100", "num_data=2, method=pv.Annealed(5)"), names)
    out = capsys.readouterr().out
    assert "importance sampling" in out and "nats" in out and "calibrated" in out


def test_add_an_estimator() -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(block("Halved"), names)
    model, x = pv.LinearGaussian(4, 2), torch.zeros(3, 4)
    found = pv.log_evidence(model, pv.ExactGuide(model), x, names["Halved"](100))  # type: ignore[operator]
    assert (found.log_px - model.log_px(x)).abs().max() < 0.2


def test_add_a_guide() -> None:
    names: dict[str, object] = {}
    exec(block("HeavyTailedGuide"), names)
    guide = names["HeavyTailedGuide"]((6,), 2)  # type: ignore[operator]
    model, x = pv.VAE((6,), 2, (8,)), torch.zeros(20, 6)
    pv.fit(model, guide, x, epochs=1, quiet=True)
    assert pv.log_evidence(model, guide, x, pv.Importance(num_particles=10)).log_px.isfinite().all()
