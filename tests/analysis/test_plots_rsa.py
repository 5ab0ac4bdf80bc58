"""Figures of dissimilarity matrices."""

import numpy as np
import pytest

from analysis.plots_rsa import plot_rdm


def test_a_matrix_is_symmetric_with_a_blank_diagonal():
    ax = plot_rdm([3.0, 1.0, 2.0], ranks=False, title="IT")
    shown = np.asarray(ax.images[0].get_array())
    assert np.isnan(shown.diagonal()).all()
    assert [shown[0, 1], shown[2, 0], shown[1, 2]] == [3.0, 1.0, 2.0]
    assert ax.get_title(loc="left") == "IT"


def test_ranks_run_from_alike_to_different_and_ties_share_one():
    shown = np.asarray(plot_rdm([5.0, 900.0, 5.0]).images[0].get_array())
    assert [shown[0, 1], shown[0, 2], shown[1, 2]] == [0.25, 1.0, 0.25]


def test_stimuli_are_sorted_by_group_with_lines_between():
    ax = plot_rdm([1.0, 2.0, 3.0], groups=["b", "a", "b"], ranks=False)
    shown = np.asarray(ax.images[0].get_array())
    assert shown[0, 1] == 2.0  # the first and the third stimulus
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "a"]
    assert len(ax.lines) == 2


def test_an_undefined_pair_is_blank():
    shown = np.asarray(plot_rdm([1.0, np.nan, 3.0]).images[0].get_array())
    assert np.isnan(shown[0, 2])
    assert [shown[0, 1], shown[1, 2]] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("rdm", "groups", "message"),
    [
        ([1.0, 2.0], None, "cannot have 2 dissimilarities"),
        ([1.0, 2.0, 3.0], ["a"], "1 entries for 3 stimuli"),
        ([[1.0]], None, "`rdm`"),
    ],
)
def test_what_is_no_condensed_matrix_is_told(rdm, groups, message):
    with pytest.raises(ValueError, match=message):
        plot_rdm(rdm, groups=groups)
