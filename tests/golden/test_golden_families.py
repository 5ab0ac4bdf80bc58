"""What lies in the golden folder is either checked or named as not yet supported."""

import os
from pathlib import Path

import pytest

SUPPORTED = ("eccnet", "encoding", "scanpath")
PLANNED = ("behaviour", "foveation")


def test_the_golden_folder_holds_a_family(golden):
    if golden is None:
        if os.environ.get("NEUROVIS_REQUIRE_DATA") == "1":
            pytest.fail("no golden folder: give --golden DIR or NEUROVIS_GOLDEN")
        pytest.skip("no golden folder: give --golden DIR or NEUROVIS_GOLDEN")
    found = {p.name for p in Path(golden).iterdir() if p.is_dir()}
    assert found & {*SUPPORTED, *PLANNED}, f"{golden} holds no family of golden files"


def test_family_is_known(golden_family):
    if golden_family in PLANNED:
        pytest.skip(f"the golden family {golden_family} is not supported yet")
    assert golden_family in SUPPORTED
