"""Every family by name: made, documented, the same again."""

import numpy as np
import pytest

from neurovis.core.types import StimulusSet
from stimuli.families import FAMILIES, family_table, make_family, option_table


def some(stimuli, n=3):
    """The first, a middle and the last picture."""
    rows = np.unique(np.linspace(0, len(stimuli) - 1, n).round().astype(int))
    return stimuli.select(rows)


@pytest.mark.parametrize("name", FAMILIES)
def test_family_makes_pictures_without_any_option(name):
    made = make_family(name)
    assert isinstance(made, StimulusSet)
    assert len(made) > 0
    for i in range(len(some(made))):
        picture = some(made).load(i)
        size = (made.viewing.height_px, made.viewing.width_px, 3)
        assert picture.shape == size
        assert picture.dtype == np.uint8
        assert picture.min() < picture.max()  # it shows something


@pytest.mark.parametrize("name", FAMILIES)
def test_same_options_give_the_same_bytes(name):
    assert some(make_family(name)).fingerprint == some(make_family(name)).fingerprint


@pytest.mark.parametrize("name", FAMILIES)
def test_every_option_is_documented(name):
    table = option_table(name)
    assert list(table["option"]) == list(FAMILIES[name].defaults())
    undocumented = table.loc[table["meaning"] == "", "option"].tolist()
    assert undocumented == []


@pytest.mark.parametrize("name", FAMILIES)
def test_another_seed_draws_other_pictures(name):
    if "seed" not in FAMILIES[name].options():
        pytest.skip("nothing is drawn at random")
    first, second = (some(make_family(name, {"seed": seed})) for seed in (1, 2))
    assert first.fingerprint != second.fingerprint


def test_the_table_names_every_family_once():
    table = family_table()
    assert list(table["family"]) == list(FAMILIES)
    assert table["what"].str.len().min() > 10


def test_unknown_families_and_options_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match="Did you mean 'gratings'"):
        make_family("grating")
    with pytest.raises(ValueError, match=r"option of gratings.*n_phases"):
        make_family("gratings", {"phases": 2})
    with pytest.raises(ValueError, match="`n_phases` of gratings cannot be 'two'"):
        make_family("gratings", {"n_phases": "two"})


def test_lists_are_taken_where_functions_have_tuples():
    made = make_family("gratings", {"orientations_deg": [0.0, 45.0], "n_phases": 1})
    assert sorted(made.table["orientation_deg"].unique()) == [0.0, 45.0]
