"""The projection read block by block is that of a softmax over the whole bank."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neurovis.core.embedding_bank import bank_of, open_bank, sound_rows
from neurovis.core.rng import generator
from neurovis.generation import bank_projection
from neurovis.generation.bank_projection import project_onto_bank

WORKED = np.array([[3, 0, 0], [0, 2, 0], [2, 2, 1]], np.float32)


def project_densely(weights, embeddings, beta):
    """Return vectors, norms, effective numbers and cosines, all in float64."""
    w = np.asarray(weights, np.float64)
    w = w / np.linalg.norm(w, axis=1, keepdims=True)
    e = np.asarray(embeddings, np.float64)
    n = np.linalg.norm(e, axis=1)
    d = e / n[:, None]
    cosines = w @ d.T
    logits = beta * cosines
    s = np.exp(logits - logits.max(axis=1, keepdims=True))
    s /= s.sum(axis=1, keepdims=True)
    mean = s @ d
    direction = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    norm = s @ n
    entropy = -(s * np.log(np.where(s > 0, s, 1))).sum(axis=1)
    return {
        "vectors": norm[:, None] * direction,
        "norm": norm,
        "effective_number": np.exp(entropy),
        "cosine": (w * direction).sum(axis=1),
        "cosines": cosines,
    }


def make_bank(n=700, width=24, seed=0):
    """Embeddings with a common direction, and lengths that vary."""
    rng = generator(seed, "projection", n, width)
    rows = rng.standard_normal(width) + 0.7 * rng.standard_normal((n, width))
    return (rows * rng.uniform(0.5, 2, (n, 1))).astype(np.float32)


def make_weights(rows, n=40, noise=1.0, seed=0):
    rng = generator(seed, "weights", n)
    near = rows[rng.integers(0, len(rows), n)]
    return near + noise * rng.standard_normal(near.shape).astype(np.float32)


def check(found, expected, tolerance=1e-5):
    norm = expected["norm"]
    error = np.linalg.norm(found.vectors - expected["vectors"], axis=1) / norm
    assert error.max() < tolerance
    np.testing.assert_allclose(found.norm, norm, rtol=tolerance)
    number = expected["effective_number"]
    np.testing.assert_allclose(found.effective_number, number, rtol=1e-4)
    np.testing.assert_allclose(found.cosine, expected["cosine"], atol=tolerance)
    cosines = expected["cosines"]
    np.testing.assert_allclose(found.nearest_cosine, cosines.max(axis=1), atol=2e-6)
    chosen = cosines[np.arange(len(cosines)), found.nearest]
    np.testing.assert_allclose(found.nearest_cosine, chosen, atol=1e-12)


# --------------------------------------------------------- the worked example


@pytest.mark.parametrize(
    ("beta", "vector", "norm"),
    [
        (1, [2.3231984, 1.5072943, 0.41118522], 2.79968931),
        (10, [2.98587339, 0.25711803, 0.12802418], None),
        (150, [3, 0, 0], 3),
    ],
)
@pytest.mark.parametrize("block_rows", [1, 2, "auto"])
def test_the_worked_example_comes_out(beta, vector, norm, block_rows):
    found = project_onto_bank(
        [[1, 0.2, 0]],
        bank_of(WORKED),
        inverse_temperature=beta,
        block_rows=block_rows,
    )
    np.testing.assert_allclose(found.vectors, [vector], atol=2e-6)
    if norm:
        np.testing.assert_allclose(found.norm, [norm], atol=1e-6)
    np.testing.assert_allclose(found.nearest_cosine, [0.98058068], atol=1e-8)
    assert found.nearest.tolist() == [0]
    assert found.vectors.dtype == np.float32
    others = (found.norm, found.effective_number, found.cosine, found.nearest_cosine)
    assert {values.dtype for values in others} == {np.dtype("float64")}
    assert found.nearest.dtype == np.int64


def test_the_effective_number_of_the_worked_example_is_that_of_its_weights():
    s = np.array([0.43892746, 0.20031069, 0.36076184])
    found = project_onto_bank([[1, 0.2, 0]], bank_of(WORKED), inverse_temperature=1)
    expected = np.exp(-(s * np.log(s)).sum())
    np.testing.assert_allclose(found.effective_number, [expected], rtol=1e-6)


# ------------------------------------------------------------ dense = streamed


@pytest.mark.parametrize("beta", [0, 0.5, 10, 150, 1000, 1001, 1e5])
@pytest.mark.parametrize(
    ("edges", "block_rows"),
    [((), "auto"), ((), 1), ((1, 2, 333), 97), ((350,), 350), ((699,), 64)],
)
def test_streamed_equals_dense_whatever_the_shards_and_blocks(beta, edges, block_rows):
    rows = make_bank()
    weights = make_weights(rows)
    bank = bank_of(np.split(rows, edges))
    found = project_onto_bank(
        weights, bank, inverse_temperature=beta, block_rows=block_rows
    )
    check(found, project_densely(weights, rows, beta))


@pytest.mark.parametrize("width", [1, 64, 512])
def test_streamed_equals_dense_for_wide_embeddings_and_noisy_weights(width):
    rows = make_bank(3000, width)
    weights = make_weights(rows, 200, noise=4.0)
    found = project_onto_bank(weights, bank_of(rows), block_rows=256)
    check(found, project_densely(weights, rows, 150), tolerance=2e-6)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5)),
    beta=st.floats(0, 3000),
    block_rows=st.integers(1, 45),
    scale=st.floats(1e-3, 1e3),
)
@example(seed=440, shape=(9, 5, 1), beta=801.0, block_rows=1, scale=1.0)
def test_streamed_equals_dense_for_any_bank(seed, shape, beta, block_rows, scale):
    n, width, n_voxels = shape
    rng = np.random.default_rng(seed)
    # Lengths differ by orders of magnitude; a common direction, so that none cancel.
    rows = rng.standard_normal((n, width)) + 2.5
    rows = (scale * rows * 10 ** rng.uniform(-2, 2, (n, 1))).astype(np.float32)
    rows = rows[np.abs(rows).max(axis=1) > 0]
    weights = rng.standard_normal((n_voxels, width)) + 1e-3
    expected = project_densely(weights, rows, beta)
    found = project_onto_bank(
        weights, bank_of(rows), inverse_temperature=beta, block_rows=block_rows
    )
    # Cosines of float32 are right to 6e-8, and the exponent multiplies that by beta: a
    # long embedding of little weight moves the mean by as much.
    check(found, expected, tolerance=max(1e-5, 6e-8 * beta))


def test_blocks_that_weigh_nothing_are_skipped_without_a_trace():
    # The nearest images come first, then many that weigh next to nothing.
    rng = generator(0, "skip")
    rows = make_bank(2000, 16)
    weights = rows[:30] + 0.01 * rng.standard_normal((30, 16)).astype(np.float32)
    near = np.concatenate([rows[:30], -rows[100:]])
    found = project_onto_bank(weights, bank_of(near), block_rows=30)
    check(found, project_densely(weights, near, 150), tolerance=1e-6)


def test_a_long_embedding_of_little_weight_still_counts_in_the_length():
    rows = np.array([[1, 0], [1e3, 1e3], [0.6e20, 0.8e20]], np.float32)
    for block_rows in (1, 3):
        found = project_onto_bank(
            [[1, 0]], bank_of(rows), inverse_temperature=95, block_rows=block_rows
        )
        expected = project_densely([[1, 0]], rows, 95)
        assert expected["norm"][0] > 1000  # by a weight of 3e-17
        np.testing.assert_allclose(found.norm, expected["norm"], rtol=1e-5)


def test_rising_cosines_do_not_overflow():
    angle = np.linspace(np.pi, 0, 300)
    rows = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    for order in (slice(None), slice(None, None, -1)):
        bank = bank_of(rows[order])
        found = project_onto_bank([[1, 0]], bank, block_rows=1)
        check(found, project_densely([[1, 0]], rows[order], 150), tolerance=1e-6)


def test_many_voxels_are_projected_as_few_are(monkeypatch):
    rows = make_bank()
    weights = make_weights(rows, 1100)
    whole = project_onto_bank(weights, bank_of(rows))
    check(whole, project_densely(weights, rows, 150))
    # Passes over the bank, each for as many voxels as memory has room for.
    monkeypatch.setattr(bank_projection, "free_memory_bytes", lambda place: 2_000_000)
    n_rows, n_voxels = bank_projection._sizes(24, torch.device("cpu"), torch.float32)
    assert n_rows < 700
    assert n_voxels < 1100
    passes = project_onto_bank(weights, bank_of(rows))
    check(passes, project_densely(weights, rows, 150))
    np.testing.assert_array_equal(passes.nearest, whole.nearest)


# ------------------------------------------------------------------- limits


def test_no_inverse_temperature_gives_the_mean_direction_and_length():
    rows = make_bank()
    found = project_onto_bank(make_weights(rows), bank_of(rows), inverse_temperature=0)
    length = np.linalg.norm(rows.astype(float), axis=1)
    mean = (rows / length[:, None]).mean(axis=0)
    expected = length.mean() * mean / np.linalg.norm(mean)
    np.testing.assert_allclose(found.vectors, np.tile(expected, (40, 1)), atol=1e-5)
    np.testing.assert_allclose(found.effective_number, 700, rtol=1e-9)


def test_a_huge_inverse_temperature_gives_the_nearest_image_with_its_length():
    rows = make_bank()
    found = project_onto_bank(
        make_weights(rows), bank_of(rows), inverse_temperature=1e9
    )
    np.testing.assert_allclose(found.vectors, rows[found.nearest], rtol=1e-5)
    np.testing.assert_allclose(found.effective_number, 1, rtol=1e-4)
    np.testing.assert_allclose(found.cosine, found.nearest_cosine, atol=1e-7)


def test_a_bank_of_one_image_is_what_everything_becomes():
    rows = make_bank(1)
    found = project_onto_bank(make_weights(make_bank()), bank_of(rows))
    np.testing.assert_allclose(found.vectors, np.tile(rows, (40, 1)), rtol=1e-6)
    assert set(found.effective_number) == {1.0}


def test_directions_that_cancel_have_no_projection():
    rows = np.array([[1, 0], [-2, 0]], np.float32)
    found = project_onto_bank([[0, 1], [1, 0]], bank_of(rows))
    assert np.isnan(found.vectors[0]).all()
    assert np.isnan([found.norm[0], found.cosine[0]]).all()
    np.testing.assert_allclose(found.vectors[1], [1, 0])
    np.testing.assert_allclose(found.effective_number, [2, 1])


# -------------------------------------------------------------- invariances


def test_the_order_of_the_bank_does_not_matter():
    rows = make_bank()
    weights = make_weights(rows)
    order = generator(0, "order").permutation(len(rows))
    first = project_onto_bank(weights, bank_of(rows), block_rows=50)
    second = project_onto_bank(weights, bank_of(rows[order]), block_rows=50)
    np.testing.assert_allclose(first.vectors, second.vectors, atol=1e-5)
    np.testing.assert_array_equal(first.nearest, order[second.nearest])


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 7.0, 1e30, 1e300])
def test_the_scale_of_weights_does_not_matter(scale):
    rows = make_bank()
    weights = make_weights(rows).astype(np.float64)
    first = project_onto_bank(weights, bank_of(rows))
    second = project_onto_bank(scale * weights, bank_of(rows))
    np.testing.assert_allclose(first.vectors, second.vectors, atol=1e-5)


def test_the_scale_of_the_bank_is_that_of_projections():
    rows = make_bank()
    weights = make_weights(rows)
    first = project_onto_bank(weights, bank_of(rows))
    second = project_onto_bank(weights, bank_of(4 * rows))
    np.testing.assert_allclose(4 * first.vectors, second.vectors, rtol=1e-6)


def test_some_rows_are_as_good_as_a_bank_of_them():
    rows = make_bank()
    weights = make_weights(rows)
    chosen = generator(0, "rows").permutation(len(rows))[:150]
    some = project_onto_bank(weights, bank_of(rows), rows=chosen, block_rows=64)
    alone = project_onto_bank(weights, bank_of(rows[np.sort(chosen)]), block_rows=64)
    np.testing.assert_array_equal(some.vectors, alone.vectors)
    np.testing.assert_array_equal(some.nearest, np.sort(chosen)[alone.nearest])
    assert set(some.nearest) <= set(chosen)


def test_half_precision_on_disk_is_its_copy_in_single_precision(tmp_path):
    rows = make_bank().astype(np.float16)
    weights = make_weights(rows.astype(np.float32))
    (tmp_path / "bank").mkdir()
    for number, part in enumerate(np.split(rows, [100, 101, 500])):
        np.save(tmp_path / "bank" / f"{number}.npy", part)
    half = project_onto_bank(weights, open_bank(tmp_path / "bank"), block_rows=60)
    single = project_onto_bank(weights, bank_of(rows.astype(np.float32)), block_rows=60)
    np.testing.assert_array_equal(half.vectors, single.vectors)
    swapped = bank_of(rows.astype(">f2"))
    again = project_onto_bank(weights, swapped, block_rows=60)
    np.testing.assert_array_equal(again.vectors, single.vectors)


def test_of_equal_images_the_first_is_the_nearest():
    rows = make_bank(512, 64)
    weights = rows[[17, 300, 511]] * 2
    twice = np.concatenate([rows, 3 * rows, rows])
    for block_rows in (100, 512, "auto"):
        found = project_onto_bank(weights, bank_of(twice), block_rows=block_rows)
        assert found.nearest.tolist() == [17, 300, 511]
        np.testing.assert_allclose(found.nearest_cosine, 1, atol=1e-12)


def test_nothing_is_changed_that_was_given():
    rows, weights = make_bank(), make_weights(make_bank())
    copies = rows.copy(), weights.copy()
    project_onto_bank(weights, bank_of(rows))
    np.testing.assert_array_equal(rows, copies[0])
    np.testing.assert_array_equal(weights, copies[1])


# ------------------------------------------------------------------- faults


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_images_that_failed_are_named_and_can_be_left_out(value):
    rows = make_bank()
    weights = make_weights(rows)
    kept = np.delete(np.arange(700), [5, 350])
    expected = project_onto_bank(weights, bank_of(rows), rows=kept)
    rows[[5, 350]] = value
    bank = bank_of(rows)
    with pytest.raises(ValueError, match=r"rows 5, 350: .*sound_rows"):
        project_onto_bank(weights, bank)
    with pytest.raises(ValueError, match="rows 350:"):
        project_onto_bank(weights, bank, rows=np.arange(100, 700), block_rows=9)
    found = project_onto_bank(weights, bank, rows=sound_rows(bank))
    np.testing.assert_array_equal(found.vectors, expected.vectors)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.array([[1, 0, 0], [np.nan, 1, 0]]), "1 of 2 .* voxel 1:"),
        (np.array([[-np.inf, 0, 0]]), "1 of 1 .* voxel 0:"),
        (np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), "2 of 3 .* voxel 0, 2:"),
        (np.ones((2, 4)), "have 4 features; .* 'toy' have 3"),
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((0, 3)), r"shape \(0, 3\)"),
        (np.array([["a", "b", "c"]]), "<U1"),
    ],
)
def test_weights_that_do_not_fit_are_refused_first(weights, words):
    rows = WORKED.copy()
    rows[0] = np.nan  # would be found later
    with pytest.raises(ValueError, match=words):
        project_onto_bank(weights, bank_of(rows, "toy"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"inverse_temperature": -1}, ValueError, "inverse_temperature"),
        ({"inverse_temperature": np.inf}, ValueError, "inverse_temperature"),
        ({"inverse_temperature": 1e10}, ValueError, "inverse_temperature"),
        ({"inverse_temperature": "hot"}, TypeError, "inverse_temperature"),
        ({"block_rows": 0}, ValueError, "block_rows"),
        ({"block_rows": "all"}, ValueError, "block_rows"),
        ({"rows": []}, ValueError, "at least one row"),
        ({"rows": [0, 2, 0]}, ValueError, "0 comes 2 times"),
        ({"rows": [3]}, ValueError, "within 0 and 2"),
        ({"device": "gpu"}, ValueError, "device"),
    ],
)
def test_wrong_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        project_onto_bank([[1, 0, 0]], bank_of(WORKED), **options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("beta", [0, 150, 1001])
def test_a_gpu_gives_the_same(beta):
    rows = make_bank(5000, 512)
    weights = make_weights(rows, 100)
    found = project_onto_bank(
        weights, bank_of(rows), inverse_temperature=beta, device="cuda"
    )
    check(found, project_densely(weights, rows, beta))
