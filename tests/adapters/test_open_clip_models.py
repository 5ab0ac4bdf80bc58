"""Models of open_clip: built offline, quietly, and named as they are published."""

import logging
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from neurovis.adapters.open_clip_models import (
    create_open_clip,
    import_open_clip,
    match_open_clip,
    open_clip_tokenizer,
    published_config,
)
from neurovis.core.errors import MissingDependencyError
from neurovis.core.rng import own_torch_stream

open_clip = pytest.importorskip("open_clip")

# The smallest that has no file to download.
SMALL = "ViT-S-32-alt"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The hub cannot be reached, and nothing of it is in the cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_published_weights_are_found_by_their_tags():
    model, config = published_config("ViT-B-32.openai")
    assert (model, config["quick_gelu"]) == ("ViT-B-32", True)
    assert config["mean"] == (0.48145466, 0.4578275, 0.40821073)
    assert published_config("ViT-B-32") == ("ViT-B-32", {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-3", "must be a model of open_clip.*Did you mean 'ViT-B-32'"),
        ("", "must be a model of open_clip"),
        ("ViT-B-32.openal", "Did you mean 'openai'"),
        (f"{SMALL}.openai", "must be one of"),
    ],
)
def test_unknown_models_and_tags_are_refused(name, message):
    for function in (published_config, create_open_clip, open_clip_tokenizer):
        with pytest.raises(ValueError, match=message):
            function(name)


def test_models_are_built_quietly_from_the_stream_of_the_caller(caplog):
    caplog.set_level(logging.INFO)
    with own_torch_stream(1, "test"):
        first = create_open_clip(SMALL)
    with own_torch_stream(1, "test"):
        again = create_open_clip(SMALL)
    assert caplog.text == ""
    assert {name.partition(".")[0] for name, _ in first.named_children()} >= {
        "visual",
        "transformer",
    }
    for own, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(own, other)
    logging.getLogger().info("heard again")
    assert "heard again" in caplog.text


def test_texts_become_the_tokens_of_open_clip(caplog):
    caplog.set_level(logging.INFO)
    texts = ["a photo of a face.", "word " * 200]
    found = open_clip_tokenizer("ViT-B-32.openai")(texts)
    assert caplog.text == ""
    assert (found.dtype, found.shape) == (torch.int64, (2, 77))
    assert torch.equal(found, open_clip.get_tokenizer("ViT-B-32")(texts))


@pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")
@pytest.mark.usefixtures("offline")
def test_what_lies_on_the_hub_is_named():
    with pytest.raises(FileNotFoundError, match="tokenizer timm/ViT-B-16-SigLIP, wh"):
        open_clip_tokenizer("ViT-B-16-SigLIP")
    with pytest.raises(FileNotFoundError, match="text tower of roberta-base, which"):
        create_open_clip("roberta-ViT-B-32")


def test_weights_of_older_versions_are_brought_into_form():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.logit_scale = nn.Parameter(torch.tensor(1.0))

    position = "text.transformer.embeddings.position_ids"
    rest = torch.ones(2)
    state = {"logit_scale": torch.tensor([4.0]), position: rest, "visual.a": rest}
    found = match_open_clip(state, Model())
    assert set(found) == {"logit_scale", "visual.a"}
    assert found["logit_scale"].shape == ()
    assert found["logit_scale"] == 4
    assert found["visual.a"] is rest
    assert state["logit_scale"].shape == (1,)
    wrong = {"logit_scale": torch.ones(3)}
    assert match_open_clip(wrong, Model())["logit_scale"].shape == (3,)


def test_without_open_clip_the_extra_is_named(monkeypatch):
    assert import_open_clip() is open_clip
    monkeypatch.setitem(sys.modules, "open_clip", None)  # as if not installed
    with pytest.raises(MissingDependencyError, match=r"install 'neurovis\[clip\]'"):
        import_open_clip()
