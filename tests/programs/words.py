"""What refusals say, by what they are called in the table of kinds."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """A pattern of what is said, and the same for whoever reads the table."""

    pattern: str
    told: str


WORDS = {
    "not a code": Words(
        (
            r"^x: got .*expected binary data|^model: got (the latents|a prior|a likelihood) |"
            r"^model: its argument 'y' is filled by nobody|^plate 'data': got subsample_size|"
            r"^model, guide: running them "
        ),
        (
            "`compress` takes one latent vector from N(0, I), and data of a few values: zeros and "
            "ones, grey levels, categories."
        ),
    ),
    "as stock SVI": Words(
        (r"^as stock SVI: "),
        ("`CompiledSVI` raises what Pyro's own `SVI` raises."),
    ),
    "not in the plate": Words(
        (
            r"^site '\w+': (not inside a plate of size \d+ at dim -1, (one draw for all data|"
            r"expected every latent)|"
            r"one draw for all \d+ data)"
        ),
        (
            "a site outside the plate of the data at dim -1 (global weights, no plate, a "
            "loop, another dim): every choice of a datum goes inside."
        ),
    ),
    "label": Words(
        (r"^(model|guide|program): its argument 'y' is filled by nobody"),
        (
            "an argument that nobody fills: `context`, with `pyro_vae.given`, or "
            "`functools.partial`."
        ),
    ),
    "chooses rows": Words(
        (r"^plate 'data': got subsample_size=4, rows of its own choice"),
        ("`subsample_size`: leave it out, `fit` makes minibatches."),
    ),
    "by place": Words(
        (r"parameters for just the data that it is run on, by their place"),
        (
            "parameters by the place of a datum, or a plate of a fixed size, where parts of "
            "the data are run: a table read by `index`, or `fit_local`."
        ),
    ),
    "rows of the data": Words(
        (r"^guide: got a table with a row for each of 8 data"),
        (
            "a guide of certain data is asked about others that are simulated: `Amortized` "
            "answers for any."
        ),
    ),
    "rows of others": Words(
        (
            r"^index: got none for \d data, but the guide has parameters for 8|"
            r"^site '\w+': inside a plate of size \d+ at dim -1, expected|"
            r"^data: .* has parameters for"
        ),
        ("a guide with rows for other data, or for more: say which rows by `index`."),
    ),
    "one draw for all": Words(
        (r"^guide: its site '\w+' is one draw for all"),
        (
            "one draw for all data has no density of each: `AutoNormal`, or `Local.of(model, "
            "x, FullRank)`, or `SplineFlow`."
        ),
    ),
    "a point": Words(
        (r"are Delta, a point has no density|is Delta, a point, expected real numbers"),
        ("a Delta has no density: `AutoNormal`; in a model `pyro.deterministic`."),
    ),
    "runs the model": Words(
        (r"^guide: got observed sites \['obs'\], expected a guide to sample latents only"),
        ("an AutoMessenger runs the model itself: `AutoNormal`."),
    ),
    "auxiliary": Words(
        (r"^guide: got auxiliary sites"),
        (
            "auxiliary sites hide log q(z | x) at a given z: importance sampling that is not "
            "defensive, annealing from the prior."
        ),
    ),
    "noise": Words(
        (r"^guide: its auxiliary sites \['noise'\] are drawn beside"),
        ("auxiliary noise beside the latents of a guide: give the model these sites too."),
    ),
    "other latents": Words(
        (r"^guide: got latent sites"),
        ("model and guide have latents of different names."),
    ),
    "masked": Words(
        (r"^model: its latent 'obs_unobserved' is masked for some data"),
        (
            "a latent that a mask takes from some data (`obs_mask` makes one): a mask of the "
            "observed distribution, `.mask(seen)`."
        ),
    ),
    "factors": Words(
        (r"^model: its factors \["),
        ("no data can be drawn from a factor."),
    ),
    "not one site": Words(
        (r"^model: got observed sites \{"),
        ("data are drawn from, and means shown of, one observed site with all values of x."),
    ),
    "differs": Words(
        (r"^guide: its density at a given latent differs from run to run"),
        ("a guide whose density at a given latent differs from run to run: start from the prior."),
    ),
    "discrete": Words(
        (
            r"^model: its latent 'k' .* is discrete|"
            r"the latent 'k' is IntegerInterval|"
            r"'k' discrete|"
            r"k discrete"
        ),
        ("a discrete latent has no gradient, and no vector of real numbers: importance sampling."),
    ),
    "angle": Words(
        (r"^model: its latent 'z' \(VonMises, circular\) is an angle|VonMises"),
        ("an angle is no real number: importance sampling, or a unit vector."),
    ),
    "moving": Words(
        (r"^model: the support .* (differs between data|depends on other latents)"),
        (
            "a support that differs between data, or follows other latents: draw a number of "
            "a fixed support and transform it."
        ),
    ),
    "not a line": Words(
        (
            r"^model: got no latent of a datum that is any real number|"
            r"are bounded, expected two real numbers"
        ),
        ("only latents that are any real number are moved, or laid out on a grid."),
    ),
    "size of latent": Words(
        (
            r"^model: got \d+ latent values per datum|"
            r"^manifold: the model has \d+ latent numbers"
        ),
        ("grids are of two latent values."),
    ),
    "no quantiles": Words(
        (r"does not know its quantiles"),
        ("the prior does not know its quantiles: `traverse` or `embed`."),
    ),
    "NaN": Words(
        (r"^(x|data|like): got NaN or infinite values"),
        ("NaN in the data."),
    ),
    "one path": Words(
        (r"cannot be compiled: "),
        ('control flow on values is in no graph: `engine="auto"` falls back to Pyro.'),
    ),
    "fails": Words(
        (r"^model, guide: running them .* failed: "),
        ("running the program fails, in the words of what it raised, with its shapes."),
    ),
    "unregistered": Words(
        (r"are not registered with Pyro"),
        ("nets that are not registered by `pyro.module` would not be trained."),
    ),
    "nothing to train": Words(
        (r"has no parameter to optimise|neither the model nor the guide has a parameter"),
        ("a guide without parameters of its own."),
    ),
    "of a choice": Words(
        (r"^model: its latents \['z'\] depend on discrete ones that are summed out"),
        ("a prior that is another one for each state has no one deviation to move a latent by."),
    ),
    "one vector": Words(
        (r"^model: got the latents \['p'\], expected one vector"),
        ("`compress` takes one latent vector of a normal prior."),
    ),
}
