"""Discrete latents that are summed out: those marked `infer={"enumerate": "parallel"}`.

    log p(x, z) = log sum_k p(x, z, k)

Such a choice is not the guide's: it has no counterpart there, and no draw. The model is run once
under Pyro's enumeration, every state in a dimension of its own to the left of all plates, and the
terms that depend on one are summed (`sums.py`): over several choices, chains under `pyro.markov`,
choices of each row of an inner plate.

So `Summed(model)` is a program like any other, with continuous latents and observations alone. A
site of it that depends on a state stands for all of them: the first latent one has

    log p(z) = log sum_k p(k) p(z | k),     and the first observed one  log p(x, z) - log p(z).

A choice that is masked out was not made, and all its states have equal shares. (Pyro gives each of
them the weight 1, so that K states count K times.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import torch
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.indep_messenger import IndepMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor

from pyro_vae.programs.calls import Program, Refused, called
from pyro_vae.programs.sums import Stand, Terms, Tilt

MAX_STATES = 2**16
"""Joint states of the choices that a program may hold at a time, for one particle of one datum."""

MAX_TERMS = 2**27
"""Joint states times particles times data (and the rows of inner plates) of one run."""

ResultT = TypeVar("ResultT")


def is_marked(site: Any) -> bool:
    """Whether a site, or its message, is a latent to be summed out."""
    return not site["is_observed"] and (site["infer"] or {}).get("enumerate") == "parallel"


class Unsummed(Exception):
    """A program came upon a choice that is to be summed out, and was not run for that."""


class Alert(Messenger):
    """Raise `Unsummed` at a choice that is marked and not known."""

    def __init__(self, known: Collection[str]) -> None:
        super().__init__()
        self.known = known

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.known and is_marked(msg):
            raise Unsummed


def summing(
    program: Program, known: Collection[str], depth: int, run: Callable[[Program], ResultT]
) -> ResultT:
    """`run(program)`; where the program has marked choices that are not known, with these summed
    out.

    Args:
        program: Pyro program; one without marked choices is run as it is.
        known: names of sites that have values from elsewhere.
        depth: of the program's plates.
        run: runs a program.
    """
    try:
        return run(Alert(known)(program))
    except Unsummed:
        return run(Summed(program, known, depth))


class Summed:
    """A program with its marked choices summed out, those that are `known` apart.

    Its latents must be given values (`Substitute`, `replay`): of its own it cannot draw those that
    depend on a state.

    Args:
        model: Pyro program.
        known: names of the choices that are drawn elsewhere.
        depth: of its plates.
        tilts: to be filled with a tensor of zeros for each choice, by name, which is added to its
            log-density: the gradients of log p(x, z) there are the probabilities of its states
            given all else.
    """

    def __init__(
        self,
        model: Program,
        known: Collection[str],
        depth: int,
        tilts: dict[str, Tilt] | None = None,
    ) -> None:
        self.model, self.known, self.depth = model, tuple(sorted(known)), depth
        self.tilts = tilts

    def __call__(self, x: Tensor, index: Tensor | None = None) -> Any:
        with _Summing(self.known, self.depth, len(x)) as run:
            run.terms.tilts = self.tilts
            return called(self.model, "model")(x, index)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "model" not in vars(self):
            raise AttributeError(name)
        return getattr(vars(self)["model"], name)


def states_held(
    model: Program, known: Collection[str], x: Tensor, index: Tensor | None, depth: int
) -> int:
    """The most joint states that a run of a program holds for one particle of one datum."""
    with _Summing(known, depth, len(x)) as run:
        called(model, "model")(x, index)
    return int(run.terms.states)


class _Summing(EnumMessenger):
    """Enumerate the marked choices of a run, hide them, and have the sites that depend on them
    stand for the sum.
    """

    def __init__(self, known: Collection[str], depth: int, num_data: int) -> None:
        super().__init__()
        self.known, self.depth, self.num_data = known, depth, num_data

    def __enter__(self) -> Any:
        plates = [frame for frame in _PYRO_STACK if isinstance(frame, IndepMessenger)]
        self.around = {p.dim: p.size for p in plates if p.dim is not None}
        self.left = min([-self.depth, *self.around])
        self.first_available_dim = self.left - 1
        self.sizes: dict[int, int] = {}  # states of a choice, by its number
        self.terms = Terms(self.around)
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        infer, name = msg["infer"], msg["name"]
        if type(msg["fn"]).__name__ == "_Subsample":
            return
        self._check_plates(msg)
        mine = is_marked(msg) and name not in self.known
        if mine:
            self._check_choice(msg)

        # of a choice that is known, not to be enumerated
        mark = None if mine else infer.pop("enumerate", None)
        super()._pyro_sample(msg)
        if mark is not None:
            infer["enumerate"] = mark

        if mine:
            self._count(msg)
            infer["is_auxiliary"] = infer["_do_not_trace"] = True
            infer["enumerate"] = None  # nothing that is left to others
            self.terms.add(msg, choice=True)
        elif self._depends(msg):
            told = infer.get("_deterministic")  # it has no density
            first = not told and self.terms.add(msg)
            frames = msg["cond_indep_stack"]
            own = max([0, *(-frame.dim for frame in frames if frame.vectorized)])
            shape = _trimmed(msg["fn"].batch_shape, -self.left, own)
            inner = tuple(f.dim for f in frames if f.vectorized and f.dim != -1)
            total = self._total(msg["is_observed"]) if first else None

            msg["mask"] = None
            msg["fn"] = Stand(msg["fn"], shape, frames, inner, total)
            msg["cond_indep_stack"] = tuple(f for f in frames if f.dim not in inner)

    def _pyro_post_sample(self, msg: Any) -> None:
        super()._pyro_post_sample(msg)
        self.terms.put(msg)

    def _total(self, observed: bool) -> Callable[[], Tensor]:
        return self.terms.log_likelihood if observed else self.terms.log_prior

    def _depends(self, msg: Any) -> bool:
        """Whether a site has a dimension of states."""
        fn, mask, value = msg["fn"], msg["mask"], msg["value"]
        deepest = len(fn.batch_shape)
        if isinstance(mask, Tensor):
            deepest = max(deepest, mask.dim())
        if isinstance(value, Tensor):
            deepest = max(deepest, value.dim() - fn.event_dim)
        return deepest > -self.left

    def _check_plates(self, msg: Any) -> None:
        """Raise a ValueError where a plate has the dimension of a choice's states."""
        for frame in msg["cond_indep_stack"]:
            if frame.vectorized and frame.dim < self.left:
                raise Refused(
                    f"site {msg['name']!r}: its plate {frame.name!r} is at dim {frame.dim},"
                    f" expected at least {self.left}: further left are the states of the choices"
                )

    def _check_choice(self, msg: Any) -> None:
        """Raise a ValueError for a choice that cannot be summed out for each datum."""
        name, fn = msg["name"], msg["fn"]
        if not getattr(fn, "has_enumerate_support", False) or "num_samples" in msg["infer"]:
            raise Refused(
                f"site {name!r}: marked to be enumerated, but a {type(fn).__name__} has no finite"
                " number of states that are listed; draw it in the guide, or cut it to a"
                " Categorical"
            )
        dims = [frame.dim for frame in msg["cond_indep_stack"] if frame.vectorized]
        if self.num_data > 1 and -1 not in dims:
            raise Refused(
                f"site {name!r}: a discrete choice for all {self.num_data} data together, which"
                " cannot be summed out for each; expected it inside `with pyro.plate('data',"
                " x.shape[0], dim=-1)`, or a single datum"
            )

    def _count(self, msg: Any) -> None:
        """Raise a ValueError before too much memory is taken."""
        dim, fn = msg["infer"]["_enumerate_dim"], msg["fn"]
        self.sizes[msg["infer"]["_dim_to_id"][dim]] = msg["value"].shape[dim - fn.event_dim]
        held = {*self._param_dims[msg["name"]].values(), msg["infer"]["_dim_to_id"][dim]}
        states = math.prod(self.sizes[number] for number in held if number in self.sizes)
        self.terms.states = max(self.terms.states, states)

        plates = {f.dim: f.size for f in msg["cond_indep_stack"] if f.vectorized} | self.around
        terms = states * math.prod(plates.values())
        if states > MAX_STATES:
            raise Refused(
                f"site {msg['name']!r}: {states:,} joint states of the choices up to it, to be"
                f" summed out for each particle of each datum, expected at most {MAX_STATES:,}:"
                " choices that do not meet belong in `pyro.markov`, or in rows of an inner plate;"
                " or draw some of them in the guide"
            )
        if terms > MAX_TERMS:
            raise Refused(
                f"site {msg['name']!r}: {terms:,} terms, of {states:,} joint states for each"
                f" particle and datum, expected at most {MAX_TERMS:,} at once: fewer particles or"
                " data in a call"
            )


def _trimmed(shape: torch.Size, deepest: int, own: int) -> torch.Size:
    """A batch shape without the dimensions of states, and without leading ones beyond a site's own
    plates.
    """
    kept = list(shape[max(0, len(shape) - deepest) :])
    while len(kept) > own and kept[0] == 1:
        kept.pop(0)
    return torch.Size(kept)
