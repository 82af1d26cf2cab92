"""What is it worth to tell a VAE the label? The same nets trained with the digit as context and
without it, and what the conditional one knows of x when nobody tells it.

    E[log p(x | y)] - E[log p(x)] = I(x; y) = H(y) - H(y | x)

for the true distribution, in which a digit nearly always shows which one it is: so the context is
worth log 10 = 2.30 nats an image, and not more. Without the label the conditional model has
p(x) = sum_y p(y) p(x | y) by ten evidences, which also classify: p(y | x) is proportional to
p(y) p(x | y).

Predicted: log p(x | y) is 2.3 nats above the log p(x) of the plain VAE; the sum over labels gives
these back, so that the conditional model is as good a model of x as the plain one (or a little
better: its latents need not say the digit, and a Gaussian posterior holds the rest more easily);
the digit of the largest p(x | y) is right for about 98% of the test images, without a classifier.
The rate falls by about the 2.3 nats that z has no longer to carry.

Run:  PYRO_VAE_DATA=... python experiments/conditional.py [--epochs 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pyro_vae as pv
import study
from pyro_vae.report.plots.view import blank

CLASSES = 10


def trained(options: argparse.Namespace, seed: int, given: bool) -> tuple[Any, Any]:
    """A model and a guide, with the digit as their context or without one."""
    data = pv.load(options.data, context="labels")
    torch.manual_seed(seed)
    hidden = tuple(options.hidden)
    if given:
        model: Any = pv.ConditionalVAE(data.shape, options.units, CLASSES, hidden, mean=data.mean)
        guide: Any = pv.ConditionalGuide(data.shape, options.units, CLASSES, hidden)
    else:
        model = pv.VAE(data.shape, options.units, hidden, mean=data.mean)
        guide = pv.EncoderGuide(data.shape, options.units, hidden)
    pv.fit(model, guide, data, epochs=options.epochs, seed=seed, quiet=True)
    return model, guide


def scores(model: Any, guide: Any, x: Tensor, context: Tensor | None, particles: int) -> Any:
    """The evidence of data, in a context where there is one."""
    if context is not None:
        model, guide = pv.given(model, context), pv.given(guide, context)
    return pv.log_evidence(model, guide, x, pv.Importance(num_particles=particles))


def compared(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Both models of one seed on the same test images, in nats per image."""
    data = pv.load(options.data)
    x, labels = data.test.x[: options.num_data], data.test.labels
    assert labels is not None
    labels = labels[: len(x)]

    plain = scores(*trained(options, seed, False), x, None, options.particles)
    model, guide = trained(options, seed, True)
    rows = []
    for label in range(CLASSES):
        context = torch.eye(CLASSES)[[label]].expand(len(x), -1)
        rows.append(scores(model, guide, x, context, options.particles).log_px)
    of_labels = torch.stack(rows, 1)  # log p(x | y) of each of the ten
    told = scores(model, guide, x, torch.eye(CLASSES)[labels], options.particles)
    summed = torch.logsumexp(of_labels, 1) - math.log(CLASSES)

    pictures(model, options, seed)
    return {
        "plain": plain.log_px.mean().item(),
        "given": told.log_px.mean().item(),
        "worth": pair(told.log_px, plain.log_px),
        "summed": summed.mean().item(),
        "summed_against_plain": pair(summed, plain.log_px),
        "accuracy": (of_labels.argmax(1) == labels).double().mean().item(),
        "rate": plain.rate.mean().item(),
        "rate_given": told.rate.mean().item(),
        "khat_high": [each.share_above_threshold for each in (plain, told)],
    }


def pair(a: Tensor, b: Tensor) -> list[float]:
    """The mean of a paired difference over images and its standard error."""
    off = (a - b).double()
    return [off.mean().item(), (off.std() / math.sqrt(len(off))).item()]


def pictures(model: Any, options: argparse.Namespace, seed: int) -> None:
    """Means of p(x | z, y): a row for each digit, a column for each z."""
    if options.json is None or seed:
        return
    torch.manual_seed(0)
    z = torch.randn(1, CLASSES, options.units).expand(CLASSES, -1, -1)  # (digit, column, d)
    context = torch.eye(CLASSES)
    means = torch.stack([model.decode(z[d], context[[d]].expand(len(z[d]), -1)) for d in range(10)])
    rows = [torch.cat(list(row.squeeze(1)), -1) for row in means]
    figure = blank((5.4, 5.6))
    axes = figure.subplots()
    axes.imshow(torch.cat(rows, 0).cpu().numpy(), cmap="gray_r")
    side = means.shape[-1]
    axes.set_yticks([side * (d + 0.5) for d in range(10)], [str(d) for d in range(10)])
    axes.set_xticks([])
    axes.set(ylabel="y, the context", xlabel="ten draws of z, the same in each row")
    axes.set_title("Means of p(x | z, y)", fontsize="medium")
    figure.savefig(options.json.with_suffix(".png"), dpi=150)


def mnist(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each seed."""
    return {"rows": [{"seed": seed} | compared(options, seed) for seed in range(options.seeds)]}


PARTS: study.Parts = {"mnist": mnist}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--data", default="mnist")
    asked.add_argument("--epochs", type=int, default=20)
    asked.add_argument("--seeds", type=int, default=2)
    asked.add_argument("--units", type=int, default=20)
    asked.add_argument("--hidden", type=int, nargs="+", default=[200, 200])
    asked.add_argument("--num-data", type=int, default=500, help="test images")
    asked.add_argument("--particles", type=int, default=500)
    options = asked.parse_args(arguments)
    options.json = None if options.json is None else Path(options.json)

    results = study.measured(asked, options, PARTS)
    study.told(results.get("mnist", {"rows": []})["rows"])


if __name__ == "__main__":
    main()
