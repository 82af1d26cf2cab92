"""The cells of a sweep as jobs of a Slurm cluster, by submitit (`pip install 'pyro-vae[slurm]'`).

One job array, a cell a job. A job that is preempted, or comes to its time limit, is queued again by
submitit and goes on from the cell's checkpoint. The folder of the sweep must be seen by all nodes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pyro_vae.arguments import check_choice, check_integer, check_kind, check_positive
from pyro_vae.programs.calls import first_line
from pyro_vae.sweeps.cells import Cell, read_cell

Bring = Callable[[Cell], Cell]
"""Brings a cell to its end, done or failed; it can be sent to another process."""

Cluster = Literal["slurm", "local", "debug"]
_LOOK = 1.0  # seconds between two looks at the jobs


@dataclass(frozen=True)
class Slurm:
    """What to ask of Slurm for each cell.

    Attributes:
        partition: of the cluster; its default unless given.
        minutes: after which a job is stopped, and queued again.
        cpus: of each job, each a thread.
        gpus: of each job.
        memory_gb: of each job; the cluster's default unless given.
        account: to whom the time is charged.
        cluster: "local" runs the same jobs as processes of this machine and "debug" in this
            process, to try out what would be submitted.
    """

    partition: str | None = None
    minutes: int = 60
    cpus: int = 2
    gpus: int = 0
    memory_gb: float | None = None
    account: str | None = None
    cluster: Cluster = "slurm"

    def __post_init__(self) -> None:
        for name in ("partition", "account"):
            if getattr(self, name) is not None:
                check_kind(name, getattr(self, name), str, "a name")
        check_integer("minutes", self.minutes, 1)
        check_integer("cpus", self.cpus, 1)
        check_integer("gpus", self.gpus, 0)
        if self.memory_gb is not None:
            check_positive("memory_gb", self.memory_gb)
        check_choice("cluster", self.cluster, Cluster)

    def check(self) -> None:
        """A ValueError where submitit or Slurm is not there."""
        if find_spec("submitit") is None:
            raise ValueError(
                "slurm: submitit is not installed, expected it: pip install 'pyro-vae[slurm]'"
            )
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise ValueError(
                "slurm: there is no sbatch on this machine, expected to be on one of a cluster"
            )

    def executor(self, folder: Path, at_once: int | None = None) -> Any:
        """What submits jobs, its scripts and logs in `folder`."""
        import submitit

        asked: dict[str, Any] = {"slurm_partition": self.partition, "slurm_account": self.account}
        asked |= {"mem_gb": self.memory_gb, "slurm_array_parallelism": at_once}
        executor = submitit.AutoExecutor(folder, cluster=self.cluster)
        executor.update_parameters(
            name="pyro-vae",
            timeout_min=self.minutes,
            cpus_per_task=self.cpus,
            gpus_per_node=self.gpus,
            **{name: value for name, value in asked.items() if value is not None},
        )
        return executor


class Job:
    """A cell's work as a job, which goes on where it was when it is queued again."""

    def __init__(self, work: Bring, threads: int) -> None:
        self.work, self.threads = work, threads

    def __call__(self, cell: Cell) -> Cell:
        """Work on a cell."""
        import torch

        torch.set_num_threads(self.threads)
        return self.work(cell)

    def checkpoint(self, cell: Cell) -> Any:
        """What submitit queues where the job is stopped."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, cell)


def on_slurm(
    work: Bring, cells: Sequence[Cell], slurm: Slurm, folder: Path, jobs: int | None = None
) -> Generator[Cell, None, None]:
    """The cells as their jobs end; those that have not ended are cancelled where this is left.

    Args:
        work: what is to be done with each.
        cells: a job for each.
        slurm: what to ask for.
        folder: for scripts and logs.
        jobs: at most so many at once; no limit unless given.
    """
    if not cells:
        return
    executor = slurm.executor(folder, jobs)
    submitted = executor.map_array(Job(work, slurm.cpus), list(cells))
    waiting = {cell.folder: job for cell, job in zip(cells, submitted, strict=True)}
    try:
        while waiting:
            ended = [path for path, job in waiting.items() if job.done()]
            for path in ended:
                yield _ended(read_cell(path), waiting.pop(path))
            if waiting and not ended:
                time.sleep(_LOOK)
    finally:
        for job in waiting.values():
            job.cancel()


def _ended(cell: Cell, job: Any) -> Cell:
    """What a job made of its cell, or why it made nothing of it."""
    try:
        return job.result()
    except Exception as error:  # whatever submitit raises of a job that was killed or never ran
        return cell.now("failed", f"its job {job.job_id} failed: {first_line(error)}")
