"""Numbers held against what people do."""

import numpy as np
import pytest

from tasks.directions import (
    COLUMNS,
    Direction,
    direction_lines,
    direction_row,
    directions_table,
)

GROWS = Direction("cost grows with angle", "1 to 4.4 s", "Shepard & Metzler 1971")
FALLS = Direction("accuracy falls with noise", "to chance", "Geirhos 2018", expected=-1)


@pytest.mark.parametrize(
    ("direction", "interval", "verdict"),
    [
        (GROWS, (0.1, 0.5), "holds"),
        (GROWS, (-0.5, -0.1), "reversed"),
        (GROWS, (-0.1, 0.5), "undecided"),
        (FALLS, (-0.5, -0.1), "holds"),
        (FALLS, (0.1, 0.5), "reversed"),
        (FALLS, (np.nan, np.nan), "undecided"),
    ],
)
def test_only_an_interval_without_zero_decides(direction, interval, verdict):
    row = direction_row(
        direction, model="m", value=sum(interval) / 2, interval=interval
    )
    assert row["verdict"] == verdict


def test_untrained_models_are_marked_in_table_and_words():
    row = direction_row(
        GROWS, model="m", value=0.3, interval=(0.1, 0.5), untrained=True
    )
    table = directions_table([row])
    assert tuple(table.columns) == COLUMNS
    line = "m (untrained): cost grows with angle: holds, 0.30 [0.10, 0.50]"
    assert direction_lines(table) == [line]


def test_no_directions_are_an_empty_table():
    assert tuple(directions_table([]).columns) == COLUMNS


def test_a_direction_says_who_found_it():
    with pytest.raises(ValueError, match="`source`"):
        Direction("a", "b", " ")
