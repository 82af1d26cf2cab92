"""What a stranger sends is data: no file of a run folder runs code, leads out of the folder, or
drives the terminal.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import yaml
from PIL import Image

from pyro_vae.cli import main
from pyro_vae.data.files import read_path
from pyro_vae.files.texts import printable
from pyro_vae.inference.weights import NAME as WEIGHTS
from pyro_vae.runs.opening import open_run
from pyro_vae.runs.trust import (
    MAX_CONFIG,
    is_known,
    own_classes,
    read_config,
    split_trust,
    trusted_by,
)

TINY = "--epochs 1 --quiet true --model.hidden [8] --model.latent_dim 3"
OWN = """
from pathlib import Path
from pyro_vae import EncoderGuide

Path("was_run").touch()


class Guide(EncoderGuide):
    pass
"""


def call(arguments: str) -> int:
    pyro.clear_param_store()
    try:
        return main(arguments.split())
    except SystemExit as stop:  # jsonargparse's own errors
        return int(stop.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert call(f"train --folder {folder} {TINY} --guide.hidden [8]") == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run, `run` in the working directory, with a module of the user's beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    shutil.copytree(trained, "run")
    Path("own_guides.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "own_guides", raising=False)
    return Path("run")


def change(run: Path, **settings: Any) -> None:
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))


# classes

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


@pytest.mark.parametrize("command", ["--help", "info run", "train --help"])
def test_a_module_beside_the_run_never_takes_a_library_s_place(command: str, run: Path) -> None:
    for name in ("docstring_parser", "yaml", "csv", "safetensors"):
        Path(f"{name}.py").write_text("from pathlib import Path\nPath('was_run').touch()\n")
    # as the console script does
    code = "import sys; from pyro_vae.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *command.split()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not Path("was_run").exists()


# the file of settings


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: &a [1]\nguide: *a\n", "an anchor or an alias"),
        ("epochs: &a 3\n", "an anchor or an alias"),
        ("config: other.yaml\n", "config: names another file of settings"),
        ("a: " + "[" * 3000, "cannot be read as YAML"),
        ("a: " + "[" * 40 + "]" * 40, "more than 30 levels"),
        ("[1, 2]", "got a list, expected settings by name"),
        ("", "got a NoneType"),
        ("1: 2", "expected the name of a setting"),
        ("__path__: x", "expected the name of a setting"),
        ("data: !!python/object/apply:os.system [touch was_run]", "cannot be read as YAML"),
        ("data: !!binary aGVsbG8=", "got a bytes"),
        ("model: {class_path: [os.system]}", "expected the name of a class"),
        ("model: {class_path: Nothing}", "got 'Nothing', expected a class of pyro_vae"),
        ('data: "\\e[31mred"', "without control characters"),
        ("x" * (MAX_CONFIG + 1), "expected at most"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
    ],
)
def test_settings_that_are_refused(
    text: str | bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("config.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"config\.yaml") as error:
        read_config(path)
    assert told in str(error.value) and str(error.value).isprintable()
    assert not Path("was_run").exists()


def test_settings_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: faces.old.npz\nbeta: 1e-3\noptimizer: {class_path: SGD, init_args:"
        " {lr: 1.0e-08}}\nvalid: null\n"
    )
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-8}}
    assert read_config(path) == {
        "data": "faces.old.npz",
        "beta": 1e-3,
        "optimizer": optimizer,
        "valid": None,
    }


# the terminal


def test_a_file_s_text_does_not_drive_the_terminal(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m"
    for name in ("data.json", "versions.json"):
        facts = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(facts | {"name": evil, evil: 1}))
    for name in ("evidence.json", "diagnosis.json"):
        (run / name).write_text(
            json.dumps(
                {"guides": {"a": {"verdict": evil}}, "settings": {"method": evil}, "x": "\ud800"}
            )
        )
    assert call("info run") == 0
    (run / "run.json").write_text(json.dumps({"id": evil}))
    assert call("info run") == 2
    shown = "".join(capsys.readouterr())
    assert "\\x1b[2J" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_printable() -> None:
    assert printable("a\r\n\x1b[0m\x9b\u202e\ud800é") == "a\\r\\n\\x1b[0m\\x9b\\u202e\\ud800é"


@pytest.mark.parametrize("name", ["data.json", "versions.json", "evidence.json"])
@pytest.mark.parametrize(
    "content", [b"[" * 10**5, b"[1]", b"\xff", b"", b"1" * 10**4, b"\x00", b'{"shape": [0]}']
)
def test_files_that_are_no_facts(
    name: str, content: bytes, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).write_bytes(content)
    assert call("info run") == (0 if content.startswith(b"{") and name != "data.json" else 2)
    assert capsys.readouterr().err.count("\n") <= 1


@pytest.mark.parametrize(
    "shape", [[1, -8, 8], [1, 8, "8"], "188", [10**9, 10**9], None, [True, 8, 8], [1] * 99]
)
def test_shapes_that_are_none(shape: Any, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(facts | {"shape": shape}))
    assert call("sample run") == 2
    assert "data.json: got the shape" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"\x00", b'epoch\n"' + b"a" * 2 * 10**5, b"epoch,a\n1\n", b"epoch\nx\n", b"\xff\n\xff", b""],
)
def test_tables_that_are_torn(
    content: bytes, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("units.csv", "metrics.csv"):
        (run / name).write_bytes(content)
        assert call("info run") == 2
        told = capsys.readouterr().err
        assert name in told and told.count("\n") == 1


# links and bombs


@pytest.mark.parametrize(
    "command",
    ["sample run", "reconstruct run --num_data 4", "export run --num_data 2 --num_draws 5"],
)
def test_a_link_is_replaced_and_not_followed(command: str, run: Path) -> None:
    name = {"sample": "samples.png", "reconstruct": "reconstructions.png", "export": "draws.nc"}[
        command.split()[0]
    ]
    Path("precious").write_text("mine")
    (run / name).symlink_to(Path("precious").resolve())
    assert call(command) == 0
    assert Path("precious").read_text() == "mine" and not (run / name).is_symlink()


def test_a_folder_that_is_a_link_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("elsewhere").mkdir()
    for name in ("ledger", "earlier"):
        (run / name).symlink_to(Path("elsewhere").resolve())
    assert call("compare run --num_data 3 --guides amortized") == 2
    (run / "evidence.json").write_text("{}")
    assert call("evidence run --num_data 3 --method.num_particles 5") == 2
    assert "is a link, expected a folder" in capsys.readouterr().err
    assert not any(Path("elsewhere").iterdir()) and (run / "evidence.json").read_text() == "{}"


def test_a_lock_that_is_a_link(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("precious").write_text("mine")
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(Path("precious").resolve())
    assert call("resume run") == 2
    assert ".lock is a link" in capsys.readouterr().err and Path("precious").read_text() == "mine"


def test_a_stranger_s_other_files_of_a_folder_are_left_alone(run: Path) -> None:
    Path("precious").write_text("mine")
    (run / ".checkpoint.pt.x").symlink_to(Path("precious").resolve())
    assert call("resume run --quiet true") == 0
    assert Path("precious").read_text() == "mine" and not (run / ".checkpoint.pt.x").is_symlink()


def test_a_bomb_of_numbers(tmp_path: Path) -> None:
    """A header of 400 MB of zeros that need not be written out: only what the archive says of its
    size is read.
    """
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (4 * 10**8,)}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as file,
    ):
        file.write(header.getvalue())
        for _ in range(40):
            file.write(bytes(10**7))
    with pytest.raises(ValueError, match=r"unpacks to 400,\d+,\d+ bytes, \d,\d+ times its size"):
        read_path(path)


def test_numbers_that_compress_well_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", np.zeros((1000, 1000)))
    assert read_path(tmp_path / "x.npz")["all"].shape == (1000, 1000)


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    )
    (tmp_path / "x.npy").write_bytes(header.getvalue())
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ValueError, match="cannot be read as numpy arrays"):
            read_path(tmp_path / name)


def test_a_bomb_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (200, 200)).save(tmp_path / "x.png")
    for limit in (30_000, 10_000):  # Pillow warns above its limit and refuses above twice as much
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match="cannot be read as an image"):
            read_path(tmp_path)


def test_weights_of_any_size_are_not_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(run / WEIGHTS, 2**33)  # a file with a hole
    assert call("info run") == 2
    assert "expected at most" in capsys.readouterr().err
