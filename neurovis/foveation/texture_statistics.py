"""Names, order and redundancy of the texture statistics of Portilla and Simoncelli."""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_whole

PIXEL_STATISTICS = ("mean", "variance", "skew", "kurtosis", "min", "max")
"""Entries of `TextureStatistics.pixel_statistics`, in order."""


@dataclass(frozen=True)
class TextureStatistics:
    """Texture statistics of images; redundant entries are NaN.

    S scales, fine to coarse; O orientations; a neighbourhood of W by W lags, the lag
    of no shift in its middle. Of correlations that are equal by symmetry one is kept.

    Parameters
    ----------
    pixel_statistics : Tensor, shape (B, C, 6)
        See `PIXEL_STATISTICS`; variance with n - 1, kurtosis 3 for a Gaussian.
    auto_correlation_magnitude : Tensor, shape (B, C, W, W, O, S)
        Of the magnitudes of each band, without their mean.
    skew_reconstructed, kurtosis_reconstructed : Tensor, shape (B, C, S + 1)
        Of the low-pass image of each scale; last that of the low-pass residual.
    auto_correlation_reconstructed : Tensor, shape (B, C, W, W, S + 1)
        Of these images.
    std_reconstructed : Tensor, shape (B, C, S + 1)
        Of these images.
    cross_orientation_correlation_magnitude : Tensor, shape (B, C, O, O, S)
        Between magnitudes of the same scale.
    magnitude_std : Tensor, shape (B, C, O, S)
        Of the magnitudes.
    cross_scale_correlation_magnitude : Tensor, shape (B, C, O, O, S - 1)
        Between magnitudes (rows) and those of the next coarser scale (columns).
    cross_scale_correlation_real : Tensor, shape (B, C, O, 2 O, S - 1)
        Between real parts (rows) and the real, then the imaginary parts of the next
        coarser scale with its phase doubled (columns).
    var_highpass_residual : Tensor, shape (B, C, 1)
        Mean square of the high-pass residual.
    """

    pixel_statistics: Tensor
    auto_correlation_magnitude: Tensor
    skew_reconstructed: Tensor
    kurtosis_reconstructed: Tensor
    auto_correlation_reconstructed: Tensor
    std_reconstructed: Tensor
    cross_orientation_correlation_magnitude: Tensor
    magnitude_std: Tensor
    cross_scale_correlation_magnitude: Tensor
    cross_scale_correlation_real: Tensor
    var_highpass_residual: Tensor

    @property
    def n_scales(self) -> int:
        """Number of scales."""
        return self.magnitude_std.shape[-1]

    @property
    def n_orientations(self) -> int:
        """Number of orientations."""
        return self.magnitude_std.shape[-2]

    @property
    def neighbourhood(self) -> int:
        """Lags of the autocorrelations along one axis, in pixels of their scale."""
        return self.auto_correlation_reconstructed.shape[-2]

    @property
    def table(self) -> pd.DataFrame:
        """Meaning of each number of `vector`; see `statistics_table`."""
        whole = statistics_table(self.n_scales, self.n_orientations, self.neighbourhood)
        return whole[~whole["redundant"]].drop(columns="redundant")

    def arrays(self) -> dict[str, Tensor]:
        """Return the statistics by name, in the order of `vector`.

        Returns
        -------
        dict of str to Tensor
            The parameters of this object.
        """
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def vector(self) -> Tensor:
        """Return the numbers that are not redundant.

        Returns
        -------
        Tensor, shape (B, C, n_statistics)
            Statistics in the order of the parameters, each in C order; gradients
            pass.
        """
        flat = torch.cat([each.flatten(2) for each in self.arrays().values()], -1)
        sizes = (self.n_scales, self.n_orientations, self.neighbourhood)
        kept = torch.from_numpy(_kept(*sizes)).to(flat.device)
        return flat.index_select(-1, kept)

    @classmethod
    def from_vector(
        cls,
        vector: Tensor,
        *,
        n_scales: int = 4,
        n_orientations: int = 4,
        neighbourhood: int = 7,
    ) -> "TextureStatistics":
        """Return the statistics whose `vector` this is.

        Parameters
        ----------
        vector : Tensor, shape (B, C, n_statistics)
            As from `vector`.
        n_scales, n_orientations, neighbourhood : int
            As of `PortillaSimoncelli`.

        Returns
        -------
        TextureStatistics
            With NaN where redundant.

        Raises
        ------
        ValueError
            If the length of the vector is another.
        """
        sizes = (n_scales, n_orientations, neighbourhood)
        kept = _kept(*sizes)
        if vector.ndim != 3 or vector.shape[-1] != len(kept):
            raise ValueError(
                f"`vector` must have shape (B, C, {len(kept)}) for {n_scales} scales, "
                f"{n_orientations} orientations and a neighbourhood of "
                f"{neighbourhood}; got {tuple(vector.shape)}."
            )
        masks = kept_entries(*sizes)
        n_all = sum(mask.size for mask in masks.values())
        flat = vector.new_full((*vector.shape[:2], n_all), torch.nan)
        flat[..., torch.from_numpy(kept).to(vector.device)] = vector
        parts = torch.split(flat, [mask.size for mask in masks.values()], -1)
        return cls(
            **{
                name: part.reshape(*vector.shape[:2], *mask.shape)
                for (name, mask), part in zip(masks.items(), parts, strict=True)
            }
        )


def kept_entries(
    n_scales: int, n_orientations: int, neighbourhood: int
) -> dict[str, NDArray[np.bool_]]:
    """Tell which entries of each statistic are not redundant.

    Parameters
    ----------
    n_scales, n_orientations, neighbourhood : int
        As of `PortillaSimoncelli`.

    Returns
    -------
    dict of str to ndarray of bool
        One array per parameter of `TextureStatistics`, without batch and channels.

    Examples
    --------
    >>> kept = kept_entries(4, 4, 7)
    >>> sum(int(each.sum()) for each in kept.values())
    710
    """
    s, o, w = n_scales, n_orientations, neighbourhood
    lags = np.tri(w, dtype=np.bool_)
    # An even neighbourhood has a first row of lags whose mirror images lie outside.
    lags[0] |= w % 2 == 0
    later = np.arange(w // 2, w)
    lags[later, later] = False
    below = np.tri(o, k=-1, dtype=np.bool_)

    def all_of(*shape: int) -> NDArray[np.bool_]:
        return np.ones(shape, np.bool_)

    return {
        "pixel_statistics": all_of(len(PIXEL_STATISTICS)),
        "auto_correlation_magnitude": lags[:, :, None, None] & all_of(w, w, o, s),
        "skew_reconstructed": all_of(s + 1),
        "kurtosis_reconstructed": all_of(s + 1),
        "auto_correlation_reconstructed": lags[:, :, None] & all_of(w, w, s + 1),
        "std_reconstructed": all_of(s + 1),
        "cross_orientation_correlation_magnitude": below[:, :, None] & all_of(o, o, s),
        "magnitude_std": all_of(o, s),
        "cross_scale_correlation_magnitude": all_of(o, o, s - 1),
        "cross_scale_correlation_real": all_of(o, 2 * o, s - 1),
        "var_highpass_residual": all_of(1),
    }


@lru_cache(maxsize=16)
def _kept(n_scales: int, n_orientations: int, neighbourhood: int) -> NDArray[np.int64]:
    masks = kept_entries(n_scales, n_orientations, neighbourhood).values()
    return np.flatnonzero(np.concatenate([mask.ravel() for mask in masks]))


def statistics_table(
    n_scales: int = 4, n_orientations: int = 4, neighbourhood: int = 7
) -> pd.DataFrame:
    """Return what every entry of the statistics is.

    Parameters
    ----------
    n_scales, n_orientations, neighbourhood : int
        As of `PortillaSimoncelli`.

    Returns
    -------
    DataFrame
        One row per entry, redundant ones too, in the order of the vector:
        `statistic`; `scale` ("0" is the finest, or "pixel_statistics",
        "residual_highpass", "residual_lowpass"); `row` and `column` of an
        autocorrelation (lags + neighbourhood // 2) or of a correlation matrix, or
        `row` in the list of pixel statistics; `orientation`; `redundant`. What
        does not apply is missing.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or below 1.

    Examples
    --------
    >>> table = statistics_table(3, 4, 5)
    >>> int((~table["redundant"]).sum())
    337
    """
    check_whole("n_scales", n_scales, low=1)
    check_whole("n_orientations", n_orientations, low=2)
    check_whole("neighbourhood", neighbourhood, low=1)
    tables = []
    for name, kept in kept_entries(n_scales, n_orientations, neighbourhood).items():
        axes = dict(zip(_AXES[name], np.indices(kept.shape), strict=True))
        columns: dict[str, object] = {"statistic": name}
        scale = axes.pop("scale", None)
        if scale is None:
            fixed = {"var_highpass_residual": "residual_highpass"}.get(name, name)
            columns["scale"] = fixed
        else:
            words = [*map(str, range(n_scales)), "residual_lowpass"]
            columns["scale"] = np.array(words)[scale.ravel()]
        for axis in ("row", "column", "orientation"):
            columns[axis] = axes[axis].ravel() if axis in axes else pd.NA
        columns["redundant"] = ~kept.ravel()
        table = pd.DataFrame(columns, index=range(kept.size))
        kinds = {axis: "Int64" for axis in ("row", "column", "orientation")}
        tables.append(table.astype({**kinds, "scale": str, "statistic": str}))
    return pd.concat(tables, ignore_index=True)


_AXES: dict[str, tuple[str, ...]] = {
    "pixel_statistics": ("row",),
    "auto_correlation_magnitude": ("row", "column", "orientation", "scale"),
    "skew_reconstructed": ("scale",),
    "kurtosis_reconstructed": ("scale",),
    "auto_correlation_reconstructed": ("row", "column", "scale"),
    "std_reconstructed": ("scale",),
    "cross_orientation_correlation_magnitude": ("row", "column", "scale"),
    "magnitude_std": ("orientation", "scale"),
    "cross_scale_correlation_magnitude": ("row", "column", "scale"),
    "cross_scale_correlation_real": ("row", "column", "scale"),
    "var_highpass_residual": ("row",),
}
