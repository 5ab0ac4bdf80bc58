"""Search in natural scenes, from the two layouts of the publication."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from data_loaders.natural_search import (
    NATURAL_SEARCH_OBSERVERS,
    NATURAL_SEARCH_SETS,
    load_natural_search,
)
from neurovis.core.errors import DataCorruptError

FILE = "natural_search_original.npz"
N_STIMULI = {"ObjArr": 300, "Waldo": 67, "NaturalDesign": 240}


def _arrays(dataset, n_people=2, seed=0):
    """Random arrays of the published form, for people and for eccNET."""
    rng = np.random.default_rng(seed)
    n = N_STIMULI[dataset]
    arrays = {}
    for who, rows in (("human_all", n * n_people), ("eccNET", n)):
        ifix = rng.integers(1, 6, rows)
        fix = rng.integers(-20, 1300, (rows, 5, 2))
        fix[np.arange(5) >= ifix[:, None]] = 0
        cp = np.zeros((rows, 5), np.uint8)
        cp[np.arange(rows), ifix - 1] = rng.random(rows) < 0.8
        arrays |= {f"fix/{who}": fix, f"ifix/{who}": ifix, f"cp/{who}": cp}
    if dataset != "ObjArr":
        arrays["target_pos"] = rng.uniform(0, 1024, (n, 2))
    return arrays


def _write_npz(folder, dataset, arrays):
    np.savez_compressed(
        folder / FILE, **{f"{dataset}/{name}": a for name, a in arrays.items()}
    )


def _write_repository(folder, dataset, arrays):
    prefix = {"fix": "fix/", "ifix": "ifix/I_", "cp": "cp/CP_"}
    root = folder / "vs_saccade_exp" / "out" / dataset
    for name, array in arrays.items():
        part, _, who = name.partition("/")
        path = root / (f"{prefix[part]}{who}.npy" if who else "target_pos.npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array[:, None] if part == "ifix" else array)
    return root


@pytest.mark.parametrize("dataset", NATURAL_SEARCH_SETS)
def test_arrays_are_read_by_a_plain_loop_and_by_us_alike(tmp_path, dataset):
    arrays = _arrays(dataset)
    _write_npz(tmp_path, dataset, arrays)
    data = load_natural_search(tmp_path, dataset)
    assert data.name == f"natural-search-{dataset}"
    assert data.px_per_deg == 31.2
    n = N_STIMULI[dataset]
    assert len(data.trials) == 2 * n
    rows = []
    for person in range(2):
        for stimulus in range(n):
            row = person * n + stimulus
            for k in range(arrays["ifix/human_all"][row]):
                first, second = arrays["fix/human_all"][row, k].tolist()
                x, y = (first, second) if dataset == "ObjArr" else (second, first)
                rows.append((f"human{person + 1:02d}", f"{stimulus + 1:03d}", k, x, y))
    columns = ["subject", "stimulus_id", "fixation", "x_px", "y_px"]
    wanted = pd.DataFrame(rows, columns=columns)
    got = data.fixations[columns]
    assert got.to_numpy().tolist() == wanted.to_numpy().tolist()
    off = (wanted["x_px"] < 0) | (wanted["x_px"] > 1280)
    off |= (wanted["y_px"] < 0) | (wanted["y_px"] > 1024)
    assert (~data.fixations["on_screen"]).sum() == off.sum()


def test_both_layouts_give_the_same(tmp_path):
    for dataset in NATURAL_SEARCH_SETS:
        arrays = _arrays(dataset)
        (tmp_path / dataset).mkdir()
        _write_npz(tmp_path / dataset, dataset, arrays)
        _write_repository(tmp_path / "repository", dataset, arrays)
        one = load_natural_search(
            tmp_path / dataset, dataset, observers=("human", "eccNET")
        )
        for folder in ("", "vs_saccade_exp", "vs_saccade_exp/out"):
            path = tmp_path / "repository" / folder
            other = load_natural_search(path, dataset, observers=("human", "eccNET"))
            assert_frame_equal(one.trials, other.trials)
            assert_frame_equal(one.fixations, other.fixations)
            assert_frame_equal(one.stimuli, other.stimuli)


def test_flags_hold_where_they_belong_to_the_fixations(tmp_path):
    for dataset in NATURAL_SEARCH_SETS:
        arrays = _arrays(dataset)
        _write_npz(tmp_path, dataset, arrays)
        data = load_natural_search(tmp_path, dataset, observers=("human", "eccNET"))
        model = data.select("eccNET").trials
        assert model["found"].tolist() == arrays["cp/eccNET"].any(axis=1).tolist()
        found = model[model["found"]]
        assert (found["cp_index"] == found["n_fixations"] - 1).all()
        assert model["cp_index"].isna().tolist() == (~model["found"]).tolist()
        people = data.select(["human01", "human02"]).trials
        wanted = arrays["cp/human_all"].any(axis=1)
        assert people["cp_index"].notna().tolist() == wanted.tolist()
        if dataset == "Waldo":
            assert people["found"].tolist() == wanted.tolist()
        else:
            assert people["found"].isna().all()
        told = any("`found` is undefined" in note for note in data.notes)
        assert told == (dataset != "Waldo")


def test_targets_are_turned_to_x_and_y(tmp_path):
    arrays = _arrays("Waldo")
    _write_npz(tmp_path, "Waldo", arrays)
    stimuli = load_natural_search(tmp_path, "Waldo").stimuli
    assert stimuli["target_x_px"].tolist() == arrays["target_pos"][:, 1].tolist()
    assert stimuli["target_y_px"].tolist() == arrays["target_pos"][:, 0].tolist()
    assert stimuli["target_left_px"].isna().all()
    _write_npz(tmp_path, "ObjArr", _arrays("ObjArr"))
    stimuli = load_natural_search(tmp_path, "ObjArr").stimuli
    assert stimuli["target_x_px"].isna().all()


def test_one_observer_is_enough_and_one_name_is_a_name(tmp_path):
    _write_npz(tmp_path, "Waldo", _arrays("Waldo", n_people=1))
    data = load_natural_search(tmp_path, "Waldo")
    assert data.trials["subject"].unique().tolist() == ["human01"]
    data = load_natural_search(tmp_path, "Waldo", observers="eccNET")
    assert data.trials["subject"].unique().tolist() == ["eccNET"]


def test_all_sets_in_one_keep_displays_and_people_apart(tmp_path):
    arrays = {}
    for dataset in NATURAL_SEARCH_SETS:
        part = _arrays(dataset)
        arrays |= {f"{dataset}/{name}": a for name, a in part.items()}
    np.savez(tmp_path / FILE, **arrays)
    data = load_natural_search(tmp_path, observers=("human", "eccNET"))
    assert data.name == "natural-search"
    assert len(data.stimuli) == 607
    assert data.trials["subject"].nunique() == 7
    assert data.select("eccNET").trials["trial"].tolist() == list(range(607))
    one = load_natural_search(tmp_path, "Waldo").select("human02")
    same = data.select("Waldo/human02")
    assert same.trials["trial"].tolist() == list(range(300, 367))
    assert same.trials["stimulus_id"].iloc[0] == "Waldo/001"
    columns = ["fixation", "x_px", "y_px", "on_screen"]
    assert_frame_equal(one.fixations[columns], same.fixations[columns])
    assert [n.split(":")[0] for n in data.notes[:2]] == ["ObjArr", "NaturalDesign"]


def test_unknown_positions_stay(tmp_path):
    arrays = _arrays("Waldo")
    arrays["fix/eccNET"] = arrays["fix/eccNET"].astype(float)
    arrays["fix/eccNET"][3, 0] = np.nan
    _write_npz(tmp_path, "Waldo", arrays)
    data = load_natural_search(tmp_path, "Waldo", observers="eccNET")
    lost = data.fixations.query("trial == 3 and fixation == 0")
    assert lost["on_screen"].tolist() == [False]
    assert any("have no position" in note for note in data.notes)


@given(st.permutations(["human", "eccNET"]), st.integers(0, 3))
@settings(max_examples=8)
def test_the_order_of_observers_does_not_matter(tmp_path_factory, names, seed):
    folder = tmp_path_factory.mktemp("natural")
    _write_npz(folder, "Waldo", _arrays("Waldo", seed=seed))
    one = load_natural_search(folder, "Waldo", observers=("human", "eccNET"))
    other = load_natural_search(folder, "Waldo", observers=[*names, names[0]])
    assert_frame_equal(one.fixations, other.fixations)
    assert_frame_equal(one.trials, other.trials)


def _set(name, place, value):
    def change(arrays):
        array = arrays[name].astype(float)
        array[place] = value
        arrays[name] = array

    return change


def _swap(name, make):
    def change(arrays):
        arrays[name] = make(arrays[name])

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_set("ifix/human_all", 0, 0), r"within \[1, 5\]; they run from 0"),
        (_set("ifix/human_all", 0, 6), r"within \[1, 5\]; they run from 1"),
        (_set("ifix/human_all", 0, 2.5), "must be whole"),
        (_set("ifix/human_all", 0, np.nan), "must be whole"),
        (_set("cp/human_all", (0, slice(0, 2)), 1), "at most one 1 per trial"),
        (_set("cp/human_all", 0, 0.5), "at most one 1 per trial"),
        (_set("fix/human_all", (0, 0), np.inf), "infinite number"),
        (_set("target_pos", 0, np.nan), "must have shape .67, 2. and be finite"),
        (_swap("target_pos", lambda a: a[1:]), r"it has shape \(66, 2\)"),
        (_swap("fix/human_all", lambda a: a[..., 0]), "must have the shapes"),
        (_swap("ifix/human_all", lambda a: a[1:]), "must have the shapes"),
        (_swap("cp/human_all", lambda a: a[:, 1:]), "must have the shapes"),
        (_swap("cp/human_all", lambda a: a.astype(str)), "must hold numbers"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, change, match):
    arrays = _arrays("Waldo")
    change(arrays)
    _write_npz(tmp_path, "Waldo", arrays)
    _write_repository(tmp_path / "repository", "Waldo", arrays)
    for folder in (tmp_path, tmp_path / "repository"):
        with pytest.raises(DataCorruptError, match=match):
            load_natural_search(folder, "Waldo")


def test_trials_must_fill_whole_observers(tmp_path):
    whole = _arrays("Waldo")
    arrays = {k: a if k == "target_pos" else a[1:] for k, a in whole.items()}
    _write_npz(tmp_path, "Waldo", arrays)
    for who in ("human", "eccNET"):
        with pytest.raises(DataCorruptError, match="67 trials per observer"):
            load_natural_search(tmp_path, "Waldo", observers=who)
    double = {k: np.concatenate([a, a]) for k, a in whole.items()}
    double["target_pos"] = whole["target_pos"]
    _write_npz(tmp_path, "Waldo", double)
    with pytest.raises(DataCorruptError, match="they have 134"):
        load_natural_search(tmp_path, "Waldo", observers="eccNET")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_corrupt(tmp_path, share):
    arrays = _arrays("Waldo")
    _write_npz(tmp_path, "Waldo", arrays)
    root = _write_repository(tmp_path / "repository", "Waldo", arrays)
    for path in (tmp_path / FILE, root / "fix" / "human_all.npy"):
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
    for folder in (tmp_path, tmp_path / "repository"):
        with pytest.raises(DataCorruptError, match="not a readable NumPy"):
            load_natural_search(folder, "Waldo")


def test_missing_files_and_unknown_names_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="out/Waldo of the published"):
        load_natural_search(tmp_path, "Waldo")
    arrays = _arrays("Waldo")
    root = _write_repository(tmp_path, "Waldo", arrays)
    (root / "cp" / "CP_human_all.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"CP_human_all\.npy"):
        load_natural_search(tmp_path, "Waldo")
    _write_npz(tmp_path, "Waldo", arrays)
    with pytest.raises(DataCorruptError, match=r"lacks the arrays .*ObjArr/fix"):
        load_natural_search(tmp_path, "ObjArr")
    with pytest.raises(ValueError, match="Did you mean 'Waldo'"):
        load_natural_search(tmp_path, "waldo")
    for wrong in ("eccnet", [], ["human", "GBVS"]):
        with pytest.raises(ValueError, match="`observers` must be one of 'human'"):
            load_natural_search(tmp_path, "Waldo", observers=wrong)


# ------------------------------------------------------------ the real file


@pytest.fixture(scope="module", params=NATURAL_SEARCH_SETS)
def natural(request, data_folder):
    return request.param, load_natural_search(
        data_folder / "visual_search",
        request.param,
        observers=NATURAL_SEARCH_OBSERVERS,
    )


def test_fixations_are_those_of_the_reference_table(natural, data_folder):
    name, data = natural
    path = data_folder / "visual_search" / "natural_search_fixations.parquet"
    table = pd.read_parquet(path)
    table = table[table["dataset"] == name]
    table = table.assign(observer=table["observer"].astype(str))
    table = table.sort_values(["observer", "stimulus", "fixation"])
    got = data.fixations
    assert len(got) == len(table)
    assert got["subject"].tolist() == table["observer"].tolist()
    assert got["stimulus_id"].astype(int).tolist() == table["stimulus"].tolist()
    assert got["fixation"].tolist() == table["fixation"].tolist()
    for column in ("x_px", "y_px"):
        single = got[column].to_numpy(np.float32)
        assert np.array_equal(single, table[column].to_numpy())


def test_counts_are_those_of_the_reference_tables(natural, data_folder):
    name, data = natural
    folder = data_folder / "visual_search"
    summary = pd.read_csv(folder / "natural_summary.csv").set_index("model")
    for model, row in summary[summary["dataset"] == name].iterrows():
        part = data.trials["subject"].str.startswith(model.removesuffix("_all"))
        trials = data.trials[part]
        found = trials[trials["cp_index"].notna()]
        assert (len(trials), len(found)) == (row["n_trials"], row["n_found"])
        index = found["cp_index"].astype(float)
        assert index.mean() == pytest.approx(row["mean_fixations_found"], rel=1e-9)
        assert index.median() == row["median_fixations_found"]
        assert trials["n_fixations"].mean() == pytest.approx(row["mean_I"], rel=1e-9)
        agree = (index == found["n_fixations"] - 1).mean()
        wanted = row["cp_argmax_equals_I_minus_1"]
        assert agree == pytest.approx(wanted, rel=1e-9)
    people = pd.read_csv(folder / "natural_human_subjects.csv")
    people = people[people["dataset"] == name]
    trials = data.trials[data.trials["subject"].str.startswith("human")]
    got = trials.groupby("subject")["cp_index"].agg(["count", "mean"])
    assert got["count"].tolist() == people["n_found"].tolist()
    wanted = people["mean_fixations_found"].to_numpy()
    np.testing.assert_allclose(got["mean"].to_numpy(float), wanted, rtol=1e-9)


def test_saccade_sizes_are_those_of_the_reference(natural, data_folder):
    name, data = natural
    if name == "ObjArr":  # its positions are moved to another array first
        remap_x = {365.0: 490, 90.0: 340, 915.0: 790, 1190.0: 940}
        remap_y = {988.0: 772, 36.0: 252}
        places = {"x_px": remap_x, "y_px": remap_y}
        fixations = data.fixations.replace(places)
    else:
        fixations = data.fixations
    fixations = fixations[fixations["fixation"] > 0]
    points = fixations.groupby(["subject", "trial"])[["x_px", "y_px"]]
    fixations = fixations.assign(deg=np.hypot(*points.diff().to_numpy().T) / 31.2)
    folder = data_folder / "visual_search"
    summary = pd.read_csv(folder / "natural_summary.csv").set_index("model")
    for model, row in summary[summary["dataset"] == name].iterrows():
        who = fixations["subject"].str.startswith(model.removesuffix("_all"))
        deg = fixations.loc[who, "deg"].dropna()
        assert len(deg) == row["n_saccades"]
        assert deg.mean() == pytest.approx(row["mean_saccade_deg"], rel=1e-8)
