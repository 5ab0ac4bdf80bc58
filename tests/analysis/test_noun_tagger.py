"""The optional tagger of parts of speech, with tiny weights trained here."""

import json
import sys

import pytest

from analysis.caption_words import caption_nouns
from analysis.noun_tagger import NAME, load_noun_tagger
from neurovis.core.errors import DataCorruptError, MissingDependencyError

SENTENCES = [
    [("The", "DT"), ("man", "NN"), ("watches", "VBZ"), ("dogs", "NNS"), (".", ".")],
    [("A", "DT"), ("woman", "NN"), ("wears", "VBZ"), ("watches", "NNS"), (".", ".")],
    [("The", "DT"), ("boy", "NN"), ("watches", "VBZ"), ("zorbs", "NNS"), (".", ".")],
    [("A", "DT"), ("girl", "NN"), ("wears", "VBZ"), ("hats", "NNS"), (".", ".")],
]


@pytest.fixture(scope="module")
def perceptron():
    pytest.importorskip("nltk")
    from nltk.tag.perceptron import PerceptronTagger

    tagger = PerceptronTagger(load=False)
    tagger.train([list(s) for s in SENTENCES], nr_iter=20)
    return tagger


@pytest.fixture
def folder(perceptron, tmp_path):
    parts = {
        "weights": perceptron.model.weights,
        "tagdict": perceptron.tagdict,
        "classes": sorted(perceptron.classes),
    }
    place = tmp_path / "taggers" / NAME
    place.mkdir(parents=True)
    for part, value in parts.items():
        (place / f"{NAME}.{part}.json").write_text(json.dumps(value))
    return place


def test_weights_read_from_a_folder_tag_as_those_that_were_written(perceptron, folder):
    tagger = load_noun_tagger(folder)
    for sentence in SENTENCES:
        words = [word for word, _ in sentence]
        assert tagger(words) == perceptron.tag(words) == sentence


def test_the_tagger_tells_a_verb_from_a_noun_that_no_table_can_tell(folder):
    tagger = load_noun_tagger(folder)
    assert caption_nouns("The man watches zorbs.", tagger=tagger) == ("man", "zorb")
    assert caption_nouns("A girl wears watches.", tagger=tagger) == ("girl", "watch")


def test_weights_are_found_where_nltk_keeps_its_data(folder, monkeypatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(folder.parents[1])])
    assert load_noun_tagger()(["The", "man"]) == [("The", "DT"), ("man", "NN")]
    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(FileNotFoundError, match=r"nltk\.downloader averaged_percep"):
        load_noun_tagger()


@pytest.mark.parametrize("part", ["weights", "tagdict", "classes"])
@pytest.mark.parametrize("text", ["[1, 2]", '{"a": {"b": "c"}}', '{"a": [1', "[]", "7"])
def test_damaged_weights_are_corrupt(folder, part, text):
    (folder / f"{NAME}.{part}.json").write_text(text)
    with pytest.raises(DataCorruptError, match=f"{NAME}.{part}.json"):
        load_noun_tagger(folder)


def test_a_missing_file_and_a_missing_folder_are_named(folder, tmp_path):
    (folder / f"{NAME}.classes.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"classes\.json"):
        load_noun_tagger(folder)
    with pytest.raises(FileNotFoundError, match="must be an existing folder"):
        load_noun_tagger(tmp_path / "nowhere")


def test_without_nltk_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(MissingDependencyError, match=r"neurovis\[words\]"):
        load_noun_tagger()
