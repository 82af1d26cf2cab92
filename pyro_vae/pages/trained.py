"""What was trained and how it went: from a run's small files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pyro_vae.diagnostics import Units
from pyro_vae.diagnostics.collapse import REMEDIES
from pyro_vae.inference.recipe import ELBOS
from pyro_vae.pages.pictures import picture, picture_of
from pyro_vae.programs.given import inside
from pyro_vae.programs.inputs import caveat_of
from pyro_vae.report.page import Picture, Section, Table
from pyro_vae.report.plots import learning_curve, rate_curve
from pyro_vae.results import counted, with_error
from pyro_vae.runs.card import Card, number
from pyro_vae.runs.opening import Parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = ("epoch", "train_loss", "valid_elbo", "valid_rate", "valid_distortion", "active_units")


def lead(card: Card) -> str:
    """What the run came to, in a sentence."""
    made, planned = card.epochs
    told = f"{card.class_of('model')} with {card.class_of('guide')} as its guide"
    told += f", on {card.data.get('name', '?')}: {card.state}"
    told += f" after {made} of {planned} epochs" if planned else ""
    if card.kept_epoch != made:
        told += f", the parameters of epoch {card.kept_epoch} kept"
    return told + "."


def figures(card: Card) -> Iterator[tuple[str, str]]:
    """The figures that a reader looks for first, nats per datum."""
    scored = number(card.evidence.get("log_px"))
    if math.isfinite(scored):
        error = number(card.evidence.get("log_px_error"))
        yield f"log p(x), {_data(card)}", f"{with_error(scored, error)} nats"

    if math.isfinite(card.kept("valid_elbo")):
        yield "ELBO, validation data", f"{card.kept('valid_elbo'):.2f} nats"
    elif math.isfinite(number(card.evidence.get("elbo"))):
        yield f"ELBO, {_data(card)}", f"{number(card.evidence['elbo']):.2f} nats"

    if math.isfinite(card.kept("valid_rate")):
        distortion = f"{card.kept('valid_distortion'):.2f}"
        shown = f"({distortion})" if distortion.startswith("-") else distortion
        yield "rate + distortion", f"{card.kept('valid_rate'):.2f} + {shown} nats"
    if card.active is not None:
        yield "latent units in use", f"{card.active[0]} of {card.active[1]}"
    if card.history:
        yield "time of training", _minutes(number(card.history[-1].get("seconds")))


def _data(card: Card) -> str:
    count = number(card.evidence.get("num_data"))
    told = f"{count:,.0f} " if math.isfinite(count) else ""
    return f"{told}{card.evidence.get('split', 'test')} data"


def alarm(units: Units | None) -> str:
    """What to look at before anything else: a latent that is not used."""
    if units is None or units.num_active:
        return ""
    total = counted(len(units.names), "units")
    return f"Posterior collapse: none of {total} is in use. {REMEDIES}."


def what(card: Card, parts: Parts) -> Section:
    """The data, the two programs, and how they were trained."""
    return Section("What was trained", tables=[Table((), list(_facts(card, parts)))])


def _facts(card: Card, parts: Parts) -> Iterator[tuple[str, str]]:
    data = parts.data
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())
    shape = " x ".join(map(str, data.shape)) or "single"
    yield "data", f"{data.name}: {sizes}; {shape} values each, rule {data.binarise!r}"

    for name in ("model", "guide"):
        program = getattr(parts, name)
        size = sum(p.numel() for p in program.parameters())
        kind, options = type(inside(program)).__name__, _listed(card.options_of(name))
        yield name, f"{kind}, {size:,} parameters{options}"
    if caveat_of(parts.model):
        yield "caveat", caveat_of(parts.model)

    recipe = parts.recipe
    yield "loss", card.class_of("loss")
    yield "optimizer", card.class_of("optimizer") + _listed(card.options_of("optimizer"), "lr")
    steps = f"{recipe.epochs} epochs in batches of {recipe.batch_size}"
    yield "steps", f"{steps}, KL warm-up over {recipe.warmup_epochs:.3g} epochs"
    yield "beta, seed", f"{recipe.beta:g}, {recipe.seed}"


def _listed(options: Mapping[str, Any], *names: str) -> str:
    """Options in brackets; of these names alone, where they are given."""
    shown = []
    for name, value in options.items():
        if isinstance(value, dict) and "class_path" in value:
            value = str(value["class_path"]).rpartition(".")[2]
        if isinstance(value, int | float | str | list) and (not names or name in names):
            shown.append(f"{name} {value}")
    return f" ({', '.join(shown)})" if shown else ""


def how(card: Card, parts: Parts, units: Units | None) -> Section:
    """Learning curves, and the latent units."""
    pictures: list[Picture] = []
    if card.history:
        numbers = Table.of(
            [{name: number(row.get(name)) for name in _ROWS} for row in _thinned(card.history)],
            whole=f"{card.name}/metrics.csv",
        )
        loss, elbo = card.kept("train_loss"), card.kept("valid_elbo")
        alt = f"train loss and validation ELBO by epoch, in the end {loss:.2f} and {elbo:.2f} nats"
        caption = "The ELBO in nats per datum: higher is better."
        pictures.append(picture(partial(_curve, card, parts), alt, caption, numbers))
        if math.isfinite(card.kept("valid_rate")):
            alt = "rate and distortion of the validation data by epoch"
            caption = "ELBO = -(rate + distortion): what the latent says, and what is left to say."
            pictures.append(picture(lambda ax: rate_curve(card.history, ax), alt, caption))

    if units is not None:
        active, total = units.num_active, len(units.names)
        idle = "" if active == total else ": the others repeat the prior"
        caption = f"{active} of {total} latent units are in use{idle}."
        alt = f"rate of each latent unit in nats, sorted; {active} of {total} active"
        pictures.append(picture_of(units, alt, caption, numbers=Table.of(units.rows())))

    words = () if card.history else ("No metrics were kept of the epochs.",)
    return Section("How it went", words, pictures=pictures)


def settings(card: Card) -> Section:
    """Everything that it takes to repeat the run, folded."""
    repeat = f"pyro-vae train --config {card.folder}/config.yaml"
    tables = []
    for title, facts in (
        ("settings (config.yaml)", card.config),
        ("data (data.json)", card.data),
        ("versions (versions.json)", card.versions),
    ):
        if facts:
            tables.append(Table((), list(_flat(facts)), title))
    words = [f"`{repeat}` repeats the run.", *(f"Not read: {told}" for told in card.problems)]
    return Section("Settings and versions", words, folded=tables)


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as names with dots."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)


def _curve(card: Card, parts: Parts, axes: Axes) -> None:
    made = len(card.history)
    kept = None if card.kept_epoch == made else card.kept_epoch
    is_elbo = type(parts.recipe.loss) in ELBOS and parts.recipe.beta == 1
    learning_curve(card.history, axes, kept=kept, loss_is_elbo=is_elbo)


def _thinned(rows: list[dict[str, str]], most: int = 100) -> list[dict[str, str]]:
    """Rows at even distances, the last one among them."""
    step = max(1, math.ceil(len(rows) / most))
    return [row for place, row in enumerate(rows) if (len(rows) - 1 - place) % step == 0]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
