"""Score scanpaths of models against those of people, with consistency and chance.

`score_scanpaths` compares every scanpath of a model with every human scanpath on the
same stimulus, by any of `analysis.scanpath_measures.MEASURES`. Beside the models
stand the consistency of people (each against the other observers, never against
itself) and two kinds of chance.

The definitions are in `analysis.multimatch`, `analysis.scanpath_strings`,
`analysis.scanpath_distances` and `analysis.recurrence`; measures of search are in
`analysis.search_efficiency`, of maps in `analysis.fixation_maps`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.scanpath_measures import (
    DEFAULT_MEASURES,
    MEASURES,
    MeasureSettings,
    score_pairs,
)
from analysis.scanpath_sets import ScanpathSet, scanpaths_from_table
from analysis.stats import percentile_interval
from neurovis.core.checks import check_between, check_columns, check_option
from neurovis.core.rng import generator
from neurovis.core.types import (
    FIXATION_COLUMNS,
    HUMAN_MODEL,
    SCORE_COLUMNS,
)

LEAVE_ONE_OUT = "human leave-one-out"
SHUFFLED = "chance: other stimulus"
UNIFORM = "chance: uniform"
CHANCES = {"shuffled": SHUFFLED, "uniform": UNIFORM}
# Draws of chance for each human trial.
CHANCE_DRAWS = 10
_KEYS = ["subject", "stimulus_id", "trial"]


@dataclass(frozen=True)
class _Paths:
    """Scanpaths with their keys (subject, stimulus, trial) and limits."""

    paths: ScanpathSet
    keys: pd.DataFrame
    limits: NDArray[np.float64]

    def select(self, index: NDArray[np.intp]) -> "_Paths":
        keys = self.keys.iloc[index].reset_index(drop=True)
        return _Paths(self.paths.select(index), keys, self.limits[index])


def score_scanpaths(
    pred: pd.DataFrame,
    human: pd.DataFrame,
    stimuli: pd.DataFrame,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    settings: MeasureSettings | None = None,
    chance: Sequence[str] = ("shuffled", "uniform"),
    skip_first: bool = False,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Score models against people in one table.

    Parameters
    ----------
    pred : DataFrame
        Fixations of models: the columns of `neurovis.core.types.FIXATION_COLUMNS`;
        `subject` names the model. With a column `trial` a model may have several
        scanpaths (samples) per stimulus.
    human : DataFrame
        Fixations of people in the same form.
    stimuli : DataFrame
        `stimulus_id`, `width_px`, `height_px`: the frame of the coordinates.
    measures : sequence of str
        Names of `analysis.scanpath_measures.MEASURES`.
    settings : MeasureSettings, optional
        What the measures need to know.
    chance : sequence of {"shuffled", "uniform"}
        Kinds of chance: scanpaths of other observers on other stimuli; points
        anywhere on the screen, as many (and as long) as in a human scanpath of
        another stimulus. Ten draws per human trial.
    skip_first : bool, default False
        Leave out the first fixation of every scanpath, where it was given and not
        chosen; scanpaths of one fixation keep it.
    seed : int, default 0
        Seed of chance and bootstrap.
    n_bootstrap : int, default 1000
        Resamples of stimuli for the 95 % intervals.

    Returns
    -------
    DataFrame
        The columns of `neurovis.core.types.SCORE_COLUMNS`, then `n_trials`,
        `n_pairs` and `n_undefined`: one row per model and measure, then people
        (`human`) and each kind of chance. `value` is the mean over human trials of
        the mean over the scanpaths compared with them; `n` counts human trials in
        which it is defined; `n_undefined` counts pairs without a value. The ceiling
        is the consistency of people; `value_over_ceiling` is given for measures of
        which more is better.

    Raises
    ------
    ValueError
        If a column is missing, a name is unknown, a model is called as people are,
        or models and people share no stimulus.

    Notes
    -----
    Where the tables have a column `max_fixations` (the trial was stopped after so
    many), both scanpaths of a pair are cut to the smaller limit of the two.

    Examples
    --------
    >>> people = pd.DataFrame(
    ...     {
    ...         "subject": list("aabb"),
    ...         "stimulus_id": "s",
    ...         "fixation": [0, 1, 0, 1],
    ...         "x_px": [10, 90, 10, 80.0],
    ...         "y_px": 50.0,
    ...         "duration_ms": 200.0,
    ...     }
    ... )
    >>> model = people[people["subject"] == "a"].assign(subject="model")
    >>> screen = pd.DataFrame(
    ...     {"stimulus_id": ["s"], "width_px": [100], "height_px": [100]}
    ... )
    >>> table = score_scanpaths(model, people, screen, measures=["dtw_px"], chance=())
    >>> table[["model", "value"]].values.tolist()
    [['model', 5.0], ['human', 10.0]]
    """
    for name in chance:
        check_option("chance", name, tuple(CHANCES))
    trials = scanpath_trials(
        pred,
        human,
        stimuli,
        measures=measures,
        settings=settings,
        chance=chance,
        skip_first=skip_first,
        seed=seed,
    )
    return summarise_trials(trials, measures, seed=seed, n_bootstrap=n_bootstrap)


def scanpath_trials(
    pred: pd.DataFrame,
    human: pd.DataFrame,
    stimuli: pd.DataFrame,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    settings: MeasureSettings | None = None,
    chance: Sequence[str] = ("shuffled", "uniform"),
    skip_first: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare models, people and chance with each human trial.

    Parameters
    ----------
    pred, human, stimuli : DataFrame
        As in `score_scanpaths`.
    measures : sequence of str
        As in `score_scanpaths`.
    settings : MeasureSettings, optional
        As in `score_scanpaths`.
    chance : sequence of {"shuffled", "uniform"}
        As in `score_scanpaths`.
    skip_first : bool, default False
        As in `score_scanpaths`.
    seed : int, default 0
        As in `score_scanpaths`.

    Returns
    -------
    DataFrame
        One row per model and human trial: `model`, `subject`, `stimulus_id`,
        `trial`, `n_pairs`, and per measure its mean over the pairs and (under
        ``n_undefined <measure>``) how many pairs had no value.

    Raises
    ------
    ValueError
        As in `score_scanpaths`.
    """
    for name in measures:
        check_option("measures", name, tuple(MEASURES))
    settings = settings or MeasureSettings()
    screens = _screens(stimuli)
    people = _gather("human", human, screens, skip_first)
    models = _gather("pred", pred, screens, skip_first)
    names = list(dict.fromkeys(models.keys["subject"]))
    for name in (HUMAN_MODEL, *CHANCES.values()):
        if name in names:
            raise ValueError(f"`pred` has a model called {name!r}: rename it.")
    if not set(models.keys["stimulus_id"]) & set(people.keys["stimulus_id"]):
        raise ValueError(
            "`pred` and `human` share no stimulus_id: pred has "
            f"{models.keys['stimulus_id'].iloc[0]!r}, human "
            f"{people.keys['stimulus_id'].iloc[0]!r}."
        )
    parts = []
    for name in names:
        rows = np.flatnonzero((models.keys["subject"] == name).to_numpy())
        one = models.select(rows)
        pairs = _same_stimulus(one.keys, people.keys)
        parts.append(_compare(name, one, people, pairs, screens, measures, settings))
    pairs = _same_stimulus(people.keys, people.keys)
    subject = people.keys["subject"].to_numpy()
    pairs = pairs[subject[pairs[:, 0]] != subject[pairs[:, 1]]]
    parts.append(
        _compare(HUMAN_MODEL, people, people, pairs, screens, measures, settings)
    )
    for kind in chance:
        drawn, pairs = _draw_chance(kind, people, screens, seed)
        parts.append(
            _compare(CHANCES[kind], drawn, people, pairs, screens, measures, settings)
        )
    return pd.concat(parts, ignore_index=True)


def summarise_trials(
    trials: pd.DataFrame,
    measures: Sequence[str],
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Average over human trials, with intervals over stimuli.

    Parameters
    ----------
    trials : DataFrame
        What `scanpath_trials` returned.
    measures : sequence of str
        Measures to summarise.
    seed : int, default 0
        Seed of the bootstrap.
    n_bootstrap : int, default 1000
        Resamples of stimuli; below 2 there are no intervals.

    Returns
    -------
    DataFrame
        As from `score_scanpaths`.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_between("n_bootstrap", n_bootstrap, low=0)
    check_columns("trials", trials.columns, ["model", *_KEYS, "n_pairs", *measures])
    rows = []
    for measure in measures:
        kind = MEASURES[measure]
        ceiling = trials.loc[trials["model"] == HUMAN_MODEL, measure].mean()
        for model, part in trials.groupby("model", sort=False):
            low, high = _interval(part, measure, seed, n_bootstrap)
            value = part[measure].mean()
            ratio = value / ceiling if kind.more_is_better and ceiling else np.nan
            rows.append(
                {
                    "model": model,
                    "subject": "mean of observers",
                    "metric": measure,
                    "value": value,
                    "ci_low": low,
                    "ci_high": high,
                    "n": int(part[measure].notna().sum()),
                    "ceiling_low": ceiling,
                    "value_over_ceiling": ratio,
                    "seed": seed,
                    "unit": kind.unit,
                    "ceiling_kind": LEAVE_ONE_OUT,
                    "n_trials": len(part),
                    "n_pairs": int(part["n_pairs"].sum()),
                    "n_undefined": int(part[f"n_undefined {measure}"].sum()),
                }
            )
    columns = [*SCORE_COLUMNS, "n_trials", "n_pairs", "n_undefined"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _interval(
    part: pd.DataFrame, measure: str, seed: int, n_bootstrap: int
) -> tuple[float, float]:
    """95 % interval of the mean over trials when stimuli are resampled."""
    known = part.loc[part[measure].notna()]
    groups = known.groupby("stimulus_id", sort=True)[measure]
    sums, counts = groups.sum().to_numpy(), groups.size().to_numpy()
    if len(sums) < 2 or n_bootstrap < 2:
        return np.nan, np.nan
    draw = generator(seed, "scanpath bootstrap")
    picks = draw.integers(len(sums), size=(n_bootstrap, len(sums)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = percentile_interval(means)
    return float(low), float(high)


def _screens(stimuli: pd.DataFrame) -> pd.DataFrame:
    check_columns("stimuli", stimuli.columns, ["stimulus_id", "width_px", "height_px"])
    screens = stimuli.set_index("stimulus_id")[["width_px", "height_px"]]
    if screens.index.has_duplicates:
        again = screens.index[screens.index.duplicated()][0]
        raise ValueError(f"`stimuli` repeats stimulus_id {again!r}.")
    if not (screens > 0).all(axis=None):
        raise ValueError("`stimuli` needs width_px and height_px above 0.")
    return screens.astype(np.float64)


def _gather(
    name: str, table: pd.DataFrame, screens: pd.DataFrame, skip_first: bool
) -> _Paths:
    """Turn a fixation table into scanpaths with keys."""
    check_columns(name, table.columns, FIXATION_COLUMNS)
    if len(table) == 0:
        raise ValueError(f"`{name}` is empty: at least one scanpath is needed.")
    if "trial" not in table.columns:
        table = table.assign(trial=0)
    lost = set(table["stimulus_id"]) - set(screens.index)
    if lost:
        raise ValueError(
            f"`{name}` has stimulus_id {sorted(lost)[0]!r}, which `stimuli` lacks."
        )
    paths, keys = scanpaths_from_table(table, _KEYS)
    limits = np.full(len(paths), np.inf)
    if "max_fixations" in table.columns:
        first = table.groupby(_KEYS, sort=False)["max_fixations"].first()
        limits = first.to_numpy(np.float64)
    if skip_first:
        paths, limits = _without_first(paths), np.maximum(limits - 1, 1)
    return _Paths(paths, keys, limits)


def _without_first(paths: ScanpathSet) -> ScanpathSet:
    """Drop the given fixation of scanpaths that have another."""
    arrays = []
    longer = paths.n_fixations > 1
    for array in (paths.x_px, paths.y_px, paths.duration_ms):
        moved = array.copy()
        moved[longer, :-1] = array[longer, 1:]
        moved[longer, -1] = np.nan
        arrays.append(moved)
    x, y, duration = arrays
    return ScanpathSet(x, y, duration, paths.n_fixations - longer)


def _same_stimulus(pred: pd.DataFrame, human: pd.DataFrame) -> NDArray[np.int64]:
    """Pairs of scanpaths on the same stimulus, by human scanpath."""
    left = pred[["stimulus_id"]].assign(pred=np.arange(len(pred)))
    right = human[["stimulus_id"]].assign(human=np.arange(len(human)))
    both = right.merge(left, on="stimulus_id")
    return both[["pred", "human"]].to_numpy(np.int64)


def _compare(
    name: str,
    pred: _Paths,
    human: _Paths,
    pairs: NDArray[np.int64],
    screens: pd.DataFrame,
    measures: Sequence[str],
    settings: MeasureSettings,
) -> pd.DataFrame:
    """Measure pairs and average them within each human trial."""
    values = np.full((len(pairs), len(measures)), np.nan)
    for rows, limit, size in _groups(pred, human, pairs, screens):
        one, other = pred.paths, human.paths
        if np.isfinite(limit):
            one, other = one.cut(int(limit)), other.cut(int(limit))
        values[rows] = score_pairs(
            one, other, pairs[rows], measures, screen_px=size, settings=settings
        )
    human_row = pairs[:, 1]
    # People without another observer stay, undefined.
    is_human = name == HUMAN_MODEL
    kept = np.arange(len(human.keys)) if is_human else np.unique(human_row)
    place = np.searchsorted(kept, human_row)
    n_pairs = np.bincount(place, minlength=len(kept))
    table = human.keys.iloc[kept].reset_index(drop=True)
    table = table.assign(model=name, n_pairs=n_pairs)
    for column, measure in enumerate(measures):
        known = ~np.isnan(values[:, column])
        n_known = np.bincount(place[known], minlength=len(kept))
        sums = np.bincount(
            place[known], weights=values[known, column], minlength=len(kept)
        )
        mean = np.full(len(kept), np.nan)
        np.divide(sums, n_known, out=mean, where=n_known > 0)
        table[measure] = mean
        table[f"n_undefined {measure}"] = n_pairs - n_known
    return table


def _groups(
    pred: _Paths, human: _Paths, pairs: NDArray[np.int64], screens: pd.DataFrame
) -> Iterator[tuple[NDArray[np.intp], float, tuple[float, float]]]:
    """Split pairs into those of one screen size and one limit."""
    if len(pairs) == 0:
        return
    limits = np.minimum(pred.limits[pairs[:, 0]], human.limits[pairs[:, 1]])
    sizes = screens.loc[human.keys["stimulus_id"]].to_numpy()[pairs[:, 1]]
    kinds, group = np.unique(
        np.column_stack([limits, sizes]), axis=0, return_inverse=True
    )
    for index, (limit, width, height) in enumerate(kinds):
        yield np.flatnonzero(group.ravel() == index), limit, (width, height)


def _draw_chance(
    kind: str, people: _Paths, screens: pd.DataFrame, seed: int
) -> tuple[_Paths, NDArray[np.int64]]:
    """Scanpaths that know nothing of the stimulus, and the trials they face."""
    n = len(people.keys)
    draw = generator(seed, "scanpath chance", kind)
    ids = people.keys["stimulus_id"]
    stimulus, subject = (pd.factorize(people.keys[k])[0] for k in _KEYS[:2])
    picks, trials = [], []
    for trial in range(n):
        apart = stimulus != stimulus[trial]
        if kind == "shuffled":
            apart &= subject != subject[trial]
        others = np.flatnonzero(apart)
        if len(others):
            picks.append(draw.choice(others, CHANCE_DRAWS))
            trials.append(np.full(CHANCE_DRAWS, trial))
    if not picks:
        none = np.zeros(0, np.intp)
        return people.select(none), np.zeros((0, 2), np.int64)
    index, human = np.concatenate(picks), np.concatenate(trials)
    drawn = people.select(index)
    here = screens.loc[ids.iloc[human]].to_numpy()
    there = screens.loc[ids.iloc[index]].to_numpy()
    paths = drawn.paths
    if kind == "uniform":
        spread = draw.random((2, *paths.x_px.shape)) * here.T[..., None]
        inside = np.arange(paths.x_px.shape[1]) < paths.n_fixations[:, None]
        x, y = np.where(inside, spread, np.nan)
    else:
        scale = here / there
        x, y = paths.x_px * scale[:, :1], paths.y_px * scale[:, 1:]
    moved = ScanpathSet(x, y, paths.duration_ms, paths.n_fixations)
    pairs = np.column_stack([np.arange(len(index)), human]).astype(np.int64)
    return _Paths(moved, drawn.keys, drawn.limits), pairs
