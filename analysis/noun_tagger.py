"""Parts of speech by the averaged perceptron of nltk: nouns beyond any table.

It tells "a man watches a dog" from "a man wears a watch", which a table of nouns
cannot. It takes much longer than a table.

References
----------
Bird, Klein and Loper (2009). Natural Language Processing with Python. O'Reilly.
Collins (2002). Discriminative training methods for hidden Markov models. EMNLP, 1-8.
doi:10.3115/1118693.1118694.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from analysis.caption_nouns import Tagger
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError, MissingDependencyError
from neurovis.core.files import read_json

NAME = "averaged_perceptron_tagger_eng"
"""Name of the weights in the data of nltk."""


def load_noun_tagger(folder: str | Path | None = None) -> Tagger:
    """Load a tagger of English parts of speech.

    Parameters
    ----------
    folder : str or Path, optional
        Folder with ``averaged_perceptron_tagger_eng.weights.json``, ``...tagdict.json``
        and ``...classes.json``. By default it is looked for where nltk keeps its data
        (the environment variable ``NLTK_DATA`` adds a place).

    Returns
    -------
    callable
        Called with a list of words, returns (word, tag) pairs with the tags of the
        Penn Treebank; the `tagger` of `analysis.caption_words.caption_nouns`.

    Raises
    ------
    MissingDependencyError
        If nltk is not installed.
    FileNotFoundError
        If the weights are not there.
    DataCorruptError
        If a file is no JSON or holds something else.

    Examples
    --------
    >>> def nouns_of(caption):
    ...     return caption_nouns(caption, tagger=load_noun_tagger())
    """
    try:
        nltk = import_module("nltk")
    except ImportError as error:
        raise MissingDependencyError(
            "Tags of parts of speech need the package nltk: run `pip install "
            "'neurovis[words]'`. Without it nouns are looked up in a table."
        ) from error
    place = _find_weights(nltk) if folder is None else folder
    place = check_path("folder", place, kind="folder")
    weights, tagdict, classes = (
        _read_part(check_path("folder", place / f"{NAME}.{part}.json"))
        for part in _IS_PART
    )
    tagger = nltk.tag.perceptron.PerceptronTagger(load=False)
    tagger.model.weights = weights
    tagger.tagdict = tagdict
    tagger.classes = tagger.model.classes = set(classes)
    return lambda words: tagger.tag(words)


def _find_weights(nltk: Any) -> Path:
    try:
        return Path(str(nltk.data.find(f"taggers/{NAME}")))
    except LookupError as error:
        raise FileNotFoundError(
            f"nltk has no weights {NAME}: run `python -m nltk.downloader {NAME}`, or "
            "give the folder that holds them as `folder`."
        ) from error


def _read_part(path: Path) -> Any:
    part = path.name.split(".")[-2]
    value = read_json(path)
    if not _IS_PART[part](value):
        raise DataCorruptError(
            f"{path} does not hold the {part} of a perceptron tagger. Get it again: "
            f"`python -m nltk.downloader {NAME}`."
        )
    return value


def _is_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(by_tag, dict)
        and all(isinstance(weight, int | float) for weight in by_tag.values())
        for by_tag in value.values()
    )


def _is_tagdict(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(t, str) for t in value.values())


def _is_classes(value: Any) -> bool:
    whole = isinstance(value, list) and len(value) > 0
    return whole and all(isinstance(tag, str) for tag in value)


_IS_PART = {"weights": _is_weights, "tagdict": _is_tagdict, "classes": _is_classes}
