from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from pyro_vae import (
    MLP,
    VAE,
    Amortized,
    Dataset,
    EncoderGuide,
    Gaussian,
    LinearGaussian,
    Local,
    MeanField,
    NonFiniteLoss,
    Recipe,
    Split,
    fit,
    log_evidence,
)
from pyro_vae.evidence import Importance
from pyro_vae.inference.optim import JointOptim
from pyro_vae.inference.weights import read_weights

NUM, SIZE = 96, 5
SGD = partial(torch.optim.SGD, lr=0.0)


def make(num: int = NUM) -> tuple[LinearGaussian, Amortized, torch.Tensor]:
    torch.manual_seed(0)
    truth = LinearGaussian(SIZE, 2, sigma=0.5, seed=7)
    x = truth.sample(num) + 0.5 * torch.randn(num, SIZE)
    return LinearGaussian(SIZE, 2), Amortized(MeanField(2), MLP(SIZE, ())), x


def with_valid(x: torch.Tensor) -> Dataset:
    return Dataset(
        "toy",
        Split("train", x[:64], "none"),
        Split("valid", x[64:], "none"),
        Split("test", x[64:], "none"),
    )


def adam(epochs: int, rate: float, batch_size: int = 32) -> Recipe:
    """Adam whose rate falls to zero by a cosine, and the analytic KL."""
    optimizer, schedule = (
        partial(torch.optim.Adam, lr=rate),
        partial(CosineAnnealingLR, T_max=epochs),
    )
    return Recipe(epochs, batch_size, optimizer, schedule, TraceMeanField_ELBO(), warmup_epochs=0)


def test_trained_mean_field_approaches_its_closed_form_optimum() -> None:
    # The decoder is known; a linear encoder can reach the optimum, of one scale for all data.
    _, guide, x = make(512)
    model = LinearGaussian(SIZE, 2, sigma=0.5, seed=7).requires_grad_(False)
    assert model.mean_field_gap() > 0.1  # its posterior is correlated: the family costs something
    fit(model, guide, x, adam(200, 0.1, 64), valid=0, quiet=True)
    q = guide.q(x)
    full = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    gap = (
        torch.distributions.kl_divergence(full, model.posterior(x)).mean() - model.mean_field_gap()
    )
    assert -1e-5 < gap.item() < 2e-3, gap  # the amortization gap, in closed form
    est = log_evidence(model, guide, x, Importance(num_particles=500))
    error = est.elbo_error.square().sum().sqrt().item() / 512
    assert (
        abs((model.log_px(x).mean() - model.mean_field_gap() - gap - est.elbo.mean()).item())
        < 5 * error
    )


def test_trained_model_approaches_maximum_likelihood() -> None:
    model, guide, x = make(512)
    fit(model, guide, x, adam(120, 0.05), valid=0, quiet=True)
    best = LinearGaussian.maximum_likelihood(x, 2)
    # Mean-field training finds maximum likelihood all the same (Lucas et al., 2019):
    # loadings can be orthogonal.
    gap = (best.log_px(x) - model.log_px(x)).mean().item()
    assert 0 <= gap < 2e-3, gap


@pytest.mark.parametrize("loss", [Trace_ELBO(), TraceMeanField_ELBO(), Trace_ELBO(num_particles=3)])
def test_train_loss_is_minus_the_elbo_per_datum(loss: Any) -> None:
    model, guide, x = make(1000)
    run = fit(
        model, guide, x, epochs=1, optimizer=SGD, loss=loss, warmup_epochs=0, valid=0, quiet=True
    )
    est = log_evidence(model, guide, x, Importance(num_particles=100))
    error = (est.elbo_error * 10).square().sum().sqrt().item() / 1000  # one particle in the loss
    assert abs(run.history[0]["train_loss"] + est.elbo.mean().item()) < 5 * error, (
        run.history,
        est.elbo.mean(),
        error,
    )


def test_beta_weighs_the_rate() -> None:
    model, guide, x = make(1000)
    est = log_evidence(model, guide, x, Importance(num_particles=100))
    options = {"epochs": 1, "optimizer": SGD, "warmup_epochs": 0, "valid": 0, "quiet": True}
    run = fit(model, guide, x, loss=TraceMeanField_ELBO(), beta=3.0, **options)  # type: ignore[arg-type]
    expected = (est.distortion + 3 * est.rate).mean().item()
    error = (est.elbo_error * 10).square().sum().sqrt().item() / 1000
    assert abs(run.history[0]["train_loss"] - expected) < 5 * error
    run = fit(model, guide, x, beta=0.0, **options)  # type: ignore[arg-type]
    assert abs(run.history[0]["train_loss"] - est.distortion.mean().item()) < 5 * error


def test_beta_collapses_a_dimension_exactly_below_its_eigenvalue() -> None:
    # Linear VAE, fixed decoder noise s: dimension i collapses exactly when beta * s >= e_i
    # (Dai et al.; Lucas et al.).
    generator = torch.Generator().manual_seed(1)
    scales = torch.tensor([3.0, 1.5, 0.5])
    # e = scales ** 2
    x = torch.linalg.qr(torch.randn(2000, 3, generator=generator)).Q * math.sqrt(2000) * scales

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = nn.Linear(3, 3, bias=False)
            self.latent_dim = 3

        def forward(self, x: torch.Tensor, index: Any = None) -> None:
            pyro.module("collapse", self)
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("latent", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                pyro.sample("obs", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    model, guide = Linear(), Amortized(MeanField(3), MLP(3, ()))
    beta = 1.5
    fit(model, guide, x, replace(adam(60, 0.05, 100), beta=beta), valid=0, quiet=True)
    singular = torch.linalg.svdvals(model.decoder.weight.detach())
    expected = (scales**2 - beta).clamp(min=0).sqrt()
    torch.testing.assert_close(singular, expected, atol=0.03, rtol=0)


def test_warm_up_rises_to_beta_by_step() -> None:
    model, guide, x = make()
    run = fit(
        model, guide, x, epochs=4, batch_size=32, beta=2.0, warmup_epochs=2, valid=0, quiet=True
    )
    # the last step of each epoch of three: 2/3 and 5/3 of two epochs, then all
    assert [row["beta"] for row in run.history] == pytest.approx([2 / 3, 5 / 3, 2, 2])


def test_every_datum_is_seen_once_an_epoch_with_its_row() -> None:
    model, guide, x = make(50)
    seen: list[torch.Tensor] = []

    def spy(batch: torch.Tensor, index: torch.Tensor) -> Any:
        assert torch.equal(batch, x[index])
        seen.append(index)
        return guide(batch, index)

    fit(model, spy, x, epochs=1, batch_size=16, valid=0, quiet=True)
    sizes = [len(rows) for rows in seen]  # before and behind the steps, looks at the programs
    first = next(n for n in range(len(sizes)) if sizes[n : n + 4] == [16, 16, 16, 2])
    steps = seen[first : first + 4]
    assert torch.equal(torch.cat(steps).sort().values, torch.arange(50))


def test_same_seed_same_end_and_the_caller_s_noise_untouched() -> None:
    ends = []
    for seed, caller in ((1, 5), (1, 6), (2, 5)):
        model, guide, x = make()
        torch.manual_seed(caller)
        state = torch.get_rng_state()
        fit(model, guide, x, epochs=2, seed=seed, quiet=True)
        assert torch.equal(torch.get_rng_state(), state)
        ends.append(model.loading.detach().clone())
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_one_optimizer_is_pyro_s_adam_per_parameter() -> None:
    ends = []
    for joint in (True, False):
        model, guide, x = make()
        pyro.clear_param_store()
        params = [p for m in (guide, model) for p in m.parameters()]
        optim = (
            JointOptim(partial(torch.optim.Adam, lr=0.01), params)
            if joint
            else pyro.optim.Adam({"lr": 0.01})
        )
        svi = pyro.infer.SVI(model, guide, optim, Trace_ELBO())
        torch.manual_seed(3)
        for _ in range(10):
            svi.step(x)
        ends.append(model.loading.detach().clone())
    torch.testing.assert_close(ends[0], ends[1], atol=1e-6, rtol=0)


def test_an_optimizer_of_one_s_own_needs_no_closure() -> None:
    class Plain(torch.optim.SGD):
        def step(self) -> None:  # type: ignore[override]
            super().step()

    model, guide, x = make()
    fit(model, guide, x, epochs=1, optimizer=partial(Plain, lr=1e-4), quiet=True)


@pytest.mark.parametrize(
    "name", ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD"]
)
def test_any_torch_optimizer_trains(name: str) -> None:
    model, guide, x = make()
    before = model.loading.detach().clone()
    fit(model, guide, x, epochs=1, optimizer=getattr(torch.optim, name), quiet=True)
    assert not torch.equal(model.loading, before)


def test_clipping_is_by_the_global_norm() -> None:
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optim = JointOptim(partial(torch.optim.SGD, lr=1.0), [a, b], clip_norm=1.0)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    optim({a, b})
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([-0.6, -0.8]))


def test_a_parameter_that_appears_later_is_refused() -> None:
    a = nn.Parameter(torch.zeros(1))
    optim = JointOptim(partial(torch.optim.SGD, lr=1.0), [a])
    late = pyro.param("late", torch.zeros(1)).unconstrained()
    with pytest.raises(ValueError, match=r"\['late'\] appeared during training"):
        optim({a, late})


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (None, [0.1, 0.1, 0.1]),
        (partial(StepLR, step_size=1, gamma=0.5), [0.1, 0.05, 0.025]),
        (
            partial(ReduceLROnPlateau, patience=0, threshold=1e9, threshold_mode="abs", factor=0.1),
            [0.1, 0.1, 0.01],
        ),
    ],
)
def test_schedule_steps_once_an_epoch(schedule: Any, rates: list[float]) -> None:
    model, guide, x = make()
    optimizer = partial(torch.optim.Adam, lr=0.1)
    run = fit(
        model, guide, with_valid(x), epochs=3, optimizer=optimizer, schedule=schedule, quiet=True
    )
    assert [row["learning_rate"] for row in run.history] == pytest.approx(rates)


def test_early_stopping_keeps_the_best_parameters() -> None:
    model, guide, x = make()
    data = with_valid(x)
    recipe = Recipe(200, 8, partial(torch.optim.Adam, lr=0.3), warmup_epochs=0, patience=3)
    run = fit(model, guide, data, recipe, quiet=True)
    scores = [row["valid_elbo"] for row in run.history]
    assert len(scores) < 200 and len(scores) - 1 - scores.index(max(scores)) == 3
    now = (
        log_evidence(model, guide, data.valid.x, Importance(num_particles=1, seed=0))
        .elbo.mean()
        .item()
    )  # type: ignore[union-attr]
    assert now == max(scores)


def test_non_finite_loss_names_epoch_step_and_cause(tmp_path: Path) -> None:
    model, guide, x = make()
    with pytest.raises(
        NonFiniteLoss, match=r"epoch \d+, step \d+.*lower the learning rate \(now 1e\+08\)"
    ):
        fit(
            model,
            guide,
            x,
            epochs=5,
            optimizer=partial(torch.optim.SGD, lr=1e8),
            folder=tmp_path / "run",
            quiet=True,
        )


def test_non_finite_loss_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    model, guide, x = make()
    calls = iter(range(10**6))

    def breaking(x: torch.Tensor, index: Any = None) -> Any:
        if next(calls) > 20:  # behind the checks and an epoch
            x = x * math.inf
        return model(x, index)

    with pytest.raises(NonFiniteLoss, match="last good checkpoint is in"):
        fit(breaking, guide, x, epochs=50, batch_size=32, folder=tmp_path, quiet=True)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(torch.isfinite(v).all() for v in state["weights"]["guide"].values())
    assert state["position"]["epoch"] >= 1


@pytest.mark.parametrize(("valid", "name"), [(10, "validation"), (0, "train")])
@pytest.mark.parametrize("rate", [1e3, 1e20])
def test_what_only_the_last_step_broke_is_a_non_finite_loss(
    valid: int, name: str, rate: float, tmp_path: Path
) -> None:
    # One step an epoch: its loss is finite, as are the parameters that it leaves; their densities
    # are not.
    model, guide = (
        VAE((SIZE,), 2, hidden=(8,), likelihood=Gaussian()),
        EncoderGuide((SIZE,), 2, hidden=(8,)),
    )
    x, sgd = torch.randn(NUM, SIZE), partial(torch.optim.SGD, lr=rate)
    with pytest.raises(
        NonFiniteLoss, match=f"of the {name} data is NaN or infinite after epoch 1.*learning rate"
    ) as told:
        fit(
            model,
            guide,
            x,
            epochs=1,
            batch_size=NUM,
            valid=valid,
            optimizer=sgd,
            folder=tmp_path,
            quiet=True,
        )
    assert "leading dimensions" not in str(told.value)
    assert all(torch.isfinite(p).all() for p in guide.parameters())
    assert (tmp_path / "checkpoint.pt").exists() and not (tmp_path / "weights.pt").exists()


def test_a_validation_datum_outside_the_support_is_no_divergence() -> None:
    # Uniform noise of width 4: the train data are within reach of every mean, but not one
    # validation datum.
    def model(x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
            low = pyro.param("low", torch.tensor(-2.0)).expand(x.shape[-1])
            pyro.sample("obs", dist.Uniform(low, 2.0, validate_args=False).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(1)), 1.0).to_event(1))

    x = torch.linspace(-1, 1, 20).reshape(20, 1)
    valid = torch.cat([x[:9], torch.tensor([[3.0]])])
    data = Dataset(
        "toy", Split("train", x, "none"), Split("valid", valid, "none"), Split("test", x, "none")
    )
    run = fit(model, guide, data, epochs=1, warmup_epochs=0, optimizer=SGD, quiet=True)
    assert run.history[0]["valid_elbo"] == -math.inf


def test_a_checkpoint_within_an_epoch_is_never_of_broken_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vae.inference.svi._SAVE_EVERY", -1.0)

    class Breaking(Amortized):
        calls = 0

        def forward(self, x: torch.Tensor, index: Any = None) -> Any:
            self.calls += 1
            z = super().forward(x, index)
            if self.calls > 12:  # a finite loss with a gradient that is not
                pyro.factor(
                    "nothing",
                    (self.head.bias - self.head.bias.detach()).square().sum().sqrt(),
                    has_rsample=True,
                )
            return z

    model, _, x = make()

    def scored(x: torch.Tensor, index: Any = None) -> Any:
        return model(x, index)

    guide = Breaking(MeanField(2), MLP(SIZE, ()))
    with pytest.raises(NonFiniteLoss, match="became non-finite in epoch"):
        fit(scored, guide, x, epochs=20, batch_size=8, folder=tmp_path, quiet=True)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(torch.isfinite(v).all() for v in state["weights"]["guide"].values())


def test_checks_leave_batch_statistics_alone() -> None:
    model, guide, x = make()
    guide.encoder.layers.append(nn.BatchNorm1d(SIZE))
    fit(model, guide, x, epochs=1, batch_size=NUM, quiet=True)
    assert guide.encoder.layers[0].num_batches_tracked == 1


def test_a_guide_with_rows_knows_nothing_of_validation_data() -> None:
    model, _, x = make()
    with pytest.raises(ValueError, match="load the data with valid=0"):
        fit(model, Local(MeanField(2), 64), with_valid(x), quiet=True)
    run = fit(model, Local(MeanField(2), NUM), x, epochs=2, quiet=True)
    assert len(run.history) == 2


def test_a_folder_with_weights_is_not_overwritten(tmp_path: Path) -> None:
    model, guide, x = make()
    (tmp_path / "weights.safetensors").write_bytes(b"kept")
    with pytest.raises(ValueError, match="holds a run already"):
        fit(model, guide, x, folder=tmp_path, quiet=True)
    assert (tmp_path / "weights.safetensors").read_bytes() == b"kept"


def test_a_user_s_plain_functions_and_pyro_params_train(tmp_path: Path) -> None:
    _, _, x = make()

    def model(x: torch.Tensor, index: Any = None) -> None:
        loc = pyro.param("loc", torch.zeros(SIZE))
        scale = pyro.param("scale", torch.ones(()), constraint=dist.constraints.positive)
        with pyro.plate("rows", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(loc + z[..., None], scale).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: Any = None) -> None:
        weight = pyro.param("weight", torch.zeros(SIZE))
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x @ weight, 0.5))

    run = fit(model, guide, x, epochs=10, batch_size=16, folder=tmp_path, quiet=True)
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]
    kept, _ = read_weights(tmp_path / "weights.safetensors")
    assert kept["params"].keys() == {"loc", "scale", "weight"}
    torch.testing.assert_close(kept["params"]["scale"].exp(), pyro.param("scale").detach())
    torch.testing.assert_close(kept["params"]["weight"], pyro.param("weight").detach())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"batch_size": 1.5}, "batch_size: got 1.5"),
        ({"beta": math.nan}, "beta: got nan"),
        ({"clip_norm": 0.0}, "clip_norm: got 0.0"),
        ({"seed": -1}, "seed: got -1"),
        ({"loss": "elbo"}, "loss: got 'elbo'"),
        ({"optimizer": 0.1}, "optimizer: got 0.1"),
        ({"schedule": "cosine"}, "schedule: got 'cosine'"),
        ({"optimizer": torch.optim.LBFGS}, "optimizer: LBFGS evaluates the loss several times"),
        ({"device": "tpu"}, "device: got 'tpu'"),
        ({"resume": True}, "resume: got no folder"),
        ({"patience": 3}, "patience: early stopping needs a validation split"),
    ],
)
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    model, guide, x = make()
    with pytest.raises(ValueError, match=message):
        fit(model, guide, x, valid=0, quiet=True, **change)


def test_data_that_the_model_cannot_score() -> None:
    guide = Amortized(MeanField(2), MLP(SIZE, ()))
    with pytest.raises(ValueError, match="grey values"):
        fit(VAE((SIZE,), 2, (4,)), guide, torch.rand(10, SIZE), quiet=True)
    with pytest.raises(ValueError, match="pixels, counts, categories or grades"):
        fit(LinearGaussian(SIZE, 2), guide, torch.arange(50).view(10, SIZE), quiet=True)
    with pytest.raises(ValueError, match="data: got list"):
        fit(LinearGaussian(SIZE, 2), guide, [1.0], quiet=True)
    with pytest.raises(ValueError, match="failed"):
        fit(LinearGaussian(SIZE, 3), guide, torch.rand(10, SIZE), quiet=True)


def test_nothing_to_train() -> None:
    model, guide, x = make()
    model.requires_grad_(False), guide.requires_grad_(False)
    with pytest.raises(ValueError, match="neither the model nor the guide has a parameter"):
        fit(model.eval(), guide.eval(), x, quiet=True)


def test_progress_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    model, guide, x = make()
    fit(model, guide, with_valid(x), epochs=2)
    out, err = capfd.readouterr()
    assert out == "" and "epoch 2/2" in err and "valid ELBO" in err and "data/s" in err
    for options in ({"beta": 2.0}, {"warmup_epochs": 0.9}, {"loss": RenyiELBO(num_particles=2)}):
        fit(model, guide, x, epochs=1, valid=0, **options)  # type: ignore[arg-type]
        # what is minimised is not minus the ELBO
        assert "ELBO" not in capfd.readouterr().err, options

    def subsampled(program: Any) -> Any:
        return lambda x, index: pyro.poutine.scale(program, scale=12.0)(x, index)

    fit(subsampled(model), subsampled(guide), x, epochs=1, valid=0)
    assert "ELBO" not in capfd.readouterr().err


def in_a_plate_of(kind: str, num_data: int = NUM) -> tuple[Any, Any]:
    """A model and a guide in a plate of the minibatch's own size, or in one of all data that a
    minibatch is a part of.
    """

    def plate(x: torch.Tensor, index: torch.Tensor) -> Any:
        if kind == "own":
            return pyro.plate("data", len(x), dim=-1)
        if kind == "subsample":
            return pyro.plate("data", num_data, subsample=index, dim=-1)
        return pyro.plate("data", num_data, subsample_size=len(x))

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(SIZE))
        with plate(x, index):
            z = pyro.sample("z", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(loc + z, 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: torch.Tensor) -> None:
        scale = pyro.param("scale", torch.ones(SIZE), constraint=dist.constraints.positive)
        with plate(x, index):
            pyro.sample("z", dist.Normal(x / 2, scale).to_event(1))

    return model, guide


@pytest.mark.parametrize("engine", ["pyro", "compiled"])
def test_a_datum_of_a_plate_that_subsamples_counts_once_in_the_history(engine: Any) -> None:
    x, options = (
        make()[2],
        {"epochs": 2, "batch_size": 20, "optimizer": SGD, "warmup_epochs": 0, "valid": 12},
    )
    told = {}
    for kind in ("own", "subsample"):
        pyro.clear_param_store()
        run = fit(*in_a_plate_of(kind), x, engine=engine, device="cpu", quiet=True, **options)  # type: ignore[arg-type]
        assert run.loss_is_elbo
        told[kind] = [(row["train_loss"], row["valid_elbo"]) for row in run.history]
    torch.testing.assert_close(
        torch.tensor(told["subsample"]), torch.tensor(told["own"]), rtol=1e-5, atol=0
    )

    programs = in_a_plate_of("subsample_size")
    run = fit(*programs, x, engine=engine, device="cpu", quiet=True, **options)  # type: ignore[arg-type]
    # the plate draws noise of its own
    assert run.history[0]["train_loss"] == pytest.approx(told["own"][0][0], rel=0.1)


def test_data_plates_of_two_sizes_are_refused() -> None:
    x, (model, _), (_, guide) = make()[2], in_a_plate_of("subsample"), in_a_plate_of("own")
    with pytest.raises(
        ValueError, match=r"data plates have sizes \{'guide z': 8, 'model z': 96, 'model x': 96\}"
    ):
        fit(model, guide, x, epochs=1, quiet=True)
