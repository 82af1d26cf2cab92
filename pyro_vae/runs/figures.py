"""Figures are kept by the settings that they were measured under: a new measurement never replaces
one of other settings.

    RUN/evidence.json                    the newest figures, with their settings
    RUN/earlier/evidence-1f0c9a2b.json   those of other settings, moved there before the newest are
                                         written
    RUN/earlier/order.json               their names in that order, since clocks are set back and
                                         copies have the time of copying

The same holds for diagnosis.json, for the tables of `compare` and for files that `--out` names.
The settings are the options that matter to the figures, the data's fingerprint and the checksum of
the weights; figures of the same settings are replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pyro_vae.data import Split
from pyro_vae.files.atomic import move
from pyro_vae.files.folders import own_folder
from pyro_vae.files.texts import read_json, write_json
from pyro_vae.runs.building import Parts

EARLIER = "earlier"
ORDER = "order.json"
_PLUMBING = ("run", "data_root", "device", "out", "trust", "num_data", "max_bytes")

Settings = dict[str, Any]


def measured_by(options: Namespace | Mapping[str, Any], parts: Parts, split: Split) -> Settings:
    """What figures depend on: the options, the data, the weights and the kind of device."""
    kept = {name: value for name, value in dict(options).items() if name not in _PLUMBING}
    facts = {
        "num_data": len(split),
        "fingerprint": split.fingerprint,
        "weights": parts.weights[:16],
    }
    return kept | facts | {"device": split.x.device.type}


def make_way(path: Path, others: Sequence[Path], settings: Settings) -> None:
    """Move figures of other settings aside: the JSON file at `path`, which has the settings, and
    the `others` beside it.
    """
    known = _key_at(path)
    if known is None or known == _key(settings):
        return
    folder = path.parent / EARLIER
    with own_folder("out", folder):
        name = f"{path.stem}-{known}{path.suffix}"
        before = [old for old in _order(folder) if old != name]
        write_json(folder / ORDER, {"names": [*before, name]})
        # the settings last: after a kill they still lie beside what is to be moved
        for old in (*others, path):
            if old.exists():
                move(old, folder / f"{old.stem}-{known}{old.suffix}")


def earlier(path: Path) -> list[Path]:
    """The JSON files that made way for the one at `path`, in the order of their writing; those of a
    version that kept no order come first.
    """
    folder = path.parent / EARLIER
    found = [old for old in folder.glob(f"{path.stem}-*.json") if old.is_file()]
    places = {name: place for place, name in enumerate(_order(folder))}
    return sorted(found, key=lambda old: (places.get(old.name, -1), old.stat().st_mtime_ns))


def _order(folder: Path) -> list[str]:
    """The names of files that made way, in that order; none where that is not known."""
    path = folder / ORDER
    if not path.is_file():
        return []
    try:
        names = read_json(path).get("names")
    except ValueError:  # torn: they are as good without an order
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def stale(facts: Mapping[str, Any], parts: Parts, name: str) -> str:
    """That figures are of other weights than the run has now; empty where they are not."""
    settings = facts.get("settings")
    weights = settings.get("weights") if isinstance(settings, dict) else None
    if weights is None or weights == parts.weights[:16]:
        return ""
    return f"{name} was measured on other weights than the run has now: measure again."


def _key_at(path: Path) -> str | None:
    """The key of a file's settings; of its content where the file is old or torn."""
    if not path.is_file():
        return None
    try:
        settings = read_json(path).get("settings")
    except ValueError:
        settings = None
    if isinstance(settings, dict):
        return _key(settings)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def _key(settings: Settings) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
