"""Classical against amortized inference: what does a datum cost, and from how many data on does
training a network pay?

On the frozen decoder of a trained run, one family (mean-field), the same test images:

    amortized   an encoder trained from nothing on the training images; then a forward pass per
                datum
    classical   parameters for each datum from N(0, I), so many steps of Adam or until each datum
                has converged

    quality     ELBO of the test images against seconds, on both ways; and the break-even, the
                number of data from which on training the encoder is the cheaper: than classical
                inference to convergence, and than just so many steps of it as reach what the
                encoder reaches
    one-by-one  classical inference of 1,000 data side by side, and of 20 of them each in a program
                of its own
    cost        seconds of classical inference for 100 to 10,000 data, and from there on in
                proportion
    few data    the encoder trained on 100 to 60,000 images, equal numbers of steps: what it is
                worth on train and on test
    field       the same question where the optimum is known: a linear-Gaussian model with 10 units,
                1,000 data, by coordinate ascent, by gradients for each datum, and by a linear
                encoder

Run:  PYRO_VAE_DATA=... python experiments/amortization.py [RUN] [--parts quality ...] [--epochs E]
      [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

import pyro_vae as pv
from pyro_vae.report.tables import show
from pyro_vae.runs.opening import open_run

PARTS = ("field", "quality", "one-by-one", "cost", "few-data")
SIZES = (100, 1000, 10_000, 60_000)
MEASURED = 10_000  # classical inference of more data than these is extrapolated
STEPS = (10, 30, 100, 300, 1000)
T = TypeVar("T")


def timed(what: Callable[[], T]) -> tuple[T, float]:
    """What a function returns, and the seconds it took."""
    started = time.monotonic()
    return what(), time.monotonic() - started


def elbo(model: Any, guide: Any, x: Tensor) -> float:
    """Mean ELBO of the data, nats, by 200 draws each."""
    return pv.log_evidence(model, guide, x, pv.Importance(num_particles=200)).elbo.mean().item()


def encoder(model: Any, shape: Any) -> pv.Amortized:
    """A new encoder of the kept run's size."""
    torch.manual_seed(0)
    return pv.Amortized(pv.MeanField(model.latent_dim), pv.GatedMLP(shape, (300, 300)))


def train(model: Any, guide: pv.Amortized, data: Any, epochs: int) -> None:
    """Train the guide alone: Adam 1e-3 falling to 0 by a cosine."""
    schedule = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs)
    recipe = pv.Recipe(epochs=epochs, schedule=schedule, warmup_epochs=0, keep="last")
    pv.fit(model, guide, data, recipe, quiet=True)


def amortized_route(
    model: Any, data: pv.Dataset, x: Tensor, budgets: list[int]
) -> list[dict[str, float]]:
    """An encoder for each number of epochs; seconds of training and ELBO. Compiling counts."""
    rows = []
    for epochs in budgets:
        guide = encoder(model, data.shape)
        _, seconds = timed(partial(train, model, guide, data, epochs))
        guide.eval()
        with torch.no_grad():
            forward = min(timed(partial(guide, x))[1] for _ in range(5)) / len(x)

        row = {"epochs": epochs, "seconds": seconds, "elbo": elbo(model, guide, x)}
        rows.append(row | {"forward": forward})
        print("amortized", rows[-1], flush=True)
    return rows


def classical_route(model: Any, x: Tensor) -> list[dict[str, float]]:
    """For each number of steps, and for convergence (0), the same data from a cold start."""
    rows = []
    for steps in (*STEPS, 0):
        guide = pv.Local(pv.MeanField(model.latent_dim), len(x))
        found, seconds = timed(partial(pv.fit_local, model, guide, x, num_steps=steps or None))
        taken = found.num_steps.double().mean().item()
        row = {"steps": taken, "converged": not steps, "seconds": seconds}
        rows.append(row | {"elbo": elbo(model, guide, x)})
        print("classical", rows[-1], flush=True)
    return rows


def classical_cost(model: Any, x: Tensor) -> dict[int, float]:
    """Seconds to convergence for the first N of the data; in proportion beyond `MEASURED`."""
    found: dict[int, float] = {}
    for size in SIZES:
        if size <= MEASURED:
            guide = pv.Local(pv.MeanField(model.latent_dim), size)
            _, found[size] = timed(partial(pv.fit_local, model, guide, x[:size]))
        else:
            found[size] = found[MEASURED] * size / MEASURED
        print("classical cost", size, round(found[size], 1), flush=True)
    return found


def one_at_a_time(model: Any, x: Tensor, num_single: int = 20) -> dict[str, float]:
    """Data side by side to convergence, and the first of them each in a program of its own."""
    guide = pv.Local(pv.MeanField(model.latent_dim), len(x))
    optimum, together = timed(partial(pv.fit_local, model, guide, x))
    steps = optimum.num_steps.double()

    seconds, elbos = 0.0, []
    for row in x[:num_single].split(1):
        single = pv.Local(pv.MeanField(model.latent_dim), 1)
        seconds += timed(partial(pv.fit_local, model, single, row))[1]
        elbos.append(elbo(model, single, row))

    each, alone = together / len(x), seconds / num_single
    found = pv.log_evidence(model, guide, x, pv.Importance(num_particles=200))
    return {
        "num_data": len(x),
        "latent_dim": model.latent_dim,
        "seconds": together,
        "steps": steps.mean().item(),
        "most_steps": steps.max().item(),
        "converged": optimum.summary()["share_converged"],
        "seconds_per_datum": each,
        "seconds_per_datum_alone": alone,
        "ratio": alone / each,
        "elbo_of_the_first": found.elbo[:num_single].mean().item(),
        "elbo_of_the_first_alone": sum(elbos) / num_single,
    }


def break_even(
    amortized: list[dict[str, float]], classical: list[dict[str, float]], num_data: int
) -> dict[str, Any]:
    """Data from which on training and a forward pass each are cheaper than classical inference."""
    best = amortized[-1]
    good = [row for row in classical if row["elbo"] >= best["elbo"]]
    enough = good[0] if good else classical[-1]
    found: dict[str, Any] = {}
    for what, row in (("to convergence", classical[-1]), ("as good as the encoder", enough)):
        cost = row["seconds"] / num_data
        pays = best["seconds"] / (cost - best["forward"])
        found[what] = {"seconds_per_datum": cost, "break_even": pays}
    return found | {"steps_as_good": enough["steps"]}


def few_data(model: Any, data: pv.Dataset, x: Tensor, epochs: int) -> list[dict[str, float]]:
    """Encoders trained on few of the images, in as many steps as all take, and their worth."""
    rows = []
    for size in SIZES:
        part = data.train.take(size)
        guide = encoder(model, data.shape)
        few = pv.Dataset(data.name, part, None, data.test)
        train(model, guide, few, max(1, round(epochs * len(data.train) / size)))

        seen = part.take(min(len(x), size)).x
        row = {"train_data": size, "train_elbo": elbo(model, guide, seen)}
        rows.append(row | {"test_elbo": elbo(model, guide, x)})
        print("few data", rows[-1], flush=True)
    return rows


def field() -> list[dict[str, Any]]:
    """Mean-field inference where the optimum is known, by three optimisers."""
    torch.manual_seed(0)
    model = pv.LinearGaussian(50, 10, sigma=0.5).double()

    def draw(size: int) -> Tensor:
        return model.sample(size).double() + 0.5 * torch.randn(size, 50).double()

    train_x, x = draw(20_000), draw(1000)
    best = (model.log_px(x) - model.mean_field_gap()).mean().item()
    rows: list[dict[str, Any]] = []

    def note(route: str, optimiser: str, training: float, seconds: float, reached: float) -> None:
        row = {"route": route, "optimiser": optimiser, "training": training}
        rows.append(row | {"per_datum": seconds / len(x), "short": best - reached})

    ascent, seconds = timed(partial(pv.coordinate_ascent, model, x))
    note("classical", "coordinate ascent", 0.0, seconds, ascent.elbos[-1].mean().item())

    local = pv.Local(pv.MeanField(10), len(x)).double()
    _, seconds = timed(partial(pv.fit_local, model, local, x))
    note("classical", "stochastic gradients", 0.0, seconds, elbo(model, local, x))

    linear = pv.Amortized(pv.MeanField(10), pv.MLP(50, ()))
    single = pv.LinearGaussian(50, 10, sigma=0.5).requires_grad_(False)
    recipe = pv.Recipe(
        epochs=20,
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        schedule=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=20),
    )
    _, seconds = timed(partial(pv.fit, single, linear, train_x.float(), recipe, quiet=True))
    _, forward = timed(lambda: linear(x.float(), torch.arange(len(x))))
    note("amortized", "stochastic gradients", seconds, forward, elbo(single, linear, x.float()))
    return rows


def chart(results: dict[str, Any], path: Path) -> None:
    """ELBO against seconds, for the data measured: training an encoder, steps for each datum."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*_line(results["amortized"]), "o-", label="amortized: training an encoder")
    label = f"classical: {results['num_test']:,} images at once"
    axes.plot(*_line(results["classical"]), "s-", label=label)

    axes.set(xscale="log", xlabel="seconds", ylabel="ELBO of the test images, nats")
    axes.set_ylim(-125, None)
    axes.legend()

    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=150)


def _line(rows: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    return [row["seconds"] for row in rows], [row["elbo"] for row in rows]


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows with the same columns."""
    found = Table(title=title)
    for name in rows[0]:
        found.add_column(name, justify="right")
    for row in rows:
        values = row.values()
        found.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values))
    show(found)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", default=str(Path(__file__).parent / "mnist_gated"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--num-test", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    parts = open_run(options.run)
    model, data = parts.model.requires_grad_(False), parts.data
    x = data.test.take(options.num_test).x
    results: dict[str, Any] = {"run": Path(options.run).name, "threads": torch.get_num_threads()}
    results |= {"num_test": len(x), "torch": torch.__version__}
    if "field" in options.parts:
        results["field"] = field()
        table("linear-Gaussian, 10 units, 1,000 data: nats short of the optimum", results["field"])
    if "quality" in options.parts:
        budgets = sorted({max(1, options.epochs // part) for part in (30, 10, 3, 1)})
        results["amortized"] = amortized_route(model, data, x, budgets)
        results["classical"] = classical_route(model, x)
        results["break_even"] = break_even(results["amortized"], results["classical"], len(x))
        table(f"an encoder from nothing, scored on {len(x)} test images", results["amortized"])
        table(f"{len(x)} test images, each by itself", results["classical"])
        print(json.dumps(results["break_even"], indent=2))
    if "one-by-one" in options.parts:
        results["one_by_one"] = one_at_a_time(model, x)
        print(json.dumps(results["one_by_one"], indent=2))
    if "cost" in options.parts:
        results["classical_cost"] = classical_cost(model, data.test.x)
    if "few-data" in options.parts:
        results["few_data"] = few_data(model, data, x, options.epochs)
        table("encoders trained on few images", results["few_data"])
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
        if "quality" in options.parts:
            chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
