"""What config.yaml holds, and the parser that understands it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, cast

from jsonargparse import Namespace
from torch import nn

from pyro_vae.data import Binarise
from pyro_vae.data.arrays import Values
from pyro_vae.guides import EncoderGuide
from pyro_vae.inference import Recipe
from pyro_vae.models import VAE
from pyro_vae.runs.trust import config_action
from pyro_vae.runs.usage import OneLineParser, ShortHelp

ModelClass = Callable[[Sequence[int]], nn.Module]
GuideClass = Callable[[Sequence[int], int], nn.Module]

_DEFAULTS = {
    "model": {"class_path": "pyro_vae.VAE"},
    "guide": {"class_path": "pyro_vae.EncoderGuide"},
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-3}},
    "loss": {"class_path": "pyro.infer.Trace_ELBO"},
}


@dataclass(frozen=True)
class Settings:
    """What is trained on what; with a `Recipe`, all that config.yaml holds.

    Attributes:
        data: digits, mnist, fashion_mnist, or a path to a .npy, an .npz, a table (.csv, .tsv,
            .parquet) or a folder of images
        data_root: folder of torchvision's datasets; PYRO_VAE_DATA unless given
        binarise: how pixels become data; by the likelihood unless given, dynamic for Bernoulli,
            dequantise for Gaussian
        values: what the numbers of a file are: pixels, counts, categories or real; by their look
            unless given
        kinds: what columns of a table hold, each real, binary, counts, categories or drop; by their
            look unless given
        context: what model and guide are given besides: labels, or columns of a table
        memory_map: leave the train data in the file, or the folder of images, and read them batch
            by batch
        valid: number of validation data, 0 for none
        model: class of the model, called as Model(shape, ...)
        guide: class of the guide, called as Guide(shape, latent_dim, ...)
        output_bias: start the decoder at the mean of the train data
    """

    data: str = "digits"
    data_root: str | None = None
    binarise: Binarise | None = None
    values: Values | None = None
    kinds: dict[str, str] | None = None
    context: list[str] | str | None = None
    memory_map: bool = False
    valid: int | None = None
    model: ModelClass = VAE
    guide: GuideClass = EncoderGuide
    output_bias: bool = True


def settings_parser(trust: Sequence[str] = (), **options: Any) -> OneLineParser:
    """The parser of everything that defines a run, which is what config.yaml holds.

    A file of settings may name the classes of `trust` beside those that are known.
    """
    parser = OneLineParser(formatter_class=ShortHelp, **options)
    parser.add_argument(
        "--config", action=config_action(trust), help="YAML file with any of the settings below"
    )
    # a user's own class may have no annotations
    parser.add_class_arguments(Settings, None, fail_untyped=False)
    parser.add_class_arguments(Recipe, None)
    parser.set_defaults(_DEFAULTS)
    return parser


@cache
def known_parser(exit_on_error: bool = True) -> OneLineParser:
    """The parser of settings that name known classes alone."""
    return settings_parser(exit_on_error=exit_on_error)


@lru_cache(maxsize=64)
def _parsed(text: str) -> Namespace:
    return cast(Namespace, known_parser(exit_on_error=False).parse_object(json.loads(text)))


def understood(plain: dict[str, Any]) -> Namespace:
    """Settings that name known classes alone, as the parser understands them.

    What they mean is the same as long as the process lives, so that it is found out once.
    """
    return deepcopy(_parsed(json.dumps(plain)))
