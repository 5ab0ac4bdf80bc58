"""Descriptions of saved models, read only beside the files that they belong to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, sha256_file


def read_verified_card(
    path: str | Path, files: Sequence[str], version: int, what: str
) -> dict[str, Any]:
    """Read the description of a model after the hashes of its files were verified.

    Parameters
    ----------
    path : str or Path
        File of JSON with `version` and `sha256`, a hash for each name of a file.
    files : sequence of str
        Names of files in its folder that must be there, unchanged.
    version : int
        Version of the format that can be read.
    what : str
        What is described, with its article, for messages: "an encoder".

    Returns
    -------
    dict
        Content of the description.

    Raises
    ------
    FileNotFoundError
        If there is no description.
    DataCorruptError
        If it is damaged or describes something else, or one of the files is missing,
        cut or changed.
    ValueError
        If another version wrote it.

    Examples
    --------
    >>> import tempfile
    >>> from neurovis.core.files import write_json, write_text
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_text(folder / "units.csv", "unit_id")
    >>> hashes = {"units.csv": sha256_file(folder / "units.csv")}
    >>> write_json(folder / "model.json", {"version": 1, "sha256": hashes})
    >>> card = read_verified_card(folder / "model.json", ["units.csv"], 1, "a model")
    >>> card["version"]
    1
    """
    path = Path(path)
    card = read_json(path)
    known = isinstance(card, dict) and "version" in card
    if not known or not isinstance(card.get("sha256"), dict):
        raise DataCorruptError(f"{path} is not that of {what}.")
    if card["version"] != version:
        raise ValueError(
            f"{path.parent} was written in version {card['version']} of the format; "
            f"this is version {version}. Install a newer neurovis."
        )
    for name in files:
        file = path.with_name(name)
        if not file.is_file() or sha256_file(file) != card["sha256"].get(name):
            raise DataCorruptError(
                f"{file} is missing or has another hash than {path.name} tells: it is "
                "cut or changed. Fit it again."
            )
    return dict(card)
