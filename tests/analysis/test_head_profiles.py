"""Measures of attention heads against maps whose values are known."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist, jensenshannon
from scipy.stats import entropy
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from analysis.head_importance import jensen_shannon, prune_effects
from analysis.head_patterns import cluster_points, principal_axes, shrink_pattern
from analysis.head_profiles import (
    agnostic_index,
    attention_distance,
    attention_entropy,
    attention_templates,
    cls_share,
    profile_heads,
    strength_by_ring,
    template_projections,
    uniform_distance,
)
from analysis.plots_head_profiles import (
    plot_head_distances,
    plot_head_grid,
    plot_head_patterns,
    plot_offset_map,
    plot_ring_profiles,
)

GRID = (5, 7)
N = 35
PLACES = np.array([(i, j) for i in range(5) for j in range(7)], float)


def random_maps(n_heads=3, prefix=1, n_patches=N, seed=0):
    draw = np.random.default_rng(seed)
    n = n_patches + prefix
    return draw.dirichlet(np.full(n, 0.3), size=(n_heads, n))


def test_strength_by_ring_is_that_of_counting_cells():
    maps = random_maps(prefix=2)
    found = strength_by_ring(maps, GRID, prefix=2)
    assert found.shape == (3, 3)
    for head in range(3):
        for k in range(3):
            of_patches = []
            for i, (row, column) in enumerate(PLACES):
                if not (k <= row <= 4 - k and k <= column <= 6 - k):
                    continue
                cells = [
                    maps[head, i + 2, j + 2]
                    for j, (r, c) in enumerate(PLACES)
                    if max(abs(r - row), abs(c - column)) == k
                ]
                assert len(cells) == (8 * k or 1)
                of_patches.append(np.mean(cells))
            assert found[head, k] == pytest.approx(np.mean(of_patches), rel=1e-12)


def test_a_map_of_one_ring_has_its_strength_there():
    steps = cdist(PLACES, PLACES, "chebyshev")
    ring = (steps == 2) / (steps == 2).sum(axis=1, keepdims=True)
    profile = strength_by_ring(ring, GRID, prefix=0)
    np.testing.assert_allclose(profile, [0, 0, 1 / 16])
    assert strength_by_ring(np.eye(N), GRID, prefix=0)[0] == 1


def test_distance_leaves_out_what_is_no_patch():
    maps = random_maps(prefix=2)
    far = cdist(PLACES, PLACES)
    patches = maps[:, 2:, 2:]
    wanted = (patches * far).sum(axis=-1) / patches.sum(axis=-1)
    found = attention_distance(maps, GRID, prefix=2)
    np.testing.assert_allclose(found, wanted.mean(axis=-1))
    in_px = attention_distance(maps, GRID, prefix=2, patch_size=(14, 14))
    np.testing.assert_allclose(in_px, 14 * found)
    # More for the class token changes nothing.
    more = maps.copy()
    more[..., 0] += 1.0
    more /= more.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(attention_distance(more, GRID, prefix=2), found)


def test_distances_of_known_maps():
    one_right = np.zeros((4, 4))
    one_right[[0, 1, 2, 3], [1, 0, 3, 2]] = 1  # neighbours in a row of a 2 x 2 grid
    assert attention_distance(one_right, (2, 2), prefix=0) == 1
    wide = attention_distance(one_right, (2, 2), prefix=0, patch_size=(3, 5))
    assert wide == 5
    assert attention_distance(np.eye(4), (2, 2), prefix=0) == 0
    to_class = np.zeros((5, 5))
    to_class[:, 0] = 1
    assert np.isnan(attention_distance(to_class, (2, 2)))
    half = to_class.copy()
    half[1] = [0, 0, 1, 0, 0]  # only this patch looks at a patch
    assert attention_distance(half, (2, 2)) == 1


def test_even_attention_has_the_expected_distance():
    even = np.full((N + 1, N + 1), 1 / (N + 1))
    expected = cdist(PLACES, PLACES).mean()
    assert uniform_distance(GRID) == pytest.approx(expected)
    assert attention_distance(even, GRID) == pytest.approx(expected)


def test_entropy_is_that_of_scipy():
    maps = random_maps()
    wanted = entropy(maps, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(attention_entropy(maps), wanted)
    share = attention_entropy(maps, share=True)
    np.testing.assert_allclose(share, wanted / np.log(36))
    assert attention_entropy(np.full((9, 9), 1 / 9), share=True) == pytest.approx(1)
    assert attention_entropy(np.eye(9)) == 0
    assert np.isnan(attention_entropy([[1.0]], share=True))


def test_agnostic_index_is_the_mean_cosine_of_pairs():
    maps = random_maps(n_heads=2)
    for head, found in enumerate(agnostic_index(maps)):
        cosines = 1 - cdist(maps[head], maps[head], "cosine")
        pairs = cosines[~np.eye(36, dtype=bool)]
        assert found == pytest.approx(pairs.mean(), rel=1e-10)
    columns = np.tile(random_maps(1)[0, 0], (36, 1))
    assert agnostic_index(columns) == pytest.approx(1)
    assert np.isnan(agnostic_index([[0.5, 0.5]]))


def test_class_share_is_over_patches():
    maps = np.zeros((5, 5))
    maps[:, 0] = [1.0, 0.1, 0.2, 0.3, 0.4]
    maps[:, 1] = 1 - maps[:, 0]
    assert cls_share(maps) == pytest.approx(0.25)
    without = profile_heads(random_maps(prefix=0), GRID, prefix=0, class_token=False)
    assert np.isnan(without["cls_share"]).all()
    assert "template_cls" not in without


def test_every_template_projects_on_itself_with_one():
    templates = attention_templates(GRID, prefix=3)
    assert list(templates) == [
        *("self", "ring1", "ring2", "row", "column", "global", "cls"),
    ]
    for name, template in templates.items():
        np.testing.assert_allclose(template.sum(axis=1), 1)
        whole = np.vstack([np.full((3, N + 3), 1 / (N + 3)), template])
        found = template_projections(whole, GRID, prefix=3)
        assert found[name] == pytest.approx(1)
        assert all(value < 0.999 for other, value in found.items() if other != name)
    np.testing.assert_allclose(templates["row"][0, 3:10], 1 / 7)
    np.testing.assert_allclose(templates["column"][0, 3::7], 1 / 5)
    assert templates["ring1"][0].max() == pytest.approx(1 / 3)  # a corner


def test_projections_are_cosines():
    maps = random_maps()
    template = attention_templates(GRID)["ring1"].ravel()
    found = template_projections(maps, GRID)["ring1"]
    rows = maps[:, 1:].reshape(3, -1)
    wanted = 1 - cdist(rows, template[None], "cosine")[:, 0]
    np.testing.assert_allclose(found, wanted)


def test_heads_are_measured_alone_as_together():
    maps = random_maps()
    together = profile_heads(maps, GRID)
    for head in range(3):
        alone = profile_heads(maps[head], GRID)
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][head], value)


def test_numbers_of_one_map_are_frozen():
    maps = random_maps(n_heads=1)[0]
    found = profile_heads(maps, GRID)
    frozen = {
        "distance_patches": 3.1129,
        "entropy_nats": 2.6105,
        "agnostic_index": 0.2714,
        "cls_share": 0.029,
        "template_row": 0.2118,
    }
    for name, value in frozen.items():
        assert float(found[name]) == pytest.approx(value, abs=1e-4)


def test_maps_that_are_none_are_refused():
    good = random_maps()
    with pytest.raises(ValueError, match="add up to 1"):
        attention_entropy(2 * good)
    with pytest.raises(ValueError, match="add up to 1"):
        agnostic_index(good - 0.1)
    with pytest.raises(ValueError, match="not finite"):
        profile_heads(np.full((36, 36), np.nan), GRID)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 37, 37\)"):
        strength_by_ring(good, GRID, prefix=2)
    with pytest.raises(ValueError, match="`patch_size` must be above 0"):
        attention_distance(good, GRID, patch_size=(0, 1))
    with pytest.raises(ValueError, match="`prefix`"):
        attention_templates(GRID, prefix=0)


# -------------------------------------------------------------------------- importance


def test_effects_of_pruning_are_those_of_the_definitions():
    draw = np.random.default_rng(0)
    before, after = draw.normal(size=(2, 6, 4))
    cls = draw.normal(size=(2, 6, 3))
    targets = np.array([0, 1, 2, 3, 0, 1])
    found = prune_effects(
        before, after, targets=targets, cls_before=cls[0], cls_after=cls[1]
    )
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (before, after))
    rows = np.arange(6)
    own = p[rows, targets], q[rows, targets]
    np.testing.assert_allclose(found["d_prob"], own[0] - own[1])
    np.testing.assert_allclose(found["d_loss"], np.log(own[0]) - np.log(own[1]))
    squared = jensenshannon(p, q, axis=1, base=2) ** 2
    np.testing.assert_allclose(found["d_js"], squared)
    cosines = [cdist(a[None], b[None], "cosine")[0, 0] for a, b in zip(*cls)]  # noqa: B905
    np.testing.assert_allclose(found["d_cls"], cosines)


def test_equal_outputs_have_no_effect():
    logits, cls = np.random.default_rng(0).normal(size=(2, 5, 4))
    found = prune_effects(logits, logits, cls_before=cls, cls_after=3 * cls)
    for values in found.values():
        np.testing.assert_allclose(values, 0, atol=1e-15)


def test_the_answer_before_is_the_target_by_default():
    before = [[0.0, 2.0], [3.0, 0.0]]
    after = [[2.0, 0.0], [3.0, 0.0]]
    found = prune_effects(before, after)
    given = prune_effects(before, after, targets=[1, 0])
    np.testing.assert_array_equal(found["d_loss"], given["d_loss"])
    assert found["d_loss"].tolist() == pytest.approx([2.0, 0.0])
    assert np.isnan(found["d_cls"]).all()


def test_divergence_has_its_ends_at_zero_and_one():
    assert jensen_shannon([0.2, 0.8], [0.2, 0.8]) == 0
    assert jensen_shannon([1.0, 0.0], [0.0, 1.0]) == 1
    p, q = [0.1, 0.9], [0.6, 0.4]
    assert jensen_shannon(p, q) == jensen_shannon(q, p)


def test_wrong_outputs_are_told():
    logits = np.zeros((2, 3))
    with pytest.raises(ValueError, match="Logits or class tokens"):
        prune_effects(None, None)
    with pytest.raises(ValueError, match="given together"):
        prune_effects(logits, None)
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        prune_effects(logits, logits, targets=[0, 3])
    with pytest.raises(ValueError, match="`cls_before` has 1 rows"):
        prune_effects(logits, logits, cls_before=[[1.0]], cls_after=[[1.0]])
    with pytest.raises(ValueError, match="add up to 1"):
        jensen_shannon([0.5, 0.4], [0.5, 0.5])


# ---------------------------------------------------------------------------- patterns


def test_axes_are_those_of_sklearn_but_for_signs():
    rows = np.random.default_rng(0).normal(size=(12, 30))
    points, shares = principal_axes(rows)
    fitted = PCA(2, svd_solver="full").fit(rows)
    np.testing.assert_allclose(np.abs(points), np.abs(fitted.transform(rows)))
    np.testing.assert_allclose(shares, fitted.explained_variance_ratio_)
    assert (points[np.abs(points).argmax(axis=0), [0, 1]] > 0).all()
    alone, nothing = principal_axes(rows[:1])
    assert alone.tolist() == [[0, 0]]
    assert np.isnan(nothing).all()


def test_groups_are_those_of_sklearn():
    draw = np.random.default_rng(0)
    points = draw.normal(size=(60, 2)) + 4 * draw.integers(0, 3, size=(60, 2))
    found = cluster_points(points, n_clusters=6)
    fitted = KMeans(6, n_init=20, random_state=0).fit(points)
    error = sum(
        ((points[found == g] - points[found == g].mean(axis=0)) ** 2).sum()
        for g in range(6)
    )
    assert error <= 1.02 * fitted.inertia_
    first = [int(np.flatnonzero(found == g)[0]) for g in range(6)]
    assert first == sorted(first)
    np.testing.assert_array_equal(found, cluster_points(points, n_clusters=6))


def test_equal_points_make_one_group():
    assert cluster_points(np.ones((4, 2))).tolist() == [0, 0, 0, 0]


def test_shrunk_maps_keep_their_rows_and_small_ones_stay():
    maps = random_maps(prefix=0)
    assert (shrink_pattern(maps, GRID) == maps).all()
    small = shrink_pattern(maps, GRID, most=3)
    assert small.shape == (3, 9, 9)
    np.testing.assert_allclose(small.sum(axis=-1), 1)
    even = shrink_pattern(np.full((16, 16), 1 / 16), (4, 4), most=2)
    np.testing.assert_allclose(even, 0.25)
    local = shrink_pattern(np.eye(16), (4, 4), most=2)
    np.testing.assert_allclose(local, np.eye(4))


# ----------------------------------------------------------------------------- figures


def head_table():
    heads = pd.DataFrame(
        [
            {"model": "m", "kind": kind, "depth": depth, "head": head}
            for kind in ("network", "random")
            for depth in range(3)
            for head in range(2)
        ]
    )
    n = len(heads)
    return heads.assign(
        untrained=heads["kind"] == "random",
        model=heads["kind"],
        distance_patches=np.arange(n) / 4,
        distance_patches_low=np.arange(n) / 4 - 0.1,
        distance_patches_high=np.arange(n) / 4 + 0.1,
        distance_uniform=2.5,
        x=np.arange(n, dtype=float),
        y=1.0,
        cluster=np.arange(n) % 2,
    )


def test_figures_show_every_head():
    heads = head_table()
    ax = plot_head_distances(heads)
    shown = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert [list(line.get_ydata()) for line in shown] == [
        (np.arange(6) / 4).tolist(),
        (np.arange(6, 12) / 4).tolist(),
    ]
    own = heads[heads["kind"] == "network"]
    ax = plot_head_patterns(own)
    assert [text.get_text() for text in ax.texts] == [
        *("0.0", "0.1", "1.0", "1.1", "2.0", "2.1"),
    ]
    ax = plot_head_grid(own, "distance_patches", limits=(0, 4))
    image = ax.images[0]
    np.testing.assert_array_equal(
        np.asarray(image.get_array()), np.arange(6).reshape(3, 2) / 4
    )
    assert image.get_clim() == (0, 4)


def test_figures_of_maps_show_even_attention_as_one():
    rings = pd.DataFrame({"depth": 0, "head": 0, "ring": [0, 1], "value": [0.2, 0.1]})
    ax = plot_ring_profiles(rings, even=0.1)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2, 1])
    axes = Figure().add_subplot()
    plot_offset_map(np.eye(6), (2, 3), ax=axes)
    steps = np.asarray(axes.images[0].get_array())
    assert steps.shape == (3, 5)
    assert steps[1, 2] == 1
    assert steps.sum() == 1


def test_figures_tell_what_is_missing():
    with pytest.raises(ValueError, match="distance_uniform"):
        plot_head_distances(head_table().drop(columns="distance_uniform"))
    with pytest.raises(ValueError, match="`attention` must have shape"):
        plot_offset_map(np.eye(5), (2, 3))
