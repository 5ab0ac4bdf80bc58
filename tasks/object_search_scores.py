"""Scores of scanpaths over objects: each model against each human trial.

A human trial gets the mean over the scanpaths that are compared with it; models get
the mean over human trials. Standard errors come from resampling displays, because the
trials on one display are not independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.multimatch import multimatch
from analysis.scanpath_distances import dtw, eyenalysis, frechet, hausdorff, stde
from analysis.scanpath_sets import pack_scanpaths
from analysis.scanpath_strings import cell_scanmatch, levenshtein, sequence_score
from analysis.scanpath_symbols import pack_symbols
from analysis.search_efficiency import (
    BEHAVIOURS,
    behaviour_terms,
    behaviour_vectors,
    in_target_cells,
    probability_mismatch,
    steps_to_target,
    tfp_auc,
)
from analysis.stats import percentile_interval
from neurovis.core.checks import check_array, check_between
from neurovis.core.object_scanpaths import ObjectTrial, check_one_grid
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Unit and whether more is better.
PAIR_MEASURES = {
    "SS": ("", True),
    "FED": ("edits", False),
    "nFED": ("", False),
    "ScanMatch": ("", True),
    "MM_vector": ("", True),
    "MM_direction": ("", True),
    "MM_length": ("", True),
    "MM_position": ("", True),
    "MM_avg": ("", True),
    "DTW_px": ("px", False),
    "Hausdorff_px": ("px", False),
    "Frechet_px": ("px", False),
    "Eyenalysis_px": ("px", False),
    "STDE": ("", True),
    "len_abs_err": ("fixations", False),
}
# Steps of the curve of target fixation probability; the first are summed and compared.
CURVE_STEPS, AUC_STEPS = 60, 30
SEARCH_MEASURES = (
    "delta",
    "TFP10",
    "TFP20",
    "TFP30",
    "TFP_AUC30",
    "TFP_nAUC30",
    "prob_mismatch30",
)
SCANMATCH_THRESHOLD = 3.5
LEAVE_ONE_OUT = "human_leave_one_out"
LEAVE_ONE_OUT_RAW = "human_leave_one_out_rawxy"
_KEYS = ["subject", "stimulus_id"]


@dataclass(frozen=True)
class TrialScores:
    """One model against each human trial.

    Parameters
    ----------
    table : DataFrame
        One row per human trial: `subject`, `stimulus_id`, `n_pairs` (scanpaths that
        it was compared with), the means of `PAIR_MEASURES` over them, and the mean
        `analysis.search_efficiency.BEHAVIOURS` of the model.
    found : ndarray of float64, shape (n_trials, 60)
        Share of the model's scanpaths that have been on the target by each step.
    """

    table: pd.DataFrame
    found: FloatArray


def compare_scanpaths(
    pred: Sequence[ObjectTrial], human: Sequence[ObjectTrial], pairs: IntArray
) -> FloatArray:
    """Compute all measures of pairs of scanpaths.

    Parameters
    ----------
    pred, human : sequence of ObjectTrial
        Scanpaths on displays of one grid; those of a pair on the same display.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which pred with which human scanpath.

    Returns
    -------
    ndarray of float64, shape (n_pairs, 15)
        The columns are `PAIR_MEASURES`; MultiMatch is NaN for fewer than three
        fixations.

    Raises
    ------
    ValueError
        If the displays differ in grid, or those of a pair.
    """
    grid = check_one_grid([*pred, *human])
    pairs = check_array("pairs", pairs, shape=(None, 2)).astype(np.int64)
    for i, j in pairs:
        if pred[i].display.stimulus_id != human[j].display.stimulus_id:
            raise ValueError(
                "`pairs` must join scanpaths on one display; got "
                f"{pred[i].display.stimulus_id!r} and {human[j].display.stimulus_id!r}."
            )
    sizes = np.array([[t.display.width_px, t.display.height_px] for t in human])
    screen = sizes[pairs[:, 1]]
    cells = [pack_symbols([t.cells for t in trials]) for trials in (pred, human)]
    points = [pack_scanpaths([t.xy_px for t in trials]) for trials in (pred, human)]
    lengths = np.column_stack(
        [cells[0].n_symbols[pairs[:, 0]], cells[1].n_symbols[pairs[:, 1]]]
    )
    edits = levenshtein(*cells, pairs=pairs)
    four = multimatch(*points, screen_px=screen, pairs=pairs)[:, :4]
    return np.column_stack(
        [
            sequence_score(*cells, pairs=pairs),
            edits,
            edits / lengths.max(axis=1),
            cell_scanmatch(
                *cells, grid=grid, threshold=SCANMATCH_THRESHOLD, pairs=pairs
            ),
            four,
            four.mean(axis=1),
            dtw(*points, pairs=pairs),
            hausdorff(*points, pairs=pairs),
            frechet(*points, pairs=pairs),
            eyenalysis(*points, pairs=pairs),
            stde(*points, screen_px=screen, pairs=pairs),
            np.abs(np.diff(lengths, axis=1)[:, 0]),
        ]
    )


def score_trials(
    pred: Sequence[ObjectTrial], human: Sequence[ObjectTrial], pairs: IntArray
) -> TrialScores:
    """Compare a model with each human trial.

    Parameters
    ----------
    pred, human : sequence of ObjectTrial
        Scanpaths.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which pred with which human scanpath.

    Returns
    -------
    TrialScores
        In the order of `human`; NaN where a trial has no pair.

    Raises
    ------
    ValueError
        As `compare_scanpaths`.
    """
    of_trial = pairs[:, 1]
    values = _means(compare_scanpaths(pred, human, pairs), of_trial, len(human))
    behaviour, curves = _descriptions(pred)
    behaviour = _means(behaviour[pairs[:, 0]], of_trial, len(human))
    table = pd.DataFrame(
        {
            "subject": [trial.subject for trial in human],
            "stimulus_id": [trial.display.stimulus_id for trial in human],
            "n_pairs": np.bincount(of_trial, minlength=len(human)),
            **dict(zip(PAIR_MEASURES, values.T, strict=True)),
            **dict(zip(BEHAVIOURS, behaviour.T, strict=True)),
        }
    )
    return TrialScores(table, _means(curves[pairs[:, 0]], of_trial, len(human)))


def leave_one_out_scores(
    trials: Sequence[ObjectTrial], *, raw_positions: bool = False
) -> TrialScores:
    """Compare each human trial with those of the other observers of its display.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        Human trials.
    raw_positions : bool, default False
        Take the positions where people looked, instead of the centres of the objects.

    Returns
    -------
    TrialScores
        Measures are means over the other observers; behaviour and curve are those of
        the trial itself.

    Raises
    ------
    ValueError
        If the displays differ in grid.
    """
    trials = list(trials) if raw_positions else at_centres(trials)
    display = np.array([trial.display.stimulus_id for trial in trials])
    subject = np.array([trial.subject for trial in trials])
    other = (display[:, None] == display) & (subject[:, None] != subject)
    j, i = np.nonzero(other)  # ordered by the trial that is scored
    scores = score_trials(trials, trials, np.column_stack([i, j]))
    behaviour, curves = _descriptions(trials)
    own = dict(zip(BEHAVIOURS, behaviour.T, strict=True))
    return TrialScores(scores.table.assign(**own), curves)


def at_centres(trials: Sequence[ObjectTrial]) -> list[ObjectTrial]:
    """Move fixations to the centres of their objects, where those of models lie.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        Trials.

    Returns
    -------
    list of ObjectTrial
        The same objects.
    """
    return [ObjectTrial(t.display, t.subject, t.cells) for t in trials]


def _descriptions(trials: Sequence[ObjectTrial]) -> tuple[FloatArray, FloatArray]:
    """Return behaviours, shape (n, 5), and whether found by each step, (n, 60)."""
    cells = [trial.cells for trial in trials]
    targets = np.array([trial.display.target_cell for trial in trials], np.int64)
    steps = steps_to_target(in_target_cells(cells, targets))
    curves = steps[:, None] <= np.arange(1, CURVE_STEPS + 1)
    return behaviour_vectors(cells, targets), curves.astype(np.float64)


def _means(values: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    """Average the rows of each group, leaving out NaN."""
    return _ratio(*_sums(values, group, n_groups))


def _sums(
    values: FloatArray, group: IntArray, n_groups: int
) -> tuple[FloatArray, FloatArray]:
    """Sum the rows of each group and count them, leaving out NaN."""
    known = ~np.isnan(values)
    sums, counts = np.zeros((2, n_groups, values.shape[1]))
    np.add.at(sums, group, np.where(known, values, 0.0))
    np.add.at(counts, group, known)
    return sums, counts


def _ratio(sums: FloatArray, counts: FloatArray) -> FloatArray:
    ratio = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=ratio, where=counts > 0)
    return ratio


# --------------------------------------------------------------------- summary


@dataclass(frozen=True)
class _Displays:
    """Sums over the trials of each display: what a bootstrap over displays needs."""

    weights: FloatArray  # (1 + n_bootstrap, n_displays), the first row all ones
    display: IntArray  # (n_trials,)

    @classmethod
    def of(cls, table: pd.DataFrame, n_bootstrap: int, seed: int) -> "_Displays":
        number, names = pd.factorize(table["stimulus_id"], sort=True)
        n = len(names)
        draw = generator(seed, "object search bootstrap")
        picks = draw.integers(n, size=(n_bootstrap, n))
        weights = np.zeros((n_bootstrap, n))
        np.add.at(weights, (np.arange(n_bootstrap)[:, None], picks), 1)
        return cls(np.vstack([np.ones(n), weights]), number.astype(np.int64))

    def means(self, values: FloatArray) -> FloatArray:
        """Mean over trials, shape (1 + n_bootstrap, n_columns)."""
        sums, counts = _sums(values, self.display, self.weights.shape[1])
        return _ratio(self.weights @ sums, self.weights @ counts)


def summarise_trials(
    scores: TrialScores, people: TrialScores, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Average a model over human trials, with errors from resampling displays.

    Parameters
    ----------
    scores : TrialScores
        A model, or people.
    people : TrialScores
        What `leave_one_out_scores` returned for the same trials.
    n_bootstrap : int, default 1000
        Resamples of displays, the same for every model; below 2 there are no errors.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    DataFrame
        One row per measure: `metric`, `value`, `se`, `ci_low`, `ci_high` (95 %),
        `n` (trials in which it is defined), `unit`, `more_is_better`.

    Raises
    ------
    ValueError
        If the two are not of the same trials.
    """
    check_between("n_bootstrap", n_bootstrap, low=0)
    if not scores.table[_KEYS].equals(people.table[_KEYS]):
        raise ValueError("`scores` and `people` must be of the same trials.")
    displays = _Displays.of(scores.table, int(n_bootstrap), seed)
    names = [*PAIR_MEASURES, *BEHAVIOURS]
    values = scores.table[names].to_numpy(np.float64)
    draws = displays.means(values)
    behaviour = [
        displays.means(each.table[list(BEHAVIOURS)].to_numpy(np.float64))
        for each in (scores, people)
    ]
    curves = [displays.means(each.found) for each in (scores, people)]
    search = np.array(
        [_search_measures(*each) for each in zip(*behaviour, *curves, strict=True)]
    )
    defined = [*(~np.isnan(values)).sum(axis=0), *[len(values)] * len(SEARCH_MEASURES)]
    return _claims([*names, *SEARCH_MEASURES], np.hstack([draws, search]), defined)


def _search_measures(
    behaviour: FloatArray, of_people: FloatArray, curve: FloatArray, human: FloatArray
) -> list[float]:
    first = curve[:AUC_STEPS]
    return [
        float(behaviour_terms(behaviour, of_people).mean()),
        *(float(curve[n - 1]) for n in (10, 20, 30)),
        tfp_auc(first),
        tfp_auc(first, normalise=True),
        probability_mismatch(first, human[:AUC_STEPS]),
    ]


def _claims(
    names: Sequence[str], draws: FloatArray, defined: Sequence[int]
) -> pd.DataFrame:
    value, resampled = draws[0], draws[1:]
    low = high = error = np.full(len(names), np.nan)
    if len(resampled) > 1:
        low, high = percentile_interval(resampled.T)
        error = resampled.std(axis=0, ddof=1)
    units = {"length": "fixations"} | {k: u for k, (u, _) in PAIR_MEASURES.items()}
    better = {k: more for k, (_, more) in PAIR_MEASURES.items()}
    return pd.DataFrame(
        {
            "metric": names,
            "value": value,
            "se": error,
            "ci_low": low,
            "ci_high": high,
            "n": np.asarray(defined, np.int64),
            "unit": [units.get(name, "") for name in names],
            "more_is_better": [better.get(n, n.startswith("TFP")) for n in names],
        }
    )


def summarise_tokens(
    nats: pd.DataFrame, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Average the surprise of tokens, with errors from resampling displays.

    Parameters
    ----------
    nats : DataFrame
        One row per token: `stimulus_id` and `nats`.
    n_bootstrap : int, default 1000
        Resamples of displays.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    DataFrame
        As `summarise_trials`, with the rows `nats_per_token` and `perplexity` (its
        exponential); `n` counts tokens.
    """
    displays = _Displays.of(nats, int(n_bootstrap), seed)
    draws = displays.means(nats[["nats"]].to_numpy(np.float64))
    table = _claims(
        ["nats_per_token", "perplexity"],
        np.hstack([draws, np.exp(draws)]),
        [len(nats)] * 2,
    )
    return table.assign(unit=["nats", ""])


def score_rows(
    model: str, summary: pd.DataFrame, ceiling: pd.DataFrame, **shared: str | int
) -> pd.DataFrame:
    """Return the summary of a model as rows of a score table.

    Parameters
    ----------
    model : str
        Name of the model.
    summary : DataFrame
        From `summarise_trials` or `summarise_tokens`.
    ceiling : DataFrame
        Summary of people, each left out in turn.
    **shared : str or int
        Further columns with one value.

    Returns
    -------
    DataFrame
        The columns of `neurovis.core.types.SCORE_COLUMNS` and `se`. The ratio to
        people is given for measures of which more is better.
    """
    of_people = summary["metric"].map(ceiling.set_index("metric")["value"])
    ratio = (summary["value"] / of_people).where(
        summary["more_is_better"] & (of_people != 0)
    )
    rows = summary.assign(
        model=model,
        ceiling_low=of_people,
        value_over_ceiling=ratio,
        ceiling_kind=LEAVE_ONE_OUT,
        **shared,
    )
    return rows.reindex(columns=[*SCORE_COLUMNS, "se"])


def found_curve(
    scores: TrialScores, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Average the curves of target fixation probability over human trials.

    Parameters
    ----------
    scores : TrialScores
        A model, or people.
    n_bootstrap : int, default 1000
        Resamples of displays; below 2 there are no intervals.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    DataFrame
        `n` (1..60), `value`, the probability that the target was fixated by step n,
        `ci_low` and `ci_high` (95 %).
    """
    draws = _Displays.of(scores.table, int(n_bootstrap), seed).means(scores.found)
    low = high = np.full(CURVE_STEPS, np.nan)
    if n_bootstrap > 1:
        low, high = percentile_interval(draws[1:].T)
    steps = 1 + np.arange(CURVE_STEPS)
    return pd.DataFrame({"n": steps, "value": draws[0], "ci_low": low, "ci_high": high})
