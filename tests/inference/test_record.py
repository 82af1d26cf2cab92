"""What a run says while it goes: a live line on a terminal, some twenty lines elsewhere."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pyro_vae import fit
from pyro_vae.graphs.capturing import Graph
from pyro_vae.inference.record import Reporter
from tests.inference.toys import SGD, make, with_valid
from tests.scenarios import eager, on_a_terminal

ROW = re.compile(r"epoch (\d+)/(\d+)  train (?:ELBO|loss) \S+ .*nats.* data/s")


def epochs_of(text: str) -> list[int]:
    """The epochs that lines were said of."""
    return [int(found[1]) for found in map(ROW.match, text.splitlines()) if found]


def trained(capfd: pytest.CaptureFixture[str], **options: Any) -> str:
    model, guide, x = make()
    fit(model, guide, with_valid(x), batch_size=len(x), **options)
    out, err = capfd.readouterr()
    assert out == ""
    return err


def row(epoch: int) -> dict[str, float]:
    told = {"train_loss": 27.1, "valid_elbo": -28.2, "active_units": 6.0, "data_per_second": 7e3}
    return {"epoch": float(epoch)} | told


@pytest.mark.parametrize(("done", "last"), [(0, 150), (40, 150), (150, 150), (0, 16), (0, 1)])
def test_lines_are_few_and_spread_over_the_epochs(
    done: int, last: int, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = 5
    with Reporter(last, steps, done * steps, quiet=False) as reporter:
        for epoch in range(done, last):
            for _ in range(steps):
                reporter.step(epoch)
            reporter.epoch(row(epoch + 1), loss_is_elbo=True)
        assert reporter.bar.tasks[0].percentage == 100

    said = epochs_of(capfd.readouterr().err)
    assert len(said) == min(15, last - done)
    if said:
        assert said[0] == done + 1 and said[-1] == last
    steps_between = {after - before for before, after in pairwise(said)}
    assert not steps_between or max(steps_between) - min(steps_between) <= 1


def test_a_long_run_says_twenty_lines_at_most(capfd: pytest.CaptureFixture[str]) -> None:
    told = trained(capfd, epochs=25)
    said = epochs_of(told)
    assert len(told.splitlines()) <= 20 and said[0] == 1 and said[-1] == 25


def test_a_short_run_says_a_line_for_each_epoch(capfd: pytest.CaptureFixture[str]) -> None:
    assert epochs_of(trained(capfd, epochs=4)) == [1, 2, 3, 4]


def test_the_last_epoch_is_said_where_a_run_ends_early(
    capfd: pytest.CaptureFixture[str],
) -> None:
    told = trained(capfd, epochs=1000, patience=3, optimizer=SGD, warmup_epochs=0)
    said = epochs_of(told)
    assert said[0] == 1 and said[-1] < 1000
    assert told.splitlines()[-2].startswith(f"epoch {said[-1]}/1000")


def test_a_resumed_run_says_the_first_and_the_last_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = trained(capfd, epochs=2, folder=tmp_path / "run")
    again = trained(capfd, epochs=20, folder=tmp_path / "run", resume=True)
    assert epochs_of(first)[-1] == 2
    assert epochs_of(again)[0] == 3 and epochs_of(again)[-1] == 20
    assert len(again.splitlines()) <= 20


def test_compiling_is_said_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    told = trained(capfd, epochs=2, engine="compiled")
    assert told.splitlines()[0].startswith("compiling the step")
    assert told.count("compiling") == 1
    assert "compiling" not in trained(capfd, epochs=2, engine="pyro")


def test_a_live_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(graph: Graph, inputs: Any) -> Any:
        time.sleep(0.3)  # the line is drawn ten times a second
        return graph.module

    monkeypatch.setattr("pyro_vae.graphs.compiled.compile_graph", slowly)
    terminal = on_a_terminal(monkeypatch)
    model, guide, x = make()
    run = fit(model, guide, with_valid(x), epochs=3, engine="compiled")

    lines = [line for line in terminal.plain().splitlines() if line.strip()]
    live = [line for line in lines if "━" in line]
    assert all(len(line) <= 80 for line in live)
    assert any("compiling the step" in line for line in live)
    assert re.match(r"epoch 3/3 ━+ +0:00:00 valid ELBO -\d+\.\d\d nats", live[-1])
    assert not epochs_of(terminal.plain())
    assert "".join(lines[lines.index(live[-1]) + 1 :]).startswith(str(run)[:40])


def test_nothing_is_said_where_it_is_to_be_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    terminal = on_a_terminal(monkeypatch)
    model, guide, x = make()
    fit(model, guide, x, epochs=2, quiet=True, engine="compiled")
    assert terminal.getvalue() == ""
