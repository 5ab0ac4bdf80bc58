"""Models of open_clip: built without a download, tower by tower or whole."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from torch import nn

from neurovis.core.checks import check_option, suggest
from neurovis.core.errors import MissingDependencyError


def import_open_clip() -> Any:
    """Import open_clip.

    Returns
    -------
    module
        The package.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        return import_module("open_clip")
    except ImportError as error:
        raise MissingDependencyError(
            "The networks of open_clip need the package open_clip_torch: run "
            "`pip install 'neurovis[clip]'`."
        ) from error


def published_config(name: str) -> tuple[str, dict[str, Any]]:
    """Look a model up.

    Parameters
    ----------
    name : str
        ``"NAME"`` or ``"NAME.TAG"``.

    Returns
    -------
    model : str
        Its name without the tag.
    config : dict
        What is published of the weights with that tag; empty without a tag.

    Raises
    ------
    ValueError
        If the model or its tag is unknown.
    MissingDependencyError
        If open_clip is not installed.
    """
    open_clip = import_open_clip()
    model, _, tag = name.partition(".")
    known = open_clip.list_models()
    if model not in known:
        hint = suggest(model, known)
        raise ValueError(f"`name` must be a model of open_clip; got {model!r}.{hint}")
    if not tag:
        return model, {}
    tags = open_clip.list_pretrained_tags_by_model(model)
    check_option(f"weights of open_clip's {model}", tag, tags)
    return model, dict(open_clip.pretrained.get_pretrained_cfg(model, tag))


def create_open_clip(name: str) -> nn.Module:
    """Build both towers of a model, with weights from torch's default generator.

    Parameters
    ----------
    name : str
        ``"NAME"`` or ``"NAME.TAG"``; the tag tells the activation.

    Returns
    -------
    torch.nn.Module
        The model.

    Raises
    ------
    ValueError
        If the model or its tag is unknown.
    MissingDependencyError
        If a package is missing.
    """
    open_clip = import_open_clip()
    model, config = published_config(name)
    try:
        with warnings.catch_warnings(), _quiet_root_logger():
            warnings.simplefilter("ignore")  # advice on weights that are not loaded
            built: nn.Module = open_clip.create_model(
                model,
                pretrained=None,
                pretrained_text=False,  # or that of some models is downloaded
                force_quick_gelu=bool(config.get("quick_gelu")),
            )
    except RuntimeError as error:
        if "pip install transformers" not in str(error):
            raise
        raise MissingDependencyError(
            f"open_clip:{name} comes with a text tower of the package transformers: "
            "run `pip install 'neurovis[generate]'`, or take another network."
        ) from error
    return built


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Silence the root logger, to which open_clip says that no weights are loaded."""
    root = logging.getLogger()

    def refuse(record: logging.LogRecord) -> bool:
        return False

    root.addFilter(refuse)
    try:
        yield
    finally:
        root.removeFilter(refuse)
