"""Projections: principal components as scikit-learn's, distances nearly kept."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sklearn.decomposition import PCA
from sklearn.decomposition import IncrementalPCA as TheirIncrementalPCA
from sklearn.random_projection import SparseRandomProjection

from neurovis.adapters.feature_components import principal_components
from neurovis.adapters.projections import (
    load_projection,
    save_projection,
    sparse_projection,
)
from neurovis.core.errors import DataCorruptError


def rows_of(n, width, rank=None, seed=0):
    """Correlated features; of low rank when asked for, else with a falling spectrum."""
    draw = np.random.default_rng(seed)
    rank = min(n, width) if rank is None else rank
    strengths = 0.8 ** np.arange(rank)
    rows = draw.normal(size=(n, rank)) * strengths @ draw.normal(size=(rank, width))
    return (rows + draw.normal(size=width)).astype(np.float32)


def blocks_of(rows, size):
    return [rows[start : start + size] for start in range(0, len(rows), size)]


# -------------------------------------------------------- principal components


@pytest.mark.parametrize(("n", "width"), [(60, 15), (40, 200)])
def test_one_block_gives_the_components_of_scikit_learn(n, width):
    rows = rows_of(n, width)
    found = principal_components([rows], 8)
    theirs = PCA(8, svd_solver="full").fit(rows.astype(np.float64))
    signs = np.sign((found.components * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(
        found.components * signs[:, None], theirs.components_, atol=1e-6
    )
    np.testing.assert_allclose(found.variances, theirs.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(found.mean, theirs.mean_, atol=1e-6)
    total = rows.astype(np.float64).var(axis=0, ddof=1).sum()
    assert found.total_variance == pytest.approx(total, rel=1e-9)
    expected = theirs.transform(rows.astype(np.float64)) * signs
    np.testing.assert_allclose(found.transform(rows), expected, atol=2e-5)


@pytest.mark.parametrize(("n", "width"), [(100, 30), (60, 150)])
def test_blocks_give_the_components_of_scikit_learns_incremental_algorithm(n, width):
    rows = rows_of(n, width)
    found = principal_components(blocks_of(rows, 20), 6)
    theirs = TheirIncrementalPCA(6)
    for block in blocks_of(rows, 20):
        theirs.partial_fit(block.astype(np.float64))
    cosines = np.abs((found.components * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-6)
    np.testing.assert_allclose(found.variances, theirs.explained_variance_, rtol=1e-7)
    np.testing.assert_allclose(found.mean, theirs.mean_, atol=1e-6)


@given(st.lists(st.integers(1, 17), min_size=1, max_size=9), st.integers(0, 5))
def test_blocks_are_exact_when_all_directions_are_kept(sizes, seed):
    rows = rows_of(sum(sizes) + 5, 40, rank=4, seed=seed)
    edges = np.cumsum(sizes)
    whole = principal_components([rows], 4)
    parts = principal_components(np.split(rows, edges), 4)
    np.testing.assert_allclose(parts.variances, whole.variances, rtol=1e-6)
    np.testing.assert_allclose(parts.components, whole.components, atol=1e-4)
    np.testing.assert_allclose(parts.total_variance, whole.total_variance, rtol=1e-9)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=0, atol=1e-6)


def test_all_directions_give_the_features_back():
    rows = rows_of(50, 30, rank=7)
    fit = principal_components(blocks_of(rows, 11), 7)
    back = fit.transform(rows) @ fit.components + fit.mean
    np.testing.assert_allclose(back, rows, atol=1e-4)
    assert fit.variances.sum() == pytest.approx(fit.total_variance, rel=1e-6)


def test_components_are_orthonormal_with_their_largest_entry_positive():
    fit = principal_components(blocks_of(rows_of(80, 25), 16), 9)
    gram = fit.components @ fit.components.T
    np.testing.assert_allclose(gram, np.eye(9), atol=1e-5)
    largest = np.abs(fit.components).argmax(axis=1)
    assert (fit.components[np.arange(9), largest] > 0).all()
    assert (np.diff(fit.variances) <= 0).all()


def test_a_mean_far_from_zero_costs_no_precision():
    rows = rows_of(60, 20).astype(np.float64)
    near = principal_components(blocks_of(rows, 15), 4)
    far = principal_components(blocks_of(rows + 1e4, 15), 4)
    np.testing.assert_allclose(far.variances, near.variances, rtol=1e-8)
    np.testing.assert_allclose(far.components, near.components, atol=1e-6)


def test_features_of_one_picture_do_not_depend_on_the_others():
    rows = rows_of(40, 300)
    for projection in (principal_components([rows], 5), sparse_projection(300, 50)):
        whole = projection.transform(rows)
        alone = np.concatenate(
            [projection.transform(rows[i : i + 1]) for i in range(40)]
        )
        bound = 2e-6 * np.abs(whole).max()
        np.testing.assert_allclose(alone, whole, rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("blocks", "n", "message"),
    [
        ([], 1, "need more than 1 pictures; got 0"),
        ([rows_of(4, 9)], 4, "need more than 4 pictures; got 4"),
        ([rows_of(20, 9, rank=2)], 3, "vary along 2 directions only"),
        ([np.ones((9, 4))], 1, "vary along 0 directions only"),
        ([rows_of(4, 9), rows_of(4, 8)], 2, r"shape \(any, 9\)"),
        ([np.full((4, 3), np.nan)], 2, "12 values that are not finite"),
        ([rows_of(4, 9)], 0, "must be within"),
    ],
)
def test_features_without_enough_components_are_refused(blocks, n, message):
    with pytest.raises(ValueError, match=message):
        principal_components(blocks, n)


# ------------------------------------------------------------- random projection


def dense(projection):
    identity = np.eye(projection.n_features, dtype=np.float32)
    return projection.transform(identity).T


def test_the_matrix_has_the_entries_that_it_should():
    projection = sparse_projection(4000, 60, density=0.05, seed=3)
    matrix = dense(projection)
    scale = 1 / np.sqrt(0.05 * 60)
    values = np.unique(matrix)
    np.testing.assert_allclose(values, [-scale, 0, scale], rtol=1e-6)
    assert (matrix != 0).mean() == pytest.approx(0.05, rel=0.02)
    assert (matrix > 0).sum() / (matrix != 0).sum() == pytest.approx(0.5, abs=0.02)
    # The counts per component vary as those of independent entries.
    counts = (matrix != 0).sum(axis=1)
    assert counts.var() == pytest.approx(4000 * 0.05 * 0.95, rel=0.5)


def test_the_default_density_and_scale_are_those_of_scikit_learn():
    theirs = SparseRandomProjection(50, random_state=0).fit(np.ones((2, 900)))
    ours = sparse_projection(900, 50)
    assert ours.density == theirs.density_
    entries = np.unique(np.abs(theirs.components_.data))
    np.testing.assert_allclose(entries, np.abs(dense(ours)).max(), rtol=1e-6)


def test_distances_are_kept_within_their_expected_error():
    rows = rows_of(40, 5000)
    projected = sparse_projection(5000, 800).transform(rows)
    pairs = np.triu_indices(40, 1)

    def distances(x):
        away = x[pairs[0]].astype(np.float64) - x[pairs[1]]
        return np.square(away).sum(axis=1)

    ratio = distances(projected) / distances(rows)
    # The standard error of a ratio is the root of 2 over the number of components.
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / 800)
    assert abs(ratio.mean() - 1) < 0.03


def test_distances_are_kept_as_well_as_by_scikit_learn():
    rows = rows_of(30, 3000)
    pairs = np.triu_indices(30, 1)

    def errors(projected):
        away = [x[pairs[0]].astype(np.float64) - x[pairs[1]] for x in (projected, rows)]
        after, before = (np.square(x).sum(axis=1) for x in away)
        return after / before - 1

    ours, theirs = [], []
    for seed in range(12):
        ours.append(errors(sparse_projection(3000, 300, seed=seed).transform(rows)))
        other = SparseRandomProjection(300, random_state=seed)
        theirs.append(errors(other.fit_transform(rows)))
    assert abs(np.mean(ours)) < 0.03
    assert abs(np.mean(theirs)) < 0.03
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.25)
    assert np.abs(ours).max() < 1.5 * np.abs(theirs).max()


def test_the_matrix_depends_on_seed_and_shape_only():
    first = sparse_projection(500, 20, seed=1)
    torch.rand(1)
    np.random.default_rng().random()
    again = sparse_projection(500, 20, seed=1)
    assert again.identity == first.identity
    assert sparse_projection(500, 20, seed=2).identity != first.identity
    assert sparse_projection(501, 20, seed=1).identity != first.identity


@pytest.mark.parametrize(
    "arguments", [(1, 1), (10, 10), (10, 0), (10, 4, 0.0), (10, 4, 1.5)]
)
def test_numbers_out_of_range_are_refused(arguments):
    n_features, n_components, *density = arguments
    with pytest.raises(ValueError, match="must be within"):
        sparse_projection(n_features, n_components, density=(density or [None])[0])


# ----------------------------------------------------------------------- common

FITS = {
    "sparse": lambda: sparse_projection(60, 9, density=0.3),
    "components": lambda: principal_components(
        [rows_of(30, 60)], 5, source={"network": "3f2a", "layer": "9c"}
    ),
}


@pytest.fixture(params=FITS)
def projection(request):
    return FITS[request.param]()


def test_a_saved_projection_is_the_same_when_it_is_read(tmp_path, projection):
    path = tmp_path / "fit.safetensors"
    save_projection(path, projection)
    found = load_projection(path)
    assert type(found) is type(projection)
    assert found.identity == projection.identity
    assert found.source == projection.source
    rows = rows_of(7, 60)
    np.testing.assert_array_equal(found.transform(rows), projection.transform(rows))
    first = path.read_bytes()
    save_projection(path, found)
    assert path.read_bytes() == first
    (tmp_path / "other").write_text("")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_wrong_features_are_refused(projection):
    with pytest.raises(ValueError, match=r"shape \(any, 60\); got \(2, 59\)"):
        projection.transform(np.zeros((2, 59), np.float32))
    with pytest.raises(TypeError, match="float32; got float64"):
        projection.transform(np.zeros((2, 60)))


def test_damaged_files_are_refused(tmp_path, projection):
    path = tmp_path / "fit.safetensors"
    save_projection(path, projection)
    whole = path.read_bytes()
    for data in (whole[:-3], whole[:5], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(data)
        with pytest.raises(DataCorruptError, match="not a readable projection"):
            load_projection(path)
    save_file({"signs": np.zeros(3)}, path)
    with pytest.raises(DataCorruptError, match="not a readable projection"):
        load_projection(path)


def test_files_and_objects_of_other_kinds_are_refused(tmp_path, projection):
    with pytest.raises(FileNotFoundError):
        load_projection(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"must be one of '\.safetensors'"):
        save_projection(tmp_path / "fit.npz", projection)
    with pytest.raises(TypeError, match="got dict"):
        save_projection(tmp_path / "fit.safetensors", {})
