"""`pyro-vae report`: one page of HTML of one or several runs, with every picture in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from pyro_vae.arguments import check_integer, check_seed
from pyro_vae.commands.options import add_device, choose
from pyro_vae.evidence.weights import MIN_PARTICLES
from pyro_vae.files.atomic import check_replaceable
from pyro_vae.files.folders import making
from pyro_vae.files.texts import printable, write_text
from pyro_vae.pages.page import Opened, page_of
from pyro_vae.pages.results import results
from pyro_vae.pages.swept import page_of_sweep
from pyro_vae.progress import progress_bar
from pyro_vae.report.page import Page, render
from pyro_vae.runs.card import read_card
from pyro_vae.runs.opening import open_from
from pyro_vae.runs.usage import OneLineParser
from pyro_vae.sweeps.swept import is_sweep, read_sweep


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = OneLineParser(
        description="Write one self-contained page of HTML: what was trained and how it went,"
        " samples, the latent space, log p(x), what the guide costs, whether to believe it."
    )
    made.add_argument("runs", type=str, nargs="+", help="run folders, or one of a sweep")
    made.add_argument(
        "--data_root", type=str | None, default=None, help="folder of torchvision's datasets"
    )
    add_device(made)
    made.add_argument(
        "--num_data", type=int | None, default=None, help="test data to look at; 500 unless given"
    )
    made.add_argument(
        "--num_particles", type=int, default=1000, help="for log p(x), where none was kept"
    )
    made.add_argument("--seed", type=int, default=0, help="of the draws")
    made.add_argument(
        "--results",
        type=str | None,
        default=None,
        help="folder with the JSON files of experiments, for a chapter of their own",
    )
    made.add_argument(
        "--out", type=str | None, default=None, help="file instead of RUN/report.html"
    )
    return made


def run(options: Namespace) -> None:
    """Open the runs, and write the page."""
    check_integer("num_particles", options.num_particles, MIN_PARTICLES)
    check_seed("seed", options.seed)
    first = Path(options.runs[0])
    out = Path(options.out) if options.out else first / "report.html"
    if options.out is None and len(options.runs) > 1:
        out = first.parent / "report.html"
    check_replaceable("out", out)

    if is_sweep(first) and len(options.runs) == 1 and options.results is None:
        with making("out", out.parent):
            _write(page_of_sweep(read_sweep(first)), out)
        return

    opened = []
    for folder in options.runs:
        card, parts = read_card(folder), open_from(options, run=folder)
        opened.append(Opened(card, parts, choose(parts, "test", options.num_data, usual=500)))
    more = [] if options.results is None else [results(Path(options.results))]
    with making("out", out.parent):
        with progress_bar("report") as progress:
            numbers = {"num_particles": options.num_particles, "seed": options.seed}
            page = page_of(opened, more, **numbers, progress=progress)
        _write(page, out)


def _write(page: Page, out: Path) -> None:
    text = render(page)
    write_text(out, text)
    print(f"{printable(out)}: open it in a browser ({len(text) / 1e6:.1f} MB, needs no network)")
