"""Do more particles make a better model, and two stochastic layers a better one than one? Table 1
of Burda et al., and three objectives that split 64 particles (Rainforth et al.), at a small budget.

    LAYERS-OBJECTIVE[-PARTICLES][-seedN], a part for each:
    vae      mean of k draws' ELBO,             k = 1, 5, 50
    iwae     importance-weighted bound of k     k = 5, 50 (that of 1 is vae-1)
    miwae    mean of 8 bounds of 8 particles
    piwae    the same for the guide, and the bound of all 64 for the model
    ciwae    0.05 of the ELBO in the bound of 64

One layer is 784-200-200-50, two are 784-200-200-100-100-100-50, tanh, on MNIST that is binarised
anew at each visit; batches of 20, Adam with eps 1e-4, Glorot's start, output bias from the mean, as
published. There: 3^i epochs at the rate 1e-3 * 10^(-i/7), i = 0..7, which is 3,280; here the first
of them, for each cell. Scored by L_2000 (there L_5000) of 500 test images, the same for all.

Predicted: the published order, since E[L_k] rises with k to log p(x); that of 64 particles' three
PIWAE is the best and MIWAE the worst, since with M groups of K the guide's gradient has a signal to
its noise of order sqrt(M / K), the model's of sqrt(M K); that the ELBO's gap is widest where the
guide follows the tightest bound. It is open whether few epochs show what many do.

The last is also a doubt about the table: a guide with a wide gap leaves L further below log p(x).
So two cells are annealed (50 images), too.

An inequality holds, by L, where the paired difference is above two of its errors: over the images,
and over seeds, whose spread is that of the cells with several (`-seedN`: k up to 5), pooled.

Run:  PYRO_VAE_DATA=... python experiments/iwae_table.py [--parts CELL ...] [--json FILE]
      cells that the file has already are not trained again

References:
    Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. arXiv:1509.00519.
    Rainforth et al. (2018). Tighter variational bounds are not necessarily better.
        arXiv:1802.04537.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

import pyro_vae as pv
import study
from iwae_picture import chart
from pyro_vae.files.texts import write_json
from pyro_vae.objectives import Bound

OBJECTIVES: dict[str, Callable[[], Bound]] = {
    "vae-1": partial(Bound, 1, 1.0),
    "vae-5": partial(Bound, 5, 1.0),
    "iwae-5": partial(Bound, 5),
    "vae-50": partial(Bound, 50, 1.0),
    "iwae-50": partial(Bound, 50),
    "miwae": partial(Bound, 64, groups=8),
    "piwae": partial(Bound, 64, guide_groups=8),
    "ciwae": partial(Bound, 64, mix=0.05),
}
# NLL after 3,280 epochs and active units; of the last three no units are told
PUBLISHED: dict[str, tuple[float, str]] = {
    "1-vae-1": (86.76, "19"),
    "1-vae-5": (86.47, "20"),
    "1-iwae-5": (85.54, "22"),
    "1-vae-50": (86.35, "20"),
    "1-iwae-50": (84.78, "25"),
    "2-vae-1": (85.33, "16+5"),
    "2-vae-5": (85.01, "17+5"),
    "2-iwae-5": (83.89, "21+5"),
    "2-vae-50": (84.78, "17+5"),
    "2-iwae-50": (82.90, "26+7"),
    "1-miwae": (84.97, ""),
    "1-piwae": (84.46, ""),
    "1-ciwae": (84.57, ""),
}
CHEAP, SEEDS = ("vae-1", "vae-5", "iwae-5"), 3
ANNEALED, CHAINS = 50, pv.Annealed(num_temperatures=500, num_chains=8)  # images, and how
# what is better, what is worse, as published: for either layers, for two layers against one, of 64
EITHER = "iwae-5 vae-5, iwae-50 vae-50, vae-5 vae-1, vae-50 vae-5, iwae-5 vae-1, iwae-50 iwae-5"
SPLIT = "piwae ciwae, ciwae miwae, piwae miwae, miwae vae-50, iwae-50 miwae, piwae iwae-50"
ORDER = [[f"{n}-{name}" for name in pair.split()] for pair in EITHER.split(", ") for n in (1, 2)]
ORDER += [[f"1-{name}" for name in pair.split()] for pair in SPLIT.split(", ")]
ORDER += [[f"2-{name}", f"1-{name}"] for name in list(OBJECTIVES)[:5]]


# ---- a cell


def pair(layers: int, data: pv.Dataset, seed: int) -> tuple[Any, Any]:
    """The published nets with Glorot's start."""
    torch.manual_seed(seed)
    model: Any
    guide: Any
    if layers == 1:
        model = pv.VAE(data.shape, 50, decoder=partial(pv.MLPDecoder, activation=nn.Tanh))
        guide = pv.Amortized(pv.MeanField(50), pv.MLP(data.shape, activation=nn.Tanh))
    else:
        model, guide = pv.HierarchicalVAE(data.shape), pv.HierarchicalGuide(data.shape)

    for layer in (*model.modules(), *guide.modules()):
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    model.center(data.mean)
    return model, guide


def rate(epoch: int) -> float:
    """The learning rate's factor: stage i has 3^i epochs, so it begins at epoch (3^i - 1) / 2."""
    stage = int(math.log(2 * epoch + 1, 3) + 1e-9)
    return float(10 ** (-stage / 7))


def trained(
    layers: int, objective: str, seed: int, options: argparse.Namespace
) -> tuple[Any, Any, Tensor, dict[str, Any]]:
    """A pair of this cell, the test images, and what training told."""
    data = pv.load(options.data, valid=0)
    model, guide = pair(layers, data, seed)
    recipe = pv.Recipe(
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=partial(torch.optim.Adam, lr=1e-3, eps=1e-4, fused=True),
        schedule=partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=rate),
        loss=OBJECTIVES[objective](),
        warmup_epochs=0,
        keep="last",
        seed=seed,
    )
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pv.CollapseWarning)  # of early epochs, and told
        run = pv.fit(model, guide, data, recipe, quiet=True)

    facts = {"train_loss": run.history[-1]["train_loss"]}
    facts["train_seconds"] = round(time.process_time() - started, 1)
    return model, guide, data.test.take(options.num_data).x, facts


def cell(layers: int, objective: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train, then score: L of the test images, log p(x) - ELBO, active units."""
    model, guide, x, facts = trained(layers, objective, seed, options)
    est = pv.log_evidence(model, guide, x, pv.Importance(num_particles=options.num_particles))
    units = pv.latent_units(model, guide, x)
    assert units is not None
    row = {
        "nll": -est.mean,
        "nll_error": est.std_error,
        "gap": (est.log_px - est.elbo).mean().item(),
        "k_hat_high": est.share_above_threshold,
        "active": active(units),
    }
    print(row | facts, flush=True)
    return row | facts | {"log_px": texted(est.log_px)}


def annealed(options: argparse.Namespace) -> dict[str, Any]:
    """Two cells by chains from the guide to the posterior, beside L of the same images."""
    rows: dict[str, Any] = {}
    for objective in ("vae-5", "iwae-5"):
        model, guide, x, facts = trained(1, objective, 0, options)
        x = x[:ANNEALED]
        weighed = pv.log_evidence(model, guide, x, pv.Importance(options.num_particles))
        found = pv.log_evidence(model, guide, x, CHAINS)
        row = {"nll": -found.mean, "nll_by_weights": -weighed.mean, "plan": repr(CHAINS)}
        rows[f"1-{objective}"] = row | facts | {"log_px": texted(found.log_px)}
    gain = each(rows["1-iwae-5"]) - each(rows["1-vae-5"])
    return rows | {"gain": gain.mean().item(), "gain_error": gain.std().item() / len(gain) ** 0.5}


def active(units: pv.Units) -> str:
    """Active units of each layer, the one next to the data first, such as "16+5"."""
    found = {"middle": 0, "latent": 0}
    there = {name.split("[")[0] for name in units.names}
    for name, is_active in zip(units.names, units.active.tolist(), strict=True):
        found[name.split("[")[0]] += is_active
    return "+".join(str(number) for layer, number in found.items() if layer in there)


def texted(values: Tensor) -> str:
    """A value for each image, in one line."""
    return " ".join(f"{value:.3f}" for value in values.tolist())


def each(row: dict[str, Any]) -> Tensor:
    """The values of that line, `(N,)`."""
    return torch.tensor([float(value) for value in row["log_px"].split()]).double()


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    name: partial(cell, int(name[0]), name[2:], 0) for name in PUBLISHED
}
PARTS["annealed"] = annealed
for seed, layers, kind in product(range(1, SEEDS), (1, 2), CHEAP):
    PARTS[f"{layers}-{kind}-seed{seed}"] = partial(cell, layers, kind, seed)


# ---- how the order holds


def seeds_of(results: dict[str, Any], name: str) -> dict[int, Tensor]:
    """L of the images `(N,)` by each seed that the cell was trained with."""
    found = {}
    for seed in range(SEEDS):
        row = results.get(f"{name}-seed{seed}" if seed else name)
        if row is not None:
            found[seed] = each(row)
    return found


def spread(results: dict[str, Any]) -> float:
    """Standard deviation over seeds of a cell's NLL, pooled; NaN where no cell has two seeds."""
    variances = []
    for name in PUBLISHED:
        means = [values.mean().item() for values in seeds_of(results, name).values()]
        if len(means) > 1:
            variances.append(statistics.variance(means))
    return statistics.mean(variances) ** 0.5 if variances else math.nan


def compared(results: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each published inequality: its gain there and here, nats per image, and whether it
    holds. A gain is the mean over the seeds that both cells have.
    """
    rows, by_seed = [], spread(results)
    for better, worse in ORDER:
        high, low = seeds_of(results, better), seeds_of(results, worse)
        gains = [high[seed] - low[seed] for seed in high if seed in low]
        if not gains:
            continue

        gain = torch.stack(gains).mean(0)
        over_images = gain.std().item() / len(gain) ** 0.5
        over_seeds = by_seed * (2 / len(gains)) ** 0.5
        row = {
            "better": better,
            "worse": worse,
            "published": PUBLISHED[worse][0] - PUBLISHED[better][0],
            "gain": gain.mean().item(),
            "error": math.hypot(over_images, over_seeds),
            "over_images": over_images,
            "seeds": len(gains),
        }
        rows.append(row | {"verdict": verdict(row["gain"], row["error"])})
    return rows


def verdict(gain: float, error: float) -> str:
    """Of two errors; open, too, where the error is unknown."""
    return "holds" if gain > 2 * error else "reversed" if gain < -2 * error else "open"


def lines(results: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each cell, NLL by the mean over its seeds."""
    rows = []
    for name, (published, units) in PUBLISHED.items():
        if name in results:
            values = seeds_of(results, name).values()
            nll = -statistics.mean(value.mean().item() for value in values)
            kept = ("nll_error", "gap", "active", "k_hat_high", "train_seconds")
            row = {"cell": name, "published": published, "units": units, "nll": nll}
            rows.append(row | {key: results[name][key] for key in kept} | {"seeds": len(values)})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--data", default="mnist")
    asked.add_argument("--epochs", type=int, default=1)
    asked.add_argument("--batch-size", type=int, default=20)
    asked.add_argument("--num-data", type=int, default=500, help="test images")
    asked.add_argument("--num-particles", type=int, default=2000, help="of each, for L")
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    results |= {"spread": spread(results), "cells": lines(results), "order": compared(results)}
    study.told(results["cells"] + results["order"])
    if "annealed" in results:
        rows = results["annealed"]
        print(f"annealed: IWAE-5 over VAE-5 {rows['gain']:.2f} +- {rows['gain_error']:.2f}")
    if options.json is not None:
        write_json(options.json, results)
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
