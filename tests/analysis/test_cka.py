"""CKA against its definitions, and its two forms against each other."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist, squareform

from analysis.cka import cka_matrix, gaussian_gram, linear_cka, linear_gram

SPACES = arrays(
    np.float64,
    st.tuples(st.integers(5, 8), st.integers(1, 4)),
    elements=st.integers(-9, 9).map(float),
)


def simulate(n_stimuli=12, n_x=5, n_y=7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_stimuli, n_x)) + 4
    return x, x @ rng.standard_normal((n_x, n_y)) + rng.standard_normal(
        (n_stimuli, n_y)
    )


def plain_cka(a, b, debiased):
    """Ratio of Hilbert-Schmidt independence criteria, from their definitions."""
    return plain_hsic(a, b, debiased) / np.sqrt(
        plain_hsic(a, a, debiased) * plain_hsic(b, b, debiased)
    )


def plain_hsic(a, b, debiased):
    n = len(a)
    if not debiased:
        centre = np.eye(n) - 1 / n
        return np.trace(a @ centre @ b @ centre)
    a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
    one = np.ones(n)
    total = np.trace(a @ b)
    total += (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
    total -= 2 * (one @ a @ b @ one) / (n - 2)
    return total / (n * (n - 3))


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize(("n_x", "n_y"), [(1, 1), (5, 7), (5, 40), (30, 40)])
def test_linear_cka_is_its_definition(n_x, n_y, debiased):
    x, y = simulate(n_x=n_x, n_y=n_y)
    expected = plain_cka(x @ x.T, y @ y.T, debiased)
    assert linear_cka(x, y, debiased=debiased) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("debiased", [False, True])
def test_features_and_gram_matrices_give_the_same(debiased):
    x, y = simulate(60, 3, 4)  # few features
    from_grams = cka_matrix([linear_gram(x)], [linear_gram(y)], debiased=debiased)
    found = linear_cka(x, y, debiased=debiased)
    assert found == pytest.approx(from_grams[0, 0], abs=1e-12)
    uncentred = cka_matrix([x @ x.T], [y @ y.T], debiased=debiased)
    assert uncentred[0, 0] == pytest.approx(found, abs=1e-10)


@pytest.mark.parametrize("debiased", [False, True])
def test_all_pairs_are_those_one_by_one(debiased):
    spaces = [*simulate(seed=1), *simulate(seed=2)]
    grams = [linear_gram(space) for space in spaces]
    found = cka_matrix(grams, grams[1:], debiased=debiased)
    for (i, j), value in np.ndenumerate(found):
        expected = linear_cka(spaces[i], spaces[j + 1], debiased=debiased)
        assert value == pytest.approx(expected, abs=1e-10)
    whole = cka_matrix(grams, debiased=debiased)
    np.testing.assert_allclose(whole[:, 1:], found, atol=1e-12)
    np.testing.assert_allclose(whole.diagonal(), 1)


@pytest.mark.parametrize("debiased", [False, True])
@given(x=SPACES, seed=st.integers(0, 100), scale=st.floats(0.01, 100))
def test_rotation_and_scale_do_not_matter(debiased, x, seed, scale):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))
    y = rng.standard_normal((len(x), 3))
    moved = scale * x @ rotation + rng.standard_normal(x.shape[1])
    first, second = (linear_cka(z, y, debiased=debiased) for z in (x, moved))
    if np.ptp(x, axis=0).max() == 0:
        assert np.isnan(first)
    elif not np.isnan(first):  # debiased, one odd stimulus leaves nothing
        assert second == pytest.approx(first, abs=1e-6)
        assert linear_cka(x, moved, debiased=debiased) == pytest.approx(1, abs=1e-6)


def test_debiased_cka_of_unrelated_spaces_is_about_zero_and_biased_is_not():
    rng = np.random.default_rng(3)
    biased, debiased = np.array(
        [
            [linear_cka(*pair, debiased=d) for d in (False, True)]
            for pair in rng.standard_normal((40, 2, 50, 400))
        ]
    ).T
    assert biased.min() > 0.8
    assert abs(debiased.mean()) < 0.01
    assert debiased.min() < 0
    x, y = rng.standard_normal((2, 100, 1000))
    assert linear_cka(x, y) == pytest.approx(0.91, abs=0.005)  # as the notes say


def test_debiased_cka_does_not_grow_with_the_number_of_features():
    rng = np.random.default_rng(4)
    found = {}
    for n_features in (20, 2000):
        shared = rng.standard_normal((400, n_features))
        x, y = shared + rng.standard_normal((2, 400, n_features))
        found[n_features] = [linear_cka(x, y, debiased=d) for d in (False, True)]
    # Products of half shared features: a quarter of their variance.
    assert found[20][1] == pytest.approx(0.25, abs=0.05)
    assert found[2000][1] == pytest.approx(0.25, abs=0.05)
    assert found[2000][0] > 0.8


def test_gaussian_kernel_is_its_definition():
    x, _ = simulate()
    distance = squareform(pdist(x))
    width = 0.3 * np.median(pdist(x))
    expected = np.exp(-(distance**2) / (2 * width**2))
    np.testing.assert_allclose(gaussian_gram(x, bandwidth=0.3), expected, atol=1e-10)
    np.testing.assert_allclose(gaussian_gram(1000 * x), gaussian_gram(x), atol=1e-9)


def test_gaussian_cka_sees_what_linear_cka_does_not():
    angle = np.linspace(0, 2 * np.pi, 101)[:-1]
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    y = np.column_stack([np.cos(2 * angle), np.sin(2 * angle)])
    assert linear_cka(x, y, debiased=True) < 0.01
    grams = [gaussian_gram(z, bandwidth=0.2) for z in (x, y)]
    assert cka_matrix(grams, debiased=True)[0, 1] > 0.5


def test_blocks_of_features_give_the_same_as_one_array():
    rng = np.random.default_rng(5)
    long = rng.standard_normal((500_000, 6)).astype(np.float32)
    wide = rng.standard_normal((6, 700_000)).astype(np.float32)
    for x in (long, wide):
        y = x[:, ::2] + rng.standard_normal(x[:, ::2].shape)
        a, b = (z.astype(float) - z.mean(axis=0, dtype=float) for z in (x, y))
        if len(x) < 10:
            parts = [a @ a.T, b @ b.T]
            cross, own = np.vdot(*parts), [np.vdot(p, p) for p in parts]
        else:
            cross = np.sum((a.T @ b) ** 2)
            own = [np.sum((z.T @ z) ** 2) for z in (a, b)]
        expected = cross / np.sqrt(own[0] * own[1])
        assert linear_cka(x, y) == pytest.approx(expected, abs=1e-9)


def test_a_memory_map_is_never_copied_whole(tmp_path):
    x = np.random.default_rng(6).standard_normal((20, 3, 160_000)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    maps = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    assert linear_cka(maps, maps) == pytest.approx(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # in float64 it takes 77 MB


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("n_features", [1, 30])
def test_a_space_that_does_not_vary_is_undefined(n_features, debiased):
    x, constant = simulate(n_x=n_features)[0], np.full((12, n_features), 628.63)
    assert np.isnan(linear_cka(x, constant, debiased=debiased))
    found = cka_matrix([linear_gram(x), linear_gram(constant)], debiased=debiased)
    assert np.isnan(found).tolist() == [[False, True], [True, True]]
    assert np.isnan(gaussian_gram(constant)).all()


def test_too_few_stimuli_are_undefined():
    assert np.isnan(linear_cka([[1.0, 2.0]], [[1.0, 2.0]]))
    for n_features in (1, 20):
        x = np.random.default_rng(7).standard_normal((3, n_features))
        assert np.isnan(linear_cka(x, x, debiased=True))
        assert linear_cka(x, x) == pytest.approx(1)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="`x` has 3 rows, but `y` has 4"):
        linear_cka(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="one row per stimulus"):
        linear_cka(np.zeros(3), np.zeros(3))
    for x in (np.eye(5), np.eye(5)[:, :1]):
        with pytest.raises(ValueError, match=r"`y` has .* not finite|`features` has"):
            linear_cka(x, np.where(x == 1, np.nan, x))
    with pytest.raises(ValueError, match="square matrices"):
        cka_matrix(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="`others` must have shape"):
        cka_matrix(np.zeros((2, 3, 3)), np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="`bandwidth` must be above 0"):
        gaussian_gram(np.eye(3), bandwidth=0)
