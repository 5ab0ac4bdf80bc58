"""ABX experiments: two pictures, then one of them again, to be named by its place.

With pictures of a model of pooling, and the scale of its windows as the variable, this
measures the critical scale of an observer (see `analysis.critical_scale`).

References
----------
Freeman and Simoncelli (2011). Metamers of the ventral stream. Nature Neuroscience
14:1195-1201. doi:10.1038/nn.2889.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neurovis.core.checks import (
    check_between,
    check_columns,
    check_option,
    check_whole,
)
from neurovis.core.files import atomic_folder, write_json, write_text
from neurovis.core.pictures import write_png
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.save import check_file_names

COMPARISONS = ("original-sample", "sample-sample")
"""A sample of a model with its original picture, or with another sample of it."""

PICTURE_COLUMNS = ("stimulus_id", "image", "kind", "scale")
"""Columns of a table of pictures for ABX."""

TRIAL_COLUMNS = (
    "trial",
    "comparison",
    "image",
    "scale",
    "a",
    "b",
    "x",
    "correct",
    "first_in_pair",
)
"""Columns of a table of ABX trials."""

# Which of a pair is shown first, and which of the two shown comes again.
_VERSIONS = ((0, "a"), (0, "b"), (1, "a"), (1, "b"))


@dataclass(frozen=True)
class AbxTiming:
    """Durations of an ABX trial, in ms; the defaults are those of the paper.

    Parameters
    ----------
    picture_ms : float, default 200
        How long each of the three pictures is shown, > 0.
    gap_ms : float, default 500
        Blank between the first two.
    gap_x_ms : float, default 1000
        Blank before the third.

    Raises
    ------
    TypeError, ValueError
        If a duration is out of range.

    References
    ----------
    Freeman and Simoncelli (2011), doi:10.1038/nn.2889, online methods.
    """

    picture_ms: float = 200
    gap_ms: float = 500
    gap_x_ms: float = 1000

    def __post_init__(self) -> None:
        check_between("picture_ms", self.picture_ms, low=1)
        check_between("gap_ms", self.gap_ms, low=0)
        check_between("gap_x_ms", self.gap_x_ms, low=0)


def make_abx_trials(
    pictures: pd.DataFrame,
    *,
    comparisons: Sequence[str] = COMPARISONS,
    n_per_pair: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """Plan the trials of an ABX experiment.

    For each base picture and scale, "original-sample" pairs the original with each
    sample, and "sample-sample" the samples with each other. A pair has four versions:
    either member comes first, and either comes again. With fewer trials per pair the
    versions are spread evenly over the pairs of a comparison and scale.

    Parameters
    ----------
    pictures : DataFrame
        One row per picture: `stimulus_id` (str, unique), `image` (base picture),
        `kind` ("original" or "sample") and `scale` (of the windows that made a
        sample, > 0; any for originals). Samples of one image and scale come from
        different seeds. Other columns do not matter.
    comparisons : sequence of str, default `COMPARISONS`
        Which comparisons to make.
    n_per_pair : int, default 4
        Trials per pair; a multiple of 4 is counterbalanced within each pair.
    seed : int, default 0
        Seed of the order and of the spread of versions, such as the number of the
        observer.

    Returns
    -------
    DataFrame
        One row per trial in random order, with `TRIAL_COLUMNS`: `trial` (from 0),
        `a`, `b`, `x` (identities; x equals a or b), `correct` ("a" or "b") and
        `first_in_pair` (identity that stands first in the pair: the original, or the
        sample that is listed first).

    Raises
    ------
    TypeError, ValueError
        If a column is missing, an identity repeats, a comparison or kind is unknown,
        an image has no original or two, or there is no pair to compare.

    Examples
    --------
    >>> pictures = pd.DataFrame(
    ...     {
    ...         "stimulus_id": ["sea", "sea-1", "sea-2"],
    ...         "image": "sea",
    ...         "kind": ["original", "sample", "sample"],
    ...         "scale": [0.0, 0.5, 0.5],
    ...     }
    ... )
    >>> trials = make_abx_trials(pictures)
    >>> trials["comparison"].value_counts().to_dict()
    {'original-sample': 8, 'sample-sample': 4}
    """
    for name in comparisons:
        check_option("comparisons", name, COMPARISONS)
    n_per_pair = check_whole("n_per_pair", n_per_pair, low=1)
    pairs = _make_pairs(_check_pictures(pictures), comparisons)
    if not pairs:
        raise ValueError(
            "`pictures` has no pair to compare: 'original-sample' needs the original "
            "and a sample of an image, 'sample-sample' two samples of one image and "
            "scale."
        )
    rng = generator(seed, "abx trials")
    cells: dict[tuple[str, float], list[_Pair]] = {}
    for pair in pairs:
        cells.setdefault((pair.comparison, pair.scale), []).append(pair)
    rows = []
    for (comparison, scale), listed in cells.items():
        start = int(rng.integers(4))
        for i in rng.permutation(len(listed)):
            both = listed[i].both
            for _ in range(n_per_pair):
                first, correct = _VERSIONS[start % 4]
                start += 1
                a, b = both[first], both[1 - first]
                x = a if correct == "a" else b
                what = (comparison, listed[i].image, scale)
                rows.append((*what, a, b, x, correct, both[0]))
    order = rng.permutation(len(rows))
    table = pd.DataFrame([rows[i] for i in order], columns=list(TRIAL_COLUMNS[1:]))
    table.insert(0, "trial", np.arange(len(table)))
    return table


def export_abx_psychopy(
    trials: pd.DataFrame,
    stimuli: StimulusSet,
    folder: str | Path,
    *,
    keys: tuple[str, str] = ("1", "2"),
    timing: AbxTiming | None = None,
) -> Path:
    """Write pictures and a conditions file for PsychoPy's TrialHandler.

    Parameters
    ----------
    trials : DataFrame
        From `make_abx_trials`.
    stimuli : StimulusSet
        The pictures; those that no trial shows are left out.
    folder : str or Path
        Folder to make.
    keys : tuple of str, default ("1", "2")
        Keys for "it was the first" and "it was the second".
    timing : AbxTiming, optional
        Durations; those of the paper by default.

    Returns
    -------
    Path
        ``conditions.csv``, one row per trial in the order of `trials`: `a_file`,
        `b_file`, `x_file` (relative to the folder), `corrAns`, `picture_s`, `gap_s`,
        `gap_x_s`, `trial_number`, `comparison`, `image`, `scale`, `correct`.

    Raises
    ------
    FileExistsError
        If something is at `folder`.
    TypeError, ValueError
        If a column is missing, a picture is not among `stimuli`, or a name cannot be
        that of a file.
    """
    timing = timing or AbxTiming()
    _check_keys(keys)
    shown = _check_trials(trials, stimuli)
    table = pd.DataFrame({f"{c}_file": [_file(i) for i in trials[c]] for c in "abx"})
    table["corrAns"] = [keys["ab".index(c)] for c in trials["correct"]]
    table["picture_s"] = timing.picture_ms / 1000
    table["gap_s"] = timing.gap_ms / 1000
    table["gap_x_s"] = timing.gap_x_ms / 1000
    # Builder calls a routine "trial".
    table["trial_number"] = trials["trial"].to_numpy()
    for name in ("comparison", "image", "scale", "correct"):
        table[name] = trials[name].to_numpy()
    folder = Path(folder)
    with atomic_folder(folder) as part:
        _write_pictures(part, shown, stimuli)
        text = table.to_csv(index=False, lineterminator="\n")
        write_text(part / "conditions.csv", text)
    return folder / "conditions.csv"


def export_abx_jspsych(
    trials: pd.DataFrame,
    stimuli: StimulusSet,
    folder: str | Path,
    *,
    keys: tuple[str, str] = ("1", "2"),
    timing: AbxTiming | None = None,
) -> Path:
    """Write pictures and a timeline for jsPsych 7 or later.

    Parameters
    ----------
    trials : DataFrame
        From `make_abx_trials`.
    stimuli : StimulusSet
        The pictures; those that no trial shows are left out.
    folder : str or Path
        Folder to make.
    keys : tuple of str, default ("1", "2")
        Keys for "it was the first" and "it was the second".
    timing : AbxTiming, optional
        Durations; those of the paper by default.

    Returns
    -------
    Path
        ``timeline.json``: `preload` (files), and `timeline`, whose entries have the
        properties of the plugin that `type` names. A page replaces the names by the
        plugins themselves, which JSON cannot hold. The data of each answer have
        `task` "abx", `correct_response` and the columns of the trial.

    Raises
    ------
    FileExistsError
        If something is at `folder`.
    TypeError, ValueError
        As `export_abx_psychopy`.
    """
    timing = timing or AbxTiming()
    _check_keys(keys)
    shown = _check_trials(trials, stimuli)
    timeline: list[dict[str, Any]] = []
    for row in trials[list(TRIAL_COLUMNS)].to_dict("records"):
        timeline += [
            _picture(row["a"], timing),
            _blank(timing.gap_ms),
            _picture(row["b"], timing),
            _blank(timing.gap_x_ms),
            _picture(row["x"], timing),
        ]
        answer = keys["ab".index(row["correct"])]
        timeline.append(
            {
                "type": "jsPsychHtmlKeyboardResponse",
                "stimulus": f"<p>{keys[0]}: first &nbsp; {keys[1]}: second</p>",
                "choices": list(keys),
                "data": {"task": "abx", "correct_response": answer, **row},
            }
        )
    folder = Path(folder)
    with atomic_folder(folder) as part:
        _write_pictures(part, shown, stimuli)
        content = {"preload": [_file(i) for i in shown], "timeline": timeline}
        write_json(part / "timeline.json", content)
    return folder / "timeline.json"


# --------------------------------------------------------------------- design


def _check_pictures(pictures: pd.DataFrame) -> pd.DataFrame:
    check_columns("pictures", pictures.columns, PICTURE_COLUMNS)
    repeated = pictures["stimulus_id"][pictures["stimulus_id"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"`pictures` repeats stimulus_id {repeated.iloc[0]!r}: identities must be "
            "unique."
        )
    for kind in pictures["kind"].unique():
        check_option("kind", kind, ("original", "sample"))
    samples = pictures[pictures["kind"] == "sample"]
    if not (pd.to_numeric(samples["scale"], errors="coerce") > 0).all():
        raise ValueError("`scale` must be a number above 0 for every sample.")
    return pictures


class _Pair(NamedTuple):
    """Two pictures to compare."""

    comparison: str
    image: str
    scale: float
    both: tuple[str, str]


def _make_pairs(pictures: pd.DataFrame, comparisons: Sequence[str]) -> list[_Pair]:
    pairs = []
    is_original = pictures["kind"] == "original"
    originals = pictures[is_original].groupby("image")["stimulus_id"].agg(list)
    samples = pictures[~is_original].groupby(["image", "scale"], sort=True)
    for key, group in samples:
        image, scale = str(key[0]), float(group["scale"].iloc[0])
        made = group["stimulus_id"].tolist()
        if COMPARISONS[0] in comparisons:
            whole = originals.get(key[0], [])
            if len(whole) != 1:
                raise ValueError(
                    f"'original-sample' needs one original of the image {image!r}; "
                    f"`pictures` has {len(whole)}."
                )
            pairs += [
                _Pair(COMPARISONS[0], image, scale, (whole[0], one)) for one in made
            ]
        if COMPARISONS[1] in comparisons:
            pairs += [
                _Pair(COMPARISONS[1], image, scale, (one, other))
                for i, one in enumerate(made)
                for other in made[i + 1 :]
            ]
    return pairs


# -------------------------------------------------------------------- exports


def _check_keys(keys: tuple[str, str]) -> None:
    if (
        len(keys) != 2
        or keys[0] == keys[1]
        or not all(isinstance(k, str) for k in keys)
    ):
        raise ValueError(f"`keys` must be two different names of keys; got {keys!r}.")


def _check_trials(trials: pd.DataFrame, stimuli: StimulusSet) -> list[str]:
    """Return the identities that are shown, in the order of the set."""
    check_columns("trials", trials.columns, TRIAL_COLUMNS)
    for answer in trials["correct"].unique():
        check_option("correct", answer, ("a", "b"))
    used = set(trials[["a", "b", "x"]].to_numpy().ravel())
    known = stimuli.table["stimulus_id"].tolist()
    absent = used - set(known)
    if absent:
        raise ValueError(
            f"`stimuli` lacks {len(absent)} of {len(used)} pictures of `trials`, such "
            f"as {min(absent)!r}."
        )
    for image in trials["image"].unique():
        if str(image)[:1] in "=+-@":  # a spreadsheet would run it as a formula
            raise ValueError(
                f"`image` must begin with a letter or digit; got {image!r}. Rename it."
            )
    shown = [identity for identity in known if identity in used]
    check_file_names(shown)
    return shown


def _file(identity: str) -> str:
    return f"images/{identity}.png"


def _write_pictures(
    folder: Path, identities: Sequence[str], stimuli: StimulusSet
) -> None:
    place = {name: i for i, name in enumerate(stimuli.table["stimulus_id"])}
    for identity in identities:
        write_png(folder / _file(identity), stimuli.load(place[identity]))


def _picture(identity: str, timing: AbxTiming) -> dict[str, Any]:
    return {
        "type": "jsPsychImageKeyboardResponse",
        "stimulus": _file(identity),
        "choices": "NO_KEYS",
        "trial_duration": timing.picture_ms,
    }


def _blank(duration_ms: float) -> dict[str, Any]:
    return {
        "type": "jsPsychHtmlKeyboardResponse",
        "stimulus": "",
        "choices": "NO_KEYS",
        "trial_duration": duration_ms,
    }
