"""What every loader of human gaze promises, whatever its files look like."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import pytest
from pandas.api.types import is_bool_dtype
from pandas.testing import assert_frame_equal

from analysis.scanpath_sets import scanpaths_from_table
from data_loaders.amazon_covers import load_amazon_covers
from data_loaders.coco_search import load_coco_search
from data_loaders.gaze import (
    STIMULUS_COLUMNS,
    TARGET_COLUMNS,
    GazeData,
    make_gaze_data,
)
from data_loaders.natural_search import load_natural_search
from data_loaders.osie import load_osie
from data_loaders.search_interiors import load_search_interiors
from neurovis.core.files import read_table, write_table
from neurovis.core.types import FIXATION_COLUMNS, TRIAL_COLUMNS

LOADERS = {
    "amazon_covers": (load_amazon_covers, "amazon_covers"),
    "osie": (load_osie, "osie"),
    "coco_search": (load_coco_search, "cocosearch18_val"),
    "search_interiors": (load_search_interiors, "search_interiors"),
    "natural_search": (load_natural_search, "visual_search"),
    "natural_search Waldo": (
        partial(load_natural_search, dataset="Waldo", observers=["human", "eccNET"]),
        "visual_search",
    ),
}
KEY = ["subject", "trial"]
POINT = ["x_px", "y_px"]


@dataclass
class Loaded:
    """Data of one loader, and copies of their tables as they came."""

    load: object
    data: GazeData
    before: dict = field(default_factory=dict)

    def __post_init__(self):
        self.before = {name: t.copy() for name, t in tables(self.data).items()}


def tables(data):
    return {
        "trials": data.trials,
        "fixations": data.fixations,
        "stimuli": data.stimuli,
    }


def assert_same(one, other):
    for name, table in tables(one).items():
        assert_frame_equal(table, tables(other)[name])


@pytest.fixture(scope="module")
def cache():
    return {}


@pytest.fixture(params=LOADERS)
def loaded(request, cache, data_folder):
    """Each loader's data, loaded once."""
    name = request.param
    if name not in cache:
        load, folder = LOADERS[name]
        load = partial(load, data_folder / folder)
        cache[name] = Loaded(load, load())
    return cache[name]


@pytest.fixture
def data(loaded):
    return loaded.data


# ------------------------------------------------------------------------ tables


def test_tables_begin_with_the_columns_that_all_share(data):
    assert tuple(data.trials.columns[: len(TRIAL_COLUMNS)]) == TRIAL_COLUMNS
    own = (*FIXATION_COLUMNS, "trial", "on_screen")
    assert tuple(data.fixations.columns[: len(own)]) == own
    assert tuple(data.stimuli.columns[: len(STIMULUS_COLUMNS)]) == STIMULUS_COLUMNS
    for table in tables(data).values():
        assert not table.columns.duplicated().any()


def test_columns_are_of_their_kind(data):
    kinds = {
        "trials": {
            **{"subject": "str", "stimulus_id": "str", "trial": "int64"},
            **{"rt_ms": "float64", "correct": "boolean", "n_fixations": "int64"},
        },
        "fixations": {
            **{"subject": "str", "stimulus_id": "str", "fixation": "int64"},
            **dict.fromkeys([*POINT, "duration_ms"], "float64"),
            **{"trial": "int64", "on_screen": "bool"},
        },
        "stimuli": {
            "stimulus_id": "str",
            **dict.fromkeys(["width_px", "height_px", *TARGET_COLUMNS], "float64"),
        },
    }
    for name, table in tables(data).items():
        found = {column: str(table[column].dtype) for column in kinds[name]}
        assert found == kinds[name]
        # No column of mixed objects: such a table cannot be written.
        assert not [c for c in table if table[c].dtype == object]
    if "found" in data.trials:
        assert is_bool_dtype(data.trials["found"])


def test_rows_are_sorted_and_numbered_anew(data):
    orders = {"trials": KEY, "fixations": [*KEY, "fixation"], "stimuli": "stimulus_id"}
    for name, table in tables(data).items():
        assert_frame_equal(table, table.sort_values(orders[name], ignore_index=True))


def test_keys_are_unique_and_known(data):
    assert not data.trials.duplicated(KEY).any()
    assert not data.fixations.duplicated([*KEY, "fixation"]).any()
    assert not data.stimuli["stimulus_id"].duplicated().any()
    for table in (data.trials, data.fixations):
        assert (table["subject"].str.len() > 0).all()
        assert table["stimulus_id"].isin(data.stimuli["stimulus_id"]).all()


def test_every_stimulus_was_seen(data):
    assert set(data.stimuli["stimulus_id"]) == set(data.trials["stimulus_id"])


def test_every_fixation_has_its_trial_and_they_are_counted(data):
    columns = [*KEY, "stimulus_id"]
    joined = data.fixations.merge(data.trials[columns], on=columns, how="inner")
    assert len(joined) == len(data.fixations)
    counts = data.fixations.groupby(KEY).size()
    index = pd.MultiIndex.from_frame(data.trials[KEY])
    expected = counts.reindex(index, fill_value=0).to_numpy()
    np.testing.assert_array_equal(data.trials["n_fixations"], expected)


def test_fixations_of_a_trial_are_numbered_from_0_without_gaps(data):
    places = data.fixations.groupby(KEY).cumcount()
    np.testing.assert_array_equal(data.fixations["fixation"], places)


def test_numbers_are_such_as_can_be(data):
    for column in ("width_px", "height_px"):
        assert (data.stimuli[column] > 0).all()
    for table, column in (
        (data.fixations, "duration_ms"),
        (data.trials, "rt_ms"),
    ):
        known = table[column].dropna()
        assert np.isfinite(known).all()
        assert (known >= 0).all()
    assert not np.isinf(data.fixations[POINT]).any(axis=None)
    assert data.px_per_deg is None or data.px_per_deg > 0


def test_boxes_of_targets_lie_in_the_frame_or_are_undefined_as_a_whole(data):
    boxes = data.stimuli[list(TARGET_COLUMNS)]
    assert boxes.isna().sum(axis=1).isin([0, 4]).all()
    known = data.stimuli[boxes.notna().all(axis=1)]
    left, top, right, bottom = (known[column] for column in TARGET_COLUMNS)
    assert ((left >= 0) & (left < right) & (right <= known["width_px"])).all()
    assert ((top >= 0) & (top < bottom) & (bottom <= known["height_px"])).all()


def test_on_screen_is_within_the_frame_of_the_stimulus(data):
    sizes = data.stimuli.set_index("stimulus_id")[["width_px", "height_px"]]
    width, height = sizes.loc[data.fixations["stimulus_id"]].to_numpy().T
    x, y = data.fixations[POINT].to_numpy().T
    expected = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    np.testing.assert_array_equal(data.fixations["on_screen"], expected)
    # A frame that is not that of the coordinates would lose most of them.
    assert expected.mean() > 0.95


def test_people_look_at_the_picture_and_not_at_a_mirrored_one(data):
    # An exchange of axes or a shifted origin moves the mean off the middle.
    joined = data.fixations.merge(data.stimuli, on="stimulus_id")
    for axis, size in (("x_px", "width_px"), ("y_px", "height_px")):
        assert 0.35 < (joined[axis] / joined[size]).mean() < 0.65


def test_notes_are_sentences(data):
    assert isinstance(data.name, str)
    assert data.name
    assert isinstance(data.notes, tuple)
    for note in data.notes:
        assert note.endswith(".")
    assert len(set(data.notes)) == len(data.notes)


# ------------------------------------------------------------------ repeatability


def test_loading_twice_gives_equal_tables(loaded):
    folder = str(loaded.load.args[-1])
    again = partial(loaded.load.func, **loaded.load.keywords)(
        *loaded.load.args[:-1], folder
    )
    assert_same(again, loaded.data)
    assert (again.name, again.notes) == (loaded.data.name, loaded.data.notes)
    assert again.px_per_deg == loaded.data.px_per_deg


def test_tables_that_are_complete_stay_as_they_are(data):
    counted = [note for note in data.notes if " of " not in note]
    again = make_gaze_data(data.name, **tables(data), notes=counted)
    assert_same(again, data)


def test_the_order_of_rows_does_not_matter(data):
    mixed = {
        name: table.sample(frac=1, random_state=1)
        for name, table in tables(data).items()
    }
    assert_same(make_gaze_data(data.name, **mixed), data)


def test_tables_come_back_from_disk_as_they_were(data, tmp_path):
    for name, table in tables(data).items():
        write_table(tmp_path / f"{name}.parquet", table)
        assert_frame_equal(read_table(tmp_path / f"{name}.parquet"), table)


# ---------------------------------------------------------------------- selecting


def test_all_of_it_is_it(data):
    assert_same(data.select(), data)
    whole = data.select(
        subjects=list(data.trials["subject"].unique()),
        stimuli=list(data.stimuli["stimulus_id"]),
    )
    assert_same(whole, data)
    assert whole.notes == data.notes


def test_a_part_is_what_a_filter_leaves(data):
    subjects = list(data.trials["subject"].unique()[[0, -1]])
    stimuli = list(data.stimuli["stimulus_id"].iloc[::7])
    part = data.select(subjects, stimuli)
    for name, table in tables(data).items():
        keep = table["stimulus_id"].isin(stimuli)
        if name != "stimuli":
            keep &= table["subject"].isin(subjects)
        assert_frame_equal(tables(part)[name], table[keep].reset_index(drop=True))
    assert (part.name, part.px_per_deg) == (data.name, data.px_per_deg)
    for each in (
        data.select(subjects).select(stimuli=stimuli),
        data.select(stimuli=stimuli).select(subjects),
        data.select(subjects[::-1], stimuli[::-1]),
    ):
        assert_same(each, part)
        assert each.notes == part.notes


def test_one_identity_may_stand_alone(data):
    subject = data.trials["subject"].iloc[-1]
    stimulus = data.trials["stimulus_id"].iloc[0]
    assert set(data.select(subject).trials["subject"]) == {subject}
    one = data.select(stimuli=stimulus)
    assert one.stimuli["stimulus_id"].tolist() == [stimulus]
    assert set(one.trials["stimulus_id"]) == {stimulus}


def test_unknown_identities_are_told(data):
    with pytest.raises(ValueError, match=r"`subjects`.*'nobody'"):
        data.select(subjects=["nobody"])
    with pytest.raises(ValueError, match=r"`stimuli`.*'nothing\.jpg'"):
        data.select(stimuli="nothing.jpg")


# --------------------------------------------------------------------- describing


def test_the_description_counts_the_tables_and_ends_with_the_notes(data):
    lines = data.describe()
    n_subjects = data.trials["subject"].nunique()
    assert lines[0] == (
        f"{n_subjects} subjects, {len(data.stimuli)} stimuli, {len(data.trials)} "
        f"trials, {len(data.fixations)} fixations"
    )
    n = data.fixations.groupby(KEY).size()
    missing = len(data.trials) - len(n)
    low = 0 if missing else n.min()
    mean = len(data.fixations) / len(data.trials)
    start = f"{low} to {n.max()} fixations per trial, mean {mean:.2f}"
    assert lines[1].startswith(start)
    assert lines[len(lines) - len(data.notes) :] == [f"note: {n}" for n in data.notes]
    boxes = int(data.stimuli["target_top_px"].notna().sum())
    assert f"{boxes} stimuli with a target box" in lines
    known = data.fixations["duration_ms"].notna().any()
    assert ("no fixation durations" in lines) is not known
    assert all("\n" not in line and line == line.strip() for line in lines)


# ---------------------------------------------------------------------- scanpaths


def test_scanpaths_are_gathered_from_every_table(data):
    paths, keys = scanpaths_from_table(data.fixations, by=KEY)
    with_fixations = data.trials[data.trials["n_fixations"] > 0]
    assert_frame_equal(keys, with_fixations[KEY].reset_index(drop=True))
    counts = with_fixations["n_fixations"].to_numpy()
    np.testing.assert_array_equal(paths.n_fixations, counts)
    inside = np.arange(paths.longest) < counts[:, None]
    for layer, column in (
        (paths.x_px, "x_px"),
        (paths.y_px, "y_px"),
        (paths.duration_ms, "duration_ms"),
    ):
        np.testing.assert_array_equal(layer[inside], data.fixations[column])
        assert np.isnan(layer[~inside]).all()
    lost = (
        data.fixations[POINT]
        .isna()
        .any(axis=1)
        .groupby([data.fixations[column] for column in KEY])
    )
    np.testing.assert_array_equal(paths.defined, ~lost.any().to_numpy())


def test_a_stimulus_names_a_scanpath_of_a_subject(data):
    # No set shows a stimulus twice, so that measures may pair by stimulus.
    assert not data.trials.duplicated(["subject", "stimulus_id"]).any()
    paths, keys = scanpaths_from_table(data.fixations)
    assert len(paths) == (data.trials["n_fixations"] > 0).sum()
    assert not keys.duplicated().any()


# ----------------------------------------------------------------- no alteration


def test_parts_and_scanpaths_are_copies(loaded):
    data = loaded.data
    data.describe()
    part = data.select(stimuli=list(data.stimuli["stimulus_id"]))
    for name, column in (
        ("trials", "trial"),
        ("fixations", "x_px"),
        ("stimuli", "width_px"),
    ):
        tables(part)[name].loc[:, column] = 1
    scanpaths_from_table(data.fixations, by=KEY)[0].x_px[:] = 0
    # Nor has any of the tests before, in whatever order they ran.
    for name, table in tables(data).items():
        assert_frame_equal(table, loaded.before[name])


# ------------------------------------------------------------------------- faults


@pytest.mark.parametrize("name", LOADERS)
def test_absent_data_are_told_in_one_line(tmp_path, name):
    load, _ = LOADERS[name]
    with pytest.raises(FileNotFoundError) as caught:
        load(tmp_path / "nowhere")
    assert "`folder` must be an existing folder" in str(caught.value)
    with pytest.raises(FileNotFoundError) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
