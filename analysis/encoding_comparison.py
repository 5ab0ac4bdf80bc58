"""Which of several encoding models predicts the same responses better.

All models predict the same units for the same test images, so that what an image or a
unit is like is common to them: differences are paired. Undefined is NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.crossed_bootstrap import CrossedBootstrap
from analysis.metrics import noise_normalised, pearson_r, unit_blocks
from analysis.multiple_tests import fdr_adjusted, sign_flip_test
from neurovis.core.checks import check_array, check_option, check_whole

FloatArray = NDArray[np.float64]

OVER = ("images", "units", "both")
"""What can be resampled: that to which conclusions generalise."""

FEWEST_TEST_IMAGES = 3
"""With fewer there is no correlation to resample."""

# How `CrossedBootstrap` calls the second factor.
_FACTORS = {"images": "images", "units": "subjects", "both": "both"}
# Part of a unit's variance below which a resample of it counts as constant.
_CONSTANT = 1e-12
_DRAWS_AT_ONCE = 128


@dataclass(frozen=True)
class EncodingComparison:
    """Scores of encoding models, and how far they would change.

    Parameters
    ----------
    names : tuple of str
        Names of the models.
    scores : ndarray of float64, shape (n_models, n_units)
        Score of each unit: r, or the noise-normalised share of variance.
    used : ndarray of bool, shape (n_units,)
        Units over which means are taken: defined for every model that is defined in
        any unit.
    bootstrap : CrossedBootstrap
        Means over the used units, shape (n_models,). Its subjects are the units.
    """

    names: tuple[str, ...]
    scores: FloatArray
    used: NDArray[np.bool_]
    bootstrap: CrossedBootstrap

    def models(self, *, level: float = 0.95) -> pd.DataFrame:
        """Tell how good each model is.

        Parameters
        ----------
        level : float, default 0.95
            Coverage of the intervals, 0..1.

        Returns
        -------
        DataFrame
            One row per model: `model`, `score` (mean over units), `standard_error`,
            `degrees_of_freedom`, `low`, `high`, `p_zero` (against a score of 0,
            two-sided) and `n_units`.
        """
        low, high = self.bootstrap.interval(level=level)
        return pd.DataFrame(
            {
                "model": list(self.names),
                "score": self.bootstrap.estimate,
                "standard_error": self.bootstrap.standard_error,
                "degrees_of_freedom": self.bootstrap.degrees_of_freedom,
                "low": low,
                "high": high,
                "p_zero": self.bootstrap.p_value(),
                "n_units": int(self.used.sum()),
            }
        )

    def differences(self, *, level: float = 0.95) -> pd.DataFrame:
        """Compare all pairs of models, paired over images and units.

        Parameters
        ----------
        level : float, default 0.95
            Coverage of the intervals, 0..1.

        Returns
        -------
        DataFrame
            One row per pair: `model_a`, `model_b`, `difference` (a minus b, mean over
            units), `standard_error`, `degrees_of_freedom`, `low`, `high`, `p_value`
            (two-sided) and `p_fdr` (`analysis.multiple_tests.fdr_adjusted` over the
            pairs).
        """
        pairs = _pairs_of(len(self.names))
        one = np.eye(len(self.names))
        found = self.bootstrap.contrast(one[:, pairs[:, 0]] - one[:, pairs[:, 1]])
        low, high = found.interval(level=level)
        p = found.p_value()
        return self._pairs(
            {
                "difference": found.estimate,
                "standard_error": found.standard_error,
                "degrees_of_freedom": found.degrees_of_freedom,
                "low": low,
                "high": high,
                "p_value": p,
                "p_fdr": fdr_adjusted(p),
            }
        )

    def flip_units(
        self, *, n_permutations: int = 10_000, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Compare all pairs of models by flipping signs of whole units.

        A second opinion that takes the test images as fixed and the units as
        independent. Units of one recording share noise and images: see the notes of
        `compare_encoding` for what that costs.

        Parameters
        ----------
        n_permutations : int, default 10000
            As `analysis.multiple_tests.sign_flip_test`.
        rng : numpy.random.Generator
            Source of random signs.

        Returns
        -------
        DataFrame
            One row per pair: `model_a`, `model_b`, `difference`, `p_value` and
            `p_fdr`.

        Raises
        ------
        ValueError
            If fewer than two units are used.
        """
        pairs = _pairs_of(len(self.names))
        chosen = self.scores[:, self.used].T
        differences = chosen[:, pairs[:, 0]] - chosen[:, pairs[:, 1]]
        found = sign_flip_test(differences, n_permutations=n_permutations, rng=rng)
        return self._pairs(
            {
                "difference": differences.mean(axis=0),
                "p_value": found.p_value,
                "p_fdr": fdr_adjusted(found.p_value),
            }
        )

    def _pairs(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        pairs = list(combinations(self.names, 2))
        named = {"model_a": [a for a, _ in pairs], "model_b": [b for _, b in pairs]}
        return pd.DataFrame({**named, **columns})


def compare_encoding(
    measured: ArrayLike,
    predictions: Mapping[str, ArrayLike],
    *,
    noise_ceiling: ArrayLike | None = None,
    groups: Sequence[ArrayLike] | None = None,
    over: str = "images",
    n_bootstrap: int = 1000,
    rng: np.random.Generator,
) -> EncodingComparison:
    """Compare encoding models on the images that none of them was trained on.

    Parameters
    ----------
    measured : array-like of float, shape (n_images, n_units)
        Responses to the test images.
    predictions : mapping of str to array-like of float, shape (n_images, n_units)
        What each model predicts for them.
    noise_ceiling : array-like of float, shape (n_units,), optional
        Shares of variance, 0..1. With them the score of a unit is ``sign(r) r**2 /
        ceiling`` (`analysis.metrics.noise_normalised`), without r. Units with a
        ceiling of 0 or NaN are left out; small ceilings make large scores, so leave
        noisy units out beforehand.
    groups : sequence of array-like of int, optional
        Rows that are scored together, such as folds of cross-validation, whose models
        differ: r is averaged over groups, and images are resampled within them.
    over : {"images", "units", "both"}, default "images"
        What to resample: images, for conclusions about new images and these units;
        units, for other units and these images; or both.
    n_bootstrap : int, default 1000
        Number of resamples.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    EncodingComparison
        Scores per unit, means and their resamples.

    Raises
    ------
    ValueError
        If shapes do not fit, an option is unknown, there are no models, or fewer than
        three images.

    Notes
    -----
    Correlations of resamples come from sums weighted by how often each image was
    drawn: matrix products of (n_bootstrap, n_images) and (n_images, n_units).

    Two models that are equally good, with errors of which half are common to all units,
    were simulated 1000 times with new images, 100, and 40 units. They differ at p < .05
    in 5 % of the experiments by "images", in 4 % by "both", in 57 % by "units" and in
    56 % by `EncodingComparison.flip_units`: what units have in common is taken for
    evidence. When each unit favours one of them by chance, these are 9, 6, 33 and 32 %:
    then differences of these units are real, and only "both" asks about other units.

    References
    ----------
    Schütt et al. (2023). eLife 12, e82566. doi:10.7554/eLife.82566 (images and a
    second factor at once)

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(80, 5))
    >>> measured = truth + rng.normal(size=(80, 5))
    >>> guesses = {"good": truth, "bad": truth + 2 * rng.normal(size=(80, 5))}
    >>> found = compare_encoding(measured, guesses, rng=rng)
    >>> found.differences()["p_fdr"].lt(0.01).tolist()
    [True]
    """
    check_option("over", over, OVER)
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=1)
    y = check_array("measured", np.asarray(measured), shape=(None, None))
    n_images, n_units = y.shape
    if n_images < FEWEST_TEST_IMAGES:
        raise ValueError(
            f"`measured` has {n_images} images: at least {FEWEST_TEST_IMAGES} are "
            "needed."
        )
    if not predictions:
        raise ValueError("`predictions` is empty: name at least one model.")
    guesses = [
        check_array(f"predictions[{name!r}]", np.asarray(guess), shape=y.shape)
        for name, guess in predictions.items()
    ]
    ceiling = None
    if noise_ceiling is not None:
        ceiling = np.asarray(noise_ceiling, np.float64)
        check_array("noise_ceiling", ceiling, shape=(n_units,))
    parts = [np.arange(n_images)] if groups is None else [*map(np.asarray, groups)]
    fewest = min(map(len, parts), default=0)
    if fewest < FEWEST_TEST_IMAGES:
        raise ValueError(
            f"`groups` has {fewest} rows in one of them: at least "
            f"{FEWEST_TEST_IMAGES} are needed."
        )
    r = np.stack(
        [
            np.mean([pearson_r(y[rows], guess[rows]) for rows in parts], axis=0)
            for guess in guesses
        ]
    )
    scores = (
        r if ceiling is None else np.stack([noise_normalised(a, ceiling) for a in r])
    )
    known = ~np.isnan(scores)
    used = np.asarray(known[known.any(axis=1)].all(axis=0) & known.any(), bool)
    counts = [_counts(n_bootstrap, len(rows), rng) for rows in parts]
    of_units = _counts(n_bootstrap, int(used.sum()), rng)
    whole = scores[:, used]
    if over == "units":
        counts = []
    draws = _draw_means(
        [y[rows][:, used] for rows in parts],
        [[guess[rows][:, used] for rows in parts] for guess in guesses],
        whole,
        None if ceiling is None else ceiling[used],
        counts,
        of_units,
        over,
    )
    means = whole.mean(axis=1) if used.any() else np.full(len(scores), np.nan)
    crossed = CrossedBootstrap(means, draws, n_images, int(used.sum()), _FACTORS[over])
    return EncodingComparison(tuple(predictions), scores, used, crossed)


def pool_recordings(
    estimates: ArrayLike,
    standard_errors: ArrayLike,
    degrees_of_freedom: ArrayLike,
    *,
    same_images: bool = False,
) -> dict[str, float]:
    """Average estimates of several recordings, such as different animals' neurons.

    The recordings are taken as they are: the conclusion is about new images (or units)
    in these recordings, not about others.

    Parameters
    ----------
    estimates, standard_errors : array-like of float, shape (n_recordings,)
        Estimates, such as differences of two models, with their standard errors.
    degrees_of_freedom : array-like of float, shape (n_recordings,)
        Of the standard errors.
    same_images : bool, default False
        Whether the recordings were scored on the same images: then what is special
        about these images is common to them, and does not average out. The standard
        error is the mean of theirs, the largest that any correlation of their errors
        allows. Otherwise errors are independent.

    Returns
    -------
    dict of str to float
        `estimate` (plain mean), `standard_error`, `degrees_of_freedom`
        (Welch-Satterthwaite; of the same images the smallest), `low`, `high` (95 %
        limits) and `p_value` (two-sided). NaN if any recording is undefined.

    Examples
    --------
    >>> found = pool_recordings([0.2, 0.1], [0.03, 0.04], [99, 99])
    >>> round(found["estimate"], 3), round(found["standard_error"], 3)
    (0.15, 0.025)
    """
    values, errors, freedom = (
        np.asarray(a, np.float64)
        for a in (estimates, standard_errors, degrees_of_freedom)
    )
    squares = errors**2
    with np.errstate(divide="ignore", invalid="ignore"):
        df = squares.sum() ** 2 / (squares**2 / freedom).sum()
    mean, error = values.mean(), np.sqrt(squares.sum()) / len(values)
    if same_images:
        df, error = freedom.min(), errors.mean()
    half = stats.t.ppf(0.975, df) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(abs(mean) / error, df)
    names = ("estimate", "standard_error", "degrees_of_freedom", "low", "high")
    numbers = (mean, error, df, mean - half, mean + half, p)
    return dict(zip((*names, "p_value"), map(float, numbers), strict=True))


def _pairs_of(n: int) -> NDArray[np.intp]:
    """Return all pairs of models, shape (n_pairs, 2)."""
    return np.array(list(combinations(range(n), 2)), np.intp).reshape(-1, 2)


def _counts(n_draws: int, n: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Draw how often each of n things is in a resample, shape (n_draws, n)."""
    rows = [
        np.bincount(rng.integers(0, n, n) if n else [], minlength=n)
        for _ in range(n_draws)
    ]
    return np.array(rows, np.int16).reshape(n_draws, n)


def _draw_means(
    measured: Sequence[NDArray[Any]],
    guesses: Sequence[Sequence[NDArray[Any]]],
    scores: FloatArray,
    ceiling: FloatArray | None,
    counts: Sequence[NDArray[np.int16]],
    of_units: NDArray[np.int16],
    over: str,
) -> dict[str, FloatArray]:
    """Return means over units for resampled images, units and both.

    Responses, predictions and counts of images come group by group.
    """
    n_draws, n_units = of_units.shape
    n_models = len(guesses)
    undefined = np.isnan(scores).all(axis=1)
    kinds = ("images", "units", "both") if over == "both" else (over,)
    sums = {kind: np.zeros((n_draws, n_models)) for kind in kinds}
    parts = {kind: np.zeros((n_draws, n_models)) for kind in kinds}

    def add(kind: str, rows: slice, values: FloatArray, by: NDArray[Any]) -> None:
        """Add values (draws, models, units) weighted by unit (draws, units)."""
        known = ~np.isnan(values)
        # A unit that is lost for one model is lost for all: means stay paired.
        known &= known[:, ~undefined].all(axis=1, keepdims=True)
        weight = by.astype(np.float64)
        sums[kind][rows] += np.einsum("bmu,bu->bm", np.where(known, values, 0), weight)
        parts[kind][rows] += np.einsum("bmu,bu->bm", known.astype(float), weight)

    n_images = sum(map(len, measured))
    # Draws of correlations of all models are held for a block of units.
    for block in unit_blocks(2 * n_images + _DRAWS_AT_ONCE * (n_models + 4), n_units):
        groups = [
            (
                _standardised(y[:, block]),
                [_standardised(g[i][:, block]) for g in guesses],
            )
            for i, y in enumerate(measured)
        ]
        for start in range(0, n_draws, _DRAWS_AT_ONCE):
            rows = slice(start, min(start + _DRAWS_AT_ONCE, n_draws))
            by = of_units[rows, block]
            if "units" in kinds:
                shape = (len(by), *scores[:, block].shape)
                add("units", rows, np.broadcast_to(scores[:, block], shape), by)
            if over == "units":
                continue
            r = np.mean(
                [
                    _weighted_r(c[rows] / c.shape[1], *of_group)
                    for c, of_group in zip(counts, groups, strict=True)
                ],
                axis=0,
            )
            if ceiling is not None:
                r = np.sign(r) * r**2 / ceiling[block]
            if "images" in kinds:
                add("images", rows, r, np.ones_like(by))
            if "both" in kinds:
                add("both", rows, r, by)
    with np.errstate(invalid="ignore"):
        return {_FACTORS[kind]: sums[kind] / parts[kind] for kind in kinds}


def _standardised(columns: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Return columns with mean 0 and variance 1, and their squares."""
    values = np.asarray(columns, np.float64)
    values = values - values.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values /= np.sqrt((values**2).mean(axis=0))
    return values, values**2


def _weighted_r(
    w: FloatArray,
    of_units: tuple[FloatArray, FloatArray],
    rivals: Sequence[tuple[FloatArray, FloatArray]],
) -> FloatArray:
    """Correlate columns under weights of rows, shape (n_draws, n_models, n_units)."""
    x, x2 = of_units
    mean_x = w @ x
    variance_x = w @ x2 - mean_x**2
    r = np.empty((len(w), len(rivals), x.shape[1]))
    for m, (z, z2) in enumerate(rivals):
        mean_z = w @ z
        variance_z = w @ z2 - mean_z**2
        varies = (variance_x > _CONSTANT) & (variance_z > _CONSTANT)
        scale = np.sqrt(np.where(varies, variance_x * variance_z, np.nan))
        r[:, m] = (w @ (x * z) - mean_x * mean_z) / scale
    return np.clip(r, -1.0, 1.0)
