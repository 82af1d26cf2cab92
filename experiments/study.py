"""What each study does around its question: its parts are measured one by one, each is kept as soon
as it is there, and what is kept is not measured again.

    PARTS = {"closed": closed, "mnist": mnist}         # each a function of the options

    asked = study.parser(__file__, __doc__, PARTS)     # --parts and --json
    asked.add_argument("--num-data", type=int, default=1000)
    options = asked.parse_args(arguments)
    results = study.measured(asked, options, PARTS)    # and written to --json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pyro_vae.files.texts import write_json

HERE = Path(__file__).resolve().parent
Parts = Mapping[str, Callable[[argparse.Namespace], Any]]


def parser(file: str, doc: str | None, parts: Iterable[str]) -> argparse.ArgumentParser:
    """The command line of a study: its docstring, which parts, and where results go."""
    made = argparse.ArgumentParser(
        prog=f"python experiments/{Path(file).stem}.py",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = list(parts)
    made.add_argument("--parts", nargs="+", choices=names, default=names, help="what to measure")
    made.add_argument("--json", type=Path, help="results; what it has is not measured again")
    return made


def measured(
    parser: argparse.ArgumentParser, options: argparse.Namespace, parts: Parts, **facts: Any
) -> dict[str, Any]:
    """The parts that are asked for and those that the file has, with what is needed to have them
    again: command, settings, seed, versions, threads, seconds of each part. A file of other
    settings is refused.
    """
    settings = {k: plain(v) for k, v in vars(options).items() if k not in ("parts", "json")}
    results: dict[str, Any] = {"command": parser.prog, "settings": settings, "seed": 0}
    results |= {"device": "cpu", "threads": torch.get_num_threads()}
    results |= {name: version(name) for name in ("torch", "pyro-ppl")} | facts
    results["seconds"] = {}

    if options.json is not None and options.json.is_file():
        known = json.loads(options.json.read_text())
        if known.get("settings") != settings:
            was = known.get("settings", "unknown settings")
            parser.error(f"{options.json} has results of {was}, expected {settings}: name another")
        results |= {name: known[name] for name in parts if name in known}
        results["seconds"] = known["seconds"]

    for name, measure in parts.items():
        if name in results or name not in options.parts:
            continue
        started = time.monotonic()
        results[name] = measure(options)
        results["seconds"][name] = round(time.monotonic() - started, 1)
        if options.json is not None:
            write_json(options.json, results)
    return results


def plain(value: Any) -> Any:
    """A setting as JSON holds it; a kept run by its name, on whatever machine it is."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, str | Path) and Path(value).is_relative_to(HERE):
        return str(Path(value).relative_to(HERE))
    return str(value) if isinstance(value, Path) else value


def told(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows, one a line."""
    for row in rows:
        values = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in row.items()}
        print(", ".join(f"{name} {value}" for name, value in values.items()), flush=True)
