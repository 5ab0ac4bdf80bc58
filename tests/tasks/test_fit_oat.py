"""One OAT, trained and kept: what lies in its folder, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from neurovis.adapters.oat import OAT, load_oat
from neurovis.adapters.oat_network import OATNetwork, published_config, small_config
from neurovis.core.files import sha256_file
from neurovis.fitting.train import TrainSettings
from tasks.fit_oat import WEIGHTS_FILE, fit_oat_observer
from tasks.oat_training import OATRecipe, fit_oat
from tasks.object_search_data import search_splits, trials_fingerprint
from tasks.simulated_search import SimulatedSearch, simulated_object_search

pytestmark = pytest.mark.usefixtures("one_set_of_looks")

DATA = SimulatedSearch(n_shelves=4, targets_per_shelf=1, n_observers=2, rows=2, cols=3)
CALL = {"data": DATA, "appearance": "none", "target_position": "true", "epochs": 2}
FILES = {"run.json", "card.json", "curves.png", "fit", WEIGHTS_FILE}


def fit_small(out, **changes):
    return fit_oat_observer(out, **(CALL | changes))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A finished folder and its observer; not to be changed."""
    out = tmp_path_factory.mktemp("fit") / "small"
    return out, fit_small(out, fold=1, seed=3)


def listing(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# -------------------------------------------------------------------- what is kept


def test_the_folder_holds_weights_curves_and_a_card(fitted):
    out, observer = fitted
    assert {path.name for path in out.iterdir()} == FILES
    read = load_oat(weights=out / WEIGHTS_FILE, device="cpu")
    assert read.identity == observer.identity
    assert read.notes == observer.notes
    assert read.network.config == small_config(
        appearance="none", target_position="true"
    )
    with Image.open(out / "curves.png") as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 5
    curves = pd.read_csv(out / "fit" / "curves.csv")
    assert curves["epoch"].tolist() == [0, 1]


def test_the_card_tells_what_the_weights_are(fitted):
    out, observer = fitted
    card = json.loads((out / "card.json").read_text())
    assert (card["model"], card["weights"]) == ("OAT", WEIGHTS_FILE)
    assert card["sha256"] == sha256_file(out / WEIGHTS_FILE)
    assert card["identity"] == json.loads(json.dumps(observer.identity))
    assert card["knows"] == "position"
    assert (card["n_epochs"], card["stopped"]) == (2, "max_epochs")
    curves = pd.read_csv(out / "fit" / "curves.csv")
    best = curves.loc[curves["best"]].iloc[0]
    assert card["best_epoch"] == best["epoch"]
    assert card["validation_nats_per_token"] == pytest.approx(best["val_nats"])
    provenance = card["provenance"]
    assert provenance["device"].startswith("cpu")
    assert provenance["seed"] == 3
    assert provenance["call"]["data"]["n_shelves"] == 4
    assert provenance["call"]["fold"] == 1
    assert provenance["notes"] == list(observer.notes)


def test_one_fold_is_left_out_and_the_next_decides(fitted):
    out, observer = fitted
    data = simulated_object_search(DATA, appearance="none")
    split = search_splits(data)[1]
    parts = {
        name: [data.trials[i] for i in getattr(split, name)]
        for name in ("training", "validation")
    }
    card = json.loads((out / "card.json").read_text())
    for name, part in parts.items():
        assert card["provenance"]["fingerprints"][name] == trials_fingerprint(part)
    note = "Trained on 4 trials of simulated_shelves without fold10 1;"
    assert observer.notes[0].startswith(note)
    assert "the licence of those data holds" in observer.notes[0]
    assert observer.notes[1:] == data.notes
    assert observer.max_fixations == max(len(t.cells) for t in parts["training"])


def test_options_reach_the_training(tmp_path):
    options = {"learning_rate": 5e-3, "mirrors": ["vertical"], "accumulate": 2}
    observer = fit_small(tmp_path / "fit", fold=2, seed=4, **options)
    training = json.loads((tmp_path / "fit" / "fit" / "training.json").read_text())
    identity = training["identity"]
    assert identity["settings"]["learning_rate"] == 5e-3
    assert identity["settings"]["accumulate"] == 2
    assert identity["settings"]["precision"] == "float32"
    assert identity["settings"]["max_epochs"] == 2
    assert identity["identity"]["recipe"]["mirrors"] == ["vertical"]
    assert identity["seed"] == 4
    call = json.loads((tmp_path / "fit" / "run.json").read_text())
    assert call["mirrors"] == ["vertical"]
    assert observer.knows == "position"


def test_a_finished_folder_is_read_and_not_trained_again(fitted, tmp_path):
    source, observer = fitted
    out = shutil.copytree(source, tmp_path / "copy")
    before = listing(out)
    again = fit_small(out, fold=1, seed=3)
    assert again.identity == observer.identity
    after = listing(out)
    assert {k: data for k, (_, data) in after.items()} == {
        k: data for k, (_, data) in before.items()
    }
    for name in ("fit/model.safetensors", "fit/training.json"):
        assert after[name] == before[name]


def test_a_folder_whose_weights_were_lost_gets_them_again(fitted, tmp_path):
    source, _ = fitted
    out = shutil.copytree(source, tmp_path / "copy")
    expected = (out / WEIGHTS_FILE).read_bytes()
    (out / WEIGHTS_FILE).unlink()
    (out / "card.json").unlink()
    fit_small(out, fold=1, seed=3)
    assert (out / WEIGHTS_FILE).read_bytes() == expected
    assert listing(out).keys() == listing(source).keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, "holds a run with epochs=2; now epochs=3"),
        ({"seed": 4}, "holds a run with seed=3; now seed=4"),
        ({"fold": 0}, "holds a run with fold=1; now fold=0"),
        ({"mirrors": ["vertical"]}, r"mirrors=\[\]; now mirrors=\['vertical'\]"),
        ({"target_position": "none"}, "target_position='true'; now"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_folder_with_another_training_is_refused(fitted, changes, message):
    out, _ = fitted
    before = listing(out)
    with pytest.raises(ValueError, match=message):
        fit_small(out, **({"fold": 1, "seed": 3} | changes))
    assert listing(out) == before


# ------------------------------------------------------------------------ starts


def test_training_can_start_from_a_file(tmp_path):
    config = small_config(appearance="none", target_position="true")
    start = OAT(OATNetwork(config, seed=9), 5)
    start.save(tmp_path / "start.safetensors")
    call = {"start": tmp_path / "start.safetensors", "epochs": 1}
    observer = fit_small(tmp_path / "fit", learning_rate=1e-12, **call)
    for name, value in observer.network.state_dict().items():
        torch.testing.assert_close(
            value, start.network.state_dict()[name], atol=1e-6, rtol=0
        )
    call = json.loads((tmp_path / "fit" / "run.json").read_text())
    assert call["start"] == str(tmp_path / "start.safetensors")


@pytest.mark.parametrize("target_position", ["none", "true"])
def test_training_can_start_from_the_shipped_weights(tmp_path, target_position):
    name = "shelf-searcher" if target_position == "none" else "shelf-searcher-told"
    shipped = load_oat(weights=name, device="cpu")
    observer = fit_small(
        tmp_path,
        data=replace(DATA, n_shelves=3, n_observers=1),
        start="shipped",
        appearance="synthetic",
        target_position=target_position,
        epochs=1,
        learning_rate=1e-12,
    )
    assert observer.knows == shipped.knows
    assert observer.network.config.dropout == 0.1
    for name, value in observer.network.state_dict().items():
        torch.testing.assert_close(
            value, shipped.network.state_dict()[name], atol=1e-6, rtol=0
        )


# ------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "large"}, "`size` must be one of 'small', 'published'"),
        ({"appearance": "crops"}, "`appearance` must be one of"),
        ({"target_position": "yes"}, "`target_position` must be one of"),
        ({"fold": 4}, r"`fold` must be within \[0, 3\]"),
        ({"fold": -1}, "`fold` must be within"),
        ({"epochs": 0}, "`epochs` must be within"),
        ({"seed": -1}, "`seed` must be within"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0"),
        ({"accumulate": 0}, "`accumulate` must be within"),
        ({"precision": "double"}, "`precision` must be one of"),
        ({"mirrors": ["horizonal"]}, "`mirrors`.*Did you mean 'horizontal'"),
        ({"device": "tpu"}, "`device` must be one of"),
        ({"start": "shiped"}, "`start` must be an existing file; shiped is nothing"),
        ({"start": "shipped"}, "`start` has another architecture"),
        ({"data": "nowhere"}, "nowhere"),
        # Without data nothing but the seed, the epochs and the told place is free.
        ({"data": None, "appearance": "none"}, "Without `data` .*leave out `appearan"),
        ({"data": None, "size": "published"}, "Without `data` .*leave out `size`"),
        ({"data": None, "start": "shipped"}, "Without `data` .*leave out `start`"),
        ({"data": None, "learning_rate": 1.0}, "leave out `learning_rate`"),
        ({"data": None, "mirrors": ["vertical"]}, "leave out `mirrors`"),
        ({"data": None, "precision": "mixed"}, "leave out `precision`"),
        ({"data": None, "accumulate": 2}, "leave out `accumulate`"),
        ({"data": None, "fold": 1}, "leave out `fold`"),
        ({"data": None, "epochs": 0}, "`epochs` must be within"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    tmp_path, changes, message
):
    call = CALL | changes
    if call["data"] is None and "appearance" not in changes:
        call["appearance"] = "synthetic"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        fit_oat_observer(tmp_path / "fit", **call)
    assert not (tmp_path / "fit").exists()


# -------------------------------------------------------------------------- slow


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_data_random_searchers_are_simulated(tmp_path):
    observer = fit_oat_observer(tmp_path / "a", epochs=1, seed=2)
    again = fit_oat_observer(tmp_path / "b", epochs=1, seed=2)
    assert again.identity == observer.identity
    assert observer.knows == "appearance"
    assert "no data of people" in observer.notes[0]
    card = json.loads((tmp_path / "a" / "card.json").read_text())
    assert card["provenance"]["call"]["data"] is None
    assert card["validation_nats_per_token"] < np.log(85)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_published_network_is_trained_by_its_recipe(tmp_path):
    observer = fit_small(tmp_path / "fit", size="published", epochs=1)
    assert observer.network.config == published_config(
        appearance="none", target_position="true"
    )
    data = simulated_object_search(DATA, appearance="none")
    split = search_splits(data)[0]
    training, validation = (
        [data.trials[i] for i in rows] for rows in (split.training, split.validation)
    )
    text = (tmp_path / "fit" / "fit" / "training.json").read_text()
    known = json.loads(text)["identity"]
    assert known["identity"]["recipe"]["trials_per_batch"] == 0
    assert known["settings"]["monitor"] == "nats"
    settings = known["settings"] | {"betas": tuple(known["settings"]["betas"])}
    other, _ = fit_oat(
        training,
        validation,
        config=observer.network.config,
        recipe=OATRecipe(TrainSettings(**settings), trials_per_batch=0),
    )
    assert other.identity == observer.identity
