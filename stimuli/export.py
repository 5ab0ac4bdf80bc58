"""Stimulus sets for other programs: PsychoPy conditions, BIDS stimuli.

An export is whole or absent: the folder appears when everything in it is written.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_whole
from neurovis.core.files import atomic_folder, write_json, write_text
from neurovis.core.pictures import write_png
from neurovis.core.types import PATH_COLUMNS, StimulusSet
from stimuli.choice_trials import PICTURE_COLUMNS, draw_orders, make_choice_trials
from stimuli.save import check_file_names, picture_hash

_DESCRIPTIONS = {
    "area_bottom_px": "Bottom edge of the area where a landing counts as found",
    "area_left_px": "Left edge of the area where a landing counts as found",
    "area_right_px": "Right edge of the area where a landing counts as found",
    "area_top_px": "Top edge of the area where a landing counts as found",
    "background": "Grey level around and between items, 0 to 255",
    "background_rgb": "Colour around and between items, hexadecimal RGB",
    "cell_px": "Side of a cell of the grid",
    "condition": "Condition of the experiment",
    "eccentricity_deg": "Distance of the items from the centre of the display",
    "experiment": "Number of the experiment",
    "experiment_name": "Name of the experiment",
    "foreground_rgb": "Colour of the items, hexadecimal RGB",
    "grid": "Cells per side of the display",
    "height_px": "Height of the picture",
    "item_deg": "Side of the square box of an item",
    "items": "All items in order of placement, as JSON",
    "jpeg": "Whether the picture went through JPEG compression",
    "label": "Name of the condition in figures",
    "layout": "Arrangement of the items: grid or ring",
    "paradigm": "Paradigm of the experiment",
    "px_per_deg": "Pixels per degree of visual angle",
    "rendering": "How items are drawn: published raster, or smooth",
    "seed": "Seed of the random numbers",
    "set_size": "Number of items, target included",
    "target_height_px": "Height of the box of the target",
    "target_kind": "Kind of the target",
    "target_left_px": "Left edge of the box of the target",
    "target_top_px": "Top edge of the box of the target",
    "target_version": "Version of the target: its orientation",
    "target_width_px": "Width of the box of the target",
    "target_x_deg": "Centre of the target, rightwards from the centre of the display",
    "target_y_deg": "Centre of the target, upwards from the centre of the display",
    "trial": "Number of the trial within condition and set size, from 0",
    "width_deg": "Width of the picture",
    "width_px": "Width of the picture",
}
_UNITS = {"px_per_deg": "px/deg"}
_UNIT_OF_SUFFIX = {"_px": "px", "_deg": "deg", "_ms": "ms", "_s": "s", "_hz": "Hz"}


def export_psychopy(
    stimuli: StimulusSet,
    folder: str | Path,
    *,
    corr_ans: str | Sequence[str] = "space",
) -> Path:
    """Write pictures and a conditions file for PsychoPy's TrialHandler.

    ``conditions.csv`` has one row per trial. `image_file` and `target_file` are paths
    relative to the folder, `corrAns` is the key that counts as correct, and the other
    columns are those of the table, with `trial` as `trial_number` (Builder calls a
    routine "trial"). Text that PsychoPy would run as a Python list, such as `items`,
    is left out.

    Parameters
    ----------
    stimuli : StimulusSet
        What to export.
    folder : str or Path
        Folder to make.
    corr_ans : str or sequence of str, default "space"
        Name of the key, one for all trials or one per trial.

    Returns
    -------
    Path
        The conditions file.

    Raises
    ------
    FileExistsError
        If something is at `folder`.
    ValueError
        If an identity cannot name a file, `corr_ans` has another length, or two
        columns have the same name for PsychoPy.

    Examples
    --------
    >>> import tempfile
    >>> from stimuli.search_arrays import make_search_arrays
    >>> made = make_search_arrays("Ts", set_sizes=[3], trials=1)
    >>> path = export_psychopy(made, Path(tempfile.mkdtemp()) / "psychopy")
    >>> path.read_text().splitlines()[1][:34]
    'Ts_n03_t000,images/Ts_n03_t000.png'
    """
    identities = stimuli.table["stimulus_id"].tolist()
    check_file_names(identities)
    answers = [corr_ans] * len(stimuli) if isinstance(corr_ans, str) else list(corr_ans)
    if len(answers) != len(stimuli):
        raise ValueError(
            f"`corr_ans` has {len(answers)} keys but there are {len(stimuli)} trials."
        )
    table = stimuli.table.drop(columns=["stimulus_id", *PATH_COLUMNS], errors="ignore")
    table = table[[name for name in table.columns if not _has_lists(table[name])]]
    table = table.rename(columns={"trial": "trial_number"})
    table = table.rename(columns={name: _variable_name(name) for name in table.columns})
    first = pd.DataFrame(
        {
            "stimulus_id": identities,
            "image_file": [f"images/{identity}.png" for identity in identities],
        }
    )
    targets = _target_names(stimuli)
    if targets:
        first["target_file"] = [f"targets/{name}.png" for name in targets]
    first["corrAns"] = answers
    conditions = pd.concat([first, table.reset_index(drop=True)], axis=1)
    _check_unique(conditions)

    folder = Path(folder)
    with atomic_folder(folder) as part:
        _write_pictures(part, first["image_file"].tolist(), stimuli.images)
        if stimuli.targets is not None:
            _write_pictures(part, first["target_file"].tolist(), stimuli.targets)
        text = conditions.apply(_plain_text).to_csv(index=False, lineterminator="\n")
        write_text(part / "conditions.csv", text)
    return folder / "conditions.csv"


def export_psychopy_choices(
    stimuli: StimulusSet,
    folder: str | Path,
    *,
    task: str,
    answer_column: str | None = None,
    groups: pd.DataFrame | None = None,
    keys: Mapping[str, str] | None = None,
    n_repeats: int = 1,
    keep: Sequence[str] | None = None,
    seed: int = 0,
) -> Path:
    """Write pictures and a conditions file for a choice experiment in PsychoPy.

    The tasks are those of `stimuli.jspsych.export_jspsych`. ``conditions.csv`` has one
    row per trial: `stimulus_id`, `picture_1` ... (identities from left to right),
    `image_file_1` ... (paths relative to the folder), `keys` (what each key means),
    `truth`, `corrAns` and the factors. PsychoPy repeats the columns in its results, so
    that `data_loaders.psychopy_results.load_psychopy` knows what an answer means.

    Parameters
    ----------
    stimuli : StimulusSet
        What to export.
    folder : str or Path
        Folder to make.
    task : {"2afc", "search", "odd-one-out"}
        What people do.
    answer_column : str, optional
        As `stimuli.choice_trials.make_choice_trials`.
    groups : DataFrame, optional
        As `make_choice_trials`.
    keys : mapping of str to str, optional
        As `make_choice_trials`.
    n_repeats : int, default 1
        Rows per trial, with pictures in other places where there are several.
    keep : sequence of str, optional
        As `make_choice_trials`.
    seed : int, default 0
        Of the places. The order is left to PsychoPy.

    Returns
    -------
    Path
        The conditions file.

    Raises
    ------
    FileExistsError
        If something is at `folder`.
    ValueError
        As `make_choice_trials`, or if two columns have the same name for PsychoPy.

    Examples
    --------
    >>> import tempfile
    >>> from stimuli.slope_arrays import make_slope_arrays
    >>> made = make_slope_arrays("feature", set_sizes=[3], trials=1)
    >>> folder = Path(tempfile.mkdtemp()) / "psychopy"
    >>> path = export_psychopy_choices(made, folder, task="search")
    >>> pd.read_csv(path)[["keys", "truth", "corrAns"]].values.tolist()[0]
    ['f:absent|j:present', 'present', 'j']
    """
    identities = stimuli.table["stimulus_id"].astype(str).tolist()
    check_file_names(identities)
    check_whole("n_repeats", n_repeats, low=1)
    files = [f"image_file_{i + 1}" for i in range(len(PICTURE_COLUMNS))]
    own = (*PICTURE_COLUMNS, *files, "trial", "keys", "truth", "corrAns")
    trials = make_choice_trials(
        stimuli,
        task,
        answer_column=answer_column,
        groups=groups,
        keys=keys,
        keep=keep,
        reserved=own,
    )
    n = trials.n_pictures
    order = draw_orders(len(trials), n, n_repeats=n_repeats, seed=seed)[0]
    places = list(itertools.permutations(range(n)))
    rows = []
    for number, arrangement in sorted(order):
        shown = [identities[trials.pictures[number][i]] for i in places[arrangement]]
        truth = trials.table["truth"].iloc[number]
        answers = shown if n > 1 else list(trials.keys)
        right = [
            k for a, k in zip(answers, trials.keys.values(), strict=True) if a == truth
        ]
        rows.append(
            {"stimulus_id": trials.table["stimulus_id"].iloc[number]}
            | dict(zip(PICTURE_COLUMNS, shown, strict=False))
            | {name: f"images/{i}.png" for name, i in zip(files, shown, strict=False)}
            | {"keys": trials.key_text, "truth": truth, "corrAns": "".join(right)}
        )
    factors = trials.table[trials.factors].iloc[[number for number, _ in sorted(order)]]
    factors = factors.rename(columns={c: _variable_name(c) for c in factors.columns})
    conditions = pd.concat([pd.DataFrame(rows), factors.reset_index(drop=True)], axis=1)
    _check_unique(conditions)

    folder = Path(folder)
    with atomic_folder(folder) as part:
        for i in sorted({i for shown in trials.pictures for i in shown}):
            write_png(part / "images" / f"{identities[i]}.png", stimuli.load(i))
        text = conditions.apply(_plain_text).to_csv(index=False, lineterminator="\n")
        write_text(part / "conditions.csv", text)
    return folder / "conditions.csv"


def export_bids(
    stimuli: StimulusSet,
    folder: str | Path,
    *,
    descriptions: Mapping[str, str] | None = None,
) -> Path:
    r"""Write the ``stimuli`` folder of a BIDS dataset.

    Pictures are named ``stim-<label>_image.png``; a label is the identity with only
    its letters and digits. ``stimuli.tsv`` has one row per picture, target pictures
    after the displays; `stim_id` in ``events.tsv`` refers to its first column.
    ``stimuli.json`` describes the columns.

    Parameters
    ----------
    stimuli : StimulusSet
        What to export.
    folder : str or Path
        Folder to make, such as ``dataset/stimuli``.
    descriptions : mapping of str to str, optional
        What columns of the table mean, for columns of your own.

    Returns
    -------
    Path
        The table, ``stimuli.tsv``.

    Raises
    ------
    FileExistsError
        If something is at `folder`.
    ValueError
        If two identities have the same letters and digits.

    References
    ----------
    Brain Imaging Data Structure, "Stimuli" (modality-agnostic files).

    Examples
    --------
    >>> import tempfile
    >>> from stimuli.search_arrays import make_search_arrays
    >>> made = make_search_arrays("Ts", set_sizes=[3], trials=1)
    >>> path = export_bids(made, Path(tempfile.mkdtemp()) / "stimuli")
    >>> path.read_text().splitlines()[1].split("\t")[:3]
    ['stim-Tsn03t000', 'image', 'true']
    """
    labels = [re.sub("[^A-Za-z0-9]", "", str(i)) for i in stimuli.table["stimulus_id"]]
    for label, count in Counter(label.lower() for label in labels).items():
        if count > 1 or not label:
            raise ValueError(
                f"BIDS labels keep letters and digits only: {label!r} would stand for "
                f"{count} values of `stimulus_id`. Rename them."
            )
    table = stimuli.table.drop(columns=["stimulus_id", *PATH_COLUMNS], errors="ignore")
    table = table.reset_index(drop=True)
    first = pd.DataFrame({"stimulus_id": [f"stim-{label}" for label in labels]})
    first["type"] = "image"
    first["present"] = True
    first["original_id"] = stimuli.table["stimulus_id"].tolist()
    targets = [f"stim-target{name}" for name in _target_names(stimuli)]
    if targets:
        first["target_stimulus_id"] = targets
    rows = pd.concat([first, table], axis=1)
    _check_unique(rows)
    distinct = pd.DataFrame({"stimulus_id": list(dict.fromkeys(targets))})
    columns = _sidecar(rows, descriptions or {})

    folder = Path(folder)
    with atomic_folder(folder) as part:
        _write_pictures(part, _bids_files(first["stimulus_id"]), stimuli.images)
        if stimuli.targets is not None:
            _write_pictures(part, _bids_files(targets), stimuli.targets)
        lines = ["\t".join(rows.columns), *_tsv_lines(rows)]
        extra = distinct.assign(type="image", present=True).reindex(
            columns=rows.columns
        )
        write_text(part / "stimuli.tsv", "\n".join([*lines, *_tsv_lines(extra)]) + "\n")
        write_json(part / "stimuli.json", columns)
    return folder / "stimuli.tsv"


# ------------------------------------------------------------------- pictures


def _target_names(stimuli: StimulusSet) -> list[str]:
    """Name of each target by its content, so that equal targets are one file."""
    if stimuli.targets is None:
        return []
    return [picture_hash(target)[:16] for target in stimuli.targets]


def _write_pictures(
    folder: Path, names: Sequence[str], pictures: Sequence[NDArray[np.uint8]]
) -> None:
    for i, name in enumerate(names):
        if not (folder / name).exists():
            write_png(folder / name, pictures[i])


def _bids_files(identities: Iterable[str]) -> list[str]:
    return [f"{identity}_image.png" for identity in identities]


# ---------------------------------------------------------------------- tables


def _check_unique(table: pd.DataFrame) -> None:
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise ValueError(
            f"The exported table would have the column {repeated[0]!r} twice: rename "
            "the column of `stimuli.table`."
        )


def _has_lists(column: pd.Series) -> bool:
    return any(isinstance(v, str) and v.strip().startswith("[") for v in column)


def _variable_name(name: str) -> str:
    name = re.sub(r"\W", "_", name)
    return name if name[:1].isalpha() else f"x_{name}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _inert(value: object) -> object:
    """Keep spreadsheets from running text as a formula; numbers stay as they are."""
    if (
        isinstance(value, str)
        and value[:1] in "=+-@"
        and value
        and not _is_number(value)
    ):
        return "'" + value
    return value


def _plain_text(column: pd.Series) -> pd.Series:
    return column if pd.api.types.is_numeric_dtype(column) else column.map(_inert)


def _tsv_lines(table: pd.DataFrame) -> list[str]:
    """BIDS cells: n/a for undefined, true and false, no tab or line end in a cell."""

    def cell(value: object) -> str:
        if value is None or value != value:
            return "n/a"
        if isinstance(value, bool | np.bool_):
            return str(value).lower()
        return re.sub(r"[\t\r\n]+", " ", str(_inert(value))) or "n/a"

    columns = [[cell(v) for v in table[name].tolist()] for name in table.columns]
    return ["\t".join(cells) for cells in zip(*columns, strict=True)]


def _sidecar(
    table: pd.DataFrame, descriptions: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    own = {
        "stimulus_id": "Identity of the stimulus; begins the name of its file",
        "type": "Kind of stimulus",
        "present": "Whether the file is in this folder",
        "original_id": "Identity of the stimulus in the set that was exported",
        "target_stimulus_id": "Picture of what must be found in this display",
    }
    known = _DESCRIPTIONS | dict(descriptions) | own
    columns = {}
    for name in table.columns:
        text = known.get(name, f"Factor of the design: {name.replace('_', ' ')}")
        columns[name] = {"Description": text}
        suffix = re.search("_[a-z]+$", name)
        unit = _UNITS.get(name) or _UNIT_OF_SUFFIX.get(suffix[0] if suffix else "")
        if unit:
            columns[name]["Units"] = unit
    return columns
