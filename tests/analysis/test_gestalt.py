"""Measures of perceptual organisation, on observers whose answers are known."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter1d

from analysis.gestalt import (
    attraction_from_evidence,
    fill_in,
    fit_attraction,
    ic_index,
    threshold_of_curve,
    without_orientation_bias,
)
from analysis.patches import mean_token, patch_shares, touched_patches
from analysis.plots_gestalt import plot_by_level, plot_verdicts
from stimuli.illusory_contours import draw_kanizsa

# ---------------------------------------------------------------------- patches


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.integers(0, 3))
def test_patches_agree_with_a_search_pixel_by_pixel(rows, columns, seed, margin):
    mask = np.random.default_rng(seed).random((11, 14)) < 0.05
    touched = touched_patches(mask, rows, columns, margin_px=margin)
    shares = patch_shares(mask, rows, columns)
    for r in range(rows):
        for c in range(columns):
            top, bottom = r * 11 / rows, (r + 1) * 11 / rows
            left, right = c * 14 / columns, (c + 1) * 14 / columns
            hit, area = False, 0.0
            for i, j in zip(*np.nonzero(mask), strict=True):
                high = min(bottom, i + 1) - max(top, i)
                wide = min(right, j + 1) - max(left, j)
                area += max(high, 0) * max(wide, 0)
                hit |= (
                    math.floor(top) - margin <= i < math.ceil(bottom) + margin
                    and math.floor(left) - margin <= j < math.ceil(right) + margin
                )
            assert touched[r, c] == hit
            assert shares[r, c] == pytest.approx(
                area / ((bottom - top) * (right - left)), abs=1e-9
            )


def test_a_mean_token_weighs_patches_and_is_undefined_without_any():
    tokens = np.arange(12.0).reshape(2, 2, 3)
    weights = np.array([[1, 0], [0, 3]])
    np.testing.assert_allclose(
        mean_token(tokens, weights), (tokens[0, 0] + 3 * tokens[1, 1]) / 4
    )
    assert np.isnan(mean_token(tokens, np.zeros((2, 2)))).all()


# ---------------------------------------------------------- illusory contours

PX = 16.0


def completion_tokens(image, reach_deg=1.6):
    """Edges that are drawn, or that lie between edges in line with them."""
    reach = round(reach_deg * PX)
    layers = [np.full(image.shape, 0.2)]
    for picture, back in ((image, lambda x: x), (image.T, lambda x: x.T)):
        edge = np.zeros(picture.shape)
        edge[1:] = np.abs(np.diff(picture, axis=0)) > 0.02
        # Thick by one pixel to either side, so that edges meet.
        edge = maximum_filter1d(edge, 3, axis=0)
        # Only edges that go on for a while count as in line.
        run = -maximum_filter1d(-edge, 7, axis=1)
        before = maximum_filter1d(run, reach, axis=1, origin=reach // 2 - 1)
        after = maximum_filter1d(run, reach, axis=1, origin=-(reach // 2))
        layers.append(back(np.maximum(run, before * after)))
    return patches_of(np.stack(layers, axis=2))


def pixel_tokens(image):
    return patches_of(np.repeat(image[..., None], 3, axis=2))


def patches_of(values, n=28):
    side = values.shape[0] // n
    return values.reshape(n, side, n, side, -1).mean(axis=(1, 3))


def index_of(see, ratio, kind="outward", blank=False):
    shown = {
        name: draw_kanizsa(
            4, 3.5, ratio, kind=name, px_per_deg=PX, real_contrast=0.16,
            line_width_deg=0.1, x_deg=0.05, y_deg=-0.05,
        )
        for name in ("illusory", kind, "outline")
    }  # fmt: skip
    patches = touched_patches(shown["illusory"].masks["edge"], 28, 28)
    for name in ("illusory", kind):
        patches &= ~touched_patches(shown[name].masks["inducers"], 28, 28, margin_px=1)
    assert patches.any()
    vectors = [mean_token(see(d.image), patches) for d in shown.values()]
    grey = mean_token(see(np.full((112, 112), 0.5)), patches) if blank else None
    return float(ic_index(*vectors, blank=grey))


@pytest.mark.parametrize("ratio", [0.4, 0.6])
def test_an_observer_that_completes_edges_sees_illusory_contours(ratio):
    assert index_of(completion_tokens, ratio) > 0.2
    # Inducers turned outward evoke nothing between them: their cosine is undefined.
    assert np.isnan(index_of(completion_tokens, ratio, blank=True))


def test_completion_of_a_short_reach_needs_enough_support():
    def short(image):
        return completion_tokens(image, reach_deg=1.0)

    assert index_of(short, 0.2) == pytest.approx(0.0, abs=1e-9)
    assert index_of(short, 0.8) > 0.2


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
def test_a_pixel_observer_sees_none(ratio):
    assert index_of(pixel_tokens, ratio) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(index_of(pixel_tokens, ratio, blank=True))


def test_the_index_is_its_definition_and_undefined_without_a_token():
    rng = np.random.default_rng(0)
    a, b, c = rng.random((3, 20))

    def cosine(x, y):
        return x @ y / np.sqrt(x @ x * (y @ y))

    s1, s2 = cosine(a, c), cosine(b, c)
    assert float(ic_index(a, b, c)) == pytest.approx((s1 - s2) / (s1 + s2))
    assert float(ic_index(b, a, c)) == pytest.approx(-float(ic_index(a, b, c)))
    assert np.isnan(ic_index(np.full(20, np.nan), b, c))
    assert ic_index([1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]) == 1.0


# ---------------------------------------------------------------------- fill-in


def surfaces(strength, n_pictures=4, n_pairs=12, seed=0):
    """Pairs of tokens: inside is brighter by a strength in the figure only."""
    rng = np.random.default_rng(seed)
    shift = np.zeros(5)
    shift[0] = strength
    figure, control = [], []
    for _ in range(n_pictures):
        base = 1 + 0.1 * rng.normal(size=(4, n_pairs, 5))
        figure.append((base[0] + shift, base[1]))
        control.append((base[2], base[3]))
    return figure, control


def test_a_filled_surface_is_found_and_its_absence_is_not():
    rng = np.random.default_rng(1)
    filled = fill_in(*surfaces(0.5), n_permutations=400, rng=rng)
    assert filled.mean > 0.5
    assert filled.p_value < 0.02
    ps = [
        fill_in(*surfaces(0.0, seed=s), n_permutations=200, rng=rng).p_value
        for s in range(40)
    ]
    assert np.mean(ps) == pytest.approx(0.5, abs=0.2)
    assert np.mean(np.array(ps) < 0.05) < 0.2


def test_fill_in_is_undefined_where_nothing_differs_or_pairs_are_few():
    same = np.ones((6, 3))
    nothing = fill_in([(same, same)], [(same, same)], rng=np.random.default_rng(0))
    assert np.isnan(nothing.mean)
    assert np.isnan(nothing.p_value)
    figure, control = surfaces(1.0, n_pictures=1, n_pairs=1)
    assert np.isnan(fill_in(figure, control, rng=np.random.default_rng(0)).mean)
    with pytest.raises(ValueError, match="as many pictures"):
        fill_in(figure, [], rng=np.random.default_rng(0))


# -------------------------------------------------------------------- proximity

ASPECTS = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])


@pytest.mark.parametrize("s", [0.0, 2.9, 5.0])
def test_the_attraction_of_an_observer_is_recovered_from_choices(s):
    rng = np.random.default_rng(int(10 * s))
    aspect = np.repeat(ASPECTS, 2000)
    p = 1 / (1 + np.exp(s * (aspect - 1)))
    fit = fit_attraction(aspect, rng.random(len(aspect)) < p)
    assert fit.s == pytest.approx(s, abs=0.25)
    assert fit.n == len(aspect)


def test_an_observer_without_errors_has_a_finite_attraction():
    assert 5 < fit_attraction(np.repeat(ASPECTS, 10), [False] * 60).s < 50
    assert np.isnan(fit_attraction([1.0, 1.0], [True, False]).s)


def test_the_attraction_of_an_observer_is_recovered_from_evidence():
    rng = np.random.default_rng(3)
    aspect = np.repeat(ASPECTS, 3000)
    scale = 0.02  # of the similarities
    evidence = scale * (-2.9 * (aspect - 1) + rng.logistic(size=len(aspect)))
    fit = attraction_from_evidence(aspect, evidence)
    assert fit.s == pytest.approx(2.9, abs=0.3)
    assert fit.temperature == pytest.approx(scale, rel=0.06)
    assert np.isnan(attraction_from_evidence(aspect, 0 * evidence).s)


def test_a_liking_for_an_orientation_is_taken_away():
    rng = np.random.default_rng(0)
    angles = np.tile(np.arange(0, 180, 15.0), 3)
    aspect = np.repeat([1.0, 1.2, 1.5], 12)
    truth = -3 * (aspect - 1)
    liking = 5 * np.cos(np.radians(2 * angles))
    noise = 0.01 * rng.normal(size=36)
    evidence = without_orientation_bias(truth + liking + noise, angles, aspect == 1)
    np.testing.assert_allclose(evidence, truth, atol=0.06)
    with pytest.raises(ValueError, match="equal distances at 90"):
        without_orientation_bias([1.0], [0.0], [True])


# ------------------------------------------------------------------- thresholds


def test_a_threshold_is_where_the_curve_crosses():
    levels = np.array([0.5, 1, 2, 4, 8])
    a, b = 2.3, 1.8
    share = 0.5 + 0.5 * (1 - np.exp(-((levels / a) ** b)))
    exact = a * (-math.log(0.5)) ** (1 / b)
    found = threshold_of_curve(levels, share, np.full(5, 10))
    assert found == pytest.approx(exact, rel=0.1)


def test_a_curve_is_made_to_rise_first_and_may_have_no_threshold():
    # 0.9 and 0.5 are pooled to 0.7.
    found = threshold_of_curve([1, 2, 4], [0.9, 0.5, 1.0], [4, 4, 4])
    assert found == pytest.approx(2 * 2 ** (0.05 / 0.3))
    assert math.isnan(threshold_of_curve([1, 2], [0.5, 0.6], [4, 4]))
    assert threshold_of_curve([1, 2], [0.8, 0.9], [4, 4]) == 1
    with pytest.raises(ValueError, match="must rise"):
        threshold_of_curve([2, 1], [0.5, 0.6], [4, 4])


# ---------------------------------------------------------------------- figures


def test_curves_show_every_layer_and_mark_untrained_models():
    rows = [
        {"model": m, "layer": f"l{k}", "untrained": m == "b", "level": level,
         "value": 0.5 + 0.1 * k, "ci_low": 0.4, "ci_high": 0.8}
        for m in ("a", "b") for k in range(2) for level in (0.2, 0.4)
    ]  # fmt: skip
    axes = plot_by_level(pd.DataFrame(rows), level="ratio", label="index", chance=0)
    assert len(axes.containers) == 4
    labels = [t.get_text() for t in axes.figure.legends[0].get_texts()]
    assert labels == ["a l0", "a l1", "b (untrained) l0", "b (untrained) l1"]


def test_verdicts_show_a_number_for_every_claim_and_layer():
    rows = [
        {"claim": claim, "model": "m", "layer": layer, "untrained": False,
         "difference": value, "verdict": verdict}
        for claim, layer, value, verdict in (
            ("c1", "x", 0.5, "holds"), ("c1", "y", -0.123, "reversed"),
            ("c2", "x", np.nan, "undecided"),
        )
    ]  # fmt: skip
    axes = plot_verdicts(pd.DataFrame(rows))
    assert [t.get_text() for t in axes.texts] == ["0.50", "−0.12", "–"]
    shades = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    np.testing.assert_array_equal(shades, [[2, 0], [1, np.nan]])
