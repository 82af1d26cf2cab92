"""The terms of a run that depend on discrete states, and their sums over all states.

Each term is a tensor with a dimension for each plate that it is in and for each choice that it
depends on. Pyro's message passing (`contract_to_tensor`) says in which order plates are multiplied
over and states summed over; the sums are made here in the log domain throughout, where Pyro's own
may multiply exponentials, which underflow.

References:
    Obermeyer, Bingham, Jankowiak, Pradhan, Chiu, Rush, Goodman (2019). Tensor variable elimination
        for plated factor graphs. arXiv:1902.03210.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.programs.calls import Refused
from pyro_vae.programs.sites import log_density


class Tilt(NamedTuple):
    """What is added to the log-density of a choice, the dimension of its states, those of its
    plates, the data's last, and what its states are, `(K, *event)`.
    """

    zeros: Tensor
    states: int
    plates: tuple[int, ...]
    values: Tensor

    def marginal(self, values: Tensor) -> Tensor:
        """A gradient at the zeros, `(B, *rows, K)`, summed over what else the choice depends on."""
        kept = sorted({self.states, *self.plates})
        others = [dim for dim in range(-values.dim(), 0) if dim not in kept]
        values = values.sum(others) if others else values
        return values.movedim(0, -1).movedim(-2, 0)


class Terms:
    """The log-densities of one run that depend on states, and their sums."""

    def __init__(self, around: dict[int, int]) -> None:
        self.around, self.states = around, 1
        self.tilts: dict[str, Tilt] | None = None
        self.sites: dict[str, dict[str, Any]] = {}
        self._prior: Tensor | None = None

    def add(self, msg: Any, choice: bool = False) -> bool:
        """Note a site before the handlers around have seen it; whether it is the first of its
        kind.
        """
        kept = ("name", "fn", "args", "kwargs", "mask", "infer", "scale", "value", "is_observed")
        site = {name: msg[name] for name in kept}
        site["frames"] = [frame for frame in msg["cond_indep_stack"] if frame.vectorized]
        site["choice"] = choice
        first = not choice and not self._of(msg["is_observed"])
        self.sites[msg["name"]] = site

        scales = {float(one["scale"]) for one in self.sites.values()}
        if len(scales) > 1:
            raise Refused(
                f"site {msg['name']!r}: scaled otherwise than the discrete choice that it depends"
                f" on (by {sorted(scales)}), expected one scale for all that is summed together"
            )
        return first

    def put(self, msg: Any) -> None:
        """The value that a site has been given in the end, and where its states are in it."""
        if msg["name"] in self.sites:
            self.sites[msg["name"]].update(value=msg["value"], infer=msg["infer"])

    def log_prior(self) -> Tensor:
        """log p(z) of the latents that depend on states."""
        if self._prior is None:
            self._prior = self._summed([s for s in self.sites.values() if not s["is_observed"]])
        return self._prior

    def log_likelihood(self) -> Tensor:
        """log p(x | z) of the observations that depend on states."""
        joint = self._summed(list(self.sites.values()))
        if not self._of(observed=False):
            return joint
        prior = self.log_prior()
        impossible = prior == -math.inf
        return torch.where(impossible, -math.inf, joint - torch.where(impossible, 0.0, prior))

    def _tilt(self, site: dict[str, Any], log_prob: Tensor) -> Tensor:
        assert self.tilts is not None
        if site["name"] not in self.tilts:
            around = [self.around.get(dim, 1) for dim in range(min(self.around, default=0), 0)]
            shape = torch.broadcast_shapes(log_prob.shape, around)  # each particle has its own
            zeros = log_prob.new_zeros(shape, requires_grad=True)
            dims = tuple(sorted(frame.dim for frame in site["frames"]))
            states = site["infer"]["_enumerate_dim"]
            self.tilts[site["name"]] = Tilt(zeros, states, dims, _states(site, states))
        return self.tilts[site["name"]].zeros

    def _of(self, observed: bool) -> list[Any]:
        chosen = [s for s in self.sites.values() if not s["choice"]]
        return [s for s in chosen if s["is_observed"] == observed]

    def _summed(self, sites: list[dict[str, Any]]) -> Tensor:
        """The log of the sum over all states `(*particles, 1, ..., B)`; a dimension may be 1."""
        symbols: dict[Any, str] = {}

        def symbol(key: Any) -> str:
            return symbols.setdefault(key, chr(ord("a") + len(symbols)))

        target = {dim: symbol((dim,)) for dim in {*self.around, -1}}
        tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
        for site in sites:
            inner = {f.dim: symbol((f.dim, f.name)) for f in site["frames"] if f.dim not in target}
            states = site["infer"]["_dim_to_id"]
            dims = {dim: symbol(number) for dim, number in states.items()}
            log_prob = _log_density(site)
            if site["choice"] and self.tilts is not None:
                log_prob = log_prob + self._tilt(site, log_prob)
            term = packed.pack(log_prob, dims | inner | target)
            # a site outside of the data's plate is of the one datum
            ordinal = frozenset([*inner.values(), *target.values()])
            tree.setdefault(ordinal, []).append(term)

        ring = _LogSums()
        kept = frozenset(target.values())
        plates = frozenset().union(*tree)
        summed = {name for key, name in symbols.items() if name not in plates}
        for terms in tree.values():
            for term in terms:
                ring.note(term)
        total = contract_to_tensor(tree, summed, kept, ring=ring)
        return packed.unpack(total, {name: dim for dim, name in target.items()})


class _LogSums(LogRing):
    """Pyro's ring of sums and products of logarithms, without an exponential that underflows."""

    def note(self, term: Any) -> None:
        self._dim_to_size.update(zip(term._pyro_dims, term.shape, strict=True))

    def sumproduct(self, terms: Any, dims: Any) -> Tensor:
        left: list[Any] = list(terms)
        pending = set(dims)
        while pending:
            # the one whose elimination needs the smallest table
            dim = min(sorted(pending), key=lambda one: self._size(left, one))
            pending.remove(dim)
            mine = [term for term in left if dim in term._pyro_dims]
            left = [term for term in left if dim not in term._pyro_dims]
            if mine:
                left.append(_without(_product(mine), dim))
        return _product(left)

    def broadcast(self, term: Tensor, ordinal: Any) -> Tensor:
        return term  # whoever reads it does

    def _size(self, terms: list[Any], dim: str) -> int:
        met = {name for term in terms if dim in term._pyro_dims for name in term._pyro_dims}
        return math.prod(self._dim_to_size[name] for name in met)


def _product(terms: list[Any]) -> Any:
    """The sum of packed log-densities."""
    if len(terms) == 1:
        return terms[0]
    first, *others = packed.broadcast_all(*terms)
    total: Any = sum(others, first)
    total._pyro_dims = first._pyro_dims
    return total


def _without(term: Any, dim: str) -> Any:
    """A packed log-density with a dimension of states summed over."""
    total = term.logsumexp(term._pyro_dims.index(dim))
    total._pyro_dims = term._pyro_dims.replace(dim, "")
    return total


def _states(site: dict[str, Any], dim: int) -> Tensor:
    """The states of a choice, `(K, *event)`, which are in this dimension of its value."""
    event_dim = site["fn"].event_dim
    values: Tensor = site["value"].movedim(dim - event_dim, 0)
    while values.dim() > 1 + event_dim:
        values = values[:, 0]
    return values


def _log_density(site: dict[str, Any]) -> Tensor:
    """The log-density of a site at its value, with equal shares of a choice that is masked out."""
    if not site["choice"]:
        return log_density(site)[0]

    mask, fn = site["mask"], site["fn"]
    log_prob = fn.log_prob(site["value"], *site["args"], **site["kwargs"])
    if mask is None or mask is True:
        return log_prob
    size = site["value"].shape[site["infer"]["_enumerate_dim"] - fn.event_dim]
    mask = torch.as_tensor(mask, device=log_prob.device)
    return torch.where(mask, log_prob, -math.log(size))


class Stand(TorchDistribution):
    """What stands at a site that depends on states: the sum of all such sites in the first, 0 in
    the others, at the values of the run.

    Attributes:
        of_states: the distribution given each state.
        frames: the plates that the site is in.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True
    knows_support = True  # its log_prob is -inf outside
    shares_density = True

    def __init__(
        self,
        of_states: Any,
        batch: torch.Size,
        frames: Any,
        inner: tuple[int, ...],
        total: Callable[[], Tensor] | None,
    ) -> None:
        self.of_states, self.frames, self.inner, self.total = of_states, frames, inner, total
        super().__init__(batch, of_states.event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> Any:
        """Of the distributions given the states."""
        return self.of_states.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Stand:
        batch = torch.Size(batch_shape)
        return Stand(self.of_states, batch, self.frames, self.inner, self.total)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A value that may be, of no meaning: nobody has given it one."""
        value = self.of_states.sample()
        size = len(self.batch_shape) + len(self.event_shape)
        while value.dim() > size:
            value = value[0]
        return value.expand(*self.batch_shape, *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        given = value.shape[: value.dim() - len(self.event_shape)]
        shape = list(torch.broadcast_shapes(self.batch_shape, given))
        for dim in self.inner:
            shape[dim] = 1
        if self.total is None:
            kind = value if value.is_floating_point() else torch.empty((), device=value.device)
            return kind.new_zeros(()).expand(shape)
        return self.total().expand(shape)
