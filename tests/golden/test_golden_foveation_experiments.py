"""Stimuli and scores of the two-stage experiments against published recipes.

Frequency filters: at most 1 grey level on fewer than 0.1 % of values; masks and
pairings exact; cross-over points 1e-9. See the family's README.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.cue_conflict import cross_over
from stimuli.cue_conflict import published_pairs
from stimuli.frequency_filters import filter_frequencies
from stimuli.occluders import (
    KINDS,
    occlusion_levels,
    occlusion_mask,
    square_half_px,
)

FAMILY = "foveation"
KINDS_OF_FILES = {
    "spatial_frequency": ("check_frequencies", ".npz"),
    "occlusion_masks": ("check_masks", ".npz"),
    "occlusion_levels": ("check_levels", ".json"),
    "square_conflict": ("check_pairs", ".npz"),
    "crossover": ("check_cross_over", ".json"),
}
# What of the family is handled here; other files have tests of their own.
PATTERNS = ("spatial_frequency*", "occlusion*", "square_conflict*", "crossover*")


def find_cases(folder):
    """List (id, checker, arguments) for the files of this part."""
    cases = []
    for path in sorted({p for pattern in PATTERNS for p in folder.glob(pattern)}):
        kind = next((k for k in KINDS_OF_FILES if path.name.startswith(k)), None)
        name, suffix = KINDS_OF_FILES.get(kind, ("check_unknown", path.suffix))
        checker = globals()[name] if path.suffix == suffix else check_unknown
        if checker is check_cross_over:
            cases += [
                (f"{path.stem}-{i}", checker, (case,))
                for i, case in enumerate(json.loads(path.read_text()))
            ]
        else:
            cases.append((path.name, checker, (path,)))
    return cases


def check_unknown(path):
    pytest.fail(f"{path} is not of the form that the README describes")


def test_golden_file(golden_case):
    _, checker, arguments = golden_case
    checker(*arguments)


def read(path):
    with np.load(Path(path)) as file:
        return {name: file[name] for name in file.files}


def check_frequencies(path):
    arrays = read(path)
    image, mean = arrays.pop("image"), arrays.pop("mean_rgb")
    sigmas = {f: arrays.pop(f"sigma_{f}").tolist() for f in ("low", "high")}
    assert arrays, "nothing to compare"
    for name, theirs in arrays.items():
        family, *rest, level = name.split("_")
        grey = rest == ["gray"] or family == "gray"
        assert rest in ([], ["gray"]), f"not compared: {name}"
        if family == "gray":
            assert level == "1", f"not compared: {name}"
            ours = filter_frequencies(image, "low", None, grey=True)
        else:
            sigma = None if level == "1" else sigmas[family][int(level) - 2]
            ours = filter_frequencies(image, family, sigma, mean_rgb=mean, grey=grey)
        if theirs.ndim == 2:
            ours = ours[..., 0]
        apart = np.abs(ours.astype(int) - theirs)
        assert apart.max() <= 1, name
        assert (apart > 0).mean() < 1e-3, name


def check_masks(path):
    arrays = read(path)
    assert arrays
    assert set(arrays) <= set(KINDS), f"not compared: {set(arrays) - set(KINDS)}"
    for kind, packed in arrays.items():
        n_levels, size = packed.shape[:2]
        theirs = np.unpackbits(packed, axis=-1, count=size).astype(bool)
        for level in range(1, n_levels + 1):
            ours = occlusion_mask(kind, level, (size, size))
            np.testing.assert_array_equal(ours, theirs[level - 1], err_msg=kind)


def picture_size(rows):
    """Side of the picture, from a square and the share of the area that it covers."""
    for row in rows:
        if row["scotoma"] > 0:
            return round(2 * row["half_scotoma"] / row["scotoma"] ** 0.5)
        if row["glaucoma"] < 1:
            return round(2 * row["half_glaucoma"] / (1 - row["glaucoma"]) ** 0.5)
    pytest.fail("no level has a square")


def check_levels(path):
    rows = json.loads(path.read_text())
    size = picture_size(rows)
    table = occlusion_levels((size, size)).set_index(["kind", "level"])
    for row in rows:
        level = row.pop("level")
        nominal = row.pop("nominal")
        for name, theirs in row.items():
            if name.startswith("half_"):
                kind = name.removeprefix("half_")
                assert square_half_px(level, size, kind=kind) == theirs
            else:
                assert table.loc[(name, level), "share"] == theirs
                assert table.loc[(name, level), "nominal_share"] == nominal


def check_pairs(path):
    arrays = read(path)
    n_classes = int(arrays["base_class"].max())
    numbers = arrays["image_number"][arrays["base_class"] == 1].tolist()
    ours = published_pairs(n_classes, numbers)
    assert set(arrays) == set(ours.columns)
    for name, theirs in arrays.items():
        np.testing.assert_array_equal(ours[name], theirs, err_msg=name)


def check_cross_over(case):
    assert set(case) == {"x", "peripheral", "foveal", "crossover"}
    found = cross_over(case["x"], case["peripheral"], case["foveal"], ties="published")
    if case["crossover"] is None:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(case["crossover"], abs=1e-9)
