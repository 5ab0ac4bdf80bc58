"""ABX experiments: design, balance, exports."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.core.pictures import read_image
from neurovis.core.types import StimulusSet, Viewing
from stimuli.abx import (
    TRIAL_COLUMNS,
    AbxTiming,
    export_abx_jspsych,
    export_abx_psychopy,
    make_abx_trials,
)


def make_pictures(n_images=2, scales=(0.3, 0.6), n_samples=2):
    rows = []
    for i in range(n_images):
        rows.append((f"im{i}", f"im{i}", "original", 0.0))
        rows += [
            (f"im{i}_s{s:g}_{j}", f"im{i}", "sample", s)
            for s in scales
            for j in range(n_samples)
        ]
    return pd.DataFrame(rows, columns=["stimulus_id", "image", "kind", "scale"])


def make_stimuli(pictures):
    images = [np.full((3, 4, 3), i, np.uint8) for i in range(len(pictures))]
    return StimulusSet("abx", pictures, Viewing(30, 4, 3), images)


def test_every_pair_has_each_version_once():
    trials = make_abx_trials(make_pictures())
    # Per image and scale: two samples with the original, and one pair of samples.
    assert len(trials) == 2 * 2 * (2 + 1) * 4
    assert tuple(trials.columns) == TRIAL_COLUMNS
    pairs = trials.apply(lambda t: frozenset((t["a"], t["b"])), axis=1)
    for _, four in trials.groupby(pairs):
        assert len(four) == 4
        versions = set(
            zip(four["a"] == four["first_in_pair"], four["correct"], strict=True)
        )
        assert len(versions) == 4
    assert trials["trial"].tolist() == list(range(len(trials)))


def test_x_is_what_the_right_answer_names():
    pictures = make_pictures(3)
    trials = make_abx_trials(pictures, seed=4)
    kind = pictures.set_index("stimulus_id")["kind"]
    scale = pictures.set_index("stimulus_id")["scale"]
    for t in trials.itertuples():
        assert t.x == (t.a if t.correct == "a" else t.b)
        assert t.a != t.b
        kinds = sorted([kind[t.a], kind[t.b]])
        assert "-".join(kinds) == t.comparison
        assert {t.a.split("_")[0], t.b.split("_")[0]} == {t.image}
        assert all(scale[i] == t.scale for i in (t.a, t.b) if kind[i] == "sample")


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 50))
def test_versions_are_spread_evenly_over_a_cell(n_per_pair, n_images, seed):
    trials = make_abx_trials(make_pictures(n_images), n_per_pair=n_per_pair, seed=seed)
    for _, cell in trials.groupby(["comparison", "scale"]):
        a_first = cell["a"] == cell["first_in_pair"]
        counts = cell.groupby([a_first, "correct"]).size()
        assert (
            counts.max()
            - counts.reindex(
                pd.MultiIndex.from_product([[False, True], ["a", "b"]]), fill_value=0
            ).min()
            <= 1
        )


def test_order_follows_the_seed():
    pictures = make_pictures()
    first = make_abx_trials(pictures, seed=1)
    assert first.equals(make_abx_trials(pictures, seed=1))
    other = make_abx_trials(pictures, seed=2)
    assert not first["x"].equals(other["x"])
    columns = ["a", "b", "x"]
    assert sorted(map(tuple, first[columns].to_numpy())) == sorted(
        map(tuple, other[columns].to_numpy())
    )


def test_one_comparison_can_be_made_alone():
    pictures = make_pictures().query("kind == 'sample'")
    trials = make_abx_trials(pictures, comparisons=["sample-sample"])
    assert set(trials["comparison"]) == {"sample-sample"}
    with pytest.raises(ValueError, match="one original"):
        make_abx_trials(pictures)


def test_psychopy_gets_files_keys_and_seconds(tmp_path):
    pictures = make_pictures(1)
    trials = make_abx_trials(pictures, comparisons=["sample-sample"])
    timing = AbxTiming(gap_ms=400)
    path = export_abx_psychopy(
        trials, make_stimuli(pictures), tmp_path / "out", keys=("f", "j"), timing=timing
    )
    table = pd.read_csv(path)
    assert table["corrAns"].tolist() == [
        "f" if c == "a" else "j" for c in trials["correct"]
    ]
    assert set(table["picture_s"]) == {0.2}
    assert set(table["gap_s"]) == {0.4}
    assert set(table["gap_x_s"]) == {1.0}
    for column in "abx":
        for file, identity in zip(table[f"{column}_file"], trials[column], strict=True):
            level = pictures["stimulus_id"].tolist().index(identity)
            assert (read_image(path.parent / file) == level).all()
    # The original is in no trial.
    assert len(list((path.parent / "images").iterdir())) == 4


def test_jspsych_gets_six_steps_per_trial(tmp_path):
    pictures = make_pictures(1)
    trials = make_abx_trials(pictures)
    path = export_abx_jspsych(trials, make_stimuli(pictures), tmp_path / "out")
    content = json.loads(path.read_text())
    assert len(content["preload"]) == 5
    assert all((path.parent / file).is_file() for file in content["preload"])
    steps = content["timeline"]
    assert len(steps) == 6 * len(trials)
    durations = [step.get("trial_duration") for step in steps[:6]]
    assert durations == [200, 500, 200, 1000, 200, None]
    for i, trial in enumerate(trials.itertuples()):
        six = steps[6 * i : 6 * i + 6]
        shown = [six[j]["stimulus"] for j in (0, 2, 4)]
        assert shown == [f"images/{k}.png" for k in (trial.a, trial.b, trial.x)]
        data = six[5]["data"]
        assert data["correct_response"] == {"a": "1", "b": "2"}[trial.correct]
        assert data["scale"] == trial.scale


def test_an_export_is_whole_or_absent(tmp_path):
    pictures = make_pictures(1)
    trials = make_abx_trials(pictures)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        export_abx_psychopy(trials, make_stimuli(pictures), tmp_path / "out")
    few = make_stimuli(pictures.iloc[:3])
    with pytest.raises(ValueError, match="lacks 2 of 5"):
        export_abx_jspsych(trials, few, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="scale"), "scale"),
        (lambda t: t.assign(kind="copy"), "kind"),
        (lambda t: t.assign(stimulus_id="x"), "unique"),
        (lambda t: t.assign(scale=0), "above 0"),
        (lambda t: t[t["kind"] == "original"], "no pair"),
        (lambda t: pd.concat([t, t.iloc[:1].assign(stimulus_id="y")]), "has 2"),
    ],
)
def test_tables_that_cannot_be_are_told(change, words):
    with pytest.raises(ValueError, match=words):
        make_abx_trials(change(make_pictures()))


def test_wrong_arguments_are_told(tmp_path):
    pictures = make_pictures(1)
    trials, stimuli = make_abx_trials(pictures), make_stimuli(pictures)
    with pytest.raises(ValueError, match="keys"):
        export_abx_psychopy(trials, stimuli, tmp_path / "a", keys=("1", "1"))
    with pytest.raises(ValueError, match="letter or digit"):
        export_abx_psychopy(trials.assign(image="=1+1"), stimuli, tmp_path / "a")
    with pytest.raises(ValueError, match="picture_ms"):
        AbxTiming(picture_ms=0)
    with pytest.raises(ValueError, match="comparisons"):
        make_abx_trials(pictures, comparisons=["a-b"])
    with pytest.raises(ValueError, match="n_per_pair"):
        make_abx_trials(pictures, n_per_pair=0)
