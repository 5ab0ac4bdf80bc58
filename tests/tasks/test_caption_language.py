"""A captioner trained on captions of people checks the decoder on real language."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from analysis.caption_similarity import (
    DocumentFrequencies,
    consensus_similarity,
    count_documents,
    noun_overlap,
)
from analysis.stats import bootstrap_ci
from data_loaders.flickr8k import load_flickr8k
from neurovis.adapters.captioner import Captioner
from neurovis.adapters.captioner_networks import PrefixedLanguageModel
from neurovis.core.rng import generator
from neurovis.generation.beam_search import search_beams
from tests.tasks.flickr_captioner import (
    MAX_TOKENS,
    embed_others,
    fit_text_embedding,
    train_language_captioner,
    write_sentence,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_PICTURES = 400


@dataclass(frozen=True, eq=False)
class Flickr:
    """A trained captioner, and test pictures of which it has seen nothing."""

    captioner: Captioner
    known: list[list[str]]  # captions that it was trained on
    pictures: list[list[str]]  # of the test pictures
    embeddings: NDArray[np.float32]  # of the other captions, for every caption
    withheld: NDArray[np.int64]  # caption of each picture that its prefix lacks
    frequencies: DocumentFrequencies

    @property
    def prefixes(self):
        return self.embeddings[np.arange(len(self.pictures)), self.withheld]

    @property
    def references(self):
        return [[own[k]] for own, k in zip(self.pictures, self.withheld, strict=True)]


@pytest.fixture(scope="module")
def flickr(data_folder):
    data = load_flickr8k(data_folder / "captions_flickr8k")
    known, pictures = (
        [[write_sentence(caption) for caption in own] for own in data.texts(s).values()]
        for s in ("train", "test")
    )
    embedding = fit_text_embedding([caption for own in known for caption in own])
    captioner = train_language_captioner(known, embedding)
    rows = generator(0, "test pictures").permutation(len(pictures))[:N_PICTURES]
    pictures = [pictures[i] for i in rows]
    return Flickr(
        captioner,
        known,
        pictures,
        embed_others(embedding, pictures),
        np.arange(N_PICTURES) % 5,
        count_documents(known),
    )


@pytest.fixture(scope="module")
def said(flickr):
    return flickr.captioner.caption(flickr.prefixes, beam=5, max_tokens=MAX_TOKENS)
