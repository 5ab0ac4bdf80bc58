"""Regions of the Natural Scenes Dataset: label files and the names of their values.

In a label file -1 is outside of cortex, 0 cortex without a label, and n > 0 the region
that the ``.ctab`` file of the family calls n.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.nsd_files import check_root, subject_name
from data_loaders.nsd_maps import check_map_shape, read_map
from data_loaders.nsd_transforms import map_to_fsaverage
from neurovis.core.brain_space import HEMISPHERES, BrainSpace, VolumeSpace
from neurovis.core.checks import check_path, suggest
from neurovis.core.errors import DataCorruptError

DEFAULT_FAMILIES = (
    "prf-visualrois",
    "floc-bodies",
    "floc-faces",
    "floc-places",
    "floc-words",
    "streams",
    "nsdgeneral",
)
"""Families that are read when none are named, as far as there are files."""


def _numbered(names: str) -> Mapping[int, str]:
    return MappingProxyType(dict(enumerate(names.split(), 1)))


_VISUAL = "V1v V1d V2v V2d V3v V3d hV4"
PUBLISHED_LABELS = MappingProxyType(
    {
        "prf-visualrois": _numbered(_VISUAL),
        "prf-eccrois": _numbered("ecc0pt5 ecc1 ecc2 ecc4 ecc4+"),
        "floc-bodies": _numbered("EBA FBA-1 FBA-2 mTL-bodies"),
        "floc-faces": _numbered("OFA FFA-1 FFA-2 mTL-faces aTL-faces"),
        "floc-places": _numbered("OPA PPA RSC"),
        "floc-words": _numbered("OWFA VWFA-1 VWFA-2 mfs-words mTL-words"),
        "streams": _numbered(
            "early midventral midlateral midparietal ventral lateral parietal"
        ),
        "nsdgeneral": _numbered("nsdgeneral"),
        "Kastner2015": _numbered(
            f"{_VISUAL} VO1 VO2 PHC1 PHC2 MST hMT LO2 LO1 V3b V3a IPS0 IPS1 IPS2 IPS3 "
            "IPS4 IPS5 SPL1 FEF"
        ),
    }
)
"""Names of the values of the published families, for copies without ``.ctab`` files."""


_NUMBERS = "Labels are numbers, for want of a .ctab file:"
_PUBLISHED = "Labels are the published ones, for want of a .ctab file:"
_OTHER = "Labels of the .ctab file are not the published ones:"
_MOVED = "Labels were moved from the native surface to fsaverage:"

# Families that may come without a `.ctab`; other files beside them are no labels.
_FAMILIES = (*PUBLISHED_LABELS, "HCP_MMP1", "corticalsulc", "visualsulc")


@dataclass(frozen=True)
class RegionLabels:
    """Labels of all places of a space.

    Parameters
    ----------
    columns : dict of str to Categorical, length n_units of the space
        One per family: the name of the region, "" for cortex without a label, NaN
        outside. Categories are in the order of the values of the files.
    hemisphere : Categorical or None
        "lh" or "rh" of each voxel, NaN where no file tells; None where no file does,
        and for surfaces, whose places tell it.
    notes : tuple of str
        Where labels and names came from when not from files of this space.
    """

    columns: dict[str, pd.Categorical]
    hemisphere: pd.Categorical | None = None
    notes: tuple[str, ...] = ()


# --------------------------------------------------------------------- names


def read_ctab(path: str | Path) -> dict[int, str]:
    r"""Read the names of the values of a label file.

    Parameters
    ----------
    path : str or Path
        Lines of a value and a name; what follows them, lines with fewer than two
        words, and values below 1, which are no region, are left out.

    Returns
    -------
    dict of int to str
        Name by value, from 1.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If a value is no whole number, or the value or name of a region comes twice.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "streams.mgz.ctab"
    >>> _ = path.write_text("0 Unknown\n1 early\n\n2 midventral\n")
    >>> read_ctab(path)
    {1: 'early', 2: 'midventral'}
    """
    path = check_path("path", path)
    names: dict[int, str] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        if len(words) < 2:
            continue
        try:
            value = int(words[0])
        except ValueError as error:
            raise DataCorruptError(
                f"{path} must have a whole number and a name in each line; line "
                f"{number} is {line.strip()!r}. Get it again from its source."
            ) from error
        if value < 1:
            continue
        if value in names or words[1] in names.values():
            raise DataCorruptError(
                f"{path} has the value {value} or the name {words[1]!r} twice (line "
                f"{number}). Get it again from its source."
            )
        names[value] = words[1]
    return names


def label_names(
    root: str | Path, subject: int | str, family: str
) -> tuple[dict[int, str] | None, Path | None]:
    """Return the names of the values of a family.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    family : str
        Such as "prf-visualrois".

    Returns
    -------
    names : dict of int to str, or None
        From the ``.ctab`` of the subject or of fsaverage, else `PUBLISHED_LABELS`;
        None where nothing tells them.
    path : Path or None
        The ``.ctab`` that was read.

    Raises
    ------
    DataCorruptError
        If the file is damaged.
    """
    for owner in (subject_name(subject), "fsaverage"):
        path = _label_folder(root, owner) / f"{family}.mgz.ctab"
        if path.is_file():
            return read_ctab(path), path
    published = PUBLISHED_LABELS.get(family)
    return (None if published is None else dict(published)), None


def _label_folder(root: str | Path, owner: str) -> Path:
    return Path(root) / "nsddata" / "freesurfer" / owner / "label"


# --------------------------------------------------------------------- files


def find_families(root: str | Path, subject: int | str, space: str) -> list[str]:
    """Return the families of regions that can be read in a space.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    space : str
        A volume such as "func1pt8mm", "fsaverage" or "nativesurface".

    Returns
    -------
    list of str
        Published ones first, then others by name. The folders of surfaces hold maps
        of numbers too: others than the published families count only with a
        ``.ctab`` file.

    Raises
    ------
    FileNotFoundError
        If `root` is not the folder of the data set.
    """
    root = check_root(root)
    name = subject_name(subject)
    if space == "fsaverage":
        # Labels of the subject can be moved there.
        owners = [name, "fsaverage"] if _has_warp(root, name) else ["fsaverage"]
        found = {f for owner in owners for f in _surface_families(root, owner)}
    elif space == "nativesurface":
        found = _surface_families(root, name)
    else:
        folder = root / "nsddata" / "ppdata" / name / space / "roi"
        alone = {p.name.removesuffix(".nii.gz") for p in folder.glob("*.nii.gz")}
        alone = {n for n in alone if not n.startswith(("lh.", "rh."))}
        found = set(_paired(folder, ".nii.gz")) | alone
    known = [f for f in _FAMILIES if f in found]
    return known + sorted(found - set(known))


def _surface_families(root: Path, owner: str) -> set[str]:
    folder = _label_folder(root, owner)
    other = _label_folder(root, "fsaverage")
    return {
        family
        for family in _paired(folder, ".mgz")
        if family in _FAMILIES
        or (folder / f"{family}.mgz.ctab").is_file()
        or (other / f"{family}.mgz.ctab").is_file()
    }


def _paired(folder: Path, suffix: str) -> dict[str, tuple[Path, Path]]:
    """Return the files of both hemispheres, by family."""
    pairs = {}
    for left in sorted(folder.glob(f"lh.*{suffix}")):
        family = left.name.removeprefix("lh.").removesuffix(suffix)
        right = folder / f"rh.{family}{suffix}"
        if right.is_file():
            pairs[family] = (left, right)
    return pairs


def _has_warp(root: Path, subject: str) -> bool:
    folder = root / "nsddata" / "ppdata" / subject / "transforms"
    return all((folder / f"{h}.white-to-fsaverage.mgz").is_file() for h in HEMISPHERES)


# -------------------------------------------------------------------- labels


def read_regions(
    root: str | Path,
    subject: int | str,
    space: BrainSpace,
    families: Sequence[str] | str | None = None,
) -> RegionLabels:
    """Read the labels of all places of a space.

    Of volumes the file of both hemispheres is read, except where only ``lh.`` and
    ``rh.`` files exist, and for HCP_MMP1. On fsaverage the labels of fsaverage are
    read; families that only the subject has are moved there from the native surface,
    each vertex taking the label of the nearest.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    space : VolumeSpace or SurfaceSpace
        Where the betas lie; the files must have its grid.
    families : sequence of str or "all", optional
        Which ones; default those of `DEFAULT_FAMILIES` that there are.

    Returns
    -------
    RegionLabels
        One column per family.

    Raises
    ------
    KeyError
        If a named family has no file; those there are named.
    DataCorruptError
        If a file is damaged, has another grid, or holds a value that its ``.ctab``
        does not name.
    """
    root, name = check_root(root), subject_name(subject)
    have = find_families(root, name, space.name)
    if families is None:
        wanted = [f for f in DEFAULT_FAMILIES if f in have]
    elif isinstance(families, str):
        wanted = have if families == "all" else [families]
    else:
        wanted = list(dict.fromkeys(families))
    absent = [f for f in wanted if f not in have]
    if absent:
        listed = ", ".join(have) if have else "none"
        raise KeyError(
            f"There are no labels of the family {absent[0]!r} for {name} in "
            f"{space.name}.{suggest(absent[0], have)} Families there: {listed}."
        )
    columns = {}
    told: dict[str, list[str]] = {}
    sides = None
    for family in wanted:
        values, sources, moved = _read_values(root, name, space, family)
        columns[family], note = _to_labels(root, name, family, values, sources)
        for text in (note, _MOVED if moved else ""):
            told.setdefault(text, []).append(family)
    notes = [f"{text} {', '.join(which)}." for text, which in told.items() if text]
    if isinstance(space, VolumeSpace):
        sides = _read_sides(root, name, space, wanted)
    return RegionLabels(columns, sides, tuple(notes))


def _read_values(
    root: Path, subject: str, space: BrainSpace, family: str
) -> tuple[NDArray[Any], Sequence[Path], bool]:
    """Return the values of all places (NaN or -1 outside), their files, if moved."""
    if isinstance(space, VolumeSpace):
        folder = root / "nsddata" / "ppdata" / subject / space.name / "roi"
        alone = folder / f"{family}.nii.gz"
        pair = _paired(folder, ".nii.gz").get(family)
        if pair and (family == "HCP_MMP1" or not alone.is_file()):
            left, right = (_read_volume(path, space) for path in pair)
            # A label wins over cortex without one, and that over the outside.
            return np.maximum(left, right), pair, False
        return _read_volume(alone, space), [alone], False
    own = _paired(_label_folder(root, subject), ".mgz").get(family)
    if space.name != "fsaverage":
        paths = own or ()
        return np.concatenate(_read_surface(paths, space)), paths, False
    pair = _paired(_label_folder(root, "fsaverage"), ".mgz").get(family)
    if pair:
        return np.concatenate(_read_surface(pair, space)), pair, False
    paths = own or ()
    maps = {h: read_map(p) for h, p in zip(HEMISPHERES, paths, strict=True)}
    moved = map_to_fsaverage(root, subject, maps)
    values = [moved[h] for h in HEMISPHERES]
    for path, value, n in zip(paths, values, space.n_vertices, strict=True):
        check_map_shape(path, value.shape, (n,), "the surface of the betas")
    return np.concatenate(values), paths, True


def _read_volume(path: Path, space: VolumeSpace) -> NDArray[Any]:
    values = read_map(path)
    check_map_shape(path, values.shape, space.shape, f"the volume {space.name}")
    return values.ravel(order="F")


def _read_surface(paths: Sequence[Path], space: Any) -> list[NDArray[Any]]:
    values = [read_map(path) for path in paths]
    for path, value, n in zip(paths, values, space.n_vertices, strict=True):
        check_map_shape(path, value.shape, (n,), f"the surface {space.name}")
    return values


def _read_sides(
    root: Path, subject: str, space: VolumeSpace, families: Sequence[str]
) -> pd.Categorical | None:
    """Return the hemisphere of each voxel from a pair of files, if there is one."""
    pairs = _paired(
        root / "nsddata" / "ppdata" / subject / space.name / "roi", ".nii.gz"
    )
    # Atlases of all cortex tell most.
    order = [f for f in ("HCP_MMP1", *families, *pairs) if f in pairs]
    if not order:
        return None
    left, right = (_read_volume(path, space) for path in pairs[order[0]])
    code = np.where(left > right, 0, np.where(right > left, 1, -1))
    categories: Any = list(HEMISPHERES)
    return pd.Categorical.from_codes(code.tolist(), categories=categories)


def _to_labels(
    root: Path,
    subject: str,
    family: str,
    values: NDArray[Any],
    sources: Sequence[Path],
) -> tuple[pd.Categorical, str]:
    """Return labels, and what a reader must know about their names."""
    outside = ~(values >= 0)
    found = np.unique(values[~outside])
    if not (found == np.floor(found)).all() or (values < -1).any():
        raise DataCorruptError(
            f"{sources[0]} must hold whole numbers from -1; it holds "
            f"{found[found != np.floor(found)][:1].tolist() or values.min()}."
        )
    there = [int(v) for v in found if v > 0]
    names, ctab = label_names(root, subject, family)
    note = ""
    if names is None:
        names = {v: str(v) for v in there}
        note = _NUMBERS
    elif ctab is None:
        note = _PUBLISHED
    elif names != PUBLISHED_LABELS.get(family, names):
        note = _OTHER
    unnamed = [v for v in there if v not in names]
    if unnamed:
        raise DataCorruptError(
            f"{sources[0]} holds the values {unnamed[:5]}, which "
            f"{ctab if ctab else 'the published family'} does not name. Is it the file "
            "of another family? Get both again from their source."
        )
    ordered = sorted(names)
    codes = np.full(len(values), -1, np.int64)
    # Category 0 is cortex without a label.
    codes[~outside] = np.searchsorted([0, *ordered], values[~outside])
    categories = pd.Index(["", *(names[v] for v in ordered)], dtype="str")
    return pd.Categorical.from_codes(codes, categories=categories), note
