"""Does a first run learn? Six sets, ten seeds, nothing named but the data; and does the alarm ring
when it should?

    defaults   what `pyro-vae train --data D` does: likelihood, start, sizes, batches and warm-up
               follow the data
    tuned      the grid of hand-tuned settings that the defaults are held against: learning rate,
               warm-up and sigma by hand, with torch's start of the layers (nothing is taken from
               the data)
    provoked   runs that must collapse, for the alarm: beta too high, sigma too large, a decoder
               that has no need of z

The criterion was written down before the first run (experiments/README.md). `faces` are 1,965 8-bit
photographs, 28 x 20, in an .npz of one's own; the other sets come with scikit-learn, with
torchvision's layout, or are simulated.

Run:  PYRO_VAE_DATA=... python experiments/first_run.py defaults --json FILE [--sets digits faces]
      [--faces faces.npz]
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.inference.prepare import resolve_device

SETS = ("digits", "gaussian", "cancer", "photos", "faces", "mnist")
EPOCHS = {"mnist": 20}  # of the default 100, to keep 60 runs affordable
RATES, WARMUPS, SIGMAS = (1e-3, 3e-3), (0.0, 0.1, 0.5), (1.0, 0.1)
DIM, UNITS, NOISE = 20, 5, 0.5  # of the simulated set


def arrays(name: str) -> np.ndarray[Any, Any]:
    """The sets that are made here: a table, a draw of a linear-Gaussian model, 12 x 12 patches of
    two photographs.
    """
    from sklearn.datasets import load_breast_cancer, load_sample_images

    if name == "cancer":
        return np.asarray(load_breast_cancer().data)
    if name == "gaussian":
        draw = np.random.RandomState(1)
        loading = np.linalg.qr(draw.randn(DIM, UNITS))[0] * np.linspace(3.0, 1.0, UNITS)
        z = draw.randn(5000, UNITS)
        x = z @ loading.T + NOISE * draw.randn(5000, DIM) + draw.randn(DIM)
        return np.asarray(x, dtype=np.float32)

    draw, patches = np.random.RandomState(0), []
    for image in load_sample_images().images:
        grey = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        for _ in range(2000):
            row, column = (draw.randint(size - 12) for size in grey.shape)
            patches.append(grey[row : row + 12, column : column + 12])
    return np.stack(patches)


def load(name: str, faces: Path | None) -> pv.Dataset:
    """A set as `pyro-vae train --data` loads it."""
    if name in ("digits", "mnist"):
        return pv.load(name)
    if name == "faces":
        if faces is None:
            raise ValueError("faces: got no file, expected --faces FILE.npz with the photographs")
        return pv.load(faces)

    with TemporaryDirectory() as folder:
        np.save(Path(folder) / f"{name}.npy", arrays(name))
        return pv.load(Path(folder) / f"{name}.npy")


def run(
    data: pv.Dataset, model: pv.VAE, guide: nn.Module, seed: int, **recipe: Any
) -> dict[str, Any]:
    """Train, score the test data, and return the figures; NaN where the loss became non-finite."""
    started = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pv.CollapseWarning)
            found = pv.fit(model, guide, data, seed=seed, quiet=True, **recipe)
    except pv.NonFiniteLoss:
        names = ("elbo", "elbo_error", "rate", "bits_per_dim", "valid_elbo")
        lost: dict[str, Any] = {"seed": seed, **dict.fromkeys(names, math.nan)}
        lost |= {"active_units": 0, "num_units": model.latent_dim, "alarm": None}
        return lost | {"epoch": 0, "epochs": 0, "seconds": 0.0}

    method = pv.Importance(num_particles=64, engine="pyro")
    test = pv.log_evidence(model, guide, data.test.x, method).summary()
    units = pv.latent_units(model, guide, data.test.x)
    assert units is not None and found.units is not None
    return {
        "seed": seed,
        "elbo": test["elbo"],
        "elbo_error": test["elbo_error"],
        "rate": test["rate"],
        "bits_per_dim": data.bits_per_dim(test["elbo"]),
        "active_units": units.num_active,
        "num_units": len(units.names),
        "valid_elbo": found.history[found.epoch - 1]["valid_elbo"],
        "epoch": found.epoch,
        "epochs": len(found.history),
        "alarm": None if found.alarm is None else found.alarm.since,
        "seconds": round(time.monotonic() - started, 1),
    }


def defaults(
    name: str, data: pv.Dataset, seed: int, epochs: int
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The run of somebody who names nothing."""

    def go() -> dict[str, Any]:
        torch.manual_seed(seed)
        model = pv.VAE(data.shape, likelihood=pv.likelihood_for(data), mean=data.mean)
        return run(data, model, pv.EncoderGuide(data.shape), seed, epochs=epochs)

    yield "defaults", go


def tuned(
    name: str, data: pv.Dataset, seed: int, epochs: int
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The grid by hand: as many steps, latents and hidden units, and nothing from the data."""
    binary = data.is_binary
    for rate, warmup, sigma in product(RATES, WARMUPS, (1.0,) if binary else SIGMAS):

        def go(rate: float = rate, warmup: float = warmup, sigma: float = sigma) -> dict[str, Any]:
            torch.manual_seed(seed)
            likelihood = pv.Bernoulli() if binary else pv.Gaussian(sigma)
            model = pv.VAE(data.shape, likelihood=likelihood, mean=data.mean)
            guide = pv.EncoderGuide(data.shape)
            model.start = guide.start = lambda x: None  # type: ignore[method-assign]
            optimizer = partial(torch.optim.Adam, lr=rate)
            recipe = {"optimizer": optimizer, "warmup_epochs": warmup * epochs, "keep": "last"}
            return run(data, model, guide, seed, epochs=epochs, **recipe)

        yield f"lr {rate:g}, warm-up {warmup:g}" + ("" if binary else f", sigma from {sigma:g}"), go


class Ignorant(nn.Module):
    """A decoder that has no need of z: the best constant model, a few weights for appearance."""

    def __init__(self, latent_dim: int, hidden: Any, shape: Any, num_outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_outputs, *shape))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.bias + 0 * z.sum(-1).reshape(*z.shape[:-1], *(1,) * self.bias.dim())


def provoked(
    name: str, data: pv.Dataset, seed: int, epochs: int
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Three ways to lose the latent."""

    def go(
        likelihood: pv.Likelihood | None = None, decoder: Any = None, beta: float = 1.0
    ) -> dict[str, Any]:
        torch.manual_seed(seed)
        likelihood = likelihood or pv.likelihood_for(data)
        options = {} if decoder is None else {"decoder": decoder}
        model = pv.VAE(data.shape, likelihood=likelihood, mean=data.mean, **options)
        return run(data, model, pv.EncoderGuide(data.shape), seed, epochs=epochs, beta=beta)

    if data.is_binary:
        yield "beta 30", partial(go, beta=30.0)
    else:
        scale = 30 * data.train.x.std().item()
        yield "sigma 30 times the data's", partial(go, pv.Gaussian(scale, learn="none"))
    yield "a decoder without z", partial(go, decoder=Ignorant)


WHAT = {"defaults": defaults, "tuned": tuned, "provoked": provoked}


def main(arguments: list[str] | None = None) -> None:
    """Command line; rows that the file has already are not measured again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--epochs", type=int, help="instead of 100 (mnist 20)")
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    kept = options.json is not None and options.json.is_file()
    rows = json.loads(options.json.read_text())["rows"] if kept else []
    known = {(row["set"], row["setting"], row["seed"]) for row in rows}
    command = f"python experiments/first_run.py {options.what}"
    facts: dict[str, Any] = {"what": options.what, "command": command}
    facts |= {"device": resolve_device("auto").type, "threads": torch.get_num_threads()}
    facts |= {name: version(name) for name in ("torch", "pyro-ppl")}

    for name in options.sets:
        data = load(name, options.faces)
        for seed in options.seeds:
            epochs = options.epochs or EPOCHS.get(name, 100)
            for setting, go in WHAT[options.what](name, data, seed, epochs):
                if (name, setting, seed) in known:
                    continue
                row = {"set": name, "setting": setting, **go()}
                rows.append({key: None if value != value else value for key, value in row.items()})
                told = f"ELBO {row['elbo']:.2f}, {row['active_units']} of {row['num_units']} units"
                told += f", alarm {row['alarm']}, {row['seconds']} s"
                print(f"{name} seed {seed} {setting}: {told}", flush=True)
                if options.json is not None:
                    options.json.write_text(json.dumps(facts | {"rows": rows}, indent=1))

    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        for setting in dict.fromkeys(row["setting"] for row in own):
            summarise(name, setting, [row for row in own if row["setting"] == setting])


def summarise(name: str, setting: str, rows: list[dict[str, Any]]) -> None:
    """One line for a set under a setting."""
    diverged = sum(row["elbo"] is None for row in rows)
    told = f"{name:9s} {setting:38s}"
    if diverged:
        print(f"{told} the loss became non-finite in {diverged} of {len(rows)} runs")
        return

    elbos = torch.tensor([row["elbo"] for row in rows], dtype=torch.float64)
    error = elbos.std().item() / math.sqrt(len(rows)) if len(rows) > 1 else math.nan
    valid = sum(row["valid_elbo"] for row in rows) / len(rows)
    units = [row["active_units"] for row in rows]
    alarms = sum(row["alarm"] is not None for row in rows)
    told += f" test ELBO {elbos.mean():9.2f} +- {error:.2f}, valid {valid:9.2f}"
    told += f", units {min(units)} to {max(units)} of {rows[0]['num_units']}"
    print(f"{told}, alarms {alarms} of {len(rows)}")


if __name__ == "__main__":
    main()
