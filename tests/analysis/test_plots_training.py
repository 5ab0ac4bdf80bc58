"""Learning curves show the table, the best epochs and the baselines."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.plot_style import GREY, HUMAN_COLOUR, PALETTE
from analysis.plots_training import _apart, plot_learning_curves

NAN = float("nan")


def run(val, *, best=None, **columns):
    """Curves of one training: the loss is 0.5 below the validation of `top`."""
    n = len(val)
    epoch = np.arange(n)
    if best is None:
        best = int(np.nanargmin(val))
    return pd.DataFrame(
        {
            "epoch": epoch,
            "step": 10 * (epoch + 1),
            "learning_rate": 1e-4,
            "loss": np.linspace(4.0, 2.0, n),
            "grad_norm": 1.0,
            "val_nats": np.asarray(val, float),
            "best": epoch == best,
            **columns,
        }
    )


ONE = run([4.2, 3.0, 3.5])
FOLDS = pd.concat([run([4.2, 3.0, 3.5], fold="0"), run([4.0, 3.6, 3.1], fold="1")])


def draw(ax):
    """Render to pixels: layout and glyphs raise here if they can."""
    ax.figure.savefig(io.BytesIO(), format="png", dpi=50)


def colour_of(artist):
    return to_hex(artist.get_color()).upper()


def legend_of(ax):
    return [text.get_text() for text in ax.figure.legends[0].get_texts()]


def lines_of(ax, kind):
    """Lines of a kind: "full", "dots", or "broken" for the others."""
    kinds = {"-": "full", "None": "dots"}
    return [x for x in ax.get_lines() if kinds.get(x.get_linestyle(), "broken") == kind]


def test_pyplot_is_not_touched_and_given_axes_are_drawn_on():
    before = pyplot.get_fignums()
    axes = Figure(figsize=(9, 4), layout="constrained").subplots(1, 2)[0]
    assert plot_learning_curves(ONE, ax=axes) is axes
    draw(axes)
    draw(plot_learning_curves(ONE))
    assert pyplot.get_fignums() == before


def test_the_table_is_not_altered():
    before = FOLDS.copy()
    plot_learning_curves(FOLDS.iloc[::-1], baselines={"chance": 4.0})
    pd.testing.assert_frame_equal(FOLDS, before)


def test_training_loss_validation_and_best_epoch_are_drawn():
    ax = plot_learning_curves(ONE.iloc[::-1], title="OAT")
    (loss,), (val,), (best,) = (lines_of(ax, k) for k in ("broken", "full", "dots"))
    assert loss.get_xydata().tolist() == [[0, 4], [1, 3], [2, 2]]
    assert val.get_xydata().tolist() == [[0, 4.2], [1, 3.0], [2, 3.5]]
    assert best.get_xydata().tolist() == [[1, 3.0]]
    assert {colour_of(line) for line in ax.get_lines()} == {PALETTE[0]}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Epoch", "nats per token")
    assert ax.get_title(loc="left") == "OAT"
    assert legend_of(ax) == ["validation", "training loss", "best: epoch 1, 3.000"]
    draw(ax)


def test_the_best_epoch_is_the_one_that_is_marked_so():
    ax = plot_learning_curves(run([4.2, 3.0, 3.5], best=2))
    assert lines_of(ax, "dots")[0].get_xydata().tolist() == [[2, 3.5]]
    none = plot_learning_curves(run([4.2, 3.0], best=-1))
    assert legend_of(none) == ["validation", "training loss"]
    draw(none)


def test_another_monitor_is_drawn_without_the_training_loss():
    table = ONE.drop(columns="loss").assign(val_ss=[0.1, 0.4, 0.3])
    ax = plot_learning_curves(
        table, monitor="val_ss", label="sequence score", training=False
    )
    (val,) = lines_of(ax, "full")
    assert val.get_ydata().tolist() == [0.1, 0.4, 0.3]
    assert ax.get_ylabel() == "sequence score"
    assert lines_of(ax, "broken") == []
    assert "training loss" not in legend_of(ax)


def test_epochs_without_validation_are_passed_over():
    ax = plot_learning_curves(run([4.0, NAN, 3.0, NAN]))
    assert lines_of(ax, "full")[0].get_xydata().tolist() == [[0, 4.0], [2, 3.0]]
    assert len(lines_of(ax, "broken")[0].get_xydata()) == 4
    draw(ax)


@pytest.mark.parametrize("table", [ONE.iloc[:1], ONE.assign(val_nats=NAN)])
def test_one_epoch_and_no_validation_are_drawn(table):
    ax = plot_learning_curves(table)
    assert all(line.get_marker() != "None" for line in ax.get_lines()) is (
        len(table) == 1
    )
    draw(ax)


@pytest.mark.parametrize("groups", [None, "fold"])
def test_folds_are_thin_lines_of_one_colour(groups):
    ax = plot_learning_curves(FOLDS, groups=groups)
    full = lines_of(ax, "full")
    assert [line.get_ydata().tolist() for line in full] == [
        [4.2, 3.0, 3.5],
        [4.0, 3.6, 3.1],
    ]
    assert {colour_of(line) for line in ax.get_lines()} == {PALETTE[0]}
    alone = lines_of(plot_learning_curves(ONE), "full")[0]
    assert max(line.get_linewidth() for line in full) < alone.get_linewidth()
    assert [d.get_xdata().tolist() for d in lines_of(ax, "dots")] == [[1], [2]]
    assert legend_of(ax)[-1] == "best: epochs 1 to 2"
    draw(ax)


def test_models_have_colours_and_names_and_their_folds_share_them():
    table = pd.concat([FOLDS.assign(model="net"), FOLDS.assign(model="other")])
    ax = plot_learning_curves(table, groups="model")
    colours = [colour_of(line) for line in lines_of(ax, "full")]
    assert colours == [PALETTE[0]] * 2 + [PALETTE[1]] * 2
    assert legend_of(ax)[:2] == ["net", "other"]
    handles = ax.figure.legends[0].legend_handles
    assert [colour_of(h) for h in handles] == [PALETTE[0], PALETTE[1], *[GREY] * 3]
    draw(ax)


def test_models_without_folds_have_thick_lines():
    table = pd.concat([ONE.assign(model="net"), ONE.assign(model="other")])
    ax = plot_learning_curves(table, groups="model")
    alone = lines_of(plot_learning_curves(ONE), "full")[0]
    widths = {line.get_linewidth() for line in lines_of(ax, "full")}
    assert widths == {alone.get_linewidth()}


def test_baselines_are_broken_lines_with_their_names():
    baselines = {"uniform": 4.43, "people, leave one out": 1.5}
    ax = plot_learning_curves(ONE, baselines=baselines)
    flat = [x for x in lines_of(ax, "broken") if len(set(x.get_ydata())) == 1]
    assert {x.get_ydata()[0]: colour_of(x) for x in flat} == {
        4.43: GREY,
        1.5: HUMAN_COLOUR,
    }
    assert {t.get_text(): t.xy for t in ax.texts} == {
        "people, leave one out 1.50": (1.0, 1.5),
        "uniform 4.43": (1.0, 4.43),
    }
    low, high = ax.get_ylim()
    assert low < 1.5 < 4.43 < high
    draw(ax)


@pytest.mark.parametrize("size", [None, (3.4, 3.0)])
def test_names_of_near_baselines_do_not_overlap(size):
    axes = Figure(figsize=size, layout="constrained").add_subplot() if size else None
    near = {"a": 3.5, "b": 3.5, "c": 3.51, "d": 3.4, "people": 3.45, "f": 2.0}
    ax = plot_learning_curves(ONE, baselines=near, ax=axes)
    draw(ax)
    # The extent of an annotation would hold its line too.
    centres = sorted(ax.transAxes.transform(t.xyann)[1] for t in ax.texts)
    height = ax.texts[0].get_fontsize() / 72 * ax.figure.dpi
    assert len(centres) == len(near)
    assert np.diff(centres).min() >= height


@given(
    st.lists(st.floats(0, 1), max_size=8).map(sorted),
    st.floats(0.01, 0.3),
)
def test_moved_places_keep_their_order_distance_and_mean(places, gap):
    moved = _apart(np.array(places), gap)
    assert (np.diff(moved) >= gap - 1e-9).all()
    assert len(moved) == len(places)
    if len(places):
        assert moved.mean() == pytest.approx(np.mean(places))
    if (np.diff(places) >= gap + 1e-9).all():
        np.testing.assert_allclose(moved, places, atol=1e-12)


def test_names_are_not_taken_as_mathematics():
    name = "$\\frac$ _x_ {"
    ax = plot_learning_curves(
        ONE.assign(model=name), groups="model", baselines={name: 3.3}, title=name
    )
    draw(ax)
    assert name in legend_of(ax)


def test_wrong_tables_are_told():
    with pytest.raises(ValueError, match=r"`curves` lacks the columns \['val_nat'\]"):
        plot_learning_curves(ONE, monitor="val_nat")
    with pytest.raises(ValueError, match=r"lacks the columns \['loss'\]"):
        plot_learning_curves(ONE.drop(columns="loss"))
    with pytest.raises(ValueError, match=r"lacks the columns \['fold'\]"):
        plot_learning_curves(ONE, groups="fold")
    with pytest.raises(ValueError, match="`curves` is empty"):
        plot_learning_curves(ONE.iloc[:0])
    with pytest.raises(ValueError, match=r"holds epoch 0 more than once.*`fold`"):
        plot_learning_curves(pd.concat([ONE, ONE]))
    with pytest.raises(ValueError, match=r"`baselines\['chance'\]` must be within"):
        plot_learning_curves(ONE, baselines={"chance": NAN})
