"""Neurons of macaque V4 and colour pictures: four recordings of three animals.

References
----------
Cowley, Stan, Pillow and Smith (2023). Compact deep neural network models of visual
cortex. bioRxiv. doi:10.1101/2023.11.22.568315.

Bashivan, Kar and DiCarlo (2019). Neural population control via deep image synthesis.
Science 364:eaav9436. doi:10.1126/science.aav9436 (pictures of recording 210325).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.source_arrays import (
    check_all_pictures,
    open_all_pictures,
    read_floats,
)
from data_loaders.source_files import ZipPictures, content_of
from neurovis.core.checks import check_option, check_path
from neurovis.core.files import sha256_file
from neurovis.core.unit_responses import UnitResponses

MOST_REPEATS = 60
"""Largest number of trials that `count_repeats` looks for."""

_PICTURE_PX = (112, 112)
_SLACK = 1e-3  # in spikes; rounding to float32 leaves less than 1e-4


@dataclass(frozen=True)
class Recording:
    """What is known about one recording.

    Parameters
    ----------
    animal : str
        Initials in the source.
    n_pictures, n_neurons : int
        Rows and columns of the responses.
    n_trials : int, default 0
        Places for single trials of each picture; 0 if only averages were published.
    """

    animal: str
    n_pictures: int
    n_neurons: int
    n_trials: int = 0


RECORDINGS: Mapping[str, Recording] = MappingProxyType(
    {
        "190923": Recording("WE", 1000, 33),
        "201025": Recording("PE", 1000, 89),
        "210621": Recording("RA", 1000, 51),
        "210325": Recording("PE", 640, 50, 10),
    }
)


def load_v4_images(
    folder: str | Path, recording: str, *, trials: bool = False
) -> UnitResponses:
    """Load the responses of V4 neurons to pictures.

    Neurons of two recordings are not the same ones, nor are the pictures.

    Parameters
    ----------
    folder : str or Path
        Folder with ``responses_<recording>.npz``, which holds `responses` (float32,
        pictures x neurons) and for "210325" `responses_trials` (pictures x neurons x
        10, NaN after the last trial), and ``images_<recording>.zip`` with
        ``0000.jpg``.., numbered as the rows.
    recording : {"190923", "201025", "210621", "210325"}
        Which recording.
    trials : bool, default False
        Single trials instead of averages; only "210325" has them.

    Returns
    -------
    UnitResponses
        Spike counts in 100 ms. Pictures are 112 x 112 px and read when asked for.

        - stimuli: `stimulus_id` ("v4-210325-0007": the picture), `n_repeats`, and
          with `trials` the column `repeat` (0-based place among the trials of the
          picture, rows sorted by picture and repeat);
        - units: `unit_id` ("210325-n07"), `region` (a family with the label V4),
          `animal`, `recording` and `neuron` (0-based column of the file).

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be, or a picture is missing.
    TypeError, ValueError
        If there is no such recording, or it has no single trials.

    Notes
    -----
    Only "210325" tells how many trials were averaged. For the others `n_repeats` is
    found by `count_repeats`, which gives the right number for all pictures of
    "210325".
    """
    if isinstance(recording, int):
        raise TypeError(f"`recording` must be text; write {str(recording)!r}.")
    known = RECORDINGS[check_option("recording", recording, tuple(RECORDINGS))]
    if trials and not known.n_trials:
        single = [name for name, facts in RECORDINGS.items() if facts.n_trials]
        raise ValueError(
            f"Recording {recording} was published as averages over trials. Single "
            f"trials exist of {', '.join(single)}: leave out `trials` or load that one."
        )
    folder = check_path("folder", folder, kind="folder")
    numbers, images = (check_path(n, folder / n) for n in _file_names(recording))
    shape = (known.n_pictures, known.n_neurons)
    means = read_floats(numbers, {"responses": shape})["responses"]
    single_trials = None
    with content_of(numbers):
        if (means < 0).any():
            raise ValueError("`responses` has spike counts below 0.")
        if not known.n_trials:
            n_repeats = count_repeats(means)
    if known.n_trials:
        key = "responses_trials"
        wanted = {key: (*shape, known.n_trials)}
        single_trials = read_floats(numbers, wanted, finite=False)[key]
        with content_of(numbers):
            n_repeats = _count_trials(single_trials, means)
    files = tuple(f"{row:04d}.jpg" for row in range(known.n_pictures))
    pictures = open_all_pictures(images, files)
    betas, rows = means, np.arange(known.n_pictures)
    stimuli = pd.DataFrame({"stimulus_id": [f"v4-{recording}-{i:04d}" for i in rows]})
    if trials and single_trials is not None:
        rows = np.repeat(rows, n_repeats)
        stimuli = stimuli.iloc[rows].reset_index(drop=True)
        place = stimuli.groupby("stimulus_id").cumcount().to_numpy(np.int64)
        betas = single_trials[rows, :, place]
        stimuli = stimuli.assign(n_repeats=1, repeat=place)
        pictures = ZipPictures(images, tuple(files[row] for row in rows))
    else:
        stimuli = stimuli.assign(n_repeats=n_repeats)
    return UnitResponses(
        name="v4-images",
        subject=known.animal,
        betas=np.ascontiguousarray(betas, np.float32),
        stimuli=stimuli,
        units=_make_units(recording, known),
        families=("region",),
        response_unit="spikes in 100 ms",
        pictures=pictures,
        fingerprints={path.name: sha256_file(path) for path in (numbers, images)},
        notes=()
        if known.n_trials
        else (
            "The file tells no numbers of trials: `n_repeats` is the smallest one that "
            "makes whole spike counts of the averages of a picture.",
        ),
    )


def check_v4_images(folder: str | Path) -> list[str]:
    """Check the recordings that are there, every picture included.

    Parameters
    ----------
    folder : str or Path
        As for `load_v4_images`; recordings may be missing.

    Returns
    -------
    list of str
        Facts of each recording, and which are not there.

    Raises
    ------
    FileNotFoundError
        If no recording is there, or pictures without responses or the reverse.
    DataCorruptError
        If a file is damaged or holds what cannot be.
    """
    folder = check_path("folder", folder, kind="folder")
    there = [
        name
        for name in RECORDINGS
        if any((folder / file).exists() for file in _file_names(name))
    ]
    if not there:
        raise FileNotFoundError(
            f"{folder} holds no recording: {' and '.join(_file_names('190923'))}, or "
            f"those of {', '.join(list(RECORDINGS)[1:])}, are looked for."
        )
    lines = []
    for name in there:
        responses = load_v4_images(folder, name)
        check_all_pictures(folder / _file_names(name)[1], _PICTURE_PX)
        lines += [f"recording {name}", *(f"  {line}" for line in responses.describe())]
    missing = [name for name in RECORDINGS if name not in there]
    return lines + [f"not there: recording {name}" for name in missing]


def count_repeats(means: NDArray[np.floating]) -> NDArray[np.int64]:
    """Find how many trials were averaged, from averages of whole counts.

    Each neuron's average, times the number of trials, is a whole number of spikes.
    The smallest number of trials for which this holds for all neurons is returned;
    the true number is a multiple of it. That it is a larger one takes a common
    divisor of all counts: with tens of neurons this does not happen by chance.

    Parameters
    ----------
    means : ndarray of float, shape (n_pictures, n_neurons)
        Spike counts averaged over the trials of a picture.

    Returns
    -------
    ndarray of int64, shape (n_pictures,)
        Trials per picture, 1..60.

    Raises
    ------
    ValueError
        If no number up to 60 gives whole counts.

    Examples
    --------
    >>> count_repeats(np.array([[1.5, 0.25], [2 / 3, 1.0]])).tolist()
    [4, 3]
    """
    n_repeats = np.zeros(len(means), np.int64)
    for n in range(MOST_REPEATS, 0, -1):
        counts = np.asarray(means, np.float64) * n
        n_repeats[(np.abs(counts - np.rint(counts)) < _SLACK).all(axis=1)] = n
    lost = np.flatnonzero(n_repeats == 0)
    if len(lost):
        raise ValueError(
            f"`responses` of {len(lost)} pictures, such as {lost[0]}, are no averages "
            f"of whole spike counts over up to {MOST_REPEATS} trials."
        )
    return n_repeats


def _file_names(recording: str) -> tuple[str, str]:
    return f"responses_{recording}.npz", f"images_{recording}.zip"


def _count_trials(
    trials: NDArray[np.floating], means: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Return the number of trials of each picture; raise if they do not fit."""
    known = ~np.isnan(trials)
    n_trials: NDArray[np.int64] = known[:, 0].sum(axis=1, dtype=np.int64)
    first = np.arange(trials.shape[2]) < n_trials[:, None]
    if not (known == first[:, None]).all() or not n_trials.all():
        raise ValueError(
            "`responses_trials` must have the same trials for all neurons of a "
            "picture, at least one, and NaN after the last."
        )
    averages = np.nansum(trials, axis=2, dtype=np.float64) / n_trials[:, None]
    if np.abs(averages - means).max() > _SLACK:
        raise ValueError("`responses` are not the averages of `responses_trials`.")
    return n_trials


def _make_units(recording: str, known: Recording) -> pd.DataFrame:
    neurons = range(known.n_neurons)
    return pd.DataFrame(
        {
            "unit_id": [f"{recording}-n{i:02d}" for i in neurons],
            "region": "V4",
            "animal": known.animal,
            "recording": recording,
            "neuron": np.array(neurons, np.int64),
        }
    )
