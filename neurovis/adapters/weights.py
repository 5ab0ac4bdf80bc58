"""Weights: read without running foreign code, checked, and found by name.

This is the only module that may open files in Python's own object format, and it
never lets them run code.
"""

import http.client
import os
import pickle
import pickletools
import re
import struct
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from neurovis.core.checks import check_option, check_path, suggest
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    atomic_path,
    check_writable_folder,
    sha256_file,
    write_bytes,
)
from neurovis.core.log import progress
from neurovis.core.tensors import check_no_nan

VGG16_LAYERS = tuple(
    f"block{block}_conv{conv}"
    for block, n_convs in enumerate((2, 2, 3, 3, 3), start=1)
    for conv in range(1, n_convs + 1)
)
"""Keras names of the 13 convolutions of VGG16, in order."""

LEGACY_MARK = 0x1950A86A20F9469CFC6C
"""First object in a checkpoint that torch wrote before version 1.6."""

_WEB_PAGE = (b"<!doctype", b"<html")

# What torch's loader is known to raise on damaged bytes, or to refuse them.
_LOADER_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    zlib.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


# ------------------------------------------------------------------- reading


def read_state_dict(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read named tensors from a checkpoint, on the CPU, without running its code.

    Parameters
    ----------
    path : str or Path
        ``.safetensors`` (preferred), or ``.pt`` / ``.pth`` with plain tensors,
        either by themselves or under the key "state_dict".
    sha256 : str, optional
        Hash that the file must have: 64 hexadecimal digits, or the first ones.

    Returns
    -------
    dict of str to Tensor
        Tensors by name, with the dtype of the file.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is truncated or damaged, has another hash, or holds NaN.
    ValueError
        If the suffix is another one, the file would run code when it is opened, or
        holds something else than named tensors.

    Notes
    -----
    Changed bytes are noticed by the checksums of ``.pt`` files (torch 1.6 or
    later). Safetensors has none: give `sha256`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "small.safetensors"
    >>> write_bytes(path, save({"conv.weight": torch.ones(2)}))
    >>> read_state_dict(path)
    {'conv.weight': tensor([1., 1.])}
    """
    path = check_path("path", path)
    check_option(
        "suffix of the checkpoint", path.suffix, (".safetensors", ".pt", ".pth")
    )
    if sha256 is not None:
        _check_hash(path, _hash_prefix(sha256), "Delete it and get it again.")
    if path.suffix == ".safetensors":
        try:
            named = load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, error) from error
    else:
        named = _named_tensors(path, _load_torch(path))
    check_no_nan(named, str(path))
    return named


def _named_tensors(path: Path, state: object) -> dict[str, Tensor]:
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise ValueError(
            f"{path} must hold tensors by name; it holds a {type(state).__name__}."
        )
    strange = [n for n, v in state.items() if not isinstance(v, Tensor)]
    if strange:
        raise ValueError(
            f"{path} must hold tensors by name; {len(strange)} of {len(state)} entries "
            f"are something else, such as {strange[0]!r} "
            f"({type(state[strange[0]]).__name__}). Save the state dict by itself, as "
            "safetensors."
        )
    return {str(name): tensor.detach() for name, tensor in state.items()}


def _load_torch(path: Path) -> object:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch does not verify checksums
                if broken := archive.testzip():
                    raise DataCorruptError(f"the checksum of {broken} differs")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on less safe ways to load it
            return torch.load(path, map_location="cpu", weights_only=True)
    except _LOADER_ERRORS as error:
        # Intact bytes that the loader will not take hold more than tensors.
        refused = isinstance(error, pickle.UnpicklingError) or "Script" in str(error)
        if not refused or _ends_early(path):
            raise _damaged(path, error) from error
        raise ValueError(
            f"{path} holds Python objects that would run code when opened, so it is "
            "refused. If you trust it, convert it once in the environment that wrote "
            "it: safetensors.torch.save_file(model.state_dict(), 'new.safetensors')."
        ) from error


def _ends_early(path: Path) -> bool:
    """Whether the objects of a file that is no zip archive are cut."""
    if zipfile.is_zipfile(path):
        return False
    try:
        with path.open("rb") as file:
            first = [argument for _, argument, _ in pickletools.genops(file)]
            # Before 1.6 torch wrote a mark, a version, a system and the tensors.
            for _ in range(3 if LEGACY_MARK in first else 0):
                list(pickletools.genops(file))
    except (ValueError, IndexError):
        return True
    return False


def _damaged(path: Path, error: BaseException) -> DataCorruptError:
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        what = "is a pointer of Git LFS, not the weights: run `git lfs pull` there"
    elif head.startswith(_WEB_PAGE):
        what = "is a web page, perhaps a login: get it again, in a browser"
    else:
        what = "is truncated or damaged: delete it and get it again"
    reason = re.split(r"\. |\n", str(error))[0]
    return DataCorruptError(
        f"{path} is not a readable checkpoint ({type(error).__name__}: {reason}). It "
        f"{what}."
    )


def _hash_prefix(sha256: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(
            f"A SHA-256 must have 8 to 64 hexadecimal digits; got {sha256!r}."
        )
    return sha256.lower()


def _check_hash(path: Path, expected: str, advice: str) -> None:
    actual = sha256_file(path)
    if not actual.startswith(expected):
        raise DataCorruptError(
            f"{path} has the SHA-256 {actual}, but {expected} is expected. {advice}"
        )


def check_state_dict(
    state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], source: str
) -> None:
    """Raise unless names and shapes are exactly the expected ones.

    Parameters
    ----------
    state : mapping of str to Tensor
        What was read.
    expected : mapping of str to tuple of int
        Shape of every tensor that is needed.
    source : str
        Where `state` came from, for the message.

    Raises
    ------
    ValueError
        If names are missing or unexpected, or shapes differ; all are counted and
        the first few of each kind are named.

    Examples
    --------
    >>> check_state_dict({"bias": torch.zeros(3)}, {"bias": (3,)}, "example")
    """
    problems = {
        "missing": [n for n in expected if n not in state],
        "unexpected": [n for n in state if n not in expected],
        "of another shape": [
            f"{n} {tuple(state[n].shape)} instead of {tuple(shape)}"
            for n, shape in expected.items()
            if n in state and tuple(state[n].shape) != tuple(shape)
        ],
    }
    parts = []
    for kind, names in problems.items():
        if names:
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            parts.append(f"{len(names)} {kind} ({shown})")
    if parts:
        raise ValueError(
            f"The weights from {source} do not fit: {'; '.join(parts)}; "
            f"{len(expected)} tensors are needed. They belong to another architecture, "
            "or their names carry a prefix such as 'module.' that must be removed."
        )


# -------------------------------------------------------------- getting files


def downloads_are_off() -> bool:
    """Tell whether the environment forbids downloads.

    Returns
    -------
    bool
        True if ``NEUROVIS_OFFLINE`` or ``HF_HUB_OFFLINE`` is 1, true, yes or on.
    """
    values = (os.environ.get(n, "") for n in ("NEUROVIS_OFFLINE", "HF_HUB_OFFLINE"))
    return any(v.lower() in ("1", "true", "yes", "on") for v in values)


def hub_file(url: str, filename: str, sha256_prefix: str, purpose: str) -> Path:
    """Return a file of torch's hub folder; download it when it is absent.

    Parameters
    ----------
    url : str
        Where it is published, http or https.
    filename : str
        Its name in ``torch.hub.get_dir()/checkpoints``.
    sha256_prefix : str
        First hexadecimal digits of its SHA-256, 8 or more.
    purpose : str
        What it is for, for the messages.

    Returns
    -------
    Path
        The file, whole and with the right hash.

    Raises
    ------
    FileNotFoundError
        If it is absent and cannot be downloaded, or ``HF_HUB_OFFLINE=1`` or
        ``NEUROVIS_OFFLINE=1`` forbids it; the message says which file to put where.
    DataCorruptError
        If the file, or what the server sent, has another hash.
    ValueError
        If `url` is not a web address, `filename` is a path, or the hash is too short.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"`url` must start with https:// or http://; got {url!r}.")
    if Path(filename).name != filename:
        raise ValueError(
            f"`filename` must be a name without folders; got {filename!r}."
        )
    expected = _hash_prefix(sha256_prefix)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / filename
    if path.is_file():
        _check_hash(path, expected, f"Delete it; it is published at {url}.")
        return path

    def absent(reason: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"{purpose} needs the file {filename}, which is not in {folder}, and "
            f"{reason}. Download {url} on a computer with a network and put it into "
            f"that folder under that name; its SHA-256 starts with {expected}."
        )

    if downloads_are_off():
        raise absent("downloads are off (HF_HUB_OFFLINE or NEUROVIS_OFFLINE is set)")
    check_writable_folder(folder)
    with atomic_path(path) as part:
        try:
            with part.open("wb") as file:
                for block in _download(url, filename):
                    file.write(block)
        except ConnectionError as error:
            raise absent(f"the download failed: {error}") from error
        _check_hash(part, expected, f"The server sent another file: {url}.")
    return path


def _download(url: str, filename: str) -> Iterator[bytes]:
    """Yield the body; anything but a whole file is a ConnectionError."""
    request = urllib.request.Request(url, headers={"User-Agent": "neurovis"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            total = int(response.headers.get("Content-Length", 0))
            received = 0
            with progress(total, filename, unit="B") as bar:
                while block := response.read(1 << 20):
                    head = block[:64].lstrip().lower()
                    if not received and head.startswith(_WEB_PAGE):
                        raise ConnectionError("the server sent a web page")
                    received += len(block)
                    bar.update(len(block))
                    yield block
            if received < total or not received:
                raise ConnectionError(f"cut after {received} of {total} bytes")
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it carries the answer of the server
        raise ConnectionError(str(error) or type(error).__name__) from error


def timm_state_dict(name: str) -> dict[str, Tensor]:
    """Return the published weights of a timm model.

    The name is resolved by timm; the file comes from the Hugging Face cache, or is
    downloaded into it.

    Parameters
    ----------
    name : str
        Model and weights, such as "vgg16.tv_in1k".

    Returns
    -------
    dict of str to Tensor
        Tensors on the CPU, named as in the published file.

    Raises
    ------
    ValueError
        If timm does not know the name, or no weights on the hub for it.
    FileNotFoundError
        If the file is absent and cannot be downloaded, or ``HF_HUB_OFFLINE=1`` or
        ``NEUROVIS_OFFLINE=1`` forbids it.
    DataCorruptError
        If the file is truncated or damaged.
    """
    # Slow to import, and needed here only.
    import timm
    from huggingface_hub import constants, hf_hub_download, hf_hub_url
    from huggingface_hub import try_to_load_from_cache as find_in_cache
    from huggingface_hub.errors import EntryNotFoundError

    config = timm.get_pretrained_cfg(name) if timm.is_model_pretrained(name) else None
    if config is None or not config.hf_hub_id:
        hint = suggest(name, timm.list_pretrained())
        raise ValueError(f"timm has no weights on the hub for {name!r}.{hint}")
    repository, _, revision = config.hf_hub_id.partition("@")
    filename = config.hf_hub_filename or "model.safetensors"
    where = repository, filename
    # What is here is not asked for: the hub's own download would do so always.
    path = find_in_cache(*where, revision=revision or None)
    try:
        if not isinstance(path, str):
            if downloads_are_off():
                raise FileNotFoundError
            path = hf_hub_download(*where, revision=revision or None)
    except (OSError, EntryNotFoundError) as error:
        reason = (
            "downloads are off (HF_HUB_OFFLINE or NEUROVIS_OFFLINE is set)"
            if downloads_are_off()
            else f"the download failed: {error}"
        )
        raise FileNotFoundError(
            f"The timm weights {name!r} need the file {filename} of {repository}, "
            f"which is not in {constants.HF_HUB_CACHE}, and {reason}. With a network, "
            f"run `hf download {repository} {filename}`; or download "
            f"{hf_hub_url(repository, filename)} and give the path of the file."
        ) from error
    return read_state_dict(path)


# ----------------------------------------------------------------- converting


def convert_keras_h5(source: str | Path, destination: str | Path) -> None:
    """Convert Keras VGG16 weights to safetensors.

    The 13 convolutions are looked up by the name of their group, at the top of the
    file or under ``model_weights``; inside a group the one four-dimensional array
    is the kernel and the one vector is the bias, whatever their names. Kernels
    are turned from (height, width, in, out) to (out, in, height, width). Dense
    layers are left out.

    Parameters
    ----------
    source : str or Path
        HDF5 file of Keras 1 or 2.
    destination : str or Path
        ``.safetensors`` file to write: ``block1_conv1.weight``,
        ``block1_conv1.bias``, and so on, float32.

    Raises
    ------
    FileNotFoundError
        If `source` is absent.
    DataCorruptError
        If `source` is truncated or not HDF5.
    ValueError
        If a layer is missing or has other arrays, or the suffix of `destination` is
        another one.

    Notes
    -----
    The metadata name the format "keras-vgg16-caffe": these weights expect the
    channel order blue, green, red, in 0..255 minus (103.939, 116.779, 123.68).
    Equal sources give equal bytes.
    """
    source = check_path("source", source)
    destination = Path(destination)
    check_option("suffix of destination", destination.suffix, (".safetensors",))
    state: dict[str, Tensor] = {}
    try:
        with h5py.File(source, "r") as file:
            layers = file.get("model_weights", file)
            for name in VGG16_LAYERS:
                state |= _read_keras_layer(layers, name, source)
    except (OSError, RuntimeError) as error:
        raise _damaged(source, error) from error
    channels = 3
    for name in VGG16_LAYERS:
        kernel, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if kernel.shape[1:] != (channels, 3, 3) or bias.shape != kernel.shape[:1]:
            shape = tuple(kernel.permute(2, 3, 1, 0).shape)
            raise ValueError(
                f"{source}: {name} must have a kernel of shape (3, 3, {channels}, n) "
                f"and n biases; got a kernel of shape {shape} and {len(bias)} biases."
            )
        channels = len(bias)
    # One entry only: safetensors writes several in random order.
    write_bytes(destination, save(state, {"format": "keras-vgg16-caffe"}))


def _read_keras_layer(layers: h5py.Group, name: str, source: Path) -> dict[str, Tensor]:
    arrays: dict[int, list[Tensor]] = {}

    def collect(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            tensor = torch.from_numpy(item[()]).float()
            arrays.setdefault(tensor.ndim, []).append(tensor)

    if isinstance(layers.get(name), h5py.Group):
        layers[name].visititems(collect)
    if {ndim: len(found) for ndim, found in arrays.items()} != {4: 1, 1: 1}:
        found = {n: [tuple(t.shape) for t in arrays[n]] for n in sorted(arrays)}
        raise ValueError(
            f"{source} must hold one kernel and one bias of {name}; found there, by "
            f"number of dimensions: {found}. Is it a VGG16 file of Keras 1 or 2?"
        )
    kernel = arrays[4][0].permute(3, 2, 0, 1).contiguous()
    return {f"{name}.weight": kernel, f"{name}.bias": arrays[1][0]}
