"""Probes: classifiers, tuning, groups of runs, and runs that resume."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import RidgeClassifier

import tasks.probes as probes
from analysis.crossed_runs import bootstrap_hits
from analysis.tuning import grating_tuning
from data_loaders.synthetic import simulate_algonauts
from neurovis.adapters.backbones import load_backbone
from neurovis.core.files import read_table
from neurovis.core.pictures import write_png
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS, Score
from stimuli.category_pictures import make_category_pictures
from stimuli.gratings import make_gratings
from tasks.feature_specs import parse_features
from tasks.probe_measures import (
    ALPHAS,
    N_FOLDS,
    CentrePosition,
    fit_probe,
    open_labelled,
    tuned_layers,
    tuning_of,
)
from tasks.probes import run_probes
from tasks.probes_groups import estimate_crossed, estimate_runs
from tasks.probes_models import read_models
from tasks.rsa_scores import BEST, LAYER

LAYERS = "patch_embed:gap,blocks.0:grid2"
MODELS = [
    f"{group}=timm:test_vit@seeded:{seed}:{LAYERS}"
    for group, seeds in (("first", (0, 1)), ("second", (2, 3)))
    for seed in seeds
]
CALL = {
    "n_bootstrap": 20,
    "n_permutations": 20,
    "n_splits": 4,
    "grating_px": 64,
    "device": "cpu",
}
MEASURES = ("probe_predictions", "tuning_of")
FROZEN_TUNING = [1.0, 0.825285]
FROZEN_ACCURACY = [1, 1, 11 / 12, 1, 10 / 12, 1]
TABLES = (
    "scores.parquet",
    "groups.parquet",
    "differences.parquet",
    "predictions.parquet",
    "tuning.parquet",
)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Noise with a slight tint: colour tells the classes, form does not."""
    folder = tmp_path_factory.mktemp("classes") / "colours"
    rng = np.random.default_rng(0)
    for k, name in enumerate(("red", "green", "blue")):
        for i in range(14):
            picture = rng.integers(0, 120, (24, 24, 3))
            picture[..., k] += 6
            write_png(folder / name / f"{i:02d}.png", picture.astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def finished(classes, objects, tmp_path_factory):
    """A run of everything but units; not to be changed."""
    out = tmp_path_factory.mktemp("probes") / "run"
    data = {"labelled": {"colours": classes}, "rdms": f"objects92:{objects}"}
    run_probes(MODELS, out, **data, **CALL)
    return out, data


def rows_of(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


# -------------------------------------------------------------------- what is asked


def test_groups_come_before_an_equals_sign_and_titles_of_layers_stay():
    found = read_models(
        [
            "old=squeezenet1_0@seeded:0:early=conv1:gap+fire2:gap",
            "squeezenet1_0@seeded:1:early=conv1:gap",
            "control:gabor:energy=cycles4:grid2",
        ],
        {"squeezenet1_0@seeded:1": "new"},
    )
    told = [(m.title, m.group, m.kind) for m in found]
    assert told == [
        ("old", "old", "network"),
        ("squeezenet1_0@seeded:1", "new", "network"),
        ("control:gabor", "control:gabor", "control"),
        ("control:pixels", "control:pixels", "control"),
        ("control:colour", "control:colour", "control"),
    ]
    assert found[0].layers == {"early": ("conv1:gap", "fire2:gap")}
    assert found[0].requests == ["conv1:gap", "fire2:gap"]
    assert found[0].spec.resize == "squash"


def test_a_baseline_that_was_asked_for_is_not_added_again():
    found = read_models([MODELS[0], "control:colour"])
    assert [m.title for m in found] == ["first", "control:colour", "control:pixels"]


@pytest.mark.parametrize(
    ("models", "groups", "text"),
    [
        ([], None, "`models` is empty"),
        (["file:x.npy"], None, "must be networks"),
        ([MODELS[0][6:], MODELS[0][6:]], None, "twice"),
        (MODELS, {"first 3": "a"}, "'first 3', which is no model. Did you mean"),
    ],
)
def test_requests_that_make_no_sense_are_refused(models, groups, text):
    with pytest.raises(ValueError, match=text):
        read_models(models, groups)


def test_specs_are_taken_as_they_are():
    spec = parse_features(f"timm:test_vit@seeded:0:{LAYERS}", resize="crop")
    (found,) = read_models([spec], baselines=())
    assert found.spec is spec
    assert found.group == "timm:test_vit@seeded:0"


# --------------------------------------------------------------------- linear probe


def noisy_classes(n=60, p=8, k=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    centres = rng.normal(size=(k, p))
    features = centres[labels] + 1.5 * rng.normal(size=(n, p))
    # Columns of very different scales.
    return features * np.logspace(-1, 1, p), labels


def standard(train, *others):
    return [
        (rows - train.mean(axis=0)) / train.std(axis=0) for rows in (train, *others)
    ]


def test_probe_is_the_ridge_classifier_of_sklearn_with_its_penalty():
    features, labels = noisy_classes(90)
    fit = fit_probe(features[:60], labels[:60], features[60:], 3)
    train, test = standard(features[:60], features[60:])
    # Targets of -1 and 1 are those of 0 and 1 twice, moved: the largest is the same.
    other = RidgeClassifier(alpha=fit.alpha).fit(train, labels[:60])
    np.testing.assert_array_equal(fit.predicted, other.predict(test))
    assert (fit.predicted == labels[60:]).mean() > 0.5


def test_penalty_is_the_one_of_least_left_out_error_by_brute_force():
    features, labels = noisy_classes()
    fit = fit_probe(features, labels, features[:1], 3, seed=4)
    order = generator(4, "probe folds").permutation(len(labels))
    (rows,) = standard(features)
    rows, targets = rows[order], np.eye(3)[labels[order]]
    folds = np.array_split(np.arange(len(rows)), N_FOLDS)
    errors = []
    for alpha in ALPHAS:
        found = []
        for fold in folds:
            kept = np.setdiff1d(np.arange(len(rows)), fold)
            x = rows[kept] - rows[kept].mean(axis=0)
            y = targets[kept] - targets[kept].mean(axis=0)
            weights = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ y)
            guess = (rows[fold] - rows[kept].mean(axis=0)) @ weights
            guess += targets[kept].mean(axis=0)
            found.append(((guess - targets[fold]) ** 2).mean())
        errors.append(np.mean(found))
    assert fit.alpha == pytest.approx(ALPHAS[int(np.argmin(errors))])
    assert fit.cv_error == pytest.approx(min(errors), abs=1e-7)


def test_labels_and_shapes_of_a_probe_are_checked():
    features, labels = noisy_classes(20)
    with pytest.raises(ValueError, match="from 0 to 1"):
        fit_probe(features, labels, features, 2)
    with pytest.raises(ValueError, match="4 rows: at least 5"):
        fit_probe(features[:4], labels[:4], features, 3)
    with pytest.raises(ValueError, match="test"):
        fit_probe(features, labels, features[:, 1:], 3)
    with pytest.raises(ValueError, match="labels"):
        fit_probe(features, labels[1:], features, 3)


def write_parts(folder, counts):
    value = 0
    for part, n in counts.items():
        for name in ("sea", "wood"):
            for i in range(n):
                value += 1
                picture = np.full((4, 4, 3), value, np.uint8)
                write_png(folder / part / name / f"{part}{i}.png", picture)
    return folder


def test_an_undivided_set_is_divided_and_limited_per_class(tmp_path):
    folder = write_parts(tmp_path, {"": 10})
    whole = open_labelled("set", folder)
    assert whole.table.groupby("split").size().to_dict() == {"test": 6, "train": 14}
    few = open_labelled("set", folder, n_per_class=2)
    assert few.table.groupby(["split", "category"]).size().tolist() == [2] * 4
    assert set(few.table["stimulus_id"]) < set(whole.table["stimulus_id"])
    other = open_labelled("set", folder, n_per_class=2, seed=1)
    assert set(other.table["stimulus_id"]) != set(few.table["stimulus_id"])
    for row, picture in zip(few.table["stimulus_id"], few.pictures, strict=True):
        place = whole.table.index[whole.table["stimulus_id"] == row][0]
        np.testing.assert_array_equal(picture, whole.pictures[place])


def test_own_parts_are_kept_and_validation_is_tested_only_without_a_test(tmp_path):
    counts = {"train": 3, "val": 2, "test": 1}
    three = open_labelled("a", write_parts(tmp_path / "a", counts))
    assert three.table["split"].value_counts().to_dict() == {"train": 6, "test": 2}
    assert three.table["stimulus_id"].str.contains("val").sum() == 0
    two = open_labelled("b", write_parts(tmp_path / "b", {"train": 3, "val": 2}))
    assert two.table["split"].value_counts().to_dict() == {"train": 6, "test": 4}
    with pytest.raises(ValueError, match="add a part 'train'"):
        open_labelled("c", write_parts(tmp_path / "c", {"test": 2}))


# --------------------------------------------------------------------------- tuning


def test_the_unit_kept_is_the_one_in_the_middle_of_every_channel():
    maps = np.arange(2 * 16, dtype=np.float32).reshape(1, 2, 4, 4)
    kept = CentrePosition(2, 4).transform(maps.reshape(1, -1))
    np.testing.assert_array_equal(kept, maps[:, :, 2, 2])


def test_layers_with_a_place_are_tuned_whatever_their_pooling():
    backbone = load_backbone("squeezenet1_0", "seeded:0", size_px=64, resize="squash")
    found = tuned_layers(backbone, ["conv1:gap", "fire3:grid2", "fire3:flat"])
    assert found == {"conv1": "conv1:grid29", "fire3": "fire3:grid14"}


def test_tuning_is_that_of_the_map_itself():
    gratings = make_gratings(size_px=48, n_phases=3, frequencies_cpd=[1.5, 3, 6])
    backbone = load_backbone("squeezenet1_0", "seeded:0", size_px=48, resize="squash")
    table = tuning_of(backbone, ["fire2:grid2"], gratings)
    images = np.stack([gratings.load(i) for i in range(len(gratings))])
    kept = []
    hook = backbone.module.fire2.register_forward_hook(
        lambda module, args, output: kept.append(output)
    )
    with torch.no_grad():
        pixels = torch.from_numpy(images.astype(np.float32))
        backbone.module(backbone.preprocessing.normalise(pixels))
    hook.remove()
    side = kept[0].shape[-1] // 2
    centre = kept[0][:, :, side, side].clamp(min=0).double().numpy()
    own = gratings.table
    axes = [
        sorted(own[name].unique())
        for name in ("orientation_deg", "frequency_cpd", "phase_deg")
    ]
    responses = np.empty((centre.shape[1], *map(len, axes)))
    for row, values in zip(own.itertuples(), centre, strict=True):
        place = [
            axis.index(value)
            for axis, value in zip(
                axes,
                (row.orientation_deg, row.frequency_cpd, row.phase_deg),
                strict=True,
            )
        ]
        responses[(slice(None), *place)] = values
    brute = grating_tuning(responses, axes[0], axes[1])
    assert table["layer"].eq("fire2").all()
    columns = ["preferred_orientation_deg", "circular_variance", "bandwidth_octaves"]
    np.testing.assert_allclose(table[columns], brute[columns], rtol=2e-3, atol=1e-4)


def test_layers_without_a_place_cannot_be_tuned():
    backbone = load_backbone("timm:test_vit", "seeded:0", size_px=64, resize="squash")
    with pytest.raises(ValueError, match="no layer with a place"):
        tuning_of(backbone, ["head"], make_gratings(size_px=64))


# --------------------------------------------------------------------------- groups


def test_runs_without_stimuli_are_compared_by_welchs_test():
    a, b = [0.62, 0.66, 0.71], [0.3, 0.41, 0.35, 0.36]
    found = estimate_runs(a, b)
    other = stats.ttest_ind(a, b, equal_var=False)
    assert found.value == pytest.approx(np.mean(a) - np.mean(b))
    assert found.p_value == pytest.approx(other.pvalue)
    limits = other.confidence_interval()
    np.testing.assert_allclose(found.limits, [limits.low, limits.high])
    alone = estimate_runs(a)
    one = stats.ttest_1samp(a, 0).confidence_interval()
    np.testing.assert_allclose(alone.limits, [one.low, one.high])


def test_the_error_of_stimuli_is_added_to_that_of_runs():
    a, b = [0.5, 0.7], [0.2, 0.3]
    found = estimate_runs(a, b, stimuli=(0.1, 50))
    variance = np.var(a, ddof=1) / 2 + np.var(b, ddof=1) / 2 + 0.01
    assert found.standard_error == pytest.approx(np.sqrt(variance))
    # A control has no runs: what is left is the error of stimuli.
    control = estimate_runs([0.4], stimuli=(0.1, 50), fixed=(True, False))
    assert control.standard_error == pytest.approx(0.1)
    assert control.degrees_of_freedom == pytest.approx(50)


def test_a_single_run_has_a_mean_and_no_interval():
    for found in (
        estimate_runs([0.5], stimuli=(0.1, 50)),
        estimate_runs([0.5, 0.6], [0.4]),
        estimate_crossed(np.ones((4, 1))),
        estimate_crossed(np.eye(4), np.eye(4)[:, :1]),
    ):
        assert np.isfinite(found.value)
        assert np.isnan([found.standard_error, found.p_value, *found.limits]).all()


def test_crossed_error_is_that_of_the_crossed_bootstrap():
    rng = np.random.default_rng(5)
    effects = rng.normal(size=(80, 1)) + 0.6 * rng.normal(size=(1, 6))
    values = (effects + 0.5 * rng.normal(size=(80, 6)) > 0).astype(float)
    found = estimate_crossed(values)
    other = bootstrap_hits(values, "both", 3000, rng)
    assert found.value == pytest.approx(float(other.estimate))
    assert found.standard_error == pytest.approx(float(other.standard_error), rel=0.05)


def test_limits_of_a_difference_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(6)
    held = []
    for _ in range(600):
        items = rng.normal(size=(40, 1))
        groups = [
            0.3 * (1 - k) + items * (1 - 0.4 * k) + 0.2 * rng.normal(size=(1, 4))
            + 0.8 * rng.normal(size=(40, 4))
            for k in (0, 1)
        ]  # fmt: skip
        low, high = estimate_crossed(*groups).limits
        held.append(low <= 0.3 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_values_that_never_vary_have_no_interval():
    for found in (
        estimate_crossed(np.ones((9, 3))),
        estimate_crossed(np.ones((9, 3)), np.zeros((9, 2))),
        estimate_runs([1.0, 1.0], [0.5, 0.5, 0.5]),
    ):
        assert found.value in (1.0, 0.5)
        assert np.isnan([*found.limits, found.p_value]).all()


def test_stimuli_are_paired_in_a_difference():
    rng = np.random.default_rng(7)
    items = rng.normal(size=(50, 1))
    a, b = (items + 0.1 * rng.normal(size=(50, 3)) for _ in range(2))
    paired = estimate_crossed(a, b)
    assert paired.standard_error < 0.3 * estimate_crossed(a).standard_error


# ----------------------------------------------------------------------------- runs


def test_every_model_and_layer_has_a_row_of_every_measure(finished):
    score = Score.load(finished[0])
    table = score.table
    assert table.columns[: len(SCORE_COLUMNS)].tolist() == list(SCORE_COLUMNS)
    probe = rows_of(table, measure="probe", condition=LAYER)
    assert probe.groupby("model", sort=False).size().to_dict() == {
        "first 1": 2,
        "first 2": 2,
        "second 1": 2,
        "second 2": 2,
        "control:pixels": 1,
        "control:colour": 2,
    }
    assert probe["n"].eq(12).all()
    np.testing.assert_allclose(probe["chance_high"], 1 / 3)
    best = rows_of(table, condition=BEST)
    assert set(best["measure"]) == {"probe", "rsa"}
    assert set(best.loc[best["measure"] == "rsa", "region"]) == {
        "human IT",
        "monkey IT",
        "behaviour",
    }
    tuned = rows_of(table, measure="tuning", metric="circular_variance_median")
    assert set(tuned["layer"]) == {"patch_embed", "blocks.0", "all layers"}
    assert set(tuned["kind"]) == {"network"}
    assert rows_of(table, kind="network")["untrained"].all()
    assert not rows_of(table, kind="control")["untrained"].any()


def test_colours_are_told_by_colour_and_layers_chosen_within_training(finished):
    out = finished[0]
    table = Score.load(out).table
    best = rows_of(table, measure="probe", condition=BEST).set_index("model")
    assert best.loc["control:colour", "value"] >= 0.75
    layers = rows_of(table, measure="probe", condition=LAYER)
    for model, rows in layers.groupby("model"):
        least = rows.loc[rows["cv_error"].idxmin()]
        assert best.loc[model, "layer"] == least["layer"]
        assert best.loc[model, "value"] == least["value"]


def test_accuracy_is_that_of_the_predictions(finished):
    out = finished[0]
    predictions = read_table(out / "predictions.parquet")
    right = predictions["predicted"] == predictions["label"]
    found = right.groupby([predictions["model"], predictions["layer"]]).mean()
    rows = rows_of(Score.load(out).table, measure="probe", condition=LAYER)
    wanted = rows.set_index(["model", "layer"])["value"]
    np.testing.assert_allclose(found[wanted.index], wanted)


def test_groups_average_runs_and_the_first_is_compared_with_every_other(finished):
    out = finished[0]
    table = Score.load(out).table
    means, apart = (read_table(out / f"{n}.parquet") for n in ("groups", "differences"))
    for measure in ("probe", "rsa"):
        best = rows_of(table, measure=measure, condition=BEST)
        own = rows_of(means, measure=measure, condition=BEST)
        keys = ["region", "group"]
        np.testing.assert_allclose(
            own.set_index(keys)["value"].sort_index(),
            best.groupby(keys)["value"].mean().sort_index(),
        )
        pairs = rows_of(apart, measure=measure, condition=BEST)
        assert set(pairs["group_a"]) == {"first"}
        assert set(pairs["group_b"]) == {"second", "control:pixels", "control:colour"}
        known = own.set_index(keys)["value"]
        for _, row in pairs.iterrows():
            difference = known[row["region"], "first"]
            difference -= known[row["region"], row["group_b"]]
            assert row["difference"] == pytest.approx(difference)
            known_error = row["standard_error"] > 0
            inside = row["ci_low"] < row["difference"] < row["ci_high"]
            assert inside if known_error else np.isnan(row["ci_low"])
    layers = rows_of(apart, condition=LAYER)
    assert set(layers["group_a"]) == {"first"}
    assert set(layers["group_b"]) == {"second"}


def test_errors_of_stimuli_are_those_of_paired_differences(finished):
    out = finished[0]
    table = Score.load(out).table
    pairs = read_table(out / "brain" / "comparisons.parquet")
    best = rows_of(table, condition=BEST, region="human IT")
    over = best["over"].iloc[0]
    pairs = rows_of(pairs, region="human IT", over=over)
    models = [pairs[n].str.startswith(("first", "second")) for n in ("model_a",
              "model_b")]  # fmt: skip
    pairs = pairs[models[0] & models[1]]
    across = pairs["model_a"].str[:5] != pairs["model_b"].str[:5]
    error = pairs.loc[across, "standard_error"].mean()
    values = [best[best["group"] == g]["value"] for g in ("first", "second")]
    variance = sum(v.var() / 2 for v in values) + error**2
    found = rows_of(
        read_table(out / "differences.parquet"),
        condition=BEST,
        region="human IT",
        group_b="second",
    )
    assert len(pairs[across]) == 4
    assert found["standard_error"].item() == pytest.approx(np.sqrt(variance))


def test_frozen_numbers_of_untrained_networks(finished):
    table = Score.load(finished[0]).table
    tuned = rows_of(table, measure="tuning", model="first 1", layer="patch_embed")
    values = tuned.set_index("metric")["value"]
    found = [values[n] for n in ("responsive_share", "circular_variance_median")]
    np.testing.assert_allclose(found, FROZEN_TUNING, atol=1e-3)
    best = rows_of(table, measure="probe", condition=BEST)
    # One picture of twelve may lie on an edge that rounding moves.
    np.testing.assert_allclose(best["value"], FROZEN_ACCURACY, atol=0.09)


def test_untrained_weights_data_and_hashes_are_told(finished):
    provenance = Score.load(finished[0]).provenance
    assert "first 1: untrained weights (seeded:0)" in provenance.notes
    marks = provenance.fingerprints
    assert {"pictures colours", "gratings", "model second 2"} <= set(marks)
    assert marks["model first 1"] != marks["model first 2"]
    assert any(name.startswith("objects92 rsa") for name in marks)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_alike(classes, tmp_path, monkeypatch):
    call = {"labelled": {"colours": classes}, **CALL}
    run_probes(MODELS[:2], tmp_path / "whole", **call)
    measures = {name: getattr(probes, name) for name in MEASURES}
    called = []

    def watch(name, stop_at):
        def measure(*args, **kwargs):
            if len(called) == stop_at:
                raise KeyboardInterrupt
            called.append(name)
            return measures[name](*args, **kwargs)

        return measure

    # Two probes, then all four and a tuning, then the rest.
    for stop_at in (2, 5, None):
        for name in MEASURES:
            monkeypatch.setattr(probes, name, watch(name, stop_at))
        if stop_at is None:
            run_probes(MODELS[:2], tmp_path / "run", **call)
            continue
        with pytest.raises(KeyboardInterrupt):
            run_probes(MODELS[:2], tmp_path / "run", **call)
        assert len(called) == stop_at
        assert not (tmp_path / "run" / "scores.parquet").exists()
    assert called == [MEASURES[0]] * 4 + [MEASURES[1]] * 2
    for name in TABLES:
        once, again = (tmp_path / folder / name for folder in ("whole", "run"))
        assert once.read_bytes() == again.read_bytes()


def test_a_group_of_one_run_has_no_interval_and_says_so(classes, tmp_path):
    score = run_probes(
        [MODELS[0], MODELS[2].replace("grid2", "grid1"), MODELS[3]],
        tmp_path / "run",
        labelled={"colours": classes},
        tuning=False,
        **CALL,
    )
    apart = read_table(tmp_path / "run" / "differences.parquet")
    assert apart["ci_low"].isna().all()
    assert apart["difference"].notna().all()
    means = read_table(tmp_path / "run" / "groups.parquet").query("condition == 'best'")
    known = means.set_index("group")["ci_low"].notna()
    assert known.to_dict() == {
        "first": False,
        "second": True,
        "control:pixels": True,
        "control:colour": False,  # every answer was right: nothing varies
    }
    assert any("no interval: first." in note for note in score.provenance.notes)
    assert not (tmp_path / "run" / "tuning.parquet").exists()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"tuning": False}, ValueError, "Nothing is to be measured"),
        ({"models": ["timm:test_vit@seeded:0:blocks.77:gap"]}, ValueError, "no layer"),
        ({"models": ["timm:test_vit@seeded:0:head"]}, ValueError, "is a map"),
        ({"labelled": {"a": "nowhere"}}, FileNotFoundError, "nowhere"),
        ({"rdms": "objects92:nowhere"}, FileNotFoundError, "nowhere"),
        ({"rdms": "v4-images:."}, ValueError, "data set of rdms"),
        ({"units": ["objects92:."]}, ValueError, "data set of units"),
        ({"grating_px": 4}, ValueError, "grating_px"),
        ({"n_per_class": 0, "labelled": {"a": "."}}, ValueError, "n_per_class"),
    ],
)
def test_wrong_requests_end_before_anything_is_computed(tmp_path, change, error, text):
    call = {"models": MODELS[:1], "out": tmp_path / "run", **CALL, **change}
    with pytest.raises(error, match=text):
        run_probes(**call)
    assert not (tmp_path / "run").exists()


def test_another_run_in_the_folder_is_refused(finished):
    out, data = finished
    with pytest.raises(ValueError, match="holds a run with"):
        run_probes(MODELS, out, **data, **{**CALL, "seed": 1})


@pytest.mark.slow
def test_units_of_the_brain_are_encoded_and_compared(tmp_path):
    drawn = make_category_pictures(500, size_px=16)
    root = simulate_algonauts(
        tmp_path / "algonauts",
        list(drawn.images),
        drawn.table,
        n_subjects=1,
        n_sessions=2,
        n_test_sessions=1,
        n_vertices=(162, 162),
        picture_px=16,
    )
    out = tmp_path / "run"
    models = [text.replace(LAYERS, "patch_embed:gap") for text in MODELS[:3]]
    run_probes(
        models,
        out,
        units=f"algonauts:{root}",
        stimuli=40,
        tuning=False,
        **CALL,
    )
    table = Score.load(out).table
    best = rows_of(table, metric="encoding_r", condition=BEST).set_index("model")
    assert len(best) == 5
    assert best["simulated"].all()
    means = rows_of(
        read_table(out / "groups.parquet"), metric="encoding_r", condition=BEST
    ).set_index("group")
    runs = best.loc[["first 1", "first 2"]]
    assert means.loc["first", "value"] == pytest.approx(runs["value"].mean())
    variance = runs["value"].var() / 2 + runs["standard_error"].mean() ** 2
    assert means.loc["first", "standard_error"] == pytest.approx(np.sqrt(variance))
    apart = read_table(out / "differences.parquet")
    pairs = rows_of(apart, metric="encoding_r", condition=BEST).set_index("group_b")
    assert np.isnan(pairs.loc["second", "ci_low"])
    assert (
        pairs.loc["control:colour", "ci_low"] < pairs.loc["control:colour", "ci_high"]
    )
    assert len(rows_of(table, measure="rsa", condition=BEST)) == 5


@pytest.mark.slow
def test_cifar_is_told_better_than_chance_from_small_pictures(data_folder, tmp_path):
    score = run_probes(
        [f"timm:test_vit@seeded:0:{LAYERS}"],
        tmp_path / "run",
        labelled={"cifar10": data_folder / "cifar10_subset"},
        n_per_class=60,
        tuning=False,
        **CALL,
    )
    best = rows_of(score.table, condition=BEST).set_index("model")
    assert best["n"].eq(600).all()
    assert best.loc["control:pixels", "ci_low"] > 0.15
