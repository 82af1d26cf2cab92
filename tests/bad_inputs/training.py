"""Mistakes in the recipe, in the settings and the folder of a run, and in how it goes on."""

from __future__ import annotations

import numpy as np

from tests.bad_inputs.places import (
    REAL,
    TRAIN,
    Case,
    array,
    edited,
    misplaced,
    moved,
    saved,
    text,
    torn,
    without,
)

TRAINING = [
    # recipe
    Case("negative epochs", f"{TRAIN} --epochs -1", "epochs: got -1, expected a positive integer"),
    Case(
        "batch size 0", f"{TRAIN} --batch_size 0", "batch_size: got 0, expected a positive integer"
    ),
    Case("beta NaN", f"{TRAIN} --beta nan", "nan"),
    Case("negative seed", f"{TRAIN} --seed -1", "seed: got -1, expected an integer >= 0"),
    Case(
        "patience without validation data",
        f"{TRAIN} --patience 2 --valid 0",
        "needs a validation split",
    ),
    Case(
        "the best epoch without validation data",
        f"{TRAIN} --keep best --valid 0",
        "keep: the best epoch needs",
    ),
    Case(
        "patience and the last epoch",
        f"{TRAIN} --patience 2 --keep last",
        "keep: got 'last', expected None or 'best'",
    ),
    Case(
        "counts that may be anything",
        f"{TRAIN} --data counts.npy",
        "pixels, counts, categories or grades? Say values='pixels'",
        array("counts.npy", np.arange(60).reshape(20, 3) % 7),
    ),
    Case(
        "real values as pixels",
        f"{TRAIN} --data r.npy --values pixels",
        "expected pixels",
        array("r.npy", REAL),
    ),
    Case(
        "what the numbers of a known set are",
        f"{TRAIN} --values real",
        "values='real': digits is a set of pixels",
    ),
    Case(
        "a table with other separators",
        f"{TRAIN} --data t.csv",
        "t.csv: its values are separated by semicolons",
        text("t.csv", "a;b\n1;2\n"),
    ),
    Case(
        "a table with a line too long",
        f"{TRAIN} --data t.csv",
        "line 3 has 3 values, the first line 2 names",
        text("t.csv", "a,b\n1,2\n1,2,3\n"),
    ),
    Case(
        "a table that numbers its rows",
        f"{TRAIN} --data t.csv",
        "the column 'id' numbers the rows, as an index does",
        text("t.csv", "id,b\n" + "".join(f"{row},{row / 7}\n" for row in range(20))),
    ),
    Case(
        "the kind of a column that is not there",
        f"{TRAIN} --data t.csv --kinds.aeg real",
        "kinds: t.csv has no column 'aeg', expected one of age, b; did you mean 'age'?",
        text("t.csv", "age,b\n" + "0.5,1.5\n" * 20),
    ),
    Case(
        "a kind that is none",
        f"{TRAIN} --data t.csv --kinds.age ordinal",
        "kinds: got 'ordinal' for 'age'",
    ),
    Case(
        "a context of columns that have no names",
        f"{TRAIN} --context '[age]'",
        "context: got ['age'], expected None or 'labels'",
    ),
    Case(
        "a rule that is not for the likelihood",
        f"{TRAIN} --binarise dynamic --model.likelihood Gaussian",
        "binarise='dynamic' makes no data for a Gaussian likelihood",
    ),
    Case(
        "binary data for a density",
        f"{TRAIN} --binarise dequantise --model.likelihood Bernoulli",
        "binarise='dequantise' makes no data for a Bernoulli likelihood",
    ),
    Case(
        "dequantised real values",
        f"{TRAIN} --data r.npy --binarise dequantise",
        "real values",
        array("r.npy", REAL),
    ),
    Case(
        "a fixed sigma without a number",
        f"{TRAIN} --model.likelihood Gaussian --model.likelihood.learn none",
        "sigma: got None",
    ),
    Case(
        "device cuda without a GPU",
        f"{TRAIN} --device cuda",
        "device: got 'cuda', but torch sees no CUDA device",
    ),
    # configuration and folder
    Case(
        "a folder that holds a run",
        f"{TRAIN} --folder run",
        "folder: run holds a run already: resume it",
    ),
    Case(
        "a file as run folder",
        f"{TRAIN} --folder taken",
        "folder: cannot make taken",
        text("taken", ""),
    ),
    Case("missing configuration", f"{TRAIN} --config no.yaml", "no.yaml"),
    Case(
        "broken YAML",
        f"{TRAIN} --config broken.yaml",
        "broken.yaml: cannot be read as YAML",
        text("broken.yaml", "epochs: [1,\nmodel: }"),
    ),
    Case(
        "unknown key in the YAML",
        f"{TRAIN} --config odd.yaml",
        "epoch_s",
        text("odd.yaml", "epoch_s: 3\n"),
    ),
    # resume
    Case("resume a missing run", "resume nowhere", "nowhere: no such folder"),
    Case(
        "resume without a checkpoint",
        "resume run",
        "no checkpoint.pt in it",
        without("checkpoint.pt"),
    ),
    Case(
        "resume from a torn checkpoint",
        "resume run",
        "checkpoint.pt: not a readable checkpoint",
        torn("checkpoint.pt"),
    ),
    Case(
        "weights in the place of the checkpoint",
        "resume run",
        "not a readable checkpoint",
        misplaced,
    ),
    Case("the same, with epochs", "resume run --epochs 9", "not a readable checkpoint", misplaced),
    Case("the same, to be sampled", "sample run", "not a readable checkpoint", moved),
    Case(
        "a checkpoint of something else",
        "resume run",
        "holds something else",
        saved("checkpoint.pt", {"a": 1}),
    ),
    Case(
        "resume with other data, and more epochs",
        "resume run --epochs 9",
        "has changed since the run was trained on it",
        edited(data="flat.npy"),
    ),
    Case(
        "resume with other data",
        "resume run",
        "has changed since the run was trained on it",
        edited(data="flat.npy"),
    ),
    Case(
        "resume with another binarisation",
        "resume run",
        "the run was started with",
        edited(binarise="threshold"),
    ),
    Case(
        "resume with another batch size",
        "resume run",
        "batch_size = 64, got 32",
        edited(batch_size=32),
    ),
    Case(
        "resume with another optimizer",
        "resume run",
        "optimizer",
        edited(optimizer="torch.optim.SGD"),
    ),
    Case("resume to fewer epochs than done", "resume run --epochs 1", "epochs"),
    Case(
        "resume to 0 epochs", "resume run --epochs 0", "epochs: got 0, expected a positive integer"
    ),
]
