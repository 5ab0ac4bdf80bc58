"""The nouns of the suite: stimuli, viewing, responses, scanpaths, scores.

One flow: *Stimuli -> Model -> Responses -> Score*. A human is an observer whose
responses were read from a file. What models can do is told in `observers`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_image,
    check_path,
)
from neurovis.core.files import (
    canonical_json,
    read_json,
    read_table,
    write_json,
    write_table,
)
from neurovis.core.pictures import LazyPictures

PATH_COLUMNS = ("path", "target_path")
TRIAL_COLUMNS = ("subject", "stimulus_id", "trial", "response", "rt_ms", "correct")
FIXATION_COLUMNS = (
    "subject",
    "stimulus_id",
    "fixation",
    "x_px",
    "y_px",
    "duration_ms",
)
SCORE_COLUMNS = (
    "model",
    "subject",
    "stimuli",
    "task",
    "metric",
    "region",
    "layer",
    "condition",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "ceiling_low",
    "ceiling_high",
    "value_over_ceiling",
    "seed",
    "unit",
    "ceiling_kind",
)
HUMAN_MODEL = "human"
"""What `model` is for people in every table of scores."""


@dataclass(frozen=True)
class Viewing:
    """Geometry of a screen: the only place where pixels become degrees.

    Pixels: origin at the outer corner of the top-left pixel, x right, y down;
    pixel i covers [i, i + 1). Degrees: origin at the screen centre, x right,
    y up, with the small-angle rule of one constant `px_per_deg`.

    Parameters
    ----------
    px_per_deg : float
        Pixels per degree of visual angle, > 0.
    width_px, height_px : int
        Screen (or picture) size in pixels, > 0.
    background : int, default 128
        Grey level around and between items, 0..255.
    distance_cm : float, optional
        Eye to screen, for the record.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> screen = Viewing(px_per_deg=30, width_px=300, height_px=300)
    >>> screen.to_px(1.0, 1.0)
    (180.0, 120.0)
    """

    px_per_deg: float
    width_px: int
    height_px: int
    background: int = 128
    distance_cm: float | None = None

    def __post_init__(self) -> None:
        check_between("px_per_deg", self.px_per_deg, low=1e-6)
        check_between("width_px", self.width_px, low=1)
        check_between("height_px", self.height_px, low=1)
        check_between("background", self.background, low=0, high=255)
        if self.distance_cm is not None:
            check_between("distance_cm", self.distance_cm, low=1e-6)

    def to_deg(self, x_px: Any, y_px: Any) -> tuple[Any, Any]:
        """Convert pixel positions to degrees from the screen centre.

        Parameters
        ----------
        x_px, y_px : float or ndarray
            Pixels from the top-left corner, y down.

        Returns
        -------
        tuple of float or ndarray
            ``(x_deg, y_deg)``, y up.
        """
        x_deg = (x_px - self.width_px / 2) / self.px_per_deg
        y_deg = (self.height_px / 2 - y_px) / self.px_per_deg
        return x_deg, y_deg

    def to_px(self, x_deg: Any, y_deg: Any) -> tuple[Any, Any]:
        """Convert degrees from the screen centre to pixel positions.

        Parameters
        ----------
        x_deg, y_deg : float or ndarray
            Degrees from the centre, y up.

        Returns
        -------
        tuple of float or ndarray
            ``(x_px, y_px)``, y down.
        """
        x_px = x_deg * self.px_per_deg + self.width_px / 2
        y_px = self.height_px / 2 - y_deg * self.px_per_deg
        return x_px, y_px

    def size_px(self, size_deg: Any) -> Any:
        """Convert an extent in degrees to pixels.

        Parameters
        ----------
        size_deg : float or ndarray
            Extent in degrees.

        Returns
        -------
        float or ndarray
            Extent in pixels, not rounded.
        """
        return size_deg * self.px_per_deg

    def size_deg(self, size_px: Any) -> Any:
        """Convert an extent in pixels to degrees.

        Parameters
        ----------
        size_px : float or ndarray
            Extent in pixels.

        Returns
        -------
        float or ndarray
            Extent in degrees.
        """
        return size_px / self.px_per_deg


@dataclass(frozen=True)
class StimulusSet:
    """Ordered pictures and one tidy table, one row per picture.

    Parameters
    ----------
    name : str
        Name of the set.
    table : DataFrame
        One row per stimulus; the column `stimulus_id` (str) is unique, the other
        columns are factors.
    viewing : Viewing
        Screen on which the pictures are shown.
    images : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures in the order of `table`; a list, or a lazy sequence.
    targets : sequence of ndarray of uint8, shape (h, w, 3), optional
        For search: the picture of what must be found, one per stimulus.

    Raises
    ------
    ValueError
        If lengths differ or identities repeat.
    """

    name: str
    table: pd.DataFrame
    viewing: Viewing
    images: Sequence[NDArray[np.uint8]]
    targets: Sequence[NDArray[np.uint8]] | None = None

    def __post_init__(self) -> None:
        check_columns("table", self.table.columns, ["stimulus_id"])
        n = len(self.table)
        if len(self.images) != n:
            raise ValueError(
                f"`images` has {len(self.images)} pictures but `table` has {n} rows: "
                "one row per picture is needed."
            )
        if self.targets is not None and len(self.targets) != n:
            raise ValueError(
                f"`targets` has {len(self.targets)} pictures but `table` has {n} rows."
            )
        repeated = self.table["stimulus_id"][self.table["stimulus_id"].duplicated()]
        if len(repeated):
            raise ValueError(
                f"`table` repeats stimulus_id {repeated.iloc[0]!r}: identities must "
                "be unique."
            )

    def __len__(self) -> int:
        return len(self.table)

    def load(self, index: int) -> NDArray[np.uint8]:
        """Return one picture.

        Parameters
        ----------
        index : int
            0-based row of the table.

        Returns
        -------
        ndarray of uint8, shape (H, W, 3)
            The picture.
        """
        return check_image(f"images[{index}]", self.images[index])

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> "StimulusSet":
        """Return the set of the given rows, in the given order.

        Parameters
        ----------
        rows : sequence of int
            0-based rows of the table.

        Returns
        -------
        StimulusSet
            A set whose pictures are those of this one.
        """
        index = [int(r) for r in rows]
        return StimulusSet(
            self.name,
            self.table.iloc[index].reset_index(drop=True),
            self.viewing,
            LazyPictures(self.images.__getitem__, index),
            None
            if self.targets is None
            else LazyPictures(self.targets.__getitem__, index),
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over table values, viewing and pixels; files do not matter.

        The columns of `PATH_COLUMNS` are left out, so that a set and its saved copy
        agree.
        """
        sha = hashlib.sha256()
        values = self.table.drop(columns=list(PATH_COLUMNS), errors="ignore")
        text = values.to_json(orient="split", index=False, double_precision=12)
        viewing = {f.name: getattr(self.viewing, f.name) for f in fields(Viewing)}
        sha.update(text.encode())
        sha.update(canonical_json(viewing).encode())
        for i in range(len(self)):
            pictures = [self.load(i)]
            if self.targets is not None:
                pictures.append(self.targets[i])
            for picture in pictures:
                sha.update(str(picture.shape).encode())
                sha.update(np.ascontiguousarray(picture).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class Scanpath:
    """Fixations of one subject on one stimulus.

    Parameters
    ----------
    subject, stimulus_id : str
        Who looked at what.
    x_px, y_px : ndarray of float64, shape (n_fixations,)
        Pixels from the top-left corner of the picture, y down.
    duration_ms : ndarray of float64, shape (n_fixations,)
        Fixation durations; NaN where undefined (models without time).
    found : bool, optional
        In search: whether the last fixation reached the target.

    Raises
    ------
    ValueError
        If the lengths differ.
    """

    subject: str
    stimulus_id: str
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    duration_ms: NDArray[np.float64]
    found: bool | None = None

    def __post_init__(self) -> None:
        n = len(self.x_px)
        for name in ("x_px", "y_px", "duration_ms"):
            array = np.asarray(getattr(self, name), np.float64)
            object.__setattr__(self, name, check_array(name, array, shape=(n,)))

    def __len__(self) -> int:
        return len(self.x_px)

    @property
    def n_saccades(self) -> int:
        """Fixations after the initial one."""
        return len(self) - 1

    def to_table(self) -> pd.DataFrame:
        """Return the long table: one row per fixation, 0 = the initial one.

        Returns
        -------
        DataFrame
            The columns of `FIXATION_COLUMNS`.
        """
        table = pd.DataFrame(
            {
                "subject": self.subject,
                "stimulus_id": self.stimulus_id,
                "fixation": np.arange(len(self)),
                "x_px": self.x_px,
                "y_px": self.y_px,
                "duration_ms": self.duration_ms,
            }
        )
        return table[list(FIXATION_COLUMNS)]


@dataclass(frozen=True)
class Responses:
    """What observers, human or model, did: one common form.

    Parameters
    ----------
    table : DataFrame
        Tidy trials, one row per trial, with at least the columns of
        `TRIAL_COLUMNS` (`rt_ms` in milliseconds, `correct` boolean or NaN).
    scanpaths : DataFrame, optional
        Long table of fixations with the columns of `FIXATION_COLUMNS`.

    Raises
    ------
    ValueError
        If a column is missing.
    """

    table: pd.DataFrame
    scanpaths: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        check_columns("table", self.table.columns, TRIAL_COLUMNS)
        if self.scanpaths is not None:
            check_columns("scanpaths", self.scanpaths.columns, FIXATION_COLUMNS)


@dataclass(frozen=True)
class Provenance:
    """How to get a result again.

    Parameters
    ----------
    versions : mapping of str to str
        Package versions.
    device, dtype : str
        Where and in which precision it was computed.
    seed : int or None
        Seed of the run.
    fingerprints : mapping of str to str
        Content hashes of stimuli, weights and data.
    call : mapping
        Full arguments of the call, as JSON values.
    code : str
        Version (and git revision, when known) of this package.
    notes : tuple of str
        What a reader must know, such as "weights are untrained".
    """

    versions: Mapping[str, str]
    device: str
    dtype: str
    seed: int | None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values.

        Returns
        -------
        dict
            One entry per field.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("versions", "fingerprints", "call"):
            values[name] = dict(values[name])
        return values | {"notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what `to_dict` returned.

        Parameters
        ----------
        values : mapping
            One entry per field.

        Returns
        -------
        Provenance
            An equal object.
        """
        return cls(**{**values, "notes": tuple(values.get("notes", ()))})


@dataclass(frozen=True)
class Score:
    """Claims in tidy form, with the way to get them again.

    Parameters
    ----------
    table : DataFrame
        One row per claim, with the columns of `SCORE_COLUMNS` (others may
        follow). Raw `value` is never clipped; undefined is NaN.
    provenance : Provenance
        How the table came about.

    Raises
    ------
    ValueError
        If a column is missing.
    """

    table: pd.DataFrame
    provenance: Provenance

    def __post_init__(self) -> None:
        check_columns("table", self.table.columns, SCORE_COLUMNS)

    def save(self, folder: str | Path) -> None:
        """Write ``scores.parquet`` and ``provenance.json``, each atomically.

        Parameters
        ----------
        folder : str or Path
            Where; made when missing.
        """
        folder = Path(folder)
        write_table(folder / "scores.parquet", self.table)
        write_json(folder / "provenance.json", self.provenance.to_dict())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        folder : str or Path
            Folder of the result.

        Returns
        -------
        Score
            An equal object.
        """
        folder = check_path("folder", folder, kind="folder")
        provenance = Provenance.from_dict(read_json(folder / "provenance.json"))
        return cls(read_table(folder / "scores.parquet"), provenance)
