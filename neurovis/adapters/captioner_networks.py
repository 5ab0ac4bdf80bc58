"""Networks of captioners: what makes a prefix, and GPT-2 as it goes on from one.

References
----------
Mokady, Hertz and Bermano (2021). ClipCap: CLIP prefix for image captioning.
arXiv:2111.09734.
Radford, Wu, Child, Luan, Amodei and Sutskever (2019). Language models are unsupervised
multitask learners. OpenAI.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neurovis.adapters.hub_folders import import_generate, loader_errors, unfit
from neurovis.adapters.weights import check_state_dict, read_state_dict
from neurovis.core.checks import check_option, check_path, check_whole
from neurovis.core.files import corrupt
from neurovis.core.rng import own_torch_stream

_LONGEST_MLP = 10  # prefixes above it are mapped without a hidden layer


class PrefixMapper(nn.Module):
    """From an embedding to the vectors that a language model goes on from.

    Parameters
    ----------
    n_features : int
        Values of an embedding.
    n_language : int
        Values of a word vector of the language model.
    prefix_length : int, default 10
        Number of vectors.
    n_hidden : int, optional
        Units of the hidden layer, with a hyperbolic tangent; 0 for a single linear map.
        By default half as many as values go out, and 0 for prefixes above 10.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> mapper = PrefixMapper(512, 768)
    >>> [layer.out_features for layer in mapper.layers[::2]]
    [3840, 7680]
    >>> mapper(torch.zeros(3, 512)).shape
    torch.Size([3, 10, 768])
    """

    def __init__(
        self,
        n_features: int,
        n_language: int,
        prefix_length: int = 10,
        *,
        n_hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.n_features = check_whole("n_features", n_features, low=1)
        self.n_language = check_whole("n_language", n_language, low=1)
        self.prefix_length = check_whole("prefix_length", prefix_length, low=1)
        n_out = self.n_language * self.prefix_length
        if n_hidden is None:
            n_hidden = n_out // 2 if self.prefix_length <= _LONGEST_MLP else 0
        self.n_hidden = check_whole("n_hidden", n_hidden, low=0)
        self.layers = nn.Sequential()
        if self.n_hidden:
            self.layers.extend([nn.Linear(self.n_features, self.n_hidden), nn.Tanh()])
        self.layers.append(nn.Linear(self.n_hidden or self.n_features, n_out))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return prefixes.

        Parameters
        ----------
        embeddings : Tensor of float32, shape (n, n_features)
            Not of length 1: as the network gives them.

        Returns
        -------
        Tensor of float32, shape (n, prefix_length, n_language)
            In place of word vectors.
        """
        found: Tensor = self.layers(embeddings)
        return found.reshape(len(found), self.prefix_length, self.n_language)


class PrefixedLanguageModel:
    """GPT-2 after a prefix, as `neurovis.generation.beam_search` asks for tokens.

    Parameters
    ----------
    language_model : torch.nn.Module
        ``transformers.GPT2LMHeadModel``.
    prefix : Tensor of float32, shape (n, prefix_length, n_language)
        On the same device.
    """

    def __init__(self, language_model: Any, prefix: Tensor) -> None:
        self.language_model, self.prefix = language_model, prefix
        self.cache: Any = None  # keys and values of what was read

    def start(self) -> Tensor:
        """Read the prefixes alone.

        Returns
        -------
        Tensor of float32, shape (n, n_tokens)
            Log-probabilities of the first token.
        """
        self.cache = None
        return self._read(self.prefix)

    def advance(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Read one token more in some of the rows, and drop the others.

        Parameters
        ----------
        rows : Tensor of int64, shape (n_rows,)
            Rows of the last answer that go on.
        tokens : Tensor of int64, shape (n_rows,)
            What each reads.

        Returns
        -------
        Tensor of float32, shape (n_rows, n_tokens)
            Log-probabilities of the next token.
        """
        place = self.prefix.device
        self.cache = select_rows(self.cache, rows.to(place))
        words = self.language_model.transformer.wte(tokens.to(place))
        return self._read(words[:, None])

    def _read(self, vectors: Tensor) -> Tensor:
        found = self.language_model.transformer(
            inputs_embeds=vectors, past_key_values=self.cache, use_cache=True
        )
        self.cache = found.past_key_values
        logits: Tensor = self.language_model.lm_head(found.last_hidden_state[:, -1])
        return logits.float().log_softmax(-1)


def select_rows(cache: Any, rows: Tensor) -> Any:
    """Return some rows of the keys and values that GPT-2 keeps.

    Parameters
    ----------
    cache : transformers.DynamicCache, or tuple of tuple of Tensor
        From GPT-2; tuples before version 4.52 of transformers. A cache is changed.
    rows : Tensor of int64, shape (n_rows,)
        Rows to keep, each any number of times.

    Returns
    -------
    object
        As `cache`.
    """
    if hasattr(cache, "reorder_cache"):
        cache.reorder_cache(rows)
        return cache
    return tuple(tuple(part.index_select(0, rows) for part in pair) for pair in cache)


def mean_log_probs(
    language_model: Any, prefix: Tensor, tokens: Sequence[Sequence[int]]
) -> list[float]:
    """Return how likely texts are after their prefixes, all steps in one pass.

    Parameters
    ----------
    language_model : torch.nn.Module
        ``transformers.GPT2LMHeadModel``.
    prefix : Tensor of float32, shape (n, prefix_length, n_language)
        On the same device.
    tokens : sequence of sequence of int
        One text per prefix, not empty.

    Returns
    -------
    list of float
        Mean log-probability per token, natural logarithm.
    """
    n_each = torch.tensor([len(own) for own in tokens])
    padded = nn.utils.rnn.pad_sequence(
        [torch.tensor(own) for own in tokens], batch_first=True
    ).to(prefix.device)
    # Nothing looks ahead: what fills up a text changes nothing before it.
    words = language_model.transformer.wte(padded[:, :-1])
    read = language_model.transformer(
        inputs_embeds=torch.cat([prefix, words], dim=1), use_cache=False
    ).last_hidden_state[:, prefix.shape[1] - 1 :]
    log_probs = language_model.lm_head(read).float().log_softmax(-1)
    own = log_probs.gather(2, padded[..., None])[..., 0].cpu().double()
    counted = torch.arange(own.shape[1]) < n_each[:, None]
    means: list[float] = ((own * counted).sum(1) / n_each).tolist()
    return means


def read_mapper(path: Path, sizes: Mapping[str, int]) -> PrefixMapper:
    """Read a mapper.

    Parameters
    ----------
    path : Path
        Its weights, safetensors.
    sizes : mapping of str to int
        Arguments of `PrefixMapper`.

    Returns
    -------
    PrefixMapper
        On the CPU, float32, without gradients for weights.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the file is missing or damaged.
    ValueError
        If weights do not fit the sizes.
    """
    with torch.device("meta"):
        expected = PrefixMapper(**sizes).state_dict()
    state = read_state_dict(path)
    shapes = {name: tuple(value.shape) for name, value in expected.items()}
    check_state_dict(state, shapes, str(path))
    # What it draws is replaced; the caller's generator must not notice.
    with own_torch_stream(0, "not used"):
        mapper = PrefixMapper(**sizes)
    mapper.load_state_dict(state)
    return mapper.requires_grad_(False)


def build_language_model(
    told: Mapping[str, Any], state: Mapping[str, Tensor], source: Path
) -> Any:
    """Build GPT-2 and fill it.

    Parameters
    ----------
    told : mapping
        Its ``config.json``.
    state : mapping of str to Tensor
        Its weights; those of the last layer are not needed where they are those of the
        words (``tie_word_embeddings``).
    source : Path
        Where both came from, for messages.

    Returns
    -------
    transformers.GPT2LMHeadModel
        On the CPU, float32, in evaluation mode, without gradients for weights.

    Raises
    ------
    ValueError
        If it is another network, or weights do not fit.
    DataCorruptError
        If `told` is no description that can be built.
    MissingDependencyError
        If transformers is not installed.
    """
    transformers = import_generate("transformers", "Captioners")
    kind = f"model_type of the language model of {source}"
    check_option(kind, told.get("model_type"), ("gpt2",))
    try:
        config = transformers.GPT2Config.from_dict(dict(told))
        with torch.device("meta"):
            empty = transformers.GPT2LMHeadModel(config)
    except loader_errors() as error:
        raise unfit(source, "the language model of a captioner", error) from error
    expected = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    given = dict(state)
    if config.tie_word_embeddings:
        expected.pop("lm_head.weight")
        given.pop("lm_head.weight", None)
    check_state_dict(given, expected, str(source))
    # What it draws is replaced; the caller's generator must not notice.
    with own_torch_stream(0, "not used"):
        model = transformers.GPT2LMHeadModel(config)
    model.load_state_dict(given, strict=False)
    return model.float().eval().requires_grad_(False)


def read_tokenizer(path: Path) -> Any:
    """Read a tokenizer.

    Parameters
    ----------
    path : Path
        ``tokenizer.json``, as tokenizers and transformers write it.

    Returns
    -------
    tokenizers.Tokenizer
        From text to tokens and back.

    Raises
    ------
    FileNotFoundError
        If there is none.
    DataCorruptError
        If it is damaged.
    MissingDependencyError
        If tokenizers is not installed.
    """
    tokenizers = import_generate("tokenizers", "Captioners")
    path = check_path("tokenizer", path)
    try:
        return tokenizers.Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as error:  # it raises nothing more special
        raise corrupt(path, "tokenizer", error) from error


def find_stop_token(tokenizer: Any) -> int:
    """Return the token that ends captions: the first one of ".".

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        From text to tokens.

    Returns
    -------
    int
        Its number.

    Raises
    ------
    ValueError
        If the tokenizer has no word for a full stop.
    """
    tokens = tokenizer.encode(".", add_special_tokens=False).ids
    if not tokens or tokenizer.decode(tokens[:1]).strip() != ".":
        raise ValueError(
            "The tokenizer has no word for '.', which ends captions: it makes "
            f"{tokens} of it. Take the tokenizer that the language model was trained "
            "with."
        )
    return int(tokens[0])
