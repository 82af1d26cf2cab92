"""How near is each estimate of log p(x), does its interval hold, and what does it cost?

    gaussian   linear-Gaussian models with 10 and 50 units, log p(x) known: error of each method on
               20 data, coverage of its 95% intervals over 500 independent runs on one datum, and
               bounds from both sides on 100 simulated data. The guide is the exact posterior with
               its deviations 1.15 times as large.
    flat       two latent units on MNIST: weights, chains and quadrature on the same test images
    runs       trained runs: L_5000 and L_50000 of importance sampling, annealing from the guide on
               the first test images, the sandwich on images that the model makes, and whether real
               ones are like them
    speed      seconds of an evaluation in a batch of chains and data, and in a loop over single
               chains

Run:  PYRO_VAE_DATA=... python experiments/evidence.py {gaussian,flat,runs,speed} [RUN ...]
      [--json FILE]
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.evidence import Annealed, AnnealedEstimate, Estimate, Importance, Method, Quadrature
from pyro_vae.files.texts import write_json
from pyro_vae.report.intervals import interval_text
from pyro_vae.runs.opening import open_run

WIDTH = 1.15


class Wide(nn.Module):
    """The exact posterior of a linear-Gaussian model, its deviations times `width`, shifted by
    `shift` of them.
    """

    def __init__(self, model: pv.LinearGaussian, width: float = WIDTH, shift: float = 0.0) -> None:
        super().__init__()
        self.posterior, self.width, self.shift = model.posterior, width, shift

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Run the guide."""
        q = self.posterior(x)
        mean, tril = q.mean + self.shift * q.stddev, self.width * q.scale_tril
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("latent", dist.MultivariateNormal(mean, scale_tril=tril))


def gaussian_model(dim: int, num_data: int) -> tuple[pv.LinearGaussian, Tensor]:
    """A model with `dim` units and dim + 10 observed values, and data of its own."""
    torch.manual_seed(0)
    model = pv.LinearGaussian(dim + 10, dim, sigma=0.7).double().requires_grad_(False)
    return model, model.sample(num_data) + 0.7 * torch.randn(num_data, dim + 10).double()


def error(found: Estimate, exact: Tensor) -> dict[str, float]:
    """The error of the mean, the worst in standard errors, and the cost."""
    off = found.log_px - exact
    return {
        "error_of_the_mean": off.mean().item(),
        "monte_carlo_error": found.monte_carlo_error,
        "worst_in_errors": (off.abs() / found.log_px_error.clamp(min=1e-12)).max().item(),
        "evaluations": found.evaluations,
        "seconds_per_datum": found.seconds / len(exact),
    }


def gaussian(options: argparse.Namespace) -> dict[str, Any]:
    """Errors, coverage and bounds."""
    results: dict[str, Any] = {}
    for dim in options.dims:
        model, x = gaussian_model(dim, 20)
        guide, exact = Wide(model), model.log_px(x)
        chains = Annealed(options.num_temperatures)
        prior = Annealed(options.num_temperatures, "prior")
        many = x[:1].expand(options.num_seeds, -1).contiguous()
        methods: dict[str, Method[Estimate]] = {
            "importance": Importance(),
            "annealed from the guide": chains,
            "annealed from the prior": prior,
        }

        for name, method in methods.items():
            row = error(pv.log_evidence(model, guide, x, method), exact)
            found = pv.log_evidence(model, guide, many, method)
            lower, upper = found.interval(0.95)
            row["coverage"] = ((lower <= exact[0]) & (exact[0] <= upper)).double().mean().item()
            row["reliable"] = found.reliable.double().mean().item()
            results[f"{name}, d={dim}"] = row
            told(f"{name}, d={dim}", row)

        both = pv.sandwich(model, None, x, num_data=options.num_simulated, method=prior)
        exact = model.log_px(both.x)
        row = {
            "forward_below_exact": (exact - both.forward.log_px).mean().item(),
            "reverse_above_exact": (both.reverse.log_px - exact).mean().item(),
            "gap": both.gap,
            "gap_error": both.gap_error,
        }
        results[f"bounds from the prior, d={dim}"] = row
        told(f"bounds, d={dim}", row)
    return results


def told(name: str, row: dict[str, Any]) -> None:
    """Print a row."""
    parts = []
    for key, value in row.items():
        parts.append(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}")
    print(f"{name}: " + ", ".join(parts), flush=True)


def flat(options: argparse.Namespace) -> dict[str, Any]:
    """Three methods on a model with two latent units."""
    data = pv.load(options.data, valid=0)
    torch.manual_seed(0)
    model = pv.VAE(data.shape, 2, (200, 200), mean=data.mean)
    guide = pv.Amortized(pv.MeanField(2), pv.MLP(data.shape, (200, 200)))
    pv.fit(model, guide, data, epochs=options.epochs, warmup_epochs=0, keep="last", quiet=True)
    model.requires_grad_(False)

    x = data.test.take(options.num_data).x
    grid = pv.log_evidence(model, None, x, Quadrature())
    local = pv.Local.started_at(guide, x, pv.FullRank(2))
    pv.fit_local(model, local, x, num_particles=8)

    num_temperatures = options.num_temperatures
    estimates: dict[str, tuple[Any, Method[Estimate]]] = {
        "importance from the encoder": (guide, Importance()),
        "importance from the encoder, a tenth from the prior": (guide, Importance(defensive=0.1)),
        "importance from a local full-rank guide": (local, Importance()),
        "annealed from the encoder": (guide, Annealed(num_temperatures)),
        "annealed from the prior": (None, Annealed(num_temperatures, "prior")),
    }
    quadrature = {"log_px": grid.mean, "error": grid.log_px_error.max().item()}
    results: dict[str, Any] = {"quadrature": quadrature}
    for name, (q, method) in estimates.items():
        found = pv.log_evidence(model, q, x, method)
        row = error(found, grid.log_px) | {"reliable": found.reliable.double().mean().item()}
        lower, upper = found.interval()
        inside = ((lower <= grid.log_px) & (grid.log_px <= upper)).double().mean().item()
        results[name] = row | {"share_inside": inside}
        told(name, results[name])
    return results


def runs(options: argparse.Namespace) -> dict[str, Any]:
    """Importance sampling, annealing and the sandwich on trained runs."""
    results: dict[str, Any] = {}
    for folder in options.run:
        parts = open_run(folder)
        model, guide = parts.model.requires_grad_(False), parts.guide
        test = parts.data.test.take(options.num_data)
        x = test.x
        found: dict[str, Any] = {"num_data": len(x), "fingerprint": test.fingerprint}

        estimates: dict[str, Estimate] = {}
        for size in options.num_particles:
            estimates[f"L_{size}"] = pv.log_evidence(
                model, guide, x, Importance(num_particles=size)
            )
        for start in options.start:
            q = guide if start == "guide" else None
            method = Annealed(options.num_temperatures, start)
            estimates[f"AIS from the {start}"] = pv.log_evidence(model, q, x, method)

        first = next(iter(estimates.values()))
        for name, estimate in estimates.items():
            found[name] = estimate.summary() | above(estimate, first, f"{folder}: {name}")
        if options.num_simulated:
            real = estimates[f"AIS from the {options.start[0]}"]
            found["sandwich"] = both_sides(model, guide, x, real, options, folder)
        results[Path(folder).name] = found
        save(options, results)
    return results


def above(estimate: Estimate, first: Estimate, name: str) -> dict[str, float]:
    """How far an estimate lies above the first, and a line of it."""
    gain = estimate.log_px - first.log_px
    mean, error = gain.mean().item(), gain.std().item() / math.sqrt(len(gain))
    reliable = f"reliable {estimate.reliable.double().mean():.0%}, {estimate.seconds:.0f} s"
    print(f"{name}: {interval_text(estimate)}; {mean:+.3f} +- {error:.3f}, {reliable}", flush=True)
    return {"above_the_first": mean, "above_the_first_error": error}


def both_sides(
    model: Any, guide: Any, x: Tensor, real: Estimate, options: argparse.Namespace, name: str
) -> dict[str, Any]:
    """The sandwich on images that the model makes, and whether real ones are like them."""
    method = Annealed(options.num_temperatures, options.start[0])
    both = pv.sandwich(model, guide, x, num_data=options.num_simulated, method=method)
    assert isinstance(real, AnnealedEstimate)
    alike = pv.likeness(model, guide, x, both, real)
    told = f"{both.gap:.3f} +- {both.gap_error:.3f} nats; {alike.verdict}"
    print(f"{name}: sandwich {told}", flush=True)
    return {
        "gap": both.gap,
        "gap_error": both.gap_error,
        "largest": both.gaps.max().item(),
        "num_data": options.num_simulated,
        "alike": alike.alike,
        "means": alike.means,
        "distances": alike.distances,
        "seconds": both.forward.seconds + both.reverse.seconds,
    }


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an evaluation, batched and one chain of one datum after another."""
    parts = open_run(options.run[0])
    model, x = parts.model.requires_grad_(False), parts.data.test.take(options.num_data).x
    method = Annealed(options.num_temperatures, "prior", engine="compiled")
    batched = pv.log_evidence(model, None, x, method)

    alone, count = 0.0, 0
    for row in x[:2].split(1):
        single = one_chain(model, row, options.num_temperatures, batched)
        alone, count = alone + single[0], count + single[1]

    each, single_each = batched.seconds / (batched.evaluations * len(x)), alone / count
    results = {"num_data": len(x), "seconds_per_evaluation": each}
    results |= {"seconds_per_evaluation_alone": single_each, "ratio": single_each / each}
    told("speed", results)
    return results


def one_chain(
    model: Any, x: Tensor, num_temperatures: int, like: AnnealedEstimate
) -> tuple[float, int]:
    """Plain annealing of one chain of one datum, as one would write it: seconds and evaluations."""
    started, z = time.monotonic(), torch.randn(1, model.latent_dim)
    count, step = 0, 0.05

    def gradient(z: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        z = z.detach().requires_grad_()
        log_likelihood = model.likelihood(model.decoder(z)).log_prob(x)
        log_f = model.prior(z).log_prob(z) + beta * log_likelihood
        return log_f.detach(), torch.autograd.grad(log_f.sum(), z)[0]

    for number in range(1, num_temperatures + 1):
        beta, momentum, start = number / num_temperatures, torch.randn_like(z), z
        log_f, slope = gradient(z, beta)
        before = log_f - momentum.square().sum() / 2

        for _ in range(like.plan.num_leapfrog):
            momentum = momentum + step / 2 * slope
            z = z + step * momentum
            log_f, slope = gradient(z, beta)
            momentum = momentum + step / 2 * slope
            count += 1

        if torch.rand(()).log() > log_f - momentum.square().sum() / 2 - before:
            z = start
    return time.monotonic() - started, count


def save(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Write what there is."""
    if options.json is not None:
        facts = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        facts |= {"num_temperatures": options.num_temperatures}
        write_json(options.json, facts | results)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["gaussian", "flat", "runs", "speed"])
    parser.add_argument("run", nargs="*", default=[str(Path(__file__).parent / "mnist_gated")])
    parser.add_argument("--data", default="mnist", help="for flat")
    parser.add_argument("--epochs", type=int, default=5, help="for flat")
    parser.add_argument("--dims", type=int, nargs="+", default=[10, 50], help="for gaussian")
    parser.add_argument("--num-seeds", type=int, default=500, help="runs on one datum for coverage")
    parser.add_argument("--num-data", type=int, default=20)
    parser.add_argument("--num-particles", type=int, nargs="+", default=[5000, 50_000])
    parser.add_argument("--num-temperatures", type=int, default=1000)
    parser.add_argument("--start", nargs="+", choices=["guide", "prior"], default=["guide"])
    parser.add_argument("--num-simulated", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    measures = {"gaussian": gaussian, "flat": flat, "runs": runs, "speed": speed}
    save(options, measures[options.what](options))


if __name__ == "__main__":
    main()
