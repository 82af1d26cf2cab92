"""The network of a comparison in each of its forms: matrix products alone, hand-written PyTorch,
Pyro programs.

The hand-written form is what a careful user writes: flat batches,
`binary_cross_entropy_with_logits`, and the KL term from the same sample that the decoder gets, as
Pyro's Trace_ELBO takes it, so that all sides do the same mathematics. Parameters are in the same
order in all forms (encoder, head, decoder, logits), so that weights can be copied.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import pyro_vae as pv
from benchmarks.settings import Layer, Net

SHAPE = (1, 28, 28)


class HandWritten(nn.Module):
    """A variational autoencoder as one writes it without a library."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.encoder = dense(net.encoder, net.gated)
        self.decoder = dense(net.decoder, net.gated)

    def loss(self, x: Tensor) -> Tensor:
        """Minus the ELBO of `x` `(B, 784)`, summed over the batch, by one sample."""
        loc, log_scale = self.encoder(x).chunk(2, dim=-1)
        eps = torch.randn_like(loc)
        z = loc + log_scale.exp() * eps
        kl = 0.5 * (z * z - eps * eps).sum() - log_scale.sum()
        return binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum") + kl


def dense(layers: Sequence[Layer], gated: bool) -> nn.Sequential:
    """Linear layers of the given sizes with ReLU or gates between them."""
    parts: list[nn.Module] = []
    for n_in, n_out in layers:
        parts += [nn.Linear(n_in, n_out), nn.GLU() if gated else nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def programs(net: Net, device: str = "cpu") -> tuple[pv.VAE, pv.Amortized]:
    """The model and the guide as Pyro programs of the package."""
    trunk, decoder = (pv.GatedMLP, pv.GatedDecoder) if net.gated else (pv.MLP, pv.MLPDecoder)
    model = pv.VAE(SHAPE, net.latent, tuple(reversed(net.hidden)), decoder=decoder)
    guide = pv.Amortized(pv.MeanField(net.latent), trunk(SHAPE, net.hidden))
    return model.to(device), guide.to(device)


def trained_programs(
    net: Net, data: pv.Dataset, quick: bool, device: str
) -> tuple[pv.VAE, pv.Amortized]:
    """The programs after one epoch, in eval mode, so that evidence and local inference have
    something real to work on.
    """
    torch.manual_seed(0)
    model, guide = programs(net, device)
    train = data.train.take(1000) if quick else data.train
    few = pv.Dataset(data.name, train, None, data.test)
    pv.fit(model, guide, few, epochs=1, warmup_epochs=0, device=device, quiet=True)
    return model.eval(), guide.eval()


@torch.no_grad()
def copy_weights(target: nn.Module, source: Iterable[Tensor]) -> None:
    """Copy parameters into a module, in order."""
    for p, value in zip(target.parameters(), source, strict=True):
        p.copy_(value)


def hand_written_copy(net: Net, model: pv.VAE, guide: pv.Amortized) -> HandWritten:
    """The hand-written form with the programs' weights."""
    vae = HandWritten(net).to(next(model.parameters()).device)
    copy_weights(vae, [*guide.parameters(), *model.parameters()])
    return vae


def products(layers: Sequence[tuple[Layer, str]], rows: int, device: str) -> Callable[[], None]:
    """The matrix products of some layers on `rows` rows, each by the faster of torch's libraries:
    the floor of any engine.

    Args:
        layers: sizes, each with what is wanted beside the forward product: "" nothing, "w" the
            gradient of the weights, "x" that of the inputs, "wx" both.
        rows: of the batch.
        device: of the matrices.
    """
    calls: list[Callable[[], object]] = []
    for (n_in, n_out), gradients in layers:
        x, y = torch.randn(rows, n_in, device=device), torch.randn(rows, n_out, device=device)
        weight = torch.randn(n_out, n_in, device=device) * 0.01
        bias = torch.zeros(n_out, device=device)
        calls.append(_product(x, weight.t(), bias))
        if "w" in gradients:
            calls.append(_product(y.t(), x))
        if "x" in gradients:
            calls.append(_product(y, weight))

    def run() -> None:
        for call in calls:
            call()

    return run


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Callable[[], object]:
    """`a @ b`, and a bias: into memory that is there already, or by oneDNN where that is faster."""
    function, given = (torch.mm, (a, b)) if bias is None else (torch.addmm, (bias, a, b))
    out = function(*given)
    calls: list[Callable[[], object]] = [lambda: function(*given, out=out)]
    if a.device.type == "cpu" and torch.backends.mkldnn.is_available():
        linear = torch.ops.mkldnn._linear_pointwise.default
        calls.append(lambda: linear(a.contiguous(), b.t(), bias, "none", [], ""))
    return calls[0] if len(calls) == 1 else min(calls, key=_seconds)


def _seconds(call: Callable[[], object]) -> float:
    """Of the fastest of ten calls, after one."""
    call()
    return min(timeit.repeat(call, number=1, repeat=10))


def synchroniser(device: str) -> Callable[[], object]:
    """What waits for the device."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None
