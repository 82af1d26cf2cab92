"""How many seconds until log p(x) of an image is vouched for: the ladder against annealing alone.

    closed   linear-Gaussian models and guides that are wrong in one way each, log p(x) known:
             repetitions of `Best` on one datum, the share of closed 95% intervals and how many of
             these hold the truth
    flat     two latent units on MNIST, against quadrature: refined Gaussians, and chains from them
    RUN      a kept run: `Best` on its first test images, annealing alone (T = 1,000, from the
             encoder) on the first of these; seconds of both, the steps, the agreement
    RUN_longer   annealing alone on these with four times the temperatures
    budget   `Best` on the first run with a budget of seconds

"Vouched for" is a closed interval at a standard error of at most 0.05 nats. Seconds are those of
the processor over all threads, beside those of the clock, so that a busy machine does not count.

Predicted: an encoder's weights have infinite variance on most images of a model with 40 units, a
full-rank Gaussian of the image's own has not. So nine in ten images end at the second step, 99% are
vouched for in the end, at a tenth of annealing's time, and both agree within errors.

Run:  PYRO_VAE_DATA=... python experiments/ladder.py [--parts closed flat mnist_gated ...]
      [--json FILE]     parts that the file has already are not measured again
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import coverage
import pyro_vae as pv
import study
from pyro_vae.evidence.lengths import short_chains
from pyro_vae.report.plots.marks import MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank

KEPT = ("mnist_gated", "mnist_flow", "mnist_iwae")
GUIDES = ("0.7 as wide", "1.25 as wide", "shifted by 0.5", "mean-field, r = 0.9")
ERROR = 0.05  # nats
BUDGETS = (20.0, 60.0, 180.0)  # seconds
LONGER = 4  # times as many temperatures

T = TypeVar("T")


class Hidden(nn.Module):
    """A model that does not know its log p(x)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model

    def forward(self, x: Tensor, index: Tensor | None = None) -> Any:
        """Run the program."""
        return self.inner(x, index)


def timed(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """What a work finds, and the seconds that it took."""
    clock, processor = time.monotonic(), time.process_time()
    found = work()
    taken = time.monotonic() - clock, time.process_time() - processor
    return found, dict(zip(("seconds", "processor_seconds"), taken, strict=True))


def vouched(found: pv.Estimate) -> Tensor:
    """Whether each datum's interval is closed and its error small."""
    return found.reliable & (found.log_px_error <= ERROR)


def closed(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Coverage of the ladder's closed intervals."""
    rows = []
    for dim in options.dims:
        for name in GUIDES:
            case = coverage.CASES[name](dim)
            x, method = case.x.repeat(options.repetitions, 1), pv.Best(num_temperatures=200)
            found = pv.log_evidence(Hidden(case.model), case.guide, x, method)
            row = {"guide": name, "dim": dim, **coverage.measured(found, case.log_px)}
            rows.append(row | {"steps": [step.summary() for step in found.steps]})
            study.told([row])
    return rows


def flat(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Against quadrature with two latent units."""
    data = pv.load(options.data, valid=0)
    torch.manual_seed(0)
    model = pv.VAE(data.shape, 2, (200, 200), mean=data.mean)
    guide = pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, (200, 200)))
    pv.fit(model, guide, data, epochs=options.epochs, warmup_epochs=0, keep="last", quiet=True)
    model.requires_grad_(False)

    x = data.test.take(options.num_flat).x
    exact = pv.log_evidence(model, None, x, pv.Quadrature())
    settled = exact.reliable
    methods: dict[str, pv.Method[pv.Estimate]] = {
        "importance": pv.Importance(),
        "refined": pv.Refined(),
        "annealed from refined Gaussians": short_chains(options.num_temperatures),
    }

    rows = []
    for name, method in methods.items():
        found = pv.log_evidence(model, guide, x, method)
        lower, upper = found.interval()
        good = settled & found.reliable
        inside = ((lower <= exact.log_px) & (exact.log_px <= upper))[good].double()
        off = ((found.log_px - exact.log_px) / found.log_px_error)[good]
        rows.append(
            {
                "method": name,
                "settled": settled.double().mean().item(),
                "reliable": found.reliable.double().mean().item(),
                "off": (found.log_px - exact.log_px)[good].mean().item(),
                "worst_in_errors": off.abs().max().item(),
                "coverage": inside.mean().item(),
                "num": len(inside),
            }
        )
    study.told(rows)
    return rows


def alone(
    options: argparse.Namespace, name: str, temperatures: int
) -> tuple[pv.Estimate, dict[str, float]]:
    """Annealing alone of a kept run's first test images, and its seconds."""
    parts = pv.open_run(study.HERE / name)
    model, few = parts.model.requires_grad_(False), parts.data.test.take(options.num_annealed)
    method = pv.Annealed(temperatures)
    return timed(lambda: pv.log_evidence(model, parts.guide, few.x, method, index=few.numbers()))


def run(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """The ladder and annealing alone on a kept run."""
    parts = pv.open_run(study.HERE / name)
    model, guide = parts.model.requires_grad_(False), parts.guide
    test = parts.data.test
    many, temperatures = test.take(options.num_data), options.num_temperatures
    best = pv.Best(num_temperatures=temperatures)
    ladder, taken = timed(lambda: pv.log_evidence(model, guide, many.x, best, index=many.numbers()))
    chains, spent = alone(options, name, temperatures)
    number = len(chains.log_px)

    log_px, error = (values[:number] for values in (ladder.log_px, ladder.log_px_error))
    difference = log_px - chains.log_px
    noise = torch.hypot(error, chains.log_px_error)
    ratio = {unit: (taken[unit] / len(many.x)) / (spent[unit] / number) for unit in taken}
    row = {
        "num_data": len(many.x),
        "log_px": ladder.mean,
        "log_px_error": ladder.std_error,
        "interval": ladder.mean_interval(),
        "vouched": vouched(ladder).double().mean().item(),
        "reliable": ladder.reliable.double().mean().item(),
        "largest_error": ladder.log_px_error.max().item(),
        "ladder": taken,
        "num_annealed": number,
        "annealed": spent,
        "annealed_vouched": vouched(chains).double().mean().item(),
        "ratio": ratio,
        "difference": difference.mean().item(),
        "difference_error": (noise.square().sum().sqrt() / len(noise)).item(),
        "worst_in_errors": (difference / noise).abs().max().item(),
        "steps": [step.summary() for step in ladder.steps],
        "verdict": ladder.verdict,
    }
    study.told([{name: value for name, value in row.items() if name != "steps"}])
    return row


def longer(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Annealing alone, with more temperatures: how long, and what it vouches for."""
    temperatures = LONGER * options.num_temperatures
    chains, spent = alone(options, name, temperatures)
    row = {
        "num_temperatures": temperatures,
        "num_annealed": len(chains.log_px),
        "annealed": spent,
        "annealed_vouched": vouched(chains).double().mean().item(),
        "log_px": chains.mean,
    }
    study.told([row])
    return row


def budget(options: argparse.Namespace) -> list[dict[str, Any]]:
    """How well a budget of seconds is kept, and what it buys."""
    parts = pv.open_run(study.HERE / KEPT[0])
    model, guide = parts.model.requires_grad_(False), parts.guide
    test, rows = parts.data.test.take(options.num_data), []
    for seconds in options.budgets:
        method = pv.Best(budget=seconds)
        found, taken = timed(
            partial(pv.log_evidence, model, guide, test.x, method, index=test.numbers())
        )
        good = vouched(found).double().mean().item()
        rows.append({"budget": seconds, **taken, "vouched": good, "log_px": found.mean})
    study.told(rows)
    return rows


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "closed": closed,
    "flat": flat,
    **{name: partial(run, name=name) for name in KEPT},
    **{f"{name}_longer": partial(longer, name=name) for name in KEPT},
    "budget": budget,
}


def chart(results: dict[str, Any], path: Path) -> None:
    """Of each kept run, where its images end, and processor seconds of an image both ways."""
    names = [name for name in KEPT if name in results]
    figure = blank((9.0, 1.2 + 1.1 * len(names)))
    left, right = figure.subplots(1, 2, sharey=True)
    most = results["settings"]["num_temperatures"]
    kinds = {  # by how their names begin
        "importance": (REST, "particles of the guide"),
        "refined": (MAIN, "particles of a refined Gaussian"),
        f"AIS(T={short_chains(most).num_temperatures},": ("tab:cyan", "a short annealing"),
        "AIS": ("tab:purple", "a long one"),
    }

    for place, name in enumerate(names):
        row, start = results[name], 0.0
        for step in row["steps"]:
            shade, label = next(k for name, k in kinds.items() if step["method"].startswith(name))
            part = step["num_vouched"] / row["num_data"]
            left.barh(place, part, left=start, color=shade, label=label)
            start += part
        left.barh(place, 1 - start, left=start, color=SECOND, label="at a larger error, or not")
        sides = [("ladder", row["ladder"], row["num_data"], row["vouched"])]
        counts = row["num_annealed"], row["annealed_vouched"]
        sides += [("annealing alone", row["annealed"], *counts)]
        if more := results.get(f"{name}_longer"):
            counts = more["num_annealed"], more["annealed_vouched"]
            sides += [(f"with {LONGER} times the temperatures", more["annealed"], *counts)]
        for number, (label, spent, count, share) in enumerate(sides):
            each, at = spent["processor_seconds"] / count, place + 0.27 * (1 - number)
            right.barh(at, each, 0.25, color=(MAIN, REST, SECOND)[number], label=label)
            right.text(each, at, f" {each:.2g} s, {share:.1%} vouched for", va="center", fontsize=7)

    left.set_yticks(range(len(names)), names)
    left.set(xlabel="share of the images, by the step that vouches for them", xlim=(0, 1))
    right.set(xlabel="processor seconds of an image", xscale="log")
    low, high = right.get_xlim()
    right.set_xlim(low, 6 * high)
    for axes in (left, right):
        handles, labels = axes.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True))
        axes.legend(
            found.values(), found.keys(), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7
        )
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--data", default="mnist")
    asked.add_argument("--dims", type=int, nargs="+", default=[10, 50])
    asked.add_argument("--repetitions", type=int, default=500)
    asked.add_argument("--epochs", type=int, default=20)
    asked.add_argument("--num-flat", type=int, default=200)
    asked.add_argument("--num-data", type=int, default=1000)
    asked.add_argument("--num-annealed", type=int, default=128)
    asked.add_argument("--num-temperatures", type=int, default=1000)
    asked.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    options = asked.parse_args(arguments)
    results = study.measured(asked, options, PARTS)
    if options.json is not None and any(name in results for name in KEPT):
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
