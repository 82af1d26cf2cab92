"""Each script in experiments/ runs, with tiny arguments."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pyro_vae import cli
from tests.scenarios import eager

ROOT = Path(__file__).parents[1]
KEPT = sorted(p.parent.name for p in (ROOT / "experiments").glob("*/config.yaml"))


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"experiments_{name}", ROOT / "experiments" / f"{name}.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for annotations
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "experiments")  # as it is where a script is run
        spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("hasty_convergence")
def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--epochs=2", "--num-data=10", "--num-particles=30", f"--out={tmp_path / 'run'}"]
    assert script("demo").main(sizes) == 0
    out = capsys.readouterr().out
    commands = [line.split()[2] for line in out.splitlines() if line.startswith("$ pyro-vae")]
    assert commands == ["train", "compare", "evidence", "report"]
    assert "amortized" in out and "mean-field" in out and "full-rank" in out and "log p(x)" in out
    assert f"{tmp_path / 'run' / 'report.html'}: open it in a browser" in out
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000

    assert script("demo").main(sizes) == 0
    assert "was trained before" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["defaults", "tuned", "provoked"])
def test_first_run(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, made = tmp_path / "out.json", script("first_run")
    arguments = [
        what,
        "--sets",
        "digits",
        "cancer",
        "--seeds",
        "0",
        "--epochs",
        "1",
        f"--json={out}",
    ]
    made.main(arguments)
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == {"defaults": 2, "tuned": 18, "provoked": 4}[what]
    assert all(
        row["num_units"] >= row["active_units"] and (row["epoch"] == 1 or row["elbo"] is None)
        for row in rows
    )
    made.main(arguments)  # which measures nothing again
    assert json.loads(out.read_text())["rows"] == rows
    assert "cancer" in capsys.readouterr().out


@pytest.mark.parametrize(("what", "size", "num_cells"), [("weights", 250, 10), ("chains", 10, 6)])
def test_coverage(
    what: str, size: int, num_cells: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, made = tmp_path / "out.json", script("coverage")
    arguments = [what, "--dims", "2", "--sizes", str(size), "--repetitions", "20", f"--json={out}"]
    made.main(arguments)
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == num_cells
    assert all(row["closed"] == 0 or row["coverage"] > 0.5 for row in rows)
    assert {row["case"]: row["closed"] for row in rows}["one of two modes"] == 0
    made.main(arguments)  # which measures nothing again
    assert json.loads(out.read_text())["rows"] == rows
    assert "hold the truth" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["grey"], ["dynamic"], ["grey", "--as-published"]])
def test_regimes(arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script("regimes").main(
        [*arguments, "--data=digits", "--epochs=1", "--num-train=100", f"--json={out}"]
    )
    figures = json.loads(out.read_text())
    assert figures["regime"] == arguments[0] and figures["elbo"] < figures["log_px"] < 0


def test_engines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # else each empty cache begins with a trial of the compiler's vector instructions
    monkeypatch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "0")
    out = tmp_path / "out.json"
    arguments = ["--data=digits", "--epochs=3", "--num-train=64", f"--json={out}"]
    script("engines").main([*arguments, "--latent-dim=4", "--hidden", "8"])
    figures = json.loads(out.read_text())
    losses = [
        figures[name]["train_loss"]
        for name in ("stock SVI", "compiled", "compiled, second process")
    ]
    assert losses[1] == losses[2] == pytest.approx(losses[0], rel=1e-4)
    assert figures["compiled, second process"]["compiling"] < figures["compiled"]["compiling"]
    assert (
        "fallback: the programs are not compiled, stock SVI runs them: it looks at"
        in capsys.readouterr().out
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "run"
    options = [
        "--data=digits",
        "--model.latent_dim=2",
        "--model.hidden=[8]",
        "--guide.hidden=[8]",
        "--epochs=1",
    ]
    options += ["--batch_size=128", "--warmup_epochs=0"]
    assert cli.main(["train", *options, f"--folder={folder}", "--quiet=true"]) == 0
    return folder


@pytest.mark.usefixtures("hasty_convergence")
def test_gaps(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script("gaps").main(
        [
            str(small),
            "--num-data=6",
            "--num-particles=50",
            "--draws=1",
            "--epochs=1",
            f"--json={out}",
        ]
    )
    rows = {row["guide"]: row for row in json.loads(out.read_text())["test"]["rows"]}
    others = {"amortized full-rank", "amortized flow"}
    assert (
        rows.keys() == {"amortized", "semi-amortized", "mean-field", "full-rank", "flow"} | others
    )
    assert rows["amortized"]["q*"] == rows["semi-amortized"]["q*"] == "mean-field"
    assert rows["amortized flow"]["q*"] == "flow"


@pytest.mark.usefixtures("hasty_convergence")
def test_amortization(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "out.json", script("amortization")
    for name, value in {"SIZES": (40, 80, 160), "MEASURED": 80, "STEPS": (3,)}.items():
        monkeypatch.setattr(made, name, value)
    arguments = ["--parts", "quality", "cost", "few-data", "--epochs=1", "--num-test=10"]
    made.main([str(small), *arguments, f"--json={out}"])
    found = json.loads(out.read_text())
    assert found["break_even"]["to convergence"]["break_even"] > 0
    assert found["classical_cost"]["160"] == 2 * found["classical_cost"]["80"]
    assert [row["train_data"] for row in found["few_data"]] == [40, 80, 160]
    assert out.with_suffix(".png").stat().st_size > 1000


@pytest.mark.usefixtures("hasty_convergence")
def test_quadrature(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--data=digits", "--epochs=2", "--num-data=3", "--side=301", "--draws=2"]
    script("quadrature").main([*arguments, "--num-particles=2000", f"--json={out}"])
    found = json.loads(out.read_text())
    for name in ("mean-field", "low-rank", "full-rank", "flow"):
        assert (
            found[name]["mass_error"] < 1e-3
            and found[name]["divergence_error_in_standard_errors"] < 5
        ), name
        assert found[name]["elbo"] < found["log_px"] + 1e-6


@pytest.mark.usefixtures("hasty_convergence")
def test_reference(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--num-data=1", "--num-chains=2", "--num-samples=20", "--num-warmup=10", "--draws=1"]
    script("reference").main([str(small), *options, "--pyro", f"--json={out}"])
    found = json.loads(out.read_text())
    assert found["r_hat"] > 0.9 and found["ess"] > 1
    assert found["pyro"]["ess"] > 1 and found["pyro"]["apart"]["means"] < 5
    assert list(found["guides"]) == ["amortized", "mean-field", "full-rank", "flow"]


def test_estimators(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "out.json", script("estimators")
    made.main(["variance", str(small), "--num-data=5", "--repetitions=200", f"--json={out}"])
    found = json.loads(out.read_text())
    noise = {name: found[name]["noise"] for name in made.ESTIMATORS}
    assert (
        noise["ELBO, reparameterised"]
        < noise["ELBO, score function, leave-one-out baseline"]
        < noise["ELBO, score function"]
    )


def test_runs_are_compared_by_l_5000(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script("estimators").main(["iwae", str(small), str(small), "--num-data=4", f"--json={out}"])
    row = json.loads(out.read_text())[small.name]
    assert row["gain"] == 0 and row["epochs"] == 1 and row["particles_in_training"] == 1


@pytest.mark.usefixtures("hasty_convergence")
@pytest.mark.parametrize("what", ["gaussian", "flat", "runs", "speed"])
def test_evidence(what: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    out = tmp_path / "out.json"
    sizes = [
        "--num-data=3",
        "--num-temperatures=10",
        "--num-simulated=2",
        "--num-seeds=3",
        "--dims=2",
        "--epochs=1",
    ]
    made = script("evidence")
    made.main(
        [
            what,
            str(small),
            "--data=digits",
            "--num-particles",
            "100",
            "200",
            *sizes,
            f"--json={out}",
        ]
    )
    found = json.loads(out.read_text())
    if what == "gaussian":
        assert (
            abs(found["importance, d=2"]["error_of_the_mean"]) < 0.1
            and 0 <= found["importance, d=2"]["coverage"] <= 1
        )
    elif what == "flat":
        assert abs(found["importance from the encoder"]["error_of_the_mean"]) < 0.1
    elif what == "runs":
        assert {"L_100", "L_200", "AIS from the guide", "sandwich"} <= found[small.name].keys()
    else:
        assert found["ratio"] > 0


def test_wrong_guides(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script("wrong_guides").main(["--repetitions=1", "--num-simulations=200", f"--json={out}"])
    found = json.loads(out.read_text())
    assert found["deviations halved"] == {"k-hat": 1.0, "calibration": 1.0, "coverage": 1.0}
    assert found["collapsed"]["calibration"] == 1.0


@pytest.mark.parametrize("run", KEPT)
def test_kept_runs_are_small_and_open(run: str) -> None:
    folder = ROOT / "experiments" / run
    assert {
        "config.yaml",
        "data.json",
        "weights.safetensors",
        "run.json",
        "metrics.csv",
        "evidence.json",
        "versions.json",
    } <= {p.name for p in folder.iterdir()}
    assert (folder / "weights.safetensors").stat().st_size < 8_000_000
    assert not (folder / "checkpoint.pt").exists()


@pytest.mark.parametrize("run", KEPT)
def test_kept_runs_need_no_data_to_be_sampled(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "nothing"))
    folder = str(ROOT / "experiments" / run)
    assert cli.main(["sample", folder, "--num_samples=4", f"--out={tmp_path}/s.png"]) == 0
    assert (tmp_path / "s.png").stat().st_size > 0
    assert cli.main(["info", folder]) == 0
