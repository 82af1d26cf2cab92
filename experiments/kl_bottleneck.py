"""What does the KL term do? Training with it (beta = 1) and without (beta = 0): the same nets, seed
and order of the data, loss = distortion + beta * rate. (Where all is known:
kl_bottleneck_linear.py.)

    plane    MNIST, two units: where in the plane q(z) = mean of q(z|x_n) is thin while the prior
             is not, both seen with the same blur h: the share of the prior with q_h(z) < p_h(z)/10
    nets     MNIST, ten units: sigma and means through training, I_q and KL(q(z) || p(z)), and draws
             of z from the prior, from q(z) of test data, and from a Gaussian and a mixture fitted
             to the codes of training data (Ghosh et al., 2020). What they decode to is judged, in
             black and white, by a lower bound of its log p(x) under a good model, the kept run
             mnist_gated, by its distance to the nearest training image, and by the distance of
             test images to the nearest draw
    few      the same nets on 1,000 training images that stay as they are

Predicted: without the KL term sigma goes to 0 and the means spread, a code tells its datum from all
others (I_q = log N, neighbours many sigma apart) and the train distortion is below the test one;
q(z) has holes and is far from p(z). So draws from the prior fail. Those from q(z) of test data do
not: it is the holes and not the decoder, and a density fitted to the codes mends most of it.

Run:  PYRO_VAE_DATA=... python experiments/kl_bottleneck.py [--parts plane nets few]
      [--json FILE]     parts that the file has already are not measured again

References:
    Ghosh, Sajjadi, Vergari, Black, Scholkopf (2020). From variational to deterministic
        autoencoders. arXiv:1903.12436.
"""

from __future__ import annotations

import argparse
import math
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import pyro_vae as pv
import study
from kl_bottleneck_views import chart, packed, tables
from pyro_vae.objectives import without_rate
from pyro_vae.report.tables import show

BETAS = (1.0, 0.0)
UNITS = 10
BLUR = 0.1  # h, a tenth of the prior's deviation
SHOWN = 16  # pictures of each source
COMPONENTS = 20  # of the mixture


# ---- training and what is looked at


def spread(means: Tensor) -> float:
    """Root mean square distance of means `(N, d)` from their mean, per unit."""
    return (means - means.mean(0)).square().mean().sqrt().item()


def pair_for(data: pv.Dataset, units: int) -> tuple[pv.VAE, pv.Amortized]:
    """A VAE and its encoder, the same start each time."""
    torch.manual_seed(0)
    model = pv.VAE(data.shape, units, (200, 200), mean=data.mean)
    return model, pv.Amortized(pv.MeanField(units), pv.MLP(data.shape, (200, 200)))


def trained(
    pair: tuple[pv.VAE, pv.Amortized], data: pv.Dataset, beta: float, epochs: float, num_data: int
) -> list[dict[str, float]]:
    """What `fit` does with Adam 1e-3 and batches of 128, with a look at the start and at each
    doubling of the steps. The pair ends in float64: sigma is soon too small for float32.
    """
    pyro.clear_param_store()
    model, guide = pair if beta else [without_rate(program) for program in pair]
    adam = partial(torch.optim.Adam, lr=1e-3)
    svi = pv.CompiledSVI(model, guide, adam, TraceMeanField_ELBO())
    noise = torch.Generator().manual_seed(0)
    size = min(128, len(data.train))
    per_epoch = math.ceil(len(data.train) / size)
    last = max(1, round(epochs * per_epoch))
    moments = {0} | {max(1, round(last / 2**halvings)) for halvings in range(10)}

    rows, step = [], 0
    while True:
        for index in torch.randperm(len(data.train), generator=noise).split(size):
            if step in moments:
                rows.append({"epoch": step / per_epoch} | looked(pair, data, num_data))
            if step == last:
                study.told(rows[-1:])
                for program in pair:
                    program.double().eval()
                return rows
            svi.step(data.train.batch(index, noise), index)
            step += 1


@torch.no_grad()
def looked(pair: tuple[pv.VAE, pv.Amortized], data: pv.Dataset, num_data: int) -> dict[str, float]:
    """Sigma and means, distortions and rate now, in float64."""
    torch.manual_seed(1)
    model, guide = deepcopy(pair[0]).double().eval(), deepcopy(pair[1]).double().eval()
    found: dict[str, float] = {}
    for name in ("train", "test"):
        x = getattr(data, name).take(num_data).x.double()
        drawn = pv.particles(model, guide, x, num_particles=4)
        found[f"{name}_distortion"] = -drawn.log_likelihood.mean().item()
        q = guide.q(x).base_dist
        rate = kl_divergence(q, Normal(torch.zeros_like(q.mean), 1.0)).sum(-1)
        found[f"{name}_rate"] = rate.mean().item()
    found |= {"sigma": q.stddev.log().mean().exp().item(), "spread": spread(q.mean)}
    return found | {"least_sigma": q.stddev.min().item()}


@torch.no_grad()
def plane(options: argparse.Namespace) -> dict[str, Any]:
    """Two units: the plane as the prior has it, and as the training data fill it."""
    data = pv.load(options.data, valid=0)
    line = torch.linspace(-4, 4, options.side, dtype=torch.double)
    points, cell = torch.cartesian_prod(line, line), (line[1] - line[0]).item() ** 2
    log_p = Normal(0.0, 1.0).log_prob(points).sum(-1)
    log_blurred = Normal(0.0, math.hypot(1.0, BLUR)).log_prob(points).sum(-1)

    found: dict[str, Any] = {}
    for beta in BETAS:
        pair = pair_for(data, 2)
        with torch.enable_grad():
            rows = trained(pair, data, beta, options.plane_epochs, options.num_data)
        x, labels = data.train.take(options.num_data).x.double(), data.train.labels
        q = pair[1].q(x).base_dist
        mean, sigma = q.mean, q.variance.add(BLUR**2).sqrt()
        parts = [
            torch.logsumexp(Normal(mean, sigma).log_prob(z[:, None]).sum(-1), 1)
            for z in points.split(1000)
        ]
        thin = torch.cat(parts) - math.log(len(x)) < log_blurred - math.log(10)
        inside = ((mean.abs() < 4).all(1)).double().mean().item()
        found[f"{beta:g}"] = rows[-1] | {
            "hole": (log_p.exp() * thin).sum().item() * cell,
            "codes_inside": inside,
            "codes": packed(mean[:1000].half()),
            "labels": [] if labels is None else labels[: len(mean)][:1000].tolist(),
        }
    return found


def nets(options: argparse.Namespace) -> dict[str, Any]:
    """Ten units, all data: training, information, and draws from everywhere."""
    data, judge = pv.load(options.data, valid=0), pv.open_run(Path(__file__).parent / options.judge)
    seen, real = data.test.take(2 * options.num_draws).x.chunk(2)  # draws are held to the second
    black = pv.log_evidence(judge.model, judge.guide, torch.zeros_like(real[:1]))
    found: dict[str, Any] = {"test images": judged(seen, real, data, judge), "black": black.mean}
    for beta in BETAS:
        pair = pair_for(data, UNITS)
        rows = trained(pair, data, beta, options.epochs, options.num_data)
        told = coded(pair, data, options.num_data)
        sources = {}
        for name, z in latents(pair[1], data, options).items():
            torch.manual_seed(4)
            means = pair[0].decode(z).float()
            sources[name] = judged(torch.bernoulli(means), real, data, judge)
            sources[name]["pictures"] = packed(means[:SHOWN].mul(255).byte())
            study.told([{"beta": beta, "z from": name} | sources[name]["figures"]])
        found[f"{beta:g}"] = {"training": rows, "codes": told, "draws": sources}
    return found


def coded(pair: tuple[pv.VAE, pv.Amortized], data: pv.Dataset, num_data: int) -> dict[str, Any]:
    """What the codes of training data say, in float64; how far q(z) is from p(z), at least: by its
    mean and covariance, since KL(q(z) || p) = KL(q(z) || its Gaussian) + KL(its Gaussian || p).
    """
    model, guide = pair
    x = data.train.take(num_data).x.double()
    info = pv.information(model, guide, x, num_draws=2)
    with torch.no_grad():
        q = guide.q(x).base_dist
    centred = q.mean - q.mean.mean(0)
    covariance = centred.T @ centred / len(x) + q.variance.mean(0).diag()
    gaussian = MultivariateNormal(q.mean.mean(0), covariance)
    prior = MultivariateNormal(torch.zeros(UNITS).double(), torch.eye(UNITS).double())

    apart = (q.mean[:, None] - q.mean).div(q.stddev[:, None]).norm(dim=-1)
    apart.fill_diagonal_(math.inf)
    return {
        "rate": info.rate.mean().item(),
        "information": info.lower.mean().item(),
        "log_num_data": math.log(len(x)),
        "marginal": info.marginal.mean().item(),
        "gaussian_part": kl_divergence(gaussian, prior).item(),
        "neighbour_in_sigmas": apart.min(1).values.median().item(),
    }


@torch.no_grad()
def latents(
    guide: pv.Amortized, data: pv.Dataset, options: argparse.Namespace
) -> dict[str, Tensor]:
    """Latents `(M, d)` by where they come from; the fits are of codes of training data."""
    from sklearn.mixture import GaussianMixture

    torch.manual_seed(3)
    size = options.num_draws
    x = data.train.x[: options.num_codes]
    codes = torch.cat([guide.q(part.double()).sample() for part in x.split(5000)])
    noise = torch.randn(size, codes.shape[1]).double()
    found = {
        "the prior": noise,
        "q(z) of test data": guide.q(data.test.take(size).x.double()).sample(),
    }
    found["a Gaussian fit"] = codes.mean(0) + noise @ torch.linalg.cholesky(codes.T.cov()).T
    mixture = GaussianMixture(min(COMPONENTS, len(codes) // 10), random_state=0, reg_covar=1e-4)
    drawn = mixture.fit(codes.numpy()).sample(size)[0]
    found[f"{mixture.n_components} Gaussians fitted"] = torch.tensor(drawn)[torch.randperm(size)]
    return found


def judged(x: Tensor, real: Tensor, data: pv.Dataset, judge: Any) -> dict[str, Any]:
    """A lower bound of log p(x) of black and white images by a good model, how far each is from the
    nearest training image, and how far real images are from the nearest of them.
    """
    method = pv.Importance(num_particles=500)
    bound = pv.log_evidence(judge.model, judge.guide, x, method)
    distance, missed = pv.nearest(x, data.train.x).distance, pv.nearest(real, x).distance
    error, other = (each.std().item() / math.sqrt(len(each)) for each in (distance, missed))
    figures = {"log_px": bound.mean, "log_px_error": bound.std_error}
    figures |= {"distance": distance.mean().item(), "distance_error": error}
    figures |= {"missed": missed.mean().item(), "missed_error": other}
    figures |= {"white": x.mean().item(), "k_hat_high": bound.share_above_threshold}
    shown = x[:SHOWN].mul(255).byte()
    sizes = {"num_shown": len(shown), "width": shown.shape[-1]}
    return {"figures": figures, "pictures": packed(shown)} | sizes


def few(options: argparse.Namespace) -> dict[str, Any]:
    """Few training images, drawn in black and white once: the distortions through training."""
    whole = pv.load(options.data, valid=0)
    train, test = (part.take(options.num_few).x for part in (whole.train, whole.test))
    splits = pv.Split("train", train, "none"), pv.Split("test", test, "none")
    data = pv.Dataset(whole.name, splits[0], None, splits[1])
    found = {}
    for beta in BETAS:
        pair = pair_for(data, UNITS)
        found[f"{beta:g}"] = trained(pair, data, beta, options.few_epochs, options.num_few)
    return found


PARTS: study.Parts = {"plane": plane, "nets": nets, "few": few}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--judge", default="mnist_gated", help="a run, here or elsewhere")
    asked.add_argument("--data", default="mnist")
    asked.add_argument("--num-data", type=int, default=2000, help="that are looked at")
    asked.add_argument("--num-draws", type=int, default=400, help="of each source")
    asked.add_argument("--num-codes", type=int, default=20_000, help="that densities are fitted to")
    asked.add_argument("--num-few", type=int, default=1000)
    asked.add_argument("--epochs", type=float, default=6, help="of `nets`")
    asked.add_argument("--plane-epochs", type=float, default=8)
    asked.add_argument("--few-epochs", type=float, default=100)
    asked.add_argument("--side", type=int, default=161, help="points of the plane's grid on a side")
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    for table in tables(results):
        show(table)
    if options.json is not None:
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
