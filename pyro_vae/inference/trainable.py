"""Whether programs can be trained on data: found before the first step, and told in one line."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vae.data import Dataset, Split, Stream
from pyro_vae.inference.recipe import ResolvedRecipe
from pyro_vae.programs.checks import check_programs, check_reach, check_shared, shared_sites
from pyro_vae.programs.missing import check_missing
from pyro_vae.programs.parameters import Scaling, scaling, trainable_parameters
from pyro_vae.programs.parts import known_numbers, takes_parts
from pyro_vae.programs.protocols import HasRows, offers
from pyro_vae.programs.traces import Program


def check_valid(guide: Program, data: Dataset, recipe: ResolvedRecipe) -> None:
    """Whether there are validation data where the recipe needs them, and none where the guide
    knows nothing of them.
    """
    if recipe.keep == "best" and data.valid is None:
        name, what = "keep", "the best epoch"
        if recipe.patience is not None:
            name, what = "patience", "early stopping"
        raise ValueError(f"{name}: {what} needs a validation split, but the data has none")
    if data.valid is not None and offers(guide, HasRows):
        raise ValueError(
            f"data: {type(guide).__name__} has parameters for {guide.num_rows} data and knows"
            " nothing of validation data: load the data with valid=0"
        )


def check_trainable(
    model: Program, guide: Program, data: Dataset, recipe: ResolvedRecipe
) -> tuple[Scaling, dict[str, Tensor], bool]:
    """Whether the programs can be trained on the data, how they scale them, the parameters, and
    whether latents are one draw for all data.
    """
    train = data.train.sample
    if not takes_parts(guide, train.x, train.numbers()):
        raise ValueError(
            "guide: it has parameters for just the data that it is run on, by their place, and"
            " minibatches take other places: use fit_local, which runs all data at once, or a table"
            " that is read by `index`, such as Local(family, num_data), in a plate of size len(x)"
        )

    splits = [data.train] if data.valid is None else [data.train, data.valid]
    for split in splits:
        _check_numbers(guide, split)

    some, index = train.x[:8], train.numbers()[:8]
    shared = shared_sites(model, guide, some, index)
    if shared and data.valid is not None:
        raise ValueError(
            f"data: the latents {shared} are one draw for all data, and validation data have no"
            " ELBO each by which an epoch could be chosen: load the data with valid=0"
        )
    if shared:
        check_shared(model, guide, train.x, train.numbers())
    else:
        for split in splits:
            _check_split(model, guide, split.sample)

    check_reach(model, guide, some, index)
    # of all data a plate that subsamples has the same size
    few = slice(max(1, min(len(some), len(train) // 2)))
    scaled = scaling(model, guide, some[few], index[few])
    if shared:
        _check_scale(shared, scaled.plate_size, len(data.train), recipe.batch_size)
    return scaled, trainable_parameters(model, guide, some, index), bool(shared)


def _check_scale(shared: list[str], plate_size: int | None, num_data: int, size: int) -> None:
    """Raise a ValueError where latents of all data would count otherwise than once for the set."""
    if plate_size == num_data or (plate_size is None and size >= num_data):
        return
    told = "the minibatch's own size" if plate_size is None else f"size {plate_size}"
    raise ValueError(
        f"site {shared[0]!r}: one draw for all {num_data} data, whose rate counts once; got a data"
        f" plate of {told}, expected pyro.plate('data', {num_data}, subsample=index, dim=-1), by"
        " which each datum of a minibatch stands for as many as it must"
    )


def _check_numbers(guide: Program, split: Split | Stream) -> None:
    """Whether a guide with rows for certain data has one for each."""
    known, numbers = known_numbers(guide), split.numbers()
    if known is not None and not torch.isin(numbers, known.to(numbers)).all():
        raise ValueError(
            f"guide: {type(guide).__name__} has not a row for each of the {split.name} data, whose"
            f" numbers go from {numbers.min()} to {numbers.max()}: Local(family, num_data,"
            f" data.{split.name}.numbers()) has"
        )


def _check_split(model: Program, guide: Program, split: Split) -> None:
    """Whether the programs run on data of a split, the datum of the largest number among them."""
    try:
        check_missing(model, guide, split.x, split.numbers())
        check_programs(model, guide, split.x, split.numbers())
    except ValueError as error:
        if split.name == "valid" and str(error).startswith("index: "):
            raise ValueError(f"{error}; or no validation data, valid=0") from error
        raise
