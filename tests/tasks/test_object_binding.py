"""The object-binding experiment: scores, baselines, resuming, report."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from analysis.pair_measures import (
    count_pairs,
    pair_accuracies,
    pair_auc,
    paired_difference,
    resample_pictures,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.pictures import write_png
from neurovis.core.types import SCORE_COLUMNS
from neurovis.fitting.same_object_fit import PairProbeSettings
from tasks.object_binding import BASELINE, run_object_binding
from tasks.object_binding_data import (
    Patches,
    draw_patches,
    folder_scenes,
    generated_scenes,
)
from tasks.object_binding_probes import baseline_logits, probe_layer
from tasks.object_binding_report import finish_object_binding
from tasks.object_binding_scores import judge_rows, layer_rows, sort_pairs

MODELS = ["vit=timm:test_vit@seeded:0:blocks.1"]
SMALL = {
    "models": MODELS,
    "n_train": 4,
    "n_test": 2,
    "size_px": 64,
    "n_patches": 16,
    "n_epochs": 3,
    "n_bootstrap": 50,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def scenes():
    return generated_scenes(16, 6, size_px=64, seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binding") / "run"
    return folder, run_object_binding(folder, **SMALL)


def value(rows, metric, condition="all"):
    found = [r for r in rows if (r["metric"], r["condition"]) == (metric, condition)]
    return found[0]["value"]


def test_pair_measures_are_those_of_sklearn():
    rng = np.random.default_rng(0)
    same = rng.random((4, 6, 6)) < 0.4
    logits = rng.normal(size=same.shape) + same
    counted = rng.random(same.shape) < 0.7
    counts = count_pairs(logits > 0, same, counted)
    plain, balanced = pair_accuracies(counts)
    y, z = same[counted], logits[counted]
    assert plain[0] == pytest.approx((y == (z > 0)).mean())
    assert balanced[0] == pytest.approx(balanced_accuracy_score(y, z > 0))
    assert pair_auc(logits, same, counted) == pytest.approx(roc_auc_score(y, z))
    tied = np.round(logits)
    area = roc_auc_score(y, tied[counted])
    assert pair_auc(tied, same, counted) == pytest.approx(area)
    weights = resample_pictures(4, 200, rng)
    assert (weights.sum(axis=1) == 4).all()
    rebuilt = [
        np.repeat(counts.same_hits, w).sum() / np.repeat(counts.n_same, w).sum()
        for w in weights[:5]
    ]
    halves = pair_accuracies(counts, weights[:5])[1]
    others = [
        np.repeat(counts.different_hits, w).sum()
        / np.repeat(counts.n_different, w).sum()
        for w in weights[:5]
    ]
    np.testing.assert_allclose(halves, (np.array(rebuilt) + others) / 2)
    assert paired_difference(counts, counts, weights) == (0.0, 0.0, 0.0)
    assert np.isnan(pair_auc(logits, np.ones_like(same), counted))


def test_training_and_test_scenes_share_none_and_patches_show_their_labels(scenes):
    table = scenes.table
    train, test = table[~table["test"]], table[table["test"]]
    assert not set(train["stimulus_id"]) & set(test["stimulus_id"])
    shown = {picture.tobytes() for picture in scenes.pictures}
    assert len(shown) == len(table)
    patches = draw_patches(scenes, (8, 8), n_patches=20, seed=0)
    for k in (0, 5, 50):
        for p in range(20):
            row, column = divmod(patches.places[k, p], 8)
            image = scenes.labels[k][8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert patches.labels[k, p] == np.bincount(image.ravel()).argmax()
            colour = scenes.pictures[k][
                8 * row : 8 * row + 8, 8 * column : 8 * column + 8
            ].mean(axis=(0, 1))
            np.testing.assert_allclose(patches.colours[k, p], colour / 255)
    again = draw_patches(scenes, (8, 8), n_patches=20, seed=0)
    np.testing.assert_array_equal(patches.places, again.places)


def test_pairs_are_sorted_by_what_they_show(scenes):
    patches = draw_patches(scenes, (8, 8), n_patches=40, seed=0)
    pairs = sort_pairs(scenes, patches)
    labels = patches.labels[scenes.is_test]
    places = patches.places[scenes.is_test]
    kinds = scenes.table.loc[scenes.is_test, "condition"].to_numpy(str)
    off = pairs.groups["all"]
    k, i, j = np.nonzero(off)
    assert (i < j).all()
    assert (places[k, i] != places[k, j]).all()
    k, i, j = np.nonzero(pairs.groups["twins"])
    assert set(kinds[k]) == {"identical"}
    assert (labels[k, i] != labels[k, j]).all()
    k, i, j = np.nonzero(pairs.groups["cut"])
    assert set(kinds[k]) == {"occluded"}
    assert (labels[k, i] == labels[k, j]).all()
    k, i, j = np.nonzero(pairs.groups["objects"])
    assert (labels[k, i] > 0).all()
    assert (labels[k, j] > 0).all()
    binned = sum(one.astype(int) for one in pairs.distances.values())
    np.testing.assert_array_equal(binned, off.astype(int))


def test_tokens_that_carry_identity_are_found_and_others_stay_at_the_baseline(scenes):
    patches = draw_patches(scenes, (8, 8), n_patches=32, seed=0)
    pairs = sort_pairs(scenes, patches)
    test = scenes.is_test
    weights = resample_pictures(int(test.sum()), 100, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    frames = np.linalg.qr(rng.standard_normal((len(test), 8, 8)))[0]
    basis = np.linalg.qr(rng.standard_normal((24, 24)))[0][:, :8]
    own = np.take_along_axis(frames, patches.labels[..., None] % 8, axis=1)
    noise = 0.2 * rng.standard_normal((*patches.labels.shape, 24))
    baselines = baseline_logits(patches, test)
    settings = PairProbeSettings(32, 8, 0.01)
    known = {"n_classes": 4, "ablated_rank": 8, "settings": settings}
    bound = probe_layer(4 * own @ basis.T + noise, patches, test, **known)
    rows = layer_rows(bound, baselines, pairs, weights)
    quadratic = [r for r in rows if r["probe"] == "quadratic" and "rank" not in r]
    plain = [r for r in quadratic if "ablation" not in r]
    assert value(plain, "balanced_accuracy") > 0.9
    assert value(plain, "auc") > 0.97
    assert value(plain, "balanced_accuracy_above_distance") > 0.3
    assert value(plain, "called_same", "twins") < 0.2
    assert value(plain, "called_same", "cut") > 0.8
    taken = [r for r in quadratic if r.get("ablation") == "binding"]
    gone = [r for r in taken if r["amount"] == 1.0]
    assert value(gone, "balanced_accuracy") < 0.65
    spared = [r for r in quadratic if r.get("ablation") == "random"]
    assert value([r for r in spared if r["amount"] == 1.0], "balanced_accuracy") > 0.75
    empty = probe_layer(5 * noise, patches, test, **known)
    rows = layer_rows(empty, baselines, pairs, weights)
    chance = [r for r in rows if r["probe"] == "quadratic" and "rank" not in r]
    chance = [r for r in chance if "ablation" not in r]
    assert abs(value(chance, "auc") - 0.5) < 0.05
    assert value(chance, "balanced_accuracy_above_distance") < 0.05


def test_majority_is_at_chance_and_colour_cannot_tell_twins(scenes):
    patches = draw_patches(scenes, (8, 8), n_patches=32, seed=0)
    pairs = sort_pairs(scenes, patches)
    weights = resample_pictures(18, 50, np.random.default_rng(0))
    found = baseline_logits(patches, scenes.is_test)
    rows = {
        name: judge_rows(found[f"logits {name}"], pairs, weights)
        for name in ("majority", "distance", "colour")
    }
    assert value(rows["majority"], "balanced_accuracy") == 0.5
    assert value(rows["majority"], "auc") == 0.5
    assert value(rows["colour"], "balanced_accuracy") > 0.8
    assert value(rows["colour"], "called_same", "twins") > 0.7
    assert 0.45 < value(rows["distance"], "auc") < 0.7


def test_run_leaves_complete_tables(run):
    folder, score = run
    table = score.table
    own = ["kind", "untrained", "probe", "grid", "rank", "ablation", "amount", "chance"]
    assert list(table.columns) == [*SCORE_COLUMNS, *own]
    assert set(table["model"]) == {"vit", BASELINE}
    assert table.loc[table["model"] == "vit", "untrained"].all()
    trials = pd.read_parquet(folder / "trials.parquet")
    needed = ["task", "trial", "condition", "truth", "response", "correct"]
    assert {*needed, "rt_or_cost", "seed"} <= set(trials.columns)
    assert len(trials) == 6 * (5 + 4)
    spectrum = pd.read_parquet(folder / "spectrum.parquet")
    assert spectrum["place"].tolist() == list(range(1, 65))
    assert (np.diff(spectrum["eigenvalue"].abs()) <= 1e-12).all()
    full = table[(table["rank"] == 64) & (table["metric"] == "balanced_accuracy")]
    whole = table[
        (table["probe"] == "quadratic")
        & (table["metric"] == "balanced_accuracy")
        & (table["condition"] == "all")
        & table["rank"].isna()
        & table["ablation"].isna()
    ]
    assert full["value"].iloc[0] == pytest.approx(whole["value"].iloc[0], abs=1e-3)
    assert any("vit: untrained" in note for note in score.provenance.notes)


def test_a_run_again_gives_the_same_tables_and_other_arguments_are_refused(run):
    folder, score = run
    again = run_object_binding(folder, **SMALL).table
    pd.testing.assert_frame_equal(again, score.table)
    with pytest.raises(ValueError, match="holds a run with"):
        run_object_binding(folder, **{**SMALL, "n_test": 3})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_folder_gets_the_same_tables(run, tmp_path):
    fresh = run_object_binding(tmp_path / "other", **SMALL).table
    pd.testing.assert_frame_equal(fresh, run[1].table)


def test_report_tells_the_main_figures(run):
    folder, _ = run
    lines = finish_object_binding(folder)
    assert lines[0].startswith("same object or not")
    assert lines[-1] == f"report {folder / 'report.html'}"
    assert any("vit blocks.1 (untrained), quadratic" in line for line in lines)
    text = (folder / "report.html").read_text()
    assert "arXiv:2510.24709" in text
    assert (folder / "figures" / "ablation_class.png").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_families_are_compared_when_both_are_there(tmp_path):
    models = ["a=timm:test_vit@seeded:0:blocks.1", "b=timm:test_vit@seeded:1:blocks.1"]
    families = {"a": "self-supervised", "b": "supervised"}
    run_object_binding(tmp_path, **{**SMALL, "models": models}, families=families)
    table = pd.read_parquet(tmp_path / "directions.parquet")
    last = table.iloc[-1]
    assert last["model"] == "a − b"
    assert last["claim"].startswith("self-supervised")
    assert last["ci_low"] <= last["difference"] <= last["ci_high"]


def write_masked(root, n=10, mode="L"):
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for k in range(n):
        mask = np.zeros((40, 60), np.uint8)
        mask[5:25, 5:30], mask[15:35, 35:55] = 1, 2
        picture = rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)
        write_png(root / "images" / f"{k:02d}.png", picture)
        Image.fromarray(mask).convert(mode).save(root / "masks" / f"{k:02d}.png")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_folder_with_masks_is_read_and_the_last_fifth_is_tested(tmp_path):
    write_masked(tmp_path / "data")
    scenes = folder_scenes(tmp_path / "data")
    assert scenes.is_test.tolist() == [False] * 8 + [True] * 2
    assert np.unique(scenes.labels[0]).tolist() == [0, 1, 2]
    call = {**SMALL, "data": tmp_path / "data", "n_epochs": 1}
    table = run_object_binding(tmp_path / "run", **call).table
    assert set(table["condition"]) >= {"all", "objects"}
    assert not set(table["condition"]) & {"twins", "cut", "distinct"}
    assert finish_object_binding(tmp_path / "run")[-1].startswith("report")


def test_bad_masks_are_refused(tmp_path):
    write_masked(tmp_path / "few", n=3)
    with pytest.raises(ValueError, match="10 pictures or more"):
        folder_scenes(tmp_path / "few")
    write_masked(tmp_path / "colour", mode="RGB")
    with pytest.raises(DataCorruptError, match="one number per pixel"):
        folder_scenes(tmp_path / "colour")
    write_masked(tmp_path / "gone")
    (tmp_path / "gone" / "masks" / "03.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"03\.png"):
        folder_scenes(tmp_path / "gone")
    write_masked(tmp_path / "size")
    small = Image.fromarray(np.zeros((4, 4), np.uint8))
    small.save(tmp_path / "size" / "masks" / "02.png")
    with pytest.raises(ValueError, match="must be the same"):
        folder_scenes(tmp_path / "size")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_train": 1}, "n_train"),
        ({"size_px": 10}, "size_px"),
        ({"models": ["timm:test_vit@seeded:0:head"]}, "places"),
        ({"models": ["control:pixels:pixels"]}, "larger pictures"),
        ({"families": {"other": "supervised"}}, "families"),
        ({"families": {"vit": "wild"}}, "families"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_bad_calls_write_nothing(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run_object_binding(tmp_path / "run", **{**SMALL, **change})
    assert not (tmp_path / "run").exists()


def test_distances_are_between_centres_of_patches():
    blank = np.zeros((1, 2), np.int64)
    patches = Patches(
        (4, 5), np.array([[0, 13]]), blank, blank, blank, np.zeros((1, 2, 3))
    )
    assert patches.distances()[0, 0, 1] == pytest.approx(np.hypot(2, 3))
