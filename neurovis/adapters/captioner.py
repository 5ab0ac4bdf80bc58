"""Captions from embeddings: a language model that goes on from a prefix.

An embedding becomes a few vectors that the language model takes for words it has read,
and what it says next is the caption. Checkpoints of CLIPCap are converted by
`neurovis.adapters.clipcap`.

References
----------
Mokady, Hertz and Bermano (2021). ClipCap: CLIP prefix for image captioning.
arXiv:2111.09734.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.captioner_networks import (
    PrefixedLanguageModel,
    PrefixMapper,
    build_language_model,
    find_stop_token,
    mean_log_probs,
    read_mapper,
    read_tokenizer,
)
from neurovis.adapters.hub_folders import describe, find_hub_folder, is_hub_name
from neurovis.adapters.weights import read_state_dict
from neurovis.core.array_files import write_arrays
from neurovis.core.checks import check_array, check_whole
from neurovis.core.device import exact_float32, in_batches, resolve
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    corrupt,
    plain,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)
from neurovis.core.tensors import hash_state_dict
from neurovis.core.verified_cards import read_verified_card
from neurovis.generation.beam_search import search_beams

SHIPPED_FOLDER = "sketch_captioner"
"""Captioner that comes with the suite, beside this module."""

SHIPPED_SHA256 = "f5ed61e5e50a50614234396417231bc3fc62fb88fcaef6e88cf8df0704ded197"
"""SHA-256 of its `CARD_FILE`, which holds those of its other files."""

CARD_FILE = "captioner.json"
CONFIG_FILE, MODEL_FILE = "config.json", "model.safetensors"
MAPPER_FILE, TOKENIZER_FILE = "prefix_mapper.safetensors", "tokenizer.json"

LAYOUT = f"""\
A captioner is a folder of
  {CARD_FILE}             what it is, and the hashes of the other files
  {CONFIG_FILE}                the language model, GPT-2, as transformers writes it
  {MODEL_FILE}          its weights
  {TOKENIZER_FILE}             its words, as tokenizers writes them
  {MAPPER_FILE}  from embeddings to the vectors it goes on from"""
"""Files of a captioner."""

COLUMNS = ("caption", "log_prob", "n_tokens", "finished")
"""Columns of tables of captions."""

_FILES = (CONFIG_FILE, MODEL_FILE, MAPPER_FILE, TOKENIZER_FILE)
_VERSION = 1
_MAPPER_SIZES = ("n_features", "n_language", "prefix_length", "n_hidden")

# What changes the answers of GPT-2 and cannot be told from its weights.
_BESIDE_WEIGHTS = (
    *("n_head", "activation_function", "layer_norm_epsilon"),
    *("scale_attn_weights", "scale_attn_by_inverse_layer_idx"),
)


@dataclass(frozen=True, eq=False)
class Captioner:
    """A mapper, a language model and its tokenizer.

    Both networks are put into evaluation mode.

    Parameters
    ----------
    name : str
        Name in tables.
    mapper : PrefixMapper
        From embeddings to prefixes.
    language_model : torch.nn.Module
        ``transformers.GPT2LMHeadModel``.
    tokenizer : tokenizers.Tokenizer
        From tokens to text.
    stop_token : int
        Ends a caption (`find_stop_token`).
    embedding : mapping of str to object, default {}
        What it was trained on, as `neurovis.core.embedding_bank.EmbeddingBank` tells
        it: JSON values, such as `weights_hash`; {} if unknown.
    trained : bool, default True
        False for random weights.
    notes : tuple of str, default ()
        What a reader of captions must know.
    fingerprint : str, default ""
        SHA-256 of all that captions depend on; computed when it is not given.

    Raises
    ------
    TypeError, ValueError
        If the parts do not fit each other.
    """

    name: str
    mapper: PrefixMapper
    language_model: Any
    tokenizer: Any
    stop_token: int
    embedding: Mapping[str, Any] = field(default_factory=dict)
    trained: bool = True
    notes: tuple[str, ...] = ()
    fingerprint: str = ""

    def __post_init__(self) -> None:
        config = self.language_model.config
        if self.mapper.n_language != config.n_embd:
            raise ValueError(
                f"The mapper of {self.name} gives vectors of {self.mapper.n_language} "
                f"values, but the language model reads {config.n_embd}: they belong to "
                "different captioners."
            )
        if self.prefix_length >= config.n_positions:
            raise ValueError(
                f"{self.name} has a prefix of {self.prefix_length} vectors, which "
                f"leaves none of the {config.n_positions} positions of its language "
                "model for words."
            )
        n_needed = 1 + max(self.tokenizer.get_vocab().values(), default=-1)
        if n_needed > config.vocab_size:
            raise ValueError(
                f"The tokenizer of {self.name} has {n_needed} tokens, but the language "
                f"model has rows for {config.vocab_size}: they belong to different "
                "captioners."
            )
        check_whole("stop_token", self.stop_token, low=0, high=n_needed - 1)
        self.mapper.eval()
        self.language_model.eval()
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self._hash())

    def _hash(self) -> str:
        config = self.language_model.config
        return sha256_json(
            {
                "mapper": hash_state_dict(self.mapper.state_dict()),
                "language_model": hash_state_dict(self.language_model.state_dict()),
                "config": {name: getattr(config, name) for name in _BESIDE_WEIGHTS},
                "tokenizer": self.tokenizer.to_str(),
                "stop_token": self.stop_token,
            }
        )

    @property
    def n_features(self) -> int:
        """Values of an embedding."""
        return self.mapper.n_features

    @property
    def prefix_length(self) -> int:
        """Number of vectors that the language model goes on from."""
        return self.mapper.prefix_length

    @property
    def most_tokens(self) -> int:
        """Longest caption that the language model has positions for."""
        return int(self.language_model.config.n_positions) - self.prefix_length

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.mapper.parameters()).device

    def to(self, device: str | torch.device) -> "Captioner":
        """Move the networks, in place.

        Parameters
        ----------
        device : str or torch.device
            Where to.

        Returns
        -------
        Captioner
            Itself.
        """
        self.mapper.to(device)
        self.language_model.to(device)
        return self

    def caption(
        self,
        embeddings: NDArray[Any],
        *,
        beam: int = 5,
        max_tokens: int = 67,
        batch_size: int | Literal["auto"] = "auto",
    ) -> pd.DataFrame:
        """Say what embeddings show.

        Parameters
        ----------
        embeddings : ndarray of float, shape (n, n_features)
            Of the kind that it was trained on, not of length 1.
        beam : int, default 5
            Texts that are kept at every step.
        max_tokens : int, default 67
            Longest caption; `most_tokens` at most.
        batch_size : int or "auto", default "auto"
            Embeddings that are captioned at once, which changes no more than rounding;
            "auto" takes what fits into memory.

        Returns
        -------
        DataFrame
            One row per embedding: `caption`, `log_prob` (mean per token, natural
            logarithm), `n_tokens`, and `finished` (whether a full stop was reached).

        Raises
        ------
        TypeError, ValueError
            If embeddings are missing, of another width or not finite, or a number is
            out of range.
        MemoryError
            If a single embedding does not fit.

        Notes
        -----
        The likeliest text by the mean log-probability of its tokens, full stop
        included, as `neurovis.generation.beam_search.search_beams` finds it. The
        published alternative, the likeliest token out of those that make up .8 of the
        probability, is a beam of 1: the likeliest of all is always among them.
        """
        rows = self._rows(embeddings)
        check_whole("beam", beam, low=1)
        check_whole("max_tokens", max_tokens, low=1)
        if max_tokens > self.most_tokens:
            raise ValueError(
                f"`max_tokens` must be at most {self.most_tokens}: the language model "
                f"of {self.name} has {self.language_model.config.n_positions} "
                f"positions, of which the prefix takes {self.prefix_length}; got "
                f"{max_tokens}."
            )

        def say(part: Any) -> list[tuple[str, float, int, bool]]:
            with torch.inference_mode(), exact_float32():
                prefix = self.mapper(part.to(self.device))
                found = search_beams(
                    PrefixedLanguageModel(self.language_model, prefix),
                    stop_token=self.stop_token,
                    beam=beam,
                    max_tokens=max_tokens,
                )
            texts = [self.tokenizer.decode(list(t)).strip() for t in found.tokens]
            numbers = (found.log_prob, found.n_tokens, found.finished)
            return list(zip(texts, *(n.tolist() for n in numbers), strict=True))

        given: Any = rows  # a tensor of rows is as good as a sequence
        need = self._item_bytes(beam, max_tokens)
        found = in_batches(say, given, batch_size, item_bytes=need, device=self.device)
        return pd.DataFrame(found, columns=list(COLUMNS))

    def score(
        self,
        embeddings: NDArray[Any],
        texts: Sequence[str],
        *,
        batch_size: int | Literal["auto"] = "auto",
    ) -> NDArray[np.float64]:
        """Return how likely given captions are.

        Parameters
        ----------
        embeddings : ndarray of float, shape (n, n_features)
            As for `caption`.
        texts : sequence of str
            One for each. A caption ends at its first full stop (`stop_token`): what
            follows is not counted.
        batch_size : int or "auto", default "auto"
            As for `caption`.

        Returns
        -------
        ndarray of float64, shape (n,)
            Mean log-probability per token, full stop included: that of `caption`, where
            the tokenizer makes the same tokens of a text.

        Raises
        ------
        TypeError, ValueError
            If embeddings are refused as by `caption`, there are more or fewer texts, or
            one is empty or too long.
        MemoryError
            If a single one does not fit.
        """
        rows = self._rows(embeddings)
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("`texts` must be a list of texts, one per embedding.")
        if len(texts) != len(rows):
            raise ValueError(
                f"`texts` must hold one text per embedding; got {len(texts)} texts and "
                f"{len(rows)} embeddings."
            )
        tokens = [self._tokens(text) for text in texts]
        which: Any = range(len(rows))

        def rate(part: Sequence[int]) -> list[float]:
            with torch.inference_mode(), exact_float32():
                prefix = self.mapper(rows[list(part)].to(self.device))
                own = [tokens[i] for i in part]
                return mean_log_probs(self.language_model, prefix, own)

        longest = max(map(len, tokens))
        need = longest * self._item_bytes(1, longest)  # all steps are there at once
        found = in_batches(rate, which, batch_size, item_bytes=need, device=self.device)
        return np.array(found)

    def _rows(self, embeddings: NDArray[Any]) -> Tensor:
        shape = (None, self.n_features)
        rows = check_array("embeddings", embeddings, shape=shape, finite=True)
        if not len(rows):
            raise ValueError("`embeddings` is empty: give at least one row.")
        if not np.issubdtype(rows.dtype, np.floating):
            raise TypeError(f"`embeddings` must be of floats; got {rows.dtype}.")
        return torch.from_numpy(rows.astype(np.float32))

    def _tokens(self, text: str) -> list[int]:
        found = list(self.tokenizer.encode(text, add_special_tokens=False).ids)
        if self.stop_token in found:
            found = found[: found.index(self.stop_token) + 1]
        if not 1 <= len(found) <= self.most_tokens:
            raise ValueError(
                f"A text of `texts` must have 1 to {self.most_tokens} tokens for "
                f"{self.name}; {text!r} has {len(found)}."
            )
        return found

    def _item_bytes(self, beam: int, n_tokens: int) -> int:
        """Return about how much memory one embedding takes."""
        config = self.language_model.config
        n_positions = self.prefix_length + n_tokens
        # Keys and values are there three times while rows are put in order.
        cache = 3 * 2 * config.n_layer * n_positions * config.n_embd
        answers = 4 * config.vocab_size
        return int(4 * beam * (cache + answers))


def save_captioner(folder: str | Path, captioner: Captioner) -> None:
    """Write a captioner as plain files (`LAYOUT`); equal ones give equal bytes.

    The language model can be read with the ``from_pretrained`` of transformers too.

    Parameters
    ----------
    folder : str or Path
        Where; made when missing. A captioner that is there is replaced.
    captioner : Captioner
        What to write.

    Raises
    ------
    TypeError, ValueError
        If what it tells has no JSON form.
    OSError
        If the folder cannot be written.
    """
    folder, mapper = Path(folder), captioner.mapper
    card: dict[str, Any] = plain(
        {
            "version": _VERSION,
            "name": captioner.name,
            "stop_token": captioner.stop_token,
            "mapper": {name: getattr(mapper, name) for name in _MAPPER_SIZES},
            "embedding": dict(captioner.embedding),
            "trained": captioner.trained,
            "notes": captioner.notes,
        }
    )
    config = captioner.language_model.config
    words = captioner.language_model.state_dict()
    if config.tie_word_embeddings:
        del words["lm_head.weight"]
    # Without it the folder holds no captioner, so that old and new files never mix.
    (folder / CARD_FILE).unlink(missing_ok=True)
    told = json.loads(config.to_json_string()) | {"architectures": ["GPT2LMHeadModel"]}
    write_json(folder / CONFIG_FILE, dict(sorted(told.items())))
    write_arrays(folder / MODEL_FILE, _arrays(words), {"format": "pt"})
    write_arrays(folder / MAPPER_FILE, _arrays(mapper.state_dict()))
    write_text(folder / TOKENIZER_FILE, captioner.tokenizer.to_str(pretty=True))
    hashes = {name: sha256_file(folder / name) for name in _FILES}
    write_json(folder / CARD_FILE, card | {"sha256": hashes})


def _arrays(state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {n: v.detach().cpu().contiguous().numpy() for n, v in sorted(state.items())}


def load_captioner(
    source: str | Path, *, device: str = "cpu", local_files_only: bool = True
) -> Captioner:
    """Read a captioner, after the hashes of its files were verified.

    Parameters
    ----------
    source : str or Path
        ``"sketch"`` for the small one of the suite; a folder (`LAYOUT`); or a name on
        the Hugging Face hub, "owner/name".
    device : str, default "cpu"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    local_files_only : bool, default True
        Take a captioner of the hub from the cache on disk only; False lets it be
        downloaded, unless ``NEUROVIS_OFFLINE=1`` or ``HF_HUB_OFFLINE=1`` forbids it.

    Returns
    -------
    Captioner
        On the device, float32, without gradients for weights.

    Raises
    ------
    FileNotFoundError
        If the folder or parts of it are missing (all are named), or it is not in the
        cache and cannot be downloaded.
    DataCorruptError
        If a file is damaged or was changed.
    ValueError
        If a later version wrote it, or the parts do not fit each other.
    MissingDependencyError
        If transformers is not installed.
    """
    place = resolve(device)
    folder = _find(source, local_files_only)
    lacking = [n for n in (CARD_FILE, *_FILES) if not (folder / n).is_file()]
    if lacking:
        raise FileNotFoundError(
            f"{folder} is no whole captioner: it lacks {', '.join(lacking)}.\n{LAYOUT}"
        )
    path = folder / CARD_FILE
    if source == "sketch" and sha256_file(path) != SHIPPED_SHA256:
        raise DataCorruptError(f"{path} was changed: install neurovis again.")
    card = read_verified_card(path, _FILES, _VERSION, "a captioner")
    try:
        sizes = {name: int(card["mapper"][name]) for name in _MAPPER_SIZES}
        own: dict[str, Any] = {
            "name": str(card["name"]),
            "stop_token": int(card["stop_token"]),
            "embedding": dict(card["embedding"]),
            "trained": bool(card["trained"]),
            "notes": tuple(card["notes"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise corrupt(path, "captioner", error) from error
    tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
    if (found := find_stop_token(tokenizer)) != own["stop_token"]:
        raise ValueError(
            f"{path} tells that captions end with token {own['stop_token']}, but the "
            f"tokenizer has {found} for '.': they belong to different captioners."
        )
    weights = read_state_dict(folder / MODEL_FILE)
    model = build_language_model(describe(folder / CONFIG_FILE), weights, folder)
    mapper = read_mapper(folder / MAPPER_FILE, sizes)
    return Captioner(
        mapper=mapper, language_model=model, tokenizer=tokenizer, **own
    ).to(place)


def _find(source: str | Path, local_files_only: bool) -> Path:
    if source == "sketch":
        shipped = Path(str(resources.files("neurovis.adapters") / SHIPPED_FOLDER))
        if not shipped.is_dir():
            raise FileNotFoundError(
                "The captioner 'sketch' does not come with this version. Train one "
                "with `neurovis train captioner` and give its folder."
            )
        return shipped
    if (path := Path(source)).is_dir():
        return path
    if not is_hub_name(source):
        raise FileNotFoundError(
            f"`source` must be an existing folder, a name on the hub such as "
            f"'owner/name', or 'sketch'; {path} is not there.\n{LAYOUT}"
        )
    rule: Any = {"what": "Captioners", "local_files_only": local_files_only}
    return find_hub_folder(str(source), (CARD_FILE, *_FILES), LAYOUT, **rule)
