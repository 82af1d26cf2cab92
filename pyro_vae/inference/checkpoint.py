"""Files that are never half-written, and whose damage is noticed: atomic saves, and loads that run
no code.

A checkpoint is a dictionary of tensors and plain values, written beside its place and moved over it
in one step, so that a killed process leaves the old file or the new one. It is an archive of
`torch.save` with a SHA-256 over all of its bytes in the archive's comment, so that any bit that
flips is noticed, and it is read with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from pyro_vae.files.atomic import read_whole, write_atomically

FORMAT = 2
_SEAL = b"pyro_vae sha256 "
_SEALED = len(_SEAL) + 64  # bytes of the archive's comment


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state`, a dictionary of tensors and plain values, to `path` atomically."""
    archive = io.BytesIO()
    torch.save({"format": FORMAT} | state, archive)
    write_atomically(path, lambda file: file.write(_seal(archive.getvalue())))


def _seal(archive: bytes) -> bytes:
    """The archive with the checksum of all that stands before the checksum as its comment."""
    body = archive[:-2] + struct.pack("<H", _SEALED) + _SEAL
    return body + hashlib.sha256(body).hexdigest().encode()


def _unseal(raw: bytes) -> str | None:
    """What is wrong with a sealed archive, None where all is well: nothing in it then unpacks to
    more than the file.
    """
    if raw[-_SEALED:-64] != _SEAL:
        return "it has no checksum at its end"
    if hashlib.sha256(raw[:-64]).hexdigest().encode() != raw[-64:]:
        return "its checksum is wrong"

    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = archive.infolist()
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    size = sum(entry.file_size for entry in entries)
    return f"{packed[:1]} is compressed" if packed or size > len(raw) else None


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds more than tensors and plain values, or is of another
            format.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file, expected a checkpoint of a run: was the run trained?"
        )

    raw = read_whole(path)
    state: Any = None
    try:
        wrong = _unseal(raw)
        if wrong is None:
            state = torch.load(io.BytesIO(raw), map_location=device, weights_only=True)
    except Exception as error:
        # torch raises RuntimeError, UnpicklingError, EOFError, KeyError, ...
        wrong = str(error).splitlines()[0][:120] if str(error) else type(error).__name__

    if wrong is not None:
        raise ValueError(
            f"{path}: not a readable checkpoint ({wrong}): it is damaged, or of"
            " another program or version"
        )
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise ValueError(
            f"{path}: got checkpoint format {found}, expected {FORMAT}: it is of another version"
        )
    return state


def load_weights(module: torch.nn.Module, state: dict[str, Any], name: str) -> None:
    """Load a module's state, telling in one line what does not fit."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ValueError(
            f"{name}: the checkpoint's parameters do not fit {type(module).__name__}: {detail}"
        ) from error
