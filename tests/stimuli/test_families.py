"""Every family by name: made, documented, the same again."""

import functools

import numpy as np
import pytest

from neurovis.core.types import StimulusSet
from stimuli.families import FAMILIES, family_table, make_family, option_table

# Fewer pictures where one takes long to draw.
SMALL = {"eidolons": {"n_pictures": 1, "reaches_px": [16], "size_px": 64}}


@functools.cache
def some(name, seed=None):
    """The first and the last picture."""
    options = SMALL.get(name, {}) | ({} if seed is None else {"seed": seed})
    made = make_family(name, options)
    return made.select(sorted({0, len(made) - 1}))


@pytest.mark.parametrize("name", FAMILIES)
def test_family_makes_pictures_without_any_option(name):
    assert isinstance(make_family(name), StimulusSet)
    for i in range(len(some(name))):
        picture = some(name).load(i)
        assert picture.ndim == 3
        assert picture.dtype == np.uint8
        assert picture.min() < picture.max()  # it shows something


@pytest.mark.parametrize("name", FAMILIES)
def test_same_options_give_the_same_bytes_and_other_seeds_other_pictures(name):
    again = make_family(name, SMALL.get(name))
    assert (
        some(name).fingerprint == again.select(sorted({0, len(again) - 1})).fingerprint
    )
    if "seed" in FAMILIES[name].options():
        assert some(name, 1).fingerprint != some(name).fingerprint


@pytest.mark.parametrize("name", FAMILIES)
def test_every_option_is_documented(name):
    table = option_table(name)
    assert list(table["option"]) == list(FAMILIES[name].defaults())
    undocumented = table.loc[table["meaning"] == "", "option"].tolist()
    assert undocumented == []


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
