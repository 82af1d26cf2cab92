"""Classes that a run's settings name: ours, or those that the user trusts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyro_vae.runs.opening import open_run
from pyro_vae.runs.trust import is_known, own_classes, split_trust, trusted_by
from tests.runs.folder import TINY, call, change

KNOWN = [
    "pyro_vae.VAE",
    "pyro_vae.SplineFlow",
    "pyro_vae.models.likelihoods.Gaussian",
    "torch.optim.SGD",
]

KNOWN += [
    "torch.optim.lr_scheduler.StepLR",
    "torch.nn.ReLU",
    "pyro.infer.Trace_ELBO",
    "pyro_vae.objectives.Bound",
]

UNKNOWN = [
    "os.system",
    "subprocess.getoutput",
    "runpy.run_path",
    "torch.hub.load",
    "numpy.load",
    "builtins.eval",
]

UNKNOWN += [
    "torch.load",
    "torch.nn.modules.module.torch.hub.load",
    "pyro_vae.cli.os.system",
    "pyro_vae.runs.opening.Path",
]

UNKNOWN += [
    "torch.nn.functional.relu",
    "pyro_vae.fit",
    "nowhere.Model",
    "torch.nn",
    "torchvision.ops.MLP",
    "VAE",
    "",
]


@pytest.mark.parametrize("name", KNOWN)
def test_known_classes(name: str) -> None:
    assert is_known(name)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_no_class_of_these_houses(name: str) -> None:
    assert not is_known(name)


@pytest.mark.parametrize(
    "command",
    ["info run", "sample run", "resume run", "train --config run/config.yaml --folder new"],
)
@pytest.mark.parametrize("part", ["model", "guide", "optimizer", "schedule", "loss"])
def test_a_function_is_not_run(
    part: str, command: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run, **{part: {"class_path": "os.system", "init_args": {"command": "touch was_run"}}})
    assert call(command) == 2
    assert (
        f"{part}.class_path: os.system is no class that a file may name" in capsys.readouterr().err
    )
    assert not Path("was_run").exists() and not Path("new").exists()


@pytest.mark.parametrize(
    "value",
    [
        "own_guides.Guide",
        {"class_path": "own_guides.Guide"},
        {"class_path": "pyro_vae.EncoderGuide", "init_args": {"encoder": "own_guides.Guide"}},
        {
            "class_path": "pyro_vae.EncoderGuide",
            "init_args": {"encoder": "{class_path: own_guides.Guide}"},
        },
        {
            "class_path": "pyro_vae.EncoderGuide",
            "dict_kwargs": {"encoder": [{"class_path": "own_guides.Guide"}]},
        },
    ],
)
def test_a_module_beside_the_run_is_not_imported(
    value: Any, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run, guide=value)
    assert call("info run") == 2
    told = capsys.readouterr().err
    assert (
        "own_guides.Guide is no class that a file may name" in told
        and "say --trust own_guides.Guide" in told
    )
    assert not Path("was_run").exists() and "own_guides" not in sys.modules


@pytest.mark.parametrize("trust", ["own_guides", "own_guides.Guide", "other,own_guides"])
def test_a_class_that_is_trusted_is_built(trust: str, run: Path) -> None:
    change(run, guide={"class_path": "own_guides.Guide", "init_args": {"hidden": [8]}})
    path = list(sys.path)
    assert call(f"info run --trust {trust}") == 0
    assert call(f"resume run --trust={trust} --epochs 2 --quiet true") == 0
    assert type(open_run("run", trust=trust.split(",")).guide).__name__ == "Guide"
    assert sys.path == path and Path("was_run").exists()


def test_another_class_than_the_one_that_is_trusted(run: Path) -> None:
    change(run, guide="own_guides.Guide")
    assert call("info run --trust own_guides.Guid") == call("info run --trust own") == 2
    assert "own_guides" not in sys.modules


def test_naming_a_class_on_the_command_line_is_trust(run: Path) -> None:
    assert call(f"train --folder mine {TINY} --guide own_guides.Guide --guide.hidden [8]") == 0
    assert call("info mine") == 2
    assert call("info mine --trust own_guides") == 0


def test_trust_is_of_names() -> None:
    assert split_trust(None) == [] and split_trust("a, b.C") == ["a", "b.C"]
    with pytest.raises(ValueError, match=r"trust: got 'a b', expected a module or a class"):
        split_trust("a b")
    with pytest.raises(ValueError, match=r"trust: got 'my', expected a list"):
        open_run("run", trust="my")
    assert trusted_by(
        ["train", "--model={class_path: my.Model}", "--loss", "pyro.infer.Trace_ELBO"]
    ) == ["my.Model"]


def test_the_working_directory_is_the_last_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    with own_classes([]):
        assert sys.path == before
    with own_classes(["my_models"]):
        assert sys.path == [*before, str(tmp_path)]
    assert sys.path == before


EACH = """
import sys
from pyro_vae.cli import main
for command in sys.argv[1:]:
    try:
        code = main(command.split())
    except SystemExit as stop:  # of a help
        code = stop.code
    assert not code, (command, code)
"""


def test_a_module_beside_the_run_never_takes_a_library_s_place(run: Path) -> None:
    for name in ("docstring_parser", "yaml", "csv", "safetensors"):
        Path(f"{name}.py").write_text("from pathlib import Path\nPath('was_run').touch()\n")
    # as the console script does
    command = [sys.executable, "-P", "-c", EACH, "--help", "info run", "train --help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # what each of the three printed
    assert all(part in done.stdout for part in ("usage: ", "versions", "--warmup_epochs"))
    assert not Path("was_run").exists()
