"""Which estimate stands for each datum, what chose it, and what a budget bears."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.evidence import ladder
from pyro_vae.evidence.clock import Clock
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.standing import Standing
from tests.evidence.test_methods import Hidden
from tests.scenarios import Distorted, linear_gaussian


class Half(torch.nn.Module):
    """The exact posterior of data that have even numbers, far from it for the others."""

    def __init__(self, model: pv.LinearGaussian) -> None:
        super().__init__()
        self.inner = Distorted(model, 0.4, 1.5)
        self.model = model

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        q = self.model.posterior(x)
        assert index is not None
        odd = (index % 2).to(x)[:, None]
        mean, tril = q.mean + 1.5 * odd * q.stddev, q.scale_tril * (1 - 0.6 * odd)[..., None]
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("latent", dist.MultivariateNormal(mean, scale_tril=tril))


def test_each_datum_goes_as_far_as_it_must() -> None:
    model, x = linear_gaussian(20, 3)
    found = pv.log_evidence(Hidden(model), Half(model), x, pv.Best(num_particles=1000))
    exact = model.log_px(x)
    assert ((found.log_px - exact).abs() < 5 * found.log_px_error + 1e-6).all()
    assert found.reliable.all() and found.log_px_error.max() < 0.05 * math.sqrt(2)

    first, second = found.parts
    assert set(first.rows.tolist()) == set(range(0, 20, 2)), found
    assert first.found.method == "importance(S=1000)" and second.found.method == "refined(S=1000)"
    assert sorted(second.rows.tolist()) == list(range(1, 20, 2))
    assert found.method == "importance(S=1000) or refined(S=1000)" and found.chosen is None
    assert found.columns()["method"][:2] == ["importance(S=1000)", "refined(S=1000)"]

    rows = torch.tensor([7, 2])
    some = found.take(rows)
    assert torch.equal(some.log_px, found.log_px[rows]) and len(some.parts) == 2
    for mine, whole in zip(some.interval(), found.interval(), strict=True):
        assert torch.equal(mine, whole[rows])

    lower, upper = found.interval()
    for part in found.parts:
        own = part.found.interval()
        assert torch.equal(lower[part.rows], own[0]) and torch.equal(upper[part.rows], own[1])
    low, high = found.mean_interval(0.999)
    ends = [part.found.mean_interval(0.999) for part in found.parts]
    assert low == pytest.approx((ends[0][0] + ends[1][0]) / 2)
    assert low < exact.mean() < high


class Made(Estimate):
    """An estimate by hand."""

    method = "made"  # type: ignore[assignment]

    @property
    def reliable(self) -> Tensor:
        return self.log_px_error < 1


def made(*errors: float) -> Made:
    return Made(torch.arange(len(errors)).double(), torch.tensor(errors).double(), 1.0, 0.0, 0)


def test_what_vouches_takes_the_place_of_what_does_not() -> None:
    standing = Standing(4, 0.1)
    rows = torch.arange(4)
    assert standing.take(rows, made(2.0, 2.0, 0.5, 0.05), 1.0).tolist() == [3]
    assert standing.left().tolist() == [0, 1, 2]
    # the first gets no better, the second does, the third had a better one
    assert standing.take(torch.tensor([0, 1, 2]), made(3.0, 0.2, 4.0), 1.0).tolist() == []
    parts = standing.parts()
    assert [part.rows.tolist() for part in parts] == [[2, 3], [0, 1]]
    assert parts[0].found.log_px_error.tolist() == pytest.approx([0.5, 0.05])
    assert parts[1].found.log_px_error.tolist() == pytest.approx([3.0, 0.2])
    standing.put(torch.tensor([3]), made(9.0))
    assert [part.rows.tolist() for part in standing.parts()] == [[2], [0, 1], [3]]
    (step,) = standing.steps  # of one method
    assert (step.num_data, step.num_vouched, step.seconds) == (7, 1, 2.0)


def test_the_half_that_judges_is_not_the_half_that_is_told() -> None:
    model, x = linear_gaussian(5, 3)
    guide = Distorted(model, 1.2)
    best = pv.log_evidence(Hidden(model), guide, x, pv.Best(num_particles=1000))
    whole = pv.log_evidence(Hidden(model), guide, x, pv.Importance(1000))
    assert torch.equal(best.log_px, whole.half_log_px)
    assert torch.equal(best.log_px_error, whole.half_error)
    assert (whole.judge_error - whole.half_error).abs().max() > 1e-4


def test_a_good_guide_is_believed_at_its_second_look() -> None:
    model, x = linear_gaussian(5, 3)
    found = pv.log_evidence(Hidden(model), Distorted(model, 1.5), x, pv.Best(num_particles=2000))
    assert [step.method for step in found.steps] == ["importance(S=200)", "importance(S=2000)"]
    assert found.verdict.startswith("importance sampling can be believed")


def test_few_particles_say_whether_more_would_help() -> None:
    model, x = linear_gaussian(20, 3)
    found = pv.log_evidence(Hidden(model), Half(model), x, pv.Best(num_particles=2000))
    tried = [(step.method, step.num_data) for step in found.steps]
    assert tried[0] == ("importance(S=200)", 20) and tried[-1] == ("refined(S=2000)", 10)
    assert found.reliable.all()
    # of the data with a good guide, 200 particles are exact; the others' tails are heavy
    few = pv.log_evidence(Hidden(model), Half(model), x, pv.Importance(200))
    hopeful = int((few.pareto_k[1::2] <= 0.7).sum())
    assert hopeful < 10 and tried[1:-1] == [("importance(S=2000)", hopeful)] * bool(hopeful)


def test_what_is_not_good_enough_the_second_time_goes_on() -> None:
    standing = Standing(4, 0.1)
    good = standing.take(torch.arange(4), made(0.3, 0.01, 0.02, 0.03), 1.0)
    standing.again(good, made(0.2, 0.02, 0.04))
    assert standing.left().tolist() == [0, 1]
    assert standing.steps[0].num_vouched == 2
    # what is told is the second run, and what comes after it takes its place
    assert [part.rows.tolist() for part in standing.parts()] == [[0], [1, 2, 3]]
    standing.take(standing.left(), made(0.05, 0.09), 1.0)
    assert [part.rows.tolist() for part in standing.parts()] == [[2, 3], [0, 1]]


def test_a_second_run_that_vouches_for_nothing_may_be_replaced() -> None:
    standing = Standing(1, 0.1)
    standing.again(standing.take(torch.arange(1), made(0.05), 1.0), made(2.0))
    standing.take(standing.left(), made(1.5), 1.0)
    assert standing.parts()[0].found.log_px_error.tolist() == [1.5]


def test_chains_take_a_quarter_half_or_all_of_the_temperatures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the short ones say; where that was too few, all of them."""
    tried: list[tuple[int, int, int]] = []
    run = ladder.annealed

    def noted(method: pv.Annealed, pair: Any, **options: Any) -> Any:
        tried.append((method.num_temperatures, len(pair), method.seed))
        return run(method, pair, **options)

    monkeypatch.setattr(ladder, "annealed", noted)
    monkeypatch.setattr(pv.ImportanceEstimate, "reliable", property(lambda e: e.blind & ~e.blind))
    monkeypatch.setattr(ladder.lengths, "needed", lambda *given: torch.tensor([20, 20, 40]))
    model, x = linear_gaussian(3, 3)
    pv.log_evidence(Hidden(model), Distorted(model, 1.2), x, pv.Best(200, 80, target_error=1e-6))
    assert [(number, count) for number, count, _ in tried] == [(10, 3), (20, 2), (40, 3), (80, 3)]
    assert len({seed for *_, seed in tried}) == 4


def test_chains_are_judged_and_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where weights never serve: chains by one seed choose, and others are told."""
    seeds: list[tuple[str, int, int]] = []
    run = ladder.annealed

    def noted(method: pv.Annealed, pair: Any, **options: Any) -> Any:
        seeds.append((method.start, method.num_temperatures, method.seed))
        return run(method, pair, **options)

    monkeypatch.setattr(ladder, "annealed", noted)
    monkeypatch.setattr(pv.ImportanceEstimate, "reliable", property(lambda e: e.blind & ~e.blind))
    model, x = linear_gaussian(3, 3)
    method = pv.Best(200, 100, target_error=0.2)
    found = pv.log_evidence(Hidden(model), Distorted(model, 1.2), x, method)
    assert [(start, number) for start, number, _ in seeds] == [("refined", 10)] * 2
    assert seeds[0][2] != seeds[1][2]
    assert found.method == "AIS(T=10, K=32, L=5) from refined Gaussians"
    assert found.parts[0].found.seed == seeds[1][2]
    assert ((found.log_px - model.log_px(x)).abs() < 5 * found.log_px_error).all()

    seeds.clear()
    strict = pv.log_evidence(
        Hidden(model), Distorted(model, 1.2), x, pv.Best(200, 100, target_error=1e-6)
    )
    assert [number for _, number, _ in seeds] == [10, 100]

    # of so few data, as soon as that pays, the long one at once, in fewer steps of more chains
    seeds.clear()
    once = pv.log_evidence(
        Hidden(model), Distorted(model, 1.2), x, pv.Best(200, 400, target_error=1e-6)
    )
    assert [number for _, number, _ in seeds] == [100]
    assert once.method == "AIS(T=100, K=64, L=5) from refined Gaussians"
    assert strict.method == "AIS(T=100, K=16, L=5) from refined Gaussians"


def test_chains_start_at_the_prior_where_the_gaussian_misses_a_mode() -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            mean = torch.cat([z[..., :1].abs(), z[..., 1:]], -1)
            pyro.sample("obs", dist.Normal(mean, 0.3).to_event(1), obs=x)

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.92 * x, 0.287).to_event(1))

    x = torch.tensor([[1.0, 0.5, -0.5], [1.2, -1.0, 0.3]])
    found = pv.log_evidence(model, guide, x, pv.Best(400, 100))
    # x_1 - |z_1| is normal: twice the half of a Gaussian on the line
    wide = math.hypot(1, 0.3)
    inside = dist.Normal(0.0, 1.0).cdf(x[:, 0] / (wide * 0.3))
    exact = dist.Normal(0.0, wide).log_prob(x).sum(1) + math.log(2) + inside.log()
    assert found.method.endswith("from the prior") and found.reliable.all()
    assert ((found.log_px - exact).abs() < 5 * found.log_px_error).all()


def test_a_program_without_a_gradient_is_left_to_its_weights() -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            mean = torch.as_tensor(z.numpy() * 1.0)
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x + 3, 0.1).to_event(1))

    found = pv.log_evidence(model, guide, torch.zeros(2, 3), pv.Best(200))
    assert "log p(x, z) has no gradient" in found.verdict and not found.reliable.any()


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that stands still unless it is put on."""
    now = [0.0]
    monkeypatch.setattr("pyro_vae.evidence.clock.time.monotonic", lambda: now[0])
    yield now


def test_parcels_grow_as_long_as_the_time_bears_them(ticks: list[float]) -> None:
    clock = Clock(100.0)
    clock.pace = 0.01  # so that a datum of 10 evaluations is thought to take 0.2 s
    sizes = []
    told: list[float] = []
    for rows, now in clock.parcels(torch.arange(1000), 10, told.append):
        assert now is not None
        now(0.0), now(1.0)
        sizes.append(len(rows))
        ticks[0] += 0.3 * len(rows)
    assert sizes == [16, 64, 253] and clock.late  # 76 of 100 s were left for the last
    assert ticks[0] == pytest.approx(99.9)

    assert told == sorted(told) and 0.3 < told[-1] < 0.4

    endless = Clock(None)
    assert [len(rows) for rows, _ in endless.parcels(torch.arange(1000), 10)] == [1000]
    assert not list(endless.parcels(torch.arange(0), 10)) and endless.left() == math.inf


@pytest.mark.parametrize("budget", [0.01, 2.0])
def test_a_budget_ends_the_climb_with_a_figure_for_every_datum(budget: float) -> None:
    model, x = linear_gaussian(40, 3)
    method = pv.Best(budget=budget)
    found = pv.log_evidence(Hidden(model), Distorted(model, 0.4, 1.5), x, method)
    assert found.log_px.isfinite().all()
    assert (found.log_px <= model.log_px(x) + 5 * found.log_px_error).all()
    assert (~found.reliable).any() == ("the budget ended" in found.verdict)
