"""Brain data as a user asks for them, ``NAME:PATH``, with splits and ceilings."""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.ceilings import signal_fraction, stack_trials
from analysis.metrics import unit_blocks
from data_loaders.algonauts import load_algonauts
from data_loaders.algonauts_files import find_subjects as find_algonauts_subjects
from data_loaders.content_hashes import hash_table
from data_loaders.nsd import load_nsd, split_nsd
from data_loaders.nsd_files import find_subjects as find_nsd_subjects
from data_loaders.objects_fmri import load_objects_features, load_objects_fmri
from data_loaders.rdm_sets import load_net2brain78, load_objects92
from data_loaders.v4_images import RECORDINGS, load_v4_images
from neurovis.core.checks import check_array, check_option, check_path
from neurovis.core.noise_ceiling import explainable_fraction
from neurovis.core.rdm_stack import RDMStack
from neurovis.core.unit_responses import UnitResponses, open_responses

NSD_TESTS = ("shared", "shared-907", "shared-766", "shared-515")
_EVERY = re.compile(r"every-([2-9]|[1-9]\d+)")
_FOLDS = re.compile(r"folds-([2-9]|[1-9]\d+)")
LEAVE_ONE_OUT = "leave-one-out"


@dataclass(frozen=True)
class BrainData:
    """Responses of one subject, and what belongs to them.

    Parameters
    ----------
    responses : UnitResponses
        Responses with their pictures, if there are any.
    test : str
        Split that is taken unless another is asked for, see `split_rows`.
    features : mapping of str to ndarray of float32, shape (n_rows, n_features)
        Features that came with the data, in the order of the rows.
    recording : str, optional
        What tells several recordings of one subject apart.
    map_shapes : mapping of str to tuple of int, optional
        Channels, height and width of those features that are maps, flattened channel
        by channel.

    Raises
    ------
    ValueError
        If features have other rows than the responses, or another size than maps of
        their shape.
    """

    responses: UnitResponses
    test: str = "every-5"
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    recording: str = ""
    map_shapes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, array in self.features.items():
            shape = self.map_shapes.get(name)
            width = None if shape is None else math.prod(shape)
            rows = len(self.responses)
            check_array(f"features[{name!r}]", array, shape=(rows, width))

    @property
    def is_simulated(self) -> bool:
        """Whether the responses say that nobody was measured."""
        return any("simulated" in note.lower() for note in self.responses.notes)

    @property
    def subject(self) -> str:
        """Subject, and recording if there are several: unique in a data set."""
        return " ".join(filter(None, (self.responses.subject, self.recording)))

    @property
    def name(self) -> str:
        """Data set and subject, for messages."""
        return f"{self.responses.name} {self.subject}"


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to test on; no stimulus is in both.

    Parameters
    ----------
    name : str
        Which split it is.
    train, test : ndarray of int64
        0-based rows, ascending.
    """

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def split_source(where: str) -> tuple[str, Path]:
    """Take ``NAME:PATH`` apart.

    Parameters
    ----------
    where : str
        Data set and folder, such as "nsd:/data/nsd".

    Returns
    -------
    str
        Name, one of `UNIT_SOURCES` or `RDM_SOURCES`.
    Path
        Folder.

    Raises
    ------
    TypeError, ValueError
        If it has another form, or the name is unknown.
    FileNotFoundError, NotADirectoryError
        If there is no such folder.

    Examples
    --------
    >>> split_source("nsd:.")
    ('nsd', PosixPath('.'))
    """
    if not isinstance(where, str):
        raise TypeError(f"`data` must be text such as 'nsd:PATH'; got {where!r}.")
    name, colon, path = where.partition(":")
    known = (*UNIT_SOURCES, *RDM_SOURCES)
    if not (colon and path):
        raise ValueError(
            f"`data` must be NAME:PATH with NAME one of {', '.join(known)}; got "
            f"{where!r}."
        )
    check_option("data set", name, known)
    folder = Path(path).expanduser()
    return name, check_path(f"folder of {name}", folder, kind="folder")


def load_brain(
    where: str,
    *,
    subjects: Sequence[str | int] | None = None,
    regions: Sequence[str] | None = None,
    min_ncsnr: float | None = None,
    store: str | Path | None = None,
    memory_gib: float = 4.0,
    **options: Any,
) -> list[BrainData]:
    """Load the responses of the subjects of a data set, averaged over trials.

    Parameters
    ----------
    where : str
        ``NAME:PATH`` with a name of `UNIT_SOURCES`: "nsd" and "algonauts",
        "v4-images" (recordings are the subjects), "objects-fmri", or "responses", a
        folder that `neurovis.core.unit_responses.save_responses` wrote.
    subjects : sequence of str or int, optional
        Which of them; by default all that are there.
    regions : sequence of str, optional
        Keep the units of these regions, see `neurovis.core.regions.region_mask`.
    min_ncsnr : float, optional
        Keep units whose published ncsnr is this or more ("nsd" only).
    store : str or Path, optional
        Where prepared responses are kept ("nsd" and "algonauts").
    memory_gib : float, default 4.0
        Memory to use at most for preparing ("nsd" and "algonauts").
    **options : object
        Further arguments of `data_loaders.nsd.load_nsd`: space, preparation,
        sessions ("nsd" only).

    Returns
    -------
    list of BrainData
        One per subject. Columns of `units` that tell ceilings: `ncsnr`, or
        `noise_ceiling` (share of the variance of the averages that is signal).

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is unknown or does not go with the data set.
    FileNotFoundError, NotADirectoryError
        If folder or files are missing.
    DataCorruptError
        If a file is damaged.
    """
    name, folder = split_source(where)
    if name in RDM_SOURCES:
        raise ValueError(
            f"{name} holds dissimilarities, no responses of units: encoding models "
            f"need one of {', '.join(UNIT_SOURCES)}; compare it by RSA."
        )
    given = options | ({} if min_ncsnr is None else {"min_ncsnr": min_ncsnr})
    if given and name != "nsd":
        raise ValueError(f"`{next(iter(given))}` is for nsd; {name} does not take it.")
    kept = {"store": store, "memory_gib": memory_gib}
    extra = given | (kept if name in ("nsd", "algonauts") else {})
    return UNIT_SOURCES[name](folder, subjects, regions, extra)


def load_rdms(where: str) -> RDMStack:
    """Load a data set of dissimilarities.

    Parameters
    ----------
    where : str
        ``NAME:PATH`` with a name of `RDM_SOURCES`.

    Returns
    -------
    RDMStack
        Its matrices with the pictures.

    Raises
    ------
    ValueError
        If it is another data set.
    FileNotFoundError, NotADirectoryError
        If folder or files are missing.
    DataCorruptError
        If a file is damaged.
    """
    name, folder = split_source(where)
    check_option("data set of dissimilarities", name, tuple(RDM_SOURCES))
    return RDM_SOURCES[name](folder)


def split_rows(responses: UnitResponses, test: str) -> list[Split]:
    """Split the rows by stimulus.

    Parameters
    ----------
    responses : UnitResponses
        Averages or single trials.
    test : str
        "shared", "shared-907", "shared-766" or "shared-515" for NSD (see
        `data_loaders.nsd.split_nsd`); "every-N": of the stimuli in order of their
        first rows, each N-th (index modulo N is N - 1); "folds-N": N splits, the
        stimuli with index modulo N equal to 0, 1, ...; "leave-one-out".

    Returns
    -------
    list of Split
        One, or one per fold.

    Raises
    ------
    TypeError, ValueError
        If the split is unknown, does not go with the data, or has an empty part.

    Examples
    --------
    >>> import pandas as pd
    >>> stimuli = pd.DataFrame({"stimulus_id": list("aabcd"), "n_repeats": 1})
    >>> units = pd.DataFrame({"unit_id": ["u"]})
    >>> betas = np.zeros((5, 1), np.float32)
    >>> responses = UnitResponses("tiny", "s", betas, stimuli, units)
    >>> [(s.train.tolist(), s.test.tolist()) for s in split_rows(responses, "every-4")]
    [([0, 1, 2, 3], [4])]
    >>> [s.test.tolist() for s in split_rows(responses, "folds-2")]
    [[0, 1, 3], [2, 4]]
    """
    if test in NSD_TESTS:
        rows = split_nsd(responses, test)
        return [Split(test, rows["train"], rows["test"])]
    order = responses.stimuli["stimulus_id"].factorize()[0]
    n = int(order.max()) + 1
    every, folds = _EVERY.fullmatch(str(test)), _FOLDS.fullmatch(str(test))
    if every:
        k = int(every[1])
        held_out = [(test, order % k == k - 1)]
    elif folds or test == LEAVE_ONE_OUT:
        k = int(folds[1]) if folds else n
        held_out = [(f"{test} {i + 1}", order % k == i) for i in range(k)]
    else:
        raise ValueError(
            f"`test` must be 'every-N', 'folds-N', '{LEAVE_ONE_OUT}', or for nsd one "
            f"of {', '.join(NSD_TESTS)}; got {test!r}."
        )
    if k > n or n < 2:
        raise ValueError(f"`test` {test!r} needs more than {n} stimuli.")
    return [
        Split(name, np.flatnonzero(~mask), np.flatnonzero(mask))
        for name, mask in held_out
    ]


def check_split(responses: UnitResponses, split: Split) -> None:
    """Raise if a stimulus is both trained on and tested.

    Parameters
    ----------
    responses : UnitResponses
        Whose rows are split.
    split : Split
        Rows.

    Raises
    ------
    ValueError
        If a part is empty, or a stimulus is in both; the first one is named.
    """
    ids = responses.stimuli["stimulus_id"].to_numpy()
    if not (len(split.train) and len(split.test)):
        raise ValueError(
            f"The split {split.name!r} has {len(split.train)} rows to train on and "
            f"{len(split.test)} to test: both need some."
        )
    both = np.intersect1d(ids[split.train], ids[split.test])
    if len(both):
        raise ValueError(
            f"The split {split.name!r} has {len(both)} stimuli, such as "
            f"{str(both[0])!r}, both to train on and to test: scores would reward "
            "remembering them. Split by stimulus, not by row."
        )


def fingerprint_responses(responses: UnitResponses) -> str:
    """Return the SHA-256 of responses, stimuli and units; pictures do not matter.

    Parameters
    ----------
    responses : UnitResponses
        Read once, in blocks of units.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> import pandas as pd
    >>> stimuli = pd.DataFrame({"stimulus_id": ["a"], "n_repeats": 1})
    >>> units = pd.DataFrame({"unit_id": ["u"]})
    >>> betas = np.zeros((1, 1), np.float32)
    >>> len(fingerprint_responses(UnitResponses("tiny", "s", betas, stimuli, units)))
    64
    """
    tables = (responses.stimuli, responses.units)
    sha = hashlib.sha256(str([hash_table(table) for table in tables]).encode())
    for block in unit_blocks(*responses.betas.shape):
        values = np.asarray(responses.betas[:, block].T)
        sha.update(np.ascontiguousarray(values).data)
    return sha.hexdigest()


def unit_ceilings(
    responses: UnitResponses, rows: ArrayLike
) -> tuple[NDArray[np.float64], str]:
    """Return the share of the variance of responses that a model can explain.

    Parameters
    ----------
    responses : UnitResponses
        Responses whose `units` have `ncsnr`, `noise_ceiling`, or neither.
    rows : array-like of int
        Rows to be predicted.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        Ceilings, 0..1; NaN where unknown.
    str
        Where they come from: "ncsnr" (noise from repeats, for the numbers of trials
        of these rows), "noise_ceiling" (a column of the data), or "" if unknown.
    """
    units = responses.units
    if "ncsnr" in units:
        n_repeats = responses.stimuli["n_repeats"].to_numpy()[np.asarray(rows)]
        return explainable_fraction(units["ncsnr"].to_numpy(float), n_repeats), "ncsnr"
    if "noise_ceiling" in units:
        return units["noise_ceiling"].to_numpy(np.float64).copy(), "noise_ceiling"
    return np.full(responses.n_units, np.nan), ""


def _load_nsd(
    folder: Path, subjects: Any, regions: Any, options: dict[str, Any]
) -> list[BrainData]:
    names = find_nsd_subjects(folder) if subjects is None else subjects
    return [
        BrainData(load_nsd(folder, name, regions=regions, **options), "shared")
        for name in names
    ]


def _load_algonauts(
    folder: Path, subjects: Any, regions: Any, options: dict[str, Any]
) -> list[BrainData]:
    names = find_algonauts_subjects(folder) if subjects is None else subjects
    return [
        BrainData(load_algonauts(folder, name, regions=regions, **options))
        for name in names
    ]


def _load_v4(
    folder: Path, subjects: Any, regions: Any, options: dict[str, Any]
) -> list[BrainData]:
    del options
    names = list(RECORDINGS) if subjects is None else [str(name) for name in subjects]
    found = []
    for name in names:
        check_option("recording", name, tuple(RECORDINGS))
        responses = load_v4_images(folder, name)
        if RECORDINGS[name].n_trials:
            trials = load_v4_images(folder, name, trials=True)
            stacked, _ = stack_trials(trials.betas, trials.stimuli["stimulus_id"])
            units = responses.units.assign(noise_ceiling=signal_fraction(stacked))
            responses = replace(responses, units=units)
        found.append(BrainData(_in_regions(responses, regions), recording=name))
    return found


def _load_objects(
    folder: Path, subjects: Any, regions: Any, options: dict[str, Any]
) -> list[BrainData]:
    del options
    responses = load_objects_fmri(folder)
    _check_subject(responses, subjects)
    features = load_objects_features(folder)
    return [BrainData(_in_regions(responses, regions), LEAVE_ONE_OUT, features)]


def _load_saved(
    folder: Path, subjects: Any, regions: Any, options: dict[str, Any]
) -> list[BrainData]:
    del options
    responses = open_responses(folder)
    _check_subject(responses, subjects)
    return [BrainData(_in_regions(responses, regions))]


def _check_subject(responses: UnitResponses, subjects: Any) -> None:
    for name in subjects or ():
        check_option(f"subject of {responses.name}", name, (responses.subject,))


def _in_regions(responses: UnitResponses, regions: Any) -> UnitResponses:
    if not regions:
        return responses
    masks = [responses.in_region(name) for name in regions]
    return responses.select_units(np.any(masks, axis=0))


UNIT_SOURCES: Mapping[str, Callable[..., list[BrainData]]] = {
    "nsd": _load_nsd,
    "algonauts": _load_algonauts,
    "v4-images": _load_v4,
    "objects-fmri": _load_objects,
    "responses": _load_saved,
}
"""Data sets of responses of units, and how each is loaded."""

RDM_SOURCES: Mapping[str, Callable[[Path], RDMStack]] = {
    "objects92": load_objects92,
    "net2brain78": load_net2brain78,
}
"""Data sets of dissimilarities."""
