"""Code lengths: how many bits each datum took, beside what it would take without rounding."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pyro_vae.coding import Compression
from pyro_vae.report.plots.marks import MAIN, SECOND, array, legend, title
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@views.register(Compression)
def _(compression: Compression) -> Views:
    return {"bits": View(partial(_bits, compression))}


def _bits(compression: Compression, axes: Axes) -> None:
    """Bits per value of each datum, sorted, and the means."""
    size = compression.size
    bits, ideal = array(compression.bits) / size, array(compression.ideal) / size
    order = np.argsort(ideal)
    places = np.arange(1, len(order) + 1)

    axes.plot(places, bits[order], ".", color=MAIN, ms=3, label="as coded")
    axes.plot(places, ideal[order], color=SECOND, label="without rounding, -log2 weight")
    whole = compression.bits_per_dim
    axes.axhline(whole, linestyle="--", color="tab:gray", label=f"all counted, mean {whole:.4f}")

    axes.set_xlabel(f"{len(order):,} data, sorted by their ideal length")
    axes.set_ylabel("bits per value")
    title(axes, compression.headline(), "")
    legend(axes, "upper left", headroom=True)
