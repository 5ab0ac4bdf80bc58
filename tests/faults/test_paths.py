"""Names and paths of every kind."""

import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_loaders.picture_folder import open_picture_folder
from neurovis.core.array_files import write_array, write_arrays
from neurovis.core.files import read_table, write_json, write_table, write_text
from neurovis.core.pictures import write_png
from neurovis.core.store import Store
from stimuli.save import load_stimuli
from tests.test_cli import assert_one_error, run_here

ACCENTS = "Größe né"
NAMES = {
    "a colon": "day:1",
    "spaces at both ends": " my  results ",
    "composed accents": unicodedata.normalize("NFC", ACCENTS),
    "decomposed accents": unicodedata.normalize("NFD", ACCENTS),
    "other scripts": "結果 результат نتيجة",
    "emoji": "\U0001f9e0\u200d\U0001f441\ufe0f",
    "200 characters": "long" * 50,
    "a leading dash": "-out",
    "quotes": 'it\'s "so" `now`',
    "percent signs": "100%s %(x)s %20 %",
    "a line end": "one\ntwo",
    "a backslash": "a\\b",
    "signs of the shell": "$HOME;&|>~*",
    "signs of patterns": "[ab]?{x}*.part-7",
    "signs of addresses": "a?b=c#d&amp;e",
    "signs of a page": "<b>bold<br>",
    "bytes that are no text": os.fsdecode(b"latin-\xe9"),
}
DRAW = ["stimuli", "search-asymmetry", "--conditions", "left_right", "--trials", 1]
TABLE = pd.DataFrame({"value": [0.5, np.nan]})


def contents(folder):
    """All files below a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def call(*words, cwd):
    """Run a verb that must end well; return what it prints."""
    code, output, errors = run_here(*words, cwd=cwd)
    assert (code, errors) == (0, "")
    return output


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Stimuli in a folder with a plain name."""
    folder = tmp_path_factory.mktemp("plain")
    exports = ["--export", "psychopy", "--export", "bids"]
    call(*DRAW, *exports, "--out", "set", cwd=folder)
    return folder / "set"


def write_all(folder):
    """Write a file of every kind, by a path relative to the working folder."""
    write_text(folder / "a.txt", "x")
    write_json(folder / "a.json", {"x": 1})
    write_table(folder / "a.csv", TABLE)
    write_table(folder / "a.parquet", TABLE)
    write_array(folder / "a.npy", np.arange(3))
    write_arrays(folder / "a.safetensors", {"a": np.arange(3)})
    write_png(folder / "a.png", np.zeros((4, 5, 3), np.uint8))
    Store(folder / "store").put({"kind": "table"}, TABLE)
    Store(folder / "store").put({"kind": "arrays"}, {"a": np.arange(3)})


@pytest.mark.parametrize("kind", NAMES)
def test_files_of_every_kind_are_written_below_any_name(
    tmp_path, monkeypatch, told, kind
):
    monkeypatch.chdir(tmp_path)
    write_all(Path("plain"))
    write_all(Path(NAMES[kind]) / "x")
    assert contents(tmp_path / NAMES[kind] / "x") == contents(tmp_path / "plain")
    found = read_table(Path(NAMES[kind]) / "x" / "a.parquet")
    pd.testing.assert_frame_equal(found, TABLE)
    told(f"the name of a folder has {kind}", "its files are written and read")


# A colon must come first: only there could it name a protocol.
LONG = f"{NAMES['a colon']}/{NAMES['200 characters']}"
ALL = "/".join(name for name in NAMES.values() if len(name) < 200)


@pytest.mark.parametrize("out", [LONG, ALL], ids=["long", "all"])
def test_stimuli_are_drawn_into_folders_of_any_name(drawn, tmp_path, told, out):
    exports = ["--export", "psychopy", "--export", "bids"]
    output = call(*DRAW, *exports, "--out", out, cwd=tmp_path)
    assert output.startswith("3 stimuli in day:1")
    assert contents(tmp_path / out) == contents(drawn)
    assert len(load_stimuli(tmp_path / out, verify=True)) == 3
    told(
        "stimuli and exports are written to a path of such names",
        "they have the bytes of those in a plain one",
    )


# ------------------------------------------------------------------ long names

LIMIT = 255  # bytes of a name, on nearly all disks


@pytest.mark.parametrize("sign", ["x", "é"], ids=["ASCII", "two bytes"])
def test_a_name_is_written_or_refused_however_long_it_is(tmp_path, told, sign):
    n_part = len(f".part-{os.getpid()}")
    lengths = range(LIMIT - n_part - 6, LIMIT + 4, 2)
    refused = []
    for n in lengths:
        path = tmp_path / (sign * ((n - 4) // len(sign.encode())) + ".csv")
        if len(os.fsencode(path.name)) + n_part <= LIMIT:
            write_table(path, TABLE)
            pd.testing.assert_frame_equal(read_table(path), TABLE)
            path.unlink()
            continue
        with pytest.raises(OSError, match=r"too long for the disk.*shorter") as caught:
            write_table(path, TABLE)
        refused.append(str(caught.value))
    assert 0 < len(refused) < len(lengths)
    assert list(tmp_path.iterdir()) == []
    text = re.sub("(x|é){9,}", "xxx...", refused[-1])
    told("the name of a file is too long", text)


@pytest.mark.parametrize("out", ["x" * 256, "/".join(["deep" * 50] * 30)])
def test_a_folder_whose_name_or_path_is_too_long_is_one_error(tmp_path, told, out):
    result = run_here(*DRAW, "--out", out, cwd=tmp_path)
    assert_one_error(*result, "too long for the disk .File name too long.*shorter one")
    assert contents(tmp_path) == {}
    what = "name" if "/" not in out else "path"
    text = re.sub(r"(x|deep|/){9,}", "xxx...", result[2])
    told(f"the {what} of the folder for results is too long", text)


# -------------------------------------------------------------- names of pictures


def test_pictures_of_any_name_are_found_under_that_name(tmp_path, told):
    names = [name for kind, name in NAMES.items() if "no text" not in kind]
    for number, name in enumerate(names):
        picture = np.full((4, 5, 3), number, np.uint8)
        write_png(tmp_path / name / f"{name}.png", picture)
    pictures, labels = open_picture_folder(tmp_path)
    assert sorted(labels["category"]) == sorted(names)
    for picture, row in zip(pictures, labels.itertuples(), strict=True):
        assert row.stimulus_id == f"{row.category}/{row.category}.png"
        assert picture[0, 0, 0] == names.index(row.category)
    table = labels.assign(n=range(len(labels)))
    for suffix in (".csv", ".parquet"):
        write_table(tmp_path / f"table{suffix}", table)
        found = read_table(tmp_path / f"table{suffix}")
        assert found["stimulus_id"].tolist() == table["stimulus_id"].tolist()
    told(
        "pictures and their folders have names as above",
        "they keep them, in tables too",
    )


def test_a_picture_whose_name_is_no_text_is_told(tmp_path, told):
    name = NAMES["bytes that are no text"]
    write_png(tmp_path / "pictures" / f"{name}.png", np.zeros((4, 5, 3), np.uint8))
    words = ["stimuli", "foveate", "pictures", "--transform", "uniform-blur"]
    result = run_here(*words, "--out", "out", cwd=tmp_path)
    assert_one_error(*result, r"latin-.*is no text .it is not UTF-8.*Rename")
    assert not (tmp_path / "out").exists()
    told("the name of a picture is no text (latin-1 bytes)", result[2])


# ------------------------------------------------------------------------- runs


def assert_reports_need_nothing_else(folder):
    """Pages hold their figures: there is no link that a path could break."""
    pages = [*folder.rglob("*.html")]
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r'<[^>]+\s(?:src|href)="([^"]*)"', text)
        assert links
        assert all(link.startswith(("data:", "#")) for link in links)
        anchors = {link[1:] for link in links if link.startswith("#")}
        assert anchors <= set(re.findall(r'\sid="([^"]*)"', text))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_in_a_folder_of_odd_names_gives_the_same_bytes(drawn, tmp_path, told):
    words = ["run", "search-asymmetry", "--models", "chance", "--stimuli", drawn]
    for out in ("plain", ALL, LONG):
        call(*words, "--out", out, cwd=tmp_path)
        assert "report.html" in call("report", "--", out, cwd=tmp_path)
        assert_reports_need_nothing_else(tmp_path / out)
        assert contents(tmp_path / out) == contents(tmp_path / "plain")
    told(
        "`neurovis run search-asymmetry --out` gets a path of all these names",
        "the tables, figures and report of a plain one, byte by byte",
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fit_with_data_store_and_results_of_odd_names(tmp_path, told):
    tables = {}
    for kind in ("plain", "odd"):
        work = tmp_path / kind
        work.mkdir()
        data, store, out = "nsd", "store", "out"
        if kind == "odd":
            data = f"{NAMES['decomposed accents']}/{NAMES['quotes']}/nsd [1]"
            store = f"{NAMES['signs of patterns']}/{NAMES['percent signs']}"
            out = f"{NAMES['a leading dash']}/{NAMES['a line end']}"
        call(
            *("data", "simulate", "nsd", "--out", data, "--shape", "9,11,9"),
            *("--subjects", 1, "--sessions", 1, "--vertices", 162),
            *("--picture-px", 32, "--seed", 3),
            cwd=work,
        )
        call(
            *("fit", "encoding", "--data", f"nsd:{data}", "--subject", "1"),
            *("--roi", "early", "--permutations", 20, "--bootstrap", 20),
            *("--features", "control:colour", "--components", 40),
            *("--device", "cpu", "--store", store, "--out", out),
            cwd=work,
        )
        weights = min((work / out / "models").rglob("*.safetensors"))
        write_png(
            work / "new" / f"{NAMES['emoji']}.png", np.zeros((40, 40, 3), np.uint8)
        )
        words = ["--model", weights.parent.relative_to(work), "--pictures", "new"]
        call("predict", *words, "--out", f"{out}/predicted", cwd=work)
        assert_reports_need_nothing_else(work / out)
        tables[kind] = {
            name: data
            for name, data in contents(work / out).items()
            if name.endswith((".parquet", ".npy", ".safetensors"))
        }
    assert len(tables["plain"]) >= 8
    assert tables["odd"] == tables["plain"]
    told(
        "data, store and results of `neurovis fit encoding` have such names",
        "the tables, models and predictions of plain ones, byte by byte",
    )
