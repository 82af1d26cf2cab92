"""A run folder: what a training left, and how to open it again.

    config.yaml           the resolved settings; `pyro-vae train --config` repeats the run from it
    data.json             shape, sizes and checksums of the data, so that sampling needs no data
    versions.json         versions, device
    run.json              the run's identity, a random number that checkpoint and weights have too
    metrics.csv           a row per epoch
    checkpoint.pt         everything needed to go on (absent from a run kept for its weights alone)
    weights.safetensors   the parameters alone, written when the training ends
    .lock                 held while a process trains here

The config names model, guide, optimizer and schedule by their classes, a user's own among them
where they are trusted (`trust.py`). A model's class is called as `Model(shape, ...)` with the shape
of a datum, a guide's as `Guide(shape, latent_dim, ...)`.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch
from jsonargparse import ArgumentParser, Namespace

from pyro_vae.data import Binarise, Dataset, Split
from pyro_vae.data.cells import columns_from, described
from pyro_vae.data.kinds import Columns
from pyro_vae.files.atomic import remove
from pyro_vae.files.texts import read_json, write_json, write_text
from pyro_vae.inference.folder import check_identity, new_identity
from pyro_vae.inference.job import read_checkpoint, set_weights
from pyro_vae.inference.prepare import resolve_device
from pyro_vae.inference.weights import NAME as WEIGHTS
from pyro_vae.inference.weights import digest_of, read_weights, write_weights
from pyro_vae.programs.parameters import trainable_parameters
from pyro_vae.runs.building import Parts, build
from pyro_vae.runs.changed import checksums
from pyro_vae.runs.settings import Settings, known_parser, settings_parser, understood
from pyro_vae.runs.trust import own_classes, read_config, split_trust
from pyro_vae.runs.usage import ShortHelp

__all__ = [
    "Parts",
    "Settings",
    "ShortHelp",
    "build",
    "convert",
    "describe_data",
    "known_parser",
    "open_from",
    "open_run",
    "read_settings",
    "settings_parser",
    "write_settings",
]

MAX_SIZE = 10**8  # values of a datum


def write_settings(
    folder: Path, parser: ArgumentParser, config: Namespace, data: Dataset, device: str
) -> None:
    """Write data.json, versions.json and, last, config.yaml into a new run folder: where there is a
    config.yaml, all are there.
    """
    if (folder / "config.yaml").exists():
        raise ValueError(
            f"folder: {folder} holds the settings of a run that has not begun: `pyro-vae resume"
            f" {folder}` begins it, or choose another folder"
        )

    where = resolve_device(device)
    write_json(folder / "data.json", describe_data(data))
    packages = ("pyro-vae", "torch", "torchvision", "pyro-ppl", "arviz", "numpy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    versions["device"] = torch.cuda.get_device_name() if where.type == "cuda" else "cpu"
    write_json(folder / "versions.json", versions)

    kept = config.clone()
    for name in ("config", "folder", "device", "quiet", "trust"):
        kept.pop(name, None)
    write_text(folder / "config.yaml", parser.dump(kept))


def describe_data(data: Dataset) -> dict[str, Any]:
    """What data.json holds."""
    sizes = {s.name: len(s) for s in (data.train, data.valid, data.test) if s is not None}
    return {
        "name": data.name,
        "shape": list(data.shape),
        "binarise": data.binarise,
        **sizes,
        "test_fingerprint": data.test.fingerprint,
        "rows": checksums(data),
        **described(columns_of(data)),
        **_describe_context(data),
    }


def _describe_context(data: Dataset) -> dict[str, Any]:
    """What data.json holds of a context, where there is one."""
    if data.train.context is None:
        return {}
    return {"context": list(data.context_names or data.train.context.shape[1:])}


def columns_of(data: Dataset) -> Columns:
    """What is known of the columns of a table."""
    return Columns(data.kinds, data.levels, data.column_names, data.left_out)


def _known_columns(path: Path, shape: Sequence[int]) -> Columns:
    """The columns of a table, from data.json."""
    if len(shape) != 1:
        return Columns()
    try:
        return columns_from(read_json(path), shape[0])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_settings(
    folder: str | Path, trust: Sequence[str] = ()
) -> tuple[ArgumentParser, Namespace]:
    """The settings of a run folder and the parser that understands them.

    Classes of the user's own are imported where they are named in `trust`, as a class or as its
    module.

    Raises:
        FileNotFoundError: no such folder, or no config.yaml in it.
        ValueError: a config.yaml that cannot be read, or that names a class that is neither known
            nor trusted.
    """
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        what = "no config.yaml in it" if Path(folder).is_dir() else "no such folder"
        raise FileNotFoundError(
            f"{folder}: {what}, expected the folder of a run made by `pyro-vae train`"
        )

    parser = known_parser(exit_on_error=False)
    plain = read_config(path, trust)
    try:
        with own_classes(trust):
            settings = parser.parse_object(plain) if trust else understood(plain)
    except Exception as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())[:300]}") from error

    known = Path(folder) / "data.json"
    # a config.yaml of a version that did not write the chosen rule into it
    if settings.binarise is None and known.is_file():
        settings.binarise = _known_rule(known)
    return parser, settings


def _known_rule(path: Path) -> Any:
    rule = read_json(path).get("binarise")
    if rule is not None and rule not in get_args(Binarise):
        raise ValueError(
            f"{path}: got binarise {rule!r}, expected one of {', '.join(get_args(Binarise))}"
        )
    return rule


def _known_shape(path: Path) -> list[int]:
    """The shape of a datum, from data.json."""
    shape = read_json(path).get("shape")
    sizes = shape if isinstance(shape, list) and len(shape) <= 8 else [0]
    if not all(type(size) is int and size > 0 for size in sizes) or math.prod(sizes) > MAX_SIZE:
        raise ValueError(
            f"{path}: got the shape {str(shape)[:60]}, expected up to 8 positive integers"
        )
    return sizes


def open_run(
    folder: str | Path,
    data_root: str | None = None,
    device: str = "auto",
    need_data: bool = True,
    trust: Sequence[str] = (),
) -> Parts:
    """Open a run folder: its data, and its model and guide with their trained weights, on the
    device, in eval mode.

    Weights are taken from weights.safetensors, or from the checkpoint of a run that has not ended.
    Without `need_data` the data are not loaded where data.json tells their shape, and no context.
    Nothing in the folder is run; classes other than those of this package, torch and Pyro are built
    only where `trust` names them, or their module.

    Raises:
        FileNotFoundError: no such run.
        ValueError: files that are damaged, do not fit, or are of another run; data that have
            changed since the run was trained; a class that is not
            trusted.
    """
    where, path = resolve_device(device), Path(folder)
    check_trust(trust)
    settings = read_settings(folder, trust)
    known = path / "data.json"
    alone = not need_data and known.is_file() and "context" not in read_json(known)
    shape = _known_shape(known) if alone else None
    with own_classes(trust):
        parts = build(*settings, data_root=data_root, shape=shape, run=path)

    if parts.loaded is not None:
        parts.loaded = parts.loaded.to(where)
        parts.columns = columns_of(parts.loaded)
    else:
        parts.columns = _known_columns(known, parts.shape)
    for module in (parts.model, parts.guide):
        module.to(where).eval()

    state = _trained_weights(path, where)
    parts.weights = digest_of(state)

    x, index = torch.zeros(2, *(shape or ()), device=where), torch.arange(2, device=where)
    # two rows that both programs know; they are drawn alone, since a draw of all rows takes a while
    if parts.loaded is not None:
        split = parts.data.train
        few = split.sample
        few = Split(few.name, few.pixels[:2], few.binarise, few.seed, origin=few.numbers()[:2])
        x, index = few.x, few.numbers()
    params = trainable_parameters(parts.model, parts.guide, x, index)
    set_weights(parts.model, parts.guide, params, state)
    return parts


def check_trust(trust: Sequence[str]) -> None:
    """Names of modules or classes, in a list."""
    listed = isinstance(trust, Sequence) and not isinstance(trust, str)
    if not listed or not all(isinstance(name, str) for name in trust):
        raise ValueError(
            f"trust: got {trust!r}, expected a list of modules or classes such as ['my_models']"
        )


def open_from(options: Namespace, need_data: bool = True, run: str | None = None) -> Parts:
    """Open the run that a command line names, or one of several that it names."""
    folder = options.run if run is None else run
    trust = split_trust(options.trust)
    return open_run(folder, options.data_root, options.device, need_data, trust)


def _trained_weights(folder: Path, device: torch.device) -> dict[str, Any]:
    """The weights of a run."""
    path = folder / WEIGHTS
    if path.is_file():
        state, run = read_weights(path, device)
        check_identity(folder, WEIGHTS, run)
        return state

    if (folder / "weights.pt").is_file():
        raise ValueError(
            f"{folder / 'weights.pt'}: of an earlier version, whose damage cannot be noticed:"
            " where you trust the file,"
            ' convert it by python -c "from pyro_vae.runs.opening import convert;'
            f' convert({str(folder)!r})"'
        )
    return read_checkpoint(folder, device)["weights"]


def convert(folder: str | Path) -> None:
    """Write the weights.pt of an earlier version as weights.safetensors, give the run an identity,
    and delete weights.pt.
    """
    path = Path(folder)
    state = torch.load(path / "weights.pt", map_location="cpu", weights_only=True)
    kept = {name: state[name] for name in ("model", "guide", "params")}
    write_weights(path / WEIGHTS, kept, new_identity(path))
    remove(path / "weights.pt")
