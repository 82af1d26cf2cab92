"""The house's rule: imports run one way."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pyro_vae
from pyro_vae.cli import COMMANDS

ROOT = Path(pyro_vae.__file__).parent
STAGES = [
    {"processes"},
    {"arguments", "files", "results"},
    {"data", "nets", "graphs", "progress"},
    {"programs"},
    {"models", "guides", "objectives", "evidence"},
    {"diagnostics", "coding"},
    {"inference", "latent"},
    {"swap", "report", "runs"},
    {"sweeps"},
    {"pages"},
    {"commands"},
    {"cli"},
]
LEVEL = {name: level for level, stage in enumerate(STAGES) for name in stage}


def imports(path: Path) -> set[str]:
    """Top-level parts of pyro_vae that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("pyro_vae.")}
    return found


@pytest.mark.parametrize(
    "path", sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.stem in LEVEL), ids=str
)
def test_imports_run_one_way(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for other in imports(path) - {part}:
        assert LEVEL[other] < LEVEL[part], f"{path.name} ({part}) imports {other}"


CLOSED_FORM = {"coordinate_ascent.py", "mixture_ascent.py"}  # each of one model


def test_from_programs_on_no_concrete_model_or_guide_is_imported() -> None:
    for part in (
        "programs",
        "objectives",
        "evidence",
        "diagnostics",
        "coding",
        "inference",
        "latent",
    ):
        for path in [*(ROOT / part).rglob("*.py"), ROOT / f"{part}.py"]:
            if path.is_file() and path.name not in CLOSED_FORM:
                assert not imports(path) & {"models", "guides"}, path


STATE = """
import pyro, torch
def state():
    return (torch.get_default_dtype(), torch.distributions.Distribution._validate_args,
            torch.is_grad_enabled(), torch.get_num_threads(), pyro.settings.get(),
            len(pyro.get_param_store()), torch.get_rng_state().tolist())
before = state()
import pyro_vae, pyro_vae.cli
from pyro_vae import *
assert state() == before
"""


def test_importing_changes_no_global_state() -> None:
    # a new process: here the package is imported already
    subprocess.run([sys.executable, "-c", STATE], check=True)


def test_public_names_are_lines_of_one_file() -> None:
    lines = ROOT.joinpath("__init__.pyi").read_text().split('"""', 2)[2].split("\n")
    named = {}
    for line in filter(None, lines):
        _, home, _, name, _, alias = line.split()  # from HOME import NAME as NAME
        assert name == alias, line
        named[name] = home

    assert sorted(named) == pyro_vae.__all__
    for name, home in named.items():
        assert getattr(pyro_vae, name) is getattr(import_module(home), name)
        assert name in dir(pyro_vae)
    with pytest.raises(AttributeError, match="no attribute 'VEA'"):
        pyro_vae.VEA  # noqa: B018


def test_parts_are_found_and_have_no_name_of_a_public_one() -> None:
    parts = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert not parts & set(pyro_vae.__all__)
    assert pyro_vae.evidence is import_module("pyro_vae.evidence")


def test_every_command_is_in_the_table() -> None:
    files = {path.stem for path in (ROOT / "commands").glob("*.py")}
    assert files - {"__init__", "cell", "options", "filling", "showing"} == set(COMMANDS)


LIGHT = """
import sys
sys.argv = {line!r}.split()
from pyro_vae.cli import main
try:
    main()
finally:
    heavy = {{"torch", "pyro", "numpy", "rich", "matplotlib"}} & set(sys.modules)
    print(sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("line", ["", "--help", "--version", "trian", "--no-such"])
def test_what_needs_no_torch_imports_none(line: str) -> None:
    code = LIGHT.format(line=f"pyro-vae {line}")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stderr.endswith("[]\n")
    if line == "--help":
        assert all(name in told.stdout for name in COMMANDS)
    if line == "--version":
        assert told.stdout.startswith("pyro-vae 0.")


def test_the_names_of_commands_are_completed_without_torch(tmp_path: Path) -> None:
    line = "pyro-vae re"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": " ", "COMP_TYPE": "9"}
    asked |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "told")}
    code = """
import os, sys
from pyro_vae import cli
os._exit = lambda code: sys.exit(10 * code + ("torch" in sys.modules))
cli.main()
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, env=os.environ | asked).returncode == 0
    assert (tmp_path / "told").read_text().split() == ["resume", "reconstruct", "report"]
