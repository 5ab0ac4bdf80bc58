"""Parts of the training of the small captioner: data, networks, losses, judgements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.caption_words import named_concepts
from neurovis.adapters.captioner_networks import PrefixMapper
from neurovis.adapters.hub_folders import import_generate
from neurovis.adapters.sketch_clip import N_FEATURES, SketchClip
from neurovis.core.device import exact_float32
from neurovis.core.rng import generator, own_torch_stream
from tasks.sketch_captions import (
    COLOUR_WORDS,
    CONCEPT_WORDS,
    KIND_WORDS,
    SIZE_WORDS,
    STOP,
    VOCABULARY,
    caption_drawings,
    caption_tokenizer,
    category_captions,
    describe_drawings,
    kind_captions,
)
from tasks.sketch_training import draw_sketches

_PREFIX_LENGTH = 4
_PAD = 0
_BLOCK = 500


@dataclass(frozen=True, eq=False)
class CaptionedDrawings:
    """Drawings with captions.

    Parameters
    ----------
    pictures : Tensor of uint8, shape (n, 3, 32, 32)
        Drawings.
    seen : DataFrame
        What can be seen on them, as `tasks.sketch_captions.describe_drawings` has it.
    tokens : Tensor of int64, shape (n_wordings, n, length)
        Captions with their final ".", filled up with 0.
    content : Tensor of int64, shape (n,)
        Equal where the same can be seen.
    """

    pictures: Tensor
    seen: pd.DataFrame
    tokens: Tensor
    content: Tensor

    def part(self, rows: slice) -> "CaptionedDrawings":
        """Return some of the drawings.

        Parameters
        ----------
        rows : slice
            Which.

        Returns
        -------
        CaptionedDrawings
            Of these.
        """
        seen = self.seen.iloc[rows].reset_index(drop=True)
        chosen = (self.pictures[rows], seen, self.tokens[:, rows], self.content[rows])
        return CaptionedDrawings(*chosen)


def draw_captioned(n: int, *, n_wordings: int = 1, seed: int = 0) -> CaptionedDrawings:
    """Draw coloured pictures of the five categories and write captions for them.

    Parameters
    ----------
    n : int
        Number of drawings.
    n_wordings : int, default 1
        Captions of each, drawn with replacement.
    seed : int, default 0
        Seed of drawings and wordings.

    Returns
    -------
    CaptionedDrawings
        Categories in turn.

    Raises
    ------
    MissingDependencyError
        If tokenizers is not installed.
    """
    pictures, table = draw_sketches(n, seed=seed)
    seen = describe_drawings(table)
    tokenizer = caption_tokenizer()
    rows = [
        torch.tensor(encoded.ids)
        for wording in range(n_wordings)
        for encoded in tokenizer.encode_batch(
            caption_drawings(table, seed=_wording_seed(seed, wording))
        )
    ]
    tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=_PAD)
    content = seen.groupby(list(seen.columns)).ngroup().to_numpy(np.int64)
    return CaptionedDrawings(
        pictures, seen, tokens.reshape(n_wordings, n, -1), torch.tensor(content)
    )


def _wording_seed(seed: int, wording: int) -> int:
    return int(generator(seed, "wording", wording).integers(2**31))


class CaptionModel(nn.Module):
    """Prefix mapper and language model, trained together.

    Parameters
    ----------
    mapper : PrefixMapper
        From embeddings to prefixes.
    language_model : torch.nn.Module
        ``transformers.GPT2LMHeadModel``.
    """

    def __init__(self, mapper: PrefixMapper, language_model: nn.Module) -> None:
        super().__init__()
        self.mapper: PrefixMapper = mapper
        self.language_model = language_model

    def forward(self, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Predict each token of captions from the embedding and the tokens before it.

        Parameters
        ----------
        embeddings : Tensor of float32, shape (n, 64)
            Embeddings of drawings.
        tokens : Tensor of int64, shape (n, length)
            Captions.

        Returns
        -------
        Tensor of float32, shape (n, length, n_words)
            Logits.
        """
        prefix = self.mapper(embeddings)
        model: Any = self.language_model
        words = model.get_input_embeddings()(tokens[:, :-1])
        logits: Tensor = model(inputs_embeds=torch.cat([prefix, words], 1)).logits
        # What follows the last place of the prefix is the first token.
        return logits[:, prefix.shape[1] - 1 :]


def build_caption_model(seed: int) -> CaptionModel:
    """Build prefix mapper and language model with random weights.

    Parameters
    ----------
    seed : int
        Seed of the weights, >= 0.

    Returns
    -------
    CaptionModel
        In training mode.

    Raises
    ------
    MissingDependencyError
        If transformers is not installed.
    """
    transformers = import_generate("transformers", "Captioners")
    stop = VOCABULARY.index(STOP)
    config = transformers.GPT2Config(
        vocab_size=len(VOCABULARY),
        # Room for a prefix and as many tokens as captions may have by default.
        n_positions=72,
        n_embd=96,
        n_layer=2,
        n_head=4,
        bos_token_id=stop,
        eos_token_id=stop,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    with own_torch_stream(seed, "captioner"):
        mapper = PrefixMapper(N_FEATURES, config.n_embd, _PREFIX_LENGTH)
        return CaptionModel(mapper, transformers.GPT2LMHeadModel(config))


def contrastive_loss(
    images: Tensor, texts: Tensor, content: Tensor, scale: Tensor
) -> Tensor:
    """Return the loss of CLIP, in which equal content is no mistake.

    Parameters
    ----------
    images, texts : Tensor of float32, shape (n, n_features)
        Embeddings; what belongs together has the same row.
    content : Tensor of int64, shape (n,)
        Pairs of different rows with equal content are left out: a caption of one
        describes the other as well.
    scale : Tensor of float32, shape ()
        Factor of cosines.

    Returns
    -------
    Tensor of float32, shape ()
        Mean cross-entropy of finding the text of an image and the image of a text.
    """
    cosine = F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    rows = torch.arange(len(content), device=content.device)
    alike = (content[:, None] == content) & (rows[:, None] != rows)
    logits = (scale * cosine).masked_fill(alike, -torch.inf)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2


def token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the mean cross-entropy of the tokens of captions.

    Parameters
    ----------
    logits : Tensor of float32, shape (n, length, n_words)
        What `CaptionModel` predicts.
    tokens : Tensor of int64, shape (n, length)
        Captions, filled up with 0, which is not predicted.

    Returns
    -------
    Tensor of float32, shape ()
        Mean over tokens.
    """
    return F.cross_entropy(
        logits.float().flatten(0, 1), tokens.flatten(), ignore_index=_PAD
    )


def mark_words(tokens: Tensor) -> Tensor:
    """Tell words of captions from filling and from the full stop.

    Parameters
    ----------
    tokens : Tensor of int64, shape (n, length)
        Captions.

    Returns
    -------
    Tensor of bool, shape (n, length)
        What `SketchClip.read_texts` reads too.
    """
    return tokens > VOCABULARY.index(STOP)


@torch.no_grad()
def embed_pictures(clip: SketchClip, pictures: Tensor) -> Tensor:
    """Embed drawings.

    Parameters
    ----------
    clip : SketchClip
        The network, in evaluation mode.
    pictures : Tensor of uint8, shape (n, 3, 32, 32)
        Drawings.

    Returns
    -------
    Tensor of float32, shape (n, 64)
        Embeddings on the CPU, not of length 1.
    """
    place = next(clip.parameters()).device
    with exact_float32():
        parts = [
            clip.embed_images(part.to(place).float() / 255).cpu()
            for part in torch.split(pictures, _BLOCK)
        ]
    return torch.cat(parts)


@torch.no_grad()
def judge_clip(clip: SketchClip, drawn: CaptionedDrawings) -> dict[str, float]:
    """Name categories and kinds of drawings by the nearest texts.

    Parameters
    ----------
    clip : SketchClip
        The network, in evaluation mode.
    drawn : CaptionedDrawings
        Drawings that it was not trained on.

    Returns
    -------
    dict of str to float
        `loss` (contrastive, of the first captions), and the share of drawings whose
        `category` and `kind` is that of the nearest of all captions.
    """
    embedded = embed_pictures(clip, drawn.pictures)
    place = next(clip.parameters()).device
    tokens = drawn.tokens[0].to(place)
    texts = clip.embed_tokens(tokens, mark_words(tokens)).cpu()
    parts = [torch.split(x, _BLOCK) for x in (embedded, texts, drawn.content)]
    scale = clip.scale.cpu()
    losses = [
        len(image) * contrastive_loss(image, text, content, scale)
        for image, text, content in zip(*parts, strict=True)
    ]
    found = {
        name: nearest_texts(clip, embedded, texts) == drawn.seen[name].to_numpy()
        for name, texts in (
            ("category", category_captions()),
            ("kind", kind_captions()),
        )
    }
    shares = {name: float(hits.mean()) for name, hits in found.items()}
    return {"loss": float(sum(losses)) / len(embedded), **shares}


@torch.no_grad()
def nearest_texts(
    clip: SketchClip, embeddings: Tensor, texts: Mapping[str, Sequence[str]]
) -> NDArray[np.object_]:
    """Name what embeddings are nearest to.

    Parameters
    ----------
    clip : SketchClip
        The network, in evaluation mode.
    embeddings : Tensor of float32, shape (n, 64)
        Embeddings of images.
    texts : mapping of str to sequence of str
        Texts that stand for each name.

    Returns
    -------
    ndarray of object, shape (n,)
        The name of the text with the largest cosine.
    """
    listed = [(name, text) for name, some in texts.items() for text in some]
    known = F.normalize(clip.embed_texts([text for _, text in listed]), dim=1).cpu()
    best = (F.normalize(embeddings, dim=1) @ known.T).argmax(1)
    names = np.array([name for name, _ in listed], object)
    found: NDArray[np.object_] = names[best.numpy()]
    return found


def judge_captions(captions: Iterable[str], seen: pd.DataFrame) -> dict[str, float]:
    """Compare captions with what can be seen on drawings.

    Parameters
    ----------
    captions : iterable of str
        One per drawing.
    seen : DataFrame
        As `tasks.sketch_captions.describe_drawings` has it.

    Returns
    -------
    dict of str to float
        `category_right` and `kind_right`: shares of captions that name the right one
        and no other; `colour_right` and `size_right`: the same, of the drawings on
        which there is one to be seen. NaN where there are no such drawings.
    """
    words: Mapping[str, Mapping[str, tuple[str, ...]]] = {
        "category": CONCEPT_WORDS,
        "kind": KIND_WORDS,
        "colour": {word: (word,) for word in COLOUR_WORDS},
        "size": {word: (word,) for word in SIZE_WORDS},
    }
    shares, texts = {}, list(captions)
    for name, some in words.items():
        pairs = zip(texts, seen[name], strict=True)
        hits = [named_concepts(text, some) == (true,) for text, true in pairs if true]
        shares[f"{name}_right"] = float(np.mean(hits)) if hits else float("nan")
    return shares
