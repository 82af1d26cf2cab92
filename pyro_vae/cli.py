"""The command line, `pyro-vae train | resume | evidence | compare | diagnose | export | sample | reconstruct | info`.

Options may be written with hyphens or underscores. Exit codes: 0; 1 for a run that failed (a non-finite loss, a full disk);
2 for bad usage or input; 130 for Ctrl-C; 141 where the reader of a pipe has gone. A user's mistake gives one line on stderr
and no traceback; PYRO_VAE_DEBUG=1 shows it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import Namespace
from torch import Tensor

from pyro_vae import diagnose, measure
from pyro_vae.arguments import check_integer, check_seed
from pyro_vae.choices import describe_choice
from pyro_vae.diagnostics import CollapseWarning
from pyro_vae.files import FULL, CannotWrite
from pyro_vae.inference import NonFiniteLoss, fit
from pyro_vae.inference.folder import CHECKPOINT, claim, is_trained
from pyro_vae.inference.job import read_checkpoint
from pyro_vae.info import info
from pyro_vae.modes import evaluation
from pyro_vae.report.images import save_data
from pyro_vae.runs import Parts, ShortHelp, build, open_from, read_settings, settings_parser, write_settings
from pyro_vae.texts import printable, write_text
from pyro_vae.traces import plate_depth, sample_guide
from pyro_vae.trust import own_classes, split_trust, trusted_by
from pyro_vae.usage import OneLineParser

_MOST_SAMPLES = 10_000  # in one picture
_DESCRIPTION = """Train VAEs as Pyro programs, and measure what their guides cost.

A first run: pyro-vae train --data digits --folder runs/first; pyro-vae evidence runs/first"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        parsed = _parse(sys.argv[1:] if arguments is None else arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("always", CollapseWarning)
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            _COMMANDS[parsed.command](parsed[parsed.command])
        sys.stdout.flush()  # whoever reads may have gone, which is to be known here and not when Python ends
    except KeyboardInterrupt:
        print("pyro-vae: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `pyro-vae info RUN | head`: the reader has what it wanted
        _let_go_of_stdout()
        return 128 + 13  # as of a program that SIGPIPE ends
    except (ValueError, OSError, NonFiniteLoss) as error:
        if os.environ.get("PYRO_VAE_DEBUG"):
            raise
        broken = isinstance(error, NonFiniteLoss | CannotWrite)
        if isinstance(error, OSError) and not broken and error.errno in FULL:
            _let_go_of_stdout()
            broken, error = True, OSError(f"standard output: cannot be written ({error.strerror})")
        print(f"pyro-vae: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 1 if broken else 2
    return 0


def _let_go_of_stdout() -> None:
    """Let what is still to be printed go nowhere, so that Python does not complain when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *args: Any) -> None:
    """A collapse in one line, other warnings as ever."""
    if issubclass(category, CollapseWarning):
        print(f"pyro-vae: warning: {message}", file=sys.stderr)
    else:
        otherwise(message, category, *args)


def _parse(arguments: Sequence[str]) -> Namespace:
    arguments = [_normalise(a) for a in arguments]
    trust = trusted_by(arguments)
    try:
        with own_classes(trust), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what jsonargparse will refuse one day
            return _parser(trust).parse_args(arguments)
    except ValueError:
        raise
    except Exception as error:  # the file of a user's class runs while it is imported
        raise ValueError(f"a class that was named cannot be imported: {type(error).__name__}: {error}") from error


def _normalise(argument: str) -> str:
    """`--num-data=5` as `--num_data=5`; a value is left alone."""
    return re.sub(r"^--[\w.-]+", lambda m: "--" + m[0][2:].replace("-", "_"), argument)


def _parser(trust: Sequence[str]) -> OneLineParser:
    parser = OneLineParser(prog="pyro-vae", description=_DESCRIPTION, formatter_class=ShortHelp)
    commands = parser.add_subcommands(dest="command")
    commands.add_subcommand("train", _train_parser(trust), help="train a model and a guide by SVI")
    commands.add_subcommand("resume", _resume_parser(), help="go on with a run that was stopped")
    evidence = _run_parser(
        "Estimate log p(x) of held-out data; writes evidence.json and, for each datum, evidence.csv."
    )
    commands.add_subcommand("evidence", measure.add_evidence(evidence), help="estimate log p(x) of held-out data")
    compare = _run_parser("Swap the guide on the frozen model, and measure what each costs; writes RUN/ledger.")
    commands.add_subcommand(
        "compare", measure.add_compare(compare), help="what each guide costs, in nats and in seconds"
    )
    judge = _run_parser("Judge guides by calibration, weights, two-sided bounds and NUTS; writes diagnosis.json.")
    commands.add_subcommand("diagnose", diagnose.add_diagnose(judge), help="whether guides and figures can be believed")
    export = _run_parser("Write draws of the guide and, by their weights, of the posterior for ArviZ, as netCDF.")
    commands.add_subcommand("export", diagnose.add_export(export), help="draws, weights and data for ArviZ")
    sample = _run_parser("Draw from the model's prior and write a picture, or a table where the data are no pictures.")
    sample.add_argument("--num_samples", type=int, default=64, help="images in the grid")
    sample.add_argument("--seed", type=int, default=0, help="of the draws")
    sample.add_argument(
        "--out",
        type=str | None,
        default=None,
        help="file instead of RUN/samples.png; a table for data that are no pictures",
    )
    commands.add_subcommand("sample", sample, help="draw from the model, as a picture")
    reconstruct = _run_parser("Pass test data through the guide and the decoder; data and means side by side.")
    reconstruct.add_argument(
        "--num_data", type=int | None, default=None, help="first rows of the test data, 32 unless given"
    )
    reconstruct.add_argument("--seed", type=int, default=0, help="of the guide's draws")
    reconstruct.add_argument("--out", type=str | None, default=None, help="file instead of RUN/reconstructions.png")
    commands.add_subcommand("reconstruct", reconstruct, help="data beside their reconstructions, as a picture")
    commands.add_subcommand("info", _run_parser("Print what a run is and how it went."), help="print what a run is")
    return parser


def _train_parser(trust: Sequence[str]) -> OneLineParser:
    parser = settings_parser(trust, description="Train a model and a guide by SVI; the run is kept in a folder.")
    parser.add_argument("--folder", type=str | None, default=None, help="run folder; runs/DATA-N unless given")
    _add_device(parser)
    parser.add_argument("--quiet", type=bool, default=False, help="no progress")
    return parser


def _resume_parser() -> OneLineParser:
    parser = _run_parser("Go on with a run from its checkpoint, exactly as if it had not been stopped.")
    parser.add_argument("--epochs", type=int | None, default=None, help="train to this epoch instead")
    parser.add_argument("--quiet", type=bool, default=False, help="no progress")
    return parser


def _run_parser(description: str) -> OneLineParser:
    parser = OneLineParser(description=description)
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument("--data_root", type=str | None, default=None, help="folder of torchvision's datasets")
    _add_device(parser)
    return parser


def _add_device(parser: OneLineParser) -> None:
    parser.add_argument("--device", type=Literal["auto", "cpu", "cuda"], default="auto", help="where to compute")
    told = "modules or classes of your own, with commas between them, that a config.yaml may name: their code is run"
    parser.add_argument("--trust", type=str | None, default=None, help=told)


def _train(options: Namespace) -> None:
    parser = settings_parser()
    parts = build(parser, options)
    folder = Path(options.folder) if options.folder else _new_folder(options.data)
    assert parts.data is not None
    with claim(folder, resume=False):
        write_settings(folder, parser, options, parts.data, options.device)
        if not options.quiet:
            for line in describe_choice(parts.data, parts.model, parts.recipe).splitlines():
                print(printable(line), file=sys.stderr)
        _fit(parts, folder, options, resume=False)


def _resume(options: Namespace) -> None:
    """Go on from the checkpoint; a run that was killed before its first one begins."""
    folder, trust = Path(options.run), split_trust(options.trust)
    parser, settings = read_settings(folder, trust)
    resume = is_trained(folder)
    with claim(folder, resume=resume):
        if resume and not (folder / CHECKPOINT).is_file():
            raise FileNotFoundError(f"{folder}: no {CHECKPOINT} in it, only weights, so there is nothing to go on from")
        done = read_checkpoint(folder)["position"]["epoch"] if resume else 0
        if options.epochs is not None:
            settings.epochs = options.epochs
        with own_classes(trust):
            parts = build(parser, settings, options.data_root)
        if options.epochs is not None and options.epochs < done:
            raise ValueError(f"epochs: got {options.epochs}, but {done} are done already: expected at least as many")
        with _changed(folder / "config.yaml", parser.dump(settings) if options.epochs is not None else None):
            _fit(parts, folder, options, resume=resume)


@contextmanager
def _changed(path: Path, text: str | None) -> Iterator[None]:
    """Write a file of settings, and write the old one back where the run is refused, so that no checkpoint follows."""
    if text is None:
        yield
        return
    before, reached = path.read_text(), _stamp(path.with_name(CHECKPOINT))
    write_text(path, text)
    try:
        yield
    except (ValueError, OSError):
        if _stamp(path.with_name(CHECKPOINT)) == reached:
            write_text(path, before)
        raise


def _stamp(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.is_file() else None


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
    print(f"{folder}: {run}")


def _new_folder(data: str) -> Path:
    """runs/DATA-N with the first free N."""
    name = re.sub(r"\W+", "_", Path(data).stem)
    return next(p for n in range(1, 10**6) if not (p := Path("runs") / f"{name}-{n}").exists())


def _sample(options: Namespace) -> None:
    parts = open_from(options, need_data=False)
    check_integer("num_samples", options.num_samples, 1, _MOST_SAMPLES)
    check_seed("seed", options.seed)
    torch.manual_seed(options.seed)
    images = _method(parts, "sample")(options.num_samples)
    print(save_data({"sample": images}, options.out or Path(options.run) / "samples.png"))


def _reconstruct(options: Namespace) -> None:
    parts = open_from(options)
    check_seed("seed", options.seed)
    split = measure.choose(parts, "test", options.num_data, usual=32)
    x, index = split.x, split.numbers()
    with evaluation(parts.model, parts.guide, device=x.device, seed=options.seed):
        depth = plate_depth(parts.model, parts.guide, x, index)
        latents, _ = sample_guide(parts.guide, x, index, 1, depth)
        if len(latents) != 1:
            raise ValueError(f"guide: got latent sites {sorted(latents)}, this command decodes exactly one")
        means = _method(parts, "decode")(next(iter(latents.values()))[0])
    print(save_data({"data": x, "mean": means}, options.out or Path(options.run) / "reconstructions.png", columns=16))


def _method(parts: Parts, name: str) -> Callable[..., Tensor]:
    method = getattr(parts.model, name, None)
    if method is None:
        raise ValueError(f"model: {type(parts.model).__name__} has no method `{name}`, which this command needs")
    return method


_COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "train": _train,
    "resume": _resume,
    "evidence": measure.evidence,
    "compare": measure.compare,
    "diagnose": diagnose.diagnose,
    "export": diagnose.export,
    "sample": _sample,
    "reconstruct": _reconstruct,
    "info": info,
}


if __name__ == "__main__":
    sys.exit(main())
