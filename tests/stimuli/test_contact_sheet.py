"""Contact sheets of sets."""

import numpy as np
import pandas as pd
import pytest

from neurovis.core.types import StimulusSet, Viewing
from stimuli.contact_sheet import contact_sheet


def colours(n, height=40, width=60):
    """A set of plain pictures, each of its own grey."""
    pictures = [np.full((height, width, 3), 20 + 10 * i, np.uint8) for i in range(n)]
    table = pd.DataFrame({"stimulus_id": [f"grey{i}" for i in range(n)]})
    table["level"] = [20 + 10 * i for i in range(n)]
    return StimulusSet("greys", table, Viewing(10, width, height), pictures)


def test_every_picture_stands_on_the_sheet_in_order():
    sheet = contact_sheet(colours(5), columns=3, cell_px=120)
    assert sheet.shape == (2 * (80 + 14 + 8) + 8, 3 * (120 + 8) + 8, 3)
    for i in range(5):
        top, left = 8 + i // 3 * 102, 8 + i % 3 * 128
        assert (sheet[top : top + 80, left : left + 120] == 20 + 10 * i).all()


def test_a_large_set_is_shown_by_pictures_spread_over_it():
    sheet = contact_sheet(colours(20), n_pictures=3, columns=3, cell_px=60)
    shown = [i for i in range(20) if np.all(sheet == 20 + 10 * i, axis=2).sum() > 1000]
    assert shown == [0, 10, 19]


def test_small_pictures_are_enlarged_by_whole_factors_and_large_ones_shrunk():
    small = contact_sheet(colours(1, 10, 10), columns=1, cell_px=64)
    assert np.all(small == 20, axis=2).sum() == 60 * 60
    large = contact_sheet(colours(1, 400, 200), columns=1, cell_px=64)
    assert np.all(large == 20, axis=2).sum() == 64 * 32


def test_long_captions_are_cut_to_the_width():
    made = colours(1)
    made.table["stimulus_id"] = ["a" * 200]
    assert contact_sheet(made, columns=1, cell_px=60).shape[1] == 76


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"captions": ["colour"]}, "stimulus_id, level"),
        ({"columns": 0}, "columns"),
        ({"cell_px": 3}, "cell_px"),
    ],
)
def test_what_cannot_be_shown_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        contact_sheet(colours(2), **options)


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet(colours(2).select([]))
