"""How units are tuned to gratings: orientation, spatial frequency, phase.

The measures are those of studies of primary visual cortex, so that units of a network
stand beside neurons. All are taken from non-negative responses as they are; no
baseline is subtracted. Undefined is NaN.

References
----------
De Valois, Albrecht & Thorell (1982). Spatial frequency selectivity of cells in macaque
visual cortex. Vision Research 22, 545-559. doi:10.1016/0042-6989(82)90113-4

Skottun, De Valois, Grosof, Movshon, Albrecht & Bonds (1991). Classifying simple and
complex cells on the basis of response modulation. Vision Research 31, 1078-1086.
doi:10.1016/0042-6989(91)90033-2

Ringach, Shapley & Hawken (2002). Orientation selectivity in macaque V1: diversity and
laminar dependence. Journal of Neuroscience 22, 5639-5651.
doi:10.1523/JNEUROSCI.22-13-05639.2002
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_between, check_columns

FloatArray = NDArray[np.float64]

TUNING_COLUMNS = (
    "unit",
    "responsive",
    "preferred_orientation_deg",
    "preferred_frequency_cpd",
    "peak_response",
    "circular_variance",
    "orientation_selectivity",
    "half_width_deg",
    "bandwidth_octaves",
    "modulation_ratio",
    "cell",
)
"""Columns of `grating_tuning`."""

ORIENTED_SELECTIVITY = 1 / 3
"""Selectivity at which the preferred orientation drives twice as much as the other."""


def grating_tuning(
    responses: ArrayLike,
    orientations_deg: ArrayLike,
    frequencies_cpd: ArrayLike,
    *,
    floor: float = 0.01,
) -> pd.DataFrame:
    """Describe the tuning of each unit to orientation, frequency and phase.

    A unit is responsive if the range of its responses over all gratings (largest minus
    smallest) is at least `floor` times the median range of the units that vary at all.
    The preferred grating has the largest response averaged over phases; of equal ones
    the first. Then, with R the average over phases:

    - circular variance ``1 - |sum R exp(2 i theta)| / sum R``, over the orientations
      theta at the preferred frequency (Ringach et al., 2002): 0 if one orientation
      alone drives the unit, 1 if all drive it alike;
    - selectivity ``(Rp - Ro) / (Rp + Ro)`` of preferred and orthogonal orientation;
    - half-width of orientation tuning: half the distance between the two flanks at
      half of the peak, linear between orientations;
    - bandwidth: octaves between the two flanks at half of the peak at the preferred
      orientation (De Valois et al., 1982), linear in log2 of frequency;
    - modulation ratio F1 / F0: amplitude of the first harmonic over the mean, over the
      phases of the preferred grating; simple cells have more than 1, complex cells up
      to 1 (Skottun et al., 1991).

    Parameters
    ----------
    responses : array-like of float, shape (n_units, n_orientations, n_frequencies, \
n_phases)
        Responses >= 0, such as those of rectified units. Phases must be equally spaced
        over the cycle.
    orientations_deg : array-like of float, shape (n_orientations,)
        Orientations in degrees, in any order; an even number of them, at least 4,
        equally spaced over 180 degrees.
    frequencies_cpd : array-like of float, shape (n_frequencies,)
        Spatial frequencies in cycles per degree, > 0, different, in any order.
    floor : float, default 0.01
        Smallest range of a responsive unit as a share of the median range, >= 0.

    Returns
    -------
    DataFrame
        One row per unit, the columns of `TUNING_COLUMNS`: `unit` (0-based),
        `responsive` (bool), `preferred_orientation_deg`, `preferred_frequency_cpd`,
        `peak_response` (R of the preferred grating), `circular_variance` (0..1),
        `orientation_selectivity` (0..1, or below 0 in units with two peaks),
        `half_width_deg` (NaN if the response never falls to half of the peak),
        `bandwidth_octaves` (NaN if a flank is beyond the frequencies shown),
        `modulation_ratio` (0..2; NaN with fewer than 3 phases) and `cell` ("simple",
        "complex" or NaN). All measures of units that are not responsive are NaN.

    Raises
    ------
    TypeError, ValueError
        If shapes do not match, responses are negative or not finite, orientations are
        not equally spaced, or frequencies repeat.

    Notes
    -----
    The peak is the largest of the samples, a little below that of a curve through
    them: widths come out larger. A half-rectified sinusoid has F1 / F0 = pi / 2 with
    many phases, 1.53 to 1.66 with 8.

    Examples
    --------
    >>> angles = np.arange(0, 180, 30.0)
    >>> bars = np.exp(2 * np.cos(np.radians(2 * (angles - 60))))
    >>> table = grating_tuning(np.ones((1, 6, 1, 4)) * bars[:, None, None], angles, [4])
    >>> table[["preferred_orientation_deg", "circular_variance"]].round(2).values
    array([[60. ,  0.3]])
    """
    angles = _check_orientations(orientations_deg)
    frequencies = _check_frequencies(frequencies_cpd)
    driven = _check_responses(responses, len(angles), len(frequencies))
    check_between("floor", floor, low=0)
    by_angle, by_frequency = np.argsort(angles), np.argsort(frequencies)
    angles, frequencies = angles[by_angle], frequencies[by_frequency]
    driven = driven[:, by_angle][:, :, by_frequency]

    responsive = _responsive(driven, floor)
    means = driven.mean(axis=-1, dtype=np.float64)
    peak_at = means.reshape(len(means), len(angles) * len(frequencies)).argmax(axis=1)
    best_angle, best_frequency = np.unravel_index(peak_at, means.shape[1:])
    unit = np.arange(len(means))
    peak = means[unit, best_angle, best_frequency]
    over_angles = means[unit, :, best_frequency]
    over_frequencies = means[unit, best_angle]
    orthogonal = over_angles[unit, (best_angle + len(angles) // 2) % len(angles)]
    with np.errstate(invalid="ignore", divide="ignore"):
        resultant = np.abs(over_angles @ np.exp(2j * np.radians(angles)))
        variance = 1 - resultant / over_angles.sum(axis=1)
        selectivity = (peak - orthogonal) / (peak + orthogonal)
        ratio = _modulation(driven[unit, best_angle, best_frequency])
    measures = {
        "preferred_orientation_deg": angles[best_angle],
        "preferred_frequency_cpd": frequencies[best_frequency],
        "peak_response": peak,
        # Rounding must not take it out of its range.
        "circular_variance": np.clip(variance, 0, 1),
        "orientation_selectivity": selectivity,
        "half_width_deg": _half_width(over_angles, best_angle),
        "bandwidth_octaves": _bandwidth(over_frequencies, best_frequency, frequencies),
        "modulation_ratio": ratio,
    }
    table = pd.DataFrame({"unit": unit, "responsive": responsive})
    for name, values in measures.items():
        table[name] = np.where(responsive, values, np.nan)
    defined = table["modulation_ratio"].notna()
    kinds = np.where(table["modulation_ratio"] > 1, "simple", "complex")
    table["cell"] = pd.Series(kinds, dtype=object).where(defined, np.nan)
    return table[list(TUNING_COLUMNS)]


def tuning_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise the tuning of many units in one row.

    Parameters
    ----------
    table : DataFrame
        What `grating_tuning` returned, or rows of it.

    Returns
    -------
    DataFrame
        One row: `n_units`, `n_responsive`, `responsive_share`; of the responsive units
        the quartiles `circular_variance_q25`, `circular_variance_median`,
        `circular_variance_q75`, the median `half_width_deg_median` of those that have
        one, `oriented_share` (selectivity above 1/3: the preferred orientation drives
        more than twice as much as the orthogonal one), `bandwidth_octaves_median` of
        those with both flanks, `closed_bandwidth_share` (how many those are) and
        `simple_share` (F1 / F0 above 1, of those that have one). What has no unit to
        be taken from is NaN.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> angles = np.arange(0, 180, 30.0)
    >>> bars = np.exp(2 * np.cos(np.radians(2 * (angles - 60))))
    >>> table = grating_tuning(np.ones((1, 6, 1, 4)) * bars[:, None, None], angles, [4])
    >>> tuning_summary(table)["oriented_share"].tolist()
    [1.0]
    """
    check_columns("table", table.columns, TUNING_COLUMNS[1:])
    units = table[table["responsive"].astype(bool)]
    quartiles = units["circular_variance"].quantile([0.25, 0.5, 0.75]).to_numpy()
    oriented = units["orientation_selectivity"] > ORIENTED_SELECTIVITY
    closed = units["bandwidth_octaves"].notna()
    kinds = units["cell"].dropna()
    return pd.DataFrame(
        {
            "n_units": [len(table)],
            "n_responsive": [len(units)],
            "responsive_share": [_share(table["responsive"])],
            "circular_variance_q25": [quartiles[0]],
            "circular_variance_median": [quartiles[1]],
            "circular_variance_q75": [quartiles[2]],
            "half_width_deg_median": [units["half_width_deg"].median()],
            "oriented_share": [_share(oriented)],
            "bandwidth_octaves_median": [units["bandwidth_octaves"].median()],
            "closed_bandwidth_share": [_share(closed)],
            "simple_share": [_share(kinds == "simple")],
        }
    )


def _share(flags: "pd.Series[bool]") -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _responsive(driven: FloatArray, floor: float) -> NDArray[np.bool_]:
    # The range of equal numbers is exactly 0; their variance need not be.
    ranges = driven.max(axis=(1, 2, 3)) - driven.min(axis=(1, 2, 3))
    varying = ranges > 0
    if not varying.any():
        return varying
    return varying & (ranges >= floor * np.median(ranges[varying]))


def _half_width(curves: FloatArray, peak_at: NDArray[np.intp]) -> FloatArray:
    """Half the width of closed curves over 180 degrees at half of their peak, deg."""
    n = curves.shape[1]
    steps = np.arange(n)
    unit = np.arange(len(curves))[:, None]
    flanks = [
        _distance_to_half(curves[unit, (peak_at[:, None] + sign * steps) % n], steps)
        for sign in (1, -1)
    ]
    return (flanks[0] + flanks[1]) / 2 * (180 / n)


def _bandwidth(
    curves: FloatArray, peak_at: NDArray[np.intp], frequencies: FloatArray
) -> FloatArray:
    """Width of open curves at half of their peak, octaves."""
    n = curves.shape[1]
    octaves = np.log2(frequencies)
    unit = np.arange(len(curves))[:, None]
    width = np.zeros(len(curves))
    for sign in (1, -1):
        at = peak_at[:, None] + sign * np.arange(n)
        shown = (at >= 0) & (at < n)
        at = np.clip(at, 0, n - 1)
        # Beyond the frequencies shown no response is known to be low.
        values = np.where(shown, curves[unit, at], np.inf)
        places = np.abs(octaves[at] - octaves[peak_at][:, None])
        width += _distance_to_half(values, places)
    return width


def _distance_to_half(
    values: FloatArray, places: FloatArray | NDArray[np.intp]
) -> FloatArray:
    """Find where curves that begin at their peak first reach half of it.

    Parameters
    ----------
    values : ndarray of float64, shape (n_units, n_places)
        Curves; infinite where unknown.
    places : ndarray, shape (n_places,) or (n_units, n_places)
        Distances from the peak.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        Interpolated distance; NaN if half of the peak is never reached.
    """
    half = values[:, :1] / 2
    low = values <= half
    reached = low.any(axis=1) & (half[:, 0] > 0)
    after = np.maximum(low.argmax(axis=1), 1)
    unit = np.flatnonzero(reached)
    after = after[unit]
    at = np.broadcast_to(places, values.shape)
    near, far = values[unit, after - 1], values[unit, after]
    start, stop = at[unit, after - 1], at[unit, after]
    distance = np.full(len(values), np.nan)
    share = (near - half[unit, 0]) / (near - far)
    distance[unit] = start + share * (stop - start)
    return distance


def _modulation(cycles: FloatArray) -> FloatArray:
    """Amplitude of the first harmonic over the mean, per row."""
    n = cycles.shape[1]
    # Of one or two phases the first harmonic cannot be told from others.
    if n < 3:
        return np.full(len(cycles), np.nan)
    wave = np.exp(-2j * np.pi * np.arange(n) / n)
    first = 2 / n * np.abs(cycles @ wave)
    return np.asarray(first / cycles.mean(axis=1), np.float64)


def _check_orientations(value: ArrayLike) -> FloatArray:
    angles = check_array(
        "orientations_deg", np.asarray(value, np.float64), shape=(None,), finite=True
    )
    n = len(angles)
    turned = np.sort(angles % 180)
    even = n >= 4 and n % 2 == 0
    if not even or np.abs(np.diff(turned) - 180 / n).max() > 1e-6 * 180:
        raise ValueError(
            "`orientations_deg` must be an even number of orientations, at least 4, "
            f"equally spaced over 180 degrees; got {angles.tolist()}. Use those of "
            "`make_gratings`, such as 0, 15, ... 165."
        )
    return angles % 180


def _check_frequencies(value: ArrayLike) -> FloatArray:
    frequencies = check_array(
        "frequencies_cpd", np.asarray(value, np.float64), shape=(None,), finite=True
    )
    different = len(np.unique(frequencies)) == len(frequencies)
    if not len(frequencies) or not different or frequencies.min() <= 0:
        raise ValueError(
            "`frequencies_cpd` must be different numbers above 0, at least one; got "
            f"{frequencies.tolist()}."
        )
    return frequencies


def _check_responses(value: ArrayLike, n_angles: int, n_frequencies: int) -> FloatArray:
    driven = check_array(
        "responses",
        np.asarray(value, np.float64),
        shape=(None, n_angles, n_frequencies, None),
        finite=True,
    )
    if not driven.shape[3]:
        raise ValueError(
            f"`responses` must have at least one phase; got {driven.shape}."
        )
    if driven.size and driven.min() < 0:
        raise ValueError(
            f"`responses` must be 0 or more; the smallest is {driven.min():g}. Take "
            "responses after the rectification, or rectify them: np.maximum(x, 0)."
        )
    return driven
