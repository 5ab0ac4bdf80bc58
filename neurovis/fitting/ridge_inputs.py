"""What the ridge estimator and functions accept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import (  # type: ignore[import-untyped]
    check_array,
    validate_data,
)
from torch import Tensor

from neurovis.core.checks import check_option
from neurovis.fitting.ridge_features import finite_columns
from neurovis.fitting.ridge_folds import Rows, check_leakage, make_folds

_SINGLE = ("float32", "float16", "bfloat16")
_TARGETS_AT_ONCE = 1024


def check_alphas(alphas: Any) -> tuple[Tensor, Tensor]:
    """Return penalties in ascending order.

    Parameters
    ----------
    alphas : float or sequence of float
        Penalties, finite and above 0.

    Returns
    -------
    Tensor of float64, shape (n_alphas,)
        Penalties, ascending.
    Tensor of int, shape (n_alphas,)
        Where each stands in `alphas`.

    Raises
    ------
    TypeError, ValueError
        If there is none, or one is no number, not finite or not above 0.

    Examples
    --------
    >>> check_alphas([10, 1])
    (tensor([ 1., 10.], dtype=torch.float64), tensor([1, 0]))
    """
    try:
        values = np.atleast_1d(np.asarray(alphas, np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"`alphas` must be numbers above 0; got {alphas!r}.") from error
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"`alphas` must be one or more numbers; got shape {values.shape}."
        )
    bad = values[~(np.isfinite(values) & (values > 0))]
    if bad.size:
        raise ValueError(
            f"`alphas` must be finite and above 0; got {bad[0]}. For ordinary least "
            "squares use a very small one with dtype='float64'."
        )
    ascending, order = torch.from_numpy(values.copy()).sort()
    return ascending, order


def distinct_alphas(alphas: Any) -> Tensor:
    """Return penalties in ascending order, each once.

    Parameters
    ----------
    alphas : float or sequence of float
        Penalties, finite and above 0.

    Returns
    -------
    Tensor of float64, shape (n_distinct,)
        Equal ones would look like a maximum to the search in a window.

    Examples
    --------
    >>> distinct_alphas([10, 1, 10]).tolist()
    [1.0, 10.0]
    """
    return torch.from_numpy(np.unique(check_alphas(alphas)[0].numpy()))


def feature_parts(features: Any) -> tuple[Any, ...]:
    """Return features as parts that stand side by side.

    Parameters
    ----------
    features : array-like, shape (n_samples, n_features), or sequence of such
        What has `shape` and can be sliced is left as it is, so that memory maps and
        HDF5 data sets stay on disk.

    Returns
    -------
    tuple
        Two-dimensional array-likes with one number of rows.

    Raises
    ------
    TypeError, ValueError
        If a part is not two-dimensional, has no rows or columns or no real numbers, or
        the rows differ.

    Examples
    --------
    >>> [part.shape for part in feature_parts([np.ones((3, 2)), np.ones((3, 5))])]
    [(3, 2), (3, 5)]
    """
    is_list = isinstance(features, list | tuple)
    has_parts = is_list and all(len(getattr(f, "shape", ())) == 2 for f in features)
    parts = tuple(features) if has_parts and features else (features,)
    parts = tuple(part if _is_lazy(part) else np.asarray(part) for part in parts)
    for part in parts:
        _check_numbers(part)
        if len(part.shape) != 2:
            raise ValueError(
                "`X` must have shape (n_samples, n_features), or be a list of such "
                f"arrays; got shape {tuple(part.shape)}. Reshape your data: one row "
                "per sample."
            )
        if 0 in part.shape:
            raise ValueError(
                f"`X` is empty: shape {tuple(part.shape)}. At least one sample and one "
                "feature are needed."
            )
    n_rows = {int(part.shape[0]) for part in parts}
    if len(n_rows) > 1:
        raise ValueError(
            "The parts of `X` must have one number of samples; got "
            f"{[int(part.shape[0]) for part in parts]}."
        )
    return parts


def _check_numbers(part: Any) -> None:
    # Lists of parts do not pass scikit-learn's checks.
    is_complex = isinstance(part, Tensor) and part.is_complex()
    if is_complex or getattr(part.dtype, "kind", "f") not in "fiub":
        raise TypeError(f"`X` must be real numbers; got dtype {part.dtype}.")


def _is_lazy(part: Any) -> bool:
    # A table has `shape` too, but is sliced by labels.
    return (
        hasattr(part, "shape") and hasattr(part, "dtype") and not hasattr(part, "iloc")
    )


def is_plain(values: Any) -> bool:
    """Tell whether scikit-learn can check values: lists, tables and NumPy arrays.

    Parameters
    ----------
    values : object
        Features or targets.

    Returns
    -------
    bool
        False for tensors, data sets on disk, and lists of two-dimensional parts.

    Examples
    --------
    >>> is_plain([[1.0, 2.0]]), is_plain([np.ones((2, 2)), np.ones((2, 3))])
    (True, False)
    """
    if isinstance(values, list | tuple):
        return not any(len(getattr(v, "shape", ())) == 2 for v in values)
    if isinstance(values, Tensor):
        return False
    is_disk = hasattr(values, "shape") and not hasattr(values, "__array_interface__")
    return not is_disk or hasattr(values, "iloc") or hasattr(values, "tocsr")


def check_features(estimator: Any, features: Any, *, reset: bool) -> tuple[Any, ...]:
    """Return features as parts side by side, and compare or keep their number.

    Parameters
    ----------
    estimator : object
        Gets `n_features_in_` and `feature_names_in_`.
    features : array-like or sequence of such
        As `feature_parts`.
    reset : bool
        True in `fit`, False in `predict`.

    Returns
    -------
    tuple of array-like
        Parts, each of shape (n_samples, n_part).

    Raises
    ------
    TypeError, ValueError
        If they are not two-dimensional numbers, or their number differs.
    """
    if is_plain(features):
        # Whether they are finite is checked where blocks are read.
        options = {"ensure_all_finite": False, "dtype": "numeric"}
        n_least = 2 if reset else 1
        features = validate_data(
            estimator, X=features, reset=reset, ensure_min_samples=n_least, **options
        )
        return feature_parts(features)
    parts = feature_parts(features)
    n_features = sum(int(part.shape[1]) for part in parts)
    if reset:
        estimator.n_features_in_ = n_features
        vars(estimator).pop("feature_names_in_", None)
    elif n_features != estimator.n_features_in_:
        raise ValueError(
            f"X has {n_features} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input."
        )
    return parts


def check_intercept(fit_intercept: Any) -> None:
    """Raise if the choice of an intercept is not True or False.

    Parameters
    ----------
    fit_intercept : object
        What came.

    Raises
    ------
    TypeError
        If it is something else, such as "no", which would count as True.

    Examples
    --------
    >>> check_intercept(True)
    """
    if not isinstance(fit_intercept, bool | np.bool_):
        raise TypeError(
            f"`fit_intercept` must be True or False; got {fit_intercept!r}."
        )


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Undo a fit that fails or is interrupted.

    Parameters
    ----------
    estimator : object
        Gets back the attributes that it had.

    Yields
    ------
    None
        Nothing.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(coef_=1)
    >>> try:
    ...     with all_or_nothing(model):
    ...         model.coef_ = 2
    ...         raise KeyboardInterrupt
    ... except KeyboardInterrupt:
    ...     model.coef_
    1
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def check_targets(targets: Any, n_samples: int) -> Any:
    """Return targets as something with `shape` that can be sliced.

    Parameters
    ----------
    targets : array-like, shape (n_samples, n_targets) or (n_samples,)
        Targets; what is on disk stays there.
    n_samples : int
        Number of rows that the features have.

    Returns
    -------
    array-like
        One or two dimensions.

    Raises
    ------
    TypeError, ValueError
        If the shape does not fit, or they are no numbers.

    Examples
    --------
    >>> check_targets([[1, 2], [3, 4]], 2).shape
    (2, 2)
    """
    if targets is None:
        raise ValueError("This requires y to be passed, but the target y is None.")
    if is_plain(targets):
        targets = check_array(
            targets, ensure_2d=False, dtype="numeric", ensure_all_finite=False
        )
    shape = tuple(targets.shape)
    if len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(
            f"`Y` must have shape (n_samples, n_targets) or (n_samples,); got {shape}."
        )
    if shape[0] != n_samples:
        raise ValueError(
            f"`X` has {n_samples} rows but `Y` has {shape[0]}: one row per sample is "
            "needed in both, in one order."
        )
    return targets


def check_defined(targets: Any, nan: str) -> None:
    """Raise if targets have values that are not finite, before anything is computed.

    Parameters
    ----------
    targets : array-like, shape (n_samples, n_targets)
        Targets.
    nan : {"raise", "omit"}
        With "omit" nothing is read.

    Raises
    ------
    ValueError
        With the number of such targets and the first.

    Examples
    --------
    >>> check_defined(np.array([[1.0, np.nan]]), "omit")
    """
    check_option("nan", nan, ("raise", "omit"))
    if nan == "omit":
        return
    bad: list[int] = []
    for start in range(0, int(targets.shape[1]), _TARGETS_AT_ONCE):
        block = targets[:, start : start + _TARGETS_AT_ONCE]
        if isinstance(block, Tensor):
            good = finite_columns(block).cpu().numpy()
        else:
            values = np.asarray(block)
            with np.errstate(invalid="ignore", over="ignore"):
                good = np.isfinite(values.sum(0, dtype=np.float64))
            if not good.all():  # or the sum is too large for its terms
                good = np.isfinite(values).all(0)
        bad += (start + np.flatnonzero(~good)).tolist()
    if bad:
        raise ValueError(
            f"{len(bad)} of {int(targets.shape[1])} targets in `Y` have NaN or "
            f"infinite values (the first is target {bad[0]}). Repair them, or use "
            "nan='omit' to get NaN for these targets."
        )


def check_folds(
    cv: Any, n_samples: int, groups: Any, group_leakage: str
) -> tuple[Rows, ...] | None:
    """Return held-out rows of each fold, or None for one row at a time.

    Parameters
    ----------
    cv : object
        "loo", "gcv", or as `neurovis.fitting.ridge_folds.make_folds`.
    n_samples : int
        Number of rows.
    groups : array-like, shape (n_samples,), optional
        Group of each row.
    group_leakage : {"raise", "allow"}
        What to do when a group is on both sides of a fold.

    Returns
    -------
    tuple of ndarray of int, or None
        Folds.

    Raises
    ------
    TypeError, ValueError
        As `make_folds`; with "loo" and "gcv" if a group has several rows.

    Examples
    --------
    >>> check_folds("loo", 3, None, "raise") is None
    True
    """
    if not isinstance(cv, str):
        return make_folds(cv, n_samples, groups, group_leakage=group_leakage)
    check_option("cv", cv, ("loo", "gcv"))
    check_option("group_leakage", group_leakage, ("raise", "allow"))
    if groups is not None and group_leakage == "raise":
        check_leakage([np.array([i]) for i in range(n_samples)], groups)
    return None


def choose_dtype(dtype: Any, *arrays: Any) -> torch.dtype:
    """Return the precision of the products with targets.

    Parameters
    ----------
    dtype : str, dtype or None
        "float32" or "float64", also as NumPy or torch dtype; None takes float32 if
        all arrays have it (or 16 bits), else float64.
    *arrays : array-like
        Inputs.

    Returns
    -------
    torch.dtype
        float32 or float64.

    Raises
    ------
    ValueError
        If `dtype` is another one.

    Examples
    --------
    >>> choose_dtype(None, np.ones(1, np.float32), np.ones(1))
    torch.float64
    """
    if dtype is None:
        names = {str(getattr(a, "dtype", "")).removeprefix("torch.") for a in arrays}
        return torch.float32 if names <= set(_SINGLE) else torch.float64
    name = str(dtype).removeprefix("torch.")
    if not isinstance(dtype, str | torch.dtype):
        name = np.dtype(dtype).name
    check_option("dtype", name, ("float32", "float64"))
    return torch.float32 if name == "float32" else torch.float64
