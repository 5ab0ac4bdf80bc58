"""Distances of scanpaths against SciPy, similaritymeasures and plain loops."""

import math

import numpy as np
import pytest
import similaritymeasures
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist, directed_hausdorff

from analysis.scanpath_distances import (
    dtw,
    eyenalysis,
    frechet,
    hausdorff,
    mannan_distance,
    mannan_index,
    stde,
    tde,
)
from analysis.scanpath_pairs import measure_pairs
from analysis.scanpath_sets import ScanpathSet, pack_scanpaths

SCREEN = (640, 480)
PLACES = st.floats(-100, 1000, allow_subnormal=False)
PATH = st.integers(1, 7).flatmap(lambda n: arrays(float, (n, 2), elements=PLACES))
PATHS = st.lists(PATH, min_size=1, max_size=4)

SYMMETRIC = {
    "dtw": dtw,
    "frechet": frechet,
    "hausdorff": hausdorff,
    "eyenalysis": eyenalysis,
    "mannan_distance": lambda *a, **k: mannan_distance(*a, screen_px=SCREEN, **k),
}
ALL = {
    **SYMMETRIC,
    "mannan_index": lambda *a, **k: mannan_index(
        *a, screen_px=SCREEN, n_random=10, **k
    ),
    "tde 1": lambda *a, **k: tde(*a, k=1, **k),
    "tde 3": lambda *a, **k: tde(*a, k=3, **k),
    "stde": lambda *a, **k: stde(*a, screen_px=SCREEN, **k),
}
each_symmetric = pytest.mark.parametrize("measure", SYMMETRIC.values(), ids=SYMMETRIC)
each = pytest.mark.parametrize("measure", ALL.values(), ids=ALL)

# A pair of the golden fixtures on a screen of 800 x 600, and the reference values.
HUMAN = [(773.1, 95.7), (132.7, 561.5), (389.2, 292.7)]
MODEL = [
    *[(474.7, 560.8), (318.8, 479.0), (101.6, 286.1), (25.9, 313.8), (312.7, 238.0)],
    *[(466.0, 239.3), (414.5, 24.9), (719.1, 478.5), (728.4, 147.4)],
]
REFERENCE = {
    dtw: 2507.2661294023187,
    frechet: 552.5943991753808,
    hausdorff: 378.6233616669738,
    eyenalysis: 255.1613317807874,
}


def _random_paths(n, seed, longest=9):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0, 500, (k, 2)) for k in rng.integers(1, longest + 1, n)]


def _loop_tde(pred, human, k):
    if min(len(pred), len(human)) < k:
        return math.nan
    nearest = []
    for i in range(len(pred) - k + 1):
        sums = [
            sum(math.dist(pred[i + s], human[j + s]) for s in range(k)) / k
            for j in range(len(human) - k + 1)
        ]
        nearest.append(min(sums))
    return sum(nearest) / len(nearest)


def _loop_stde(pred, human, screen):
    p, h = np.asarray(pred) / max(screen), np.asarray(human) / max(screen)
    n = min(len(p), len(h))
    return sum(math.exp(-_loop_tde(p, h, k)) for k in range(1, n + 1)) / n


def _loop_mannan(pred, human, screen):
    d = cdist(pred, human)
    n, m = d.shape
    top = n * (d.min(axis=0) ** 2).sum() + m * (d.min(axis=1) ** 2).sum()
    return top / (2 * n * m * (screen[0] ** 2 + screen[1] ** 2))


def _loop_eyenalysis(pred, human):
    d = cdist(pred, human)
    return (d.min(axis=0).sum() + d.min(axis=1).sum()) / max(d.shape)


ORACLES = {
    "dtw": lambda p, h: similaritymeasures.dtw(p, h)[0],
    "frechet": similaritymeasures.frechet_dist,
    "hausdorff": lambda p, h: max(
        directed_hausdorff(p, h)[0], directed_hausdorff(h, p)[0]
    ),
    "eyenalysis": _loop_eyenalysis,
    "mannan_distance": lambda p, h: _loop_mannan(p, h, SCREEN),
    "tde 1": lambda p, h: _loop_tde(p, h, 1),
    "tde 3": lambda p, h: _loop_tde(p, h, 3),
    "stde": lambda p, h: _loop_stde(p, h, SCREEN),
}


def test_pair_of_the_reference_codes():
    pair = [MODEL], [HUMAN]
    for measure, value in REFERENCE.items():
        assert measure(*pair).item() == pytest.approx(value, rel=1e-12)
    screen = (800, 600)
    distance = mannan_distance(*pair, screen_px=screen).item()
    assert distance == pytest.approx(0.03727689055555555, rel=1e-12)
    assert stde(*pair, screen_px=screen).item() == pytest.approx(0.679389829155037)
    windows = [tde(*pair, k=k).item() for k in (1, 2, 3)]
    expected = [214.55557868533825, 322.0367228273529, 402.2928420505032]
    np.testing.assert_allclose(windows, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ORACLES)
def test_measures_match_an_independent_implementation(name):
    pred, human = _random_paths(14, 0), _random_paths(11, 1)
    expected = [[ORACLES[name](p, h) for h in human] for p in pred]
    np.testing.assert_allclose(ALL[name](pred, human), expected, rtol=1e-12)


@each
def test_blocks_pairs_and_padding_do_not_matter(measure):
    pred, human = _random_paths(40, 2, 30), _random_paths(30, 3, 30)
    whole = measure(pred, human)
    order = np.random.default_rng(4).permutation(40 * 30)
    pairs = np.column_stack([order // 30, order % 30])[:500]
    some = measure(pred, human, pairs=pairs)
    np.testing.assert_array_equal(some, whole[pairs[:, 0], pairs[:, 1]])
    packed = pack_scanpaths(pred)
    wide = np.full((3, 40, 50), -1e9)
    wide[0, :, :30], wide[1, :, :30] = packed.x_px, packed.y_px
    wide[:2, :, :30][np.isnan(wide[:2, :, :30])] = 1e9
    padded = ScanpathSet(*wide, packed.n_fixations)
    np.testing.assert_array_equal(measure(padded, human), whole)


@each
@given(paths=PATHS, shift=arrays(float, 2, elements=st.integers(-500, 500)))
@settings(max_examples=25)
def test_place_on_the_screen_does_not_matter(measure, paths, shift):
    first = measure(paths, paths)
    moved = [p + shift for p in paths]
    np.testing.assert_allclose(measure(moved, moved), first, rtol=1e-9, atol=1e-7)


@each_symmetric
@given(pred=PATHS, human=PATHS)
@settings(max_examples=25)
def test_order_of_the_two_does_not_matter(measure, pred, human):
    np.testing.assert_allclose(
        measure(pred, human), measure(human, pred).T, rtol=1e-12, atol=1e-12
    )


@each
@given(paths=PATHS)
@settings(max_examples=25)
def test_equal_scanpaths_have_the_best_score(measure, paths):
    name = next(n for n, f in ALL.items() if f is measure)
    best = {"stde": 1.0, "mannan_index": 100.0}.get(name, 0.0)
    score = np.diag(measure(paths, paths))
    short = [name == "tde 3" and len(p) < 3 for p in paths]
    np.testing.assert_array_equal(score, np.where(short, np.nan, best))


@given(pred=PATHS, human=PATHS, scale=st.sampled_from([0.25, 0.5, 2.0, 8.0]))
@settings(max_examples=25)
def test_distances_grow_with_scale_and_relative_ones_do_not(pred, human, scale):
    large = [p * scale for p in pred], [h * scale for h in human]
    for name in ("dtw", "frechet", "hausdorff", "eyenalysis", "tde 1", "tde 3"):
        np.testing.assert_allclose(
            ALL[name](*large), scale * ALL[name](pred, human), rtol=1e-9, atol=1e-9
        )
    screen = [s * scale for s in SCREEN]
    for measure in (mannan_distance, mannan_index, stde):
        np.testing.assert_allclose(
            measure(*large, screen_px=screen),
            measure(pred, human, screen_px=SCREEN),
            rtol=1e-9,
            atol=1e-9,
        )


@given(pred=PATHS, human=PATHS)
@settings(max_examples=25)
def test_distances_are_ordered_as_they_must_be(pred, human):
    points = hausdorff(pred, human)
    leash = frechet(pred, human)
    tolerance = 1e-9
    assert (points <= leash + tolerance).all()
    assert (leash <= dtw(pred, human) + tolerance).all()
    assert (eyenalysis(pred, human) <= 2 * points + tolerance).all()
    assert (tde(pred, human, k=1) <= points + tolerance).all()
    similarity = stde(pred, human, screen_px=SCREEN)
    assert ((similarity > 0) & (similarity <= 1)).all()


def test_time_delay_embedding_is_about_what_pred_did():
    human = [[(0, 0), (100, 0), (100, 100)]]
    part = [[(100, 0), (100, 100)]]
    assert tde(part, human, k=2).item() == 0
    assert stde(part, human, screen_px=SCREEN).item() == 1
    assert tde(human, part, k=2).item() == pytest.approx(50)
    assert np.isnan(tde(part, human, k=3)).all()
    assert np.isnan(tde(human, part, k=9)).all()


# Mannan's index


def test_index_of_random_sets_is_zero_on_average():
    rng = np.random.default_rng(5)
    pred, human = ([rng.random((k, 2)) * SCREEN for k in (4, 7) * 400] for _ in "ab")
    pairs = np.column_stack([np.arange(800), np.arange(800)[::-1]])
    index = mannan_index(pred, human, screen_px=SCREEN, pairs=pairs)
    assert abs(index.mean()) < 4 * index.std() / np.sqrt(800) + 1
    assert index.max() < 100


def test_index_is_one_minus_the_ratio_to_random_sets():
    pred, human = _random_paths(6, 6), _random_paths(6, 7)
    index = mannan_index(pred, human, screen_px=SCREEN, n_random=2000)
    rng = np.random.default_rng(8)
    for i, j in ((0, 0), (2, 3), (5, 1)):
        n, m = len(pred[i]), len(human[j])
        draws = [
            math.sqrt(_loop_mannan(rng.random((n, 2)) * SCREEN, other, SCREEN))
            for other in rng.random((2000, m, 2)) * SCREEN
        ]
        own = math.sqrt(_loop_mannan(pred[i], human[j], SCREEN))
        assert index[i, j] == pytest.approx(100 * (1 - own / np.mean(draws)), abs=4)


def test_index_depends_on_the_seed_and_not_on_other_pairs():
    pred, human = _random_paths(9, 9), _random_paths(8, 10)
    options = {"screen_px": SCREEN, "n_random": 5}
    index = mannan_index(pred, human, **options)
    np.testing.assert_array_equal(mannan_index(human, pred, **options).T, index)
    alone = mannan_index(pred[4:5], human[6:7], **options)
    assert alone.item() == index[4, 6]
    assert (mannan_index(pred, human, seed=1, **options) != index).all()


# What cannot be compared, and wrong arguments


@each
def test_empty_and_undefined_scanpaths_have_no_distance(measure):
    good = [(1, 2), (3, 4), (5, 9)]
    paths = [good, [], [(1, 2), (np.nan, 3), (5, 6)], good]
    known = np.isfinite(measure(paths, paths))
    expected = np.outer([1, 0, 0, 1], [1, 0, 0, 1]).astype(bool)
    np.testing.assert_array_equal(known, expected)
    assert measure([], []).shape == (0, 0)
    assert measure(paths, paths, pairs=[]).shape == (0,)
    assert np.isnan(measure([[]], [[]])).all()


def test_screens_may_differ_between_pairs():
    paths = _random_paths(3, 11)
    screens = np.array([[640, 480], [1280, 720], [320, 900]])
    pairs = [(0, 1), (1, 2), (2, 0)]
    for measure in (stde, mannan_distance, mannan_index):
        got = measure(paths, paths, pairs=pairs, screen_px=screens)
        for (i, j), screen, value in zip(pairs, screens, got, strict=True):
            alone = measure(paths[i : i + 1], paths[j : j + 1], screen_px=screen)
            assert alone.item() == value
    whole = stde(paths, paths, screen_px=screens[None])
    assert whole[0, 1] == stde(paths, paths, screen_px=screens[1])[0, 1]


def test_a_measure_of_blocks_gets_every_pair_once():
    paths = _random_paths(7, 12)
    seen = []

    def measure(block):
        seen.extend(block.place)
        return np.stack([block.n_pred, block.n_human], axis=1)

    lengths = measure_pairs(paths, paths, None, measure, values=2, cells=50)
    assert sorted(seen) == list(range(49))
    np.testing.assert_array_equal(lengths[:, :, 0], lengths[:, :, 1].T)
    assert lengths[:, 0, 0].tolist() == [len(p) for p in paths]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda p: hausdorff(p, p, pairs=[(0, 5)]), "must index 1 pred and 1 human"),
        (lambda p: dtw(p, p, pairs=[0, 1]), "`pairs` must have shape"),
        (lambda p: tde(p, p, k=0), "`k` must be within \\[1"),
        (lambda p: stde(p, p, screen_px=(640, 0)), "finite and above 0"),
        (lambda p: stde(p, p, screen_px=(640, np.nan)), "finite and above 0"),
        (lambda p: stde(p, p, screen_px=640), "`screen_px` must have shape \\(2,\\)"),
        (
            lambda p: mannan_distance(p, p, screen_px=np.ones((3, 1, 2))),
            "broadcast to \\(1, 1, 2\\)",
        ),
        (
            lambda p: mannan_index(p, p, screen_px=SCREEN, n_random=0),
            "`n_random` must be within",
        ),
        (lambda p: eyenalysis([(1, 2)], p), "Scanpath 0 must have shape"),
    ],
)
def test_wrong_arguments_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call([[(1.0, 2.0)]])
