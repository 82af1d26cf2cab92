"""Wrong data, and wrong words about them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.data import TensorDataset

import pyro_vae as pv
from pyro_vae.data import as_dataset
from pyro_vae.data.items import Items
from pyro_vae.data.readers import reader_of
from tests.misuse.values import BINARY, INF, NO_SEED, ROWS, SET, SPLIT, WHOLE, X, holed, use

READER = reader_of(Items(TensorDataset(X)), "some", "real")
STREAM = pv.Stream("train", READER, ROWS, "none")

DATA = [
    use(
        pv.Split,
        {"name": "train", "pixels": BINARY, "binarise": "none", "labels": ROWS},
        name=[None, 3, ""],
        pixels=[
            BINARY.tolist(),
            BINARY.numpy(),
            None,
            BINARY[:0],
            BINARY[0, 0],
            holed(INF),
            BINARY.long(),
            BINARY.half(),
        ],
        binarise=["sometimes", None, True],
        seed=NO_SEED,
        origin=[ROWS.float(), ROWS[:3], ROWS.tolist(), ROWS - 1],
        drawn=[BINARY[:3], BINARY.tolist(), WHOLE],
        kinds=["real", ("real",), ("ordinal",) * BINARY.shape[1], ["real"] * BINARY.shape[1], 3],
        context=[
            X[:3],
            X.half(),
            X.tolist(),
            ROWS.int(),
            X[:, :0],
            holed(float("nan")),
            X[:, :, None],
        ],
        labels=[ROWS.float(), ROWS[:3], ROWS.tolist(), ROWS[:, None], "a", ROWS.to("meta")],
        label_names=["abc", ("a",), ["a"] * 12, tuple(range(12)), 3],
    ),
    use(
        SPLIT.batch,
        {"index": ROWS[:3], "generator": torch.Generator()},
        index=[-ROWS[:3] - 1, ROWS + 1, ROWS.float(), [0, 1], 3, ROWS.int()],
    ),
    use(
        replace(SPLIT, binarise="dynamic").batch,
        {"index": ROWS[:3], "generator": torch.Generator()},
        generator=[None, 0],
    ),
    use(SPLIT.take, {"n": 3}, n=[0, -1, 13, 1.5, True, "3", None]),
    use(SPLIT.numbers, {"index": ROWS[:3]}, index=[ROWS.float(), [0, 1], 3]),
    use(
        pv.Dataset,
        {"name": "some", "train": SPLIT, "valid": None, "test": SPLIT},
        name=[None, 3],
        train=[BINARY, None, [SPLIT]],
        valid=[BINARY, 3, pv.Split("valid", BINARY[:, :3], "none")],
        test=[BINARY, None, replace(SPLIT, binarise="dynamic")],
        column_names=["abc", ("a",), (1, 2), 3],
        levels=[3, ("a",), [None]],
        left_out=["abc", (1,), None],
        context_names=["abc", ("a",), 3],
    ),
    use(SET.bits_per_dim, {"nats": -2.0}, nats=["two", None, [1.0]]),
    use(SPLIT.under, {"binarise": "threshold"}, binarise=["sometimes", None, "dequantise"]),
    use(SET.under, {"binarise": "threshold"}, binarise=["sometimes", None, "dequantise"]),
    use(pv.fingerprint, {"x": X}, x=[X.tolist(), X.numpy(), None, X.to_sparse(), X.to("meta")]),
    use(pv.likelihood_for, {"data": SET}, data=[X, None, "digits", SPLIT]),
    use(
        pv.load,
        {"source": "digits"},
        source=[
            None,
            3,
            "",
            "mnits",
            "nowhere/x.npy",
            b"digits",
            "nul\0.npy",
            "~nobody/x.npy",
            "x" * 5000 + ".npy",
        ],
        binarise=["sometimes", True, 3],
        values=["grey", 3, "real"],
        kinds=["real", {"a": 3}, {3: "real"}, {"a": "ordinal"}, {"a": "real"}],
        context=["classes", 3, ["a"], True],
        valid=[-1, 99999, 0.1, True, "3"],
        seed=NO_SEED,
        root=[3, b"here"],
        memory_map=[1, None, "yes", True],
    ),
    use(
        as_dataset,
        {"data": X, "valid": 2},
        data=[
            X.tolist(),
            None,
            "digits",
            X[:0],
            X[0, 0],
            holed(INF),
            X.numpy().astype(object),
            X.to(torch.complex64),
        ],
        valid=[-1, 12, 0.1, True, "3"],
        values=["grey", 3],
        kinds=["real", {"a": "ordinal"}, {"a": "real"}],
        context=["labels", 3, X[:3], holed(float("nan")), X.numpy().astype(str), X[:, :, None]],
        workers=[-1, 0.5, None, True],
    ),
    use(
        pv.Stream,
        {"name": "train", "reader": READER, "origin": ROWS, "binarise": "none"},
        name=[None, 3, ""],
        reader=[BINARY, None, SPLIT],
        origin=[ROWS.float(), ROWS + 1, ROWS - 1, ROWS.tolist(), ROWS[:0]],
        binarise=["sometimes", None, "static", "dequantise"],
        seed=NO_SEED,
        workers=[-1, 0.5, None],
    ),
    use(STREAM.take, {"n": 3}, n=[0, -1, 13, 1.5, True, "3", None]),
    use(STREAM.blocks, {"size": 3}, size=[0, -1, 1.5, "3", True]),
    use(STREAM.numbers, {"index": ROWS[:3]}, index=[ROWS.float(), [0, 1], 3]),
    use(
        STREAM.batch,
        {"index": ROWS[:3], "generator": torch.Generator()},
        index=[-ROWS[:3] - 1, ROWS + 1, ROWS.float(), [0, 1], 3, ROWS.int()],
    ),
]
