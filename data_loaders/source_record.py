"""The record of a data set: what it holds, where it comes from, its terms."""

import csv
from dataclasses import dataclass
from pathlib import Path

from data_loaders.fetch import RemoteFile


@dataclass(frozen=True)
class Source:
    """A data set.

    Parameters
    ----------
    name : str
        Name on the command line.
    what : str
        What it holds.
    url : str
        Public source.
    licence : str
        Terms as the source states them.
    citation : str
        What to cite.
    loader : str
        Function that reads a folder of it, or that checks it and returns lines of
        text, as "module:function"; "" if it ships.
    files : tuple of RemoteFile
        Public files with known hashes; those that have `terms` are restricted.
    file_table : str, default ""
        Table in ``data_loaders/tables`` with the columns `name`, `n_bytes` and
        `sha256` of further files; they lie below `file_table_url`, and go into
        `file_table_folder`.
    file_table_url, file_table_folder : str, default ""
        See `file_table`.
    by_hand : str, default ""
        What to get, from where, beyond the downloads.
    """

    name: str
    what: str
    url: str
    licence: str
    citation: str
    loader: str = ""
    files: tuple[RemoteFile, ...] = ()
    file_table: str = ""
    file_table_url: str = ""
    file_table_folder: str = ""
    by_hand: str = ""

    @property
    def ships(self) -> bool:
        """Whether its numbers come with the suite."""
        return not self.loader

    @property
    def restricted(self) -> bool:
        """Whether terms must be accepted before a download."""
        return any(file.terms for file in self.files)

    def remote_files(self) -> tuple[RemoteFile, ...]:
        """Return everything that can be downloaded.

        Returns
        -------
        tuple of RemoteFile
            `files`, then those of `file_table`.
        """
        if not self.file_table:
            return self.files
        path = Path(__file__).parent / "tables" / self.file_table
        with path.open(newline="", encoding="utf-8") as file:
            listed = tuple(
                RemoteFile(
                    f"{self.file_table_url}/{row['name']}",
                    row["sha256"],
                    int(row["n_bytes"]),
                    f"{self.file_table_folder}/{row['name']}",
                )
                for row in csv.DictReader(file)
            )
        return self.files + listed
