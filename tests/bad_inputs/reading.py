"""Mistakes in the commands that read a run."""

from __future__ import annotations

import torch

from pyro_vae.inference.weights import NAME as WEIGHTS
from tests.bad_inputs.places import (
    Case,
    earlier,
    edited,
    flipped,
    pickled,
    rewritten,
    saved,
    text,
    torn,
    without,
)

READING = [
    # evidence, sample, reconstruct, compare, diagnose, export, info
    Case("evidence on a missing run", "evidence nowhere", "nowhere: no such folder"),
    Case(
        "evidence on a folder without a configuration",
        "evidence run",
        "no config.yaml in it",
        without("config.yaml"),
    ),
    Case("evidence on torn weights", "evidence run", "the checksum is wrong", torn(WEIGHTS)),
    Case(
        "a bit of the weights is another",
        "info run",
        "the checksum is wrong, the file is damaged",
        flipped,
    ),
    Case(
        "weights with a NaN",
        "sample run",
        "got NaN or infinity",
        rewritten(lambda s: s["guide"]["head.bias"].mul_(torch.nan)),
    ),
    Case(
        "weights of another run",
        "evidence run",
        "is of the run abcabcab",
        rewritten(lambda s: None, "abc" * 10),
    ),
    Case("weights of an earlier version", "evidence run", "of an earlier version", earlier),
    Case(
        "evidence without any weights",
        "evidence run",
        "checkpoint",
        without(WEIGHTS, "checkpoint.pt"),
    ),
    Case(
        "weights of another architecture",
        "evidence run",
        "do not fit VAE",
        edited(model__hidden=[9]),
    ),
    Case(
        "a pickle that runs code as weights",
        "evidence run",
        "no readable weights",
        pickled(WEIGHTS),
    ),
    Case(
        "a file of another program as weights",
        "sample run",
        "no readable",
        saved(WEIGHTS, {"net": torch.ones(2)}),
    ),
    Case(
        "weights without their parts",
        "sample run",
        "do not fit VAE",
        rewritten(lambda s: s.pop("model")),
    ),
    Case(
        "num_particles 0",
        "evidence run --method.num_particles 0",
        "num_particles: got 0, expected a positive integer",
    ),
    Case(
        "max_bytes 0",
        "evidence run --method.max_bytes 0",
        "max_bytes: got 0, expected a positive integer",
    ),
    Case(
        "negative seed of the particles",
        "evidence run --method.seed -1 --method.num_particles 2",
        "seed: got -1, expected",
    ),
    Case("more data than the split has", "evidence run --num_data 301", "num_data: got"),
    Case("num_data 0", "reconstruct run --num_data 0", "num_data: got"),
    Case(
        "a validation split where there is none",
        "evidence run --split valid",
        "no 'valid' split",
        edited(valid=0, meant=True),
    ),
    Case(
        "no samples",
        "sample run --num_samples 0",
        "num_samples: got 0, expected a positive integer",
    ),
    Case(
        "a picture that cannot be written",
        "sample run --out taken/x.png",
        "out: cannot make taken",
        text("taken", ""),
    ),
    Case("a picture without a format", "sample run --out picture", "out: cannot write picture"),
    Case("a picture as a table", "embed run --out x.csv", "out: cannot write x.csv"),
    Case(
        "a negative temperature",
        "sample run --temperature -1",
        "temperature: got -1.0, expected a finite number >= 0",
    ),
    Case("one datum has no neighbour", "interpolate run --num_data 1", "num_data: got 1, expected"),
    Case("a datum that is not there", "traverse run --datum 300", "datum: got 300, expected"),
    Case(
        "a map of three numbers",
        "manifold run",
        "manifold: the model has 3 latent numbers, expected 2 real ones: use traverse or embed",
    ),
    Case("no draws of the prior", "embed run --num_prior 0", "num_prior: got 0, expected"),
    Case(
        "a JSON that cannot be written",
        "evidence run --method.num_particles 2 --out taken/x.json",
        "out: cannot make",
        text("taken", ""),
    ),
    Case(
        "a guide that compare does not know",
        "compare run --guides amortized,full",
        "guides: got full, expected some of",
    ),
    Case("no guide at all", "compare run --guides ,", "guides: got none, expected some of"),
    Case(
        "compare by one particle",
        "compare run --num_particles 1",
        "num_particles: got 1, expected an integer >= 2",
    ),
    Case(
        "exact log p(x) of a model that has none",
        "evidence run --method Exact",
        "VAE has no method `log_px`",
    ),
    Case(
        "quadrature over three latents",
        "evidence run --method Quadrature",
        "got 3 latent values per datum",
    ),
    Case("a method that does not exist", "evidence run --method magic", "method"),
    Case(
        "one temperature",
        "evidence run --method Annealed --method.num_temperatures 1",
        "num_temperatures: got 1, expected",
    ),
    Case(
        "one chain",
        "evidence run --method Annealed --method.num_chains 1",
        "num_chains: got 1, expected an integer >= 2",
    ),
    Case(
        "no time at all",
        "evidence run --method Annealed --method.budget 0",
        "budget: got 0.0, expected a number of seconds",
    ),
    Case(
        "an error of zero",
        "evidence run --method.target_error 0",
        "target_error: got 0.0, expected a positive number",
    ),
    Case(
        "all particles from the prior",
        "evidence run --method.defensive 1",
        "defensive: got 1.0, expected a share",
    ),
    Case(
        "diagnose an unknown guide",
        "diagnose run --guides best",
        "guides: got best, expected some of",
    ),
    Case(
        "diagnose by five simulations",
        "diagnose run --num_simulations 5",
        "num_simulations: got 5, expected",
    ),
    Case(
        "diagnose by one sandwich",
        "diagnose run --num_sandwich -1",
        "num_sandwich: got -1, expected",
    ),
    Case(
        "NUTS on more data than there are",
        "diagnose run --num_data 2 --num_nuts 3",
        "num_nuts: got 3, expected",
    ),
    Case(
        "export no draws",
        "export run --num_draws 0",
        "num_draws: got 0, expected a positive integer",
    ),
    Case(
        "export a split that is not there",
        "export run --split valid",
        "no 'valid' split",
        edited(valid=0, meant=True),
    ),
    Case(
        "compare with one temperature",
        "compare run --num_temperatures 1",
        "num_temperatures: got 1, expected 0",
    ),
    Case(
        "diagnose by ten particles",
        "diagnose run --num_particles 10",
        "num_particles: got 10, expected",
    ),
    Case(
        "compare with no draws",
        "compare run --draws 0",
        "draws: got 0, expected a positive integer",
    ),
    Case(
        "compare on more data than there are",
        "compare run --num_data 9999",
        "num_data: got 9999, expected 1 to",
    ),
    Case(
        "a folder that cannot be made",
        "compare run --out taken/x",
        "out: cannot make",
        text("taken", ""),
    ),
    Case(
        "info on an empty table of metrics", "info run", "metrics.csv", text("run/metrics.csv", "")
    ),
    Case(
        "info on a torn evidence.json",
        "info run",
        "evidence.json",
        text("run/evidence.json", '{"elbo": -2'),
    ),
]
