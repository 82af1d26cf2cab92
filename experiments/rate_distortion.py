"""What does a nat of distortion cost in rate, at each weight of the KL term, and how much of that
is the encoder's fault?

    linear      a linear VAE against Shannon's curve, reverse water-filling, at each weight; chains
                along frozen decoders, and bounds from both sides, against closed forms
    sweep       MNIST, distortion + b rate minimised at b = 0.01 ... 100, one model and encoder
                carried from each b to the next, and from the last one some way back
    annealed    decoders of the sweep left as they are, the encoder replaced by chains at inverse
                temperatures t from 0 to 100: -log p(x|z) as distortion, and the squared error
    bounds      -log Z_t of a decoder between two bounds, on data that it has made itself

The sweep goes from small b to large, since units that are alive can die of a larger weight, and
dead ones give no gradient, but noise, to wake them; what that is worth is seen on the way back. So
each training needs the one before it, and they are no cells of a `pv.sweep`, which do not.

Predicted: the linear VAE is on Shannon's curve. Whatever the optimiser finds, as long as it finds
the best at each weight, b_i <= -dD/dR <= b_(i+1) between neighbours. H - D <= R, where the entropy
H of the data is unknown: at least that of the binarisation given the grey image, at most
-E[log p(x)] of any model, so that the true line is between two; D + R is least at b = 1.
Auto-encoding, b -> 0: D towards 0 at a large R.
Auto-decoding, b -> infinity: R = 0 and D = sum_i h(mean of pixel i), the best without a latent. A
frozen decoder's curve has the slope -1/t, is below its own point of the sweep at t = 1 / b (the
encoder's gap), and of all decoders' rate + t distortion its own is the least there.

Chains can run backwards from exact draws only. z ~ p(z) and x drawn given z are one at t if
sum_x e^(-t d(x, z)) is the same for all z: for the squared error at any t, for pixels at t = 1.

Run:  PYRO_VAE_DATA=... python experiments/rate_distortion.py [--parts linear sweep annealed bounds]
      [--json FILE] [--weights FOLDER]     what either has is not measured, or trained, again

References:
    Alemi, Poole, Fischer, Dillon, Saurous, Murphy (2018). Fixing a broken ELBO. arXiv:1711.00464.
    Huang, Makhzani, Cao, Grosse (2020). Evaluating lossy compression rates of deep generative
        models. arXiv:2008.06653.
    Grosse, Ghahramani, Adams (2015). Sandwiching the marginal likelihood using bidirectional Monte
        Carlo. arXiv:1511.02543.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pyro.infer import TraceMeanField_ELBO
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributions import kl_divergence
from torch.optim.lr_scheduler import CosineAnnealingLR

import pyro_vae as pv
import study
from pyro_vae.evidence.estimate import standard_error
from pyro_vae.files.texts import read_json
from rate_distortion_chart import chart, packed, told
from rate_distortion_linear import both_sides, least, linear

BETAS = (0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 7.0, 12.0, 30.0, 100.0)
BACK = (12.0, 4.0, 1.0)  # after them
DECODERS = (0.1, 1.0, 12.0)  # whose curves are traced, to t = 100
ENDS = (1.0, 100.0)  # of the squared error's bounds
KEPT = Path(__file__).parent / "mnist_gated" / "evidence.json"  # the best -log p(x) that we know
ALIKE = 0.1  # nats
SHOWN = 8  # test images whose reconstructions are shown


class Stop(NamedTuple):
    """A point of the sweep: on the way up or back, the weight, the programs that were trained."""

    leg: str
    beta: float
    model: pv.VAE
    guide: pv.Amortized


# ---- the sweep


def stops(options: argparse.Namespace, data: pv.Dataset) -> Iterator[Stop]:
    """The programs at each weight, each trained on from the last, or as they were kept. They are
    the same two all the way.
    """
    torch.manual_seed(0)
    hidden = tuple(options.hidden)
    model = pv.VAE(data.shape, options.latent_dim, hidden, mean=data.mean)
    guide = pv.Amortized(pv.MeanField(options.latent_dim), pv.MLP(data.shape, hidden))
    sizes = "-".join(map(str, (data.name, *hidden, options.latent_dim, options.epochs)))

    for number, beta in enumerate((*BETAS, *BACK)):
        leg = "up" if number < len(BETAS) else "back"
        path = options.weights / f"{sizes}-{leg}-{beta:g}.safetensors"
        if path.is_file():
            both = load_file(path)
            for name, program in (("model", model), ("guide", guide)):
                own = {k.removeprefix(f"{name}."): v for k, v in both.items() if k.startswith(name)}
                program.load_state_dict(own)
        else:
            train(model, guide, data, beta, options.epochs * (1 if number else 6), number)
            both = {f"model.{k}": v for k, v in model.state_dict().items()}
            both |= {f"guide.{k}": v for k, v in guide.state_dict().items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(both, path)
            print(f"{leg} to weight {beta:g}: trained", flush=True)
        yield Stop(leg, beta, model.eval(), guide.eval())


def train(
    model: pv.VAE, guide: pv.Amortized, data: pv.Dataset, beta: float, epochs: int, seed: int
) -> None:
    """Go on from where the programs are, at a rate that goes to zero."""
    changes: dict[str, Any] = {"loss": TraceMeanField_ELBO(), "keep": "last", "warmup_epochs": 0}
    changes |= {"schedule": partial(CosineAnnealingLR, T_max=epochs), "seed": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pv.CollapseWarning)  # it is what is looked for
        pv.fit(model, guide, data, epochs=epochs, beta=beta, quiet=True, **changes)


@torch.no_grad()
def scored(stop: Stop, x: Tensor, num_draws: int = 10) -> dict[str, Tensor]:
    """Rate, distortion and squared error of each datum `(N,)`, the last two by draws of q."""
    torch.manual_seed(1)
    parts: dict[str, list[Tensor]] = {"rate": [], "distortion": [], "squared_error": []}
    for some in x.split(1000):
        q = stop.guide.q(some)
        fn = stop.model.likelihood(stop.model.decoder(q.sample((num_draws,))))
        rest = tuple(range(2, some.dim() + 1))  # of a datum
        squared = (some - fn.mean).square().sum(rest)
        parts["rate"].append(kl_divergence(q, stop.model.prior(some)))
        parts["distortion"].append(-fn.log_prob(some).mean(0))
        parts["squared_error"].append(squared.mean(0))
    return {name: torch.cat(each).double() for name, each in parts.items()}


def slope(one: dict[str, Tensor], two: dict[str, Tensor]) -> tuple[float, float] | None:
    """-dD/dR between two points, with its error over the data (of a ratio of means, paired); None
    where the rates are alike, so that it would be a ratio of noise.
    """
    rate, cost = one["rate"] - two["rate"], two["distortion"] - one["distortion"]
    if rate.mean() < max(ALIKE, 5 * standard_error(rate)):
        return None
    found = (cost.mean() / rate.mean()).item()
    return found, standard_error(cost - found * rate) / rate.mean().item()


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each weight, the slopes between them, the limits, and pictures."""
    data = pv.load(options.data, valid=0)
    x, seen = data.test.x, data.train.x[: len(data.test)]
    rows, points, strip = [], [], []
    for stop in stops(options, data):
        point = {"test": scored(stop, x), "train": scored(stop, seen)}
        units = pv.latent_units(stop.model, stop.guide, x)
        assert units is not None
        row: dict[str, Any] = {"leg": stop.leg, "beta": stop.beta, "units": units.num_active}
        for name, values in point["test"].items():
            row |= {name: values.mean().item(), f"{name}_error": standard_error(values)}
        cost = point["test"]["rate"] + point["test"]["distortion"]
        row |= {"both": cost.mean().item(), "both_error": standard_error(cost)}
        row |= {f"train_{name}": values.mean().item() for name, values in point["train"].items()}
        rows.append(row)

        if stop.leg == "up":
            points.append(point)
            with torch.no_grad():
                strip.append(stop.model.decode(stop.guide.q(x[:SHOWN]).sample()))
    study.told(rows)

    slopes = []
    for (low, one), (high, two) in pairwise(zip(BETAS, points, strict=True)):
        between = {split: slope(one[split], two[split]) for split in ("test", "train")}
        slopes.append({"low": low, "high": high} | between)
    return {
        "rows": rows,
        "slopes": slopes,
        "limits": limits(data),
        "strip": packed([x[:SHOWN], *strip]),
    }


def limits(data: pv.Dataset) -> dict[str, Any]:
    """The distortion of the best constant model of the test images, sum_i h(mean of pixel i); the
    entropy of the data from below, by what is drawn anew in binarising an image, and from above.
    """
    test, known = data.test, read_json(KEPT)
    grey = test.pixels.double() / (255 if test.pixels.dtype == torch.uint8 else 1)
    drawn = coin(grey).flatten(1).sum(1)
    found: dict[str, Any] = {"constant": coin(test.x.double().mean(0)).sum().item()}
    found |= {"entropy_at_least": drawn.mean().item(), "at_least_error": standard_error(drawn)}
    same = known["fingerprint"] == test.fingerprint
    return found | {"entropy_at_most": -known["log_px"] if same else None}


def coin(p: Tensor) -> Tensor:
    """Entropy of a value that is 1 with probability p and else 0, nats."""
    return -torch.xlogy(p, p) - torch.xlogy(1 - p, 1 - p)


# ---- frozen decoders


def annealed(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The curves of each decoder that was chosen, and each against the sweep on the same images at
    the weights of all of them: rate + t distortion by its own encoder and by chains, in means.
    """
    data = pv.load(options.data, valid=0)
    x = data.test.x[: options.num_annealed]
    method = pv.Annealed(options.num_temperatures, "prior", options.num_chains)
    chosen: dict[str, Any] = {"max_beta": 100.0, "method": method}
    chosen["num_points"] = min(60, options.num_temperatures)
    found: list[dict[str, Any]] = []
    lowest: list[list[Tensor]] = []
    for stop in stops(options, data):
        if stop.leg == "back" or stop.beta not in DECODERS:
            continue
        row: dict[str, Any] = {"decoder": stop.beta, "num_data": len(x)}
        own, t = scored(stop, x, 100), 1 / stop.beta
        for distortion in (None, pv.squared_error):
            curve = pv.rate_distortion_curve(stop.model, x, distortion=distortion, **chosen)
            columns = {name: values.tolist() for name, values in curve.columns().items()}
            row[curve.unit] = columns | {"slopes": along(curve)}
            if distortion is None:
                gap = own["rate"] + t * own["distortion"] - least(curve, t)
                lowest.append([least(curve, 1 / beta) for beta in DECODERS])
        row |= {"gap": gap.mean().item(), "gap_error": standard_error(gap)}
        row |= {f"own_{name}": values.mean().item() for name, values in own.items()}
        study.told([{name: row[name] for name in ("decoder", "gap", "gap_error")}])
        found.append(row)

    for place, row in enumerate(found):  # more than its own decoder takes, at each weight
        more = [lowest[place][at] - lowest[at][at] for at in range(len(found))]
        row["above_own"] = [each.mean().item() for each in more]
        row["above_own_error"] = [standard_error(each) for each in more]
    return found


def along(curve: pv.Curve) -> float:
    """The share of neighbours between whose inverse temperatures t the slope dR/dD is -t."""
    rate, cost = curve.rate.mean(1), curve.distortion.mean(1)
    found = -rate.diff() / cost.diff()
    held = (curve.beta[:-1] <= found) & (found <= curve.beta[1:])
    return held.double().mean().item()


def bounds(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The two bounds of -log Z_t of the decoder at weight 1: of -log p(x|z) at t = 1, of the
    squared error at several t.
    """
    data = pv.load(options.data, valid=0)
    like = data.test.x[:1]
    method = pv.Annealed(options.num_temperatures, "prior", options.num_chains)
    model = next(stop.model for stop in stops(options, data) if stop.beta == 1.0)

    made = pv.sandwich(model, None, like, num_data=options.num_simulated, method=method)
    sides = [("nats", 1.0, -made.reverse.log_px, -made.forward.log_px)]
    for t in ENDS:
        _, lower, upper = both_sides(model, t, like, options.num_simulated, method)
        sides.append(("squared error", t, lower, upper))

    rows: list[dict[str, Any]] = []
    for unit, t, lower, upper in sides:
        row = {"distortion": unit, "t": t, "lower": lower.mean().item()}
        row |= {"upper": upper.mean().item(), "gap": (upper - lower).mean().item()}
        rows.append(row | {"gap_error": standard_error(upper - lower)})
    study.told(rows)
    return rows


PARTS: study.Parts = {"linear": linear, "sweep": sweep, "annealed": annealed, "bounds": bounds}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--data", default="mnist")
    asked.add_argument("--hidden", type=int, nargs="+", default=[200, 200])
    asked.add_argument("--latent-dim", type=int, default=40)
    asked.add_argument(
        "--epochs", type=int, default=5, help="at each weight, six times as many at the first"
    )
    asked.add_argument("--steps", type=int, default=1000, help="of the linear VAE, at each weight")
    asked.add_argument("--num-annealed", type=int, default=50, help="test images")
    asked.add_argument("--num-simulated", type=int, default=20, help="images between two bounds")
    asked.add_argument("--num-temperatures", type=int, default=1000)
    asked.add_argument("--num-chains", type=int, default=8)
    asked.add_argument("--weights", type=Path, default=Path("runs/rate_distortion"))
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    told(results)
    if options.json is not None:
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
