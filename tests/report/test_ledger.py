from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import arviz
import pytest
import torch
from PIL import Image

from pyro_vae import MLP, Amortized, ExactGuide, LinearGaussian, Local, MeanField, gap_ledger
from pyro_vae.diagnostics import Ledger
from pyro_vae.evidence import Importance
from pyro_vae.report.ledger import generalisation_table, ledger_table, write_ledger
from pyro_vae.report.tables import show

NUM = 7


@pytest.fixture(scope="module")
def ledgers() -> tuple[Ledger, Ledger]:
    torch.manual_seed(0)
    model = LinearGaussian(5, 2, sigma=0.7).double()
    made = []
    # the encoder is as good as any on the first, and far off on the second
    for shift in (0.0, 3.0):
        x = model.sample(NUM) + 0.7 * torch.randn(NUM, 5).double()
        q = model.optimal_mean_field(x)
        table = torch.cat([q.mean, q.variance.log() / 2], -1).detach()
        best, off = Local(MeanField(2), NUM).double(), Amortized(MeanField(2), MLP(5, ())).double()
        with torch.no_grad():
            best.table.copy_(table)
            off.head.weight.zero_()
            off.head.bias.copy_(table.mean(0) + torch.tensor([shift, 0.0, 0.0, 0.0]))
        made.append(
            gap_ledger(
                model,
                {"exact": ExactGuide(model), "off": off, "best": best},
                x,
                method=Importance(num_particles=400),
            )
        )
    return made[0], made[1]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_files_hold_the_ledger(ledgers: tuple[Ledger, Ledger], tmp_path: Path) -> None:
    ledger = ledgers[0]
    means, data, netcdf, chart = write_ledger(ledger, tmp_path, "test")
    names = [path.name for path in (means, data, netcdf, chart)]
    assert names == ["test.csv", "test_data.csv", "test.nc", "test.png"]
    off = ledger.entries["off"]
    assert off.amortization is not None
    told: dict[str, Any] = {row["guide"]: row for row in rows(means)}["off"]
    assert float(told["amortization_gap"]) == pytest.approx(off.amortization.mean)
    assert float(told["seconds"]) == off.seconds > 0
    each = [row for row in rows(data) if row["guide"] == "off"]
    assert [int(row["datum"]) for row in each] == list(range(NUM))
    for row, value in zip(each, off.inference.values.tolist(), strict=True):
        assert float(row["inference_gap"]) == value
        assert float(row["approximation_gap"]) + float(row["amortization_gap"]) == value
    back = arviz.from_netcdf(netcdf)["ledger"]
    assert list(back["guide"].values) == ["exact", "off", "best"]
    torch.testing.assert_close(
        torch.tensor(back["elbo"].sel(guide="off").values), off.evidence.elbo
    )
    assert back["amortization_gap"].sel(guide="best").isnull().all()
    with Image.open(chart) as picture:
        colours = {colour[:3] for _, colour in picture.convert("RGB").getcolors(2**20) or []}
    assert {(31, 119, 180), (255, 127, 14)} <= colours  # both gaps are drawn


def test_tables(ledgers: tuple[Ledger, Ledger], capsys: pytest.CaptureFixture[str]) -> None:
    show(ledger_table("title", ledgers[0]))
    out = capsys.readouterr().out
    assert (
        f"by importance(S=400) ({ledgers[0].estimator})" in out and "not resolved" in out
    )  # the exact guide loses nothing
    show(generalisation_table(*ledgers))
    out = capsys.readouterr().out
    lines = {
        line.split("│")[1].strip(): line.split("│")[2:5]
        for line in out.splitlines()
        if line.startswith("│")
    }
    assert list(lines) == ["exact", "off", "best"]
    first, second = (ledger.entries["off"] for ledger in ledgers)
    assert first.amortization is not None and second.amortization is not None
    grown = second.amortization.mean - first.amortization.mean
    assert lines["off"][2].strip().startswith(f"{grown:.3f} +- ")
    assert lines["best"][2].strip() == "" and "not resolved" in lines["best"][1]
