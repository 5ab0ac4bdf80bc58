"""Second stages: recipes, batches, and what a training returns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neurovis.adapters.scene_classifier import (
    ClassifierSpec,
    build_classifier,
    normalise,
    to_input,
)
from neurovis.core.tensors import hash_state_dict
from neurovis.fitting.settings import TrainSettings
from tasks.foveation_training import (
    ClassifierRecipe,
    LabelledPixels,
    Pixels,
    classifier_at,
    compact_recipe,
    published_recipe,
    train_classifier,
)

TINY = {"channels": [8, 8, 8, 8], "stem_type": ""}
SPEC = ClassifierSpec("timm:resnet10t", ("sea", "wood", "town"), 32, TINY)


class Noted(Pixels):
    """Remembers which rows were asked for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = []

    def rows(self, rows):
        self.asked.append(np.asarray(rows).tolist())
        return super().rows(rows)


def labelled(n, seed=0, kind=Pixels):
    draw = np.random.default_rng(seed)
    pictures = draw.integers(0, 256, (n, 32, 32, 3), np.uint8)
    return LabelledPixels(kind(list(pictures), 32), np.arange(n) % 3)


def short(**changes):
    published = published_recipe("resnet18")
    settings = replace(published.settings, max_epochs=3, step_epochs=(1, 2), **changes)
    return ClassifierRecipe(settings, 4, False, "short")


def trained(data, recipe=None, **options):
    options = {"name": "net", "identity": {}, "seed": 5, **options}
    return train_classifier(
        data, labelled(5, seed=9), SPEC, recipe or short(), **options
    )


# ---------------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("architecture", "n_epochs", "stages"),
    [
        ("alexnet", 120, {0: 0.01, 30: 0.005, 60: 0.0025}),
        ("resnet18", 80, {0: 0.05, 16: 0.0125, 32: 0.003125}),
    ],
)
def test_published_learning_rates_fall_at_the_published_epochs(
    architecture, n_epochs, stages
):
    recipe = published_recipe(architecture)
    settings = recipe.settings
    assert settings.max_epochs == n_epochs
    for epoch in range(n_epochs):
        expected = stages[max(first for first in stages if first <= epoch)]
        assert settings.rate(epoch, 10 * epoch) == pytest.approx(expected, rel=1e-12)
    assert (settings.optimiser, settings.betas[0], settings.nesterov) == (
        "sgd",
        0.9,
        True,
    )
    assert (settings.weight_decay, settings.decay_all) == (5e-4, True)
    assert (settings.fresh_optimiser, settings.clip_norm) == (True, None)
    assert (settings.patience, settings.keep) == (None, "last")
    assert (settings.warmup_steps, settings.accumulate) == (0, 1)
    assert (recipe.batch_size, recipe.mirror, recipe.name) == (128, False, "published")


def test_the_compact_recipe_falls_along_a_cosine():
    recipe = compact_recipe(10)
    rates = [recipe.settings.rate(epoch, 0) for epoch in range(10)]
    np.testing.assert_allclose(
        rates, 0.025 * (1 + np.cos(np.pi * np.arange(10) / 10)), rtol=1e-12
    )
    assert (recipe.batch_size, recipe.mirror) == (32, True)
    assert recipe.parameters["settings"]["max_epochs"] == 10


def test_recipes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="`architecture` must be one of"):
        published_recipe("vgg16")
    with pytest.raises(ValueError, match="`batch_size` must be within"):
        ClassifierRecipe(batch_size=1)
    with pytest.raises(ValueError, match="`monitor` must be one of"):
        ClassifierRecipe(TrainSettings(monitor="r"))
    with pytest.raises(ValueError, match="There are 3 pictures, but 2 labels"):
        LabelledPixels(labelled(3).pixels, np.zeros(2, np.int64))


# ---------------------------------------------------------------------- batches


def test_training_equals_a_loop_of_torch_with_a_new_optimiser_each_epoch():
    data = labelled(12, kind=Noted)
    found, _ = trained(data, run=1)
    network = build_classifier(SPEC, seed=5, run=1).train()
    batches = iter(data.pixels.asked)
    for rate in (0.05, 0.0125, 0.003125):
        optimiser = torch.optim.SGD(
            network.parameters(), rate, 0.9, weight_decay=5e-4, nesterov=True
        )
        for _ in range(3):
            rows = next(batches)
            logits = network(normalise(data.pixels.rows(rows)))
            optimiser.zero_grad()
            F.cross_entropy(logits, torch.from_numpy(data.labels[rows])).backward()
            optimiser.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(
            found.network.state_dict()[name], value, atol=1e-4, rtol=1e-3
        )


def test_systems_see_equal_rows_and_runs_and_epochs_others():
    asked = {}
    for name, seed, run in (("a", 0, 0), ("b", 1, 0), ("c", 0, 1)):
        data = labelled(13, seed=seed, kind=Noted)
        trained(data, name=name, run=run)
        asked[name] = data.pixels.asked
    assert asked["a"] == asked["b"]
    assert asked["a"] != asked["c"]
    assert [len(rows) for rows in asked["a"]] == [4, 4, 4] * 3  # a lone last one: out
    epochs = [np.concatenate(asked["a"][i : i + 3]).tolist() for i in (0, 3, 6)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert all(len(set(epoch)) == 12 for epoch in epochs)


def test_mirroring_is_at_random_but_the_same_again():
    data = labelled(12)
    plain = short()
    mirrored = replace(plain, mirror=True)
    one, again = trained(data, mirrored)[0], trained(data, mirrored)[0]
    assert one.identity == again.identity
    assert one.identity != trained(data, plain)[0].identity
    # Pictures that are their own mirror images do not change.
    half = [p.permute(1, 2, 0).numpy() for p in data.pixels.rows(range(12))]
    folded = [np.concatenate([p[:, :16], p[:, 15::-1]], axis=1) for p in half]
    even = LabelledPixels(Pixels(folded, 32), data.labels)
    assert trained(even, mirrored)[0].identity == trained(even, plain)[0].identity


def test_pictures_that_do_not_fit_into_memory_are_read_when_asked_for(monkeypatch):
    pictures = list(np.random.default_rng(0).integers(0, 256, (4, 40, 20, 3), np.uint8))
    kept = Pixels(pictures, 32)
    monkeypatch.setattr("tasks.foveation_training._IN_MEMORY_BYTES", 0)
    read = Pixels(pictures, 32)
    assert (len(kept), len(read)) == (4, 4)
    for rows in ([2, 0], np.array([3, 3, 1])):
        assert torch.equal(kept.rows(rows), read.rows(rows))
    assert torch.equal(read.rows([1]), to_input(pictures[1:2], 32))


# ----------------------------------------------------------------- what comes out


def test_runs_of_one_number_start_from_equal_weights(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        data = labelled(8, seed=seed)
        made, _ = trained(data, folder=tmp_path / name, snapshots=(0, 2), run=3)
        start = classifier_at(made, tmp_path / name, 0)
        expected = build_classifier(SPEC, seed=5, run=3).state_dict()
        assert start.identity["weights"] == hash_state_dict(expected)
        assert start.training["n_epochs"] == 0
        hashes = {
            start.identity["weights"],
            classifier_at(made, tmp_path / name, 2).identity["weights"],
            made.identity["weights"],
        }
        assert len(hashes) == 3


def test_validation_is_that_of_the_weights_that_are_returned():
    recipe = short(keep="best", monitor="accuracy", more_is_better=True)
    for chosen in (short(), recipe):
        made, training = trained(labelled(12), chosen)
        judged = labelled(5, seed=9)
        logits = made.logits(judged.pixels.rows(range(5)))
        accuracy = float((logits.argmax(1).numpy() == judged.labels).mean())
        assert made.training["validation_accuracy"] == pytest.approx(accuracy)
        row = training.curves[training.curves["best"]].iloc[0]
        loss = F.cross_entropy(logits, torch.from_numpy(judged.labels)).item()
        assert row["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert made.training["n_pictures"] == 12


def test_interrupted_it_ends_with_the_same_bits(tmp_path):
    class Stops(Noted):
        def rows(self, rows):
            if len(self.asked) == 4:
                raise KeyboardInterrupt
            return super().rows(rows)

    recipe = short(checkpoint_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        trained(labelled(12, kind=Stops), recipe, folder=tmp_path)
    data = labelled(12, kind=Noted)
    resumed, _ = trained(data, recipe, folder=tmp_path)
    assert len(data.pixels.asked) == 5
    assert resumed.identity == trained(labelled(12), recipe)[0].identity
    with pytest.raises(ValueError, match=r"holds a training with identity\.pictures"):
        trained(labelled(12), recipe, folder=tmp_path, identity={"pictures": "other"})
