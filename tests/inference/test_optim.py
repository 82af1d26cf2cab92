"""One torch optimizer for all parameters, and its shortcut for Adam."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from pyro_vae.inference.optim import JointOptim

ADAM, ADAMW = torch.optim.Adam, torch.optim.AdamW


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4))]


@pytest.mark.parametrize("kind", [ADAM, ADAMW])
@pytest.mark.parametrize(
    "options", [{}, {"amsgrad": True}, {"weight_decay": 0.1}, {"maximize": True}], ids=str
)
def test_the_shortcut_is_torch_s_fused_adam(kind: Any, options: dict[str, Any]) -> None:
    mine, reference = parameters(), parameters()
    optim = JointOptim(partial(kind, lr=1e-2, **options), mine)
    torch_s = kind(reference, lr=1e-2, fused=True, **options)
    for step in range(6):
        for p, q in zip(mine, reference, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for group in (*optim.optimizer.param_groups, *torch_s.param_groups):
            group["lr"] = 1e-2 / (1 + step)  # as a schedule does
        optim(set(mine))
        torch_s.step()
        assert all(map(torch.equal, mine, reference))
    assert optim._adam is not None
    state, expected = optim.get_state()["state"], torch_s.state_dict()["state"]
    assert all(
        torch.equal(state[i][name], expected[i][name]) for i in expected for name in expected[i]
    )


def test_the_state_goes_through_a_file_and_on(tmp_path: Any) -> None:
    mine, other = parameters(), parameters()
    first, second = (JointOptim(partial(ADAM, lr=1e-2), p) for p in (mine, other))
    for step in range(6):
        for p in mine:
            p.grad = torch.full_like(p, 1.0 + step)
        first(mine)
        if step == 2:
            torch.save(first.get_state(), tmp_path / "state.pt")
            for p, q in zip(mine, other, strict=True):
                q.data.copy_(p)
            second.set_state(torch.load(tmp_path / "state.pt", weights_only=True))
        if step > 2:
            for p, q in zip(mine, other, strict=True):
                q.grad = copy.deepcopy(p.grad)
            second(other)
            assert all(map(torch.equal, mine, other))


@pytest.mark.parametrize(
    "options",
    [{"fused": False}, {"foreach": True}, {"fused": None, "differentiable": True}],
    ids=str,
)
def test_who_asks_for_another_kernel_gets_it(options: dict[str, Any]) -> None:
    mine = parameters()
    optim = JointOptim(partial(ADAM, lr=1e-2, **options), mine)
    for p in mine:
        p.grad = torch.ones_like(p)
    if not options.get("differentiable"):
        optim(mine)
        assert optim._adam is None
    assert not optim.optimizer.param_groups[0]["fused"]


def test_a_parameter_without_a_gradient_is_left_where_it_is() -> None:
    mine = parameters()
    optim = JointOptim(partial(ADAM, lr=1e-2), mine)
    before = mine[1].detach().clone()
    for _ in range(3):
        mine[0].grad, mine[1].grad = torch.ones_like(mine[0]), None
        optim({mine[0]})
    assert torch.equal(before, mine[1])
    for p in mine:
        p.grad = torch.ones_like(p)
    optim(mine)
    assert not torch.equal(before, mine[1])


def test_moments_do_not_stay_denormal() -> None:
    p = torch.zeros(3, requires_grad=True)
    optim = JointOptim(partial(torch.optim.Adam, lr=1e-3), [p])
    for step in range(256):
        p.grad = torch.tensor([1.0, 1e-37, 0.0]) if step < 120 else torch.tensor([1.0, 0.0, 0.0])
        optim([p])
    moments = optim.optimizer.state[p]["exp_avg"].tolist()
    assert moments[0] == pytest.approx(1.0)
    assert moments[1:] == [0.0, 0.0]
