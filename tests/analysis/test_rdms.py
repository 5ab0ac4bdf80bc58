"""Dissimilarities against SciPy, loops and simulated truth."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist, squareform

from analysis.noise_covariance import estimate_noise_covariance
from analysis.rdms import MEASURES, make_crossnobis_rdm, make_rdm, make_rdm_stack

FEATURES = arrays(
    np.float64,
    st.tuples(st.integers(2, 6), st.integers(1, 5)),
    elements=st.integers(-9, 9).map(float),
)
SIMPLE = [name for name in MEASURES if name != "mahalanobis"]


def simulate(n_stimuli=12, n_features=40, seed=0):
    return np.random.default_rng(seed).standard_normal((n_stimuli, n_features)) + 3


def random_covariance(n, seed=0):
    root = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return root @ root.T / n


def plain_crossnobis(trials, precision):
    """Products of differences in all pairs of partitions that both stimuli have."""
    n_features = trials.shape[2]
    distances = []
    for i, j in itertools.combinations(range(len(trials)), 2):
        difference = trials[i] - trials[j]
        difference = difference[~np.isnan(difference).any(axis=1)]
        products = [
            a @ precision @ b / n_features
            for a, b in itertools.permutations(difference, 2)
        ]
        distances.append(np.mean(products) if products else np.nan)
    return np.array(distances)


def write_memory_map(folder, values):
    path = folder / "features.npy"
    np.save(path, values)
    return np.load(path, mmap_mode="r")


# --------------------------------------------------------------------- distances


@pytest.mark.parametrize(
    ("measure", "name", "divisor"),
    [
        ("correlation", "correlation", 1),
        ("cosine", "cosine", 1),
        ("euclidean", "euclidean", 1),
        ("squared_euclidean", "sqeuclidean", 40),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_distances_are_those_of_scipy(measure, name, divisor, dtype):
    features = simulate().astype(dtype)
    expected = pdist(features.astype(float), name) / divisor
    found = make_rdm(features, measure)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_mahalanobis_is_that_of_scipy_per_feature():
    features, covariance = simulate(), random_covariance(40)
    inverse = np.linalg.inv(covariance)
    expected = pdist(features, "mahalanobis", VI=inverse) ** 2 / 40
    found = make_rdm(features, "mahalanobis", noise_covariance=covariance)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_variances_are_a_diagonal_covariance():
    features, variances = simulate(), np.linspace(0.5, 3, 40)
    whole, short = (
        make_rdm(features, "mahalanobis", noise_covariance=noise)
        for noise in (np.diag(variances), variances)
    )
    np.testing.assert_allclose(short, whole, rtol=1e-10)
    plain = make_rdm(features / np.sqrt(variances), "squared_euclidean")
    np.testing.assert_allclose(short, plain, rtol=1e-10)


@pytest.mark.parametrize("measure", SIMPLE)
def test_maps_in_many_blocks_give_the_same_as_one_array(measure, tmp_path):
    features = simulate(4, 3 * 800 * 500).astype(np.float32)
    maps = write_memory_map(tmp_path, features.reshape(4, 3, 800, 500))
    expected = make_rdm(features[:, ::-1].copy(), measure)
    np.testing.assert_allclose(make_rdm(maps, measure), expected, rtol=1e-10)


def test_a_full_covariance_works_in_many_blocks():
    features, covariance = simulate(3000, 800), random_covariance(800)
    root = np.linalg.inv(np.linalg.cholesky(covariance)).T
    found = make_rdm(features, "mahalanobis", noise_covariance=covariance)
    expected = make_rdm(features[:50] @ root, "squared_euclidean")
    chosen = squareform(np.arange(len(found)), checks=False)[:50, :50]
    pairs = chosen[np.triu_indices(50, 1)]
    np.testing.assert_allclose(found[pairs], expected, rtol=1e-9)


def test_a_memory_map_is_never_copied_whole(tmp_path):
    features = write_memory_map(tmp_path, simulate(40, 200_000).astype(np.float32))
    tracemalloc.start()
    rdm = make_rdm(features)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rdm) == 780
    assert peak < 80e6  # in float64 all features take 64 MB, and copies as much


@given(FEATURES)
def test_equal_stimuli_are_at_zero_and_distances_are_metric(features):
    doubled = np.concatenate([features, features[:1]])
    square = squareform(make_rdm(doubled, "euclidean"))
    assert square[0, -1] == 0
    sums = square[:, :, None] + square[None]
    assert (square[:, None, :] <= sums.transpose(0, 2, 1) + 1e-5).all()


def test_equal_dissimilarities_stay_equal():
    kinds = np.repeat(np.eye(3), 4, axis=0) * 0.1 + 7
    expected = 1 - np.equal.outer(*[np.repeat(range(3), 4)] * 2)
    within_or_between = expected[np.triu_indices(12, 1)]
    for measure in SIMPLE:
        values = make_rdm(kinds, measure)
        assert len(np.unique(values)) == 2
        assert ((values > 0) == within_or_between).all()
        assert (values[within_or_between == 0] == 0).all()


@given(FEATURES, st.floats(0.1, 10), st.floats(-100, 100))
def test_scale_and_offset_of_a_stimulus_do_not_change_correlations(x, scale, offset):
    changed = x.copy()
    changed[0] = changed[0] * scale + offset
    first, second = make_rdm(x), make_rdm(changed)
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_pairs_stand_in_the_order_of_the_stack():
    features = {"layer": simulate(5, 8), "other": simulate(5, 3, seed=1)}
    stack = make_rdm_stack(features, list("abcde"), "euclidean", name="net")
    square = stack.square()
    for i, j in np.ndindex(5, 5):
        expected = np.linalg.norm(features["layer"][i] - features["layer"][j])
        assert square[0, i, j] == pytest.approx(expected, abs=1e-10)
    assert stack.name == "net"
    assert stack.table.to_dict("list") == {
        "source": ["layer", "other"],
        "subject": ["", ""],
        "measure": ["Euclidean", "Euclidean"],
    }
    assert stack.stimuli["stimulus_id"].tolist() == list("abcde")


def test_a_stack_refuses_features_of_other_stimuli():
    with pytest.raises(ValueError, match=r"`features\['b'\]` has shape \(4, 3\)"):
        make_rdm_stack({"a": np.eye(3), "b": np.zeros((4, 3))}, ["x", "y", "z"])


def test_what_does_not_vary_is_undefined():
    features = simulate(4, 6)
    features[2] = 628.63
    undefined = np.isnan(squareform(make_rdm(features), checks=False))
    assert undefined[2, [0, 1, 3]].all()
    assert undefined.sum() == 6
    features[2] = 0
    assert np.isnan(make_rdm(features, "cosine")).sum() == 3
    assert np.isfinite(make_rdm(features, "euclidean")).all()


# ---------------------------------------------------------------------- NaN policy


def with_nan():
    features = simulate(5, 10)
    features[1, 3] = np.nan
    features[1, 4] = np.inf
    features[4, 3] = np.nan
    return features


def test_nan_is_refused_and_counted():
    message = "3 values that are not finite, in 2 of 10 features"
    for measure in SIMPLE:
        with pytest.raises(ValueError, match=message):
            make_rdm(with_nan(), measure)


@pytest.mark.parametrize("measure", SIMPLE)
def test_omit_leaves_out_features(measure):
    features = with_nan()
    expected = make_rdm(np.delete(features, [3, 4], axis=1), measure)
    found = make_rdm(features, measure, nan="omit")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("measure", SIMPLE)
def test_propagate_makes_the_stimulus_undefined(measure):
    features = with_nan()
    found = squareform(make_rdm(features, measure, nan="propagate"), checks=False)
    good = [0, 2, 3]
    expected = squareform(make_rdm(features[good], measure))
    np.testing.assert_allclose(found[np.ix_(good, good)], expected, atol=1e-12)
    assert np.isnan(found[1, good]).all()
    assert np.isnan(found[good, 4]).all()


def test_omit_takes_variances_but_no_full_covariance():
    variances = np.linspace(1, 2, 10)
    features = with_nan()
    found = make_rdm(features, "mahalanobis", noise_covariance=variances, nan="omit")
    kept = np.delete(features, [3, 4], axis=1) / np.sqrt(np.delete(variances, [3, 4]))
    np.testing.assert_allclose(found, make_rdm(kept, "squared_euclidean"))
    with pytest.raises(ValueError, match="leave the features out of both"):
        make_rdm(features, "mahalanobis", noise_covariance=np.eye(10), nan="omit")


def test_nothing_left_is_undefined():
    found = make_rdm(np.full((3, 2), np.nan), nan="omit")
    assert np.isnan(found).all()


# ---------------------------------------------------------------------- crossnobis


@pytest.mark.parametrize("n_partitions", [2, 3, 5])
def test_crossnobis_is_its_definition(n_partitions):
    rng = np.random.default_rng(n_partitions)
    trials = rng.standard_normal((6, n_partitions, 9)) + 50
    covariance = random_covariance(9)
    found = make_crossnobis_rdm(trials, noise_covariance=covariance)
    expected = plain_crossnobis(trials, np.linalg.inv(covariance))
    np.testing.assert_allclose(found, expected, atol=1e-10)
    found = make_crossnobis_rdm(trials)
    np.testing.assert_allclose(found, plain_crossnobis(trials, np.eye(9)), atol=1e-10)


def test_crossnobis_uses_the_partitions_that_two_stimuli_share():
    trials = np.random.default_rng(0).standard_normal((6, 4, 9))
    trials[0, 2:] = trials[3, 0] = trials[4, 1:] = np.nan
    variances = np.linspace(0.5, 2, 9)
    found = make_crossnobis_rdm(trials, noise_covariance=variances)
    expected = plain_crossnobis(trials, np.diag(1 / variances))
    np.testing.assert_allclose(found, expected, atol=1e-11)
    undefined = np.isnan(squareform(found, checks=False))
    assert undefined[4].sum() == 5  # it has one partition
    assert undefined[0, 3]  # they share one
    assert undefined.sum() == 12


def test_crossnobis_is_free_of_bias_and_keeps_negative_values():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((8, 30))
    truth[4:] = truth[0]  # five equal stimuli
    covariance = random_covariance(30, seed=1)
    root = np.linalg.cholesky(covariance)
    rdms = []
    for _ in range(2000):
        trials = truth[:, None] + rng.standard_normal((8, 3, 30)) @ root.T
        rdms.append(make_crossnobis_rdm(trials, noise_covariance=covariance))
    rdms = np.array(rdms)
    expected = make_rdm(truth, "mahalanobis", noise_covariance=covariance)
    error = (rdms.mean(axis=0) - expected) / (rdms.std(axis=0) / np.sqrt(2000))
    assert abs(error).max() < 4  # standard errors, of 28 distances
    assert abs(error.mean()) < 1
    equal = rdms[:, expected == 0]
    assert 0.4 < (equal < 0).mean() < 0.6
    biased = make_rdm(trials.mean(axis=1), "mahalanobis", noise_covariance=covariance)
    assert biased[expected == 0].min() > 0.2  # two thirds of the noise, on average


def test_covariance_from_the_same_trials_lifts_crossnobis_as_told():
    rng = np.random.default_rng(0)
    distance = abs(np.subtract.outer(np.arange(100), np.arange(100)))
    root = np.linalg.cholesky(0.5 * np.eye(100) + 0.5 * np.exp(-distance / 10))
    trials = rng.standard_normal((100, 3, 100)) @ root.T
    noise = estimate_noise_covariance(trials).covariance
    own = make_crossnobis_rdm(trials, noise_covariance=noise)
    assert own.mean() == pytest.approx(0.27, abs=0.05)
    alone = make_crossnobis_rdm(trials, noise_covariance=noise.diagonal())
    assert abs(alone.mean()) < 0.03


def test_shifts_of_a_partition_do_not_matter():
    trials = np.random.default_rng(2).standard_normal((5, 3, 7))
    moved = trials + np.array([0.0, 100.0, -5.0])[None, :, None]
    moved[3, 1] = trials[3, 1] = np.nan
    first, second = make_crossnobis_rdm(trials), make_crossnobis_rdm(moved)
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_crossnobis_of_a_memory_map_in_many_blocks(tmp_path):
    rng = np.random.default_rng(3)
    trials = rng.standard_normal((5, 2, 600_000)).astype(np.float32)
    found = make_crossnobis_rdm(write_memory_map(tmp_path, trials))
    difference = (trials[:, None] - trials[None]).astype(float)
    expected = (difference[:, :, 0] * difference[:, :, 1]).mean(axis=2)
    np.testing.assert_allclose(found, expected[np.triu_indices(5, 1)], atol=1e-9)


def test_crossnobis_treats_single_nan_as_told():
    trials = np.random.default_rng(4).standard_normal((4, 3, 6))
    trials[1, 2, 5] = np.nan
    with pytest.raises(ValueError, match="1 values that are not finite"):
        make_crossnobis_rdm(trials)
    omitted = make_crossnobis_rdm(trials, nan="omit")
    np.testing.assert_allclose(omitted, make_crossnobis_rdm(trials[:, :, :5]))
    lost = squareform(make_crossnobis_rdm(trials, nan="propagate"), checks=False)
    assert np.isnan(lost[1, [0, 2, 3]]).all()
    assert np.isfinite(lost[0, [2, 3]]).all()


# ---------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": "corelation"}, "Did you mean 'correlation'"),
        ({"nan": "drop"}, "`nan` must be one of 'raise', 'omit', 'propagate'"),
        ({"measure": "mahalanobis"}, "`noise_covariance` belongs to the measure"),
        ({"noise_covariance": np.eye(40)}, "the measure is 'correlation'"),
    ],
)
def test_impossible_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_rdm(simulate(), **arguments)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (np.eye(39), r"must have shape \(40, 40\)"),
        (np.ones(39), r"must have shape \(40\)"),
        (np.zeros(40), "40 variances that are not above 0"),
        (np.ones((40, 40)), "not positive definite"),
        (np.triu(np.ones((40, 40))), "symmetric"),
        (np.full(40, np.nan), "not finite"),
    ],
)
def test_impossible_noise_is_refused(noise, message):
    with pytest.raises(ValueError, match=message):
        make_rdm(simulate(), "mahalanobis", noise_covariance=noise)


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
def test_features_of_one_stimulus_are_refused(shape):
    with pytest.raises(ValueError, match="at least two stimuli"):
        make_rdm(np.zeros(shape))


@pytest.mark.parametrize("shape", [(5, 3), (5, 1, 3), (1, 5, 3)])
def test_trials_without_partitions_are_refused(shape):
    with pytest.raises(ValueError, match="at least two stimuli and two partitions"):
        make_crossnobis_rdm(np.zeros(shape))
