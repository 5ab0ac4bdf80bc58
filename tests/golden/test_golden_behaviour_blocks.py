"""Block figures against an independent enumeration: everything exact.

Centres and extents are multiples of 0.2, compared within 1e-12 for their binary form.
"""

import json
from fnmatch import fnmatch

import numpy as np
import pytest

from stimuli.block_figures import (
    CUBE_SIDE,
    arm_lengths,
    cube_cells,
    cube_centres,
    is_chiral,
    mirror_shape,
    reverse_shape,
    shape_extent,
)
from stimuli.block_survey import enumerate_shapes

FAMILY = "behaviour"
PATTERNS = ("metzler_shapes.json",)
CONVENTION = (
    "l=-x r=+x d=-y u=+y b=-z f=+z; cube side 2; centroid of the 10 centres at origin"
)


def find_cases(folder):
    """List (id, checker, arguments): the convention, the counts, and every shape."""
    cases = []
    for path in sorted(folder.iterdir()):
        if not any(fnmatch(path.name, pattern) for pattern in PATTERNS):
            continue
        about = json.loads(path.read_text(encoding="utf-8"))
        known = {"convention", "counts", "shapes"}
        assert set(about) <= known, f"{path} has {sorted(set(about) - known)}"
        if "convention" in about:
            cases.append(("convention", check_convention, (about["convention"],)))
        if "counts" in about:
            cases.append(("counts", check_counts, (about["counts"],)))
        cases += [
            (f"{n}-{expected['shape']}", check_shape_numbers, (expected,))
            for n, expected in enumerate(about.get("shapes", []))
        ]
    return cases


def check_unknown(path):
    pytest.fail(f"{path} holds no block figures")


def test_golden_result(golden_case):
    _, checker, arguments = golden_case
    checker(*arguments)


def check_convention(text):
    assert text == CONVENTION
    assert CUBE_SIDE == 2
    for part in CONVENTION.split(";")[0].split():
        letter, _, (sign, axis) = part.partition("=")
        step = cube_centres(letter)[1] - cube_centres(letter)[0]
        expected = np.zeros(3)
        expected["xyz".index(axis)] = 2.0 if sign == "+" else -2.0
        np.testing.assert_array_equal(step, expected)


def check_counts(expected):
    survey = enumerate_shapes()
    found = {
        "all_walks_3_elbows": survey.n_walks,
        "self_intersecting": survey.n_crossing,
        "distinct_up_to_rotation_and_reversal": len(survey.objects),
        "chiral": survey.n_chiral,
        "chiral_mirror_pairs": survey.n_mirror_pairs,
    }
    assert found == expected


def check_shape_numbers(expected):
    shape = expected["shape"]
    close = {"rtol": 0, "atol": 1e-12}
    np.testing.assert_allclose(
        cube_centres(shape)[:3], expected["centres_first3"], **close
    )
    np.testing.assert_allclose(shape_extent(shape), expected["extent"], **close)
    found = {
        "n_unique": len(np.unique(cube_cells(shape), axis=0)),
        "reverse": reverse_shape(shape),
        "mirror_xy": mirror_shape(shape),
        "chiral": is_chiral(shape),
        "arms": arm_lengths(shape),
    }
    rest = {k: v for k, v in expected.items() if k not in ("centres_first3", "extent")}
    assert {"shape": shape, **found} == rest
