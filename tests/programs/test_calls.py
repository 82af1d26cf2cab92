"""What programs are called with: the rows by the name `index`, where they take them, and nothing
that nobody meant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.programs.calls import called
from tests.scenarios import eager

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
SEEN: list[Any] = []


def model(x: Tensor, index: Tensor | None = None) -> None:
    SEEN.append(index)
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        mean = torch.cat([z, z[..., :1]], -1)
        pyro.sample(
            "obs", dist.Normal(mean, pyro.param("scale", torch.tensor(0.8))).to_event(1), obs=x
        )


def guide(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample(
            "z", dist.Normal(pyro.param("slope", torch.tensor(0.4)) * x[:, :2], 0.6).to_event(1)
        )


def without_index(x: Tensor) -> None:
    model(x)


def with_labels(x: Tensor, y: Tensor | None = None, index: Tensor | None = None) -> None:
    assert y is None, "row numbers are no labels"
    model(x, index)


def with_bound_labels(x: Tensor, y: str, index: Tensor | None = None) -> None:
    assert y == "labels"
    model(x, index)


def by_keyword(x: Tensor, *, index: Tensor | None = None) -> None:
    model(x, index)


def anything(*args: Any, **kwargs: Any) -> None:
    model(*args, **kwargs)


class Labelled(nn.Module):
    def forward(self, x: Tensor, y: Tensor | None = None, index: Tensor | None = None) -> None:
        with_labels(x, y, index)

    @config_enumerate
    def method(self, x: Tensor, index: Tensor | None = None) -> None:
        model(x, index)


PROGRAMS: list[tuple[Callable[..., Any], bool]] = [  # whether it takes the rows
    (without_index, False),
    (with_labels, True),
    (partial(with_bound_labels, y="labels"), True),
    (partial(poutine.scale(with_bound_labels, scale=1.0), y="labels"), True),
    (by_keyword, True),
    (anything, True),
    (lambda *args: model(*args), True),
    (Labelled(), True),
    (poutine.block(Labelled(), hide=["nothing"]), True),
    (Labelled().method, True),
]
IDS = [
    "without",
    "labels",
    "bound",
    "handled",
    "keyword",
    "anything",
    "positional",
    "module",
    "blocked",
    "method",
]


def figures(program: Any) -> list[Tensor]:
    """What everything that runs a program makes of it."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    SEEN.clear()
    run = pv.fit(
        program,
        guide,
        X,
        epochs=2,
        batch_size=6,
        valid=2,
        warmup_epochs=0,
        device="cpu",
        quiet=True,
    )
    losses = torch.tensor([(row["train_loss"], row["valid_elbo"]) for row in run.history])
    weights = pv.log_evidence(program, guide, X, pv.Importance(num_particles=25, seed=1)).log_px
    annealed = pv.log_evidence(
        program, guide, X, pv.Annealed(num_temperatures=5, num_chains=4)
    ).log_px
    nuts = pv.reference_posterior(
        program, X[:2], num_chains=2, num_samples=20, num_warmup=20
    ).draws["z"]
    checked = pv.check_calibration(program, guide, X, num_simulations=20, num_draws=5)
    ranks = checked.ranks["z[0]"]
    pv.fit_local(program, guide, X, num_steps=2)
    return [losses, weights, annealed, nuts, ranks, pyro.param("slope").detach().clone()]


@pytest.fixture(scope="module")
def plain() -> list[Tensor]:
    return figures(model)


@pytest.mark.parametrize(("program", "takes_index"), PROGRAMS, ids=IDS)
def test_every_signature_gives_the_numbers_of_the_plain_one(
    program: Any, takes_index: bool, plain: list[Tensor]
) -> None:
    got = figures(program)
    for mine, theirs in zip(got, plain, strict=True):
        assert torch.equal(mine, theirs)
    assert any(isinstance(index, Tensor) for index in SEEN) == takes_index


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
def test_labels_are_not_row_numbers_in_either_engine(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    run = pv.fit(Labelled(), guide, X, epochs=2, valid=0, device="cpu", quiet=True, engine=engine)
    assert len(run.history) == 2


def test_an_autoguide_takes_what_its_model_takes() -> None:
    x = X[:4]
    for program, _ in PROGRAMS[:4]:
        pyro.clear_param_store()
        guide = pv.fit_local(program, AutoNormal(program), x, num_steps=2).guide
        (scale,) = guide.scales.parameters()
        assert scale.std() > 0  # it has moved


def test_a_guide_of_x_alone_under_semi_amortized_and_in_a_ledger() -> None:
    vae = pv.VAE((3,), 2, (4,), likelihood=pv.models.Gaussian())
    encoder = pv.Amortized(pv.MeanField(2), pv.MLP(3, (4,)))

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vae = vae

        def forward(self, x: Tensor) -> None:
            self.vae(x)

    guides = {"amortized": encoder, "steps": pv.SemiAmortized(encoder, Bare(), 2)}
    ledger = pv.gap_ledger(Bare(), guides, X, method=pv.Importance(num_particles=10))
    assert ledger.entries.keys() == guides.keys()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda x, y: None, "model: its argument 'y' is filled by nobody"),
        (lambda x, y, index=None: None, "model: its argument 'y' is filled by nobody"),
        (poutine.block(lambda x, rows: None), "model: its argument 'rows' is filled by nobody"),
        (lambda x, *, y: None, "model: its argument 'y' is filled by nobody"),
        (lambda: None, "model: it takes no data"),
        (lambda index: None, "model: it takes no data"),
    ],
)
def test_an_argument_that_nobody_fills_is_refused_by_name(program: Any, message: str) -> None:
    for do in (
        lambda: pv.fit(program, guide, X, epochs=1, device="cpu", quiet=True),
        lambda: pv.log_weights(program, guide, X),
        lambda: pv.log_evidence(program, guide, X),
        lambda: pv.log_evidence(program, guide, X, pv.Annealed()),
        lambda: pv.fit_local(program, AutoNormal(model), X),
        lambda: pv.check_calibration(program, guide, X, num_simulations=20),
        lambda: pv.latent_units(program, guide, X),
    ):
        with pytest.raises(ValueError, match=message):
            do()


def test_a_guide_s_argument_is_refused_as_the_guide_s() -> None:
    with pytest.raises(
        ValueError, match=r"guide: its argument 'y' is filled by nobody.*functools.partial"
    ):
        pv.log_evidence(model, lambda x, y: None, X)


def test_no_program_is_a_type_error() -> None:
    with pytest.raises(ValueError, match="model: got int, expected a Pyro program"):
        called(3, "model")  # type: ignore[arg-type]


def test_rows_that_were_bound_stay() -> None:
    rows = torch.arange(3)
    bound = partial(lambda x, index=None: index, index=rows)
    assert called(bound)(X, torch.arange(5)) is rows


def test_a_signature_is_read_again_where_it_has_changed() -> None:
    def program(x: Tensor, y: Any = None) -> None:
        pass

    called(program)
    program.__defaults__ = None
    with pytest.raises(ValueError, match="its argument 'y' is filled by nobody"):
        called(program)


def test_a_method_without_self_says_so_itself() -> None:
    class Program:
        def run() -> None:  # type: ignore[misc]
            pass

    assert called(Program().run)
