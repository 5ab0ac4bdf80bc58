"""Folders of diffusers and transformers: found on disk or in the hub's cache, and read.

Weights are read from safetensors only.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from neurovis.adapters.weights import downloads_are_off
from neurovis.core.errors import DataCorruptError, MissingDependencyError
from neurovis.core.files import read_json
from neurovis.core.rng import own_torch_stream
from neurovis.core.tensors import check_no_nan

logger = logging.getLogger(__name__)

_ERRORS = (
    SafetensorError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def loader_errors() -> tuple[type[Exception], ...]:
    """Return what loaders of diffusers and transformers raise on files that do not fit.

    Returns
    -------
    tuple of type
        Errors to catch.
    """
    # Slow to import, and needed here only.
    from huggingface_hub import errors

    strict = getattr(errors, "StrictDataclassError", None)
    return _ERRORS if strict is None else (*_ERRORS, strict)


def import_generate(package: str, what: str) -> Any:
    """Import a package of the extra "generate".

    Parameters
    ----------
    package : str
        Its name.
    what : str
        What needs it, in the plural, for the message.

    Returns
    -------
    module
        The package.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    # Slow to import, and optional.
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f'{what} need {package}: pip install "neurovis[generate]".'
        ) from error


def is_hub_name(source: str | Path) -> bool:
    """Tell whether a source can be a name on the hub.

    Parameters
    ----------
    source : str or Path
        What the user wrote.

    Returns
    -------
    bool
        True for texts such as "owner/name".
    """
    return isinstance(source, str) and _HUB_NAME.fullmatch(source) is not None


@contextmanager
def hub_offline(off: bool = True) -> Iterator[None]:
    """Keep huggingface_hub, and what is built on it, off the network in the block.

    Its own ``local_files_only=True`` does not: version 2 asks the hub which programs
    there are, and it does not reach parts of a model that lie in other repositories.

    Parameters
    ----------
    off : bool, default True
        False changes nothing.

    Yields
    ------
    None
        Nothing.
    """
    if not off:
        yield
        return
    # It reads its variables only when it is imported.
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def find_hub_folder(
    name: str,
    wanted: Sequence[str],
    layout: str,
    *,
    what: str,
    local_files_only: bool = True,
) -> Path:
    """Return the folder of a model in the cache of the Hugging Face hub.

    Parameters
    ----------
    name : str
        "owner/name".
    wanted : sequence of str
        Patterns of the files that are needed: models of the hub may hold variants.
    layout : str
        What files there must be, for the message.
    what : str
        What needs the model, in the plural, for the message.
    local_files_only : bool, default True
        Do not download; nor where ``NEUROVIS_OFFLINE=1`` or ``HF_HUB_OFFLINE=1``
        forbids it.

    Returns
    -------
    Path
        The folder; it may lack files.

    Raises
    ------
    FileNotFoundError
        If the model is not there and cannot be downloaded; the message tells how to
        get it.
    MissingDependencyError
        If huggingface_hub is not installed.
    """
    hub = import_generate("huggingface_hub", what)
    offline = local_files_only or downloads_are_off()
    try:
        found = hub.snapshot_download(
            name, local_files_only=offline, allow_patterns=list(wanted)
        )
    except (OSError, ValueError) as error:
        # An older download may lack files that are not needed.
        if partial := getattr(error, "snapshot_path", None):
            return Path(partial)
        reason = (
            "downloads are off (local_files_only=True, or NEUROVIS_OFFLINE or "
            "HF_HUB_OFFLINE is set)"
        )
        if not offline:
            reason = f"the download failed ({_first_line(error)})"
        patterns = " ".join(f"--include '{pattern}'" for pattern in wanted)
        raise FileNotFoundError(
            f"There is no folder {name}, no model {name!r} in the cache "
            f"({hub.constants.HF_HUB_CACHE}), and {reason}. On a machine with internet "
            f"access run\n  hf download {name} --local-dir FOLDER {patterns}"
            "\n(`huggingface-cli download` in older versions) and give the folder.\n"
            f"{layout}"
        ) from error
    return Path(found)


def describe(path: Path) -> dict[str, Any]:
    """Return what a file of JSON tells.

    Parameters
    ----------
    path : Path
        Where it is.

    Returns
    -------
    dict
        Nothing where it is missing.

    Raises
    ------
    DataCorruptError
        If it is damaged, or holds something else.
    """
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise DataCorruptError(f"{path} holds no description. Get it again.")
    return found


def weights_variant(folder: Path, stem: str) -> str | None:
    """Return which variant of the weights is there.

    Parameters
    ----------
    folder : Path
        Where to look.
    stem : str
        What their files are called: "model" or "diffusion_pytorch_model".

    Returns
    -------
    str or None
        "" for the plain ones, which come first, "fp16", or None.
    """
    for variant in ("", "fp16"):
        dotted = f".{variant}" if variant else ""
        whole = f"{stem}{dotted}.safetensors"
        parts = f"{stem}.safetensors.index{dotted}.json"
        if (folder / whole).is_file() or (folder / parts).is_file():
            return variant
    return None


def load_pretrained(network: Any, folder: Path, stem: str) -> Any:
    """Build a network of diffusers or transformers and fill it from its folder.

    Parameters
    ----------
    network : type
        Its class.
    folder : Path
        Where ``config.json`` and the weights are.
    stem : str
        What the files of the weights are called, see `weights_variant`.

    Returns
    -------
    torch.nn.Module
        As the folder tells it.

    Raises
    ------
    DataCorruptError
        If files are damaged, weights do not fit their description, or hold NaN.
    """
    try:
        # What it draws is replaced; the caller's generator must not notice.
        with own_torch_stream(0, "not used"):
            module, told = network.from_pretrained(
                folder,
                variant=weights_variant(folder, stem) or None,
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=find_spec("accelerate") is not None,
                output_loading_info=True,
            )
    except loader_errors() as error:
        raise unfit(folder, f"a {network.__name__}", error) from error
    # They would have random weights.
    absent = sorted({*told["missing_keys"], *map(str, told["mismatched_keys"])})
    if absent:
        raise DataCorruptError(
            f"The weights in {folder} do not fit their description: {len(absent)} are "
            f"missing or of another shape ({', '.join(absent[:4])}). Get the folder "
            "again."
        )
    if extra := told["unexpected_keys"]:
        logger.warning("%s holds %d weights that are not used", folder, len(extra))
    check_no_nan(module.state_dict(), str(folder))
    return module


def unfit(folder: Path, kind: str, error: Exception) -> DataCorruptError:
    """Return the error for files that a loader cannot read.

    Parameters
    ----------
    folder : Path
        Where they are.
    kind : str
        What they should be, with its article.
    error : Exception
        What the loader raised.

    Returns
    -------
    DataCorruptError
        To be raised.
    """
    return DataCorruptError(
        f"{folder} cannot be read as {kind} ({_first_line(error)}). It is damaged or "
        "of another kind: get it again."
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0]
