"""What a model makes and what its latent space looks like: samples, reconstructions, the plane or
the units of the latent, the data in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyro_vae.data import Split
from pyro_vae.latent import embed, interpolate, manifold, nearest, reconstruct, sample, traverse
from pyro_vae.pages.pictures import picture_of
from pyro_vae.programs.calls import first_line
from pyro_vae.report.page import Picture, Section, Table
from pyro_vae.runs.opening import Parts

_SAMPLES = 36
_BESIDE = 10
_UNITS = 10
_ENDS = 5
_STEPS = 7
_SIDE = 15


def makes(parts: Parts, seed: int) -> Section:
    """Draws of the prior, decoded, and the training data nearest to some of them."""
    pictures: list[Picture] = []
    missing: list[str] = []
    for draw in (_samples, _nearest):
        _add(partial(draw, parts, seed), pictures, missing)
    return Section("What it makes: samples", missing, pictures=pictures)


def keeps(parts: Parts, split: Split, seed: int) -> Section:
    """Data beside what the latent keeps of them, and the way from one to another."""
    pictures: list[Picture] = []
    missing: list[str] = []
    for draw in (_reconstructions, _interpolations):
        _add(partial(draw, parts, split, seed), pictures, missing)
    return Section("What it keeps: reconstructions", missing, pictures=pictures)


def latent_space(parts: Parts, split: Split, num_units: int, seed: int) -> Section:
    """The latent's plane where it has two numbers, its units elsewhere; and where the data lie."""
    pictures: list[Picture] = []
    missing: list[str] = []
    plane = partial(_plane, parts) if num_units == 2 else partial(_units, parts, split, seed)
    for draw in (plane, partial(_embedding, parts, split, seed)):
        _add(draw, pictures, missing)
    return Section("The latent space", missing, pictures=pictures)


def _add(draw: Callable[[], Picture], pictures: list[Picture], missing: list[str]) -> None:
    """Add a picture, or why there is none: a program of a user's need not allow each of them."""
    try:
        pictures.append(draw())
    except Exception as error:  # whatever a user's program raises, or a distribution does not know
        missing.append(f"Not shown: {first_line(error)}")


def _samples(parts: Parts, seed: int) -> Picture:
    like = parts.data.train.take(min(_SAMPLES, len(parts.data.train)))
    found = sample(parts.model, like.x, like.numbers(), num_samples=_SAMPLES, seed=seed)
    alt = f"{_SAMPLES} means of x at latents drawn from the prior"
    caption = "Means of p(x | z), each at a latent drawn from the prior."
    return picture_of(found, alt, caption, names=parts.columns.names)


def _nearest(parts: Parts, seed: int) -> Picture:
    train = parts.data.train
    like = train.take(min(_BESIDE, len(train)))
    options: dict[str, Any] = {"num_samples": _BESIDE, "kind": "draw", "seed": seed}
    drawn = sample(parts.model, like.x, like.numbers(), **options)
    found = nearest(drawn.x, train.sample.x)
    alt = f"{_BESIDE} draws from the model, and below each the training datum nearest to it"
    caption = "Draws of x, and the training datum nearest to each: near copies are memories."
    return picture_of(found, alt, caption, numbers=_frame(found, ("index", "distance")))


def _reconstructions(parts: Parts, split: Split, seed: int) -> Picture:
    some = split.take(min(_BESIDE, len(split)))
    found = reconstruct(parts.model, parts.guide, some.x, some.numbers(), seed=seed)
    alt = f"{len(some)} {split.name} data, and below each the mean of x at its latent"
    caption = f"{split.name} data, and the mean of x at their latents: what the latent keeps."
    return picture_of(found, alt, caption, numbers=_frame(found, ("log_likelihood",)))


def _interpolations(parts: Parts, split: Split, seed: int) -> Picture:
    some = split.take(min(_ENDS, len(split)))
    found = interpolate(
        parts.model, parts.guide, some.x, some.numbers(), num_steps=_STEPS, seed=seed
    )
    alt = "means of x on straight ways through the latent space between given data"
    caption = "Straight ways through the latent space, from datum to datum."
    return picture_of(found, alt, caption, names=parts.columns.names)


def _plane(parts: Parts) -> Picture:
    found = manifold(parts.model, parts.data.train.take(1).x, side=_SIDE)
    alt = "means of x on a grid through the plane of the two latent numbers"
    caption = "The plane of the latent through the prior's quantiles, each square as probable."
    return picture_of(found, alt, caption)


def _units(parts: Parts, split: Split, seed: int) -> Picture:
    x, numbers = split.x, split.numbers()
    found = traverse(
        parts.model, parts.guide, x, numbers, num_units=_UNITS, num_steps=_STEPS, seed=seed
    )
    alt = f"means of x while one latent unit at a time is moved, for {len(found.units)} units"
    caption = "One unit at a time is moved, the others stay; the units that say most come first."
    rates = zip(found.units, found.rates.tolist(), strict=True)
    numbers_of = Table.of([{"unit": unit, "rate, nats": rate} for unit, rate in rates])
    return picture_of(found, alt, caption, numbers=numbers_of, names=parts.columns.names)


def _embedding(parts: Parts, split: Split, seed: int) -> Picture:
    x, numbers = split.x, split.numbers()
    names = getattr(split, "label_names", None)
    found = embed(parts.model, parts.guide, x, numbers, split.labels, label_names=names, seed=seed)
    colours = "" if split.labels is None else ", coloured by label"
    alt = f"latent means of {len(x)} {split.name} data in two dimensions{colours}, and the prior"
    caption = (
        f"Where {len(x):,} {split.name} data lie{colours}, and the prior: where the prior is and no"
        " data are, samples are of nothing that was seen."
    )
    return picture_of(found, alt, caption)


def _frame(found: Any, names: tuple[str, ...]) -> Table:
    frame = found.to_dataframe()
    known = [name for name in names if name in frame]
    return Table.of(frame[known].rename_axis("datum").reset_index().to_dict("records"))
