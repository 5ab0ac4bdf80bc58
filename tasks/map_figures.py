"""Maps of a run as figures, and as pages on which the cortex can be turned."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.plots_volume import plot_volume_map
from analysis.surface import plot_cortex_map
from analysis.surface_mesh import to_fsaverage5
from analysis.surface_page import write_cortex_html
from neurovis.core.brain_space import HEMISPHERES, SurfaceSpace
from neurovis.core.files import DECODER_ERRORS, corrupt


def draw_map(
    home: Path, stem: str, page: Path, *, label: str, title: str, note: str = ""
) -> Figure | None:
    """Draw a map that `tasks.encoding_maps.write_unit_maps` wrote.

    Parameters
    ----------
    home : Path
        Folder of the map.
    stem : str
        Name of the file without suffix and hemisphere.
    page : Path
        Page to write, on which the cortex can be turned; of surfaces of the fsaverage
        family only.
    label : str
        What the values are, with unit.
    title : str
        Text above.
    note : str, optional
        What must not be overlooked.

    Returns
    -------
    Figure or None
        Colours begin at 0. None where there is no map, no value is defined, or the
        mesh of a native surface is not known.

    Raises
    ------
    DataCorruptError
        If the map is damaged.
    """
    words = {"label": label, "title": title, "note": note}
    volume, left = home / f"{stem}.nii.gz", home / f"lh.{stem}.mgh"
    if volume.is_file():
        return _volume_figure(volume, words)
    if left.is_file():
        files = {h: home / f"{h}.{stem}.mgh" for h in HEMISPHERES}
        maps = {h: _read(file, nib.MGHImage)[0].ravel() for h, file in files.items()}
        return _cortex_figure(maps, words, page)
    return None


def _volume_figure(path: Path, words: dict[str, Any]) -> Figure | None:
    values, affine = _read(path, nib.Nifti1Image)
    if not np.isfinite(values).any():
        return None
    return plot_volume_map(values, affine, **_begin_at_zero(values, words))


def _begin_at_zero(
    values: NDArray[np.float64], words: dict[str, Any]
) -> dict[str, Any]:
    # Where nothing is above 0, the colours must still span something.
    return {**words, "vmin": 0.0} if float(np.nanmax(values)) > 0 else words


def _read(path: Path, kind: Any) -> tuple[NDArray[np.float64], Any]:
    """Return values and affine of a map."""
    try:
        # From bytes, so that no file stays open.
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        image = kind.from_bytes(content)
        return np.asarray(image.dataobj, np.float64), image.affine
    except (nib.filebasedimages.ImageFileError, *DECODER_ERRORS) as error:
        raise corrupt(path, "map", error) from error


def _cortex_figure(
    maps: dict[str, NDArray[np.float64]], words: dict[str, Any], page: Path
) -> Figure | None:
    """Draw a map of a mesh of the fsaverage family, and write it as a page."""
    both = np.concatenate(list(maps.values()))
    if not np.isfinite(both).any():
        return None
    space = SurfaceSpace("fsaverage", (len(maps["lh"]), len(maps["rh"])))
    try:
        small = to_fsaverage5(maps, space)
    except ValueError:  # a native surface, whose mesh is not told
        return None
    options = _begin_at_zero(both, words)
    write_cortex_html(page, small, **options)
    return plot_cortex_map(small, **options)
