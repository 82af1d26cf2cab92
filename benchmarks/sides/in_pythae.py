"""pythae's VAE with the same layers, its BaseTrainer, its own loss (analytic KL, binary
cross-entropy of probabilities).

The images are in memory and binarised anew at the start of each epoch by vectorised draws in a
callback, which is faster than a draw per item in the dataset. pythae's trainer fetches single items
and keeps a copy of the best model: both are its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor

import pyro_vae as pv
from benchmarks.networks import SHAPE, dense
from benchmarks.settings import Net
from benchmarks.worker import Gate, Task


class Encoder(BaseEncoder):
    """The encoder in pythae's terms; its head gives mean and log scale: weights can be copied."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.layers = dense(net.encoder, net.gated)

    def forward(self, x: Tensor) -> ModelOutput:
        loc, log_scale = self.layers(x.flatten(1)).chunk(2, dim=-1)
        return ModelOutput(embedding=loc, log_covariance=2 * log_scale)


class Decoder(BaseDecoder):
    """The decoder in pythae's terms: probabilities."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.layers = dense(net.decoder, net.gated)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z).sigmoid().unflatten(1, SHAPE))


def build(net: Net) -> VAE:
    """pythae's VAE of the network."""
    config = VAEConfig(input_dim=SHAPE, latent_dim=net.latent, reconstruction_loss="bce")
    return VAE(config, Encoder(net), Decoder(net))


class Turns(TrainingCallback):
    """Binarises the data before each epoch, and waits at the gate after it."""

    def __init__(
        self, images: pv.Split, data: BaseDataset, gate: Gate, score: Callable[[], float]
    ) -> None:
        super().__init__()
        self.images, self.data, self.gate, self.score = images, data, gate, score
        self.noise = torch.Generator().manual_seed(0)

    def on_epoch_begin(self, training_config: Any, **kwargs: Any) -> None:
        for rows in torch.arange(len(self.images)).split(4096):
            self.data.data[rows] = self.images.batch(rows, self.noise)

    def on_log(self, training_config: Any, logs: dict[str, float], **kwargs: Any) -> None:
        self.gate(logs["train_epoch_loss"], self.score)  # the last event of an epoch


def train(task: Task, gate: Gate) -> None:
    """Train by pythae's trainer."""
    pixels = torch.from_numpy(np.load(task.pixels)).unflatten(1, SHAPE)
    images = pv.Split("train", pixels, "dynamic")
    data = BaseDataset(images.x, torch.zeros(len(images)))
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=task.batch,
            num_epochs=task.epochs,
            learning_rate=1e-3,
            no_cuda=task.device == "cpu",
        )
        model = build(task.net)

        @torch.no_grad()
        def score() -> float:
            x = torch.from_numpy(task.test_images()).unflatten(1, SHAPE)
            return -float(model({"data": x}).loss)

        turns = Turns(images, data, gate, score)
        BaseTrainer(model, data, training_config=config, callbacks=[turns]).train()
