"""The localiser for models: preferences that a simulated brain was given are found."""

import json
import shutil
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.selectivity import category_selectivity
from analysis.selectivity_maps import selectivity_reliability, unit_auc
from data_loaders.category_pictures import CategoryPictures, load_category_pictures
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.cli import main
from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import LazyPictures, write_png
from neurovis.core.types import SCORE_COLUMNS, Score
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_encoder import fit_brain_encoder
from tasks.brain_sources import BrainData
from tasks.encoder_options import EncoderOptions
from tasks.encoding import fit_encoding
from tasks.encoding_maps import find_space
from tasks.encoding_predict import predict_encoding
from tasks.encoding_run import load_encoding, model_folder
from tasks.encoding_scores import WHOLE
from tasks.localiser import run_localiser
from tasks.localiser_report import finish_localiser
from tasks.localiser_scores import (
    kept_pictures,
    make_levels,
    permuted_strength,
    split_pictures,
)
from tasks.reports import finish_run

DOMAINS = {
    "face": ("adult", "child"),
    "place": ("house", "corridor"),
    "word": ("word", "number"),
}
CATEGORIES = [c for pair in DOMAINS.values() for c in pair]
N_UNITS, SIDE = 18, 32
SPACE = SurfaceSpace("tiny", (40, 40))
CALL = {"n_permutations": 5, "n_bootstrap": 5, "device": "cpu"}
FEATURES = "control:pixels:pixels:grid8"


def patterns():
    """One coarse pattern per category, alike within a domain."""
    rng = np.random.default_rng(3)
    found = {}
    for categories in DOMAINS.values():
        shared = rng.normal(size=(4, 4, 3))
        for category in categories:
            found[category] = shared + 0.5 * rng.normal(size=(4, 4, 3))
    return found


def picture(category, number):
    rng = np.random.default_rng([CATEGORIES.index(category), number])
    grey = 128 + 25 * patterns()[category] + 15 * rng.normal(size=(4, 4, 3))
    whole = np.kron(grey, np.ones((SIDE // 4, SIDE // 4, 1)))
    return np.clip(whole, 0, 255).astype(np.uint8)


def make_brain():
    """Units that like one domain each, with noise, over training pictures."""
    rng = np.random.default_rng(0)
    likes = np.array(list(DOMAINS))[np.arange(N_UNITS) % 3]
    shown = [(c, n) for n in range(25) for c in CATEGORIES]
    domain_of = {c: d for d, pair in DOMAINS.items() for c in pair}
    domains = np.array([domain_of[c] for c, _ in shown])
    betas = 1.0 * (domains[:, None] == likes)
    betas += 0.7 * rng.standard_normal(betas.shape)
    # A second label family that tells the truth for half of the units.
    units = SPACE.locate(np.arange(10, 10 + 3 * N_UNITS, 3)).assign(
        **{"floc": likes, "place": [""] * 9 + ["late"] * 9}
    )
    stimuli = pd.DataFrame(
        {"stimulus_id": [f"{c}-{n}" for c, n in shown], "n_repeats": 1}
    )
    responses = UnitResponses(
        "tiny",
        "s1",
        betas.astype(np.float32),
        stimuli,
        units,
        families=("floc", "place"),
        space=SPACE,
        notes=("Simulated responses.",),
        pictures=LazyPictures(lambda one: picture(*one), shown),
    )
    maps = rng.standard_normal((len(shown), 4 * 2 * 2)).astype(np.float32)
    data = BrainData(responses, features={"maps": maps}, map_shapes={"maps": (4, 2, 2)})
    return data, likes


@pytest.fixture(scope="module")
def likes():
    return make_brain()[1]


@pytest.fixture(scope="module")
def ridge(tmp_path_factory):
    out = tmp_path_factory.mktemp("ridge") / "run"
    features = [f"{FEATURES},pixels:grid4", "control:colour:lab:grid2", "given:maps"]
    fit_encoding([make_brain()[0]], features, out, **CALL)
    return out


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    out = tmp_path_factory.mktemp("encoder") / "run"
    fit_brain_encoder(
        [make_brain()[0]],
        [f"{FEATURES},pixels:grid16"],
        out,
        readouts=["linear"],
        options=EncoderOptions("linear", core="small"),
        settings={"max_epochs": 15},
        **CALL,
    )
    return out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """New pictures of the same categories, and scrambled ones, in a folder."""
    root = tmp_path_factory.mktemp("localiser")
    rows = []
    for domain, pair in DOMAINS.items():
        for category in pair:
            for n in range(12):
                name = f"{category}-{n}.png"
                write_png(root / name, picture(category, 1000 + n))
                rows.append((name, category, domain))
    for n in range(6):
        noise = np.random.default_rng(n).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        write_png(root / f"scrambled-{n}.png", noise)
        rows.append((f"scrambled-{n}.png", "scrambled", "scrambled"))
    table = pd.DataFrame(rows, columns=["file", "category", "domain"])
    table.to_csv(root / "stimuli.csv", index=False)
    return root


@pytest.fixture(scope="module")
def localised(ridge, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("localised") / "run"
    run_localiser(ridge, pictures, out, device="cpu", n_permutations=50)
    return out


def test_preferences_of_a_simulated_brain_are_recovered_by_ridge(localised, likes):
    units = read_table(localised / "units.parquet")
    mine = (units["model"] == "control:pixels") & (units["level"] == "domain")
    rows = units[mine].drop_duplicates("unit_id")
    assert rows["floc"].tolist() == likes.tolist()
    assert (rows["preferred"] == rows["floc"]).all()
    regions = read_table(localised / "regions.parquet")
    own = regions[
        (regions["model"] == "control:pixels") & (regions["family"] == "floc")
    ]
    own = own[own["level"] == "domain"]
    same = own["region"] == own["category"]
    assert (own.loc[same, "auc"] == 1).all()
    assert (own.loc[~same, "auc"] <= 0.5).all()
    assert (own.loc[same, "share_preferred"] == 1).all()
    assert (own.loc[same, "ci_low"] > 1).all()
    assert (own.loc[~same, "d_prime"] < 0).all()
    scores = Score.load(localised).table
    strength = scores[scores["metric"] == "abs_d_prime_mean"]
    assert (strength["value"] > 2 * strength["chance_high"]).all()
    np.testing.assert_allclose(strength["p_value"], 1 / 51)
    halves = scores[scores["metric"] == "split_half_r"]
    assert (halves["value"] > 0.9).all()


def test_preferences_are_recovered_by_a_trained_encoder(
    encoder, pictures, tmp_path, likes
):
    home = model_folder(encoder, "s1", "linear with a small core", "pixels:grid8")
    run_localiser(home, pictures, tmp_path / "out", device="cpu", n_permutations=0)
    units = read_table(tmp_path / "out" / "units.parquet")
    rows = units[units["level"] == "domain"].drop_duplicates("unit_id")
    assert (rows["preferred"].to_numpy() == likes).mean() >= 0.9
    scores = Score.load(tmp_path / "out").table
    assert scores["p_value"].isna().all()  # no permutations


def test_a_fit_of_encoders_is_localised_without_its_averages(
    encoder, pictures, tmp_path, likes
):
    out = tmp_path / "out"
    run_localiser(encoder, pictures, out, device="cpu", n_permutations=0)
    scores = Score.load(out)
    assert set(scores.table["model"]) == {"linear with a small core"}
    assert len(set(scores.table["layer"])) == 1
    notes = " ".join(scores.provenance.notes)
    message = "s1 linear with a small core ensemble all layers was left out: the fit"
    assert message in notes
    assert sorted((out / "maps").rglob("lh.*domain-word_d_prime.mgh"))


def test_an_encoder_that_was_moved_gets_the_same_maps(encoder, pictures, tmp_path):
    row = load_encoding(encoder).layers.iloc[0]
    home = model_folder(encoder, row["subject"], row["model"], row["layer"])
    moved = tmp_path / "moved"
    shutil.copytree(home, moved)
    found = []
    for model, out in ((home, tmp_path / "a"), (moved, tmp_path / "b")):
        run_localiser(model, pictures, out, device="cpu", n_permutations=0)
        maps = sorted((out / "maps").rglob("*.mgh"))
        assert len(maps) == 2 * (3 + 6)  # hemispheres; domains and categories
        found.append([(path.name, path.read_bytes()) for path in maps])
    assert found[0] == found[1]
    card = moved / "encoder.json"
    meta = json.loads(card.read_text())
    meta["training"]["space"] = {"name": "tiny"}
    card.write_text(json.dumps(meta))
    with pytest.raises(DataCorruptError, match=r"encoder\.json"):
        run_localiser(moved, pictures, tmp_path / "c", device="cpu")


@pytest.mark.usefixtures("undrawn_figures")
def test_untrained_networks_are_marked_everywhere(ridge, pictures, tmp_path):
    home = model_folder(ridge, "s1", "control:colour", "lab:grid2")
    copy = tmp_path / "model"
    shutil.copytree(home, copy)
    meta = json.loads((copy / "model.json").read_text())
    meta["features"]["spaces"][0]["untrained"] = True
    (copy / "model.json").write_text(json.dumps(meta))
    out = tmp_path / "out"
    run_localiser(copy, pictures, out, device="cpu", n_permutations=0)
    assert read_table(out / "units.parquet")["untrained"].all()
    assert "control:colour (untrained) lab:grid2: face" in finish_localiser(out)[1]
    notes = read_json(out / "provenance.json")["notes"]
    assert any(note.startswith("No maps, where neither model nor") for note in notes)
    assert not (out / "maps").exists()


def test_tables_are_those_of_the_predictions(ridge, localised, pictures, tmp_path):
    layers = load_encoding(ridge).layers
    chosen = layers[layers["chosen"] & (layers["region"] == WHOLE)]
    row = chosen[chosen["model"] == "control:pixels"].iloc[0]
    home = model_folder(ridge, "s1", row["model"], row["layer"])
    shown = load_category_pictures(pictures)
    x = predict_encoding(
        home, shown.pictures, tmp_path / "predicted", stimuli=shown.table, device="cpu"
    )
    kinds = shown.table["category"].to_numpy()
    kept = kinds != "scrambled"
    found = category_selectivity(x[kept], kinds[kept])
    units = read_table(localised / "units.parquet")
    units = units[(units["model"] == row["model"]) & (units["level"] == "category")]
    assert set(units["layer"]) == {row["layer"]}
    for k, category in enumerate(found.categories):
        own = units[units["category"] == category]
        np.testing.assert_allclose(own["d_prime"], found.d_prime[:, k], rtol=1e-4)
        expected = stats.false_discovery_control(found.p_value[:, k])
        np.testing.assert_allclose(own["p_fdr"], expected, rtol=1e-3)
    scores = Score.load(localised).table
    scores = scores[(scores["model"] == row["model"]) & (scores["level"] == "category")]
    table = selectivity_reliability(x[kept], kinds[kept])
    halves = scores[scores["metric"] == "split_half_r"].set_index("category")["value"]
    np.testing.assert_allclose(halves[table["category"]], table["r"], rtol=1e-4)
    regions = read_table(localised / "regions.parquet")
    mine = (regions["model"] == row["model"]) & (regions["region"] == "late")
    one = regions[mine & (regions["category"] == "house")].iloc[0]
    d = found.of("house")
    inside = np.arange(N_UNITS) >= 9
    assert one["d_prime"] == pytest.approx(d[inside].mean(), rel=1e-4)
    assert one["d_prime_others"] == pytest.approx(d[~inside].mean(), rel=1e-4)
    assert one["auc"] == pytest.approx(unit_auc(d, inside))
    assert one["ci_low"] < one["d_prime"] < one["ci_high"]


def test_the_run_leaves_tables_maps_notes_and_a_report(localised, likes):
    score = Score.load(localised)
    assert list(score.table.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    assert set(score.table["n"]) == {72}  # scrambled pictures are not shown
    assert score.table["simulated"].all()
    assert not score.table["untrained"].any()
    notes = " ".join(score.provenance.notes)
    assert "nobody was measured with these pictures" in notes
    assert "s1 maps was left out: The features" in notes
    model = "control_pixels"
    maps = sorted((localised / "maps" / "s1" / model).glob("lh.*domain-face*"))
    assert len(maps) == 1
    image = nib.MGHImage.from_bytes(maps[0].read_bytes())
    values = np.asarray(image.dataobj)[:, 0, 0]
    units = read_table(localised / "units.parquet")
    own = units[(units["model"] == "control:pixels") & (units["category"] == "face")]
    left = own["unit_id"].str.startswith("lh").to_numpy()
    vertex = own["unit_id"].str.split("-").str[1].astype(int).to_numpy()
    np.testing.assert_allclose(values[vertex[left]], own["d_prime"][left], rtol=1e-6)
    assert np.isnan(values).sum() == 40 - left.sum()
    lines = finish_localiser(localised)
    assert finish_run(localised) == lines
    assert "s1, simulated: control:pixels" in lines[1]
    assert "face 33 %" in lines[1]
    html = (localised / "report.html").read_text()
    assert "Simulated: localiser for models" in html
    assert "obody was measured" in html
    names = {path.stem for path in (localised / "figures").iterdir()}
    assert {name.split("_control")[0].split("_s1")[0] for name in names} == {
        "d_prime",
        "regions_auc",
        "regions_d_prime",
    }


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_tables(
    ridge, localised, pictures, tmp_path
):
    out = tmp_path / "out"
    call = {"device": "cpu", "n_permutations": 50}
    run_localiser(ridge, pictures, out, **call)
    names = ("units.parquet", "regions.parquet", "scores.parquet", "provenance.json")
    files = {name: (out / name).read_bytes() for name in names}
    for name in names:
        assert files[name] == (localised / name).read_bytes()
        (out / name).unlink()
    with pytest.raises(FileNotFoundError, match="neurovis run localiser"):
        finish_localiser(out)
    kept = sorted((out / "parts").rglob("*.parquet"))
    kept[0].write_bytes(b"cut")
    run_localiser(ridge, pictures, out, **call)
    assert {name: (out / name).read_bytes() for name in names} == files
    with pytest.raises(ValueError, match="holds a run with seed=0; now seed=1"):
        run_localiser(ridge, pictures, out, seed=1, **call)


def test_contrasts_and_exclusions_are_those_asked_for(ridge, pictures, tmp_path):
    home = model_folder(ridge, "s1", "control:colour", "lab:grid2")
    run_localiser(
        home,
        pictures,
        tmp_path / "out",
        contrast="face",
        exclude=["scrambled", "number"],
        split_half=False,
        device="cpu",
        n_permutations=3,
    )
    units = read_table(tmp_path / "out" / "units.parquet")
    assert set(units["category"]) == {"face"}
    assert set(units["preferred"]) == {""}  # nothing to prefer it to
    assert (units["n_in"].iloc[0], units["n_out"].iloc[0]) == (24, 36)
    scores = Score.load(tmp_path / "out").table
    assert not scores["metric"].str.startswith("split_half").any()
    assert scores.loc[scores["metric"] == "share_preferred", "value"].isna().all()
    lines = finish_localiser(tmp_path / "out")
    assert "face d'" in lines[1]


def test_levels_are_domains_and_categories_unless_they_are_the_same():
    kinds = ["adult", "child", "house", "house"]
    table = pd.DataFrame({"category": kinds, "domain": ["face"] * 2 + ["place"] * 2})
    found = make_levels(table)
    assert [(one.name, one.tested) for one in found] == [
        ("domain", ("face", "place")),
        ("category", ("adult", "child", "house")),
    ]
    same = table.assign(domain=table["category"])
    assert [one.name for one in make_levels(same)] == ["domain"]
    one_domain = table.assign(domain="things")
    assert [one.name for one in make_levels(one_domain)] == ["category"]
    found = make_levels(table, ["house", "face"])
    assert [(one.name, one.tested) for one in found] == [
        ("domain", ("face",)),
        ("category", ("house",)),
    ]
    with pytest.raises(ValueError, match="Did you mean 'face'"):
        make_levels(table, "faces")
    with pytest.raises(ValueError, match="`contrast` is empty"):
        make_levels(table, [])
    with pytest.raises(ValueError, match="one category, 'house'"):
        make_levels(table.iloc[2:])
    assert kept_pictures(table, ["scrambled", "child"]).tolist() == [0, 2, 3]
    with pytest.raises(ValueError, match=r"`exclude` must be one of .*'place'"):
        kept_pictures(table, ["places"])
    with pytest.raises(ValueError, match="leaves no picture"):
        kept_pictures(table, ["face", "place"])


def test_halves_have_every_second_picture_of_each_category():
    table = pd.DataFrame({"category": list("aababbab")})
    halves = split_pictures(table)
    assert halves.tolist() == [True, False, True, True, False, True, False, False]
    with pytest.raises(ValueError, match=r"'b' has 3 pictures.*--no-split-half"):
        split_pictures(table.iloc[:-1])


@pytest.mark.parametrize("n_units", [1, 7])
def test_chance_is_selectivity_of_permuted_labels(n_units):
    rng = np.random.default_rng(1)
    kinds = np.repeat(np.array(["a", "b", "c"], object), [5, 8, 6])
    x = 1e3 + rng.normal(size=(19, n_units)) * rng.uniform(0.1, 9, n_units)
    found = permuted_strength(x, kinds, ("a", "c"), 4, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    orders = [np.arange(19), *(rng.permutation(19) for _ in range(4))]
    for row, order in zip(found, orders, strict=True):
        direct = category_selectivity(x, kinds[order], contrast=["a", "c"])
        np.testing.assert_allclose(row, abs(direct.d_prime).mean(axis=0), rtol=1e-8)
    nothing = permuted_strength(x[:, :0], kinds, ("a",), 2, rng)
    assert nothing.shape == (3, 1)
    assert np.isnan(nothing).all()


def test_places_of_units_are_read_from_the_maps_of_the_fit(ridge, tmp_path):
    layers = load_encoding(ridge).layers
    row = layers[layers["model"] == "control:colour"].iloc[0]
    home = model_folder(ridge, "s1", row["model"], row["layer"])
    assert find_space(home) == SurfaceSpace("surface", (40, 40))
    assert find_space(tmp_path / "a" / "b" / "c" / "d") is None
    other = tmp_path / "run" / "maps" / "s" / "m"
    other.mkdir(parents=True)
    affine = np.diag([1.5, 2.0, 2.0, 1.0])
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), affine)
    nib.save(image, other / "l_r.nii.gz")
    model = tmp_path / "run" / "models" / "s" / "m" / "l"
    assert find_space(model) == VolumeSpace("volume", (3, 4, 5), affine)
    path = other / "l_r.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataCorruptError, match=r"l_r\.nii\.gz"):
        find_space(model)


def test_calls_that_make_no_sense_leave_nothing(ridge, pictures, tmp_path):
    home = model_folder(ridge, "s1", "control:colour", "lab:grid2")
    given = model_folder(ridge, "s1", "maps", "")
    out = tmp_path / "out"
    for changes, message in (
        ({"contrast": "faces"}, "Did you mean 'face'"),
        ({"exclude": ["facs"]}, "Did you mean 'face'"),
        ({"n_permutations": -1}, "`n_permutations`"),
        ({"n_bootstrap": 0}, "`n_bootstrap`"),
        ({"seed": -1}, "`seed`"),
        ({"device": "tpu"}, "`device`"),
    ):
        with pytest.raises(ValueError, match=message):
            run_localiser(home, pictures, out, **{"device": "cpu", **changes})
    with pytest.raises(ValueError, match=r"came from outside.*EncodingModel.predict"):
        run_localiser(given, pictures, out)
    with pytest.raises(ValueError, match="two models called"):
        run_localiser([home, home], pictures, out)
    with pytest.raises(ValueError, match="`model` is empty"):
        run_localiser([], pictures, out)
    with pytest.raises(FileNotFoundError, match="holds no encoding model"):
        run_localiser(tmp_path, pictures, out)
    with pytest.raises(FileNotFoundError, match=r"stimuli\.csv"):
        run_localiser(home, tmp_path, out)
    table = pd.DataFrame({"stimulus_id": list("abcd"), "category": list("xxyy")})
    few = CategoryPictures(
        "few", table.assign(domain=table["category"]), [picture("adult", 0)] * 4
    )
    with pytest.raises(ValueError, match="has 2 pictures, and two halves need four"):
        run_localiser(home, few, out)
    assert not out.exists()


def test_a_fit_without_weights_is_refused(tmp_path, pictures):
    fit_encoding(
        [make_brain()[0]],
        ["control:colour:lab:grid2"],
        tmp_path / "fit",
        keep_models=False,
        **CALL,
    )
    with pytest.raises(ValueError, match="kept no weights"):
        run_localiser(tmp_path / "fit", pictures, tmp_path / "out")


# --------------------------------------------------------------- the command line


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder: code, output, errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["neurovis", *map(str, words)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as end:
            main()
        return (end.value.code or 0, *capsys.readouterr())

    return call


@pytest.mark.usefixtures("undrawn_figures")
def test_the_command_runs_and_reports(ridge, pictures, tmp_path, call):
    home = model_folder(ridge, "s1", "control:colour", "lab:grid2")
    words = ["run", "localiser", "--model", home, "--pictures", pictures]
    words += ["--contrast", "face,house", "--permutations", 3, "--bootstrap", 5]
    words += ["--out", "out", "--device", "cpu", "--no-split-half", "--seed", 2]
    code, output, _ = call(*words)
    assert code == 0
    lines = output.splitlines()
    assert "s1, simulated: control:colour lab:grid2: face d'" in lines[1]
    assert lines[-1] == "report out/report.html"
    told = read_json(tmp_path / "out" / "run.json")
    assert told["contrast"] == ["face", "house"]
    assert (told["seed"], told["n_permutations"], told["split_half"]) == (2, 3, False)
    code, output, _ = call("report", "out")
    assert (code, output.splitlines()) == (0, lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--contrast", "faces"], "Did you mean 'face'"),
        (["--exclude", "places"], "Did you mean 'place'"),
        (["--contrast", "scrambled"], "`contrast` must be one of"),
        (["--permutations", "-1"], "`n_permutations`"),
        (["--bootstrap", "0"], "`n_bootstrap`"),
        (["--seed", "-1"], "`seed`"),
        (["--device", "tpu"], "`device`"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_leave_nothing(ridge, pictures, tmp_path, call, words, message):
    home = model_folder(ridge, "s1", "control:colour", "lab:grid2")
    known = ["run", "localiser", "--model", home, "--pictures", pictures]
    code, output, errors = call(*known, "--out", "out", *words)
    assert (code, output) == (1, "")
    assert errors.startswith("error: ")
    assert message in errors
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ real pictures


@pytest.mark.slow
def test_a_network_is_selective_for_domains_as_published(data_folder):
    folder = data_folder / "imagenet_backbones"
    expected = json.loads((folder / "reference_values.json").read_text())
    expected = expected["floc_selectivity_squeezenet_fire9_spatial_mean"]["per_domain"]
    shown = load_category_pictures(data_folder / "floc_subset")
    rows = np.flatnonzero(shown.table["domain"] != "scrambled")
    images = LazyPictures(shown.pictures.__getitem__, rows.tolist())
    weights = folder / "squeezenet1_0_deepcompressed.safetensors"
    network = load_backbone("squeezenet1_0", weights, resize="squash")
    x = extract_features(network, images, ["fire9:gap"])["fire9:gap"]
    table = shown.table.iloc[rows]
    first = table["source_number"].to_numpy() % 2 == 1
    domains = table["domain"].to_numpy()
    whole = category_selectivity(x, domains, epsilon=1e-9)
    halves = selectivity_reliability(x, domains, halves=first, epsilon=1e-9)
    for row in halves.to_dict("records"):
        told = expected[row["category"]]
        best = told["mean_dprime_even_of_top10_units_chosen_on_odd"]
        assert row["top_d_prime"] == pytest.approx(best, abs=5e-3)
        assert row["r"] == pytest.approx(told["split_half_corr"], abs=1e-3)
        n_strong = int((whole.of(row["category"]) > 1).sum())
        assert n_strong == told["n_units_dprime_gt_1_all"]
