"""What makes inference suboptimal, the family, the encoder or the decoder? Cremer, Li and Duvenaud
(2018) by a grid of cells: family of the guide (mean-field, full-rank, spline flow) x size of the
decoder x size of the encoder, each trained on MNIST, then the gap ledger on its frozen decoder.

    log p(x) - L[q]  =  (log p(x) - L[q*])  +  (L[q*] - L[q])      approximation + amortization gap

q the cell's encoder, q* the best member of its family for each image by optimisation (classical
inference), log p(x) by the weights of the best local guide of any family here. Nets as in the code
of the paper: no hidden layer ("small") or 200-200 tanh ("large").

    known    linear-Gaussian, a linear encoder after so many epochs, A = I + W'W / s^2 the precision
             of the posterior: the approximation gap of mean-field is (sum log A_ii - log det A)
             / 2, its amortization gap with d the error of the encoder's means
             d'Ad / 2 + sum_i (A_ii sigma_i^2 - 1 - log(A_ii sigma_i^2)) / 2
    FAMILY_DECODER_ENCODER_SEED    a cell, train and test images

Predicted, by the paper: (1) a larger encoder lowers the amortization gap; (2) a larger decoder
lowers the approximation gap of mean-field, as it learns to have posteriors that fit; (3) a richer
family lowers the approximation gap and part of it comes back as amortization; (4) the amortization
gap is the larger of the two, and (5) larger on test images, where the approximation gap is not.

Run:  PYRO_VAE_DATA=... python experiments/suboptimality.py [--parts known mean-field_small_small_0
      ...] [--epochs E] [--num-data N] [--json FILE]     cells that the file has are not run again

References:
    Cremer, Li, Duvenaud (2018). Inference suboptimality in variational autoencoders.
        arXiv:1801.03558.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import pyro_vae as pv
import study
from pyro_vae.report.plots.marks import MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank
from pyro_vae.report.tables import show
from pyro_vae.swap import FAMILIES, swap_guides

SIZES = {"small": (), "large": (200, 200)}
CELLS = [*product(("mean-field", "full-rank"), SIZES, SIZES, (0, 1))]
CELLS += [("flow", decoder, encoder, 0) for decoder, encoder in product(SIZES, SIZES)]
UNITS = 20
LITTLE = (2, 5, 20)  # epochs of the encoders of `known`
GAPS = ("approximation", "amortization")


def entry_of(ledger: pv.Ledger, guide: str) -> dict[str, Any]:
    """ELBO and gaps of a guide with their errors over the data, and those of the draws."""
    entry = ledger.entries[guide]
    found: dict[str, Any] = {"elbo": entry.evidence.elbo.mean().item()}
    found["rate"] = entry.evidence.rate.mean().item()
    for name, gap in entry.gaps.items():
        if gap is not None:
            found |= {name: gap.mean, f"{name}_error": gap.std_error}
            found[f"{name}_noise"] = gap.monte_carlo_error
    return found


def ledger_of(model: Any, guide: pv.Amortized, x: Tensor, options: Any) -> dict[str, Any]:
    """The encoder and the best local guides of each family up to its own, and full-rank at least;
    whose weights say what log p(x) is, and how far they are to be trusted.
    """
    names = ["amortized", "mean-field", "full-rank"]
    own = next(n for n, made in FAMILIES.items() if made(UNITS).name == guide.family.name)
    names += [own] * (own not in names)
    guides = swap_guides(model, guide, x, names, num_particles=options.draws)
    method = pv.Importance(num_particles=options.num_particles)
    ledger = pv.gap_ledger(model, guides, x, method=method)

    logs = {name: entry.evidence.mean for name, entry in ledger.entries.items()}
    return {
        "log_px": ledger.log_px.mean().item(),
        "log_px_error": ledger.estimate.monte_carlo_error,
        "estimator": ledger.estimator,
        "k_hat_high": ledger.entries[ledger.estimator].evidence.share_above_threshold,
        "verdict": ledger.estimate.verdict,
        "log_px_by": logs,
        "guides": {name: entry_of(ledger, name) for name in ledger.entries},
    }


def trained(
    data: pv.Dataset, family: str, sizes: tuple[str, str], seed: int, options: Any
) -> tuple[pv.VAE, pv.Amortized]:
    """A decoder and an encoder of these sizes, trained together."""
    torch.manual_seed(seed)
    deep, wide = (SIZES[size] for size in sizes)
    decoder = partial(pv.MLPDecoder, activation=nn.Tanh)
    model = pv.VAE(data.shape, UNITS, deep, decoder=decoder, mean=data.mean)
    encoder = pv.MLP(data.shape, wide, activation=nn.Tanh)
    guide = pv.Amortized(FAMILIES[family](UNITS), encoder)

    length = options.epochs
    changes: dict[str, Any] = {"epochs": length, "warmup_epochs": length / 4, "seed": seed}
    changes["schedule"] = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=length)
    pv.fit(model, guide, data, keep="last", quiet=True, **changes)
    return model.requires_grad_(False).eval(), guide.eval()


def cell(
    family: str, decoder: str, encoder: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Train, and the ledgers of train and test images."""
    data = pv.load(options.data, valid=0)
    model, guide = trained(data, family, (decoder, encoder), seed, options)
    found: dict[str, Any] = {"family": family, "decoder": decoder, "encoder": encoder}
    found["seed"] = seed
    for split in ("train", "test"):
        x = getattr(data, split).take(options.num_data).x
        found[split] = ledger_of(model, guide, x, options)
        told = {"cell": f"{family} {decoder} {encoder} {seed}", "on": split}
        told |= {name: found[split]["guides"]["amortized"][name] for name in GAPS}
        study.told([told | {"k-hat high": found[split]["k_hat_high"]}])
    return found


def known(options: argparse.Namespace) -> dict[str, Any]:
    """Both gaps where they have a closed form, for encoders that have been trained little."""
    torch.manual_seed(0)
    model = pv.LinearGaussian(30, UNITS, sigma=0.7).double().eval().requires_grad_(False)
    noise = 0.7 * torch.randn(5000, 30).double()
    x = model.sample(5000) + noise
    precision, few = model.precision(), x[: options.num_data]
    best = torch.linalg.solve(precision, model.loading.T @ (few - model.mean).T / 0.49).T

    rows = []
    for epochs in LITTLE:
        torch.manual_seed(0)
        guide = pv.Amortized(pv.MeanField(UNITS), pv.MLP(30, ())).double()
        changes: dict[str, Any] = {"epochs": epochs, "warmup_epochs": 0, "valid": 0}
        pv.fit(model, guide, x, keep="last", quiet=True, **changes)
        with torch.no_grad():
            q = guide.q(few).base_dist
        off, ratio = q.mean - best, q.variance * precision.diagonal()
        lost = (off @ precision * off).sum(1) / 2 + (ratio - 1 - ratio.log()).sum(1) / 2

        found = ledger_of(model, guide, few, options)
        row = {"epochs": epochs} | found["guides"]["amortized"] | {"log_px": found["log_px"]}
        row["exact_approximation"] = model.mean_field_gap().item()
        row["exact_amortization"] = lost.mean().item()
        row["exact_log_px"] = model.log_px(few).mean().item()
        rows.append(row)
        study.told(rows[-1:])
    return {"rows": rows}


PARTS: study.Parts = {"known": known}
PARTS |= {"_".join(map(str, chosen)): partial(cell, *chosen) for chosen in CELLS}  # type: ignore


def cells(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells that are there, in their order."""
    for chosen in CELLS:
        name = "_".join(map(str, chosen))
        if name in results:
            yield results[name]


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """Both gaps of each cell; and the main effects."""
    made = Table(title="gaps of the trained encoder, nats per image +- errors over the images")
    for name in ("family", "decoder", "encoder", "seed", "on", "log p(x)", "k-hat high", *GAPS):
        made.add_column(name)
    for row in cells(results):
        for split in ("train", "test"):
            found = row[split]
            own = found["guides"]["amortized"]
            gaps = (f"{own[gap]:.3f} +- {own[f'{gap}_error']:.3f}" for gap in GAPS)
            told = f"{found['log_px']:.2f}", f"{found['k_hat_high']:.0%}"
            where = [str(row[name]) for name in ("family", "decoder", "encoder", "seed")]
            made.add_row(*where, split, *told, *gaps)
    yield made

    made = Table(title="changes, paired by the other factors, nats: mean (least to most)")
    for name in ("change", "on", *GAPS):
        made.add_column(name)
    for what, split, *changes in effects(results):
        made.add_row(what, split, *changes)
    yield made


def effects(results: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """What each factor does to each gap, all else (seed included) equal."""
    found = list(cells(results))
    keys = ("family", "decoder", "encoder", "seed")
    wanted = [("decoder", "small", "large"), ("encoder", "small", "large")]
    wanted += [("family", "mean-field", "full-rank"), ("family", "full-rank", "flow")]
    for (factor, old, new), split in product(wanted, ("train", "test")):
        told = []
        for gap in GAPS:
            values = {
                tuple(row[key] for key in keys): row[split]["guides"]["amortized"][gap]
                for row in found
            }
            place = keys.index(factor)
            moves = []
            for at, value in values.items():
                before = (*at[:place], old, *at[place + 1 :])
                if at[place] == new and before in values:
                    moves.append(value - values[before])
            if moves:
                told.append(f"{fmean(moves):+.2f} ({min(moves):+.2f} to {max(moves):+.2f})")
        if told:
            yield f"{factor}: {old} to {new}", split, *told


def chart(results: dict[str, Any], path: Path) -> None:
    """Bars of both gaps, by cell, train and test side by side; seeds are bars of their own."""
    figure = blank((11, 4.2))
    axes = figure.add_subplot()
    at, before, ticks, names = 0.0, "", [], []
    for row in cells(results):
        name = f"{row['family']}\ndecoder {row['decoder']}\nencoder {row['encoder']}"
        at += 1.0 + 0.8 * (name != before) + 0.6 * (name.split()[0] != before.split("\n")[0])
        if name != before:
            ticks.append(at)
            names.append(name)
        before = name
        bars(row, at, axes)

    axes.set_xticks(ticks, names, fontsize="x-small")
    axes.set_xlim(ticks[0] - 1, at + 1)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
    axes.set_ylabel("gap, nats per image")
    for colour, label in ((MAIN, "approximation gap"), (SECOND, "amortization gap")):
        axes.bar(0, 0, color=colour, label=label)
    axes.bar(0, 0, color="white", hatch="///", edgecolor=REST, label="on test images")
    axes.legend(fontsize="small", frameon=False, ncols=3, loc="upper right")
    figure.savefig(path, dpi=150)


def bars(row: dict[str, Any], at: float, axes: Any) -> None:
    """The gaps of a cell, one on the other, with 95% of the error of their sum."""
    for shift, split, hatch in ((-0.22, "train", None), (0.22, "test", "///")):
        own = row[split]["guides"]["amortized"]
        low, high = (own[gap] for gap in GAPS)
        style: Any = {"width": 0.42, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
        axes.bar(at + shift, low, color=MAIN, **style)
        axes.bar(at + shift, high, bottom=low, color=SECOND, **style)
        axes.errorbar(at + shift, low + high, yerr=1.96 * own["inference_error"], color=REST)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--data", default="mnist")
    asked.add_argument("--epochs", type=int, default=6)
    asked.add_argument("--num-data", type=int, default=50, help="of each split")
    asked.add_argument("--num-particles", type=int, default=1000)
    asked.add_argument("--draws", type=int, default=1, help="of a datum in a step to its optimum")
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    for table in tables(results):
        show(table)
    if options.json is not None and list(cells(results)):
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
