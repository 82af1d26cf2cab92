"""`pyro-vae diagnose`: can the guides of a run, and its figures, be believed?

calibration   ranks and coverage, by regions of the highest density and by balls around random
              points, on data that the model makes (amortized guides only)
predictions   whether real data lie outside what the model simulates
weights       k-hat of importance weights on real data
sandwich      bounds from both sides on data that the model makes, and whether real data are alike
NUTS          means and standard deviations against a reference posterior of a few real data
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pyro_vae.commands.options import add_data, choose, look_at_latent, run_parser
from pyro_vae.data import Split
from pyro_vae.diagnostics import (
    Reference,
    Units,
    agreement,
    check_calibration,
    check_coverage,
    check_predictions,
    reference_posterior,
)
from pyro_vae.evidence import Annealed, Importance, likeness, log_evidence, sandwich
from pyro_vae.evidence.weights import MIN_PARTICLES
from pyro_vae.files.atomic import check_replaceable, staged
from pyro_vae.files.folders import making
from pyro_vae.files.texts import write_json
from pyro_vae.inference.optimum import programs_of
from pyro_vae.programs.calls import Program
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.protocols import HasRows, offers
from pyro_vae.progress import Progress, progress_bar, shares
from pyro_vae.report.tables import share
from pyro_vae.runs.figures import make_way, measured_by
from pyro_vae.runs.kept import pack
from pyro_vae.runs.opening import Parts, open_from
from pyro_vae.runs.usage import OneLineParser
from pyro_vae.swap import check_names, swap_guides

_ALPHA = 0.01  # chance of flagging the coverage of balls of a right guide
_DRAWS, _SIMULATED = 20, 100  # of each datum, and data, to place real data among simulated ones
_FEW_HIGH = 0.05  # share of the data with a high k-hat that is passed over
_FAR = 0.2  # standard deviations of the posterior by which means may be off
# a ratio of standard deviations below this, or above its inverse, is a guide too narrow or too wide
_RATIO = 0.9


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = run_parser(
        "Judge guides by calibration, weights, two-sided bounds and NUTS; writes diagnosis.json."
    )
    made.add_argument(
        "--guides", type=str, default="amortized", help="as in compare, with commas between them"
    )
    add_data(made, usual="200")
    made.add_argument("--num_particles", type=int, default=2500, help="per datum for k-hat")
    made.add_argument(
        "--num_simulations", type=int, default=1000, help="data made by the model for calibration"
    )
    made.add_argument("--num_draws", type=int, default=99, help="of the guide for each of them")
    made.add_argument(
        "--num_sandwich",
        type=int,
        default=0,
        help="data made by the model for two-sided bounds; 0 for none",
    )
    made.add_argument("--num_temperatures", type=int, default=1000, help="of these bounds")
    made.add_argument(
        "--num_nuts", type=int, default=0, help="data whose posterior NUTS samples; 0 for none"
    )
    made.add_argument("--seed", type=int, default=0, help="of everything")
    made.add_argument(
        "--out", type=str | None, default=None, help="JSON file instead of RUN/diagnosis.json"
    )
    return made


def run(options: Namespace) -> None:
    """Judge the run's guides, print a verdict for each, and write it all."""
    out = Path(options.out) if options.out else Path(options.run) / "diagnosis.json"
    check_replaceable("out", out)
    parts = open_from(options)
    split = choose(parts, options.split, options.num_data, usual=200)
    names = [name.strip() for name in options.guides.split(",")]
    check_names(parts.model, parts.guide, names)
    _check_numbers(options, len(split))
    with making("out", out.parent):
        _diagnose(options, parts, split, names, out)


def _diagnose(options: Namespace, parts: Parts, split: Split, names: list[str], out: Path) -> None:
    found: dict[str, Any] = {
        "split": options.split,
        "fingerprint": split.fingerprint,
        "num_data": len(split),
        "guides": {},
    }

    with progress_bar("fitting the guides") as progress:
        guides = swap_guides(
            parts.model,
            parts.guide,
            split.x,
            names,
            split.numbers(),
            seed=options.seed,
            progress=progress,
        )

    reference = None
    if options.num_nuts:
        some = split.take(options.num_nuts)
        with progress_bar("sampling by NUTS") as progress:
            reference = reference_posterior(
                parts.model, some.x, some.numbers(), seed=options.seed, progress=progress
            )
        found["nuts"] = reference.summary()

    if options.num_sandwich:
        with progress_bar("annealing both ways") as progress:
            found["sandwich"] = _sandwich(parts, split, options, progress)
    for name, guide in programs_of(guides).items():
        with progress_bar(f"judging {name}") as progress:
            found["guides"][name] = _judge(parts.model, guide, split, reference, options, progress)

    settings = measured_by(options, parts, split)
    with staged(out.parent, lambda: make_way(out, [], settings)) as new:
        write_json(new / out.name, found | {"settings": settings})

    if "sandwich" in found:
        print(found["sandwich"]["verdict"])
    for name, said in found["guides"].items():
        print(f"{name}: {said['verdict']}")
    print(f"written to {out}")


def _check_numbers(options: Namespace, num_data: int) -> None:
    """Refuse what would only come to light after some minutes of work."""
    least = {"num_particles": MIN_PARTICLES, "num_simulations": 20, "num_draws": 5}
    least |= {"num_temperatures": 2, "num_sandwich": 0, "num_nuts": 0, "seed": 0}
    check_numbers({name: (options[name], number) for name, number in least.items()})
    for name in ("num_sandwich", "num_nuts"):
        if options[name] > num_data:
            raise ValueError(f"{name}: got {options[name]}, expected at most num_data, {num_data}")


def _judge(
    model: Program,
    guide: Program,
    split: Split,
    reference: Reference | None,
    options: Namespace,
    progress: Progress | None,
) -> dict[str, Any]:
    """What is found of one guide, and the verdict."""
    said: list[str] = []
    method = Importance(options.num_particles, seed=options.seed)
    weighing, ranking = shares(progress, 1, 1)
    weights = log_evidence(model, guide, split.x, method, index=split.numbers(), progress=weighing)
    high = weights.share_above_threshold
    found: dict[str, Any] = {
        "elbo": weights.elbo.mean().item(),
        "log_px": weights.mean,
        "share_above_threshold": high,
    }

    right = high <= _FEW_HIGH
    if high > _FEW_HIGH:
        said.append(f"k-hat high on {share(high)} of the {options.split} data")
    else:
        said.append("importance weights healthy")

    if offers(guide, HasRows):
        said.append("calibration not applicable to parameters per datum")
    else:
        figures, told, calibrated = _calibration(model, guide, split, options, ranking)
        found |= figures
        said += told
        right = right and calibrated
        real, told = _predictions(model, guide, split, options)
        found["predictions"] = real
        said += told
    if reference is not None:
        against, near = _against(guide, reference, split, options)
        said.append(against)
        right = right and near

    units, use = look_at_latent(model, guide, split)
    if units is not None:
        found["active_units"], found["num_units"] = units.num_active, len(units.names)
    if weights.caveat:
        found["caveat"] = weights.caveat
    found["verdict"] = _verdict(use, units, right, said, weights.caveat)
    return found


def _calibration(
    model: Program, guide: Program, split: Split, options: Namespace, progress: Progress | None
) -> tuple[dict[str, Any], list[str], bool]:
    """Figures, words, and whether the guide is calibrated."""
    numbers = {name: options[name] for name in ("num_simulations", "num_draws", "seed")}
    given = (model, guide, split.x, split.numbers())
    ranking, covering = shares(progress, 3, 1)
    ranks = check_calibration(*given, progress=ranking, **numbers)
    balls = check_coverage(*given, progress=covering, alpha=_ALPHA, **numbers)
    held, error = ranks.coverage()
    figures = {
        "coverage": dict(zip(("50%", "80%", "95%"), held.tolist(), strict=True)),
        "coverage_error": error.tolist(),
        "p_values": ranks.p_values,
        "calibration": pack(ranks),
        "balls": balls.summary(),
    }
    covers = "/".join(f"{100 * value:.0f}" for value in held)
    told = [ranks.verdict, f"50/80/95% regions hold the truth in {covers}%"]
    if not balls.covers:
        told.append(f"around random points it {balls.verdict}")
    return figures, told, ranks.calibrated and balls.covers


def _predictions(
    model: Program, guide: Program, split: Split, options: Namespace
) -> tuple[dict[str, Any], list[str]]:
    """Figures, and a warning where real data are not such as the model simulates."""
    found = check_predictions(
        model,
        guide,
        split.x,
        split.numbers(),
        num_draws=_DRAWS,
        num_simulated=max(_SIMULATED, options.num_simulations),
        seed=options.seed,
    )
    return found.summary(), [found.verdict] if found.too_many else []


def _verdict(use: str, units: Units | None, right: bool, said: list[str], caveat: str) -> str:
    """What is found of a guide, in a sentence that begins with the use of the latent."""
    if right and units is not None and units.num_active == 0:
        judged = (
            "the guide repeats the prior, which is right of a model that has no use for"
            " its latent, and says nothing"
        )
    else:
        judged = "can be believed" if right else "NOT to be believed as a posterior"
    return "; ".join(filter(None, [use, f"{judged}: {said[0]}", *said[1:], caveat]))


def _against(
    guide: Program, reference: Reference, split: Split, options: Namespace
) -> tuple[str, bool]:
    some = split.take(options.num_nuts)
    found = agreement(guide, reference, some.x, some.numbers(), seed=options.seed)
    doubt = "" if reference.converged else " (whose chains have not converged)"
    near = found.mean_shift < _FAR and _RATIO < found.mean_ratio < 1 / _RATIO
    return f"against NUTS{doubt} {found.verdict}", near


def _sandwich(
    parts: Parts, split: Split, options: Namespace, progress: Progress | None
) -> dict[str, Any]:
    method = Annealed(options.num_temperatures, seed=options.seed)
    model, guide, some = parts.model, parts.guide, split.take(options.num_sandwich)
    simulated, annealed = shares(progress, 2, 1)
    found = sandwich(
        model,
        guide,
        split.x,
        split.numbers(),
        num_data=options.num_sandwich,
        method=method,
        progress=simulated,
    )

    real = log_evidence(model, guide, some.x, method, index=some.numbers(), progress=annealed)
    alike = likeness(model, guide, split.x, found, real, index=split.numbers())
    return {
        "gap": found.gap,
        "gap_error": found.gap_error,
        "alike": alike.alike,
        "verdict": f"sandwich: {found.verdict}; {alike.verdict}",
    }
