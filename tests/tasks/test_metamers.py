"""Sets of metamers: what is made, how near it came, resuming, refusals."""

import filecmp
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import tasks.metamer_samples
from neurovis.core.files import read_json
from neurovis.core.pictures import read_image, write_png
from neurovis.foveation.pooled_errors import statistics_errors
from neurovis.foveation.pooled_statistics import PooledStatistics
from neurovis.foveation.windows import fovea_weight, pooling_windows
from stimuli.frequency_filters import grey_of
from stimuli.save import picture_hash
from tasks.metamer_design import MetamerDesign, pyramid_scales
from tasks.metamers import convergence, load_metamers, make_metamers

TINY = {"scales": (0.5, 0.9), "size_px": 32, "n_steps": 5, "fovea_deg": 4.0}


def draw(seed, shape=(32, 32)):
    """Blobs and edges: a picture with structure at all scales."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((4, 4, 3)), np.ones((8, 8, 1)))
    rough = 0.6 * coarse + 0.4 * rng.random((32, 32, 3))
    return np.round(255 * rough).astype(np.uint8)[: shape[0], : shape[1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "in").mkdir()
    write_png(folder / "1001.png", draw(0))
    write_png(folder / "in" / "b c.png", draw(1))
    return folder


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("metamers") / "set"
    design = MetamerDesign(**TINY)
    exports = ("psychopy", "jspsych")
    return make_metamers(folder, out, design, exports=exports, device="cpu")


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_set_has_each_original_and_all_its_samples(made):
    table = made.stimuli.table
    assert table["image"].unique().tolist() == ["1001", "in-b-c"]
    assert table["kind"].value_counts().to_dict() == {"sample": 8, "original": 2}
    own = table[table["image"] == "1001"]
    assert own["stimulus_id"].tolist() == [
        "1001",
        "1001_s0.5_1",
        "1001_s0.5_2",
        "1001_s0.9_1",
        "1001_s0.9_2",
    ]
    np.testing.assert_array_equal(made.stimuli.load(0), grey_of(draw(0)))
    original = own.iloc[0]
    assert original[["scale", "error_final", "converged"]].isna().all()
    hashes = {picture_hash(made.stimuli.load(i)) for i in range(10)}
    assert len(hashes) == 10
    assert made.stimuli.viewing.px_per_deg == 32 / 26
    assert (made.samples["n_steps"] == 5).all()
    assert (made.samples["loss_final"] < made.samples["loss_start"]).all()


def test_errors_are_those_of_the_pictures_as_stored(made):
    shown = {
        name: read_image(made.folder / "stimuli" / "images" / f"{name}.png")
        for name in made.stimuli.table["stimulus_id"]
    }
    for row in made.samples.itertuples():
        windows = pooling_windows((32, 32), row.scale, fovea_deg=4.0)
        model = PooledStatistics(windows, n_scales=2)
        values = [
            model(torch.from_numpy(shown[name][None, None, :, :, 0] / np.float32(255)))
            for name in (row.image, row.stimulus_id)
        ]
        found = {k: float(v) ** 0.5 for k, v in statistics_errors(*values).items()}
        assert row.error_final == pytest.approx(max(found.values()), rel=1e-4)
        assert row.worst_statistic == max(found, key=found.get)
        assert row.loss_final == pytest.approx(
            sum(v**2 for v in found.values()), rel=1e-4
        )
        own = made.errors[made.errors["stimulus_id"] == row.stimulus_id]
        assert dict(zip(own["statistic"], own["final"], strict=True)) == pytest.approx(
            found, rel=1e-4
        )
        assert row.converged == (row.error_final <= 0.1)
        inside = fovea_weight(windows) == 1
        assert inside.any()
        np.testing.assert_array_equal(
            shown[row.stimulus_id][inside], shown[row.image][inside]
        )


def test_curves_tell_the_descent_of_every_sample(made):
    counts = made.curves.groupby("stimulus_id")["step"].agg(list)
    assert counts.tolist() == [[0, 1, 2, 3, 4]] * 8
    first = made.curves[made.curves["step"] == 0].set_index("stimulus_id")["loss"]
    start = made.samples.set_index("stimulus_id")["loss_start"]
    # The curve begins at the start with its fovea filled in by the original.
    assert np.corrcoef(first, start[first.index])[0, 1] > 0.9
    parts = made.curves.filter(like="loss_").sum(axis=1)
    np.testing.assert_allclose(parts, made.curves["loss"], rtol=1e-3)


def test_samples_that_did_not_converge_are_said_to_be_no_metamers(made):
    table = convergence(made)
    assert table["scale"].tolist() == [0.5, 0.9]
    assert table["n_samples"].tolist() == [4, 4]
    assert table["n_converged"].tolist() == [0, 0]
    one = made.samples[made.samples["scale"] == 0.5]["error_final"]
    assert table["median_error"][0] == pytest.approx(one.median())
    note = made.provenance.notes[0]
    assert note.startswith("0 of 8 samples are metamers of the texture model")
    assert "the other 8 are NOT, and more steps are needed" in note


def test_a_model_that_is_easily_matched_converges(folder, tmp_path):
    design = MetamerDesign(
        **TINY | {"n_steps": 60}, model="luminance", start="noise", px_per_deg=2.0
    )
    made = make_metamers(folder, tmp_path / "set", design, device="cpu")
    assert made.samples["converged"].tolist() == [1.0] * 8
    assert (made.samples["error_final"] < 0.02).all()
    (note,) = made.provenance.notes
    assert note.startswith("All 8 samples are metamers of the luminance model")


def test_without_steps_the_fast_transform_is_left_and_called_approximate(
    folder, tmp_path
):
    design = MetamerDesign(**TINY | {"n_steps": 0, "scales": (0.9,)}, grey=False)
    made = make_metamers(folder, tmp_path / "set", design, device="cpu")
    assert made.provenance.notes[0].startswith("Approximate")
    assert any("colour channels" in note for note in made.provenance.notes)
    assert made.curves.empty
    assert (made.samples["n_steps"] == 0).all()
    coloured = made.stimuli.load(1)
    assert (coloured[..., 0] != coloured[..., 1]).any()
    assert load_metamers(tmp_path / "set").curves.empty


def test_with_one_sample_only_originals_are_compared(folder, tmp_path):
    design = MetamerDesign(**TINY | {"n_steps": 0}, n_samples=1, n_per_pair=8)
    made = make_metamers(folder, tmp_path / "set", design, device="cpu")
    assert set(made.trials["comparison"]) == {"original-sample"}
    assert len(made.trials) == 2 * 2 * 8


def test_an_interrupted_run_ends_with_identical_files(
    folder, made, tmp_path, monkeypatch
):
    real, calls = tasks.metamer_samples.refine, []

    def stopped(*args, **options):
        calls.append(options["keys"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    out, design = tmp_path / "set", MetamerDesign(**TINY)
    monkeypatch.setattr(tasks.metamer_samples, "refine", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_metamers(folder, out, design, device="cpu")
    with pytest.raises(FileNotFoundError, match=r"metamers.json is missing. Run"):
        load_metamers(out)
    again = make_metamers(
        folder, out, design, exports=("psychopy", "jspsych"), device="cpu"
    )
    assert len(calls) == 4 + 5  # three samples were kept
    assert again.stimuli.fingerprint == made.stimuli.fingerprint
    assert files_of(out) == files_of(made.folder)


def test_a_sample_does_not_depend_on_the_rest_of_the_set(folder, made, tmp_path):
    design = MetamerDesign(**TINY | {"scales": (0.9,)}, n_samples=1)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copytree(folder / "in", alone / "in")
    one = make_metamers(alone, tmp_path / "set", design, device="cpu")
    name = "in-b-c_s0.9_1"
    place = made.stimuli.table["stimulus_id"].tolist().index(name)
    assert one.stimuli.table["stimulus_id"].tolist() == ["in-b-c", name]
    np.testing.assert_array_equal(one.stimuli.load(1), made.stimuli.load(place))


def test_seeds_give_other_samples_and_trials(folder, made, tmp_path):
    design = MetamerDesign(**TINY | {"scales": (0.9,)}, n_samples=1, seed=1)
    other = make_metamers(folder, tmp_path / "set", design, device="cpu")
    names = made.stimuli.table["stimulus_id"].tolist()
    first = made.stimuli.load(names.index("1001_s0.9_1"))
    assert (other.stimuli.load(1) != first).any()
    np.testing.assert_array_equal(other.stimuli.load(0), made.stimuli.load(0))


def test_a_set_is_read_as_it_was_made(made):
    back = load_metamers(made.folder)
    assert back.design == made.design == MetamerDesign(**TINY)
    assert back.stimuli.fingerprint == made.stimuli.fingerprint
    assert back.provenance.fingerprints == {"stimuli": made.stimuli.fingerprint}
    pd.testing.assert_frame_equal(back.trials, made.trials)
    pd.testing.assert_frame_equal(back.curves, made.curves)
    pd.testing.assert_frame_equal(back.samples.drop(columns="path"), made.samples)


def test_exports_hold_every_trial_and_picture(made):
    table = pd.read_csv(made.folder / "psychopy" / "conditions.csv")
    assert table["trial_number"].tolist() == made.trials["trial"].tolist()
    for name in set(table[["a_file", "b_file", "x_file"]].to_numpy().ravel()):
        picture = made.folder / "psychopy" / name
        original = made.folder / "stimuli" / name
        assert filecmp.cmp(picture, original, shallow=False)
    page = json.loads((made.folder / "jspsych" / "timeline.json").read_text())
    answers = [t for t in page["timeline"] if t.get("data", {}).get("task") == "abx"]
    assert [t["data"]["x"] for t in answers] == made.trials["x"].tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scales": ()}, "`scales` must be one or more different numbers"),
        ({"scales": (0.5, 0.5)}, "`scales` must be one or more different numbers"),
        ({"scales": (3.0,)}, "`scales` must be within"),
        ({"model": "v2"}, "`model` must be one of"),
        ({"n_samples": 0}, "`n_samples` must be"),
        ({"start": "photo"}, "`start` must be one of"),
        ({"start": "noise", "n_steps": 0}, "`n_steps` of 0 would leave noise"),
        ({"optimiser": "sgd"}, "`optimiser` must be one of"),
        ({"size_px": 16}, "`size_px` must be"),
        ({"size_px": 33}, "`size_px` must be even"),
        ({"fixation_px": (300, 0)}, "`fixation_px` must lie within the square"),
        ({"fovea_deg": 0}, "`fovea_deg` must be"),
        ({"tolerance": 0}, "`tolerance` must be"),
        ({"seed": -1}, "`seed` must be"),
    ],
)
def test_designs_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        MetamerDesign(**values)


def test_a_pyramid_that_does_not_fit_is_refused_before_anything_is_written(
    folder, tmp_path
):
    with pytest.raises(ValueError, match="divisible by"):
        make_metamers(folder, tmp_path / "set", MetamerDesign(size_px=36, n_scales=3))
    assert not (tmp_path / "set").exists()
    assert [pyramid_scales(n) for n in (256, 112, 64, 36)] == [4, 4, 3, 2]


def test_folders_that_do_not_fit_are_refused(folder, made, tmp_path):
    with pytest.raises(ValueError, match="holds a run with n_steps=5; now n_steps=6"):
        make_metamers(
            folder, made.folder, MetamerDesign(**TINY | {"n_steps": 6}), device="cpu"
        )
    with pytest.raises(ValueError, match="`exports` must be one of"):
        make_metamers(folder, tmp_path / "set", exports=["opensesame"])
    for name in ("a b.png", "a-b.png"):
        write_png(tmp_path / "two" / name, draw(0))
    with pytest.raises(ValueError, match="would both be called 'a-b': rename one"):
        make_metamers(tmp_path / "two", tmp_path / "set")
    write_png(tmp_path / "odd" / "+.png", draw(0))
    with pytest.raises(ValueError, match="neither letter nor digit in its name"):
        make_metamers(tmp_path / "odd", tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert read_json(made.folder / "run.json")["n_steps"] == 5
