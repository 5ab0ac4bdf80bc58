"""Models as observers."""

from importlib import import_module
from typing import Any

from neurovis.core.checks import check_option

_ECCNET = ("neurovis.adapters.eccnet", "load_eccnet")
_BASELINE = ("neurovis.adapters.search_baselines", "load_baseline")
MODELS = {
    "eccnet": _ECCNET,
    "eccnet-18-17": _ECCNET,
    "eccnet-noecc": _ECCNET,
    "eccnet-rot90": _ECCNET,
    "eccnet-mnist": _ECCNET,
    "ivsn": _ECCNET,
    "chance": _BASELINE,
    "pixel-match": _BASELINE,
    "saliency": _BASELINE,
    "centre": _BASELINE,
}


def load_model(name: str, /, **options: Any) -> Any:
    """Build a model by name.

    Parameters
    ----------
    name : str
        One of `MODELS`.
    **options : object
        Options of the model's own constructor, such as ``weights`` and ``device``
        for the networks (see `neurovis.adapters.eccnet.load_eccnet`).

    Returns
    -------
    object
        The model; what it can do is told by the Protocols of
        `neurovis.core.observers`.

    Raises
    ------
    ValueError
        If the name is unknown (the nearest one is suggested) or an option does not
        fit.

    Examples
    --------
    >>> load_model("chance").name
    'chance'
    """
    check_option("model", name, tuple(MODELS))
    module, constructor = MODELS[name]
    return getattr(import_module(module), constructor)(name, **options)
