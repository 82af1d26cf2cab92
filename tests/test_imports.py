"""The house's rule: imports run one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_vae

ROOT = Path(pyro_vae.__file__).parent
STAGES = [
    {"arguments", "files", "results"},
    {"data", "nets", "graphs"},
    {"programs"},
    {"models", "guides", "objectives", "evidence"},
    {"diagnostics"},
    {"inference", "latent"},
    {"swap", "report", "runs"},
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
    for part in ("programs", "objectives", "evidence", "diagnostics", "inference", "latent"):
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
assert state() == before
"""


def test_importing_changes_no_global_state() -> None:
    # a new process: here the package is imported already
    subprocess.run([sys.executable, "-c", STATE], check=True)
