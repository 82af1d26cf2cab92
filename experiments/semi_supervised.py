"""How much do data without labels help a classifier that is a generative model? The model M2 of
Kingma et al. (2014), with the class summed out where it is not given:

    p(x, y, z) = p(y) N(z; 0, I) p(x | y, z)
    labelled     log p(x, y) >= E_q[log p(x, y, z) - log q(z | x)]
    the others   log p(x)    >= E_q[log sum_y p(x, y, z) - log q(z | x)]

A choice with `obs=y, obs_mask=is_labelled` is both, by one program; there is no classifier to be
trained, since p(y | x) is the model's own (`discrete_posterior`). Digits of scikit-learn, 8 x 8,
binarised at half of their range, ten labels of each class among 1,297 train images, 500 test
images, several splits.

    models      M2 on the 100 labelled train images alone, on all of them after these, and on all
                from the first step; by units of z
    classifier  logistic regression, and a net of one hidden layer, on the 100 labelled ones

Predicted: the unlabelled images raise the accuracy of M2 above that of itself on the labelled ones
alone, and of both classifiers. The more units z has, the more of x it explains without y, and the
less the class of an image without a label has to be the digit: with many units less is gained.
(MNIST with 100 labels: a net has 74.2%, M2 88.0 +- 1.7%, Kingma et al., table 1.)

Run:  python experiments/semi_supervised.py [--parts models classifier] [--json FILE]
      parts that the file has already are not measured again
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate
from torch import Tensor, nn

import pyro_vae as pv
import study
from pyro_vae.report.plots.marks import MAIN, REST, SECOND
from pyro_vae.report.plots.view import blank

CLASSES, EACH, NUM_TEST = 10, 10, 500
PIXELS, HIDDEN = 64, 128
COLD = "tab:green"
DRAWS = 200  # of each test image for log p(x)


class Digits(NamedTuple):
    """Images `(N, 64)` of 0 and 1, their classes `(N,)`, and which labels are given; the numbers of
    the train and test images.
    """

    x: Tensor
    y: Tensor
    given: Tensor
    train: Tensor
    test: Tensor

    @property
    def labelled(self) -> Tensor:
        """The numbers of the images whose labels are given."""
        return self.given.nonzero().flatten()


def digits(split: int) -> Digits:
    """A split of the set: test images, and ten labels of each class."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16 > 0.5).float(), torch.tensor(classes)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(split))
    test, train = order[:NUM_TEST], order[NUM_TEST:]
    given = torch.zeros(len(x), dtype=torch.bool)
    for label in range(CLASSES):
        given[train[y[train] == label][:EACH]] = True
    return Digits(x, y, given, train, test)


class M2(nn.Module):
    """Classes and units of style; which labels it is given stands in a table by `index`."""

    def __init__(self, data: Digits, dim: int) -> None:
        super().__init__()
        self.y, self.given, self.dim = data.y, data.given, dim
        self.style = nn.Linear(dim, HIDDEN)
        self.of_class = nn.Embedding(CLASSES, HIDDEN)
        self.pixels = nn.Sequential(nn.Tanh(), nn.Linear(HIDDEN, PIXELS))

    def forward(self, x: Tensor, index: Tensor) -> None:
        """Run the program on a minibatch `(B, 64)`."""
        pyro.module("m2", self)
        with pyro.plate("data", len(x), dim=-1):
            even, given = dist.Categorical(x.new_ones(CLASSES)), cast(Any, self.given[index])
            y = pyro.sample("y", even, obs=self.y[index], obs_mask=given)
            prior = dist.Normal(x.new_zeros(self.dim), 1.0).to_event(1)
            z = pyro.sample("latent", prior)
            logits = self.pixels(self.style(z) + self.of_class(y.long()))
            pyro.sample("obs", dist.Bernoulli(logits=logits).to_event(1), obs=x)


class Run:
    """M2 and its guide of z, trained on one set of images after another."""

    def __init__(self, data: Digits, dim: int) -> None:
        pyro.clear_param_store()
        torch.manual_seed(0)
        self.data, self.net = data, M2(data, dim)
        self.guide = pv.Amortized(pv.MeanField(dim), pv.MLP(PIXELS, (HIDDEN,)))
        self.model = config_enumerate(self.net)

    def fit(self, numbers: Tensor, epochs: int) -> Run:
        """Train on the images of these numbers."""
        net, data, x = self.net, self.data, self.data.x[numbers]
        changes: dict[str, Any] = {"batch_size": min(64, len(x)), "warmup_epochs": 0}
        # `fit` counts its rows from 0 on, and so does its table
        net.given, net.y = data.given[numbers], data.y[numbers]
        pv.fit(self.model, self.guide, x, valid=0, epochs=epochs, quiet=True, **changes)
        net.given, net.y = data.given, data.y
        return self

    def scores(self) -> dict[str, float]:
        """Accuracy and evidence of the test images."""
        numbers = self.data.test
        model, guide, x = self.model, self.guide, self.data.x[numbers]
        posterior = pv.discrete_posterior(model, guide, x, numbers, num_particles=50)
        method = pv.Importance(DRAWS, num_scouts=0)
        found = pv.log_evidence(model, guide, x, method, index=numbers)
        right = posterior.most_likely["y_unobserved"] == self.data.y[numbers]
        return {"accuracy": right.double().mean().item(), "log_px": found.mean}


def models(options: argparse.Namespace) -> list[dict[str, Any]]:
    """M2 on the labelled images alone, on all after these, and on all from the first step, by units
    of z and split.
    """
    rows = []
    for dim in options.units:
        for split in range(options.num_splits):
            data = digits(split)
            first = Run(data, dim).fit(data.labelled, 4 * options.epochs)
            alone = first.scores()
            after = first.fit(data.train, options.epochs).scores()
            cold = Run(data, dim).fit(data.train, options.epochs).scores()
            for name, found in (("labelled", alone), ("then all", after), ("all at once", cold)):
                rows.append({"units": dim, "split": split, "images": name} | found)
            study.told(rows[-3:])
    return rows


def classifier(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What labels alone are good for."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    rows = []
    for split in range(options.num_splits):
        data = digits(split)
        row: dict[str, Any] = {"split": split}
        for name, made in (
            ("logistic", LogisticRegression(max_iter=1000)),
            ("net", MLPClassifier((HIDDEN,), alpha=0.1, max_iter=2000, random_state=0)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a net that has not converged
                made.fit(data.x[data.labelled].numpy(), data.y[data.labelled].numpy())
            row[name] = float(made.score(data.x[data.test].numpy(), data.y[data.test].numpy()))
        rows.append(row)
        study.told(rows[-1:])
    return rows


PARTS = {"models": models, "classifier": classifier}


def summed_up(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Mean accuracy over the splits, with its standard error."""
    found: dict[str, list[float]] = {}
    for row in results.get("models", []):
        name = f"M2, {row['units']} units, {row['images']}"
        found.setdefault(name, []).append(row["accuracy"])
    for row in results.get("classifier", []):
        for name in ("logistic", "net"):
            found.setdefault(name, []).append(row[name])

    rows = []
    for name, values in found.items():
        each = torch.tensor(values, dtype=torch.double)
        error = each.std().item() / len(each) ** 0.5 if len(each) > 1 else float("nan")
        rows.append({"what": name, "accuracy": each.mean().item(), "error": error})
    return rows


def picture(results: dict[str, Any], path: Path) -> None:
    """Accuracy by units of z."""
    rows = {row["what"]: row for row in summed_up(results)}
    units = sorted({row["units"] for row in results["models"]})
    figure = blank((6.0, 3.6))
    axes = figure.subplots()
    for images, colour, told in (
        ("then all", MAIN, "M2, the labelled images first, then all"),
        ("labelled", SECOND, "M2, the 100 labelled images alone"),
        ("all at once", COLD, "M2, all images from the first step"),
    ):
        found = [rows[f"M2, {dim} units, {images}"] for dim in units]
        means = [100 * row["accuracy"] for row in found]
        errors = [100 * row["error"] for row in found]
        axes.errorbar(units, means, errors, color=colour, marker="o", capsize=3, label=told)
    if "net" in rows:
        for name, style in (("net", "--"), ("logistic", ":")):
            level, told = 100 * rows[name]["accuracy"], f"{name}, the 100 labels"
            axes.axhline(level, color=REST, linestyle=style, label=told)

    axes.set_xticks(units)
    axes.set_xlabel("units of z")
    axes.set_ylabel("test images classified rightly, %")
    axes.legend(frameon=False, fontsize=8, loc="best")
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, tell, and draw."""
    asked = study.parser(__file__, __doc__, PARTS)
    asked.add_argument("--units", type=int, nargs="+", default=[2, 5, 10], help="of z")
    asked.add_argument("--epochs", type=int, default=100, help="over all train images")
    asked.add_argument("--num-splits", type=int, default=3)
    options = asked.parse_args(arguments)
    results = study.measured(asked, options, PARTS)
    study.told(summed_up(results))
    if options.json is not None and "models" in results:
        picture(results, options.json.with_suffix(".png"))
    return results


if __name__ == "__main__":
    main()
