"""Context: what goes with each datum, by its number, through splits, devices and rules."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor

from pyro_vae.data import Dataset, Split, as_dataset, load
from tests.data.arrays import GREY, REAL, npz
from tests.data.test_tables import CITIES, FRAME, csv
from tests.real import REAL_ROOT, needs_mnist

X = np.random.RandomState(0).randn(50, 3).astype(np.float32)


def of(x: Any) -> Any:
    """A context that is a function of the datum, so that any misplacement shows."""
    return np.stack([2 * x[:, 0], x.sum(1)], 1)


def check(data: Dataset) -> None:
    """Each row, in its split and in the table by number, has the context of its x."""
    table = data.context
    assert table is not None and table.shape == (data.num_rows, 2)
    for split in data.splits.values():
        expected = torch.from_numpy(of(split.x.numpy()))
        assert split.context is not None and split.context.dtype == torch.float32
        assert torch.allclose(split.context, expected)
        assert torch.equal(table[split.numbers()], split.context)


@pytest.mark.parametrize("valid", [None, 0, 7])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_context_stays_with_its_datum(parts: int, valid: int | None, tmp_path: Path) -> None:
    if parts == 1:
        path = npz(tmp_path, x=X, c=of(X))
    else:
        cuts = dict(zip(("train", "test", "valid"), (X[:30], X[30:40], X[40:]), strict=True))
        names = list(cuts)[:parts]
        arrays = {name: cuts[name] for name in names}
        path = npz(tmp_path, **arrays, **{f"c_{name}": of(cuts[name]) for name in names})
    data = load(path, valid=None if parts == 3 else valid)
    check(data)
    check(data.under("none").to("cpu"))
    check(pickle.loads(pickle.dumps(data)))
    few = replace(data, train=data.train.take(5))
    check(few)
    bare = few.context
    assert bare is not None
    unknown = torch.ones(few.num_rows, dtype=torch.bool)
    for split in few.splits.values():
        unknown[split.numbers()] = False
    assert unknown.any() and bare[unknown].isnan().all()


def test_an_array_is_given_one() -> None:
    for context in (of(X), torch.from_numpy(of(X))):
        check(as_dataset(X, context=context))
        check(as_dataset(torch.from_numpy(X), 0, context=context))
    codes = as_dataset(X, context=np.arange(50) % 4)
    assert codes.context is not None and codes.context.dtype == torch.int64
    assert torch.equal(codes.context, torch.arange(50) % 4)
    assert "context  a code" in repr(codes)
    assert as_dataset(X, context=X[:, 0]).context.shape == (50, 1)  # type: ignore[union-attr]


def test_splits_by_hand_are_numbered_with_their_context() -> None:
    x = torch.from_numpy(X)
    cut = [
        Split(name, x[a:b], "none", context=torch.from_numpy(of(X))[a:b])
        for name, a, b in (("train", 0, 30), ("valid", 30, 40), ("test", 40, 50))
    ]
    data = Dataset("own", *cut, context_names=("twice", "sum"))
    check(data)
    assert "context  2 values: twice, sum" in repr(data) and "context (2,)" in repr(data.train)
    assert data.summary()["context_names"] == ["twice", "sum"]
    with pytest.raises(ValueError, match="the context of test is None, that of train"):
        Dataset("own", cut[0], None, replace(cut[2], context=None))
    with pytest.raises(ValueError, match="context_names: got names, but no context"):
        bare = replace(cut[0], context=None)
        Dataset("own", bare, None, bare, context_names=("a",))


def test_a_fingerprint_has_the_context_in_it_where_there_is_one() -> None:
    with_context = as_dataset(X, 0, context=of(X)).train
    bare = replace(with_context, context=None)
    assert bare.fingerprint == as_dataset(X, 0).train.fingerprint != with_context.fingerprint
    other = replace(with_context, context=with_context.context + 1)
    assert len({split.fingerprint for split in (bare, with_context, other)}) == 3
    assert load("digits").test.fingerprint == "f1e5f961e9ad2775"  # as before there was a context


def hot(context: Tensor | None) -> list[int]:
    assert context is not None and context.dtype == torch.float32
    assert torch.equal(context.sum(1), torch.ones(len(context)))
    return context.argmax(1).tolist()


def test_labels_become_a_context() -> None:
    data = load("digits", context="labels")
    assert data.context is not None and data.context.shape == (1797, 10)
    assert data.context_names == tuple("0123456789")
    for split in data.splits.values():
        assert split.labels is not None and hot(split.context) == split.labels.tolist()
    assert torch.equal(data.train.x, load("digits").train.x)
    assert load("digits").context is None


@needs_mnist
def test_mnist_has_a_context() -> None:
    data = load("mnist", root=REAL_ROOT, context="labels")
    assert hot(data.test.context)[:5] == [7, 2, 1, 0, 4]


def test_classes_are_those_of_all_parts(tmp_path: Path) -> None:
    texts = np.array(["one", "two"] * 10)
    parts: dict[str, Any] = {"train": GREY, "test": GREY[:7]}
    data = load(npz(tmp_path, **parts, y_train=texts, y_test=texts[1:8]), context="labels")
    assert data.context_names == ("one", "two") and hot(data.test.context)[:3] == [1, 0, 1]
    data = load(npz(tmp_path, **parts, y_train=[3, 5] * 10, y_test=[-1] * 7), context="labels")
    assert data.context_names == ("-1", "3", "5") and hot(data.test.context) == [0] * 7
    data = load(npz(tmp_path, **parts, c_train=np.arange(20), c_test=np.arange(7)))
    assert data.train.context.dtype == torch.int64 and data.test.context.tolist() == [*range(7)]
    assert load(npz(tmp_path, c=REAL)).context is None  # the one array is the data
    assert load(npz(tmp_path, c=REAL, y=np.arange(20))).train.labels is not None


@pytest.mark.parametrize("wrapping", ["csv", "frame"])
def test_columns_become_a_context(wrapping: str, tmp_path: Path) -> None:
    names = ["city", "height", "smokes"]
    data = as_dataset(FRAME, context=names)
    if wrapping == "csv":
        data = load(csv(tmp_path), context=names)
    assert data.column_names == ("visits", "sex", "frost")
    assert data.kinds == ("counts", "binary", "real") and data.left_out == ()
    expected = [*(f"city={city}" for city in CITIES), "height", "smokes"]
    assert data.context_names == tuple(expected)
    for split in data.splits.values():
        rows = FRAME.iloc[split.numbers().numpy()]
        assert hot(split.context[:, :3]) == [CITIES.index(city) for city in rows["city"]]
        given = torch.tensor(rows[["height", "smokes"]].to_numpy("float32"))
        assert torch.allclose(split.context[:, 3:], given)
    one = as_dataset(FRAME, context="city", kinds={"visits": "real"})
    assert one.context.shape == (40, 3) and one.kinds[1:3] == ("real", "binary")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"c_train": np.eye(20)}, "there is a context c_train and no c_test"),
        ({"c_train": np.eye(20)[:19], "c_test": np.eye(20)}, r"c_train: got .*N = 20, a row"),
        ({"c_train": np.eye(20), "c_test": np.arange(20)}, "differ in dtype or width"),
        ({"c_train": np.eye(20), "c_test": np.full((20, 20), np.nan)}, "c_test: holds NaN or inf"),
        ({"c_train": np.array(["a"] * 20), "c_test": np.eye(20)}, "c_train: got"),
    ],
)
def test_a_context_that_does_not_fit_is_told(arrays: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load(npz(tmp_path, train=GREY, test=GREY, **arrays))


def test_a_context_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"context: got 'labels', but .* has none"):
        load(npz(tmp_path, x=GREY), context="labels")
    with pytest.raises(ValueError, match=r"context: got \['a'\], expected None or 'labels'"):
        load("digits", context=["a"])
    with pytest.raises(ValueError, match="context: data has no column 'town'"):
        as_dataset(FRAME, context=["town"])
    with pytest.raises(ValueError, match="context: the column 'city' is dropped"):
        as_dataset(FRAME, context=["city"], kinds={"city": "drop"})
    holed = FRAME.assign(city=[None, *FRAME["city"][1:]])
    with pytest.raises(ValueError, match="'city' has missing values, expected a context"):
        as_dataset(holed, context=["city"])
    with pytest.raises(ValueError, match="has its context already"):
        as_dataset(load("digits"), context="labels")
    frame = pandas.DataFrame({"a": np.arange(12) / 7})
    with pytest.raises(ValueError, match="no columns are left"):
        as_dataset(frame, context="a")
