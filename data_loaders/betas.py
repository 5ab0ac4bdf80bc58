"""Single-trial responses of any laboratory, from plain files.

Responses (NumPy, HDF5, MATLAB, NIfTI, FreeSurfer, or outputs of GLMsingle), a table of
events that tells the stimulus of each trial, and, where wanted, a mask and label images
become one `UnitResponses`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_loaders.beta_assembly import PartFiles, Regions, prepare_betas
from data_loaders.beta_events import Events, match_events
from data_loaders.beta_files import BetaFile
from data_loaders.beta_folders import SessionFile, find_session_files, session_notes
from data_loaders.beta_masks import Image, same_place
from data_loaders.glmsingle import open_trials
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_option
from neurovis.core.unit_responses import UnitResponses

Paths = str | Path | Sequence[str | Path]


def load_betas(
    betas: Paths | Mapping[str, Paths],
    events: Events | Sequence[Events],
    *,
    name: str = "betas",
    subject: str = "subject",
    space: str = "native",
    sessions: Sequence[int] | None = None,
    dataset: str | None = None,
    trials_axis: str | None = None,
    scale: float = 1.0,
    stimulus_column: str | None = None,
    session_column: str | None = None,
    trial_types: Sequence[str] | None = None,
    mask: Image | Mapping[str, Image] | None = None,
    mask_order: str | None = None,
    regions: Regions | Mapping[str, Regions] | None = None,
    pictures: str | Path | None = None,
    response_unit: str = "",
    z_score: bool | str = True,
    average: bool = True,
    incomplete: str = "drop",
    memory_gib: float = 4.0,
    store: str | Path | None = None,
) -> UnitResponses:
    """Load responses of single trials and the stimuli that were shown.

    Headers, events, masks and pictures are checked before any response is read.

    Parameters
    ----------
    betas : path, sequence of paths, or mapping
        Files of trials in chronological order, a folder, or a pattern; see
        `data_loaders.beta_folders.find_session_files`. Formats: see
        `data_loaders.glmsingle.open_trials`. For vertices of a surface one of these
        for each hemisphere: ``{"lh": ..., "rh": ...}``; `mask` and `regions` are then
        given in the same way.
    events : table, path, or sequence of them
        The stimulus of each trial: one table for all files or one per file; see
        `data_loaders.beta_events.match_events`.
    name, subject : str
        Of the data set and the person, for tables and figures.
    space : str, default "native"
        Name of the space of the voxels.
    sessions : sequence of int, optional
        1-based session of each file when its name does not tell.
    dataset : str, optional
        Name of the responses in HDF5, MATLAB or pickled files.
    trials_axis : {"first", "last"}, optional
        Where trials are in the stored array, if not where the format has them.
    scale : float, default 1.0
        What stored numbers are divided by; 300 for integers of the Natural Scenes
        Dataset.
    stimulus_column, session_column : str, optional
        Columns of the events with the identity of the stimulus, and the session.
    trial_types : sequence of str, optional
        Rows of events that are trials, by their `trial_type`.
    mask : path or array, optional
        Units above 0 are loaded; of the grid of the responses. For responses of
        (trials, units), a volume with one voxel per unit tells where they lie.
    mask_order : {"C", "F"}, optional
        Order in which voxels of a mask became units: "C" (z fastest) as NumPy and
        nilearn have it, "F" (x fastest) as MATLAB. Default "F" for ``.mat`` files, "C"
        for others.
    regions : mapping, optional
        Family of regions to its label image, or to (image, names); see
        `data_loaders.beta_masks.label_units`.
    pictures : path, optional
        Folder of the stimuli. A picture belongs to the identity that is its path below
        the folder, its name, or its name without suffix.
    response_unit : str, default ""
        Unit of the responses, such as "percent signal change", if they are not
        z-scored.
    z_score : bool or "session", default True
        Whether each unit gets mean 0 and standard deviation 1 within each session
        (population formula, as NSD and Algonauts); "session" says the same.
    average : bool, default True
        Whether repeats of a stimulus become one row.
    incomplete : {"drop", "nan", "zero"}
        What becomes of units that are constant or undefined in a session.
    memory_gib : float, default 4.0
        Most memory to use, in GiB.
    store : path, optional
        Folder for prepared responses: they stay on disk until indexed, work that was
        cut short goes on, and the next call with equal files finds them.

    Returns
    -------
    UnitResponses
        Rows by ascending `stimulus_id` when averaged, else chronological.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If an argument is unknown, or events, sessions, grids, masks or pictures do not
        fit the responses.
    DataCorruptError
        If a file is damaged.

    See Also
    --------
    data_loaders.bids_betas.load_bids_betas : finds all of this by BIDS names.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> folder = Path(tempfile.mkdtemp())
    >>> for session in (1, 2):
    ...     trials = np.random.default_rng(session).normal(size=(4, 10))
    ...     np.save(folder / f"betas_session{session}.npy", trials)
    >>> events = pd.DataFrame(
    ...     {"session": [1] * 4 + [2] * 4, "stimulus_id": [*"abcd"] * 2}
    ... )
    >>> responses = load_betas(folder, events)
    >>> responses.betas.shape, responses.stimuli["n_repeats"].tolist()
    ((4, 10), [2, 2, 2, 2])
    """
    if z_score not in (True, False):
        check_option("z_score", z_score, ("session", True, False))
    halves = betas if isinstance(betas, Mapping) else {"": betas}
    if isinstance(betas, Mapping) and set(betas) != set(HEMISPHERES):
        raise ValueError(
            f"`betas` as a mapping must have the keys {list(HEMISPHERES)}; got "
            f"{list(betas)}."
        )
    found = {h: find_session_files(halves[h], sessions) for h in sorted(halves)}
    opened = {h: open_files(f, dataset, trials_axis, scale) for h, f in found.items()}
    files, first = next(iter(found.values())), next(iter(opened.values()))
    _check_halves(found, opened)
    trials, assumed = match_events(
        events,
        files,
        [file.n_trials for file in first],
        n_units=[file.n_places for file in first],
        stimulus_column=stimulus_column,
        session_column=session_column,
        trial_types=trial_types,
    )
    notes = [*session_notes(files), *assumed]
    if dataset is not None or trials_axis is not None:
        notes.append(f"Read with dataset={dataset!r}, trials_axis={trials_axis!r}.")
    if mask_order is None:
        is_matlab = all(f.path.suffix.lower() == ".mat" for f in first)
        mask_order = "F" if is_matlab else "C"
    parts = [
        PartFiles(
            h, tuple(f), _of_half("mask", mask, h), _of_half("regions", regions, h)
        )
        for h, f in opened.items()
    ]
    return prepare_betas(
        parts,
        trials,
        name=name,
        subject=subject,
        space=space,
        mask_order=mask_order,
        pictures=pictures,
        notes=notes,
        response_unit=response_unit,
        z_score=bool(z_score),
        average=average,
        incomplete=incomplete,
        memory_gib=memory_gib,
        store=store,
    )


def _of_half(name: str, given: Any, hemisphere: str) -> Any:
    """Return what belongs to a hemisphere."""
    if given is None or not hemisphere:
        return given
    if not isinstance(given, Mapping) or set(given) != set(HEMISPHERES):
        raise ValueError(
            f"`{name}` must be given for each hemisphere, as `betas` are: a mapping "
            f"with the keys {list(HEMISPHERES)}."
        )
    return given[hemisphere]


def _check_halves(
    found: Mapping[str, Sequence[SessionFile]], opened: Mapping[str, Sequence[BetaFile]]
) -> None:
    """Check that both hemispheres have the same sessions and trials."""
    if len(found) == 1:
        return
    left, right = (
        [
            (f.session, f.run, b.n_trials)
            for f, b in zip(found[h], opened[h], strict=True)
        ]
        for h in HEMISPHERES
    )
    if left != right:
        raise ValueError(
            "`betas` of the hemispheres differ in sessions, runs or trials: left "
            f"{left}, right {right}."
        )
    volumes = [b.path.name for h in HEMISPHERES for b in opened[h] if len(b.grid) > 1]
    if volumes:
        raise ValueError(
            f"`betas` of a hemisphere must hold vertices; {volumes[0]} holds a volume."
        )


def open_files(
    files: Sequence[SessionFile],
    dataset: str | None = None,
    trials_axis: str | None = None,
    scale: float = 1.0,
) -> list[BetaFile]:
    """Open the files of all sessions, which must have one grid.

    Parameters
    ----------
    files : sequence of SessionFile
        In chronological order.
    dataset, trials_axis : str, optional
        See `load_betas`.
    scale : float, default 1.0
        See `load_betas`.

    Returns
    -------
    list of BetaFile
        In the same order.

    Raises
    ------
    ValueError
        If grids or places in the brain differ.
    DataCorruptError
        If a file is damaged.
    """
    opened = [
        open_trials(f.path, dataset=dataset, trials_axis=trials_axis, scale=scale)
        for f in files
    ]
    first = opened[0]
    for file, session in zip(opened, files, strict=True):
        if file.grid != first.grid:
            swapped = sorted(file.grid) == sorted(first.grid)
            raise ValueError(
                f"{session} has the grid {file.grid}, but {files[0]} has {first.grid}"
                + ("; its axes are swapped." if swapped else ".")
                + " All sessions need one grid and one order of units."
            )
        if not same_place(file.affine, first.affine):
            raise ValueError(
                f"{session} has another place in the brain than {files[0]}: their "
                "affines differ. Align and resample the sessions first."
            )
    return opened
