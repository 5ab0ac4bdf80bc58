"""Cue conflict with filled and with synthesised textures."""

import numpy as np
import pytest

from stimuli.shape_texture import (
    generated_shapes,
    generated_textures,
    make_shape_texture_set,
)
from tasks.cue_conflict_pictures import make_cue_conflict


@pytest.fixture(scope="module")
def parts():
    shapes, textures = generated_shapes(size_px=64), generated_textures(size_px=64)
    return (
        {name: shapes[name] for name in ("cat1", "truck1")},
        {name: textures[name] for name in ("bear1", "truck1")},
    )


def test_filled_masks_are_those_of_the_library(parts):
    made = make_cue_conflict(*parts)
    plain = make_shape_texture_set(*parts)
    assert (made.table["method"] == "mask_fill").all()
    for i in range(4):
        np.testing.assert_array_equal(made.load(i), plain.load(i))


def test_synthesised_textures_lie_inside_the_mask_with_the_exemplar_s_colours(parts):
    shapes, textures = parts
    made = make_cue_conflict(shapes, textures, method="texture_synthesis", n_steps=1)
    assert made.table["stimulus_id"].tolist() == [
        *("cat1-bear1", "cat1-truck1", "truck1-bear1", "truck1-truck1")
    ]
    assert made.table["conflict"].tolist() == [True, True, True, False]
    for i, row in enumerate(made.table.to_dict("records")):
        shown, mask = made.load(i), shapes[row["shape"]]
        assert (shown[~mask] == 194).all()
        mean = shown[mask].mean(axis=0) / 255
        np.testing.assert_allclose(
            mean, textures[row["texture"]].mean(axis=(0, 1)), atol=0.12
        )
    # What others are in the set does not matter.
    bears = {"bear1": textures["bear1"]}
    again = make_cue_conflict(shapes, bears, method="texture_synthesis", n_steps=1)
    np.testing.assert_array_equal(made.load(0), again.load(0))
    # Each shape gets another place of one texture.
    both = shapes["cat1"] & shapes["truck1"]
    assert (made.load(0)[both] != made.load(2)[both]).any()


def test_sizes_that_cannot_be_synthesised_are_refused_at_once(parts):
    shapes, textures = parts
    cut = {"bear1": textures["bear1"][:50]}
    with pytest.raises(ValueError, match="that 8 divides"):
        make_cue_conflict(shapes, cut, method="texture_synthesis")
    with pytest.raises(ValueError, match="method"):
        make_cue_conflict(shapes, textures, method="stylise")
    with pytest.raises(ValueError, match="n_steps"):
        make_cue_conflict(shapes, textures, method="texture_synthesis", n_steps=0)
