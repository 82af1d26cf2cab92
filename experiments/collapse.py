"""What kills latent units on the way to the optimum, and what keeps them alive?

    power       Digits, a Bernoulli decoder with no hidden layer to three, weights b of the KL term
                of 1/4 to 4, with a warm-up and without. Predicted: with a warm-up units depend on b
                and not on the decoder, since pixels that are independent given z leave a deep
                decoder nothing to do without z; without one, deep decoders lose them on the way.
                (Decoders that see other pixels, of which that is not true, are not in the package.)
    remedies    What is done about it: warm-up, free bits, the bound of several particles (IWAE),
                and many steps of the encoder for one of the decoder until the mutual information
                stops climbing (lagging encoder: He et al., 2019). On digits without a warm-up,
                where units die on the way, predicted to help. On data of a linear VAE whose decoder
                variance s = 1.4 is above all but two eigenvalues, where the optimum itself has two
                units (collapse_linear.py), predicted not to, but for free bits, which have another
                optimum.

Run:  python experiments/collapse.py [--parts P ...] [--epochs E] [--seeds N] [--json FILE]
      the trainings of `power` are a sweep, in --folder

References:
    Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio (2016). Generating sentences from a continuous
        space. arXiv:1511.06349.
    He, Spokoyny, Neubig, Berg-Kirkpatrick (2019). Lagging inference networks and posterior collapse
        in variational autoencoders. arXiv:1901.05534.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

import pyro_vae as pv
import study
from pyro_vae.objectives import Bound, FreeBits
from pyro_vae.report.plots import blank
from pyro_vae.report.plots.marks import MAIN, REST, SECOND, legend

HIDDEN: tuple[tuple[int, ...], ...] = ((), (64,), (200, 200), (200, 200, 200))
BETAS = (0.25, 0.5, 2.0, 4.0)  # besides 1
EIGENVALUES = (4.0, 2.0, 1.0, 0.5, 0.2, 0.2, 0.1, 0.1)
VARIANCE = 1.4
BATCH = 64
PARTICLES = 500  # of each test datum
RATES = {"digits": 1e-3, "linear": 1e-2}  # of Adam at the start; all go to zero
LOOK = 5  # epochs between two looks at the mutual information
LEAD = 10  # steps of the encoder between two looks at its loss, and looks at most
REMEDIES: dict[str, dict[str, Any]] = {
    "none": {"warmup_epochs": 0},
    "warm-up over half": {},
    "free bits, 0.1 nats": {"warmup_epochs": 0, "loss": FreeBits(0.1)},
    "free bits, 0.5 nats": {"warmup_epochs": 0, "loss": FreeBits(0.5)},
    "IWAE, k = 5": {"warmup_epochs": 0, "loss": Bound(5)},
    "IWAE, k = 50": {"warmup_epochs": 0, "loss": Bound(50)},
    "lagging encoder": {"lagging": True},
}


def digits_pair(data: pv.Dataset, hidden: tuple[int, ...], seed: int) -> tuple[Any, Any]:
    """A VAE with 16 units on digits, its encoder the same whatever the decoder is."""
    torch.manual_seed(seed)
    model = pv.VAE(data.shape, 16, hidden, mean=data.mean)
    return model, pv.Amortized(pv.MeanField(16), pv.MLP(data.shape, (200, 200)))


def fitted(pair: tuple[Any, Any], data: pv.Dataset, **changes: Any) -> None:
    """Train by `fit`; that units die is what is asked, and no reason to warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pv.CollapseWarning)
        pv.fit(*pair, data, keep="last", quiet=True, engine="pyro", **changes)


def scored(pair: tuple[Any, Any], data: pv.Dataset) -> dict[str, Any]:
    """Living units, and the test data's log p(x) by 500 particles, ELBO and rate."""
    units = pv.latent_units(*pair, data.test.x)
    est = pv.log_evidence(*pair, data.test.x, pv.Importance(num_particles=PARTICLES))
    assert units is not None
    row = {"units": units.num_active, "log_px": est.mean, "log_px_error": est.std_error}
    return row | {"elbo": est.elbo.mean().item(), "rate": est.rate.mean().item()}


def power(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each decoder, weight, warm-up and seed: a sweep, whose cells are kept."""
    cells = [(hidden, 1.0, share) for hidden in HIDDEN for share in (0.0, 0.5)]
    cells += [(HIDDEN[2], beta, 0.5) for beta in BETAS]
    common = {"data": "digits", "epochs": options.epochs, "keep": "last", "engine": "pyro"}
    common |= {"model.latent_dim": 16, "guide.hidden": [200, 200]}
    listed = [
        {"model.hidden": list(hidden), "beta": beta, "warmup_epochs": share * options.epochs}
        for hidden, beta, share in cells
    ]
    spec = {"train": common, "cells": listed, "grid": {"seed": list(range(options.seeds))}}
    found = pv.sweep(spec | {"evidence": {"num_particles": PARTICLES}}, options.folder)

    rows: list[dict[str, Any]] = []
    for place, cell in enumerate(found.rows):
        hidden, beta, share = cells[place // options.seeds]
        row = {"hidden": list(hidden), "beta": beta, "warmup": share, "seed": place % options.seeds}
        row["units"] = int(cell["active_units"])
        rows.append(row | {name: cell[name] for name in ("log_px", "log_px_error", "elbo", "rate")})
    return rows


class Draw:
    """Minibatches of 64 training data, binarised anew each time.

    Attributes:
        steps: of an epoch.
    """

    def __init__(self, data: pv.Dataset, seed: int) -> None:
        self.split, self.steps = data.train, math.ceil(len(data.train) / BATCH)
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self) -> Tensor:
        """A minibatch `(B, *shape)`."""
        rows = torch.randint(len(self.split), (BATCH,), generator=self.generator)
        return self.split.batch(rows, self.generator)


def information(guide: pv.Amortized, x: Tensor) -> float:
    """I_q(x; z) of data `(N, *shape)` with q(z) their mixture, by a draw of each; at most log N."""
    with torch.no_grad():
        q = guide.q(x)
        z = q.sample()
        joint = q.log_prob(z[:, None])  # (N, N): row n has z_n under each q(. | x_m)
        mixture = torch.logsumexp(joint, 1) - math.log(len(x))
        return (joint.diagonal() - mixture).mean().item()


def lagging(pair: tuple[Any, Any], draw: Draw, held: Tensor, epochs: int, rate: float) -> int:
    """Train as He et al. do: the encoder until its loss stops falling, before each step of the
    decoder, until the mutual information of data that are held out stops climbing; then both
    together. Returns the number of epochs in which the encoder was led.
    """
    adams = [torch.optim.Adam(_trainable(program), lr=rate) for program in pair]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs) for adam in adams]
    led, best, leading = 0, -math.inf, True

    for _ in range(epochs):
        for _ in range(draw.steps):
            if leading:
                _lead(pair, adams[1], draw)
            _step(pair, adams[:1] if leading else adams, draw())
        for schedule in schedules:
            schedule.step()

        led += leading
        if leading and led % LOOK == 0:
            found = information(pair[1], held)
            leading, best = found > best, max(best, found)
    return led


def _trainable(program: nn.Module) -> list[nn.Parameter]:
    return [p for p in program.parameters() if p.requires_grad]


def _step(pair: tuple[Any, Any], adams: list[torch.optim.Adam], x: Tensor) -> float:
    """A step of these optimizers by Pyro's ELBO; the loss per datum."""
    with pyro.validation_enabled(False):
        loss = Trace_ELBO().differentiable_loss(*pair, x) / len(x)
    for program in pair:
        program.zero_grad(set_to_none=True)
    loss.backward()
    for adam in adams:
        adam.step()
    return loss.item()


def _lead(pair: tuple[Any, Any], adam: torch.optim.Adam, draw: Draw) -> None:
    """Steps of the encoder alone, until ten of them are no better than the ten before, or 100."""
    before = math.inf
    for _ in range(LEAD):
        total = sum(_step(pair, [adam], draw()) for _ in range(LEAD))
        if total >= before:
            return
        before = total


def linear_data(seed: int) -> tuple[pv.Dataset, tuple[Any, Any]]:
    """Data whose covariance has known eigenvalues, and a linear VAE with a decoder variance."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1000, len(EIGENVALUES), generator=generator)
    white = torch.linalg.qr(noise - noise.mean(0)).Q * math.sqrt(len(noise))
    split = pv.Split("train", white * torch.tensor(EIGENVALUES).sqrt(), "none")

    torch.manual_seed(seed)
    model = pv.LinearGaussian(len(EIGENVALUES), 5, sigma=math.sqrt(VARIANCE), seed=seed)
    model.eval().log_sigma.requires_grad_(False)
    guide = pv.Amortized(pv.MeanField(5), pv.MLP(len(EIGENVALUES), ()))
    return pv.Dataset("linear", split, split, split), (model, guide)


def remedies(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each set, remedy and seed."""
    rows: list[dict[str, Any]] = []
    for where in ("digits", "linear"):
        for name, changes in REMEDIES.items():
            for seed in range(options.seeds):
                if where == "digits":
                    data = pv.load("digits")
                    pair = digits_pair(data, HIDDEN[2], seed)
                else:
                    data, pair = linear_data(seed)

                started = time.monotonic()
                row: dict[str, Any] = {"data": where, "remedy": name, "seed": seed}
                row |= treated(pair, data, changes, options.epochs, seed)
                row["seconds"] = round(time.monotonic() - started, 1)
                rows.append(row | scored(pair, data))
                print(rows[-1], flush=True)
    return rows


def treated(
    pair: tuple[Any, Any], data: pv.Dataset, changes: dict[str, Any], epochs: int, seed: int
) -> dict[str, int]:
    """Train with a remedy; the epochs in which the encoder was led, where that is the remedy."""
    rate = RATES[data.name]
    if not changes.get("lagging"):
        changes = {"warmup_epochs": epochs / 2} | changes
        changes["optimizer"] = partial(torch.optim.Adam, lr=rate)
        changes["schedule"] = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs)
        fitted(pair, data, epochs=epochs, batch_size=BATCH, seed=seed, **changes)
        return {}

    assert data.valid is not None
    torch.manual_seed(seed)
    return {"epochs_led": lagging(pair, Draw(data, seed), data.valid.x, epochs, rate)}


def chart(found: dict[str, Any], path: Path) -> None:
    """Units by decoder with and without a warm-up, by weight, and by remedy."""
    figure = blank((12, 4.2))
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    names = [f"{len(hidden)} x {hidden[0]}" if hidden else "none" for hidden in HIDDEN]
    for share, colour, marker, label in (
        (0.5, MAIN, "o", "with a warm-up"),
        (0.0, SECOND, "s", "without"),
    ):
        rows = [r for r in found["power"] if r["beta"] == 1 and r["warmup"] == share]
        at = [HIDDEN.index(tuple(row["hidden"])) for row in rows]
        left.plot(at, [r["units"] for r in rows], marker, color=colour, alpha=0.7, label=label)
    left.set_xticks(range(len(names)), names)
    left.set(xlabel="hidden layers of the decoder", ylabel="active units of 16", ylim=(-0.7, 19))
    left.set_title("digits, KL weight 1", fontsize="medium")
    legend(left, "upper right")

    rows = [r for r in found["power"] if tuple(r["hidden"]) == HIDDEN[2] and r["warmup"] == 0.5]
    weights = sorted({row["beta"] for row in rows})
    at = [weights.index(row["beta"]) for row in rows]
    middle.plot(at, [r["units"] for r in rows], "o", color=MAIN, alpha=0.7)
    middle.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    middle.set(xlabel="KL weight", ylabel="active units of 16", ylim=(-0.7, 19))
    middle.set_title("digits, 2 x 200, with a warm-up", fontsize="medium")
    for axis in (left.yaxis, middle.yaxis, right.xaxis):
        axis.set_ticks(range(0, 17, 4))

    order = list(REMEDIES)[::-1]
    for where, total, colour, marker in (("digits", 16, MAIN, "o"), ("linear", 5, SECOND, "s")):
        rows = [row for row in found["remedies"] if row["data"] == where]
        at = [row["units"] for row in rows]
        height = [order.index(row["remedy"]) for row in rows]
        label = f"{where}, of {total}"
        right.plot(at, height, marker, color=colour, alpha=0.7, label=label)
    right.axvline(2, color=REST, linestyle=":", label="linear: at the optimum")
    right.set_yticks(range(len(order)), order)
    right.set_title("remedies, no warm-up unless named", fontsize="medium")
    right.set(xlabel="active units", ylim=(-0.5, len(order) + 1.2), xlim=(-0.7, 17))
    legend(right, "upper right")
    figure.savefig(path, dpi=150)


PARTS: study.Parts = {"power": power, "remedies": remedies}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--epochs", type=int, default=60)
    asked.add_argument("--seeds", type=int, default=2)
    asked.add_argument("--folder", type=Path, default=Path("runs/collapse"), help="of the sweep")
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    if options.json is not None and PARTS.keys() <= results.keys():
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
