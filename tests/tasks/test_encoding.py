"""Encoding models from features to tables: what is found, and what must not leak."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import tasks.encoding_parts
from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import LazyPictures
from neurovis.core.types import SCORE_COLUMNS
from neurovis.core.unit_responses import UnitResponses
from neurovis.fitting.banded import BandedRidgeCV
from neurovis.fitting.encoding_model import load_encoding_model
from neurovis.fitting.fractional_ridge import FractionalRidgeCV
from neurovis.fitting.ridge import RidgeCV
from tasks.brain_sources import BrainData, split_rows
from tasks.encoding import fit_encoding
from tasks.encoding_fits import default_alphas
from tasks.encoding_run import load_encoding, model_folder, prediction_file
from tasks.encoding_scores import BASELINE, HELD_OUT, PERMUTED, WHOLE

TABLES = ("units", "regions", "layers", "scores")
CALL = {"n_permutations": 99, "n_bootstrap": 40, "device": "cpu"}


def picture(number):
    rng = np.random.default_rng(number)
    grey = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(grey, np.ones((8, 8, 1), np.uint8))


def make_data(
    n=80, n_units=6, noise=0.5, seed=0, space=None, subject="s1", notes=(), **changes
):
    """Units that follow the first features; those of V4 follow the second set."""
    rng = np.random.default_rng(seed)
    early, late = rng.standard_normal((2, n, 10)).astype(np.float32)
    late *= np.linspace(3, 0.1, 10, dtype=np.float32)
    weights = rng.standard_normal((10, n_units)) / 3
    is_late = np.arange(n_units) % 2 == 1
    signal = np.where(is_late, late @ weights, early @ weights)
    signal /= signal.std(axis=0)
    betas = (signal + noise * rng.standard_normal(signal.shape)).astype(np.float32)
    units = pd.DataFrame({"unit_id": [f"u{i}" for i in range(n_units)]})
    if space is not None:
        units = space.locate(np.arange(n_units))
    units = units.assign(area=np.where(is_late, "V4", "V1"), ncsnr=1 / max(noise, 1e-6))
    responses = UnitResponses(
        "tiny",
        subject,
        betas,
        pd.DataFrame({"stimulus_id": [f"p{i:03d}" for i in range(n)], "n_repeats": 1}),
        units,
        families=("area",),
        space=space,
        response_unit="z-score",
        pictures=LazyPictures(picture, range(n)),
        notes=notes,
    )
    features = {"early": early, "late": late}
    return BrainData(responses, **({"features": features} | changes))


def with_responses(data, **changes):
    return replace(data, responses=replace(data.responses, **changes))


def fit(data, out, features=("given:early", "given:late"), **changes):
    data = data if isinstance(data, list | str) else [data]
    return fit_encoding(data, list(features), out, **(CALL | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small fit of two sets of features; not to be changed."""
    out = tmp_path_factory.mktemp("fit") / "run"
    fit(make_data(), out)
    return out


# ------------------------------------------------------------------ what is found


def test_units_are_predicted_by_the_features_that_they_follow(finished):
    units = load_encoding(finished).units
    means = units.groupby(["area", "model"])["r"].mean()
    assert means["V1", "early"] > 0.7
    assert means["V4", "late"] > 0.7
    assert abs(means["V1", "late"]) < 0.4
    assert abs(means["V4", "early"]) < 0.4
    good = (units["area"] == "V1") == (units["model"] == "early")
    assert (units.loc[good, "p_fdr"] < 0.05).all()
    # What can be explained of one trial with noise of a quarter of the variance.
    np.testing.assert_allclose(units["ceiling"], 1 / 1.25)


def test_the_numbers_are_those_of_the_estimator(finished):
    data = make_data()
    (split,) = split_rows(data.responses, "every-5")
    X, Y = data.features["late"], data.responses.betas
    grid = default_alphas(10)
    ridge = RidgeCV(grid, cv=5, search="window", standardize=True, device="cpu").fit(
        X[split.train], Y[split.train]
    )
    run = load_encoding(finished)
    units = run.units[run.units["model"] == "late"]
    np.testing.assert_array_equal(units["alpha"], ridge.alphas_)
    predicted = run.predictions("s1", "late", "")
    np.testing.assert_allclose(predicted, ridge.predict(X[split.test]), atol=1e-6)
    np.testing.assert_array_equal(run.measured("s1"), Y[split.test])
    np.testing.assert_allclose(
        units["cv_score"], 1 + ridge.cv_scores_ / Y[split.train].var(0), atol=1e-6
    )
    r = [np.corrcoef(p, y)[0, 1] for p, y in zip(predicted.T, Y[split.test].T)]  # noqa: B905
    np.testing.assert_allclose(units["r"], r, atol=1e-6)
    ends = (units["alpha"] == min(grid), units["alpha"] == max(grid))
    assert (units["at_smallest"] == ends[0]).all()
    assert (units["at_largest"] == ends[1]).all()
    assert units["n_train"].tolist() == [64] * 6
    assert units["n_test"].tolist() == [16] * 6


def test_a_feature_that_hardly_varies_is_not_blown_up(tmp_path, finished):
    data = make_data()
    (split,) = split_rows(data.responses, "every-5")
    early = data.features["early"]
    # In held-out rows it is a thousand times what it was in training.
    odd = 1e-6 * early[:, :1]
    odd[split.test] = 1e-3
    more = replace(data, features={"early": np.hstack([early, odd])})
    fit(more, tmp_path, ["given:early"])
    predicted, before = (
        load_encoding(run).predictions("s1", "early", "")
        for run in (tmp_path, finished)
    )
    np.testing.assert_allclose(predicted, before, atol=0.05)
    # The others are divided by their own spread, to the last bit.
    ridge = RidgeCV(default_alphas(10), search="window", standardize=True, device="cpu")
    ridge.fit(early[split.train], data.responses.betas[split.train])
    model = load_encoding_model(model_folder(finished, "s1", "early", ""))
    np.testing.assert_array_equal(model.spaces[0].coef, np.float32(ridge.coef_))


def test_saved_models_predict_as_the_tables_say(finished):
    data, run = make_data(), load_encoding(finished)
    rows = run.rows("s1")["row"].to_numpy()
    assert run.rows("s1")["stimulus_id"].tolist() == [f"p{i:03d}" for i in rows]
    for name in ("early", "late"):
        model = load_encoding_model(model_folder(finished, "s1", name, ""))
        np.testing.assert_allclose(
            model.predict(data.features[name][rows]),
            run.predictions("s1", name, ""),
            atol=1e-5,
        )
        assert model.training["data"] == "tiny"
        assert model.training["n_train"] == 64
        assert "terms of both" in model.licence


def test_tables_have_the_columns_that_all_scores_have(finished):
    run = load_encoding(finished)
    assert list(run.scores.columns)[: len(SCORE_COLUMNS)] == list(SCORE_COLUMNS)
    rows = run.scores[run.scores["region"] == WHOLE]
    held = rows[(rows["condition"] == HELD_OUT) & (rows["model"] == "late")]
    held = held.set_index("metric")
    units = run.units[run.units["model"] == "late"]
    assert held.loc["r_mean", "value"] == pytest.approx(units["r"].mean())
    assert held.loc["r_median", "value"] == pytest.approx(units["r"].median())
    assert held.loc["r2_mean", "value"] == pytest.approx(units["r2"].mean())
    share = held.loc["share_significant", "value"]
    assert share == pytest.approx((units["p_fdr"] < 0.05).mean())
    assert held.loc["r_mean", "ceiling_low"] == pytest.approx(np.sqrt(0.8))
    assert held.loc["r2_mean", "ceiling_low"] == pytest.approx(0.8)
    over = held.loc["r_mean", "value"] / np.sqrt(0.8)
    assert held.loc["r_mean", "value_over_ceiling"] == pytest.approx(over)
    limits = held.loc["r_mean", ["ci_low", "value", "ci_high"]].tolist()
    assert limits == sorted(limits)
    assert (held["n"] == 16).all()
    assert (held["ceiling_kind"] == "ncsnr").all()
    chance = rows[rows["condition"] == PERMUTED]
    assert (chance["ci_low"] < 0).all()
    assert (chance["ci_high"] > 0).all()
    assert (chance["value"].abs() < 0.1).all()
    base = rows[rows["model"] == BASELINE]
    assert base["metric"].tolist() == ["r2_mean"]
    assert -0.5 < base["value"].iloc[0] <= 0


def test_the_mean_of_training_rows_is_the_baseline(finished):
    data, run = make_data(), load_encoding(finished)
    (split,) = split_rows(data.responses, "every-5")
    Y = data.responses.betas.astype(float)
    rest = ((Y[split.test] - Y[split.train].mean(0)) ** 2).sum(0)
    total = ((Y[split.test] - Y[split.test].mean(0)) ** 2).sum(0)
    rows = run.scores[(run.scores["model"] == BASELINE)]
    expected = (1 - rest / total).mean()
    found = rows.loc[rows["region"] == WHOLE, "value"].iloc[0]
    assert found == pytest.approx(expected, abs=1e-5)


def test_regions_are_summarised_and_all_units_come_first(finished):
    run = load_encoding(finished)
    assert run.regions["region"].unique().tolist() == [WHOLE, "V1", "V4"]
    rows = run.regions[
        (run.regions["region"] == "V4") & (run.regions["measure"] == "r")
    ]
    units = run.units[run.units["area"] == "V4"].groupby("model", sort=False)["r"]
    np.testing.assert_allclose(rows["median"], units.median())
    assert rows["n_units"].tolist() == [3, 3]


# -------------------------------------------------------------------- no leakage


def test_nothing_of_held_out_rows_reaches_a_model(tmp_path):
    data = make_data(n=60)
    (split,) = split_rows(data.responses, "every-5")
    rng = np.random.default_rng(9)
    betas = data.responses.betas.copy()
    betas[split.test] = 7 + 30 * rng.standard_normal(betas[split.test].shape)
    features = {}
    for name, array in data.features.items():
        features[name] = array.copy()
        features[name][split.test] = 5 + 50 * rng.standard_normal((12, 10))
    changed = replace(with_responses(data, betas=betas), features=features)
    call = {"n_components": 4}
    fit(data, tmp_path / "a", **call)
    fit(changed, tmp_path / "b", **call)
    for name in ("early", "late"):
        one, other = (
            load_encoding_model(model_folder(tmp_path / run, "s1", name, ""))
            for run in "ab"
        )
        assert one.spaces[0].n_features == 4
        np.testing.assert_array_equal(one.spaces[0].coef, other.spaces[0].coef)
        np.testing.assert_array_equal(one.spaces[0].mean, other.spaces[0].mean)
        np.testing.assert_array_equal(one.intercept, other.intercept)
        np.testing.assert_array_equal(one.alphas, other.alphas)
        assert (
            one.features["spaces"][0]["projections"]
            == (other.features["spaces"][0]["projections"])
        )
    columns = ["cv_score", "alpha", "at_smallest", "at_largest"]
    tables = [load_encoding(tmp_path / run) for run in "ab"]
    pd.testing.assert_frame_equal(tables[0].units[columns], tables[1].units[columns])
    chosen = [table.layers["chosen"].tolist() for table in tables]
    assert chosen[0] == chosen[1]
    assert (tables[0].units["r"] != tables[1].units["r"]).all()


def test_components_of_a_network_are_fitted_to_training_pictures_alone(tmp_path):
    data = make_data(n=30)
    (split,) = split_rows(data.responses, "every-5")
    numbers = np.arange(30)
    numbers[split.test] += 1000
    other = with_responses(data, pictures=LazyPictures(picture, numbers.tolist()))
    for name, brain in (("a", data), ("b", other)):
        fit(brain, tmp_path / name, ["control:colour:lab:grid4"], n_components=3)
    folders = [
        model_folder(tmp_path / name, "s1", "control:colour", "lab:grid4")
        for name in "ab"
    ]
    file = "projection-0-lab_grid4.safetensors"
    assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
    weights = [load_encoding_model(folder).spaces[0].coef for folder in folders]
    np.testing.assert_array_equal(*weights)
    assert weights[0].shape == (3, 6)


def test_a_layer_is_chosen_by_training_rows_not_by_held_out_ones(tmp_path):
    rng = np.random.default_rng(1)
    data = make_data(n=100, n_units=4, noise=0.2, seed=3)
    (split,) = split_rows(data.responses, "every-5")
    # In held-out rows the features that were good say nothing, and the others all.
    right, wrong = data.features["early"].copy(), data.features["early"].copy()
    right[split.test] = rng.standard_normal((20, 10))
    wrong[split.train] = rng.standard_normal((80, 10))
    arrays = tmp_path / "layers.npz"
    ids = data.responses.stimuli["stimulus_id"].to_numpy().astype(str)
    np.savez(arrays, stimulus_id=ids, right=right, wrong=wrong)
    fit(data, tmp_path / "run", [f"file:{arrays}"])
    layers = load_encoding(tmp_path / "run").layers.set_index(["region", "layer"])
    assert layers.loc[("V1", "right"), "chosen"]
    assert not layers.loc[("V1", "wrong"), "chosen"]
    assert layers.loc[("V1", "right"), "cv_score"] > 0.5
    assert (layers.groupby("region")["chosen"].sum() == 1).all()


def test_shuffled_responses_are_not_predicted(tmp_path):
    data = make_data(n=150, n_units=40)
    order = np.random.default_rng(0).permutation(150)
    fit(with_responses(data, betas=data.responses.betas[order]), tmp_path)
    run = load_encoding(tmp_path)
    assert run.units["r"].mean() == pytest.approx(0, abs=0.1)
    assert (run.units["p_fdr"] < 0.05).mean() < 0.05
    # p values of nothing are spread evenly.
    assert run.units["p"].mean() == pytest.approx(0.5, abs=0.12)


def test_a_leaking_split_is_refused(tmp_path, monkeypatch):
    from tasks.brain_sources import Split

    data = make_data(n=10)
    leak = [Split("mine", np.arange(8), np.array([7, 8, 9]))]
    monkeypatch.setattr("tasks.encoding_data.split_rows", lambda *_: leak)
    with pytest.raises(ValueError, match="'mine' has 1 stimuli, such as 'p007', both"):
        fit(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------- splits, trials


def test_folds_are_averaged_and_left_out_rows_are_pooled(tmp_path):
    data = make_data(n=40, n_units=4)
    X, Y = data.features["early"], data.responses.betas
    for test in ("folds-4", "leave-one-out"):
        fit(data, tmp_path / test, ["given:early"], test=test, alphas=[3.0], cv=2)
        run = load_encoding(tmp_path / test)
        rows, predicted = run.rows("s1"), run.predictions("s1", "early", "")
        expected, scores = np.empty_like(Y), []
        for split in split_rows(data.responses, test):
            ridge = RidgeCV([3.0], cv=2, standardize=True, device="cpu")
            ridge.fit(X[split.train], Y[split.train])
            expected[split.test] = ridge.predict(X[split.test])
            if test == "folds-4":
                pairs = zip(expected[split.test].T, Y[split.test].T, strict=True)
                scores.append([np.corrcoef(p, y)[0, 1] for p, y in pairs])
        np.testing.assert_allclose(predicted, expected[rows["row"]], atol=1e-5)
        np.testing.assert_array_equal(run.measured("s1"), Y[rows["row"]])
        pairs = zip(expected.T, Y.T, strict=True)
        pooled = [np.corrcoef(p, y)[0, 1] for p, y in pairs]
        wanted = np.mean(scores, axis=0) if scores else pooled
        np.testing.assert_allclose(run.units["r"], wanted, atol=1e-5)
        told = any("left out in turn" in note for note in run.provenance.notes)
        assert told == (test == "leave-one-out")
        model = load_encoding_model(model_folder(run.folder, "s1", "early", ""))
        assert model.training["n_train"] == 40
        assert "did not see what they predict" in model.notes[-1]


def test_trials_are_kept_together_and_averaged_where_they_are_scored(tmp_path):
    data = make_data(n=40, n_units=4, noise=0.1)
    rows = np.repeat(np.arange(40), 2)
    rng = np.random.default_rng(2)
    betas = data.responses.betas[rows] + rng.standard_normal((80, 4)) * 0.5
    stimuli = data.responses.stimuli.iloc[rows].reset_index(drop=True)
    order = rng.permutation(80)
    trials = replace(
        data,
        responses=replace(
            data.responses,
            betas=betas[order].astype(np.float32),
            stimuli=stimuli.iloc[order].reset_index(drop=True),
            pictures=None,
        ),
        features={"early": data.features["early"][rows[order]]},
    )
    fit(trials, tmp_path, ["given:early"])
    run = load_encoding(tmp_path)
    table = run.rows("s1")
    assert len(table) == 8
    assert (table["n_repeats"] == 2).all()
    averaged = trials.responses.average()
    wanted = averaged.stimuli["stimulus_id"].isin(table["stimulus_id"]).to_numpy()
    np.testing.assert_allclose(run.measured("s1"), averaged.betas[wanted], atol=1e-6)
    # The ceiling is that of averages of two.
    np.testing.assert_allclose(run.units["ceiling"], 1 / (1 + 0.5 * 0.01))
    model = load_encoding_model(model_folder(tmp_path, "s1", "early", ""))
    names = table["stimulus_id"].str.removeprefix("p").astype(int)
    np.testing.assert_allclose(
        run.predictions("s1", "early", ""),
        model.predict(data.features["early"][names]),
        atol=1e-5,
    )
    with pytest.raises(ValueError, match="leaves out single rows"):
        fit(trials, tmp_path / "loo", ["given:early"], cv="loo")


# ------------------------------------------------------------------ other methods


def test_banded_models_divide_what_they_explain_among_spaces(tmp_path):
    data = make_data(n=100)
    fit(data, tmp_path, method="banded", n_iter=12, seed=4)
    run = load_encoding(tmp_path)
    assert run.units["model"].unique().tolist() == ["early + late"]
    assert (run.units["method"] == "banded").all()
    shares = run.spaces.pivot_table(
        index="unit_id", columns="space", values="r2_share", sort=False
    )
    area = run.units.set_index("unit_id")["area"]
    assert (shares.loc[area == "V1", "early"] > 0.5).all()
    assert (shares.loc[area == "V1", "late"].abs() < 0.1).all()
    assert (shares.loc[area == "V4", "late"] > 0.5).all()
    # The parts make up R2, once the mean of the prediction is moved.
    gap = shares.sum(axis=1).to_numpy() - run.units["r2"].to_numpy()
    assert (gap >= -1e-6).all()
    assert (gap < 0.1).all()
    (split,) = split_rows(data.responses, "every-5")
    banded = BandedRidgeCV(
        default_alphas(20),
        n_iter=12,
        seed=4,
        search="window",
        standardize=True,
        device="cpu",
    ).fit(
        {name: x[split.train] for name, x in data.features.items()},
        data.responses.betas[split.train],
    )
    new = {name: x[split.test] for name, x in data.features.items()}
    predicted = run.predictions("s1", "early + late", "all layers")
    np.testing.assert_allclose(predicted, banded.predict(new), atol=1e-5)
    folder = model_folder(tmp_path, "s1", "early + late", "all layers")
    model = load_encoding_model(folder)
    np.testing.assert_allclose(model.predict(new), predicted, atol=1e-5)
    with pytest.raises(ValueError, match="weighs several feature spaces"):
        fit(data, tmp_path / "one", ["given:early"], method="banded")


def test_fractional_ridge_is_fitted_and_kept(tmp_path):
    data = make_data()
    fit(data, tmp_path, ["given:early"], method="fractional")
    (split,) = split_rows(data.responses, "every-5")
    X, Y = data.features["early"], data.responses.betas
    expected = FractionalRidgeCV(standardize=True, device="cpu")
    expected.fit(X[split.train], Y[split.train])
    run = load_encoding(tmp_path)
    np.testing.assert_allclose(
        run.predictions("s1", "early", ""), expected.predict(X[split.test]), atol=1e-5
    )
    model = load_encoding_model(model_folder(tmp_path, "s1", "early", ""))
    np.testing.assert_allclose(
        model.predict(X[split.test]), expected.predict(X[split.test]), atol=1e-5
    )
    for changes in ({"alphas": [1.0]}, {"cv": "loo"}):
        with pytest.raises(ValueError, match="fractional"):
            fit(data, tmp_path / "x", method="fractional", **changes)


def test_components_are_not_blown_up_to_one_variance(tmp_path):
    data = make_data(noise=1.0)
    fit(data, tmp_path, ["given:late"], n_components=9)
    X, Y = data.features["late"].astype(float), data.responses.betas.astype(float)
    (split,) = split_rows(data.responses, "every-5")
    centred = X[split.train] - X[split.train].mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    scores = centred @ directions[:9].T
    ridge = RidgeCV(
        default_alphas(scores.var(0).sum()), search="window", device="cpu"
    ).fit(scores, Y[split.train])
    new = (X[split.test] - X[split.train].mean(0)) @ directions[:9].T
    run = load_encoding(tmp_path)
    np.testing.assert_allclose(
        run.predictions("s1", "late", ""), ridge.predict(new), atol=1e-4
    )


# ------------------------------------------------------------------------- marks


def test_untrained_and_simulated_parts_are_marked_everywhere(tmp_path):
    data = make_data(n=20, notes=("Simulated data: nobody was measured.",))
    features = ["squeezenet1_0@seeded:0:fire2:gap", "given:early"]
    fit(data, tmp_path, features, n_permutations=9, n_bootstrap=5)
    run = load_encoding(tmp_path)
    for table in (run.units, run.regions, run.layers, run.scores):
        assert table["simulated"].all()
        untrained = table["model"] == "squeezenet1_0@seeded:0"
        assert (table["untrained"] == untrained).all()
    notes = run.provenance.notes
    assert "squeezenet1_0@seeded:0: untrained weights (seeded:0)" in notes
    assert "tiny s1: Simulated data: nobody was measured." in notes
    folder = model_folder(tmp_path, "s1", "squeezenet1_0@seeded:0", "fire2:gap")
    model = load_encoding_model(folder)
    assert set(notes[:1]) <= set(model.notes)
    assert model.features["spaces"][0]["untrained"]
    assert model.training["simulated"]
    assert "weights squeezenet1_0@seeded:0" in run.provenance.fingerprints


def test_maps_are_written_where_units_have_a_place(tmp_path, finished):
    affine = np.diag([1.8, 1.8, 1.8, 1])
    volume = make_data(space=VolumeSpace("func", (2, 3, 2), affine))
    surface = make_data(space=SurfaceSpace("fsaverage", (4, 5)), subject="s2")
    fit([volume, surface], tmp_path, ["given:early"])
    run = load_encoding(tmp_path)
    image = nib.load(tmp_path / "maps/s1/early/features_r.nii.gz")
    np.testing.assert_allclose(image.affine, affine, rtol=1e-6)
    values = np.asarray(image.dataobj)
    assert values.shape == (2, 3, 2)
    r = run.units.loc[run.units["subject"] == "s1", "r"].to_numpy(np.float32)
    np.testing.assert_array_equal(values.ravel(order="F")[:6], r)
    assert np.isnan(values.ravel(order="F")[6:]).all()
    r = run.units.loc[run.units["subject"] == "s2", "r2_noise_normalised"]
    for h, part in (("lh", r[:4]), ("rh", r[4:])):
        name = f"{h}.features_r2_noise_normalised.mgh"
        data = (tmp_path / "maps/s2/early" / name).read_bytes()
        found = np.asarray(nib.MGHImage.from_bytes(data).dataobj)
        np.testing.assert_array_equal(found[: len(part), 0, 0], part.astype(np.float32))
    assert not (finished / "maps").exists()


# ------------------------------------------------------------------------ resuming


def bytes_of(folder):
    names = [f"{name}.parquet" for name in TABLES]
    return {name: (folder / name).read_bytes() for name in names}


def test_an_interrupted_fit_goes_on_and_ends_with_equal_tables(
    tmp_path, finished, monkeypatch
):
    calls = []
    real = tasks.encoding_parts.fit_candidate

    def counted(candidate, *args, **options):
        calls.append(candidate.model)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(candidate, *args, **options)

    monkeypatch.setattr(tasks.encoding_parts, "fit_candidate", counted)
    with pytest.raises(KeyboardInterrupt):
        fit(make_data(), tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no finished fit"):
        load_encoding(tmp_path)
    fit(make_data(), tmp_path)
    assert calls == ["early", "late", "late"]
    assert bytes_of(tmp_path) == bytes_of(finished)
    fit(make_data(), tmp_path)
    assert len(calls) == 3
    assert bytes_of(tmp_path) == bytes_of(finished)


def test_damaged_parts_are_computed_again(tmp_path, finished):
    fit(make_data(), tmp_path)
    path = prediction_file(tmp_path, "s1", "early", "")
    path.write_bytes(path.read_bytes()[:-4])
    weights = model_folder(tmp_path, "s1", "late", "") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    fit(make_data(), tmp_path)
    assert bytes_of(tmp_path) == bytes_of(finished)
    assert (
        path.read_bytes() == prediction_file(finished, "s1", "early", "").read_bytes()
    )
    load_encoding_model(weights.parent)


def test_another_call_does_not_mix_with_what_is_there(tmp_path, finished):
    fit(make_data(), tmp_path)
    with pytest.raises(ValueError, match="holds a run with cv=5; now cv=4"):
        fit(make_data(), tmp_path, cv=4)
    # Other data of the same names are fitted anew.
    fit(make_data(seed=5), tmp_path)
    assert bytes_of(tmp_path) != bytes_of(finished)


def test_models_can_be_left_out_and_features_kept_elsewhere(tmp_path):
    data = make_data(n=20)
    call = {"n_permutations": 0, "n_bootstrap": 5, "store": tmp_path / "kept"}
    fit(data, tmp_path / "a", ["control:colour"], keep_models=False, **call)
    assert not (tmp_path / "a" / "models").exists()
    assert not (tmp_path / "a" / "store").exists()
    kept = sorted((tmp_path / "kept" / "features").iterdir())
    fit(data, tmp_path / "b", ["control:colour"], **call)
    assert sorted((tmp_path / "kept" / "features").iterdir()) == kept
    units = load_encoding(tmp_path / "b").units
    assert units["p"].isna().all()
    assert units["p_fdr"].isna().all()
    run = read_json(tmp_path / "a" / "run.json")
    assert run["task"] == "encoding"
    assert run["features"][0]["layers"] == ["statistics", "lab:grid4"]


def test_units_without_values_stay_undefined(tmp_path):
    data = make_data()
    betas = data.responses.betas.copy()
    betas[3, 0], betas[:, 1] = np.nan, 4.0
    fit(with_responses(data, betas=betas), tmp_path, ["given:early"])
    units = load_encoding(tmp_path).units
    assert units["r"].isna().tolist() == [True, True, *[False] * 4]
    columns = ["r2", "r2_noise_normalised", "alpha", "cv_score", "p", "p_fdr"]
    assert units.loc[:1, columns].isna().all(axis=None)
    scores = load_encoding(tmp_path).scores
    rows = scores[(scores["region"] == WHOLE) & (scores["metric"] == "r_mean")]
    assert (rows["n_units"] == 6).all()
    assert (rows["n_defined"] == 4).all()
    assert rows["value"].notna().all()


# -------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "lasso"}, ValueError, "`method` must be one of 'ridge'"),
        ({"alphas": [0.0]}, ValueError, "finite numbers above 0"),
        ({"alphas": []}, ValueError, "one or more finite numbers"),
        ({"cv": 1}, ValueError, "`cv` must be within"),
        ({"cv": "lo"}, ValueError, "`cv` must be one of 'loo', 'gcv'"),
        ({"cv": 70}, ValueError, "has 64 stimuli to train on"),
        ({"search": "none"}, ValueError, "`search` must be one of"),
        ({"test": "half"}, ValueError, "must be 'every-N', 'folds-N'"),
        ({"test": "shared"}, ValueError, "lacks the columns"),
        ({"n_components": 64, "features": ["control:gabor"]}, ValueError, "below the"),
        ({"projection": "mean"}, ValueError, "`projection` must be one of"),
        ({"n_bootstrap": 0}, ValueError, "`n_bootstrap` must be within"),
        ({"seed": -1}, ValueError, "`seed` must be within"),
        ({"features": []}, ValueError, "`features` is empty"),
        ({"features": ["given:early"] * 2}, ValueError, "two sets called 'early'"),
        ({"features": ["given:erly"]}, ValueError, "Did you mean 'early'"),
        ({"features": ["control:colour:labs:gap"]}, ValueError, "labs"),
        ({"features": ["colour"]}, ValueError, "must be NETWORK"),
        ({"subjects": ["s1"]}, ValueError, "`subjects` is for data that are loaded"),
        ({"space": "func1mm"}, ValueError, "`space` is for data that are loaded"),
        ({"device": "tpu"}, ValueError, "device"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_computed(
    tmp_path, changes, error, message
):
    with pytest.raises(error, match=message):
        fit(make_data(), tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_wrong_data_are_refused(tmp_path):
    with pytest.raises(TypeError, match="must be text such as 'nsd:PATH' or BrainData"):
        fit([3], tmp_path / "out")
    with pytest.raises(ValueError, match="'tiny s1' twice"):
        fit([make_data(), make_data(seed=1)], tmp_path / "out")
    with pytest.raises(ValueError, match="no subject"):
        fit([], tmp_path / "out")
    bare = with_responses(make_data(), pictures=None)
    with pytest.raises(ValueError, match="has no pictures, so that control:gabor"):
        fit(bare, tmp_path / "out", ["control:gabor"])
    with pytest.raises(ValueError, match="must be NAME:PATH"):
        fit("nsd", tmp_path / "out")
    alike = [make_data(subject="s 1"), make_data(subject="s_1")]
    with pytest.raises(ValueError, match="several recordings of one subject"):
        fit(alike, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_finished_fit_is_not_read(tmp_path, finished):
    with pytest.raises(FileNotFoundError, match=r"units\.parquet is missing"):
        load_encoding(tmp_path)
    run = load_encoding(finished)
    with pytest.raises(FileNotFoundError):
        run.predictions("s1", "early", "other")
    path = tmp_path / "predictions/s1/measured.npy"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no array")
    with pytest.raises(DataCorruptError, match="NumPy array"):
        replace(run, folder=tmp_path).measured("s1")
    assert read_table(finished / "units.parquet").equals(run.units)
    assert run.unit_places("s1")["ncsnr"].tolist() == [2.0] * 6
