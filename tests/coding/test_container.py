"""Damaged bytes are noticed, whichever, and those of other programs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.coding.container import pack, unpack
from tests.coding.programs import binary, encoder, vae

X = binary(5, 3, 2)


@cache
def compressed() -> bytes:
    return pv.compress(vae(), encoder(), X).data


def refused(data: bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match) as raised:
        pv.decompress(vae(), encoder(), data)
    assert "\n" not in str(raised.value)


def test_every_bit_that_flips_is_noticed() -> None:
    data = compressed()
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with pytest.raises(ValueError, match="damaged"):
                unpack(bytes(flipped))
    assert torch.equal(pv.decompress(vae(), encoder(), data), X)


def test_every_length_but_the_right_one_is_refused() -> None:
    data = compressed()
    for length in range(len(data)):
        refused(data[:length], "damaged")
    refused(data + b"\0", "damaged")
    refused(data + data, "damaged")


def test_other_weights_are_noticed_before_anything_is_decoded() -> None:
    model = vae()
    with torch.no_grad():
        model.decoder.bias[0, 0, 0] += 1e-3
    with pytest.raises(ValueError, match="other weights"):
        pv.decompress(model, encoder(), compressed())
    guide = encoder()
    with torch.no_grad():
        guide.head.bias[0] += 1e-3
    with pytest.raises(ValueError, match="other weights"):
        pv.decompress(vae(), guide, compressed())
    with pytest.raises(ValueError, match="expected the model's"):
        pv.decompress(vae((2, 3)), encoder((2, 3)), compressed())


CHANGES: dict[str, Any] = {
    "more data": {"num_data": 6},
    "a billion data": {"num_data": 10**9},
    "fewer data": {"num_data": 4},
    "other data": {"data": b"12345678"},
    "another bottom": {"num_initial": 1},
    "other words": {"words": np.arange(1, 9, dtype=np.uint32)},
    "other buckets": {"bucket_bits": 11},
    "more latents": {"num_particles": 7},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_strangers_bytes_are_refused_too(name: str) -> None:
    made = pack(replace(unpack(compressed()), **CHANGES[name]))
    refused(made, "not what was put in|other weights|end too early")


HEADERS: dict[str, tuple[int, bytes]] = {
    "no buckets": (8, b"\0"),
    "too many buckets": (8, b"\x28"),
    "no such dtype": (9, b"\x63"),
    "too many dimensions": (10, b"\xff"),
    "no latents": (11, b"\0\0"),
    "too many latents": (11, b"\xff\xff"),
    "an empty shape": (13, b"\0\0\0\0"),
    "a shape beyond memory": (13, b"\xff\xff\xff\xff"),
    "no data": (21, b"\0" * 8),
    "too many data": (21, b"\xff" * 8),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_makes_no_sense_is_refused(name: str) -> None:
    place, value = HEADERS[name]
    made = compressed()[:place] + value + compressed()[place + len(value) : -16]
    refused(made + hashlib.sha256(made).digest()[:16], "makes no sense")


def test_another_version_is_told() -> None:
    data = bytearray(compressed())
    data[7] = 2
    refused(bytes(data), "another version")
