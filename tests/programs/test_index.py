"""What `index` means: the number of each datum in its data set, in training, validation, and every
command and estimator.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    FullRank,
    Local,
    MeanField,
    check_calibration,
    fit,
    fit_local,
    gap_ledger,
    latent_units,
    load,
    log_evidence,
    log_weights,
    rate_distortion_curve,
    reference_posterior,
    sandwich,
)
from pyro_vae.cli import main
from pyro_vae.data import Dataset, Split
from pyro_vae.evidence import Annealed, Best, Exact, Importance
from pyro_vae.programs.naming import unique_name
from pyro_vae.report.export import draws_to_arviz
from pyro_vae.swap import swap_guides

SIZE, NUM = 3, 40
# standard deviations between the prior means of neighbours: another datum's is seen at once
FAR = 5.0


class Covariates(nn.Module):
    """z_n ~ N(c_n, I), x_n | z_n ~ N(z_n, I): a covariate for each datum, looked up by its number.

    log p(x_n) = log N(x_n; c_n, 2 I),   z_n | x_n ~ N((x_n + c_n) / 2, I / 2)
    """

    latent_dim = SIZE
    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.shift = nn.Parameter(torch.zeros(()))  # something to train, of no effect at rate 0

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        pyro.module(unique_name(self), self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(self.table[index] + self.shift, 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)
        return z

    def closed_form(self, x: Tensor, index: Tensor) -> Tensor:
        return dist.Normal(self.table[index], 2**0.5).to_event(1).log_prob(x)


class Posterior(nn.Module):
    """The exact posterior, which looks up the same covariates."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample(
                "latent", dist.Normal((x + self.table[index]) / 2, 0.5**0.5).to_event(1)
            )


def programs(num_rows: int) -> tuple[Covariates, Posterior]:
    table = FAR * torch.arange(num_rows)[:, None].expand(-1, SIZE) % 97
    return Covariates(table), Posterior(table)


def data_set(num_valid: int = 8, num_test: int = 12) -> Dataset:
    torch.manual_seed(0)
    parts = {"train": NUM, "valid": num_valid, "test": num_test}
    splits = {name: Split(name, torch.randn(size, SIZE), "none") for name, size in parts.items()}
    return Dataset("made", *splits.values())


def test_splits_are_numbered_in_turn_without_overlap() -> None:
    data = data_set()
    numbers = [
        split.numbers().tolist()
        for split in (data.train, data.valid, data.test)
        if split is not None
    ]
    assert numbers == [list(range(40)), list(range(40, 48)), list(range(48, 60))]
    assert data.num_rows == 60
    assert data.test.take(3).numbers().tolist() == [48, 49, 50]
    assert data.to("cpu").test.numbers().tolist() == numbers[2]
    none = Dataset("made", data.train, None, Split("test", torch.zeros(2, SIZE), "none"))
    assert none.test.numbers().tolist() == [40, 41]


def test_a_split_in_the_place_of_another_is_the_same_data() -> None:
    train, valid = (Split(name, torch.zeros(5, SIZE), "none") for name in ("train", "valid"))
    data = Dataset("made", train, valid, valid).under("dynamic").to("cpu")
    assert data.test is data.valid
    assert data.valid is not None and data.valid.numbers().tolist() == [5, 6, 7, 8, 9]
    alone = Dataset("made", train, None, train)
    assert alone.test.numbers().tolist() == [0, 1, 2, 3, 4]


def test_numbers_follow_on_the_largest_that_is_taken() -> None:
    origin = torch.tensor([7, 3, 9])
    train = Split("train", torch.zeros(3, SIZE), "none", origin=origin)
    data = Dataset("made", train, None, Split("test", torch.zeros(2, SIZE), "none"))
    assert data.test.numbers().tolist() == [10, 11]


def test_rows_of_a_file_keep_their_place_in_it(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, SIZE)).astype(np.float32)
    np.save(tmp_path / "one.npy", x)
    data = load(tmp_path / "one.npy")
    found = []
    for split in (data.train, data.valid, data.test):
        assert split is not None
        assert torch.equal(split.x, torch.from_numpy(x)[split.numbers()])
        found += split.numbers().tolist()
    assert sorted(found) == list(range(50)) and data.num_rows == 50

    np.savez(tmp_path / "parts.npz", train=x[:30], valid=x[30:38], test=x[38:])
    data = load(tmp_path / "parts.npz")
    for split in (data.train, data.valid, data.test):
        assert split is not None
        assert torch.equal(split.x, torch.from_numpy(x)[split.numbers()])


@pytest.mark.parametrize(
    ("origin", "match"),
    [
        (torch.tensor([0.0, 1.0]), "origin: got torch.float32"),
        (
            torch.tensor([0, 1, 2]),
            r"origin: got torch.int64 \(3,\), expected integers of shape \(2,\)",
        ),
        (torch.tensor([0, -1]), "origin: got rows -1 to 0"),
    ],
)
def test_bad_numbers(origin: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Split("train", torch.zeros(2, SIZE), "none", origin=origin)


def test_validation_rows_get_their_own_covariates() -> None:
    data = data_set()
    model, guide = programs(data.num_rows)
    assert data.valid is not None
    run = fit(model, guide, data, epochs=1, batch_size=10, optimizer=no_steps, quiet=True)
    by_hand = (
        model.closed_form(data.valid.x, data.valid.numbers()).mean().item()
    )  # at every draw of the exact posterior
    assert abs(run.history[-1]["valid_elbo"] - by_hand) < 1e-3
    assert abs(by_hand - model.closed_form(data.valid.x, torch.arange(8)).mean().item()) > 100


def no_steps(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=1e-12)


def test_a_table_of_the_train_rows_alone_is_refused() -> None:
    model, guide = programs(NUM)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(
        ValueError, match=r"index: got 40 to 47, where the programs fail \(.*out of bounds.*valid=0"
    ):
        fit(model, guide, data_set(), epochs=1, quiet=True)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    fit(model, guide, data_set().train.x, valid=0, epochs=1, quiet=True)


def test_a_table_that_is_too_short_for_one_datum_alone() -> None:
    data = data_set()
    # too short for the last test datum, which is not among the first eight
    model, guide = programs(data.num_rows - 1)
    with pytest.raises(ValueError, match=r"index: got 48 to 59, where the programs fail"):
        log_evidence(
            model, guide, data.test.x, Importance(num_particles=10), index=data.test.numbers()
        )


ESTIMATORS: dict[str, Callable[..., Tensor]] = {
    "importance": lambda m, g, x, n: (
        log_evidence(m, g, x, Importance(num_particles=10), index=n).log_px
    ),
    "target": lambda m, g, x, n: (
        log_evidence(m, g, x, Importance(num_particles=200, target_error=0.1), index=n).log_px
    ),
    "compiled": lambda m, g, x, n: (
        log_evidence(m, g, x, Importance(num_particles=10, engine="compiled"), index=n).log_px
    ),
    "annealed": lambda m, g, x, n: (
        log_evidence(m, g, x, Annealed(num_temperatures=20), index=n).log_px
    ),
    "best": lambda m, g, x, n: (
        log_evidence(m, g, x, Best(num_particles=200, num_temperatures=20), index=n).log_px
    ),
    "ledger": lambda m, g, x, n: (
        gap_ledger(m, {"exact": g}, x, n, method=Importance(num_particles=200)).log_px
    ),
    "export": lambda m, g, x, n: torch.tensor(
        draws_to_arviz(m, g, x, n, num_draws=30)["weights"]["log_px"].values
    ),
    "full-rank": lambda m, g, x, n: (
        log_evidence(
            m,
            swap_guides(m, g, x, ["full-rank"], n)["full-rank"],
            x,
            Importance(num_particles=500),
            index=n,
        ).log_px
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_evidence_of_test_data_is_that_of_their_own_covariates(name: str) -> None:
    data = data_set()
    model, guide = programs(data.num_rows)
    x, numbers = data.test.x, data.test.numbers()
    found, truth = ESTIMATORS[name](model, guide, x, numbers), model.closed_form(x, numbers)
    # other covariates are some hundred nats off
    assert (found - truth).abs().max() < 0.05, (found, truth)


def test_a_closed_form_of_the_model_gets_the_numbers_too() -> None:
    data = data_set()
    model, guide = programs(data.num_rows)
    model.log_px = model.closed_form
    for method in (Exact(), Best()):
        found = log_evidence(model, guide, data.test.x, method, index=data.test.numbers())
        assert torch.allclose(
            found.log_px.float(), model.closed_form(data.test.x, data.test.numbers())
        )


def test_without_numbers_the_data_are_the_first_ones() -> None:
    model, guide = programs(60)
    x = data_set().test.x
    found = log_evidence(model, guide, x, Importance(num_particles=10))
    assert torch.allclose(found.log_px.float(), model.closed_form(x, torch.arange(12)), atol=1e-3)
    assert torch.allclose(
        log_weights(model, guide, x)[0], model.closed_form(x, torch.arange(12)), atol=1e-3
    )
    reference = reference_posterior(model, x[:2], num_chains=2, num_samples=100, num_warmup=100)
    means, _ = reference.moments("latent")
    assert ((means - (x[:2] + model.table[:2]) / 2).abs() < 0.5).all()


def test_diagnostics_take_the_numbers() -> None:
    data = data_set()
    model, guide = programs(data.num_rows)
    x, numbers = data.test.x, data.test.numbers()
    assert check_calibration(model, guide, x, numbers, num_simulations=200).calibrated
    both = sandwich(model, guide, x, numbers, num_data=6, method=Annealed(num_temperatures=20))
    assert torch.allclose(
        both.forward.log_px.float(), model.closed_form(both.x, both.index), atol=0.05
    )
    units = latent_units(model, guide, x, numbers)
    wrong = latent_units(model, guide, x)
    assert (
        units is not None
        and wrong is not None
        and not torch.allclose(units.variances, wrong.variances)
    )

    near = x + model.table[numbers]  # where the prior of each, and no other's, reaches
    curve = rate_distortion_curve(
        model, near, numbers, num_points=2, method=Annealed(start="prior", num_temperatures=100)
    )
    whole = curve.beta.argmax()
    assert curve.beta[whole] == 1
    found = -(curve.rate + curve.distortion)[whole]
    assert (found - model.closed_form(near, numbers)).abs().max() < 0.5


def test_a_table_of_rows_belongs_to_the_data_of_its_numbers() -> None:
    data = data_set()
    model, _ = programs(data.num_rows)
    x, numbers = data.test.x, data.test.numbers()
    guide = fit_local(model, Local(FullRank(SIZE), len(x), numbers), x)
    truth = model.closed_form(x, numbers)
    own = log_evidence(
        model, guide, x, Importance(num_particles=500)
    )  # its own data, which it knows
    assert (own.log_px - truth).abs().max() < 0.05
    some = torch.tensor([7, 2])
    assert (
        log_evidence(
            model, guide, x[some], Importance(num_particles=500), index=numbers[some]
        ).log_px
        - truth[some]
    ).abs().max() < 0.05
    assert torch.equal(guide.numbers, numbers)
    for other in (torch.arange(12), numbers + 1):
        with pytest.raises(
            ValueError, match="of which the guide has not all: its 12 are of data from 48 to 59"
        ):
            log_evidence(model, guide, x, Importance(num_particles=10), index=other)
    with pytest.raises(
        ValueError, match="index: got 47 to 47, but the guide has 12 rows, of data 48 to 59"
    ):
        guide(x[:1], torch.tensor([47]))
    again = Local.started_at(guide, x, MeanField(SIZE))
    assert torch.equal(again.numbers, numbers)
    ledger = gap_ledger(
        model,
        {"full": guide, "mean": fit_local(model, again, x)},
        x,
        method=Importance(num_particles=500),
    )
    assert (ledger.log_px - truth).abs().max() < 0.05


def test_a_table_in_any_order_is_saved_with_its_numbers() -> None:
    numbers = torch.tensor([70, 60, 65])
    guide, other = (Local(MeanField(2), 3, n) for n in (numbers, numbers.flip(0)))
    with torch.no_grad():
        guide.table.copy_(torch.arange(12.0).reshape(3, 4))
    assert torch.equal(guide.q(numbers).mean, guide.table[:, :2])
    other.load_state_dict(guide.state_dict())
    assert torch.equal(other.numbers, numbers)
    assert torch.equal(other.q(torch.tensor([65])).mean, guide.table[2:, :2])
    assert not [name for name, _ in Local(MeanField(2), 3, torch.arange(3)).named_buffers()]


@pytest.mark.parametrize(
    "numbers", [torch.arange(4), torch.tensor([1, 1, 2]), torch.tensor([-1, 0, 1]), torch.ones(3)]
)
def test_bad_numbers_of_a_table(numbers: Tensor) -> None:
    with pytest.raises(ValueError, match="numbers: got"):
        Local(MeanField(2), 3, numbers)


def test_fit_trains_a_table_of_some_rows_by_their_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, SIZE)).astype(np.float32))
    data = load(tmp_path / "x.npy", valid=0)
    model, _ = programs(data.num_rows)
    with pytest.raises(
        ValueError,
        match=r"has not a row for each of the train data, whose numbers go from \d to 49",
    ):
        fit(model, Local(MeanField(SIZE), len(data.train)), data, epochs=1, quiet=True)
    guide = Local(MeanField(SIZE), len(data.train), data.train.numbers())
    fit(model, guide, data, epochs=300, batch_size=15, optimizer=adam, quiet=True)
    means = guide.q(data.train.numbers()).mean
    exact = (data.train.x + model.table[data.train.numbers()] + model.shift) / 2
    assert (means - exact).abs().mean() < 0.5


def adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=0.3)


PROGRAMS = '''
import pyro
import pyro.distributions as dist
import torch
from torch import nn


def check(x, index):
    """Data are coded: the first value of a row is its number. Simulated ones are not whole numbers,
    stand-ins are 0.
    """
    code = x[:, 0]
    if bool((code == code.round()).all()) and x.any() and not torch.equal(code.long(), index):
        raise ValueError(f"these are the data {code.tolist()}, got index {index.tolist()}")


class Model(nn.Module):
    latent_dim = 2

    def __init__(self, shape):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, x, index):
        check(x, index)
        pyro.module(f"coded model {id(self)}", self)
        with pyro.plate("data", len(x), dim=-1):
            mean = index[:, None].float() + torch.zeros(2)
            z = pyro.sample("latent", dist.Normal(mean, 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(self.decode(z), 1.0).to_event(1), obs=x)

    def decode(self, z):
        return z + self.bias


class Guide(nn.Module):
    def __init__(self, shape, latent_dim):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(2))

    def forward(self, x, index):
        check(x, index)
        pyro.module(f"coded guide {id(self)}", self)
        with pyro.plate("data", len(x), dim=-1):
            mean = (x + index[:, None]) / 2
            return pyro.sample("latent", dist.Normal(mean, self.scale.exp()).to_event(1))
'''


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A run on coded rows, in a working directory with the classes that it is of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "coded.py").write_text(PROGRAMS)
    np.save("x.npy", np.arange(60, dtype=np.float32)[:, None] + np.array([0.0, 0.3], np.float32))
    pyro.clear_param_store()
    what = (
        "--data x.npy --values real --model coded.Model --guide coded.Guide"
        " --folder run --quiet true"
    )
    assert (
        main(
            [*["train", "--epochs", "2", "--batch_size", "16", "--binarise", "none"], *what.split()]
        )
        == 0
    )
    yield "run"
    sys.modules.pop("coded", None)


def test_commands_pass_the_number_of_each_datum(
    run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [
        "evidence RUN --method.num_particles 200",
        "evidence RUN --method Best --method.num_particles 200 --method.num_temperatures 10",
        "evidence RUN --split valid --method Annealed --method.num_temperatures 10",
        "evidence RUN --split train --method.num_particles 30",
        "compare RUN --guides amortized --num_data 4 --num_particles 50 --num_temperatures 4",
        "diagnose RUN --num_particles 100 --num_simulations 20 --num_draws 9 --num_sandwich 3"
        " --num_temperatures 4 --num_data 4",
        "export RUN --num_data 4 --num_draws 30",
        "reconstruct RUN --num_data 4",
        "info RUN",
    ]
    for command in commands:
        pyro.clear_param_store()
        assert main([*command.replace("RUN", run_folder).split(), "--trust", "coded"]) == 0, (
            capsys.readouterr().err
        )
    told = json.loads(Path("run/evidence.json").read_text())
    assert told["split"] == "train"
    draws = arviz.from_netcdf("run/draws.nc")
    assert np.array_equal(
        draws["observed_data"]["x"].values[:, 0], draws["observed_data"]["datum"].values
    )
