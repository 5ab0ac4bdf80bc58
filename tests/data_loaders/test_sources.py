"""The table of data sets: what it promises, and what its verbs do."""

import csv
import gzip
import hashlib
import importlib
import re
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

import data_loaders.source_record as source_record
import data_loaders.sources as sources
from data_loaders.fetch import RemoteFile
from data_loaders.gaze import GazeData
from data_loaders.sources import (
    SOURCES,
    Source,
    check_source,
    describe_source,
    fetch_source,
)
from neurovis.cli import main
from neurovis.core.types import Responses

FOLDERS = {
    "amazon-covers": "amazon_covers",
    "osie": "osie",
    "coco-search18": "cocosearch18_val",
    "search-interiors": "search_interiors",
    "natural-search": "visual_search",
    "wolfe-search": "search_rt_wolfe2010",
    "search-asymmetry-trials": "visual_search",
    "objects-fmri": "objects_fmri",
    "v4-images": "v4_images",
    "objects92": "objects92",
    "net2brain78": "net2brain78",
    "floc": "floc_subset",
    "scenes15": "scenes15",
    "flickr8k": "captions_flickr8k",
    "model-vs-human": "model_vs_human",
    "texture-shape": "texture_shape",
    "physion": "physion_human",
    "things-triplets": "things_oddoneout_sample",
}
# Of these nothing real is at hand; tests of their loaders simulate them.
SIMULATED = ("nsd", "algonauts")
COUNTS = {
    "amazon-covers": "6 subjects, 100 stimuli, 600 trials, 8683 fixations",
    "osie": "15 subjects, 700 stimuli, 10500 trials, 98321 fixations",
    "coco-search18": "10 subjects, 326 stimuli, 3258 trials,",
    "search-interiors": "45 subjects, 134 stimuli,",
    "natural-search": "fixations",
    "wolfe-search": "87811 trials",
    "search-asymmetry-trials": "15264 trials",
    "objects-fmri": "65 rows of 65 stimuli, 696 units",
    "v4-images": "640 rows of 640 stimuli, 50 units",
    "objects92": "28 matrices of 92 stimuli",
    "net2brain78": "30 matrices of 78 stimuli",
    "floc": "660 pictures of 11 categories in 6 domains",
    "scenes15": "2098 pictures of 15 classes",
    "flickr8k": "40000 captions of 8000 pictures",
    "model-vs-human": "85120 trials of 90 people",
    "texture-shape": "320 of 1280 pictures",
    "physion": "1144 movies in 8 scenarios",
    "things-triplets": "2171 triplets of 1854 objects",
}


# ------------------------------------------------------------------ the table


def test_every_set_says_what_it_is_and_how_it_is_got():
    assert set(SOURCES) == {*FOLDERS, *SIMULATED, "search-asymmetry"}
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.what
        assert source.licence
        assert source.citation
        assert source.url.startswith("https://")
        # Nothing is left without a way to get it.
        assert source.ships or source.remote_files() or source.by_hand


@pytest.mark.parametrize("name", SOURCES)
def test_downloads_are_pinned_to_a_commit_and_have_a_hash(name):
    files = SOURCES[name].remote_files()
    for file in files:
        assert re.search(r"/[0-9a-f]{40}/", file.url)
        assert file.n_bytes > 0
    assert len({file.name for file in files}) == len(files)
    assert len({file.sha256 for file in files}) == len(files)


def test_only_the_set_with_terms_is_restricted():
    assert [n for n, s in SOURCES.items() if s.restricted] == ["amazon-covers"]
    assert "CC BY-NC-SA 4.0" in SOURCES["amazon-covers"].files[0].terms


@pytest.mark.parametrize("name", FOLDERS)
def test_every_loader_exists(name):
    module, function = SOURCES[name].loader.split(":")
    loader = getattr(importlib.import_module(f"data_loaders.{module}"), function)
    assert callable(loader)


def test_a_description_has_one_line_per_fact():
    lines = describe_source(SOURCES["osie"])
    assert lines[0] == "osie"
    assert lines[-2] == "  download: 700 files, 49.1 MB"
    assert lines[-1].startswith("  by hand: Get the fixations")
    assert describe_source(SOURCES["search-asymmetry"])[-1].endswith("it ships")
    assert "  download: none" in describe_source(SOURCES["wolfe-search"])


def test_hashes_are_those_of_the_unchanged_files(data_folder):
    amazon = (data_folder / "amazon_covers" / "Amazon.json").read_bytes()
    (file,) = SOURCES["amazon-covers"].remote_files()
    assert file.sha256 == hashlib.sha256(amazon).hexdigest()
    assert file.n_bytes == len(amazon)
    lines = (data_folder / "osie" / "SHA256SUMS").read_text().splitlines()
    sums = {name: sha256 for sha256, name in map(str.split, lines)}
    pictures = SOURCES["osie"].remote_files()
    assert len(pictures) == 700
    for file in pictures:
        assert file.sha256 == sums[file.name]
        assert file.n_bytes == (data_folder / "osie" / file.name).stat().st_size
        assert file.url.endswith(f"/data/{file.name}")


# ------------------------------------------------------------------- checking


@pytest.mark.parametrize("name", FOLDERS)
def test_each_real_set_is_checked_with_its_own_loader(data_folder, name):
    lines = check_source(name, data_folder / FOLDERS[name])
    assert any(COUNTS[name] in line for line in lines)
    assert len(lines) > 1


def test_a_set_that_ships_is_counted_without_a_folder():
    assert check_source("search-asymmetry", "nowhere") == [
        "40 mean reaction times in 12 conditions",
        "14 models with published indices",
    ]


def test_trials_are_counted_by_the_first_factor_they_have():
    columns = {"stimulus_id": "s", "response": None, "rt_ms": 1.0, "correct": True}
    table = pd.DataFrame({"subject": ["b", "a", "b"], "trial": [0, 0, 1], **columns})
    assert sources._summary(Responses(table)) == ["3 trials", "b: 2", "a: 1"]
    table = table.assign(task="feature")
    assert sources._summary(Responses(table)) == ["3 trials", "feature: 3"]


@pytest.mark.parametrize("name", FOLDERS)
def test_an_empty_folder_and_a_missing_one_are_told(tmp_path, name):
    with pytest.raises(FileNotFoundError):
        check_source(name, tmp_path)
    with pytest.raises(FileNotFoundError, match="`folder` must be an existing folder"):
        check_source(name, tmp_path / "nowhere")


@pytest.mark.parametrize("verb", [check_source, fetch_source])
def test_an_unknown_name_is_refused_with_a_suggestion(tmp_path, verb):
    with pytest.raises(ValueError, match="Did you mean 'osie'"):
        verb("osy", tmp_path)


# -------------------------------------------------------------------- fetching


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path):
    """A folder that a local server shows, and its address."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def published(mirror, name, data, **changes):
    folder, url = mirror
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return RemoteFile(f"{url}/{name}", sha256, len(data), name, **changes)


@pytest.fixture
def offer(monkeypatch):
    """Put a data set of the test into the table."""

    def offer(**fields):
        facts = {"what": "w", "url": "https://example.org", "licence": "free"}
        facts |= {"citation": "Me (2026)", "loader": "osie:load_osie"}
        source = Source(name="mine", **(facts | fields))
        monkeypatch.setattr(sources, "SOURCES", {"mine": source})

    return offer


def test_files_are_downloaded_and_then_left_as_they_are(mirror, offer, tmp_path):
    files = (published(mirror, "a.bin", b"one"), published(mirror, "b/c.bin", b"two"))
    offer(files=files, by_hand="Add d.bin.")
    folder = tmp_path / "mine"
    lines = fetch_source("mine", folder)
    assert lines == [
        f"2 files, 0.0 MB in {folder}: 2 downloaded, 0 complete already",
        "terms: free",
        "cite: Me (2026)",
        "still to do: Add d.bin.",
    ]
    assert (folder / "b" / "c.bin").read_bytes() == b"two"
    (folder / "a.bin").unlink()
    assert "1 downloaded, 1 complete already" in fetch_source("mine", folder)[0]
    assert "0 downloaded, 2 complete already" in fetch_source("mine", folder)[0]


def test_an_archive_is_unpacked_beside_itself(mirror, offer, tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.txt", "one")
    offer(files=(published(mirror, "set.zip", path.read_bytes(), unpack="set"),))
    for _ in range(2):
        fetch_source("mine", tmp_path / "mine")
    assert (tmp_path / "mine" / "set" / "1.txt").read_text() == "one"


def test_a_listed_table_of_files_is_downloaded(mirror, offer, tmp_path, monkeypatch):
    rows = [published(mirror, f"pictures/{i}.jpg", bytes([i])) for i in range(3)]
    table = tmp_path / "tables" / "list.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "n_bytes", "sha256"])
        writer.writerows((Path(r.name).name, r.n_bytes, r.sha256) for r in rows)
    monkeypatch.setattr(source_record, "__file__", str(tmp_path / "sources.py"))
    offer(
        file_table="list.csv",
        file_table_url=f"{mirror[1]}/pictures",
        file_table_folder="stimuli",
    )
    fetch_source("mine", tmp_path / "mine")
    found = sorted(p.name for p in (tmp_path / "mine" / "stimuli").iterdir())
    assert found == ["0.jpg", "1.jpg", "2.jpg"]


def test_terms_must_be_accepted_before_anything_is_asked_for(mirror, offer, tmp_path):
    offer(files=(published(mirror, "a.bin", b"one", terms="No resale."),))
    with pytest.raises(PermissionError, match=r"these terms: No resale\."):
        fetch_source("mine", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    fetch_source("mine", tmp_path / "mine", accept_terms=True)
    assert (tmp_path / "mine" / "a.bin").read_bytes() == b"one"


def test_the_real_table_downloads_from_a_mirror_and_is_loaded(
    mirror, monkeypatch, data_folder, tmp_path
):
    data = (data_folder / "amazon_covers" / "Amazon.json").read_bytes()
    here = published(mirror, "Amazon.json", data)
    source = SOURCES["amazon-covers"]
    file = replace(source.files[0], url=here.url)
    moved = {"amazon-covers": replace(source, files=(file,))}
    monkeypatch.setattr(sources, "SOURCES", moved)
    fetch_source("amazon-covers", tmp_path / "set", accept_terms=True)
    lines = check_source("amazon-covers", tmp_path / "set")
    assert lines[0] == COUNTS["amazon-covers"]


@pytest.mark.parametrize(
    "name", [n for n, s in SOURCES.items() if not s.ships and not s.remote_files()]
)
def test_without_a_download_it_is_told_what_to_get_from_where(tmp_path, name):
    with pytest.raises(ValueError, match="has no automatic download") as error:
        fetch_source(name, tmp_path / "set")
    assert SOURCES[name].url in str(error.value)
    assert SOURCES[name].by_hand in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_ships_needs_no_download(tmp_path):
    lines = fetch_source("search-asymmetry", tmp_path / "set")
    assert lines == ["search-asymmetry ships with the suite: nothing to download"]


# ------------------------------------------------------------ the command line


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder: code, output, errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["neurovis", "data", *map(str, words)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as end:
            main()
        output, errors = capsys.readouterr()
        return end.value.code or 0, output, errors

    return call


def test_the_command_lists_every_set_with_all_facts(call):
    code, output, _ = call("list")
    assert code == 0
    expected = [line for s in SOURCES.values() for line in describe_source(s)]
    assert output.splitlines() == expected


def test_the_command_downloads_into_a_folder_named_after_the_set(
    call, mirror, offer, tmp_path
):
    offer(files=(published(mirror, "a.bin", b"one", terms="No resale."),))
    code, output, errors = call("fetch", "mine")
    assert (code, output) == (1, "")
    assert errors.startswith("error: a.bin comes under these terms: No resale.")
    code, output, _ = call("fetch", "mine", "--accept-terms")
    assert code == 0
    assert "1 downloaded" in output
    assert (tmp_path / "data" / "mine" / "a.bin").read_bytes() == b"one"
    code, output, _ = call("fetch", "mine", "--to", "data/mine", "--accept-terms")
    assert (code, "1 complete already" in output) == (0, True)


def test_the_command_tells_one_error(call, tmp_path):
    for words in (["fetch", "wolfe-search"], ["check", "osie", "."]):
        code, output, errors = call(*words)
        assert (code, output, errors.count("\n")) == (1, "", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_folder_is_told(call, tmp_path):
    (tmp_path / "trials.csv.gz").write_bytes(gzip.compress(b"task\n")[:-3])
    code, _, errors = call("check", "wolfe-search", ".")
    assert code == 1
    assert re.search("truncated or damaged", errors)


def test_gaze_data_describe_themselves(data_folder):
    module, function = SOURCES["amazon-covers"].loader.split(":")
    load = getattr(importlib.import_module(f"data_loaders.{module}"), function)
    data = load(data_folder / "amazon_covers")
    assert isinstance(data, GazeData)
    assert sources._summary(data) == data.describe()
