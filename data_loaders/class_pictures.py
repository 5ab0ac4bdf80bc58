"""Pictures with one class each: the set, its parts, and what two parts share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_columns, check_option
from neurovis.core.files import sha256_bytes
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator

Picture = NDArray[np.uint8]

SPLITS = ("train", "val", "test")
"""Names of the parts of a set."""

WHOLE = "all"
"""Part of every picture in a set that is not divided."""

_COLUMNS = ("stimulus_id", "category", "split", "label")


@dataclass(frozen=True)
class ClassPictures:
    """Pictures with one class each, divided into parts.

    Parameters
    ----------
    name : str
        Name of the set.
    table : DataFrame
        One row per picture: `stimulus_id` (str, unique), `category` (name of the
        class), `split` ("train", "val", "test", or "all" if it is not divided) and
        `label` (0-based place of the class in `classes`).
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        In the order of `table`; read when asked for, sizes may differ.
    classes : tuple of str
        Names of the classes, in the order of the labels.
    fingerprints : mapping of str to str, optional
        SHA-256 of what was read.

    Raises
    ------
    ValueError
        If a column is missing, lengths differ, an identity repeats, or labels and
        classes do not fit.

    Examples
    --------
    >>> columns = {"stimulus_id": ["1", "2"], "category": ["sea", "wood"]}
    >>> table = pd.DataFrame(columns).assign(split="test", label=[0, 1])
    >>> grey = [np.zeros((4, 4, 3), np.uint8)] * 2
    >>> ClassPictures("scenes", table, grey, ("sea", "wood")).describe()
    ['scenes: 2 pictures of 2 classes', 'test: 2 (1 of each class)']
    """

    name: str
    table: pd.DataFrame
    pictures: Sequence[Picture]
    classes: tuple[str, ...]
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = self.table
        check_columns("table", table.columns, _COLUMNS)
        if len(table) != len(self.pictures) or not len(table):
            raise ValueError(
                f"`table` has {len(table)} rows for {len(self.pictures)} pictures: one "
                "row per picture, and at least one, is needed."
            )
        repeated = table["stimulus_id"][table["stimulus_id"].duplicated()]
        if len(repeated):
            raise ValueError(
                f"{repeated.iloc[0]!r} is listed twice: a picture has one class and "
                "one part."
            )
        for split in table["split"].unique():
            check_option("split", split, (*SPLITS, WHOLE))
        place = {name: i for i, name in enumerate(self.classes)}
        if len(place) != len(self.classes):
            raise ValueError("`classes` has a name twice.")
        if table["category"].map(place).tolist() != table["label"].tolist():
            raise ValueError(
                "`label` must be the place of `category` in `classes`; it is not for "
                "some rows."
            )

    def __len__(self) -> int:
        return len(self.table)

    def select(self, split: str) -> "ClassPictures":
        """Return one part of the set; classes and labels stay.

        Parameters
        ----------
        split : {"train", "val", "test", "all"}
            Which part.

        Returns
        -------
        ClassPictures
            Its pictures, read when asked for.

        Raises
        ------
        ValueError
            If the set has no such part.
        """
        check_option("split", split, self.table["split"].unique().tolist())
        rows = np.flatnonzero(self.table["split"] == split).tolist()
        return replace(
            self,
            table=self.table.iloc[rows].reset_index(drop=True),
            pictures=LazyPictures(self.pictures.__getitem__, rows),
        )

    def describe(self) -> list[str]:
        """Count pictures by part and class.

        Returns
        -------
        list of str
            The set, then a line per part.
        """
        lines = [f"{self.name}: {len(self)} pictures of {len(self.classes)} classes"]
        for split, part in self.table.groupby("split", sort=False):
            counts = part["category"].value_counts().reindex(self.classes, fill_value=0)
            low, high = counts.min(), counts.max()
            each = f"{low}" if low == high else f"{low} to {high}"
            lines.append(f"{split}: {len(part)} ({each} of each class)")
        return lines


def draw_splits(
    pictures: ClassPictures, sizes: Mapping[str, float], *, seed: int = 0
) -> ClassPictures:
    """Divide a set at random, each class alike.

    Parameters
    ----------
    pictures : ClassPictures
        A set that is not divided, or one of which "train" is divided further.
    sizes : mapping of str to int or float
        "train", "val" or "test" to pictures per class (whole numbers) or to a share
        of each class (below 1, rounded down). What is left over goes to "train"; if
        "train" has a size, it is left out.
    seed : int, default 0
        Seed; each class has its own stream.

    Returns
    -------
    ClassPictures
        The same pictures in the same order, with other parts.

    Raises
    ------
    ValueError
        If a part is unknown or there already, a size is out of range, or a class has
        too few pictures.

    Examples
    --------
    >>> ids = [f"{i}" for i in range(6)]
    >>> table = pd.DataFrame({"stimulus_id": ids, "category": "sea", "split": "all"})
    >>> grey = [np.zeros((4, 4, 3), np.uint8)] * 6
    >>> shown = ClassPictures("seas", table.assign(label=0), grey, ("sea",))
    >>> drawn = draw_splits(shown, {"val": 1, "test": 0.4})
    >>> drawn.table["split"].value_counts().to_dict()
    {'train': 3, 'test': 2, 'val': 1}
    """
    table = pictures.table.reset_index(drop=True)
    there = table["split"].unique().tolist()
    source = WHOLE if there == [WHOLE] else "train"
    for part, size in sizes.items():
        check_option("sizes", part, SPLITS)
        if part in there and part != source:
            raise ValueError(
                f"The set has a part {part!r} already; `sizes` can draw only "
                f"{[s for s in SPLITS if s not in there]} from 'train'."
            )
        share = isinstance(size, float) and size < 1
        if isinstance(size, bool) or size <= 0 or not (share or size == int(size)):
            raise ValueError(
                f"`sizes[{part!r}]` must be a number of pictures per class, 1 or more, "
                f"or a share between 0 and 1; got {size!r}."
            )
    splits = table["split"].to_numpy(object).copy()
    for category, group in table[table["split"] == source].groupby("category"):
        # By identity: the draw does not depend on the order of the table.
        rows = group.sort_values("stimulus_id").index.to_numpy()
        rows = generator(seed, "split", str(category)).permutation(rows)
        counts = {
            part: int(size * len(rows) + 1e-9) if size < 1 else int(size)
            for part, size in sizes.items()
        }
        needed = sum(counts.values()) + ("train" not in counts)
        if needed > len(rows) or 0 in counts.values():
            raise ValueError(
                f"The class {category!r} has {len(rows)} pictures, too few for "
                f"{counts} per class. Ask for less."
            )
        start = 0
        for part, n in counts.items():
            splits[rows[start : start + n]] = part
            start += n
        splits[rows[start:]] = "" if "train" in counts else "train"
    kept = np.flatnonzero(splits != "").tolist()
    return replace(
        pictures,
        table=table.assign(split=splits).iloc[kept].reset_index(drop=True),
        pictures=LazyPictures(pictures.pictures.__getitem__, kept),
    )


def find_leaks(pictures: ClassPictures) -> pd.DataFrame:
    """Find pictures with equal pixels in different parts; every picture is decoded.

    Parameters
    ----------
    pictures : ClassPictures
        The set.

    Returns
    -------
    DataFrame
        One row per picture that is also in another part: `content` (SHA-256),
        `stimulus_id`, `category`, `split`, copies after each other; no rows is good.

    Notes
    -----
    Unlike the look at files when a set is opened, this finds copies that were saved
    again without loss; copies that were changed are not found.
    """
    keys = [
        sha256_bytes(str(p.shape).encode() + np.ascontiguousarray(p).tobytes())
        for p in pictures.pictures
    ]
    return shared_content(pictures.table.assign(content=keys))


def shared_content(table: pd.DataFrame) -> pd.DataFrame:
    """Find equal content in different parts.

    Parameters
    ----------
    table : DataFrame
        Table of `ClassPictures`, with the column `content` (text that equal pictures
        have in common; NaN where it is known to be in one part only).

    Returns
    -------
    DataFrame
        `content`, `stimulus_id`, `category` and `split` of what is in two parts.
    """
    known = table[table["content"].notna()]
    n_splits = known.groupby("content")["split"].transform("nunique")
    rows = known[n_splits > 1].sort_values(["content", "stimulus_id"])
    return rows[["content", "stimulus_id", "category", "split"]].reset_index(drop=True)


def refuse_leaks(leaks: pd.DataFrame) -> None:
    """Raise if there are any.

    Parameters
    ----------
    leaks : DataFrame
        From `find_leaks`.

    Raises
    ------
    ValueError
        If it has rows.
    """
    if len(leaks):
        first = leaks[leaks["content"] == leaks["content"].iloc[0]]["stimulus_id"]
        raise ValueError(
            f"{leaks['content'].nunique()} pictures are in more than one part, such as "
            f"{' and '.join(map(repr, first))}: what was trained would be tested on "
            "itself. Remove the copies, or set leaks='ignore'."
        )
