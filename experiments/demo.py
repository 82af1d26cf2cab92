"""The main job in a minute: train a VAE, swap its guide, read off what each costs, look at it.

On scikit-learn's 8x8 digits, binarised, by four commands that are printed as they are run. One
decoder is trained with an amortized guide; then the decoder is frozen, and classical guides, with
parameters of their own for each datum, are fitted to held-out data: the table has all guides on the
same data. The last line is the path of a page with everything that was found.

Run:  python experiments/demo.py [--epochs N] [--num-data N] [--num-particles S] [--out runs/demo]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from pyro_vae.cli import main as pyro_vae
from pyro_vae.runs.card import is_run, state_of


def commands(options: argparse.Namespace) -> list[list[str]]:
    """What is run, one after the other; a run that is there already is not trained again."""
    run, data = str(options.out), ["--num-data", str(options.num_data)]
    particles = str(options.num_particles)
    train = ["train", "--data", "digits", "--folder", run, "--model.latent_dim", "8"]
    train += ["--epochs", str(options.epochs), "--optimizer.lr", "3e-3"]
    train += ["--schedule", "CosineAnnealingLR", "--schedule.T_max", str(options.epochs)]

    compare = ["compare", run, "--guides", "amortized,mean-field,full-rank", "--split", "test"]
    evidence = ["evidence", run, "--method.num_particles", particles]
    rest = [
        [*compare, *data, "--num-particles", particles],
        [*evidence, *data],
        ["report", run],
    ]
    return rest if is_run(options.out) and state_of(options.out) == "finished" else [train, *rest]


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--num-data", type=int, default=300, help="held-out data that are scored")
    parser.add_argument("--num-particles", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # nets this small gain nothing from a second core
    if is_run(options.out):
        print(f"{options.out} was trained before: remove it to train again\n")
    for command in commands(options):
        print(f"$ pyro-vae {' '.join(command)}", flush=True)
        code = pyro_vae(command)
        if code:
            return code
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
