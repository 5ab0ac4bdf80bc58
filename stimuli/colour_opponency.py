"""False colours: red and green, blue and yellow exchanged, luminance kept.

Pictures go through the monitor and the cones to the colour-opponent channels of
Derrington, Krauskopf and Lennie; both chromatic channels change their sign.

References
----------
Derrington, Krauskopf & Lennie (1984). Chromatic mechanisms in lateral geniculate
nucleus of macaque. Journal of Physiology 357, 241-265.
doi:10.1113/jphysiol.1984.sp015499

Geirhos et al. (2018). Generalisation in humans and deep neural networks. NeurIPS 31,
arXiv:1808.08750; matrices and the monitor are theirs.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array
from stimuli.manipulations import rgb_to_grey
from stimuli.monitor_gamma import MONITOR_GAMMA

FloatArray = NDArray[np.float64]

_CONES = np.array(
    [
        [0.1619982647, 0.208049264, 0.0389347448],
        [0.0330275785, 0.2496504557, 0.0618343518],
        [0.0015524055, 0.0198861001, 0.1890224274],
    ]
)
"""From monitor output to L, M and S cones."""

_OPPONENT = np.array(
    [
        [9.27590805, 9.27590805, 0.0],
        [7.86421647, -9.33587662, 0.0],
        [-3.39709047, -3.39709047, 12.16230246],
    ]
)
"""From cones, relative to white, to L + M, L - M and S - (L + M)."""

_WHITE = np.array([0.20449114, 0.17225619, 0.10523047])
_FLIP = np.array([1.0, -1.0, -1.0])


def false_colour(image: ArrayLike, gamma: ArrayLike = MONITOR_GAMMA) -> FloatArray:
    """Exchange the opponent colours of a picture.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3)
        Red, green and blue, 0..1; taken as 8-bit levels, 255 times rounded.
    gamma : array_like of float, shape (256,), default that of the study
        Output of the monitor for each level, 0..1.

    Returns
    -------
    ndarray of float64, shape (H, W, 3)
        Levels / 255 whose monitor output is nearest to the wanted one; what the
        monitor cannot show is clipped.

    Raises
    ------
    ValueError
        If the picture is none, or `gamma` is no table of 256 numbers of 0..1.

    Examples
    --------
    >>> reddish = np.full((1, 1, 3), (0.7, 0.4, 0.4))
    >>> red, green, blue = false_colour(reddish)[0, 0]
    >>> bool(red < green)
    True
    """
    output = check_array("gamma", np.asarray(gamma, np.float64), shape=(256,))
    if not (np.isfinite(output).all() and output.min() >= 0 and output.max() <= 1):
        raise ValueError("`gamma` must lie within 0..1.")
    levels = np.asarray(image, np.float64)
    if levels.ndim != 3:
        raise ValueError(f"`image` must have shape (H, W, 3); got {levels.shape}.")
    rgb_to_grey(levels)  # its checks
    shown = output[np.floor(255 * np.clip(levels, 0, 1) + 0.5).astype(np.intp)]
    channels = (shown @ _CONES.T - _WHITE) @ _OPPONENT.T * _FLIP
    cones = channels @ np.linalg.inv(_OPPONENT).T + _WHITE
    wanted = np.clip(cones @ np.linalg.inv(_CONES).T, 0, 1)
    return _nearest(output, wanted) / 255


def _nearest(table: FloatArray, values: FloatArray) -> FloatArray:
    """Return the first place in a table whose entry is nearest to each value."""
    entries, first = np.unique(table, return_index=True)
    middles = (entries[1:] + entries[:-1]) / 2
    return first[np.searchsorted(middles, values)].astype(np.float64)
