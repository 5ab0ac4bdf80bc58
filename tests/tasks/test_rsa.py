"""RSA from pictures to report: what is found, chosen, compared and kept."""

import io
import json
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.cka import linear_cka
from analysis.multiple_tests import fdr_adjusted
from analysis.rdms import make_crossnobis_rdm, make_rdm
from analysis.rsa import compare_rdms, rdm_ceiling
from data_loaders.synthetic import n_pictures, simulate_nsd
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table
from neurovis.core.store import Store
from neurovis.core.types import SCORE_COLUMNS, Score
from neurovis.core.unit_responses import UnitResponses, save_responses
from stimuli.category_pictures import make_category_pictures
from tasks.brain_sources import load_brain
from tasks.feature_specs import parse_features
from tasks.reports import finish_run
from tasks.rsa import run_rsa
from tasks.rsa_scores import BEST, CKA, LAYER, OPTIMISTIC, PACKAGED
from tasks.rsa_targets import load_targets, repeat_ceiling

N, N_PAIRS = 92, 4186
NETWORK = "timm:test_vit@seeded:0"
LAYERS = ("patch_embed:gap", "blocks.0:cls", "blocks.0:grid2")
TRUE_LAYER = "blocks.0:cls"
REQUEST = f"{NETWORK}:{','.join(LAYERS)}"
FEATURES = [REQUEST, "control:colour"]
DATA = "objects92:{}"
MODELS = ("animacy", "FaceBodyManmadeNatobj", "monkeyIT", "EVA", "HMAX", "V1")
MODELS += ("Silhouette", "RADON")
CALL = {"n_bootstrap": 40, "n_permutations": 50, "n_splits": 6, "device": "cpu"}
TABLES = ("scores.parquet", "pairs.parquet", "comparisons.parquet", "rdms.npz")


def noisy(rdm, rng, amount=0.6):
    return np.abs(rdm + amount * rdm.std() * rng.normal(size=np.shape(rdm)))


def write_objects92(folder):
    """A set in the form of the 92 objects; IT is made of one layer of a network."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = make_category_pictures(N, size_px=40, seed=1)
    images = [pictures.load(i) for i in range(N)]
    network = load_backbone("timm:test_vit", "seeded:0")
    truth = make_rdm(extract_features(network, images, [TRUE_LAYER])[TRUE_LAYER])
    other = rng.random(N_PAIRS)
    rdms = {
        "humanIT_subjects": np.stack(
            [[noisy(truth, rng) for _ in range(2)] for _ in range(3)]
        ),
        "humanIT_mean": noisy(truth, rng, 0.2),
        "monkeyIT_mean": noisy(truth, rng),
        "behaviour_subjects": np.stack([noisy(other, rng) for _ in range(12)]),
        **{f"model_{m}": rng.random(N_PAIRS) for m in MODELS},
    }
    rdms["model_monkeyIT"] = rdms["monkeyIT_mean"]
    np.savez(folder / "rdms.npz", **{k: v.astype("f4") for k, v in rdms.items()})
    flags = ["human", "face", "animal", "natural"]
    groups = "animate inanim human nonhumani body face natObj artiObj rand24 rand48"
    groups += " other48 monkeyape"
    flags += [f"cat_{group}" for group in groups.split()]
    table = pd.DataFrame({"index": range(N)})
    table["file"] = [f"images/{i:02d}.png" for i in range(N)]
    table["category"] = list(pictures.table["category"])
    for k, flag in enumerate(flags):
        table[flag] = (np.arange(N) + k) % 2
    table.to_csv(folder / "stimuli.csv", index=False)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for i, image in enumerate(images):
            data = io.BytesIO()
            Image.fromarray(image).save(data, "PNG")
            archive.writestr(f"images/{i:02d}.png", data.getvalue())
    return folder


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return write_objects92(tmp_path_factory.mktemp("data") / "objects92")


@pytest.fixture(scope="module")
def finished(objects, tmp_path_factory):
    """Features of a network and of colours beside simulated IT; not to be changed."""
    out = tmp_path_factory.mktemp("rsa") / "run"
    sources = ["human IT", "monkey IT"]
    run_rsa(DATA.format(objects), FEATURES, out, source=sources, **CALL)
    return out


def rows_of(out, **wanted):
    table = Score.load(out).table
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def contents(out):
    return {name: (out / name).read_bytes() for name in TABLES}


# ------------------------------------------------------------------ what is found


@pytest.mark.parametrize("region", ["human IT", "monkey IT"])
def test_the_layer_that_a_region_was_made_of_explains_it_best(finished, region):
    best = rows_of(finished, region=region, condition=BEST).set_index("model")
    assert best["value"].idxmax() == NETWORK
    row = best.loc[NETWORK]
    assert row["layer"] == TRUE_LAYER
    assert row["chosen_share"] > 0.9
    assert row["ci_low"] > 0
    assert row["p_value"] == pytest.approx(1 / 50)
    assert row["value"] == pytest.approx(row["ceiling_low"], abs=0.12) or np.isnan(
        row["ceiling_low"]
    )


def test_values_are_those_of_the_building_blocks(finished, objects):
    targets = load_targets(DATA.format(objects), source="human IT")
    (target,) = targets
    network = load_backbone("timm:test_vit", "seeded:0")
    found = extract_features(network, target.data.responses.pictures, list(LAYERS))
    layers = rows_of(finished, region="human IT", condition=LAYER, model=NETWORK)
    ceiling = rdm_ceiling(target.rdms)
    assert layers["layer"].tolist() == list(LAYERS)
    for _, row in layers.iterrows():
        similar = compare_rdms(make_rdm(found[row["layer"]]), target.rdms)
        assert row["value"] == pytest.approx(similar.mean(), abs=1e-9)
        assert row["ceiling_low"] == pytest.approx(ceiling.lower)
        assert row["ceiling_high"] == pytest.approx(ceiling.upper)
        share = row["value"] / row["ceiling_low"]
        assert row["value_over_ceiling"] == pytest.approx(share)
        assert row["chance_low"] < 0 < row["chance_high"] < 0.2
        assert row["n"] == N
        assert row["n_subjects"] == 3


def test_sessions_of_a_subject_are_averaged(objects):
    (target,) = load_targets(DATA.format(objects), source="human IT")
    with np.load(objects / "rdms.npz") as file:
        expected = file["humanIT_subjects"].astype(float).mean(axis=1)
    np.testing.assert_allclose(target.rdms, expected)
    assert target.subjects == ("1", "2", "3")
    assert target.subject == "mean"


def test_the_average_of_the_source_can_be_asked_for(objects):
    (target,) = load_targets(DATA.format(objects), source="human IT", subjects=["mean"])
    with np.load(objects / "rdms.npz") as file:
        np.testing.assert_allclose(target.rdms[0], file["humanIT_mean"].astype(float))


def test_depth_kind_and_marks_tell_what_a_model_is(finished):
    layers = rows_of(finished, region="human IT", condition=LAYER)
    of_network = layers[layers["model"] == NETWORK]
    assert of_network["depth"].tolist() == [0.0, 0.5, 1.0]
    assert of_network["kind"].eq("network").all()
    assert of_network["untrained"].all()
    colour = layers[layers["model"] == "control:colour"]
    assert colour["kind"].eq("control").all()
    assert colour["depth"].isna().all()
    assert not colour["untrained"].any()
    notes = json.loads((finished / "provenance.json").read_text())["notes"]
    assert f"{NETWORK}: untrained weights (seeded:0)" in notes


def test_models_of_the_data_are_baselines_but_not_of_themselves(finished):
    packaged = rows_of(finished, kind=PACKAGED, condition=BEST)
    of_monkey = packaged[packaged["region"] == "monkey IT"]["model"]
    assert "monkeyIT (of the data)" not in set(of_monkey)
    of_people = packaged[packaged["region"] == "human IT"]["model"]
    assert set(of_people) == {f"{m} (of the data)" for m in MODELS}
    notes = json.loads((finished / "provenance.json").read_text())["notes"]
    assert any("the model monkeyIT of the data is the same" in note for note in notes)


def test_the_largest_value_is_marked_and_not_below_the_fair_one(finished):
    for region in ("human IT", "monkey IT"):
        table = rows_of(finished, region=region)
        layers = table[table["condition"] == LAYER]
        top = table[table["condition"] == OPTIMISTIC].set_index("model")
        largest = layers.groupby("model")["value"].max()
        np.testing.assert_allclose(top["value"], largest[top.index])
        assert top["ci_low"].isna().all()


def test_false_discovery_rates_are_over_layers_and_over_models(finished):
    for condition in (LAYER, BEST):
        rows = rows_of(finished, region="human IT", condition=condition)
        np.testing.assert_allclose(rows["p_fdr"], fdr_adjusted(rows["p_value"]))


def test_pairs_hold_every_subject_and_subjects_with_each_other(finished, objects):
    pairs = read_table(finished / "pairs.parquet")
    (target,) = load_targets(DATA.format(objects), source="human IT")
    mine = pairs[pairs["region"] == "human IT"]
    layers = rows_of(finished, region="human IT", condition=LAYER)
    means = mine[mine["kind"] != "between subjects"].groupby(["model", "layer"])
    for (model, layer), part in means:
        row = layers[(layers["model"] == model) & (layers["layer"] == layer)]
        assert len(part) == 3
        assert part["value"].mean() == pytest.approx(row["value"].iloc[0])
    between = mine[mine["kind"] == "between subjects"]
    expected = compare_rdms(target.rdms, target.rdms)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(between["value"], expected)


def test_comparisons_are_differences_of_the_chosen_layers(finished):
    table = read_table(finished / "comparisons.parquet")
    table = table[table["region"] == "monkey IT"]
    best = rows_of(finished, region="monkey IT", condition=BEST).set_index("model")
    n = len(best)
    assert len(table) == n * (n - 1) // 2
    for _, row in table.iterrows():
        a, b = best.loc[row["model_a"]], best.loc[row["model_b"]]
        assert row["difference"] == pytest.approx(a["value"] - b["value"])
        assert (row["layer_a"], row["layer_b"]) == (a["layer"], b["layer"])
    np.testing.assert_allclose(table["p_fdr"], fdr_adjusted(table["p_value"]))
    assert set(table["over"]) == {"images"}


def test_differences_of_few_subjects_are_told_for_these_subjects_too(finished):
    table = read_table(finished / "comparisons.parquet")
    people = table[table["region"] == "human IT"]
    pair = (people["model_a"] == NETWORK) & (people["model_b"] == "control:colour")
    both, fixed = people[pair].to_dict("records")
    assert both["over"] == "images and subjects"
    assert fixed["over"] == "images"
    assert both["difference"] == fixed["difference"] > 0.2
    # Three subjects, 92 stimuli: what is sure for these is less so for others.
    assert both["degrees_of_freedom"] == 2
    assert fixed["degrees_of_freedom"] == 91
    assert fixed["p_value"] < 0.001
    assert fixed["p_value"] < both["p_value"]
    for _, part in people.groupby("over"):
        np.testing.assert_allclose(part["p_fdr"], fdr_adjusted(part["p_value"]))


def test_what_is_resampled_can_be_chosen(objects, tmp_path):
    run_rsa(
        DATA.format(objects),
        ["control:colour"],
        tmp_path,
        source="human IT",
        over="images",
        **CALL,
    )
    assert rows_of(tmp_path, condition=BEST)["over"].eq("images").all()
    table = read_table(tmp_path / "comparisons.parquet")
    assert set(table["over"]) == {"images"}
    assert not table.duplicated(["model_a", "model_b"]).any()


def test_tables_have_the_columns_of_all_scores(finished):
    table = Score.load(finished).table
    assert list(table.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    assert set(table["condition"]) == {LAYER, BEST, OPTIMISTIC}
    assert table["metric"].unique().tolist() == ["rsa_spearman"]
    assert not table["simulated"].any()


def test_matrices_are_kept_with_their_names(finished, objects):
    (target,) = load_targets(DATA.format(objects), source="human IT")
    with np.load(finished / "rdms.npz") as file:
        np.testing.assert_allclose(
            file["human IT mean/subjects"], target.rdms, rtol=1e-6
        )
        names = file["human IT mean/layer_names"].tolist()
        assert names[0] == f"{NETWORK} {LAYERS[0]}"
        assert file["human IT mean/layers"].shape == (len(names), N_PAIRS)
        assert file["human IT mean/stimulus_id"].tolist() == target.stimulus_id
        assert len(file["human IT mean/category"]) == N


# ----------------------------------------------------------------- units and trials


def make_units(n=30, n_repeats=4, noise=1.0, seed=0):
    """Single trials of units that follow ten hidden features of stimuli."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 10))
    signal = hidden @ rng.normal(size=(10, 24))
    trials = signal[:, None] + noise * rng.normal(size=(n, n_repeats, 24))
    ids = np.repeat([f"p{i:02d}" for i in range(n)], n_repeats)
    units = pd.DataFrame({"unit_id": [f"u{i}" for i in range(24)]})
    units["area"] = np.where(np.arange(24) < 12, "V1", "V4")
    responses = UnitResponses(
        "tiny",
        "s1",
        trials.reshape(-1, 24).astype(np.float32),
        pd.DataFrame({"stimulus_id": ids, "n_repeats": 1}),
        units,
        families=("area",),
    )
    return hidden.astype(np.float32), responses


@pytest.fixture
def units(tmp_path):
    hidden, responses = make_units()
    save_responses(tmp_path / "units", responses)
    rng = np.random.default_rng(3)
    ids = [f"p{i:02d}" for i in range(30)]
    other = rng.normal(size=(30, 10)).astype(np.float32)
    path = tmp_path / "features.npz"
    np.savez(path, stimulus_id=np.array(ids), hidden=hidden, other=other)
    return f"responses:{tmp_path / 'units'}", f"file:{path}", responses, hidden


def test_responses_of_units_are_compared_by_region(units, tmp_path):
    data, features, responses, hidden = units
    out = tmp_path / "run"
    run_rsa(data, [features], out, regions=["V1", "V4"], **CALL)
    table = rows_of(out, condition=LAYER, metric="rsa_spearman")
    assert table["region"].unique().tolist() == ["V1", "V4"]
    average = responses.average()
    for region in ("V1", "V4"):
        rows = table[table["region"] == region].set_index("layer")
        assert rows["value"].idxmax() == "hidden"
        betas = average.betas[:, average.in_region(region)]
        expected = compare_rdms(make_rdm(hidden), make_rdm(betas))[0, 0]
        assert rows.loc["hidden", "value"] == pytest.approx(expected)
        # Repeats tell how well a model without error would do.
        assert 0.5 < rows.loc["hidden", "ceiling_low"] < 1
        assert rows.loc["hidden", "ceiling_kind"] == "halves of repeats"
        cka = rows_of(out, metric=CKA, region=region).set_index("layer")["value"]
        direct = linear_cka(hidden, betas, debiased=True)
        assert cka["hidden"] == pytest.approx(direct)
        assert cka["hidden"] > cka["other"] + 0.2


def test_crossnobis_takes_the_single_trials(units, tmp_path):
    data, features, responses, hidden = units
    out = tmp_path / "run"
    run_rsa(data, [features], out, measure="crossnobis", compare="cosine", **CALL)
    table = rows_of(out, condition=LAYER, metric="rsa_cosine").set_index("layer")
    trials = responses.betas.reshape(30, 4, 24)
    people = make_crossnobis_rdm(trials)
    expected = compare_rdms(make_rdm(hidden, "squared_euclidean"), people, "cosine")
    assert table.loc["hidden", "value"] == pytest.approx(expected[0, 0])


def test_subjects_are_compared_on_the_stimuli_that_all_of_them_saw(tmp_path):
    drawn = make_category_pictures(n_pictures(2, 1), size_px=32, seed=5)
    root = simulate_nsd(
        tmp_path / "nsd",
        drawn.images,
        drawn.table,
        n_subjects=2,
        n_sessions=1,
        n_shared=60,
        volume_shape=(9, 11, 9),
        spaces=("func1pt8mm",),
        picture_px=32,
        seed=3,
    )
    (target,) = load_targets(f"nsd:{root}", store=tmp_path / "store")
    assert target.subjects == ("subj01", "subj02")
    assert (target.subject, target.n_stimuli) == ("mean", 60)
    assert target.notes == ("Compared are the 60 stimuli that all subjects saw.",)
    brains = load_brain(f"nsd:{root}", store=tmp_path / "store")
    for rdm, brain in zip(target.rdms, brains, strict=True):
        ids = brain.responses.stimuli["stimulus_id"].tolist()
        rows = [ids.index(name) for name in target.stimulus_id]
        betas = brain.responses.betas[rows]
        finite = np.isfinite(betas).all(axis=0)
        np.testing.assert_allclose(rdm, make_rdm(betas[:, finite]), atol=1e-9)
    pictures = target.data.responses.pictures
    own = brains[0].responses
    row = own.stimuli["stimulus_id"].tolist().index(target.stimulus_id[7])
    np.testing.assert_array_equal(pictures[7], own.pictures[row])


def test_the_ceiling_from_repeats_is_what_the_truth_reaches():
    found = []
    for seed in range(20):
        hidden, responses = make_units(n=40, n_repeats=6, noise=3.0, seed=seed)
        same = np.random.default_rng(seed)
        same.normal(size=hidden.shape)
        truth = make_rdm(hidden @ same.normal(size=(10, 24)))
        measured = make_rdm(responses.average().betas)
        trials = responses.betas.reshape(40, 6, 24)
        ceiling = repeat_ceiling(trials, "correlation", "pearson")
        found.append((compare_rdms(truth, measured, "pearson")[0, 0], ceiling))
    reached, ceiling = np.mean(found, axis=0)
    assert ceiling == pytest.approx(reached, abs=0.03)


def test_so_many_stimuli_are_spread_evenly(units, objects):
    data, *_ = units
    (target,) = load_targets(data, stimuli=10)
    assert target.stimulus_id == [f"p{i:02d}" for i in range(0, 30, 3)]
    (target,) = load_targets(DATA.format(objects), source="monkey IT", stimuli=23)
    whole = load_targets(DATA.format(objects), source="monkey IT")[0]
    rows = np.arange(23) * 92 // 23
    i, j = np.triu_indices(92, 1)
    square = np.zeros((92, 92))
    square[i, j] = square[j, i] = whole.rdms[0]
    chosen = square[np.ix_(rows, rows)][np.triu_indices(23, 1)]
    np.testing.assert_array_equal(target.rdms[0], chosen)
    assert target.stimulus_id == [whole.stimulus_id[r] for r in rows]


# ----------------------------------------------------------------- runs and reports


def test_a_finished_run_is_left_as_it_is(finished, objects):
    before = contents(finished)
    keys = Store(finished / "parts" / "rsa").keys()
    sources = ["human IT", "monkey IT"]
    run_rsa(DATA.format(objects), FEATURES, finished, source=sources, **CALL)
    assert contents(finished) == before
    assert Store(finished / "parts" / "rsa").keys() == keys


def test_another_run_in_the_same_folder_is_refused(finished, objects):
    with pytest.raises(ValueError, match="holds a run with compare='spearman'"):
        run_rsa(DATA.format(objects), FEATURES, finished, compare="cosine", **CALL)


@pytest.mark.slow
def test_a_killed_run_ends_with_identical_tables(objects, tmp_path):
    features = [f"{NETWORK}:blocks.1:mean", "control:colour"]
    code = "from neurovis.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "rsa"]
    command += ["--data", DATA.format(objects), "--out", str(tmp_path / "killed")]
    for spec in features:
        command += ["--features", spec]
    command += ["--source", "monkey IT", "--source", "behaviour"]
    command += ["--n-bootstrap", "20", "--n-permutations", "20", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    parts = Store(tmp_path / "killed" / "parts" / "rsa")
    try:
        while process.poll() is None and not parts.keys():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=50)
    finally:
        process.kill()
    for name in ("killed", "straight"):
        run_rsa(
            DATA.format(objects),
            features,
            tmp_path / name,
            source=["monkey IT", "behaviour"],
            resize="squash",
            n_bootstrap=20,
            n_permutations=20,
            device="cpu",
        )
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


def test_the_report_tells_ranking_ceiling_and_marks(finished):
    lines = finish_run(finished)
    assert lines[-1] == f"report {finished / 'report.html'}"
    assert any("human IT (RSA)" in line and "Ceiling: " in line for line in lines)
    first = lines.index(next(line for line in lines if "human IT (RSA)" in line)) + 1
    assert lines[first].split()[:2] == ["timm:test_vit", "(untrained)"]
    text = (finished / "report.html").read_text(encoding="utf-8")
    for words in (
        "timm:test_vit (untrained)",
        "optimistic",
        "came with the data",
        "untrained weights (seeded:0)",
        "leave one subject out",
        "images",
    ):
        assert words in text, words
    names = sorted(path.name for path in (finished / "figures").iterdir())
    assert len(names) == 9
    assert sum("differences_stimuli" in name for name in names) == 1
    assert sum("matrices" in name for name in names) == 2


def test_a_report_of_an_unfinished_run_says_what_to_do(tmp_path):
    (tmp_path / "run.json").write_text('{"task": "rsa"}')
    with pytest.raises(FileNotFoundError, match=r"neurovis run rsa --out"):
        finish_run(tmp_path)


def test_damaged_matrices_are_told(finished, tmp_path):
    for path in finished.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    cut = (tmp_path / "rdms.npz").read_bytes()[:200]
    (tmp_path / "rdms.npz").write_bytes(cut)
    with pytest.raises(DataCorruptError, match=r"rdms\.npz"):
        finish_run(tmp_path)


# -------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measure": "cityblock"}, "`measure` must be one of"),
        ({"compare": "kendall"}, "`compare` must be one of"),
        ({"over": "voxels"}, "`over` must be one of"),
        ({"source": "humn IT"}, "Did you mean 'human IT'"),
        ({"source": "model"}, "`source` must be one of"),
        ({"subjects": ["9"]}, "`subject of"),
        ({"regions": ["V4"]}, "`regions` are for responses of units"),
        ({"measure": "crossnobis"}, "needs single trials"),
        ({"stimuli": 3}, "`stimuli`"),
        ({"n_bootstrap": 0}, "`n_bootstrap`"),
        ({"seed": -1}, "`seed`"),
        ({"features": [f"{NETWORK}:blocks.77"]}, "no layer 'blocks.77'"),
        ({"features": []}, "`features` is empty"),
        ({"features": ["control:gabor", "control:gabor"]}, "two sets called"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_written(
    objects, tmp_path, change, message
):
    call = {"features": ["control:colour"]} | change
    with pytest.raises(ValueError, match=message):
        run_rsa(DATA.format(objects), call.pop("features"), tmp_path / "run", **call)
    assert not (tmp_path / "run").exists()


def test_units_take_no_source_and_too_few_stimuli_are_refused(units, tmp_path):
    data, features, responses, _ = units
    with pytest.raises(ValueError, match="`source` is for published matrices"):
        run_rsa(data, [features], tmp_path / "run", source="human IT")
    few = responses.select_stimuli(np.arange(20))
    save_responses(tmp_path / "few", few)
    with pytest.raises(ValueError, match="has 5 stimuli"):
        load_targets(f"responses:{tmp_path / 'few'}")


def test_text_takes_the_rule_of_resizing_and_specs_keep_theirs(objects, tmp_path):
    spec = parse_features("control:colour:statistics", label="own")
    run_rsa(
        DATA.format(objects),
        [spec, "control:colour:statistics"],
        tmp_path,
        source="monkey IT",
        resize="squash",
        **CALL,
    )
    call = Score.load(tmp_path).provenance.call
    assert [s["resize"] for s in call["features"]] == [None, "squash"]
