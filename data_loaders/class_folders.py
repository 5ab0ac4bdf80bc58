"""Pictures in folders of their classes: opened whatever the layout.

Pictures may lie in folders, in a zip file, or be listed in text files; whether the
same picture is in two parts is looked at when a set is opened.
"""

import hashlib
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.class_pictures import (
    SPLITS,
    WHOLE,
    ClassPictures,
    draw_splits,
    find_leaks,
    refuse_leaks,
    shared_content,
)
from data_loaders.picture_folder import open_picture_folder
from data_loaders.source_files import ZipPictures, content_of, read_columns
from neurovis.core.checks import check_option, check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt, sha256_file, sha256_json
from neurovis.core.pictures import SUFFIXES, LazyPictures, read_image

Picture = NDArray[np.uint8]

_FOLDERS = MappingProxyType(
    {
        "train": "train",
        "val": "val",
        "validation": "val",
        "valid": "val",
        "test": "test",
    }
)
_IMAGES, _LABELS = "images.zip", "labels.csv"
_BLOCK = 1 << 20


def open_class_folder(
    root: str | Path,
    *,
    sizes: Mapping[str, float] | None = None,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    leaks: str = "refuse",
    seed: int = 0,
) -> ClassPictures:
    """Open a set of pictures with classes, whatever its layout.

    Parameters
    ----------
    root : str or Path
        One of

        - a folder, or a zip file, with ``train/<class>/...``, ``val/<class>/...``
          ("validation", "valid" too) or ``test/<class>/...``;
        - a folder, or a zip file, with ``<class>/...``;
        - a folder with ``images.zip`` of such a layout, and perhaps ``labels.csv``
          with the columns `file`, `split` and `category`, which then counts.
    sizes : mapping of str to int or float, optional
        Parts to draw, as in `draw_splits`: from all pictures if the set is not
        divided, else from "train". By default the set stays as it is.
    classes : sequence of str, optional
        All classes in the order of labels; sorted by name by default.
    name : str, optional
        Name of the set; that of the folder or file by default.
    leaks : {"refuse", "ignore"}, default "refuse"
        What to do with files of equal content in two parts. Files of equal size are
        read for this.
    seed : int, default 0
        Seed of the draw.

    Returns
    -------
    ClassPictures
        Sorted by path, or in the order of ``labels.csv``; `stimulus_id` is the path.

    Raises
    ------
    FileNotFoundError
        If nothing, or no picture, is there.
    DataCorruptError
        If the zip file or the table is damaged or they do not fit.
    ValueError
        If a picture lies outside the folders of classes, a class is not among
        `classes`, or a picture is in two parts.

    Examples
    --------
    >>> import tempfile
    >>> from neurovis.core.pictures import write_png
    >>> root = Path(tempfile.mkdtemp())
    >>> for i, file in enumerate(("train/sea/1.png", "test/sea/1.png")):
    ...     write_png(root / file, np.full((4, 4, 3), i, np.uint8))
    >>> shown = open_class_folder(root)
    >>> shown.table["split"].tolist(), shown.classes
    (['test', 'train'], ('sea',))
    """
    check_option("leaks", leaks, ("refuse", "ignore"))
    root = Path(root).absolute()
    if root.suffix.lower() == ".zip":
        found = _from_zip(check_path("root", root))
    elif (check_path("root", root, kind="folder") / _IMAGES).is_file():
        listed = root / _LABELS
        found = _from_zip(root / _IMAGES, listed if listed.is_file() else None)
    else:
        pictures, labels = open_picture_folder(root)
        ids = labels["stimulus_id"].tolist()
        facts = [[i, (root / i).stat().st_size] for i in ids]
        found = _Found(ids, pictures, {"listing": sha256_json(facts)}, root)
    categories, splits = found.categories, found.splits
    if not categories:
        categories, splits = _read_layout(root, found.ids)
    shown = _make(name or root.stem, found, categories, splits, classes)
    if sizes is not None:
        shown = draw_splits(shown, sizes, seed=seed)
    if leaks == "refuse":
        refuse_leaks(_equal_files(found, shown.table))
    return shown


def open_class_lists(
    lists: Mapping[str, str | Path],
    *,
    root: str | Path | None = None,
    classes: Sequence[str] | None = None,
    name: str = "lists",
    leaks: str = "refuse",
) -> ClassPictures:
    """Open the pictures that text files list, one file per part.

    Parameters
    ----------
    lists : mapping of str to path
        "train", "val", "test" or "all" to a text file with lines ``path label``;
        labels count from 1, and the path may hold spaces.
    root : str or Path, optional
        Folder from which the paths go; the folder of each list by default.
    classes : sequence of str, optional
        Names of the classes, label 1 first; by default "1", "2" and so on.
    name : str, default "lists"
        Name of the set.
    leaks : {"refuse", "ignore"}, default "refuse"
        As in `open_class_folder`.

    Returns
    -------
    ClassPictures
        In the order of the lists; `stimulus_id` is the path as listed, after the name
        of the part where two parts list the same path.

    Raises
    ------
    FileNotFoundError
        If a list or a picture is not there.
    DataCorruptError
        If a line has no path or label, or a label has no class.
    ValueError
        If there is no list, a part is unknown, or a picture is in two parts.
    """
    check_option("leaks", leaks, ("refuse", "ignore"))
    if not lists:
        raise ValueError("`lists` is empty: name at least one part and its file.")
    paths, ids, splits, labels = [], [], [], []
    hashes = {}
    for split, file in lists.items():
        check_option("lists", split, (*SPLITS, WHOLE))
        listed = check_path(f"lists[{split!r}]", file).absolute()
        hashes[listed.name] = sha256_file(listed)
        folder = listed.parent if root is None else Path(root).absolute()
        for path, label in _read_list(
            listed, None if classes is None else len(classes)
        ):
            paths.append(folder / path)
            ids.append(path)
            splits.append(split)
            labels.append(label)
    absent = [p for p in paths if not p.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of {len(paths)} listed pictures are not there, such as "
            f"{absent[0]}. Give the folder from which the paths go as `root`."
        )
    repeated = {i for i, n in Counter(ids).items() if n > 1}
    ids = [f"{s}/{i}" if i in repeated else i for s, i in zip(splits, ids, strict=True)]
    names = tuple(classes or (str(i + 1) for i in range(max(labels) + 1)))
    found = _Found(ids, LazyPictures(read_image, paths), hashes, paths=paths)
    shown = _make(name, found, [names[i] for i in labels], splits, names)
    if leaks == "refuse":
        refuse_leaks(_equal_files(found, shown.table))
    return shown


def check_class_folder(root: str | Path) -> list[str]:
    """Check a set of pictures with classes; every picture is decoded.

    Parameters
    ----------
    root : str or Path
        As for `open_class_folder`.

    Returns
    -------
    list of str
        Counts by part, then the sizes of the pictures.

    Raises
    ------
    FileNotFoundError, DataCorruptError, ValueError
        As `open_class_folder`, or if pixels of two parts are equal.
    """
    shown = open_class_folder(root)
    refuse_leaks(find_leaks(shown))
    sizes = Counter(picture.shape[:2] for picture in shown.pictures)
    counts = [f"{n} of {w} x {h} px" for (h, w), n in sizes.most_common()]
    return [*shown.describe(), f"pictures: {', '.join(counts)}"]


# -------------------------------------------------------------------- layouts


@dataclass(frozen=True)
class _Found:
    """Pictures of some source, and where their bytes are."""

    ids: list[str]
    pictures: Sequence[Picture]
    fingerprints: Mapping[str, str]
    root: Path | None = None
    paths: Sequence[Path] = ()
    categories: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)


def _from_zip(path: Path, listed: Path | None = None) -> _Found:
    hashes = {path.name: sha256_file(path)}
    if listed is not None:
        table = read_columns(
            listed, dict.fromkeys(("file", "split", "category"), "text")
        )
        hashes[listed.name] = sha256_file(listed)
        splits = [_FOLDERS.get(s, s) for s in table["split"].tolist()]
        with content_of(listed):
            for split in dict.fromkeys(splits):
                check_option("split", split, SPLITS)
        files, categories = table["file"].tolist(), table["category"].tolist()
        pictures = ZipPictures(path, tuple(files))
        return _Found(files, pictures, hashes, categories=categories, splits=splits)
    ZipPictures(path, ())  # refuses what is no zip file
    with zipfile.ZipFile(path) as archive:
        files = sorted(
            n for n in archive.namelist() if PurePosixPath(n).suffix.lower() in SUFFIXES
        )
    if not files:
        raise FileNotFoundError(f"{path} holds no picture.")
    return _Found(files, ZipPictures(path, tuple(files)), hashes)


def _read_layout(root: Path, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    parts = [PurePosixPath(i).parts for i in ids]
    # Archives often hold one folder that holds everything.
    while len({p[0] for p in parts}) == 1 and min(map(len, parts)) > 2:
        if parts[0][0].lower() in _FOLDERS:
            break
        parts = [p[1:] for p in parts]
    tops = {p[0].lower() for p in parts}
    divided = bool(tops) and tops <= set(_FOLDERS)
    depth = 3 if divided else 2
    for identity, part in zip(ids, parts, strict=True):
        if len(part) < depth:
            want = "split/class/picture" if divided else "class/picture"
            raise ValueError(
                f"{root} must have the layout {want}, but {identity!r} lies elsewhere. "
                "Move it into the folder of its class."
            )
    if not divided:
        return [p[0] for p in parts], [WHOLE] * len(parts)
    return [p[1] for p in parts], [_FOLDERS[p[0].lower()] for p in parts]


def _read_list(path: Path, n_classes: int | None) -> list[tuple[str, int]]:
    rows = []
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        file, _, label = line.strip().rpartition(" ")
        usable = file and label.isascii() and label.isdigit() and int(label) >= 1
        if not usable or (n_classes is not None and int(label) > n_classes):
            most = "" if n_classes is None else f" to {n_classes}"
            raise DataCorruptError(
                f"{path} must have lines 'path label' with labels from 1{most}; line "
                f"{number} is {line!r}."
            )
        rows.append((file.strip(), int(label) - 1))
    if not rows:
        raise DataCorruptError(f"{path} lists no picture.")
    return rows


def _make(
    name: str,
    found: _Found,
    categories: Sequence[str],
    splits: Sequence[str],
    classes: Sequence[str] | None,
) -> ClassPictures:
    order = tuple(sorted(set(categories)) if classes is None else classes)
    strange = set(categories) - set(order)
    if strange:
        raise ValueError(
            f"`classes` lacks {sorted(strange)}, which {name} has; it names "
            f"{list(order)}."
        )
    place = {category: i for i, category in enumerate(order)}
    table = pd.DataFrame(
        {
            "stimulus_id": found.ids,
            "category": list(categories),
            "split": list(splits),
            "label": [place[c] for c in categories],
        }
    )
    return ClassPictures(name, table, found.pictures, order, found.fingerprints)


# ---------------------------------------------------------------------- leaks


def _equal_files(found: _Found, table: pd.DataFrame) -> pd.DataFrame:
    """Find equal files in different parts; only files of one size are read."""
    split_of = dict(zip(table["stimulus_id"], table["split"], strict=True))
    if len(set(split_of.values())) < 2:
        return table.iloc[:0].assign(content="")
    pictures = found.pictures
    if isinstance(pictures, ZipPictures):
        with zipfile.ZipFile(pictures.path) as archive:
            infos = [archive.getinfo(n) for n in pictures.members]
            facts = [(i.file_size, i.CRC) for i in infos]
            doubtful = _doubtful(found.ids, facts, split_of)
            known = {}
            for i in doubtful:
                try:
                    sha = hashlib.sha256()
                    with archive.open(infos[i]) as member:
                        while block := member.read(_BLOCK):
                            sha.update(block)
                    known[i] = sha.hexdigest()
                except (*DECODER_ERRORS, zipfile.BadZipFile, RuntimeError) as error:
                    raise corrupt(pictures.path, "zip", error) from error
    else:
        root = found.root
        paths = found.paths or [root / i for i in found.ids if root is not None]
        facts = [(p.stat().st_size, 0) for p in paths]
        doubtful = _doubtful(found.ids, facts, split_of)
        known = {i: sha256_file(paths[i]) for i in doubtful}
    content = {found.ids[i]: sha for i, sha in known.items()}
    return shared_content(table.assign(content=table["stimulus_id"].map(content)))


def _doubtful(
    ids: Sequence[str], facts: Sequence[tuple[int, int]], split_of: Mapping[str, str]
) -> list[int]:
    groups = defaultdict(list)
    for i, fact in enumerate(facts):
        if ids[i] in split_of:
            groups[fact].append(i)
    return [
        i
        for group in groups.values()
        if len({split_of[ids[i]] for i in group}) > 1
        for i in group
    ]
