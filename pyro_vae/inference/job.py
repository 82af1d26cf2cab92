"""The state of a training run, and its way to and from a checkpoint.

A `Position` says where the run stands, a `Job` holds what stays the same and the objects whose
state changes. Together with the parameters and the states of the random generators they are all
that a killed run needs to go on bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.data import Split, Stream
from pyro_vae.inference import noise
from pyro_vae.inference.checkpoint import load, load_weights, save
from pyro_vae.inference.feed import Feed
from pyro_vae.inference.folder import CHECKPOINT, check_identity
from pyro_vae.inference.optim import JointOptim
from pyro_vae.inference.recipe import ResolvedRecipe
from pyro_vae.inference.record import Row, write_metrics
from pyro_vae.inference.settings import difference
from pyro_vae.programs.evaluation import modules_of
from pyro_vae.programs.traces import Program

Step = Callable[..., Tensor]
"""One step of training: from what the feed gives of the minibatch, the random bits of its
binarisation, or None, and which rows of it are this process's, to the loss. Bits and loss are those
of the whole minibatch.
"""


@dataclass
class Position:
    """Where a run stands; all of it is in the checkpoint."""

    epoch: int = 0
    step: int = 0
    order: Tensor | None = None  # rows of the current epoch, None between epochs
    seconds: float = 0.0
    best: float = -math.inf
    stale: int = 0
    best_epoch: int = 0
    best_weights: dict[str, Any] | None = None
    history: list[Row] = field(default_factory=list)
    # of each latent unit, the last epoch after which it was active
    last_active: list[int] = field(default_factory=list)
    warned: bool = False  # of a collapse


@dataclass
class Job:
    """What stays the same during a run, and the objects whose state changes."""

    model: Program
    guide: Program
    train: Split | Stream
    valid: Split | Stream | None
    recipe: ResolvedRecipe
    folder: Path | None
    params: dict[str, Tensor]
    loss_is_elbo: bool  # minus the ELBO, that is, once warm-up is over
    beta: Tensor
    optim: JointOptim
    schedule: Any
    step: Step
    feed: Feed
    # of the steps of this epoch, on the device; in the checkpoint as far as the epoch has come
    losses: Tensor
    noise: torch.Generator
    # of a data plate that a minibatch is a subsample of: its loss is of so many data
    plate_size: int | None = None
    shared: bool = False  # whether latents are one draw for all data
    # of loss and schedule, before the first step
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    # data and their numbers to follow the latent units on; or why not
    probe: tuple[Tensor, Tensor] | str | None = None
    # sizes of minibatches whose first step is to come, and is compiled first
    to_compile: set[int] = field(default_factory=set)
    run: str = ""  # the identity of the run, which all its files carry

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.train) / self.recipe.batch_size)

    def of_minibatch(self, loss: Tensor, size: int) -> Tensor:
        """The loss of a minibatch of `size` data, where a plate that subsamples has made it one of
        `plate_size` data.
        """
        return loss if self.plate_size is None else loss * (size / self.plate_size)


def weights(model: Program, guide: Program, params: dict[str, Tensor]) -> dict[str, Any]:
    """A copy of all parameters: of the modules, and of `pyro.param` statements outside of them,
    unconstrained.

    Of nets that a program runs without holding them, such as those of a function, the buffers
    (running means, say) are copied too.
    """
    programs = {"model": model, "guide": guide}
    modules = {name: p for name, p in programs.items() if isinstance(p, nn.Module)}
    owned = {id(p) for module in modules.values() for p in module.parameters()}
    others = {name: p for name, p in params.items() if id(p) not in owned}

    state: dict[str, Any] = {name: _copied(m.state_dict()) for name, m in modules.items()}
    state["params"] = _copied(others)
    buffers = _copied(_other_buffers(model, guide))
    return state | ({"buffers": buffers} if buffers else {})


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def is_state(state: Any) -> bool:
    """Whether a value looks like what `weights` makes: tensors by name, by part."""
    if not isinstance(state, dict) or "params" not in state:
        return False
    if not all(isinstance(part, dict) for part in state.values()):
        return False
    return all(isinstance(value, Tensor) for part in state.values() for value in part.values())


def set_weights(
    model: Program, guide: Program, params: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Put back what `weights` copied, in place; a ValueError where it is not finite."""
    for name, program in (("model", model), ("guide", guide)):
        if isinstance(program, nn.Module):
            load_weights(program, state.get(name, {}), name)
            _check_finite(name, dict(program.named_parameters()), dict(program.named_buffers()))

    _check_finite("params", state["params"], {})
    with torch.no_grad():
        for name, value in state["params"].items():
            if name not in params or params[name].shape != value.shape:
                raise ValueError(
                    f"checkpoint: its pyro.param {name!r}"
                    f" {tuple(value.shape)} is not in these programs"
                )
            params[name].copy_(value)

        buffers = _other_buffers(model, guide)
        for name, value in state.get("buffers", {}).items():
            if name not in buffers or buffers[name].shape != value.shape:
                raise ValueError(
                    f"checkpoint: its buffer {name!r} {tuple(value.shape)} is not in these programs"
                )
            buffers[name].copy_(value)


def _other_buffers(model: Program, guide: Program) -> dict[str, Tensor]:
    """Buffers of nets that the programs run without holding them as modules, by number and name."""
    modules = [p for p in (model, guide) if isinstance(p, nn.Module)]
    owned = {id(b) for module in modules for b in module.buffers()}
    found: dict[str, Tensor] = {}

    number = 0
    for module in modules_of(model, guide):
        held = dict(module.named_buffers(recurse=False))
        if held and not owned & {id(b) for b in held.values()}:
            found |= {f"{number}.{name}": b for name, b in held.items()}
            number += 1
    return found


def _check_finite(part: str, params: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
    """No parameter may be NaN or infinite, and no buffer NaN; an infinite one may be a mask."""
    bad = [name for name, value in params.items() if not torch.isfinite(value).all()]
    bad += [name for name, value in buffers.items() if torch.isnan(value).any()]
    if bad:
        raise ValueError(
            f"weights: {part} {bad[:3]} got NaN or infinity, expected finite numbers: train it anew"
        )


def keep(job: Job, at: Position) -> None:
    """Write the checkpoint and the metrics."""
    if job.folder is None:
        return

    state = {
        "position": {name: getattr(at, name) for name in at.__dataclass_fields__},
        "weights": weights(job.model, job.guide, job.params),
        "optimizer": job.optim.get_state(),
        "schedule": None if job.schedule is None else job.schedule.state_dict(),
        "losses": job.losses[: at.step],
        "feed": job.feed.state(),
        "sums": job.feed.kept_sums,
        "noise": job.noise.get_state(),
        "torch_noise": noise.state(job.noise.device),
        "same": _same(job),
        "run": job.run,
        "settings": job.settings,
    }

    save(job.folder / CHECKPOINT, state)
    if at.history:
        write_metrics(job.folder / "metrics.csv", at.history)


def read_checkpoint(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `keep` wrote into a run folder; a ValueError where checkpoint.pt is something else."""
    path = folder / CHECKPOINT
    state = load(path, device)
    kinds = {"position": dict, "weights": dict, "same": dict, "losses": Tensor, "run": str}
    whole = all(isinstance(state.get(name), kind) for name, kind in kinds.items())
    whole = whole and isinstance(state["position"].get("epoch"), int)
    if not whole or not is_state(state["weights"]):
        raise ValueError(f"{path}: holds something else, expected the checkpoint of a training")

    check_identity(folder, CHECKPOINT, state["run"])
    return state


def restore(job: Job, folder: Path) -> Position:
    """Load the folder's checkpoint into the job and return where it stood."""
    state = read_checkpoint(folder, job.noise.device)

    for name, value in _same(job).items():
        if state["same"].get(name, value) != value:  # an earlier version knew fewer
            raise ValueError(
                f"resume: the run was started with {name} = {state['same'][name]}, got {value}"
            )

    for name, now in job.settings.items():
        other = difference(state.get("settings", {}).get(name, {}), now)
        if other is not None:
            raise ValueError(
                f"resume: the run was started with a {name} of {other[0]}, got {other[1]}"
            )

    set_weights(job.model, job.guide, job.params, state["weights"])
    try:
        job.optim.set_state(state["optimizer"])
        if job.schedule is not None:
            job.schedule.load_state_dict(state["schedule"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"resume: the checkpoint's optimizer or schedule is another than the recipe's: {error}"
        ) from error

    try:
        job.losses[: len(state["losses"])] = state["losses"]
        job.feed.load(state.get("feed"))
        job.feed.take_sums(state.get("sums", job.feed.sums))
        noise.put_back(job.noise, state)
        at = Position(**state["position"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"resume: the checkpoint does not fit this run ({error}): it is of another version"
        ) from error

    job.run = state["run"]
    # a kill between the checkpoint and the table leaves the table without its last row
    if at.history:
        write_metrics(folder / "metrics.csv", at.history)
    return at


def _same(job: Job) -> dict[str, Any]:
    """What must not differ between a run and its continuation."""
    train = job.train
    optimizer, names = job.optim.optimizer, ("beta", "warmup_epochs", "clip_norm", "keep")
    return {name: getattr(job.recipe, name) for name in names} | {
        "optimizer": f"{type(optimizer).__name__} {optimizer.defaults}",
        "schedule": type(job.schedule).__name__,
        "loss": type(job.recipe.loss).__name__,
        "seed": job.recipe.seed,
        "batch_size": job.recipe.batch_size,
        "num_data": len(train),
        "data fingerprint": train.identity,
        "validation fingerprint": None if job.valid is None else job.valid.identity,
    }
