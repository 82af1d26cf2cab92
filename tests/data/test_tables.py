"""Tables: .csv, .tsv, .parquet and frames of pandas; kinds inferred, shown, overridden."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from pyro_vae import VAE, EncoderGuide, Gaussian, fit
from pyro_vae.data import as_dataset, load
from tests.faults.scale import times
from tests.scenarios import eager

N = 40
RNG = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "height": RNG.normal(size=N),
        "visits": RNG.poisson(4.0, N),
        "smokes": RNG.integers(0, 2, N).astype(bool),
        "sex": RNG.integers(0, 2, N),
        "city": RNG.choice(["Rome", "Bern", "Paris"], N),
        "frost": RNG.integers(-9, 9, N),
    }
)
KINDS = ("real", "counts", "binary", "binary", "categories:3", "real")
CITIES = ("Bern", "Paris", "Rome")


def csv(path: Path, frame: Any = FRAME, name: str = "t.csv", **options: Any) -> Path:
    frame.to_csv(path / name, **{"index": False} | options)
    return path / name


def numbers(frame: Any = FRAME) -> torch.Tensor:
    """The frame as float32, cities by their place in the alphabet."""
    codes = frame["city"].map(CITIES.index)
    return torch.tensor(frame.assign(city=codes).to_numpy(dtype="float32"))


@pytest.mark.parametrize("wrapping", ["csv", "index", "tsv", "frame", "float64"])
def test_a_table_is_the_same_data_in_any_wrapping(wrapping: str, tmp_path: Path) -> None:
    if wrapping == "tsv":
        data = load(csv(tmp_path, name="t.tsv", sep="\t"))
    elif wrapping in ("csv", "index"):
        data = load(csv(tmp_path, index=wrapping == "index"))
    else:
        dtype = torch.float64 if wrapping == "float64" else torch.float32
        data = as_dataset(FRAME, dtype=dtype)

    assert data.kinds == KINDS and data.column_names == tuple(FRAME.columns)
    assert data.levels == (None, None, None, None, CITIES, None) and data.binarise == "none"
    assert data.left_out == (("Unnamed: 0",) if wrapping == "index" else ())
    for split in data.splits.values():
        found = numbers()[split.numbers()]
        assert torch.allclose(split.x.float(), found) and split.kinds == KINDS
    assert sum(map(len, data.splits.values())) == N


def test_the_columns_are_shown() -> None:
    told = " ".join(repr(as_dataset(FRAME)).split())
    assert "data of 6 columns (2 real, 2 binary, 1 counts, 1 categories)" in told
    assert "columns height real, visits counts, smokes binary, sex binary, city" in told
    assert "city categories:3 (Bern, Paris, Rome), frost real" in told
    many = as_dataset(pandas.DataFrame(RNG.poisson(3.0, (20, 30))))
    assert "11 counts and 18 more" in repr(many) and len(repr(many).splitlines()) < 12


def test_kinds_override(tmp_path: Path) -> None:
    asked = {"visits": "categories", "sex": "real", "smokes": "categories:3", "frost": "drop"}
    data = load(csv(tmp_path), kinds=asked)
    most = f"categories:{FRAME['visits'].nunique()}"
    assert data.kinds == ("real", most, "categories:3", "real", "categories:3")
    assert data.left_out == ("frost",) and "left out  frost" in repr(data)
    assert data.levels is not None and data.levels[2] == ("0", "1", "2")
    levels = torch.tensor([int(level) for level in data.levels[1] or ()])
    assert torch.equal(
        levels[data.train.x[:, 1].long()], torch.tensor(FRAME["visits"])[data.train.numbers()]
    )
    whole = as_dataset(FRAME.drop(columns=["height", "city", "frost"]), values="categories")
    assert whole.kinds == (most, "categories:2", "categories:2")


def test_a_table_of_yes_and_no_is_binary_data_and_one_of_bytes_may_be_pixels() -> None:
    binary = as_dataset(FRAME[["smokes", "sex"]])
    assert binary.is_binary and binary.binarise == "dynamic" and binary.kinds == ("binary",) * 2
    assert torch.equal(
        binary.train.x,
        torch.tensor(FRAME[["smokes", "sex"]].to_numpy("float32"))[binary.train.numbers()],
    )
    grey = pandas.DataFrame(RNG.integers(0, 256, (20, 3)), columns=list("abc")).assign(y="one")
    data = as_dataset(grey, values="pixels", kinds={"y": "drop"})
    assert data.train.pixels.dtype == torch.uint8 and data.kinds is None


def test_categories_of_pandas_keep_their_order_and_their_levels() -> None:
    sizes = pandas.Categorical(["small", "large"] * 10, ["small", "middle", "large"])
    data = as_dataset(pandas.DataFrame({"size": sizes, "x": np.arange(20) / 7}), 0)
    assert data.kinds == ("categories:3", "real")
    assert data.levels == (("small", "middle", "large"), None)
    assert data.train.x[:4, 0].tolist() == [0, 2, 0, 2]


def test_numbers_among_python_s_objects() -> None:
    values = {"real": [1.0, None, 3.0], "counts": [2, None, 3], "binary": [True, None, False]}
    frame = pandas.DataFrame({name: pandas.Series(v, dtype=object) for name, v in values.items()})
    frame.index = pandas.Index([7, 7, 7])
    data = as_dataset(frame, 0)
    assert data.kinds == data.column_names == ("real", "counts", "binary")
    assert data.train.x[[0, 2]].tolist() == [[1, 2, 1], [3, 3, 0]]
    assert data.train.x[1].isnan().all()


def test_an_empty_cell_is_missing(tmp_path: Path) -> None:
    holed = FRAME.astype({"visits": "Int64", "smokes": "boolean"})
    for place, name in enumerate(holed.columns):
        holed.loc[place, name] = None
    path = csv(tmp_path, holed)
    for data in (load(path), as_dataset(holed)):
        assert data.kinds == KINDS
        for split in data.splits.values():
            place = split.numbers()
            expected = numbers()[place]
            for column in range(6):
                expected[place == column, column] = torch.nan
            assert torch.allclose(split.x, expected, equal_nan=True)


def test_a_frame_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    run = fit(
        VAE((6,), 2, (4,), Gaussian()), EncoderGuide((6,), 2, (4,)), FRAME, epochs=1, quiet=True
    )
    assert run.data.kinds == KINDS


ROWS = "".join(f"{i / 7:.3f},{i % 5}\n" for i in range(20))
GOOD = f"a,b\n{ROWS}"
BAD = {
    "empty": ("", "is empty"),
    "blank": ("\n\n", "nothing but empty lines"),
    "names alone": ("a,b\n", "holds names of columns and no data"),
    "long line": (f"{GOOD}1,2,3\n", "line 22 has 3 values, the first line 2 names"),
    "short line": (f"{GOOD}\n1\n", "line 23 has 1 values"),
    "semicolons": (GOOD.replace(",", ";"), "separated by semicolons, expected commas"),
    "tabs": (GOOD.replace(",", "\t"), "separated by tabs, expected commas"),
    "twice": (f"a,a\n{ROWS}", "2 columns are called 'a'"),
    "no name": (f"a,\n{ROWS}", "column 2 of 2 has no name"),
    "no first name": (f",b\n{ROWS.replace('0.143', '0.000')}", "has no name of its own"),
    "no line of names": (f"1.5,2\n{ROWS}", r"the first line holds numbers \(1.5, 2, ...\)"),
    "latin-1": (f"a,é\n{ROWS}".encode("latin-1"), r"is not text in UTF-8 \(byte 0xe9\)"),
    "utf-16": (GOOD.encode("utf-16"), "is not text in UTF-8"),
    "open quote": (f'{GOOD}"1,2\n', "cannot be read as a table"),
    "infinite": (f"{GOOD}inf,2\n", "holds inf"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as raised:
        load(tmp_path / "t.csv")
    assert "\n" not in str(raised.value) and str(raised.value).startswith(str(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    "content",
    [GOOD.replace("\n", "\r\n"), f"\ufeff{GOOD}", GOOD.replace(",", ", "), f"0,1\n{ROWS}"],
)
def test_what_is_a_table_all_the_same(content: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content.encode())
    assert load(tmp_path / "t.csv").kinds == ("real", "counts")


COLUMNS = {
    "id": (np.arange(N) + 1, "'id' numbers the rows.*'drop'}.*or 'real', or 'counts'"),
    "name": ([f"n{i}" for i in range(N)], "40 different texts in 40 rows, as names"),
    "born": (["2020-01-07"] * N, r"holds dates \('2020-01-07'\)"),
    "seen": (pandas.date_range("2020-01-01", periods=N), "holds dates or times"),
    "age": (["?", *map(str, range(1, N))], r"holds numbers and '\?'"),
    "none": ([np.nan] * N, "holds no values"),
    "mixed": ([3, "a"] * 20, "values of the types int, str"),
    "wave": (np.ones(N) * 1j, "complex numbers"),
    "Unnamed: 3": (["a"] * N, "has no name of its own"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_only_looks_like_data_is_asked_about(name: str) -> None:
    values, message = COLUMNS[name]
    frame = FRAME.assign(**{name: values})
    with pytest.raises(ValueError, match=message):
        as_dataset(frame)
    assert as_dataset(frame, kinds={name: "drop"}).kinds == KINDS


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"vists": "real"}, "kinds: data has no column 'vists'.*did you mean 'visits'"),
        ({"visits": "ordinal"}, "kinds: got 'ordinal' for 'visits'"),
        ({"city": "real"}, "'city' holds texts, expected numbers that are real"),
        ({"height": "counts"}, "'height' holds .* expected counts"),
        ({"height": "categories"}, "'height' holds values in .* expected categories"),
        ({"visits": "binary"}, "'visits' holds values in .* expected 0 and 1 alone"),
        ({"visits": "categories:3"}, r"'visits' holds codes in .* expected 0 to 2"),
        ({"city": "categories:4"}, "'city' holds 3 levels, expected 4"),
        (dict.fromkeys(FRAME.columns, "drop"), "no columns are left"),
    ],
)
def test_kinds_that_do_not_fit_are_told(kinds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_dataset(FRAME, kinds=kinds)


def test_names_of_a_frame() -> None:
    with pytest.raises(ValueError, match="data: 2 columns are called 'a'"):
        as_dataset(pandas.DataFrame(np.ones((9, 2)), columns=["a", "a"]))
    with pytest.raises(ValueError, match=r"kinds: got .* since ndarray has no columns with names"):
        as_dataset(np.ones((9, 2)), kinds={"a": "real"})
    with pytest.raises(ValueError, match="it has no rows"):
        as_dataset(FRAME[:0])


def test_parquet_asks_for_what_reads_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match="read by pyarrow, which is not installed"):
        load(tmp_path / "t.parquet")
    monkeypatch.setattr(pandas, "read_parquet", lambda path: FRAME)
    assert load(tmp_path / "t.parquet").kinds == KINDS


BITS = [b",", b"\n", b'"', b"\0", b"nan", b"1e999", b"-", b"9" * 20, b"\xff", b"#", b"1+2j", b";"]


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_table_is_read_or_refused_in_one_line(seed: int, tmp_path: Path) -> None:
    rng, path = random.Random(seed), tmp_path / "t.csv"
    whole = FRAME[["visits", "smokes", "city"]][:12].to_csv(index=False).encode()
    outcomes = set()
    for _ in range(times(25, 2000)):
        raw = bytearray(whole)
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(len(raw))
            raw[place : place + rng.randint(0, 2)] = rng.choice(BITS)
        path.write_bytes(bytes(raw))

        try:
            assert not load(path).train.x.isinf().any()
            outcomes.add("read")
        except ValueError as error:
            assert "\n" not in str(error) and "t.csv" in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
