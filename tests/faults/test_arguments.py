"""Random command lines, valid and not: each ends with exit code 0, 1 or 2, at most one line of error, and nothing half-written.

Options are those of the real parser; values are valid, of another type, out of range, not finite, huge, empty, foreign, paths
to what is missing or in the way. What is merely long (a million epochs) is a wish and no mistake, and compiling takes
seconds: such values are left out.
"""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pyro_vae.cli import _parser
from tests.faults.places import TINY, broken_promise, call, in_place, leftovers, snapshot, train
from tests.faults.scale import times

VECTORS = times(60, 2000)

SMALL = {
    "train": f"--folder new {TINY}",
    "resume": "run --epochs 2 --quiet true",
    "evidence": "run --num_data 3 --num_particles 30 --num_temperatures 5 --num_chains 2 --num_leapfrog 1 --budget 0.1",
    "compare": "run --num_data 2 --num_particles 30 --guides amortized --steps 2",
    "diagnose": "run --num_data 3 --num_particles 30 --num_simulations 20 --num_draws 5 --num_temperatures 5",
    "export": "run --num_data 2 --num_draws 30",
    "sample": "run --num_samples 3",
    "reconstruct": "run --num_data 2",
    "info": "run",
}

NUMBERS = ["0", "1", "-1", "2", "3", "1.5", "0.5", "-0.5", "1e-3", "nan", "inf", "-inf", "1e400", "-0", "00", "1_0"]
HUGE = [str(10**9), str(2**31), str(2**63), str(10**30), "1e18", "9" * 400, str(-(2**63) - 1)]
WORDS = [
    "",
    " ",
    "a",
    "true",
    "null",
    "[]",
    "{}",
    "[8]",
    "[0]",
    "[a]",
    "{a: 1}",
    "None",
    "-",
    "--",
    "ünï✓",
    "\u202e",
    "a\nb",
]
WORDS += [
    "%s",
    "$HOME",
    "*",
    "!!python/name:os.system",
    "x" * 5000,
    "'",
    '"',
    "\\",
    "@",
    "&a",
    "*a",
    "#",
    "0x10",
    "1,2",
    "\ud800",
]
PATHS = [
    "run",
    "new",
    "empty",
    "taken",
    "taken/x",
    "missing",
    "missing/x.json",
    "deep/er/x.json",
    "flat.npy",
    "real.npy",
]
PATHS += [
    "counts.npy",
    "torn.npy",
    "empty.npz",
    "pipe.npy",
    "loop.npy",
    "ünï.yaml",
    "good.yaml",
    "odd.yaml",
    "broken.yaml",
]
PATHS += [
    "list.yaml",
    "x.png",
    "x.csv",
    "x.nc",
    "x.json",
    "/dev/null",
    "/dev/full",
    "/proc/none/x",
    ".",
    "..",
    "~",
    "y" * 300,
]
PATHS += ["run/config.yaml", "run/weights.safetensors", "digits", "mnist", "mnits"]
CLASSES = [
    "VAE",
    "pyro_vae.VAE",
    "HierarchicalVAE",
    "LinearGaussian",
    "GaussianMixture",
    "EncoderGuide",
    "Local",
    "Amortized",
]
CLASSES += [
    "HierarchicalGuide",
    "Gaussian",
    "Bernoulli",
    "MLP",
    "Conv",
    "MLPDecoder",
    "ConvDecoder",
    "MeanField",
    "FullRank",
]
CLASSES += [
    "SplineFlow",
    "Adam",
    "SGD",
    "LBFGS",
    "torch.optim.AdamW",
    "StepLR",
    "CosineAnnealingLR",
    "ReduceLROnPlateau",
]
CLASSES += ["Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO", "RenyiELBO", "ReweightedWakeSleep", "Trace_MMD"]
CLASSES += [
    "pyro_vae.objectives.Bound",
    "pyro_vae.objectives.FreeBits",
    "os.system",
    "builtins.dict",
    "no.such.Class",
    "torch",
]
CLASSES += ["torch.nn.Linear", "pyro.infer.SVI", "pyro_vae", "pyro_vae.load", "pyro_vae.cli.main"]
CHOICES = ["importance", "annealed", "quadrature", "exact", "best", "guide", "prior", "train", "valid", "test", "both"]
CHOICES += [
    "float32",
    "bfloat16",
    "auto",
    "svi",
    "pyro",
    "cpu",
    "cuda",
    "dynamic",
    "static",
    "threshold",
    "dequantise",
    "none",
]
CHOICES += [
    "pixels",
    "real",
    "best",
    "last",
    "amortized",
    "semi-amortized",
    "mean-field",
    "amortized,amortized",
    "a,b",
    ",",
]

NESTED = ["model.latent_dim", "model.hidden", "model.likelihood", "model.likelihood.sigma", "model.likelihood.learn"]
NESTED += [
    "model.likelihood.grey",
    "model.decoder",
    "model.decoder.channels",
    "model.mean",
    "model.middle_dim",
    "model.shape",
]
NESTED += [
    "guide.hidden",
    "guide.family",
    "guide.encoder",
    "guide.encoder.channels",
    "guide.latent_dim",
    "guide.rank",
    "guide.x",
]
NESTED += [
    "optimizer.lr",
    "optimizer.betas",
    "optimizer.weight_decay",
    "optimizer.fused",
    "schedule.step_size",
    "schedule.gamma",
]
NESTED += ["schedule.T_max", "schedule.x", "loss.num_particles", "loss.alpha", "loss.nats", "loss.vectorize_particles"]

LONG = ("epochs", "steps", "budget", "target_error", "defensive")  # what a large or tiny value of makes a call long
FEW = ["1", "0.1", "0", "-1", "nan", "x", "1.5", "", "inf", "[1]"]


@cache
def options(command: str) -> tuple[str, ...]:
    """The options of a command, of the real parser, and those of its classes."""
    parser = _parser(())._subcommands_action.choices[command]
    found = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    return tuple(sorted(found)) + tuple(f"--{name}" for name in NESTED if command == "train")


def value(rng: random.Random, option: str) -> str:
    """A value for an option, as often right as wrong."""
    name = option.removeprefix("--").rpartition(".")[2]
    if name in LONG:
        return rng.choice(FEW)
    likely = {"config": PATHS, "data": PATHS, "out": PATHS, "folder": PATHS, "data_root": PATHS, "run": PATHS}
    classes = ("model", "guide", "optimizer", "schedule", "loss", "likelihood", "decoder", "encoder", "family")
    likely |= dict.fromkeys(classes, CLASSES)
    likely |= dict.fromkeys(
        ("method", "start", "split", "precision", "engine", "device", "binarise", "values"), CHOICES
    )
    likely |= dict.fromkeys(("keep", "guides"), CHOICES)
    usual = likely.get(name, [*NUMBERS, *HUGE])
    return rng.choice(usual if rng.random() < 0.7 else rng.choice([NUMBERS, HUGE, WORDS, PATHS, CHOICES, CLASSES]))


def vector(rng: random.Random) -> list[str]:
    """The words of a command line."""
    command = rng.choice(list(SMALL))
    words = SMALL[command].split()
    if rng.random() < 0.1 and command != "train":
        words[0] = rng.choice([*PATHS, *WORDS])
    for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 2, 3, 4])):
        option = rng.choice(options(command))
        kind = rng.random()
        given = value(rng, option)
        if kind < 0.5:
            words += [option, given]
        elif kind < 0.85:
            words += [f"{option.replace('_', '-') if rng.random() < 0.5 else option}={given}"]
        elif kind < 0.9:
            words += [option]  # without its value
        elif kind < 0.95:
            words += [rng.choice([*WORDS, *PATHS, "-x", "--no", "--seeed", "--seed.x", "--run"]), given]
        else:
            words += [option, given, option, value(rng, option)]  # twice
    if rng.random() < 0.03:
        rng.shuffle(words)
    if rng.random() < 0.05:  # without its last words, or, where that is not a long training, without any
        least = len(SMALL[command].split())
        words = words[: rng.choice([least if command == "train" else 0, rng.randint(least, len(words))])]
    return [command if rng.random() < 0.98 else rng.choice([*WORDS, "trian", "--help"]), *words]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained") / "run")


def wrong(words: list[str], place: Path) -> Iterator[str]:
    """What is wrong with the end of a command line."""
    before = snapshot(place)
    ended = call(words)
    told = broken_promise(ended)
    if told:
        yield told
    after = snapshot(place)
    if ended.code == 2 and after != before:
        yield f"refused, and yet changed {[name for name in {**before, **after} if before.get(name) != after.get(name)]}"
    if leftovers(place):
        yield f"left {leftovers(place)}"
    wrong.codes[ended.code] += 1  # type: ignore[attr-defined]


wrong.codes = Counter()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("quick_convergence")
def test_random_command_lines(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("pyro_vae.data.named.fetch", refuse_to_download)
    rng, found = random.Random(0), []
    for number in range(VECTORS):
        words = vector(rng)
        with in_place(tmp_path, trained) as place:
            found += [(number, " ".join(words), told) for told in wrong(words, place)]
        shutil.rmtree(tmp_path / "nothing", ignore_errors=True)
    print(f"{VECTORS} command lines, exit codes {dict(wrong.codes)}, {len(found)} broken promises")  # type: ignore[attr-defined]
    assert found == [], "\n".join(
        re.sub(r"\s+", " ", f"{number}: {words[:300]!r} {told[:300]}") for number, words, told in found
    )


def refuse_to_download(name: str, root: Path) -> None:
    raise FileNotFoundError(f"{name}: {root} does not hold it")
