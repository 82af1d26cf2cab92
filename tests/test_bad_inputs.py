"""A user's mistakes: each gets exit code 2, one clear error on stderr, no traceback, and leaves
every file as it was.

`python tests/test_bad_inputs.py > experiments/bad_inputs.md` writes the table of what is really
printed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import pickle
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pyro_vae.cli import main
from pyro_vae.inference.checkpoint import save
from pyro_vae.inference.weights import NAME as WEIGHTS
from pyro_vae.inference.weights import read_weights, write_weights

MODEL = "--model.hidden [8] --model.latent_dim 3"
RUN = f"train --quiet true --folder new --epochs 1 {MODEL}"
TRAIN = f"{RUN} --guide.hidden [8]"

GUIDES = '''
import pyro, pyro.distributions as dist, torch
from torch import nn


class Guide(nn.Module):
    """A good guide, which the others spoil in one way each."""

    name, extra, event = "latent", 0, 1

    def __init__(self, shape: tuple, latent_dim: int):
        super().__init__()
        self.net = nn.Linear(int(torch.tensor(shape).prod()), latent_dim + self.extra)

    def register(self):
        pyro.module(f"guide of mine {id(self)}", self)

    def q(self, x):
        return dist.Normal(self.net(x.flatten(1)), 1.0).to_event(1)

    def forward(self, x, index=None):
        self.register()
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample(self.name, self.q(x))


class NoArguments(nn.Module):
    def __init__(self):
        super().__init__()


class OtherSite(Guide):
    name = "z"


class OtherSize(Guide):
    extra = 2


class Unregistered(Guide):
    def register(self):
        pass


class NoPlate(Guide):
    def forward(self, x, index=None):
        self.register()
        return pyro.sample("latent", self.q(x).to_event(1))


class NegativeScale(Guide):
    def q(self, x):
        return dist.Normal(self.net(x.flatten(1)), -1.0).to_event(1)


class Slip(Guide):
    def forward(self, x, index=None):
        return self.encoder(x)


class SlipInInit(Guide):
    def __init__(self, shape: tuple, latent_dim: int):
        super().__init__(shape, latent_dim)
        self.width = shape[7]


def function(x, index=None):
    pass
'''


@dataclass(frozen=True)
class Case:
    """A mistake: what it is, command line, what the message must say, the files that it takes."""

    name: str
    arguments: str
    fragment: str
    setup: Callable[[Path], object] = lambda folder: None


def array(name: str, value: object) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / name, np.asarray(value))


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def guides(folder: Path) -> None:
    (folder / "my_guides.py").write_text(GUIDES)


def torn_npz(folder: Path) -> None:
    np.savez(folder / "torn.npz", train=np.eye(100), test=np.eye(100))
    tear(folder / "torn.npz")


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def torn(name: str) -> Callable[[Path], object]:
    return lambda folder: tear(folder / "run" / name)


def without(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / "run" / name).unlink() for name in names]


def edited(**changes: object) -> Callable[[Path], object]:
    """Change settings of the run's config.yaml; `model__hidden` is the model's init argument."""

    def change(folder: Path) -> None:
        path = folder / "run" / "config.yaml"
        settings = yaml.safe_load(path.read_text())
        for name, value in changes.items():
            top, _, argument = name.partition("__")
            (settings[top]["init_args"] if argument else settings)[argument or top] = value
        path.write_text(yaml.safe_dump(settings))

    return change


class Harmful:
    """What a malicious pickle would hold."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("harmed"),)  # type: ignore[return-value]


def pickled(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "run" / name).write_bytes(pickle.dumps(Harmful()))


def saved(name: str, state: dict[str, object]) -> Callable[[Path], object]:
    return lambda folder: save(folder / "run" / name, state)


def misplaced(folder: Path) -> None:
    shutil.copy(folder / "run" / WEIGHTS, folder / "run" / "checkpoint.pt")


def moved(folder: Path) -> None:
    """A run that has only its weights, under the wrong name."""
    misplaced(folder)
    (folder / "run" / WEIGHTS).unlink()


def rewritten(
    change: Callable[[dict[str, dict[str, torch.Tensor]]], object], run: str | None = None
) -> Callable[[Path], object]:
    """Write the weights once more, with another content and a checksum that is right."""

    def write(folder: Path) -> None:
        state, known = read_weights(folder / "run" / WEIGHTS)
        change(state)
        write_weights(folder / "run" / WEIGHTS, state, run or known)

    return write


def flipped(folder: Path) -> None:
    path = folder / "run" / WEIGHTS
    raw = bytearray(path.read_bytes())
    raw[-1000] ^= 64
    path.write_bytes(raw)


def earlier(folder: Path) -> None:
    (folder / "run" / WEIGHTS).unlink()
    torch.save({"format": 1, "model": {}, "guide": {}, "params": {}}, folder / "run" / "weights.pt")


GREY = np.linspace(0, 255, 20 * 16).reshape(20, 4, 4).astype(np.uint8)
NAN = np.where(np.arange(80) == 33, np.nan, 0.5).reshape(20, 4)
FLAT = np.random.default_rng(0).integers(0, 2, (20, 16))

FLATS = array("flat.npy", FLAT)
REAL = np.linspace(-3, 3, 320).reshape(20, 16)

CASES = [
    # usage
    Case("no command", "", "command"),
    Case("unknown command", "trian", "trian"),
    Case("unknown option", f"{TRAIN} --epoch_s 3", "epoch_s"),
    # data
    Case("unknown data name", f"{TRAIN} --data mnits", "did you mean 'mnist'"),
    Case(
        "missing data path", f"{TRAIN} --data missing.npz", "there is no file or folder missing.npz"
    ),
    Case(
        "torn .npz",
        f"{TRAIN} --data torn.npz",
        "torn.npz cannot be read as numpy arrays: it is torn",
        torn_npz,
    ),
    Case("a .npy of zero bytes", f"{TRAIN} --data empty.npy", "empty.npy", text("empty.npy", "")),
    Case(
        "an array without rows",
        f"{TRAIN} --data empty.npy",
        "at least one row",
        array("empty.npy", GREY[:0]),
    ),
    Case("an array with NaN", f"{TRAIN} --data nan.npy", "holds NaN or inf", array("nan.npy", NAN)),
    Case(
        "an array of words",
        f"{TRAIN} --data words.npy",
        "dtype",
        array("words.npy", [["a", "b"]] * 20),
    ),
    Case("a folder without images", f"{TRAIN} --data ./run", "holds no images"),
    Case(
        "grey pixels under Bernoulli",
        f"{TRAIN} --binarise none --model.likelihood Bernoulli",
        "grey values",
    ),
    Case(
        "real values as probabilities",
        f"{TRAIN} --data r.npy --binarise static",
        "rescale",
        array("r.npy", REAL),
    ),
    Case("unknown binarisation", f"{TRAIN} --binarise sometimes", "binarise"),
    Case(
        "more validation data than there are",
        f"{TRAIN} --valid 99999",
        "valid=99999: expected 0 <= valid < 1497",
    ),
    Case(
        "convolutions on flat data",
        f"{TRAIN} --data flat.npy --guide.encoder Conv",
        "convolutions need images",
        FLATS,
    ),
    # model, guide, optimizer by class
    Case("unknown model class", f"{TRAIN} --model NoSuchModel", "NoSuchModel"),
    Case(
        "latent_dim 0",
        f"{TRAIN} --model.latent_dim 0",
        "model: latent_dim: got 0, expected a positive integer",
    ),
    Case(
        "a hidden layer of 0 units",
        f"{TRAIN} --model.hidden [0]",
        "hidden: got [0], expected positive integers",
    ),
    Case(
        "sigma -1",
        f"{TRAIN} --binarise none --model.likelihood Gaussian --model.likelihood.sigma -1",
        "sigma: got -1",
    ),
    Case("a guide that cannot be imported", f"{RUN} --guide nowhere.MyGuide", "nowhere"),
    Case(
        "a guide that its module does not have",
        f"{RUN} --guide my_guides.MyGuide",
        "MyGuide",
        guides,
    ),
    Case(
        "a guide's file with a syntax error",
        f"{RUN} --guide slip.G",
        "slip",
        text("slip.py", "class G(:"),
    ),
    Case("a guide that is built in another way", f"{RUN} --guide Local", "guide: "),
    Case("a function as guide class", f"{RUN} --guide my_guides.function", "function", guides),
    Case(
        "a guide without (shape, latent_dim)",
        f"{RUN} --guide my_guides.NoArguments",
        "Guide(shape, latent_dim, ...)",
        guides,
    ),
    Case("a guide whose __init__ fails", f"{RUN} --guide my_guides.SlipInInit", "guide: ", guides),
    Case("a guide whose forward fails", f"{RUN} --guide my_guides.Slip", "encoder", guides),
    Case(
        "a guide with another site name",
        f"{RUN} --guide my_guides.OtherSite",
        "expected the model's ['latent']",
        guides,
    ),
    Case(
        "a guide of another latent size",
        f"{RUN} --guide my_guides.OtherSize",
        "expected (..., 3)",
        guides,
    ),
    Case(
        "a guide without pyro.module",
        f"{RUN} --guide my_guides.Unregistered",
        "call pyro.module(name, net)",
        guides,
    ),
    Case(
        "a guide outside the data plate",
        f"{RUN} --guide my_guides.NoPlate",
        "not inside a plate of size",
        guides,
    ),
    Case(
        "a guide with a negative scale", f"{RUN} --guide my_guides.NegativeScale", "scale", guides
    ),
    Case("unknown optimizer", f"{TRAIN} --optimizer torch.optim.Adamm", "Adamm"),
    Case("learning rate -1", f"{TRAIN} --optimizer.lr -1", "learning rate: -1"),
    Case("an optimizer that needs a closure", f"{TRAIN} --optimizer LBFGS", "LBFGS"),
    Case("a schedule without its argument", f"{TRAIN} --schedule CosineAnnealingLR", "T_max"),
    # recipe
    Case("negative epochs", f"{TRAIN} --epochs -1", "epochs: got -1, expected a positive integer"),
    Case(
        "batch size 0", f"{TRAIN} --batch_size 0", "batch_size: got 0, expected a positive integer"
    ),
    Case("beta NaN", f"{TRAIN} --beta nan", "nan"),
    Case("negative seed", f"{TRAIN} --seed -1", "seed: got -1, expected an integer >= 0"),
    Case(
        "patience without validation data",
        f"{TRAIN} --patience 2 --valid 0",
        "needs a validation split",
    ),
    Case(
        "the best epoch without validation data",
        f"{TRAIN} --keep best --valid 0",
        "keep: the best epoch needs",
    ),
    Case(
        "patience and the last epoch",
        f"{TRAIN} --patience 2 --keep last",
        "keep: got 'last', expected None or 'best'",
    ),
    Case(
        "counts that may be anything",
        f"{TRAIN} --data counts.npy",
        "pixels, counts, categories or grades? Say values='pixels'",
        array("counts.npy", np.arange(60).reshape(20, 3) % 7),
    ),
    Case(
        "real values as pixels",
        f"{TRAIN} --data r.npy --values pixels",
        "expected pixels",
        array("r.npy", REAL),
    ),
    Case(
        "what the numbers of a known set are",
        f"{TRAIN} --values real",
        "values='real': digits is a set of pixels",
    ),
    Case(
        "a rule that is not for the likelihood",
        f"{TRAIN} --binarise dynamic --model.likelihood Gaussian",
        "binarise='dynamic' makes no data for a Gaussian likelihood",
    ),
    Case(
        "binary data for a density",
        f"{TRAIN} --binarise dequantise --model.likelihood Bernoulli",
        "binarise='dequantise' makes no data for a Bernoulli likelihood",
    ),
    Case(
        "dequantised real values",
        f"{TRAIN} --data r.npy --binarise dequantise",
        "real values",
        array("r.npy", REAL),
    ),
    Case(
        "a fixed sigma without a number",
        f"{TRAIN} --model.likelihood Gaussian --model.likelihood.learn none",
        "sigma: got None",
    ),
    Case(
        "device cuda without a GPU",
        f"{TRAIN} --device cuda",
        "device: got 'cuda', but torch sees no CUDA device",
    ),
    # configuration and folder
    Case(
        "a folder that holds a run",
        f"{TRAIN} --folder run",
        "folder: run holds a run already: resume it",
    ),
    Case(
        "a file as run folder",
        f"{TRAIN} --folder taken",
        "folder: cannot make taken",
        text("taken", ""),
    ),
    Case("missing configuration", f"{TRAIN} --config no.yaml", "no.yaml"),
    Case(
        "broken YAML",
        f"{TRAIN} --config broken.yaml",
        "broken.yaml: cannot be read as YAML",
        text("broken.yaml", "epochs: [1,\nmodel: }"),
    ),
    Case(
        "unknown key in the YAML",
        f"{TRAIN} --config odd.yaml",
        "epoch_s",
        text("odd.yaml", "epoch_s: 3\n"),
    ),
    # resume
    Case("resume a missing run", "resume nowhere", "nowhere: no such folder"),
    Case(
        "resume without a checkpoint",
        "resume run",
        "no checkpoint.pt in it",
        without("checkpoint.pt"),
    ),
    Case(
        "resume from a torn checkpoint",
        "resume run",
        "checkpoint.pt: not a readable checkpoint",
        torn("checkpoint.pt"),
    ),
    Case(
        "weights in the place of the checkpoint",
        "resume run",
        "not a readable checkpoint",
        misplaced,
    ),
    Case("the same, with epochs", "resume run --epochs 9", "not a readable checkpoint", misplaced),
    Case("the same, to be sampled", "sample run", "not a readable checkpoint", moved),
    Case(
        "a checkpoint of something else",
        "resume run",
        "holds something else",
        saved("checkpoint.pt", {"a": 1}),
    ),
    Case(
        "resume with other data, and more epochs",
        "resume run --epochs 9",
        "started with",
        edited(data="flat.npy"),
    ),
    Case(
        "resume with other data", "resume run", "the run was started with", edited(data="flat.npy")
    ),
    Case(
        "resume with another binarisation",
        "resume run",
        "the run was started with",
        edited(binarise="threshold"),
    ),
    Case(
        "resume with another batch size",
        "resume run",
        "batch_size = 64, got 32",
        edited(batch_size=32),
    ),
    Case(
        "resume with another optimizer",
        "resume run",
        "optimizer",
        edited(optimizer="torch.optim.SGD"),
    ),
    Case("resume to fewer epochs than done", "resume run --epochs 1", "epochs"),
    Case(
        "resume to 0 epochs", "resume run --epochs 0", "epochs: got 0, expected a positive integer"
    ),
    # evidence, sample, reconstruct, compare, diagnose, export, info
    Case("evidence on a missing run", "evidence nowhere", "nowhere: no such folder"),
    Case(
        "evidence on a folder without a configuration",
        "evidence run",
        "no config.yaml in it",
        without("config.yaml"),
    ),
    Case("evidence on torn weights", "evidence run", "the checksum is wrong", torn(WEIGHTS)),
    Case(
        "a bit of the weights is another",
        "info run",
        "the checksum is wrong, the file is damaged",
        flipped,
    ),
    Case(
        "weights with a NaN",
        "sample run",
        "got NaN or infinity",
        rewritten(lambda s: s["guide"]["head.bias"].mul_(torch.nan)),
    ),
    Case(
        "weights of another run",
        "evidence run",
        "is of the run abcabcab",
        rewritten(lambda s: None, "abc" * 10),
    ),
    Case("weights of an earlier version", "evidence run", "of an earlier version", earlier),
    Case(
        "evidence without any weights",
        "evidence run",
        "checkpoint",
        without(WEIGHTS, "checkpoint.pt"),
    ),
    Case(
        "weights of another architecture",
        "evidence run",
        "do not fit VAE",
        edited(model__hidden=[9]),
    ),
    Case(
        "a pickle that runs code as weights",
        "evidence run",
        "no readable weights",
        pickled(WEIGHTS),
    ),
    Case(
        "a file of another program as weights",
        "sample run",
        "no readable",
        saved(WEIGHTS, {"net": torch.ones(2)}),
    ),
    Case(
        "weights without their parts",
        "sample run",
        "do not fit VAE",
        rewritten(lambda s: s.pop("model")),
    ),
    Case(
        "num_particles 0",
        "evidence run --method.num_particles 0",
        "num_particles: got 0, expected a positive integer",
    ),
    Case(
        "max_bytes 0",
        "evidence run --method.max_bytes 0",
        "max_bytes: got 0, expected a positive integer",
    ),
    Case(
        "negative seed of the particles",
        "evidence run --method.seed -1 --method.num_particles 2",
        "seed: got -1, expected",
    ),
    Case("more data than the split has", "evidence run --num_data 301", "num_data: got"),
    Case("num_data 0", "reconstruct run --num_data 0", "num_data: got"),
    Case(
        "a validation split where there is none",
        "evidence run --split valid",
        "no 'valid' split",
        edited(valid=0),
    ),
    Case(
        "no samples",
        "sample run --num_samples 0",
        "num_samples: got 0, expected a positive integer",
    ),
    Case(
        "a picture that cannot be written",
        "sample run --out taken/x.png",
        "out: cannot make taken",
        text("taken", ""),
    ),
    Case("a picture without a format", "sample run --out picture", "out: cannot write picture"),
    Case(
        "a JSON that cannot be written",
        "evidence run --method.num_particles 2 --out taken/x.json",
        "out: cannot make",
        text("taken", ""),
    ),
    Case(
        "a guide that compare does not know",
        "compare run --guides amortized,full",
        "guides: got full, expected some of",
    ),
    Case("no guide at all", "compare run --guides ,", "guides: got none, expected some of"),
    Case(
        "compare by one particle",
        "compare run --num_particles 1",
        "num_particles: got 1, expected an integer >= 2",
    ),
    Case(
        "exact log p(x) of a model that has none",
        "evidence run --method Exact",
        "VAE has no method `log_px`",
    ),
    Case(
        "quadrature over three latents",
        "evidence run --method Quadrature",
        "got 3 latent values per datum",
    ),
    Case("a method that does not exist", "evidence run --method magic", "method"),
    Case(
        "one temperature",
        "evidence run --method Annealed --method.num_temperatures 1",
        "num_temperatures: got 1, expected",
    ),
    Case(
        "one chain",
        "evidence run --method Annealed --method.num_chains 1",
        "num_chains: got 1, expected an integer >= 2",
    ),
    Case(
        "no time at all",
        "evidence run --method Annealed --method.budget 0",
        "budget: got 0.0, expected a number of seconds",
    ),
    Case(
        "an error of zero",
        "evidence run --method.target_error 0",
        "target_error: got 0.0, expected a positive number",
    ),
    Case(
        "all particles from the prior",
        "evidence run --method.defensive 1",
        "defensive: got 1.0, expected a share",
    ),
    Case(
        "diagnose an unknown guide",
        "diagnose run --guides best",
        "guides: got best, expected some of",
    ),
    Case(
        "diagnose by five simulations",
        "diagnose run --num_simulations 5",
        "num_simulations: got 5, expected",
    ),
    Case(
        "diagnose by one sandwich",
        "diagnose run --num_sandwich -1",
        "num_sandwich: got -1, expected",
    ),
    Case(
        "NUTS on more data than there are",
        "diagnose run --num_data 2 --num_nuts 3",
        "num_nuts: got 3, expected",
    ),
    Case(
        "export no draws",
        "export run --num_draws 0",
        "num_draws: got 0, expected a positive integer",
    ),
    Case(
        "export a split that is not there",
        "export run --split valid",
        "no 'valid' split",
        edited(valid=0),
    ),
    Case(
        "compare with one temperature",
        "compare run --num_temperatures 1",
        "num_temperatures: got 1, expected 0",
    ),
    Case(
        "diagnose by ten particles",
        "diagnose run --num_particles 10",
        "num_particles: got 10, expected",
    ),
    Case(
        "compare with no draws",
        "compare run --draws 0",
        "draws: got 0, expected a positive integer",
    ),
    Case(
        "compare on more data than there are",
        "compare run --num_data 9999",
        "num_data: got 9999, expected 1 to",
    ),
    Case(
        "a folder that cannot be made",
        "compare run --out taken/x",
        "out: cannot make",
        text("taken", ""),
    ),
    Case(
        "info on an empty table of metrics", "info run", "metrics.csv", text("run/metrics.csv", "")
    ),
    Case(
        "info on a torn evidence.json",
        "info run",
        "evidence.json",
        text("run/evidence.json", '{"elbo": -2'),
    ),
]


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
        "Written by `python tests/test_bad_inputs.py > experiments/bad_inputs.md`; held by the"
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
