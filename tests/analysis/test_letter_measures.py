"""Critical spacing, precedence and interference are what they are defined to be."""

import numpy as np
import pandas as pd
import pytest

from analysis.letter_measures import accuracy_draws, critical_spacing, navon_effects


def _curve(spacing, critical, asymptote=0.95, steepness=4.0, chance=0.1):
    share = 1 / (1 + (np.asarray(spacing) / critical) ** -steepness)
    return chance + (asymptote - chance) * share


@pytest.mark.parametrize("critical", [0.9, 1.4, 2.2])
def test_the_middle_of_a_curve_is_recovered(critical):
    spacing = np.geomspace(0.5, 4, 25)
    found = critical_spacing(
        spacing, _curve(spacing, critical), chance=0.1, asymptote=0.95
    )
    assert found.spacing == pytest.approx(critical, rel=0.01)
    assert found.side == "within"


def test_critical_spacing_is_recovered_from_simulated_answers():
    rng = np.random.default_rng(0)
    spacing = np.geomspace(0.6, 3, 6)
    counts = rng.binomial(400, _curve(spacing, 1.3))
    found = critical_spacing(spacing, counts / 400, chance=0.1, asymptote=0.95)
    assert found.spacing == pytest.approx(1.3, rel=0.1)


def test_the_order_of_spacings_does_not_matter():
    spacing = np.array([2.0, 0.5, 1.0, 4.0])
    call = {"chance": 0.1, "asymptote": 0.9}
    accuracy = np.array([0.7, 0.2, 0.3, 0.8])
    first = critical_spacing(spacing, accuracy, **call)
    again = critical_spacing(spacing[::-1], accuracy[::-1], **call)
    assert first == again
    # Half-way is 0.5: half of the way from 1 to 2, on a logarithmic axis.
    assert first.spacing == pytest.approx(np.sqrt(2))


def test_a_dip_is_smoothed_and_not_taken_for_the_threshold():
    found = critical_spacing(
        [1, 2, 4, 8], [0.2, 0.6, 0.4, 0.9], chance=0.1, asymptote=0.9
    )
    assert found.spacing == pytest.approx(2.0)


def test_spacings_outside_the_tested_ones_are_undefined_and_told():
    call = {"chance": 0.1, "asymptote": 0.9}
    assert critical_spacing([1, 2], [0.8, 0.9], **call).side == "below"
    assert critical_spacing([1, 2], [0.1, 0.2], **call).side == "above"
    assert np.isnan(critical_spacing([1, 2], [0.1, 0.2], **call).spacing)
    none = critical_spacing([1, 2], [0.1, 0.2], chance=0.1, asymptote=0.1)
    assert none.side == "undefined"


def test_wrong_curves_are_refused():
    with pytest.raises(ValueError, match="`spacing` must be above 0"):
        critical_spacing([1, 1], [0.1, 0.2], chance=0.1, asymptote=0.9)
    with pytest.raises(ValueError, match="`accuracy` must lie within 0"):
        critical_spacing([1, 2], [0.1, 1.2], chance=0.1, asymptote=0.9)


def _trials():
    rng = np.random.default_rng(1)
    rows = []
    for condition in ("congruent", "incongruent"):
        for i in range(40):
            shared = {"condition": condition, "stimulus_id": f"{condition}{i:02d}"}
            right = rng.random() < (0.9 if condition == "congruent" else 0.5)
            rows.append({**shared, "asked": "global", "correct": True})
            rows.append({**shared, "asked": "local", "correct": right})
    return pd.DataFrame(rows)


def test_draws_are_means_and_do_not_depend_on_the_order_of_trials():
    trials = _trials()
    draws = accuracy_draws(trials, n_bootstrap=200)
    again = accuracy_draws(trials.sample(frac=1, random_state=0), n_bootstrap=200)
    for key, values in draws.items():
        mine = trials[(trials["condition"] == key[0]) & (trials["asked"] == key[1])]
        assert values[0] == mine["correct"].mean()
        np.testing.assert_array_equal(values, again[key])
    spread = draws["incongruent", "local"][1:].std()
    share = draws["incongruent", "local"][0]
    assert spread == pytest.approx(np.sqrt(share * (1 - share) / 40), rel=0.2)


def test_questions_about_the_same_pictures_are_resampled_together():
    trials = _trials()
    other = trials.copy()
    other.loc[other["asked"] == "global", "correct"] = trials.loc[
        trials["asked"] == "local", "correct"
    ].to_numpy()
    draws = accuracy_draws(other, n_bootstrap=50)
    np.testing.assert_array_equal(
        draws["incongruent", "global"], draws["incongruent", "local"]
    )


def test_effects_are_differences_of_accuracies():
    effects = navon_effects(accuracy_draws(_trials(), n_bootstrap=0))
    assert effects["precedence"][0] > 0.3
    assert effects["interference_global"][0] == 0
    assert effects["interference_local"][0] == effects["asymmetry"][0] > 0.2
