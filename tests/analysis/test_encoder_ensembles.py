"""Ensembles of encoders against plain loops, and what their rules promise."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from analysis.encoder_ensembles import combine_predictions, layer_weights
from analysis.metrics import pearson_r


def ensemble(n_layers=3, n_runs=2, n_images=5, n_units=4, seed=0):
    rng = np.random.default_rng(seed)
    r = rng.uniform(-0.2, 0.8, (n_layers, n_runs, n_units))
    return rng.normal(size=(n_layers, n_runs, n_images, n_units)), r


SHAPES = st.tuples(*(st.integers(1, 4) for _ in range(4)), st.integers(0, 9))


@given(SHAPES, st.floats(0, 100))
def test_predictions_match_loops_over_layers_runs_and_units(shape, temperature):
    predictions, r = ensemble(*shape)
    n_layers, n_runs, n_images, n_units = predictions.shape
    expected = np.zeros((n_images, n_units))
    for v in range(n_units):
        weights = softmax([temperature * r[k, :, v].mean() for k in range(n_layers)])
        for k in range(n_layers):
            mean_run = sum(predictions[k, run, :, v] for run in range(n_runs)) / n_runs
            expected[:, v] += weights[k] * mean_run
    found = combine_predictions(predictions, r, temperature=temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    published = combine_predictions(
        predictions, r, temperature=temperature, weighting="published"
    )
    np.testing.assert_allclose(published, n_runs * expected, rtol=1e-9, atol=1e-12)


@given(SHAPES, st.floats(0, 100))
def test_weights_add_up_to_one_and_follow_r(shape, temperature):
    _, r = ensemble(*shape)
    weights = layer_weights(r, temperature)
    assert weights.shape == (r.shape[0], r.shape[2])
    assert ((weights >= 0) & (weights <= 1)).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    for w, of_unit in zip(weights.T, r.mean(axis=1).T, strict=True):
        order = np.argsort(of_unit)
        assert (np.diff(w[order]) >= -1e-12).all()
    # What all layers have in common does not matter, nor does their order.
    np.testing.assert_allclose(layer_weights(r - 0.1, temperature), weights, atol=1e-9)
    np.testing.assert_allclose(layer_weights(r[::-1], temperature), weights[::-1])


def test_a_layer_that_is_a_tenth_better_weighs_148_times_as_much():
    weights = layer_weights([[[0.4]], [[0.3]]])
    assert weights[0, 0] / weights[1, 0] == pytest.approx(np.exp(5))


def test_limits_of_the_temperature_are_the_mean_and_the_best_layer():
    predictions, r = ensemble()
    flat = combine_predictions(predictions, r, temperature=0)
    np.testing.assert_allclose(flat, predictions.mean(axis=(0, 1)))
    best = combine_predictions(predictions, r, temperature=1e6)
    chosen = r.mean(axis=1).argmax(axis=0)
    for v, layer in enumerate(chosen):
        np.testing.assert_allclose(best[:, v], predictions[layer, :, :, v].mean(0))


def test_equal_predictions_stay_as_they_are():
    predictions, r = ensemble()
    same = np.broadcast_to(predictions[:1, :1], predictions.shape)
    np.testing.assert_allclose(combine_predictions(same, r), predictions[0, 0])
    doubled = combine_predictions(same, r, weighting="published")
    np.testing.assert_allclose(doubled, 2 * predictions[0, 0])


def test_undefined_r_counts_as_zero_and_leaves_layers_alike_where_all_are():
    _, r = ensemble()
    r[0, 0, 1] = np.nan
    zero = r.copy()
    zero[0, 0, 1] = 0
    np.testing.assert_array_equal(layer_weights(r), layer_weights(zero))
    r[:, :, 2] = np.nan
    weights = layer_weights(r)
    np.testing.assert_allclose(weights[:, 2], 1 / 3)
    assert not np.isnan(weights).any()


def test_undefined_predictions_of_any_run_stay_undefined():
    predictions, r = ensemble()
    predictions[1, 0, 3, 2] = np.nan
    r[1, :, 2] = -1  # even at a weight of 0
    found = combine_predictions(predictions, r, temperature=1e6)
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 2]]
    predictions[1, 0, 3, 2] = np.inf
    assert np.isnan(combine_predictions(predictions, r, temperature=1e6)[3, 2])


def test_recovers_the_layer_that_each_unit_is_made_of():
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(3, 400, 9))
    home = np.arange(9) % 3
    measured = signals[home, :, np.arange(9)].T
    measured = measured + rng.normal(size=measured.shape)
    runs = signals[:, None] + 0.5 * rng.normal(size=(3, 4, 400, 9))
    half = slice(0, 200), slice(200, 400)
    r = [
        [pearson_r(measured[half[0]], run[half[0]]) for run in layer] for layer in runs
    ]
    assert (layer_weights(r).argmax(axis=0) == home).all()
    together = combine_predictions(runs[:, :, half[1]], r)
    single = pearson_r(measured[half[1]], runs[0, 0, half[1]])
    ensemble_r = pearson_r(measured[half[1]], together)
    assert (ensemble_r > single).all()
    assert ensemble_r.mean() == pytest.approx(1 / np.sqrt(2), abs=0.06)


def test_memory_maps_are_read_in_blocks(tmp_path):
    rng = np.random.default_rng(1)
    n_images, n_units = 1200, 5000
    runs = []
    for i in range(4):
        path = tmp_path / f"{i}.npy"
        values = rng.normal(size=(n_images, n_units)).astype(np.float32)
        np.save(path, values)
        runs.append(np.load(path, mmap_mode="r"))
    nested = [runs[:2], runs[2:]]
    r = rng.uniform(0, 0.5, (2, 2, n_units))
    tracemalloc.start()
    found = combine_predictions(nested, r)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one = 4 * n_images * n_units
    assert peak < 4 * one  # the result, and blocks in float64: not all four maps
    assert found.dtype == np.float32
    rows = slice(600, 603)  # over the border of blocks or not
    small = [[np.array(run[rows], np.float64) for run in layer] for layer in nested]
    exact = combine_predictions(small, r)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(found[rows], exact, rtol=2e-6, atol=1e-6)


def test_arguments_that_do_not_fit_are_refused():
    predictions, r = ensemble()
    with pytest.raises(ValueError, match=r"must have shape \(any, any, any\)"):
        layer_weights(r[0])
    with pytest.raises(ValueError, match=r"correlations, -1..1; got .* to 40"):
        layer_weights(np.where(r == r.max(), 40, r))
    with pytest.raises(ValueError, match="at least one layer and one run"):
        layer_weights(np.empty((0, 2, 3)))
    with pytest.raises(ValueError, match="`temperature` must be within"):
        layer_weights(r, -1)
    with pytest.raises(ValueError, match="`weighting` must be one of"):
        combine_predictions(predictions, r, weighting="sum")
    with pytest.raises(ValueError, match=r"2 layers with \[2, 2\] runs"):
        combine_predictions(predictions[:2], r)
    with pytest.raises(ValueError, match=r"3 layers with \[1, 2, 2\] runs"):
        combine_predictions([predictions[0, :1], *predictions[1:]], r)
    with pytest.raises(ValueError, match=r"`predictions\[0\]\[0\]` has shape \(5, 3\)"):
        combine_predictions(predictions[..., :3], r)
    uneven = [[run for run in layer] for layer in predictions]
    uneven[1][1] = uneven[1][1][:4]
    with pytest.raises(ValueError, match=r"`predictions\[1\]\[1\]` has shape \(4, 4\)"):
        combine_predictions(uneven, r)
    with pytest.raises(ValueError, match="`predictions` must have shape"):
        combine_predictions(predictions[0], r)
