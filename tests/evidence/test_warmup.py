"""What a warm-up learns, against Pyro's own schedule, dual averaging and covariances."""

from __future__ import annotations

import math

import pytest
import torch
from pyro.infer.mcmc.adaptation import WarmupAdapter
from pyro.ops.dual_averaging import DualAveraging
from pyro.ops.welford import WelfordCovariance

from pyro_vae.evidence.warmup import Warmup, windows


@pytest.mark.parametrize("num_warmup", [20, 57, 149, 150, 151, 200, 300, 500, 1000])
def test_windows_are_those_of_pyro(num_warmup: int) -> None:
    adapter = WarmupAdapter()
    adapter._warmup_steps = num_warmup
    schedule = adapter._build_adaptation_schedule()
    assert windows(num_warmup) == [window.start for window in schedule[1:]]


def test_few_transitions_have_no_windows() -> None:
    assert windows(19) == []


def test_steps_and_scales_are_those_of_pyro() -> None:
    """Two lanes that are not at the same transition."""
    torch.manual_seed(0)
    made = Warmup(torch.zeros(2, 3, dtype=torch.float64), num_warmup=40)
    first, last = windows(40)
    averaging = DualAveraging(prox_center=math.log(1.0))
    moments = WelfordCovariance(diagonal=True)

    for number in range(1, last + 1):
        z = torch.randn(2, 3, dtype=torch.float64) * torch.tensor([0.1, 1.0, 5.0])
        chance = torch.rand(2, dtype=torch.float64)
        if number == last:
            before = made.step.clone()
        made.learn(torch.tensor([0]), z[:1], chance[:1])
        if number % 2:
            made.learn(torch.tensor([1]), z[1:], chance[1:])

        averaging.step(0.8 - chance[0].item())
        if first < number:
            moments.update(z[0])
        if number < last:
            assert made.step[0].item() == pytest.approx(math.exp(averaging.get_state()[0]))

    assert torch.allclose(made.scale[0] ** 2, moments.get_covariance(regularize=True))
    length = (made.step[0].log() + made.scale[0].log().mean()).item()
    assert length == pytest.approx(averaging.get_state()[1])  # steps in z are as long as before
    assert torch.equal(made.scale[1], torch.ones(3).double()) and before[1] == made.step[1]


def test_steps_are_settled_at_the_end() -> None:
    made, averaging = Warmup(torch.zeros(1, 2), num_warmup=15), DualAveraging(prox_center=0.0)
    row, z = torch.tensor([0]), torch.zeros(1, 2)
    for _ in range(15):
        made.learn(row, z, torch.tensor([0.5]))
        averaging.step(0.3)
    settled = made.step.clone()
    assert settled.item() == pytest.approx(math.exp(averaging.get_state()[1]), rel=1e-4)
    made.learn(row, z, torch.tensor([0.0]))
    assert torch.equal(made.step, settled) and made.done.item() == 16
