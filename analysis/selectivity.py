"""Category selectivity of units, as localisers measure it, in people and in models.

Responses to pictures of categories (faces, bodies, places) come one row per picture,
measured or predicted by an encoder. A unit is selective for a category when its
responses to it are larger than those to the others, in units of how much they vary
within both. Undefined is NaN, and so is all of a unit with NaN among the pictures used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.metrics import unit_blocks
from analysis.stats import ROUNDING
from neurovis.core.checks import check_array, check_between, check_option

FloatArray = NDArray[np.float64]

EXCLUDED = ("scrambled",)
"""Categories of localisers that are no objects."""


@dataclass(frozen=True)
class Selectivity:
    """How much units prefer each category to others.

    Parameters
    ----------
    categories : tuple of str
        Categories, in the order of the columns.
    d_prime : ndarray of float64, shape (n_units, n_categories)
        Difference of the mean responses over their common standard deviation.
    t, df, p_value : ndarray of float64, shape (n_units, n_categories)
        Welch's test of the difference, two-sided, with its degrees of freedom.
    n_in, n_out : ndarray of int, shape (n_categories,)
        Pictures of the category, and those that it was compared with.
    """

    categories: tuple[str, ...]
    d_prime: FloatArray
    t: FloatArray
    df: FloatArray
    p_value: FloatArray
    n_in: NDArray[np.intp]
    n_out: NDArray[np.intp]

    def table(self) -> pd.DataFrame:
        """Return one row per unit and category.

        Returns
        -------
        DataFrame
            `unit` (0-based, outermost), `category`, `d_prime`, `t`, `df`, `p_value`,
            `n_in` and `n_out`.
        """
        n_units, n_categories = self.d_prime.shape
        columns = ("d_prime", "t", "df", "p_value")
        return pd.DataFrame(
            {
                "unit": np.repeat(np.arange(n_units), n_categories),
                "category": list(self.categories) * n_units,
                **{name: getattr(self, name).ravel() for name in columns},
                "n_in": np.tile(self.n_in, n_units),
                "n_out": np.tile(self.n_out, n_units),
            }
        )

    def of(self, category: str) -> FloatArray:
        """Return d' for one category.

        Parameters
        ----------
        category : str
            One of `categories`.

        Returns
        -------
        ndarray of float64, shape (n_units,)
            The column of `d_prime`.

        Raises
        ------
        ValueError
            If the category is unknown.
        """
        check_option("category", category, self.categories)
        return self.d_prime[:, self.categories.index(category)]

    def preferred(self, *, margin: float = 0.0) -> pd.DataFrame:
        """Tell which category each unit prefers, and by how much.

        Parameters
        ----------
        margin : float, default 0
            How much larger than the second d' the first must at least be. A tie is no
            preference.

        Returns
        -------
        DataFrame
            One row per unit: `unit` (0-based), `category` (missing where the margin is
            too small or undefined), `d_prime` (the largest), `second` (the category
            that comes next) and `margin` (the difference of their d').

        Raises
        ------
        ValueError
            If `margin` is negative, or there are fewer than two categories.
        """
        check_between("margin", margin, low=0)
        if len(self.categories) < 2:
            raise ValueError(
                "A preference needs two categories; this selectivity has "
                f"{len(self.categories)}."
            )
        d = self.d_prime
        known = np.asarray(~np.isnan(d).any(axis=1), bool)
        order = np.argsort(-np.where(known[:, None], d, 0), axis=1, kind="stable")
        largest, next_one = np.take_along_axis(d, order, axis=1)[:, :2].T
        ahead = np.where(known, largest - next_one, np.nan)
        names = np.array(self.categories, object)[order[:, :2]]
        chosen: NDArray[np.bool_] = (ahead > 0) & (ahead >= margin)
        return pd.DataFrame(
            {
                "unit": np.arange(len(d)),
                "category": pd.Series(names[:, 0], dtype=object).where(chosen),
                "d_prime": np.where(known, largest, np.nan),
                "second": pd.Series(names[:, 1], dtype=object).where(known),
                "margin": ahead,
            }
        )


def category_selectivity(
    responses: ArrayLike,
    categories: Sequence[str] | ArrayLike,
    *,
    contrast: str | Sequence[str] | None = None,
    against: str | Sequence[str] | None = None,
    exclude: Sequence[str] = EXCLUDED,
    epsilon: float = 0.0,
) -> Selectivity:
    """Compute how much each unit prefers categories of pictures to others.

    ``d' = (mean_in - mean_out) / sqrt((var_in + var_out) / 2)`` with variances over
    pictures of ddof 1, and Welch's t of the same difference.

    Parameters
    ----------
    responses : array-like of float, shape (n_images, n_units)
        One row per picture, measured or predicted.
    categories : array-like of str, shape (n_images,)
        Category of each picture.
    contrast : str or sequence of str, optional
        Categories to test, each for itself; all but the excluded by default, in the
        order of their first picture.
    against : str or sequence of str, optional
        Categories that they are compared with, pooled picture by picture; all others
        but the excluded by default.
    exclude : sequence of str, default ("scrambled",)
        What the two defaults leave out. Names that do not occur do not matter.
    epsilon : float, default 0
        Added to ``(var_in + var_out) / 2``, in squared units of the responses: some
        programs add 1e-9, whereby units that never vary get 0 instead of NaN. Does not
        change t.

    Returns
    -------
    Selectivity
        NaN for a unit with a value that is not finite in the pictures compared, or that
        does not vary within them.

    Raises
    ------
    ValueError
        If lengths differ, a category is unknown, is on both sides, or has fewer than
        two pictures, or there is nothing to compare with.

    Notes
    -----
    The test takes pictures as independent. It tells of each unit and category alone:
    see `analysis.multiple_tests` for many.

    References
    ----------
    Stigliani, Weiner and Grill-Spector (2015). J. Neurosci. 35, 12412-12424.
    doi:10.1523/JNEUROSCI.4822-14.2015 (the localiser). Welch (1947). Biometrika 34,
    28-35. doi:10.1093/biomet/34.1-2.28

    Examples
    --------
    >>> responses = np.array([[3.0], [5.0], [1.0], [3.0], [9.0], [9.0]])
    >>> kinds = ["face", "face", "place", "place", "scrambled", "scrambled"]
    >>> found = category_selectivity(responses, kinds)
    >>> found.categories, found.d_prime.round(3).tolist()
    (('face', 'place'), [[1.414, -1.414]])
    """
    x = check_array("responses", responses, shape=(None, None))
    kinds = text_labels("categories", categories, len(x), "row of `responses`")
    check_between("epsilon", epsilon, low=0)
    known = list(dict.fromkeys(kinds))
    ordinary = [name for name in known if name not in set(_several(exclude))]
    tested = ordinary if contrast is None else _several(contrast)
    pooled = None if against is None else _several(against)
    for argument, names in (("contrast", tested), ("against", pooled or ())):
        for name in names:
            check_option(argument, name, known)
    both = sorted(set(tested) & set(pooled or ()))
    if contrast is None:
        tested = [name for name in tested if name not in both]
    elif both:
        raise ValueError(
            f"`contrast` and `against` share {both}: a category cannot be compared "
            "with itself."
        )
    if not tested:
        raise ValueError(
            f"There is no category to test among {known}: name one in `contrast`."
        )
    others = [
        [n for n in (ordinary if pooled is None else pooled) if n != name]
        for name in tested
    ]
    counts = {name: int((kinds == name).sum()) for name in known}
    n_in = np.array([counts[name] for name in tested], np.intp)
    n_out = np.array([sum(counts[n] for n in names) for names in others], np.intp)
    for name, n, n_rest in zip(tested, n_in, n_out, strict=True):
        if min(n, n_rest) < 2:
            raise ValueError(
                f"{name!r} has {n} pictures and is compared with {n_rest}: two of each "
                "are needed for a variance. Leave it out by `exclude`, or name others."
            )
    used = sorted({*tested, *(n for names in others for n in names)})
    rows = [np.flatnonzero(kinds == name) for name in used]
    shape = (x.shape[1], len(tested))
    d, t, df = (np.full(shape, np.nan) for _ in range(3))
    for block in unit_blocks(len(x), x.shape[1]):
        parts = {
            name: _moments(np.asarray(x[own, block], np.float64))
            for name, own in zip(used, rows, strict=True)
        }
        for k, (name, names) in enumerate(zip(tested, others, strict=True)):
            inside, outside = parts[name], _pool([parts[n] for n in names])
            d[block, k], t[block, k], df[block, k] = _compare(inside, outside, epsilon)
    with np.errstate(invalid="ignore"):
        p = 2 * stats.t.sf(abs(t), df)
    return Selectivity(tuple(tested), d, t, df, p, n_in, n_out)


def _several(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def text_labels(
    name: str,
    labels: Sequence[str] | ArrayLike,
    n: int,
    what: str,
    *,
    missing: bool = False,
) -> NDArray[np.object_]:
    """Return labels as texts, one per row.

    Parameters
    ----------
    name : str
        Argument name for the message.
    labels : array-like of str, shape (n,)
        What came.
    n : int
        How many are needed.
    what : str
        What each stands for, for the message.
    missing : bool, default False
        Whether None and NaN are allowed; they become "".

    Returns
    -------
    ndarray of object, shape (n,)
        Texts.

    Raises
    ------
    ValueError
        If their number differs, or one is missing and may not be.

    Examples
    --------
    >>> text_labels("labels", ["FFA", None], 2, "unit", missing=True).tolist()
    ['FFA', '']
    """
    series = pd.Series(np.asarray(labels, object))
    if series.shape != (n,):
        raise ValueError(
            f"`{name}` has {len(series)} entries for {n}: one per {what} is needed."
        )
    empty = series.isna()
    if empty.any() and not missing:
        raise ValueError(f"`{name}` is missing in {int(empty.sum())} of {n} entries.")
    return series.where(~empty, "").map(str).to_numpy(object)


_Moments = tuple[int, FloatArray, FloatArray]


def _moments(x: FloatArray) -> _Moments:
    """Return n, mean and sum of squared deviations of columns; NaN if not finite."""
    x = np.where(np.isfinite(x), x, np.nan)
    mean = x.mean(axis=0)
    return len(x), mean, ((x - mean) ** 2).sum(axis=0)


def _pool(parts: list[_Moments]) -> _Moments:
    """Return the moments of several groups together."""
    n = sum(m for m, _, _ in parts)
    mean = sum((m * mu for m, mu, _ in parts), np.zeros_like(parts[0][1])) / n
    squares = sum(
        (ss + m * (mu - mean) ** 2 for m, mu, ss in parts), np.zeros_like(mean)
    )
    return n, mean, squares


def _compare(
    inside: _Moments, outside: _Moments, epsilon: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return d', Welch's t and its degrees of freedom."""
    (n, mean, squares), (n_out, mean_out, squares_out) = inside, outside
    difference = mean - mean_out
    variance, variance_out = squares / (n - 1), squares_out / (n_out - 1)
    size = np.maximum(abs(mean), abs(mean_out))
    # What varies less than by rounding does not vary.
    constant = variance + variance_out <= (ROUNDING * size) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((variance + variance_out) / 2 + epsilon)
        d = np.where(constant & (epsilon == 0), np.nan, difference / spread)
        error, error_out = variance / n, variance_out / n_out
        t = np.where(constant, np.nan, difference / np.sqrt(error + error_out))
        freedom = error**2 / (n - 1) + error_out**2 / (n_out - 1)
        df = np.where(constant, np.nan, (error + error_out) ** 2 / freedom)
    return d, t, df
