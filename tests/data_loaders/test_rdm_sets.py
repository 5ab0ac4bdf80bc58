"""Published dissimilarity matrices of 92 objects and of 78 photographs."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import squareform
from scipy.stats import pearsonr, spearmanr

from data_loaders.rdm_sets import load_net2brain78, load_objects92
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file

PAIRS = {92: 4186, 78: 3003}
MODELS = [
    "animacy",
    "FaceBodyManmadeNatobj",
    "monkeyIT",
    "EVA",
    "HMAX",
    "V1",
    "Silhouette",
    "RADON",
]
FLAGS = ["human", "face", "animal", "natural"]
GROUPS = ["animate", "inanim", "human", "nonhumani", "body", "face", "natObj"]
GROUPS += ["artiObj", "rand24", "rand48", "other48", "monkeyape"]
SETS = {"objects92": load_objects92, "net2brain78": load_net2brain78}


def _rdms(name):
    rng = np.random.default_rng(0)
    if name == "net2brain78":
        shapes = {"EVC": (15, 3003), "IT": (15, 3003)}
    else:
        shapes = {"monkeyIT_mean": (4186,), "humanIT_mean": (4186,)}
        shapes |= {"humanIT_subjects": (3, 2, 4186), "behaviour_subjects": (12, 4186)}
        shapes |= {f"model_{model}": (4186,) for model in MODELS}
    return {key: rng.random(shape, dtype=np.float32) for key, shape in shapes.items()}


def _stimuli(name):
    if name == "net2brain78":
        index = np.arange(78)
        files = [f"images/{i:02d}.jpg" for i in index]
        labels = np.array(["animal", "food"])[index % 2]
        return pd.DataFrame({"index": index, "file": files, "label_by_eye": labels})
    index = np.arange(92)
    flags = [*FLAGS, *(f"cat_{group}" for group in GROUPS)]
    table = pd.DataFrame(
        {"index": index, "file": [f"images/{i:02d}.png" for i in index]}
    )
    table["category"] = np.array(["human face", "natural inanimate"])[index % 2]
    return table.assign(**{f: (index + k) % 2 for k, f in enumerate(flags)})


def _write(folder, name, *, stimuli=None, without=(), more=(), **changes):
    rdms = {k: a for k, a in (_rdms(name) | changes).items() if a is not None}
    np.savez_compressed(folder / "rdms.npz", **rdms)
    files = _stimuli(name)["file"]
    (_stimuli(name) if stimuli is None else stimuli).to_csv(
        folder / "stimuli.csv", index=False
    )
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for i, file in enumerate([*files, *more]):
            if i not in without:
                data = io.BytesIO()
                picture = Image.fromarray(np.full((8, 8, 3), 2 * i, np.uint8))
                picture.save(data, "PNG" if file.endswith("png") else "JPEG")
                archive.writestr(file, data.getvalue())


@pytest.fixture(params=SETS)
def name(request):
    return request.param


# ----------------------------------------------------------------------- contents


def test_every_matrix_of_the_objects_has_its_row(tmp_path):
    _write(tmp_path, "objects92")
    stack = load_objects92(tmp_path)
    rdms = _rdms("objects92")
    assert stack.rdms.shape == (28, 4186)
    assert stack.rdms.dtype == np.float64
    for source, n in {"monkey IT": 1, "human IT": 7, "behaviour": 12}.items():
        assert len(stack.select(source=source)) == n
    one = stack.select(source="human IT", subject="3", session="2")
    np.testing.assert_array_equal(one.rdms[0], rdms["humanIT_subjects"][2, 1])
    mean = stack.select(source="human IT", subject="mean", session="mean")
    np.testing.assert_array_equal(mean.rdms[0], rdms["humanIT_mean"])
    judged = stack.select(source="behaviour")
    np.testing.assert_array_equal(judged.rdms, rdms["behaviour_subjects"])
    assert judged.table["subject"].tolist() == [str(i + 1) for i in range(12)]
    pooled = stack.select(source="monkey IT", subject="pooled")
    np.testing.assert_array_equal(pooled.rdms[0], rdms["monkeyIT_mean"])
    models = stack.select(source="model")
    assert models.table["model"].tolist() == MODELS
    for model in MODELS:
        row = stack.select(model=model)
        np.testing.assert_array_equal(row.rdms[0], rdms[f"model_{model}"])
    assert (stack.table["measure"] != "").all()
    assert not stack.table.duplicated(["source", "subject", "session", "model"]).any()


def test_every_matrix_of_the_photographs_has_its_row(tmp_path):
    _write(tmp_path, "net2brain78")
    stack = load_net2brain78(tmp_path)
    rdms = _rdms("net2brain78")
    assert stack.rdms.shape == (30, 3003)
    for source in ("EVC", "IT"):
        people = stack.select(source=f"human {source}")
        np.testing.assert_array_equal(people.rdms, rdms[source])
        assert people.table["subject"].tolist() == [str(i + 1) for i in range(15)]
    assert stack.stimuli["category"].tolist()[:2] == ["animal", "food"]
    assert "Do not rank models" in stack.notes[0]


def test_stimuli_and_pictures_stand_in_the_order_of_the_matrices(tmp_path, name):
    _write(tmp_path, name)
    stack = SETS[name](tmp_path)
    assert stack.name == name
    n = len(stack.stimuli)
    assert stack.stimuli["stimulus_id"].tolist() == [
        f"{name}-{i:02d}" for i in range(n)
    ]
    levels = [int(picture.mean().round()) for picture in stack.pictures]
    assert levels == [2 * i for i in range(n)]
    i, j = 3, n - 2
    full = stack.square()[5]
    np.testing.assert_array_equal(full, squareform(stack.rdms[5]))
    pair = (np.triu_indices(n, 1)[0] == i) & (np.triu_indices(n, 1)[1] == j)
    assert full[i, j] == full[j, i] == stack.rdms[5][pair][0]


def test_flags_are_true_or_false(tmp_path):
    _write(tmp_path, "objects92")
    stimuli = load_objects92(tmp_path).stimuli
    flags = [*FLAGS, *(f"cat_{group}" for group in GROUPS)]
    assert list(stimuli.columns) == ["stimulus_id", "category", *flags]
    assert set(map(str, stimuli.dtypes[flags])) == {"bool"}
    assert stimuli["face"].tolist() == (_stimuli("objects92")["face"] == 1).tolist()


def test_the_files_read_are_identified_by_content(tmp_path, name):
    _write(tmp_path, name)
    expected = {
        file: sha256_file(tmp_path / file)
        for file in ("rdms.npz", "stimuli.csv", "images.zip")
    }
    assert SETS[name](tmp_path).fingerprints == expected


# ------------------------------------------------------------------------- damage


@pytest.mark.parametrize("key", ["humanIT_subjects", "EVC"])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda a: None, "lacks the arrays"),
        (lambda a: a[..., :-1], "must have shape"),
        (lambda a: a[:-1], "must have shape"),
        (lambda a: (9 * a).astype(np.int32), "must hold floating-point numbers"),
        (lambda a: np.where(a == a.max(), np.nan, a), "1 values that are not finite"),
        (lambda a: a - 0.1, "has dissimilarities below 0"),
        (lambda a: a.astype(object), "Object arrays"),
    ],
)
def test_impossible_matrices_are_corrupt(tmp_path, key, change, match):
    name = "net2brain78" if key == "EVC" else "objects92"
    _write(tmp_path, name, **{key: change(_rdms(name)[key])})
    with pytest.raises(DataCorruptError, match=match):
        SETS[name](tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.iloc[:-1], "`index` must count from 0 to"),
        (lambda t: t.assign(index=t["index"] + 1), "`index` must count from 0 to"),
        (lambda t: t.iloc[::-1], "`index` must count from 0 to"),
        (lambda t: t.assign(file=t["file"].to_numpy()[::-1]), "another picture"),
        (lambda t: t.assign(file="images/x.png"), "another picture"),
        (lambda t: t.drop(columns="file"), r"lacks \['file'\]"),
        (lambda t: t.iloc[:, :2], "lacks "),
        (lambda t: t.assign(index="first"), "whole numbers in the column `index`"),
    ],
)
def test_impossible_tables_are_corrupt(tmp_path, name, change, match):
    _write(tmp_path, name, stimuli=change(_stimuli(name)))
    with pytest.raises(DataCorruptError, match=match):
        SETS[name](tmp_path)


def test_a_flag_that_is_no_flag_is_corrupt(tmp_path):
    _write(tmp_path, "objects92", stimuli=_stimuli("objects92").assign(cat_face=2))
    with pytest.raises(DataCorruptError, match="0 or 1 in the column `cat_face`"):
        load_objects92(tmp_path)


def test_pictures_that_do_not_match_the_matrices_are_corrupt(tmp_path, name):
    _write(tmp_path, name, without=(4,))
    with pytest.raises(DataCorruptError, match=r"lacks 1 of .* such as images/04\."):
        SETS[name](tmp_path)
    _write(tmp_path, name, more=["images/99.png"])
    with pytest.raises(DataCorruptError, match=r"images/99\.png, belong to no stim"):
        SETS[name](tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("file", ["rdms.npz", "images.zip"])
def test_a_truncated_file_is_corrupt(tmp_path, name, file, share):
    _write(tmp_path, name)
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match=f"{file} is not a readable"):
        SETS[name](tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_table_is_corrupt(tmp_path, name, share):
    _write(tmp_path, name)
    data = (tmp_path / "stimuli.csv").read_bytes()
    (tmp_path / "stimuli.csv").write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match=r"stimuli\.csv"):
        SETS[name](tmp_path)


@pytest.mark.parametrize("file", ["rdms.npz", "stimuli.csv", "images.zip"])
def test_a_missing_file_is_named(tmp_path, name, file):
    _write(tmp_path, name)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        SETS[name](tmp_path)
    with pytest.raises(FileNotFoundError, match="`folder` must be an existing folder"):
        SETS[name](tmp_path / "nothing")


# ------------------------------------------------------------ the real files


@pytest.fixture(scope="module")
def objects(data_folder):
    return load_objects92(data_folder / "objects92")


@pytest.fixture(scope="module")
def photographs(data_folder):
    return load_net2brain78(data_folder / "net2brain78")


def _only(stack, **factors):
    chosen = stack.select(**factors)
    assert len(chosen) == 1
    return chosen.rdms[0]


def test_reference_values_of_the_objects_are_reproduced(objects, data_folder):
    path = data_folder / "objects92" / "reference_values.json"
    reference = json.loads(path.read_text())
    monkey = _only(objects, source="monkey IT")
    human = _only(objects, source="human IT", subject="mean")
    face = objects.stimuli["face"].to_numpy()
    faces = 1.0 - squareform(np.outer(face, face) & ~np.eye(92, dtype=bool))
    judged = objects.select(source="behaviour").rdms.mean(axis=0)
    single = objects.select((objects.table["session"].isin(["1", "2"])).to_numpy())
    sessions = single.rdms.reshape(3, 2, -1)
    means = sessions.mean(axis=1)

    def spearman(a, b):
        return float(spearmanr(a, b).statistic)

    got = {
        "spearman_monkey_vs_humanmean": spearman(monkey, human),
        "pearson_monkey_vs_humanmean": float(pearsonr(monkey, human).statistic),
        "spearman_humanmean_vs_animacy": spearman(
            human, _only(objects, model="animacy")
        ),
        "spearman_humanmean_vs_face": spearman(human, faces),
        "spearman_between_subjects": [
            spearman(means[i], means[j]) for i, j in ((0, 1), (0, 2), (1, 2))
        ],
        "spearman_between_sessions": [spearman(*pair) for pair in sessions],
        "spearman_behaviour_mean_vs_humanmean": spearman(judged, human),
    }
    assert set(got) == set(reference)
    for key, value in reference.items():
        assert got[key] == pytest.approx(value, abs=6e-5), key


def test_what_the_notes_say_of_the_objects_is_so(objects):
    human = objects.select(source="human IT")
    gap = np.abs(human.rdms[0] - human.rdms[1:].mean(axis=0)).max()
    assert gap == pytest.approx(0.1326, abs=1e-3)
    twice = _only(objects, source="model", model="monkeyIT")
    np.testing.assert_array_equal(twice, _only(objects, source="monkey IT"))
    categorical = objects.select(measure="0 within, 1 between")
    assert set(np.unique(categorical.rdms)) == {0.0, 1.0}
    assert len(categorical) == 2


def test_categories_of_the_objects_are_those_of_the_source(objects):
    counts = objects.stimuli["category"].value_counts().to_dict()
    assert counts["human face"] == counts["nonhuman bodypart"] == 12
    assert counts["natural inanimate"] == 23
    animals = objects.stimuli["animal"].to_numpy()
    same = np.equal.outer(animals, animals) | np.eye(92, dtype=bool)
    animacy = _only(objects, model="animacy")
    np.testing.assert_array_equal(squareform(animacy) == 0, same)
    assert objects.pictures[91].shape == (175, 175, 3)


def test_squared_noise_ceilings_of_the_photographs_are_reproduced(photographs):
    # Published with the set: lower and upper bound, rho squared.
    for source, lower, upper in (
        ("human EVC", 0.0068177, 0.0639747),
        ("human IT", 0.0027849, 0.0647332),
    ):
        rdms = photographs.select(source=source).rdms
        total, n = rdms.sum(axis=0), len(rdms)
        below = [spearmanr(r, (total - r) / (n - 1)).statistic ** 2 for r in rdms]
        above = [spearmanr(r, total / n).statistic ** 2 for r in rdms]
        assert np.mean(below) == pytest.approx(lower, abs=1e-6)
        assert np.mean(above) == pytest.approx(upper, abs=1e-6)


def test_people_agree_on_the_photographs_as_little_as_the_note_says(photographs):
    for source, value in (("human EVC", 0.005), ("human IT", 0.002)):
        rho = spearmanr(photographs.select(source=source).rdms, axis=1).statistic
        pairs = rho[np.triu_indices(15, 1)]
        assert pairs.mean() == pytest.approx(value, abs=1e-3)
    assert photographs.stimuli["category"].value_counts()["portrait"] == 16
    assert photographs.pictures[0].shape == (256, 256, 3)
