"""Flickr8k: captions by people for 8000 photographs, and judgements of captions.

The text of the release only: the photographs are not part of it.

References
----------
Hodosh, Young and Hockenmaier (2013). Framing image description as a ranking task: data,
models and evaluation metrics. Journal of Artificial Intelligence Research 47, 853-899.
doi:10.1613/jair.3994.
"""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data_loaders.source_files import content_of, read_columns
from neurovis.core.checks import check_columns, check_option, check_path

SPLITS = ("train", "dev", "test")

CAPTIONS_PER_IMAGE = 5

EXPERTS = ("e1", "e2", "e3")
"""Columns of the scores of the experts."""

_CAPTIONS = "captions.csv.gz"
_EXPERT = "expert_judgements.csv.gz"
_CROWD = "crowd_judgements.csv.gz"
_CAPTION_KINDS = {"image": "text", "k": "whole", "split": "text", "caption": "text"}
_PAIR_KINDS = {"image": "text", "caption_id": "text"}
_EXPERT_KINDS = {**_PAIR_KINDS, **dict.fromkeys(EXPERTS, "whole")}
_CROWD_KINDS = {
    **_PAIR_KINDS,
    "yes_fraction": "number",
    "n_yes": "whole",
    "n_no": "whole",
}


@dataclass(frozen=True)
class FlickrCaptions:
    """Captions of photographs, and how well captions describe photographs.

    Parameters
    ----------
    captions : DataFrame
        One row per caption: `image` (name of the file), `k` (0..4), `split` ("train",
        "dev" or "test") and `caption` (words and signs apart by spaces).
    expert : DataFrame
        One row per judged pair: `image`, `caption_id` ("<image>#<k>", often of another
        picture) and the scores `e1`, `e2`, `e3` of three experts: 1, the caption does
        not describe the picture; 2, minor aspects; 3, almost; 4, it does.
    crowd : DataFrame
        One row per pair that a crowd judged: `image`, `caption_id`, `yes_fraction`
        (0..1), `n_yes` and `n_no` (answers to whether it describes the picture).
    notes : tuple of str
        What one must know to use them.
    """

    captions: pd.DataFrame
    expert: pd.DataFrame
    crowd: pd.DataFrame
    notes: tuple[str, ...] = ()

    def texts(self, split: str | None = None) -> dict[str, tuple[str, ...]]:
        """Return the captions of each picture.

        Parameters
        ----------
        split : {"train", "dev", "test"}, optional
            Pictures to take; all by default.

        Returns
        -------
        dict of str to tuple of str
            The five captions of each picture, pictures in the order of the table.

        Raises
        ------
        ValueError
            If the split is unknown.
        """
        table = self.captions
        if split is not None:
            table = table[table["split"] == check_option("split", split, SPLITS)]
        grouped = table.groupby("image", sort=False)["caption"]
        return {str(image): tuple(texts) for image, texts in grouped}

    def judged(self, pairs: pd.DataFrame) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return judged captions, and what others wrote of the judged pictures.

        Parameters
        ----------
        pairs : DataFrame
            `image` and `caption_id`, such as `expert` or `crowd`.

        Returns
        -------
        captions : list of str
            The caption of each pair.
        references : list of tuple of str
            Captions of the picture of each pair without the judged one itself: five,
            or four.

        Raises
        ------
        ValueError
            If a column is missing or a caption or picture is unknown.
        """
        check_columns("pairs", pairs.columns, ["image", "caption_id"])
        ids = caption_ids(self.captions)
        by_id = dict(zip(ids, self.captions["caption"], strict=True))
        own: dict[str, list[str]] = {}
        for image, name in zip(self.captions["image"], ids, strict=True):
            own.setdefault(image, []).append(name)
        _check_known("caption_id", pairs["caption_id"], by_id)
        _check_known("image", pairs["image"], own)
        captions = [by_id[name] for name in pairs["caption_id"]]
        references = [
            tuple(by_id[other] for other in own[image] if other != name)
            for image, name in zip(pairs["image"], pairs["caption_id"], strict=True)
        ]
        return captions, references

    def describe(self) -> list[str]:
        """Describe the set: counts, then what one must know.

        Returns
        -------
        list of str
            One line each.
        """
        images = self.captions.drop_duplicates("image")["split"].value_counts()
        parts = ", ".join(f"{int(images.get(s, 0))} {s}" for s in SPLITS)
        return [
            f"{len(self.captions)} captions of {int(images.sum())} pictures ({parts})",
            f"{len(self.expert)} pairs of picture and caption judged by experts, "
            f"{len(self.crowd)} by a crowd",
            *self.notes,
        ]


def load_flickr8k(folder: str | Path) -> FlickrCaptions:
    """Load captions of photographs and judgements of captions.

    Parameters
    ----------
    folder : str or Path
        Folder with ``captions.csv.gz`` (`image`, `k`, `split`, `caption`),
        ``expert_judgements.csv.gz`` (`image`, `caption_id`, `e1`, `e2`, `e3`) and
        ``crowd_judgements.csv.gz`` (`image`, `caption_id`, `yes_fraction`, `n_yes`,
        `n_no`); see `FlickrCaptions`.

    Returns
    -------
    FlickrCaptions
        Captions sorted by picture and `k`, judgements in the order of the files.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged, a picture has not its five captions in one split, a
        score is out of range, or a judged caption or picture is unknown.

    Notes
    -----
    The tables hold the text release of Flickr8k (Flickr8k.token.txt, the lists of the
    splits, ExpertAnnotations.txt, CrowdFlowerAnnotations.txt), of which
    https://github.com/prakhar-dhakar/Image-Captioning, commit
    5ab3142167da9315c4287173ed24a643a0425ab8, has a copy. It is free for research with
    citation; there is no open licence.

    References
    ----------
    Hodosh, Young and Hockenmaier (2013). JAIR 47, 853-899. doi:10.1613/jair.3994.

    Examples
    --------
    >>> def judged_captions(folder):
    ...     data = load_flickr8k(folder)
    ...     return data.judged(data.expert)
    """
    folder = check_path("folder", folder, kind="folder")
    paths = [check_path(n, folder / n) for n in (_CAPTIONS, _EXPERT, _CROWD)]
    captions = read_columns(paths[0], _CAPTION_KINDS)
    with content_of(paths[0]):
        _check_captions(captions)
    captions = captions.sort_values(["image", "k"], ignore_index=True)
    ids, images = set(caption_ids(captions)), set(captions["image"])
    tables = []
    for path, kinds in zip(paths[1:], (_EXPERT_KINDS, _CROWD_KINDS), strict=True):
        pairs = read_columns(path, kinds)
        with content_of(path):
            _check_known("caption_id", pairs["caption_id"], ids)
            _check_known("image", pairs["image"], images)
            twice = pairs.duplicated(["image", "caption_id"])
            if twice.any():
                first = pairs[twice].iloc[0]
                raise ValueError(
                    f"The pair {first['image']}, {first['caption_id']} repeats."
                )
        tables.append(pairs)
    expert, crowd = tables
    with content_of(paths[1]):
        _check_expert(expert)
    with content_of(paths[2]):
        _check_crowd(crowd)
    own = expert["caption_id"].str.rpartition("#")[0] == expert["image"]
    notes = (
        f"{int(own.sum())} of {len(expert)} pairs of the experts are a picture and one "
        "of its own captions: leave that one out of the references.",
    )
    return FlickrCaptions(captions, expert, crowd, notes)


def check_flickr8k(folder: str | Path) -> list[str]:
    """Check a folder of the set.

    Parameters
    ----------
    folder : str or Path
        As for `load_flickr8k`.

    Returns
    -------
    list of str
        Counts, one line each.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        As `load_flickr8k`.
    """
    return load_flickr8k(folder).describe()


def caption_ids(captions: pd.DataFrame) -> list[str]:
    """Return the names that judgements have for captions.

    Parameters
    ----------
    captions : DataFrame
        `image` and `k`.

    Returns
    -------
    list of str
        "<image>#<k>", in the order of the rows.

    Examples
    --------
    >>> caption_ids(pd.DataFrame({"image": ["a.jpg"], "k": [3]}))
    ['a.jpg#3']
    """
    images, numbers = captions["image"], captions["k"]
    return [f"{image}#{k}" for image, k in zip(images, numbers, strict=True)]


def _check_captions(captions: pd.DataFrame) -> None:
    if captions.empty:
        raise ValueError("It has no caption.")
    unknown = set(captions["split"]) - set(SPLITS)
    if unknown:
        raise ValueError(f"The split {min(unknown)!r} is none of {SPLITS}.")
    blank = ~captions["caption"].str.contains(r"\w")
    if blank.any():
        first = captions[blank].iloc[0]
        raise ValueError(f"Caption {first['k']} of {first['image']} has no word.")
    right = captions["k"].between(0, CAPTIONS_PER_IMAGE - 1)
    right &= ~captions.duplicated(["image", "k"], keep=False)
    size = captions.groupby("image")["k"].transform("size")
    wrong = ~right | (size != CAPTIONS_PER_IMAGE)
    if wrong.any():
        image = captions["image"][wrong].iloc[0]
        raise ValueError(
            f"{image} must have the captions 0 to {CAPTIONS_PER_IMAGE - 1}, each once; "
            f"it has {sorted(captions['k'][captions['image'] == image])}."
        )
    parts = captions[["image", "split"]].drop_duplicates()
    twice = parts.duplicated("image")
    if twice.any():
        raise ValueError(f"{parts['image'][twice].iloc[0]} is in several splits.")


def _check_known(name: str, values: pd.Series, known: Container[str]) -> None:
    lost = [value for value in values if value not in known]
    if lost:
        raise ValueError(f"The {name} {lost[0]!r} is not in {_CAPTIONS}.")


def _check_expert(expert: pd.DataFrame) -> None:
    scores = expert[list(EXPERTS)].to_numpy()
    if np.any((scores < 1) | (scores > 4)):
        raise ValueError(
            f"Scores must be within 1 and 4; got {scores.min()} to {scores.max()}."
        )


def _check_crowd(crowd: pd.DataFrame) -> None:
    yes, no = crowd["n_yes"].to_numpy(), crowd["n_no"].to_numpy()
    if np.any(yes < 0) or np.any(no < 0) or np.any(yes + no == 0):
        raise ValueError("A pair has a negative number of answers, or none.")
    wrong = ~(np.abs(crowd["yes_fraction"].to_numpy() - yes / (yes + no)) < 0.01)
    if wrong.any():
        row = crowd[wrong].iloc[0]
        raise ValueError(
            f"`yes_fraction` must be n_yes / (n_yes + n_no); got {row['yes_fraction']} "
            f"for {row['n_yes']} yes and {row['n_no']} no."
        )
