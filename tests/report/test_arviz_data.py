from __future__ import annotations

from pathlib import Path

import arviz
import numpy as np
import pytest

from pyro_vae.report.arviz_data import to_arviz, write_netcdf

VALUES = np.arange(6.0).reshape(2, 3)


def test_netcdf_opens_with_this_arviz(tmp_path: Path) -> None:
    path = tmp_path / "data.nc"
    groups = {"posterior": {"z": VALUES}, "ledger": {"elbo": VALUES[:, 0]}}
    data = to_arviz(groups, {"z": ("chain", "draw"), "elbo": ("guide",)}, {"guide": ["one", "two"]})
    write_netcdf(data, path)
    assert [p.name for p in tmp_path.iterdir()] == ["data.nc"]
    back = arviz.from_netcdf(path)
    np.testing.assert_array_equal(back["posterior"]["z"].values, VALUES)
    assert back["ledger"]["elbo"].sel(guide="two").item() == 3.0
    assert "z" in arviz.summary(back).index


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "data.nc"
    path.write_text("old")

    class Broken:
        children = ()

        def groups(self) -> list[str]:
            return []

        def to_netcdf(self, name: str, engine: str) -> None:
            Path(name).write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_netcdf(Broken(), path)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("dims", [{}, {"z": ("draw",)}])
def test_bad_dims(dims: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match=r"dims: got .* 'z'"):
        to_arviz({"posterior": {"z": VALUES}}, dims)
