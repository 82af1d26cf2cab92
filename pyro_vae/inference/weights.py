"""The parameters of a run as safetensors: tensors by name and nothing that could run, with a
checksum and whose they are.

    model.NAME, guide.NAME   the state of the two modules
    params.NAME              `pyro.param` statements outside of them, unconstrained

The file's metadata hold the format, the identity of the run and a SHA-256 over all bytes of the
file, its header included (computed with zeros in its own place): any bit that flips is noticed.

References:
    Hugging Face. Safetensors, the format. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pyro_vae.files.atomic import read_whole, write_atomically

NAME = "weights.safetensors"
FORMAT = "1"
_KEY = "pyro_vae"
PARTS = ("model", "guide", "params")
_ZEROS = b"0" * 64
_MAX_HEADER = 2**26

State = dict[str, dict[str, Tensor]]


def write_weights(path: Path, state: State, run: str) -> None:
    """Write the parameters of the run whose identity is `run`, atomically."""
    tensors = {}
    for part in PARTS:
        for name, value in state.get(part, {}).items():
            tensors[f"{part}.{name}"] = value.contiguous()

    facts = {"format": FORMAT, "run": run, "sha256": _ZEROS.decode()}
    # one entry: the order of several is left to chance
    raw = save(tensors, metadata={_KEY: json.dumps(facts)})
    header, body = _split(raw)
    digest = hashlib.sha256(raw).hexdigest().encode()
    write_atomically(path, lambda file: file.writelines((header.replace(_ZEROS, digest), body)))


def read_weights(path: Path, device: torch.device | str = "cpu") -> tuple[State, str]:
    """Read what `write_weights` wrote: the parameters, and the identity of their run.

    Raises:
        ValueError: another format, or any damage.
    """
    raw = read_whole(path)
    try:
        header, body = _split(raw)
        facts = json.loads(json.loads(header[8:])["__metadata__"][_KEY])
        found, run, digest = (str(facts[name]) for name in ("format", "run", "sha256"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: no readable weights ({_brief(error)}): damaged, or of another program"
        ) from error

    if found != FORMAT:
        raise ValueError(
            f"{path}: got weights of format {found}, expected {FORMAT}: of"
            " another version, or damaged"
        )

    whole = hashlib.sha256(header.replace(digest.encode(), _ZEROS))
    whole.update(body)
    if len(digest) != 64 or whole.hexdigest() != digest:
        raise ValueError(
            f"{path}: the checksum is wrong, the file is damaged: copy it anew, or train again"
        )

    try:
        tensors = load(raw)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: no readable weights ({_brief(error)}): of another program"
        ) from error

    state: State = {part: {} for part in PARTS}
    for name, value in tensors.items():
        part, _, key = name.partition(".")
        if part not in state:
            raise ValueError(
                f"{path}: got a tensor {name!r}, expected names that begin with {', '.join(PARTS)}"
            )
        state[part][key] = value.to(device)
    return state, run


def digest_of(state: State) -> str:
    """A SHA-256 over names, types, shapes and values: the same from whichever file they come."""
    digest = hashlib.sha256()
    for part in PARTS:
        for name, value in sorted(state.get(part, {}).items()):
            digest.update(f"{part}.{name} {value.dtype} {tuple(value.shape)}".encode())
            values = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _split(raw: bytes) -> tuple[bytes, memoryview]:
    """Length and header of a safetensors file, and its tensors."""
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > min(len(raw) - 8, _MAX_HEADER):
        raise ValueError("the header is longer than the file")
    return raw[: 8 + size], memoryview(raw)[8 + size :]


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
