"""The best layer of each model, chosen on other stimuli than those it is scored on.

The largest of many similarities is large by luck too. Here a layer is chosen on half of
the stimuli and scored on the other half, many times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.crossed_bootstrap import OVER, CrossedBootstrap
from analysis.multiple_tests import fdr_adjusted
from analysis.row_correlations import midranks, rank_codes
from analysis.rsa import MEASURES, compare_pairs, count_stimuli
from neurovis.core.checks import check_array, check_option, check_whole

FloatArray = NDArray[np.float64]

FEWEST_STIMULI = 8
"""Two halves, each of which can be resampled."""

# Similarities of weighted pairs of stimuli that are sums of products.
_PRODUCTS = ("pearson", "spearman", "cosine")
_RANKED = ("spearman", "kendall_tau_a", "rho_a")


@dataclass(frozen=True)
class LayerSelection:
    """Similarities of layers, and what is left of the best when it is chosen fairly.

    Parameters
    ----------
    models : tuple of str
        Models, in order of their first layers.
    model_of : ndarray of int, shape (n_layers,)
        Model of each layer.
    scores : ndarray of float64, shape (n_layers, n_subjects)
        Similarity of each layer with each subject, all stimuli.
    layers : CrossedBootstrap
        Means over subjects, shape (n_layers,). Its images are the stimuli.
    chosen : CrossedBootstrap
        Means over subjects of the chosen layers, shape (n_models,): the estimates are
        those of the halves that the choice has not seen.
    share : ndarray of float64, shape (n_layers,)
        In which part of the splits the layer was its model's choice.
    """

    models: tuple[str, ...]
    model_of: NDArray[np.intp]
    scores: FloatArray
    layers: CrossedBootstrap
    chosen: CrossedBootstrap
    share: FloatArray

    def layer_table(self, *, level: float = 0.95) -> pd.DataFrame:
        """Tell how similar each layer is, without any choice.

        Parameters
        ----------
        level : float, default 0.95
            Coverage of the intervals, 0..1.

        Returns
        -------
        DataFrame
            One row per layer in their order: `model`, `score`, `standard_error`,
            `degrees_of_freedom`, `low`, `high`, `chosen_share`.
        """
        named = {"model": [self.models[m] for m in self.model_of]}
        table = pd.DataFrame(named | _columns(self.layers, "score", level))
        return table.assign(chosen_share=self.share)

    def model_table(self, *, level: float = 0.95) -> pd.DataFrame:
        """Tell how similar the chosen layer of each model is.

        Parameters
        ----------
        level : float, default 0.95
            Coverage of the intervals, 0..1.

        Returns
        -------
        DataFrame
            One row per model: `model`, `score`, `standard_error`,
            `degrees_of_freedom`, `low`, `high`; `layer` and `chosen_share` (the one
            chosen most often, 0-based, and how often); `best_layer` and `best_score`
            (the largest similarity to all stimuli, which is optimistic).
        """
        table = pd.DataFrame(
            {"model": list(self.models)} | _columns(self.chosen, "score", level)
        )
        means = self.layers.estimate
        own = [np.flatnonzero(self.model_of == m) for m in range(len(self.models))]
        usual = [rows[np.argmax(self.share[rows])] for rows in own]
        best = [rows[np.argmax(_low_if_nan(means[rows]))] for rows in own]
        return table.assign(
            layer=usual,
            chosen_share=self.share[usual],
            best_layer=best,
            best_score=means[best],
        )

    def differences(self, *, level: float = 0.95) -> pd.DataFrame:
        """Compare the chosen layers of all pairs of models.

        Parameters
        ----------
        level : float, default 0.95
            Coverage of the intervals, 0..1.

        Returns
        -------
        DataFrame
            One row per pair: `model_a`, `model_b`, `difference` (a minus b),
            `standard_error`, `degrees_of_freedom`, `low`, `high`, `p_value`
            (two-sided) and `p_fdr` (`analysis.multiple_tests.fdr_adjusted` over the
            pairs).
        """
        n = len(self.models)
        pairs = np.array(list(combinations(range(n), 2)), int).reshape(-1, 2)
        one = np.eye(n)
        found = self.chosen.contrast(one[:, pairs[:, 0]] - one[:, pairs[:, 1]])
        p = found.p_value()
        named = {
            "model_a": [self.models[a] for a, _ in pairs],
            "model_b": [self.models[b] for _, b in pairs],
        }
        table = pd.DataFrame(named | _columns(found, "difference", level))
        return table.assign(p_value=p, p_fdr=fdr_adjusted(p))


def select_layers(
    layers: ArrayLike,
    model_of: Sequence[str],
    rdms: ArrayLike,
    measure: str = "spearman",
    *,
    over: str = "both",
    n_splits: int = 50,
    n_bootstrap: int = 1000,
    rng: np.random.Generator,
) -> LayerSelection:
    """Choose the best layer of each model without profiting from the choice.

    Stimuli are split at random into halves. The layer with the largest mean over
    subjects on one half is scored on the other, in both directions; the estimate is the
    mean over splits. For its standard error stimuli (and subjects) are resampled, with
    layers weighted by how often they were chosen.

    Parameters
    ----------
    layers : array-like of float, shape (n_layers, n_pairs)
        Condensed RDMs of all layers of all models. One with NaN is never chosen.
    model_of : sequence of str, length n_layers
        Model of each layer.
    rdms : array-like of float, shape (n_subjects, n_pairs)
        Condensed RDMs of the same stimuli, one per subject.
    measure : str, default "spearman"
        As in `analysis.rsa.compare_rdms`. "pearson", "cosine" and "spearman" are
        matrix products; "spearman" ranks the dissimilarities of all pairs of stimuli
        once and correlates these ranks in halves and resamples. The others are
        computed anew in each.
    over : {"both", "images", "subjects"}, default "both"
        What to resample, as in `analysis.rsa_inference.bootstrap_rsa`.
    n_splits : int, default 50
        Number of splits of the stimuli.
    n_bootstrap : int, default 1000
        Number of resamples.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    LayerSelection
        Scores of layers and of chosen layers, with their resamples.

    Raises
    ------
    ValueError
        If shapes do not fit, subjects' dissimilarities are not finite, an option is
        unknown, there are fewer than 8 stimuli, or subjects shall be resampled but
        there is one.

    Notes
    -----
    Weights of layers are held fixed while resampling. Simulated with new stimuli (60)
    in every experiment, a model with 9 equally good layers differs at p < .05 from one
    with a single layer as good in 3 % of the experiments with 8 new subjects each, and
    in 5 % with one subject; standard errors are 1.06 and 0.98 times the true ones, and
    0.97 and 0.84 times for the score itself. When the largest of the 9 is taken
    instead, the model with more layers wins in 3 and 12 %, and never loses.

    References
    ----------
    Kriegeskorte, Simmons, Bellgowan and Baker (2009). Nat. Neurosci. 12, 535-540.
    doi:10.1038/nn.2303 (why a choice needs other data). Schütt et al. (2023). eLife
    12, e82566. doi:10.7554/eLife.82566

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> layers = rng.random((3, 190))
    >>> people = layers[1] + 0.5 * rng.random((4, 190))
    >>> found = select_layers(layers, ["a", "a", "b"], people, n_bootstrap=50, rng=rng)
    >>> (
    ...     found.model_table()["layer"].tolist(),
    ...     found.differences()["p_value"].lt(0.05)[0],
    ... )
    ([1, 2], np.True_)
    """
    check_option("measure", measure, MEASURES)
    check_option("over", over, OVER)
    n_splits = check_whole("n_splits", n_splits, low=1)
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=1)
    people = np.atleast_2d(np.asarray(rdms, np.float64))
    check_array("rdms", people, shape=(None, None), finite=True)
    rows = np.atleast_2d(np.asarray(layers, np.float64))
    check_array("layers", rows, shape=(None, people.shape[1]))
    n_stimuli, n_subjects = count_stimuli(people.shape[1]), len(people)
    if len(model_of) != len(rows):
        raise ValueError(f"`model_of` names {len(model_of)} of {len(rows)} layers.")
    if n_stimuli < FEWEST_STIMULI:
        raise ValueError(
            f"`rdms` has {n_stimuli} stimuli: choosing layers on half of them needs at "
            f"least {FEWEST_STIMULI}."
        )
    if n_subjects < 2 and over != "images":
        raise ValueError(
            "`rdms` has one row: with a single subject (or a mean) only stimuli can be "
            "resampled. Use over='images'."
        )
    models = tuple(dict.fromkeys(model_of))
    codes = np.array([models.index(name) for name in model_of])
    # The choice of a half is scored on the other one.
    halves = np.zeros((2 * n_splits, n_stimuli))
    for split in range(n_splits):
        chosen = rng.permutation(n_stimuli)[: n_stimuli // 2]
        halves[2 * split, chosen] = 1
        halves[2 * split + 1] = 1 - halves[2 * split]
    drawn = [rng.integers(0, n_stimuli, n_stimuli) for _ in range(n_bootstrap)]
    counts = np.array([np.bincount(d, minlength=n_stimuli) for d in drawn], float)
    subjects = rng.integers(0, n_subjects, (n_bootstrap, n_subjects))
    weights = np.concatenate([np.ones((1, n_stimuli)), halves, counts])
    similar = weighted_similarities(rows, people, weights, measure)
    scores = similar[0]
    in_halves, draws = np.split(similar[1:], [2 * n_splits])
    picks = _choose(in_halves.mean(axis=2), scores.mean(axis=1), codes, len(models))
    other_half = np.arange(2 * n_splits) ^ 1
    fair = in_halves[other_half[:, None], picks].mean(axis=(0, 2))
    share = np.zeros(len(rows))
    np.add.at(share, picks.reshape(-1), 1 / len(picks))
    drawn_draws = np.take_along_axis(draws, subjects[:, None, :], axis=2)
    kinds = {
        "images": draws.mean(axis=2),
        "subjects": scores[:, subjects].mean(axis=2).T,
        "both": drawn_draws.mean(axis=2),
    }
    by_layer = CrossedBootstrap(
        scores.mean(axis=1),
        kinds if over == "both" else {over: kinds[over]},
        n_stimuli,
        n_subjects,
        over,
    )
    own = codes[:, None] == np.arange(len(models))
    by_model = replace(by_layer.contrast(share[:, None] * own), estimate=fair)
    return LayerSelection(models, codes, scores, by_layer, by_model, share)


def weighted_similarities(
    rdms: ArrayLike, others: ArrayLike, weights: ArrayLike, measure: str = "spearman"
) -> FloatArray:
    """Compare RDMs of resampled or chosen stimuli.

    A pair of stimuli counts as often as the product of the weights of both. Pairs of a
    stimulus with itself do not count.

    Parameters
    ----------
    rdms : array-like of float, shape (m, n_pairs)
        Condensed RDMs.
    others : array-like of float, shape (k, n_pairs)
        RDMs of the same stimuli.
    weights : array-like of float, shape (n_draws, n_stimuli)
        How often each stimulus counts, whole numbers from 0.
    measure : str, default "spearman"
        As in `select_layers`.

    Returns
    -------
    ndarray of float64, shape (n_draws, m, k)
        Similarities; NaN where undefined.

    Examples
    --------
    >>> rdm = [[1.0, 2.0, 3.0, 4.0, 5.0, 7.0]]
    >>> other = [[1.0, 2.0, 9.0, 4.0, 9.0, 9.0]]
    >>> without_last = [[1, 1, 1, 0]]
    >>> weighted_similarities(rdm, other, without_last, "pearson").round(3).tolist()
    [[[1.0]]]
    """
    a, b = (np.atleast_2d(np.asarray(x, np.float64)) for x in (rdms, others))
    w = np.atleast_2d(np.asarray(weights, np.float64))
    if measure in _PRODUCTS:
        return _by_products(a, b, w, measure)
    return _one_by_one(a, b, w, measure)


def _by_products(
    a: FloatArray, b: FloatArray, w: FloatArray, measure: str
) -> FloatArray:
    n = w.shape[1]
    pairs = np.triu_indices(n, 1)

    def square(row: FloatArray) -> FloatArray:
        full = np.zeros((n, n))
        full[pairs] = row
        return full + full.T

    def total(full: FloatArray) -> FloatArray:
        """Return the weighted sum over pairs of each draw."""
        return np.einsum("bi,bi->b", w @ full, w) / 2

    def prepared(row: FloatArray) -> FloatArray:
        """Scale a row, so that small variances are not lost beside large means."""
        if np.isnan(row).any():
            return np.zeros_like(row)
        values = midranks(row[None])[0] if measure == "spearman" else row
        if measure != "cosine":
            values = values - values.mean()
        size = np.sqrt((values**2).mean())
        return values / size if size > 0 else values

    n_pairs = (w.sum(axis=1) ** 2 - (w**2).sum(axis=1)) / 2

    def moments(full: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return means and variances (squares for the cosine) of each draw."""
        mean_square = total(full**2) / n_pairs
        if measure == "cosine":
            return np.zeros(len(w)), mean_square
        mean = total(full) / n_pairs
        return mean, mean_square - mean**2

    similar = np.empty((len(w), len(a), len(b)))
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [square(prepared(row)) for row in b]
        of_columns = [moments(full) for full in columns]
        for i, row in enumerate(a):
            full = square(prepared(row))
            mean, variance = moments(full)
            for k, other in enumerate(columns):
                product = total(full * other) / n_pairs - mean * of_columns[k][0]
                scale = variance * of_columns[k][1]
                # Constant up to rounding: no correlation.
                known = (variance > 1e-12) & (of_columns[k][1] > 1e-12)
                similar[:, i, k] = np.where(known, product / np.sqrt(scale), np.nan)
    return np.clip(similar, -1.0, 1.0)


def _one_by_one(
    a: FloatArray, b: FloatArray, w: FloatArray, measure: str
) -> FloatArray:
    n = w.shape[1]
    i, j = np.triu_indices(n, 1)
    place = np.zeros((n, n), np.intp)
    place[i, j] = place[j, i] = np.arange(len(i))
    rows, columns = (rank_codes(x) if measure in _RANKED else x for x in (a, b))
    similar = np.empty((len(w), len(a), len(b)))
    for k, counts in enumerate(w):
        stimuli = np.repeat(np.arange(n), counts.astype(np.intp))
        first, second = np.triu_indices(len(stimuli), 1)
        used = stimuli[first] != stimuli[second]
        first, second = first[used], second[used]
        where = place[stimuli[first], stimuli[second]]
        similar[k] = compare_pairs(
            rows[:, where], columns[:, where], measure, (first, second)
        )
    return similar


def _choose(
    means: FloatArray, usual: FloatArray, codes: NDArray[np.intp], n_models: int
) -> NDArray[np.intp]:
    """Return the best layer of each model in each half, shape (n_halves, n_models)."""
    picks = np.empty((len(means), n_models), np.intp)
    for m in range(n_models):
        own = np.flatnonzero(codes == m)
        values = means[:, own]
        # Where all are undefined in a half: what all stimuli say.
        lost = np.isnan(values).all(axis=1)
        values[lost] = usual[own]
        picks[:, m] = own[np.argmax(_low_if_nan(values), axis=1)]
    return picks


def _low_if_nan(values: FloatArray) -> FloatArray:
    return np.where(np.isnan(values), -np.inf, values)


def _columns(
    found: CrossedBootstrap, name: str, level: float
) -> dict[str, FloatArray | int]:
    low, high = found.interval(level=level)
    return {
        name: found.estimate,
        "standard_error": found.standard_error,
        "degrees_of_freedom": found.degrees_of_freedom,
        "low": low,
        "high": high,
    }
