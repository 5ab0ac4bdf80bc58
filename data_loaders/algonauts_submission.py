"""Predictions in the form in which the Algonauts 2023 challenge takes them."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_loaders.algonauts_files import (
    PUBLISHED_SIZES,
    response_files,
    response_shapes,
    stimulus_table,
    subject_folder,
)
from data_loaders.nsd_files import subject_name
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_option
from neurovis.core.files import atomic_folder, atomic_path


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
        `data_loaders.algonauts.algonauts_stimuli`, columns by `challenge_vertex`.
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
            with (
                atomic_path(part / f"{hemisphere}_pred_test.npy") as path,
                path.open("wb") as file,
            ):
                np.save(file, array)
    return target


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
