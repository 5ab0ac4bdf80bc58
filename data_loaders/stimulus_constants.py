"""Two constants of published picture manipulations: a monitor and a mean spectrum."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_bytes

FloatArray = NDArray[np.float64]

_GAMMA, _SPECTRUM = "x_gamma_function.npy", "mean_power_spectrum_grey.npy"
_SIDE_PX = 224


@dataclass(frozen=True, eq=False)
class StimulusConstants:
    """What two manipulations need besides the picture.

    Parameters
    ----------
    gamma : ndarray of float64, shape (256,)
        Light of the monitor for each 8-bit level, 0..1.
    mean_amplitude : ndarray of float64, shape (224, 224)
        Mean amplitude spectrum of the grey pictures of the study (not squared,
        whatever the name of the file says), zero frequency in the middle.
    fingerprints : dict of str to str
        SHA-256 of the files.
    """

    gamma: FloatArray
    mean_amplitude: FloatArray
    fingerprints: dict[str, str]


def load_stimulus_constants(folder: str | Path) -> StimulusConstants:
    """Read the constants of the published manipulations.

    Parameters
    ----------
    folder : str or Path
        Holds ``x_gamma_function.npy`` and ``mean_power_spectrum_grey.npy`` of the
        repository rgeirhos/generalisation-humans-DNNs (folder ``code``), CC BY 4.0.

    Returns
    -------
    StimulusConstants
        For `stimuli.colour_opponency` and `stimuli.phase_scrambling`.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    DataCorruptError
        If a file is not of the form that was published.

    References
    ----------
    Geirhos et al. (2018). Generalisation in humans and deep neural networks. NeurIPS
    31, arXiv:1808.08750.
    """
    root = check_path("folder", folder, kind="folder")
    gamma, gamma_hash = _read(root / _GAMMA, (256, 1), high=1.0)
    spectrum, spectrum_hash = _read(root / _SPECTRUM, (_SIDE_PX, _SIDE_PX))
    return StimulusConstants(
        gamma.ravel(), spectrum, {_GAMMA: gamma_hash, _SPECTRUM: spectrum_hash}
    )


def _read(
    path: Path, shape: tuple[int, ...], high: float = np.inf
) -> tuple[FloatArray, str]:
    data = check_path(path.name, path).read_bytes()
    try:
        values: Any = np.lib.format.read_array(io.BytesIO(data))
        fits = values.shape == shape and values.dtype == np.float64
    except (ValueError, EOFError, OSError, AttributeError) as error:
        raise _damaged(path, shape) from error
    if not fits or not ((values >= 0) & (values <= high) & np.isfinite(values)).all():
        raise _damaged(path, shape)
    return values, sha256_bytes(data)


def _damaged(path: Path, shape: tuple[int, ...]) -> DataCorruptError:
    return DataCorruptError(
        f"{path} is no array of {shape} finite float64 numbers as was published: get "
        "it again."
    )
