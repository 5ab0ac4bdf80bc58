"""Naming things by their nearest neighbours."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_between, check_whole


def predict_by_neighbours(
    train: ArrayLike,
    labels: ArrayLike,
    test: ArrayLike,
    *,
    n_neighbours: int = 20,
    temperature: float = 0.07,
) -> NDArray[Any]:
    """Name each test row by its nearest training rows, by cosine.

    Parameters
    ----------
    train : array_like of float, shape (n_train, n_features)
        Training rows.
    labels : array_like, shape (n_train,)
        Their classes.
    test : array_like of float, shape (n_test, n_features)
        Rows to name.
    n_neighbours : int, default 20
        Rows that vote, at most all.
    temperature : float, default 0.07
        A vote counts ``exp(cosine / temperature)``.

    Returns
    -------
    ndarray of object, shape (n_test,)
        The class with the largest sum of votes; of equal ones the first in order.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit or a number is out of range.

    References
    ----------
    Wu, Xiong, Yu and Lin (2018). Unsupervised feature learning via non-parametric
    instance discrimination. CVPR. doi:10.1109/CVPR.2018.00393

    Examples
    --------
    >>> rows = [[1.0, 0.0], [0.0, 1.0]]
    >>> predict_by_neighbours(rows, ["a", "b"], [[2.0, 1.0]], n_neighbours=1).tolist()
    ['a']
    """
    a = check_array("train", np.asarray(train, np.float64), shape=(None, None))
    b = check_array("test", np.asarray(test, np.float64), shape=(None, a.shape[1]))
    names = check_array("labels", np.asarray(labels), shape=(len(a),))
    k = min(check_whole("n_neighbours", n_neighbours, low=1), len(a))
    check_between("temperature", temperature, low=1e-6)
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
            for x in (a, b)]  # fmt: skip
    cosines = unit[1] @ unit[0].T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    votes = np.exp((np.take_along_axis(cosines, nearest, 1) - 1) / temperature)
    classes, codes = np.unique(names, return_inverse=True)
    sums = np.zeros((len(b), len(classes)))
    np.add.at(sums, (np.arange(len(b))[:, None], codes[nearest]), votes)
    found = np.empty(len(classes), object)
    found[:] = classes.tolist()
    return np.asarray(found[sums.argmax(axis=1)])
