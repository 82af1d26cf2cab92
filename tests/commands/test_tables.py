"""Runs on a table: what commands write speaks of its columns and categories by their names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from pyro_vae import Samples, plot
from pyro_vae.report.plots.latent import NUMBERED, name_values
from tests.commands.calls import TINY, call, train

CITIES = ("Bern", "Paris", "Rome")
OPTIONS = f"{TINY} --engine pyro"


def frame(number: int = 60, seed: int = 0) -> pandas.DataFrame:
    rng = np.random.default_rng(seed)
    made = pandas.DataFrame(
        {
            "id": [f"p{place}" for place in range(number)],
            "height": rng.normal(170, 10, number).round(1),
            "visits": pandas.array(rng.poisson(3, number), dtype="Int64"),
            "smokes": pandas.array(rng.random(number) < 0.3, dtype="boolean"),
            "city": rng.choice(CITIES, number),
        }
    )
    for name in ("height", "visits", "smokes", "city"):
        made.loc[rng.random(number) < 0.2, name] = None
    return made


def rows(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def table(capsys: pytest.CaptureFixture[str]) -> Path:
    frame().to_csv("t.csv", index=False)
    made = train("table", "--data t.csv --kinds.id drop", OPTIONS)
    capsys.readouterr()
    return made


def test_what_is_shown_has_names_and_levels(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("t.csv").rename("gone.csv")
    assert call("sample table --kind draw --num_samples 5") == 0
    drawn = rows(table / "samples.csv")
    assert list(drawn[0]) == ["datum", "what", "height", "visits", "smokes", "city"]
    assert {row["city"] for row in drawn} <= set(CITIES) and drawn[0]["visits"].isdecimal()
    assert call("info table") == 0
    assert "levels (city: Bern, Paris, Rome)" in capsys.readouterr().out

    Path("gone.csv").rename("t.csv")
    assert call("reconstruct table --num_data 4") == 0
    data, mean, *_ = rows(table / "reconstructions.csv")
    assert (data["what"], mean["what"]) == ("data", "mean") and mean["city"] in CITIES
    assert all(call(f"{name} table --num_data 5") == 0 for name in ("traverse", "interpolate"))
    for name in ("traversals", "interpolations"):
        assert rows(table / f"{name}.csv")[0]["city"] in CITIES


def test_a_table_is_filled_in_its_own_terms(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holes = frame(12, seed=1)[["city", "id", "smokes", "visits", "height"]]
    holes.to_csv("holes.csv", index=False)
    assert call("impute table holes.csv --num_particles 40 --num_draws 3") == 0
    assert capsys.readouterr().out.startswith("table/imputed.csv, table/imputed_values.csv, ")

    whole = pandas.read_csv(table / "imputed.csv")
    assert list(whole.columns) == list(holes.columns) and not whole.isna().any().any()
    assert whole["smokes"].dtype == bool and set(whole["city"]) <= set(CITIES)
    assert whole["visits"].dtype.kind == "i" and (whole["id"] == holes["id"]).all()
    there = holes["height"].notna()
    assert (whole["height"] == holes["height"])[there].all()

    values = rows(table / "imputed_values.csv")
    assert len(values) == holes.isna().sum().sum()
    for row in values:
        assert pandas.isna(holes[row["column"]][int(row["row"])])
        if row["column"] == "city":
            assert row["mean"] in CITIES and 0.3 < float(row["chance"]) <= 1
            assert row["mean"] == whole["city"][int(row["row"])] and row["sd"] == ""
    draws = pandas.read_csv(table / "imputed_draws.csv")
    assert len(draws) == 36 and set(draws["draw"]) == {0, 1, 2} and not draws.isna().any().any()

    assert call("impute table holes.csv --num_particles 40 --out done.csv") == 0
    assert Path("done_draws.csv").is_file()
    holes.assign(city="Oslo").to_csv("oslo.csv", index=False)
    for options, told in (
        ("oslo.csv", "expected the run's categories: Bern, Paris, Rome"),
        ("holes.csv --out holes.csv", "expected another file than the data"),
        ("holes.csv --out x.npz", "expected a .csv file"),
    ):
        assert call(f"impute table {options}") == 2
        assert told in capsys.readouterr().err


def test_a_page_names_the_columns(table: Path) -> None:
    result = Samples({}, torch.rand(5, 3), "mean", 1.0, 0)
    assert plot(result).axes[0].get_xlabel() == NUMBERED
    axis = name_values(plot(result), ["height", "w" * 30, "city"]).axes[0].xaxis
    told = [label.get_text() for label in axis.get_ticklabels()]
    assert told == ["height", "w" * 23 + "…", "city"] and not axis.get_label_text()
    many = torch.rand(5, 60)
    figure = name_values(plot(Samples({}, many, "mean", 1.0, 0)), ["a"] * 60)
    assert figure.axes[0].get_xlabel() == NUMBERED

    options = "--out page.html --num_data 4 --num_particles 30"
    assert call(f"report {table} {options}") == 0
    assert Path("page.html").read_text().count("smokes") >= 3  # samples, ways and units


def test_levels_of_a_torn_run_are_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((table / "data.json").read_text())
    facts["levels"] = {"city": ["Bern"]}
    (table / "data.json").write_text(json.dumps(facts))
    assert call("sample table") == 2
    assert "data.json: levels: got" in capsys.readouterr().err


def test_a_file_is_imputed_by_its_own_context(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    city = rng.choice(CITIES, 90)
    height = np.where(city == "Rome", 900.0, 100.0) + rng.normal(size=90)
    both = {"city": city, "height": height, "weight": rng.normal(size=90)}
    pandas.DataFrame(both).to_csv("t.csv", index=False)
    base = "--model ConditionalVAE --guide ConditionalGuide --context [city] --engine pyro"
    steps = "--epochs 20 --optimizer.lr 0.1 --quiet true --model.hidden [] --guide.hidden []"
    train("given", f"{base} --data t.csv", steps)
    # all of Rome, where the first rows of the run's own data are of other cities
    some = {"city": ["Rome"] * 4, "height": [None] * 4, "weight": [0.1] * 4}
    pandas.DataFrame(some).to_csv("rome.csv", index=False)
    pandas.DataFrame(some | {"city": ["Bern"] * 4}).to_csv("bern.csv", index=False)
    found = []
    for name in ("rome", "bern"):
        assert call(f"impute given {name}.csv --num_particles 50") == 0
        found.append(pandas.read_csv("given/imputed.csv")["height"])
    assert (found[0] > found[1] + 300).all()

    np.save("x.npy", np.array([[np.nan, 0.1]]))
    capsys.readouterr()
    assert call("impute given x.npy") == 2
    assert "is given a context, and x.npy has none" in capsys.readouterr().err


def test_a_file_of_arrays_is_read_as_the_data_of_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x = np.random.default_rng(0).poisson(3.0, (60, 4))
    np.save("counts.npy", x)
    train("counts", "--data counts.npy --values counts", OPTIONS)
    np.save("holes.npy", np.where(np.eye(8, 4) == 1, np.nan, x[:8]))
    assert call("impute counts holes.npy --num_particles 30") == 0
    with np.load("counts/imputed.npz") as saved:
        assert (saved["draws"] == saved["draws"].round()).all()
    capsys.readouterr()
    assert call("impute counts holes.npy --values pixels") == 2
