"""Trained encoders from maps to tables: what is found, and what must not leak."""

import resource
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import tasks.encoder_fits
import tasks.encoder_plans
import tasks.encoder_training
from analysis.attention_boxes import box_guidance
from data_loaders.simulated_routing import simulate_routing
from data_loaders.simulated_scenes import SceneStyle
from neurovis.adapters.brain_encoder import BrainEncoderConfig
from neurovis.core.brain_space import SurfaceSpace
from neurovis.core.files import read_json, read_table
from neurovis.core.types import SCORE_COLUMNS
from tasks.brain_encoder import fit_brain_encoder
from tasks.brain_sources import BrainData
from tasks.encoder_attention import attention_file, load_attention
from tasks.encoder_model import load_encoder, save_encoder
from tasks.encoder_options import EncoderOptions, options_of
from tasks.encoder_predict import read_model_card
from tasks.encoding_run import load_encoding, model_folder

CALL = {"n_permutations": 30, "n_bootstrap": 30, "device": "cpu"}
SMALL = BrainEncoderConfig(n_heads=4, feedforward=32, dropout=0.0)
OPTIONS = EncoderOptions("transformer", SMALL)
QUICK = {"max_epochs": 2}
LEARN = {"max_epochs": 25, "learning_rate": 3e-3, "clip_norm": 1.0}
FEATURES = ["given:maps"]


def routed(n_images=400, **options):
    small = {"grid": (6, 6), "n_channels": 16, "units_per_region": 6}
    style = SceneStyle(object_cells=(2, 2))
    return simulate_routing(n_images, n_categories=3, style=style, **small, **options)


def brain_data(brain, number=0, **changes):
    subject = brain.subjects[number]
    maps = brain.maps[subject.rows]
    return BrainData(
        replace(subject.responses, **changes),
        features={"maps": maps.reshape(len(maps), -1)},
        map_shapes={"maps": maps.shape[1:]},
    )


def fit(data, out, **changes):
    data = data if isinstance(data, list | str) else [data]
    call = {"options": OPTIONS, "settings": QUICK, **CALL, **changes}
    features = call.pop("features", FEATURES)
    return fit_brain_encoder(data, features, out, **call)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Three models of units that follow objects; not to be changed."""
    out = tmp_path_factory.mktemp("content") / "run"
    brain = routed()
    readouts = ("transformer", "masks", "ridge")
    fit(brain_data(brain), out, readouts=readouts, settings=LEARN)
    return out, brain


def mean_r(run):
    table = run.scores
    rows = (table["metric"] == "r_mean") & (table["region"] == "all units")
    return table[rows & (table["condition"] == "held-out pictures")].set_index("model")


# ------------------------------------------------------------------ what is found


def test_attention_finds_what_no_fixed_weighting_of_places_can(content):
    out, _ = content
    found = mean_r(load_encoding(out))["value"]
    assert found["transformer"] > found["ridge"] + 0.15
    assert found["transformer"] > found["masks"] + 0.15


def test_the_difference_is_told_with_its_limits(content):
    out, _ = content
    table = read_table(out / "comparisons.parquet")
    row = table[
        (table["region"] == "all units")
        & (table["model_a"] == "transformer")
        & (table["model_b"] == "ridge")
    ].iloc[0]
    run = load_encoding(out)
    r = run.units.groupby("model")["r"].mean()
    assert row["difference"] == pytest.approx(r["transformer"] - r["ridge"], abs=1e-6)
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["p_fdr"] < 0.001


def test_attention_lies_on_the_object_of_the_region(content):
    out, brain = content
    table = read_table(out / "attention.parquet")
    mine = table[table["model"] == "transformer"]
    encoder = load_encoder(model_folder(out, "subj01", "transformer", ""))
    assert tuple(mine["query"]) == encoder.query_names
    assert len(mine) == 6  # three regions, two hemispheres
    rows = load_encoding(out).rows("subj01")["row"].to_numpy()
    attention = encoder.attention(brain.maps[rows])
    for number, name in enumerate(encoder.query_names):
        category = brain.scenes.categories.index(name.split()[1])
        boxes = brain.boxes[rows, category]
        size = brain.scenes.pictures[0].shape[:2]
        rng = np.random.default_rng(0)
        (found,) = box_guidance(
            attention[:, [number]], boxes, size, n_permutations=99, rng=rng
        ).to_dict("records")
        assert found["ratio"] > 1.5, name
        assert found["mass"] > found["mass_other"] + 0.05, name
        assert found["p_value"] == 0.01, name
    fixed = table[table["model"] == "masks"]
    # The same map for every picture.
    np.testing.assert_allclose(fixed["routing_bits"], 0, atol=1e-6)


def test_kept_encoders_predict_what_stands_in_the_tables(content):
    out, brain = content
    run = load_encoding(out)
    rows = run.rows("subj01")["row"].to_numpy()
    for model in ("transformer", "masks"):
        encoder = load_encoder(model_folder(out, "subj01", model, ""))
        predicted = encoder.predict(brain.maps[rows])
        told = run.predictions("subj01", model, "")
        np.testing.assert_allclose(predicted, told, atol=1e-5)
        attention = load_attention(attention_file(out, "subj01", model, ""))
        assert attention.names == encoder.query_names
        found = encoder.attention(brain.maps[rows[:3]])
        np.testing.assert_allclose(attention.examples[:3], found, atol=1e-5)
        np.testing.assert_allclose(found.sum((2, 3)), 1, atol=1e-5)


def test_tables_have_the_form_of_encoding_models(content):
    out, _ = content
    run = load_encoding(out)
    assert list(run.scores.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    assert set(run.scores["task"]) == {"brain-encoder"}
    assert run.units["simulated"].all()
    assert read_json(out / "run.json")["task"] == "brain-encoder"
    trained = run.units[run.units["model"] == "transformer"]
    assert trained["cv_score"].notna().all()


def test_the_same_call_ends_with_the_same_bytes(tmp_path):
    data, readouts = brain_data(routed(60)), ("transformer", "masks", "ridge")
    for name in ("once", "again"):
        fit(data, tmp_path / name, readouts=readouts)
    for name in ("units", "regions", "scores", "comparisons", "attention"):
        one, two = (
            (tmp_path / f / f"{name}.parquet").read_bytes() for f in ("once", "again")
        )
        assert one == two, name


# ------------------------------------------------------------- what must not leak


def test_responses_to_test_pictures_change_no_prediction(tmp_path):
    brain = routed(60)
    data = brain_data(brain)
    held = np.arange(60) % 5 == 4
    betas = np.array(data.responses.betas)
    betas[held] = np.random.default_rng(1).standard_normal(betas[held].shape)
    other = replace(data, responses=replace(data.responses, betas=betas))
    readouts = ("transformer", "factorised", "ridge")
    runs = []
    for name, one in {"a": data, "b": other}.items():
        fit(one, tmp_path / name, readouts=readouts)
        runs.append(load_encoding(tmp_path / name))
    for readout in readouts:
        one, two = (run.predictions("subj01", readout, "") for run in runs)
        np.testing.assert_array_equal(one, two)


def test_maps_of_test_pictures_change_no_weight(tmp_path):
    brain = routed(60)
    data = brain_data(brain)
    maps = data.features["maps"].copy()
    maps[4::5] *= 100
    other = replace(data, features={"maps": maps})
    for name, one in {"a": data, "b": other}.items():
        fit(one, tmp_path / name, readouts=("transformer",))
    one, two = (
        load_encoder(model_folder(tmp_path / f, "subj01", "transformer", ""))
        for f in "ab"
    )
    np.testing.assert_array_equal(one.channel_scale, two.channel_scale)
    for name, value in one.networks[0].state_dict().items():
        assert (value == two.networks[0].state_dict()[name]).all(), name


# ----------------------------------------------------------------- kinds of models


@pytest.mark.parametrize(
    "readout", ["masks", "factorised", "gaussian", "semantic-spatial", "linear"]
)
def test_every_readout_is_trained_kept_and_read_again(tmp_path, readout):
    brain = routed(60)
    fit(brain_data(brain), tmp_path, readouts=(readout,))
    encoder = load_encoder(model_folder(tmp_path, "subj01", readout, ""))
    run = load_encoding(tmp_path)
    rows = run.rows("subj01")["row"].to_numpy()
    second = brain.maps[rows] if readout == "semantic-spatial" else None
    predicted = encoder.predict(brain.maps[rows], second)
    told = run.predictions("subj01", readout, "")
    np.testing.assert_allclose(predicted, told, atol=1e-5)
    assert encoder.training["n_epochs"] == [2]


def test_a_core_is_trained_with_its_readout(tmp_path):
    brain = routed(40)
    data = brain_data(brain)
    features = ["control:pixels:pixels:grid16"]
    fit(data, tmp_path, features=features, readouts=("gaussian", "ridge"))
    run = load_encoding(tmp_path)
    assert list(run.layers["model"].unique()) == ["gaussian with a small core", "ridge"]
    layer = "pixels:grid16"
    home = model_folder(tmp_path, "subj01", "gaussian with a small core", layer)
    encoder = load_encoder(home)
    assert encoder.with_core
    assert encoder.in_shape == (3, 16, 16)


def test_a_core_refuses_pictures_that_it_cannot_halve(tmp_path):
    data = brain_data(routed(40))
    with pytest.raises(ValueError, match="sides are multiples of 4 px"):
        fit(
            data,
            tmp_path,
            features=["control:pixels:pixels:grid15"],
            readouts=("gaussian",),
        )
    assert not (tmp_path / "run.json").exists()


def test_layers_are_averaged_unit_by_unit(tmp_path):
    brain = routed(60)
    data = brain_data(brain)
    noise = np.random.default_rng(0).standard_normal(data.features["maps"].shape)
    two = replace(
        data,
        features={**data.features, "noise": noise.astype(np.float32)},
        map_shapes={"maps": (16, 6, 6), "noise": (16, 6, 6)},
    )
    # Layers of one network; here they come from two requests with a name each.
    fit(two, tmp_path, features=["given:maps", "given:noise"], readouts=("factorised",))
    models = set(load_encoding(tmp_path).units["model"])
    assert models == {"factorised of maps", "factorised of noise"}
    fit(
        data,
        tmp_path / "layers",
        features=["control:colour:lab:grid4,lab:grid2"],
        readouts=("factorised",),
        temperature=5.0,
    )
    run = load_encoding(tmp_path / "layers")
    models = list(run.layers["model"].unique())
    assert models == ["factorised", "factorised ensemble"]
    joined = run.predictions("subj01", "factorised ensemble", "all layers")
    a, b = (
        run.predictions("subj01", "factorised", layer)
        for layer in ("lab:grid4", "lab:grid2")
    )
    low, high = np.minimum(a, b) - 1e-5, np.maximum(a, b) + 1e-5
    assert ((joined >= low) & (joined <= high)).all()
    assert not np.allclose(joined, a)


def test_runs_are_averaged(tmp_path):
    brain = routed(60)
    options = replace(OPTIONS, n_runs=2)
    fit(brain_data(brain), tmp_path, options=options, readouts=("transformer",))
    encoder = load_encoder(model_folder(tmp_path, "subj01", "transformer", ""))
    assert len(encoder.networks) == 2
    assert set(encoder.curves["run"]) == {0, 1}
    rows = load_encoding(tmp_path).rows("subj01")["row"].to_numpy()
    alone = [
        replace(encoder, networks=(network,)).predict(brain.maps[rows])
        for network in encoder.networks
    ]
    assert not np.allclose(*alone)
    told = load_encoding(tmp_path).predictions("subj01", "transformer", "")
    np.testing.assert_allclose(np.mean(alone, axis=0), told, atol=1e-5)


def test_subjects_are_trained_together_with_units_of_their_own(tmp_path):
    brain = routed(80, n_subjects=2, shared=0.5)
    data = [brain_data(brain, i) for i in range(2)]
    readouts = ("transformer",)
    fit(data, tmp_path, readouts=readouts, together=True, settings={"max_epochs": 6})
    encoders = [
        load_encoder(model_folder(tmp_path, s, "transformer", ""))
        for s in ("subj01", "subj02")
    ]
    # One network, of which each subject has its own units.
    one, two = (e.networks[0].state_dict() for e in encoders)
    assert all((one[k] == two[k]).all() for k in one)
    assert set(encoders[0].columns) & set(encoders[1].columns) == set()
    assert encoders[0].training["together_with"] == ["subj02"]
    run = load_encoding(tmp_path)
    for number, subject in enumerate(("subj01", "subj02")):
        rows = run.rows(subject)["row"].to_numpy()
        shown = brain.maps[brain.subjects[number].rows[rows]]
        told = run.predictions(subject, "transformer", "")
        np.testing.assert_allclose(encoders[number].predict(shown), told, atol=1e-5)


def test_folds_are_predicted_by_encoders_that_did_not_see_them(tmp_path):
    brain = routed(60)
    fit(brain_data(brain), tmp_path, readouts=("factorised",), test="folds-2")
    run = load_encoding(tmp_path)
    told = run.predictions("subj01", "factorised", "")
    assert told.shape == (60, 18)
    assert np.isfinite(told).all()
    encoder = load_encoder(model_folder(tmp_path, "subj01", "factorised", ""))
    assert encoder.training["n_train"] == 60
    assert any("did not see what they predict" in note for note in encoder.notes)


def test_units_that_do_not_vary_are_nan(tmp_path):
    brain = routed(60)
    data = brain_data(brain)
    betas = np.array(data.responses.betas)
    betas[:, 2] = 1
    data = replace(data, responses=replace(data.responses, betas=betas))
    fit(data, tmp_path, readouts=("transformer", "ridge"))
    told = load_encoding(tmp_path).predictions("subj01", "transformer", "")
    assert np.isnan(told[:, 2]).all()
    assert np.isfinite(np.delete(told, 2, axis=1)).all()


# ------------------------------------------------------------------ interruptions


def test_an_interrupted_run_goes_on_and_ends_with_the_same_tables(
    tmp_path, monkeypatch
):
    brain = routed(60)
    call = {"readouts": ("transformer", "factorised", "ridge")}
    fit(brain_data(brain), tmp_path / "whole", **call)
    real = tasks.encoder_training.fit_network
    count = []

    def failing(*args, **options):
        count.append(0)
        if len(count) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(tasks.encoder_training, "fit_network", failing)
    with pytest.raises(KeyboardInterrupt):
        fit(brain_data(brain), tmp_path / "cut", **call)
    monkeypatch.setattr(tasks.encoder_training, "fit_network", real)
    fit(brain_data(brain), tmp_path / "cut", **call)
    for name in ("units", "scores", "comparisons", "attention"):
        one, two = (
            (tmp_path / f / f"{name}.parquet").read_bytes() for f in ("whole", "cut")
        )
        assert one == two, name


def test_a_finished_run_trains_nothing_again(tmp_path, monkeypatch):
    brain = routed(60)
    fit(brain_data(brain), tmp_path, readouts=("factorised",))
    monkeypatch.setattr(tasks.encoder_training, "fit_network", None)
    fit(brain_data(brain), tmp_path, readouts=("factorised",))


def test_a_damaged_encoder_is_trained_again(tmp_path):
    brain = routed(60)
    fit(brain_data(brain), tmp_path, readouts=("factorised",))
    home = model_folder(tmp_path, "subj01", "factorised", "")
    weights = home / "encoder.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-8])
    fit(brain_data(brain), tmp_path, readouts=("factorised",))
    assert weights.read_bytes() == good


# --------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"readouts": ()}, "`readouts` is empty"),
        ({"readouts": ("transformers",)}, "Did you mean 'transformer'"),
        ({"readouts": ("ridge", "ridge")}, "names 'ridge' twice"),
        ({"readouts": ("vector",)}, "No layer of `features` fits"),
        ({"settings": {"epochs": 3}}, "settings"),
        ({"together": True}, "trains one encoder for several subjects"),
        ({"cv": 1}, "cv"),
        ({"device": "gpu"}, "device"),
        ({"context": "given:nothing"}, "nothing"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    tmp_path, changes, message
):
    with pytest.raises((ValueError, KeyError), match=message):
        fit(brain_data(routed(40)), tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "run.json").exists()


def test_another_call_in_the_same_folder_is_refused(tmp_path):
    data = brain_data(routed(40))
    fit(data, tmp_path, readouts=("factorised",))
    with pytest.raises(ValueError, match="holds a run with"):
        fit(data, tmp_path, readouts=("factorised",), seed=1)


def test_unknown_regions_of_queries_are_refused(tmp_path):
    options = replace(OPTIONS, query_regions=("V9",))
    with pytest.raises((ValueError, KeyError), match="V9"):
        fit(brain_data(routed(40)), tmp_path, options=options)


def test_no_pictures_but_two_subjects_of_one_name_are_told_apart(tmp_path):
    data = brain_data(routed(40))
    with pytest.raises(ValueError, match=r"twice|several recordings"):
        fit([data, data], tmp_path)


def test_comparisons_need_two_models(tmp_path):
    fit(brain_data(routed(40)), tmp_path, readouts=("ridge",))
    table = read_table(tmp_path / "comparisons.parquet")
    assert isinstance(table, pd.DataFrame)
    assert len(table) == 0


# ------------------------------------------------------------ reviewed: leaks, edges


@pytest.mark.parametrize("queries", ["hemispheres", "units"])
def test_queries_of_no_category_have_attention_without_objects(
    tmp_path, monkeypatch, queries
):
    monkeypatch.setattr(
        tasks.encoder_plans, "simulate_routing", lambda kind, seed: routed(60)
    )
    options = replace(OPTIONS, queries=queries)
    fit("simulated:content", tmp_path, features=(), options=options)
    table = read_table(tmp_path / "attention.parquet")
    assert len(table) == (2 if queries == "hemispheres" else 18)
    assert "mass" not in table


def test_layers_of_a_fold_are_weighted_by_its_own_validation(tmp_path, monkeypatch):
    brain = routed(60)
    fits = []
    real = tasks.encoder_fits.EnsembleFitter.fit

    def spy(self, *args, **options):
        fits.extend(self.fits)
        return real(self, *args, **options)

    monkeypatch.setattr(tasks.encoder_fits.EnsembleFitter, "fit", spy)
    features = ["control:colour:lab:grid4,lab:grid2"]
    call = {"features": features, "readouts": ("factorised",), "test": "folds-3"}
    fit(brain_data(brain), tmp_path, **call)
    run = load_encoding(tmp_path)
    r = np.stack([one.units["validation_r"] for one in fits])
    assert r.shape == (2, 3, 18)
    weight = np.exp(50 * np.nan_to_num(r))
    weight /= weight.sum(axis=0)
    fold = run.rows("subj01")["split"].factorize()[0]
    layers = [run.predictions("subj01", "factorised", f"lab:grid{k}") for k in (4, 2)]
    by_hand = sum(w[fold] * p for w, p in zip(weight, layers, strict=True))
    told = run.predictions("subj01", "factorised ensemble", "all layers")
    np.testing.assert_allclose(told, by_hand, atol=1e-5)


def test_nothing_trained_together_has_seen_a_picture_that_any_is_tested_on(
    tmp_path, monkeypatch
):
    brain = routed(60)
    data = brain_data(brain)
    rows = np.roll(np.arange(60), 2)  # other places in the order, other test pictures
    responses = data.responses
    second = BrainData(
        replace(
            responses,
            subject="subj02",
            betas=np.asarray(responses.betas)[rows],
            stimuli=responses.stimuli.iloc[rows].reset_index(drop=True),
            pictures=None,
        ),
        features={"maps": data.features["maps"][rows]},
        map_shapes=data.map_shapes,
    )
    first = replace(data, responses=replace(responses, pictures=None))
    seen = []
    real = tasks.encoder_training.fit_network

    def spy(*args, **options):
        seen.append(set(options["groups"]))
        return real(*args, **options)

    monkeypatch.setattr(tasks.encoder_training, "fit_network", spy)
    readouts = ("transformer", "ridge")
    fit([first, second], tmp_path, together=True, readouts=readouts)
    run = load_encoding(tmp_path)
    tested = {
        x for s in ("subj01", "subj02") for x in run.rows(s)["stimulus_id"].tolist()
    }
    assert len(tested) == 24
    assert seen
    assert not any(pictures & tested for pictures in seen)
    # All models of a subject have the same rows.
    assert set(run.units["n_train"]) == {36}
    assert sum("12 rows are not trained on" in n for n in run.provenance.notes) == 2


def test_attention_to_pictures_that_were_trained_on_is_marked(tmp_path):
    fit(brain_data(routed(40)), tmp_path, readouts=("transformer",), test="folds-2")
    notes = load_encoding(tmp_path).provenance.notes
    assert any("pictures that they have seen" in note for note in notes)


def test_a_region_without_usable_units_is_not_compared(tmp_path):
    data = brain_data(routed(40))
    responses = data.responses
    labels = responses.units[responses.families[0]]
    betas = np.array(responses.betas)
    betas[:, (labels == labels.iloc[0]).to_numpy()] = np.nan
    data = replace(data, responses=replace(responses, betas=betas))
    fit(data, tmp_path, readouts=("factorised", "ridge"))
    table = read_table(tmp_path / "comparisons.parquet")
    assert labels.iloc[0] not in set(table["region"])
    assert len(table) == 3  # all units, and two regions


def test_damaged_maps_of_attention_are_made_again(tmp_path):
    data = brain_data(routed(40))
    fit(data, tmp_path, readouts=("transformer",))
    path = attention_file(tmp_path, "subj01", "transformer", "")
    good = path.read_bytes()
    for damaged in (good[: len(good) // 2], b"", good[:400] + b"?" + good[401:]):
        path.write_bytes(damaged)
        fit(data, tmp_path, readouts=("transformer",))
        assert path.read_bytes() == good


def test_too_few_pictures_to_stop_by_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"`validation` is 0\.1 of 10 training"):
        fit(brain_data(routed(12)), tmp_path, readouts=("factorised",))
    assert not (tmp_path / "run.json").exists()


def test_subjects_whose_maps_differ_in_shape_are_not_trained_together(tmp_path):
    brain = routed(80, n_subjects=2)
    data = [brain_data(brain, i) for i in range(2)]
    data[1] = replace(data[1], map_shapes={"maps": (36, 4, 4)})
    with pytest.raises(ValueError, match="needs maps of one shape"):
        fit(data, tmp_path, together=True, readouts=("transformer",))


def test_hemispheres_of_some_subjects_only_are_refused(tmp_path):
    brain = routed(80, n_subjects=2)
    data = [brain_data(brain, i) for i in range(2)]
    units = data[1].responses.units.drop(columns="hemisphere")
    data[1] = replace(data[1], responses=replace(data[1].responses, units=units))
    with pytest.raises(ValueError, match="needs hemispheres of the units of all"):
        fit(data, tmp_path, together=True, readouts=("transformer",))


def test_the_generator_of_torch_is_left_as_it_was(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    readouts = ("transformer", "masks", "factorised", "gaussian", "semantic-spatial")
    fit(brain_data(routed(40)), tmp_path, readouts=(*readouts, "linear", "ridge"))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_place_of_units_is_kept_with_an_encoder(tmp_path):
    data = brain_data(routed(40))
    space = SurfaceSpace("tiny", (30, 30))
    units = data.responses.units.drop(columns="hemisphere")
    places = space.locate(np.r_[0:9, 30:39]).drop(columns="unit_id")
    units = pd.concat([units.reset_index(drop=True), places], axis=1)
    responses = replace(data.responses, units=units, space=space)
    fit(replace(data, responses=responses), tmp_path / "a", readouts=("factorised",))
    home = model_folder(tmp_path / "a", "subj01", "factorised", "")
    moved = tmp_path / "elsewhere"
    shutil.copytree(home, moved)
    assert read_model_card(moved).space == space


def test_a_monitored_loss_is_made_small():
    own = options_of("factorised", OPTIONS, {"monitor": "loss"})
    assert not own.training.more_is_better
    assert options_of("factorised", OPTIONS, {"monitor": "r"}).training.more_is_better
    with pytest.raises(ValueError, match=r"settings\['monitor'\]"):
        options_of("factorised", OPTIONS, {"monitor": "auc"})


def test_penalties_are_for_readouts_that_have_one():
    options = replace(OPTIONS, penalties=(0.1, 1.0))
    tried = {n: options_of(n, options).tried for n in ("vector", "masks", "gaussian")}
    assert tried == {"vector": (0.0,), "masks": (0.0,), "gaussian": (0.1, 1.0)}


def test_weights_that_cannot_be_written_leave_no_encoder(tmp_path):
    fit(brain_data(routed(40)), tmp_path, readouts=("factorised",))
    encoder = load_encoder(model_folder(tmp_path, "subj01", "factorised", ""))
    save_encoder(tmp_path / "other", encoder)
    assert len({p.stat().st_mode for p in (tmp_path / "other").iterdir()}) == 1
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            save_encoder(tmp_path / "other", encoder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(FileNotFoundError, match="holds no encoder"):
        load_encoder(tmp_path / "other")
    assert not list((tmp_path / "other").glob("*.part-*"))


def test_kept_encoders_depend_on_no_default(tmp_path):
    brain = routed(40)
    fit(brain_data(brain), tmp_path, options=EncoderOptions("transformer"))
    encoder = load_encoder(model_folder(tmp_path, "subj01", "transformer", ""))
    config = encoder.options.config
    assert config is not None
    assert (config.width, config.n_heads, config.feedforward) == (64, 4, 128)
    assert dict(encoder.options.changes) == {}
