"""Category selectivity against plain loops and SciPy, and units of known preference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from analysis import metrics
from analysis.selectivity import category_selectivity, text_labels


def recording(n_each=(6, 4, 9), n_units=5, seed=0):
    rng = np.random.default_rng(seed)
    names = ["face", "place", "body"][: len(n_each)]
    kinds = rng.permutation(np.repeat(names, n_each))
    x = rng.normal(size=(len(kinds), n_units)) * rng.uniform(0.2, 3, n_units)
    return x + rng.normal(size=n_units) * 5, kinds


def loop_d_prime(inside, outside, epsilon=0.0):
    spread = (np.var(inside, ddof=1) + np.var(outside, ddof=1)) / 2
    return (np.mean(inside) - np.mean(outside)) / np.sqrt(spread + epsilon)


SIZES = st.lists(st.integers(2, 7), min_size=2, max_size=3)


@given(SIZES, st.integers(0, 99), st.sampled_from([0.0, 1e-9, 0.5]))
def test_d_prime_and_welch_match_loops_over_units_and_categories(n, seed, epsilon):
    x, kinds = recording(n, 3, seed)
    found = category_selectivity(x, kinds, epsilon=epsilon)
    assert sorted(found.categories) == sorted(set(kinds))
    for k, name in enumerate(found.categories):
        for unit in range(3):
            inside, outside = x[kinds == name, unit], x[kinds != name, unit]
            expected = loop_d_prime(inside, outside, epsilon)
            assert found.d_prime[unit, k] == pytest.approx(expected)
            test = oracle.ttest_ind(inside, outside, equal_var=False)
            assert found.t[unit, k] == pytest.approx(test.statistic)
            assert found.df[unit, k] == pytest.approx(test.df)
            assert found.p_value[unit, k] == pytest.approx(test.pvalue)
        assert found.n_in[k] == (kinds == name).sum()
        assert found.n_out[k] == (kinds != name).sum()


@given(st.integers(0, 99), st.floats(0.1, 50), st.floats(-100, 100))
def test_scale_and_offset_of_responses_do_not_matter_and_sign_does(seed, scale, offset):
    x, kinds = recording(seed=seed)
    found = category_selectivity(x, kinds)
    moved = category_selectivity(scale * x + offset, kinds)
    np.testing.assert_allclose(moved.d_prime, found.d_prime, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(moved.t, found.t, rtol=1e-6, atol=1e-9)
    turned = category_selectivity(-x, kinds)
    np.testing.assert_allclose(turned.d_prime, -found.d_prime)
    np.testing.assert_allclose(turned.p_value, found.p_value)


@given(st.integers(0, 99))
def test_order_of_pictures_and_units_does_not_matter(seed):
    x, kinds = recording(seed=seed)
    rng = np.random.default_rng(seed)
    rows, units = rng.permutation(len(x)), rng.permutation(x.shape[1])
    found = category_selectivity(x, kinds, contrast=["face", "body"])
    other = category_selectivity(
        x[rows][:, units], kinds[rows], contrast=["face", "body"]
    )
    np.testing.assert_allclose(other.d_prime, found.d_prime[units])


def test_two_categories_are_mirror_images():
    x, kinds = recording((6, 4))
    found = category_selectivity(x, kinds)
    np.testing.assert_allclose(found.d_prime[:, 0], -found.d_prime[:, 1])
    np.testing.assert_allclose(found.p_value[:, 0], found.p_value[:, 1])


def test_recovers_the_d_prime_that_units_were_given():
    rng = np.random.default_rng(0)
    kinds = np.repeat(["face", "place", "word"], 2000)
    given_d = np.array([-1.0, 0.0, 0.7, 2.0])
    x = np.where(kinds[:, None] == "face", 3 * given_d, 0) + 10
    x += 3 * rng.normal(size=x.shape)
    found = category_selectivity(x, kinds).of("face")
    np.testing.assert_allclose(found, given_d, atol=0.08)


def test_excluded_categories_are_neither_tested_nor_compared_with():
    x, kinds = recording()
    junk = np.full((4, x.shape[1]), 1e6)
    both = np.concatenate([x, junk + np.arange(4)[:, None]])
    names = [*kinds, *["scrambled"] * 4]
    found, clean = category_selectivity(both, names), category_selectivity(x, kinds)
    assert found.categories == clean.categories
    np.testing.assert_allclose(found.d_prime, clean.d_prime)
    everything = category_selectivity(both, names, exclude=())
    assert "scrambled" in everything.categories
    assert (everything.of("scrambled") > 1).all()
    # What is named is used, excluded or not.
    named = category_selectivity(both, names, contrast="face", against="scrambled")
    rows = np.array([n in ("face", "scrambled") for n in names])
    alone = category_selectivity(both[rows], np.array(names)[rows], exclude=())
    np.testing.assert_allclose(named.of("face"), alone.of("face"))
    one = category_selectivity(both, names, contrast="scrambled")
    assert one.n_out.tolist() == [len(x)]
    no_faces = category_selectivity(x, kinds, exclude=("face", "tool"))
    assert set(no_faces.categories) == {"place", "body"}


def test_others_are_pooled_picture_by_picture_and_can_be_chosen():
    x, kinds = recording()
    found = category_selectivity(x, kinds, contrast="face", against=["place", "body"])
    np.testing.assert_allclose(
        found.d_prime, category_selectivity(x, kinds, contrast="face").d_prime
    )
    single = category_selectivity(x, kinds, contrast="face", against="body")
    for unit in range(x.shape[1]):
        expected = loop_d_prime(x[kinds == "face", unit], x[kinds == "body", unit])
        assert single.d_prime[unit, 0] == pytest.approx(expected)
    rest = category_selectivity(x, kinds, against="body")
    assert set(rest.categories) == {"face", "place"}
    np.testing.assert_allclose(rest.of("face"), single.of("face"))


def test_units_with_nan_are_undefined_where_these_pictures_are_used():
    x, kinds = recording()
    whole = category_selectivity(x, kinds)
    x[np.flatnonzero(kinds == "place")[0], 1] = np.nan
    x[np.flatnonzero(kinds == "place")[1], 2] = np.inf
    found = category_selectivity(x, kinds)
    for values in (found.d_prime, found.t, found.df, found.p_value):
        assert np.isnan(values[[1, 2]]).all()
    np.testing.assert_array_equal(found.d_prime[[0, 3, 4]], whole.d_prime[[0, 3, 4]])
    unused = category_selectivity(x, kinds, contrast="face", against="body")
    assert np.isfinite(unused.d_prime).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 628.63])
def test_units_that_never_vary_are_undefined_or_zero_with_epsilon(value):
    x, kinds = recording()
    x[:, 3] = value
    found = category_selectivity(x, kinds)
    assert np.isnan(found.d_prime[3]).all()
    assert np.isnan(found.p_value[3]).all()
    assert np.isfinite(found.d_prime[[0, 1, 2, 4]]).all()
    published = category_selectivity(x, kinds, epsilon=1e-9)
    np.testing.assert_allclose(published.d_prime[3], 0, atol=1e-6)
    assert np.isnan(published.t[3]).all()
    # Constant in each category, and apart: no variance to measure that by.
    x[:, 3] = np.where(kinds == "face", 2.0, 1.0)
    split = category_selectivity(x, kinds)
    assert np.isnan(split.of("face")[3])
    assert np.isfinite(split.of("place")[3])


def test_blocks_of_units_and_single_precision_do_not_change_numbers(monkeypatch):
    x, kinds = recording(n_units=17)
    x = x.astype(np.float32)
    whole = category_selectivity(x, kinds)
    monkeypatch.setattr(metrics, "_VALUES_AT_ONCE", 3 * len(x))
    np.testing.assert_array_equal(category_selectivity(x, kinds).d_prime, whole.d_prime)
    exact = category_selectivity(x.astype(np.float64), kinds)
    np.testing.assert_array_equal(whole.d_prime, exact.d_prime)
    assert whole.d_prime.dtype == np.float64


def test_variances_survive_a_large_offset():
    x, kinds = recording()
    far = category_selectivity(x + 1e7, kinds)
    np.testing.assert_allclose(
        far.d_prime, category_selectivity(x, kinds).d_prime, rtol=1e-6, atol=1e-8
    )


# ------------------------------------------------------------------ tables


def test_table_has_a_row_per_unit_and_category():
    x, kinds = recording()
    found = category_selectivity(x, kinds)
    table = found.table()
    assert len(table) == 15
    wide = table.pivot_table(index="unit", columns="category", values="d_prime")
    np.testing.assert_array_equal(wide[list(found.categories)], found.d_prime)
    faces = table[table["category"] == "face"]
    assert set(faces["n_in"]) == {6}
    assert set(faces["n_out"]) == {13}


def test_preferred_category_is_the_largest_by_a_margin():
    x, kinds = recording(n_units=40, seed=3)
    found = category_selectivity(x, kinds)
    table = found.preferred()
    assert table["category"].tolist() == [
        found.categories[k] for k in found.d_prime.argmax(axis=1)
    ]
    ranked = np.sort(found.d_prime, axis=1)
    np.testing.assert_allclose(table["d_prime"], ranked[:, -1])
    np.testing.assert_allclose(table["margin"], ranked[:, -1] - ranked[:, -2])
    for row in table.itertuples():
        assert found.of(row.second)[row.unit] == pytest.approx(ranked[row.unit, -2])
    strict = found.preferred(margin=0.5)
    kept = table["margin"] >= 0.5
    assert 0 < kept.sum() < 40
    assert strict["category"].notna().equals(kept)
    np.testing.assert_array_equal(strict["margin"], table["margin"])


def test_ties_and_undefined_units_have_no_preference():
    kinds = ["face"] * 3 + ["place"] * 3 + ["body"] * 3
    x = np.array([1, 2, 3, 1, 2, 3, 0, 1, -1], float)[:, None].repeat(2, axis=1)
    x[0, 1] = np.nan
    table = category_selectivity(x, kinds).preferred()
    assert table["category"].isna().all()
    assert table["margin"][0] == pytest.approx(0)
    assert table["d_prime"][0] > 0
    assert np.isnan(table["d_prime"][1])
    assert table["second"].isna().tolist() == [False, True]


# ------------------------------------------------------------------ arguments


def test_arguments_that_do_not_fit_are_refused():
    x, kinds = recording()
    with pytest.raises(ValueError, match="`categories` has 18 entries for 19"):
        category_selectivity(x, kinds[1:])
    with pytest.raises(ValueError, match="`responses` must have shape"):
        category_selectivity(x[:, 0], kinds)
    with pytest.raises(ValueError, match=r"`contrast` must be one of.*Did you mean"):
        category_selectivity(x, kinds, contrast="faces")
    with pytest.raises(ValueError, match="`against` must be one of"):
        category_selectivity(x, kinds, against=["tool"])
    with pytest.raises(ValueError, match=r"share \['face'\]"):
        category_selectivity(x, kinds, contrast="face", against=["face", "body"])
    with pytest.raises(ValueError, match="no category to test among"):
        category_selectivity(x, kinds, exclude=("face", "place", "body"))
    alone = [*kinds[:-1], "tool"]
    with pytest.raises(ValueError, match="'tool' has 1 pictures"):
        category_selectivity(x, alone)
    with pytest.raises(ValueError, match="is compared with 0"):
        category_selectivity(x, ["face"] * len(x))
    with pytest.raises(ValueError, match="`epsilon` must be within"):
        category_selectivity(x, kinds, epsilon=-1)
    with pytest.raises(ValueError, match="`categories` is missing in 1 of 19"):
        category_selectivity(x, [None, *kinds[1:]])
    found = category_selectivity(x, kinds)
    with pytest.raises(ValueError, match="`category` must be one of"):
        found.of("tool")
    with pytest.raises(ValueError, match="`margin` must be within"):
        found.preferred(margin=-0.1)
    with pytest.raises(
        ValueError, match="needs two categories; this selectivity has 1"
    ):
        category_selectivity(x, kinds, contrast="face").preferred()


def test_labels_become_texts():
    assert text_labels("labels", [1, "b"], 2, "unit").tolist() == ["1", "b"]
    found = text_labels("labels", ["a", np.nan, None], 3, "unit", missing=True)
    assert found.tolist() == ["a", "", ""]
