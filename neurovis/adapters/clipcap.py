"""Checkpoints of CLIPCap, turned into the folder of a captioner.

References
----------
Mokady, Hertz and Bermano (2021). ClipCap: CLIP prefix for image captioning.
arXiv:2111.09734.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurovis.adapters.captioner import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    Captioner,
    save_captioner,
)
from neurovis.adapters.captioner_networks import (
    PrefixMapper,
    build_language_model,
    find_stop_token,
    read_tokenizer,
)
from neurovis.adapters.hub_folders import describe, find_hub_folder, is_hub_name
from neurovis.adapters.weights import check_state_dict, read_state_dict
from neurovis.core.files import check_writable_folder
from neurovis.core.rng import own_torch_stream

NETWORK = "OpenAI CLIP ViT-B/32"
"""What the published checkpoints with 512 features were trained on."""

_LAYOUT = f"""\
The language model of a checkpoint is told by a folder of
  {TOKENIZER_FILE}  its words
  {CONFIG_FILE}     its number of heads (not needed for the smallest GPT-2)"""

_MAPPER, _LANGUAGE = "clip_project.", "gpt."
_MLP = {"model.0": "layers.0", "model.2": "layers.2"}
_LINEAR = {"weight": "layers.0.weight", "bias": "layers.0.bias"}
# Masks that older versions of transformers kept beside the weights.
_MASK = re.compile(r"transformer\.h\.\d+\.attn\.(masked_)?bias")
_SMALL_GPT2 = {"n_embd": 768, "n_head": 12}


def convert_clipcap(
    source: str | Path,
    folder: str | Path,
    *,
    language_model: str | Path,
    name: str = "clipcap",
    network: str = NETWORK,
    sha256: str | None = None,
    local_files_only: bool = True,
) -> Captioner:
    """Convert a checkpoint of CLIPCap.

    Parameters
    ----------
    source : str or Path
        ``.pt`` file of tensors by name: `clip_project`, a mapper with one hidden layer
        or none, and `gpt`, a GPT-2.
    folder : str or Path
        Where the captioner is written (`neurovis.adapters.captioner.LAYOUT`).
    language_model : str or Path
        Folder with ``tokenizer.json`` and ``config.json`` of the GPT-2 that was
        trained further, or its name on the Hugging Face hub, "owner/name".
    name : str, default "clipcap"
        Name in tables.
    network : str, default `NETWORK`
        Whose embeddings it was trained on.
    sha256 : str, optional
        Hash that `source` must have: 64 hexadecimal digits, or the first ones.
    local_files_only : bool, default True
        Do not download `language_model`.

    Returns
    -------
    Captioner
        What was written, on the CPU.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    DataCorruptError
        If a file is damaged or has another hash.
    ValueError
        If the checkpoint is of another kind, holds something else than tensors, or does
        not fit the language model.
    MissingDependencyError
        If transformers is not installed.

    Notes
    -----
    Captions need embeddings as the network gives them, not of length 1. The checkpoint
    does not tell the weights of that network, so that only the number of values can be
    compared with embeddings.
    """
    state = read_state_dict(source, sha256)
    path = Path(source)
    words = _part(state, _LANGUAGE, path)
    words = {n: v for n, v in words.items() if not _MASK.fullmatch(n)}
    mapper = _mapper(_part(state, _MAPPER, path), words, path)
    told = _find_language_model(language_model, local_files_only)
    if not (told / TOKENIZER_FILE).is_file():
        raise FileNotFoundError(f"{told} has no {TOKENIZER_FILE}.\n{_LAYOUT}")
    tokenizer = read_tokenizer(told / TOKENIZER_FILE)
    config = _config(words, describe(told / CONFIG_FILE), told, path)
    captioner = Captioner(
        name=name,
        mapper=mapper,
        language_model=build_language_model(config, words, path),
        tokenizer=tokenizer,
        stop_token=find_stop_token(tokenizer),
        embedding={"network": network, "n_features": mapper.n_features},
        notes=(f"{name} was converted from the CLIPCap checkpoint {path.name}.",),
    )
    save_captioner(check_writable_folder(folder), captioner)
    return captioner


def _part(state: Mapping[str, Tensor], start: str, path: Path) -> dict[str, Tensor]:
    found = {n.removeprefix(start): v for n, v in state.items() if n.startswith(start)}
    if not found:
        raise ValueError(
            f"{path} is no checkpoint of CLIPCap: none of its {len(state)} tensors is "
            f"called {start}... (the first is {next(iter(state), None)!r})."
        )
    return found


def _mapper(
    state: Mapping[str, Tensor], words: Mapping[str, Tensor], path: Path
) -> PrefixMapper:
    if any(name.startswith(("transformer.", "prefix_const")) for name in state):
        raise ValueError(
            f"{path} has a transformer as its mapper, which is not supported: take a "
            "checkpoint with a multilayer perceptron ('MLP' at its training)."
        )
    linear = "weight" in state
    named = {
        _LINEAR.get(name, name) if linear else _hidden_name(name): value
        for name, value in state.items()
    }
    last = named.get("layers.0.weight" if linear else "layers.2.weight")
    first = named.get("layers.0.weight")
    if first is None or last is None or first.ndim != 2 or last.ndim != 2:
        raise ValueError(
            f"{path} has an unknown mapper ({', '.join(sorted(state)[:4])}): "
            "clip_project.model.0 and .2, or clip_project.weight, are supported."
        )
    n_language = int(_shape(words, "transformer.wte.weight", path)[1])
    length, rest = divmod(len(last), n_language)
    if rest or not length:
        raise ValueError(
            f"The mapper of {path} gives {len(last)} values, which are no whole number "
            f"of word vectors of its language model ({n_language} values each)."
        )
    hidden = 0 if linear else len(first)
    # What it draws is replaced; the caller's generator must not notice.
    with own_torch_stream(0, "not used"):
        mapper = PrefixMapper(first.shape[1], n_language, length, n_hidden=hidden)
    expected = {n: tuple(v.shape) for n, v in mapper.state_dict().items()}
    check_state_dict(named, expected, str(path))
    mapper.load_state_dict(named)
    return mapper.requires_grad_(False)


def _hidden_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{_MLP.get(layer, layer)}.{kind}"


def _shape(words: Mapping[str, Tensor], name: str, path: Path) -> torch.Size:
    if name not in words or words[name].ndim != 2:
        raise ValueError(
            f"{path} holds no whole GPT-2: gpt.{name} is missing or no matrix."
        )
    return words[name].shape


def _config(
    words: Mapping[str, Tensor], told: Mapping[str, Any], folder: Path, path: Path
) -> dict[str, Any]:
    """Return the description of the language model: what is told, checked by shapes."""
    n_tokens, n_embd = _shape(words, "transformer.wte.weight", path)
    layers = {int(n.split(".")[2]) for n in words if n.startswith("transformer.h.")}
    shown = {
        "vocab_size": n_tokens,
        "n_embd": n_embd,
        "n_positions": _shape(words, "transformer.wpe.weight", path)[0],
        "n_layer": len(layers),
    }
    if not told:
        if n_embd != _SMALL_GPT2["n_embd"]:
            raise FileNotFoundError(
                f"{folder} has no {CONFIG_FILE}, and the number of heads of a language "
                f"model with {n_embd} features cannot be told from {path}.\n{_LAYOUT}"
            )
        told = {"model_type": "gpt2", **_SMALL_GPT2}
    wrong = [
        f"{name} {told[name]} instead of {size}"
        for name, size in shown.items()
        if told.get(name, size) != size
    ]
    if wrong:
        raise ValueError(
            f"{folder} tells another language model than that of {path}: "
            f"{', '.join(wrong)}. Give the one that was trained further."
        )
    last, first = words.get("lm_head.weight"), words["transformer.wte.weight"]
    tied = last is None or torch.equal(last, first)
    return {**told, **shown, "tie_word_embeddings": tied}


def _find_language_model(source: str | Path, local_files_only: bool) -> Path:
    if (path := Path(source)).is_dir():
        return path
    if not is_hub_name(source):
        raise FileNotFoundError(
            f"`language_model` must be an existing folder or a name on the hub such as "
            f"'openai-community/gpt2'; {path} is not there.\n{_LAYOUT}"
        )
    return find_hub_folder(
        str(source),
        (CONFIG_FILE, TOKENIZER_FILE),
        _LAYOUT,
        what="Captioners",
        local_files_only=local_files_only,
    )
