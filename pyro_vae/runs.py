"""A run folder: what a training left, and how to open it again.

    config.yaml     the resolved settings; `pyro-vae train --config` repeats the run from it
    data.json       shape, sizes and fingerprint of the data, so that sampling needs no data
    versions.json   versions, device
    metrics.csv     a row per epoch
    checkpoint.pt   everything that is needed to go on (absent from a run that is only kept for its weights)
    weights.pt      the parameters alone, written when the training ends

Model, guide, optimizer and schedule are named by their classes in the config, a user's own included. A model's class is
called as `Model(shape, ...)` with the shape of a datum, a guide's as `Guide(shape, latent_dim, ...)`.
"""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace
from torch import nn

from pyro_vae.choices import choose_likelihood, match_rule
from pyro_vae.data import Binarise, Dataset, load
from pyro_vae.data.arrays import Values
from pyro_vae.guides import EncoderGuide
from pyro_vae.inference import Recipe
from pyro_vae.inference.checkpoint import load as load_file
from pyro_vae.inference.checkpoint import write_atomically
from pyro_vae.inference.job import read_checkpoint, set_weights
from pyro_vae.inference.prepare import is_enough, resolve_device
from pyro_vae.models import VAE
from pyro_vae.traces import trainable_parameters
from pyro_vae.usage import OneLineParser

ModelClass = Callable[[Sequence[int]], nn.Module]
GuideClass = Callable[[Sequence[int], int], nn.Module]

_DEFAULTS = {
    "model": {"class_path": "pyro_vae.VAE"},
    "guide": {"class_path": "pyro_vae.EncoderGuide"},
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-3}},
    "loss": {"class_path": "pyro.infer.Trace_ELBO"},
}


@dataclass(frozen=True)
class Settings:
    """What is trained on what; with a `Recipe`, all that config.yaml holds.

    Attributes:
        data: digits, mnist, fashion_mnist, or a path to a .npy, an .npz or a folder of images
        data_root: folder of torchvision's datasets; PYRO_VAE_DATA unless given
        binarise: how pixels become data; by the likelihood unless given, dynamic for Bernoulli, dequantise for Gaussian
        values: what the numbers of a file are, pixels or real; by their look unless given
        valid: number of validation data, 0 for none
        model: class of the model, called as Model(shape, ...)
        guide: class of the guide, called as Guide(shape, latent_dim, ...)
        output_bias: start the decoder at the mean of the train data
    """

    data: str = "digits"
    data_root: str | None = None
    binarise: Binarise | None = None
    values: Values | None = None
    valid: int | None = None
    model: ModelClass = VAE
    guide: GuideClass = EncoderGuide
    output_bias: bool = True


class ShortHelp(DefaultHelpFormatter):
    """Leaves the hundreds of known subclasses of torch's Module out of the help."""

    def _expand_help(self, action: Any) -> str:
        text = super()._expand_help(action)
        return re.sub(r", known subclasses: [^()]{600,}", "", text)


def settings_parser(**options: Any) -> OneLineParser:
    """The parser of everything that defines a run; what it parses is what config.yaml holds."""
    parser = OneLineParser(formatter_class=ShortHelp, **options)
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below")
    parser.add_class_arguments(Settings, None, fail_untyped=False)  # a user's own class may have no annotations
    parser.add_class_arguments(Recipe, None)
    parser.set_defaults(_DEFAULTS)
    return parser


@dataclass
class Parts:
    """What a configuration describes, built."""

    data: Dataset | None  # None where it was not asked for
    model: nn.Module
    guide: nn.Module
    recipe: Recipe


def build(
    parser: ArgumentParser, config: Namespace, data_root: str | None = None, shape: Sequence[int] | None = None
) -> Parts:
    """Load the data and build model, guide and recipe; initial weights are drawn from the recipe's seed.

    What the configuration leaves to the data (likelihood, rule of binarisation, latent size, batch size, warm-up) is written
    into it. With the `shape` of a datum given, the data are not loaded.

    Raises:
        ValueError: a class that cannot be called as a model or guide, or settings out of range.
    """
    data = None if shape is not None else _load(config, data_root)
    if data is not None:
        choose_likelihood(config, data)
    objects = parser.instantiate(config)
    fields = Recipe.__dataclass_fields__
    recipe = Recipe(**{name: getattr(objects, name) for name in fields})
    shape = data.shape if data is not None else tuple(shape or ())
    torch.manual_seed(recipe.seed)
    model = _call("model", objects.model, shape)
    latent_dim = getattr(model, "latent_dim", None)
    if not isinstance(latent_dim, int):
        raise ValueError(f"model: {type(model).__name__} has no integer `latent_dim`, which the guide is built from")
    guide = _call("guide", objects.guide, shape, latent_dim)
    if data is not None:
        data = match_rule(config, data, model)
        recipe = recipe.for_data(len(data.train), is_enough(data))
        for name in ("batch_size", "warmup_epochs", "keep"):
            config[name] = getattr(recipe, name)
    options = config.model.get("init_args", {})
    if "latent_dim" in options:
        options["latent_dim"] = latent_dim
    center = getattr(model, "center", None)
    if config.output_bias and center is not None and data is not None:
        center(data.mean)
    return Parts(data, model, guide, recipe)


def _load(config: Namespace, data_root: str | None) -> Dataset:
    options = {name: config[name] for name in ("binarise", "values", "valid")}
    try:
        return load(config.data, root=data_root or config.data_root, **options)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _call(name: str, factory: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    try:
        return factory(*arguments)
    except ValueError:
        raise
    except Exception as error:  # whatever a user's __init__ raises
        expected = "Model(shape, ...)" if name == "model" else "Guide(shape, latent_dim, ...)"
        raise ValueError(f"{name}: cannot be built as {expected} ({type(error).__name__}: {error})") from error


def write_settings(folder: Path, parser: ArgumentParser, config: Namespace, data: Dataset, device: str) -> None:
    """Write config.yaml, data.json and versions.json into a new run folder."""
    if (folder / "config.yaml").exists():
        raise ValueError(f"folder: {folder} holds a run already: resume it, or choose another folder")
    where = resolve_device(device)
    make_folder("folder", folder)
    kept = config.clone()
    for name in ("config", "folder", "device", "quiet"):
        kept.pop(name, None)
    write_text(folder / "config.yaml", parser.dump(kept))
    write_json(folder / "data.json", describe_data(data))
    packages = ("pyro-vae", "torch", "torchvision", "pyro-ppl", "arviz", "numpy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    versions["device"] = torch.cuda.get_device_name() if where.type == "cuda" else "cpu"
    write_json(folder / "versions.json", versions)


def describe_data(data: Dataset) -> dict[str, Any]:
    """What data.json holds."""
    sizes = {s.name: len(s) for s in (data.train, data.valid, data.test) if s is not None}
    return {
        "name": data.name,
        "shape": list(data.shape),
        "binarise": data.binarise,
        **sizes,
        "test_fingerprint": data.test.fingerprint,
    }


def forget_settings(folder: Path) -> None:
    """Take back what `write_settings` wrote, and the folder if nothing else is in it."""
    for name in ("config.yaml", "data.json", "versions.json"):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def make_folder(name: str, folder: Path) -> None:
    """Make a folder and its parents where they are missing; a ValueError names the option `name` that asked for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{name}: cannot make {folder} ({error.strerror}): choose another folder") from error


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write a JSON file atomically; NaN becomes null and infinity "inf", since JSON has neither."""
    write_text(path, json.dumps(_strict(facts), indent=2, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder; a ValueError where it is torn."""
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error}): delete it and run the command again") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def read_settings(folder: str | Path) -> tuple[ArgumentParser, Namespace]:
    """The settings of a run folder and the parser that understands them.

    Raises:
        FileNotFoundError: no such folder, or no config.yaml in it.
        ValueError: a config.yaml that cannot be read.
    """
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        what = "no config.yaml in it" if Path(folder).is_dir() else "no such folder"
        raise FileNotFoundError(f"{folder}: {what}, expected the folder of a run made by `pyro-vae train`")
    parser = settings_parser(exit_on_error=False)
    try:
        settings = cast(Namespace, parser.parse_path(path))
    except Exception as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())[:300]}") from error
    known = Path(folder) / "data.json"
    if settings.binarise is None and known.is_file():  # of a version that did not write down its choice
        settings.binarise = read_json(known).get("binarise")
    return parser, settings


def open_run(folder: str | Path, data_root: str | None = None, device: str = "auto", need_data: bool = True) -> Parts:
    """Open a run folder: its data, and its model and guide with their trained weights, on the device, in eval mode.

    Weights are taken from weights.pt, or from the checkpoint of a run that has not ended. Without `need_data` the data
    are not loaded where data.json tells their shape.

    Raises:
        FileNotFoundError: no such run.
        ValueError: files that are torn or do not fit.
    """
    where, path = resolve_device(device), Path(folder)
    settings = read_settings(folder)
    known = path / "data.json"
    shape = read_json(known).get("shape") if not need_data and known.is_file() else None
    parts = build(*settings, data_root=data_root, shape=shape)
    if parts.data is not None:
        parts.data = parts.data.to(where)
    for module in (parts.model, parts.guide):
        module.to(where).eval()
    ended = path / "weights.pt"
    state = load_file(ended, where) if ended.is_file() else read_checkpoint(path, where)["weights"]
    x = parts.data.test.x[:2] if parts.data is not None else torch.zeros(2, *(shape or ()), device=where)
    params = trainable_parameters(parts.model, parts.guide, x, torch.arange(len(x), device=where))
    set_weights(parts.model, parts.guide, params, state)
    return parts
