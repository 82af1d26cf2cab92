"""What is recorded is not checked, and what other threads run meanwhile is."""

from __future__ import annotations

from threading import Event, Thread

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, trace_elbo

from pyro_vae.inference.quiet import quietly


def check(value: float) -> None:
    dist.Exponential(1.0, validate_args=True).log_prob(torch.tensor(value))


def test_it_holds_for_one_thread_and_for_no_longer_than_the_context() -> None:
    before = trace_elbo.warn_if_nan, torch.distributions.Distribution._validate_sample
    entered, done, caught = Event(), Event(), []

    def other() -> None:
        entered.wait(10)
        try:
            check(-1.0)
        except ValueError as error:
            caught.append(error)
        done.set()

    thread = Thread(target=other)
    thread.start()
    with quietly(), quietly():
        check(-1.0)
        trace_elbo.warn_if_nan(torch.tensor(torch.nan), "loss")
        entered.set()
        assert done.wait(10)
    thread.join()
    assert len(caught) == 1
    with pytest.raises(ValueError, match="support"):
        check(-1.0)
    assert before == (trace_elbo.warn_if_nan, torch.distributions.Distribution._validate_sample)


def test_it_ends_with_an_error_too() -> None:
    before = trace_elbo.warn_if_nan
    with pytest.raises(RuntimeError), quietly():
        raise RuntimeError
    assert trace_elbo.warn_if_nan is before and pyro.settings.get("validate_distributions_pyro")
    with pytest.warns(UserWarning, match="NaN"):
        trace_elbo.warn_if_nan(torch.tensor(torch.nan), "loss")


def test_losses_are_the_same() -> None:
    def model() -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0))

    torch.manual_seed(0)
    loud = Trace_ELBO().loss(model, model)
    torch.manual_seed(0)
    with quietly():
        assert Trace_ELBO().loss(model, model) == loud
