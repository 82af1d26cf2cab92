"""What `fit` is given, what it refuses, and what it tells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO
from torch import nn

from pyro_vae import MLP, VAE, Amortized, LinearGaussian, Local, MeanField, fit
from pyro_vae.inference.weights import read_weights
from tests.inference.toys import NUM, SGD, SIZE, make, with_valid
from tests.scenarios import eager


def test_checks_leave_batch_statistics_alone() -> None:
    model, guide, x = make()
    guide.encoder.layers.append(nn.BatchNorm1d(SIZE))
    fit(model, guide, x, epochs=1, batch_size=NUM, quiet=True)
    assert guide.encoder.layers[0].num_batches_tracked == 1


def test_a_guide_with_rows_knows_nothing_of_validation_data() -> None:
    model, _, x = make()
    with pytest.raises(ValueError, match="load the data with valid=0"):
        fit(model, Local(MeanField(2), 64), with_valid(x), quiet=True)
    run = fit(model, Local(MeanField(2), NUM), x, epochs=2, quiet=True)
    assert len(run.history) == 2


def test_a_folder_with_weights_is_not_overwritten(tmp_path: Path) -> None:
    model, guide, x = make()
    (tmp_path / "weights.safetensors").write_bytes(b"kept")
    with pytest.raises(ValueError, match="holds a run already"):
        fit(model, guide, x, folder=tmp_path, quiet=True)
    assert (tmp_path / "weights.safetensors").read_bytes() == b"kept"


def test_a_user_s_plain_functions_and_pyro_params_train(tmp_path: Path) -> None:
    _, _, x = make()

    def model(x: torch.Tensor, index: Any = None) -> None:
        loc = pyro.param("loc", torch.zeros(SIZE))
        scale = pyro.param("scale", torch.ones(()), constraint=dist.constraints.positive)
        with pyro.plate("rows", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(loc + z[..., None], scale).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: Any = None) -> None:
        weight = pyro.param("weight", torch.zeros(SIZE))
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x @ weight, 0.5))

    run = fit(model, guide, x, epochs=10, batch_size=16, folder=tmp_path, quiet=True)
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]
    kept, _ = read_weights(tmp_path / "weights.safetensors")
    assert kept["params"].keys() == {"loc", "scale", "weight"}
    torch.testing.assert_close(kept["params"]["scale"].exp(), pyro.param("scale").detach())
    torch.testing.assert_close(kept["params"]["weight"], pyro.param("weight").detach())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"batch_size": 1.5}, "batch_size: got 1.5"),
        ({"beta": math.nan}, "beta: got nan"),
        ({"clip_norm": 0.0}, "clip_norm: got 0.0"),
        ({"seed": -1}, "seed: got -1"),
        ({"loss": "elbo"}, "loss: got 'elbo'"),
        ({"optimizer": 0.1}, "optimizer: got 0.1"),
        ({"schedule": "cosine"}, "schedule: got 'cosine'"),
        ({"optimizer": torch.optim.LBFGS}, "optimizer: LBFGS evaluates the loss several times"),
        ({"device": "tpu"}, "device: got 'tpu'"),
        ({"resume": True}, "resume: got no folder"),
        ({"patience": 3}, "patience: early stopping needs a validation split"),
    ],
)
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    model, guide, x = make()
    with pytest.raises(ValueError, match=message):
        fit(model, guide, x, valid=0, quiet=True, **change)


def test_data_that_the_model_cannot_score() -> None:
    guide = Amortized(MeanField(2), MLP(SIZE, ()))
    with pytest.raises(ValueError, match="grey values"):
        fit(VAE((SIZE,), 2, (4,)), guide, torch.rand(10, SIZE), quiet=True)
    with pytest.raises(ValueError, match="pixels, counts, categories or grades"):
        fit(LinearGaussian(SIZE, 2), guide, torch.arange(50).view(10, SIZE), quiet=True)
    with pytest.raises(ValueError, match="data: got list"):
        fit(LinearGaussian(SIZE, 2), guide, [1.0], quiet=True)
    with pytest.raises(ValueError, match="failed"):
        fit(LinearGaussian(SIZE, 3), guide, torch.rand(10, SIZE), quiet=True)


def test_nothing_to_train() -> None:
    model, guide, x = make()
    model.requires_grad_(False), guide.requires_grad_(False)
    with pytest.raises(ValueError, match="neither the model nor the guide has a parameter"):
        fit(model.eval(), guide.eval(), x, quiet=True)


def test_progress_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    model, guide, x = make()
    fit(model, guide, with_valid(x), epochs=2)
    out, err = capfd.readouterr()
    assert out == "" and "epoch 2/2" in err and "valid ELBO" in err and "data/s" in err
    for options in ({"beta": 2.0}, {"warmup_epochs": 0.9}, {"loss": RenyiELBO(num_particles=2)}):
        fit(model, guide, x, epochs=1, valid=0, **options)  # type: ignore[arg-type]
        # what is minimised is not minus the ELBO
        assert "ELBO" not in capfd.readouterr().err, options

    def subsampled(program: Any) -> Any:
        return lambda x, index: pyro.poutine.scale(program, scale=12.0)(x, index)

    fit(subsampled(model), subsampled(guide), x, epochs=1, valid=0)
    assert "ELBO" not in capfd.readouterr().err


def in_a_plate_of(kind: str, num_data: int = NUM) -> tuple[Any, Any]:
    """A model and a guide in a plate of the minibatch's own size, or in one of all data that a
    minibatch is a part of.
    """

    def plate(x: torch.Tensor, index: torch.Tensor) -> Any:
        if kind == "own":
            return pyro.plate("data", len(x), dim=-1)
        if kind == "subsample":
            return pyro.plate("data", num_data, subsample=index, dim=-1)
        return pyro.plate("data", num_data, subsample_size=len(x))

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(SIZE))
        with plate(x, index):
            z = pyro.sample("z", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(loc + z, 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: torch.Tensor) -> None:
        scale = pyro.param("scale", torch.ones(SIZE), constraint=dist.constraints.positive)
        with plate(x, index):
            pyro.sample("z", dist.Normal(x / 2, scale).to_event(1))

    return model, guide


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
def test_a_datum_of_a_plate_that_subsamples_counts_once_in_the_history(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    x, options = (
        make()[2],
        {"epochs": 2, "batch_size": 20, "optimizer": SGD, "warmup_epochs": 0, "valid": 12},
    )
    told = {}
    for kind in ("own", "subsample"):
        pyro.clear_param_store()
        run = fit(*in_a_plate_of(kind), x, engine=engine, device="cpu", quiet=True, **options)  # type: ignore[arg-type]
        assert run.loss_is_elbo
        told[kind] = [(row["train_loss"], row["valid_elbo"]) for row in run.history]
    torch.testing.assert_close(
        torch.tensor(told["subsample"]), torch.tensor(told["own"]), rtol=1e-5, atol=0
    )

    programs = in_a_plate_of("subsample_size")
    run = fit(*programs, x, engine=engine, device="cpu", quiet=True, **options)  # type: ignore[arg-type]
    # the plate draws noise of its own
    assert run.history[0]["train_loss"] == pytest.approx(told["own"][0][0], rel=0.1)


def test_data_plates_of_two_sizes_are_refused() -> None:
    x, (model, _), (_, guide) = make()[2], in_a_plate_of("subsample"), in_a_plate_of("own")
    with pytest.raises(
        ValueError, match=r"data plates have sizes \{'guide z': 8, 'model z': 96, 'model x': 96\}"
    ):
        fit(model, guide, x, epochs=1, quiet=True)
