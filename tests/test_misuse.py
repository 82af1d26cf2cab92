"""The public API, misused: each wrong argument is a ValueError of one line that begins with the
argument's name.

A row is a function, arguments with which it works, and one of them replaced. What works is run too,
so that no row fails for another reason than the one it is about.

The rows are in tests/misuse, one file for each part of the package.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import pyro_vae as pv
from pyro_vae.inference.checkpoint import load as load_checkpoint
from pyro_vae.runs.opening import open_run
from tests.misuse.coding import CODING
from tests.misuse.constructors import CONSTRUCTORS
from tests.misuse.data import DATA
from tests.misuse.diagnoses import DIAGNOSES
from tests.misuse.estimates import ESTIMATES
from tests.misuse.latent import LATENT
from tests.misuse.likelihoods import LIKELIHOODS
from tests.misuse.methods import METHODS
from tests.misuse.pictures import PICTURES
from tests.misuse.training import TRAINING
from tests.misuse.values import GUIDE, MODEL, Use, X

USES = [
    *CONSTRUCTORS,
    *LIKELIHOODS,
    *DATA,
    *ESTIMATES,
    *DIAGNOSES,
    *LATENT,
    *TRAINING,
    *METHODS,
    *PICTURES,
    *CODING,
]


def told(value: Any) -> str:
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype}{tuple(value.shape)}{value.layout}{value.device}"
    return re.sub(r"\s+|0x[0-9a-f]+", " ", f"{type(value).__name__} {value!r}")[:40]


def misuses() -> Iterator[Any]:
    for each in USES:
        for argument, values in each.bad.items():
            for number, value in enumerate(values):
                yield pytest.param(
                    each, argument, value, id=f"{each.name}-{argument}-{number}-{told(value)}"
                )


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("each", "argument", "value"), list(misuses()))
def test_a_misuse_names_its_argument(each: Use, argument: str, value: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings(), pytest.raises((ValueError, FileNotFoundError)) as raised:
        warnings.simplefilter("error")
        each.function(**each.good | {argument: value})
    message = str(raised.value)
    assert "\n" not in message
    head = ":".join(message.split(":")[:2])[
        :60
    ]  # the argument, or the split or file that holds it and then the argument
    assert re.search(rf"\b{argument}\b", head), message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("each", USES, ids=lambda each: each.name)
def test_what_is_right_is_accepted(each: Use) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each.function(**each.good)


def test_there_are_many() -> None:
    assert sum(len(values) for each in USES for values in each.bad.values()) >= 250
    assert len({id(each.function) for each in USES}) >= 50


def test_an_unknown_keyword_is_a_type_error() -> None:
    for each in (pv.fit, pv.log_evidence, pv.gap_ledger):
        with pytest.raises(TypeError, match="speed"):
            each(MODEL, {"a": GUIDE} if each is pv.gap_ledger else GUIDE, X, speed=3)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            load_checkpoint(path)


@pytest.mark.parametrize("trust", ["my", 3, [3], b"my"])
def test_trust_is_a_list_of_names(trust: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^trust: got"):
        open_run(tmp_path, trust=trust)
