"""The Natural Scenes Dataset: responses of voxels and vertices to natural pictures.

Eight people saw up to 10,000 pictures three times each during 7 T fMRI: Allen et al.
2022, Nat Neurosci 25, 116-126, doi:10.1038/s41593-021-00962-x.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_loaders.beta_preparation import prepare_responses
from data_loaders.beta_recording import BetaPart, Recording
from data_loaders.nsd_check import check_nsd
from data_loaders.nsd_describe import describe_nsd
from data_loaders.nsd_recording import plan_recording
from data_loaders.nsd_stimuli import PICTURES_FILE, NSDPictures
from neurovis.core.checks import check_columns, check_option
from neurovis.core.files import sha256_file
from neurovis.core.unit_responses import UnitResponses

__all__ = ["check_nsd", "describe_nsd", "load_nsd", "split_nsd"]

# Least number of trials that every subject must have had with a picture.
_TEST_SETS = MappingProxyType(
    {"shared": 0, "shared-907": 1, "shared-766": 2, "shared-515": 3}
)


def load_nsd(
    root: str | Path,
    subject: int | str,
    *,
    space: str = "func1pt8mm",
    preparation: str = "betas_fithrf_GLMdenoise_RR",
    volume_format: str | None = None,
    sessions: Iterable[int] | None = None,
    families: Sequence[str] | str | None = None,
    regions: Sequence[str] | str | None = None,
    mask: ArrayLike | str | Path | None = None,
    min_ncsnr: float | None = None,
    z_score: bool = True,
    average: bool = True,
    incomplete: str = "drop",
    pictures: bool = True,
    memory_gib: float = 4.0,
    store: str | Path | None = None,
) -> UnitResponses:
    """Load the responses of a subject, aligned with pictures and regions.

    The betas of a session are z-scored per unit, trials with one picture averaged,
    and the signal-to-noise ratio computed from pictures with three trials. All files
    that tell which picture was shown when are compared with each other.

    Parameters
    ----------
    root : str or Path
        Folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
    subject : int or str
        1-based number, or "subj01".
    space : str, default "func1pt8mm"
        "func1pt8mm", "func1mm", "fsaverage", "nativesurface", or another folder.
    preparation : str, default "betas_fithrf_GLMdenoise_RR"
        Folder of the preparation; "b1", "b2" and "b3" stand for the published ones.
    volume_format : str, optional
        "hdf5", "nii.gz", ...: take files of this kind only. By default the one that
        reads fastest among those that have every session.
    sessions : iterable of int, optional
        1-based sessions; default all. Without it they must run from 1 on without a
        gap.
    families : sequence of str or "all", optional
        Families of regions that become columns of `units`; default those of
        `data_loaders.nsd_regions.DEFAULT_FAMILIES` that there are.
    regions : str or sequence of str, optional
        Keep the units of these regions, named as in
        `neurovis.core.regions.region_mask`; several are joined.
    mask : array_like of bool or str or Path, optional
        Keep the units of a mask of shape (X, Y, Z), or (n_lh + n_rh,) for surfaces,
        or of a NIfTI file. With neither `regions` nor `mask` the brainmask is used.
    min_ncsnr : float, optional
        Keep units whose published ncsnr is this or more, >= 0. Where there is no
        such file the computed values decide.
    z_score : bool, default True
        Z-score each unit within each session.
    average : bool, default True
        Average the trials of a picture; otherwise rows are trials.
    incomplete : {"drop", "nan", "zero"}, default "drop"
        What becomes of units without data in a session, such as voxels at the edge
        of the brain: they are left out, undefined, or 0 in that session.
    pictures : bool, default True
        Attach the pictures when their file is there; they are read when asked for.
    memory_gib : float, default 4.0
        Memory to use at most, in GiB.
    store : str or Path, optional
        Folder where the result is kept for the next call; needed when it does not
        fit into memory.

    Returns
    -------
    UnitResponses
        Rows ascend by picture; single trials are chronological. `stimuli` has
        `stimulus_id` ("nsd-" and the 0-based number of five digits), `n_repeats`,
        `nsd_id` (0-based of 73,000), `shared`, and `n_repeats_all`, the smallest
        number of trials over all subjects. `units` has places, labels, `ncsnr`, and
        `ncsnr_published` where there is a file. See its `notes`.

    Raises
    ------
    FileNotFoundError
        If the betas or ``nsd_expdesign.mat`` are not there.
    DataCorruptError
        If a file is damaged, or two files contradict each other.
    KeyError
        If a region or family is unknown.
    ValueError
        If an option or session is unknown, sessions are missing in the middle, or
        no unit is left.
    """
    check_option("incomplete", incomplete, ("drop", "nan", "zero"))
    plan = plan_recording(
        root,
        subject,
        space=space,
        preparation=preparation,
        volume_format=volume_format,
        sessions=sessions,
        families=families,
        regions=regions,
        mask=mask,
        min_ncsnr=min_ncsnr,
    )
    recording = plan.recording
    shown: NSDPictures | None = None
    if pictures and (Path(root) / PICTURES_FILE).is_file():
        shown = NSDPictures(root, recording.trials["nsd_id"])
    elif pictures:
        note = f"There is no {PICTURES_FILE}: responses have no pictures."
        recording = replace(recording, notes=(*recording.notes, note))

    def prepare(what: Recording) -> UnitResponses:
        return prepare_responses(
            what,
            z_score=z_score,
            average=average,
            incomplete=incomplete,
            memory_gib=memory_gib,
            store=store,
            pictures=shown,
        )

    responses = prepare(recording)
    if min_ncsnr is not None and not plan.has_published_ncsnr:
        good = responses.units["ncsnr"].to_numpy() >= min_ncsnr
        if not good.any():
            raise ValueError(
                f"No unit has a computed ncsnr of {min_ncsnr} or more. Ask for less."
            )
        if store is None:
            responses = responses.select_units(good)
        else:
            # Prepared once more, so that the store holds what is asked for.
            ids = responses.units["unit_id"][good]
            responses = prepare(_keep_units(recording, ids.tolist()))
    marks = {"nsd_expdesign.mat": sha256_file(plan.design.path)}
    return replace(responses, fingerprints={**responses.fingerprints, **marks})


def _keep_units(recording: Recording, unit_ids: Sequence[str]) -> Recording:
    keep = recording.units["unit_id"].isin(unit_ids).to_numpy()
    parts, start = [], 0
    for part in recording.parts:
        mine = keep[start : start + len(part.places)]
        start += len(part.places)
        if mine.any():
            parts.append(BetaPart(part.files, part.places[mine]))
    units = recording.units[keep].reset_index(drop=True)
    return replace(recording, parts=tuple(parts), units=units)


def split_nsd(
    responses: UnitResponses, test: str = "shared"
) -> dict[str, NDArray[np.int64]]:
    """Split rows into training and test by picture.

    No shared picture is ever trained on, whichever of them are the test.

    Parameters
    ----------
    responses : UnitResponses
        From `load_nsd`, averaged or not.
    test : {"shared", "shared-907", "shared-766", "shared-515"}, default "shared"
        All shared pictures that the subject saw, or those that all subjects saw at
        least once, twice, or three times. The numbers are those of the whole
        published data.

    Returns
    -------
    dict of str to ndarray of int64
        0-based rows of "train" and "test".

    Raises
    ------
    ValueError
        If `test` is unknown, `responses` are not of NSD, or a part would be empty.

    Examples
    --------
    >>> import pandas as pd
    >>> stimuli = pd.DataFrame(
    ...     {
    ...         "stimulus_id": ["nsd-00002", "nsd-00004", "nsd-00006"],
    ...         "n_repeats": [3, 3, 2],
    ...         "shared": [True, False, True],
    ...         "n_repeats_all": [3, 0, 1],
    ...     }
    ... )
    >>> units = pd.DataFrame({"unit_id": ["a"]})
    >>> betas = np.zeros((3, 1), np.float32)
    >>> responses = UnitResponses("nsd", "subj01", betas, stimuli, units)
    >>> {k: v.tolist() for k, v in split_nsd(responses, "shared-515").items()}
    {'train': [1], 'test': [0]}
    """
    check_option("test", test, tuple(_TEST_SETS))
    stimuli = responses.stimuli
    check_columns("stimuli", stimuli.columns, ("shared", "n_repeats_all"))
    shared = stimuli["shared"].to_numpy(np.bool_)
    enough = stimuli["n_repeats_all"].to_numpy() >= _TEST_SETS[test]
    rows = {"train": np.flatnonzero(~shared), "test": np.flatnonzero(shared & enough)}
    empty = [name for name, found in rows.items() if not len(found)]
    if empty:
        raise ValueError(
            f"The {empty[0]} part of `test={test!r}` is empty: of {len(stimuli)} rows "
            f"{int(shared.sum())} show shared pictures. Load more sessions or choose "
            "another `test`."
        )
    return rows
