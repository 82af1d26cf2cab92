"""Several processes at one task, as `torchrun` starts them; all of it does nothing without it.

    torchrun --nproc-per-node 2 -m pyro_vae evidence runs/first

Every process runs the same program on the same data, holds the same parameters and the same states
of the random generators, and takes the same decisions. Only the work inside is dealt out: the rows
of a minibatch (`own_share`), the blocks of an evaluation (`dealt`, `gathered`). What a clock
decides, the first process decides for all (`agreed`). The first one writes and speaks, the others
do not.

Nothing here is by process: what is drawn, found and kept does not depend on how many there are.
"""

from pyro_vae.processes.group import (
    LostProcess,
    agreed,
    count,
    dealt,
    gathered,
    is_first,
    joined,
    rank,
    summed_,
    wait,
)
from pyro_vae.processes.shares import Share, on, own_share, part, share_of
from pyro_vae.processes.starting import (
    is_spoken_for,
    is_told,
    may_restart,
    restarts,
    silence,
    started,
)

__all__ = [
    "LostProcess",
    "Share",
    "agreed",
    "count",
    "dealt",
    "gathered",
    "is_first",
    "is_spoken_for",
    "is_told",
    "joined",
    "may_restart",
    "on",
    "own_share",
    "part",
    "rank",
    "restarts",
    "share_of",
    "silence",
    "started",
    "summed_",
    "wait",
]
