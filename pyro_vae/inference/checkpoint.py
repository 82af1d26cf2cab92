"""Files that are never half-written: atomic saves, and loads that run no code.

A checkpoint is a dictionary of tensors and plain values, written beside its place and moved over it in one step, so
that a killed process leaves the old file or the new one. It is read with `weights_only=True`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

FORMAT = 1


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file in the same folder, flush it to the disk and move it to `path`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state`, a dictionary of tensors and plain values, to `path` atomically."""
    write_atomically(path, lambda file: torch.save({"format": FORMAT} | state, file))


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is torn, holds more than tensors and plain values, or is of another format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a checkpoint of a run: was the run trained?")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, KeyError, ...
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a readable checkpoint ({reason}): it is torn or of another program") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path}: got checkpoint format {found}, expected {FORMAT}: it is of another version")
    return state


def load_weights(module: torch.nn.Module, state: dict[str, Any], name: str) -> None:
    """Load a module's state, telling in one line what does not fit."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ValueError(f"{name}: the checkpoint's parameters do not fit {type(module).__name__}: {detail}") from error
