"""Captions of Flickr8k and judgements of captions."""

import gzip

import pandas as pd
import pytest

from data_loaders.flickr8k import (
    EXPERTS,
    SPLITS,
    caption_ids,
    check_flickr8k,
    load_flickr8k,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json

FILES = {
    "captions": "captions.csv.gz",
    "expert": "expert_judgements.csv.gz",
    "crowd": "crowd_judgements.csv.gz",
}


def _tables():
    captions = pd.DataFrame(
        {
            "image": ["b.jpg"] * 5 + ["a.jpg"] * 5,
            "k": [*range(5), *reversed(range(5))],
            "split": ["test"] * 5 + ["train"] * 5,
            "caption": [f"A dog , number {i} ." for i in range(10)],
        }
    )
    expert = pd.DataFrame(
        {
            "image": ["b.jpg", "b.jpg"],
            "caption_id": ["a.jpg#0", "b.jpg#3"],
            "e1": [1, 4],
            "e2": [2, 4],
            "e3": [1, 3],
        }
    )
    crowd = pd.DataFrame(
        {
            "image": ["a.jpg", "a.jpg"],
            "caption_id": ["b.jpg#4", "a.jpg#1"],
            "yes_fraction": [0.0, 2 / 3],
            "n_yes": [0, 2],
            "n_no": [3, 1],
        }
    )
    return {"captions": captions, "expert": expert, "crowd": crowd}


def _write(folder, **changes):
    for name, table in (_tables() | changes).items():
        data = gzip.compress(table.to_csv(index=False).encode(), mtime=0)
        (folder / FILES[name]).write_bytes(data)


def _with(name, row=None, **columns):
    table = _tables()[name]
    for column, value in columns.items():
        if row is None:
            table[column] = value
        else:
            table.loc[row, column] = value
    return {name: table}


def test_captions_are_sorted_and_judgements_stay_in_order(tmp_path):
    _write(tmp_path)
    data = load_flickr8k(tmp_path)
    assert data.captions["image"].tolist() == ["a.jpg"] * 5 + ["b.jpg"] * 5
    assert data.captions["k"].tolist() == [*range(5)] * 2
    assert data.captions["caption"].iloc[0] == "A dog , number 9 ."
    assert data.expert["caption_id"].tolist() == ["a.jpg#0", "b.jpg#3"]
    assert data.expert[list(EXPERTS)].to_numpy().tolist() == [[1, 2, 1], [4, 4, 3]]
    assert data.crowd["n_yes"].tolist() == [0, 2]
    assert data.notes[0].startswith("1 of 2 pairs of the experts are a picture and")


def test_texts_are_those_of_a_split(tmp_path):
    _write(tmp_path)
    data = load_flickr8k(tmp_path)
    assert list(data.texts()) == ["a.jpg", "b.jpg"]
    assert list(data.texts("test")) == ["b.jpg"]
    assert data.texts("dev") == {}
    assert data.texts("test")["b.jpg"][3] == "A dog , number 3 ."
    with pytest.raises(ValueError, match="`split` must be one of"):
        data.texts("validation")


def test_references_leave_the_judged_caption_out(tmp_path):
    _write(tmp_path)
    data = load_flickr8k(tmp_path)
    captions, references = data.judged(data.expert)
    assert captions == ["A dog , number 9 .", "A dog , number 3 ."]
    assert references[0] == data.texts()["b.jpg"]
    assert len(references[1]) == 4
    assert captions[1] not in references[1]
    with pytest.raises(ValueError, match=r"caption_id 'c\.jpg#0' is not in"):
        data.judged(data.expert.assign(caption_id="c.jpg#0"))
    with pytest.raises(ValueError, match=r"lacks the columns \['image'\]"):
        data.judged(data.expert.drop(columns="image"))


def test_a_check_counts(tmp_path):
    _write(tmp_path)
    lines = check_flickr8k(tmp_path)
    assert lines[0] == "10 captions of 2 pictures (1 train, 0 dev, 1 test)"
    assert lines[1] == "2 pairs of picture and caption judged by experts, 2 by a crowd"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"captions": _tables()["captions"].iloc[:9]}, r"a\.jpg must have the capt"),
        ({"captions": _tables()["captions"].iloc[:0]}, "no caption"),
        (_with("captions", 2, k=5), r"b\.jpg must have the captions 0 to 4"),
        (_with("captions", 2, k=1), r"b\.jpg .* it has \[0, 1, 1, 3, 4\]"),
        (_with("captions", 2, split="dev"), r"b\.jpg is in several splits"),
        (_with("captions", split="val"), "split 'val' is none of"),
        (_with("captions", 1, caption=" . "), r"Caption 1 of b\.jpg has no word"),
        (_with("captions", 1, caption=""), "text in the column `caption`"),
        (_with("expert", e2=5), r"within 1 and 4; got 1 to 5"),
        (_with("expert", e2=0), r"within 1 and 4; got 0 to 4"),
        (_with("expert", e2=1.5), "whole numbers in the column `e2`"),
        (_with("expert", caption_id="a.jpg#7"), r"caption_id 'a\.jpg#7' is not in"),
        (_with("expert", image="c.jpg"), r"image 'c\.jpg' is not in"),
        (_with("expert", caption_id="a.jpg#0"), "pair b.jpg, a.jpg#0 repeats"),
        ({"expert": _tables()["expert"].drop(columns="e3")}, r"lacks \['e3'\]"),
        (_with("crowd", n_no=-1), "negative number of answers"),
        (_with("crowd", n_yes=0, n_no=0), "negative number of answers, or none"),
        (_with("crowd", yes_fraction=0.5), "must be n_yes / "),
        (_with("crowd", yes_fraction=float("nan")), "must be n_yes / "),
        (_with("crowd", image="c.jpg"), r"image 'c\.jpg' is not in"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, change, match):
    _write(tmp_path, **change)
    with pytest.raises(DataCorruptError, match=match) as error:
        load_flickr8k(tmp_path)
    (name,) = change
    assert FILES[name] in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_corrupt(tmp_path, name, share):
    _write(tmp_path)
    data = (tmp_path / FILES[name]).read_bytes()
    (tmp_path / FILES[name]).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match="not a readable"):
        load_flickr8k(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path, name):
    _write(tmp_path)
    (tmp_path / FILES[name]).unlink()
    with pytest.raises(FileNotFoundError, match=FILES[name].split(".")[0]):
        load_flickr8k(tmp_path)
    with pytest.raises(FileNotFoundError, match="must be an existing folder"):
        load_flickr8k(tmp_path / "nowhere")


# ------------------------------------------------------------ the real files


@pytest.fixture(scope="module")
def folder(data_folder):
    return data_folder / "captions_flickr8k"


@pytest.fixture(scope="module")
def flickr(folder):
    return load_flickr8k(folder)


def test_reference_values_are_reproduced(flickr, folder):
    reference = read_json(folder / "reference_values.json")
    assert len(flickr.captions) == reference["n_captions"] == 40_000
    assert len(flickr.expert) == reference["n_expert"] == 4382
    ranks = flickr.expert[list(EXPERTS)].corr(method="spearman")
    pairs = [("e1", "e2"), ("e1", "e3"), ("e2", "e3")]
    got = [round(float(ranks.loc[pair]), 4) for pair in pairs]
    assert got == reference["expert_spearman"]
    train = flickr.captions[flickr.captions["split"] == "train"]
    n_words = train["caption"].str.split(" ").str.len()
    assert round(float(n_words.mean()), 3) == reference["mean_words"]


def test_the_published_splits_are_there(flickr):
    images = flickr.captions.drop_duplicates("image")
    counts = images["split"].value_counts()
    assert [int(counts[split]) for split in SPLITS] == [6000, 1000, 1000]
    assert len(flickr.crowd) == 35_630
    judged = set(flickr.expert["image"]) | set(flickr.crowd["image"])
    assert judged <= set(flickr.texts("test"))


def test_experts_and_crowd_agree(flickr):
    both = flickr.expert.merge(flickr.crowd, on=["image", "caption_id"])
    mean = both[list(EXPERTS)].mean(axis="columns")
    assert len(both) == 1751
    assert mean.corr(both["yes_fraction"], method="spearman") > 0.6
    ids = caption_ids(flickr.captions)
    assert len(set(ids)) == 40_000
