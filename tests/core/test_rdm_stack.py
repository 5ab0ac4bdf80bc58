"""Stacks of dissimilarity matrices."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import squareform

from neurovis.core.rdm_stack import RDMStack


def stack_of(rdms, n_stimuli, **options):
    n = len(rdms)
    table = pd.DataFrame(
        {
            "source": [("human IT", "monkey IT")[i % 2] for i in range(n)],
            "subject": [str(i // 2) for i in range(n)],
            "measure": "1 - Pearson r",
            "session": np.arange(n),
        }
    )
    stimuli = pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(n_stimuli)]})
    return RDMStack("tiny", rdms, table, stimuli, **options)


@given(st.integers(2, 7), st.integers(0, 4), st.data())
def test_square_is_that_of_scipy(n_stimuli, n_rdms, data):
    n_pairs = n_stimuli * (n_stimuli - 1) // 2
    elements = st.floats(0, 2)
    rdms = data.draw(arrays(np.float64, (n_rdms, n_pairs), elements=elements))
    square = stack_of(rdms, n_stimuli).square()
    assert square.shape == (n_rdms, n_stimuli, n_stimuli)
    for ours, row in zip(square, rdms, strict=True):
        np.testing.assert_array_equal(ours, squareform(row))
        np.testing.assert_array_equal(ours[np.triu_indices(n_stimuli, 1)], row)


def test_an_undefined_dissimilarity_stays_undefined():
    square = stack_of(np.array([[0.5, np.nan, 0.1]]), 3).square()[0]
    assert np.isnan(square[0, 2])
    assert np.isnan(square[2, 0])
    assert np.isnan(square).sum() == 2


def test_matrices_are_selected_by_rows_masks_and_factors():
    stack = stack_of(np.arange(6)[:, None] * np.ones(3), 3, notes=("a note",))
    assert len(stack) == 6

    def chosen(*args, **factors):
        part = stack.select(*args, **factors)
        assert part.stimuli is stack.stimuli
        assert part.table.index.tolist() == list(range(len(part)))
        np.testing.assert_array_equal(part.table["session"], part.rdms[:, 0])
        return part.rdms[:, 0].astype(int).tolist()

    assert chosen() == [0, 1, 2, 3, 4, 5]
    assert chosen(source="monkey IT") == [1, 3, 5]
    assert chosen(source="human IT", subject="1") == [2]
    assert chosen([4, 0]) == [4, 0]
    assert chosen([4, 0, 1], source="human IT") == [4, 0]
    assert chosen(stack.table["subject"] == "2") == [4, 5]
    assert chosen(3) == [3]
    assert chosen([]) == []
    assert chosen(source="nobody") == []
    with pytest.raises(ValueError, match=r"lacks the columns \['sources'\].*'source'"):
        stack.select(sources="human IT")
    with pytest.raises(IndexError):
        stack.select([6])


def test_a_stack_describes_itself():
    stack = stack_of(np.zeros((3, 3)), 3, notes=("made up",))
    assert stack.describe() == [
        "tiny: 3 matrices of 3 stimuli",
        "human IT: 2",
        "monkey IT: 1",
        "note: made up",
    ]


def test_parts_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 4\).*3 stimuli need \(2, 3\)"):
        stack_of(np.zeros((2, 4)), 3)
    with pytest.raises(ValueError, match="1 pictures for 3"):
        stack_of(np.zeros((2, 3)), 3, pictures=[np.zeros((2, 2, 3), np.uint8)])
    good = stack_of(np.zeros((2, 3)), 3)
    twice = good.stimuli.assign(stimulus_id=["a", "b", "a"])
    with pytest.raises(ValueError, match="repeats a stimulus_id"):
        RDMStack("tiny", good.rdms, good.table, twice)
    with pytest.raises(ValueError, match="lacks the columns"):
        RDMStack("tiny", good.rdms, good.table.drop(columns="source"), good.stimuli)
