"""Counts as of molecules in single cells: what does a likelihood cost that is not theirs?

Data of a known model, two latents z ~ N(0, I) and G genes,

    x_g | z ~ NegativeBinomial(mean exp(b_g + W_g z), inverse dispersion theta_g),
    theta_g log-uniform on [0.5, 10],    b_g ~ N(1, 1),    W_g ~ N(0, 0.5^2)

and two VAEs on draws of it, alike but for the likelihood: Poisson, and negative binomial with a
dispersion for each gene, scVI's default. Held-out log p(x) of both is by quadrature, and so is the
true model's own: the evidence that no model can beat on average,

    E_p[log p_model(x)] = E_p[log p(x)] - KL(p || p_model)

Predicted: the negative binomial is within a nat or two of the truth (what is left is finite data
and nets), and finds each gene's theta. The Poisson pays for the variance mu^2 / theta that it has
not. Had it the true latent, it would pay KL(NB || Poisson) summed over the genes, which `truth` has
exactly; in place of that it moves the latent to follow the noise, so it pays less.

Run:  python experiments/counts.py [--parts poisson negative-binomial truth] [--json FILE]

References:
    Lopez, Regier, Cole, Jordan, Yosef (2018). Deep generative modeling for single-cell
        transcriptomics. Nature Methods 15, doi:10.1038/s41592-018-0229-2.
    Svensson (2020). Droplet scRNA-seq is not zero-inflated. Nature Biotechnology 38,
        doi:10.1038/s41587-019-0379-5.
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pyro_vae as pv
import study
from pyro_vae.report.plots.marks import MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank

DIM = 2
LIKELIHOODS = {"poisson": pv.Poisson, "negative-binomial": pv.NegativeBinomial}
COLOURS = {"poisson": SECOND, "negative-binomial": MAIN}


def true_model(num_genes: int) -> pv.VAE:
    """The model that the data are drawn from: a VAE whose decoder is one linear layer."""
    torch.manual_seed(0)
    model = pv.VAE((num_genes,), DIM, (), pv.NegativeBinomial())
    decoder: Any = model.decoder
    likelihood: Any = model.likelihood
    with torch.no_grad():
        decoder.head.weight.normal_(0, 0.5)
        decoder.bias.normal_(1, 1)
        likelihood.log_theta.uniform_(math.log(0.5), math.log(10))
    return model


def simulated(options: argparse.Namespace) -> tuple[pv.VAE, Tensor, Tensor]:
    """The true model, and counts to train on and to hold out."""
    model = true_model(options.num_genes)
    number = options.num_data + options.num_test
    x = pv.sample(model, torch.zeros(1, options.num_genes), num_samples=number, kind="draw").x
    return model, x[: options.num_data], x[options.num_data :]


def evidence(model: nn.Module, guide: Any, x: Tensor) -> Tensor:
    """log p(x) `(N,)`, nats, by quadrature."""
    return pv.log_evidence(model, guide, x, pv.Quadrature()).log_px.double()


def trained(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Held-out log p(x) of a VAE of this likelihood, beside that of the true model."""
    truth, x, held = simulated(options)
    hidden = tuple(options.hidden)
    torch.manual_seed(1)
    model = pv.VAE((options.num_genes,), DIM, hidden, LIKELIHOODS[name]())
    guide = pv.EncoderGuide((options.num_genes,), DIM, hidden)
    run = pv.fit(model, guide, x, values="real", epochs=options.epochs, batch_size=100, quiet=True)

    found, exact = evidence(model, guide, held), evidence(truth, None, held)
    lost = exact - found
    log_theta: Any = getattr(model.likelihood, "log_theta", torch.zeros(0))
    return {
        "log_px": found.mean().item(),
        "truth": exact.mean().item(),
        "lost": lost.mean().item(),
        "lost_error": lost.std().item() / math.sqrt(len(lost)),
        "best_epoch": run.epoch,
        "theta": log_theta.detach().exp().tolist(),
    }


@torch.no_grad()
def known(options: argparse.Namespace) -> dict[str, Any]:
    """The true dispersions, and KL(NB || Poisson of the same mean), the sum over the genes at
    latents that are known, the mean over draws of these.
    """
    model = true_model(options.num_genes)
    fn: Any = model.likelihood(model.decoder(torch.randn(200, DIM))).base_dist
    total = torch.zeros(200, options.num_genes, dtype=torch.double)
    for value in torch.arange(3000.0):
        log_p = fn.log_prob(value).double()
        log_q = value * fn.log_mean - fn.log_mean.exp() - torch.lgamma(value + 1)
        total += log_p.exp() * (log_p - log_q)
    likelihood: Any = model.likelihood
    return {"kl_poisson": total.sum(1).mean().item(), "theta": likelihood.log_theta.exp().tolist()}


PARTS = {name: partial(trained, name) for name in LIKELIHOODS} | {"truth": known}


def chart(results: dict[str, Any], path: Path) -> None:
    """What each likelihood loses, and the dispersions that are found."""
    figure = blank((10, 4))
    left, right = figure.subplots(1, 2)
    names = [name for name in LIKELIHOODS if name in results]
    values = [results[name]["lost"] for name in names]
    reach = [1.96 * results[name]["lost_error"] for name in names]
    drawn = left.bar(names, values, yerr=reach, color=[COLOURS[name] for name in names], capsize=4)
    left.bar_label(drawn, [f"{value:.2f}" for value in values], padding=3)
    if "truth" in results:
        told = "KL(NB || Poisson), z known"
        left.axhline(results["truth"]["kl_poisson"], color=REST, ls="--", label=told)
        left.legend(fontsize="small", frameon=False)
    left.set(ylabel="lost on held-out cells, nats per cell")
    left.margins(y=0.15)
    left.set_title("E[log p(x) of the truth - of the model]", fontsize="medium")

    if "truth" in results and "negative-binomial" in results:
        theta, found = results["truth"]["theta"], results["negative-binomial"]["theta"]
        right.plot(theta, found, "o", color=MAIN, ms=4, label="a gene")
        ends = [min(theta), max(theta)]
        right.plot(ends, ends, color=REST, label="equal")
        right.legend(fontsize="small", frameon=False)
    right.set(xscale="log", yscale="log", xlabel="true theta", ylabel="theta found")
    right.set_title("Inverse dispersions", fontsize="medium")
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--num-genes", type=int, default=30)
    asked.add_argument("--num-data", type=int, default=3000)
    asked.add_argument("--num-test", type=int, default=100)
    asked.add_argument("--epochs", type=int, default=80)
    asked.add_argument("--hidden", type=int, nargs="+", default=[64])
    options = asked.parse_args(arguments)

    results = study.measured(asked, options, PARTS)
    for name in LIKELIHOODS:
        if name in results:
            row = {k: v for k, v in results[name].items() if k != "theta"}
            study.told([{"likelihood": name} | row])
    if options.json is not None:
        chart(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
