"""A captioner of real language: trained on captions of Flickr8k, without pictures.

What stands for the embedding of a picture is that of texts about it: TF-IDF of the
words of other captions, in fewer dimensions (latent semantic analysis).

References
----------
Deerwester, Dumais, Furnas, Landauer and Harshman (1990). Indexing by latent semantic
analysis. Journal of the American Society for Information Science 41, 391-407.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from analysis.caption_nouns import split_words
from neurovis.adapters.captioner import Captioner
from neurovis.adapters.captioner_networks import PrefixMapper, find_stop_token
from neurovis.core.rng import generator, own_torch_stream
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.train import train
from tasks.captioner_parts import CaptionModel, token_loss

N_FEATURES = 128
N_TOKENS = 4000
PREFIX_LENGTH = 4
MAX_TOKENS = 67

_FILLING = "<|endoftext|>"  # token 0, which `token_loss` leaves out
_FEWEST = 3  # captions that a word of the embedding is in
_BATCH_SIZE = 32
_STEPS = 120
_SETTINGS = TrainSettings(
    max_epochs=12,  # of `_STEPS` each, so that the learning rate falls smoothly
    patience=None,
    keep="last",
    optimiser="adamw",
    learning_rate=3e-3,
    weight_decay=1e-2,
    schedule="cosine",
    warmup_steps=100,
)


def write_sentence(caption: str) -> str:
    """Write a caption as one sentence: its only full stop is the last sign."""
    words = " ".join(caption.replace(".", " ").replace('"', " ").split())
    for sign in (",", ";", ":", "!", "?"):
        words = words.replace(f" {sign}", sign)
    return f"{words.rstrip(',;:!? ')}."


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """Texts as points: similar words, near points.

    Parameters
    ----------
    places : mapping of str to int
        Row of each known word.
    directions : ndarray of float64, shape (n_words, n_features)
        What one occurrence of a word adds.
    """

    places: Mapping[str, int]
    directions: NDArray[np.float64]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return embeddings, shape (n, n_features); not of length 1."""
        return _count_words(texts, self.places) @ self.directions


def _count_words(texts: Sequence[str], places: Mapping[str, int]) -> Any:
    found = [
        (row, places[word])
        for row, text in enumerate(texts)
        for word in split_words(text)
        if word in places
    ]
    rows, columns = np.array(found, np.int64).reshape(-1, 2).T
    shape = (len(texts), len(places))
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


def fit_text_embedding(texts: Sequence[str]) -> TextEmbedding:
    """Find the directions in which the weighted words of texts differ most."""
    within = Counter(word for text in texts for word in set(split_words(text)))
    words = sorted(word for word, n in within.items() if n >= _FEWEST)
    weight = np.log(len(texts) / np.array([within[word] for word in words]))
    places = {word: i for i, word in enumerate(words)}
    counts = _count_words(texts, places) * weight
    start = np.ones(len(words))  # else it would be drawn
    found = svds(counts, k=N_FEATURES, v0=start, return_singular_vectors="vh")[2]
    # The sign of a singular vector is arbitrary.
    found *= np.sign(found[np.arange(N_FEATURES), np.abs(found).argmax(1)])[:, None]
    return TextEmbedding(places, weight[:, None] * found.T)


def embed_others(
    embedding: TextEmbedding, pictures: Sequence[Sequence[str]]
) -> NDArray[np.float32]:
    """Embed, for every caption, the other captions of its picture: their mean.

    Shape (n_pictures, n_captions, n_features).
    """
    each = np.stack([embedding.embed(captions) for captions in pictures])
    others = (each.sum(1, keepdims=True) - each) / (each.shape[1] - 1)
    return others.astype(np.float32)


def fit_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Learn tokens by byte-pair encoding of bytes, as those of GPT-2 were."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_TOKENS,
        special_tokens=[_FILLING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def build_model(seed: int) -> CaptionModel:
    """Build mapper and language model with random weights."""
    config = GPT2Config(
        vocab_size=N_TOKENS,
        n_positions=PREFIX_LENGTH + MAX_TOKENS,
        n_embd=128,
        n_layer=3,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    with own_torch_stream(seed, "language captioner"):
        mapper = PrefixMapper(N_FEATURES, config.n_embd, PREFIX_LENGTH)
        return CaptionModel(mapper, GPT2LMHeadModel(config))


def train_language_captioner(
    pictures: Sequence[Sequence[str]], embedding: TextEmbedding, *, seed: int = 0
) -> Captioner:
    """Train a captioner to say a caption from the other captions of its picture."""
    texts = [caption for captions in pictures for caption in captions]
    tokenizer = fit_tokenizer(texts)
    wanted = [torch.tensor(part.ids) for part in tokenizer.encode_batch(texts)]
    lengths = np.array([len(own) for own in wanted])
    shown = torch.from_numpy(embed_others(embedding, pictures)).flatten(0, 1)

    def batches(epoch: int) -> list[NDArray[np.int64]]:
        rng = generator(seed, "language captioner", epoch)
        rows = rng.permutation(len(texts))[: _STEPS * _BATCH_SIZE]
        # Captions of one length share a batch, so that little is filled up.
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        return list(rng.permutation(rows.reshape(-1, _BATCH_SIZE)))

    def loss(module: nn.Module, rows: NDArray[np.int64]) -> tuple[torch.Tensor, float]:
        own = [wanted[i] for i in rows]
        tokens = nn.utils.rnn.pad_sequence(own, batch_first=True)
        n_tokens = float(lengths[rows].sum())
        return n_tokens * token_loss(module(shown[rows], tokens), tokens), n_tokens

    model = build_model(seed)
    trained = train(model, batches, loss, settings=_SETTINGS, seed=seed)
    model.load_state_dict(trained.state)
    return Captioner(
        name="flickr8k",
        mapper=model.mapper.requires_grad_(False),
        language_model=model.language_model.requires_grad_(False),
        tokenizer=tokenizer,
        stop_token=find_stop_token(tokenizer),
        notes=("Trained on captions of Flickr8k, from other captions.",),
    )
