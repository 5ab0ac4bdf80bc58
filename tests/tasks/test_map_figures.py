"""Maps of a run as figures: of volumes and surfaces, told when damaged."""

import numpy as np
import pytest

from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
from neurovis.core.errors import DataCorruptError
from tasks.encoding_maps import write_unit_maps
from tasks.map_figures import draw_map

SPACES = {
    "volume": VolumeSpace("func", (6, 7, 4), np.diag([2.0, 2.0, 2.0, 1.0])),
    "surface": SurfaceSpace("fsaverage3", (642, 642)),
    "native": SurfaceSpace("native", (100, 90)),
}
WORDS = {"label": "share", "title": "people", "note": "simulated data"}


def drawn(folder, space, values):
    values = np.asarray(values, float)
    units = SPACES[space].locate(np.arange(len(values)) * 5)
    write_unit_maps(folder, {"people": values}, units, SPACES[space])
    return draw_map(folder, "people", folder / "page.html", **WORDS)


def colour_bar(figure):
    [bar] = [ax for ax in figure.axes if ax.get_label() == "colour bar"]
    return bar.get_ylim()


def words(figure):
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("space", ["volume", "surface"])
def test_colours_begin_at_0_and_end_at_the_largest_value(tmp_path, space):
    figure = drawn(tmp_path, space, [0.2, 0.7, np.nan, 0.4])
    assert colour_bar(figure) == pytest.approx((0, 0.7))
    assert {"people", "simulated data"} <= set(words(figure))
    assert (tmp_path / "page.html").exists() == (space == "surface")


@pytest.mark.parametrize("value", [0.0, -0.3])
def test_maps_with_nothing_above_0_span_what_they_have(tmp_path, value):
    low, high = colour_bar(drawn(tmp_path, "volume", [value, value - 0.1]))
    assert low == pytest.approx(value - 0.1)
    assert high == pytest.approx(value)


@pytest.mark.parametrize("space", ["volume", "surface"])
def test_maps_without_a_defined_value_are_not_drawn(tmp_path, space):
    assert drawn(tmp_path, space, [np.nan, np.nan]) is None
    assert not (tmp_path / "page.html").exists()


def test_native_surfaces_and_missing_maps_are_not_drawn(tmp_path):
    assert drawn(tmp_path, "native", [0.5, 0.2]) is None
    assert draw_map(tmp_path, "other", tmp_path / "page.html", **WORDS) is None


@pytest.mark.parametrize(
    ("space", "name"), [("volume", "people.nii.gz"), ("surface", "rh.people.mgh")]
)
def test_damaged_maps_are_told(tmp_path, space, name):
    drawn(tmp_path, space, [np.nan, np.nan])
    file = tmp_path / name
    for content in (file.read_bytes()[:40], b"nothing of the kind"):
        file.write_bytes(content)
        with pytest.raises(DataCorruptError, match="not a readable map"):
            draw_map(tmp_path, "people", tmp_path / "page.html", **WORDS)


def test_a_hemisphere_that_is_missing_is_told(tmp_path):
    drawn(tmp_path, "surface", [np.nan, np.nan])
    (tmp_path / "rh.people.mgh").unlink()
    with pytest.raises(DataCorruptError, match=r"rh\.people\.mgh"):
        draw_map(tmp_path, "people", tmp_path / "page.html", **WORDS)
