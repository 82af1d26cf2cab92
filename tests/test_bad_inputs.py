"""A user's mistakes: each gets exit code 2, one clear error on stderr, no traceback, and leaves
every file as it was.

`python -m tests.test_bad_inputs > experiments/bad_inputs.md` writes the table of what is really
printed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_vae.cli import main
from pyro_vae.inference.weights import NAME as WEIGHTS
from tests.bad_inputs.places import FLAT, MODEL, TRAIN, Case
from tests.bad_inputs.reading import READING
from tests.bad_inputs.training import TRAINING
from tests.bad_inputs.usage import USAGE

CASES = [*USAGE, *TRAINING, *READING]


@contextlib.contextmanager
def own_modules(folder: Path) -> Iterator[None]:
    """Work in `folder`, and forget afterwards what was imported from it."""
    path, modules = list(sys.path), set(sys.modules)
    with contextlib.chdir(folder):
        try:
            yield
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
                    del sys.modules[name]
            importlib.invalidate_caches()


def call(arguments: str, folder: Path) -> tuple[int, str]:
    """Exit code and stderr of the command line, run in `folder`."""
    error = io.StringIO()
    with (
        own_modules(folder),
        contextlib.redirect_stderr(error),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            code = main(shlex.split(arguments))
        except SystemExit as stop:  # jsonargparse's own errors
            code = int(stop.code or 0)
    return code, error.getvalue()


def train_run(folder: Path) -> Path:
    """A finished run of two epochs."""
    assert call(TRAIN.replace("new", "run").replace("--epochs 1", "--epochs 2"), folder) == (0, "")
    return folder / "run"


def prepare(case: Case, trained: Path, folder: Path) -> None:
    shutil.copytree(trained, folder / "run", ignore=shutil.ignore_patterns("events*"))
    np.save(folder / "flat.npy", FLAT)
    case.setup(folder)


def snapshot(folder: Path) -> dict[str, str]:
    """Checksums of all files and folders by path, Python's caches left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture(autouse=True)
def _no_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)


def possible(case: Case) -> bool:
    return case.name != "device cuda without a GPU" or not torch.cuda.is_available()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_mistake_is_told_in_one_line(case: Case, trained: Path, tmp_path: Path) -> None:
    if not possible(case):
        pytest.skip("there is a GPU")
    prepare(case, trained, tmp_path)
    before = snapshot(tmp_path)
    code, error = call(case.arguments, tmp_path)
    assert code == 2, error
    assert "Traceback" not in error
    assert len(re.findall(r"^(?:pyro-vae: )?error: ", error, re.MULTILINE)) == 1, error
    if error.startswith("pyro-vae: error: "):
        assert error.count("\n") == 1, error
    assert case.fragment in " ".join(error.split())
    assert snapshot(tmp_path) == before


def test_a_mistake_leaves_the_folder_usable(tmp_path: Path) -> None:
    assert call(f"{TRAIN} --optimizer.lr -1", tmp_path)[0] == 2
    assert call(TRAIN, tmp_path) == (0, "")


def test_debug_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRO_VAE_DEBUG", "1")
    with pytest.raises(ValueError, match="no such data set"):
        call(f"{TRAIN} --data nope", tmp_path)


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    """The rate is 1e-5 in the first epoch and 1e6 in the second."""
    exploding = (
        "--optimizer torch.optim.SGD --optimizer.lr 1e-5 --schedule"
        " ExponentialLR --schedule.gamma 1e11"
    )
    code, error = call(f"{TRAIN} --epochs 3 {exploding}", tmp_path)
    assert code == 1
    assert re.fullmatch(r"pyro-vae: error: the loss is \S+ at epoch 2, step \d+: .*\n", error), (
        error
    )
    assert "became non-finite: lower the learning rate (now 1e+06)" in error
    assert "the last good checkpoint is in new" in error
    state = torch.load(tmp_path / "new" / "checkpoint.pt", weights_only=True)
    assert state["position"]["epoch"] == 1
    tensors = [value for part in ("model", "guide") for value in state["weights"][part].values()]
    assert tensors and all(torch.isfinite(value).all() for value in tensors)
    assert not (tmp_path / "new" / WEIGHTS).exists()
    assert call("evidence new --method.num_particles 2", tmp_path)[0] == 0


def test_a_loss_that_is_not_finite_at_once_promises_no_checkpoint_that_is_not_there(
    tmp_path: Path,
) -> None:
    code, error = call(f"{TRAIN} --optimizer torch.optim.SGD --optimizer.lr 1e6", tmp_path)
    assert code == 1
    assert re.match(r"pyro-vae: error: the loss is \S+ at epoch 1, step \d+: ", error), error
    assert ("checkpoint" in error) == (tmp_path / "new" / "checkpoint.pt").exists()


def message(error: str, folder: Path, longest: int = 260) -> str:
    """What follows `error: ` in one line, without the paths of this machine."""
    told = " ".join(re.split(r"(?:^|\n)(?:pyro-vae: )?error: ", error)[-1].split())
    for path in (str(folder.resolve()), str(folder)):
        told = told.replace(path, ".")
    return told if len(told) <= longest else told[:longest].rsplit(" ", 1)[0] + " ..."


def table() -> str:
    """The table of experiments/bad_inputs.md."""
    lines = [
        "# Bad inputs and what is printed",
        "",
        "Written by `python -m tests.test_bad_inputs > experiments/bad_inputs.md`; held by the"
        " same table in the tests.",
        "Each exits with code 2. `TINY` stands for options of small nets, `run` is a finished run,"
        " what else is named was made for the case; long messages are cut at `...`.",
        "",
        "| mistake | input | message |",
        "| --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as root:
        trained = train_run(Path(root))
        for case in filter(possible, CASES):
            with tempfile.TemporaryDirectory() as name:
                prepare(case, trained, Path(name))
                code, error = call(case.arguments, Path(name))
                assert code == 2, f"{case.name}: exit code {code}"
                cells = (case.name, f"`{short(case.arguments)}`", message(error, Path(name)))
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def short(arguments: str) -> str:
    told = f"pyro-vae {arguments}".replace("--quiet true --folder new --epochs 1 ", "")
    return told.replace(f"{MODEL} --guide.hidden [8]", "TINY").replace(MODEL, "TINY").strip()


if __name__ == "__main__":
    print(table())
