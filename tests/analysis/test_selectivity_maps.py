"""Agreement of selectivity maps against plain loops, SciPy and known truths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from analysis.selectivity import category_selectivity
from analysis.selectivity_maps import (
    compare_selectivity,
    selectivity_agreement,
    selectivity_reliability,
    unit_auc,
)

KINDS = np.repeat(["face", "place", "body"], 12)


def recording(likes=1.0, n_units=60, seed=0):
    """Units that like one category each, in turn, with unit noise."""
    rng = np.random.default_rng(seed)
    home = np.array(["face", "place", "body"])[np.arange(n_units) % 3]
    x = likes * (KINDS[:, None] == home) + rng.normal(size=(len(KINDS), n_units))
    return x, home


# ------------------------------------------------------------------ two maps


def test_maps_are_correlated_over_units_that_both_define():
    a, b = (category_selectivity(recording(seed=s)[0], KINDS) for s in (0, 1))
    a.d_prime[4, 0] = b.d_prime[7, 1] = np.nan
    table = compare_selectivity(a, b)
    assert table["category"].tolist() == ["face", "place", "body"]
    assert table["n_units"].tolist() == [59, 59, 60]
    for k, row in enumerate(table.itertuples()):
        known = ~np.isnan(a.d_prime[:, k] + b.d_prime[:, k])
        pair = a.d_prime[known, k], b.d_prime[known, k]
        assert row.r == pytest.approx(oracle.pearsonr(*pair).statistic)
        assert row.rank_r == pytest.approx(oracle.spearmanr(*pair).statistic)
    same = compare_selectivity(a, a)
    np.testing.assert_allclose(same[["r", "rank_r"]], 1)


def test_categories_are_matched_by_name():
    x, _ = recording()
    a = category_selectivity(x, KINDS, contrast=["face", "body"])
    b = category_selectivity(x, KINDS, contrast=["body", "place"])
    table = compare_selectivity(a, b)
    assert table["category"].tolist() == ["body"]
    assert table["r"][0] == pytest.approx(1)
    other = category_selectivity(x, KINDS, contrast="place")
    with pytest.raises(ValueError, match="none is in both"):
        compare_selectivity(a, other)
    with pytest.raises(ValueError, match="`second` has 59 units, but `first` has 60"):
        compare_selectivity(a, category_selectivity(x[:, 1:], KINDS))


def test_a_single_unit_has_no_correlation():
    found = category_selectivity(recording(n_units=1)[0], KINDS)
    table = compare_selectivity(found, found)
    assert table[["r", "rank_r"]].isna().all(axis=None)
    assert set(table["n_units"]) == {1}


# ------------------------------------------------------------------ two halves


@given(st.integers(0, 50), st.integers(1, 12))
def test_halves_match_two_separate_selectivities(seed, n_top):
    x, _ = recording(seed=seed, n_units=9)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    half = np.arange(len(x)) % 2 == 0
    shuffled, kinds = x[order], KINDS[order]
    chosen = half[order]
    table = selectivity_reliability(shuffled, kinds, halves=chosen, n_top=n_top)
    first = category_selectivity(x[half], KINDS[half])
    second = category_selectivity(x[~half], KINDS[~half])
    for row in table.itertuples():
        a, b = first.of(row.category), second.of(row.category)
        r = np.corrcoef(a, b)[0, 1]
        assert row.r == pytest.approx(r)
        assert row.spearman_brown == pytest.approx(2 * r / (1 + r))
        best = sorted(range(9), key=lambda u: -a[u])[:n_top]
        assert row.top_d_prime == pytest.approx(np.mean([b[u] for u in best]))
        assert row.n_top == min(n_top, 9)
    # By default pictures of a category alternate, and these already do.
    default = selectivity_reliability(x, KINDS, n_top=n_top)
    both = (t.set_index("category").sort_index() for t in (default, table))
    ours, theirs = (t[["r", "top_d_prime"]] for t in both)
    np.testing.assert_allclose(ours, theirs)


def test_chosen_units_are_not_inflated_by_the_choice():
    tops, r = [], []
    for seed in range(40):
        x, _ = recording(likes=0.0, seed=seed)  # noise alone
        table = selectivity_reliability(x, KINDS, n_top=5)
        tops.append(table["top_d_prime"].mean())
        r.append(table["r"].mean())
        largest = category_selectivity(x, KINDS).d_prime.max(axis=0)
        assert largest.min() > 0.5  # while the largest of all look selective
    assert abs(np.mean(tops)) < 0.06
    assert abs(np.mean(r)) < 0.06


def test_reliable_preferences_repeat():
    table = selectivity_reliability(recording(likes=2.0)[0], KINDS)
    assert (table["r"] > 0.85).all()
    assert (table["spearman_brown"] > table["r"]).all()
    assert (table["top_d_prime"] > 1.2).all()


def test_options_reach_both_halves_and_undefined_units_are_left_out():
    x, _ = recording()
    x[:, 5] = 1.0
    x[3, 6] = np.nan
    table = selectivity_reliability(x, KINDS, contrast="face", against="body")
    assert table["n_units"].tolist() == [58]
    with_epsilon = selectivity_reliability(x, KINDS, contrast="face", epsilon=1e-9)
    assert with_epsilon["n_units"].tolist() == [59]
    no_units = selectivity_reliability(np.full_like(x, np.nan), KINDS)
    assert no_units["n_top"].tolist() == [0, 0, 0]
    assert no_units[["r", "spearman_brown", "top_d_prime"]].isna().all(axis=None)


def test_halves_that_do_not_fit_are_refused():
    x, _ = recording()
    with pytest.raises(ValueError, match="`halves` must be one of 'even-odd'"):
        selectivity_reliability(x, KINDS, halves="odd")
    with pytest.raises(ValueError, match=r"`halves` must have shape \(36\)"):
        selectivity_reliability(x, KINDS, halves=np.ones(3, bool))
    with pytest.raises(TypeError, match="`halves` must have dtype bool"):
        selectivity_reliability(x, KINDS, halves=np.zeros(36, int))
    with pytest.raises(ValueError, match="two of each are needed"):
        selectivity_reliability(x, KINDS, halves=np.arange(36) < 13)
    with pytest.raises(ValueError, match="`n_top` must be within"):
        selectivity_reliability(x, KINDS, n_top=0)


# ------------------------------------------------------------------ regions


VALUES = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


@given(VALUES, st.integers(0, 999))
def test_auc_counts_pairs_with_ties_as_halves(values, seed):
    inside = np.random.default_rng(seed).random(len(values)) < 0.5
    pairs = [
        (a > b) + 0.5 * (a == b)
        for a, i in zip(values, inside, strict=True)
        for b, j in zip(values, inside, strict=True)
        if i and not j
    ]
    found = unit_auc(values, inside)
    if not pairs:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.mean(pairs))
        assert unit_auc(values, ~inside) == pytest.approx(1 - found)
        assert unit_auc(np.exp(values), inside) == pytest.approx(found)
        more = [*values, np.nan]
        assert unit_auc(more, [*inside, True]) == pytest.approx(found)


def test_auc_matches_mann_whitney():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, 40), rng.normal(0, 1, 70)
    expected = oracle.mannwhitneyu(a, b).statistic / (40 * 70)
    inside = np.arange(110) < 40
    assert unit_auc(np.concatenate([a, b]), inside) == pytest.approx(expected)


def test_regions_are_told_by_the_categories_that_their_units_like():
    x, home = recording(likes=3.0)
    labels = np.where(home == "face", "FFA", np.where(home == "place", "PPA", ""))
    found = category_selectivity(x, KINDS)
    table = selectivity_agreement(found, labels).set_index(["region", "category"])
    assert list(table.index) == [
        (region, category)
        for region in ("FFA", "PPA")
        for category in ("face", "place", "body")
    ]
    assert table["auc"]["FFA", "face"] == table["auc"]["PPA", "place"] == 1
    assert table["auc"]["FFA", "place"] < 0.4
    faces = found.of("face")
    own = table.loc[("FFA", "face")]
    assert own["d_prime"] == pytest.approx(faces[home == "face"].mean())
    assert own["d_prime_others"] == pytest.approx(faces[home != "face"].mean())
    assert own["n_units"] == own["n_defined"] == 20


def test_units_without_a_d_prime_and_labels_that_are_missing():
    x, home = recording()
    x[:, :3] = 0.0
    labels = [None if h == "body" else h for h in home]
    table = selectivity_agreement(category_selectivity(x, KINDS), labels)
    assert table["region"].unique().tolist() == ["face", "place"]
    assert set(table["n_units"]) == {20}
    assert set(table["n_defined"]) == {19}
    everywhere = selectivity_agreement(category_selectivity(x, KINDS), ["all"] * 60)
    assert everywhere[["auc", "d_prime_others"]].isna().all(axis=None)
    assert np.isfinite(everywhere["d_prime"]).all()
    nothing = category_selectivity(np.zeros_like(x), KINDS)
    undefined = selectivity_agreement(nothing, labels)
    assert undefined[["d_prime", "auc"]].isna().all(axis=None)


def test_labels_that_do_not_fit_are_refused():
    found = category_selectivity(recording()[0], KINDS)
    with pytest.raises(ValueError, match="`labels` has 2 entries for 60"):
        selectivity_agreement(found, ["FFA", ""])
    with pytest.raises(ValueError, match="`labels` has no region"):
        selectivity_agreement(found, [""] * 60)
    with pytest.raises(TypeError, match="`inside` must have dtype bool"):
        unit_auc([1.0, 2.0], [1, 0])
    with pytest.raises(ValueError, match=r"`inside` must have shape \(2\)"):
        unit_auc([1.0, 2.0], [True])
