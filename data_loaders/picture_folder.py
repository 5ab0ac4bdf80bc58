"""Any folder of pictures, as a sequence that is read lazily, with labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_path
from neurovis.core.pictures import SUFFIXES, LazyPictures, read_image


def open_picture_folder(
    folder: str | Path,
) -> tuple[Sequence[NDArray[np.uint8]], pd.DataFrame]:
    """Find the pictures of a folder and of its sub-folders.

    Parameters
    ----------
    folder : str or Path
        Pictures of the suffixes `SUFFIXES`. Those of a sub-folder have its name as
        category, as in data sets for classification.

    Returns
    -------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Read one at a time when asked for; sizes may differ.
    labels : DataFrame
        One row per picture, sorted by path: `stimulus_id` (path below the folder),
        `category` (name of the first sub-folder; "" for a picture beside them).

    Raises
    ------
    FileNotFoundError
        If the folder is missing or holds no picture.
    ValueError
        If the name of a picture is no text.

    Examples
    --------
    >>> import tempfile
    >>> from neurovis.core.pictures import write_png
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "face").mkdir()
    >>> write_png(root / "face" / "1.png", np.zeros((4, 4, 3), np.uint8))
    >>> open_picture_folder(root)[1].to_dict("records")
    [{'stimulus_id': 'face/1.png', 'category': 'face'}]
    """
    # Read later, perhaps from another working folder.
    root = check_path("folder", folder, kind="folder").absolute()
    paths = sorted(
        p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()
    )
    if not paths:
        raise FileNotFoundError(
            f"{root} holds no picture: files ending in {', '.join(SUFFIXES)} are "
            "looked for, in sub-folders too."
        )
    inside = [p.relative_to(root) for p in paths]
    for path in inside:
        _check_text(path, root)
    labels = pd.DataFrame(
        {
            "stimulus_id": [p.as_posix() for p in inside],
            "category": [p.parts[0] if len(p.parts) > 1 else "" for p in inside],
        }
    )
    return LazyPictures(read_image, paths), labels


def _check_text(path: Path, root: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"The name of the picture {str(path)!r} in {root} is no text (it is not "
            "UTF-8), so tables cannot hold it. Rename the file or its folder."
        ) from None
