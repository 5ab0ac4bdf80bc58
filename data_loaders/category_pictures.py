"""Pictures of categories, as localisers of category-selective regions show them.

References
----------
Stigliani, Weiner and Grill-Spector (2015). Temporal processing capacity in high-level
visual cortex is domain specific. Journal of Neuroscience 35:12412-12424.
doi:10.1523/JNEUROSCI.4822-14.2015 (the fLoc pictures).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.source_files import ZipPictures, content_of, read_columns
from neurovis.core.checks import check_columns, check_path
from neurovis.core.files import read_table, sha256_file
from neurovis.core.pictures import LazyPictures, read_image

_STIMULI, _PICTURES = "stimuli.csv", "images.zip"
_COLUMNS = ("file", "category", "domain")


@dataclass(frozen=True)
class CategoryPictures:
    """Pictures with categories, and domains that join categories.

    Parameters
    ----------
    name : str
        Name of the set.
    table : DataFrame
        One row per picture: `stimulus_id` (str, unique), `category` and `domain`, and
        what else is known, such as `source_number`.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        In the order of `table`; read when asked for.
    fingerprints : mapping of str to str, optional
        SHA-256 of the files read.

    Raises
    ------
    ValueError
        If a column is missing, an identity repeats, lengths differ, a category has
        less than two pictures or belongs to two domains.

    Examples
    --------
    >>> columns = {"stimulus_id": ["1", "2"], "category": "adult", "domain": "face"}
    >>> grey = [np.zeros((4, 4, 3), np.uint8)] * 2
    >>> CategoryPictures("faces", pd.DataFrame(columns), grey).describe()
    ['faces: 2 pictures of 1 category in 1 domain', 'face: adult 2']
    """

    name: str
    table: pd.DataFrame
    pictures: Sequence[NDArray[np.uint8]]
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = self.table
        check_columns("table", table.columns, ("stimulus_id", *_COLUMNS[1:]))
        if len(table) != len(self.pictures) or not len(table):
            raise ValueError(
                f"`table` has {len(table)} rows for {len(self.pictures)} pictures: one "
                "row per picture, and at least one, is needed."
            )
        repeated = table["stimulus_id"][table["stimulus_id"].duplicated()]
        if len(repeated):
            raise ValueError(
                f"{repeated.iloc[0]!r} is listed twice: identities must be unique."
            )
        counts = table["category"].value_counts()
        if counts.min() < 2:
            raise ValueError(
                f"The category {counts.idxmin()!r} has one picture: how much responses "
                "to a category vary takes two or more. Add pictures, or leave it out."
            )
        n_domains = table.groupby("category")["domain"].nunique()
        if n_domains.max() > 1:
            raise ValueError(
                f"The category {n_domains.idxmax()!r} belongs to several domains: give "
                "it one, or split it."
            )

    def __len__(self) -> int:
        return len(self.table)

    def describe(self) -> list[str]:
        """Count pictures by domain and category.

        Returns
        -------
        list of str
            Totals, then one line per domain, in the order of the table.
        """
        domains = self.table.groupby("domain", sort=False)["category"]
        counts = (self.table["category"].nunique(), domains.ngroups)
        nouns = ("category" if counts[0] == 1 else "categories", "domain")
        lines = [
            f"{self.name}: {len(self)} pictures of {counts[0]} {nouns[0]} in "
            f"{counts[1]} {nouns[1]}" + "s" * (counts[1] != 1)
        ]
        for domain, categories in domains:
            sizes = categories.value_counts(sort=False)
            found = ", ".join(f"{k} {n}" for k, n in sizes.items())
            lines.append(f"{domain}: {found}")
        return lines


def load_category_pictures(
    folder: str | Path, *, name: str | None = None
) -> CategoryPictures:
    r"""Load pictures of categories, such as those of the localiser fLoc.

    Parameters
    ----------
    folder : str or Path
        Folder with ``stimuli.csv``, which has the columns `file` (path of a picture
        below the folder, with "/"), `category` (such as "adult") and `domain` (such
        as "face"), and perhaps others. The pictures lie in ``images.zip``, with the
        same paths, or in the folder itself; files that are not listed are left out.
    name : str, optional
        Name of the set; that of the folder by default.

    Returns
    -------
    CategoryPictures
        In the order of the file, with its other columns; `stimulus_id` is the path of
        the picture. Grey pictures have three equal channels.

    Raises
    ------
    FileNotFoundError
        If the folder, the table or a picture is not there.
    DataCorruptError
        If the table is damaged or lacks a column, the zip file is damaged or lacks a
        picture, or what is listed cannot be: a path twice or outside the folder, a
        category with one picture or in two domains.

    Examples
    --------
    >>> import tempfile
    >>> from neurovis.core.pictures import write_png
    >>> root = Path(tempfile.mkdtemp())
    >>> rows = ["file,category,domain", "1.png,house,place", "2.png,house,place"]
    >>> _ = (root / "stimuli.csv").write_text("\n".join(rows))
    >>> for file in ("1.png", "2.png"):
    ...     write_png(root / file, np.zeros((4, 4, 3), np.uint8))
    >>> load_category_pictures(root, name="houses").describe()
    ['houses: 2 pictures of 1 category in 1 domain', 'place: house 2']
    """
    # Read later, perhaps from another working folder.
    folder = check_path("folder", folder, kind="folder").absolute()
    listed = check_path(_STIMULI, folder / _STIMULI)
    known = read_columns(listed, dict.fromkeys(_COLUMNS, "text"))
    taken = [*_COLUMNS, "stimulus_id"]
    known = known.join(read_table(listed).drop(columns=taken, errors="ignore"))
    files = known["file"].tolist()
    with content_of(listed):
        for file in files:
            path = PurePosixPath(file)
            if path.is_absolute() or ".." in path.parts or "\\" in file:
                raise ValueError(f"The path {file!r} leads outside the folder.")
    archive = folder / _PICTURES
    fingerprints = {_STIMULI: sha256_file(listed)}
    pictures: Sequence[NDArray[np.uint8]]
    if archive.is_file():
        pictures = ZipPictures(archive, tuple(files))
        fingerprints[_PICTURES] = sha256_file(archive)
    else:
        paths = [folder / file for file in files]
        absent = [
            file for file, path in zip(files, paths, strict=True) if not path.is_file()
        ]
        if absent:
            raise FileNotFoundError(
                f"{folder} lacks {len(absent)} of {len(files)} pictures, such as "
                f"{absent[0]}, and holds no {_PICTURES}."
            )
        pictures = LazyPictures(read_image, paths)
    table = known.rename(columns={"file": "stimulus_id"})
    with content_of(listed):
        return CategoryPictures(name or folder.name, table, pictures, fingerprints)


def check_category_pictures(folder: str | Path) -> list[str]:
    """Check a folder of pictures of categories; every picture is decoded.

    Parameters
    ----------
    folder : str or Path
        As for `load_category_pictures`.

    Returns
    -------
    list of str
        Counts by domain and category, then the sizes of the pictures.

    Raises
    ------
    FileNotFoundError
        If the folder, the table or a picture is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be.
    """
    shown = load_category_pictures(folder)
    sizes = Counter(picture.shape[:2] for picture in shown.pictures)
    counts = [f"{n} of {w} x {h} px" for (h, w), n in sizes.most_common()]
    return [*shown.describe(), f"pictures: {', '.join(counts)}"]
