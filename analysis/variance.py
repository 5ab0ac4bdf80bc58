"""What feature spaces explain alone and together.

Two ways: from models of all combinations of spaces, by inclusion and exclusion; or from
one joint model whose prediction is a sum over spaces, by the product measure. Both
should be given predictions of held-out data. Nothing is clipped: shares may be negative
by noise or by suppression.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics import r_squared, unit_blocks
from analysis.stats import ROUNDING
from neurovis.core.checks import check_array, suggest

FloatArray = NDArray[np.float64]
Spaces = str | Collection[str]


@dataclass(frozen=True)
class VarianceParts:
    """Explained variance divided among spaces and their overlaps.

    Parameters
    ----------
    spaces : tuple of str
        Names of the feature spaces.
    parts : mapping of tuple of str to ndarray of float64, shape (...)
        The share that exactly these spaces explain in common, and no other explains;
        one name for the unique share. Names stand in the order of `spaces`.
    total : ndarray of float64, shape (...)
        Explained by all spaces together, the sum of all parts.
    """

    spaces: tuple[str, ...]
    parts: dict[tuple[str, ...], FloatArray]
    total: FloatArray

    def unique(self, space: str) -> FloatArray:
        """Return what only one space explains.

        Parameters
        ----------
        space : str
            Its name.

        Returns
        -------
        ndarray of float64, shape (...)
            Share of variance that is lost without the space.

        Raises
        ------
        KeyError
            If there is no such space.
        """
        return self.parts[self._key([space])]

    def shared(self, *spaces: str) -> FloatArray:
        """Return what some spaces explain in common, others or not.

        Parameters
        ----------
        *spaces : str
            Their names.

        Returns
        -------
        ndarray of float64, shape (...)
            Sum of the parts that belong to all of them; of one space all that it
            explains by itself.

        Raises
        ------
        KeyError
            If there is no such space.
        """
        wanted = set(self._key(spaces))
        found = [part for key, part in self.parts.items() if wanted <= set(key)]
        return np.sum(found, axis=0)

    def _key(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        for name in wanted - set(self.spaces):
            raise KeyError(
                f"{name!r} is not a feature space; there are {list(self.spaces)}."
                f"{suggest(name, self.spaces)}"
            )
        return tuple(name for name in self.spaces if name in wanted)


def partition_variance(explained: Mapping[Spaces, ArrayLike]) -> VarianceParts:
    """Divide explained variance into unique and shared parts.

    The part that exactly the spaces S explain in common is, with all spaces T,
    ``sum over U within S of (-1)**(|U| + 1) R2((T without S) and U)``: for two spaces
    R2(AB) - R2(B), R2(AB) - R2(A) and R2(A) + R2(B) - R2(AB).

    Parameters
    ----------
    explained : mapping of str or collection of str to array-like of float, shape (...)
        Explained variance (R2 of held-out data) of a model of each combination of
        spaces: all of them, 3 for two spaces, 7 for three. A key is a name or the
        names of the spaces, in any order.

    Returns
    -------
    VarianceParts
        Parts that add up to the R2 of all spaces; NaN where one of them is.

    Raises
    ------
    ValueError
        If a combination is missing or given twice, or shapes differ.

    Notes
    -----
    A negative part is noise, a joint model that generalises worse than its parts, or
    suppression: spaces that explain more together than the sum of both. With k spaces
    the noise of a shared part is that of up to ``2**k - 1`` models.

    References
    ----------
    Lescroart, Stansbury and Gallant (2015). Front. Comput. Neurosci. 9, 135.
    doi:10.3389/fncom.2015.00135. Nimon et al. (2008). Behav. Res. Methods 40, 457-466
    (any number of spaces). doi:10.3758/BRM.40.2.457

    Examples
    --------
    >>> r2 = {"edges": 0.3, "objects": 0.4, ("edges", "objects"): 0.5}
    >>> parts = partition_variance(r2)
    >>> {key: round(float(part), 3) for key, part in parts.parts.items()}
    {('edges',): 0.1, ('objects',): 0.2, ('edges', 'objects'): 0.2}
    """
    given: dict[frozenset[str], FloatArray] = {}
    spaces: dict[str, None] = {}
    for key, value in explained.items():
        names = (key,) if isinstance(key, str) else tuple(key)
        spaces.update(dict.fromkeys(names))
        if frozenset(names) in given:
            raise ValueError(f"`explained` has the combination {names} twice.")
        given[frozenset(names)] = np.asarray(value, np.float64)
    every = tuple(spaces)
    missing = [s for s in _subsets(every) if frozenset(s) not in given]
    if missing or not every:
        raise ValueError(
            f"`explained` needs every combination of {list(every)}, "
            f"{2 ** len(every) - 1} models; it lacks {missing}."
        )
    shapes = {value.shape for value in given.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"`explained` has arrays of the shapes {sorted(shapes)}: all need one "
            "value per unit."
        )
    given.setdefault(frozenset(), np.zeros(shapes.pop()))
    parts = {}
    for key in _subsets(every):
        rest = frozenset(every) - set(key)
        signed = [-given[rest]]
        signed += [(-1) ** (len(u) + 1) * given[rest | set(u)] for u in _subsets(key)]
        parts[key] = np.sum(signed, axis=0)
    return VarianceParts(every, parts, given[frozenset(every)])


def partition_predictions(
    measured: ArrayLike, predictions: Mapping[Spaces, ArrayLike]
) -> VarianceParts:
    """Divide the variance that predictions of held-out data explain.

    Parameters
    ----------
    measured : array-like of float, shape (n_rows, n_units)
        Responses, one row per stimulus.
    predictions : mapping of str or collection of str to array-like of float, shape \
(n_rows, n_units)
        Cross-validated predictions of a model of each combination of spaces.

    Returns
    -------
    VarianceParts
        Parts of R2 (`analysis.metrics.r_squared`), shape (n_units,).

    Raises
    ------
    ValueError
        As `partition_variance`, or if a prediction has another shape.

    Examples
    --------
    >>> y = np.array([[1.0], [2.0], [3.0], [6.0]])
    >>> parts = partition_predictions(y, {"a": y, "b": 0 * y + 3, ("a", "b"): y})
    >>> parts.unique("a").tolist(), parts.unique("b").tolist()
    ([1.0], [0.0])
    """
    return partition_variance(
        {key: r_squared(measured, values) for key, values in predictions.items()}
    )


def split_r_squared(measured: ArrayLike, predictions: ArrayLike) -> FloatArray:
    """Divide the R2 of a sum of predictions among them: the product measure.

    With deviations from means over rows, space k gets ``sum(p_k (2 y - p)) /
    sum(y**2)``, where p is the sum of all p_k. The shares add up to R2 of that sum.

    Parameters
    ----------
    measured : array-like of float, shape (n_rows, n_units)
        Responses, one row per stimulus.
    predictions : array-like of float, shape (n_spaces, n_rows, n_units)
        What each space adds to the prediction of one joint model, such as a banded
        ridge regression; held-out rows.

    Returns
    -------
    ndarray of float64, shape (n_spaces, n_units)
        Shares of variance; NaN where `analysis.metrics.r_squared` is undefined.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Notes
    -----
    Means over rows are removed, so that an intercept belongs to no space: the sum is
    R2 of a prediction moved to the measured mean, at least R2 as it is. What two
    spaces predict in common is divided evenly between them.

    References
    ----------
    Dupré la Tour, Eickenberg, Nunez-Elizalde and Gallant (2022). NeuroImage 264,
    119728. doi:10.1016/j.neuroimage.2022.119728. Pratt (1987). Dividing the
    indivisible. Proc. 2nd Int. Tampere Conf. Stat., 245-260

    Examples
    --------
    >>> y = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> split_r_squared(y, [0.5 * y, 0.25 * y]).round(4).tolist()
    [[0.625], [0.3125]]
    """
    shares, _ = _split(measured, predictions)
    return shares


def split_pearson_r(measured: ArrayLike, predictions: ArrayLike) -> FloatArray:
    """Divide the correlation of a sum of predictions among them.

    With deviations from means over rows, space k gets ``sum(p_k y) / (|p| |y|)``,
    where p is the sum of all p_k. The shares add up to Pearson's r of that sum.

    Parameters
    ----------
    measured : array-like of float, shape (n_rows, n_units)
        Responses, one row per stimulus.
    predictions : array-like of float, shape (n_spaces, n_rows, n_units)
        What each space adds to the prediction of one joint model; held-out rows.

    Returns
    -------
    ndarray of float64, shape (n_spaces, n_units)
        Shares of r; NaN where r is undefined.

    Raises
    ------
    ValueError
        If shapes do not fit.

    References
    ----------
    Dupré la Tour, Eickenberg, Nunez-Elizalde and Gallant (2022). NeuroImage 264,
    119728. doi:10.1016/j.neuroimage.2022.119728

    Examples
    --------
    >>> y = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> split_pearson_r(y, [0.5 * y, 0.25 * y]).round(4).tolist()
    [[0.6667], [0.3333]]
    """
    _, shares = _split(measured, predictions)
    return shares


def _split(
    measured: ArrayLike, predictions: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return shares of R2 and of r, both of shape (n_spaces, n_units)."""
    y = check_array("measured", np.asanyarray(measured), shape=(None, None))
    p = check_array("predictions", np.asanyarray(predictions), shape=(None, *y.shape))
    shares = np.full((2, len(p), y.shape[1]), np.nan)
    if len(y) < 2:
        return shares[0], shares[1]
    with np.errstate(invalid="ignore"):
        for block in unit_blocks(len(y) * (1 + len(p)), y.shape[1]):
            truth, of_truth = _deviations(y[:, block])
            each = np.asarray(p[:, :, block], np.float64)
            each = each - each.mean(axis=1, keepdims=True)
            whole, of_whole = _deviations(np.asarray(p[:, :, block], np.float64).sum(0))
            products = np.einsum("kij,ij->kj", each, 2 * truth - whole)
            shares[0][:, block] = products / of_truth
            norms = np.sqrt(of_truth * of_whole)
            shares[1][:, block] = np.einsum("kij,ij->kj", each, truth) / norms
    return shares[0], shares[1]


def _deviations(values: NDArray[np.generic]) -> tuple[FloatArray, FloatArray]:
    """Return deviations from means over rows, and their squares; NaN if constant."""
    x = np.asarray(values, np.float64)
    deviations = x - x.mean(axis=0)
    squares = np.einsum("ij,ij->j", deviations, deviations)
    scale = np.einsum("ij,ij->j", x, x)
    return deviations, np.where(squares > ROUNDING**2 * scale, squares, np.nan)


def _subsets(names: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Yield all subsets but the empty one, small ones first."""
    for size in range(1, len(names) + 1):
        yield from combinations(names, size)
