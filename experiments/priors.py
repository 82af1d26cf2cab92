"""Does a learned prior make a better model? N(0, I) against a mixture of Gaussians, a flow and the
VampPrior (Tomczak and Welling, 2018), Table 1, at a small budget.

    standard   p(z) = N(0, I)
    mixture    p(z) = sum_k w_k N(z; m_k, diag s_k^2), all learned
    vamp       p(z) = 1 / K sum_k q(z | u_k), the u_k learned
    flow       p(z) by four coupling transforms with splines

VAE 784-300-300-40, gated layers, MNIST binarised once, batches of 100, Adam; all priors from the
same seed, data and number of epochs, so that a difference is paired over the test images. Scored by
importance sampling.

Published: 88.56 - 85.57 = 2.99 nats gained after up to 2,000 epochs with K = 500; this is the start
of it. The prior enters the ELBO by the last term alone of

    -distortion - I_q(x; z) - KL(q(z) || p(z)),    q(z) = 1 / N sum_n q(z | x_n)

and a VampPrior is the mixture that q(z) is, of K instead of N. Predicted: it gains 1 to 3 nats, and
by a lower rate at a distortion that is no higher; more units are active. The mixture and the flow,
which see draws of q(z) only and not the encoder, gain less at few epochs.

Run:  PYRO_VAE_DATA=... python experiments/priors.py [--parts standard vamp ...] [--json FILE]
      a prior that the file has already is not trained again

References:
    Tomczak, Welling (2018). VAE with a VampPrior. arXiv:1705.07120.
    Hoffman, Johnson (2016). ELBO surgery: yet another way to carve up the variational evidence
        lower bound. NIPS workshop on advances in approximate Bayesian inference.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

import pyro_vae as pv
import study
from pyro_vae.files.texts import write_json
from pyro_vae.report.plots.marks import DISTORTION, MAIN, RATE, REST, SECOND, looks
from pyro_vae.report.plots.view import blank

PRIORS: dict[str, Callable[[int], pv.Prior | None]] = {
    "standard": lambda number: None,
    "mixture": pv.MixturePrior,
    "vamp": pv.VampPrior,
    "flow": lambda number: pv.FlowPrior(),
}
NAMES = {"standard": "N(0, I)", "mixture": "mixture", "vamp": "VampPrior", "flow": "flow"}
# NLL of Table 1: one stochastic layer, static MNIST
PUBLISHED = {"standard": 88.56, "vamp": 85.57}


# ---- a prior


def pair(name: str, options: argparse.Namespace, data: pv.Dataset) -> tuple[pv.VAE, Any]:
    """Model and guide; the nets begin with the same weights whatever the prior."""
    torch.manual_seed(options.seed)
    hidden, units = tuple(options.hidden), options.latent_dim
    prior = PRIORS[name](options.num_components)
    guide = pv.Amortized(pv.MeanField(units), pv.GatedMLP(data.shape, hidden))
    decoder = pv.GatedDecoder
    # the prior is made last, after the decoder
    model = pv.VAE(data.shape, units, hidden, decoder=decoder, mean=data.mean, prior=prior)
    return model, guide


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train, then score."""
    data = pv.load(options.data, binarise="static")
    model, guide = pair(name, options, data)
    recipe = pv.Recipe(
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=partial(torch.optim.Adam, lr=options.learning_rate, fused=True),
        warmup_epochs=options.warmup,
        keep="last",
        seed=options.seed,
    )
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pv.CollapseWarning)  # of early epochs, and told
        run = pv.fit(model, guide, data, recipe, quiet=True)
    trained = time.process_time() - started
    row = scored(model, guide, data.test.take(options.num_data).x, options)
    curve = [round(each["valid_elbo"], 3) for each in run.history]
    row |= {"curve": curve, "train_seconds": round(trained, 1)}
    study.told([{"prior": name} | {key: row[key] for key in row if key not in ("log_px", "curve")}])
    return row


def scored(model: Any, guide: Any, x: Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """log p(x) of test images, rate and distortion, active units."""
    started = time.process_time()
    found = pv.log_evidence(model, guide, x, pv.Importance(options.num_particles, num_scouts=0))
    units = pv.latent_units(model, guide, x)
    assert units is not None
    return {
        "nll": -found.mean,
        "nll_error": found.std_error,
        "elbo": found.elbo.mean().item(),
        "rate": found.rate.mean().item(),
        "distortion": found.distortion.mean().item(),
        "active": units.num_active,
        "k_hat_high": found.share_above_threshold,
        "score_seconds": round(time.process_time() - started, 1),
        "log_px": " ".join(f"{value:.3f}" for value in found.log_px.tolist()),
    }


PARTS = {name: partial(measure, name) for name in PRIORS}


# ---- what came of it


def each(row: Mapping[str, Any]) -> Tensor:
    """log p(x) of the images, `(N,)`."""
    return torch.tensor([float(value) for value in row["log_px"].split()]).double()


def gains(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What each prior gains on N(0, I), nats per image, paired, and the error of that."""
    found: dict[str, dict[str, float]] = {}
    if "standard" not in results:
        return found
    base = each(results["standard"])
    for name in PRIORS:
        if name in results and name != "standard":
            gain = each(results[name]) - base
            error = gain.std().item() / math.sqrt(len(gain))
            found[name] = {"gain": gain.mean().item(), "error": error}
            for part in ("elbo", "rate", "distortion"):
                found[name][part] = results[name][part] - results["standard"][part]
            if name in PUBLISHED:
                found[name]["published"] = PUBLISHED["standard"] - PUBLISHED[name]
    return found


# ---- the picture


def chart(results: Mapping[str, Any], path: Path) -> None:
    """The gain of each prior, what of the ELBO it is, and the way there."""
    figure = blank((11, 3.6))
    left, middle, right = figure.subplots(1, 3)
    _gains(left, results)
    _parts(middle, results)
    for name, colour, style, _ in looks(list(PRIORS)):
        if name in results:
            curve = results[name]["curve"]
            look = {"color": colour, "linestyle": style, "label": NAMES[name]}
            right.plot(range(1, len(curve) + 1), curve, **look)
    right.set_xlabel("epoch")
    right.set_ylabel("validation ELBO, nats per image")
    right.set_title("training", fontsize="medium")
    right.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


def _gains(axes: Axes, results: Mapping[str, Any]) -> None:
    found = gains(results)
    for place, row in enumerate(found.values()):
        axes.errorbar(place, row["gain"], 2 * row["error"], fmt="o", color=MAIN, capsize=3)
        if "published" in row:
            axes.plot(place, row["published"], "x", color=SECOND, label="published, 2,000 epochs")
    axes.axhline(0, color=REST, lw=0.8)
    axes.set_xticks(range(len(found)), [NAMES[name] for name in found])
    axes.set_xlim(-0.5, max(len(found), 1) - 0.5)
    axes.set_ylabel("gain in log p(x) on N(0, I), nats per image")
    axes.set_title("gain, paired, with two errors", fontsize="medium")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize="small")


def _parts(axes: Axes, results: Mapping[str, Any]) -> None:
    found = gains(results)
    for shift, (part, colour) in enumerate((("rate", RATE), ("distortion", DISTORTION))):
        places = [place + 0.36 * (shift - 0.5) for place in range(len(found))]
        heights = [row[part] for row in found.values()]
        axes.bar(places, heights, 0.34, color=colour, label=part)
    axes.axhline(0, color=REST, lw=0.8)
    axes.set_xticks(range(len(found)), [NAMES[name] for name in found])
    axes.set_xlim(-0.6, max(len(found), 1) - 0.4)
    axes.set_ylabel("change from N(0, I), nats per image")
    axes.set_title("the ELBO's parts, less is better", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--data", default="mnist")
    asked.add_argument("--hidden", type=int, nargs="+", default=[300, 300])
    asked.add_argument("--latent-dim", type=int, default=40)
    asked.add_argument("--num-components", type=int, default=200, help="K")
    asked.add_argument("--epochs", type=int, default=6)
    asked.add_argument("--warmup", type=float, default=1, help="epochs")
    asked.add_argument("--batch-size", type=int, default=100)
    asked.add_argument("--learning-rate", type=float, default=1e-3)
    asked.add_argument("--num-data", type=int, default=500, help="test images")
    asked.add_argument("--num-particles", type=int, default=1000, help="of each")
    asked.add_argument("--seed", type=int, default=0)
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    results["gains"] = gains(results)
    study.told({"prior": name} | row for name, row in results["gains"].items())
    if options.json is not None:
        write_json(options.json, results)
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
