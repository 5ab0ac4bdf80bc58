"""The Algonauts 2023 challenge: responses of eight people to natural scenes.

The data are a part of the Natural Scenes Dataset on the surface fsaverage, z-scored per
session and averaged over repeats.

Gifford et al. 2023, arXiv:2301.03198. Allen et al. 2022, Nat Neurosci 25, 116-126,
doi:10.1038/s41593-021-00962-x.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data_loaders.algonauts_files import (
    PUBLISHED_SIZES,
    SubjectSizes,
    find_subjects,
    response_files,
    response_shapes,
    simulation_notes,
    stimulus_table,
    subject_folder,
)
from data_loaders.algonauts_vertices import check_labels, read_ceilings, vertex_table
from data_loaders.beta_files import open_beta_file
from data_loaders.beta_preparation import BetaPart, Recording, prepare_responses
from data_loaders.nsd_files import subject_name
from neurovis.core.array_files import write_array
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_option
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import atomic_folder
from neurovis.core.pictures import LazyPictures, read_image
from neurovis.core.regions import region_mask
from neurovis.core.unit_responses import UnitResponses

NAME = "algonauts2023"
_REPEATS = (
    "Rows are averages over up to three trials; how many is not distributed, so that "
    "n_repeats is 1 everywhere."
)


def load_algonauts(
    folder: str | Path,
    subject: int | str,
    *,
    split: str = "train",
    families: Sequence[str] | None = None,
    regions: str | Sequence[str] | None = None,
    pictures: bool = True,
    memory_gib: float = 4.0,
    store: str | Path | None = None,
) -> UnitResponses:
    """Load the responses of one subject, both hemispheres side by side.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``subj01`` and so on.
    subject : int or str
        1-based number, or "subj01".
    split : {"train", "test"}
        Test responses were published after the challenge.
    families : sequence of str, optional
        Families of regions whose labels become columns; by default all that are
        there. A vertex can have a label in several.
    regions : str or sequence of str, optional
        Load the vertices of these regions only (see
        `neurovis.core.regions.region_mask`); by default all.
    pictures : bool, default True
        Whether the result offers the pictures; they are read when asked for.
    memory_gib : float, default 4.0
        Most memory to use, in GiB. All vertices of a subject take 1.5.
    store : str or Path, optional
        Folder for prepared responses. With it the result stays on disk until it is
        indexed, and the next call with equal files finds it.

    Returns
    -------
    UnitResponses
        Rows in the order of the challenge files, which is by ascending NSD picture:
        `stimulus_id` ("nsd-00013"), `nsd_id` (0-based of 73,000), `n_repeats`. Units,
        left before right: places on fsaverage, `challenge_vertex` (0-based column in
        the file of the hemisphere), labels, and `noise_ceiling` (explainable fraction
        of the variance of the test responses, 0 to 1) where it was distributed.
        `betas` in z-scores.

    Raises
    ------
    FileNotFoundError
        If the folder, a subject's files, or the test responses are not there.
    ValueError, KeyError
        If an argument is unknown.
    DataCorruptError
        If files are damaged or do not belong together.

    See Also
    --------
    algonauts_stimuli : pictures alone.
    write_submission : predictions for the challenge.
    """
    home = subject_folder(folder, subject)
    stimuli = stimulus_table(home, split)
    paths = response_files(home, split)
    shapes = response_shapes(paths)
    n_vertices = [shapes[h][1] for h in HEMISPHERES]
    if shapes["lh"][0] != len(stimuli):
        raise DataCorruptError(
            f"{paths['lh']} has {shapes['lh'][0]} rows, but there are {len(stimuli)} "
            f"pictures named {split}-...: one row per picture is needed."
        )
    units, families, space, notes = vertex_table(home, n_vertices, families)
    simulated = simulation_notes(folder)
    sizes = {f"n_{split}": len(stimuli), "n_lh": n_vertices[0], "n_rh": n_vertices[1]}
    notes = (*simulated, *_compare(home, sizes, bool(simulated)), *notes, _REPEATS)
    ceilings = read_ceilings(home, n_vertices)
    if ceilings is not None:
        units["noise_ceiling"] = ceilings
    chosen = np.ones(len(units), bool)
    if regions is not None:
        names = [regions] if isinstance(regions, str) else list(regions)
        masks = [region_mask(units, families, name) for name in names]
        chosen = np.any(masks, axis=0)
        if not chosen.any():
            raise ValueError(f"`regions` names no vertex; got {regions!r}.")
    parts = []
    for h, places in zip(HEMISPHERES, np.split(chosen, n_vertices[:1]), strict=True):
        n_rows, n_columns = shapes[h]
        file = open_beta_file(paths[h], grid=(n_columns,), n_trials=n_rows)
        parts.append(BetaPart((file,), np.flatnonzero(places)))
    trials = stimuli.drop(columns="path").assign(
        session=1, file=0, row=np.arange(len(stimuli))
    )
    recording = Recording(
        name=NAME,
        subject=home.name,
        parts=tuple(parts),
        trials=trials,
        units=units[chosen].reset_index(drop=True),
        families=families,
        space=space,
        notes=notes,
        response_unit="z-score",
    )
    responses = prepare_responses(
        recording,
        z_score=False,
        average=False,
        incomplete="nan",
        memory_gib=memory_gib,
        store=store,
        pictures=LazyPictures(read_image, list(stimuli["path"])) if pictures else None,
    )
    return replace(
        responses,
        stimuli=responses.stimuli[["stimulus_id", "n_repeats", "nsd_id"]],
        # Single trials are not distributed, so that this cannot be computed.
        units=responses.units.drop(columns="ncsnr"),
        notes=tuple(note for note in responses.notes if "ncsnr" not in note),
    )


def algonauts_stimuli(
    folder: str | Path, subject: int | str, *, split: str = "test"
) -> tuple[Sequence[NDArray[np.uint8]], pd.DataFrame]:
    """Open the pictures of a split, for which no responses are needed.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``subj01`` and so on.
    subject : int or str
        1-based number, or "subj01".
    split : {"train", "test"}, default "test"
        Which pictures.

    Returns
    -------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        In the order of the rows; read one at a time when asked for.
    stimuli : DataFrame
        `stimulus_id` (str, "nsd-00013") and `nsd_id` (0-based of 73,000).

    Raises
    ------
    FileNotFoundError
        If the folder or its pictures are missing.
    ValueError
        If the subject or the split is unknown.
    DataCorruptError
        If the names of pictures tell no order.
    """
    table = stimulus_table(subject_folder(folder, subject), split)
    return LazyPictures(read_image, list(table["path"])), table.drop(columns="path")


def write_submission(
    folder: str | Path,
    subject: int | str,
    lh: ArrayLike,
    rh: ArrayLike,
    *,
    data: str | Path | None = None,
) -> Path:
    """Write predictions of the responses to the test pictures of one subject.

    Parameters
    ----------
    folder : str or Path
        Folder of the submission. ``subj01/lh_pred_test.npy`` and
        ``subj01/rh_pred_test.npy`` (float32) are made in it, both or none.
    subject : int or str
        1-based number, or "subj01".
    lh, rh : array_like of float, shape (n_test_pictures, n_vertices)
        Predictions for the left and the right hemisphere: rows in the order of
        `algonauts_stimuli`, columns by `challenge_vertex`.
    data : str or Path, optional
        The challenge folder, whose sizes the predictions must have. By default the
        published sizes are asked for.

    Returns
    -------
    Path
        The folder of the subject.

    Raises
    ------
    TypeError, ValueError
        If a shape differs, or a number is NaN, infinite or beyond float32.
    FileExistsError
        If the subject was written before.

    Examples
    --------
    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> lh, rh = np.zeros((159, 19004)), np.zeros((159, 20544))
    >>> sorted(p.name for p in write_submission(home, 1, lh, rh).iterdir())
    ['lh_pred_test.npy', 'rh_pred_test.npy']
    """
    name = subject_name(subject)
    shapes = _shapes(name, data)
    arrays = {
        h: _checked(h, value, shapes[h])
        for h, value in zip(HEMISPHERES, (lh, rh), strict=True)
    }
    target = Path(folder) / name
    with atomic_folder(target) as part:
        for hemisphere, array in arrays.items():
            write_array(part / f"{hemisphere}_pred_test.npy", array)
    return target


def check_algonauts(folder: str | Path) -> list[str]:
    """Check that the files of a challenge folder belong together.

    Names of pictures, headers of responses, masks, labels and ceilings are read; the
    responses themselves are not.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``subj01`` and so on.

    Returns
    -------
    list of str
        One sentence per subject, and remarks, such as sizes that are not the published
        ones because the data are simulated or a part.

    Raises
    ------
    FileNotFoundError
        If something that a subject needs is missing.
    DataCorruptError
        If files are damaged or contradict each other.
    """
    simulated = simulation_notes(folder)
    lines = list(simulated)
    for name in find_subjects(folder):
        lines += _check_subject(subject_folder(folder, name), bool(simulated))
    return lines


def _check_subject(home: Path, simulated: bool) -> list[str]:
    tables = {split: stimulus_table(home, split) for split in ("train", "test")}
    both = set(tables["train"]["nsd_id"]) & set(tables["test"]["nsd_id"])
    if both:
        raise DataCorruptError(
            f"{home} has {len(both)} pictures, such as nsd-{min(both):05d}, both for "
            "training and for test."
        )
    shapes = response_shapes(response_files(home, "train"))
    n_vertices = [shapes[h][1] for h in HEMISPHERES]
    wanted = {"train": shapes}
    try:
        wanted["test"] = response_shapes(response_files(home, "test"))
    except FileNotFoundError:
        has_test = "withheld"
    else:
        has_test = "there"
    for split, found in wanted.items():
        expected = {
            h: (len(tables[split]), n)
            for h, n in zip(HEMISPHERES, n_vertices, strict=True)
        }
        if found != expected:
            raise DataCorruptError(
                f"{home} has {split} responses of shapes {found}, but its pictures and "
                f"its training responses ask for {expected}."
            )
    _, families, space, notes = vertex_table(home, n_vertices, None)
    check_labels(home, n_vertices)
    ceilings = read_ceilings(home, n_vertices)
    sizes = SubjectSizes(len(tables["train"]), len(tables["test"]), *n_vertices)
    text = (
        f"{home.name}: {sizes.n_train} training and {sizes.n_test} test pictures; "
        f"{sizes.n_lh} + {sizes.n_rh} vertices"
        + ("" if space is None else f" of {space.name}")
        + f"; {len(families)} families of regions; test responses {has_test}; noise "
        + ("ceilings absent." if ceilings is None else "ceilings there.")
    )
    remarks = [*_compare(home, sizes._asdict(), simulated), *notes]
    return [text, *(f"{home.name}: {remark}" for remark in remarks)]


def _compare(home: Path, sizes: dict[str, int], simulated: bool) -> list[str]:
    """Compare sizes with the published ones; another subject's are refused."""

    def published(name: str) -> dict[str, int] | None:
        known = PUBLISHED_SIZES.get(name)
        return None if known is None else {k: getattr(known, k) for k in sizes}

    expected = published(home.name)
    if simulated or sizes == expected:
        return []
    others = [name for name in PUBLISHED_SIZES if published(name) == sizes]
    listed = ", ".join(f"{k} {v}" for k, v in sizes.items())
    if others:
        raise DataCorruptError(
            f"{home} has the sizes of {', '.join(others)} ({listed}), not those of "
            f"{home.name}. Was a folder renamed, or were files mixed up?"
        )
    told = "unknown" if expected is None else ", ".join(map(str, expected.values()))
    return [
        f"The sizes ({listed}) are not the published ones ({told}): this is a part of "
        "the data, or other data in its form."
    ]


def _shapes(name: str, data: str | Path | None) -> dict[str, tuple[int, int]]:
    if data is None:
        check_option("subject", name, tuple(PUBLISHED_SIZES))
        sizes = PUBLISHED_SIZES[name]
        return {"lh": (sizes.n_test, sizes.n_lh), "rh": (sizes.n_test, sizes.n_rh)}
    home = subject_folder(data, name)
    n_test = len(stimulus_table(home, "test"))
    shapes = response_shapes(response_files(home, "train"))
    return {h: (n_test, n_vertices) for h, (_, n_vertices) in shapes.items()}


def _checked(
    name: str, value: ArrayLike, shape: tuple[int, int]
) -> NDArray[np.float32]:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must hold numbers; got dtype {array.dtype}.")
    if array.shape != shape:
        hint = " Was it transposed?" if array.shape == shape[::-1] else ""
        raise ValueError(
            f"`{name}` must have shape {shape}, test pictures x vertices; got "
            f"{array.shape}.{hint} Sizes of other data: name their folder in `data`."
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, order="C")
    if not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` has {int((~np.isfinite(array)).sum())} values that are NaN, "
            "infinite or beyond float32. Every vertex needs a prediction for every "
            "picture; use 0 where a model says nothing."
        )
    return array
