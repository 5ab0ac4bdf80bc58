"""Pooling that grows with eccentricity, against a loop over output pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.adapters.eccentric_pooling import (
    PoolingRule,
    eccentric_pool,
    lead_padding,
    pool_part,
    pool_reach,
    pool_touched,
    pooling_zones,
    same_pool,
    stage_rule,
)

# (pixels per degree, slope): few and many zones on maps of some 30 pixels; the last
# two have one window everywhere.
SHAPES = [(1, 0.5), (2, 0.32), (3, 0.16), (1, 2.0), (2, 0.0), (60, 0.32)]
SIDES = [1, 2, 3, 4, 7, 12, 17, 26]
REDUCE = {"average": np.mean, "max": np.max}


def window_at(row, column, side, rule):
    """Window of one output pixel, from the definition in words."""
    side_out = (side + 1) // 2
    radius = round(rule.fovea_deg * rule.px_per_deg / 2)
    step = max(1, round(rule.ring_deg * rule.px_per_deg / 2))
    if 2 * radius > side_out:
        return rule.window
    distance2 = (row - side_out // 2) ** 2 + (column - side_out // 2) ** 2
    ring, outer = 0, radius
    while distance2 >= outer**2:
        if ring and 2 * outer >= side_out:
            break  # the last ring has no outer border
        ring, outer = ring + 1, outer + step
    growth = rule.slope * (2 * outer - rule.fovea_deg * rule.px_per_deg)
    return rule.window + (round(growth) if ring else 0)


def window_span(output, n, window):
    """Inputs of one output along one axis, "same" padding cut off."""
    total = max((-(-n // 2) - 1) * 2 + window - n, 0)
    first = 2 * output - total // 2
    return slice(max(first, 0), min(first + window, n))


def pool_by_loop(x, window_of, kind):
    """Pool (C, H, W) one output pixel at a time."""
    height, width = x.shape[1:]
    out = np.empty((len(x), -(-height // 2), -(-width // 2)))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            k = window_of(i, j)
            part = x[:, window_span(i, height, k), window_span(j, width, k)]
            out[:, i, j] = REDUCE[kind](part, axis=(1, 2))
    return out


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("kind", REDUCE)
@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("side", SIDES)
def test_eccentric_pooling_matches_a_loop_over_output_pixels(side, window, kind):
    x = draw(2, side, side, seed=side)
    for px_per_deg, slope in SHAPES:
        rule = PoolingRule(px_per_deg, slope, window, kind)
        pooled = eccentric_pool(torch.from_numpy(x[None]), rule)[0].numpy()
        expected = pool_by_loop(x, lambda i, j, r=rule: window_at(i, j, side, r), kind)
        np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", REDUCE)
@pytest.mark.parametrize("shape", [(9, 14), (14, 9), (1, 30), (23, 22)])
def test_the_short_side_is_filled_with_zeros_that_count(shape, kind):
    x = draw(1, *shape)
    side = max(shape)
    top, left = ((side - n) // 2 for n in shape)
    square = np.zeros((1, side, side))
    square[:, top : top + shape[0], left : left + shape[1]] = x
    rule = PoolingRule(1, 0.5, kind=kind)
    pooled = eccentric_pool(torch.from_numpy(x[None]), rule)[0].numpy()
    expected = pool_by_loop(square, lambda i, j: window_at(i, j, side, rule), kind)
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", REDUCE)
@pytest.mark.parametrize("window", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (5, 2), (8, 8), (9, 13)])
def test_same_pooling_matches_a_loop_over_output_pixels(shape, window, kind):
    x = draw(3, *shape)
    pooled = same_pool(torch.from_numpy(x[None]), window, kind)[0].numpy()
    expected = pool_by_loop(x, lambda i, j: window, kind)
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", REDUCE)
def test_pooling_keeps_the_dtype_and_its_input(kind):
    x = torch.from_numpy(draw(1, 2, 21, 21).astype(np.float32))
    before = x.clone()
    for rule in (PoolingRule(1, 0.5, kind=kind), PoolingRule(1, 0.0, kind=kind)):
        assert eccentric_pool(x, rule).dtype == torch.float32
    assert torch.equal(x, before)


# ---------------------------------------------------------------------- parts


@st.composite
def rule_side_and_part(draw_from):
    """A rule, the side of its input, and ranges of output rows and columns."""
    px_per_deg, slope = draw_from(st.sampled_from(SHAPES))
    rule = PoolingRule(
        px_per_deg,
        slope,
        draw_from(st.sampled_from([2, 3])),
        draw_from(st.sampled_from(list(REDUCE))),
    )
    side = draw_from(st.integers(1, 40))
    return rule, side, *(draw_from(spans((side + 1) // 2)) for _ in range(2))


@st.composite
def spans(draw_from, n):
    """A half-open range within [0, n) that is not empty."""
    first = draw_from(st.integers(0, n - 1))
    return first, draw_from(st.integers(first + 1, n))


@settings(max_examples=50)
@given(rule_side_and_part())
def test_a_part_equals_the_same_part_of_the_whole_map(case):
    rule, side, rows, columns = case
    x = torch.from_numpy(draw(1, 2, side, side, seed=side))
    reach = [pool_reach(span, side, rule) for span in (rows, columns)]
    cut = x[..., slice(*reach[0]), slice(*reach[1])]
    corner = (reach[0][0], reach[1][0])
    part = pool_part(cut, corner, side, rule, rows, columns)
    whole = eccentric_pool(x, rule)[..., slice(*rows), slice(*columns)]
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-13)


@settings(max_examples=50)
@given(rule_side_and_part())
def test_inputs_outside_the_reach_never_matter(case):
    rule, side, rows, columns = case
    x = torch.from_numpy(draw(1, 1, side, side, seed=side))
    reach = [pool_reach(span, side, rule) for span in (rows, columns)]
    poisoned = torch.full_like(x, torch.nan)
    inside = np.s_[..., slice(*reach[0]), slice(*reach[1])]
    poisoned[inside] = x[inside]
    part = np.s_[..., slice(*rows), slice(*columns)]
    expected = eccentric_pool(x, rule)[part]
    assert torch.equal(eccentric_pool(poisoned, rule)[part], expected)


@settings(max_examples=50)
@given(st.data())
def test_touched_is_the_bounding_box_of_what_changes(data):
    px_per_deg, slope = data.draw(st.sampled_from(SHAPES))
    rule = PoolingRule(px_per_deg, slope, data.draw(st.sampled_from([2, 3])))
    side = data.draw(st.integers(1, 40))
    rows, columns = data.draw(spans(side)), data.draw(spans(side))
    x = torch.zeros(1, 1, side, side, dtype=torch.float64)
    x[..., slice(*rows), slice(*columns)] = 1
    changed = eccentric_pool(x, rule)[0, 0].numpy() > 0
    expected = tuple(
        (int(hits[0]), int(hits[-1]) + 1)
        for hits in (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
    )
    assert pool_touched(rows, columns, side, rule) == expected


def test_the_reach_of_single_outputs_is_theirs_exactly_when_windows_are_equal():
    for side in SIDES:
        for window in (2, 3):
            rule = PoolingRule(1, 0.0, window)
            for output in range((side + 1) // 2):
                span = window_span(output, side, window)
                reach = pool_reach((output, output + 1), side, rule)
                assert reach == (span.start, span.stop)


# ----------------------------------------------------------------- rules, zones

# Outer diameters and windows of the published model with its windows of 806 and
# 1358 pixels: pooling 3 and 4.
PUBLISHED = {
    (4, 202): ([*range(32, 105, 8)], [2, 3, 3, 4, 4, 5, 5, 6, 6, 7]),
    (8, 101): ([*range(16, 53, 4)], [2, 3, 3, 4, 5, 5, 6, 6, 7, 8]),
    (4, 340): (
        [*range(32, 177, 8)],
        [2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 8, 9, 9, 10, 10, 11, 12, 12],
    ),
    (1, 806): ([*range(120, 421, 30)], [2] * 11),
}


@pytest.mark.parametrize(("stride", "side"), PUBLISHED)
def test_zones_are_those_of_the_published_model(stride, side):
    zones = pooling_zones(side, stage_rule(stride, window=2))
    diameters, windows = PUBLISHED[stride, side]
    assert list(zones.diameters) == diameters
    assert list(zones.windows) == windows
    assert zones.uniform == (stride < 4)


@pytest.mark.parametrize("side", SIDES)
def test_zone_maps_give_the_window_and_padding_of_every_pixel(side):
    for px_per_deg, slope in SHAPES:
        rule = PoolingRule(px_per_deg, slope)
        zones = pooling_zones(side, rule)
        side_out = (side + 1) // 2
        assert zones.index.shape == zones.lead.shape == (side_out, side_out)
        for i in range(side_out):
            for j in range(side_out):
                window = window_at(i, j, side, rule)
                assert zones.window[i, j] == window
                assert zones.windows[zones.index[i, j]] == window
                assert zones.lead[i, j] == lead_padding(side, window)


def test_pixels_per_degree_round_half_to_even_as_published():
    found = {s: stage_rule(s, window=2).px_per_deg for s in (1, 2, 4, 8, 16)}
    assert found == {1: 30, 2: 15, 4: 8, 8: 4, 16: 2}


def test_slopes_are_the_published_ones_and_none_when_uniform():
    slopes = [stage_rule(s, window=2).slope for s in (1, 2, 4, 8, 16)]
    assert slopes == pytest.approx([0, 0, 0.07, 0.16, 0.32], abs=1e-15)
    uniform = [stage_rule(s, window=3, eccentric=False) for s in (1, 2, 4, 8, 16)]
    assert {rule.slope for rule in uniform} == {0.0}
    assert all(pooling_zones(50, rule).uniform for rule in uniform)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 3, "window": 2}, r"`stride` must be one of 1, 2, 4, 8, 16; got 3"),
        ({"stride": 4, "window": 0}, r"`window` must be within \[1, inf\]; got 0"),
        ({"stride": 4, "window": 2, "kind": "mean"}, r"`kind`.*'average'.*'mean'"),
    ],
)
def test_rules_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        stage_rule(**arguments)


@settings(max_examples=50)
@given(
    side=st.integers(1, 45),
    shape=st.sampled_from(SHAPES),
    window=st.sampled_from([2, 3]),
    kind=st.sampled_from(list(REDUCE)),
    value=st.sampled_from([-7.25, 0.0, 1e-3, 12345.5]),
)
def test_a_constant_map_stays_constant(side, shape, window, kind, value):
    x = torch.full((1, 1, side, side), value, dtype=torch.float64)
    pooled = eccentric_pool(x, PoolingRule(*shape, window, kind))
    expected = torch.full_like(pooled, value)
    torch.testing.assert_close(pooled, expected, rtol=1e-14, atol=0)


@given(st.integers(1, 60), st.integers(1, 9))
def test_padding_is_split_with_the_surplus_at_the_end(side, window):
    lead = lead_padding(side, window)
    total = max(2 * (-(-side // 2) - 1) + window - side, 0)
    assert 0 <= total - 2 * lead <= 1
