"""MultiMatch against multimatch-gaze, and its laws."""

import math

import multimatch_gaze
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.multimatch import Simplification, multimatch, simplify_scanpaths
from analysis.scanpath_sets import pack_scanpaths

SCREEN = (800, 600)
DIAGONAL = 1000.0


def random_paths(seed, lengths, size=SCREEN):
    """Scanpaths with durations in ms."""
    rng = np.random.default_rng(seed)
    return [
        np.column_stack([rng.uniform(0, size, (n, 2)), rng.integers(80, 600, n)])
        for n in lengths
    ]


def reference(pred, human, screen=SCREEN, rule=None):
    """The package on one pair; NaN where it is undefined or fails."""
    records = []
    for path in (pred, human):
        array = np.empty(
            len(path),
            [(k, float) for k in ("start_x", "start_y")] + [("duration", float)],
        )
        array["start_x"], array["start_y"] = path[:, 0], path[:, 1]
        array["duration"] = path[:, 2] / 1000
        records.append(array)
    grouping = {}
    if rule is not None:
        grouping = {
            "grouping": True,
            "TDir": rule.direction_deg,
            "TDur": rule.duration_ms / 1000,
            "TAmp": rule.amplitude * math.hypot(*screen),
        }
    try:
        return multimatch_gaze.docomparison(*records, screen, **grouping)
    except IndexError:
        return np.full(5, np.nan)


def reference_matrix(pred, human, **kwargs):
    return np.array([[reference(a, b, **kwargs) for b in human] for a in pred])


def test_similarities_match_multimatch_gaze():
    pred = random_paths(0, [3, 4, 5, 9, 14, 30, 2, 1])
    human = random_paths(1, [3, 7, 12, 33, 2])
    values = multimatch(pred, human, screen_px=SCREEN)
    expected = reference_matrix(pred, human)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(800, 600), (250, 250), (120, 90)])
@pytest.mark.parametrize(
    "rule",
    [Simplification(), Simplification(90, 450, 0.2), Simplification(10, 150, 0.3)],
)
def test_grouped_similarities_match_multimatch_gaze(size, rule):
    paths = random_paths(2, [3, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 20], size)
    values = multimatch(paths[:7], paths[5:], screen_px=SCREEN, simplify=rule)
    expected = reference_matrix(paths[:7], paths[5:], rule=rule)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def test_a_scanpath_left_with_one_short_saccade_is_undefined():
    # The published rules look for the saccade before the only one, and fail.
    path = np.array([[0, 0, 100], [60, 0, 100], [0, 1, 100.0]])
    other = random_paths(3, [5])[0]
    assert np.isnan(reference(path, other, rule=Simplification())).all()
    values = multimatch(
        [path, other], [other], screen_px=SCREEN, simplify=Simplification()
    )
    assert np.isnan(values[0, 0]).all()
    np.testing.assert_array_equal(values[1, 0], 1)


def test_screens_of_pairs_only_scale():
    pred, human = random_paths(4, [5, 8]), random_paths(5, [6, 4, 9])
    pairs = np.array([(0, 2), (1, 0), (1, 0), (0, 1)])
    screens = np.array([(800, 600), (1024, 768), (400, 900), (800, 600)])
    for rule in (None, Simplification()):
        values = multimatch(pred, human, screen_px=screens, pairs=pairs, simplify=rule)
        expected = [
            reference(pred[i], human[j], tuple(screen), rule)
            for (i, j), screen in zip(pairs, screens, strict=True)
        ]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(-500, 500))
@settings(max_examples=25)
def test_similarities_ignore_shift_scale_and_side(seed, scale, shift):
    pred, human = random_paths(seed, [3, 7, 11]), random_paths(seed + 1, [5, 9])
    values = multimatch(pred, human, screen_px=SCREEN)
    back = multimatch(human, pred, screen_px=SCREEN)
    np.testing.assert_allclose(back.transpose(1, 0, 2), values, atol=1e-12)
    move = np.array([scale, scale, 1.0]), np.array([shift, shift, 0.0])
    changed = multimatch(
        [p * move[0] + move[1] for p in pred],
        [p * move[0] + move[1] for p in human],
        screen_px=np.multiply(SCREEN, scale),
    )
    np.testing.assert_allclose(changed, values, atol=1e-9)
    assert (values <= 1).all()
    np.testing.assert_array_equal(
        np.diagonal(multimatch(pred, pred, screen_px=SCREEN)), 1
    )


def test_a_shift_of_one_scanpath_moves_position_only():
    path = random_paths(6, [8])[0]
    values = multimatch([path + np.array([30, 40, 0])], [path], screen_px=SCREEN)[0, 0]
    np.testing.assert_allclose(values, [1, 1, 1, 1 - 50 / DIAGONAL, 1], atol=1e-12)


def test_order_and_choice_of_pairs_do_not_matter():
    pred, human = random_paths(7, range(3, 18)), random_paths(8, range(25, 2, -2))
    matrix = multimatch(pred, human, screen_px=SCREEN)
    chosen = np.random.default_rng(0).integers(0, (len(pred), len(human)), (60, 2))
    values = multimatch(pred, human, screen_px=SCREEN, pairs=chosen)
    np.testing.assert_array_equal(values, matrix[tuple(chosen.T)])
    assert multimatch(pred, human, screen_px=SCREEN, pairs=[]).shape == (0, 5)
    alone = multimatch(pred[:1], human[:1], screen_px=SCREEN)
    np.testing.assert_array_equal(alone[0, 0], matrix[0, 0])


def test_directions_differ_by_the_smaller_angle():
    up, down = ([[0, 0], [100, y], [200, 2 * y]] for y in (-10, 10))
    values = multimatch([up], [down], screen_px=SCREEN)[0, 0]
    expected = 1 - 2 * math.atan2(10, 100) / math.pi
    assert values[1] == pytest.approx(expected, abs=1e-12)


def test_unknown_durations_leave_only_duration_undefined():
    timed, untimed = random_paths(9, [6])[0], random_paths(10, [5])[0]
    known = multimatch([timed], [untimed], screen_px=SCREEN)[0, 0]
    partly = untimed.copy()
    partly[1, 2] = np.nan
    for path in (untimed[:, :2], partly):
        values = multimatch([timed], [path], screen_px=SCREEN)[0, 0]
        np.testing.assert_array_equal(values[:4], known[:4])
        assert np.isnan(values[4])
        grouped = multimatch(
            [timed], [path], screen_px=SCREEN, simplify=Simplification()
        )
        assert np.isnan(grouped).all()


def test_durations_of_zero_on_both_sides_are_undefined():
    path = random_paths(11, [5])[0]
    path[2, 2] = 0
    values = multimatch([path], [path], screen_px=SCREEN)[0, 0]
    np.testing.assert_array_equal(values, [1, 1, 1, 1, np.nan])


def test_short_and_undefined_scanpaths_are_undefined():
    good = [(1, 1), (5, 9), (30, 3)]
    bad = [[], [(1, 2)], [(1, 2), (3, 4)], [(1, 2), (np.nan, 4), (5, 6)]]
    for pad, n_undefined in ((None, 4), ("cvlab", 2)):
        values = multimatch(bad, [good], screen_px=SCREEN, pad=pad)
        assert np.isnan(values[..., :4]).all(-1).sum() == n_undefined


def test_padding_is_three_points_at_the_corner():
    pred, human = random_paths(12, [1, 2, 4]), random_paths(13, [2, 6])

    def filled(path):
        return np.vstack(
            [path, np.tile([1.0, 1.0, 1000.0], (max(3 - len(path), 0), 1))]
        )

    values = multimatch(pred, human, screen_px=SCREEN, pad="cvlab")
    expected = reference_matrix([filled(p) for p in pred], [filled(p) for p in human])
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def test_the_last_short_saccade_replaces_a_merged_one():
    # The second saccade is short and merged with the third; the last is short too. The
    # vector before it becomes the sum of the last two, and the second is lost.
    path = [
        (0, 0, 400),
        (0, 300, 400),
        (40, 300, 100),
        (300, 300, 400),
        (310, 300, 100),
    ]
    simple = simplify_scanpaths([path], Simplification(0, 300, 0.1), DIAGONAL)
    assert simple.n_fixations[0] == 3
    points = np.column_stack([simple.x_px[0, :3], simple.y_px[0, :3]])
    np.testing.assert_array_equal(points, [(0, 0), (0, 300), (270, 300)])


def test_saccades_are_merged_by_direction_or_by_size_only_at_short_fixations():
    straight = [(0, 0, 200), (100, 0, 200), (200, 10, 200), (200, 300, 200)]
    slow = [(x, y, 300) for x, y, _ in straight]
    by_turn = Simplification(45, 300, 0)
    simple = simplify_scanpaths([straight, slow], by_turn, DIAGONAL)
    assert simple.n_fixations.tolist() == [3, 4]
    assert simple.x_px[0, :3].tolist() == [0, 200, 200]
    np.testing.assert_array_equal(simple.x_px[1, :4], [0, 100, 200, 200])
    small = [(0, 0, 500), (50, 0, 200), (400, 0, 500), (400, 500, 500)]
    by_size = Simplification(0, 300, 0.1)
    for factor, n in ((1, 3), (0.4, 4)):
        simple = simplify_scanpaths([small], by_size, DIAGONAL * factor)
        assert simple.n_fixations[0] == n
    both = simplify_scanpaths([small] * 2, by_size, [DIAGONAL, 0.4 * DIAGONAL])
    assert both.n_fixations.tolist() == [3, 4]


def test_simplification_keeps_stationary_and_unsimplifiable_scanpaths():
    still = [(5, 5, 400)] * 4
    simple = simplify_scanpaths([still, [(1, 2, 3)], []], Simplification(), DIAGONAL)
    assert simple.n_fixations.tolist() == [4, 1, 0]
    original = pack_scanpaths([still])
    before = original.x_px.copy()
    simplify_scanpaths(original, Simplification(180, 1000, 1), DIAGONAL)
    np.testing.assert_array_equal(original.x_px, before)


def test_similarities_stay_as_they_were():
    pred, human = random_paths(20, [7, 12]), random_paths(21, [9], (200, 150))
    frozen = {
        None: [
            [0.9078509475, 0.5694889037, 0.8998043212, 0.7135992724, 0.6055693942],
            [0.8874580956, 0.8355577649, 0.8228621755, 0.6452676741, 0.8715277778],
        ],
        Simplification(): [
            [0.9122585954, 0.6286434499, 0.9028827157, 0.7135992724, 0.5041213620],
            [0.8874580956, 0.8213779378, 0.8228621755, 0.6452676741, 0.7555012225],
        ],
    }
    for rule, expected in frozen.items():
        values = multimatch(pred, human, screen_px=SCREEN, simplify=rule)[:, 0]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad": "zeros"}, "`pad` must be one of None, 'cvlab'"),
        ({"screen_px": (800,)}, r"one row for each, \(1, 1, 2\); got shape \(1,\)"),
        ({"screen_px": [(800, 600)] * 2}, r"got shape \(2, 2\)"),
        ({"screen_px": (800, 0)}, "finite and above 0"),
        ({"pairs": [(0, 1)]}, "must index 1 pred and 1 human"),
    ],
)
def test_bad_arguments_are_told(arguments, message):
    path = random_paths(14, [4])
    with pytest.raises(ValueError, match=message):
        multimatch(path, path, **{"screen_px": SCREEN, **arguments})


def test_bad_rules_are_told():
    with pytest.raises(ValueError, match="`direction_deg` must be within"):
        Simplification(direction_deg=200)
    with pytest.raises(ValueError, match="one for each of the 1 scanpaths"):
        simplify_scanpaths(random_paths(0, [3]), Simplification(), [1.0, 2.0])
