"""One prediction out of many encoders: runs averaged, layers weighted unit by unit.

Encoders read several layers of a backbone, each trained several times. For every unit
the layers that predicted the validation images better count more.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics import unit_blocks
from neurovis.core.checks import check_array, check_between, check_option

FloatArray = NDArray[np.float64]

WEIGHTINGS = ("mean", "published")
"""Whether runs are averaged, or added up as by the published code."""


def layer_weights(
    validation_r: ArrayLike, temperature: float = 50.0
) -> NDArray[np.float64]:
    """Weigh the layers of each unit by how well they predict the validation images.

    ``softmax(temperature * r)`` over layers, with r averaged over runs.

    Parameters
    ----------
    validation_r : array-like of float, shape (n_layers, n_runs, n_units)
        Correlations of the validation images, -1..1. NaN counts as 0, as in the
        published code, before runs are averaged.
    temperature : float, default 50
        Factor of r, 0 or more: 0 weighs layers alike, infinitely much would choose the
        best one. At 50 a layer that is 0.1 better in r weighs 148 times as much.

    Returns
    -------
    ndarray of float64, shape (n_layers, n_units)
        Weights, 0..1, that add up to 1 over layers; equal ones for a unit whose r is
        NaN everywhere, since nothing speaks for any layer.

    Raises
    ------
    TypeError, ValueError
        If the shape or a number does not fit.

    References
    ----------
    Adeli, Sun and Kriegeskorte (2025). Transformer brain encoders explain human
    high-level visual responses. arXiv:2505.17329

    Examples
    --------
    >>> layer_weights([[[0.5, np.nan]], [[0.4, np.nan]]]).round(3).tolist()
    [[0.993, 0.5], [0.007, 0.5]]
    """
    check_between("temperature", temperature, low=0)
    r = check_array(
        "validation_r", np.asarray(validation_r, np.float64), shape=(None, None, None)
    )
    if 0 in r.shape[:2]:
        raise ValueError(
            f"`validation_r` has shape {r.shape}: at least one layer and one run are "
            "needed."
        )
    # Room for correlations that were rounded to float32.
    if (abs(r) > 1 + 1e-6).any():
        raise ValueError(
            f"`validation_r` must hold correlations, -1..1; got {np.nanmin(r):g} to "
            f"{np.nanmax(r):g}."
        )
    exponents = temperature * np.nan_to_num(r).mean(axis=1)
    shares = np.exp(exponents - exponents.max(axis=0))
    weights: FloatArray = shares / shares.sum(axis=0)
    return weights


def combine_predictions(
    predictions: NDArray[np.floating] | Sequence[Sequence[ArrayLike]],
    validation_r: ArrayLike,
    *,
    temperature: float = 50.0,
    weighting: str = "mean",
) -> NDArray[np.floating]:
    """Combine the predictions of encoders that read several layers.

    Runs are averaged within each layer; layers are added with the weights of
    `layer_weights`, unit by unit.

    Parameters
    ----------
    predictions : array or nested sequence, (n_layers, n_runs, n_images, n_units)
        Predicted responses. As nested sequences, layers of runs, each (n_images,
        n_units) may be memory-mapped: images are taken in blocks and never all copied.
    validation_r : array-like of float, shape (n_layers, n_runs, n_units)
        Correlations of the validation images, -1..1; NaN counts as 0.
    temperature : float, default 50
        As `layer_weights`.
    weighting : {"mean", "published"}
        "mean" averages runs. "published" adds them up, as the class of the published
        code does: the same numbers times n_runs. Correlations do not see that, but
        errors and shares of explained variance do.

    Returns
    -------
    ndarray of float, shape (n_images, n_units)
        Predictions, float32 unless some input is float64, added up in float64. NaN
        where any run is NaN.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, there are no layers or runs, or `weighting` is unknown.

    References
    ----------
    Adeli, Sun and Kriegeskorte (2025). Transformer brain encoders explain human
    high-level visual responses. arXiv:2505.17329

    Examples
    --------
    >>> one_image = [[[[2.0]], [[4.0]]], [[[9.0]], [[9.0]]]]  # two layers, two runs
    >>> r = [[[0.9], [0.9]], [[0.1], [0.1]]]
    >>> combine_predictions(one_image, r).round(6).tolist()
    [[3.0]]
    >>> combine_predictions(one_image, r, weighting="published").round(6).tolist()
    [[6.0]]
    """
    check_option("weighting", weighting, WEIGHTINGS)
    if isinstance(predictions, np.ndarray):
        check_array("predictions", predictions, shape=(None,) * 4)
    layers = [[np.asarray(run) for run in layer] for layer in predictions]
    weights = layer_weights(validation_r, temperature)
    n_layers, n_runs, n_units = np.shape(validation_r)
    n_given = [len(runs) for runs in layers]
    if n_given != [n_runs] * n_layers:
        raise ValueError(
            f"`predictions` has {len(layers)} layers with {n_given} runs, but "
            f"`validation_r` has {n_layers} layers with {n_runs} runs each: both need "
            "one entry per trained encoder, in one order."
        )
    shape = layers[0][0].shape
    for i, runs in enumerate(layers):
        for j, run in enumerate(runs):
            if run.ndim != 2 or run.shape != shape or run.shape[1] != n_units:
                raise ValueError(
                    f"`predictions[{i}][{j}]` has shape {run.shape}, but all need one "
                    f"row per image, the same images, and {n_units} columns, the units "
                    "of `validation_r`."
                )
    wide = any(run.dtype.itemsize > 4 for runs in layers for run in runs)
    combined = np.empty(shape, np.float64 if wide else np.float32)
    scale = 1.0 if weighting == "published" else 1 / n_runs
    for images in unit_blocks(n_units, shape[0]):
        total = np.zeros((images.stop - images.start, n_units))
        for weight, runs in zip(weights, layers, strict=True):
            of_layer = np.zeros_like(total)
            for run in runs:
                of_layer += run[images]
            with np.errstate(invalid="ignore"):  # no weight times infinity
                total += weight * of_layer
        combined[images] = scale * total
    return combined
