"""What a run folder is opened to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_vae.runs.opening import open_run


@pytest.mark.parametrize(("need_data", "data"), [(True, "digits: data of"), (False, "not loaded")])
def test_an_opened_run_says_what_it_holds(run: Path, need_data: bool, data: str) -> None:
    parts = open_run(run, need_data=need_data)
    told = repr(parts)
    count = sum(each.numel() for each in parts.model.parameters())
    assert f"VAE, {count:,} parameters" in told and "EncoderGuide, " in told
    assert data in told and "data of 1 x 8 x 8 values" in told
    assert len(told.splitlines()) == 5
