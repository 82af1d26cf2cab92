"""Hostile settings in the folder of a run: nothing of theirs is run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.faults.scale import times
from tests.faults.stranger import COMMANDS, EVIL, MODULES, call
from tests.faults.tally import Tally

CONFIGS = times(24, 240)

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


def test_hostile_configurations(trained: Path, place: Path, tally: Tally) -> None:
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
    tally("configurations", CONFIGS, len(executed + tracebacks + accepted))
    assert (executed, tracebacks, accepted) == ([], [], [])
