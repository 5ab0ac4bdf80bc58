"""Cue-conflict pictures, edges and silhouettes with their decisions."""

import gzip
import io
import json
import zipfile
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.error_consistency import consistency_table
from analysis.shape_bias import shape_bias, shape_bias_by_category
from data_loaders.model_vs_human import (
    CATEGORY_NAMES,
    DECISION_COLUMNS,
    load_model_vs_human,
    texture_of,
)
from data_loaders.texture_shape import check_texture_shape, load_texture_shape
from neurovis.core.errors import DataCorruptError


def picture(level, kind, size=224):
    buffer = io.BytesIO()
    mode = "RGB" if kind == "JPEG" else "L"
    Image.new(mode, (size, size), (level,) * 3 if mode == "RGB" else level).save(
        buffer, kind
    )
    return buffer.getvalue()


@dataclass
class Set:
    """A small data set that can be spoiled before it is written."""

    images: pd.DataFrame
    responses: pd.DataFrame
    conflict: dict
    plain: dict

    def write(self, folder):
        self.images.to_csv(folder / "cue_conflict_images.csv", index=False)
        data = self.responses.to_csv(index=False).encode()
        (folder / "responses.csv.gz").write_bytes(gzip.compress(data))
        (folder / "reference_values.json").write_text(json.dumps({"human": 0.9}))
        for name, members in (
            ("cue_conflict.zip", self.conflict),
            ("edges_silhouettes.zip", self.plain),
        ):
            with zipfile.ZipFile(folder / name, "w") as archive:
                for member, data in members.items():
                    archive.writestr(member, data)
        return folder


@pytest.fixture
def small():
    rows = [("cat", 1, "dog", 2, 1), ("cat", 1, "cat", 3, 0), ("dog", 4, "car", 1, 1)]
    columns = ["shape", "shape_exemplar", "texture", "texture_exemplar", "included"]
    images = pd.DataFrame(rows, columns=columns)
    names = [f"{a}{i}-{b}{j}.png" for a, i, b, j, _ in rows]
    images.insert(0, "image", names)
    decided = [
        ("cue_conflict", "subject-01", 1, names[0], "cat", "dog", 0.5),
        ("cue_conflict", "subject-01", 2, names[1], "cat", "na", None),
        ("cue_conflict", "alexnet", 1, names[2], "dog", "dog", None),
        ("edges", "subject-01", 1, "cat3.png", "cat", "cat", 0.7),
        ("silhouettes", "subject-01", 1, "oven10.png", "oven", "bear", 0.7),
    ]
    columns = ["experiment", "observer", "trial", "image", "category", "response"]
    responses = pd.DataFrame(decided, columns=[*columns, "rt_s"])
    conflict = {
        "cue_conflict/cat/cat1-dog2.jpg": picture(10, "JPEG"),
        "cue_conflict/dog/dog4-car1.jpg": picture(200, "JPEG"),
    }
    grey = {"edges": picture(77, "PNG"), "silhouettes": picture(5, "PNG")}
    plain = {
        f"{kind}/{name}/{name}{k}.png": data
        for kind, data in grey.items()
        for name in CATEGORY_NAMES
        for k in range(1, 11)
    }
    return Set(images, responses, conflict, plain)


def test_a_small_set_gives_pictures_and_decisions(small, tmp_path):
    data = load_texture_shape(small.write(tmp_path))
    assert list(data.stimuli) == ["cue-conflict", "edge", "silhouette"]
    conflict = data.stimuli["cue-conflict"]
    assert conflict.table.to_dict("list") == {
        "stimulus_id": ["cat1-dog2.png", "dog4-car1.png"],
        "shape": ["cat", "dog"],
        "texture": ["dog", "car"],
    }
    assert [int(conflict.load(i).mean()) for i in range(2)] == [10, 200]
    assert data.stimuli["silhouette"].load(159).shape == (224, 224, 3)
    assert data.stimuli["edge"].load(7).mean() == 77
    assert conflict.viewing.size_deg(224) == pytest.approx(3.02, abs=0.005)
    table = data.responses
    assert tuple(table.columns) == DECISION_COLUMNS
    assert table["experiment"].tolist() == ["cue-conflict"] * 3 + ["edge", "silhouette"]
    assert table["correct"].tolist() == [False, False, True, True, False]
    assert table["is_human"].tolist() == [True, True, False, True, True]
    assert table["rt_ms"].tolist()[3] == 700
    assert table["session"].isna().all()
    assert len(data.images) == 3 + 320
    assert int(data.images["included"].sum()) == 322
    assert data.reference == {"human": 0.9}
    assert data.describe()[0] == (
        "cue-conflict: 2 of 3 pictures, 3 trials of 1 people and 1 networks"
    )
    assert check_texture_shape(tmp_path)[-1] == "322 pictures of 224 x 224 px decoded"


def spoil_missing_picture(small):
    del small.plain["edges/cat/cat1.png"]


def spoil_small_picture(small):
    small.plain["edges/cat/cat1.png"] = picture(1, "PNG", size=100)


def spoil_name(small):
    small.images.loc[0, "texture"] = "car"


def spoil_category(small):
    small.images.loc[0, "shape"] = "horse"


def spoil_twice(small):
    small.images = pd.concat([small.images, small.images.iloc[:1]])


def spoil_experiment(small):
    small.responses.loc[0, "experiment"] = "contours"


def spoil_truth(small):
    small.responses.loc[3, "category"] = "dog"


def spoil_unknown_picture(small):
    small.responses.loc[3, "image"] = "cat11.png"


def spoil_response(small):
    small.responses.loc[3, "response"] = "horse"


def spoil_all_trials(small):
    small.responses = small.responses.iloc[:0]


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (spoil_missing_picture, "lacks 1 of 160 pictures, such as edges/cat/cat1.png"),
        (spoil_small_picture, "cat1.png .*must have 224 x 224 px; it has 100 x 100"),
        (spoil_name, "'cat1-dog2.png' is listed twice or with other"),
        (spoil_category, "one of the sixteen categories; it has 'horse'"),
        (spoil_twice, "'cat1-dog2.png' is listed twice"),
        (spoil_experiment, "it has 'contours'"),
        (spoil_truth, "'cat3.png' of 'edge' is unknown, or has another shape"),
        (spoil_unknown_picture, "'cat11.png' of 'edge' is unknown"),
        (spoil_response, "`response` must be one of"),
        (spoil_all_trials, "It has no trial"),
    ],
)
def test_impossible_content_is_corrupt_and_told(small, tmp_path, spoil, match):
    spoil(small)
    with pytest.raises(DataCorruptError, match=match):
        check_texture_shape(small.write(tmp_path))


def test_a_missing_file_and_damage_are_told(small, tmp_path):
    small.write(tmp_path)
    archive = tmp_path / "cue_conflict.zip"
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataCorruptError, match="not a readable zip"):
        load_texture_shape(tmp_path)
    archive.unlink()
    with pytest.raises(FileNotFoundError, match=r"cue_conflict\.zip"):
        load_texture_shape(tmp_path)
    archive.write_bytes(data)
    (tmp_path / "reference_values.json").write_text("[1]")
    with pytest.raises(DataCorruptError, match="one object of named values"):
        load_texture_shape(tmp_path)


# ------------------------------------------------------------------ the real set


@pytest.fixture(scope="module")
def real(data_folder):
    return load_texture_shape(data_folder / "texture_shape")


def test_the_real_set_has_its_counts(real):
    assert {name: len(shown) for name, shown in real.stimuli.items()} == {
        "cue-conflict": 320,
        "edge": 160,
        "silhouette": 160,
    }
    shapes = real.stimuli["cue-conflict"].table["shape"].value_counts()
    assert (shapes == 20).all()
    assert len(real.responses) == 17_600
    assert len(real.images) == 1600
    counts = real.responses.groupby(["experiment", "subject"])["image_id"].nunique()
    assert set(counts["cue-conflict"]) == {1280}
    assert set(counts["edge"]) | set(counts["silhouette"]) == {160}
    levels = [real.stimuli["silhouette"].load(i) for i in (0, 77)]
    assert all(np.ptp(level) > 200 for level in levels)


def test_the_reference_values_are_reproduced(real):
    known = real.reference
    conflict = real.responses[real.responses["experiment"] == "cue-conflict"]
    conflict = conflict.assign(texture=[texture_of(i) for i in conflict["image_id"]])

    def columns(rows):
        return rows["response"], rows["truth"], rows["texture"]

    found = {
        name: shape_bias(*columns(rows)).shape_bias
        for name, rows in conflict.groupby("subject")
    }
    assert {n: round(v, 4) for n, v in found.items()} == known[
        "shape_bias_per_observer"
    ]
    people = [v for n, v in found.items() if n.startswith("subject-")]
    assert round(float(np.mean(people)), 4) == known["human_mean_over_observers"]
    humans = columns(conflict[conflict["is_human"]])
    assert round(shape_bias(*humans).shape_bias, 4) == known["human_pooled"]
    by_category = shape_bias_by_category(*humans).set_index("category")["shape_bias"]
    assert by_category.round(4).to_dict() == known["human_by_shape_category"]
    for name, experiment in (("edges", "edge"), ("silhouettes", "silhouette")):
        own = real.responses[real.responses["experiment"] == experiment]
        share = own.groupby("subject")["correct"].mean()
        for subject, value in known[f"accuracy_{name}"].items():
            assert share[subject] == pytest.approx(value, abs=5.1e-5)


def test_its_people_are_those_of_model_vs_human(real, data_folder):
    names = ("cue-conflict", "edge", "silhouette")
    other = load_model_vs_human(data_folder / "model_vs_human", names).table
    keys = ["experiment", "subject", "image_id"]
    joined = real.responses[real.responses["is_human"]].merge(
        other, on=keys, suffixes=("", "_other"), validate="one_to_one"
    )
    assert len(joined) == 8 * 1600
    assert (joined["response"] == joined["response_other"]).all()
    assert (joined["truth"] == joined["truth_other"]).all()
    np.testing.assert_allclose(joined["rt_ms"], joined["rt_ms_other"], atol=0.06)


def test_every_network_agrees_more_with_people_on_silhouettes(data_folder):
    names = ("cue-conflict", "silhouette")
    folder = data_folder / "model_vs_human"
    trials = load_model_vs_human(folder, names, observers="all").table
    people = sorted(set(trials[trials["is_human"]]["subject"]))
    own = trials[trials["experiment"] == "silhouette"]
    networks = sorted(set(own[~own["is_human"]]["subject"]))
    table = consistency_table(trials, first=networks, second=people)
    means = table.groupby(["experiment", "first"])["kappa"].mean()
    assert len(networks) == 5
    assert (means["silhouette"] > means["cue-conflict"]).all()
    assert means["cue-conflict"]["alexnet"] == pytest.approx(0.113172941929, abs=1e-9)
