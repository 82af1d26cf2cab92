"""One table of likelihoods, and what is asked of each: that it is the distribution which it says,
that data are checked, that training begins at the best constant model, and that it goes through the
package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from jsonargparse import Namespace
from pyro.infer import Trace_ELBO
from scipy import special, stats
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.inference.outcome import bits_per_dim
from pyro_vae.models.likelihoods.multichoose import log_multichoose
from pyro_vae.runs.choices import choose_likelihood
from tests.scenarios import eager

SIZE = 4
LEVELS = 6
Array = np.ndarray[Any, Any]


def grey(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, LEVELS, shape) / (LEVELS - 1)


def of_kinds(shape: tuple[int, ...]) -> Tensor:
    """Columns: real, binary, counts, three categories."""
    x = torch.randn(shape) * 2 + 5
    x[..., 1] = (x[..., 1] > 5).float()
    x[..., 2] = torch.poisson(x[..., 2].abs())
    x[..., 3] = torch.randint(0, 3, shape[:-1]).float()
    return x


# ---- each distribution by another hand, float64; `fn` is that of single values


def beta_binomial(fn: Any, x: Array) -> Array:
    most = fn.levels - 1
    return stats.betabinom.logpmf(np.rint(x * most), most, fn.alpha, fn.beta)


def logistic(fn: Any, x: Array) -> Array:
    """Differences of the distribution function; the outer levels take the tails."""
    half, loc, scale = 0.5 / (fn.levels - 1), fn.loc.numpy(), fn.scale.numpy()
    high = np.where(x >= 1, np.inf, (x + half - loc) / scale)
    low = np.where(x <= 0, -np.inf, (x - half - loc) / scale)
    high, low = np.where(low > 0, -low, high), np.where(low > 0, -high, low)  # far from 1
    return np.log(special.expit(high) - special.expit(low))


def categorical(fn: Any, x: Array) -> Array:
    log_chances = special.log_softmax(fn.logits.numpy(), -1)
    return np.take_along_axis(log_chances, x.astype(int)[..., None], -1)[..., 0]


def negative_binomial(fn: Any, x: Array) -> Array:
    """By mu and theta, as Lopez et al. (2018) have it."""
    mu, theta = fn.log_mean.exp().numpy(), fn.log_theta.exp().numpy()
    ways = special.gammaln(x + theta) - special.gammaln(theta) - special.gammaln(x + 1)
    found = ways + theta * np.log(theta / (theta + mu)) + x * np.log(mu / (theta + mu))
    np.testing.assert_allclose(found, stats.nbinom.logpmf(x, theta, theta / (theta + mu)))
    return found


def continuous_bernoulli(fn: Any, x: Array) -> Array:
    eta = fn.eta.numpy()
    return eta * x - np.log(np.expm1(eta) / eta)


@dataclass
class Row:
    """One likelihood.

    Attributes:
        make: makes it.
        data: float data of a shape.
        wrong: what `check` refuses, with the words.
        reference: log-densities of single values by another hand.
        values: all values that it gives a probability, or None where it is a density.
        has_mean: whether its mean is one.
    """

    make: Callable[[], pv.Likelihood]
    data: Callable[[tuple[int, ...]], Tensor]
    wrong: dict[float, str]
    reference: Callable[[Any, Array], Array] | None = None
    values: Tensor | None = None
    has_mean: bool = True


def counts(shape: tuple[int, ...]) -> Tensor:
    return torch.poisson(torch.distributions.Gamma(2.0, 0.5).sample(torch.Size(shape)))


def heavy(shape: tuple[int, ...]) -> Tensor:
    return 3 + 2 * torch.distributions.StudentT(4.0).sample(torch.Size(shape))


LINE = torch.arange(LEVELS, dtype=torch.double) / (LEVELS - 1)
COUNTS = torch.arange(20_000, dtype=torch.double)
GREY = {0.5: "none of the 6 grey levels v / 5", 1.5: r"values in \[0, 1.5\]", -0.2: "grey levels"}
NO_COUNT = {0.5: "got 0.5 under a .*, expected counts, whole", -1.0: "got -1 under a"}

ROWS: dict[str, Row] = {
    "beta-binomial": Row(partial(pv.BetaBinomial, LEVELS), grey, GREY, beta_binomial, LINE),
    "logistic": Row(partial(pv.DiscretisedLogistic, LEVELS), grey, GREY, logistic, LINE),
    "logistic, scale a pixel": Row(
        partial(pv.DiscretisedLogistic, LEVELS, "pixel"), grey, GREY, logistic, LINE
    ),
    "logistic, scale an output": Row(
        partial(pv.DiscretisedLogistic, LEVELS, "output"), grey, GREY, logistic, LINE
    ),
    "categorical": Row(
        partial(pv.Categorical, 3),
        lambda shape: torch.randint(0, 3, shape).float(),
        {0.5: "got 0.5 under a Categorical .* codes 0 to 2", 3.0: "got 3", -1.0: "got -1"},
        categorical,
        torch.arange(3, dtype=torch.double),
        has_mean=False,
    ),
    "poisson": Row(
        pv.Poisson,
        counts,
        NO_COUNT,
        lambda fn, x: stats.poisson.logpmf(x, fn.mean),
        COUNTS,
    ),
    "negative binomial": Row(pv.NegativeBinomial, counts, NO_COUNT, negative_binomial, COUNTS),
    "negative binomial, dispersion an output": Row(
        partial(pv.NegativeBinomial, "output"), counts, NO_COUNT, negative_binomial, COUNTS
    ),
    "student": Row(
        pv.StudentT,
        heavy,
        {math.inf: "got infinite values"},
        lambda fn, x: stats.t.logpdf(x, fn.df, fn.loc, fn.scale),
    ),
    "student, scale an output": Row(
        partial(pv.StudentT, 3.0, "output"),
        heavy,
        {math.inf: "got infinite values"},
        lambda fn, x: stats.t.logpdf(x, fn.df, fn.loc, fn.scale),
    ),
    "continuous Bernoulli": Row(
        pv.ContinuousBernoulli,
        lambda shape: torch.rand(shape).square(),
        {1.5: r"expected \[0, 1\]", -0.1: "rescale"},
        continuous_bernoulli,
    ),
    "mixed": Row(
        partial(pv.Mixed, ["real", "binary", "counts", "categories:3"]),
        of_kinds,
        {math.inf: "got infinite values"},
        has_mean=False,
    ),
}
EACH = pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
SINGLE = pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if row.reference], ids=[n for n in ROWS if n != "mixed"]
)
FIRST = pytest.mark.parametrize(  # one of each class
    "row",
    [row for name, row in ROWS.items() if "," not in name],
    ids=[name for name in ROWS if "," not in name],
)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    pyro.clear_param_store()
    yield


def near(values: Tensor, truth: Tensor) -> None:
    """Within five standard errors of the mean of draws."""
    error = values.std(0) / math.sqrt(len(values))
    assert ((values.mean(0) - truth).abs() < 5 * error + 1e-9).all()


def bound(row: Row, dtype: torch.dtype = torch.double) -> pv.Likelihood:
    likelihood = row.make()
    likelihood.bind((SIZE,))
    return likelihood.to(dtype)


def single(fn: Any) -> Any:
    """A distribution of single values, without parameters that ask for a gradient."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    for name, value in vars(fn).items():
        if isinstance(value, Tensor):
            setattr(fn, name, value.detach())
    return fn


def started(row: Row, x: Tensor) -> pv.VAE:
    """A VAE that begins at these data, and answers alike for every latent."""
    model = pv.VAE((SIZE,), 2, (8,), row.make())
    model.start(x)
    with torch.no_grad():
        model.decoder.head.weight.zero_()
    return model


@SINGLE
def test_agrees_with_another_hand_and_is_normalised(row: Row) -> None:
    likelihood = bound(row)
    fn = likelihood(torch.randn(10, likelihood.num_outputs, SIZE).double())
    one = single(fn)
    x = row.data((10, SIZE)).double()
    found = one.log_prob(x)
    assert row.reference is not None
    np.testing.assert_allclose(found, row.reference(one, x.numpy()), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(fn.log_prob(x).detach(), found.sum(-1))

    if row.values is not None:
        mass = one.log_prob(row.values[:, None, None]).exp().sum(0)
        torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-6, atol=0)
    elif isinstance(likelihood, pv.ContinuousBernoulli):
        grid = torch.linspace(0, 1, 4001).double()
        mass = torch.trapezoid(one.log_prob(grid[:, None, None]).exp(), grid, dim=0)
        torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-5, atol=0)


def test_mixed_is_the_sum_of_its_columns() -> None:
    row = ROWS["mixed"]
    likelihood = bound(row)
    assert likelihood.num_outputs == 3 and likelihood.discrete_under == ()
    outputs, x = torch.randn(50, 3, SIZE).double(), row.data((50, SIZE)).double()
    fn = likelihood(outputs)
    assert (fn.event_shape, fn.batch_shape, fn.mean.shape) == ((SIZE,), (50,), (50, SIZE))

    real, binary, count, codes = (outputs[:, :, column] for column in range(SIZE))
    by_hand = (
        dist.Normal(real[:, 0], 1.0).log_prob(x[:, 0])
        + dist.Bernoulli(logits=binary[:, 0]).log_prob(x[:, 1])
        + torch.from_numpy(stats.nbinom.logpmf(x[:, 2], 1, 1 / (1 + count[:, 0].exp())))
        + dist.Categorical(logits=codes).log_prob(x[:, 3])
    )
    torch.testing.assert_close(fn.log_prob(x), by_hand)


def test_many_columns_of_few_kinds_are_few_groups() -> None:
    kinds = ["categories:3", "real", "binary", "counts", "categories:2"] * 40
    likelihood = pv.Mixed(kinds)
    likelihood.bind((200,))
    fn = likelihood(torch.randn(7, likelihood.num_outputs, 200))
    assert len(fn.parts) == 5
    x = fn.sample((3,))
    assert x.shape == (3, 7, 200)
    likelihood.check(x.flatten(0, 1))
    assert fn.log_prob(x).shape == (3, 7) and fn.expand((2, 7)).log_prob(x[:2]).shape == (2, 7)
    assert pv.Mixed(["counts", "categories:3"]).discrete_under == ("none",)


@EACH
def test_gradients_are_finite_and_float32_is_as_good(row: Row) -> None:
    wide, narrow = bound(row), bound(row, torch.float)
    x = row.data((300, SIZE))
    outputs = torch.randn(300, wide.num_outputs, SIZE) * torch.logspace(-6, 2, 300)[:, None, None]
    both = []
    for likelihood, dtype in ((wide, torch.double), (narrow, torch.float)):
        given = outputs.to(dtype).requires_grad_()
        found = likelihood(given).log_prob(x.to(dtype))
        found.sum().backward()
        assert given.grad is not None and given.grad.isfinite().all()
        for parameter in likelihood.parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all()
        both.append((found.detach().double(), given.grad.double()))

    (exact, slope), (found, found_slope) = both
    assert exact.isfinite().all()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found_slope, slope, rtol=1e-3, atol=1e-3)


@EACH
def test_data_outside_the_support_are_refused_and_its_own_draws_are_not(row: Row) -> None:
    model = pv.VAE((SIZE,), 2, (8,), row.make())
    for value, message in row.wrong.items():
        x = row.data((5, SIZE))
        x[0], x[2, 1] = 0.0, value
        with pytest.raises(ValueError, match=message):
            model.check_data(x)
    fn = model.likelihood(torch.randn(5, model.likelihood.num_outputs, SIZE))
    model.check_data(fn.sample())


@EACH
def test_training_begins_at_the_best_constant_model(row: Row) -> None:
    x = row.data((2000, SIZE))
    model = started(row, x)
    fn = model.likelihood(model.decoder(torch.zeros(1, 2)))
    if row.has_mean:
        torch.testing.assert_close(fn.mean[0], x.mean(0), rtol=1e-4, atol=1e-4)
    best = fn.log_prob(x).sum()

    # no other constant near it is better by more than a little
    bias = model.decoder.bias
    assert isinstance(bias, Tensor)
    for step in (-0.2, 0.2):
        moved = bias.detach().clone()
        moved[0] += step
        assert model.likelihood(moved[None]).log_prob(x).sum() < best + 0.002 * best.abs()


def scaled(sigma: float | None, learn: Any) -> Row:
    return Row(partial(pv.Gaussian, sigma, learn), lambda shape: 20 * torch.randn(shape) + 9, {})


@pytest.mark.parametrize("row", [*ROWS.values(), scaled(0.3, "output"), scaled(None, "output")])
def test_weights_that_are_loaded_say_the_same(row: Row) -> None:
    x = row.data((100, SIZE))
    model, again = started(row, x), pv.VAE((SIZE,), 2, (8,), row.make())
    again.load_state_dict(model.state_dict())
    z = torch.zeros(1, 2)
    one, other = (each.likelihood(each.decoder(z)) for each in (model, again))
    assert torch.equal(one.log_prob(x), other.log_prob(x))


def test_categories_begin_at_their_frequencies_and_mixed_at_those_of_its_kinds() -> None:
    x = (torch.rand(4000, SIZE) < 0.3).float() + (torch.rand(4000, SIZE) < 0.2).float()
    model = started(ROWS["categorical"], x)
    logits = single(model.likelihood(model.decoder(torch.zeros(1, 2)))).logits
    shares = torch.stack([(x == code).float().mean(0) for code in range(3)], -1)
    torch.testing.assert_close(logits.softmax(-1)[0], shares, rtol=1e-2, atol=1e-3)

    table = of_kinds((2000, SIZE))
    mixed = started(ROWS["mixed"], table)
    mean = mixed.likelihood(mixed.decoder(torch.zeros(1, 2))).mean[0]
    torch.testing.assert_close(mean[:3], table.mean(0)[:3], rtol=1e-4, atol=1e-4)
    assert mean[3] == table[:, 3].long().bincount().argmax()


@SINGLE
def test_draws_agree_with_the_density(row: Row) -> None:
    likelihood = bound(row)
    fn = single(likelihood(torch.randn(2, likelihood.num_outputs, SIZE).double()))
    draws = fn.sample((20_000,))
    log_prob = fn.log_prob(draws)

    if row.has_mean:
        near(draws.sum((1, 2)), fn.mean.sum())
    if row.values is not None:
        log_mass = fn.log_prob(row.values[:, None, None])
        entropy = -(log_mass.exp() * log_mass).sum()
    elif isinstance(likelihood, pv.StudentT):
        entropy = torch.as_tensor(stats.t(fn.df, fn.loc, fn.scale).entropy().sum())
    else:
        grid = torch.linspace(0, 1, 4001).double()
        log_mass = fn.log_prob(grid[:, None, None])
        entropy = -torch.trapezoid(log_mass.exp() * log_mass, grid, dim=0).sum()
    near(log_prob.sum((1, 2)), -entropy)


@EACH
def test_the_captured_engine_gives_pyro_s_loss(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x, index = row.data((6, SIZE)), torch.arange(6)
    model = pv.VAE((SIZE,), 2, (4,), row.make())
    model.start(row.data((50, SIZE)))
    guide = pv.EncoderGuide((SIZE,), 2, (4,))
    svi = pv.CompiledSVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO(), fallback=False)
    torch.manual_seed(1)
    expected = Trace_ELBO().loss(model, guide, x, index)
    torch.manual_seed(1)
    assert float(svi.step(x, index)) == pytest.approx(expected, rel=1e-5)
    assert svi.reason is None


@FIRST
def test_goes_through_the_package(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x = row.data((40, SIZE))
    model = pv.VAE((SIZE,), 1, (4,), row.make())
    guide = pv.EncoderGuide((SIZE,), 1, (4,))
    run = pv.fit(model, guide, x, epochs=2, valid=0, values="real", quiet=True)
    assert math.isfinite(run.history[-1]["train_loss"])

    few = x[:4]
    classical = pv.fit_local(model, pv.Local(pv.MeanField(1), 4), few, num_steps=5)
    truth = pv.log_evidence(model, guide, few, pv.Quadrature()).log_px
    found = pv.log_evidence(model, guide, few, pv.Importance(num_particles=2000))
    assert ((found.log_px - truth).abs() < 0.2).all()
    assert pv.log_weights(model, classical.guide, few).isfinite().all()
    assert pv.reconstruct(model, guide, few).means.shape == (4, SIZE)
    drawn = pv.sample(model, few, num_samples=5, kind="draw").x
    model.check_data(drawn)


@EACH
def test_missing_values_are_left_out(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    x = row.data((200, SIZE))
    holed = torch.where(torch.rand(x.shape) < 0.3, torch.nan, x)
    model = pv.VAE((SIZE,), 1, (4,), row.make())
    guide = pv.EncoderGuide((SIZE,), 1, (4,))
    run = pv.fit(model, guide, holed, epochs=1, valid=0, values="real", quiet=True)
    assert math.isfinite(run.history[-1]["train_loss"])
    assert all(p.isfinite().all() for p in model.parameters())

    few, z = holed[:6], torch.randn(6, 1)
    seen = pv.observed_part(model)
    given = pyro.poutine.condition(seen, {"latent": z})
    found = pyro.poutine.trace(given).get_trace(few, torch.arange(6))
    found.compute_log_prob()

    fn = model.likelihood(model.decoder(z))
    whole = torch.where(few.isnan(), x[:6], few)
    if hasattr(fn, "log_prob_each"):
        each = fn.log_prob_each(whole)
        torch.testing.assert_close(each.sum(-1), fn.log_prob(whole))
    else:
        each = fn.base_dist.log_prob(whole)
    by_hand = torch.where(few.isnan(), 0.0, each).sum(-1)
    torch.testing.assert_close(found.nodes["obs"]["log_prob"], by_hand)


class GridPosterior(nn.Module):
    """The posterior of a one-dimensional latent on a grid, uniform within its cells."""

    def __init__(self, model: pv.VAE, num_cells: int = 300) -> None:
        super().__init__()
        self.decoder, self.likelihood = model.decoder, model.likelihood
        self.edges = torch.linspace(-5, 5, num_cells + 1)

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        z = (self.edges[1:] + self.edges[:-1]) / 2
        fn = self.likelihood(self.decoder(z[:, None])[:, None])
        log_joint = fn.log_prob(x) - z[:, None] ** 2 / 2  # (cells, B)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", Cells(log_joint.T, self.edges).to_event(1))


class Cells(dist.TorchDistribution):
    """A histogram, of event shape () and batch shape (B, 1)."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    support = torch.distributions.constraints.real

    def __init__(self, logits: Tensor, edges: Tensor) -> None:
        self.logits, self.edges = logits.log_softmax(-1), edges
        super().__init__((*logits.shape[:-1], 1), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        cell = torch.distributions.Categorical(logits=self.logits).sample(torch.Size(sample_shape))
        width = self.edges[1] - self.edges[0]
        return (self.edges[cell] + width * torch.rand(cell.shape)).unsqueeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        width = self.edges[1] - self.edges[0]
        number = len(self.edges) - 1
        cell = ((value - self.edges[0]) / width).floor().long().clamp(0, number - 1)
        logits = self.logits.expand(*cell.shape[:-1], number)
        return logits.gather(-1, cell) - width.log()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Cells:
        return Cells(self.logits.expand(*batch_shape[:-1], -1), self.edges)


@FIRST
def test_is_calibrated_under_its_own_model(row: Row) -> None:
    model = pv.VAE((SIZE,), 1, (4,), row.make())
    model.start(row.data((200, SIZE)))
    with torch.no_grad():
        model.decoder.head.weight.mul_(3)
    found = pv.check_calibration(
        model,
        GridPosterior(model),
        torch.zeros(1, SIZE),
        num_simulations=200,
        num_draws=19,
        alpha=1e-3,
    )
    assert found.verdict.startswith("calibrated"), found.verdict


# ---- which goes with the data, and what it is worth in bits


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (None, "Gaussian, a sigma for each value learned"),
        (("counts",) * 3, "NegativeBinomial, a dispersion for each value learned"),
        (("categories:4",) * 3, "Categorical of 4 classes"),
        (("binary",) * 3, "Bernoulli"),
        (("real",) * 3, "Gaussian, a sigma for each value learned"),
        (("real", "counts", "categories:4"), "Mixed: 1 real, 1 counts, 1 categories:4"),
    ],
)
def test_the_likelihood_goes_with_the_kinds_of_the_columns(
    kinds: tuple[str, ...] | None, told: str
) -> None:
    x = torch.randn(20, 3) if kinds is None else torch.randint(0, 2, (20, 3)).float()
    train, test = (pv.Split(name, x, "none", kinds=kinds) for name in ("train", "test"))
    data = pv.Dataset("own", train, None, test)
    found = pv.likelihood_for(data)
    assert found.describe() == told
    found.bind((3,))

    # and a run's configuration keeps it
    config = Namespace(model=Namespace(init_args=Namespace(likelihood=None)))
    choose_likelihood(config, data)
    kept = config.model.init_args.likelihood
    again = getattr(pv, kept.class_path.removeprefix("pyro_vae."))(**kept.init_args.as_dict())
    assert again.describe() == told


@pytest.mark.parametrize(
    ("row", "rule", "levels"),
    [
        (ROWS["beta-binomial"], "none", 1),
        (ROWS["logistic"], "none", 1),
        (ROWS["categorical"], "none", 1),
        (ROWS["poisson"], "none", 1),
        (ROWS["student"], "none", None),
        (ROWS["student"], "dequantise", 256),
        (ROWS["continuous Bernoulli"], "dequantise", 256),
        (ROWS["mixed"], "none", None),
    ],
)
def test_bits_are_told_where_values_have_probabilities(
    row: Row, rule: Any, levels: int | None
) -> None:
    pixels = torch.randint(0, 256, (20, SIZE), dtype=torch.uint8)
    data = pv.Dataset("own", pv.Split("train", pixels, rule), None, pv.Split("test", pixels, rule))
    model = pv.VAE((SIZE,), 2, (4,), row.make())
    assert rule in model.rules
    found = bits_per_dim(model, data, -math.log(2) * SIZE)
    assert found == (None if levels is None else 1 + math.log2(levels))


def test_pixels_become_grey_levels_for_their_likelihoods(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    pixels = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    model = pv.VAE((1, 4, 4), 2, (4,), pv.BetaBinomial())
    run = pv.fit(model, pv.EncoderGuide((1, 4, 4), 2, (4,)), pixels, epochs=1, quiet=True, valid=10)
    assert run.data.binarise == "none"
    assert "bits a value" in str(run)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pv.BetaBinomial(1), "levels: got 1"),
        (lambda: pv.DiscretisedLogistic(2.5), "levels: got 2.5"),  # type: ignore[arg-type]
        (lambda: pv.DiscretisedLogistic(learn="none"), "learn: got 'none'"),  # type: ignore[arg-type]
        (lambda: pv.Categorical(1), "num_classes: got 1"),
        (lambda: pv.NegativeBinomial("gene"), "dispersion: got 'gene'"),  # type: ignore[arg-type]
        (lambda: pv.StudentT(1.0), "df: got 1.0"),
        (lambda: pv.Mixed("real"), "kinds: got 'real'"),
        (lambda: pv.Mixed(["real", "categories:1"]), "kinds: got 'categories:1'"),
        (lambda: pv.VAE((3,), 2, (4,), pv.Mixed(["real"])), "kinds: got 1 of them for data"),
    ],
)
def test_bad_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.double, 1e-9), (torch.float, 1e-6)])
def test_real_binomial_coefficients_keep_their_figures(dtype: torch.dtype, rtol: float) -> None:
    a = torch.logspace(-6, 5, 40, dtype=dtype)[:, None]
    k = torch.tensor([0, 1, 2, 7, 40, 255, 10_000], dtype=dtype)
    wide_a, wide_k = a.double().numpy(), k.double().numpy()
    truth = special.gammaln(wide_a + wide_k) - special.gammaln(wide_a) - special.gammaln(wide_k + 1)
    np.testing.assert_allclose(log_multichoose(a, k).double(), truth, rtol=rtol, atol=2 * rtol)
