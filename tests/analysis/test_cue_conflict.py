"""Cross-over points and central bias."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.cue_conflict import (
    area_published,
    central_bias,
    central_bias_difference,
    conflict_curves,
    cross_over,
    mean_over_weight,
)

X = np.array([0, 0.0155, 0.0343, 0.0759, 0.168, 0.3718, 0.8077, 1.0])


def cross_over_by_lines(x, peripheral, foveal):
    """Slopes and intercepts of the two lines, interval by interval."""
    for i in range(len(x) - 1):
        if peripheral[i] > foveal[i] and peripheral[i + 1] < foveal[i + 1]:
            m = [(c[i + 1] - c[i]) / (x[i + 1] - x[i]) for c in (peripheral, foveal)]
            b = [c[i] - k * x[i] for c, k in zip((peripheral, foveal), m, strict=True)]
            return (b[1] - b[0]) / (m[0] - m[1])
    return math.nan


def simulate(rng, bias, *, n_images=80, n_runs=4, x=X):
    """Systems that name the foveal class where its weight passes a threshold."""
    parts = []
    hardness = rng.normal(0, 0.08, n_images)
    for system, threshold in bias.items():
        for run in range(n_runs):
            for weight in x:
                drive = (weight - threshold + hardness) / 0.1
                p = 1 / (1 + np.exp(-np.clip(drive, -30, 30)))
                named = np.where(rng.random(n_images) < p, 1, 0)
                lost = rng.random(n_images) < 0.3
                parts.append(
                    pd.DataFrame(
                        {
                            "system": system,
                            "run": run,
                            "foveal_weight": weight,
                            "stimulus_id": [f"p{i:03d}" for i in range(n_images)],
                            "peripheral_label": 0,
                            "foveal_label": 1,
                            "predicted": np.where(lost, 2, named),
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("ties", ["cross", "published"])
def test_cross_over_is_where_two_lines_meet(ties):
    rng = np.random.default_rng(0)
    curves = rng.random((300, 2, len(X)))
    found = cross_over(X, curves[:, 0], curves[:, 1], ties=ties)
    expected = [cross_over_by_lines(X, p, f) for p, f in curves]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.isnan(found).any()
    assert not np.isnan(found).all()


def test_equal_levels_are_the_cross_over_unless_published():
    x, top = [0.0, 0.25, 0.5, 0.75, 1.0], [4, 2, 2, 2, 0]
    for foveal, expected in (
        ([0, 2, 4, 4, 4], 0.25),
        ([0, 2, 2, 4, 4], 0.375),
        ([0, 2, 2, 2, 4], 0.5),
    ):
        assert cross_over(x, top, foveal) == expected
        assert np.isnan(cross_over(x, top, foveal, ties="published"))
    # Touching is no crossing.
    assert np.isnan(cross_over(x, [4, 2, 4, 4, 4], [0, 2, 0, 0, 0]))


def test_no_cross_over_is_nan():
    assert np.isnan(cross_over([0, 1], [1, 1], [0, 0]))
    assert np.isnan(cross_over([0, 1], [0, 0], [1, 1]))
    assert np.isnan(cross_over([0, 1], [0, 1], [1, 0]))
    assert np.isnan(cross_over([0, 1, 2], [1, np.nan, 0], [0, 0, 1]))


@given(st.floats(0.01, 0.99), st.floats(0.1, 50))
def test_cross_over_does_not_depend_on_the_unit_of_shares(at, factor):
    x = np.linspace(0, 1, 9)
    peripheral, foveal = factor * (1 - x), factor * (x + 1 - 2 * at)
    assert cross_over(x, peripheral, foveal) == pytest.approx(at, abs=1e-9)


def test_areas_are_those_of_trapezoids():
    curve = np.random.default_rng(1).random(len(X)) * 100
    steps = [
        (X[i + 1] - X[i]) * (curve[i] + curve[i + 1]) / 2 for i in range(len(X) - 1)
    ]
    assert area_published(X, curve) == pytest.approx(100 * sum(steps[1:]))
    assert mean_over_weight(X, curve) == pytest.approx(sum(steps))
    assert mean_over_weight(3 * X + 1, curve) == pytest.approx(sum(steps))
    assert mean_over_weight(X, np.full(len(X), 7.0)) == pytest.approx(7)


def test_curves_count_both_classes():
    table = simulate(np.random.default_rng(2), {"net": 0.2, "ape": 0.4}, n_runs=2)
    curves = conflict_curves(
        table.sample(frac=1, random_state=0).sort_values("system", ascending=False)
    )
    assert curves["system"].drop_duplicates().tolist() == ["net", "ape"]
    for row in curves.itertuples():
        part = table[
            (table["system"] == row.system)
            & (table["run"] == row.run)
            & (table["foveal_weight"] == row.foveal_weight)
        ]
        assert row.peripheral == pytest.approx((part["predicted"] == 0).mean())
        assert row.foveal == pytest.approx((part["predicted"] == 1).mean())
        assert row.n_images == 80


def test_central_bias_is_recovered_with_its_order():
    table = simulate(np.random.default_rng(3), {"strong": 0.15, "weak": 0.5})
    found = central_bias(table, n_bootstrap=200).set_index("system")
    curves = conflict_curves(table).groupby(["system", "foveal_weight"]).mean()
    for system in ("strong", "weak"):
        mean = curves.loc[system]
        by_hand = cross_over_by_lines(X, mean["peripheral"].array, mean["foveal"].array)
        row = found.loc[system]
        assert row["cross_over"] == pytest.approx(by_hand)
        assert row["ci_low"] < row["cross_over"] < row["ci_high"]
        assert row["share_undefined"] == 0
        assert (row["n_images"], row["n_runs"]) == (80, 4)
    assert found.loc["strong", "ci_high"] < found.loc["weak", "ci_low"]
    assert found.loc["strong", "foveal_mean"] > found.loc["weak", "foveal_mean"]


def test_spread_over_runs_is_that_of_their_cross_overs():
    table = simulate(np.random.default_rng(4), {"net": 0.3}, n_runs=3)
    row = central_bias(table, n_bootstrap=10).iloc[0]
    each = []
    for _, part in conflict_curves(table).groupby("run"):
        each.append(
            float(cross_over(X, part["peripheral"].array, part["foveal"].array))
        )
    assert row["sd_runs_published"] == pytest.approx(np.std(each))


def test_differences_are_paired_and_signed():
    table = simulate(np.random.default_rng(5), {"strong": 0.15, "weak": 0.5})
    row = central_bias_difference(table, "strong", "weak", n_bootstrap=200).iloc[0]
    both = central_bias(table, n_bootstrap=10).set_index("system")["cross_over"]
    assert row["difference"] == pytest.approx(both["strong"] - both["weak"])
    assert row["ci_high"] < 0
    assert row["p_value"] < 0.01
    twin = pd.concat(
        [table[table["system"] == "weak"].assign(system=s) for s in ("a", "b")]
    )
    same = central_bias_difference(twin, "a", "b", n_bootstrap=50).iloc[0]
    assert (same["difference"], same["ci_low"], same["ci_high"]) == (0, 0, 0)


def test_without_a_cross_over_the_bias_is_undefined():
    table = simulate(np.random.default_rng(6), {"net": 5.0}, n_runs=2)
    row = central_bias(table, n_bootstrap=20).iloc[0]
    assert np.isnan([row["cross_over"], row["ci_low"], row["ci_high"]]).all()
    assert row["share_undefined"] == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: cross_over([0, 0, 1], [1, 1, 1], [0, 0, 0]), "increase"),
        (lambda t: cross_over([0, 1], [1, 1, 1], [0, 0, 0]), "levels"),
        (lambda t: cross_over([0, 1], [1, 1], [0, 0], ties="no"), "ties"),
        (lambda t: central_bias(t.drop(columns="run")), "run"),
        (lambda t: central_bias(t.iloc[:0]), "no rows"),
        (lambda t: central_bias(t[t["foveal_weight"] == X[1]]), "increase"),
        (lambda t: central_bias(t.iloc[1:]), "same pictures"),
        (
            lambda t: central_bias(
                t[(t["foveal_weight"] > 0) | (t["stimulus_id"] != "p000")]
            ),
            "same pictures",
        ),
        (
            lambda t: central_bias(t[(t["foveal_weight"] > 0) | (t["run"] > 0)]),
            "same runs",
        ),
        (lambda t: central_bias_difference(t, "net", "ape"), "second"),
    ],
)
def test_wrong_arguments_are_told(call, words):
    table = simulate(np.random.default_rng(0), {"net": 0.3}, n_images=10, n_runs=2)
    with pytest.raises(ValueError, match=words):
        call(table)
