"""Run folders that a stranger made to do harm: nothing is run, followed, obeyed by the terminal, or
unpacked without end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
import yaml

from pyro_vae.cli import main
from pyro_vae.inference.checkpoint import _seal
from pyro_vae.inference.weights import NAME as WEIGHTS
from tests.faults.scale import times

CONFIGS = times(24, 240)
FOLDERS = times(20, 300)
TRAIN = (
    "--quiet true --epochs 1 --batch_size 512 --model.hidden [8]"
    " --model.latent_dim 3 --guide.hidden [8]"
)
COMMANDS = (
    "info run",
    "sample run --num_samples 2",
    "evidence run --method.num_particles 2 --num_data 3",
    "resume run --quiet true",
)
COMMANDS += (
    "reconstruct run --num_data 2",
    "export run --num_data 2 --num_draws 3",
    "train --config run/config.yaml --folder new",
)
EVIL = "from pathlib import Path\nPath('marker').touch()\nclass Net: pass\ndef get(*a, **k): pass\n"
MODULES = ("evil", "hubconf", "evil_package", "yaml_extra")


class Pickled:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (Path("marker"),)


def call(arguments: str) -> tuple[int, str]:
    """Exit code and everything that was printed."""
    pyro.clear_param_store()
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            code = main(arguments.split())
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, told.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert call(f"train --folder {folder} {TRAIN}")[0] == 0
    assert call(f"evidence {folder} --method.num_particles 3 --num_data 5")[0] == 0
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of files that leave a marker when they are run, and a precious one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    for name in (
        "evil.py",
        "hubconf.py",
        "docstring_parser.py",
        "evil_package.py",
        "yaml_extra.py",
    ):
        Path(name).write_text(EVIL)
    Path("evil.pkl").write_bytes(pickle.dumps(Pickled()))
    torch.save(Pickled(), "evil.pt")
    Path("evil.yaml").write_text("class_path: os.system\ninit_args: {command: touch marker}\n")
    shutil.copy("evil.yaml", "evil_settings")
    Path("precious").write_text("mine")
    return tmp_path


# configurations

PAYLOADS: list[tuple[str, dict[str, Any]]] = [
    ("os.system", {"command": "touch marker"}),
    ("os.mkdir", {"path": "marker"}),
    ("posix.system", {"command": "touch marker"}),
    ("subprocess.getoutput", {"cmd": "touch marker"}),
    ("subprocess.Popen", {"args": ["touch", "marker"]}),
    ("subprocess.run", {"args": ["touch", "marker"]}),
    ("runpy.run_path", {"path_name": "evil.py"}),
    ("runpy.run_module", {"mod_name": "evil"}),
    ("importlib.import_module", {"name": "evil"}),
    ("builtins.exec", {"source": EVIL}),
    ("builtins.eval", {"source": "open('marker', 'w')"}),
    ("builtins.open", {"file": "marker", "mode": "w"}),
    ("builtins.__import__", {"name": "evil"}),
    ("pathlib.Path.touch", {"self": "marker"}),
    ("shutil.copyfile", {"src": "precious", "dst": "marker"}),
    ("io.open", {"file": "marker", "mode": "w"}),
    ("pickle.load", {"file": "evil.pkl"}),
    ("numpy.load", {"file": "evil.pkl", "allow_pickle": True}),
    ("numpy.save", {"file": "marker", "arr": [1]}),
    ("torch.load", {"f": "evil.pt", "weights_only": False}),
    ("torch.save", {"obj": 1, "f": "marker"}),
    ("torch.hub.load", {"repo_or_dir": ".", "model": "get", "source": "local"}),
    ("torch.hub.os.system", {"command": "touch marker"}),
    (
        "torch.nn.modules.module.torch.hub.load",
        {"repo_or_dir": ".", "model": "get", "source": "local"},
    ),
    ("torch.utils.cpp_extension.load", {"name": "x", "sources": ["evil.py"]}),
    ("torch.multiprocessing.spawn", {"fn": "evil.get"}),
    ("pyro_vae.cli.os.system", {"command": "touch marker"}),
    ("pyro_vae.cli.main", {"arguments": ["train", "--folder", "marker"]}),
    ("pyro_vae.runs.opening.write_text", {"path": "marker", "text": ""}),
    ("pyro_vae.runs.opening.convert", {"folder": "run"}),
    ("pyro.infer.mcmc.api.torch.hub.load", {"repo_or_dir": ".", "model": "get", "source": "local"}),
    ("pydoc.locate", {"path": "evil.Net"}),
    ("doctest.testfile", {"filename": "evil.py"}),
    ("functools.partial", {"func": "os.system", "command": "touch marker"}),
    ("yaml.unsafe_load", {"stream": "!!python/object/apply:os.system [touch marker]"}),
    ("logging.config.fileConfig", {"fname": "evil.py"}),
    ("evil.Net", {}),
    ("evil.get", {}),
    ("evil_package.Net", {}),
    ("hubconf.get", {}),
]


def wraps(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ways to hide a class in a part of a configuration, by what they are called."""
    spec = {"class_path": name, "init_args": arguments}
    text = yaml.safe_dump(spec, default_flow_style=True, width=10**6).strip()
    return {
        "class": spec,
        "name": name,
        "text": text,
        "text in JSON": json.dumps(spec),
        "text in lines": yaml.safe_dump(spec),
        "list": [spec],
        "keywords": {"class_path": "pyro_vae.VAE", "dict_kwargs": {"likelihood": spec}},
        "decoder": {"class_path": "pyro_vae.VAE", "init_args": {"decoder": spec}},
        "decoder by name": {"class_path": "pyro_vae.VAE", "init_args": {"decoder": name}},
        "decoder by text": {"class_path": "pyro_vae.VAE", "init_args": {"decoder": text}},
        "activation": {
            "class_path": "pyro_vae.VAE",
            "init_args": {
                "decoder": {"class_path": "pyro_vae.MLPDecoder", "init_args": {"activation": name}}
            },
        },
        "family": {"class_path": "pyro_vae.EncoderGuide", "init_args": {"family": spec}},
        "family by name": {"class_path": "pyro_vae.EncoderGuide", "init_args": {"family": name}},
        "encoder": {
            "class_path": "pyro_vae.EncoderGuide",
            "init_args": {"encoder": spec, "hidden": [spec]},
        },
        "autoguide": {
            "class_path": "pyro.infer.autoguide.AutoNormal",
            "init_args": {"model": name},
        },
        "transformer": {
            "class_path": "torch.nn.Transformer",
            "init_args": {"custom_encoder": spec},
        },
        "sequence": {"class_path": "torch.nn.Sequential", "init_args": {"args": [spec]}},
        "a file": "evil.yaml",
        "a file without an ending": "evil_settings",
        "a class from a file": {"class_path": "evil.yaml"},
    }


def hostile(rng: random.Random, settings: dict[str, Any]) -> tuple[str, str]:
    """A configuration that would run something, and what it is."""
    name, arguments = rng.choice(PAYLOADS)
    how, value = rng.choice(list(wraps(name, arguments).items()))
    part = rng.choice(
        [
            "model",
            "guide",
            "optimizer",
            "schedule",
            "loss",
            "model",
            "guide",
            "data",
            "engine",
            "epochs",
        ]
    )
    text = yaml.safe_dump(settings | {part: value})
    trick = rng.choice(["", "", "", "", "tag", "merge", "config", "twice", "name"])
    if trick == "tag":
        text += f"\nextra: !!python/object/apply:{name} {json.dumps(list(arguments.values()))}\n"
    elif trick == "merge":
        text = f"base: &base\n  {part}: {json.dumps(value)}\n<<: *base\n" + text
    elif trick == "config":
        text += "\nconfig: evil.yaml\n"
    elif trick == "twice":
        text = yaml.safe_dump(settings) + f"\n{part}: {json.dumps(value)}\n"
    elif trick == "name":
        text += f"\n{name}: {json.dumps(arguments)}\n"
    return text, f"{trick} {part} {how} {name}"


def test_hostile_configurations(trained: Path, place: Path) -> None:
    rng = random.Random(0)
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    executed, tracebacks, accepted = [], [], []
    before, path = set(sys.modules), list(sys.path)
    for number in range(CONFIGS):
        shutil.copytree(trained, "run")
        text, what = hostile(rng, settings)
        (Path("run") / "config.yaml").write_text(text)
        command = rng.choice(COMMANDS)
        try:
            code, told = call(command)
        except Exception as error:
            tracebacks.append((number, what, command, repr(error)))
            code, told = 2, ""
        imported = {module.split(".")[0] for module in set(sys.modules) - before} & set(MODULES)
        if Path("marker").exists() or imported or sys.path != path:
            executed.append((number, what, command))
            with contextlib.suppress(OSError):
                os.remove("marker")
        if "Traceback" in told:
            tracebacks.append((number, what, command, told))
        # the name of a file of data, which `info` does not open
        if code != 2 and " data a " not in what:
            accepted.append((number, what, command, code))
        shutil.rmtree("run")
        shutil.rmtree("new", ignore_errors=True)
    print(
        f"{CONFIGS} configurations: {len(executed)} executed, {len(tracebacks)} tracebacks,"
        f" {len(accepted)} accepted"
    )
    assert (executed, tracebacks, accepted) == ([], [], [])


# folders

ESCAPES = [
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\r\x1b[1A",
    "\u202e",
    "\x00",
    "\ud800",
    "\x08" * 9,
]
TEXTS = ("data.json", "versions.json", "run.json", "evidence.json", "diagnosis.json")
LINKS = (
    "samples.png",
    "reconstructions.png",
    "draws.nc",
    "evidence.json",
    "evidence.csv",
    ".lock",
    "config.yaml",
    "earlier",
)
LINKS += (
    "metrics.csv",
    "units.csv",
    "checkpoint.pt",
    WEIGHTS,
    "run.json",
    "data.json",
    ".checkpoint.pt.x",
)


def with_escapes(rng: random.Random) -> None:
    path = Path("run") / rng.choice(TEXTS)
    facts = (
        json.loads(path.read_text()) if path.exists() else {"guides": {"a": {"verdict": "fine"}}}
    )
    evil = "".join(rng.sample(ESCAPES, 3))
    facts = facts | rng.choice(
        [{evil: 1}, {"name": evil}, {"settings": {evil: evil}}, {"shape": evil}, {"binarise": evil}]
    )
    path.write_text(json.dumps(facts))


def with_escapes_in_a_table(rng: random.Random) -> None:
    path = Path("run") / rng.choice(["metrics.csv", "units.csv"])
    lines = path.read_text().splitlines()
    number = rng.randrange(len(lines))
    lines[number] = rng.choice(["", "a,", lines[number]]) + "".join(ESCAPES[:5]) + lines[number]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")


def with_a_link(rng: random.Random) -> None:
    path = Path("run") / rng.choice(LINKS)
    path.unlink(missing_ok=True)
    path.symlink_to(
        Path(rng.choice(["precious", ".", "/dev/null", "/dev/zero", "missing", "run"])).absolute()
    )


def with_a_wrong_kind(rng: random.Random) -> None:
    path = Path("run") / rng.choice(
        [*TEXTS, "config.yaml", "metrics.csv", "units.csv", WEIGHTS, "checkpoint.pt"]
    )
    path.unlink(missing_ok=True)
    if rng.random() < 0.5:
        path.mkdir()
    else:
        os.mkfifo(path)


def with_nested_brackets(rng: random.Random) -> None:
    opened = rng.choice(["[", '{"a":', "- "]) * rng.choice([50, 10**4, 10**5])
    (Path("run") / rng.choice([*TEXTS, "config.yaml"])).write_text(opened)


def with_aliases(rng: random.Random) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (Path("run") / "config.yaml").write_text("\n".join(lines))


def with_a_hole(rng: random.Random) -> None:
    name = rng.choice([*TEXTS, "config.yaml", "metrics.csv", WEIGHTS, "checkpoint.pt"])
    with (Path("run") / name).open("ab") as file:
        file.truncate(rng.choice([2**33, 2**36]))


def with_a_packed_checkpoint(rng: random.Random) -> None:
    (Path("run") / WEIGHTS).unlink()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Pickled()))
        archive.writestr("archive/data/0", bytes(rng.choice([10**6, 10**8])))
    (Path("run") / "checkpoint.pt").write_bytes(_seal(packed.getvalue()))


def with_a_pickle(rng: random.Random) -> None:
    name = rng.choice([WEIGHTS, "checkpoint.pt", "config.yaml", "data.json", "weights.pt"])
    if name in ("checkpoint.pt", "weights.pt"):
        (Path("run") / WEIGHTS).unlink()
    archive = io.BytesIO()
    torch.save({"format": 2, "weights": Pickled()}, archive)
    plain = [pickle.dumps(Pickled()), archive.getvalue(), _seal(archive.getvalue())]
    (Path("run") / name).write_bytes(rng.choice(plain))


def with_noise(rng: random.Random) -> None:
    name = rng.choice([*TEXTS, "config.yaml", "metrics.csv", "units.csv", WEIGHTS, "checkpoint.pt"])
    (Path("run") / name).write_bytes(rng.randbytes(rng.choice([0, 1, 8, 100, 10**4])))


KINDS = [
    with_escapes,
    with_escapes_in_a_table,
    with_a_link,
    with_a_wrong_kind,
    with_nested_brackets,
    with_aliases,
]
KINDS += [with_a_hole, with_a_packed_checkpoint, with_a_pickle, with_noise]
MAX_GROWTH = 2**30  # bytes


def test_hostile_folders(trained: Path, place: Path) -> None:
    rng = random.Random(0)
    executed, tracebacks, obeyed, followed = [], [], [], []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(FOLDERS):
        shutil.copytree(trained, "run")
        kind = KINDS[number % len(KINDS)]
        kind(rng)
        listed = sorted(path.name for path in place.iterdir())
        command = rng.choice(COMMANDS[:-1])
        case = (number, kind.__name__, command)
        try:
            code, told = call(command)
        except Exception as error:
            tracebacks.append((*case, repr(error)))
            code, told = 2, ""
        if "Traceback" in told or code not in (0, 2):
            tracebacks.append((*case, told))
        if Path("marker").exists():
            executed.append(case)
            Path("marker").unlink()
        if not all(character.isprintable() or character == "\n" for character in told):
            obeyed.append((*case, told))
        if (
            Path("precious").read_text() != "mine"
            or sorted(path.name for path in place.iterdir()) != listed
        ):
            followed.append(case)
            Path("precious").write_text("mine")
        shutil.rmtree("run")
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    told = (
        f"{len(executed)} executed, {len(tracebacks)} tracebacks, {len(obeyed)} escapes,"
        f" {len(followed)} links followed"
    )
    print(f"{FOLDERS} folders: {told}, {grown / 2**20:.0f} MiB")
    assert (executed, tracebacks, obeyed, followed) == ([], [], [], [])
    assert grown < MAX_GROWTH
