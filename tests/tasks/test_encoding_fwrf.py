"""Receptive fields through the task: recovered, resumed, kept, and shown."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data_loaders.synthetic import n_pictures, simulate_nsd
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import LazyPictures
from neurovis.core.unit_responses import UnitResponses
from neurovis.fitting import fwrf_search
from neurovis.fitting.encoding_model import load_encoding_model
from neurovis.fitting.fwrf import ALPHAS, FwRF, candidate_grid, gaussian_pools
from neurovis.fitting.fwrf_model import FwRFModel
from stimuli.category_pictures import make_category_pictures
from tasks.brain_sources import BrainData, split_rows
from tasks.encoding import fit_encoding
from tasks.encoding_fits import default_alphas
from tasks.encoding_fwrf import FIELD_COLUMNS
from tasks.encoding_predict import predict_encoding
from tasks.encoding_report import finish_encoding
from tasks.encoding_run import load_encoding, model_folder, prediction_file

GRID = {"n_sigmas": 3, "smallest_sigma": 0.12}
CALL = {"method": "fwrf", "n_permutations": 99, "n_bootstrap": 20, "device": "cpu"}
CALL |= GRID
LAYERS = ("lab:grid16", "statistics")
FEATURES = (f"control:colour:{','.join(LAYERS)}",)
TABLES = ("units", "regions", "layers", "scores")
# x, y (upwards), sigma: places that the grid has, and one that it has not.
TRUTH = candidate_grid(3, 0.12)[[8, 40, 52, 57]]
TRUTH = np.concatenate([TRUTH, [[-0.2, 0.1, 0.15]]])


def picture(number):
    """Blobs of colour, so that places differ."""
    rng = np.random.default_rng(number)
    cells = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.kron(cells, np.ones((4, 4, 1), np.uint8))


def maps_of(numbers):
    backbone = load_backbone("control:colour")
    found = extract_features(backbone, [picture(i) for i in numbers], list(LAYERS))
    return found["lab:grid16"].reshape(-1, 3, 16, 16), found["statistics"]


def make_data(n=150, noise=0.4, trials=1):
    """Units that pool colours with the Gaussians of `TRUTH`; the last says nothing."""
    rng = np.random.default_rng(1)
    maps, _ = maps_of(range(n))
    pooled = np.einsum("nkij,uij->nuk", maps, gaussian_pools(16, TRUTH))
    pooled = (pooled - pooled.mean(0)) / pooled.std(0)
    signal = np.einsum("nuk,uk->nu", pooled, rng.standard_normal((len(TRUTH), 3)))
    signal = np.column_stack([signal / signal.std(0), np.zeros(n)])
    rows = np.repeat(np.arange(n), trials)
    betas = signal[rows] + noise * rng.standard_normal((len(rows), signal.shape[1]))
    units = pd.DataFrame({"unit_id": [f"u{i}" for i in range(signal.shape[1])]})
    responses = UnitResponses(
        "tiny",
        "s1",
        (3 + betas).astype(np.float32),
        pd.DataFrame({"stimulus_id": [f"p{i:03d}" for i in rows], "n_repeats": 1}),
        units.assign(area=["V1"] * 3 + ["V4"] * (len(units) - 3), ncsnr=1 / noise),
        families=("area",),
        pictures=LazyPictures(picture, rows.tolist()),
    )
    return BrainData(responses, features={"given": np.ones((len(rows), 3), np.float32)})


def fit(out, data=None, features=FEATURES, **changes):
    data = make_data() if data is None else data
    return fit_encoding([data], list(features), out, **(CALL | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small fit; not to be changed."""
    out = tmp_path_factory.mktemp("fwrf") / "run"
    fit(out)
    return out


def model_of(run, layer="all layers"):
    return model_folder(run, "s1", "control:colour", layer)


# ------------------------------------------------------------------ what is found


def test_places_and_sizes_of_simulated_fields_are_found(finished):
    units = load_encoding(finished).units
    found = units[list(FIELD_COLUMNS)].to_numpy()
    known = len(TRUTH) - 1  # those that the grid has
    np.testing.assert_allclose(found[:known], TRUTH[:known], atol=1e-12)
    distance = np.hypot(*(found[known, :2] - TRUTH[known, :2]))
    assert distance < 0.12
    assert 0.1 < found[known, 2] < 0.25
    r = units["r"].to_numpy()
    assert (r[: len(TRUTH)] > 0.8).all()
    assert abs(r[-1]) < 0.45
    share = units["cv_score"].to_numpy()
    assert (share[:known] > 0.75).all()
    assert share[known] > 0.55
    assert share[-1] < 0.1
    assert (units["method"] == "fwrf").all()
    assert units["layer"].unique().tolist() == ["all layers"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fields_of_a_simulated_early_cortex_are_found(tmp_path):
    drawn = make_category_pictures(n_pictures(1, 2), size_px=64)
    root = simulate_nsd(
        tmp_path / "nsd",
        list(drawn.images),
        drawn.table,
        n_subjects=1,
        n_sessions=2,
        volume_shape=(12, 14, 12),
        n_vertices=(162, 162),
        picture_px=64,
    )
    fit_encoding(
        f"nsd:{root}",
        ["control:gabor:cycles4:flat,cycles8:grid32"],
        tmp_path / "fit",
        **{name: CALL[name] for name in ("method", "n_bootstrap", "device")},
        n_permutations=9,
        regions=["V1", "V2"],
    )
    run = load_encoding(tmp_path / "fit")
    truth = read_table(root / "neurovis_simulation" / "subj01_func1pt8mm.parquet")
    places = ["x", "y", "z"]
    units = run.unit_places("subj01")[["unit_id", *places]]
    both = run.units.merge(units, on="unit_id").merge(truth, on=places)
    assert len(both) == len(run.units) > 20
    x, y = both["rf_x_deg"] / 8.4, -both["rf_y_deg"] / 8.4
    assert np.corrcoef(x, both["rf_x"])[0, 1] > 0.9
    assert np.corrcoef(y, both["rf_y"])[0, 1] > 0.9
    assert np.hypot(x - both["rf_x"], y - both["rf_y"]).median() < 0.05
    # Most are smaller than the smallest pool.
    assert both["rf_sigma"].median() < 0.08
    assert run.units["r"].mean() > 0.9 * np.sqrt(run.units["ceiling"]).mean()


def test_the_numbers_are_those_of_the_estimator(finished):
    data, run = make_data(), load_encoding(finished)
    (split,) = split_rows(data.responses, "every-5")
    maps, numbers = maps_of(range(150))
    parts = [maps, numbers[:, :, None, None]]
    Y = data.responses.betas
    alphas = default_alphas(3 + 28)
    fields = FwRF(candidate_grid(3, 0.12), alphas, cv=5, bias="free", device="cpu")
    fields.fit([part[split.train] for part in parts], Y[split.train])
    units = run.units
    np.testing.assert_array_equal(units["alpha"], fields.alphas_)
    np.testing.assert_array_equal(units[list(FIELD_COLUMNS)], fields.pools_)
    predicted = fields.predict([part[split.test] for part in parts])
    np.testing.assert_allclose(
        run.predictions("s1", "control:colour", "all layers"), predicted, atol=1e-5
    )
    share = 1 - fields.losses_ / (120 * Y[split.train].var(0, dtype=np.float64))
    np.testing.assert_allclose(units["cv_score"], share, atol=1e-6)
    assert (units["at_largest"] == (units["alpha"] == max(alphas))).all()


def test_maps_are_chosen_by_their_variance_over_training_pictures(tmp_path):
    data = make_data(n=60)
    (split,) = split_rows(data.responses, "every-5")
    maps, numbers = maps_of(range(60))
    largest = [
        np.sort(
            np.argsort(-part[split.train].var(0).reshape(part.shape[1], -1).mean(1))[:2]
        )
        for part in (maps, numbers)
    ]
    fit(tmp_path, data, n_maps=2, cv=3)
    model = load_encoding_model(model_of(tmp_path))
    assert [space.shapes for space in model.spaces] == [((3, 16, 16),), ((28, 1, 1),)]
    for space, wanted in zip(model.spaces, largest, strict=True):
        np.testing.assert_array_equal(space.kept[0], wanted)
    assert model.coef.shape == (4, 6)
    # Held-out pictures have no part in it.
    numbers = np.arange(60)
    numbers[split.test] += 1000
    pictures = LazyPictures(picture, numbers.tolist())
    other = replace(data, responses=replace(data.responses, pictures=pictures))
    fit(tmp_path / "other", other, n_maps=2, cv=3)
    again = load_encoding_model(model_of(tmp_path / "other"))
    np.testing.assert_array_equal(again.coef, model.coef)
    np.testing.assert_array_equal(again.pools, model.pools)


def test_the_published_protocol_holds_out_the_last_rows(tmp_path):
    data = make_data(n=60)
    fit(tmp_path, data, ["control:colour:lab:grid16"], cv="holdout-10")
    run = load_encoding(tmp_path)
    (split,) = split_rows(data.responses, "every-5")
    maps, _ = maps_of(range(60))
    Y = data.responses.betas
    fields = FwRF(candidate_grid(3, 0.12), ALPHAS, holdout=10, device="cpu")
    fields.fit(maps[split.train], Y[split.train])
    units = run.units
    assert units["layer"].unique().tolist() == ["lab:grid16"]
    np.testing.assert_array_equal(units["alpha"], fields.alphas_)
    np.testing.assert_array_equal(units[list(FIELD_COLUMNS)], fields.pools_)
    np.testing.assert_allclose(
        run.predictions("s1", "control:colour", "lab:grid16"),
        fields.predict(maps[split.test]),
        atol=1e-5,
    )
    share = 1 - fields.losses_ / (10 * Y[split.train].var(0, dtype=np.float64))
    np.testing.assert_allclose(units["cv_score"], share, atol=1e-6)


def test_fields_of_several_splits_are_medians_and_trials_stay_together(tmp_path):
    data = make_data(n=40, trials=2)
    grid = {"n_sigmas": 1, "smallest_sigma": 0.25, "alphas": [1.0, 10.0], "cv": 2}
    fit(tmp_path, data, ["control:colour:lab:grid16"], test="folds-2", **grid)
    run = load_encoding(tmp_path)
    maps, _ = maps_of(np.repeat(np.arange(40), 2))
    ids = data.responses.stimuli["stimulus_id"].to_numpy()
    pools, predicted = [], np.empty_like(data.responses.betas)
    for split in split_rows(data.responses, "folds-2"):
        fields = FwRF(
            candidate_grid(1, 0.25), [1.0, 10.0], cv=2, bias="free", device="cpu"
        )
        fields.fit(
            maps[split.train], data.responses.betas[split.train], ids[split.train]
        )
        pools.append(fields.pools_)
        predicted[split.test] = fields.predict(maps[split.test])
    np.testing.assert_allclose(run.units[list(FIELD_COLUMNS)], np.median(pools, 0))
    rows = run.rows("s1")["row"].to_numpy()
    found = run.predictions("s1", "control:colour", "lab:grid16")
    np.testing.assert_allclose(found, predicted[rows], atol=1e-5)
    with pytest.raises(ValueError, match="of their stimuli are trained on too"):
        fit(tmp_path / "x", data, cv="holdout-9", test="every-5")
    assert not (tmp_path / "x").exists()


def test_units_without_values_have_no_field(tmp_path):
    data = make_data(n=40)
    betas = data.responses.betas.copy()
    betas[3, 0], betas[:, 1] = np.nan, 4.0
    data = replace(data, responses=replace(data.responses, betas=betas))
    fit(tmp_path, data, n_sigmas=1, smallest_sigma=0.3)
    units = load_encoding(tmp_path).units
    columns = ["r", "alpha", "cv_score", "p", *FIELD_COLUMNS]
    assert units.loc[:1, columns].isna().all(axis=None)
    assert units.loc[2:, columns].notna().all(axis=None)
    model = load_encoding_model(model_of(tmp_path))
    assert np.isnan(model.fields[:2]).all()
    new = dict(
        zip(
            ("control:colour lab:grid16", "control:colour statistics"),
            maps_of([7]),
            strict=True,
        )
    )
    predicted = model.predict(new)
    assert np.isnan(predicted[0, 0])
    assert predicted[0, 1] == 4


# --------------------------------------------------------------- models on disk


def test_kept_models_predict_as_the_tables_say_and_come_back_bit_by_bit(
    finished, tmp_path
):
    run = load_encoding(finished)
    rows = run.rows("s1")["row"].to_numpy()
    model = load_encoding_model(model_of(finished))
    assert isinstance(model, FwRFModel)
    np.testing.assert_array_equal(model.fields, run.units[list(FIELD_COLUMNS)])
    maps, numbers = maps_of(rows)
    names = ["control:colour lab:grid16", "control:colour statistics"]
    predicted = model.predict(dict(zip(names, (maps, numbers), strict=True)))
    expected = run.predictions("s1", "control:colour", "all layers")
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    shown = [picture(int(row)) for row in rows]
    again = predict_encoding(model_of(finished), shown, tmp_path / "new", device="cpu")
    np.testing.assert_allclose(again, predicted, atol=1e-5)
    assert model.training["n_train"] == 120
    assert "terms of both" in model.licence
    assert read_json(model_of(finished) / "model.json")["kind"] == "receptive fields"


def test_models_can_be_left_out(tmp_path):
    fit(tmp_path, make_data(n=20), n_sigmas=1, smallest_sigma=0.4, keep_models=False)
    assert not (tmp_path / "models").exists()
    assert load_encoding(tmp_path).units["rf_sigma"].eq(0.4).all()


# -------------------------------------------------------------------- resuming


def bytes_of(run):
    names = [run / f"{name}.parquet" for name in TABLES]
    names += [prediction_file(run, "s1", "control:colour", "all layers")]
    names += [model_of(run) / "weights.safetensors"]
    return [path.read_bytes() for path in names]


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_with_equal_bits(
    finished, tmp_path, monkeypatch
):
    blocks = []
    real = fwrf_search._search_block

    def counted(problem, targets, at_once, candidates, bar):
        blocks.append(candidates.tolist())
        if len(blocks) == 2:
            raise KeyboardInterrupt
        return real(problem, targets, at_once, candidates, bar)

    monkeypatch.setattr(fwrf_search, "_search_block", counted)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path)
    assert len(list((tmp_path / "search").iterdir())) == 1
    fit(tmp_path)
    # Of three blocks the first was done, the second was killed.
    assert [block[0] for block in blocks] == [0, 32, 32, 64]
    assert blocks[1] == blocks[2]
    assert bytes_of(tmp_path) == bytes_of(finished)
    assert not (tmp_path / "search").exists()
    fit(tmp_path)
    assert len(blocks) == 4
    with pytest.raises(ValueError, match="holds a run with n_sigmas=3; now n_sigmas=2"):
        fit(tmp_path, n_sigmas=2)


# ---------------------------------------------------------------------- report


def test_reports_show_the_fields_of_units_above_chance(finished):
    finish_encoding(finished)
    html = (finished / "report.html").read_text(encoding="utf-8")
    assert ">Receptive fields<" in html
    assert "receptive fields of units above chance" in html
    assert (finished / "figures" / "receptive_fields_control_colour.png").is_file()


def test_coarse_maps_are_said_to_be_coarse(tmp_path):
    grid = {"n_sigmas": 1, "smallest_sigma": 0.4}
    fit(tmp_path, make_data(n=20), ["control:colour:lab:grid3"], **grid)
    (note,) = load_encoding(tmp_path).provenance.notes
    assert note.startswith("control:colour: the finest maps have 3 x 3 positions")


# -------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ["control:colour:lab:gap"]}, "ask for 'lab:flat'"),
        ({"features": ["control:colour:statistics"]}, "only layers without places"),
        ({"features": ["given:given"]}, "given:given has none: name a network"),
        (
            {"features": ["timm:vit_tiny_patch16_224@seeded:0:blocks.0:patches"]},
            r"gives tokens of shape \(197, 192\)",
        ),
        ({"n_components": 3}, "use `n_maps`"),
        ({"n_maps": 0}, "`n_maps` must be within"),
        ({"n_sigmas": 0}, "`n_sigmas` must be within"),
        ({"smallest_sigma": 0.5}, r"`smallest_sigma` must be within \[0.01, 0.4\]"),
        ({"cv": "loo"}, "needs a number of folds, 'holdout' or 'holdout-N'"),
        ({"cv": "holdout"}, "holds out 500 training rows, and tiny s1 has 16"),
        ({"cv": "holdout-20", "method": "ridge"}, "must be one of 'loo', 'gcv'"),
        ({"alphas": [-1.0]}, "finite numbers above 0"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_computed(
    tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path / "out", make_data(n=20), **changes)
    assert not (tmp_path / "out").exists()


def test_run_files_of_other_methods_say_nothing_of_fields(tmp_path):
    data = make_data(n=20)
    fit(tmp_path, data, ["control:colour:statistics"], method="ridge")
    call = json.loads((tmp_path / "run.json").read_text())
    assert not {"n_maps", "n_sigmas", "smallest_sigma"} & set(call)
    assert "rf_x" not in load_encoding(tmp_path).units
