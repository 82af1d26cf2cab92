"""What is known of a run's figures: log p(x) and its interval, the ledger of its guides, their
calibration. Each is shown where it was measured; a page of its own measures log p(x) of a few data
where nobody has, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyro_vae.data import Split
from pyro_vae.diagnostics import Calibration
from pyro_vae.evidence import Importance, ImportanceEstimate, log_evidence
from pyro_vae.files.texts import read_table
from pyro_vae.pages.pictures import picture, picture_of
from pyro_vae.report.intervals import full_verdict, interval_text
from pyro_vae.report.page import Picture, Section, Table
from pyro_vae.report.page.parts import MOST_ROWS
from pyro_vae.report.plots import interval_plot
from pyro_vae.results import share
from pyro_vae.runs.card import Card, number
from pyro_vae.runs.figures import stale
from pyro_vae.runs.kept import unpack
from pyro_vae.runs.opening import Parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SCORES = {"elbo": "ELBO", "rate": "rate", "distortion": "distortion", "log_px": "log p(x)"}
_GAPS = {"approximation_gap": "tab:blue", "amortization_gap": "tab:orange"}
_WHOLE = {"inference_gap": "tab:gray"}  # of a guide without a best of its family


def evidence(card: Card, parts: Parts, split: Split, num_particles: int) -> Section:
    """log p(x): what evidence.json and evidence.csv hold, or else a quick estimate."""
    if math.isfinite(number(card.evidence.get("log_px"))):
        return _kept_evidence(card, parts)

    method = Importance(num_particles)
    found = log_evidence(parts.model, parts.guide, split.x, method, index=split.numbers())
    words = [
        f"Estimated for this page, on the first {len(split):,} {split.name} data"
        f" with {num_particles:,} particles each; `pyro-vae evidence {card.folder}` takes all data"
        " and keeps the figures.",
        f"log p(x) {interval_text(found)}.",
        f"Verdict: {full_verdict(found)}.",
    ]
    return Section("How good: log p(x)", words, pictures=list(_estimated(found)))


def _estimated(found: ImportanceEstimate) -> Iterator[Picture]:
    lower, upper = found.mean_interval()
    alt = (
        f"log p(x) of {len(found.log_px)} data, sorted, with 95% intervals; mean {found.mean:.2f}"
        f" nats, from {lower:.2f} to {upper:.2f}"
    )
    frame = found.to_dataframe()
    names = ["elbo", "rate", "distortion", "log_px", "lower", "upper", "pareto_k", "reliable"]
    rows = frame[names].rename_axis("datum").reset_index().to_dict("records")
    caption = "An interval that is open above is a lower bound and no more."
    yield picture_of(found, alt, caption, numbers=Table.of(rows))

    if not found.pareto_k.isfinite().any():  # weights that are all alike have no tail
        return
    high = share(found.share_above_threshold)
    alt = f"k-hat of the importance weights of each datum; above the threshold for {high} of them"
    caption = "k-hat: how heavy the tail of a datum's importance weights is; above, they mislead."
    yield picture_of(found, alt, caption, view="pareto_k")


def _kept_evidence(card: Card, parts: Parts) -> Section:
    facts = card.evidence
    value, error = number(facts["log_px"]), number(facts.get("log_px_error"))
    count, where = number(facts.get("num_data")), facts.get("split", "test")
    told = f"log p(x) {value:.2f} +- {error:.2f} nats (over {count:,.0f} {where} data)"
    if "method" in facts:
        told += f", by {facts['method']}"
    words = [f"{told}; kept in evidence.json."]

    lower, upper = number(facts.get("log_px_lower")), number(facts.get("log_px_upper"))
    if math.isfinite(lower):
        closed = f"{lower:.3f} to {upper:.3f} (95%)"
        opened = f"at least {lower:.3f} (97.5%, in expectation)"
        words.append(f"On these very data {closed if math.isfinite(upper) else opened}.")
    if "verdict" in facts:
        words.append(f"Verdict: {facts['verdict']}.")
    high = number(facts.get("share_above_threshold"))
    if math.isfinite(high):
        words.append(f"k-hat is above its threshold for {share(high)} of the data.")

    alarm = stale(facts, parts, "evidence.json")
    rows = _rows(card, "evidence.csv")
    pictures = []
    if rows:
        alt = f"log p(x) of {len(rows)} data, sorted, with their 95% intervals; mean {value:.2f}"
        numbers = Table.of(rows[: MOST_ROWS + 1], whole=f"{card.name}/evidence.csv")
        caption = "An interval that is open above is a lower bound and no more."
        pictures.append(picture(lambda ax: interval_plot(rows, ax), alt, caption, numbers))
    scores = [
        (told, f"{number(facts[name]):.3f}", f"{number(facts[f'{name}_error']):.3f}")
        for name, told in _SCORES.items()
        if all(math.isfinite(number(facts.get(key))) for key in (name, f"{name}_error"))
    ]
    table = Table(("nats per datum", "mean", "standard error over the data"), scores)
    return Section("How good: log p(x)", words, alarm, pictures, [table])


def _rows(card: Card, name: str) -> list[dict[str, str]]:
    path = card.folder / name
    try:
        return read_table(path) if path.is_file() else []
    except (ValueError, OSError):  # a card's problems have it where it matters
        return []


def ledger(card: Card) -> Section:
    """What each guide loses, where `pyro-vae compare` has been run."""
    title = "What the guide costs: the ledger"
    if not card.ledgers:
        words = [
            "Not measured: `pyro-vae compare"
            f" {card.folder}` swaps the guide, and splits what each loses"
            " into what its family and what amortization costs."
        ]
        return Section(title, words)

    pictures, tables = [], []
    for split, rows in card.ledgers.items():
        names = ", ".join(row.get("guide", "?") for row in rows)
        alt = f"gaps to log p(x) on the {split} data, in nats, of the guides {names}"
        caption = f"{split} data: nats below log p(x), paired; not told from 0 means no bar."
        drawn = picture(lambda ax, rows=rows: _gap_bars(rows, ax), alt, caption)  # type: ignore[misc]
        pictures.append(drawn)
        tables.append(Table.of([_numbers(row) for row in rows], title=f"{split} data"))
    return Section(title, pictures=pictures, folded=tables)


def _numbers(row: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        found[name] = number(value) if math.isfinite(number(value)) else value
    return found


def _gap_bars(rows: Sequence[Mapping[str, str]], axes: Axes) -> None:
    """A bar for each guide, of the gaps that are told from noise."""
    named: set[str] = set()
    for place, row in enumerate(rows):
        start = 0.0
        for gap, colour in (_GAPS if row.get("q*") else _WHOLE).items():
            size = number(row.get(gap))
            if not math.isfinite(size):
                continue
            label = gap.replace("_", " ")
            once = "_" if label in named else label
            axes.barh(place, size, left=start, color=colour, label=once)
            named.add(label)
            start += size

        total, error = number(row.get("inference_gap")), number(row.get("inference_error"))
        if math.isfinite(total):
            bar = "_" if "all" in named else "inference gap +- standard error"
            axes.errorbar(total, place, xerr=error, color="black", capsize=3, fmt="|", label=bar)
            named.add("all")

    axes.set_yticks(range(len(rows)), [row.get("guide", "?") for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("nats below log p(x), mean over the data")
    if named:
        axes.legend(fontsize="small")


def calibration(card: Card, parts: Parts) -> Section:
    """Verdicts and coverage of each guide, where `pyro-vae diagnose` has been run."""
    title = "Whether the posterior can be believed: calibration"
    found = card.diagnosis.get("guides")
    words: list[str] = []
    if not isinstance(found, dict) or not found:
        words.append(
            f"Not measured: `pyro-vae diagnose {card.folder}` simulates data whose latents are"
            " known, and asks whether the guide's regions hold them as often as they say."
        )
        return Section(title, words)

    pictures: list[Picture] = []
    for name, facts in found.items():
        if isinstance(facts, dict):
            words.append(f"{name}: {facts.get('verdict', 'no verdict')}.")
            pictures += _calibrated(name, unpack(facts.get("calibration")))
    return Section(title, words, stale(card.diagnosis, parts, "diagnosis.json"), pictures)


def _calibrated(name: str, ranks: Calibration | None) -> Iterator[Picture]:
    if ranks is None:
        return
    state = "inside" if ranks.calibrated else f"outside for {', '.join(ranks.flagged[:5])}"
    alt = f"{name}: ECDF of the ranks of the truth less that of uniform ones; {state} the band"
    rows = [{"quantity": key, "p value": p} for key, p in ranks.p_values.items()]
    caption = f"{name}: a line that leaves the band is a quantity the guide gets wrong."
    yield picture_of(ranks, alt, caption, numbers=Table.of(rows))

    levels = [0.5, 0.8, 0.95]
    held, error = ranks.coverage(levels)
    both = zip(levels, held.tolist(), error.tolist(), strict=True)
    rows = [{"level": level, "holds": value, "error": e} for level, value, e in both]
    covers = ", ".join(f"{100 * h:.0f}%" for h in held.tolist())
    alt = f"{name}: share of the truths in the guide's 50, 80 and 95% regions: {covers}"
    caption = f"{name}: on the line a region holds the truth as often as it says, below too rarely."
    yield picture_of(ranks, alt, caption, view="coverage", numbers=Table.of(rows))
