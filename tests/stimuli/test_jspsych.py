"""The exported folder, and how the files of jsPsych are had."""

import json
import os
import shutil
import stat
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from neurovis.core.errors import DataCorruptError, MissingDependencyError
from neurovis.core.pictures import read_image
from neurovis.core.types import StimulusSet, Viewing
from stimuli.export import export_psychopy_choices
from stimuli.jspsych import RESULT_COLUMNS, TEXTS, export_jspsych
from stimuli.jspsych_library import PACKAGES, cache_folder, library_files
from stimuli.slope_arrays import make_slope_arrays


def pictures(n=4):
    kinds = ["cat", "=dog()"]
    table = pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(n)]})
    table["kind"] = [kinds[i % 2] for i in range(n)]
    images = [np.full((4, 6, 3), 10 * i, np.uint8) for i in range(n)]
    return StimulusSet("levels", table, Viewing(30, 6, 4), images)


def tree(folder):
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, jspsych_library):
    made = make_slope_arrays("feature", set_sizes=[3], trials=3)
    folder = tmp_path_factory.mktemp("experiment") / "search"
    page = export_jspsych(
        made, folder, task="search", n_repeats=2, practice=2, library=jspsych_library
    )
    assert page == folder / "index.html"
    return made, folder


# ---------------------------------------------------------------------- the folder


def test_the_folder_holds_pictures_design_orders_and_library(exported):
    made, folder = exported
    design = json.loads((folder / "design.json").read_text())
    for i, identity in enumerate(made.table["stimulus_id"]):
        picture = read_image(folder / "images" / f"{identity}.png")
        assert np.array_equal(picture, made.load(i))
        assert design["sizes_px"][identity] == [675, 675]
    assert design["set_fingerprint"] == made.fingerprint
    assert len(design["experiment_version"]) == 16
    assert design["px_per_deg"] == 30
    assert [t["truth"] for t in design["trials"]].count("present") == 3
    assert set(RESULT_COLUMNS) - {"picture_2", "picture_3"} <= set(design["columns"])
    assert design["columns"][-1] == "experiment_version"
    orders = json.loads((folder / "orders.json").read_text())
    assert len(orders) == 20
    assert all(len(o["trials"]) == 12 and len(o["practice"]) == 2 for o in orders)
    assert json.loads((folder / "texts.json").read_text()) == TEXTS
    scripts = [p.name for p in folder.glob("*.js")]
    page = (folder / "index.html").read_text()
    assert all(f'src="{name}"' in page for name in scripts)
    for name in ("jspsych.js", "jspsych.css", "LICENCE.txt"):
        assert (folder / "vendor" / name).stat().st_size > 1000


def test_nothing_in_the_folder_asks_other_hosts_for_code_or_maps(exported):
    _, folder = exported
    for name, data in tree(folder).items():
        if name.endswith((".html", ".css", ".js")):
            text = data.decode()
            assert "sourceMappingURL" not in text, name
            assert 'src="http' not in text, name
            assert "url(http" not in text, name
    page = (folder / "index.html").read_text()
    assert "default-src 'self'" in page


def test_the_licence_names_every_package(exported):
    _, folder = exported
    licence = (folder / "vendor" / "LICENCE.txt").read_text()
    for package in PACKAGES:
        assert f"{package.name} {package.version}" in licence
        assert package.author in licence
    assert "MIT License" in licence


def test_equal_calls_give_equal_bytes_and_other_seeds_other_orders(
    tmp_path, jspsych_library
):
    call = {"task": "2afc", "answer_column": "kind", "library": jspsych_library}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        export_jspsych(pictures(), tmp_path / name, seed=seed, n_orders=3, **call)
    first, second, third = (tree(tmp_path / name) for name in "abc")
    assert first == second
    assert first["orders.json"] != third["orders.json"]
    versions = [
        json.loads(part["design.json"])["experiment_version"] for part in (first, third)
    ]
    assert versions[0] != versions[1]


def test_texts_can_be_in_another_language(tmp_path, jspsych_library):
    call = {"task": "2afc", "answer_column": "kind", "library": jspsych_library}
    made = pictures()
    export_jspsych(made, tmp_path / "a", texts={"agree": "Ich stimme zu"}, **call)
    assert json.loads((tmp_path / "a/texts.json").read_text())["agree"] == (
        "Ich stimme zu"
    )
    with pytest.raises(ValueError, match="'agreed'; known are"):
        export_jspsych(made, tmp_path / "b", texts={"agreed": "ja"}, **call)


def test_noise_masks_have_an_amplitude_that_falls_with_frequency(
    tmp_path, jspsych_library
):
    images = [np.full((64, 64, 3), 128, np.uint8)] * 2
    table = pd.DataFrame({"stimulus_id": ["a", "b"], "kind": ["x", "y"]})
    made = StimulusSet("grey", table, Viewing(30, 64, 64), images)
    call = {"task": "2afc", "answer_column": "kind", "library": jspsych_library}
    export_jspsych(made, tmp_path / "a", mask="noise", stimulus_frames=6, **call)
    masks = [read_image(p) for p in sorted((tmp_path / "a" / "masks").iterdir())]
    assert len(masks) == 8
    power = np.mean(
        [np.abs(np.fft.fft2(m[..., 0] - m[..., 0].mean())) ** 2 for m in masks], axis=0
    )
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    inside = (frequency > 0.03) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.15)
    assert np.mean(masks) == pytest.approx(127.5, abs=1)


def test_impossible_arguments_leave_no_folder(tmp_path, jspsych_library):
    made = pictures()
    call = {"task": "2afc", "answer_column": "kind", "library": jspsych_library}
    for wrong, message in (
        ({"block_size": 0}, "block_size"),
        ({"practice": 5}, "there are 4 different trials"),
        ({"stimulus_frames": 0}, "stimulus_frames"),
        ({"mask": "noise"}, "give `stimulus_frames` too"),
        ({"mask": "pink", "stimulus_frames": 3}, "'noise' or a picture"),
        ({"click": True}, "the answers to one picture are keys"),
        ({"target_frames": 30}, "task 'search'"),
        ({"refresh_hz": 0}, "refresh_hz"),
        ({"response_ms": -5}, "response_ms"),
        ({"keep": ["size"]}, "size"),
    ):
        with pytest.raises(ValueError, match=message):
            export_jspsych(made, tmp_path / "a", **(call | wrong))
    bad_names = made.table.assign(stimulus_id=["a b", "c", "d", "e"])
    odd = StimulusSet("odd", bad_names, made.viewing, made.images)
    with pytest.raises(ValueError, match="cannot name a file"):
        export_jspsych(odd, tmp_path / "a", **call)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").touch()
    with pytest.raises(FileExistsError):
        export_jspsych(made, tmp_path / "a", **call)


def test_a_search_with_a_target_in_every_display_asks_for_a_click(
    tmp_path, jspsych_library
):
    made = make_slope_arrays("feature", set_sizes=[3], trials=2)
    every = made.select(np.flatnonzero(made.table["target_present"]))
    call = {"task": "search", "library": jspsych_library}
    export_jspsych(every, tmp_path / "a", **call)
    assert json.loads((tmp_path / "a/design.json").read_text())["click"] == "target"
    with pytest.raises(ValueError, match="the key alone tells nothing"):
        export_jspsych(every, tmp_path / "b", click=False, **call)
    table = every.table.drop(
        columns=[c for c in every.table if c.startswith(("area_", "target_left"))]
    )
    blind = StimulusSet("blind", table, every.viewing, every.images)
    with pytest.raises(ValueError, match="needs to know where it is"):
        export_jspsych(blind, tmp_path / "b", **call)


# ----------------------------------------------------------------------- PsychoPy


def test_psychopy_gets_the_same_trials_with_balanced_places(tmp_path):
    names = pd.DataFrame({"picture_1": ["s0", "s1"], "picture_2": ["s2", "s3"]})
    groups = names.assign(answer=["s0", "s3"], note=["=A1", "b"])
    path = export_psychopy_choices(
        pictures(), tmp_path / "p", task="2afc", groups=groups, n_repeats=2
    )
    table = pd.read_csv(path)
    assert table["stimulus_id"].tolist() == ["s0+s2", "s0+s2", "s1+s3", "s1+s3"]
    assert counts_of(table["picture_1"]) == {"s0": 1, "s1": 1, "s2": 1, "s3": 1}
    for row in table.itertuples():
        assert row.image_file_1 == f"images/{row.picture_1}.png"
        assert (path.parent / row.image_file_2).is_file()
        right = {"f": row.picture_1, "j": row.picture_2}[row.corrAns]
        assert right == row.truth
        assert row.keys == "f:left|j:right"
    assert table["note"].tolist() == ["'=A1", "'=A1", "b", "b"]


def counts_of(values):
    return values.value_counts().to_dict()


def test_psychopy_triplets_without_truth_have_no_right_key(tmp_path):
    groups = pd.DataFrame(
        [["s0", "s1", "s2"]], columns=["picture_1", "picture_2", "picture_3"]
    )
    path = export_psychopy_choices(
        pictures(), tmp_path / "p", task="odd-one-out", groups=groups, n_repeats=6
    )
    table = pd.read_csv(path)
    shown = {tuple(row) for row in table[[*groups]].to_numpy()}
    assert shown == set(permutations(["s0", "s1", "s2"]))
    assert table["corrAns"].isna().all()


# ------------------------------------------------------------------------ library


def fake_npm(folder, script):
    """Put a program called npm first on the path; it is really run."""
    path = folder / "npm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert cache_folder() == tmp_path / "cache" / "neurovis" / "jspsych"
    return tools


def test_without_npm_the_message_says_what_to_do(empty_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(empty_cache))
    with pytest.raises(MissingDependencyError, match=r"npm pack jspsych@8\.3\.0"):
        library_files()


def test_a_failure_of_npm_is_told_in_its_words(empty_cache):
    fake_npm(empty_cache, "echo 'npm error code ENOTFOUND' >&2; exit 1")
    with pytest.raises(ConnectionError, match=r"npm error code ENOTFOUND.*library="):
        library_files()


def test_another_file_under_the_same_name_is_refused(empty_cache):
    names = " ".join(f'"$4/{p.file_name}"' for p in PACKAGES)
    fake_npm(empty_cache, f"for f in {names}; do echo evil > $f; done")
    with pytest.raises(DataCorruptError, match=r"not jspsych 8\.3\.0.*do not use it"):
        library_files()
    assert not list(cache_folder().glob("*.tgz"))


def test_packed_files_of_a_folder_are_used_and_verified(
    tmp_path, jspsych_library, monkeypatch
):
    monkeypatch.setenv("PATH", "")
    mine = tmp_path / "mine"
    mine.mkdir()
    for package in PACKAGES:
        shutil.copy(jspsych_library / package.file_name, mine)
    files = library_files(mine)
    assert b"initJsPsych" in files["jspsych.js"]
    assert set(files) == {n for p in PACKAGES for n in p.files.values()} | {
        "LICENCE.txt"
    }
    first = mine / PACKAGES[0].file_name
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(DataCorruptError, match="is pinned"):
        library_files(mine)
    first.unlink()
    with pytest.raises(FileNotFoundError, match=r"npm pack jspsych@8\.3\.0"):
        library_files(mine)
