"""The public functions, each called as small as it can be on what a user brings, and held to the
closed form of log p(x) where there is one.

A function of this file takes a `Brought` and returns nothing; a wrong number is an AssertionError.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

import pyro_vae as pv
from pyro_vae.programs.calls import called, first_line
from tests.programs.brought.kind import Brought

QUICK = pv.Annealed(num_temperatures=3, num_chains=16, num_leapfrog=1)
FROM_PRIOR = pv.Annealed(num_temperatures=3, num_chains=16, num_leapfrog=1, start="prior")
FEW = pv.Importance(num_particles=200, num_scouts=0)

Make = Callable[[], Brought]


def close(found: Tensor, truth: Tensor | None, error: Any, slack: float = 0.02) -> None:
    """Numbers are finite, and within five standard errors of the truth."""
    assert found.isfinite().all(), found
    if truth is not None:
        far = (found.double().cpu() - truth).abs()
        assert (far <= 5 * error + slack).all(), (found, truth, error)


def truth_of(b: Brought, x: Tensor | None = None, index: Tensor | None = None) -> Tensor | None:
    """log p(x) of the data that were brought, or of others."""
    if b.exact is None:
        return None
    x, index = (b.x, b.index) if x is None else (x, index)
    return b.exact(x, torch.arange(len(x)) if index is None else index).double()


def evidence(method: Any) -> Callable[[Make], None]:
    """log_evidence by a method."""

    def run(make: Make) -> None:
        b = make()
        found = pv.log_evidence(b.model, b.guide, b.x, method, index=b.index)
        close(found.log_px, truth_of(b), found.log_px_error)

    return run


def train(make: Make, engine: str = "pyro") -> float:
    """The loss of an epoch, nats per datum."""
    b = make()
    options: Any = {"epochs": 1, "batch_size": 4, "valid": 0, "warmup_epochs": 0.0, "keep": "last"}
    run = pv.fit(b.model, b.guide, b.x, engine=engine, quiet=True, **(options | b.arguments))
    return run.history[-1]["train_loss"]


def fit(make: Make) -> None:
    """The loss is minus an ELBO, which is not far from log p(x)."""
    loss, b = train(make), make()
    truth = truth_of(b, b.x, None)
    assert loss == loss
    if truth is not None:
        assert -1 < loss + truth.mean() < 8, (loss, truth.mean())


def compiled(make: Make) -> None:
    """The same loss by the compiled engine."""
    mine = train(make, "compiled")
    pyro.clear_param_store()
    theirs = train(make)
    assert abs(mine - theirs) < 1e-5 * (1 + abs(theirs)), (mine, theirs)


def compiled_svi(make: Make) -> None:
    """Steps of CompiledSVI are those of SVI; where that raises, it raises the same."""
    losses = [_stepped(make, kind) for kind in (SVI, pv.CompiledSVI)]
    for theirs, mine in zip(*losses, strict=True):
        if isinstance(theirs, str):
            assert mine == theirs
            raise ValueError(f"as stock SVI: {theirs}")
        assert abs(mine - theirs) < 1e-5 * (1 + abs(theirs)), losses


def _stepped(make: Make, kind: Any) -> list[Any]:
    """Losses of some steps of an engine, or what it raises."""
    pyro.clear_param_store()
    b = make()
    torch.manual_seed(0)
    programs = called(b.model), called(b.guide), pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()
    index = torch.arange(len(b.x)) if b.index is None else b.index
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pyro's, where model and guide do not match
        svi = kind(*programs)
        try:
            return [float(svi.step(b.x, index)) for _ in range(3)]
        except Exception as error:
            return [first_line(error)]


def fit_local(make: Make) -> None:
    """A table over all latents."""
    b = make()
    table = pv.Local.of(b.model, b.x, pv.FullRank, b.index)
    guide = pv.fit_local(b.model, table, b.x, b.index, num_steps=15, engine="pyro").guide
    found = pv.log_evidence(b.model, guide, b.x, FEW, index=b.index)
    close(found.log_px, truth_of(b), found.log_px_error, 0.5)


def fit_guide(make: Make) -> None:
    """The guide itself, on all data at once."""
    b = make()
    guide = pv.fit_local(b.model, b.guide, b.x, b.index, num_steps=2, engine="pyro").guide
    found = pv.log_evidence(b.model, guide, b.x, FEW, index=b.index)
    close(found.log_px, truth_of(b), found.log_px_error, 0.1)


def sandwich(make: Make) -> None:
    b = make()
    found = pv.sandwich(b.model, b.guide, b.x, b.index, num_data=3, method=QUICK)
    truth = truth_of(b, found.x, found.index)
    for side, sign in ((found.forward, 1), (found.reverse, -1)):
        assert side.log_px.isfinite().all()
        if truth is not None:  # bounds, of few temperatures
            assert (sign * (side.log_px - truth) < 5 * side.log_px_error + 0.5).all(), (side, truth)


def ledger(make: Make) -> None:
    b = make()
    found = pv.gap_ledger(b.model, {"guide": b.guide}, b.x, b.index, method=FEW)
    close(found.log_px, truth_of(b), 0.1)


def calibration(make: Make) -> None:
    b = make()
    found = pv.check_calibration(b.model, b.guide, b.x, b.index, num_simulations=20, num_draws=5)
    for ranks in found.ranks.values():
        assert len(ranks) == 20 and ranks.min() >= 0 and ranks.max() <= 5


def nuts(make: Make) -> None:
    b = make()
    index = None if b.index is None else b.index[:1]
    sizes = {"num_chains": 2, "num_samples": 4, "num_warmup": 4}
    found = pv.reference_posterior(b.model, b.x[:1], index, **sizes)
    for draws in found.draws.values():
        assert draws.isfinite().all()


def swap(make: Make) -> None:
    b = make()
    found = pv.swap_guides(b.model, b.guide, b.x, ["mean-field"], b.index)["mean-field"].guide
    found = pv.log_evidence(b.model, found, b.x, FEW, index=b.index)
    close(found.log_px, truth_of(b), found.log_px_error, 0.3)


def sample(make: Make) -> None:
    b = make()
    found = pv.sample(b.model, b.x, b.index, num_samples=5)
    assert found.x.shape == (5, *b.x.shape[1:]) and found.x.isfinite().all()


def reconstruct(make: Make) -> None:
    b = make()
    found = pv.reconstruct(b.model, b.guide, b.x, b.index)
    assert found.means.shape == b.x.shape and found.log_likelihood.isfinite().all()


def embed(make: Make) -> None:
    b = make()
    found = pv.embed(b.model, b.guide, b.x, b.index, num_prior=16)
    assert found.points.shape == (len(b.x), 2) and found.points.isfinite().all()


def traverse(make: Make) -> None:
    b = make()
    found = pv.traverse(b.model, b.guide, b.x, b.index, num_steps=3, num_units=1)
    assert found.x.shape == (1, 3, *b.x.shape[1:]) and found.x.isfinite().all()


def interpolate(make: Make) -> None:
    b = make()
    index = None if b.index is None else b.index[:2]
    found = pv.interpolate(b.model, b.guide, b.x[:2], index, num_steps=3)
    assert found.x.isfinite().all()


def manifold(make: Make) -> None:
    b = make()
    found = pv.manifold(b.model, b.x, b.index, side=2)
    assert found.x.shape == (2, 2, *b.x.shape[1:]) and found.x.isfinite().all()


def information(make: Make) -> None:
    b = make()
    found = pv.information(b.model, b.guide, b.x, b.index, num_draws=2)
    assert found.summary()


def units(make: Make) -> None:
    b = make()
    found = pv.latent_units(b.model, b.guide, b.x, b.index)
    assert found is None or found.names


def grid(make: Make) -> None:
    b = make()
    index = None if b.index is None else b.index[:1]
    found = pv.posterior_grid(b.model, {"guide": b.guide}, b.x[:1], index, side=51)
    truth = truth_of(b)
    close(
        torch.tensor([found.log_px]), None if truth is None else truth[:1], found.log_px_error, 0.05
    )


def curve(make: Make) -> None:
    b = make()
    found = pv.rate_distortion_curve(b.model, b.x, b.index, num_points=2, method=FROM_PRIOR)
    assert found.rate.isfinite().all() and found.distortion.isfinite().all()


def arviz(make: Make) -> None:
    b = make()
    found = pv.draws_to_arviz(b.model, b.guide, b.x, b.index, num_draws=200)
    close(torch.tensor(found["weights"]["log_px"].values), truth_of(b), 0.1)


def compress(make: Make) -> None:
    b = make()
    found = pv.compress(b.model, b.guide, b.x)
    assert torch.equal(pv.decompress(b.model, b.guide, found.data), b.x)


COLUMNS: dict[str, Callable[[Make], None]] = {
    "fit": fit,
    "compiled": compiled,
    "CompiledSVI": compiled_svi,
    "fit_local": fit_guide,
    "Local.of": fit_local,
    "swap_guides": swap,
    "Importance": evidence(FEW),
    "defensive": evidence(pv.Importance(200, defensive=0.2, num_scouts=0)),
    "Annealed": evidence(QUICK),
    "Laplace": evidence(pv.Laplace(num_particles=200, num_climbs=1)),
    "Quadrature": evidence(pv.Quadrature(num_points=51)),
    "Best": evidence(pv.Best(num_particles=200, num_temperatures=3)),
    "sandwich": sandwich,
    "gap_ledger": ledger,
    "check_calibration": calibration,
    "reference_posterior": nuts,
    "posterior_grid": grid,
    "rate_distortion_curve": curve,
    "information": information,
    "latent_units": units,
    "sample": sample,
    "reconstruct": reconstruct,
    "embed": embed,
    "traverse": traverse,
    "interpolate": interpolate,
    "manifold": manifold,
    "draws_to_arviz": arviz,
    "compress": compress,
}

SLOW = {
    "compiled",
    "CompiledSVI",
    "Local.of",
    "swap_guides",
    "Annealed",
    "Laplace",
    "Quadrature",
    "Best",
    "sandwich",
    "reference_posterior",
    "posterior_grid",
    "rate_distortion_curve",
}
"""Those that take more than 30 ms."""
