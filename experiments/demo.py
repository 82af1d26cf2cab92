"""The main job in a minute: train a VAE, swap its guide, and read off what each guide costs.

On scikit-learn's 8x8 digits, binarised. One decoder is trained with an amortized guide; then the
decoder is frozen, and the classical guide, the same family with parameters of its own for each
datum, is fitted to the held-out data. The table has both guides on the same data; pictures go to
the output folder.

Run:  python experiments/demo.py [--epochs N] [--num-particles S] [--out runs/demo]
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

import pyro_vae as pv
from pyro_vae.report.images import interleave, save_grid
from pyro_vae.report.tables import evidence_table, show


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--local-steps", type=int, default=500)
    parser.add_argument("--num-particles", type=int, default=2500)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # nets this small gain nothing from a second core
    data = pv.load("digits")
    torch.manual_seed(0)
    model = pv.VAE(data.shape, latent_dim=8, hidden=(128,), mean=data.mean)
    amortized = pv.Amortized(pv.MeanField(8), pv.MLP(data.shape, (128,)))

    started = time.monotonic()
    recipe = pv.Recipe(
        epochs=options.epochs,
        batch_size=64,
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        schedule=partial(CosineAnnealingLR, T_max=options.epochs),
    )
    pv.fit(model, amortized, data, recipe, device="cpu")
    seconds = {"amortized": time.monotonic() - started}

    x = data.test.x
    started = time.monotonic()
    local = pv.Local(pv.MeanField(8), num_data=len(x))
    pv.fit_local(model, local, x, num_steps=options.local_steps)
    seconds["classical (per datum)"] = time.monotonic() - started

    rows = []
    method = pv.Importance(num_particles=options.num_particles)
    for (name, spent), guide in zip(seconds.items(), (amortized, local), strict=True):
        rows.append((name, pv.log_evidence(model, guide, x, method).summary(), spent))
    title = f"digits: {len(x)} held-out data, one decoder, {options.num_particles} particles"
    show(evidence_table(title, rows))

    means = model.decode(amortized.q(x[:32]).mean)
    print(save_grid(interleave(x[:32], means), options.out / "reconstructions.png", columns=16))
    torch.manual_seed(0)
    print(save_grid(model.sample(64), options.out / "samples.png"))


if __name__ == "__main__":
    main()
