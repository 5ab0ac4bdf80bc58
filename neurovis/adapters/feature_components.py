"""Principal components of features that come block by block."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.projections import PrincipalComponents
from neurovis.core.checks import check_array, check_whole


def principal_components(
    blocks: Iterable[NDArray[np.floating[Any]]],
    n_components: int,
    *,
    source: Mapping[str, str] | None = None,
) -> PrincipalComponents:
    """Fit principal components to features that come block by block.

    The incremental algorithm with an exact mean (Ross, Lim, Lin & Yang 2008, Int J
    Comput Vis 77, 125-141, doi:10.1007/s11263-007-0075-7), in float64. After each
    block `n_components` directions are kept: exact for one block, and whenever that is
    enough for all of the variance; else an approximation, the better the larger the
    blocks.

    Parameters
    ----------
    blocks : iterable of ndarray of float, shape (n, n_features)
        Features of training pictures.
    n_components : int
        Directions, at most the number of features, and fewer than pictures.
    source : mapping of str to str, optional
        Hashes of what it is fitted to.

    Returns
    -------
    PrincipalComponents
        Mean and directions.

    Raises
    ------
    ValueError
        If a block is no matrix of the same width or not finite, or there are too few
        pictures or features, or these vary along fewer directions.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(50, 3)) * [10, 1, 1]
    >>> principal_components([rows[:25], rows[25:]], 1).components.round(1)
    array([[1., 0., 0.]], dtype=float32)
    """
    fit = ComponentFit(n_components)
    for block in blocks:
        fit.add(block)
    return fit.result(source)


class ComponentFit:
    """What `principal_components` does, for blocks that come one at a time.

    Parameters
    ----------
    n_components : int
        Directions.
    """

    def __init__(self, n_components: int) -> None:
        self.n_components = check_whole("n_components", n_components, low=1)
        self._state: _State | None = None

    def add(self, block: NDArray[np.floating[Any]]) -> None:
        """Take the next features.

        Parameters
        ----------
        block : ndarray of float, shape (n, n_features)
            Features of training pictures.

        Raises
        ------
        ValueError
            If the width differs from that before, or a value is not finite.
        """
        width = None if self._state is None else len(self._state.mean)
        rows = check_array("block", block, shape=(None, width), finite=True)
        if len(rows):
            rows = rows.astype(np.float64)
            self._state = _update(self._state, rows, self.n_components)

    def result(self, source: Mapping[str, str] | None = None) -> PrincipalComponents:
        """Return the components of all blocks so far.

        Parameters
        ----------
        source : mapping of str to str, optional
            Hashes of what it is fitted to.

        Returns
        -------
        PrincipalComponents
            Mean and directions.

        Raises
        ------
        ValueError
            If there were too few pictures, or these vary along fewer directions.
        """
        n, state = self.n_components, self._state
        if state is None or state.n_images <= n:
            raise ValueError(
                f"{n} components need more than {n} pictures; got "
                f"{0 if state is None else state.n_images}. Ask for fewer components, "
                "or give more pictures."
            )
        if len(state.scaled) < n:
            raise ValueError(
                f"The features vary along {len(state.scaled)} directions only, of "
                f"{len(state.mean)}; {n} components were asked for."
            )
        lengths = np.linalg.norm(state.scaled, axis=1)
        directions = state.scaled / lengths[:, None]
        largest = np.abs(directions).argmax(axis=1)
        directions *= np.sign(directions[np.arange(n), largest])[:, None]
        return PrincipalComponents(
            state.mean.astype(np.float32),
            directions.astype(np.float32),
            lengths**2 / (state.n_images - 1),
            state.squares / (state.n_images - 1),
            state.n_images,
            dict(source or {}),
        )


@dataclass(frozen=True)
class _State:
    """Mean, and directions times singular values, of what came so far."""

    n_images: int
    mean: NDArray[np.float64]
    scaled: NDArray[np.float64]
    squares: float  # sum of squared distances from the mean


def _update(state: _State | None, rows: NDArray[np.float64], keep: int) -> _State:
    n = len(rows)
    mean = rows.mean(axis=0)
    rows = rows - mean
    squares = float(np.einsum("ij,ij->", rows, rows))
    if state is not None:
        total = state.n_images + n
        shift = mean - state.mean
        apart = np.sqrt(state.n_images * n / total) * shift
        rows = np.concatenate([state.scaled, rows, apart[None]])
        squares += state.squares + float(apart @ apart)
        mean = state.mean + shift * (n / total)
        n = total
    return _State(n, mean, _strongest(rows, keep), squares)


def _strongest(rows: NDArray[np.float64], keep: int) -> NDArray[np.float64]:
    """Return the right singular vectors times singular values, strongest first."""
    wide = rows.shape[1] > rows.shape[0]
    # The smaller of the two Gram matrices has all singular values that are not 0.
    values, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    values, vectors = values[::-1][:keep], vectors[:, ::-1][:, :keep]
    real = values > values[0] * max(rows.shape) * np.finfo(np.float64).eps
    values, vectors = values[real], vectors[:, real]
    if wide:
        strongest: NDArray[np.float64] = vectors.T @ rows
    else:
        strongest = vectors.T * np.sqrt(values)[:, None]
    return strongest
