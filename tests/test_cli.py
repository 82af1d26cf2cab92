"""The command line's main job, from `train` to pictures, in one process on the embedded digits."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pyro
import pytest
import torch
import yaml
from PIL import Image

from pyro_vae.cli import main
from pyro_vae.inference.weights import read_weights

TINY = "--quiet true --model.hidden [16] --model.latent_dim 4 --guide.hidden [16]"
SIZE = "--quiet true --model.hidden [16] --model.latent_dim 4"  # for guides that have no `hidden`
GREY = "--binarise none --model.likelihood Bernoulli"
FILES = [
    ".lock",
    "checkpoint.pt",
    "config.yaml",
    "data.json",
    "metrics.csv",
    "run.json",
    "units.csv",
    "versions.json",
]
FILES.append("weights.safetensors")

PROGRAMS = '''
import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import nn


class MyGuide(nn.Module):
    """As in a Pyro tutorial: no type hints."""

    def __init__(self, shape, latent_dim, width=8):
        super().__init__()
        first, last = nn.Linear(math.prod(shape), width), nn.Linear(width, latent_dim)
        self.net = nn.Sequential(first, nn.Tanh(), last)

    def forward(self, x, index=None):
        pyro.module(f"my guide {id(self)}", self)
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample("latent", dist.Normal(self.net(x.flatten(1)), 0.5).to_event(1))


class ScaleGuide(MyGuide):
    """With type hints, and a `pyro.param` outside of the module."""

    def __init__(self, shape: Sequence[int], latent_dim: int, width: int = 8):
        super().__init__(shape, latent_dim, width)

    def forward(self, x, index=None):
        pyro.module(f"my guide {id(self)}", self)
        scale = pyro.param("my scale", torch.ones(()), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample("latent", dist.Normal(self.net(x.flatten(1)), scale).to_event(1))


class MyModel(nn.Module):
    """Two latent units and a linear decoder; neither `sample` nor `decode`."""

    latent_dim = 2

    def __init__(self, shape: Sequence[int], scale: float = 1.0):
        super().__init__()
        self.shape, self.scale = shape, scale
        self.net = nn.Linear(2, math.prod(shape))

    def forward(self, x, index=None):
        pyro.module(f"my model {id(self)}", self)
        with pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(2), self.scale).to_event(1))
            logits = self.net(z).unflatten(-1, self.shape)
            pyro.sample("obs", dist.Bernoulli(logits=logits).to_event(len(self.shape)), obs=x)
'''


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in `tmp_path`, with a user's file in it; forget then what was imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    (tmp_path / "my_guides.py").write_text(PROGRAMS)
    yield tmp_path
    sys.modules.pop("my_guides", None)


def call(arguments: str) -> int:
    pyro.clear_param_store()  # as in a new process
    return main(arguments.split())


def train(folder: str, options: str = "", base: str = TINY) -> Path:
    assert call(f"train --folder {folder} --epochs 1 {base} {options}") == 0
    return Path(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(str(tmp_path_factory.mktemp("trained") / "run"), "--epochs 2")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, `run` in the working directory."""
    shutil.copytree(trained, tmp_path / "run")
    return Path("run")


def metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv without what depends on the clock."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        {k: float(v) for k, v in row.items() if k not in ("seconds", "data_per_second")}
        for row in rows
    ]


def parts(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return read_weights(folder / "weights.safetensors")[0][name]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": x
        for name in ("model", "guide", "params")
        for key, x in parts(folder, name).items()
    }


def same_run(a: Path, b: Path) -> bool:
    x, y = tensors(a), tensors(b)
    return (
        x.keys() == y.keys()
        and all(torch.equal(x[n], y[n]) for n in x)
        and metrics(a) == metrics(b)
    )


def settings(folder: Path) -> dict:
    return yaml.safe_load((folder / "config.yaml").read_text())


def evidence(folder: Path, options: str = "") -> dict[str, float]:
    assert call(f"evidence {folder} --method.num_particles 30 {options}") == 0
    facts = json.loads((folder / "evidence.json").read_text())
    del facts["seconds"]
    return facts


# train


def test_train_leaves_a_run_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(p.name for p in run.iterdir() if not p.name.startswith("events.")) == FILES
    assert settings(run)["epochs"] == 2
    assert settings(run)["model"]["init_args"]["latent_dim"] == 4
    assert {"python", "torch", "pyro-ppl", "device"} <= json.loads(
        (run / "versions.json").read_text()
    ).keys()
    rows = metrics(run)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert all(
        math.isclose(r["valid_elbo"], -(r["valid_rate"] + r["valid_distortion"]), rel_tol=1e-6)
        for r in rows
    )


def test_train_says_where_the_run_is(capsys: pytest.CaptureFixture[str]) -> None:
    train("somewhere/deep", "--quiet false")
    out, error = capsys.readouterr()
    learned = (
        r"after 1 epochs the ELBO of 200 validation data is -\d+\.\d+ nats a datum"
        r" \(0\.\d+ bits a value\)"
    )
    units = r"\d of 4 latent units active, rate -?\d+\.\d+ nats"
    assert re.fullmatch(
        rf"somewhere/deep: {learned}; {units}; next: pyro-vae evidence somewhere/deep\n", out
    )
    data, model, epoch = error.splitlines()
    assert data == (
        "data   digits: 1,297 train + 200 valid + 300 test data of 1 x 8 x 8 pixels, binarised"
        " anew at each visit (dynamic)"
    )
    assert (
        model
        == "model  VAE, Bernoulli; 4 latent units; batches of 64, KL warm-up over 0.5 of 1 epochs"
    )
    assert re.match(
        r"epoch 1/1  train loss \d+\.\d+  valid ELBO -\d+\.\d+ nats  active units \d"
        r"  [\d,]+ data/s",
        epoch,
    )


def test_hyphens_and_underscores_are_one() -> None:
    a = train("a", "--batch_size 64 --warmup_epochs=1 --optimizer.weight_decay 0.01")
    b = train(
        "b", "--batch-size 64 --warmup-epochs=1 --optimizer.weight-decay 0.01".replace("_", "-")
    )
    assert same_run(a, b)
    assert settings(b)["optimizer"]["init_args"]["weight_decay"] == 0.01


def test_hyphens_in_values_stay() -> None:
    np.save("my-own_data.npy", np.random.default_rng(0).integers(0, 2, (40, 16)))
    assert settings(train("a", "--data=my-own_data.npy"))["data"] == "my-own_data.npy"


def test_config_repeats_a_run_bit_for_bit(run: Path) -> None:
    assert call(f"train --config {run}/config.yaml --folder other --quiet true") == 0
    assert same_run(run, Path("other"))
    assert settings(run) == settings(Path("other"))


def test_an_option_wins_over_the_configuration(run: Path) -> None:
    assert (
        call(f"train --config {run}/config.yaml --folder other --epochs 1 --seed 1 --quiet true")
        == 0
    )
    assert settings(Path("other")) == settings(run) | {"epochs": 1, "seed": 1}
    assert metrics(Path("other")) != metrics(run)[:1]


def test_default_folders_are_counted() -> None:
    for _ in range(2):
        assert call(f"train --epochs 1 {TINY}") == 0
    assert all(Path(f"runs/digits-{n}/weights.safetensors").is_file() for n in (1, 2))


def test_the_data_options_are_kept() -> None:
    folder = train("a", "--binarise threshold --valid 0")
    assert settings(folder)["binarise"] == "threshold"
    assert settings(folder)["valid"] == 0
    assert math.isnan(metrics(folder)[0]["valid_elbo"])


# model, guide, optimizer, schedule by class


def test_a_guide_from_a_file_outside_the_package() -> None:
    folder = train("a", "--guide my_guides.MyGuide --guide.width 5", SIZE)
    assert settings(folder)["guide"] == {
        "class_path": "my_guides.MyGuide",
        "init_args": {"width": 5},
    }
    assert tensors(folder)["guide.net.0.weight"].shape == (5, 64)
    assert math.isfinite(evidence(folder, "--trust my_guides")["log_px"])
    assert call("reconstruct a --num_data 4 --trust my_guides.MyGuide") == 0
    assert call("train --config a/config.yaml --folder b --quiet true --trust my_guides") == 0
    assert same_run(folder, Path("b"))


def test_a_guide_with_a_parameter_outside_of_modules() -> None:
    folder = train("a", "--guide my_guides.ScaleGuide", SIZE)
    assert tensors(folder)["params.my scale"] != 0  # the logarithm of 1 when it started
    assert math.isfinite(evidence(folder, "--trust my_guides")["log_px"])


def test_a_model_from_a_file_outside_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(
        "a", "--model my_guides.MyModel --model.scale 2 --guide.hidden [8]", "--quiet true"
    )
    assert settings(folder)["model"]["init_args"] == {"scale": 2.0}
    assert math.isfinite(evidence(folder, "--trust my_guides")["log_px"])
    assert call("sample a --trust my_guides") == 2
    assert "MyModel has no method `sample`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (
            "--optimizer torch.optim.SGD --optimizer.lr 1e-4 --optimizer.momentum 0.9",
            {"lr": 1e-4, "momentum": 0.9},
        ),
        ("--optimizer RMSprop --optimizer.alpha 0.9", {"alpha": 0.9, "lr": 1e-3}),
    ],
)
def test_an_optimizer_by_class(options: str, kept: dict[str, float]) -> None:
    folder = train("a", options)
    assert settings(folder)["optimizer"]["init_args"].items() >= kept.items()
    assert metrics(folder)[0]["learning_rate"] == kept["lr"]


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ("--schedule ExponentialLR --schedule.gamma 0.5", [1e-3, 5e-4, 2.5e-4]),
        (
            "--schedule torch.optim.lr_scheduler.CosineAnnealingLR --schedule.T_max 2",
            [1e-3, 5e-4, 0],
        ),
        ("--optimizer.lr 0 --schedule ReduceLROnPlateau --schedule.patience 0", [0, 0, 0]),
    ],
)
def test_a_schedule_by_class(options: str, rates: list[float]) -> None:
    folder = train("a", f"--epochs 3 {options}")
    assert [row["learning_rate"] for row in metrics(folder)] == pytest.approx(rates, abs=1e-12)


def test_gaussian_likelihood_by_name() -> None:
    folder = train(
        "a", "--model.likelihood Gaussian --binarise none --model.likelihood.learn shared"
    )
    assert "model.likelihood.log_sigma" in tensors(folder)
    assert math.isfinite(evidence(folder)["log_px"])
    assert call("sample a --num_samples 4") == 0


def test_grey_pixels_under_bernoulli_only_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"train --folder no --epochs 1 {TINY} {GREY}") == 2
    assert "grey=True" in capsys.readouterr().err
    folder = train("yes", f"{GREY} --model.likelihood.grey true")
    assert math.isfinite(evidence(folder)["elbo"])


def test_every_table_says_that_grey_pixels_have_no_likelihood(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, said = (
        train("a", f"{GREY} --model.likelihood.grey true"),
        "these figures are cross-entropies, not log p(x)",
    )
    told = capsys.readouterr()
    assert said in told.out
    few, own = "--num_data 20 --num_particles 100", "--num_data 20 --method.num_particles 100"
    commands = {
        f"evidence a {own}": "evidence.json",
        f"evidence a --method Best {own} --method.num_temperatures 20": "evidence.json",
        f"diagnose a {few} --num_simulations 40 --num_draws 9": "diagnosis.json",
        f"compare a {few} --guides amortized --split test": "ledger/test.csv",
        "info a": "evidence.json",
    }
    for command, file in commands.items():
        assert call(command) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert said in out and said in (folder / file).read_text(), command
        # table, verdict
        assert command.startswith(("diagnose", "info")) or "Best" in command or out.count(said) == 2


def test_no_table_of_a_likelihood_has_a_caveat(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "caveat" not in evidence(run) and call(f"info {run}") == 0
    assert "cross-entropies" not in capsys.readouterr().out


def test_convolutions() -> None:
    small = "--model.decoder.channels [6,4] --guide.encoder.channels [4,6]"
    folder = train("a", f"--model.decoder ConvDecoder --guide.encoder Conv {small}")
    assert tensors(folder)["guide.encoder.convolutions.2.weight"].shape == (6, 4, 3, 3)
    assert math.isfinite(evidence(folder)["log_px"])


# the recipe


def test_analytic_kl(run: Path) -> None:
    folder = train("a", "--loss TraceMeanField_ELBO")
    assert settings(folder)["loss"]["class_path"] == "pyro.infer.TraceMeanField_ELBO"
    sampled, analytic = metrics(run)[0]["train_loss"], metrics(folder)[0]["train_loss"]
    assert sampled != analytic
    assert sampled == pytest.approx(analytic, rel=0.01)


def test_beta_weighs_the_rate(run: Path) -> None:
    folder = train("a", "--epochs 2 --beta 0")
    assert [row["beta"] for row in metrics(folder)] == [0, 0]
    assert metrics(folder)[1]["valid_rate"] > metrics(run)[1]["valid_rate"]


def test_warmup() -> None:
    # 3 steps an epoch: 0, 1/3, 2/3, ...
    folder = train("a", "--epochs 3 --batch-size 512 --beta 2 --warmup-epochs 2")
    assert [row["beta"] for row in metrics(folder)] == pytest.approx([2 / 3, 5 / 3, 2])


def test_clip_norm_bounds_the_step() -> None:
    sgd = "--optimizer torch.optim.SGD --batch_size 2000"  # one step
    start, end = (
        tensors(train(n, f"{sgd} --optimizer.lr {lr} --clip_norm 0.5"))
        for n, lr in (("a", 0), ("b", 0.1))
    )
    moved = sum((end[name] - start[name]).square().sum() for name in start).sqrt()
    assert moved.item() == pytest.approx(0.1 * 0.5, rel=1e-3)


def test_patience_stops_and_keeps_the_best() -> None:
    folder = train(
        "a", "--epochs 9 --patience 2 --warmup_epochs 0 --optimizer.lr 0.05 --batch_size 64"
    )
    scores = [row["valid_elbo"] for row in metrics(folder)]
    best = max(range(len(scores)), key=scores.__getitem__)
    assert len(scores) == best + 3 < 9
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    kept, last = state["position"]["best_weights"], state["weights"]
    assert all(
        torch.equal(value, kept["model"][name]) for name, value in parts(folder, "model").items()
    )
    assert not all(
        torch.equal(value, last["model"][name]) for name, value in parts(folder, "model").items()
    )


# evidence


def test_evidence_holds_what_a_table_needs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = evidence(run)
    assert {"elbo", "rate", "distortion", "log_px", "active_units", "fingerprint"} <= facts.keys()
    assert {
        "elbo_error",
        "rate_error",
        "distortion_error",
        "log_px_error",
        "pareto_k_max",
    } <= facts.keys()
    assert facts["elbo"] == pytest.approx(-(facts["rate"] + facts["distortion"]), abs=1e-9)
    assert facts["log_px"] > facts["elbo"]
    assert (facts["num_data"], facts["num_particles"], facts["split"]) == (300, 30, "test")
    out = capsys.readouterr().out
    assert f"{facts['log_px']:.2f} +- {facts['log_px_error']:.2f}" in out
    assert str(facts["fingerprint"]) in out


def test_evidence_does_not_depend_on_the_memory(run: Path) -> None:
    assert evidence(run) == evidence(run, "--method.max-bytes 5000")


def test_evidence_depends_on_seed_split_and_number(run: Path) -> None:
    whole, seed = evidence(run), evidence(run, "--method.seed 1")
    assert seed["log_px"] != whole["log_px"]
    assert seed["fingerprint"] == whole["fingerprint"]
    part, valid = evidence(run, "--num-data 20"), evidence(run, "--split valid")
    assert (part["num_data"], valid["num_data"], valid["split"]) == (20, 200, "valid")
    assert len({whole["fingerprint"], part["fingerprint"], valid["fingerprint"]}) == 3


def test_evidence_is_strict_json(run: Path) -> None:
    """Few particles have no k-hat and one datum has no error; NaN is not JSON."""
    evidence(run, "--method.num_particles 1 --num_data 1")
    text = (run / "evidence.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"evidence.json holds {name}"))


# compare


@pytest.mark.usefixtures("quick_convergence")
def test_compare_writes_the_ledger(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--guides full-rank,amortized,mean-field --num_data 5"
        " --num_particles 50 --num_temperatures 20"
    )
    assert call(f"compare {run} {options}") == 0
    ends = (".csv", "_data.csv", ".nc", ".png", ".json")
    assert {p.name for p in (run / "ledger").iterdir()} == {
        split + end for split in ("train", "test") for end in ends
    }
    with (run / "ledger" / "test.csv").open() as file:
        rows = {row["guide"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["amortized", "mean-field", "full-rank"]
    assert (
        rows["amortized"]["q*"] == "mean-field" and float(rows["mean-field"]["evaluations"]) >= 100
    )
    out = capsys.readouterr().out
    assert (
        "5 train data" in out
        and "5 test data" in out
        and "inference on test data less that on train data" in out
    )


@pytest.mark.usefixtures("quick_convergence")
def test_compare_works_on_a_guide_that_is_not_amortized_by_a_family(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (Path.cwd() / "programs.py").write_text(PROGRAMS)
    folder = train("mine", "--guide programs.MyGuide", base=SIZE)
    assert (
        call(
            f"compare {folder} --guides amortized,mean-field --split test --num_data 4"
            " --num_particles 50 --trust programs"
        )
        == 0
    )
    assert call(f"compare {folder} --guides semi-amortized --num_data 4 --trust programs") == 2
    assert "semi-amortized goes on from the parameters" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["evidence run --method.num_particles 5", "sample run", "reconstruct run"]
)
def test_out_makes_its_folder(command: str, run: Path) -> None:
    name = "made/here.json" if command.startswith("evidence") else "made/here.png"
    assert call(f"{command} --out {name}") == 0
    assert Path(name).stat().st_size > 0


# evidence by other methods, diagnose, export


METHODS = {
    "Importance": "--method.num_particles 2000 --method.seed 1",
    "Annealed": "--method.num_temperatures 60 --method.seed 1",
    "Laplace": "--method.num_particles 2000 --method.seed 1",
    "Quadrature": "",
    "Best": "--method.num_particles 2000 --method.num_temperatures 60 --method.seed 1",
}


@pytest.mark.parametrize("method", METHODS)
def test_evidence_by_every_method_agrees(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("flat", "--model.latent_dim 2")
    assert call(f"evidence {run} --method {method} --num_data 4 {METHODS[method]}") == 0
    found = json.loads((run / "evidence.json").read_text())
    with (run / "evidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["datum"]) for row in rows] == [0, 1, 2, 3]
    assert sum(float(row["log_px"]) for row in rows) / 4 == pytest.approx(found["log_px"])
    assert all(float(row["lower"]) <= float(row["upper"]) for row in rows)
    assert call(f"evidence {run} --method Quadrature --num_data 4 --out {run}/exact.json") == 0
    exact = json.loads((run / "exact.json").read_text())
    assert abs(found["log_px"] - exact["log_px"]) < 5 * found["log_px_monte_carlo_error"] + 1e-3
    out = capsys.readouterr().out
    assert found["method"] in out and "on these data" in out


def test_a_method_that_does_not_apply_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(f"evidence {run} --method Exact") == 2
    assert "VAE has no method `log_px`" in capsys.readouterr().err
    assert not (run / "evidence.json").exists()


def test_diagnose_ends_in_a_verdict_per_guide(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--num_data 20 --num_particles 100 --num_simulations 200 --num_draws 19"
        " --num_sandwich 4 --num_temperatures 20"
    )
    assert call(f"diagnose {run} {options}") == 0
    out = capsys.readouterr().out
    found = json.loads((run / "diagnosis.json").read_text())
    assert (
        found["guides"]["amortized"]["verdict"] in out
        and "regions hold the truth" in out
        and "sandwich: AIS" in out
    )
    assert call(f"diagnose {run} --guides best") == 2


def test_export_opens_in_arviz(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"export {run} --num_data 3 --num_draws 30") == 0
    data = arviz.from_netcdf(run / "draws.nc")
    assert data["posterior"]["latent"].shape == data["guide"]["latent"].shape == (1, 30, 3, 4)
    assert data["posterior_predictive"]["x"].shape == (1, 30, 3, 1, 8, 8)
    assert data["weights"]["pareto_k"].shape == (3,)


# pictures and facts


def test_sample_writes_a_picture(run: Path) -> None:
    pictures = []
    for seed in (0, 0, 1):
        assert call(f"sample {run} --num_samples 9 --seed {seed}") == 0
        pictures.append((run / "samples.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
    with Image.open(run / "samples.png") as image:
        image.load()
        assert image.size == (3 * 58 + 2, 3 * 58 + 2)  # 8 x 8 pixels, 7 times as large, 2 between


def test_reconstruct_writes_a_picture(run: Path) -> None:
    assert call(f"reconstruct {run} --num-data 12 --out pairs.png") == 0
    with Image.open("pairs.png") as image:
        image.load()
        assert image.size == (16 * 58 + 2, 2 * 58 + 2)
        assert image.getextrema()[0] == (0, 255)  # the data are black and white
    assert not (run / "reconstructions.png").exists()


def test_few_test_data_are_enough_for_every_command() -> None:
    np.save("few.npy", (np.random.default_rng(0).random((20, 5, 5)) > 0.5))
    train("a", "--data few.npy --valid 0")  # with 2 test data
    few = "--num_particles 30 --num_simulations 20 --num_draws 5"
    for command in (
        "reconstruct a",
        "export a --num_draws 30",
        "compare a --guides amortized --num_particles 30",
    ):
        assert call(command) == 0, command
    assert call(f"diagnose a {few}") == 0 and Path("a/reconstructions.png").is_file()


@pytest.mark.parametrize("columns", [(), (3,), (4,)])
def test_tables_are_sampled_and_reconstructed_as_tables(
    columns: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("table.npy", np.random.default_rng(0).normal(5.0, 2.0, (40, *columns)))
    train("a", "--data table.npy")
    size = columns[0] if columns else 1
    capsys.readouterr()
    assert call("sample a --num_samples 7") == 0
    assert (
        capsys.readouterr().out
        == "a/samples.csv (these data are no pictures: a table, with a row for each)\n"
    )
    rows = list(csv.DictReader(Path("a/samples.csv").read_text().splitlines()))
    assert len(rows) == 7 and all(math.isfinite(float(row[f"value_{size - 1}"])) for row in rows)
    assert call("reconstruct a --out r.png") == 0 and not Path("r.png").exists()
    rows = list(csv.DictReader(Path("r.csv").read_text().splitlines()))
    assert [row["what"] for row in rows] == ["data", "mean"] * 4


def test_info_tells_the_facts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = evidence(run)
    capsys.readouterr()
    assert call(f"info {run}") == 0
    out = capsys.readouterr().out
    torch_version = f"torch {importlib.metadata.version('torch')}"
    for fact in (
        "name digits, shape [1, 8, 8]",
        "train 1297",
        "test 300",
        "VAE",
        "EncoderGuide",
        "parameters",
        torch_version,
    ):
        assert fact in out
    assert f"log_px {facts['log_px']:.6g}" in out
    assert "epoch 2," in out


def test_a_kept_run_needs_three_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = evidence(run)
    Path("kept").mkdir()
    for name in ("config.yaml", "weights.safetensors", "metrics.csv"):
        shutil.copy(run / name, "kept")
    assert evidence(Path("kept")) == whole
    assert all(call(f"{command} kept") == 0 for command in ("sample", "reconstruct", "info"))
    capsys.readouterr()
    assert call("resume kept") == 2
    assert "no checkpoint.pt in it, only weights" in capsys.readouterr().err


def test_a_run_that_has_not_ended_is_served_from_its_checkpoint(run: Path) -> None:
    whole = evidence(run)
    (run / "weights.safetensors").unlink()
    assert evidence(run) == whole


# help

OPTIONS = {
    "": "train resume evidence compare diagnose export sample reconstruct info",
    "train": "--config --data --binarise --valid --model --guide --epochs --batch_size --optimizer"
    " --schedule --loss --beta --warmup_epochs --clip_norm --patience --seed --folder --device"
    " --quiet --trust",
    "resume": "run --epochs --device --quiet --data_root --trust",
    "evidence": "run --method --method.help --split --num_data --out --device --trust",
    "diagnose": "run --guides --split --num_data --num_particles --num_simulations --num_draws"
    " --num_sandwich --num_nuts --num_temperatures --seed --out --device --trust",
    "export": "run --split --num_data --num_draws --seed --out --device --trust",
    "compare": "run --guides --split --num_data --num_particles --draws --num_temperatures --steps"
    " --seed --out --device --trust",
    "sample": "run --num_samples --seed --out --trust",
    "reconstruct": "run --num_data --seed --out --trust",
    "info": "run --data_root --device --trust",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        call(f"{command} --help")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert [option for option in OPTIONS[command].split() if option not in out] == []


# data and likelihood together


def own(name: str, array: Any) -> str:
    np.save(name, array)
    return name


def test_photographs_are_dequantised_under_a_gaussian(capsys: pytest.CaptureFixture[str]) -> None:
    light = np.random.RandomState(0).rand(60, 1, 1)
    grey = (40 + 150 * light + 10 * np.random.RandomState(1).rand(60, 4, 5)).astype(np.uint8)
    assert call(f"train --data {own('grey.npy', grey)} --folder grey --epochs 2") == 0
    out, err = capsys.readouterr()
    assert "60" not in out and "with uniform noise between the grey levels (dequantise)" in err
    assert "VAE, Gaussian, one sigma learned; 9 latent units" in err and "bits a value" in out
    kept = settings(Path("grey"))
    assert (
        kept["binarise"] == "dequantise"
        and kept["batch_size"] == 16
        and kept["warmup_epochs"] == 1.0
    )
    assert kept["model"]["init_args"]["latent_dim"] == 9
    assert kept["model"]["init_args"]["likelihood"]["class_path"] == "pyro_vae.Gaussian"
    assert call("evidence grey --method.num_particles 30") == 0
    found = json.loads((Path("grey") / "evidence.json").read_text())
    expected = 8 - found["log_px"] / (20 * math.log(2))
    assert found["log_px_bits_per_dim"] == pytest.approx(expected)
    assert all(
        call(f"{command} grey") == 0 for command in ("sample", "reconstruct --num_data 6", "info")
    )
    assert call("train --config grey/config.yaml --folder again --quiet true") == 0
    assert same_run(Path("grey"), Path("again"))


def test_a_table_has_a_sigma_for_each_column(capsys: pytest.CaptureFixture[str]) -> None:
    table = np.random.RandomState(0).randn(60, 5) * np.logspace(-3, 3, 5)
    assert call(f"train --data {own('table.npy', table)} --folder table --epochs 2") == 0
    assert (
        "real values\nmodel  VAE, Gaussian, a sigma for each value learned; 4 latent units"
        in capsys.readouterr().err
    )
    assert settings(Path("table"))["binarise"] == "none"
    units = parts(Path("table"), "guide")["standardise.scale"]
    assert units.shape == (5,) and units[4] / units[0] > 1e5


def test_counts_are_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    name = own("counts.npy", np.random.RandomState(0).poisson(3.0, (60, 5)))
    assert call(f"train --data {name} --folder counts --epochs 1") == 2
    assert (
        "pixels, counts, categories or grades? Say values='pixels' (--values pixels)"
        in capsys.readouterr().err
    )
    assert not Path("counts").exists()
    assert call(f"train --data {name} --folder counts --epochs 1 --values real --quiet true") == 0
    assert settings(Path("counts"))["values"] == "real"


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("--model.likelihood pyro_vae.Gaussian", "dequantise"),
        ("--model.likelihood pyro_vae.Bernoulli", "dynamic"),
        ("--model.likelihood pyro_vae.Bernoulli --model.likelihood.grey true", "none"),
        ("--binarise threshold", "threshold"),
        ("--binarise dequantise", "dequantise"),
    ],
)
def test_who_names_one_gets_the_other_to_match(options: str, rule: str) -> None:
    folder = train("a", f"{options} --valid 0")
    assert settings(folder)["binarise"] == rule
    assert json.loads((folder / "data.json").read_text())["binarise"] == rule


def test_a_mismatch_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        call(f"train {TINY} --binarise dynamic --model.likelihood pyro_vae.Gaussian --folder a")
        == 2
    )
    assert "binarise='dynamic' makes no data for a Gaussian likelihood" in capsys.readouterr().err
    assert not Path("a").exists()


def test_a_collapse_is_a_line_and_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    folder = train("a", "--epochs 20 --beta 30 --batch_size 64")
    err = capsys.readouterr().err
    assert err.startswith(
        "pyro-vae: warning: posterior collapse: none of the 4 latent units has been active in"
    )
    assert err.count("\n") == 1
    for command in (
        "evidence a --method.num_particles 30",
        "info a",
        "compare a --guides amortized --num_data 5",
    ):
        assert call(command) == 0
        err = capsys.readouterr().err
        assert (
            "pyro-vae: warning: posterior collapse: none of the 4 latent units is active" in err
        ), command
    assert folder.is_dir()


def test_the_verdict_on_a_dead_latent_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    # The guide is the prior, and so is the posterior: calibrated, healthy weights, and useless.
    folder, unused = (
        train("a", "--epochs 20 --beta 30 --batch_size 64"),
        "the latent is NOT used, 0 of 4 units active; ",
    )
    capsys.readouterr()
    for method in ("Importance", "Best"):
        options = f"--method {method} --method.num_particles 100"
        assert call(f"evidence a --num_data 9 {options}") == 0
        said = json.loads((folder / "evidence.json").read_text())["verdict"]
        assert said.startswith(unused) and said in capsys.readouterr().out.splitlines()
    assert call("compare a --guides amortized --split test --num_data 5 --num_particles 30") == 0
    assert capsys.readouterr().out.startswith(f"a, test: {unused.removesuffix('; ')}\n")
    assert (
        call("diagnose a --num_data 50 --num_particles 200 --num_simulations 100 --num_draws 19")
        == 0
    )
    said = json.loads((folder / "diagnosis.json").read_text())["guides"]["amortized"]["verdict"]
    assert said.startswith(unused) and f"amortized: {said}" in capsys.readouterr().out.splitlines()
    assert (
        "can be believed" not in said
        and "calibrated" in said
        and "importance weights healthy" in said
    )


def test_the_verdict_counts_the_units_that_are_used(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        call(f"diagnose {run} --num_data 20 --num_particles 100 --num_simulations 40 --num_draws 9")
        == 0
    )
    said = json.loads((run / "diagnosis.json").read_text())["guides"]["amortized"]
    assert re.match(
        rf"the latent is used(, 4|, 4| in part, {said['active_units']}) of 4 units active; ",
        said["verdict"],
    )
    assert call(f"evidence {run} --num_data 1 --method.num_particles 30") == 0
    assert (
        "whether the latent is used is not to be told from one datum; " in capsys.readouterr().out
    )


def test_info_tells_of_the_units(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"info {run}") == 0
    assert re.search(
        r"^units  \d of 4 active, rates in nats: ", capsys.readouterr().out, re.MULTILINE
    )
    (run / "units.csv").write_text("unit,rate\nlatent[0],1.0\n")
    assert call(f"info {run}") == 2
    assert "cannot be read as a table of units" in capsys.readouterr().err
