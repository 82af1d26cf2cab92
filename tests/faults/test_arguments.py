"""Random command lines, valid and not: each ends with exit code 0, 1 or 2, at most one error, and
nothing half-written.

Options are those of the real parser; values are valid, of another type, out of range, not finite,
huge, empty, foreign, paths to what is missing or in the way. What is merely long (a million epochs)
is a wish and no mistake, and compiling takes seconds: such values are left out.
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
from tests.faults.tally import Tally

CODES: Counter[int] = Counter()
VECTORS = times(60, 2000)

SMALL = {
    "train": f"--folder new {TINY}",
    "resume": "run --epochs 2 --quiet true",
    "evidence": "run --num_data 3 --method.num_particles 30",
    "compare": "run --num_data 2 --num_particles 30 --guides amortized --steps 2",
    "diagnose": "run --num_data 3 --num_particles 30 --num_simulations 20 --num_draws 5"
    " --num_temperatures 5",
    "export": "run --num_data 2 --num_draws 30",
    "sample": "run --num_samples 3",
    "reconstruct": "run --num_data 2",
    "impute": "run holes.npy --num_particles 20",
    "interpolate": "run --num_data 2 --num_steps 2",
    "traverse": "run --num_data 3 --num_units 1 --num_steps 2",
    "manifold": "run --side 2",
    "embed": "run --num_data 4 --num_prior 9",
    "compress": "run test x.bits --num_data 3",
    "decompress": "run x.bits flat.npy",
    "rank": "run --num_data 3 --method.num_particles 30",
    "list": ".",
    "info": "run",
}


def words(text: str) -> list[str]:
    return text.split()


NUMBERS = words("0 1 -1 2 3 1.5 0.5 -0.5 1e-3 nan inf -inf 1e400 -0 00 1_0")
HUGE = [str(10**9), str(2**31), str(2**63), str(10**30), "1e18", "9" * 400, str(-(2**63) - 1)]
WORDS = words(
    "a true null [] {} [8] [0] [a] None - -- ünï✓ %s $HOME * ' \" \\ @ &a *a # 0x10"
    " 1,2 !!python/name:os.system"
)
WORDS += ["", " ", "{a: 1}", "\u202e", "a\nb", "\ud800", "x" * 5000]
PATHS = words(
    """.. . ~ run new empty taken taken/x missing missing/x.json deep/er/x.json ünï.yaml x.png x.csv
    x.nc x.json flat.npy real.npy counts.npy torn.npy empty.npz pipe.npy loop.npy good.yaml odd.yaml
    broken.yaml list.yaml pipe.json /proc/none/x run/config.yaml run/weights.safetensors digits
    mnist mnits"""
)
PATHS += ["y" * 300]
CLASSES = words(
    """VAE pyro_vae.VAE HierarchicalVAE LinearGaussian GaussianMixture EncoderGuide Local Amortized
    HierarchicalGuide torch Gaussian Bernoulli MLP Conv MLPDecoder ConvDecoder MeanField FullRank
    SplineFlow torch.nn.Linear Adam SGD LBFGS torch.optim.AdamW StepLR CosineAnnealingLR
    ReduceLROnPlateau Trace_ELBO TraceMeanField_ELBO TraceGraph_ELBO RenyiELBO ReweightedWakeSleep
    Trace_MMD pyro.infer.SVI pyro_vae.objectives.Bound pyro_vae.objectives.FreeBits os.system
    builtins.dict no.such.Class pyro_vae pyro_vae.load pyro_vae.cli.main"""
)
CHOICES = words(
    """Importance Annealed Laplace Quadrature Exact Best guide prior train valid test both float32
    bfloat16 auto svi pyro cpu cuda dynamic static threshold dequantise none pixels real last
    amortized semi-amortized mean-field amortized,amortized a,b , mean draw linear spherical"""
)
NESTED = words(
    """model.latent_dim model.hidden model.likelihood model.likelihood.sigma model.likelihood.learn
    model.likelihood.grey model.decoder model.decoder.channels model.mean model.middle_dim
    model.shape guide.hidden guide.family guide.encoder guide.encoder.channels guide.latent_dim
    guide.rank guide.x optimizer.lr optimizer.betas optimizer.weight_decay optimizer.fused
    schedule.step_size schedule.gamma schedule.T_max schedule.x loss.num_particles loss.alpha
    loss.nats loss.vectorize_particles"""
)
METHOD = words(
    """method.num_particles method.defensive method.target_error method.budget method.seed
    method.start method.num_temperatures method.num_chains method.num_leapfrog method.num_points
    method.num_climbs method.freedom method.engine method.precision method.max_bytes method.x"""
)

# what a large or tiny value of makes a call long
LONG = ("epochs", "steps", "budget", "target_error", "defensive")
FEW = ["1", "0.1", "0", "-1", "nan", "x", "1.5", "", "inf", "[1]"]


@cache
def options(command: str) -> tuple[str, ...]:
    """The options of a command, of the real parser, and those of its classes."""
    parser = _parser(command)._subcommands_action.choices[command]
    found = [
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    ]
    nested = {"train": NESTED, "evidence": METHOD, "rank": METHOD}.get(command, [])
    return tuple(sorted(found)) + tuple(f"--{name}" for name in nested)


def value(rng: random.Random, option: str) -> str:
    """A value for an option, as often right as wrong."""
    name = option.removeprefix("--").rpartition(".")[2]
    # which Pyro's ELBOs draw one after another
    if name in LONG or option == "--loss.num_particles":
        return rng.choice(FEW)
    likely: dict[str, list[str]] = {
        "config": PATHS,
        "data": PATHS,
        "out": PATHS,
        "folder": PATHS,
        "data_root": PATHS,
        "run": PATHS,
    }
    classes = (
        "model",
        "guide",
        "optimizer",
        "schedule",
        "loss",
        "likelihood",
        "decoder",
        "encoder",
        "family",
    )
    likely |= dict.fromkeys(classes, CLASSES)
    likely |= dict.fromkeys(
        ("method", "start", "split", "precision", "engine", "device", "binarise", "values"), CHOICES
    )
    likely |= dict.fromkeys(("keep", "guides", "kind", "path"), CHOICES)
    usual = likely.get(name, [*NUMBERS, *HUGE])
    return rng.choice(
        usual if rng.random() < 0.7 else rng.choice([NUMBERS, HUGE, WORDS, PATHS, CHOICES, CLASSES])
    )


def vector(rng: random.Random) -> list[str]:
    """The words of a command line."""
    command = rng.choice(list(SMALL))
    base = SMALL[command].split()
    if rng.random() < 0.1 and command != "train":
        base[0] = rng.choice([*PATHS, *WORDS])
    found = base + [
        word
        for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 2, 3, 4]))
        for word in option_words(rng, command)
    ]
    if rng.random() < 0.03:
        rng.shuffle(found)
    # without its last words, or, where that is not a long training, without any
    if rng.random() < 0.05:
        found = found[
            : rng.choice(
                [len(base) if command == "train" else 0, rng.randint(len(base), len(found))]
            )
        ]
    return [command if rng.random() < 0.98 else rng.choice([*WORDS, "trian", "--help"]), *found]


def option_words(rng: random.Random, command: str) -> list[str]:
    """An option with its value, as one word or two, twice, without it, or none that there is."""
    option = rng.choice(options(command))
    given, kind = value(rng, option), rng.random()
    if kind < 0.5:
        return [option, given]
    if kind < 0.85:
        return [f"{option.replace('_', '-') if rng.random() < 0.5 else option}={given}"]
    if kind < 0.9:
        return [option]
    if kind < 0.95:
        return [rng.choice([*WORDS, *PATHS, "-x", "--no", "--seeed", "--seed.x", "--run"]), given]
    return [option, given, option, value(rng, option)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained") / "run")


def wrong(line: list[str], place: Path) -> Iterator[str]:
    """What is wrong with the end of a command line."""
    before = snapshot(place)
    ended = call(line)
    told = broken_promise(ended)
    if told:
        yield told
    after = snapshot(place)
    if ended.code == 2 and after != before:
        changed = [n for n in {**before, **after} if before.get(n) != after.get(n)]
        yield f"refused, and yet changed {changed}"
    if leftovers(place):
        yield f"left {leftovers(place)}"
    CODES[ended.code] += 1


@pytest.mark.usefixtures("hasty_convergence")
def test_random_command_lines(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.delenv("PYRO_VAE_DEBUG", raising=False)
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("pyro_vae.data.named.fetch", refuse_to_download)
    rng, found = random.Random(0), []
    for number in range(VECTORS):
        line = vector(rng)
        with in_place(tmp_path, trained) as place:
            found += [(number, " ".join(line), told) for told in wrong(line, place)]
        shutil.rmtree(tmp_path / "nothing", ignore_errors=True)
    print(f"{VECTORS} command lines, exit codes {dict(CODES)}, {len(found)} broken promises")
    tally("command lines", VECTORS, len(found))
    told = [f"{number}: {line[:300]!r} {what[:300]}" for number, line, what in found]
    assert found == [], "\n".join(re.sub(r"\s+", " ", line) for line in told)


def refuse_to_download(name: str, root: Path) -> None:
    raise FileNotFoundError(f"{name}: {root} does not hold it")
