"""`pyro-vae info`: what a run is and how it went; it only reads the folder's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pyro_vae.commands.options import run_parser
from pyro_vae.diagnostics.collapse import listed, warn_unused
from pyro_vae.files.texts import printable, read_json, read_table
from pyro_vae.programs.given import inside
from pyro_vae.programs.inputs import caveat_of
from pyro_vae.runs.figures import earlier, stale
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    return run_parser("Print what a run is and how it went.")


def run(options: Namespace) -> None:
    """Print the programs, the data, everything that was measured, and the last epoch."""
    folder = Path(options.run)
    parts = open_from(options, need_data=False)
    for name in ("model", "guide"):
        part = getattr(parts, name)
        number = sum(p.numel() for p in part.parameters())
        print(f"{name}  {type(inside(part)).__name__}, {number:,} parameters")
    if caveat_of(parts.model):
        print(f"caveat  {caveat_of(parts.model)}")

    for name in ("data.json", "versions.json"):
        if (folder / name).is_file():
            _say(name, _listed(read_json(folder / name)))
    for name in ("evidence.json", "diagnosis.json", "ledger/train.json", "ledger/test.json"):
        for path in earlier(folder / name):
            _tell_figures(str(path.relative_to(folder)), read_json(path))
        if (folder / name).is_file():
            facts = read_json(folder / name)
            if alarm := stale(facts, parts, name):
                print(f"stale  {alarm}")
            _tell_figures(name, facts)

    if (folder / "metrics.csv").is_file():
        _tell_metrics(folder / "metrics.csv")
    if (folder / "units.csv").is_file():
        _tell_units(folder / "units.csv")


def _say(name: str, text: str) -> None:
    print(printable(f"{name}  {text}"))


def _listed(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_told(value)}" for name, value in facts.items())


def _told(value: Any) -> str:
    """A fact in a few words; the columns of a table by their kinds and levels."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict) and all(isinstance(kind, str) for kind in value.values()):
        return f"({listed([f'{name} {kind}' for name, kind in value.items()], 12)})"
    if isinstance(value, dict) and all(isinstance(some, list) for some in value.values()):
        told = [f"{name}: {listed(list(map(str, some)), 12)}" for name, some in value.items()]
        return f"({'; '.join(told[:12])}{'; ...' if len(told) > 12 else ''})"
    return str(value)


def _tell_figures(name: str, facts: dict[str, Any]) -> None:
    """Figures in one line, a diagnosis by its verdicts; and what they were measured with."""
    settings = facts.pop("settings", None)
    guides = facts.get("guides")
    if isinstance(guides, dict):
        facts = {}
        for key, found in guides.items():
            if isinstance(found, dict) and "verdict" in found:
                facts[key] = found["verdict"]

    if facts:
        _say(name, _listed(facts))
    if isinstance(settings, dict):
        _say(name, f"measured with {_listed(settings)}")


def _tell_metrics(path: Path) -> None:
    last = read_table(path)[-1]
    try:
        numbers = {name: float(value) for name, value in last.items()}
    except ValueError as error:
        raise ValueError(
            f"{path}: got a row that is not of numbers ({error}): the file is torn"
        ) from error
    _say("last epoch", _listed(numbers))


def _tell_units(path: Path) -> None:
    """The latent units after the last epoch, by their rates, and the alarm where none is active."""
    rows = read_table(path)
    try:
        told = [(float(row["rate"]), row["unit"], row["active"] == "True") for row in rows]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: cannot be read as a table of units ({error}): the file is torn"
        ) from error

    told.sort(reverse=True)
    active = [f"{name} {rate:.2f}" for rate, name, is_active in told if is_active]
    rates = listed(active, 12) or "none"
    _say("units", f"{len(active)} of {len(told)} active, rates in nats: {rates}")
    warn_unused(len(active), len(told))
