"""The tree of NSD: sessions from the names of files."""

import nibabel as nib
import numpy as np
import pytest

from data_loaders.nsd_files import (
    check_root,
    find_preparations,
    find_sessions,
    find_subjects,
    subject_name,
    subject_number,
    write_ranges,
)
from data_loaders.nsd_maps import check_map_shape, map_shape, read_map
from neurovis.core.errors import DataCorruptError

B3 = "betas_fithrf_GLMdenoise_RR"


def touch(root, names, space="func1pt8mm", preparation=B3, subject="subj01"):
    folder = root / "nsddata_betas/ppdata" / subject / space / preparation
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def volumes(sessions, suffix="hdf5"):
    return [f"betas_session{s:02d}.{suffix}" for s in sessions]


def surfaces(sessions, hemispheres=("lh", "rh"), suffix="mgh"):
    return [f"{h}.{name}" for name in volumes(sessions, suffix) for h in hemispheres]


# ------------------------------------------------------------------ the tree


@pytest.mark.parametrize("subject", [1, "subj01", "subj1", np.int64(1)])
def test_subjects_are_counted_from_one(subject):
    assert subject_name(subject) == "subj01"
    assert subject_number(subject) == 1
    assert subject_name(12) == "subj12"


@pytest.mark.parametrize("subject", [0, -1, "subj00", "one", "01", 1.5, None, True])
def test_what_is_no_subject_is_refused(subject):
    with pytest.raises((TypeError, ValueError), match="`subject`"):
        subject_name(subject)


def test_another_folder_is_not_the_root(tmp_path):
    with pytest.raises(FileNotFoundError, match="existing folder"):
        check_root(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"nsddata_betas; .* holds nothing"):
        check_root(tmp_path)
    touch(tmp_path, volumes([1]))
    assert check_root(tmp_path) == tmp_path
    below = tmp_path / "nsddata_betas"
    with pytest.raises(FileNotFoundError, match=f"Did you mean {tmp_path}"):
        check_root(below)


def test_subjects_spaces_and_preparations_of_any_name_are_listed(tmp_path):
    touch(tmp_path, volumes([1]))
    touch(tmp_path, volumes([1], "nii.gz"), preparation="restingbetas_fithrf")
    touch(tmp_path, surfaces([1]), space="fsaverage", preparation="betas_fithrf")
    touch(tmp_path, ["ncsnr.nii.gz"], preparation="betas_empty")
    (tmp_path / "nsddata/ppdata/subj03").mkdir(parents=True)
    (tmp_path / "nsddata/ppdata/README").write_text("")
    assert find_subjects(tmp_path) == ["subj01", "subj03"]
    assert find_preparations(tmp_path, 1) == {
        "fsaverage": ["betas_fithrf"],
        "func1pt8mm": [B3, "restingbetas_fithrf"],
    }
    assert find_preparations(tmp_path, 3) == {}


def test_short_names_stand_for_published_preparations(tmp_path):
    for name in ("betas_assumehrf", "betas_fithrf", B3, "restingbetas_fithrf"):
        touch(tmp_path, volumes([1]), preparation=name)
    found = {n: find_sessions(tmp_path, 1, preparation=n) for n in ("b1", "b2", "b3")}
    assert found["b1"].preparation == "betas_assumehrf"
    assert found["b2"].preparation == "betas_fithrf"
    assert found["b3"].preparation == B3
    rest = find_sessions(tmp_path, 1, preparation="restingbetas_fithrf")
    assert rest.folder.name == "restingbetas_fithrf"
    with pytest.raises(ValueError, match=r"`preparation` must be one of .*'betas_fit"):
        find_sessions(tmp_path, 1, preparation="betas_fithrf_GLM")


def test_what_is_not_there_is_told_with_what_is(tmp_path):
    touch(tmp_path, volumes([1]))
    with pytest.raises(FileNotFoundError, match=r"no betas of subj02.*here: subj01"):
        find_sessions(tmp_path, 2)
    with pytest.raises(ValueError, match="`space` must be one of 'func1pt8mm'; got"):
        find_sessions(tmp_path, 1, space="fsaverage")


# ------------------------------------------------------------------ sessions


def test_sessions_are_found_in_their_order(tmp_path):
    folder = touch(tmp_path, [*volumes(range(1, 12)), "meanbeta_session01.nii.gz"])
    found = find_sessions(tmp_path, 1)
    assert found.sessions == tuple(range(1, 12))
    assert found.files[10] == (folder / "betas_session10.hdf5",)
    assert not found.is_surface


def test_withheld_sessions_at_the_end_are_no_gap(tmp_path):
    touch(tmp_path, volumes(range(1, 38)))
    assert len(find_sessions(tmp_path, 1).sessions) == 37


def test_surfaces_have_a_file_per_hemisphere_left_first(tmp_path):
    folder = touch(tmp_path, surfaces([1, 2]), space="fsaverage")
    found = find_sessions(tmp_path, 1, space="fsaverage")
    assert found.is_surface
    names = ("lh.betas_session02.mgh", "rh.betas_session02.mgh")
    assert found.files[2] == tuple(folder / n for n in names)


def test_the_fastest_format_that_has_every_session_is_taken(tmp_path):
    touch(tmp_path, [*volumes([1, 2], "nii.gz"), *volumes([1, 2])])
    assert find_sessions(tmp_path, 1).files[2][0].name == "betas_session02.hdf5"
    gz = find_sessions(tmp_path, 1, volume_format="nii.gz")
    assert gz.files[2][0].name == "betas_session02.nii.gz"
    touch(tmp_path, volumes([3], "nii.gz"))
    assert find_sessions(tmp_path, 1).files[1][0].name == "betas_session01.nii.gz"
    assert find_sessions(tmp_path, 1, volume_format="hdf5").sessions == (1, 2)
    with pytest.raises(ValueError, match="`volume_format` must be one of 'hdf5', 'nii"):
        find_sessions(tmp_path, 1, volume_format="mat")


@pytest.mark.parametrize(
    ("space", "names", "match"),
    [
        (
            "func1pt8mm",
            volumes([1, 2, 4, 7]),
            r"missing sessions: 3, 5-6\. .*=.1, 2, 4",
        ),
        ("func1pt8mm", volumes([2, 3]), r": missing sessions: 1\. Get"),
        (
            "fsaverage",
            surfaces([1, 2])[:3],
            r": sessions with one hemisphere only: 2\. Get",
        ),
        (
            "func1pt8mm",
            [*volumes([1, 3]), *volumes([2], "nii.gz")],
            r": no format has all sessions: hdf5 has 1, 3; nii.gz has 2\. Get",
        ),
    ],
)
def test_sessions_must_be_named_when_some_are_missing(tmp_path, space, names, match):
    touch(tmp_path, names, space=space)
    with pytest.raises(ValueError, match=match):
        find_sessions(tmp_path, 1, space=space)
    one = {"fsaverage": [1]}.get(space, [2])
    assert find_sessions(tmp_path, 1, space=space, sessions=one).sessions == (*one,)


def test_where_no_session_is_whole_none_is_proposed(tmp_path):
    touch(tmp_path, surfaces([1, 2], ["lh"]), space="fsaverage")
    with pytest.raises(ValueError, match=r"only: 1-2\. Get the missing files\.$"):
        find_sessions(tmp_path, 1, space="fsaverage")


def test_named_sessions_come_in_their_order_and_may_mix_formats(tmp_path):
    touch(tmp_path, [*volumes([1, 3]), *volumes([2, 3], "nii.gz")])
    mixed = find_sessions(tmp_path, 1, sessions=[3, 1, 2])
    names = [paths[0].name.partition(".")[2] for paths in mixed.files.values()]
    assert mixed.sessions == (1, 2, 3)
    assert names == ["hdf5", "nii.gz", "hdf5"]
    assert mixed.notes == ("Formats are mixed: hdf5, nii.gz.",)
    # One format for all when there is one, though another is faster.
    same = find_sessions(tmp_path, 1, sessions=[2, 3])
    assert {paths[0].suffix for paths in same.files.values()} == {".gz"}
    assert same.notes == ()


@pytest.mark.parametrize(
    ("sessions", "error", "match"),
    [
        ([1, 2, 1], ValueError, "session 1 comes twice"),
        ([], ValueError, "each session once; it is empty"),
        ([0], ValueError, "`sessions` must be within"),
        ([1.5], ValueError, "whole number"),
        (["1"], TypeError, "`sessions` must be a number"),
        ("12", TypeError, r"a list of numbers such as \[1, 2\]"),
        (2, TypeError, "a list of numbers"),
        ([2, 5, 6], ValueError, "names 5-6, which are not .* there: .* has 1-3"),
    ],
)
def test_wrong_sessions_are_refused(tmp_path, sessions, error, match):
    touch(tmp_path, volumes([1, 2, 3]))
    with pytest.raises(error, match=match):
        find_sessions(tmp_path, 1, sessions=sessions)


def test_half_a_session_cannot_be_named(tmp_path):
    touch(tmp_path, surfaces([1, 2])[:3], space="fsaverage")
    with pytest.raises(ValueError, match=r"names 2, which are not .wholly. there"):
        find_sessions(tmp_path, 1, space="fsaverage", sessions=[1, 2])


def test_a_session_that_is_there_twice_is_refused(tmp_path):
    touch(tmp_path, ["betas_session01.hdf5", "betas_session1.hdf5"])
    with pytest.raises(DataCorruptError, match="has session 1 twice: betas_session01"):
        find_sessions(tmp_path, 1)


def test_maps_beside_the_betas_are_found_by_name(tmp_path):
    folder = touch(tmp_path, [*volumes([1]), "ncsnr.nii.gz"])
    assert find_sessions(tmp_path, 1).companion("ncsnr") == (folder / "ncsnr.nii.gz",)
    assert find_sessions(tmp_path, 1).companion("R2") == ()
    folder = touch(tmp_path, [*surfaces([1]), "lh.ncsnr.mgh"], space="fsaverage")
    found = find_sessions(tmp_path, 1, space="fsaverage")
    assert found.companion("ncsnr") == ()
    touch(tmp_path, ["rh.ncsnr.mgh"], space="fsaverage")
    assert found.companion("ncsnr")[1] == folder / "rh.ncsnr.mgh"


def test_runs_of_numbers_are_joined():
    assert write_ranges([5, 1, 2, 3, 8, 9]) == "1-3, 5, 8-9"
    assert write_ranges([]) == ""


# ---------------------------------------------------------------------- maps


def test_a_volume_keeps_its_three_axes(tmp_path):
    values = np.arange(6, dtype=np.int16).reshape(3, 2, 1)
    nib.save(nib.Nifti1Image(values, np.diag([2, 2, 2, 1])), tmp_path / "a.nii.gz")
    assert read_map(tmp_path / "a.nii.gz").tolist() == values.tolist()
    assert map_shape(tmp_path / "a.nii.gz") == (3, 2, 1)


def test_a_surface_loses_its_empty_axes(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(4, 1, 3)
    nib.save(nib.MGHImage(values[:, :, :1], np.eye(4)), tmp_path / "a.mgh")
    nib.save(nib.MGHImage(values, np.eye(4)), tmp_path / "b.mgz")
    assert read_map(tmp_path / "a.mgh").tolist() == [0, 3, 6, 9]
    assert read_map(tmp_path / "b.mgz").tolist() == values[:, 0].tolist()
    assert map_shape(tmp_path / "a.mgh") == (4,)
    assert map_shape(tmp_path / "b.mgz") == (4, 3)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz", "a.mgh"])
def test_a_cut_map_is_corrupt(tmp_path, name):
    values = np.random.default_rng(0).normal(size=(500, 1, 1)).astype(np.float32)
    image = nib.MGHImage if ".mg" in name else nib.Nifti1Image
    nib.save(image(values, np.eye(4)), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for n_bytes in (0, 20, len(data) // 2):
        (tmp_path / name).write_bytes(data[:n_bytes])
        with pytest.raises(DataCorruptError, match="not a readable brain map"):
            read_map(tmp_path / name)


def test_swapped_axes_are_named(tmp_path):
    with pytest.raises(DataCorruptError, match=r"axes are swapped: .X, Y, Z. are need"):
        check_map_shape(tmp_path, (4, 3, 2), (2, 3, 4), "the volume")
    with pytest.raises(DataCorruptError, match=r"grid \(5, 3, 2\).*another subject"):
        check_map_shape(tmp_path, (5, 3, 2), (2, 3, 4), "the volume")
    check_map_shape(tmp_path, (2, 3, 4), (2, 3, 4), "the volume")
