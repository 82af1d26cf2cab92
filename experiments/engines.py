"""What does compiling cost, and what does it buy? One recipe by stock SVI and by the compiled
engine, each in a new process.

Prints the seconds of the first step (which captures and compiles) and of the epochs after it, for
stock SVI, for the compiled engine with an empty cache of compiled code, and for a second process
that finds the first one's code on disk; the share of the compilation in the run; and the loss of
the last epoch, which shows that all do the same. Then a model with control flow on the data, which
no graph can hold: it trains by stock SVI, and says why.

Run:  PYRO_VAE_DATA=... python experiments/engines.py [--epochs N] [--data mnist] [--num-train N]
      [--latent-dim 50] [--hidden 200 200] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from rich.console import Console
from rich.table import Table

import pyro_vae as pv
from pyro_vae.programs.naming import unique_name


class Bimodal(torch.nn.Module):
    """A decoder for dark minibatches and one for bright ones: Python chooses by the data."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.nets = torch.nn.ModuleList([pv.MLPDecoder(8, (32,), shape, 1) for _ in range(2)])

    def forward(self, x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        """Run the program."""
        pyro.module(unique_name(self), self)
        net = self.nets[int(x.mean() > 0.3)]
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(8), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=net(z).squeeze(-4)).to_event(3), obs=x)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--num-train", type=int)
    parser.add_argument("--latent-dim", type=int, default=50)
    parser.add_argument("--hidden", type=int, nargs="+", default=[200, 200])
    parser.add_argument("--json", type=Path)
    # a child: one run
    parser.add_argument("--engine", choices=["compiled", "pyro"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.engine:
        print(json.dumps(one_run(options.engine, options)))
        return

    runs = {"stock SVI": "pyro", "compiled": "compiled", "compiled, second process": "compiled"}
    sides = {}
    with tempfile.TemporaryDirectory() as cache:
        for name, engine in runs.items():
            sides[name] = in_a_new_process(engine, options, cache)
    show(sides, options)
    print("fallback:", fallback())
    if options.json:
        results = {"epochs": options.epochs, "torch": torch.__version__, **sides}
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def one_run(engine: Any, options: argparse.Namespace) -> dict[str, float]:
    """Seconds and losses of one training."""
    data = pv.load(options.data, valid=0)
    if options.num_train:
        data = replace(data, train=data.train.take(options.num_train))

    torch.manual_seed(0)
    model = pv.VAE(data.shape, options.latent_dim, options.hidden)
    guide = pv.Amortized(pv.MeanField(options.latent_dim), pv.MLP(data.shape, options.hidden))
    recipe = pv.Recipe(epochs=options.epochs, engine=engine, warmup_epochs=0, keep="last")
    run = pv.fit(model, guide, data, recipe, quiet=True)

    ends = [0.0, *(row["seconds"] for row in run.history)]
    later = sorted(b - a for a, b in pairwise(ends[1:]))
    epoch = later[len(later) // 2]
    return {
        "compiling": max(ends[1] - epoch, 0.0),
        "epoch": epoch,
        "all": ends[-1],
        "train_loss": run.history[-1]["train_loss"],
    }


def in_a_new_process(engine: str, options: argparse.Namespace, cache: str) -> dict[str, float]:
    """`one_run` in a process of its own, its compiled code kept in the folder `cache`."""
    command = [sys.executable, __file__, f"--engine={engine}"]
    command += [f"--epochs={options.epochs}", f"--data={options.data}"]
    command += [f"--latent-dim={options.latent_dim}", "--hidden", *map(str, options.hidden)]
    if options.num_train:
        command.append(f"--num-train={options.num_train}")

    done = subprocess.run(
        command,
        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def show(sides: dict[str, dict[str, float]], options: argparse.Namespace) -> None:
    """Print the table."""
    units = "-".join(map(str, [*options.hidden, options.latent_dim]))
    threads = torch.get_num_threads()
    table = Table(title=f"{options.epochs} epochs, D-{units}, batch 128, {threads} threads")
    table.add_column("engine")
    seconds = ("first epoch's extra s", "s an epoch after it", "s in all")
    for column in (*seconds, "share of compiling", "last loss"):
        table.add_column(column, justify="right")

    for name, run in sides.items():
        share = run["compiling"] / run["all"]
        figures = (f"{run[k]:.2f}" for k in ("compiling", "epoch", "all"))
        table.add_row(name, *figures, f"{share:.0%}", f"{run['train_loss']:.2f}")
    Console(width=120).print(table)


def fallback() -> str:
    """Train a program that cannot be compiled and return the warning."""
    data = pv.load("digits")
    guide = pv.Amortized(pv.MeanField(8), pv.MLP(data.shape, (32,)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        svi = pv.CompiledSVI(Bimodal(data.shape), guide, torch.optim.Adam, pyro.infer.Trace_ELBO())
        for rows in torch.arange(640).split(64):
            svi.step(data.train.x[rows])
    return "; ".join(str(w.message) for w in caught)


if __name__ == "__main__":
    main()
