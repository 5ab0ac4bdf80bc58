"""Whole comparisons of foveated systems on a few drawings."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data_loaders.class_pictures import ClassPictures
from neurovis.adapters.foveated_texture import load_system
from neurovis.adapters.scene_classifier import load_classifier_folder
from neurovis.core.files import read_json, read_table, sha256_file
from neurovis.core.types import Score
from neurovis.foveation.transforms import FoveationSettings
from stimuli.category_pictures import make_category_pictures
from tasks.foveation import run_foveation
from tasks.foveation_design import FoveationDesign
from tasks.foveation_systems import SYSTEMS, match_systems
from tasks.foveation_training import compact_recipe

CLASSES = ("body", "face", "food", "place")
N_EACH = {"train": 4, "val": 1, "test": 2}
DESIGN = FoveationDesign(
    experiments=("generalisation", "window-conflict"),
    architecture="timm:resnet10t",
    architecture_options={"channels": [8, 8, 8, 8], "stem_type": ""},
    recipe=compact_recipe(2),
    n_runs=2,
    epochs=(0,),
    render_px=64,
    size_px=32,
    n_calibration=4,
    n_bootstrap=20,
    seed=3,
)
TABLES = ("accuracy", "bias", "confusion", "curves", "directions", "scores", "sets",
          "systems", "answers/generalisation", "answers/window-conflict")  # fmt: skip


def drawings(seed=0, test_seed=None, grey=False):
    """Drawings of four kinds; those of the test can come from another seed."""
    rows, shown = [], []
    for split, n in N_EACH.items():
        own = test_seed if split == "test" and test_seed is not None else seed
        made = make_category_pictures(
            7 * len(CLASSES), size_px=72, categories=CLASSES, seed=own
        )
        first = {"train": 0, "val": 4, "test": 5}[split]
        table = made.table.assign(row=range(len(made.table)))
        for label, kind in enumerate(CLASSES):
            of_kind = table["row"][table["category"] == kind]
            for k, row in enumerate(of_kind.iloc[first : first + n]):
                picture = made.images[row]
                shown.append(np.repeat(picture[..., :1], 3, -1) if grey else picture)
                rows.append((f"{split}/{kind}/{k}.png", kind, split, label))
    columns = ["stimulus_id", "category", "split", "label"]
    return ClassPictures("few", pd.DataFrame(rows, columns=columns), shown, CLASSES)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished comparison; not to be changed."""
    out = tmp_path_factory.mktemp("foveation") / "run"
    return out, run_foveation(drawings(), out, DESIGN, device="cpu")


def tables(folder):
    return {name: read_table(folder / f"{name}.parquet") for name in TABLES}


# ---------------------------------------------------------------- what is compared


def test_runs_of_one_number_start_equal_in_all_systems_and_end_apart(run):
    folder = run[0] / "training"
    for number in range(2):
        names = [f"{system}_{number}" for system in SYSTEMS]
        starts = {sha256_file(folder / n / "epoch-0000.safetensors") for n in names}
        ends = {sha256_file(folder / n / "model.safetensors") for n in names}
        assert (len(starts), len(ends)) == (1, 4)
    one, other = (
        sha256_file(folder / f"texture_{k}" / "epoch-0000.safetensors") for k in (0, 1)
    )
    assert one != other


def test_blurs_lose_as_much_as_the_texture(run):
    table = read_table(run[0] / "systems.parquet").set_index("system")
    assert table.index.tolist() == list(SYSTEMS)
    target = table.loc["texture", "ssim"]
    assert target < 0.97
    for system, name in (("uniform-blur", "sigma_px"), ("foveated-blur", "factor")):
        assert table.loc[system, "ssim"] == pytest.approx(target, abs=1e-3)
        assert (table.loc[system, "parameter"], table.loc[system, "matched"]) == (
            name,
            True,
        )
    assert table.loc["reference", "ssim"] == 1
    assert (table["n_images"] == 4).all()


def test_test_pictures_have_no_part_in_training_and_calibration(run, tmp_path):
    design = replace(
        DESIGN,
        systems=("texture", "uniform-blur"),
        experiments=("generalisation",),
        n_runs=1,
        epochs=(),
    )
    run_foveation(drawings(test_seed=9), tmp_path, design, device="cpu")
    first, other = (read_table(f / "systems.parquet") for f in (run[0], tmp_path))
    kept = first[first["system"].isin(design.systems)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, other)
    for system in design.systems:
        weights = [
            sha256_file(folder / "training" / f"{system}_0" / "model.safetensors")
            for folder in (run[0], tmp_path)
        ]
        assert weights[0] == weights[1]
    curves = [read_table(folder / "curves.parquet") for folder in (run[0], tmp_path)]
    mine = curves[0].query("system in @design.systems and run == 0")
    pd.testing.assert_frame_equal(mine.reset_index(drop=True), curves[1])
    answered = read_table(tmp_path / "answers/generalisation.parquet")
    assert answered["stimulus_id"].str.startswith("test/").all()


# ------------------------------------------------------------------------ answers


def test_every_network_answers_every_test_picture_once(run):
    table = drawings().table.query("split == 'test'")
    for name, n_sets in (("generalisation", 4), ("window-conflict", None)):
        answers = read_table(run[0] / f"answers/{name}.parquet")
        n_sets = n_sets or answers["level"].nunique()
        assert len(answers) == 4 * 2 * 2 * n_sets * len(table)
        keys = ["system", "run", "epoch", "condition", "level", "stimulus_id"]
        assert not answers.duplicated(keys).any()
        assert set(answers["epoch"]) == {0, 2}
        labels = answers.drop_duplicates("stimulus_id").set_index("stimulus_id")[
            "label"
        ]
        expected = table.set_index("stimulus_id")["label"]
        assert labels.to_dict() == expected.to_dict()
        right = answers["predicted"] == answers["label"]
        assert (right == (answers["rank"] == 1)).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_saved_system_names_raw_pictures_as_in_the_tables(run, system):
    shown = drawings().select("test")
    names = shown.table["stimulus_id"].tolist()
    answers = read_table(run[0] / "answers/generalisation.parquet")
    whole = load_system(run[0] / "networks" / f"{system}_1")
    assert whole.name == system
    logits = whole.classify(list(shown.pictures), keys=names, seed=DESIGN.seed)
    mine = answers.query(
        "system == @system and condition == @system and run == 1 and epoch == 2"
    ).set_index("stimulus_id")["predicted"]
    assert logits.argmax(1).tolist() == mine.loc[names].tolist()


def test_scores_are_those_of_the_answers(run):
    found = tables(run[0])
    answers = pd.concat(
        [found["answers/generalisation"], found["answers/window-conflict"]]
    )
    hits = answers.assign(hit=answers["predicted"] == answers["label"])
    keys = ["experiment", "system", "epoch", "condition", "level"]
    expected = hits.groupby(keys)["hit"].mean()
    accuracy = found["accuracy"].set_index(keys)["accuracy"]
    assert len(accuracy) == len(expected)
    np.testing.assert_allclose(accuracy.loc[expected.index], expected, atol=1e-12)
    assert (found["accuracy"]["chance"] == 0.25).all()
    scores = found["scores"]
    top = scores[scores["metric"] == "top1_accuracy"]
    assert top["value"].tolist() == found["accuracy"]["accuracy"].tolist()
    assert set(scores["metric"]) == {"top1_accuracy", "cross_over"}
    pd.testing.assert_frame_equal(Score.load(run[0]).table, run[1].table)
    keys = ["system", "epoch", "condition"]
    by_cell = found["confusion"].groupby(keys)["share"]
    for key, part in found["answers/generalisation"].groupby(keys):
        matrix = np.zeros((4, 4))
        np.add.at(matrix, (part["label"], part["predicted"]), 1)
        matrix /= matrix.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(by_cell.get_group(key), matrix.ravel())


def test_cross_overs_are_those_of_the_answers(run):
    found = tables(run[0])
    answers = found["answers/window-conflict"]
    assert (answers["other"] != answers["label"]).all()
    for row in found["bias"].itertuples():
        part = answers.query("system == @row.system and epoch == @row.epoch")
        curves = part.assign(
            lead=(part["predicted"] == part["label"]).astype(float)
            - (part["predicted"] == part["other"]).astype(float)
        )
        lead = curves.groupby("value")["lead"].mean()
        x, y = lead.index.to_numpy(), lead.to_numpy()
        expected = np.nan
        last = 0
        for i in range(1, len(x)):
            if y[i] < 0 < y[last]:
                expected = x[last] + (x[i] - x[last]) * y[last] / (y[last] - y[i])
                if i - last > 1:  # equal in between: the middle of that
                    expected = (x[last + 1] + x[i - 1]) / 2
                break
            last = i if y[i] != 0 else last
        np.testing.assert_allclose(row.cross_over, expected, atol=1e-12)


def test_levels_of_the_windows_span_from_nothing_to_everything(run):
    sets = read_table(run[0] / "sets.parquet").query("experiment == 'window-conflict'")
    assert sets["value"].is_monotonic_increasing
    assert (sets["value"].iloc[0], sets["value"].iloc[-1]) == (0, 1)
    # Rings at 32 px lie where they lie at 256 px.
    published = np.array([1.55, 3.43, 7.59, 16.8, 37.18, 80.77]) / 100
    np.testing.assert_allclose(sets["value"].iloc[1:-1], published, atol=0.01)


def test_verdicts_are_given_for_what_was_run(run):
    found = tables(run[0])["directions"]
    assert found["number"].tolist() == ["1a", "1b", "1b", "3a", "3a", "3a", "3a"]
    assert set(found["verdict"]) <= {"holds", "reversed", "fails", "undecided"}
    notes = " ".join(run[1].provenance.notes)
    assert "16 training, 4 validation and 8 test pictures; 2 runs" in notes
    assert "are not refuted" in notes


# --------------------------------------------------------------------- resumption


@pytest.mark.slow
def test_what_is_lost_is_made_again_and_ends_equal(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    before = tables(folder)
    for name in TABLES:
        (folder / f"{name}.parquet").unlink()
    shutil.rmtree(folder / "networks" / "texture_1")
    shutil.rmtree(folder / "training" / "uniform-blur_0")
    cut = next((folder / "pictures" / "texture").rglob("*.png"))
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-30])
    for part in sorted((folder / "parts").iterdir())[::5]:
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    run_foveation(drawings(), folder, DESIGN, device="cpu")
    assert cut.read_bytes() == whole
    for name, table in tables(folder).items():
        pd.testing.assert_frame_equal(table, before[name])
    made, kept = (
        load_classifier_folder(f / "networks" / "texture_1")[0]
        for f in (folder, run[0])
    )
    assert made.identity == kept.identity


def test_other_pictures_or_designs_need_another_folder(run):
    call = (run[0] / "run.json").read_bytes()
    with pytest.raises(ValueError, match="holds a run with pictures="):
        run_foveation(drawings(test_seed=9), run[0], DESIGN, device="cpu")
    with pytest.raises(ValueError, match="holds a run with n_runs=2; now n_runs=3"):
        run_foveation(drawings(), run[0], replace(DESIGN, n_runs=3), device="cpu")
    assert (run[0] / "run.json").read_bytes() == call


def test_pictures_without_colour_are_tested_without_grey_families(tmp_path):
    design = replace(
        DESIGN,
        systems=("texture",),
        experiments=("spatial-frequency", "occlusion", "square-conflict"),
        n_runs=1,
        epochs=(),
    )
    run_foveation(drawings(grey=True), tmp_path, design, device="cpu")
    sets = read_table(tmp_path / "sets.parquet")
    frequency = sets[sets["experiment"] == "spatial-frequency"]
    assert set(frequency["condition"]) == {"low-pass", "high-pass"}
    assert len(frequency) == 16
    # Small pictures have squares of equal size; their levels are all there.
    assert (sets["experiment"] == "square-conflict").sum() == 17
    assert sets.query("experiment == 'occlusion'")["value"].max() == 1
    assert not (tmp_path / "directions.parquet").exists()
    bias = read_table(tmp_path / "bias.parquet")
    assert bias["experiment"].tolist() == ["square-conflict"]
    assert (bias["n_images"] == 8).all()


# ------------------------------------------------------------------------- refusals


def changed(shown, rows):
    table = shown.table.iloc[rows].reset_index(drop=True)
    return replace(shown, table=table, pictures=[shown.pictures[i] for i in rows])


@pytest.mark.parametrize(
    ("rows", "design", "match"),
    [
        (lambda t: t["split"] != "test", {}, "'train' and 'test' are"),
        (
            lambda t: (t["split"] != "val") | (t["category"] != "food"),
            {},
            "'val' of few has no picture of 'food'",
        ),
        (
            lambda t: t["stimulus_id"] != "test/face/1.png",
            {"pairing": "published"},
            "there are 1 to 2",
        ),
        (
            lambda t: t["split"] != "",
            {"architecture": "alexnet", "architecture_options": {}},
            "does not take pictures of 32 px",
        ),
        (
            lambda t: t["split"] != "",
            {"texture": FoveationSettings(fixation_px=(65, 3))},
            "picture of 64 x 64 px",
        ),
    ],
    ids=["no test", "no class", "pairing", "architecture", "fixation"],
)
def test_what_cannot_end_well_is_refused_before_anything_is_made(
    tmp_path, rows, design, match
):
    shown = drawings()
    kept = np.flatnonzero(rows(shown.table)).tolist()
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=match):
        run_foveation(
            changed(shown, kept), out, replace(DESIGN, **design), device="cpu"
        )
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"systems": ("textur",)}, "Did you mean 'texture'"),
        ({"systems": ()}, "`systems` must be distinct names"),
        ({"experiments": ("occlusion", "occlusion")}, "`experiments` must be distinct"),
        ({"recipe": "published"}, "no published recipe for 'timm:resnet10t'"),
        ({"recipe": "fast"}, "`recipe` must be one of"),
        ({"n_runs": 0}, "`n_runs` must be within"),
        ({"render_px": 31}, "`render_px` must be within"),
        ({"size_px": 15}, "`size_px` must be within"),
        ({"epochs": (3,)}, "`epochs` must be within"),
        ({"pairing": "random"}, "`pairing` must be one of"),
        ({"sigma_px": -1.0}, "`sigma_px` must be within"),
        ({"texture": FoveationSettings("reference")}, "transform of `texture`"),
    ],
    ids=str,
)
def test_designs_that_make_no_sense_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        replace(DESIGN, **changes)


def test_epochs_to_test_need_a_training_that_goes_on_to_its_end():
    recipe = compact_recipe(9)
    settings = replace(recipe.settings, patience=2)
    with pytest.raises(ValueError, match="`epochs` needs a recipe that trains to its"):
        replace(DESIGN, recipe=replace(recipe, settings=settings), epochs=(3,))
    assert replace(DESIGN, recipe=recipe, epochs=(3, 0, 3)).epochs == (0, 3, 9)


def test_the_published_design_is_the_default(run):
    design = FoveationDesign()
    assert (design.systems, len(design.experiments)) == (SYSTEMS, 5)
    assert (design.architecture, design.n_runs, design.epochs) == (
        "resnet18",
        10,
        (80,),
    )
    assert (design.render_px, design.size_px, design.texture.scale) == (512, 256, 0.4)
    assert design.training.name == "published"
    assert read_json(run[0] / "run.json")["recipe"]["name"] == "compact"


def test_a_codec_is_known_by_its_content(tmp_path):
    for name, text in (("a", "1"), ("b", "2"), ("c", "1"), ("d", "2")):
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in "abcd"]
    designs = [
        FoveationDesign(texture=FoveationSettings("style-codec", codec=pair))
        for pair in (files[:2], files[2:], files[1:3])
    ]
    assert designs[0].parameters == designs[1].parameters
    assert designs[0].parameters != designs[2].parameters


def test_given_widths_are_taken_as_they_are():
    shown = drawings()
    pictures = [shown.pictures[i][:64, :64] for i in range(2)]
    found = match_systems(
        pictures,
        ["a", "b"],
        ("uniform-blur", "foveated-blur"),
        sigma_px=1.25,
        factor=0.5,
        device="cpu",
    )
    assert found.settings["uniform-blur"].sigma_px == 1.25
    assert found.settings["foveated-blur"].factor == 0.5
    assert found.table["matched"].tolist() == [False, False]
    with pytest.raises(ValueError, match="Pictures of one size"):
        match_systems([pictures[0], pictures[0][:40]], ["a", "b"], device="cpu")
