"""Training of the network of latent rotation, and its readout."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from neurovis.adapters.latent_rotation import rotate_volume
from neurovis.adapters.latent_rotation_network import (
    LatentRotation,
    build_latent_rotation,
    load_latent_rotation,
    save_latent_rotation,
)
from neurovis.adapters.latent_rotation_settings import SMALL, TINY
from neurovis.core.files import sha256_file
from stimuli.block_figures import mirror_pair_key, mirror_shape
from stimuli.block_sets import plan_rotation_pairs
from stimuli.block_survey import draw_block_shapes
from tasks import latent_rotation_training
from tasks.latent_rotation_training import (
    SMALL_RECIPE,
    LatentRotationRecipe,
    guess_errors,
    reconstruction_error,
    train_latent_rotation,
)
from tasks.latent_rotation_views import (
    draw_object_views,
    draw_view,
    training_shapes,
)
from tasks.mental_rotation import run_mental_rotation
from tasks.mental_rotation_latent import latent_matches, turn_axes
from tasks.mental_rotation_report import finish_mental_rotation
from tasks.mental_rotation_trials import N_MIRROR_PAIRS, plan_mental_rotation
from tasks.mental_rotation_voxels import occupancy, view_pose
from tasks.runs import load_run

RECIPE = LatentRotationRecipe(
    network=TINY,
    n_objects=1,
    n_validation_objects=1,
    n_views=8,
    epochs=6,
    near_share=0.5,
    batch_size=4,
    learning_rate=3e-3,
    name="tiny",
)
RUN = {
    **{"n_objects": 2, "angles_deg": [0, 90], "pairs_per_angle": 2, "seed": 1},
    **{"training_pairs_per_angle": 2, "n_bootstrap": 5, "device": "cpu"},
    "rotations": "depth",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny training; not to be changed."""
    out = tmp_path_factory.mktemp("training") / "tiny"
    return train_latent_rotation(out, recipe=RECIPE, seed=1, device="cpu")


@pytest.fixture(scope="module")
def views():
    return draw_object_views(["uuubbrrrd"], 4, TINY, seed=2)


# ------------------------------------------------------------------------- views


def test_the_turn_between_two_views_turns_the_object(views):
    """The volumes of the object itself, in both poses, are each other's turns."""
    which, first, second = np.array([0]), np.array([1]), np.array([2])
    turn = views.turns(which, first, second).double()
    poses = views.poses[0, [1, 2]].double().numpy()
    ones, others = (
        torch.from_numpy(occupancy("uuubbrrrd", pose, 16)).double()[None, None]
        for pose in poses
    )
    turned = rotate_volume(ones, turn)
    match = np.corrcoef(turned.flatten(), others.flatten())[0, 1]
    before = np.corrcoef(ones.flatten(), others.flatten())[0, 1]
    assert match > 0.95
    assert before < 0.6


def test_each_object_is_followed_by_its_mirror_image(views):
    assert views.pictures.shape == (2, 4, 16, 16)
    assert (views.pictures[0] != views.pictures[1]).any()
    again = draw_object_views(["uuubbrrrd"], 4, TINY, seed=2)
    assert torch.equal(again.pictures, views.pictures)
    other = draw_object_views(["uuubbrrrd"], 4, TINY, seed=2, part="views")
    assert (other.pictures != views.pictures).any()
    angles = views.apart_deg[0]
    # Elements near the diagonal of float32 matrices have a few hundredths of a degree.
    assert angles.diagonal().max() < 0.1
    torch.testing.assert_close(angles, angles.T)


def test_a_view_keeps_the_size_of_the_experiment():
    big = draw_view("uuubbrrrd", 30, 25, 0, replace(SMALL, size_px=64))
    small = draw_view("uuubbrrrd", 30, 25, 0, SMALL)
    halved = big.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(halved - small).mean() < 2
    assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.99


def test_objects_to_train_on_are_not_those_of_an_experiment_with_the_same_seed():
    known = {mirror_pair_key(shape) for shape in training_shapes(140, seed=5)}
    assert len(known) == 140
    used = {mirror_pair_key(shape) for shape in draw_block_shapes(27, seed=5)}
    assert not known & used


def test_the_axis_of_a_pair_is_the_axis_of_its_views():
    pairs = plan_rotation_pairs(
        draw_block_shapes(2), angles_deg=[40, 120], pairs_per_angle=4, seed=3
    )
    names = ("azimuth_deg", "elevation_deg", "roll_deg")
    for axis, row in zip(turn_axes(pairs), pairs.to_dict("records"), strict=True):
        left, right = (
            view_pose(*(row[f"{side}_{name}"] for name in names))
            for side in ("left", "right")
        )
        turn = right @ left.T
        np.testing.assert_allclose(turn @ axis.numpy(), axis.numpy(), atol=1e-6)
        angle = np.degrees(np.arccos((np.trace(turn) - 1) / 2))
        assert angle == pytest.approx(row["angle_deg"], abs=1e-6)


# ---------------------------------------------------------------------- training


def test_training_lowers_the_loss_of_one_object(trained):
    losses = trained.curves["loss"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]
    assert trained.curves["val_loss"].notna().all()


def test_the_card_tells_errors_beside_those_of_guesses(trained):
    errors = trained.card["squared_error"]
    assert set(errors) == {"views", "objects"}
    assert errors["views"]["network"] == trained.curves["val_loss"].iloc[-1]
    assert errors["views"]["mean_picture"] < errors["views"]["other_view"]
    assert trained.card["sha256"] == sha256_file(trained.weights)
    network = load_latent_rotation(trained.weights)
    assert network.trained
    assert network.mirror_pair_keys == {
        mirror_pair_key(shape) for shape in training_shapes(2, seed=1)
    }
    assert "no published weights" in network.notes[0]


def test_guesses_have_the_errors_of_brute_force(views):
    found = guess_errors(views, views)
    pictures = views.pictures.numpy() / 255
    mean = pictures.mean(axis=(0, 1))
    assert found["mean_picture"] == pytest.approx(np.square(pictures - mean).mean())
    differences = pictures[:, 0::2] - pictures[:, 1::2]
    assert found["other_view"] == pytest.approx(np.square(differences).mean())


def test_a_network_is_judged_by_both_views_of_a_pair(views):
    network = build_latent_rotation(TINY, 0).eval()
    errors = []
    for which in range(2):
        for a, b in ((0, 1), (1, 0), (2, 3), (3, 2)):
            one, first, second = (np.array([v]) for v in (which, a, b))
            with torch.no_grad():
                drawn = network(
                    views.images(one, first), views.turns(one, first, second)
                )
            errors.append((drawn - views.images(one, second)).square().mean().item())
    assert reconstruction_error(network, views) == pytest.approx(np.mean(errors))


def test_pairs_grow_apart_and_every_view_comes_once(views):
    recipe = replace(RECIPE, epochs=12, near_share=0.5)
    batches = latent_rotation_training._batches(views, recipe, 0)
    apart = views.apart_deg.numpy()
    for epoch in (0, 3, 11):
        which, first, second = (
            np.concatenate(part) for part in zip(*batches(epoch), strict=True)
        )
        assert len(set(zip(which, first, strict=True))) == 8
        far = apart[which, first, second]
        assert (far <= max(recipe.limit_deg(epoch), 0.1)).all()
        assert epoch == 3 or (first == second).all() == (epoch == 0)
        again = batches(epoch)
        assert all(
            (a[2] == b[2]).all() for a, b in zip(again, batches(epoch), strict=True)
        )


def test_a_killed_training_resumes_and_ends_with_equal_bits(
    trained, tmp_path, monkeypatch
):
    out = tmp_path / "again"
    errors, steps = latent_rotation_training._errors, []

    def stop_later(*arguments):
        steps.append(1)
        if len(steps) > 14:
            raise KeyboardInterrupt
        return errors(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(latent_rotation_training, "_errors", stop_later)
        with pytest.raises(KeyboardInterrupt):
            train_latent_rotation(out, recipe=RECIPE, seed=1, device="cpu")
    assert not (out / "latent_rotation.safetensors").exists()
    again = train_latent_rotation(out, recipe=RECIPE, seed=1, device="cpu")
    assert again.weights.read_bytes() == trained.weights.read_bytes()
    pd.testing.assert_frame_equal(again.curves, trained.curves)
    with pytest.raises(ValueError, match="seed"):
        train_latent_rotation(out, recipe=RECIPE, seed=2, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_objects": 0}, "n_objects"),
        ({"n_objects": N_MIRROR_PAIRS}, "together"),
        ({"n_validation_views": 3}, "even"),
        ({"near_share": 2.0}, "near_share"),
        ({"schedule": "sudden"}, "schedule"),
        ({"roll_deg": 200.0}, "roll_deg"),
    ],
)
def test_recipes_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **change)


def test_a_shortened_recipe_says_so():
    short = LatentRotationRecipe().shortened(n_objects=3, epochs=2)
    assert (short.n_objects, short.epochs) == (3, 2)
    assert short.name == "published, 3 objects, 2 epochs"


# ----------------------------------------------------------------------- readout


def test_two_equal_pictures_match_without_any_turn(trained):
    network = load_latent_rotation(trained.weights)
    pairs = plan_rotation_pairs(
        draw_block_shapes(1, seed=1), angles_deg=[0], pairs_per_angle=2
    )
    matches = latent_matches(pairs, network, step_deg=60)
    same = (pairs["truth"] == "same").to_numpy()
    assert matches.shape == (4, 4)
    np.testing.assert_allclose(matches[same, 0], 1, atol=1e-6)
    assert (matches[~same, 0] < 0.9999).all()


class _Seeing(LatentRotation):
    """Sees the object itself: volumes by the number in the first pixel."""

    volumes: torch.Tensor

    def encode(self, images):
        return self.volumes[(images[:, 0, 0, 0] * 255).round().long()]


def test_a_network_that_sees_right_turns_as_far_as_the_object_was(monkeypatch):
    pairs = plan_rotation_pairs(
        draw_block_shapes(2, seed=4), angles_deg=[0, 60, 120], pairs_per_angle=2
    )
    names = ("azimuth_deg", "elevation_deg", "roll_deg")
    volumes = [
        occupancy(
            row[f"{side}_shape"], view_pose(*(row[f"{side}_{n}"] for n in names)), 16
        )
        for side in ("left", "right")
        for row in pairs.to_dict("records")
    ]
    network = _Seeing(TINY)
    network.volumes = torch.from_numpy(np.stack(volumes))[:, None]
    numbers = torch.arange(2 * len(pairs), dtype=torch.uint8)
    monkeypatch.setattr(
        "tasks.mental_rotation_latent.pair_views",
        lambda pairs, settings: numbers.view(2, -1, 1, 1),
    )
    matches = latent_matches(pairs, network)
    same = (pairs["truth"] == "same").to_numpy()
    found = 5 * matches[same].argmax(axis=1)
    np.testing.assert_allclose(found, pairs["angle_deg"][same], atol=5)
    assert matches[same].max(axis=1).min() > matches[~same].max(axis=1).max()


def test_objects_that_were_trained_on_are_refused(trained):
    network = load_latent_rotation(trained.weights)
    shape = training_shapes(1, seed=1)[0]
    pairs = plan_rotation_pairs(
        [mirror_shape(shape)], angles_deg=[0], pairs_per_angle=2
    )
    with pytest.raises(ValueError, match="was trained on"):
        latent_matches(pairs, network)


def test_trials_are_drawn_apart_from_objects_that_were_learnt():
    learnt = [mirror_shape(shape) for shape in draw_block_shapes(3, seed=1)]
    trials = plan_mental_rotation(
        4, angles_deg=[0], pairs_per_angle=4, seed=1, apart_from=learnt
    )
    drawn = {mirror_pair_key(shape) for shape in trials.both["left_shape"]}
    assert len(drawn) == 4
    assert not drawn & {mirror_pair_key(shape) for shape in learnt}
    far = draw_block_shapes(40, seed=1)[20:]
    plain, apart = (
        plan_mental_rotation(4, angles_deg=[0], seed=1, apart_from=shapes)
        for shapes in ((), far)
    )
    pd.testing.assert_frame_equal(plain.both, apart.both)


def test_a_run_reads_the_network_and_resumes(trained, tmp_path, undrawn_figures):
    out = tmp_path / "run"
    options = {"latent": trained.weights, "readouts": ["latent", "chance"], **RUN}
    score = run_mental_rotation([], out, **options)
    own = score.table[score.table["readout"] == "latent"]
    assert set(own["kind"]) == {"network"}
    assert not own["untrained"].any()
    assert own["metric"].eq("cost_slope").sum() == 1
    run = load_run(out, "mental-rotation")
    trials = run.trials[run.trials["readout"] == "latent"]
    assert trials["rt_ms"].between(1000, 1000 + 180 * 17.5).all()
    threshold = own.loc[own["metric"] == "threshold", "value"].iloc[0]
    assert ((trials["evidence"] > threshold) == (trials["response"] == "same")).all()
    assert any("told the axis" in note for note in run.provenance.notes)
    call = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert call["apart_from"] == training_shapes(2, seed=1)
    before = (out / "trials.parquet").read_bytes()
    entry = next(p for p in (out / "parts").iterdir() if len(p.name) == 64)
    shutil.rmtree(entry)
    (out / "trials.parquet").unlink()
    run_mental_rotation([], out, **options)
    assert before == (out / "trials.parquet").read_bytes()
    lines = finish_mental_rotation(out)
    assert any(line.strip().startswith("latent rotation ") for line in lines)


def test_random_weights_are_marked_untrained(tmp_path):
    options = {**RUN, "angles_deg": [0], "n_bootstrap": 0}
    score = run_mental_rotation(
        [], tmp_path / "run", latent="seeded:0", readouts="latent", **options
    )
    assert score.table["untrained"].all()


def test_a_network_that_has_learnt_nearly_all_objects_is_refused(tmp_path):
    network = build_latent_rotation(TINY, 0)
    path = tmp_path / "all.safetensors"
    about = {"notes": [], "shapes": draw_block_shapes(N_MIRROR_PAIRS)[3:]}
    save_latent_rotation(path, network.state_dict(), TINY, about)
    with pytest.raises(ValueError, match="at most 3"):
        run_mental_rotation(
            [], tmp_path / "run", latent=path, readouts="latent",
            **{**RUN, "n_objects": 4},
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("latent", [None, "seeded:0"])
def test_the_readout_and_its_weights_belong_together(tmp_path, latent):
    readouts = "latent" if latent is None else ["voxel"]
    with pytest.raises(ValueError, match="belong together"):
        run_mental_rotation(
            [], tmp_path / "run", latent=latent, readouts=readouts, **RUN
        )
    assert not (tmp_path / "run").exists()


# -------------------------------------------------------------------------- slow


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_minute_of_training_beats_the_mean_picture_on_new_views(tmp_path):
    recipe = replace(SMALL_RECIPE, n_objects=1, epochs=60, n_validation_objects=1)
    made = train_latent_rotation(tmp_path / "small", recipe=recipe, device="cpu")
    errors = made.card["squared_error"]["views"]
    assert errors["network"] < 0.9 * errors["mean_picture"]
    assert errors["network"] < 0.5 * errors["other_view"]
