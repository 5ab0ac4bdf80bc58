"""NSS, CC, SIM, KL, likelihood and information gain against loops and their rules."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.fixated_pixels import fixated_pixels
from analysis.fixation_density import to_density
from analysis.fixation_maps import (
    cc,
    information_gain,
    information_gain_per_fixation,
    kl_divergence,
    log_likelihood,
    nss,
    nss_per_fixation,
    sim,
)

SEEDS = st.integers(0, 2**32 - 1)
SHAPE = (4, 5)


def _case(seed, n_maps=3):
    """Positive maps with ties, maps of people, fixations with repeats."""
    rng = np.random.default_rng(seed)
    pred, people = rng.integers(1, 9, (2, n_maps, *SHAPE)) / 4
    index = np.repeat(np.arange(n_maps), rng.integers(1, 9, n_maps))
    x, y = rng.random((2, len(index))) * np.array(SHAPE[::-1])[:, None]
    return pred, people, fixated_pixels(x, y, SHAPE, map_index=index, n_maps=n_maps)


def _formula(step=3):
    """A map of 6 x 7 that anyone can write down, fixations on it, and a second map."""
    row, column = np.indices((6, 7))
    pred = ((step * row * row + 5 * column + row * column) % 7).astype(float)
    people = 1.0 + (row * 2 + column * column) % 5
    return pred, people, fixated_pixels([0, 3, 3, 6, 2], [1, 4, 4, 0, 5], (6, 7))


@given(SEEDS)
def test_nss_matches_a_loop(seed):
    pred, _, human = _case(seed)
    values = nss_per_fixation(pred, human)
    for i, one in enumerate(pred):
        at = human.map_index == i
        z = (one - np.mean(one)) / np.std(one)
        expected = [
            z[r, c] for r, c in zip(human.row[at], human.column[at], strict=True)
        ]
        np.testing.assert_allclose(values[at], expected, atol=1e-12)
        assert nss(pred, human)[i] == pytest.approx(np.mean(expected), abs=1e-12)
        pixels = sorted(set(zip(human.row[at], human.column[at], strict=True)))
        z = (one - np.mean(one)) / np.std(one, ddof=1)
        expected = np.mean([z[pixel] for pixel in pixels])
        got = nss(pred, human, variant="vame")[i]
        assert got == pytest.approx(expected, abs=1e-12)


@given(SEEDS)
def test_cc_matches_scipy(seed):
    pred, people, _ = _case(seed)
    r = cc(pred, people)
    for i in range(len(pred)):
        expected = stats.pearsonr(pred[i].ravel(), people[i].ravel()).statistic
        assert r[i] == pytest.approx(expected, abs=1e-12)


@given(SEEDS)
def test_sim_and_kl_match_loops(seed):
    pred, people, _ = _case(seed)
    for i in range(len(pred)):
        p, q = (m[i].ravel() / m[i].sum() for m in (pred, people))
        both = sum(min(a, b) for a, b in zip(p, q, strict=True))
        assert sim(pred, people)[i] == pytest.approx(both, abs=1e-12)
        plain = kl_divergence(pred, people, variant="plain")[i]
        assert plain == pytest.approx(stats.entropy(q, p), abs=1e-12)
        mit = sum(
            b * math.log(2.2204e-16 + b / (a + 2.2204e-16))
            for a, b in zip(p, q, strict=True)
        )
        assert kl_divergence(pred, people)[i] == pytest.approx(mit, abs=1e-12)
        vame = sum(
            b * math.log(b / (a + 1e-12) + 1e-12) for a, b in zip(p, q, strict=True)
        )
        got = kl_divergence(pred, people, variant="vame")[i]
        assert got == pytest.approx(vame, abs=1e-12)
        ranged = [(m[i].ravel() - m[i].min()) for m in (pred, people)]
        expected = sum(np.minimum(*(m / m.sum() for m in ranged)))
        got = sim(pred, people, variant="range")[i]
        assert got == pytest.approx(expected, abs=1e-12)


@given(SEEDS)
def test_likelihood_and_gain_match_loops(seed):
    pred, people, human = _case(seed)
    p, b = to_density(pred), to_density(people)
    for i in range(len(pred)):
        at = human.map_index == i
        where = (human.row[at], human.column[at])
        logs = np.mean([math.log(v) for v in p[i][where]])
        assert log_likelihood(pred, human)[i] == pytest.approx(logs, abs=1e-12)
        bits = np.mean(
            [math.log2(u / v) for u, v in zip(p[i][where], b[i][where], strict=True)]
        )
        for variant in ("mit", "pysaliency"):
            gain = information_gain(pred, human, people, variant=variant)[i]
            assert gain == pytest.approx(bits, abs=1e-12)


# Made with this code when all its values agreed with the golden files to 1e-15.
FROZEN = {
    "nss": 0.23664319132398454,
    "nss vame": 0.08350322817500078,
    "cc": -0.08304070753641546,
    "sim": 0.677177700348432,
    "sim range": 0.6059964726631393,
    "kl": 4.350980171433694,
    "kl pysaliency": 6.295652711845976,
    "kl vame": 3.2566513242814015,
    "kl signed": 4.350980171433694,
    "gain": 0.043632107083283245,
    "likelihood": -3.668433986941153,
}


def test_values_of_a_written_map_stay():
    pred, people, human = _formula()
    got = {
        "nss": nss(pred, human),
        "nss vame": nss(pred, human, variant="vame"),
        "cc": cc(pred, people),
        "sim": sim(pred, people),
        "sim range": sim(pred, people, variant="range"),
        "kl": kl_divergence(pred, people),
        "kl pysaliency": kl_divergence(pred, people, variant="pysaliency"),
        "kl vame": kl_divergence(pred, people, variant="vame"),
        "kl signed": kl_divergence(pred - 2, people),
        "gain": information_gain(pred, human, people),
        "likelihood": log_likelihood(pred + 1, human),
    }
    assert {k: float(v[0]) for k, v in got.items()} == pytest.approx(FROZEN, rel=1e-12)


@given(SEEDS, st.floats(0.01, 100), st.floats(-50, 50))
def test_nss_and_cc_ignore_scale_and_shift(seed, scale, shift):
    pred, people, human = _case(seed)
    changed = pred * scale + shift
    np.testing.assert_allclose(nss(changed, human), nss(pred, human), atol=1e-7)
    np.testing.assert_allclose(cc(changed, people), cc(pred, people), atol=1e-7)
    np.testing.assert_allclose(cc(people, changed), cc(pred, people), atol=1e-7)
    np.testing.assert_allclose(cc(-pred, people), -cc(pred, people), atol=1e-12)


@given(SEEDS, st.floats(0.01, 100))
def test_measures_of_densities_ignore_scale(seed, scale):
    pred, people, human = _case(seed)
    changed = pred * scale
    for measure in (sim, kl_divergence, cc):
        np.testing.assert_allclose(
            measure(changed, people), measure(pred, people), atol=1e-9
        )
    gain = information_gain(changed, human, people)
    np.testing.assert_allclose(gain, information_gain(pred, human, people), atol=1e-9)


@given(SEEDS)
def test_a_map_equals_itself(seed):
    pred, _, human = _case(seed)
    np.testing.assert_allclose(cc(pred, pred), 1, atol=1e-12)
    np.testing.assert_allclose(sim(pred, pred), 1, atol=1e-12)
    for variant in ("mit", "pysaliency", "vame", "plain"):
        kl = kl_divergence(pred, pred, variant=variant)
        np.testing.assert_allclose(kl, 0, atol=1e-9)
    np.testing.assert_array_equal(information_gain(pred, human, pred), 0)


@given(SEEDS)
def test_symmetry_and_bounds(seed):
    pred, people, _ = _case(seed)
    np.testing.assert_array_equal(cc(pred, people), cc(people, pred))
    np.testing.assert_array_equal(sim(pred, people), sim(people, pred))
    assert (kl_divergence(pred, people, variant="plain") >= -1e-12).all()
    assert (np.abs(cc(pred, people)) <= 1 + 1e-12).all()


@given(SEEDS)
def test_order_of_fixations_and_batch_do_not_matter(seed):
    pred, people, human = _case(seed)
    order = np.random.default_rng(seed).permutation(len(human))
    shuffled = fixated_pixels(
        human.column[order], human.row[order], SHAPE, map_index=human.map_index[order]
    )
    np.testing.assert_allclose(nss(pred, shuffled), nss(pred, human), atol=1e-12)
    for i in range(len(pred)):
        one = human.select([i])
        assert nss(pred[i], one)[0] == pytest.approx(nss(pred, human)[i], abs=1e-12)
        alone = information_gain(pred[i], one, people[i])[0]
        together = information_gain(pred, human, people)[i]
        assert alone == pytest.approx(together, abs=1e-12)
        for measure in (cc, sim, kl_divergence):
            alone = measure(pred[i], people[i])[0]
            assert alone == pytest.approx(measure(pred, people)[i], abs=1e-12)


@given(SEEDS)
def test_one_map_for_all_equals_its_copies(seed):
    pred, people, human = _case(seed)
    copies = np.stack([pred[0]] * len(pred))
    np.testing.assert_allclose(nss(pred[0], human), nss(copies, human), atol=1e-12)
    np.testing.assert_allclose(
        information_gain(people, human, pred[0]),
        information_gain(people, human, copies),
        atol=1e-12,
    )
    for measure in (cc, sim, kl_divergence):
        for pair, same in (
            ((pred[0], people), (copies, people)),
            ((people, pred[0]), (people, copies)),
        ):
            np.testing.assert_allclose(measure(*pair), measure(*same), atol=1e-12)


def test_a_repeated_fixation_counts_twice():
    pred = np.arange(6.0).reshape(2, 3)
    once, twice = (fixated_pixels([0, *[2] * n], [0, *[1] * n], (2, 3)) for n in (1, 2))
    z = nss_per_fixation(pred, once)
    assert nss(pred, once)[0] == pytest.approx(z.mean())
    assert nss(pred, twice)[0] == pytest.approx((z[0] + 2 * z[1]) / 3)
    vame = [nss(pred, h, variant="vame")[0] for h in (once, twice)]
    assert vame[0] == vame[1]


@pytest.mark.parametrize("level", [0.0, 0.3, -7.0])
def test_constant_maps(level):
    flat = np.full((12, 16), level)
    other = np.indices((12, 16)).sum(axis=0) + 1.0
    human = fixated_pixels([3, 15], [2, 11], (12, 16))
    assert nss(flat, human).tolist() == [0.0]
    assert np.isnan(nss(flat, human, variant="vame")).all()
    assert cc(flat, other).tolist() == [0.0]
    assert np.isnan(cc(other, flat)).all()
    assert np.isnan(cc(flat, flat)).all()
    assert np.isnan(sim(flat, other, variant="range")).all()
    uniform = other.size**-1
    expected = np.minimum(uniform, other / other.sum()).sum()
    assert sim(flat, other)[0] == pytest.approx(expected)
    assert log_likelihood(flat, human)[0] == pytest.approx(math.log(uniform))


def test_zero_density_at_a_fixation():
    pred, human = [[0.0, 1.0, 3.0]], fixated_pixels([0, 1], [0, 0], (1, 3))
    baseline = [[1.0, 1.0, 2.0]]
    assert np.isnan(log_likelihood(pred, human)).all()
    assert np.isnan(information_gain(pred, human, baseline, variant="pysaliency")).all()
    gain = information_gain_per_fixation(pred, human, baseline)
    assert gain.tolist() == pytest.approx([math.log2(2.2204e-16 / 0.25), 0.0])
    people = [[1.0, 1.0, 0.0]]
    assert kl_divergence(pred, people, variant="plain").tolist() == [np.inf]
    assert kl_divergence(people, pred, variant="plain").tolist() == [np.inf]
    both = kl_divergence([[1.0, 1.0, 2.0]], people, variant="plain")[0]
    assert both == pytest.approx(math.log(2))


def test_negative_maps_are_shifted_except_where_undefined():
    signed, people = np.array([[-1.0, 0.0, 3.0]]), np.array([[1.0, 2.0, 1.0]])
    shifted = signed + 1
    assert sim(signed, people)[0] == sim(shifted, people)[0]
    for variant in ("mit", "pysaliency"):
        kl = [kl_divergence(m, people, variant=variant)[0] for m in (signed, shifted)]
        assert kl[0] == kl[1]
    assert np.isnan(kl_divergence(signed, people, variant="vame")).all()
    assert np.isnan(kl_divergence(people, signed, variant="vame")).all()
    assert np.isnan(kl_divergence(people * 0, people, variant="vame")).all()


@pytest.mark.parametrize("place", [0, 1])
def test_nan_makes_only_its_map_undefined(place):
    pred = np.array([[[1.0, 2.0, 4.0]]] * 2)
    people = np.array([[[0.0, 1.0, 1.0]]] * 2)
    pred[1, 0, place] = np.nan
    human = fixated_pixels([1, 1], [0, 0], (1, 3), map_index=[0, 1])
    kinds = [
        nss(pred, human),
        nss(pred, human, variant="vame"),
        log_likelihood(pred, human),
        information_gain(pred, human, people),
        information_gain(people, human, pred),
        sim(pred, people, variant="range"),
        *(
            measure(*pair)
            for measure in (cc, sim)
            for pair in ((pred, people), (people, pred))
        ),
        *(
            kl_divergence(*pair, variant=variant)
            for variant in ("mit", "pysaliency", "vame", "plain")
            for pair in ((pred, people), (people, pred))
        ),
    ]
    for values in kinds:
        assert np.isnan(values).tolist() == [False, True]


def test_maps_without_fixations_are_undefined():
    human = fixated_pixels([0], [0], (1, 2), map_index=[0], n_maps=2)
    pred = [[[1.0, 2.0]]] * 2
    for values in (
        nss(pred, human),
        nss(pred, human, variant="vame"),
        log_likelihood(pred, human),
        information_gain(pred, human, pred),
    ):
        assert np.isnan(values).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, bool])
def test_other_number_types_score_as_float64(dtype):
    pred, people, human = _formula()
    kind = pred.astype(dtype)
    exact = kind.astype(np.float64)
    assert nss(kind, human)[0] == nss(exact, human)[0]
    assert cc(kind, people)[0] == cc(exact, people)[0]
    assert kl_divergence(kind, people)[0] == kl_divergence(exact, people)[0]
    assert log_likelihood(kind, human).dtype == np.float64


def test_inputs_are_left_alone():
    pred, people, human = _formula()
    pred -= 3
    before = pred.copy(), people.copy()
    for variant in ("mit", "pysaliency", "vame", "plain"):
        kl_divergence(pred, people, variant=variant)
    sim(pred, people, variant="range")
    cc(pred, people)
    nss(pred, human)
    information_gain(pred, human, people)
    np.testing.assert_array_equal((pred, people), before)


def test_a_stack_of_no_maps_gives_no_values():
    none = np.empty((0, 2, 3))
    human = fixated_pixels([], [], (2, 3), n_maps=0)
    assert [len(v) for v in (nss(none, human), cc(none, none), sim(none, none))] == [
        0
    ] * 3


@pytest.mark.parametrize("measure", [cc, sim, kl_divergence])
def test_pairs_of_maps_that_do_not_fit_are_refused(measure):
    with pytest.raises(
        ValueError, match=r"`pred` has maps of 2 x 3 .* `human` of 3 x 2"
    ):
        measure(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="`pred` has 2 maps but `human` has 3"):
        measure(np.ones((2, 2, 3)), np.ones((3, 2, 3)))
    with pytest.raises(ValueError, match=r"`human` must have shape \(H, W\)"):
        measure(np.ones((2, 3)), np.ones(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda pred, human: nss(pred, human, variant="matlab"),
        lambda pred, human: sim(pred, pred, variant="matlab"),
        lambda pred, human: kl_divergence(pred, pred, variant="matlab"),
        lambda pred, human: information_gain(pred, human, pred, variant="matlab"),
    ],
)
def test_unknown_variants_are_refused(call):
    with pytest.raises(ValueError, match=r"`variant` must be one of .*; got 'matlab'"):
        call(np.ones((1, 2)), fixated_pixels([0], [0], (1, 2)))


def test_the_baseline_is_named_when_it_does_not_fit():
    human = fixated_pixels([0], [0], (1, 2))
    with pytest.raises(ValueError, match="`baseline` has maps of 2 x 1"):
        information_gain(np.ones((1, 2)), human, np.ones((2, 1)))
