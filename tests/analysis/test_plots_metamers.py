"""Figures of metamer experiments: what is drawn where."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.abx_discrimination import proportion_correct
from analysis.plots_metamers import (
    plot_abx_curves,
    plot_critical_scales,
    plot_descent,
    plot_picture_rows,
)

SCALES = np.array([0.25, 0.5, 1.0])


def tables():
    rows, fits = [], []
    for model, subject, critical in (
        ("human", "ann", 0.3),
        ("human", "bob", np.nan),
        ("simulated 0.4", "simulated 0.4", 0.4),
    ):
        for comparison in ("original-sample", "sample-sample"):
            label = {"model": model, "subject": subject, "comparison": comparison}
            limits = {"ci_low": critical - 0.1, "ci_high": critical + 0.1}
            fits.append(
                {**label, "critical_scale": critical, **limits}
                | {"gain": 4.0, "lapse": 0.02}
            )
            rows += [
                {**label, "scale": s, "n_correct": k, "n_trials": 20}
                for s, k in zip(SCALES, (10, 14, 19), strict=True)
            ]
    return pd.DataFrame(rows), pd.DataFrame(fits)


def test_people_are_drawn_together_and_every_defined_fit_as_a_curve():
    points, fits = tables()
    ax = plot_abx_curves(points, fits, "sample-sample")
    human, simulated = (c.lines[0].get_xydata() for c in ax.containers)
    np.testing.assert_allclose(human[:, 1], [0.5, 0.7, 0.95])  # of 40 each
    assert (abs(human[:, 0] - SCALES) < 0.02).all()
    assert (human[:, 0] < simulated[:, 0]).all()
    curves = [line for line in ax.lines if len(line.get_xdata()) == 300]
    assert len(curves) == 2  # bob's is undefined
    x, y = curves[0].get_data()
    np.testing.assert_allclose(y, proportion_correct(x, 0.3, 4.0, lapse=0.02))
    labels = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert labels == ["people, n = 2", "simulated 0.4"]
    ax.figure.draw_without_rendering()


def test_every_observer_has_a_row_and_the_undefined_say_so():
    _, fits = tables()
    means = fits.iloc[:1].assign(subject="mean of people", critical_scale=0.31)
    ax = plot_critical_scales(fits, means=means)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == ["ann", "bob", "mean of people", "simulated 0.4"]
    assert [text.get_text() for text in ax.texts] == ["undefined"] * 2
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    values = [float(line.get_xdata()[0]) for line in marks]
    np.testing.assert_allclose(values, [0.3, np.nan, 0.31, 0.4])
    assert marks[2].get_markersize() > marks[0].get_markersize()
    ax.figure.draw_without_rendering()


def test_undefined_scales_alone_are_drawn():
    _, fits = tables()
    ax = plot_critical_scales(fits[fits["subject"] == "bob"])
    assert len(ax.texts) == 2
    ax.figure.draw_without_rendering()


def test_samples_descend_in_the_colour_of_their_scale():
    curves = pd.DataFrame(
        {
            "stimulus_id": ["a", "a", "b", "b", "c", "c"],
            "scale": [0.3, 0.3, 0.3, 0.3, 0.6, 0.6],
            "step": [0, 1] * 3,
            "loss": [1.0, 0.1, 2.0, 0.2, 3.0, 0.3],
        }
    )
    ax = plot_descent(curves)
    assert [line.get_ydata().tolist() for line in ax.lines] == [
        [1.0, 0.1],
        [2.0, 0.2],
        [3.0, 0.3],
    ]
    colours = [line.get_color() for line in ax.lines]
    assert colours[0] == colours[1] != colours[2]
    assert ax.get_yscale() == "log"
    with pytest.raises(ValueError, match="`curves` has no rows"):
        plot_descent(curves[:0])


def test_pictures_stand_in_rows_with_gaps():
    picture = np.zeros((4, 6, 3), np.uint8)
    figure = plot_picture_rows(
        [[picture, picture], [None, picture]],
        [["one", "two"], ["", "three"]],
        fixation_px=(3, 2),
    )
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title(loc="left") for ax in shown] == ["one", "two", "three"]
    assert shown[0].images[0].get_extent() == [0, 6, 4, 0]
    assert shown[0].lines[0].get_xydata().tolist() == [[3, 2]]
    figure.draw_without_rendering()
    with pytest.raises(ValueError, match="must be rows of one length"):
        plot_picture_rows([[picture], [picture, picture]], [["a"], ["b", "c"]])


def test_arguments_that_do_not_fit_are_refused():
    points, fits = tables()
    with pytest.raises(ValueError, match="`comparison` must be one of"):
        plot_abx_curves(points, fits, "a-b")
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_abx_curves(points.drop(columns="n_trials"), fits, "sample-sample")
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_critical_scales(fits.drop(columns="ci_low"))


def test_figures_are_drawn_on_given_axes():
    points, fits = tables()
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    drawn = [
        plot_abx_curves(points, fits, "sample-sample", ax=axes[0], title="Here"),
        plot_critical_scales(fits, ax=axes[1], title="There"),
    ]
    assert [ax.figure for ax in drawn] == [figure] * 2
    assert drawn[0].get_title(loc="left") == "Here"
    figure.draw_without_rendering()
