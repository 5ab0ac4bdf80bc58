"""Models as they are asked for: names, options, labels."""

from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from neurovis.adapters import MODELS
from tasks.models import HUMAN_NAMES, NETWORKS, ModelSpec, check_names, model_specs

BASELINES = tuple(name for name in MODELS if name not in NETWORKS)


@dataclass(frozen=True)
class Observer:
    name: str


def test_networks_are_the_models_with_weights():
    assert set(NETWORKS) >= {"eccnet", "eccnet-noecc", "ivsn"}
    assert set(BASELINES) == {"chance", "pixel-match", "saliency", "centre"}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_load_by_name_and_by_label(name):
    assert ModelSpec(name).load("cpu").name == name
    assert ModelSpec(name, label="mine").load("cpu").name == "mine"
    one, other = ModelSpec(name).load(), ModelSpec(name, label="mine").load()
    # A label is no part of what is searched.
    assert one.identity == other.identity


def test_options_of_a_network_reach_it():
    spec = ModelSpec("eccnet", label="small", weights="seeded:3/16")
    model = spec.load("cpu")
    assert model.name == "small"
    assert model.notes == ("small: untrained weights (seeded:3/16)",)
    other = replace(spec, weights="seeded:4/16").load("cpu")
    assert other.identity != model.identity


@pytest.mark.parametrize("option", ["backbone", "weights", "preprocessing"])
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_take_no_options_of_networks(name, option):
    with pytest.raises(ValueError, match=f"`{name}` is no network.*'{option}'"):
        ModelSpec(name, **{option: "vgg16"})


def test_an_unknown_name_is_told_at_once():
    with pytest.raises(ValueError, match=r"`models` must be.*Did you mean 'saliency'"):
        ModelSpec("saliancy")
    with pytest.raises(ValueError, match="'saliency'"):
        model_specs(["chance", "saliancy"])


def test_a_specification_cannot_be_altered_afterwards():
    with pytest.raises(FrozenInstanceError):
        ModelSpec("chance").name = "eccnet"


def test_names_become_specifications_in_their_order():
    given = [ModelSpec("saliency", label="s"), "chance", "eccnet"]
    assert model_specs(given) == [given[0], ModelSpec("chance"), ModelSpec("eccnet")]
    assert model_specs(("chance",)) == [ModelSpec("chance")]


def test_at_least_one_model_is_needed():
    with pytest.raises(ValueError, match="`models` is empty"):
        model_specs([])


def test_two_models_of_one_name_are_told_apart_by_labels():
    check_names([Observer("a"), Observer("A"), Observer("a ")])
    with pytest.raises(ValueError, match="Two models are called 'a': give each"):
        check_names([Observer("b"), Observer("a"), Observer("a")])


@pytest.mark.parametrize("name", HUMAN_NAMES)
def test_no_model_has_the_name_of_people(name):
    with pytest.raises(ValueError, match=f"cannot be called '{name}'"):
        check_names([Observer("chance"), Observer(name)])


def test_all_models_together_have_names_of_their_own():
    check_names([Observer(name) for name in MODELS])
