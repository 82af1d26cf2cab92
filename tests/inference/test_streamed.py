"""A run on rows that stay in a file is the run on the same rows in memory, bit for bit; stopped in
an epoch and resumed too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from torch.utils.data import DataLoader

import pyro_vae as pv
from pyro_vae.data import as_dataset
from pyro_vae.inference import svi
from pyro_vae.inference.feed import Feed
from tests.inference.resumed import check_same, differences
from tests.scenarios import eager

GREY = np.random.RandomState(0).randint(0, 256, (90, 6)).astype(np.uint8)
REAL = np.random.RandomState(1).randn(90, 6).astype(np.float32)


def programs(data: pv.Dataset) -> tuple[Any, Any]:
    torch.manual_seed(0)
    likelihood = pv.likelihood_for(data)
    model = pv.VAE(data.shape, latent_dim=2, hidden=(8,), likelihood=likelihood)
    return model, pv.Amortized(pv.MeanField(2), pv.MLP(data.size, (8,)))


def fitted(data: pv.Dataset, **options: Any) -> pv.Run:
    pyro.clear_param_store()
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 32, "quiet": True, "engine": "pyro"}
    return pv.fit(*programs(data), data, **(settings | options))


def both(tmp_path: Path, array: Any, **options: Any) -> tuple[pv.Dataset, pv.Dataset]:
    np.save(tmp_path / "x.npy", array)
    there = pv.load(tmp_path / "x.npy", memory_map=True, **options)
    return pv.load(tmp_path / "x.npy", **options), there


def same(one: pv.Run, two: pv.Run) -> bool:
    told = [
        [{k: v for k, v in row.items() if "second" not in k} for row in run.history]
        for run in (one, two)
    ]
    weights = [dict(run.model.named_parameters()) for run in (one, two)]
    return differences(told[0], told[1], "") == [] == differences(weights[0], weights[1], "")


@pytest.mark.parametrize("rule", ["dynamic", "threshold", "dequantise", "none"])
def test_it_is_the_run_in_memory(rule: Any, tmp_path: Path) -> None:
    array = REAL if rule == "none" else GREY
    here, there = both(tmp_path, array, binarise=rule)
    assert same(fitted(here), fitted(there))


def test_it_is_the_run_in_memory_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    here, there = both(tmp_path, GREY, binarise="dynamic")
    assert same(fitted(here, engine="compiled"), fitted(there, engine="compiled"))


def test_validation_rows_that_come_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vae.data.readers.MOST_ROWS", 16)
    here, there = both(tmp_path, GREY, valid=40)
    monkeypatch.setattr("pyro_vae.data.streams._BLOCK", 7 * 6)
    assert isinstance(there.valid, pv.Stream)
    elbos = [fitted(data, epochs=1).history[0]["valid_elbo"] for data in (here, there)]
    assert elbos[0] == pytest.approx(elbos[1], abs=0.5)  # other noise


class Failure(Exception):
    """Stands for anything that stops a run."""


def stopped_and_resumed(
    made: Callable[[], pv.Dataset], folder: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is stopped after so many steps, each with a checkpoint, and goes on."""
    left = iter(range(steps))
    step = svi.beta_at

    def limited(*arguments: Any) -> float:
        if next(left, None) is None:
            raise Failure
        return step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Failure):
        patch.setattr(svi, "_SAVE_EVERY", -1.0)
        patch.setattr(svi, "beta_at", limited)
        fitted(made(), folder=folder)
    fitted(made(), folder=folder, resume=True)


def test_a_mapped_file_stopped_in_an_epoch_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = both(tmp_path, GREY, binarise="dynamic")[1]
    fitted(data, folder=tmp_path / "whole")
    stopped_and_resumed(lambda: data, tmp_path / "run", 5, monkeypatch)
    check_same(tmp_path / "run", tmp_path / "whole")


def test_a_torn_row_stops_the_run_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vae.data.readers.MOST_ROWS", 16)
    array = REAL.copy()
    array[17] = np.nan
    there = both(tmp_path, np.where(np.isnan(array), 0, array))[1]
    np.load(tmp_path / "x.npy", mmap_mode="r+")[17] = np.nan
    with pytest.raises(ValueError, match="row 17 does not hold finite values"):
        fitted(there)


def test_a_row_of_parameters_for_each_datum(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", REAL)
    array = np.load(tmp_path / "x.npy", mmap_mode="r")

    def run(x: Any) -> pv.Run:
        pyro.clear_param_store()
        torch.manual_seed(0)
        guide = pv.Local(pv.MeanField(2), 90)
        return pv.fit(pv.LinearGaussian(6, 2), guide, x, epochs=2, quiet=True, engine="pyro")

    assert same(run(REAL), run(array))
    with pytest.raises(ValueError, match="has not a row for each of the train data"):
        pv.fit(pv.LinearGaussian(6, 2), pv.Local(pv.MeanField(2), 80), array, epochs=1, quiet=True)


class Pairs(torch.utils.data.Dataset[Any]):
    """x and a label of each row, as torchvision's sets give them."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> Any:
        return self.x[place], 0


class Rows(torch.utils.data.IterableDataset[Any]):
    """Rows one after another, without a length."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __iter__(self) -> Any:
        return iter(self.x)


class Shuffled(Rows):
    """Rows in another order at each pass, which knows where it stands."""

    def __init__(self, x: Any) -> None:
        super().__init__(x)
        self.epoch, self.place = 0, 0

    def __iter__(self) -> Any:
        order = np.random.RandomState(self.epoch).permutation(len(self.x))
        while self.place < len(order):
            self.place += 1
            yield self.x[order[self.place - 1]]
        self.epoch, self.place = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.place = state["epoch"], state["place"]


@pytest.mark.parametrize("kind", [GREY, torch.from_numpy(REAL)], ids=["pixels", "real"])
def test_a_torch_dataset_is_the_run_on_its_rows(kind: Any) -> None:
    assert same(fitted(as_dataset(kind)), fitted(as_dataset(Pairs(kind))))


def loader(x: Any) -> Any:
    from torchdata.stateful_dataloader import StatefulDataLoader

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'set_vital' is deprecated")
        return StatefulDataLoader(Pairs(torch.from_numpy(x)), batch_size=7, shuffle=True)


SOURCES: dict[str, Callable[[], pv.Dataset]] = {
    "map": lambda: as_dataset(Pairs(REAL)),
    "map, a process": lambda: as_dataset(Pairs(REAL), workers=1),
    "iterable": lambda: as_dataset(Rows(REAL)),
    "iterable that shuffles": lambda: as_dataset(Shuffled(REAL), 0),
    "StatefulDataLoader": lambda: as_dataset(loader(REAL), 0),
}


@pytest.mark.parametrize("name", SOURCES)
def test_stopped_in_an_epoch_and_resumed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> pv.Dataset:
        torch.manual_seed(7)
        return SOURCES[name]()

    fitted(made(), folder=tmp_path / "whole")
    stopped_and_resumed(made, tmp_path / "run", 5, monkeypatch)
    check_same(tmp_path / "run", tmp_path / "whole")


def test_each_pass_of_an_iterable_that_shuffles_has_all_rows() -> None:
    feed = Feed(as_dataset(Shuffled(REAL), 0).train)
    noise = torch.Generator()
    passes = []
    for _ in range(2):
        found = [rows for rows, _ in feed.batches(feed.order(noise).split(32))]
        passes.append(torch.cat(found))
    sums = [np.sort(rows.numpy().sum(1)) for rows in (*passes, torch.from_numpy(REAL))]
    assert not torch.equal(*passes) and np.array_equal(sums[0], sums[1])
    assert np.array_equal(sums[0], sums[2])


@pytest.mark.parametrize("source", [Shuffled(REAL), DataLoader(Pairs(REAL), 7, shuffle=True)])
def test_no_rows_are_held_out_of_passes_that_differ(source: Any) -> None:
    with pytest.raises(ValueError, match="valid=9: the rows come in another order at each pass"):
        as_dataset(source)


@pytest.mark.parametrize("batch_size", [7, None])
def test_a_loader_in_order_is_the_run_on_its_rows(batch_size: Any) -> None:
    state = torch.get_rng_state()
    data = as_dataset(DataLoader(Pairs(REAL), batch_size))
    assert torch.equal(state, torch.get_rng_state())
    whole = as_dataset(REAL)
    assert data.train.fingerprint == whole.train.fingerprint
    assert data.test.fingerprint == whole.test.fingerprint


def test_an_iterable_whose_passes_end_early_is_told() -> None:
    source = Rows(list(REAL))
    data = as_dataset(source, 0)
    source.x = source.x[:70]
    with pytest.raises(ValueError, match="a pass gave 70 rows, expected 90"):
        fitted(data, epochs=1)


def test_items_that_cannot_be_rows_are_told() -> None:
    with pytest.raises(ValueError, match="got an item of dict, expected x, or a tuple"):
        as_dataset(Rows([{"x": 1}] * 20))
    with pytest.raises(ValueError, match=r"item 3 has shape \(5,\), item 0 \(6,\)"):
        as_dataset(Pairs([REAL[0]] * 3 + [REAL[0, :5]] * 20))
    with pytest.raises(ValueError, match="Dataset has no __len__"):
        as_dataset(torch.utils.data.Dataset())
    with pytest.raises(ValueError, match="Rows has no items"):
        as_dataset(Rows([]))


CLEAR = Path("/proc/self/clear_refs")


def peak() -> int:
    """Bytes of memory that the process had at most, since it was last asked to forget."""
    told = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(told.split()[0]) * 1024


@pytest.mark.skipif(not CLEAR.exists(), reason="asks Linux for the memory of the process")
def test_an_epoch_holds_little_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (4000, 98_304)  # 393 MB, of which a sparse file stores nothing
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, shape)
    monkeypatch.setattr("pyro_vae.data.readers.MOST_VALUES", 2**22)
    data = pv.load(tmp_path / "x.npy", memory_map=True)
    assert isinstance(data.train, pv.Stream)
    assert len(data.train.sample) < 50 < 3900 < len(data.train)

    CLEAR.write_text("5")
    before = peak()
    order = torch.randperm(len(data.train)).split(64)
    read = sum(len(rows) for rows, _ in Feed(data.train).batches(order))
    assert read == len(data.train) and peak() - before < 150e6
