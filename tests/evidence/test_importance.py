from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from pyro_vae import MLP, VAE, Amortized, ExactGuide, LinearGaussian, Local, MeanField, log_evidence
from pyro_vae.evidence import Importance, importance
from pyro_vae.evidence.estimate import standard_error
from tests.scenarios import linear_gaussian


def make(num: int = 30) -> tuple[LinearGaussian, Amortized, torch.Tensor]:
    model, x = linear_gaussian(num, 3, 8, 0.8, torch.float32)
    return model, Amortized(MeanField(3), MLP(8, ())), x


def near_posterior(model: LinearGaussian, x: torch.Tensor, width: float) -> Local:
    """The best mean-field guide of each datum, its standard deviations times `width`."""
    guide = Local(MeanField(3), len(x))
    with torch.no_grad():
        guide.table[:, :3] = model.posterior(x).mean
        guide.table[:, 3:] = (width * model.precision().diagonal().rsqrt()).log()
    return guide


def test_exact_guide_is_exact_in_every_field() -> None:
    model = LinearGaussian(8, 3).double()
    x = torch.randn(9, 8, dtype=torch.double)
    est = log_evidence(model, ExactGuide(model), x, Importance(num_particles=100))
    torch.testing.assert_close(est.log_px, model.log_px(x), atol=1e-10, rtol=0)
    torch.testing.assert_close(est.elbo, model.log_px(x), atol=1e-10, rtol=0)
    torch.testing.assert_close(est.ess, torch.full((9,), 100.0, dtype=torch.double))
    assert est.log_px_error.max() < 1e-6 and (est.pareto_k == 0).all()
    assert est.share_above_threshold == 0


def test_elbo_is_minus_rate_and_distortion() -> None:
    est = log_evidence(*make(), Importance(num_particles=50))
    torch.testing.assert_close(est.elbo, -(est.rate + est.distortion))


@pytest.mark.parametrize("num_particles", [1, 7, 100])
def test_result_does_not_depend_on_the_byte_budget(
    num_particles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "_ROWS", 1000)  # several noise blocks, with an uneven last one
    model, guide, x = make(21)
    whole = log_evidence(model, guide, x, Importance(num_particles=num_particles, max_bytes=2**30))
    for budget in (1, 10_000, 77_777):
        part = log_evidence(
            model, guide, x, Importance(num_particles=num_particles, max_bytes=budget)
        )
        torch.testing.assert_close(part.log_px, whole.log_px, atol=2e-5, rtol=1e-6)
        torch.testing.assert_close(part.pareto_k, whole.pareto_k, atol=1e-2, rtol=0, equal_nan=True)


def test_memory_is_bounded_by_the_budget() -> None:
    model, guide, x = (
        VAE((64,), 2, (8,)),
        Amortized(MeanField(2), MLP(64, (8,))),
        torch.zeros(40, 64),
    )
    rows: list[int] = []
    model.decoder.register_forward_hook(lambda module, inputs, out: rows.append(out.numel() * 4))
    for num_particles, budget in ((1000, 2**20), (1, 2**12)):
        rows.clear()
        log_evidence(
            model, guide, x, Importance(num_particles=num_particles, num_scouts=0, max_bytes=budget)
        )
        # the first runs are the checks, on a few data
        assert max(rows[3:]) * 4 <= budget, max(rows)
        assert len(rows) > 10


def test_seeded_and_the_caller_s_noise_is_untouched() -> None:
    model, guide, x = make()
    state = torch.get_rng_state()
    first = log_evidence(model, guide, x, Importance(num_particles=20, seed=3))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(
        log_evidence(model, guide, x, Importance(num_particles=20, seed=3)).log_px, first.log_px
    )
    assert not torch.equal(
        log_evidence(model, guide, x, Importance(num_particles=20, seed=4)).log_px, first.log_px
    )


def test_no_two_data_share_noise() -> None:
    model, guide, _ = make()
    x = torch.zeros(200, 8)  # the same datum: the same noise would give the same estimate
    est = log_evidence(model, guide, x, Importance(num_particles=300))
    assert len(est.log_px.unique()) == 200


def test_bounds_rise_with_the_number_of_particles() -> None:
    model, guide, x = make(400)
    estimates = [log_evidence(model, guide, x, Importance(num_particles=s)) for s in (1, 10, 100)]
    values = [
        estimates[0].elbo,
        *(e.log_px for e in estimates[1:]),
        model.log_px(x).detach().double(),
    ]
    for low, high in pairwise(values):
        difference = high - low
        assert difference.mean() > -5 * standard_error(difference), (low.mean(), high.mean())
    assert (values[2] - values[0]).mean() > 5 * standard_error(values[2] - values[0])


def test_bias_falls_like_one_over_s() -> None:
    model, _, x = make(200)
    guide = near_posterior(model, x, 1.4)  # wider than the posterior: healthy weights
    gaps = []
    for s in (20, 80):
        seeds = [
            log_evidence(model, guide, x, Importance(num_particles=s, seed=seed)).log_px
            for seed in range(20)
        ]
        gap = model.log_px(x) - torch.stack(seeds)
        gaps.append((gap.mean().item(), (gap.mean(1).std() / math.sqrt(20)).item()))
    (first, e1), (second, e2) = gaps
    assert abs(second - first / 4) < 5 * math.hypot(e2, e1 / 4), gaps


def test_a_local_guide_s_rows_follow_the_index() -> None:
    model, _, x = make(40)
    guide = near_posterior(model, x, 1.0)
    rows = torch.tensor([33, 4, 17])
    own = log_evidence(model, guide, x[rows], Importance(num_particles=2000), index=rows)
    wrong = log_evidence(
        model, guide, x[rows], Importance(num_particles=2000), index=torch.arange(3)
    )
    assert ((own.log_px - model.log_px(x[rows])).abs() < 5 * own.log_px_error).all()
    assert (own.elbo > wrong.elbo).all()


def test_rows_are_never_guessed_for_other_data() -> None:
    model, _, x = make(40)
    guide = near_posterior(model, x, 1.0)
    with pytest.raises(
        ValueError, match="got none for 3 data, but the guide has parameters for 40"
    ):
        log_evidence(model, guide, x[:3], Importance(num_particles=5))
    with pytest.raises(ValueError, match="got rows 5 to 40, expected 0 to 40 - 1"):
        log_evidence(model, guide, x[:2], Importance(num_particles=5), index=torch.tensor([5, 40]))


def test_dropout_is_off_during_evaluation_and_on_again_after() -> None:
    model, _, x = make()
    guide = Amortized(MeanField(3), MLP(8, (20,)))
    guide.encoder.layers.append(torch.nn.Dropout(0.5))
    guide.train()
    first = log_evidence(model, guide, x, Importance(num_particles=1, seed=1))
    assert guide.training
    guide.eval()
    assert torch.equal(
        first.elbo, log_evidence(model, guide, x, Importance(num_particles=1, seed=1)).elbo
    )


def test_summary_is_means_with_errors() -> None:
    est = log_evidence(*make(), Importance(num_particles=30))
    summary = est.summary()
    assert summary["log_px"] == est.mean == pytest.approx(est.log_px.sum().item() / 30)
    assert (
        summary["log_px_error"]
        == est.std_error
        == pytest.approx(est.log_px.std().item() / math.sqrt(30))
    )
    assert summary["log_px_monte_carlo_error"] == pytest.approx(
        est.log_px_error.square().sum().sqrt().item() / 30
    )
    assert summary["num_particles"] == 30 and summary["num_data"] == 30


def test_one_particle_and_one_datum_have_unknown_errors() -> None:
    model, guide, x = make(1)
    est = log_evidence(model, guide, x, Importance(num_particles=1))
    assert (
        est.log_px_error.isnan().all()
        and est.elbo_error.isnan().all()
        and math.isnan(est.std_error)
    )
    assert math.isnan(est.share_above_threshold)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(0, 8)}, r"x: got shape \(0, 8\)"),
        ({"x": torch.zeros(8)}, r"x: got shape \(8,\)"),
        ({"x": [1.0]}, "x: got list"),
        ({"x": torch.full((3, 8), math.nan)}, "x: got NaN alone"),
        ({"x": torch.full((3, 8), math.inf)}, "x: got infinite"),
        ({"x": torch.zeros(3, 9)}, r"x: got shape \(3, 9\)"),
        ({"num_particles": 0}, "num_particles: got 0"),
        ({"num_particles": 2.5}, "num_particles: got 2.5"),
        ({"max_bytes": -1}, "max_bytes: got -1"),
        ({"index": torch.arange(4)}, "index: got torch.int64"),
        ({"index": torch.tensor([0, -1, 2])}, "index: got rows -1 to 2"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    model, guide, x = make(3)
    given = {"x": x, "index": None}
    options = {"num_particles": 5} | {k: v for k, v in change.items() if k not in given}
    given |= {k: v for k, v in change.items() if k in given}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=message):
        log_evidence(model, guide, method=Importance(**options), **given)  # type: ignore[arg-type]
