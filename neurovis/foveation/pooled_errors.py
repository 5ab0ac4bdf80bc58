"""How far apart two sets of pooled statistics are."""

from collections.abc import Callable

import torch
from torch import Tensor

Values = dict[str, Tensor]

# Amplitudes differ from scale to scale: each entry has its own unit.
_AMPLITUDES = ("_mean", "_variance", "_std", "energy", "std_", "var_")
# Windows on edges have huge moments: on a compressive scale they do not rule.
_COMPRESSED: dict[str, Callable[[Tensor], Tensor]] = {
    "skew": torch.asinh,
    "kurtosis": torch.log1p,
}


def statistics_errors(target: Values, found: Values) -> Values:
    """Return the relative squared error of each family of statistics.

    Squared differences are summed over windows and entries, and divided by the same
    sum of squared target values; in families of amplitudes (means, deviations,
    energies) this is done for each entry, and averaged, so that no scale drowns
    another one. Pixel means are relative to their differences between windows.
    Entries that are not defined in the target are left out, those that are undefined
    in `found` only count as 0. Skew is compared by its inverse hyperbolic sine,
    kurtosis by ``log(1 + kurtosis)``.

    Parameters
    ----------
    target, found : dict of str to Tensor, shape (B, C, n_windows, ...)
        From the same `PooledStatistics`.

    Returns
    -------
    dict of str to Tensor, shape (B,)
        0 where all agree; families without a defined entry are left out.

    Raises
    ------
    ValueError
        If the families differ.

    Examples
    --------
    >>> a = {"pixel_mean": torch.tensor([[[1.0, 3.0]]])}
    >>> statistics_errors(a, {"pixel_mean": torch.tensor([[[1.0, 2.0]]])})
    {'pixel_mean': tensor([0.5000])}
    """
    if target.keys() != found.keys():
        raise ValueError(
            f"`found` must have the families of `target`, {list(target)}; got "
            f"{list(found)}."
        )
    errors = {}
    for name, wanted in target.items():
        defined = wanted.isfinite()
        if not bool(defined.any()):
            continue
        # Without rounding, kurtosis is at least 1: log1p needs no guard.
        compress = next((f for part, f in _COMPRESSED.items() if part in name), None)
        aim, value = wanted.where(defined, 0), torch.nan_to_num(found[name])
        if compress is not None:
            aim, value = compress(aim), compress(value)
        difference = (value - aim).where(defined, 0)
        axes = [1, 2] if _is_amplitude(name) else list(range(1, aim.ndim))
        size = aim.square().sum(axes)
        if name == "pixel_mean":
            # A level: what counts is how it differs from window to window.
            spread = (aim - aim.mean(2, keepdim=True)).square().sum(axes)
            size = spread.where(spread > 1e-6 * size, size)
        # Nothing to be relative to: an entry that is 0 in all windows of the target.
        size = size.where(size > 0, 1)
        error = difference.square().sum(axes) / size
        errors[name] = error.flatten(1).mean(1) if error.ndim > 1 else error
    return errors


def _is_amplitude(name: str) -> bool:
    return name.endswith(_AMPLITUDES[:4]) or name.startswith(_AMPLITUDES[4:])
