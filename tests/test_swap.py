from __future__ import annotations

from typing import Any

import pytest
import torch

from pyro_vae import (
    MLP,
    Amortized,
    FullRank,
    HierarchicalGuide,
    HierarchicalVAE,
    Importance,
    LinearGaussian,
    Local,
    MeanField,
    SemiAmortized,
    gap_ledger,
)
from pyro_vae.inference.optimum import Optimum, programs_of
from pyro_vae.programs.coordinates import Coordinates
from pyro_vae.swap import GUIDES, swap_guides
from tests.scenarios import linear_gaussian


def make() -> tuple[LinearGaussian, Amortized, torch.Tensor]:
    model, x = linear_gaussian(5, 3, dtype=torch.float32)
    return model, Amortized(MeanField(3), MLP(6, (8,))), x


def test_a_model_without_a_latent_size_keeps_its_guide() -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = LinearGaussian(5, 2)

        def forward(self, x: torch.Tensor, index: Any = None) -> Any:
            return self.inner(x, index)

    guide = Amortized(MeanField(2), MLP(5, ()))
    assert swap_guides(Plain(), guide, torch.randn(4, 5), ["amortized"]) == {"amortized": guide}


@pytest.mark.usefixtures("hasty_convergence")
def test_all_of_them_in_order() -> None:
    model, amortized, x = make()
    told: list[float] = []
    guides = swap_guides(
        model, amortized, x, list(reversed(GUIDES)), num_steps=3, progress=told.append
    )
    assert tuple(guides) == GUIDES and {0.25, 0.5, 0.75, 1.0} <= set(told)
    assert guides["amortized"] is amortized
    assert (
        isinstance(guides["semi-amortized"], SemiAmortized)
        and guides["semi-amortized"].num_steps == 3
    )
    plain = programs_of(guides)
    families = {name: q.family.name for name, q in plain.items() if isinstance(q, Local)}
    assert families == {
        "mean-field": "MeanField(3)",
        "low-rank": "LowRank(3, rank=5)",
        "full-rank": "FullRank(3)",
        "flow": "SplineFlow(3, num_bins=8)",
    }
    full, flow = guides["full-rank"], guides["flow"]
    assert isinstance(full, Optimum) and isinstance(flow, Optimum)
    assert (flow.num_steps > full.num_steps).all()  # it began there


@pytest.mark.usefixtures("hasty_convergence")
def test_the_richest_start_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, amortized, x = make()
    started: list[object] = []
    plain = Local.started_at.__func__  # type: ignore[attr-defined]

    def spy(cls: type[Local], guide: object, *rest: object, **named: object) -> Local:
        started.append(guide)
        return plain(cls, guide, *rest, **named)  # type: ignore[no-any-return]

    monkeypatch.setattr(Local, "started_at", classmethod(spy))
    guides = swap_guides(model, amortized, x, ["mean-field", "full-rank", "flow"])
    assert started == [amortized, amortized, programs_of(guides)["full-rank"]]
    rich = Amortized(FullRank(3), MLP(6, (8,)))
    started.clear()
    swap_guides(model, rich, x, ["mean-field", "flow"])
    assert started == [rich, rich]


@pytest.mark.usefixtures("hasty_convergence")
def test_a_guide_without_parameters_to_start_from() -> None:
    model, _, x = make()
    guides = swap_guides(model, lambda x, index=None: None, x, ["mean-field"])
    assert isinstance(programs_of(guides)["mean-field"], Local)


def test_bad_input() -> None:
    model, amortized, x = make()
    with pytest.raises(ValueError, match="names: got best, expected some of amortized"):
        swap_guides(model, amortized, x, ["best"])
    with pytest.raises(ValueError, match="names: got none"):
        swap_guides(model, amortized, x, [])
    with pytest.raises(ValueError, match="semi-amortized goes on from"):
        swap_guides(model, lambda x, index=None: None, x, ["semi-amortized"])
    with pytest.raises(ValueError, match="got no latent site"):
        swap_guides(lambda x, index=None: None, amortized, x, ["flow"])
    with pytest.raises(ValueError, match="got 2 units, expected the model's latent_dim 3"):
        swap_guides(model, Amortized(MeanField(2), MLP(6, ())), x, ["amortized"])


@pytest.mark.usefixtures("hasty_convergence")
def test_a_model_of_two_levels_has_classical_guides_of_both() -> None:
    torch.manual_seed(0)
    model = HierarchicalVAE((6,), 2, 3, (8,), (8,))
    guide, x = HierarchicalGuide((6,), 2, 3, (8,), (8,)), torch.bernoulli(torch.full((4, 6), 0.5))
    guides = swap_guides(model, guide, x, ["amortized", "mean-field", "full-rank"])
    families = {n: q.family.name for n, q in programs_of(guides).items() if isinstance(q, Local)}
    over = "over " + ", ".join(Coordinates.of(model, x).names)
    assert families == {"mean-field": f"MeanField(5) {over}", "full-rank": f"FullRank(5) {over}"}
    ledger = gap_ledger(model, guides, x, method=Importance(50))
    assert set(ledger.to_dataframe()["guide"]) == set(guides)
