"""ArviZ's container of results, whichever version is installed: InferenceData up to 0.23, xarray's
DataTree from 1.0 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pyro_vae.arguments import check_kind
from pyro_vae.files.atomic import reserve, write_by_name

if TYPE_CHECKING:
    import xarray

Group = Mapping[str, ArrayLike]


def to_arviz(
    groups: Mapping[str, Group],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Mapping[str, str]] | None = None,
) -> Any:
    """Arrays by group and name as an InferenceData or a DataTree.

    Args:
        groups: such as `{"posterior": {"z": (chain, draw, N, d)}}`.
        dims: names of each array's dimensions, by the array's name, or by `group/name` where groups
            differ.
        coords: values along dimensions, by the dimension's name; 0, 1, ... unless given.
        attrs: what is to be known of a group, by the group's name.

    Raises:
        ValueError: an array without dims, or with another number of them.

    Example:
        >>> data = to_arviz({"posterior": {"z": [[0.1, 0.2, 0.3]]}}, {"z": ("chain", "draw")})
        >>> data["posterior"]["z"].dims
        ('chain', 'draw')
    """
    import arviz  # a second, which only its containers need
    import xarray

    for argument, value in (
        ("groups", groups),
        ("dims", dims),
        ("coords", coords or {}),
        ("attrs", attrs or {}),
    ):
        check_kind(argument, value, Mapping, "what belongs to each name, by the name")

    unknown = sorted((attrs or {}).keys() - groups.keys())
    if unknown:
        raise ValueError(
            f"attrs: got some of {unknown}, expected them of the groups {sorted(groups)}"
        )

    made = {}
    for name, group in groups.items():
        own = {key: dims.get(f"{name}/{key}", dims.get(key)) for key in group}
        made[name] = _dataset(group, own, coords or {})
    for name, told in (attrs or {}).items():
        made[name].attrs.update(told)
    container: Any = arviz.InferenceData  # in 1.x another name of DataTree
    return container.from_dict(made) if container is xarray.DataTree else container(**made)


def _dataset(
    group: Group, dims: Mapping[str, Sequence[str] | None], coords: Mapping[str, Sequence[Any]]
) -> xarray.Dataset:
    import xarray

    check_kind("groups", group, Mapping, "arrays by their names")
    arrays = {}
    for name, values in group.items():
        names = dims.get(name)
        if names is None or not isinstance(names, Sequence):
            raise ValueError(
                f"dims: got {names} for {name!r}, expected a name for each of its dimensions"
            )
        if np.asarray(values).dtype.kind not in "biuf":
            raise ValueError(
                f"groups: got {np.asarray(values).dtype} for {name!r}, expected numbers"
            )
        try:
            arrays[name] = xarray.DataArray(values, dims=tuple(names))
        except ValueError as error:
            raise ValueError(f"dims: got {tuple(names)} for {name!r}: {error}") from error

    sizes = {dim: size for array in arrays.values() for dim, size in array.sizes.items()}
    found = {str(dim): coords.get(str(dim), range(size)) for dim, size in sizes.items()}
    for dim, size in sizes.items():
        got = len(found[str(dim)])
        if got != size:
            raise ValueError(f"coords: got {got} values along {dim!r}, expected {size}")
    return xarray.Dataset(arrays, coords={dim: list(values) for dim, values in found.items()})


def write_netcdf(data: Any, path: Path) -> None:
    """Write what `to_arviz` made to `path` as netCDF, atomically; `arviz.from_netcdf` reads it."""

    def write(temporary: Path) -> None:
        reserve(temporary, 2 * _size(data) + 2**20)  # HDF5 ends the process where the disk is full
        data.to_netcdf(str(temporary), engine="h5netcdf")

    write_by_name(path, write)


def _size(data: Any) -> int:
    """Bytes of all arrays."""
    groups = data.groups() if callable(data.groups) else list(data.children)
    return sum(int(data[group].nbytes) for group in groups)
