"""Which picture was shown when: three files that count from different bases."""

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

from data_loaders.nsd_design import (
    check_behaviour,
    check_stimulus_info,
    read_design,
    repeats_in_all,
    stimulus_ids,
    trial_table,
)
from data_loaders.nsd_tables import read_behaviour, read_stimulus_info
from neurovis.core.errors import DataCorruptError

# 1500 trials of 500 positions, three times each. Trials (from 0) of the four shared:
SHARED_TRIALS = [(0, 10, 20), (5, 15, 800), (749, 750, 1499), (751, 760, 900)]
# 1-based pictures at those positions; the order differs between the subjects.
SHARED_IM = [[11, 4, 21, 8], [8, 4, 21, 11]]


def order_from_one():
    order = np.zeros(1500, int)
    for position, trials in enumerate(SHARED_TRIALS, 1):
        order[list(trials)] = position
    rest = np.flatnonzero(order == 0)
    order[rest] = 5 + np.arange(len(rest)) % 496
    return order


def small_arrays():
    own = [np.arange(1001, 1497), np.arange(2001, 2497)]
    images = [[*SHARED_IM[s], *own[s]] for s in range(2)]
    return {
        "masterordering": order_from_one()[None].astype(float),
        "subjectim": np.array(images, float),
        "sharedix": np.array([[4, 8, 11, 21]], float),
        "basiccnt": np.zeros((3, 2)),
    }


def write_v5(path, arrays):
    scipy.io.savemat(path, arrays, do_compression=True)
    return path


def write_v73(path, arrays):
    """As MATLAB: a block of 512 bytes first, all axes in the other order."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
    return path


@pytest.fixture
def design(tmp_path):
    return read_design(write_v5(tmp_path / "nsd_expdesign.mat", small_arrays()))


def write_csv(path, arrays, change=lambda rows: None):
    """The table as published: pictures from 0, trials from 1, 0 for never."""
    order = arrays["masterordering"][0].astype(int)
    images = arrays["subjectim"].astype(int)
    shared = set(arrays["sharedix"][0].astype(int))
    rows = []
    for nsd_id in range(2500):
        row = {
            "cocoId": 9 * nsd_id,
            "cocoSplit": "val2017" if nsd_id % 2 else "train2017",
            "cropBox": "(0.0, 0.125, 0, 1e-1)",
            "loss": 0.5,
            "nsdId": nsd_id,
            "flagged": False,
            "BOLD5000": False,
            "shared1000": nsd_id + 1 in shared,
        }
        for s in range(2):
            row[f"subject{s + 1}"] = int(nsd_id + 1 in images[s])
        for s in range(2):
            row |= {f"subject{s + 1}_rep{r}": 0 for r in range(3)}
        rows.append(row)
    for s in range(2):
        times = dict.fromkeys(range(2500), 0)
        for trial, position in enumerate(order, 1):
            nsd_id = images[s][position - 1] - 1
            rows[nsd_id][f"subject{s + 1}_rep{times[nsd_id]}"] = trial
            times[nsd_id] += 1
    change(rows)
    pd.DataFrame(rows).to_csv(path)
    return path


def write_tsv(path, arrays, subject=1, n_sessions=2, change=lambda table: table):
    """The table as published: everything counts from 1."""
    order = arrays["masterordering"][0].astype(int)
    images = arrays["subjectim"].astype(int)[subject - 1]
    rows = []
    for trial in range(750 * n_sessions):
        in_session = trial % 750
        pair, rest = divmod(in_session, 125)
        run = 2 * pair + (1 if rest < 63 else 2)
        rows.append(
            {
                "SUBJECT": subject,
                "SESSION": trial // 750 + 1,
                "RUN": run,
                "TRIAL": rest + 1 if rest < 63 else rest - 62,
                "73KID": images[order[trial] - 1],
                "10KID": order[trial],
                "TIME": 737000.5 + trial,
                "ISOLD": 0,
                "ISCORRECT": "" if trial == 2 else 1,
                "RT": "NaN" if trial == 2 else 800.5,
            }
        )
    change(pd.DataFrame(rows)).to_csv(path, sep="\t", index=False)
    return path


# ------------------------------------------------------------------- reading


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_numbers_from_one_become_numbers_from_zero(tmp_path, write):
    design = read_design(write(tmp_path / "nsd_expdesign.mat", small_arrays()))
    assert design.order[[0, 5, 749, 751]].tolist() == [0, 1, 2, 3]
    assert design.order[[1, 2]].tolist() == [4, 5]
    assert design.images[0, :5].tolist() == [10, 3, 20, 7, 1000]
    assert design.images[1, :5].tolist() == [7, 3, 20, 10, 2000]
    assert design.shared.tolist() == [3, 7, 10, 20]
    assert (design.n_subjects, design.n_sessions) == (2, 2)
    assert design.order.dtype == design.images.dtype == np.int64


def test_a_picture_of_a_trial_goes_through_the_list_of_the_subject(design):
    # Trial 0 shows position 0: picture 10 to the first, 7 to the second subject.
    assert design.shown(1)[[0, 5, 749, 751, 1]].tolist() == [10, 3, 20, 7, 1000]
    assert design.shown("subj02")[[0, 5, 749, 751, 1]].tolist() == [7, 3, 20, 10, 2000]
    with pytest.raises(ValueError, match=r"`subject` subj03 is not in .*2 subjects"):
        design.shown(3)


def test_the_design_is_found_from_the_root(tmp_path):
    folder = tmp_path / "nsddata/experiments/nsd"
    folder.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"nsd_expdesign.mat"):
        read_design(tmp_path)
    write_v5(folder / "nsd_expdesign.mat", small_arrays())
    assert read_design(tmp_path).n_sessions == 2


def changed(name, work):
    arrays = small_arrays()
    arrays[name] = work(arrays[name])
    return arrays


def set_first(value):
    def work(array):
        array[0, 0] = value
        return array

    return work


@pytest.mark.parametrize(
    ("name", "work", "match"),
    [
        ("subjectim", np.transpose, r"up to 500, but `subjectim` of shape \(500, 2\)"),
        ("masterordering", set_first(0), "whole numbers from 1 in `masterordering`"),
        ("masterordering", set_first(1.5), "whole numbers from 1"),
        ("masterordering", lambda a: a[:, :-1], "750 trials per session.*1499"),
        ("subjectim", set_first(4), "repeats a picture of subject 1"),
        ("subjectim", set_first(5), "first columns of `subjectim`.*subject 1 differ"),
        ("sharedix", lambda a: a + 1, "first columns of `subjectim`"),
        ("sharedix", lambda a: a[:, :0], "whole numbers from 1 in `sharedix`"),
    ],
)
def test_an_impossible_design_is_corrupt(tmp_path, name, work, match):
    path = write_v5(tmp_path / "a.mat", changed(name, work))
    with pytest.raises(DataCorruptError, match=match):
        read_design(path)


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_a_cut_design_is_corrupt(tmp_path, write):
    path = write(tmp_path / "a.mat", small_arrays())
    data = path.read_bytes()
    for n_bytes in (0, 100, len(data) // 2):
        path.write_bytes(data[:n_bytes])
        with pytest.raises(DataCorruptError, match="not a readable MATLAB file"):
            read_design(path)


def test_a_design_without_an_array_is_corrupt(tmp_path):
    arrays = small_arrays()
    del arrays["sharedix"]
    with pytest.raises(DataCorruptError, match="sharedix"):
        read_design(write_v5(tmp_path / "a.mat", arrays))


# -------------------------------------------------------------------- trials


def test_trials_have_their_session_row_run_and_repeat(design):
    trials = trial_table(design, 1)
    assert len(trials) == 1500
    at = trials.set_index("trial")
    picked = [0, 62, 63, 124, 125, 749, 750, 1499]
    assert at.loc[picked, "session"].tolist() == [1, 1, 1, 1, 1, 1, 2, 2]
    assert at.loc[picked, "row"].tolist() == [0, 62, 63, 124, 125, 749, 0, 749]
    assert at.loc[picked, "run"].tolist() == [0, 0, 1, 1, 2, 11, 0, 11]
    assert at.loc[picked, "trial_in_run"].tolist() == [0, 62, 0, 61, 0, 61, 0, 61]
    # Picture 20 comes at trials 749, 750 and 1499.
    assert trials.index[trials["nsd_id"] == 20].tolist() == [749, 750, 1499]
    assert trials.loc[[749, 750, 1499], "repeat"].tolist() == [0, 1, 2]
    assert trials.loc[[749, 750, 1499], "shared"].all()
    assert trials["shared"].sum() == 12
    assert at.loc[749, "position"] == 2


def test_chosen_sessions_keep_their_numbers_and_repeats(design):
    trials = trial_table(design, 1, sessions=[2])
    assert trials.index.tolist() == list(range(750))
    assert trials["trial"].tolist() == list(range(750, 1500))
    assert set(trials["session"]) == {2}
    assert trials.loc[0, "repeat"] == 1
    both = trial_table(design, 1, sessions=[2, 1])
    pd.testing.assert_frame_equal(both, trial_table(design, 1))
    with pytest.raises(ValueError, match=r"names session 3, but .* has 2"):
        trial_table(design, 1, sessions=[3])
    with pytest.raises(ValueError, match="session 2 comes twice"):
        trial_table(design, 1, sessions=[2, 2])


def test_repeats_of_all_subjects_go_by_picture_and_by_the_sessions_they_had(design):
    # Subject 2 has one session: in it picture 7 comes three times, 3 twice, 20 once,
    # 10 never. Subject 1 sees all of them three times in two sessions.
    least = repeats_in_all(design, [2, 1])
    assert least[[7, 3, 20, 10]].tolist() == [3, 2, 1, 0]
    assert least.sum() == 6
    # With one session each: 10 is first seen by subject 2 in session 2, as is 7 by 1.
    assert repeats_in_all(design, [1, 1])[[7, 3, 20, 10]].tolist() == [0, 2, 1, 0]
    assert repeats_in_all(design, [2, 2])[[7, 3, 20, 10]].tolist() == [3, 3, 3, 3]
    assert repeats_in_all(design, [2, 0]).sum() == 0


@pytest.mark.parametrize("n_sessions", [[2], [2, 3], [2, 2, 2]])
def test_sessions_of_subjects_must_fit_the_design(design, n_sessions):
    with pytest.raises(ValueError, match="`n_sessions` must have 2 numbers up to 2"):
        repeats_in_all(design, n_sessions)


def published_like_arrays():
    """A design with the published numbers of repeats by session 30 and 32."""
    # Pictures by their repeats (0 to 3) within 30, and within 32 sessions.
    shared_30, shared_32 = [93, 141, 251, 515], [70, 103, 213, 614]
    own_30, own_32 = [698, 1222, 2150, 4930], [519, 953, 1908, 5620]

    def times(counts):
        return np.repeat(np.arange(4), counts)

    by_30 = np.concatenate([times(shared_30), times(own_30)])
    by_32 = np.concatenate([times(shared_32), times(own_32)])
    position = np.arange(1, 10001)
    blocks = [by_30, by_32 - by_30, 3 - by_32]
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(np.repeat(position, n)) for n in blocks])
    shared = np.arange(1, 1001) * 72
    others = np.setdiff1d(np.arange(1, 73001), shared).reshape(8, 9000)
    images = [np.concatenate([shared, rng.permutation(row)]) for row in others]
    return {
        "masterordering": order[None],
        "subjectim": np.array(images),
        "sharedix": shared[None],
    }


def test_published_counts_follow_from_sessions(tmp_path):
    design = read_design(write_v5(tmp_path / "a.mat", published_like_arrays()))
    sessions = [40, 40, 32, 30, 40, 32, 40, 30]
    seen, n_trials, distinct = [], 0, set()
    for subject, n in enumerate(sessions, 1):
        trials = trial_table(design, subject, sessions=range(1, n + 1))
        counts = trials["nsd_id"].value_counts()
        shared = trials[trials["shared"]]["nsd_id"].value_counts()
        seen.append(
            [(counts >= k).sum() for k in (1, 2, 3)]
            + [(shared >= k).sum() for k in (1, 2, 3)]
        )
        n_trials += len(trials)
        distinct |= set(trials["nsd_id"])
    assert seen[0] == [10000, 10000, 10000, 1000, 1000, 1000]
    assert seen[2] == [9411, 8355, 6234, 930, 827, 614]
    assert seen[3] == [9209, 7846, 5445, 907, 766, 515]
    assert [row[0] for row in seen[4:]] == [10000, 9411, 10000, 9209]
    assert (n_trials, len(distinct)) == (213000, 70566)
    least = repeats_in_all(design, sessions)
    assert [(least >= k).sum() for k in (1, 2, 3)] == [907, 766, 515]
    assert set(np.flatnonzero(least)) <= set(design.shared)
    withheld = repeats_in_all(design, [n - 3 for n in sessions])
    assert (withheld >= 3).sum() < 515


def test_identities_of_pictures_have_five_digits():
    assert stimulus_ids([0, 2950, 72999]) == ["nsd-00000", "nsd-02950", "nsd-72999"]


# -------------------------------------------------------------------- tables


def test_the_table_of_pictures_counts_trials_from_zero(tmp_path):
    info = read_stimulus_info(write_csv(tmp_path / "a.csv", small_arrays()))
    row = info[info["nsd_id"] == 20].iloc[0]
    assert [row[f"subject1_rep{r}"] for r in range(3)] == [749, 750, 1499]
    assert row["shared"]
    assert row["coco_id"] == 180
    assert row["coco_split"] == "train2017"
    crop = ["crop_top", "crop_bottom", "crop_left", "crop_right"]
    assert row[crop].tolist() == [0.0, 0.125, 0.0, 0.1]
    # Never shown to subject 1: no trial, and not trial -1.
    assert info.loc[info["nsd_id"] == 2000, "subject1_rep0"].isna().all()
    assert info["shared"].sum() == 4


def test_tables_that_agree_with_the_design_pass(tmp_path, design):
    arrays = small_arrays()
    path = write_csv(tmp_path / "a.csv", arrays)
    check_stimulus_info(design, read_stimulus_info(path), path)
    for subject, n_sessions in ((1, 2), (2, 1)):
        path = write_tsv(tmp_path / "a.tsv", arrays, subject, n_sessions)
        behaviour = read_behaviour(path, subject)
        check_behaviour(design, behaviour, path)
        assert len(behaviour) == 750 * n_sessions


def test_answers_count_from_zero_and_keep_their_gaps(tmp_path):
    behaviour = read_behaviour(write_tsv(tmp_path / "a.tsv", small_arrays()), "subj01")
    row = behaviour.iloc[749]
    assert (row["session"], row["run"], row["trial_in_run"]) == (1, 11, 61)
    assert (row["nsd_id"], row["position"], row["trial"]) == (20, 2, 749)
    assert np.isnan(behaviour["rt_ms"][2])
    assert np.isnan(behaviour["is_correct"][2])
    assert behaviour["rt_ms"][3] == 800.5


def test_runs_of_the_answers_win_over_the_rule(tmp_path, design):
    def other_runs(table):
        # A first run of 62 trials.
        table.loc[62, ["RUN", "TRIAL"]] = [2, 0]
        table.loc[table["RUN"] == 2, "TRIAL"] += 1
        return table

    path = write_tsv(tmp_path / "a.tsv", small_arrays(), 1, 1, other_runs)
    trials = trial_table(design, 1, behaviour=read_behaviour(path))
    assert trials.loc[[61, 62, 63], "run"].tolist() == [0, 1, 1]
    assert trials.loc[[61, 62, 63], "trial_in_run"].tolist() == [61, 0, 1]
    # Session 2 has no answers: the rule holds.
    assert trials.loc[750 + 62, ["run", "trial_in_run"]].tolist() == [0, 62]


def shift_ids(rows):
    for row in rows:
        row["nsdId"] += 1


def swap_trials(rows):
    a, b = rows[1000], rows[1001]
    a["subject1_rep0"], b["subject1_rep0"] = b["subject1_rep0"], a["subject1_rep0"]


def trials_from_zero(rows):
    for row in rows:
        for r in range(3):
            row[f"subject1_rep{r}"] = max(row[f"subject1_rep{r}"] - 1, 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (shift_ids, "4 pictures as shared and .* 4, of which 0 are the same"),
        (lambda rows: rows[5].update(shared1000=True), "marks 5 pictures as shared"),
        (swap_trials, "contradict each other in 2 trials of subj01: trial 1 .from 0"),
        (trials_from_zero, "contradict each other in .* trials of subj01"),
        (lambda rows: rows[1000].update(subject1_rep0=0), "shows no picture"),
        (lambda rows: rows[1].update(subject1_rep0=1501), "trial 1501 .* 1500 trials"),
    ],
)
def test_a_table_of_pictures_of_another_design_is_refused(
    tmp_path, design, change, match
):
    path = write_csv(tmp_path / "a.csv", small_arrays(), change)
    with pytest.raises(DataCorruptError, match=match):
        check_stimulus_info(design, read_stimulus_info(path), path)


def without(column):
    return lambda table: table.drop(columns=column)


def swap_rows(table):
    order = np.arange(len(table))
    order[[100, 101]] = [101, 100]
    return table.iloc[order]


def set_cell(row, column, value):
    def change(table):
        return table.assign(
            **{column: table[column].astype(object).where(table.index != row, value)}
        )

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (without("10KID"), r"lacks \['10KID'\]"),
        (swap_rows, "not chronological: row 102 is session 1, run 2, trial 38"),
        (lambda t: pd.concat([t[:5], t[4:]]), "not chronological: row 6"),
        (lambda t: t.drop(index=7), r"sessions \[1\] have other numbers of trials"),
        (lambda t: t[t["SESSION"] == 2], r"its sessions are \[2\]"),
        (lambda t: t.assign(SUBJECT=2), r"must be of subj01; its column SUBJECT"),
        (set_cell(3, "73KID", 0), "whole numbers from 1 in `73KID`; row 4 has"),
        (set_cell(3, "RUN", "x"), "in `RUN`; row 4 has 'x'"),
    ],
)
def test_damaged_answers_are_corrupt(tmp_path, change, match):
    path = write_tsv(tmp_path / "a.tsv", small_arrays(), change=change)
    with pytest.raises(DataCorruptError, match=match):
        read_behaviour(path, 1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.assign(**{"73KID": t["73KID"] - 1}), "All differ by -1"),
        (set_cell(1, "73KID", 12), "in 1 trials of subj01: trial 1 .* picture 11 in"),
        (set_cell(1, "10KID", 7), "10KID of trial 2 is 7, but `masterordering` says 5"),
    ],
)
def test_answers_to_other_pictures_are_refused(tmp_path, design, change, match):
    def shift(table):
        return change(table.assign(**{"73KID": table["73KID"]}))

    path = write_tsv(tmp_path / "a.tsv", small_arrays(), change=shift)
    with pytest.raises(DataCorruptError, match=match):
        check_behaviour(design, read_behaviour(path, 1), path)


def test_answers_to_more_sessions_than_planned_are_refused(tmp_path, design):
    arrays = small_arrays()
    arrays["masterordering"] = np.tile(arrays["masterordering"], 2)
    path = write_tsv(tmp_path / "a.tsv", arrays, n_sessions=3)
    with pytest.raises(DataCorruptError, match=r"has 2250 trials, but .* 1500"):
        check_behaviour(design, read_behaviour(path, 1), path)


@pytest.mark.parametrize("text", ["", "SUBJECT\tSESSION\n", "SUBJECT\n1\t2\n"])
def test_answers_without_whole_rows_are_corrupt(tmp_path, text):
    path = tmp_path / "responses.tsv"
    path.write_text(text)
    with pytest.raises(DataCorruptError, match=r"responses.tsv"):
        read_behaviour(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.drop(columns="nsdId"), r"lacks \['nsdId'\]"),
        (lambda t: t.assign(nsdId=3), "repeats an `nsdId`"),
        (lambda t: t.assign(shared1000="maybe"), "True or False in `shared1000`"),
        (lambda t: t.assign(subject1_rep0=-1), "from 0 in `subject1_rep0`; row 1"),
        (lambda t: t.assign(subject1_rep0=0.5), "from 0 in `subject1_rep0`; row 1"),
    ],
)
def test_a_damaged_table_of_pictures_is_corrupt(tmp_path, change, match):
    path = write_csv(tmp_path / "a.csv", small_arrays())
    change(pd.read_csv(path, index_col=0)).to_csv(path)
    with pytest.raises(DataCorruptError, match=match):
        read_stimulus_info(path)
