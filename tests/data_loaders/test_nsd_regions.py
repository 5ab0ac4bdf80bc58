"""Regions of NSD: -1 outside, 0 without label, names from .ctab files."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data_loaders.nsd_regions import (
    PUBLISHED_LABELS,
    find_families,
    label_names,
    read_ctab,
    read_regions,
)
from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table, write_table
from neurovis.core.regions import region_labels, region_mask

SPACE = VolumeSpace("func1pt8mm", (2, 3, 1))
NATIVE = SurfaceSpace("nativesurface", (3, 2))
FSAVERAGE = SurfaceSpace("fsaverage", (4, 2))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "nsddata").mkdir()
    return tmp_path


def save_volume(root, name, values, shape=SPACE.shape):
    folder = root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    folder.mkdir(parents=True, exist_ok=True)
    volume = np.array(values, np.int16).reshape(shape)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / f"{name}.nii.gz")


def save_surface(root, owner, family, left, right):
    folder = root / "nsddata/freesurfer" / owner / "label"
    folder.mkdir(parents=True, exist_ok=True)
    for h, values in (("lh", left), ("rh", right)):
        array = np.array(values, np.float32)[:, None, None]
        nib.save(nib.MGHImage(array, np.eye(4)), folder / f"{h}.{family}.mgz")


def save_ctab(root, family, text, owner="subj01"):
    folder = root / "nsddata/freesurfer" / owner / "label"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{family}.mgz.ctab").write_text(text)


def save_warp(root, left, right):
    folder = root / "nsddata/ppdata/subj01/transforms"
    folder.mkdir(parents=True)
    for h, values in (("lh", left), ("rh", right)):
        array = np.array(values, np.int32)[:, None, None]
        image = nib.MGHImage(array, np.eye(4))
        nib.save(image, folder / f"{h}.white-to-fsaverage.mgz")


# --------------------------------------------------------------------- names


def test_names_are_read_line_by_line(tmp_path):
    path = tmp_path / "a.ctab"
    path.write_text("0 Unknown\n\n 2   FFA-1  25 5 25 0\n7\n1 OFA\r\n10 ecc4+\n")
    assert read_ctab(path) == {2: "FFA-1", 1: "OFA", 10: "ecc4+"}


def test_values_below_one_name_no_region(root):
    save_volume(root, "streams", [[-1, 0, 1], [2, 7, -1]])
    plain = read_regions(root, 1, SPACE)
    text = "".join(f"{v} {n}\n" for v, n in PUBLISHED_LABELS["streams"].items())
    save_ctab(root, "streams", f"-1 NotCortex\n0 Unknown\n-2 Unknown\n{text}")
    names, path = label_names(root, 1, "streams")
    assert names == dict(PUBLISHED_LABELS["streams"])
    assert read_ctab(path) == names
    found = read_regions(root, 1, SPACE)
    column = found.columns["streams"]
    # x fastest: (0,0) (1,0) (0,1) (1,1) (0,2) (1,2)
    assert list(column[1:5]) == ["midventral", "", "parietal", "early"]
    assert pd.isna(column[[0, 5]]).all()
    assert column.equals(plain.columns["streams"])
    assert found.notes == ()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1 OFA\nFFA 2\n", "whole number and a name in each line; line 2 is 'FFA 2'"),
        ("1 OFA\n1 FFA\n", "value 1 or the name 'FFA' twice .line 2"),
        ("1 OFA\n2 OFA\n", "the name 'OFA' twice"),
    ],
)
def test_damaged_names_are_corrupt(tmp_path, text, match):
    (tmp_path / "a.ctab").write_text(text)
    with pytest.raises(DataCorruptError, match=match):
        read_ctab(tmp_path / "a.ctab")


def test_published_names_have_the_published_values():
    published = {f: dict(names) for f, names in PUBLISHED_LABELS.items()}
    assert published["prf-visualrois"][7] == "hV4"
    assert published["prf-eccrois"] == {
        1: "ecc0pt5",
        2: "ecc1",
        3: "ecc2",
        4: "ecc4",
        5: "ecc4+",
    }
    assert published["floc-bodies"][4] == "mTL-bodies"
    assert published["floc-faces"][5] == "aTL-faces"
    assert published["floc-places"] == {1: "OPA", 2: "PPA", 3: "RSC"}
    assert published["floc-words"][4] == "mfs-words"
    assert list(published["streams"].values()) == [
        "early",
        "midventral",
        "midlateral",
        "midparietal",
        "ventral",
        "lateral",
        "parietal",
    ]
    kastner = published["Kastner2015"]
    picked = {n: kastner[n] for n in (7, 8, 11, 14, 15, 17, 18, 23, 24, 25)}
    assert list(picked.values()) == [
        *("hV4", "VO1", "PHC2", "LO2", "LO1"),
        *("V3a", "IPS0", "IPS5", "SPL1", "FEF"),
    ]
    assert len(kastner) == 25


def test_names_of_the_subject_come_before_those_of_fsaverage(root):
    assert label_names(root, 1, "streams")[0] == dict(PUBLISHED_LABELS["streams"])
    assert label_names(root, 1, "mine") == (None, None)
    save_ctab(root, "mine", "1 a\n", owner="fsaverage")
    assert label_names(root, 1, "mine")[0] == {1: "a"}
    save_ctab(root, "mine", "1 b\n")
    names, path = label_names(root, 1, "mine")
    assert (names, path.parent.parent.name) == ({1: "b"}, "subj01")


# ------------------------------------------------------------------- volumes


def test_labels_follow_voxels_with_x_fastest(root):
    # x 0: -1, 0, 1 along y; x 1: 2, 3, -1.
    save_volume(root, "floc-places", [[-1, 0, 1], [2, 3, -1]])
    save_ctab(root, "floc-places", "0 Unknown\n1 OPA\n2 PPA\n3 RSC\n")
    found = read_regions(root, 1, SPACE, ["floc-places"])
    column = found.columns["floc-places"]
    assert list(column[1:5]) == ["PPA", "", "RSC", "OPA"]
    assert pd.isna(column[[0, 5]]).all()
    units = SPACE.locate(np.arange(6)).assign(**{"floc-places": column})
    ppa = units[region_mask(units, ["floc-places"], "PPA")]
    assert ppa[["x", "y", "z"]].to_numpy().tolist() == [[1, 0, 0]]
    assert found.hemisphere is None
    assert found.notes == ()


def test_labels_come_in_the_order_of_their_values(root):
    save_volume(root, "prf-visualrois", [[7, 1, 4], [2, 0, -1]])
    column = read_regions(root, 1, SPACE).columns["prf-visualrois"]
    assert list(column.categories) == ["", *PUBLISHED_LABELS["prf-visualrois"].values()]
    units = pd.DataFrame({"prf-visualrois": column})
    expected = {"prf-visualrois": ["V1v", "V1d", "V2d", "hV4"]}
    assert region_labels(units, ["prf-visualrois"]) == expected
    assert region_mask(units, ["prf-visualrois"], "V1").sum() == 2


def test_labels_come_back_from_parquet_as_they_were(root, tmp_path):
    save_volume(root, "prf-visualrois", [[7, 1, 4], [2, 0, -1]])
    save_volume(root, "lh.streams", [[1, -1, -1], [0, 0, 0]])
    save_volume(root, "rh.streams", [[-1, 2, -1], [-1, -1, -1]])
    found = read_regions(root, 1, SPACE)
    units = SPACE.locate(np.arange(6)).assign(**found.columns)
    units["hemisphere"] = found.hemisphere
    write_table(tmp_path / "units.parquet", units)
    back = read_table(tmp_path / "units.parquet")
    pd.testing.assert_frame_equal(back, units)
    assert back["prf-visualrois"].dtype == units["prf-visualrois"].dtype
    some = units.iloc[[1, 5]].reset_index(drop=True)
    write_table(tmp_path / "some.parquet", some)
    pd.testing.assert_frame_equal(read_table(tmp_path / "some.parquet"), some)


def test_hemispheres_are_joined_and_told_apart(root):
    # The file of both hemispheres of HCP_MMP1 is not read.
    save_volume(root, "HCP_MMP1", [[9, 9, 9], [9, 9, 9]])
    save_volume(root, "lh.HCP_MMP1", [[18, 0, -1], [-1, -1, -1]])
    save_volume(root, "rh.HCP_MMP1", [[-1, -1, -1], [18, 126, -1]])
    found = read_regions(root, 1, SPACE, ["HCP_MMP1"])
    column = found.columns["HCP_MMP1"]
    # x fastest: (0,0) (1,0) (0,1) (1,1) (0,2) (1,2)
    assert list(column[:4]) == ["18", "18", "", "126"]
    assert pd.isna(column[4:]).all()
    assert list(found.hemisphere[:4]) == ["lh", "rh", "lh", "rh"]
    assert pd.isna(found.hemisphere[4:]).all()
    assert found.notes == ("Labels are numbers, for want of a .ctab file: HCP_MMP1.",)


def test_hemispheres_are_told_by_files_of_other_families_too(root):
    save_volume(root, "floc-places", [[1, 0, 0], [0, 0, 0]])
    save_volume(root, "lh.corticalsulc", [[1, 0, 0], [-1, -1, -1]])
    save_volume(root, "rh.corticalsulc", [[-1, -1, -1], [3, 0, -1]])
    found = read_regions(root, 1, SPACE, ["floc-places"])
    assert list(found.hemisphere[:5]) == ["lh", "rh", "lh", "rh", "lh"]
    assert list(found.columns) == ["floc-places"]


def test_families_are_found_by_files_published_ones_first(root):
    for name in ("zzz", "streams", "lh.mine", "rh.mine", "lh.half", "Kastner2015"):
        save_volume(root, name, np.zeros(6))
    assert find_families(root, 1, "func1pt8mm") == [
        "streams",
        "Kastner2015",
        "mine",
        "zzz",
    ]
    assert list(read_regions(root, 1, SPACE).columns) == ["streams"]
    assert len(read_regions(root, 1, SPACE, "all").columns) == 4
    assert list(read_regions(root, 1, SPACE, "zzz").columns) == ["zzz"]
    assert find_families(root, 2, "func1pt8mm") == []
    with pytest.raises(KeyError, match=r"family 'stream' .* Did you mean 'streams'"):
        read_regions(root, 1, SPACE, ["stream"])


@pytest.mark.parametrize(
    ("values", "shape", "match"),
    [
        (np.zeros(6), (3, 2, 1), "axes are swapped"),
        (np.zeros(8), (2, 2, 2), r"grid \(2, 2, 2\), but the volume func1pt8mm"),
        ([-2, 0, 0, 0, 0, 0], (2, 3, 1), "whole numbers from -1"),
        ([8, 0, 0, 0, 0, 0], (2, 3, 1), r"values \[8\], which .* does not name"),
    ],
)
def test_labels_of_another_grid_or_family_are_refused(root, values, shape, match):
    save_volume(root, "streams", values, shape)
    with pytest.raises(DataCorruptError, match=match):
        read_regions(root, 1, SPACE)


def test_names_of_another_family_are_refused_or_told(root):
    save_volume(root, "streams", [[1, 2, 3], [4, 0, -1]])
    save_ctab(root, "streams", "0 Unknown\n1 OPA\n2 PPA\n3 RSC\n")
    with pytest.raises(DataCorruptError, match=r"values \[4\].*streams.mgz.ctab.*fami"):
        read_regions(root, 1, SPACE)
    save_ctab(root, "streams", "1 a\n2 b\n3 c\n4 d\n")
    found = read_regions(root, 1, SPACE)
    expected = ("Labels of the .ctab file are not the published ones: streams.",)
    assert found.notes == expected
    assert found.columns["streams"][0] == "a"


# ------------------------------------------------------------------ surfaces


def test_labels_of_the_native_surface_are_left_then_right(root):
    save_surface(root, "subj01", "floc-faces", [1, 0, -1], [2, 1])
    found = read_regions(root, 1, NATIVE)
    column = found.columns["floc-faces"]
    assert list(column[[0, 1, 3, 4]]) == ["OFA", "", "FFA-1", "OFA"]
    assert pd.isna(column[2])
    assert found.hemisphere is None
    expected = ("Labels are the published ones, for want of a .ctab file: floc-faces.",)
    assert found.notes == expected


def test_own_labels_are_moved_to_fsaverage_and_atlases_are_read_there(root):
    save_surface(root, "subj01", "floc-faces", [1, 0, 3], [2, 1])
    save_surface(root, "subj01", "streams", [7, 7, 7], [7, 7])
    save_surface(root, "fsaverage", "streams", [1, 1, 5, 5], [0, 2])
    # Without tables between the surfaces only the atlas can be read.
    assert find_families(root, 1, "fsaverage") == ["streams"]
    save_warp(root, [3, 1, 1, 2], [2, 2])
    found = read_regions(root, 1, FSAVERAGE)
    assert list(found.columns["streams"]) == ["early"] * 2 + ["ventral"] * 2 + [
        "",
        "midventral",
    ]
    faces = ["FFA-2", "OFA", "OFA", "", "OFA", "OFA"]
    assert list(found.columns["floc-faces"]) == faces
    assert found.notes == (
        "Labels are the published ones, for want of a .ctab file: floc-faces, streams.",
        "Labels were moved from the native surface to fsaverage: floc-faces.",
    )


def test_maps_of_numbers_beside_labels_are_no_families(root):
    save_surface(root, "subj01", "streams", [1, 0, 3], [2, 1])
    save_surface(root, "subj01", "HCP_MMP1", [1, 0, 3], [2, 1])
    save_surface(root, "subj01", "floc-facestval", [1.5, 0, 3], [2, 1])
    save_surface(root, "subj01", "mine", [1, 0, 1], [1, 1])
    save_ctab(root, "mine", "1 a\n")
    families = ["streams", "HCP_MMP1", "mine"]
    assert find_families(root, 1, "nativesurface") == families
    found = read_regions(root, 1, NATIVE, "all")
    assert list(found.columns["mine"]) == ["a", "", "a", "a", "a"]


def test_labels_of_another_surface_are_refused(root):
    save_surface(root, "subj01", "floc-faces", [1, 0, 3, 0], [2, 1])
    with pytest.raises(DataCorruptError, match=r"\(4,\), but the surface nativesurfa"):
        read_regions(root, 1, NATIVE)
    save_warp(root, [1, 1, 1], [2, 2])
    with pytest.raises(DataCorruptError, match=r"\(3,\), but the surface of the betas"):
        read_regions(root, 1, FSAVERAGE)
