"""From a configuration to what it describes: data, model, guide and recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from torch import nn

from pyro_vae.data import Dataset, load
from pyro_vae.data.arrays import Values
from pyro_vae.data.kinds import Columns
from pyro_vae.inference import Recipe
from pyro_vae.inference.prepare import is_enough
from pyro_vae.programs.given import inside, with_context
from pyro_vae.programs.inputs import latent_dim_of
from pyro_vae.programs.protocols import TakesGuide, TakesModel, offers
from pyro_vae.runs.changed import check_unchanged
from pyro_vae.runs.choices import choose_context, choose_likelihood, match_rule
from pyro_vae.runs.usage import explain


@dataclass(repr=False)
class Parts:
    """What a configuration describes, built.

    Attributes:
        loaded: the data; None where they were not asked for.
        model, guide: with their weights, initial or trained.
        recipe: of the training.
        weights: the checksum of the trained weights.
        shape: of a datum.
        columns: what is known of a table's columns.
        values: what the numbers of its file were said to be.
    """

    loaded: Dataset | None
    model: nn.Module
    guide: nn.Module
    recipe: Recipe
    weights: str = ""
    shape: tuple[int, ...] = ()
    columns: Columns = Columns()  # noqa: RUF009 - read only
    values: Values | None = None

    @property
    def data(self) -> Dataset:
        """The data; a ValueError where they were not asked for."""
        if self.loaded is None:
            raise ValueError("data: they were not loaded, open the run with need_data=True")
        return self.loaded

    def __repr__(self) -> str:
        nets = {name: getattr(self, name) for name in ("model", "guide")}
        lines = [f"a run opened: data of {' x '.join(map(str, self.shape))} values"]
        for name, net in nets.items():
            count = sum(each.numel() for each in net.parameters())
            lines.append(f"  {name}   {type(inside(net)).__name__}, {count:,} parameters")
        held = "not loaded" if self.loaded is None else repr(self.loaded).splitlines()[0]
        lines += [f"  data    {held}", f"  epochs  {self.recipe.epochs}"]
        return "\n".join(lines)


def build(
    parser: ArgumentParser,
    config: Namespace,
    data_root: str | None = None,
    shape: Sequence[int] | None = None,
    run: Path | None = None,
    data: Dataset | None = None,
) -> Parts:
    """Load the data and build model, guide and recipe; initial weights are drawn from the recipe's
    seed.

    What the configuration leaves to the data (likelihood, rule of binarisation, latent size, batch
    size, warm-up) is written into it. With the `shape` of a datum given, or the data themselves,
    none are loaded. With the folder of a `run` given, they must be those that it was trained on.

    Raises:
        ValueError: a class that cannot be called as a model or guide, settings out of range, or
            data that have changed since.
    """
    if data is None and shape is None:
        data = load_data(config, data_root)
    if data is not None and run is not None:
        check_unchanged(run, config.data, data)
    if data is not None:
        choose_likelihood(config, data)
        choose_context(config, data)
    objects = _instantiated(parser, config)
    fields = Recipe.__dataclass_fields__
    recipe = Recipe(**{name: getattr(objects, name) for name in fields})
    shape = data.shape if data is not None else tuple(shape or ())

    torch.manual_seed(recipe.seed)
    model = _call("model", objects.model, shape)
    latent_dim = None if _takes_model(objects.guide) else latent_dim_of(model)
    guide = _call("guide", objects.guide, shape, latent_dim)
    if offers(model, TakesGuide):
        model.take_guide(guide)

    if data is not None:
        data = match_rule(config, data, model)
        recipe = recipe.for_data(len(data.train), is_enough(data))
        for name in ("batch_size", "warmup_epochs", "keep"):
            config[name] = getattr(recipe, name)

    options = config.model.get("init_args", {})
    if "latent_dim" in options and latent_dim is not None:
        options["latent_dim"] = latent_dim

    center = getattr(model, "center", None)
    if config.output_bias and center is not None and data is not None:
        center(data.mean)
    if data is not None:
        model, guide = with_context(model, data.context), with_context(guide, data.context)
    if offers(guide, TakesModel):
        index = None if data is None else data.train.numbers()[:2]
        guide.take_model(model, torch.zeros(2, *shape), index)
    return Parts(data, model, guide, recipe, shape=shape, values=config["values"])


def _instantiated(parser: ArgumentParser, config: Namespace) -> Namespace:
    """The classes of a configuration, built; what one of them refuses in its own words."""
    try:
        return parser.instantiate(config)
    except ValueError as error:
        told = " ".join(str(error).split())
        own = re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>", told)
        raise ValueError(own[1] if own else explain(told)) from error


def load_data(config: Namespace, data_root: str | None = None) -> Dataset:
    """The data that a configuration names."""
    names = ("binarise", "values", "kinds", "context", "memory_map", "valid")
    options = {name: config[name] for name in names}
    try:
        return load(config.data, root=data_root or config.data_root, **options)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _takes_model(factory: Callable[..., nn.Module]) -> bool:
    """Whether what a factory makes, a class or one with some of its arguments bound, looks at the
    model for its latents.
    """
    held = (factory, *getattr(factory, "args", ()))
    return any(isinstance(each, type) and offers(each, TakesModel) for each in held)


def _call(name: str, factory: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    try:
        return factory(*arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except Exception as error:  # whatever a user's __init__ raises
        expected = "Model(shape, ...)" if name == "model" else "Guide(shape, latent_dim, ...)"
        raise ValueError(
            f"{name}: cannot be built as {expected} ({type(error).__name__}: {error})"
        ) from error
