"""What is kept and shown: `results/last.json`, tables on the terminal, tables in markdown.

The file has an entry per section with its own date, machine, versions and settings, so that
sections can be run apart.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rich.table
from rich.console import Console

from benchmarks.settings import Settings

PACKAGES = ("pyro-vae", "torch", "pyro-ppl", "numpy", "jax", "jaxlib", "numpyro", "pythae")
HEAD = ("side", "median", "quartiles", "min to max", "ratio")


def describe(settings: Settings) -> dict[str, Any]:
    """Date, machine, versions and settings of a run."""
    import torch

    cores = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    prefixes = ("OMP_", "MKL_", "KMP_", "XLA_")

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": processor(),
            "cores": cores,
            "torch threads": torch.get_num_threads(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "gpu": torch.cuda.get_device_name() if settings.device == "cuda" else None,
            "variables": {k: v for k, v in os.environ.items() if k.startswith(prefixes)},
        },
        "versions": {name: installed(name) for name in PACKAGES},
        "settings": asdict(settings),
    }


def processor() -> str:
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def installed(name: str) -> str | None:
    """Version of a package, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def keep(path: Path, section: str, entry: dict[str, Any]) -> None:
    """Put a section's entry into the file, beside the other sections that are there."""
    sections = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sections | {section: entry}, indent=1, sort_keys=True) + "\n")


def columns(table: dict[str, Any]) -> list[str]:
    """Heads of the table: the usual ones, and what the sides noted."""
    extra = dict.fromkeys(name for row in table["rows"] for name in row["notes"])
    return [*HEAD, *extra]


def cells(table: dict[str, Any]) -> list[list[str]]:
    """The rows as text; a skipped side has its reason in place of figures."""
    rows = []
    for row in table["rows"]:
        name = f"{row['side']} (baseline)" if row["side"] == table["baseline"] else row["side"]
        spread = f"{row['low']:.4g} to {row['high']:.4g}", f"{row['min']:.4g} to {row['max']:.4g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        extra = [show(row["notes"].get(column)) for column in columns(table)[len(HEAD) :]]
        rows.append([name, f"{row['median']:.4g}", *spread, ratio, *extra])
    return rows


def show(value: float | str | None) -> str:
    """A note as text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def title(table: dict[str, Any]) -> str:
    """What was timed, and the unit."""
    return f"{table['section']}: {table['setting']} ({table['unit']})"


def print_table(table: dict[str, Any], console: Console) -> None:
    """Show a table on the terminal."""
    grid = rich.table.Table(title=title(table), title_justify="left")
    for number, head in enumerate(columns(table)):
        grid.add_column(head, justify="right" if number else "left", no_wrap=not number)
    for row in cells(table):
        grid.add_row(*row)

    console.print(grid)
    for side, why in table["skipped"].items():
        console.print(f"skipped {side}: {why}", highlight=False, markup=False)


def markdown(path: Path) -> str:
    """All tables of a file in markdown."""
    parts = []
    for entry in json.loads(path.read_text()).values():
        machine, versions = entry["machine"], {k: v for k, v in entry["versions"].items() if v}
        for table in entry["tables"]:
            head = columns(table)
            lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells(table))]
            skipped = [f"Skipped {side}: {why}." for side, why in table["skipped"].items()]
            between = [""] if skipped else []
            parts.append("\n".join([f"**{title(table)}**", "", *lines, *between, *skipped]))

        names = ", ".join(f"{name} {number}" for name, number in versions.items())
        where = machine["gpu"]
        if not where:
            cores, threads = machine["cores"], machine["torch threads"]
            where = f"{machine['processor']}, {cores} cores, {threads} threads"
        parts.append(f"{entry['date'][:10]}, {where}; Python {machine['python']}, {names}.")
    return "\n\n".join(parts)
