"""Simulated brains that read scenes by content or by place."""

import numpy as np
import pandas as pd
import pytest

from data_loaders.simulated_routing import field_masks, simulate_routing
from data_loaders.simulated_scenes import SceneStyle, pool_boxes
from neurovis.core.noise_ceiling import explainable_fraction, signal_to_noise
from neurovis.core.unit_responses import open_responses, save_responses

SMALL = {
    "grid": (9, 9),
    "n_channels": 8,
    "n_categories": 3,
    "units_per_region": 4,
    "style": SceneStyle(max_objects=2, object_cells=(2, 3), n_code=3),
}


def correlations(a, b):
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def best_ridge(features, responses, n_train):
    """Correlation of held-out responses with ridge predictions, best penalty."""
    features = np.asarray(features, np.float64)
    responses = np.asarray(responses, np.float64)
    x = features - features[:n_train].mean(axis=0)
    y = responses[:n_train] - responses[:n_train].mean(axis=0)
    left, sizes, right = np.linalg.svd(x[:n_train], full_matrices=False)
    scores = []
    for penalty in 10.0 ** np.arange(-1, 7):
        shrunk = (sizes / (sizes**2 + penalty))[:, None] * (left.T @ y)
        found = x[n_train:] @ (right.T @ shrunk)
        scores.append(correlations(found, responses[n_train:]))
    return np.max(scores, axis=0)


# ------------------------------------------------------------------- rules


def test_units_of_content_read_the_code_of_their_object_wherever_it_is():
    brain = simulate_routing(400, kind="content", **SMALL, presence=0.3)
    (subject,) = brain.subjects
    units = subject.responses.units
    assert set(units["region"]) == {"disc", "square", "triangle"}
    scenes = brain.scenes
    # Expected numbers: an object is there in half of the scenes.
    gain = np.sqrt(0.3 / (0.7 * 0.5))
    for v, region in enumerate(units["region"]):
        k = scenes.categories.index(region)
        signal = np.zeros(400)
        for i in np.flatnonzero(scenes.present[:, k]):
            signal[i] = gain + sum(subject.weights[v] * scenes.codes[i, k])
        signal = (signal - signal.mean()) / signal.std()
        np.testing.assert_allclose(subject.signals[:, v], signal, atol=1e-5)


@pytest.mark.parametrize("presence", [0.0, 0.2, 0.7])
def test_presence_explains_the_share_of_signals_asked_for(presence):
    brain = simulate_routing(2000, **SMALL, presence=presence)
    (subject,) = brain.subjects
    shares = []
    for v, region in enumerate(subject.responses.units["region"]):
        k = brain.scenes.categories.index(region)
        there = brain.scenes.present[:, k]
        shares.append(np.corrcoef(there, subject.signals[:, v])[0, 1] ** 2)
    assert np.mean(shares) == pytest.approx(presence, abs=0.03)


def test_presence_has_no_effect_where_an_object_is_always_there():
    style = SceneStyle(max_objects=1)
    options = {"n_categories": 1, "style": style, "noise_ceiling": 1.0}
    without, with_it = (
        simulate_routing(20, **options, presence=p).responses.betas for p in (0, 0.9)
    )
    np.testing.assert_array_equal(without, with_it)


@pytest.mark.parametrize("fields", ["region", "unit"])
def test_units_with_fixed_fields_pool_the_maps_over_them(fields):
    brain = simulate_routing(60, kind="fixed", **SMALL, fields=fields)
    (subject,) = brain.subjects
    units = subject.responses.units
    for v, unit in units.iterrows():
        mask = np.zeros((9, 9))
        for row in range(9):
            for column in range(9):
                right, up = (column - 4) / 9, (4 - row) / 9
                distance = np.hypot(right - unit["rf_x"], up - unit["rf_y"])
                mask[row, column] = np.exp(-((distance / unit["rf_size"]) ** 2) / 2)
        mask /= mask.sum()
        signal = np.zeros(60)
        for i in range(60):
            for c in range(8):
                signal[i] += subject.weights[v, c] * (mask * brain.maps[i, c]).sum()
        signal = (signal - signal.mean()) / signal.std()
        np.testing.assert_allclose(subject.signals[:, v], signal, atol=1e-4)


def test_weights_are_unit_vectors_and_differ_between_units():
    for kind, n in (("content", 3), ("fixed", 8)):
        weights = simulate_routing(20, kind=kind, **SMALL).subjects[0].weights
        assert weights.shape == (12, n)
        np.testing.assert_allclose(np.linalg.norm(weights, axis=1), 1)
        cosines = weights @ weights.T - np.eye(12)
        assert cosines.max() < 1 - 1e-3


# -------------------------------------------------------------- difficulty


def test_for_content_the_box_of_the_object_tells_far_more_than_whole_maps():
    brain = simulate_routing(600, kind="content", **SMALL, seed=1)
    responses = brain.responses
    flat = best_ridge(brain.maps.reshape(600, -1), responses.betas, 400)
    oracle = np.zeros(responses.n_units)
    for category in brain.scenes.categories:
        mine = responses.in_region(category)
        pooled = np.nan_to_num(pool_boxes(brain.scenes, category))
        oracle[mine] = best_ridge(pooled, responses.betas[:, mine], 400)
    ceiling = correlations(brain.subjects[0].signals[400:], responses.betas[400:])
    assert oracle.mean() > flat.mean() + 0.4
    assert oracle.mean() > 0.9 * ceiling.mean()
    assert flat.mean() < 0.5 * ceiling.mean()


def test_for_fixed_the_true_field_recovers_the_responses_and_another_does_not():
    brain = simulate_routing(600, kind="fixed", **SMALL, field_size=0.12, seed=1)
    responses = brain.responses
    masks = field_masks(responses.units, (9, 9))
    opposite = masks[:, ::-1, ::-1]
    scores = {"true": [], "opposite": []}
    for name, fields in (("true", masks), ("opposite", opposite)):
        for v in range(responses.n_units):
            pooled = np.einsum("nchw,hw->nc", brain.maps, fields[v])
            scores[name] += [*best_ridge(pooled, responses.betas[:, [v]], 400)]
    ceiling = correlations(brain.subjects[0].signals[400:], responses.betas[400:])
    flat = best_ridge(brain.maps.reshape(600, -1), responses.betas, 400)
    assert np.mean(scores["true"]) > 0.97 * ceiling.mean()
    assert flat.mean() > 0.9 * ceiling.mean()
    assert np.mean(scores["opposite"]) < 0.4 * ceiling.mean()


def test_the_bound_for_weighted_sums_of_places_holds_without_any_noise():
    options = SMALL | {"style": SceneStyle(2, (2, 2), 3, 5.0, 200.0)}
    brain = simulate_routing(3000, **options, noise_ceiling=1.0, presence=0.0)
    summed = brain.maps.sum(axis=(2, 3))
    scores = best_ridge(summed, brain.responses.betas, 2000)
    assert scores.mean() == pytest.approx(3**-0.5, abs=0.04)


# ------------------------------------------------------------------- noise


@pytest.mark.parametrize("n_repeats", [1, 3])
@pytest.mark.parametrize("ceiling", [0.4, (0.2, 0.9)])
def test_the_noise_ceiling_is_the_one_asked_for(n_repeats, ceiling):
    brain = simulate_routing(
        4000, **SMALL, noise_ceiling=ceiling, n_repeats=n_repeats, seed=2
    )
    responses = brain.responses
    told = explainable_fraction(
        responses.units["ncsnr"], responses.stimuli["n_repeats"]
    )
    low, high = np.broadcast_to(ceiling, 2)
    assert (told >= low - 1e-12).all()
    assert (told <= high + 1e-12).all()
    assert np.ptp(told) >= 0.3 * (high - low)
    found = correlations(brain.subjects[0].signals, responses.betas) ** 2
    np.testing.assert_allclose(found, told, atol=0.04)


def test_repeats_tell_the_ceiling():
    brain = simulate_routing(
        2000, **SMALL, noise_ceiling=(0.3, 0.8), n_repeats=3, trials=True
    )
    responses = brain.responses
    betas, names = responses.repeats(3)
    assert len(names) == 2000
    noise = betas.var(axis=1, ddof=1).mean(axis=0)
    total = betas.reshape(-1, betas.shape[2]).var(axis=0, ddof=1)
    found = signal_to_noise(noise, total)
    np.testing.assert_allclose(found, responses.units["ncsnr"], rtol=0.08)


def test_without_noise_responses_are_signals():
    brain = simulate_routing(30, **SMALL, noise_ceiling=1, n_repeats=2)
    np.testing.assert_array_equal(brain.responses.betas, brain.subjects[0].signals)
    assert np.isinf(brain.responses.units["ncsnr"]).all()


def test_averaging_the_trials_gives_the_averages():
    single, averaged = (
        simulate_routing(30, **SMALL, n_repeats=3, trials=trials)
        for trials in (True, False)
    )
    assert len(single.responses) == 90
    assert single.responses.stimuli["repeat"].tolist() == [0, 1, 2] * 30
    assert single.subjects[0].rows.tolist() == np.repeat(np.arange(30), 3).tolist()
    np.testing.assert_array_equal(
        single.subjects[0].signals[::3], averaged.subjects[0].signals
    )
    again = single.responses.average()
    np.testing.assert_allclose(again.betas, averaged.responses.betas, atol=1e-6)
    assert list(averaged.responses.stimuli) == ["stimulus_id", "n_repeats"]
    assert set(averaged.responses.stimuli["n_repeats"]) == {3}


# --------------------------------------------------------- units and tables


@pytest.mark.parametrize("kind", ["content", "fixed"])
def test_regions_have_units_in_both_hemispheres(kind):
    options = SMALL | {"units_per_region": 5}
    units = simulate_routing(20, kind=kind, **options).responses.units
    counts = pd.crosstab(units["region"], units["hemisphere"])
    assert counts.to_numpy().tolist() == [[3, 2]] * 3
    assert units["hemisphere"].tolist() == ["lh"] * 9 + ["rh"] * 6


def test_fields_are_contralateral_and_shared_within_a_region_or_not():
    for fields in ("region", "unit"):
        brain = simulate_routing(20, kind="fixed", **SMALL, fields=fields)
        units = brain.responses.units
        assert (units["rf_x"].gt(0) == units["hemisphere"].eq("lh")).all()
        parts = units.groupby(["region", "hemisphere"])[["rf_x", "rf_y", "rf_size"]]
        distinct = parts.nunique().to_numpy()
        assert (distinct == (1 if fields == "region" else 2)).all()
    assert len(units[["rf_x", "rf_y"]].drop_duplicates()) == len(units)


def test_fields_of_units_go_around_the_fovea_and_grow_with_eccentricity():
    options = SMALL | {"units_per_region": 40}
    brain = simulate_routing(
        20, kind="fixed", **options, fields="unit", field_size=0.08
    )
    units = brain.responses.units
    eccentricity = np.hypot(units["rf_x"], units["rf_y"])
    assert eccentricity.between(0.1, 0.4).all()
    expected = 0.08 * (0.5 + 2 * eccentricity)
    np.testing.assert_allclose(units["rf_size"], expected)
    units = units.assign(angle=np.arctan2(units["rf_y"], units["rf_x"].abs()))
    for _, part in units.groupby(["region", "hemisphere"]):
        np.testing.assert_allclose(
            np.rad2deg(part["angle"]), np.linspace(-67.5, 67.5, 20)
        )


def test_a_region_alone_and_a_unit_alone_see_the_horizontal_meridian():
    style = SceneStyle(max_objects=1)
    for fields in ("region", "unit"):
        brain = simulate_routing(
            9,
            kind="fixed",
            n_categories=1,
            units_per_region=1,
            style=style,
            fields=fields,
        )
        assert brain.responses.units["rf_y"].tolist() == [0.0]


def test_responses_have_pictures_notes_and_survive_the_disk(tmp_path):
    brain = simulate_routing(20, **SMALL, noise_ceiling=(0.5, 1.0))
    responses = brain.responses
    assert responses.notes[0].startswith("Simulated data")
    assert responses.stimuli["stimulus_id"].iloc[7] == "scene-00007"
    for i in (0, 19):
        np.testing.assert_array_equal(responses.pictures[i], brain.scenes.pictures[i])
    assert responses.betas.dtype == brain.maps.dtype == np.float32
    save_responses(tmp_path, responses)
    back = open_responses(tmp_path)
    np.testing.assert_array_equal(back.betas, responses.betas)
    pd.testing.assert_frame_equal(back.units, responses.units, check_dtype=False)


# ------------------------------------------------------------------- seeds


@pytest.mark.parametrize("kind", ["content", "fixed"])
def test_a_seed_gives_the_same_brain_bit_for_bit(kind):
    one, again, other = (
        simulate_routing(30, kind=kind, **SMALL, n_subjects=2, seed=s)
        for s in (4, 4, 5)
    )
    np.testing.assert_array_equal(one.maps, again.maps)
    for a, b, c in zip(one.subjects, again.subjects, other.subjects, strict=True):
        np.testing.assert_array_equal(a.responses.betas, b.responses.betas)
        np.testing.assert_array_equal(a.signals, b.signals)
        np.testing.assert_array_equal(a.weights, b.weights)
        assert a.responses.units.equals(b.responses.units)
        assert not (a.responses.betas == c.responses.betas).any()


# ---------------------------------------------------------------- subjects


def test_subjects_share_scenes_and_have_units_of_their_own():
    brain = simulate_routing(100, **SMALL, n_subjects=3, shared=0.1)
    rows = [subject.rows.tolist() for subject in brain.subjects]
    assert [len(r) for r in rows] == [40, 40, 40]
    everyone = set(rows[0]) & set(rows[1]) & set(rows[2])
    assert everyone == set(range(10))
    assert set(rows[0]) | set(rows[1]) | set(rows[2]) == set(range(100))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert set(rows[a]) & set(rows[b]) == everyone
    first, second = brain.subjects[:2]
    assert (first.weights != second.weights).all()
    names = first.responses.stimuli["stimulus_id"]
    assert names.tolist() == [f"scene-{i:05d}" for i in rows[0]]
    for subject in brain.subjects:
        np.testing.assert_allclose(subject.signals.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(subject.signals.std(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("trials", [False, True])
def test_joined_subjects_are_undefined_where_they_did_not_look(trials):
    brain = simulate_routing(
        40, **SMALL, n_subjects=2, shared=0.25, n_repeats=2, trials=trials
    )
    joined = brain.joined
    assert joined.betas.shape == (40, 24)
    assert joined.units["unit_id"].is_unique
    assert joined.units["subject"].tolist() == ["subj01"] * 12 + ["subj02"] * 12
    assert set(joined.stimuli["n_repeats"]) == {2}
    for number, subject in enumerate(brain.subjects):
        own = joined.betas[:, 12 * number : 12 * number + 12]
        seen = np.isin(np.arange(40), subject.rows)
        assert np.isnan(own[~seen]).all()
        expected = np.zeros((40, 12))
        np.add.at(expected, subject.rows, subject.responses.betas)
        expected /= 2 if trials else 1
        np.testing.assert_allclose(own[seen], expected[seen], atol=1e-6)
    np.testing.assert_array_equal(joined.pictures[3], brain.scenes.pictures[3])


def test_one_subject_sees_everything_whatever_is_shared():
    brain = simulate_routing(20, **SMALL, shared=0.3)
    assert brain.subjects[0].rows.tolist() == list(range(20))
    np.testing.assert_array_equal(brain.joined.betas, brain.responses.betas)


# ------------------------------------------------------------------ fields


def test_fields_sum_to_one_even_when_they_are_points():
    units = pd.DataFrame(
        {
            "rf_x": [0.0, 0.4, -0.26],
            "rf_y": [0.0, 0.1, 0.2],
            "rf_size": [5.0, 1e-3, 0.1],
        }
    )
    masks = field_masks(units, (6, 12))
    np.testing.assert_allclose(masks.sum(axis=(1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(masks[0], 1 / 72, rtol=0.02)
    # 0.1 widths up are 1.2 cells above the middle between rows 2 and 3.
    assert np.argwhere(masks[1] == 1).tolist() == [[1, 10]]
    right = (np.arange(12) - 5.5) / 12
    assert (masks[2].sum(axis=0) * right).sum() == pytest.approx(-0.26, abs=0.02)


# --------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "contents"}, "`kind` must be one of 'content', 'fixed'.*Did you"),
        ({"fields": "units"}, "`fields` must be one of 'region', 'unit'"),
        ({"n_images": 1}, r"`n_images` must be within \[2, 100000\]; got 1"),
        ({"units_per_region": 0}, "`units_per_region` must be within"),
        ({"noise_ceiling": 0}, "`noise_ceiling` must be a number above 0"),
        ({"noise_ceiling": 1.1}, r"`noise_ceiling` must be within \[0, 1\]; got 1.1"),
        ({"noise_ceiling": (0.8, 0.2)}, "a lower and an upper bound; got"),
        ({"noise_ceiling": (0.1, 0.2, 0.3)}, r"`noise_ceiling` must have shape \(2\)"),
        ({"noise_ceiling": "high"}, "`noise_ceiling` must be a number; got str"),
        ({"n_repeats": 0}, "`n_repeats` must be within"),
        ({"n_subjects": 0}, "`n_subjects` must be within"),
        ({"n_subjects": 30, "shared": 0}, "`n_images` 50 is too small: each of 30"),
        ({"shared": -0.1}, "`shared` must be within"),
        ({"presence": 1}, r"`presence` must be within \[0, 0.99\]; got 1"),
        ({"field_size": 0}, "`field_size` must be within"),
        ({"n_channels": 5}, "`n_channels` must be at least 7"),
        ({"seed": -1}, "`seed` must be 0 or more"),
    ],
)
def test_arguments_out_of_range_are_refused(options, match):
    with pytest.raises((TypeError, ValueError), match=match):
        simulate_routing(**({"n_images": 50} | options))


def test_too_few_scenes_to_tell_anything_are_refused():
    with pytest.raises(ValueError, match="2 scenes that subj01 sees are all the same"):
        simulate_routing(2, n_categories=8)


def test_fields_need_their_columns():
    with pytest.raises(ValueError, match=r"lacks the columns \['rf_size'\]"):
        field_masks(pd.DataFrame({"rf_x": [0.0], "rf_y": [0.0]}), (2, 2))
