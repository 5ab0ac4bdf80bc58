"""What feature spaces explain alone and together, by banded ridge regression."""

from collections.abc import Collection, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.base import clone  # type: ignore[import-untyped]

from analysis.variance import VarianceParts, partition_variance
from neurovis.core.log import progress
from neurovis.fitting.banded import BandedRidgeCV
from neurovis.fitting.banded_spaces import check_gammas, check_spaces

Models = dict[tuple[str, ...], BandedRidgeCV]


def fit_subsets(model: BandedRidgeCV, Xs: Any, y: Any, groups: Any = None) -> Models:
    """Fit a model to each combination of feature spaces.

    Parameters
    ----------
    model : BandedRidgeCV
        Settings; it is not fitted itself. Of given `gammas` each combination takes its
        columns, without rows of zeros.
    Xs : list or mapping of array-like, each of shape (n_samples, n_features_g)
        Feature spaces; those of a list are named "0", "1", ...
    y : array-like, shape (n_samples, n_targets) or (n_samples,)
        Targets.
    groups : array-like, shape (n_samples,), optional
        Group of each row.

    Returns
    -------
    dict of tuple of str to BandedRidgeCV
        ``2**n_spaces - 1`` fitted models by the names of their spaces, small
        combinations first.

    Raises
    ------
    TypeError, ValueError
        As `BandedRidgeCV.fit`, or if `gammas` leave a combination without weights.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((2, 40, 5))
    >>> settings = BandedRidgeCV(n_iter=3, device="cpu")
    >>> list(fit_subsets(settings, {"a": a, "b": b}, a + b))
    [('a',), ('b',), ('a', 'b')]
    """
    spaces = check_spaces(Xs)
    names = spaces.names
    features = dict(zip(names, spaces.parts, strict=True))
    gammas = None
    if model.gammas is not None:
        gammas = check_gammas(model.gammas, len(names))
    models: Models = {}
    subsets = [s for size in range(len(names)) for s in combinations(names, size + 1)]
    settings = []
    for subset in subsets:
        part = clone(model)
        if gammas is not None:
            columns = gammas[:, [names.index(name) for name in subset]]
            columns = columns[(columns > 0).any(1)]
            if not len(columns):
                raise ValueError(
                    f"`gammas` give no weight to the spaces {list(subset)}: add a row "
                    "that does, or leave out these spaces."
                )
            part.set_params(gammas=columns)
        settings.append(part)
    pairs = list(zip(subsets, settings, strict=True))
    for subset, part in progress(pairs, "combinations of spaces", unit="fit"):
        chosen = {name: list(features[name]) for name in subset}
        models[subset] = part.fit(chosen, y, groups)
    return models


def variance_by_space(
    models: Mapping[tuple[str, ...], BandedRidgeCV], Xs: Any, y: Any
) -> VarianceParts:
    """Divide the explained variance of held-out rows among spaces and their overlaps.

    Parameters
    ----------
    models : mapping of tuple of str to BandedRidgeCV
        From `fit_subsets`.
    Xs : list or mapping of array-like, each of shape (n_new, n_features_g)
        The feature spaces of rows that the models were not fitted to.
    y : array-like, shape (n_new, n_targets) or (n_new,)
        Measured values.

    Returns
    -------
    VarianceParts
        Unique and shared parts of R2, see `analysis.variance.partition_variance`.

    Raises
    ------
    TypeError, ValueError
        If spaces or shapes do not fit, or a combination is missing.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((2, 900, 5))
    >>> settings, new = BandedRidgeCV(n_iter=3, device="cpu"), slice(600, None)
    >>> models = fit_subsets(settings, {"a": a[:600], "b": b[:600]}, (a + b)[:600])
    >>> parts = variance_by_space(models, {"a": a[new], "b": b[new]}, (a + b)[new])
    >>> bool((np.abs(parts.unique("a") - 0.5) < 0.1).all())
    True
    """
    spaces = check_spaces(Xs)
    features = dict(zip(spaces.names, spaces.parts, strict=True))
    needed = {name for subset in models for name in subset}
    if needed - set(features):
        raise ValueError(
            f"`Xs` has the feature spaces {list(spaces.names)}, but `models` also need "
            f"{sorted(needed - set(features))}."
        )
    explained: dict[str | Collection[str], Any] = {
        subset: np.asarray(
            model.score({name: list(features[name]) for name in subset}, y)
        )
        for subset, model in models.items()
    }
    return partition_variance(explained)
