"""`python -m benchmarks`: time every side of every section in turn, print the tables, keep
results/last.json.

Nothing heavy is imported here: the worker processes of `epochs` import this file again, and JAX
must not meet torch.
"""

from __future__ import annotations

import argparse
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from benchmarks.settings import Settings

SECTIONS = ("steps", "epochs", "evidence", "local", "quality")
PEERS = ("jax", "numpyro", "pythae")
LAST = Path(__file__).parent / "results" / "last.json"
QUICK = Path("runs") / "benchmarks_quick.json"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time pyro_vae and its peers, in turns."
    )
    p.add_argument("--only", default=",".join(SECTIONS), help="sections, such as steps,epochs")
    p.add_argument(
        "--quick", action="store_true", help="a smoke run: tiny sizes, figures without meaning"
    )
    p.add_argument(
        "--rounds", type=int, help="turns that each side gets, in place of the section's own number"
    )
    p.add_argument(
        "--threads", type=int, help="use this many cores, in every process; all unless given"
    )
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of the torch sides")
    p.add_argument("--data", choices=["mnist", "fashion_mnist"], default="mnist")
    p.add_argument("--num-data", type=int, default=1000, help="images of evidence and local")
    p.add_argument("--num-particles", type=int, default=5000, help="of evidence")
    p.add_argument("--baseline", help="side that ratios are taken to, by its name in the tables")
    p.add_argument(
        "--sides",
        help='parts of the names of sides to time, such as "NumPyro|pyro_vae"; all unless given',
    )
    p.add_argument(
        "--json",
        type=Path,
        help=f"file of the figures; {LAST.parent.name}/{LAST.name} unless given",
    )
    p.add_argument(
        "--table", action="store_true", help="print the file's tables in markdown and time nothing"
    )
    return p


def main() -> None:
    """Run the sections that were asked for."""
    p = parser()
    args = p.parse_args()
    sections = args.only.split(",")
    unknown = sorted(set(sections) - set(SECTIONS))
    if unknown:
        p.error(f"--only: got {', '.join(unknown)}, expected some of {', '.join(SECTIONS)}")

    path = args.json or (QUICK if args.quick else LAST)
    if args.table:
        if not path.exists():
            p.error(f"--table: there is no {path} yet")
        print(import_module("benchmarks.report").markdown(path))
        return

    if args.threads:
        limit_threads(args.threads)
    names = ("rounds", "quick", "device", "data", "num_data", "num_particles", "baseline", "sides")
    settings = Settings(**{name: getattr(args, name) for name in names})
    time_all(sections, settings, path)


def limit_threads(number: int) -> None:
    """Let this process and its children use so many cores, which both torch and JAX take as their
    number of threads.
    """
    os.environ["OMP_NUM_THREADS"] = str(number)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-number:])


def time_all(sections: list[str], settings: Settings, path: Path) -> None:
    """Time the sections, show each table when it is there, keep each section when it is done."""
    from rich.console import Console

    import pyro_vae as pv
    from benchmarks import report

    console = Console(width=160)
    for peer in PEERS:
        if find_spec(peer) is None:
            told = f"skipped {peer}: not installed (pip install '.[bench]')"
            console.print(told, highlight=False, markup=False)

    data = pv.load(settings.data, valid=0)
    for section in sections:
        entry = report.describe(settings) | {"tables": []}
        for table in import_module(f"benchmarks.{section}").run(settings, data):
            entry["tables"].append(table.as_dict())
            report.print_table(entry["tables"][-1], console)
        report.keep(path, section, entry)
    console.print(f"figures in {path}", highlight=False)


if __name__ == "__main__":
    main()
