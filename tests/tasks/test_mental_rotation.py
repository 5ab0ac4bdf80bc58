"""Mental rotation: split, readouts, surrogate, scores, runs, report."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage, stats
from scipy.spatial.transform import Rotation
from sklearn.metrics import balanced_accuracy_score

from analysis.parameter_slope import parameter_slope
from analysis.plots_mental_rotation import (
    plot_accuracy_by_angle,
    plot_cost_by_angle,
    plot_rotation_slopes,
)
from neurovis.adapters.latent_rotation import (
    axis_rotation,
    rotate_volume,
    rotation_matches,
    sphere_mask,
)
from neurovis.core.types import SCORE_COLUMNS, Responses
from stimuli.block_figures import bounding_radius, mirror_pair_key, mirror_shape
from stimuli.block_rendering import view_matrix
from stimuli.block_sets import plan_rotation_pairs
from stimuli.block_survey import draw_block_shapes
from tasks.directions import COLUMNS as DIRECTION_COLUMNS
from tasks.mental_rotation import (
    DIRECTIONS_FILE,
    LATENT,
    READOUTS,
    rotation_test_pictures,
    run_mental_rotation,
)
from tasks.mental_rotation_readouts import (
    chance_answers,
    embedding_evidence,
    fit_threshold,
    ideal_answers,
    siamese_evidence,
)
from tasks.mental_rotation_report import finish_mental_rotation, shown_observers
from tasks.mental_rotation_scores import (
    EXTRA_COLUMNS,
    rotation_directions,
    rotation_scores,
)
from tasks.mental_rotation_trials import (
    TRIAL_COLUMNS,
    RotationTrials,
    load_people,
    plan_mental_rotation,
    trial_rows,
)
from tasks.mental_rotation_voxels import occupancy, search_rotation, voxel_matches
from tasks.runs import load_run

TABLES = ("trials.parquet", "scores.parquet", DIRECTIONS_FILE)
SMALL = {
    **{"n_objects": 4, "angles_deg": [0, 60, 120], "pairs_per_angle": 2},
    **{"training_pairs_per_angle": 2, "epochs": 2, "n_bootstrap": 20, "seed": 1},
    **{"device": "cpu", "resolution": 8},
}
MODELS = ["small=control:pixels:pixels:grid8", "pale=control:pixels:pixels:grid2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run with pixels as the network; not to be changed."""
    out = tmp_path_factory.mktemp("run") / "rotation"
    run_mental_rotation(MODELS, out, **SMALL)
    return out


@pytest.fixture(scope="module")
def oracle_pairs():
    angles = list(range(0, 181, 20))
    return plan_rotation_pairs(
        draw_block_shapes(6, seed=11), angles_deg=angles, pairs_per_angle=4, seed=2
    )


@pytest.fixture(scope="module")
def oracle(oracle_pairs):
    """Matches of volumes without noise."""
    return voxel_matches(oracle_pairs, noise=0.0, resolution=16)


# ------------------------------------------------------------------------- split


def test_no_mirror_image_of_a_test_object_is_a_training_object():
    trials = plan_mental_rotation(30, angles_deg=[0, 90], pairs_per_angle=16, seed=5)
    parts = []
    for table in (trials.training, trials.test):
        shown = pd.concat([table["left_shape"], table["right_shape"]])
        parts.append({mirror_pair_key(shape) for shape in shown})
    assert not parts[0] & parts[1]
    assert len(parts[1]) == 15
    assert not set(trials.training["object"]) & set(trials.test["object"])


def test_a_leaking_split_is_refused():
    shape = draw_block_shapes(1)[0]
    options = {"angles_deg": [0], "pairs_per_angle": 2}
    training = plan_rotation_pairs([shape], **options)
    test = plan_rotation_pairs([mirror_shape(shape)], **options)
    with pytest.raises(ValueError, match="among the training objects"):
        RotationTrials(training, test)


# ---------------------------------------------------------------------- readouts


def test_a_threshold_has_the_best_balanced_accuracy_of_all():
    draw = np.random.default_rng(0)
    for _ in range(20):
        same = draw.random(30) < 0.3
        same[:2] = [True, False]
        x = np.round(draw.standard_normal(30) + same, 1)
        fitted = fit_threshold(x, same)
        scores = [
            balanced_accuracy_score(same, x > cut)
            for cut in [-9, *(np.unique(x) + 1e-6)]
        ]
        assert fitted.balanced_accuracy == pytest.approx(max(scores))
        assert balanced_accuracy_score(same, x > fitted.value) == pytest.approx(
            max(scores)
        )


def test_a_threshold_needs_both_kinds():
    with pytest.raises(ValueError, match="both kinds"):
        fit_threshold([0.1, 0.2], [True, True])


def test_embeddings_of_zeros_say_nothing():
    np.testing.assert_allclose(
        embedding_evidence([[1, 0], [0, 0], [1, 1]], [[2, 0], [1, 0], [1, 0]]),
        [1, 0, np.sqrt(0.5)],
    )


def test_the_siamese_head_learns_what_its_training_trials_show():
    """Same = the first features agree in sign; told by no single picture."""
    draw = np.random.default_rng(3)
    left, right = draw.standard_normal((2, 300, 4)).astype(np.float32)
    same = left[:, 0] * right[:, 0] > 0
    training = np.arange(300) < 200
    found = siamese_evidence(left, right, same, training, epochs=40, seed=1)
    assert ((found > 0) == same)[~training].mean() > 0.7


def test_the_siamese_head_never_sees_the_test():
    draw = np.random.default_rng(4)
    left, right = draw.standard_normal((2, 40, 3)).astype(np.float32)
    same = draw.random(40) < 0.5
    training = np.arange(40) < 20
    first = siamese_evidence(left, right, same, training, epochs=2)
    other = np.where(training, same, ~same)
    changed = np.where(training[:, None], right, 5 * right)
    second = siamese_evidence(left, changed, other, training, epochs=2)
    np.testing.assert_array_equal(first[training], second[training])


def test_the_ideal_is_always_right_and_chance_is_half_right(oracle_pairs):
    truth = oracle_pairs["truth"].to_numpy()
    assert (ideal_answers(oracle_pairs) == truth).all()
    names = [f"pair {i}" for i in range(600)]
    answers = chance_answers(names, seed=2)
    assert abs((answers == "same").mean() - 0.5) < 0.07
    assert (chance_answers(names[::-1], seed=2) == answers[::-1]).all()


# --------------------------------------------------------------------- rotations


def test_volumes_turn_as_scipy_turns_them():
    draw = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(draw.standard_normal((12, 12, 12)), 2)
    volume = torch.from_numpy(smooth)[None, None]
    turn = Rotation.from_euler("zyx", [30, 40, 50], degrees=True).as_matrix()
    mine = rotate_volume(volume, torch.from_numpy(turn)[None])[0, 0].numpy()
    swap = turn[::-1, ::-1]  # arrays have the axes z, y, x
    middle = np.full(3, 5.5)
    theirs = ndimage.affine_transform(
        smooth, swap.T, middle - swap.T @ middle, order=1, mode="constant"
    )
    inside = ndimage.binary_erosion(sphere_mask(12).numpy(), iterations=2)
    np.testing.assert_allclose(mine[inside], theirs[inside], atol=1e-6)


def test_rotations_about_axes_are_those_of_scipy():
    axes = np.array([[0, 1, 0], [0.6, 0, 0.8], [0, 0, 1]])
    angles = np.array([90.0, 33.0, -120.0])
    expected = Rotation.from_rotvec(axes * np.radians(angles)[:, None]).as_matrix()
    found = axis_rotation(torch.from_numpy(axes), torch.from_numpy(angles)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_matches_do_not_depend_on_what_is_turned_beside():
    """One axis for all is computed another way than an axis for each."""
    draw = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 3, 2, 6, 6, 6, generator=draw)
    axes = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 0, 1]])
    mixed = rotation_matches(first, second, axes, step_deg=60)
    alike = rotation_matches(first[:2], second[:2], axes[:2], step_deg=60)
    torch.testing.assert_close(mixed[:2], alike, atol=1e-6, rtol=0)
    assert mixed.shape == (3, 4)


def test_a_turned_object_fills_the_turned_voxels():
    quarter = view_matrix(90, 0)
    plain = torch.from_numpy(occupancy("uuubbrrrd", np.eye(3), 12))[None, None]
    turned = rotate_volume(plain, torch.from_numpy(quarter)[None])[0, 0].numpy()
    np.testing.assert_allclose(turned, occupancy("uuubbrrrd", quarter, 12), atol=1e-5)
    # Ten cubes of volume 8 in a cube of two radii.
    share = 80 / (2 * bounding_radius("uuubbrrrd")) ** 3
    assert plain.mean().item() == pytest.approx(share, rel=0.1)


# -------------------------------------------------------------------- the oracle


def test_the_voxel_oracle_is_always_right_and_its_time_is_linear(oracle, oracle_pairs):
    same = (oracle_pairs["truth"] == "same").to_numpy()
    best = oracle.max(axis=1)
    threshold = fit_threshold(best, same)
    assert threshold.balanced_accuracy == 1.0
    search = search_rotation(oracle, threshold.value)
    assert (search.found == same).all()
    # Mirror trials end at the maximum.
    assert (search.steps[~same] == 36).all()
    assert (search.rt_ms[~same] == 1000 + 180 * 17.5).all()
    table = oracle_pairs[same].assign(rt=search.rt_ms[same])
    for _, part in table.groupby("rotation"):
        means = part.groupby("angle_deg")["rt"].mean()
        line = stats.linregress(means.index, means)
        assert line.rvalue**2 > 0.95
        assert 15 < line.slope < 19


def test_a_same_object_matches_best_at_its_angle(oracle, oracle_pairs):
    same = (oracle_pairs["truth"] == "same").to_numpy()
    found = 5 * oracle[same].argmax(axis=1)
    np.testing.assert_allclose(found, oracle_pairs["angle_deg"][same], atol=5)


def test_noise_is_drawn_per_pair(oracle_pairs):
    few = oracle_pairs.iloc[[0, 5, 43]]
    options = {"noise": 0.1, "resolution": 8, "step_deg": 90, "seed": 3}
    together = voxel_matches(few, **options)
    alone = voxel_matches(few.iloc[[2]], **options)
    np.testing.assert_allclose(together[2], alone[0], atol=1e-6)
    assert (together != voxel_matches(few, **{**options, "seed": 4})).any()


# ------------------------------------------------------------------------ scores


def simulated(slope=0.01, noise=0.0, kind="network", timed=False, n_objects=8):
    """Answers whose cost grows by `slope` per degree; mirror images cost 2 more."""
    draw = np.random.default_rng(0)
    pairs = plan_rotation_pairs(
        draw_block_shapes(n_objects, seed=1), angles_deg=[0, 45, 90, 135, 180],
        pairs_per_angle=2 * n_objects,
    )  # fmt: skip
    cost = slope * pairs["angle_deg"] + 2.0 * (pairs["truth"] == "different")
    cost = cost + noise * draw.standard_normal(len(pairs)) + 500 * timed
    return trial_rows(
        pairs,
        response=pairs["truth"],
        correct=True,
        evidence=-cost,
        rt_or_cost=cost,
        rt_ms=cost if timed else np.nan,
        seed=0,
        subject="simulated",
        model="simulated",
        readout="embedding",
        kind=kind,
    )


def value(scores, metric, condition="all", column="value"):
    rows = scores[(scores["metric"] == metric) & (scores["condition"] == condition)]
    assert len(rows) == 1
    return float(rows[column].iloc[0])


def test_scores_recover_a_simulated_slope():
    scores = rotation_scores(simulated(noise=0.3), n_bootstrap=200)
    for rotation in ("depth", "picture-plane"):
        assert value(scores, "cost_slope", rotation) == pytest.approx(0.01, abs=0.002)
        assert value(scores, "cost_r2", rotation) > 0.95
        low, high = (
            value(scores, "cost_slope", rotation, c) for c in ("ci_low", "ci_high")
        )
        assert low < 0.01 < high
        assert value(scores, "slope_ms_per_deg", rotation) == pytest.approx(
            17.5, rel=0.1
        )
        assert value(scores, "error_growth", rotation) == 0
    assert value(scores, "slope_ratio") == pytest.approx(1, abs=0.2)
    assert value(scores, "different_minus_same") == pytest.approx(2, abs=0.15)
    assert value(scores, "accuracy") == 1
    assert list(scores.columns) == [*SCORE_COLUMNS, *EXTRA_COLUMNS]


def test_lines_are_those_of_the_plain_function():
    trials = simulated(noise=1.0)
    scores = rotation_scores(trials, n_bootstrap=0)
    same = trials[(trials["truth"] == "same") & (trials["rotation"] == "depth")]
    means = same.groupby("angle_deg")["rt_or_cost"].mean()
    line = parameter_slope(means.index, means)
    assert value(scores, "cost_slope", "depth") == pytest.approx(line.slope)
    assert value(scores, "cost_intercept", "depth") == pytest.approx(line.intercept)
    assert value(scores, "cost_r2", "depth") == pytest.approx(line.r_squared)
    assert np.isnan(value(scores, "cost_slope", "depth", "ci_low"))


def test_times_of_wrong_answers_do_not_count_and_costs_of_them_do():
    for timed in (True, False):
        trials = simulated(timed=timed)
        wrong = trials["angle_deg"].eq(180) & trials["object"].lt(4)
        trials.loc[wrong, "correct"] = False
        trials.loc[wrong, "rt_or_cost"] += 10
        growth = value(
            rotation_scores(trials, n_bootstrap=0), "mean_cost", "depth 180"
        ) - value(rotation_scores(trials, n_bootstrap=0), "mean_cost", "depth 0")
        assert growth == pytest.approx(1.8 if timed else 1.8 + 5)


def test_a_constant_cost_has_no_r_squared_and_a_missing_one_no_slope():
    flat = rotation_scores(simulated(slope=0.0), n_bootstrap=5)
    assert value(flat, "cost_slope", "depth") == 0
    assert np.isnan(value(flat, "cost_r2", "depth"))
    none = simulated()
    none["rt_or_cost"] = np.nan
    scores = rotation_scores(none, n_bootstrap=5)
    assert np.isnan(value(scores, "cost_slope", "depth"))
    assert np.isnan(value(scores, "different_minus_same"))
    assert value(scores, "accuracy") == 1


def test_errors_that_grow_with_angle_are_found():
    trials = simulated()
    trials["correct"] = trials["angle_deg"] < 80
    scores = rotation_scores(trials, n_bootstrap=50)
    assert value(scores, "accuracy_same", "depth 45") == 1
    assert value(scores, "accuracy", "depth 135") == 0
    assert value(scores, "error_growth", "depth") > 1


def test_directions_hold_for_who_does_as_people_do():
    scores = rotation_scores(simulated(noise=0.1), n_bootstrap=100)
    table = rotation_directions(scores)
    assert list(table.columns) == list(DIRECTION_COLUMNS)
    verdicts = dict(zip(table["claim"], table["verdict"], strict=True))
    assert verdicts["depth: cost of same pairs grows with angle"] == "holds"
    assert verdicts["picture plane: r² of the line above 0.9"] == "holds"
    assert verdicts["different pairs cost more than same pairs"] == "holds"
    backwards = rotation_directions(rotation_scores(simulated(-0.01, 0.1)))
    assert "reversed" in set(backwards["verdict"])


# ------------------------------------------------------------------------ people


def people_table(pairs, n_people=3):
    draw = np.random.default_rng(1)
    rows = []
    for subject in range(n_people):
        table = pairs[["pair", "truth", "angle_deg"]].copy()
        table["subject"] = f"p{subject}"
        table["rt_ms"] = 900 + 18 * table["angle_deg"] + draw.normal(0, 50, len(table))
        table["response"] = table["truth"]
        rows.append(table)
    return pd.concat(rows).rename(columns={"pair": "stimulus_id"})


def test_people_stand_beside_with_their_own_slope(tmp_path, undrawn_figures):
    names = ("angles_deg", "pairs_per_angle", "training_pairs_per_angle", "seed")
    pairs = plan_mental_rotation(4, **{name: SMALL[name] for name in names}).test
    table = people_table(pairs)
    path = tmp_path / "people.csv"
    table.drop(columns=["truth", "angle_deg"]).to_csv(path, index=False)
    score = run_mental_rotation(
        [], tmp_path / "run", people=path, readouts=["voxel", "chance"],
        **SMALL,
    )  # fmt: skip
    people = score.table[score.table["model"] == "human"]
    assert set(people["subject"]) == {"human mean"}
    assert value(people, "cost_slope", "depth") == pytest.approx(18, abs=1)
    assert value(people, "accuracy") == 1
    assert np.isfinite(value(people, "cost_slope", "depth", "ci_low"))
    lines = finish_mental_rotation(tmp_path / "run")
    assert any(line.strip().startswith("people") for line in lines)


def test_answers_may_be_right_or_wrong_instead_of_words():
    pairs = plan_rotation_pairs(
        draw_block_shapes(1), angles_deg=[0], pairs_per_angle=2, rotations="depth"
    )
    table = pd.DataFrame(
        {
            "subject": "a",
            "stimulus_id": pairs["pair"],
            "response": ["f", "j"],
            "correct": [True, np.nan],
            "rt_ms": [800.0, np.nan],
            "trial": [0, 1],
        }
    )
    found = load_people(Responses(table), pairs)
    assert found["correct"].tolist() == [True, False]
    assert found["response"].tolist() == ["same", "same"]
    assert list(found.columns) == list(TRIAL_COLUMNS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="rt_ms"), "rt_ms"),
        (lambda t: t.drop(columns="response"), "correct"),
        (lambda t: t.assign(stimulus_id="elsewhere"), "'elsewhere' is none"),
        (lambda t: t.iloc[:0], "`people` must have"),
        (lambda t: t.assign(rt_ms=-5.0), "not above 0"),
    ],
)
def test_strange_answers_of_people_are_refused(oracle_pairs, change, message):
    with pytest.raises(ValueError, match=message):
        load_people(change(people_table(oracle_pairs)), oracle_pairs)


# -------------------------------------------------------------------------- runs


def test_a_run_leaves_trials_scores_and_directions(finished):
    run = load_run(finished, "mental-rotation")
    assert list(run.trials.columns) == list(TRIAL_COLUMNS)
    observers = run.trials.groupby("subject").size()
    assert len(observers) == 2 * 2 + 3
    assert (observers == 2 * 3 * 2).all()
    assert set(run.trials["readout"]) == set(READOUTS) - {LATENT}
    ideal = run.scores[run.scores["model"] == "ideal"]
    assert value(ideal, "accuracy") == 1
    assert value(ideal, "accuracy", column="ceiling_low") == 1
    fitted = run.scores[run.scores["metric"] == "training_accuracy"]
    assert fitted["value"].between(0, 1).all()
    directions = pd.read_parquet(finished / DIRECTIONS_FILE)
    assert set(directions["model"]) == {
        *("small, embedding", "small, siamese", "pale, embedding", "pale, siamese"),
        "voxel rotation, voxel",
    }
    assert any("surrogate" in note for note in run.provenance.notes)
    assert {"stimuli", "model small", "model pale"} <= set(run.provenance.fingerprints)


def test_answers_follow_the_threshold_of_the_training_pairs(finished):
    run = load_run(finished)
    own = run.trials[run.trials["subject"] == "small pixels:grid8, embedding"]
    by = run.scores[run.scores["subject"] == "small pixels:grid8, embedding"]
    threshold = value(by, "threshold")
    assert ((own["evidence"] > threshold) == (own["response"] == "same")).all()
    np.testing.assert_array_equal(own["rt_or_cost"], -own["evidence"])


def test_an_interrupted_run_goes_on_and_ends_with_identical_tables(finished, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    before = {name: (out / name).read_bytes() for name in TABLES}
    for name in (*TABLES, "provenance.json"):
        (out / name).unlink()
    entries = sorted(p for p in (out / "parts").iterdir() if len(p.name) == 64)
    for entry in entries[::2]:
        shutil.rmtree(entry)
    shutil.rmtree(next((out / "parts" / "siamese").iterdir()))
    run_mental_rotation(MODELS, out, **SMALL)
    assert before == {name: (out / name).read_bytes() for name in TABLES}


def test_a_folder_of_another_run_is_refused(finished):
    with pytest.raises(ValueError, match="seed"):
        run_mental_rotation(MODELS, finished, **{**SMALL, "seed": 9})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"readouts": ["imagery"]}, "readouts"),
        ({"readouts": []}, "readouts"),
        ({"models": []}, "`models` is empty"),
        ({"noise": -1}, "noise"),
        ({"epochs": 0}, "epochs"),
        ({"n_objects": 1}, "n_objects"),
        ({"angles_deg": [0, 190]}, "angles_deg"),
        ({"models": ["nonsense"]}, "nonsense"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    tmp_path, change, message
):
    call = {"models": MODELS, **SMALL, **change}
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        run_mental_rotation(call.pop("models"), out, **call)
    assert not out.exists()


def test_untrained_networks_are_marked(tmp_path):
    score = run_mental_rotation(
        ["u=compact_vgg@seeded:0:stage5:grid1"], tmp_path / "run",
        readouts="embedding", **{**SMALL, "angles_deg": [0, 90], "pairs_per_angle": 2},
    )  # fmt: skip
    own = score.table[score.table["model"] == "u"]
    assert own["untrained"].all()
    directions = pd.read_parquet(tmp_path / "run" / DIRECTIONS_FILE)
    assert directions["untrained"].all()


def test_people_can_be_shown_the_very_pairs_of_a_run(finished):
    names = ("n_objects", "angles_deg", "pairs_per_angle", "training_pairs_per_angle")
    options = {name: SMALL[name] for name in (*names, "seed")}
    stimuli = rotation_test_pictures(**options)
    run = load_run(finished)
    assert set(stimuli.table["stimulus_id"]) == set(run.trials["stimulus_id"])
    assert stimuli.load(0).shape == (224, 464, 3)


# ------------------------------------------------------------------------ report


def test_the_report_shows_the_layer_that_was_best_in_training(
    finished, undrawn_figures
):
    lines = finish_mental_rotation(finished)
    assert "correct (%)" in lines[0]
    assert lines[-1] == f"report {finished / 'report.html'}"
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "Shepard and Metzler" in page
    assert "as if they turned one" in page
    figures = {path.stem for path in (finished / "figures").iterdir()}
    assert {"pairs", "accuracy_depth_embedding", "cost_depth_siamese"} <= figures
    scores = load_run(finished).scores
    shown = shown_observers(scores)
    assert shown[:3] == ["voxel rotation", "ideal", "chance"]
    assert len(shown) == 3 + 2 * 2


def test_figures_have_one_line_per_observer(finished):
    scores = load_run(finished).scores
    scores = scores[scores["readout"] != "siamese"]
    ax = plot_accuracy_by_angle(scores, rotation="depth")
    assert len(ax.containers) == 5
    drawn = ax.containers[0].lines[0].get_ydata()
    first = scores[scores["subject"] == scores["subject"].iloc[0]]
    expected = [100 * value(first, "accuracy", f"depth {a}") for a in (0, 60, 120)]
    np.testing.assert_allclose(np.asarray(drawn, float), expected)
    cost = plot_cost_by_angle(scores, rotation="picture-plane")
    heights = np.concatenate([c.lines[0].get_ydata() for c in cost.containers])
    assert heights.min() >= 0
    assert heights.max() <= 1
    slopes = plot_rotation_slopes(scores, metric="cost_r2")
    assert len(slopes.get_yticks()) == 3
    with pytest.raises(ValueError, match="sideways"):
        plot_accuracy_by_angle(scores, rotation="sideways")
    with pytest.raises(ValueError, match="no defined value"):
        plot_rotation_slopes(scores, metric="beauty")
