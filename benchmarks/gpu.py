"""`python -m benchmarks.gpu`: all that a GPU is to show, in one call of less than ten minutes.

    python -m benchmarks.gpu --json $OUT/gpu.json      # on a machine with CUDA
    python -m benchmarks.gpu --device cpu --quick      # the same code on a CPU: no meaning

Each section runs in a process of its own with a share of the time: what one breaks or wastes is not
the next one's. A figure is in the file as soon as it is found; a section that fails, or is not done
in time, leaves its reason and what it had found. What a section leaves of its share goes to those
after it. The training set is MNIST where PYRO_VAE_DATA has it, else synthetic pictures of its
shape.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.report import PACKAGES, installed, processor

# section: module, seconds
SECTIONS: dict[str, tuple[str, float]] = {
    "step": ("steps", 150.0),
    "evidence": ("estimates", 70.0),
    "annealing": ("estimates", 80.0),
    "precision": ("estimates", 50.0),
    "resume": ("checks", 60.0),
    "memory": ("checks", 30.0),
    "tests": ("checks", 100.0),
}
RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="What a GPU shows.")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    p.add_argument("--quick", action="store_true", help="tiny sizes: figures without meaning")
    p.add_argument("--only", default=",".join(SECTIONS), help="sections, such as step,evidence")
    p.add_argument("--seconds", type=float, default=560.0, help="of all sections together")
    p.add_argument("--json", type=Path, help="results/gpu_<card>.json unless given")
    p.add_argument("--section", help=argparse.SUPPRESS)  # a process of its own
    return p


def main(words: list[str] | None = None) -> int:
    """Run the sections; 1 where one of them failed."""
    p = parser()
    args = p.parse_args(words)
    chosen = args.only.split(",")
    unknown = sorted(set(chosen) - set(SECTIONS))
    if unknown:
        p.error(f"--only: got {', '.join(unknown)}, expected some of {', '.join(SECTIONS)}")
    if args.section:
        run(args.section, args.device, args.quick, args.seconds, Kept(args.json))
        return 0

    found = card(args.device)
    path = args.json or RESULTS / f"gpu_{slug(found['card'])}.json"
    path.unlink(missing_ok=True)
    kept = Kept(path)
    kept.write("machine", found)
    all_of(chosen, args, kept)
    print(table(kept.read()))
    print(f"figures in {path}")
    return int(any(entry["status"] == "failed" for entry in kept.read()["sections"].values()))


class Kept:
    """The file of the figures, whole at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """All of it."""
        if not self.path.exists():
            return {"sections": {}}
        return json.loads(self.path.read_text())

    def write(self, name: str, value: Any) -> None:
        """One part of it."""
        self._put(self.read() | {name: value})

    def section(self, name: str, **changes: Any) -> None:
        """What is known of a section."""
        kept = self.read()
        entry = kept["sections"].setdefault(name, {"status": "begun", "figures": []})
        entry.update(changes)
        self._put(kept)

    def add(self, name: str, figure: dict[str, Any]) -> None:
        """A figure of a section."""
        figures = self.read()["sections"][name]["figures"]
        self.section(name, figures=[*figures, figure])

    def _put(self, kept: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(kept, indent=1) + "\n")
        part.replace(self.path)


def all_of(chosen: list[str], args: argparse.Namespace, kept: Kept) -> None:
    """One section after another, each with its share of what is left."""
    end = time.monotonic() + args.seconds
    for number, name in enumerate(chosen):
        later = sum(SECTIONS[other][1] for other in chosen[number:])
        left = end - time.monotonic()
        # its own share, and its part of what others have left over
        share = max(10.0, left * SECTIONS[name][1] / later)
        print(f"{name}: {share:.0f} s at most", file=sys.stderr, flush=True)
        if args.device == "cpu":
            run(name, args.device, args.quick, share, kept)
        else:
            apart(name, args, share, kept)


def apart(name: str, args: argparse.Namespace, share: float, kept: Kept) -> None:
    """A section in a process of its own, ended when its share is used up."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--section", name, "--json", str(kept.path)]
    command += ["--device", args.device, "--seconds", str(share)] + ["--quick"] * args.quick
    kept.section(name)
    ended(command, share, lambda reason: kept.section(name, **reason))
    if kept.read()["sections"][name]["status"] == "begun":
        kept.section(name, status="failed", reason="its process ended without a word")


def ended(command: list[str], share: float, tell: Callable[[dict[str, str]], object]) -> None:
    """Run a command for so many seconds at most; tell why where it did not end well."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(timeout=share)
        if code:
            tell({"status": "failed", "reason": f"its process ended with {code}"})
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and what it started, compilers say
        process.wait()
        tell({"status": "out of time", "reason": f"not done within {share:.0f} s"})


def run(name: str, device: str, quick: bool, seconds: float, kept: Kept) -> None:
    """A section in this process; its reason where it fails or is skipped."""
    from benchmarks.on_gpu.setting import Figure, Setting
    from benchmarks.timing import Skipped

    started = time.monotonic()
    kept.section(name, status="begun", figures=[])
    section: Callable[[Setting], Iterator[Figure]] = getattr(
        import_module(f"benchmarks.on_gpu.{SECTIONS[name][0]}"), name
    )
    try:
        for figure in section(Setting(device, quick, seconds)):
            kept.add(name, asdict(figure))
        outcome = {"status": "done"}
    except Skipped as error:
        outcome = {"status": "skipped", "reason": str(error)}
    except Exception as error:  # whatever a GPU brings: the next section runs all the same
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        outcome = {
            "status": "failed",
            "reason": reason,
            "traceback": traceback.format_exc()[-4000:],
        }
    kept.section(name, **outcome, seconds=round(time.monotonic() - started, 1))


def card(device: str) -> dict[str, Any]:
    """The card, its driver and the versions; the processor's name on a CPU."""
    import torch

    found: dict[str, Any] = {
        "card": processor(),
        "processor": processor(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: installed(name) for name in PACKAGES},
        "torch": torch.__version__,
    }
    if device == "cpu":
        return found

    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu: torch sees no CUDA device: --device cpu --quick tries it")
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        driver = f"unknown: {error}"
    return found | {
        "card": properties.name,
        "memory GiB": round(properties.total_memory / 2**30, 1),
        "processors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "driver and power limit": driver,
        "CUDA": torch.version.cuda,
    }


def slug(name: str) -> str:
    """A name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unknown"


def table(kept: dict[str, Any]) -> str:
    """All figures as a table in markdown."""
    machine = kept["machine"]
    lines = [f"{machine['card']}, torch {machine['torch']}, {machine['date']}", ""]
    lines += ["| section | what | value | unit | note |", "| --- | --- | --- | --- | --- |"]
    for name, entry in kept["sections"].items():
        told = f"{entry['status']} {entry.get('reason', '')}".strip()
        lines.append(f"| {name} | *{told}* | {entry.get('seconds', '')} | s | |")
        for figure in entry["figures"]:
            value = figure["value"]
            shown = value if isinstance(value, str) else f"{value:.4g}"
            lines.append(f"| | {figure['what']} | {shown} | {figure['unit']} | {figure['note']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
