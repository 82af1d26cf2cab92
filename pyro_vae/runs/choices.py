"""What a run's configuration leaves to the data: the likelihood, and the rule that makes data of
pixels.

The two are chosen together. A user who names neither gets what the data ask for; one who names
either gets the other to match; one who names two that do not go together is told so.
"""

from __future__ import annotations

from inspect import signature

from jsonargparse import Namespace
from torch import nn

from pyro_vae.data import Dataset
from pyro_vae.data.binarise import check_rule, rule_for
from pyro_vae.inference import Recipe
from pyro_vae.models import Likelihood, Prior, likelihood_for
from pyro_vae.models.priors import StandardNormal
from pyro_vae.programs.given import inside
from pyro_vae.programs.protocols import HasRules, offers

RULE_WORDS = {
    "dynamic": "binarised anew at each visit",
    "static": "binarised once",
    "threshold": "binarised at one half",
    "dequantise": "with uniform noise between the grey levels",
}


def choose_likelihood(config: Namespace, data: Dataset) -> None:
    """Write the likelihood that goes with the data into the configuration, where the model takes
    one and none is named.
    """
    options = config.model.get("init_args", {})
    if "likelihood" in options and options["likelihood"] is None:
        chosen = likelihood_for(data)
        arguments = {name: getattr(chosen, name) for name in signature(type(chosen)).parameters}
        options["likelihood"] = Namespace(
            class_path=f"pyro_vae.{type(chosen).__name__}", init_args=Namespace(**arguments)
        )


def choose_context(config: Namespace, data: Dataset) -> None:
    """Write the size of the data's context into the configuration, where model or guide asks for
    one and it is not given.
    """
    context = data.train.context
    for section in (config.model, config.guide):
        options = section.get("init_args", {})
        if "context_dim" in options and options["context_dim"] is None:
            if context is None or context.dim() != 2:
                raise ValueError(
                    f"context: got none, or codes, for a {section.class_path.rpartition('.')[2]},"
                    " expected numbers: --context labels, or the names of columns"
                )
            options["context_dim"] = context.shape[1]


def match_rule(config: Namespace, data: Dataset, model: nn.Module) -> Dataset:
    """The data under the rule asked for, if any, else under one that makes data for the model."""
    rules = model.rules if offers(model, HasRules) else ()
    if config.binarise is None:
        fits = not rules or data.binarise in rules
        config.binarise = data.binarise if fits else rule_for(rules, data.train.sample.pixels)
    check_rule(rules, config.binarise, type(getattr(model, "likelihood", model)).__name__)
    return data if data.binarise == config.binarise else data.under(config.binarise)


def describe_choice(data: Dataset, model: nn.Module, recipe: Recipe) -> str:
    """The data, and what was chosen for them, in two lines."""
    splits = [split for split in (data.train, data.valid, data.test) if split is not None]
    sizes = " + ".join(f"{len(split):,} {split.name}" for split in splits)
    rule = "" if data.binarise == "none" else f", {RULE_WORDS[data.binarise]} ({data.binarise})"

    if data.told_context():
        rule += f", each with a context of {data.told_context()}"

    likelihood = getattr(model, "likelihood", None)
    told = f"{likelihood.describe()}; " if isinstance(likelihood, Likelihood) else ""
    units = getattr(model, "latent_dim", None)
    prior = getattr(model, "latent_prior", None)
    whence = ""
    if isinstance(prior, Prior) and not isinstance(prior, StandardNormal):
        whence = f" from {prior.describe()}"

    return (
        f"data   {data.name}: {sizes} data of {data.told_values()}{rule}\n"
        f"model  {type(inside(model)).__name__}, {told}{units} latent units{whence}; batches"
        f" of {recipe.batch_size}, KL warm-up over {recipe.warmup_epochs:.3g}"
        f" of {recipe.epochs} epochs"
    )
