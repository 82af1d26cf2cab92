"""The command line, `pyro-vae train | resume | evidence | sample | reconstruct | info`.

Options may be written with hyphens or underscores. Exit codes: 0; 1 for a run that failed (a non-finite loss); 2 for bad
usage or input; 130 for Ctrl-C. A user's mistake gives one line on stderr and no traceback; PYRO_VAE_DEBUG=1 shows it.
"""

from __future__ import annotations

import csv
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from pyro_vae.data import Split
from pyro_vae.diagnostics import active_units
from pyro_vae.evidence import Engine, Precision, log_evidence
from pyro_vae.inference import NonFiniteLoss, fit
from pyro_vae.inference.job import read_checkpoint
from pyro_vae.report.images import interleave, save_grid
from pyro_vae.report.tables import evidence_table, show
from pyro_vae.runs import (
    Parts,
    ShortHelp,
    build,
    forget_settings,
    make_folder,
    open_run,
    read_json,
    read_settings,
    settings_parser,
    write_json,
    write_settings,
    write_text,
)
from pyro_vae.traces import evaluation, plate_depth, sample_guide

_DESCRIPTION = """Train VAEs as Pyro programs, and measure what their guides cost.

A first run: pyro-vae train --data digits --epochs 20 --folder runs/first; pyro-vae evidence runs/first"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    sys.path.insert(0, os.getcwd())  # a user's own classes, as `python -m` would find them
    try:
        parsed = _parse(sys.argv[1:] if arguments is None else arguments)
        _COMMANDS[parsed.command](parsed[parsed.command])
    except KeyboardInterrupt:
        print("pyro-vae: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, NonFiniteLoss) as error:
        if os.environ.get("PYRO_VAE_DEBUG"):
            raise
        print(f"pyro-vae: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1 if isinstance(error, NonFiniteLoss) else 2
    return 0


def _parse(arguments: Sequence[str]) -> Namespace:
    try:
        return _parser().parse_args([_normalise(a) for a in arguments])
    except ValueError:
        raise
    except Exception as error:  # the file of a user's class runs while it is imported
        raise ValueError(f"a class that was named cannot be imported: {type(error).__name__}: {error}") from error


def _normalise(argument: str) -> str:
    """`--num-data=5` as `--num_data=5`; a value is left alone."""
    return re.sub(r"^--[\w.-]+", lambda m: "--" + m[0][2:].replace("-", "_"), argument)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="pyro-vae", description=_DESCRIPTION, formatter_class=ShortHelp)
    commands = parser.add_subcommands(dest="command")
    commands.add_subcommand("train", _train_parser(), help="train a model and a guide by SVI")
    commands.add_subcommand("resume", _resume_parser(), help="go on with a run that was stopped")
    evidence = _run_parser("Estimate log p(x) of held-out data by importance sampling; writes evidence.json.")
    evidence.add_argument("--split", type=Literal["train", "valid", "test"], default="test", help="part of the data")
    evidence.add_argument("--num_data", type=int | None, default=None, help="first rows only; all unless given")
    evidence.add_argument("--num_particles", type=int, default=5000, help="particles per datum")
    evidence.add_argument("--seed", type=int, default=0, help="of the particles")
    evidence.add_argument("--max_bytes", type=int | None, default=None, help="memory for the largest tensors")
    evidence.add_argument("--engine", type=Engine, default="auto", help="run the programs compiled or by Pyro")
    evidence.add_argument("--precision", type=Precision, default="float32", help="bfloat16 is faster and biased")
    evidence.add_argument("--out", type=str | None, default=None, help="JSON file instead of RUN/evidence.json")
    commands.add_subcommand("evidence", evidence, help="estimate log p(x) of held-out data")
    sample = _run_parser("Draw from the model's prior and write a picture.")
    sample.add_argument("--num_samples", type=int, default=64, help="images in the grid")
    sample.add_argument("--seed", type=int, default=0, help="of the draws")
    sample.add_argument("--out", type=str | None, default=None, help="PNG file instead of RUN/samples.png")
    commands.add_subcommand("sample", sample, help="draw from the model, as a picture")
    reconstruct = _run_parser("Pass test data through the guide and the decoder; data and means side by side.")
    reconstruct.add_argument("--num_data", type=int, default=32, help="first rows of the test data")
    reconstruct.add_argument("--seed", type=int, default=0, help="of the guide's draws")
    reconstruct.add_argument("--out", type=str | None, default=None, help="PNG file instead of RUN/reconstructions.png")
    commands.add_subcommand("reconstruct", reconstruct, help="data beside their reconstructions, as a picture")
    commands.add_subcommand("info", _run_parser("Print what a run is and how it went."), help="print what a run is")
    return parser


def _train_parser() -> ArgumentParser:
    parser = settings_parser(description="Train a model and a guide by SVI; the run is kept in a folder.")
    parser.add_argument("--folder", type=str | None, default=None, help="run folder; runs/DATA-N unless given")
    _add_device(parser)
    parser.add_argument("--quiet", type=bool, default=False, help="no progress")
    return parser


def _resume_parser() -> ArgumentParser:
    parser = _run_parser("Go on with a run from its checkpoint, exactly as if it had not been stopped.")
    parser.add_argument("--epochs", type=int | None, default=None, help="train to this epoch instead")
    parser.add_argument("--quiet", type=bool, default=False, help="no progress")
    return parser


def _run_parser(description: str) -> ArgumentParser:
    parser = ArgumentParser(description=description)
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument("--data_root", type=str | None, default=None, help="folder of torchvision's datasets")
    _add_device(parser)
    return parser


def _add_device(parser: ArgumentParser) -> None:
    parser.add_argument("--device", type=Literal["auto", "cpu", "cuda"], default="auto", help="where to compute")


def _train(options: Namespace) -> None:
    parser = settings_parser()
    parts = build(parser, options)
    folder = Path(options.folder) if options.folder else _new_folder(options.data)
    assert parts.data is not None
    write_settings(folder, parser, options, parts.data, options.device)
    try:
        _fit(parts, folder, options, resume=False)
    except BaseException:
        if not (folder / "checkpoint.pt").exists():  # refused before the first step: leave no run behind
            forget_settings(folder)
        raise


def _resume(options: Namespace) -> None:
    folder = Path(options.run)
    parser, settings = read_settings(folder)
    if not (folder / "checkpoint.pt").is_file():
        raise FileNotFoundError(f"{folder}: no checkpoint.pt in it, so there is nothing to go on from: train it anew")
    if options.epochs is not None:
        settings.epochs = options.epochs
    parts = build(parser, settings, options.data_root)
    if options.epochs is not None:
        done = read_checkpoint(folder)["position"]["epoch"]
        if options.epochs < done:
            raise ValueError(f"epochs: got {options.epochs}, but {done} are done already: expected at least as many")
        write_text(folder / "config.yaml", parser.dump(settings))
    _fit(parts, folder, options, resume=True)


def _fit(parts: Parts, folder: Path, options: Namespace, resume: bool) -> None:
    assert parts.data is not None
    run = fit(
        parts.model,
        parts.guide,
        parts.data,
        parts.recipe,
        folder=folder,
        device=options.device,
        resume=resume,
        quiet=options.quiet,
    )
    print(f"{folder}: {len(run.history)} epochs")


def _new_folder(data: str) -> Path:
    """runs/DATA-N with the first free N."""
    name = re.sub(r"\W+", "_", Path(data).stem)
    return next(p for n in range(1, 10**6) if not (p := Path("runs") / f"{name}-{n}").exists())


def _evidence(options: Namespace) -> None:
    out = Path(options.out) if options.out else Path(options.run) / "evidence.json"
    parts = open_run(options.run, options.data_root, options.device)
    make_folder("out", out.parent)  # before the work, not after it
    split = _split(parts, options.split, options.num_data)
    started = time.monotonic()
    with ExitStack() as stack:
        chosen = {name: options[name] for name in ("num_particles", "seed", "max_bytes", "engine", "precision")}
        progress = _progress(stack, len(split))
        estimate = log_evidence(parts.model, parts.guide, split.x, progress=progress, **chosen)
    seconds = time.monotonic() - started
    summary = estimate.summary()
    facts = {
        "split": options.split,
        "precision": options.precision,
        "fingerprint": split.fingerprint,
        "active_units": active_units(parts.guide, split.x) if len(split) > 1 else None,
        "seconds": round(seconds, 1),
    }
    write_json(out, summary | facts)
    show(evidence_table(f"{options.run}: {len(split)} {options.split} data, {options.num_particles} particles", [
        (type(parts.guide).__name__, summary, seconds)
    ]))  # fmt: skip
    print(f"active units {facts['active_units']}, data fingerprint {split.fingerprint}; written to {out}")


def _progress(stack: ExitStack, total: int) -> Callable[[int], None] | None:
    """A bar on stderr that counts data, where stderr is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    bar = stack.enter_context(Progress(console=console, transient=True))
    task = bar.add_task("log p(x)", total=total)
    return lambda done: bar.advance(task, done)


def _split(parts: Parts, name: str, num_data: int | None) -> Split:
    split = getattr(parts.data, name)
    if split is None:
        raise ValueError(f"split: the data have no {name!r} split, expected one of the others")
    if num_data is None:
        return split
    if not 1 <= num_data <= len(split):
        raise ValueError(f"num_data: got {num_data}, expected 1 to {len(split)}, the {name} data")
    return split.take(num_data)


def _sample(options: Namespace) -> None:
    parts = open_run(options.run, options.data_root, options.device, need_data=False)
    if options.num_samples < 1:
        raise ValueError(f"num_samples: got {options.num_samples}, expected a positive integer")
    torch.manual_seed(options.seed)
    images = _method(parts, "sample")(options.num_samples)
    print(save_grid(images, options.out or Path(options.run) / "samples.png"))


def _reconstruct(options: Namespace) -> None:
    parts = open_run(options.run, options.data_root, options.device)
    x = _split(parts, "test", options.num_data).x
    index = torch.arange(len(x), device=x.device)
    with evaluation(parts.model, parts.guide, device=x.device, seed=options.seed):
        depth = plate_depth(parts.model, parts.guide, x, index)
        latents, _ = sample_guide(parts.guide, x, index, 1, depth)
        if len(latents) != 1:
            raise ValueError(f"guide: got latent sites {sorted(latents)}, this command decodes exactly one")
        means = _method(parts, "decode")(next(iter(latents.values()))[0])
    print(save_grid(interleave(x, means), options.out or Path(options.run) / "reconstructions.png", columns=16))


def _method(parts: Parts, name: str) -> Callable[..., Tensor]:
    method = getattr(parts.model, name, None)
    if method is None:
        raise ValueError(f"model: {type(parts.model).__name__} has no method `{name}`, which this command needs")
    return method


def _info(options: Namespace) -> None:
    folder = Path(options.run)
    parts = open_run(folder, options.data_root, options.device, need_data=False)
    for name in ("model", "guide"):
        part = getattr(parts, name)
        print(f"{name}  {type(part).__name__}, {sum(p.numel() for p in part.parameters()):,} parameters")
    for name in ("data.json", "versions.json", "evidence.json"):
        if (folder / name).is_file():
            facts = read_json(folder / name).items()
            print(f"{name}  " + ", ".join(f"{k} {v:.6g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts))
    if (folder / "metrics.csv").is_file():
        with (folder / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        if not rows or None in rows[-1].values():
            raise ValueError(f"{folder / 'metrics.csv'}: got no whole row, expected one per epoch: the file is torn")
        print("last epoch  " + ", ".join(f"{k} {float(v):.6g}" for k, v in rows[-1].items()))


_COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "train": _train,
    "resume": _resume,
    "evidence": _evidence,
    "sample": _sample,
    "reconstruct": _reconstruct,
    "info": _info,
}


if __name__ == "__main__":
    sys.exit(main())
