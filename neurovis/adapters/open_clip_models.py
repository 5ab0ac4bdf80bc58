"""Models of open_clip: built without a download, tower by tower or whole."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from neurovis.adapters.hub_folders import hub_offline
from neurovis.adapters.weights import downloads_are_off
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
    FileNotFoundError
        If its text tower is described on the Hugging Face hub only, and the
        description is neither in the cache nor can be downloaded.
    MissingDependencyError
        If a package is missing.
    """
    open_clip = import_open_clip()
    model, config = published_config(name)
    try:
        with (
            warnings.catch_warnings(),
            _quiet_root_logger(),
            hub_offline(downloads_are_off()),
        ):
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
    except OSError as error:
        source = open_clip.get_model_config(model)["text_cfg"].get("hf_model_name")
        raise FileNotFoundError(
            f"open_clip:{name} has the text tower of {source}, which is described on "
            "the Hugging Face hub and is not in the cache. Download it once where "
            "there is a network, or take another network, such as open_clip:ViT-B-32."
        ) from error
    return built


def open_clip_tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    """Return what turns texts into the input of a text tower.

    Parameters
    ----------
    name : str
        ``"NAME"`` or ``"NAME.TAG"``.

    Returns
    -------
    callable
        From n texts to tokens, int64 (n, n_tokens); texts that are too long are cut.

    Raises
    ------
    ValueError
        If the model or its tag is unknown.
    FileNotFoundError
        If its tokenizer is one of the Hugging Face hub that is not in the cache.
    MissingDependencyError
        If a package is missing.
    """
    open_clip = import_open_clip()
    model, _ = published_config(name)
    told = open_clip.get_model_config(model)["text_cfg"]
    source = told.get("hf_tokenizer_name")
    try:
        # Not from the hub without being asked.
        with _quiet_root_logger(), hub_offline():
            options = {"local_files_only": True} if source else {}
            found: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(
                model, **options
            )
    except ImportError as error:
        raise MissingDependencyError(
            f"open_clip:{name} comes with a tokenizer of the package transformers: "
            "run `pip install 'neurovis[generate]'`, or take another network."
        ) from error
    except OSError as error:
        raise FileNotFoundError(
            f"open_clip:{name} needs the tokenizer {source}, which is not in the cache "
            f"of the Hugging Face hub. Get it once with `hf download {source}`, or "
            "take another network, such as open_clip:ViT-B-32."
        ) from error
    return found


def match_open_clip(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return weights of both towers as this version of open_clip has them.

    Parameters
    ----------
    state : mapping of str to Tensor
        What was read from a file.
    model : torch.nn.Module
        Both towers.

    Returns
    -------
    dict of str to Tensor
        Scale and bias of logits in the shape of the model, and without a buffer that
        older text towers had; all else as it was.
    """
    needed = model.state_dict()
    dropped = {"text.transformer.embeddings.position_ids"} - set(needed)
    found = {name: value for name, value in state.items() if name not in dropped}
    for name in ("logit_scale", "logit_bias"):
        if name in found and name in needed and found[name].numel() == 1:
            found[name] = found[name].reshape(needed[name].shape)
    return found


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Silence the root logger, to which open_clip tells what it does."""
    root = logging.getLogger()

    def refuse(record: logging.LogRecord) -> bool:
        return False

    root.addFilter(refuse)
    try:
        yield
    finally:
        root.removeFilter(refuse)
