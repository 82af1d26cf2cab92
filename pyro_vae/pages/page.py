"""The page of one or several runs: a chapter for each, and before them how they compare."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version

from pyro_vae.data import Split
from pyro_vae.diagnostics import CollapseWarning, Units, latent_units, rank
from pyro_vae.evidence import Importance, log_evidence
from pyro_vae.pages import judged, seen, trained
from pyro_vae.pages.pictures import picture_of
from pyro_vae.progress import Progress, over, shares
from pyro_vae.report.page import Chapter, Page, Section, Table
from pyro_vae.runs.card import Card
from pyro_vae.runs.opening import Parts

_SCORED = 200


@dataclass(frozen=True)
class Opened:
    """A run that is to be shown: what its folder says, its programs, the data to look at."""

    card: Card
    parts: Parts
    split: Split


def page_of(
    runs: Sequence[Opened],
    more: Sequence[Chapter] = (),
    *,
    num_particles: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Page:
    """The page of some runs.

    Args:
        runs: at least one.
        more: chapters after theirs.
        num_particles: for log p(x), where none was kept, and where runs are compared.
        seed: of the draws.
        progress: is told the share of the work that is done.
    """
    of_ranking, of_runs = shares(progress, len(runs) - 1, len(runs))
    before = [_compared(runs, num_particles, of_ranking)] if len(runs) > 1 else []
    chapters = [_chapter(run, num_particles, seed) for run in over(runs, len(runs), of_runs)]
    names = [run.card.name for run in runs]
    title = names[0] if len(runs) == 1 else f"{len(runs)} runs: {', '.join(names)}"
    if len(title) > 80:
        title = f"{len(runs)} runs"

    lead = "" if len(runs) == 1 else "What each learned, and how they compare on the same data."
    made = (
        f"Made by pyro_vae {version('pyro-vae')} with Python {platform.python_version()} on"
        f" {date.today().isoformat()}. Figures are nats per datum unless they say otherwise."
    )
    return Page(f"pyro_vae: {title}", lead, before, [*chapters, *more], made)


def _chapter(run: Opened, num_particles: int, seed: int) -> Chapter:
    card, parts, split = run.card, run.parts, run.split
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)  # the page says it
        units = _units(run)
        sections = [
            seen.makes(parts, seed),
            seen.keeps(parts, split, seed),
            seen.latent_space(parts, split, 0 if units is None else len(units.names), seed),
            trained.how(card, parts, units),
            judged.evidence(card, parts, few(split), num_particles),
            judged.ledger(card),
            judged.calibration(card, parts),
            trained.what(card, parts),
            trained.settings(card),
        ]
    facts = list(trained.figures(card))
    return Chapter(card.name, trained.lead(card), trained.alarm(units), facts, sections)


def _units(run: Opened) -> Units | None:
    if len(run.split) < 2:
        return None
    return latent_units(run.parts.model, run.parts.guide, run.split.x, run.split.numbers())


def few(split: Split) -> Split:
    """The data on which a page scores what nobody has scored."""
    return split.take(min(_SCORED, len(split)))


def _compared(runs: Sequence[Opened], num_particles: int, progress: Progress | None) -> Section:
    """The runs on the same few data, paired; those of other data cannot be compared."""
    title = "Which is best"
    first = few(runs[0].split)
    prints = {run.split.fingerprint for run in runs}
    if len(prints) > 1:
        words = ["These runs have other data or rules: their log p(x) cannot be compared."]
        return Section(title, words, tables=[_listed(runs)])

    method = Importance(num_particles)
    names = [run.card.name for run in runs]
    distinct = names if len(set(names)) == len(names) else [str(run.card.folder) for run in runs]
    found = {}
    for name, run in zip(distinct, over(runs, len(runs), progress), strict=True):
        model, guide, split = run.parts.model, run.parts.guide, few(run.split)
        found[name] = log_evidence(model, guide, split.x, method, index=split.numbers())
    ranking = rank(found)
    words = [
        f"On the first {len(first):,} {first.name} data, {num_particles:,} particles each:"
        f" {ranking.verdict}."
    ]
    alt = f"how far log p(x) of each run is below that of {ranking.leader}, with 95% intervals"
    caption = "Differences are paired, datum by datum, which makes their errors small."
    shown = picture_of(ranking, alt, caption, numbers=Table.of(ranking.rows()))
    return Section(title, words, pictures=[shown], tables=[_listed(runs)])


def _listed(runs: Sequence[Opened]) -> Table:
    rows = []
    for run in runs:
        card = run.card
        row = {"run": card.name, "data": run.parts.data.name}
        row |= {name: card.class_of(name) for name in ("model", "guide")}
        for name, value in trained.figures(card):
            kind, _, data = name.partition(", ")
            row[kind] = f"{value} ({data})" if data else value
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table(names, [[row.get(name, "") for name in names] for row in rows], "the runs")
