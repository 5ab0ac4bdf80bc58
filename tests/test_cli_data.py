"""`neurovis data` on a small simulated tree, as users call it."""

import sys

import pytest

from data_loaders.nsd import load_nsd
from neurovis.cli import main


def run(*words, capsys):
    """Run the command line in this process; return exit code, output and errors."""
    old, sys.argv = sys.argv, ["neurovis", *map(str, words)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = old
    told = capsys.readouterr()
    return code or 0, told.out, told.err


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "nsd"
    words = [
        *("neurovis", "data", "simulate", "nsd", "--out", str(folder)),
        *("--subjects", "1", "--sessions", "2", "--shape", "9,11,9"),
        *("--vertices", "162", "--picture-px", "32", "--seed", "3"),
    ]
    old, sys.argv = sys.argv, words
    try:
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    finally:
        sys.argv = old
    return folder


def test_a_simulated_tree_is_checked_described_and_marked(tree, capsys):
    code, out, _ = run("data", "check", f"nsd:{tree}", capsys=capsys)
    assert code == 0
    assert "1 subjects, 2 sessions, 50 shared pictures, simulated" in out
    code, out, _ = run("data", "describe", f"nsd:{tree}", capsys=capsys)
    assert code == 0
    assert "1500 trials of 500 pictures (500 three times), 50 of them shared" in out
    assert "note: Simulated data" in out


def test_prepare_keeps_what_load_nsd_then_opens(tree, tmp_path, capsys):
    words = ("--regions", "streams", "--sessions", "1-2", "--store", tmp_path)
    code, out, _ = run("data", "prepare", f"nsd:{tree}", *words, capsys=capsys)
    assert code == 0
    assert out.startswith("nsd subj01: 500 rows of 500 stimuli,")
    before = sorted(tmp_path.iterdir())
    again = load_nsd(tree, 1, regions="streams", sessions=[1, 2], store=tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert f"{again.n_units} units" in out


@pytest.mark.parametrize("text", ["a", "1-", "1-x", "2,b"])
def test_sessions_that_are_no_numbers_are_told(tree, tmp_path, capsys, text):
    words = ("--sessions", text, "--store", tmp_path)
    code, _, errors = run("data", "prepare", f"nsd:{tree}", *words, capsys=capsys)
    assert code == 1
    assert errors == f"error: `sessions` must be numbers such as 1-3,5; got {text!r}.\n"


def test_describe_tells_all_but_the_blocks_where_memory_is_too_small(tree, capsys):
    words = ("--memory-gib", "0.1")
    code, out, _ = run("data", "describe", f"nsd:{tree}", *words, capsys=capsys)
    assert code == 0
    assert "prf-visualrois: V1v" in out
    assert "memory: `memory_gib` must be at least" in out


def test_options_that_do_not_apply_are_refused(tmp_path, capsys):
    words = ("--subject", "3")
    where = f"algonauts:{tmp_path}"
    code, _, errors = run("data", "describe", where, *words, capsys=capsys)
    assert code == 1
    assert "are for nsd; algonauts takes none" in errors


@pytest.mark.parametrize("words", [("check", "osie"), ("describe", "nsd")])
def test_a_set_without_a_folder_is_asked_for_one(words, capsys):
    code, _, errors = run("data", *words, capsys=capsys)
    assert code == 1
    assert "PATH" in errors


def test_an_existing_folder_is_not_simulated_into(tree, capsys):
    words = ("--out", tree, "--subjects", "1", "--sessions", "1")
    code, _, errors = run("data", "simulate", "nsd", *words, capsys=capsys)
    assert code == 1
    assert "exists already" in errors


def test_a_flat_folder_of_pictures_gets_random_categories_and_says_so(tmp_path, capsys):
    from neurovis.core.pictures import write_png
    from stimuli.category_pictures import make_category_pictures

    drawn = make_category_pictures(250, size_px=24)
    for i in range(250):
        write_png(tmp_path / "pictures" / f"{i:03d}.png", drawn.load(i))
    words = (
        *("--out", tmp_path / "nsd", "--subjects", "1", "--sessions", "1"),
        *("--shape", "8,8,8", "--vertices", "162", "--picture-px", "24"),
        *("--pictures", tmp_path / "pictures"),
    )
    code, out, _ = run("data", "simulate", "nsd", *words, capsys=capsys)
    assert code == 0
    assert "categories are drawn at random" in out
    assert len(load_nsd(tmp_path / "nsd", 1, space="fsaverage")) == 250


def test_pictures_are_found_from_another_working_folder(tree, monkeypatch, tmp_path):
    monkeypatch.chdir(tree.parent)
    responses = load_nsd("nsd", 1, regions="V1")
    expected = responses.pictures[3].copy()
    responses = load_nsd("nsd", 1, regions="V1")
    monkeypatch.chdir(tmp_path)
    assert (responses.pictures[3] == expected).all()
