"""The pages of docs/: their code runs, their links lead somewhere, their commands are there."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli import COMMANDS
from tests.scenarios import eager
from tests.written import DOCS, README, ROOT, block, blocks, run


def place(page: Path) -> str:
    """What a page is called among the tests."""
    return str(page.relative_to(ROOT))


READ = [README, *DOCS]
LINKING = [
    *READ,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "experiments" / "README.md",
]

# what takes long on each page, made small
SMALLER = {
    "programs": {
        "epochs=20": "epochs=1",
        "num_particles=1000": "num_particles=50",
        "FullRank), x[None])": "FullRank), x[None], num_steps=2)",
        "epochs=100)": "epochs=2)",
        "x[:100], pv": "x[:10], pv",
        "data.test.x[:100], data.test.context[:100]": "data.test.x[:10], data.test.context[:10]",
        "Importance(num_particles=500)": "Importance(num_particles=50)",
        "x[:100])": "x[:10])",
    },
    "guides": {
        "epochs=100": "epochs=2",
        "[:100]": "[:5]",
        "num_steps=200": "num_steps=5",
        "num_steps=20)": "num_steps=2)",
        "epochs=20,": "epochs=2,",
    },
    "first_run": {"fit(model, guide, data)": "fit(model, guide, data, epochs=2)"},
    "beyond_memory": {"epochs=20": "epochs=1", "[:100]": "[:2]", "5000, 64": "300, 64"},
    "evidence": {
        "epochs=100": "epochs=2",
        "[:100]": "[:2]",
        "pv.Best()": "pv.Best(num_particles=200, num_temperatures=5)",
        "num_data=100": "num_data=2, method=pv.Annealed(5)",
        "calibration(model, guide, x)": "calibration(model, guide, x, num_simulations=30)",
        "coverage(model, guide, x, num_simulations=200)": "coverage(model, guide, x[:2])",
        "c2st(model, guide, x, num_simulations=200)": "c2st(model, guide, x, num_null=3)",
        "x, num_simulated=200": "x, num_draws=5, num_simulated=20",
    },
    "compiled": {},
    "processes": {"epochs=20": "epochs=1", "[:50]": "[:5]"},
    "seeing": {
        "epochs=50": "epochs=2",
        "pv.Importance(1000)": "pv.Importance(20)",
        "side=12": "side=3",
        "num_samples=36": "num_samples=4",
        "posterior(model, x)": "posterior(model, x, num_chains=2, num_samples=8, num_warmup=8)",
    },
    "missing": {"epochs=100": "epochs=2", "Importance(1000)": "Importance(20)", "=1000": "=30"},
    "compression": {"epochs=50": "epochs=2", "data.test.x": "data.test.x[:20]"},
    "data": {},
    "sweeps": {
        '"epochs": 30': '"epochs": 1',
        '[2, 5, 10], "seed": [0, 1]': "[2]",
        "1000": '5, "num_data": 10',
    },
    "extending": {},
}
PRINTED = {
    "programs": ["log p(x) of 10 data by importance"],
    "guides": ["classical VI of a Local, MeanField(8)", "semi-amortized  ELBO", "amortization"],
    "first_run": ["5 latent units, rates in nats"],
    "beyond_memory": ["log p(x) of 2 data", "Squares: data of 6 real values"],
    "evidence": ["nats per datum", "on simulated data", "calibration of 11 quantities", "outside"],
    "compiled": [],
    "processes": ["5 data", "nats per datum"],
    "seeing": ["4 draws of p(x | z)", "copies of a training datum", "KL(q || p(z | x))", "leads"],
    "missing": ["9,", "missing values of 300 data", "RMSE 0."],
    "compression": ["20 data of 64 values in", "bits per value"],
    "sweeps": ["sweep of 1 cell", "log_px"],
    "data": ["height real, visits counts, smokes binary", "('Bern', 'Paris', 'Rome')"],
    "extending": [],
}


@pytest.mark.usefixtures("quick_convergence")
@pytest.mark.parametrize("name", SMALLER)
def test_the_code_of_a_page_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    eager(monkeypatch)  # a compiler has tests of its own
    names = run(ROOT / "docs" / f"{name}.md", SMALLER[name])
    out = capsys.readouterr().out
    for text in PRINTED[name]:
        assert text in out
    if name == "compiled":
        assert torch.isfinite(names["loss"])


def test_every_page_with_code_is_run() -> None:
    pages = {page.stem for page in DOCS if blocks(page) and page.parent.name == "docs"}
    assert pages == set(SMALLER) == set(PRINTED)


def test_the_estimator_that_is_added() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(block(ROOT / "docs" / "extending.md", "Halved"), names)
    model, x = pv.LinearGaussian(4, 2), torch.zeros(3, 4)
    found = pv.log_evidence(model, pv.ExactGuide(model), x, names["Halved"](100))
    assert (found.log_px - model.log_px(x)).abs().max() < 0.2


def test_the_guide_that_is_added() -> None:
    names: dict[str, Any] = {}
    exec(block(ROOT / "docs" / "extending.md", "HeavyTailedGuide"), names)
    model, guide, x = pv.VAE((6,), 2, (8,)), names["HeavyTailedGuide"]((6,), 2), torch.zeros(20, 6)
    pv.fit(model, guide, x, epochs=1, quiet=True)
    assert pv.log_evidence(model, guide, x, pv.Importance(num_particles=10)).log_px.isfinite().all()


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link may lead to on a page, as GitHub names its headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        assert slug not in found, f"{page.name}: two headings {heading!r}"
        found.add(slug)
    return found


@pytest.mark.parametrize("page", LINKING, ids=place)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", READ, ids=place)
def test_a_page_is_narrow_and_has_one_title(page: Path) -> None:
    lines = page.read_text().splitlines()
    wide = [line for line in lines if len(line) > 100 and line[0] not in "|!" and "://" not in line]
    assert not wide
    assert lines[0].startswith("# ")
    assert len(re.findall("^# ", prose(page), re.MULTILINE)) == 1


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    for page in DOCS:
        place = page.relative_to(index.parent)
        assert page == index or f"]({place})" in index.read_text()


@cache
def options(command: str) -> set[str]:
    """The options of a command."""
    parser = import_module(f"pyro_vae.commands.{command}").parser(())
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("page", READ, ids=place)
def test_commands_and_their_options_are_there(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    for command, rest in re.findall(r"pyro-vae ([a-z]+\b)([^`\n#;|]*)", text):
        assert command in COMMANDS, command
        for option in re.findall(r"--[\w-]+", rest):
            assert option.replace("-", "_").replace("__", "--", 1) in options(command), option
