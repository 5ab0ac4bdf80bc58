"""Maps on the cortical surface, looked at pixel by pixel."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from analysis.brain_colours import cortex_colours, make_colour_scale
from analysis.plot_style import PALETTE
from analysis.surface import VIEWS, plot_cortex_map
from analysis.surface_mesh import N_VERTICES, load_cortex

UNDEFINED = {h: np.full(N_VERTICES, np.nan) for h in ("lh", "rh")}


@pytest.fixture(scope="module")
def cortex():
    return load_cortex()


@pytest.fixture(scope="module")
def smooth(cortex):
    """Values that hardly differ between neighbours: millimetres on the pial surface."""
    return {h: cortex[h].surfaces["inflated"][:, 1].astype(float) for h in ("lh", "rh")}


def panels(figure):
    return {ax.get_label(): ax for ax in figure.axes}


def render(figure, dpi=100):
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def pixels_of(figure, name, image=None):
    """The part of a picture that belongs to one axes."""
    image = render(figure) if image is None else image
    box = panels(figure)[name].get_window_extent()
    rows = slice(round(len(image) - box.y1), round(len(image) - box.y0))
    return image[rows, round(box.x0) : round(box.x1)]


def is_coloured(picture):
    return np.ptp(picture, axis=2) > 0.2


def nearest_vertex(mesh, hemisphere, view):
    """The vertex that is nearest to the viewer of the inflated surface."""
    x, y, z = mesh.surfaces["inflated"].T
    outwards = -x if hemisphere == "lh" else x
    near = {
        "lateral": outwards,
        "medial": -outwards,
        "ventral": -z,
        "dorsal": z,
        "posterior": -y,
        "anterior": y,
    }[view]
    return int(np.argmax(near))


@pytest.mark.parametrize("hemisphere", ["lh", "rh"])
@pytest.mark.parametrize("view", [v for v in VIEWS if v != "flat"])
def test_the_vertex_nearest_to_the_viewer_has_the_colour_of_its_value(
    cortex, hemisphere, view
):
    mesh = cortex[hemisphere]
    vertex = nearest_vertex(mesh, hemisphere, view)
    maps = {h: np.zeros(N_VERTICES) for h in ("lh", "rh")}
    maps[hemisphere][vertex] = 1.0
    figure = plot_cortex_map(
        maps, views=[view], hemispheres=[hemisphere], cmap="viridis", cortex=cortex
    )
    picture = pixels_of(figure, f"{hemisphere} {view}", render(figure, 250))
    high = np.abs(picture - mpl.colormaps["viridis"](1.0)[:3]).max(axis=2) < 0.01
    low = np.abs(picture - mpl.colormaps["viridis"](0.0)[:3]).max(axis=2) < 0.01
    # One cell of it, in one piece, and all else is the colour of 0.
    assert 15 <= high.sum() <= 400
    rows, columns = np.nonzero(high)
    assert np.ptp(rows) < 30
    assert np.ptp(columns) < 30
    background = (picture == 1).all(axis=2)
    assert (high | low | background).mean() > 0.999


# Where the occipital pole lies: sign of x and of y on the screen, 0 for the middle.
SIDES = {
    "lateral": (1, 0),
    "medial": (-1, 0),
    "ventral": (1, 0),
    "dorsal": (1, 0),
    "flat": (1, 0),
}


@pytest.mark.parametrize("view", SIDES)
def test_the_back_of_the_brain_lies_on_the_right_side(cortex, view):
    y = {h: cortex[h].surfaces["inflated"][:, 1] for h in ("lh", "rh")}
    maps = {h: np.where(v < -60, 1.0, np.nan) for h, v in y.items()}
    figure = plot_cortex_map(
        maps, views=[view], cmap="autumn", vmin=0, vmax=2, cortex=cortex
    )
    image = render(figure)
    for h, mirror in (("lh", 1), ("rh", -1)):
        picture = pixels_of(figure, f"{h} {view}", image)
        columns = np.nonzero(is_coloured(picture))[1] / picture.shape[1] - 0.5
        assert mirror * SIDES[view][0] * columns.mean() > 0.2


@pytest.mark.parametrize(
    ("view", "axis", "sign", "side"),
    [
        ("lateral", 2, 1, "up"),
        ("medial", 2, 1, "up"),
        ("posterior", 2, 1, "up"),
        ("anterior", 2, 1, "up"),
        ("ventral", 0, "outwards", "up"),
        ("dorsal", 0, "outwards", "down"),
        ("posterior", 0, 1, "right"),
        ("anterior", 0, 1, "left"),
    ],
)
def test_up_and_sideways_are_those_of_anatomy(cortex, view, axis, sign, side):
    maps = {}
    for h in ("lh", "rh"):
        turn = {"outwards": -1 if h == "lh" else 1}.get(sign, sign)
        along = turn * cortex[h].surfaces["inflated"][:, axis]
        maps[h] = np.where(along > np.quantile(along, 0.8), 1.0, np.nan)
    figure = plot_cortex_map(
        maps, views=[view], cmap="autumn", vmin=0, vmax=2, cortex=cortex
    )
    image = render(figure)
    for h in ("lh", "rh"):
        picture = pixels_of(figure, f"{h} {view}", image)
        rows, columns = np.nonzero(is_coloured(picture))
        offsets = {
            "up": 0.5 - rows.mean() / picture.shape[0],
            "down": rows.mean() / picture.shape[0] - 0.5,
            "right": columns.mean() / picture.shape[1] - 0.5,
            "left": 0.5 - columns.mean() / picture.shape[1],
        }
        assert offsets[side] > 0.12


def test_undefined_vertices_show_grey_cortex_with_darker_sulci(cortex):
    figure = plot_cortex_map(UNDEFINED, cortex=cortex)
    image = render(figure)
    for name in ("lh lateral", "rh medial", "lh ventral", "rh posterior"):
        picture = pixels_of(figure, name, image)
        assert not is_coloured(picture).any()
        greys = picture[(picture < 0.99).all(axis=2)][:, 0]
        assert np.quantile(greys, 0.1) == pytest.approx(0.55, abs=0.02)
        assert np.quantile(greys, 0.9) == pytest.approx(0.77, abs=0.02)
    texts = [t.get_text() for t in figure.findobj(mpl.text.Text)]
    assert "grey: undefined" in texts
    scale = make_colour_scale([0.0, 1])
    gyrus, middle, sulcus = cortex_colours(scale, [np.nan] * 3, [-0.5, 0, 0.5])
    assert gyrus[0] > middle[0] > sulcus[0]


def test_a_single_undefined_vertex_is_not_filled_by_its_neighbours(cortex):
    vertex = nearest_vertex(cortex.lh, "lh", "lateral")
    maps = {"lh": np.ones(N_VERTICES)}
    maps["lh"][vertex] = np.nan
    figure = plot_cortex_map(
        maps, views=["lateral"], hemispheres=["lh"], cmap="autumn", cortex=cortex
    )
    picture = pixels_of(figure, "lh lateral", render(figure, 250))
    grey = (np.ptp(picture, axis=2) < 0.01) & (picture[..., 0] < 0.99)
    assert 15 <= grey.sum() <= 400


def test_values_of_zero_are_not_taken_for_undefined(cortex):
    figure = plot_cortex_map(
        {h: np.zeros(N_VERTICES) for h in ("lh", "rh")},
        views=["lateral"],
        cortex=cortex,
    )
    picture = pixels_of(figure, "lh lateral")
    drawn = (picture < 0.99).any(axis=2)
    assert is_coloured(picture)[drawn].mean() > 0.99


def test_exchanged_hemispheres_give_another_picture(cortex, smooth):
    one = {"lh": smooth["lh"], "rh": -smooth["rh"]}
    other = {"lh": one["rh"], "rh": one["lh"]}
    first, second = (
        render(plot_cortex_map(m, views=["lateral"], cortex=cortex))
        for m in (one, other)
    )
    assert first.shape == second.shape
    assert (np.abs(first - second).max(axis=2) > 0.1).mean() > 0.2


def test_both_hemispheres_share_one_scale(cortex, smooth):
    maps = {"lh": smooth["lh"], "rh": 3 * smooth["rh"]}
    figure = plot_cortex_map(maps, views=["dorsal"], label="r", cortex=cortex)
    bar = panels(figure)["colour bar"]
    both = np.concatenate(list(maps.values()))
    assert bar.get_ylim() == pytest.approx((both.min(), both.max()))
    assert bar.get_ylabel() == "r"
    alone = plot_cortex_map(maps, views=["dorsal"], hemispheres=["lh"], cortex=cortex)
    limits = panels(alone)["colour bar"].get_ylim()
    assert limits == pytest.approx((maps["lh"].min(), maps["lh"].max()))
    assert not [name for name in panels(alone) if name.startswith("rh")]


def test_panels_have_one_scale_of_length(cortex):
    figure = plot_cortex_map(UNDEFINED, views=VIEWS, hemispheres=["rh"], cortex=cortex)
    for name, ax in panels(figure).items():
        if name == "colour bar":
            continue
        box = ax.get_window_extent()
        px_per_mm = (
            box.width / np.ptp(ax.get_xlim()),
            box.height / np.ptp(ax.get_ylim()),
        )
        assert px_per_mm == pytest.approx((1.15, 1.15), rel=0.01)


# ------------------------------------------------------------------ outlines


@pytest.fixture(scope="module")
def patches(cortex):
    """A patch at the side and one at the medial wall of the left hemisphere."""
    x = cortex.lh.surfaces["inflated"][:, 0]
    none = np.zeros(N_VERTICES, bool)
    return {
        "side": {"lh": x < np.quantile(x, 0.05), "rh": none},
        "middle": {"lh": x > np.quantile(x, 0.95), "rh": none},
    }


def lines_of(ax):
    return [c for c in ax.collections if isinstance(c, LineCollection)]


def test_outlines_are_seen_only_from_their_side(cortex, patches):
    figure = plot_cortex_map(
        UNDEFINED, views=["lateral", "medial"], outlines=patches, cortex=cortex
    )
    n_segments = {
        name: [len(c.get_segments()) for c in lines_of(ax)]
        for name, ax in panels(figure).items()
        if name != "colour bar"
    }
    side, middle = n_segments["lh lateral"]
    assert side > 40
    assert middle == 0
    assert n_segments["lh medial"][0] == 0
    assert n_segments["lh medial"][1] > 40
    assert n_segments["rh lateral"] == n_segments["rh medial"] == [0, 0]


def test_an_outline_behind_other_cortex_is_hidden(cortex):
    # The insula looks to the side, but lies below the opercula.
    place = cortex.lh.surfaces["pial"] - np.array([-37, 2, 2])
    insula = {"insula": {"lh": np.linalg.norm(place, axis=1) < 9}}
    n_seen = {}
    for surface in ("inflated", "pial"):
        figure = plot_cortex_map(
            UNDEFINED,
            views=["lateral"],
            hemispheres=["lh"],
            surface=surface,
            outlines=insula,
            cortex=cortex,
        )
        (lines,) = lines_of(panels(figure)["lh lateral"])
        n_seen[surface] = len(lines.get_segments())
    assert n_seen["inflated"] > 40
    assert n_seen["pial"] < 0.1 * n_seen["inflated"]


def test_an_outline_runs_along_the_border_of_its_region(cortex, patches):
    figure = plot_cortex_map(
        UNDEFINED,
        views=["lateral"],
        hemispheres=["lh"],
        outlines={"side": patches["side"]},
        cortex=cortex,
    )
    (lines,) = lines_of(panels(figure)["lh lateral"])
    points = np.concatenate(lines.get_segments())
    _, y, z = cortex.lh.surfaces["inflated"].T
    faces, mask = cortex.lh.faces, patches["side"]["lh"]
    mixed = faces[np.isin(mask[faces].sum(axis=1), (1, 2))]
    border = np.stack([-y, z], axis=1)[np.unique(mixed)]
    away = np.linalg.norm(points[:, None] - border[None], axis=2).min(axis=1)
    assert away.max() < 3
    # All around: every border vertex is near some point of the line.
    near = np.linalg.norm(points[:, None] - border[None], axis=2).min(axis=0)
    assert near.max() < 4


def test_each_region_has_its_colour_in_map_and_legend(cortex, patches):
    figure = plot_cortex_map(
        UNDEFINED, views=["lateral"], outlines=patches, cortex=cortex
    )
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["side", "middle"]
    drawn = [to_rgb(c.get_color()[0]) for c in lines_of(panels(figure)["lh lateral"])]
    listed = [to_rgb(line.get_color()) for line in legend.get_lines()]
    assert drawn == listed == [to_rgb(c) for c in PALETTE[:2]]


def test_the_legend_covers_no_panel_and_reads_line_by_line(cortex, patches):
    names = [f"region {i}" for i in range(9)]
    figure = plot_cortex_map(
        UNDEFINED,
        views=["lateral", "flat"],
        hemispheres=["rh"],
        outlines={n: patches["side"] for n in names},
        cortex=cortex,
    )
    render(figure)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    for name, ax in panels(figure).items():
        assert ax.get_window_extent().y0 >= box.y1 - 1, name
    assert box.y0 >= 0
    texts = sorted(
        legend.get_texts(),
        key=lambda t: (-round(t.get_window_extent().y0), t.get_window_extent().x0),
    )
    assert [t.get_text() for t in texts] == names


def test_more_than_twelve_outlines_are_refused(cortex, patches):
    many = {f"region {i}": patches["side"] for i in range(13)}
    with pytest.raises(ValueError, match=r"At most 12 outlines .* got 13"):
        plot_cortex_map(UNDEFINED, outlines=many, cortex=cortex)


# ------------------------------------------------------- scales, marks, errors


def test_values_below_the_threshold_are_grey_in_map_and_bar(cortex, smooth):
    figure = plot_cortex_map(
        smooth, views=["lateral"], symmetric=True, threshold=50, vmax=80, cortex=cortex
    )
    image = render(figure)
    picture = pixels_of(figure, "lh lateral", image)
    drawn = (picture < 0.97).any(axis=2)
    shares = is_coloured(picture)[drawn].mean()
    y = smooth["lh"][cortex.lh.surfaces["inflated"][:, 0] < 0]
    assert shares == pytest.approx((np.abs(y) > 50).mean(), abs=0.15)
    bar = pixels_of(figure, "colour bar", image)
    middle = bar[len(bar) // 2 - 3 : len(bar) // 2 + 3, 2:-2]
    assert not is_coloured(middle).any()
    texts = [t.get_text() for t in figure.findobj(mpl.text.Text)]
    assert "grey: undefined\nor nearer to 0\nthan 50" in texts


def test_a_simulated_map_is_marked(cortex):
    figure = plot_cortex_map(
        UNDEFINED,
        views=["lateral"],
        title="A $\\x$ title",
        note="simulated data",
        cortex=cortex,
    )
    render(figure)
    note = next(t for t in figure.texts if t.get_text() == "simulated data")
    box = note.get_window_extent()
    assert note.get_bbox_patch().get_edgecolor()[:3] == to_rgb(PALETTE[1])
    width, height = figure.get_size_inches() * figure.dpi
    assert 0 < box.x0 < box.x1 < width
    assert max(ax.get_window_extent().y1 for ax in figure.axes) < box.y0 < height


@pytest.mark.parametrize(
    ("values", "call", "limits", "extend"),
    [
        ([0.0, 2, 5], {}, (0, 5), "neither"),
        ([0.0, 2, np.nan, np.inf], {}, (0, 2), "neither"),
        ([-1.0, 3], {"symmetric": True}, (-3, 3), "neither"),
        ([-1.0, 3], {"symmetric": True, "vmax": 2}, (-2, 2), "max"),
        ([-1.0, 3], {"vmin": 0, "vmax": 1}, (0, 1), "both"),
        ([-1.0, 3], {"vmin": 0}, (0, 3), "min"),
        ([2.0, 2], {}, (1.5, 2.5), "neither"),
        ([np.nan], {}, (0, 1), "neither"),
        ([0.0], {"symmetric": True}, (-0.5, 0.5), "neither"),
    ],
)
def test_the_ends_of_a_scale_follow_from_the_values(values, call, limits, extend):
    scale = make_colour_scale(values, **call)
    assert (scale.norm.vmin, scale.norm.vmax) == limits
    assert scale.extend == extend


def test_colours_are_transparent_where_nothing_is_shown():
    scale = make_colour_scale([-1.0, 1], threshold=0.5, cmap="viridis")
    colours = scale.colours([-1, -0.2, np.nan, 0.5, 1])
    assert colours[:, 3].tolist() == [1, 0, 0, 1, 1]
    np.testing.assert_array_equal(colours[-1], mpl.colormaps["viridis"](1.0))
    assert scale.shown([np.nan, 0.4, -0.6]).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ({"vmin": 1, "vmax": 1}, "must lie below"),
        ({"vmin": 2, "vmax": 1}, "must lie below"),
        ({"vmin": 9}, "must lie below"),
        ({"vmax": np.nan}, "`vmax`"),
        ({"symmetric": True, "vmin": -1}, "`vmin` follows"),
        ({"symmetric": True, "vmax": -1}, "must lie below"),
        ({"threshold": -1}, "`threshold`"),
        ({"cmap": "virids"}, "no colour map"),
    ],
)
def test_scales_that_make_no_sense_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        make_colour_scale([0.0, 1.0], **call)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ({"maps": {"lh": np.zeros(163_842)}, "hemispheres": ["lh"]}, "to_fsaverage5"),
        ({"maps": {"lh": np.zeros(N_VERTICES)}}, r"no values of \['rh'\]"),
        ({"views": ["front"]}, "`views` must be one of"),
        ({"views": []}, "at least one"),
        ({"hemispheres": ["left"]}, "`hemispheres`"),
        ({"surface": "sphere"}, "`surface`"),
        ({"outlines": {"V1": {"lh": np.zeros(3), "rh": np.zeros(3)}}}, "outlines"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_drawn(call, match):
    with pytest.raises(ValueError, match=match):
        plot_cortex_map(**{"maps": UNDEFINED, **call})
