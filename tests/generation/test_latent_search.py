"""Search over latents: known optima are approached, and runs can be repeated."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurovis.core.rng import generator
from neurovis.generation.latent_search import (
    COLUMNS,
    SearchSettings,
    mix_latents,
    search_latents,
)

SHAPE = (3, 4, 4)
QUICK = SearchSettings(n_generations=6, population=10)
OPTIMUM = torch.from_numpy(generator(0, "optimum").standard_normal(SHAPE)).float()


def draw(latents):
    """Return images whose levels are the ranks of normal numbers."""
    levels = torch.special.ndtr(latents.double()) * 255
    return levels.round().byte().movedim(1, 3).contiguous().numpy()


def towards(images):
    """Return how much latents, read off the images, lie along the optimum."""
    ranks = (images / 255).clip(0.002, 0.998)
    latents = torch.special.ndtri(torch.from_numpy(ranks)).movedim(3, 1)
    direction = OPTIMUM / OPTIMUM.norm()
    return (latents * direction).flatten(1).sum(1).numpy()


def search(seed=0, settings=QUICK, **more):
    return search_latents(draw, towards, SHAPE, settings=settings, seed=seed, **more)


def expect_equal(found, other):
    assert torch.equal(found.latents, other.latents)
    assert np.array_equal(found.scores, other.scores, equal_nan=True)
    pd.testing.assert_frame_equal(found.table, other.table)


# ---------------------------------------------------------------- recovery


@pytest.mark.parametrize("seed", range(3))
def test_a_known_optimum_is_approached_and_random_search_beaten(seed):
    settings = SearchSettings()
    found = search(seed, settings)
    n = settings.n_evaluations
    random = search(seed, SearchSettings(1, n))
    assert len(random.table) == n == 20 + 39 * 14
    # The best of n standard normal numbers, and the end of a vector of 48.
    expected = NormalDist().inv_cdf(1 - 0.5 / n)
    assert random.scores[0] == pytest.approx(expected, abs=1)
    assert found.scores[0] > random.scores[0] + 1.5
    cosine = torch.cosine_similarity(found.best.flatten(), OPTIMUM.flatten(), 0)
    assert cosine > 0.7


def test_a_target_is_found_again():
    def near(images):
        wanted = draw(OPTIMUM[None]).astype(float)
        return -np.abs(images - wanted).mean((1, 2, 3))

    settings = SearchSettings(n_generations=60)
    found = search_latents(draw, near, SHAPE, settings=settings)
    random = search_latents(
        draw, near, SHAPE, settings=SearchSettings(1, settings.n_evaluations)
    )
    assert found.scores[0] > 0.7 * random.scores[0]


def test_the_best_score_never_falls():
    curve = search(settings=replace(QUICK, n_generations=20)).curve.to_numpy()
    assert len(curve) == 20
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] > curve[0]


@pytest.mark.parametrize("mutation", [0.1, 0.6, 1.0])
def test_latents_stay_what_generators_take_for_noise(mutation):
    settings = SearchSettings(n_generations=30, population=40, mutation=mutation)

    def flat(images):
        return np.zeros(len(images))

    found = search_latents(draw, flat, (3, 16, 16), settings=settings)
    # Without selection the variance stays 1.
    last = found.table[found.table["generation"] == 29]
    assert last["latent_rms"].mean() == pytest.approx(1, abs=0.05)
    assert float(found.latents.mean()) == pytest.approx(0, abs=0.05)


# ---------------------------------------------------------------- reproducibility


def test_equal_seeds_give_equal_searches_and_others_other_ones():
    expect_equal(search(), search())
    assert not torch.equal(search(1).latents, search(0).latents)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_size_of_batches_does_not_matter(batch_size):
    expect_equal(search(batch_size=batch_size), search(batch_size=16))


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_a_search_goes_on_where_it_stopped(stop):
    first = search(settings=replace(QUICK, n_generations=stop))
    expect_equal(search(resume=first), search())


def test_a_longer_search_begins_as_a_shorter_one():
    short, long = search(), search(settings=replace(QUICK, n_generations=9))
    shared = long.table[long.table["generation"] < 6]
    pd.testing.assert_frame_equal(shared, short.table)


def test_global_random_states_are_left_alone():
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    search()
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], other)  # noqa: NPY002


# ---------------------------------------------------------------- history


def test_the_table_tells_the_descent_of_each_latent():
    settings = replace(QUICK, crossover=0.5)
    table = search(settings=settings).table
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 60
    assert table["generation"].tolist() == sorted(list(range(6)) * 10)
    first, later = table.iloc[:10], table.iloc[10:]
    assert set(first["origin"]) == {"random"}
    assert (first[["first_parent", "second_parent"]] == -1).all(axis=None)
    assert (later.groupby(["generation", "origin"]).size() == [7, 3] * 5).all()
    children = later[later["origin"] == "child"]
    assert children["first_parent"].between(0, 2).all()
    assert set(children["second_parent"]) == {-1, 0, 1, 2}
    assert (children["first_parent"] != children["second_parent"]).all()
    for generation in range(6):
        rows = table[table["generation"] == generation]
        assert rows["score"].is_monotonic_decreasing
        elites = rows[rows["origin"] == "elite"]
        before = table[table["generation"] == generation - 1]
        scores = before["score"].to_numpy()[elites["first_parent"]]
        assert np.array_equal(elites["score"], scores)


def test_only_new_latents_are_drawn_and_scored():
    drawn = []

    def count(latents):
        drawn.append(len(latents))
        return draw(latents)

    search_latents(count, towards, SHAPE, settings=QUICK, batch_size=4)
    assert drawn == [4, 4, 2] + [4, 3] * 5
    assert sum(drawn) == QUICK.n_evaluations


def test_without_crossover_nobody_has_two_parents():
    table = search(settings=replace(QUICK, crossover=0.0)).table
    assert (table["second_parent"] == -1).all()


def test_one_elite_is_the_parent_of_all():
    table = search(settings=replace(QUICK, elite=0.0, crossover=1.0)).table
    children = table[table["origin"] == "child"]
    assert (children["first_parent"] == 0).all()
    assert len(children) == 5 * 9


def test_without_mutation_and_crossover_children_are_their_parents():
    found = search(settings=replace(QUICK, mutation=0.0, crossover=0.0))
    first = search(settings=replace(QUICK, n_generations=1))
    rows = {latent.numpy().tobytes() for latent in first.latents[:3]}
    assert {latent.numpy().tobytes() for latent in found.latents} <= rows


def test_undefined_scores_rank_last_and_are_no_parents():
    def partly(images):
        scores = towards(images)
        return np.where(images[:, 0, 0, 0] > 127, scores, np.nan)

    found = search_latents(draw, partly, SHAPE, settings=QUICK)
    table = found.table
    assert table["score"].isna().any()
    for _, rows in table.groupby("generation"):
        defined = rows["score"].notna().to_numpy()
        assert (np.diff(defined.astype(int)) <= 0).all()
    assert (draw(found.latents[:3])[:, 0, 0, 0] > 127).all()


# ---------------------------------------------------------------- mixing


@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(-0.999, 1))
def test_mixed_latents_keep_their_length_however_alike(seed, share, cosine):
    stream = np.random.default_rng(seed)
    a, b = torch.from_numpy(np.linalg.qr(stream.standard_normal((48, 2)))[0].T)
    b = cosine * a + math.sqrt(1 - cosine**2) * b
    mixed = mix_latents(7 * a, 7 * b, share)
    assert float(mixed.norm()) == pytest.approx(7, rel=1e-3)
    # Between the two: the angles on both sides sum to the whole.
    angles = [math.acos(max(-1, min(1, float(mixed @ v) / 7))) for v in (a, b)]
    assert sum(angles) == pytest.approx(math.acos(cosine), abs=0.1)


def test_mixing_independent_latents_is_the_spherical_mean():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    for share in (0.0, 0.25, 0.5, 1.0):
        angle = share * math.pi / 2
        expected = torch.tensor([2 * math.cos(angle), 2 * math.sin(angle)])
        assert torch.allclose(mix_latents(a, b, share), expected, atol=1e-6)


def test_the_length_of_a_mixture_lies_between():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    lengths = [float(mix_latents(a, b, share).norm()) for share in (0, 0.25, 0.5, 1)]
    assert lengths == pytest.approx([1, 1.5, 2, 3])


def test_mixing_equal_and_empty_latents_is_defined():
    a = torch.tensor([1.0, 2.0])
    assert torch.allclose(mix_latents(a, a, 0.3), a)
    assert torch.allclose(mix_latents(a, torch.zeros(2), 0.5), a / 2)


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"n_generations": 0}, ValueError, r"`n_generations` must be within \[1"),
        ({"population": 1}, ValueError, r"`population` must be within \[2"),
        ({"population": 9.5}, ValueError, "`population` must be a whole number"),
        ({"elite": 1.5}, ValueError, "`elite` must be within"),
        ({"elite": 0.98}, ValueError, "would replace nobody"),
        ({"mutation": -0.1}, ValueError, "`mutation` must be within"),
        ({"crossover": "often"}, TypeError, "`crossover` must be a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(more, error, message):
    with pytest.raises(error, match=message):
        SearchSettings(**more)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda x: draw(x).astype(float), TypeError, "dtype uint8; got float64"),
        (lambda x: draw(x)[:1], ValueError, r"`draw\(latents\)` must have shape \(10,"),
        (lambda x: draw(x)[..., 0], ValueError, r"shape \(10, any, any, 3\)"),
    ],
)
def test_images_that_cannot_be_are_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        search_latents(wrong, towards, SHAPE, settings=QUICK)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda images: towards(images).mean(), r"`score\(images\)` must have shape"),
        (lambda images: np.full(len(images), np.nan), "NaN for all images"),
        (lambda images: np.full(len(images), np.inf), "infinite values"),
    ],
)
def test_scores_that_cannot_be_are_refused(score, message):
    with pytest.raises(ValueError, match=message):
        search_latents(draw, score, SHAPE, settings=QUICK)


@pytest.mark.parametrize(
    "more",
    [
        {"seed": 1},
        {"settings": replace(QUICK, mutation=0.3)},
        {"settings": replace(QUICK, population=12)},
    ],
)
def test_another_search_is_not_resumed(more):
    with pytest.raises(ValueError, match="`resume` must be of a search with the same"):
        search(resume=search(), **more)


def test_latents_of_another_shape_are_not_resumed():
    with pytest.raises(ValueError, match="same seed, shape and settings"):
        search_latents(draw, towards, (3, 8, 8), settings=QUICK, resume=search())


@pytest.mark.parametrize(
    ("more", "message"),
    [({"batch_size": 0}, "`batch_size` must be"), ({"seed": -1}, "`seed` must be 0")],
)
def test_numbers_that_cannot_be_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        search(**more)


def test_latents_of_two_shapes_are_not_mixed():
    with pytest.raises(ValueError, match="Latents must have one shape"):
        mix_latents(torch.ones(2), torch.ones(3), 0.5)
    with pytest.raises(ValueError, match="`share` must be within"):
        mix_latents(torch.ones(2), torch.ones(2), 1.5)
