"""OAT as a model of object search: identity, folders, names."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from neurovis.adapters.oat import OAT
from neurovis.adapters.oat_network import (
    OATConfig,
    OATNetwork,
    published_config,
    small_config,
)
from neurovis.adapters.object_baselines import ObjectBaseline
from neurovis.adapters.object_tokens import TokenBaseline
from neurovis.core.object_scanpaths import ObjectTrial
from neurovis.fitting.train import TrainSettings
from tasks.oat_looks import synthetic_looks
from tasks.oat_model import (
    GREEDY,
    OAT_MODELS,
    OATModel,
    has_drawing_twin,
    oat_config,
    oat_model,
    published_recipe,
    tuned_recipe,
)
from tasks.oat_training import OATRecipe, fit_oat
from tasks.object_models import ALL_MODELS, MODELS, object_models
from tasks.object_search_data import search_splits
from tasks.simulated_search import SimulatedSearch, simulated_object_search

pytestmark = pytest.mark.usefixtures("one_set_of_looks")

TINY = OATConfig(
    appearance="none",
    target_position="true",
    appearance_width=4,
    position_width=28,
    n_heads=2,
    feedforward=16,
    n_encoder_layers=1,
    n_decoder_layers=1,
    n_pointer_heads=1,
)
QUICK = TrainSettings(max_epochs=3, monitor="nats", learning_rate=3e-3)
# Trained on the data at hand.
OWN = ("oat", "oat-small")


def make_model(name="tiny", config=TINY, recipe=None, **changes):
    return OATModel(name, config, recipe or OATRecipe(QUICK), **changes)


@pytest.fixture(scope="module")
def parts():
    """Trials for training and validation, of six shelves of 2 x 3 objects."""
    simulation = SimulatedSearch(
        n_shelves=6, targets_per_shelf=1, n_observers=2, rows=2, cols=3
    )
    data = simulated_object_search(simulation, appearance="none")
    split = search_splits(data)[0]
    return [
        [data.trials[i] for i in rows] for rows in (split.training, split.validation)
    ]


def weights(observer):
    return observer.identity["weights"]


# --------------------------------------------------------------------- identity


def test_identity_is_json_and_tells_all_that_responses_depend_on(tmp_path):
    start = tmp_path / "start.safetensors"
    OAT(OATNetwork(TINY, seed=1), 9).save(start)
    changed = {
        "config": make_model(config=replace(TINY, dropout=0.3)),
        "recipe": make_model(recipe=OATRecipe(QUICK, mirrors=("vertical",))),
        "settings": make_model(recipe=OATRecipe(replace(QUICK, learning_rate=1e-3))),
        "looks": make_model(looks_seed=0),
        "other looks": make_model(looks_seed=1),
        "start": make_model(start=start),
        "as it is": OATModel("tiny", TINY, start=start),
        "greedy": make_model(greedy=True),
    }
    texts = {
        key: json.dumps(model.identity, sort_keys=True)
        for key, model in changed.items()
    }
    same = json.dumps(make_model().identity, sort_keys=True)
    assert len({same, *texts.values()}) == len(changed) + 1
    alike = make_model("other", folder=tmp_path, device="auto", notes=("a note",))
    assert json.dumps(alike.identity, sort_keys=True) == same


def test_identity_follows_the_weights_of_the_start_and_not_its_name(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        OAT(OATNetwork(TINY, seed), 9).save(tmp_path / f"{name}.safetensors")
    one, other, third = (
        OATModel("m", TINY, start=tmp_path / f"{name}.safetensors").identity
        for name in "abc"
    )
    assert one == other != third


# ---------------------------------------------------------------------- folders


def listing(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_greedy_and_other_names_share_the_fit(parts, tmp_path):
    fitted = make_model(folder=tmp_path).fit(*parts, seed=2)
    before = listing(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    greedy = make_model("greedy", greedy=True, folder=tmp_path)
    again = greedy.fit(*parts, seed=2)
    assert listing(tmp_path) == before
    assert weights(again) == weights(fitted)
    assert (fitted.greedy, again.greedy) == (False, True)
    assert (fitted.name, again.name) == ("tiny", "greedy")
    assert greedy.fit_folder(*parts, 2) == make_model(folder=tmp_path).fit_folder(
        *parts, 2
    )


def test_every_fit_has_a_folder_of_its_own(parts, tmp_path):
    training, validation = parts
    model = make_model(folder=tmp_path)
    others = [
        model.fit_folder(training[1:], validation, 0),
        model.fit_folder(training, validation[1:], 0),
        model.fit_folder(training, validation, 1),
        make_model(looks_seed=0, folder=tmp_path).fit_folder(training, validation, 0),
        make_model(config=replace(TINY, dropout=0.0), folder=tmp_path).fit_folder(
            training, validation, 0
        ),
    ]
    own = model.fit_folder(training, validation, 0)
    assert len({own, *others}) == 6
    assert {path.parent for path in others} == {tmp_path}
    assert make_model().fit_folder(training, validation, 0) is None


@dataclass
class Power:
    """How many scanpaths may still be read before the machine is switched off."""

    left: int


class PowerCutError(Exception):
    """The machine was switched off."""


@dataclass(frozen=True)
class WatchedTrial(ObjectTrial):
    """A trial that can be read while there is power."""

    power: Power | None = None

    @property
    def tokens(self):
        self.power.left -= 1
        if self.power.left < 0:
            raise PowerCutError
        return super().tokens


def watch(trials, power):
    return [WatchedTrial(t.display, t.subject, t.cells, t.xy_px, power) for t in trials]


def test_a_fit_that_was_cut_off_goes_on_to_equal_weights(parts, tmp_path):
    training, validation = parts
    expected = make_model().fit(training, validation, seed=3)
    model = make_model(folder=tmp_path)
    # In the second of three epochs of eight trials.
    with pytest.raises(PowerCutError):
        model.fit(watch(training, Power(12)), validation, seed=3)
    (folder,) = tmp_path.iterdir()
    assert (folder / "checkpoint.safetensors").exists()
    power = Power(16)
    fitted = model.fit(watch(training, power), validation, seed=3)
    assert power.left == 0
    assert fitted.identity == expected.identity
    # Now it is read and nothing is trained.
    again = model.fit(watch(training, Power(0)), validation, seed=3)
    assert again.identity == expected.identity


@pytest.mark.parametrize("trials_per_batch", [0, 3])
def test_the_order_of_trials_does_not_matter(parts, trials_per_batch):
    training, validation = parts
    # Someone searched a display twice.
    twice = ObjectTrial(training[0].display, training[0].subject, [0, 1, 2, 1, 0])
    training = [*training, twice]
    model = make_model(recipe=OATRecipe(QUICK, trials_per_batch=trials_per_batch))
    draw = np.random.default_rng(0)
    mixed = [training[i] for i in draw.permutation(len(training))]
    one = model.fit(training, validation, seed=1)
    other = model.fit(mixed, validation[::-1], seed=1)
    assert one.identity == other.identity


def test_a_fit_is_that_of_the_trainer(parts):
    training, validation = (
        sorted(part, key=lambda t: (t.display.stimulus_id, t.subject)) for part in parts
    )
    expected, _ = fit_oat(
        training, validation, config=TINY, recipe=OATRecipe(QUICK), seed=4
    )
    fitted = make_model().fit(*parts, seed=4)
    assert fitted.identity == expected.identity
    assert fitted.max_fixations == max(len(t.cells) for t in training)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_displays_of_training_are_dressed_with_generated_covers(parts):
    simulation = SimulatedSearch(
        n_shelves=4, targets_per_shelf=1, n_observers=2, rows=2, cols=2
    )
    trials = simulated_object_search(simulation).trials
    config = replace(
        TINY, appearance="features", n_features=120, target_position="none"
    )
    recipe = OATRecipe(replace(QUICK, max_epochs=1))
    observers = {
        seed: make_model(config=config, recipe=recipe, looks_seed=seed).fit(trials[2:])
        for seed in (None, 5)
    }
    assert weights(observers[None]) != weights(observers[5])
    ordered = sorted(trials[2:], key=lambda t: (t.display.stimulus_id, t.subject))
    expected, _ = fit_oat(
        ordered, config=config, recipe=recipe, looks=synthetic_looks(5)
    )
    assert weights(observers[5]) == weights(expected)


def test_a_greedy_model_has_a_twin_that_draws_from_the_same_network():
    drawing, greedy = make_model("a"), make_model("b", greedy=True, device="auto")
    others = [
        make_model("b-drawing", config=replace(TINY, dropout=0.3)),
        make_model("c", greedy=True),
        ObjectBaseline("chance_uniform"),
        TokenBaseline("unigram_tokens"),
    ]
    assert has_drawing_twin(greedy, [greedy, *others, drawing])
    # The name does not tell, and another greedy one does not count.
    assert not has_drawing_twin(greedy, [greedy, *others])
    for model in (drawing, *others[2:]):
        assert not has_drawing_twin(model, [drawing, greedy, *others])


def test_shipped_weights_and_tuned_ones_are_no_twins():
    greedy = oat_model("oat-shipped-greedy")
    assert has_drawing_twin(greedy, [greedy, oat_model("oat-shipped")])
    assert not has_drawing_twin(greedy, [greedy, oat_model("oat-tuned")])
    told = oat_model("oat-shipped", target_position="true")
    assert not has_drawing_twin(greedy, [greedy, told])


# ------------------------------------------------------------- starts and errors


def test_without_a_recipe_the_weights_are_taken_as_they_are(parts, tmp_path):
    saved = OAT(OATNetwork(TINY, seed=6), 7, notes=("seeded",))
    saved.save(tmp_path / "w.safetensors")
    model = OATModel("m", TINY, start=tmp_path / "w.safetensors", greedy=True)
    fitted = model.fit(*parts, seed=0)
    assert weights(fitted) == weights(saved)
    assert (fitted.max_fixations, fitted.notes) == (7, ("seeded",))
    assert fitted.greedy
    assert fitted.name == "m"
    assert model.fit([]).identity == fitted.identity
    # Dropout may differ: there are no weights of it.
    OATModel("m", replace(TINY, dropout=0.7), start=tmp_path / "w.safetensors")


def test_training_begins_at_the_start(parts, tmp_path):
    OAT(OATNetwork(TINY, seed=6), 7).save(tmp_path / "w.safetensors")
    recipe = OATRecipe(replace(QUICK, max_epochs=1))
    fitted = make_model(recipe=recipe, start=tmp_path / "w.safetensors").fit(*parts)
    fresh = make_model(recipe=recipe).fit(*parts)
    assert weights(fitted) != weights(fresh)


def test_models_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="m needs a `recipe`, a `start`, or both"):
        OATModel("m", TINY)
    OAT(OATNetwork(TINY), 7).save(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="`start` has another architecture"):
        OATModel(
            "m", replace(TINY, n_encoder_layers=2), start=tmp_path / "w.safetensors"
        )
    with pytest.raises(FileNotFoundError, match="absent"):
        OATModel("m", TINY, start=tmp_path / "absent.safetensors")


def test_displays_and_data_that_do_not_suit_are_refused(parts, tmp_path):
    seeing = replace(TINY, appearance="features", n_features=3)
    model = make_model(config=seeing, folder=tmp_path)
    with pytest.raises(ValueError, match=r"takes features of objects; .* has none"):
        model.fit(*parts)
    with pytest.raises(ValueError, match="`training` is empty"):
        make_model(folder=tmp_path).fit([], parts[1])
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------ names


@pytest.mark.parametrize("name", [*OWN, *(n + GREEDY for n in OWN)])
@pytest.mark.parametrize(
    ("appearance", "target_position", "knows", "word"),
    [
        ("none", "none", "none", "is told nothing of the target"),
        ("synthetic", "none", "appearance", "finds the target by its look"),
        ("none", "true", "position", "no model of search"),
        ("synthetic", "true", "position", "no model of search"),
    ],
)
def test_names_become_models_that_say_what_they_know(
    name, appearance, target_position, knows, word
):
    model = oat_model(name, appearance=appearance, target_position=target_position)
    assert model.name == name
    assert model.knows == knows
    assert model.stochastic == (not name.endswith(GREEDY))
    (note,) = model.notes
    assert note.startswith(f"{name}: OAT, ")
    assert word in note
    assert ("the most probable token" in note) == name.endswith(GREEDY)
    make = small_config if name.startswith("oat-small") else published_config
    dressed = appearance == "synthetic"
    assert model.config == make(
        appearance="features" if dressed else "none",
        n_features=120 if dressed else 0,
        target_position=target_position,
    )
    assert model.looks_seed == (0 if dressed else None)
    assert model.start is None
    assert json.dumps(model.identity)


def test_the_published_model_has_the_published_recipe():
    recipe = published_recipe()
    settings = recipe.settings
    assert (settings.optimiser, settings.learning_rate) == ("adam", 1e-4)
    assert (settings.max_epochs, settings.patience) == (500, 30)
    assert (settings.clip_norm, settings.weight_decay) == (1.0, 0.0)
    assert (settings.schedule, settings.monitor) == ("constant", "delta")
    assert (recipe.trials_per_batch, recipe.mirrors) == (20, ())
    # The model of that name has nats, which no draw enters, and batches of displays.
    expected = replace(published_recipe(monitor="nats"), trials_per_batch=0)
    assert oat_model("oat").recipe == expected


def test_epochs_replace_those_of_the_recipe_and_fields_can_be_changed():
    assert oat_model("oat", epochs=7).recipe.settings.max_epochs == 7
    assert oat_model("oat-small", epochs=7).recipe == tuned_recipe(max_epochs=7)
    assert tuned_recipe(learning_rate=1.0).settings.learning_rate == 1.0
    assert tuned_recipe().settings.monitor == "nats"
    for make in (tuned_recipe, published_recipe):
        with pytest.raises(TypeError, match="rate"):
            make(rate=1.0)
        with pytest.raises(ValueError, match="`learning_rate`"):
            make(learning_rate=0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"name": "oat-smal"}, "`models`.*Did you mean 'oat-small'"),
        ({"name": "oat-shiped-greedy"}, "`models`.*Did you mean 'oat-shipped'"),
        (
            {"name": "oat-tuned", "appearance": "none"},
            "appearance='synthetic', or oat-",
        ),
        ({"name": "oat-shipped-greedy", "appearance": "none"}, "trained with appearan"),
        ({"name": "oat", "appearance": "crops"}, "`appearance` must be one of"),
        ({"name": "oat", "target_position": "yes"}, "`target_position` must be one of"),
        ({"name": "oat", "epochs": 0}, r"`epochs` must be within \[1, inf\]"),
    ],
)
def test_unknown_names_and_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        oat_model(**call)


@pytest.mark.parametrize("target_position", ["none", "true"])
def test_shipped_weights_are_taken_as_they_are_or_trained_on(target_position):
    call = {"appearance": "synthetic", "target_position": target_position}
    shipped, tuned = (oat_model(n, **call) for n in ("oat-shipped", "oat-tuned"))
    name = "shelf-searcher" if target_position == "none" else "shelf-searcher-told"
    assert shipped.start == tuned.start == name
    assert shipped.recipe is None
    assert tuned.recipe.settings.learning_rate < tuned_recipe().settings.learning_rate
    fitted = shipped.fit([])
    assert fitted.identity["weights"] == shipped.identity["start"]["weights"]
    assert fitted.knows == shipped.knows == tuned.knows
    assert "simulated" in fitted.notes[0]
    assert "simulated searchers only" in shipped.notes[0]


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="`size` must be one of 'small', 'published'"):
        oat_config("large", "none", "none")


# -------------------------------------------------------------- models of a run


def test_names_of_a_run_become_models_in_order(tmp_path):
    names = ["oat-small-greedy", "chance_uniform", "oat-small"]
    built = object_models(names, folder=tmp_path, epochs=4, device="cpu")
    assert [model.name for model in built] == names
    assert built[0].folder == built[2].folder == tmp_path
    assert built[0].recipe == built[2].recipe == tuned_recipe(max_epochs=4)
    assert (built[0].greedy, built[2].greedy) == (True, False)
    mine = make_model("mine")
    built = object_models([mine, "baselines", "oat"])
    assert [model.name for model in built] == ["mine", *MODELS, "oat"]
    assert built[0] is mine
    assert set(ALL_MODELS) >= {*OAT_MODELS, *(n + GREEDY for n in OAT_MODELS)}


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        (["oat-smll"], {}, "`models`.*Did you mean 'oat-small'"),
        (["oat-smal-greedy"], {}, "`models`.*Did you mean 'oat-small-greedy'"),
        (["oat-small", "oat-small"], {}, "Two models are called 'oat-small'"),
        (["oat-small", make_model("oat-small")], {}, "Two models are called"),
        (["oat-tuned"], {}, "trained with appearance"),
        ([], {}, "`models` is empty"),
        # Options are checked even when no model needs them.
        (["baselines"], {"device": "tpu"}, "`device` must be one of"),
        (["baselines"], {"epochs": 0}, "`epochs` must be within"),
        (["baselines"], {"appearance": "crops"}, "`appearance` must be one of"),
        (["baselines"], {"target_position": "1"}, "`target_position` must be one"),
    ],
)
def test_models_that_cannot_run_are_refused(models, options, message):
    with pytest.raises(ValueError, match=message):
        object_models(models, **options)
