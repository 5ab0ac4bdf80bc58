"""Small random captioners, which say nonsense in a few words."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel

from neurovis.adapters.captioner import Captioner
from neurovis.adapters.captioner_networks import PrefixMapper, find_stop_token
from neurovis.core.rng import own_torch_stream

WORDS = ("a", "red", "dog", ".", "cat", "runs", "on", "sand", "two")
N_FEATURES = 6


def make_tokenizer(words=WORDS):
    model = models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="a")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def make_language_model(seed=0, **changes):
    options = {
        "vocab_size": len(WORDS),
        "n_positions": 24,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": 0,
        "eos_token_id": 0,
        # Large, so that what is said depends on the prefix.
        "initializer_range": 0.3,
    }
    with own_torch_stream(seed, "language model"):
        return GPT2LMHeadModel(GPT2Config(**(options | changes)))


def make_mapper(seed=0, n_language=32, prefix_length=4, **options):
    with own_torch_stream(seed, "mapper"):
        return PrefixMapper(N_FEATURES, n_language, prefix_length, **options)


def make_captioner(seed=0, **changes):
    tokenizer = make_tokenizer()
    options = {
        "name": "toy",
        "mapper": make_mapper(seed),
        "language_model": make_language_model(seed),
        "tokenizer": tokenizer,
        "stop_token": find_stop_token(tokenizer),
        "embedding": {"network": "toy", "weights_hash": "ab" * 32},
        "trained": False,
        "notes": ("Random weights.",),
    }
    return Captioner(**(options | changes))
