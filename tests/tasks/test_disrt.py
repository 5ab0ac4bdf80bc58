"""Oddity with distorted pictures: scores, simulated observers, whole runs."""

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.disrt import (
    CHOSEN,
    choose_layer,
    disrt_scores,
    threshold_strength,
)
from analysis.plots_disrt import plot_oddity_strength, plot_oddity_trials
from neurovis.core.files import read_table
from neurovis.core.pictures import write_png
from neurovis.core.types import Score
from stimuli.category_pictures import draw_category_picture
from tasks.disrt import run_disrt
from tasks.disrt_pictures import (
    DISTORTIONS,
    brighter,
    disrt_pictures,
    distort,
)
from tasks.disrt_report import finish_disrt
from tasks.texture_pictures import check_sides, synthesise_pictures

SMALL = {
    "models": [
        "net=compact_vgg:stage1:grid2,stage2:grid2",
        "control:pixels:pixels:grid4",
    ],
    "n_pictures": 4,
    "size_px": 64,
    "n_bootstrap": 50,
}


def made_trials(rates, *, layers=("a",), n=400, kind="oddity", top_k=np.nan, seed=0):
    """Trials of an observer with a known share correct at each strength."""
    stream = np.random.default_rng(seed)
    rows = []
    for layer in layers:
        for strength, rate in rates.items():
            for i in range(n):
                rows.append(  # noqa: PERF401
                    {
                        **{"model": "m", "layer": layer, "top_k": top_k},
                        **{"untrained": False, "kind": kind, "strength": strength},
                        **{"distortion": "patch_shuffle", "stimulus_id": f"p{i}"},
                        "condition": f"patch_shuffle {strength:g}",
                        "correct": bool(stream.random() < rate),
                    }
                )
    return pd.DataFrame(rows)


def test_thresholds_lie_on_the_line_between_logarithms():
    assert threshold_strength([2, 4, 8], [0.2, 0.5, 1.0])[0] == pytest.approx(
        2 ** (2 + (2 / 3 - 0.5) / 0.5)
    )
    value, censored = threshold_strength([2, 4], [0.1, 0.5])
    assert np.isnan(value)
    assert censored == "above"
    assert threshold_strength([2, 4], [2 / 3, 0.1]) == (2.0, "at or below")
    with pytest.raises(ValueError, match="rise"):
        threshold_strength([4, 2], [0.1, 0.5])


def test_a_simulated_observer_is_recovered():
    rates = {2.0: 1 / 3, 4.0: 0.5, 8.0: 5 / 6, 16.0: 0.97}
    scores = disrt_scores(made_trials(rates, n=1500, seed=1), n_bootstrap=200)
    single = scores[(scores["metric"] == "accuracy") & scores["strength"].notna()]
    for row in single.to_dict("records"):
        assert row["value"] == pytest.approx(rates[row["strength"]], abs=0.04)
        assert row["ci_low"] < row["value"] < row["ci_high"]
    threshold = scores[scores["metric"] == "threshold_strength"].iloc[0]
    assert threshold["value"] == pytest.approx(2**2.5, rel=0.06)
    assert threshold["ci_low"] < 2**2.5 < threshold["ci_high"]
    whole = scores[(scores["condition"] == "all") & (scores["layer"] == "a")].iloc[0]
    assert whole["value"] == pytest.approx(single["value"].mean())


def test_layers_are_chosen_on_the_other_half_of_the_pictures():
    names = [f"p{i}" for i in range(8)]
    even = pd.DataFrame({"c": [1.0, 0.0] * 4}, index=names)
    odd = pd.DataFrame({"c": [0.0, 1.0] * 4}, index=names)
    # Each layer is perfect on one half and fails on the other: no cheating pays.
    told, grid = choose_layer({"even": even, "odd": odd})
    assert told == "odd / even"
    assert grid["c"].sum() == 0
    assert grid.index.tolist() == names


def test_layers_of_chance_stay_at_chance_when_one_is_chosen():
    trials = made_trials({4.0: 1 / 3}, layers=[f"l{i}" for i in range(20)], n=600)
    scores = disrt_scores(trials, n_bootstrap=100)
    chosen = scores[scores["layer"] == CHOSEN].iloc[0]
    best = scores[scores["layer"] != CHOSEN]["value"].max()
    assert chosen["value"] == pytest.approx(1 / 3, abs=0.05)
    assert best > 0.36


def test_changes_by_sparsity_are_paired():
    whole = made_trials({4.0: 0.5}, top_k=1.0, n=50)
    sparse = whole.assign(top_k=0.1, correct=True)
    scores = disrt_scores(pd.concat([whole, sparse]), n_bootstrap=50)
    change = scores[scores["metric"] == "accuracy_change"].iloc[0]
    assert change["value"] == pytest.approx(1 - whole["correct"].mean())
    assert change["top_k"] == 0.1


def test_pictures_with_fewer_conditions_do_not_enter_the_mean():
    trials = made_trials({4.0: 1.0}, n=10)
    few = trials.iloc[:3].assign(condition="texsyn 1", distortion="texsyn", strength=1)
    scores = disrt_scores(
        pd.concat([trials, few.assign(correct=False)]), n_bootstrap=20
    )
    whole = scores[(scores["condition"] == "all") & (scores["layer"] == "a")].iloc[0]
    assert whole["value"] == 1.0
    assert whole["n"] == 10


def test_textures_have_the_statistics_but_not_the_picture():
    from neurovis.foveation.portilla_simoncelli import portilla_simoncelli

    image = draw_category_picture("object", 3, size_px=64) / 255
    one, two = synthesise_pictures(image, [1, 2], n_steps=1)
    assert one.shape == image.shape
    np.testing.assert_allclose(one.mean((0, 1)), image.mean((0, 1)), atol=0.02)
    np.testing.assert_allclose(one.std((0, 1)), image.std((0, 1)), rtol=0.4)
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.6
    grey = torch.tensor(np.stack([x.mean(2) for x in (image, one)])[:, None])
    noise = torch.rand(1, 1, 64, 64, dtype=grey.dtype)
    found = portilla_simoncelli(torch.cat([grey, noise]), n_scales=3).vector()
    distance = (found[1:, 0] - found[0, 0]).nan_to_num().norm(dim=1)
    assert distance[0] < 0.75 * distance[1]


def test_flat_and_grey_pictures_can_be_synthesised():
    flat = np.full((64, 64, 3), 0.25)
    assert (synthesise_pictures(flat, [0])[0] == 0.25).all()
    grey = np.repeat(draw_category_picture("face", 1, size_px=64)[..., :1] / 255, 3, 2)
    made = synthesise_pictures(grey, [0], n_steps=1)[0]
    np.testing.assert_allclose(made[..., 0], made[..., 2], atol=1e-5)
    with pytest.raises(ValueError, match="that 8 divides"):
        check_sides([60])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_textures_on_a_gpu_are_those_of_the_cpu_within_rounding():
    image = draw_category_picture("object", 3, size_px=64) / 255
    here = synthesise_pictures(image, [1], n_steps=1)[0]
    there = synthesise_pictures(image, [1], n_steps=1, device="cuda")[0]
    assert np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", ["patch_shuffle", "blend_shuffle", "local_shuffle"])
def test_versions_differ_and_repeat(name):
    picture = draw_category_picture("food", 2, size_px=64)
    for strength in DISTORTIONS[name]:
        one, two = (distort(picture, name, strength, key=f"x {v}") for v in (1, 2))
        assert (one != two).any()
        np.testing.assert_array_equal(one, distort(picture, name, strength, key="x 1"))


def test_brightness_changes_by_at_most_five_percent():
    picture = np.full((8, 8, 3), 200, np.uint8)
    made = brighter([f"{i}" for i in range(40)], [picture] * 40, 0)
    levels = [int(p[0, 0, 0]) for p in made]
    assert 190 <= min(levels) < 200 < max(levels) <= 210


def test_pictures_of_a_folder_are_cut_to_their_middle_square(tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 250
    for i in range(3):
        write_png(tmp_path / f"{i}.png", picture)
    ids, shown = disrt_pictures(tmp_path, n=2, size_px=32)
    assert ids == ["0.png", "2.png"]
    assert (shown[0] == 250).all()
    with pytest.raises(ValueError, match="holds 3 pictures"):
        disrt_pictures(tmp_path, n=4)


def test_a_run_resumes_with_the_same_tables_and_reports(tmp_path, undrawn_figures):
    call = {**SMALL, "distortions": ["patch_shuffle", "local_shuffle"]}
    score = run_disrt(tmp_path / "run", **call)
    trials = read_table(tmp_path / "run" / "trials.parquet")
    assert {
        *("task", "trial", "condition", "truth", "response", "correct"),
        *("rt_or_cost", "seed", "distortion", "strength"),
    } <= set(trials)
    # 8 conditions, 2 kinds of trials, 4 pictures, 3 layers.
    assert len(trials) == 8 * 2 * 4 * 3
    assert set(trials["truth"]) == {0, 1, 2}
    right = trials["response"] == trials["truth"]
    np.testing.assert_array_equal(trials["correct"], right)
    values = score.table[score.table["metric"] == "accuracy"]["value"]
    assert values.between(0, 1).all()
    for part in list((tmp_path / "run" / "parts" / "trials").iterdir())[:3]:
        for file in part.iterdir():
            file.unlink()
        part.rmdir()
    (tmp_path / "run" / "scores.parquet").unlink()
    again = run_disrt(tmp_path / "run", **call)
    pd.testing.assert_frame_equal(score.table, again.table)
    assert score.provenance == Score.load(tmp_path / "run").provenance
    lines = finish_disrt(tmp_path / "run")
    assert lines[0].startswith("intact picture")
    assert any("net: intact picture found above chance" in line for line in lines)
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "drawings of objects and food" in html
    with pytest.raises(ValueError, match="holds a run with seed=0"):
        run_disrt(tmp_path / "run", **call, seed=1)


def test_sparse_layers_stand_beside_whole_ones(tmp_path):
    score = run_disrt(
        tmp_path,
        **{**SMALL, "models": ["net=compact_vgg@seeded:0:stage5:grid2"]},
        distortions="local_shuffle",
        top_k=[0.1],
        similarity="pearson",
    )
    table = score.table
    assert set(table["top_k"].dropna()) == {0.1, 1.0}
    assert table["untrained"].all()
    assert (table["metric"] == "accuracy_change").sum() == 2
    directions = read_table(tmp_path / "directions.parquet")
    assert directions["claim"].tolist()[-1] == "few active units above all"
    assert any("untrained" in note for note in score.provenance.notes)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_default_run_needs_nothing_and_pixels_stay_below_the_network(tmp_path):
    table = run_disrt(tmp_path).table
    chosen = table[table["layer"] == CHOSEN].set_index("model")["value"]
    assert set(chosen.index) == {"compact_vgg", "untrained", "control:pixels"}
    assert chosen["compact_vgg"] > 0.45
    assert chosen["control:pixels"] < 0.4
    texture = table[(table["distortion"] == "texsyn") & (table["kind"] == "oddity")]
    assert (texture["n"] == 2).all()
    assert len(finish_disrt(tmp_path)) == 8
    assert (tmp_path / "figures" / "trials.png").is_file()


def test_networks_are_compared_as_their_weights_tell(tmp_path):
    from dataclasses import replace

    from tasks.disrt_verdicts import disrt_directions
    from tasks.picture_features import picture_models

    plain = picture_models(["control:pixels:pixels:grid4"])[0]

    def named(title, weights):
        backbone = replace(plain.backbone, name=f"timm:{weights}", trained=True)
        return replace(plain, title=title, backbone=backbone)

    models = [
        named("mae", "vit_base_patch16_224.mae"),
        named("sup", "vit_base_patch16_224.augreg_in1k"),
        named("fcmae", "convnextv2_base.fcmae"),
        named("tuned", "convnextv2_base.fcmae_ft_in1k"),
    ]
    rates = {"mae": 0.9, "sup": 0.5, "fcmae": 0.5, "tuned": 0.9}
    trials = pd.concat(
        made_trials({4.0: rates[m.title]}, n=200).assign(model=m.title) for m in models
    )
    rows = pd.DataFrame(disrt_directions(trials, models, 200, 0))
    pairs = rows[rows["model"].str.contains("−")].set_index("model")
    assert pairs["claim"].to_dict() == {
        "mae − sup": "self-supervised above supervised",
        "fcmae − sup": "self-supervised above supervised",
        "fcmae − tuned": "not fine-tuned above fine-tuned",
    }
    assert pairs["verdict"].to_dict() == {
        **{"mae − sup": "holds", "fcmae − sup": "undecided"},
        "fcmae − tuned": "reversed",
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"distortions": "shuffle"}, "distortions"),
        ({"distortions": []}, "different names"),
        ({"size_px": 60}, "multiple of 16"),
        ({"size_px": 48, "distortions": "texsyn"}, "that 8 divides"),
        ({"n_pictures": 1}, "n_pictures"),
        ({"top_k": [0]}, "top_k"),
        ({"similarity": "l1"}, "similarity"),
    ],
)
def test_wrong_arguments_leave_no_folder(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        run_disrt(tmp_path / "out", **{**SMALL, **wrong})
    assert not (tmp_path / "out").exists()


def test_figures_show_what_the_table_says():
    trials = made_trials({2.0: 0.4, 8.0: 0.9}, n=60)
    scores = disrt_scores(trials, n_bootstrap=20)
    ax = plot_oddity_strength(scores, distortion="patch_shuffle", layers={"m": "a"})
    drawn = np.asarray(ax.containers[0][0].get_ydata(), float)
    expected = trials.groupby("strength")["correct"].mean()
    np.testing.assert_allclose(drawn, expected)
    with pytest.raises(ValueError, match="distortion"):
        plot_oddity_strength(scores, distortion="texsyn", layers={"m": "a"})
    with pytest.raises(ValueError, match="one size"):
        plot_oddity_trials([])
