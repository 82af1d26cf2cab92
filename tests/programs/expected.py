"""What is expected of each kind of program in each function: it works, or it is refused, and with
which words.

A kind that is not refused anywhere has nothing here. "*" is what all functions say that are not
named; else words, and the functions that say them, or that work, "works".
"""

from __future__ import annotations

EVERYWHERE = {"compress": "not a code"}
"""Expected of a function unless the kind says otherwise."""

REFUSED: dict[str, dict[str, str]] = {
    "labels_asked": {
        "*": "label",
    },
    "global_weights": {
        "*": "not in the plate",
        "works": "CompiledSVI reference_posterior latent_units sample",
        "size of latent": "manifold",
    },
    "pyro_sample": {
        "*": "not in the plate",
        "works": "CompiledSVI reference_posterior latent_units sample",
        "size of latent": "manifold",
    },
    "markov": {
        "not one site": (
            "sandwich check_calibration sample reconstruct traverse interpolate manifold"
        ),
    },
    "obs_mask": {
        "masked": (
            "Local.of swap_guides Annealed Laplace Quadrature sandwich reference_posterior "
            "posterior_grid rate_distortion_curve"
        ),
        "size of latent": "manifold",
    },
    "factor": {
        "factors": "sandwich check_calibration sample reconstruct traverse interpolate manifold",
    },
    "extra_factor": {
        "factors": "sandwich check_calibration sample reconstruct traverse interpolate manifold",
    },
    "subsample_size": {
        "*": "chooses rows",
        "works": "CompiledSVI",
    },
    "old_deterministic": {
        "*": "other latents",
        "works": "CompiledSVI reference_posterior latent_units sample",
        "a point": (
            "Local.of swap_guides Laplace Quadrature posterior_grid rate_distortion_curve manifold"
        ),
    },
    "several_observed": {
        "not one site": (
            "sandwich check_calibration sample reconstruct traverse interpolate manifold"
        ),
    },
    "condition": {
        "not one site": (
            "sandwich check_calibration sample reconstruct traverse interpolate manifold"
        ),
        "size of latent": "posterior_grid",
    },
    "by_values": {
        "one path": "compiled",
    },
    "no_plate": {
        "*": "not in the plate",
        "works": "CompiledSVI reference_posterior latent_units sample manifold",
    },
    "loop": {
        "*": "not in the plate",
        "works": "CompiledSVI reference_posterior latent_units manifold",
        "not one site": "sandwich check_calibration sample",
    },
    "fixed_plate": {
        "*": "by place",
        "works": "CompiledSVI reference_posterior latent_units",
        "not one site": "sandwich check_calibration sample manifold",
        "fails": "posterior_grid",
    },
    "no_to_event": {
        "*": "fails",
        "as stock SVI": "CompiledSVI",
        "by place": "sandwich",
    },
    "other_dim": {
        "*": "not in the plate",
        "works": "CompiledSVI reference_posterior latent_units sample manifold",
    },
    "flat_net": {
        "*": "fails",
        "works": "CompiledSVI reference_posterior latent_units sample",
    },
    "unregistered": {
        "unregistered": "fit compiled",
        "nothing to train": "fit_local",
    },
    "log_normal": {
        "not a line": "posterior_grid",
    },
    "gamma": {
        "not a line": "posterior_grid traverse",
        "size of latent": "manifold",
    },
    "beta": {
        "not a line": "posterior_grid traverse",
        "size of latent": "manifold",
        "one vector": "compress",
    },
    "dirichlet": {
        "not a line": "posterior_grid traverse",
        "size of latent": "manifold",
    },
    "half_normal": {
        "not a line": "posterior_grid traverse",
        "size of latent": "manifold",
    },
    "von_mises": {
        "one path": "compiled",
        "angle": (
            "Local.of swap_guides Annealed Laplace Quadrature posterior_grid rate_distortion_curve"
        ),
        "not one site": "sandwich check_calibration sample reconstruct interpolate manifold",
        "not a line": "traverse",
    },
    "moving_support": {
        "moving": (
            "Local.of swap_guides Annealed Laplace Quadrature posterior_grid rate_distortion_curve"
        ),
        "not one site": (
            "sandwich check_calibration sample reconstruct traverse interpolate manifold"
        ),
    },
    "flow_prior": {
        "no quantiles": "manifold",
    },
    "binary": {
        "works": "compress",
    },
    "whole_numbers": {
        "not a line": "posterior_grid traverse",
        "size of latent": "manifold",
    },
    "enumerated": {
        "size of latent": "posterior_grid",
        "not one site": "sandwich check_calibration sample reconstruct interpolate manifold",
        "of a choice": "traverse",
    },
    "discrete": {
        "discrete": (
            "Local.of swap_guides Annealed Laplace Quadrature posterior_grid "
            "rate_distortion_curve interpolate"
        ),
        "not one site": "sandwich check_calibration sample reconstruct traverse manifold",
    },
    "missing": {
        "as stock SVI": "CompiledSVI",
    },
    "semi_amortized": {
        "differs": "defensive Annealed sandwich posterior_grid information",
    },
    "local": {
        "rows of the data": "sandwich check_calibration",
        "rows of others": "posterior_grid interpolate",
    },
    "by_place": {
        "by place": "fit compiled",
        "rows of the data": "sandwich check_calibration",
    },
    "hidden_noise": {
        "*": "noise",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve latent_units sample manifold"
        ),
    },
    "lacking": {
        "*": "other latents",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve latent_units sample manifold"
        ),
    },
    "AutoNormal": {
        "by place": "fit compiled",
        "auxiliary": "defensive Annealed information",
        "rows of the data": "sandwich check_calibration",
        "fails": "posterior_grid interpolate",
    },
    "AutoGuideList": {
        "by place": "fit compiled",
        "auxiliary": "defensive Annealed information",
        "rows of the data": "sandwich check_calibration",
        "fails": "posterior_grid interpolate",
    },
    "AutoDiagonalNormal": {
        "*": "one draw for all",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
        "auxiliary": "posterior_grid",
    },
    "AutoMultivariateNormal": {
        "*": "one draw for all",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
        "auxiliary": "posterior_grid",
    },
    "AutoLowRankMultivariateNormal": {
        "*": "one draw for all",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
        "auxiliary": "posterior_grid",
    },
    "AutoIAFNormal": {
        "*": "one draw for all",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
        "auxiliary": "posterior_grid",
    },
    "AutoNormalizingFlow": {
        "*": "one draw for all",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
        "auxiliary": "posterior_grid",
    },
    "AutoStructured": {
        "*": "one draw for all",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
        "auxiliary": "posterior_grid",
    },
    "AutoDelta": {
        "*": "a point",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve latent_units sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
    },
    "AutoLaplaceApproximation": {
        "*": "a point",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
    },
    "AutoNormalMessenger": {
        "*": "runs the model",
        "by place": "fit compiled",
        "works": (
            "CompiledSVI Local.of swap_guides Laplace Quadrature reference_posterior "
            "rate_distortion_curve sample manifold"
        ),
        "rows of the data": "sandwich check_calibration",
    },
}
