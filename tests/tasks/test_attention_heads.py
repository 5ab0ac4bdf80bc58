"""The experiment on attention heads, and its report."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from safetensors.torch import save_file

import tasks.attention_heads_parts as attention_heads_parts
from analysis.head_profiles import uniform_distance
from neurovis.adapters.attention_heads import (
    head_outputs,
    prepare_images,
    stream_attention,
)
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.head_layers import attention_layers
from neurovis.core.files import read_table
from neurovis.core.pictures import write_png
from stimuli.category_pictures import make_category_pictures
from tasks.attention_heads import SIZE_PX, run_attention_heads
from tasks.attention_heads_report import finish_attention_heads
from tasks.attention_heads_scores import picture_means

CALL = {"n_pictures": 3, "n_bootstrap": 50, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, run_attention_heads(out, **CALL)


def pictures(n=3):
    drawn = make_category_pictures(n, size_px=SIZE_PX, seed=0)
    return [drawn.load(i) for i in range(n)]


def sharpened(path, seed=1):
    """Weights of a small transformer whose attention is far from even."""
    module = load_backbone("timm:test_vit", f"seeded:{seed}").module
    state = {name: value.clone() for name, value in module.state_dict().items()}
    for name in state:
        if "qkv.weight" in name:
            state[name][:128] *= 8
    state["pos_embed"] *= 30
    save_file(state, path)
    return path


def test_random_weights_are_near_even_attention(run):
    out, score = run
    checks = read_table(out / "checks.parquet")
    assert len(checks) == 6
    assert checks["holds"].all()
    assert (checks["entropy_share"] > 0.98).all()
    rows = score.table[score.table["metric"] == "distance_patches"]
    np.testing.assert_allclose(rows["value"], uniform_distance((10, 10)), rtol=0.01)
    assert score.table["untrained"].all()
    assert any("untrained" in note for note in score.provenance.notes)


def test_numbers_are_those_of_the_maps_and_outputs(run):
    out, score = run
    backbone = load_backbone("timm:test_vit", "seeded:0")
    images = prepare_images(backbone, pictures())
    maps = np.stack(
        [one["blocks.2.attn"][1] for one in stream_attention(backbone, images)]
    ).astype(float)
    heads = read_table(out / "heads.parquet").set_index(["layer", "head"])
    row = heads.loc[("blocks.2.attn", 1)]
    assert row["cls_share"] == pytest.approx(maps[:, 1:, 0].mean(), rel=1e-6)
    mean_maps = load_file(out / "mean_maps.safetensors")["maps"]
    assert mean_maps.shape == (12, 100, 100)
    np.testing.assert_allclose(mean_maps[5], maps[:, 1:, 1:].mean(axis=0), rtol=1e-5)
    whole = head_outputs(backbone, images)
    kept = {"blocks.2.attn": [True, False]}
    without = head_outputs(backbone, images, kept=kept)
    p, q = (
        np.exp(one.logits) / np.exp(one.logits).sum(axis=1, keepdims=True)
        for one in (whole, without)
    )
    said = whole.logits.argmax(axis=1)
    drop = (p - q)[np.arange(3), said]
    assert row["d_prob"] == pytest.approx(drop.mean(), abs=1e-7)
    scores = score.table[score.table["metric"] == "d_prob"]
    mine = scores[(scores["layer"] == "blocks.2.attn") & (scores["head"] == 1)]
    assert mine["value"].tolist() == [row["d_prob"]]
    assert mine["ci_low"].iloc[0] <= row["d_prob"] <= mine["ci_high"].iloc[0]
    assert row["gradient"] > 0


def test_with_two_heads_one_left_out_is_the_other_alone(run):
    heads = read_table(run[0] / "heads.parquet")
    first, second = heads[heads["head"] == 0], heads[heads["head"] == 1]
    for name in ("d_js", "d_cls", "d_loss"):
        np.testing.assert_allclose(
            first[name].to_numpy(), second[f"{name}_alone"].to_numpy(), atol=1e-9
        )


def test_trials_have_every_picture_in_every_condition(run):
    trials = read_table(run[0] / "trials.parquet")
    needed = {"task", "trial", "condition", "truth", "response", "correct", "seed"}
    assert needed | {"rt_or_cost", "layer", "head", "untrained"} <= set(trials)
    counts = trials.groupby("condition").size().to_dict()
    assert counts == {"whole": 3, "without": 36, "alone": 36}
    assert trials["truth"].isna().all()
    assert trials["correct"].isna().all()


def test_a_second_call_resumes_and_ends_with_the_same_tables(
    run, tmp_path, monkeypatch
):
    out, score = run
    real, seen = attention_heads_parts.head_outputs, []

    def interrupted(*args, **options):
        seen.append(1)
        if len(seen) > 7:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(attention_heads_parts, "head_outputs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_attention_heads(tmp_path / "out", **CALL)
    assert not (tmp_path / "out" / "scores.parquet").exists()
    calls = []
    monkeypatch.setattr(
        attention_heads_parts,
        "head_outputs",
        lambda *a, **o: calls.append(1) or real(*a, **o),
    )
    again = run_attention_heads(tmp_path / "out", **CALL)
    assert len(calls) == 25 - 4  # the first layer was kept
    pd.testing.assert_frame_equal(again.table, score.table)
    for name in ("heads", "rings", "trials", "directions"):
        pd.testing.assert_frame_equal(
            read_table(tmp_path / "out" / f"{name}.parquet"),
            read_table(out / f"{name}.parquet"),
        )


def test_a_network_stands_beside_its_random_twin_and_a_masked_one(
    tmp_path, undrawn_figures
):
    weights = sharpened(tmp_path / "w.safetensors")
    folder = tmp_path / "pictures"
    for i, picture in enumerate(pictures()):
        write_png(folder / f"{i}.png", picture)
    labels = pd.DataFrame(
        {"stimulus_id": ["0.png", "1.png", "2.png"], "label": [7, 8, 9]}
    )
    labels.to_csv(tmp_path / "labels.csv", index=False)
    out = tmp_path / "out"
    score = run_attention_heads(
        out,
        model=f"timm:test_vit@{weights}",
        masked="timm:test_vit@seeded:3",
        pictures=folder,
        labels=tmp_path / "labels.csv",
        n_clusters=3,
        **CALL,
    )
    heads = read_table(out / "heads.parquet")
    assert heads.groupby("kind").size().to_dict() == {
        "network": 12,
        "random": 12,
        "masked": 12,
    }
    own = heads[heads["kind"] == "network"]
    assert (own["entropy_share"] < 0.9).all()
    assert sorted(own["cluster"].unique()) == [0, 1, 2]
    assert heads.loc[heads["kind"] != "network", "d_js"].isna().all()
    checks = read_table(out / "checks.parquet")
    assert set(checks["model"]) == {"timm:test_vit (random)", "timm:test_vit (masked)"}
    directions = read_table(out / "directions.parquet")
    assert len(directions) == 10
    assert directions["source"].str.contains("recalled").all()
    masked = directions[directions["claim"].str.contains("masked")]
    assert masked["model"].tolist() == ["timm:test_vit"]
    trials = read_table(out / "trials.parquet")
    assert trials["truth"].tolist()[:3] == [7, 8, 9]
    assert trials["correct"].notna().all()
    assert "gradient" in set(score.table["metric"])
    lines = finish_attention_heads(out)
    assert lines[0] == "attention heads of timm:test_vit"
    assert "random weights near even attention: 12/12 layers" in lines
    assert lines[-1] == f"report {out / 'report.html'}"
    page = (out / "report.html").read_text()
    assert "Random weights" in page
    assert "recalled" in page


def test_a_report_of_the_defaults_tells_that_weights_are_untrained(
    run, undrawn_figures
):
    lines = finish_attention_heads(run[0])
    assert lines[0] == "attention heads of timm:test_vit (untrained)"
    assert any("blocks." in line for line in lines)


def test_one_picture_has_no_intervals(tmp_path, undrawn_figures):
    call = {**CALL, "n_pictures": 1}
    score = run_attention_heads(tmp_path, **call)
    assert score.table["ci_low"].isna().all()
    directions = read_table(tmp_path / "directions.parquet")
    assert (directions["verdict"] == "undecided").all()
    assert finish_attention_heads(tmp_path)[-1].startswith("report")


def test_wrong_arguments_are_told_before_anything_is_written(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="Supported are vision transformers"):
        run_attention_heads(out, model="timm:resnet18@seeded:0", **CALL)
    with pytest.raises(ValueError, match="n_clusters"):
        run_attention_heads(out, n_clusters=0, **CALL)
    with pytest.raises(FileNotFoundError, match="pictures"):
        run_attention_heads(out, pictures=tmp_path / "none", **CALL)
    table = tmp_path / "labels.csv"
    table.write_text("stimulus_id,label\nface.png,1\n")
    with pytest.raises(ValueError, match="no row for 3 of 3 pictures"):
        run_attention_heads(out, labels=table, **CALL)
    names = make_category_pictures(3, size_px=SIZE_PX).table["stimulus_id"]
    rows = "".join(f"{name},1000\n" for name in names)
    table.write_text(f"stimulus_id,label\n{rows}")
    with pytest.raises(ValueError, match="0 to 999; got 1000"):
        run_attention_heads(out, labels=table, **CALL)
    assert not out.exists()


def test_another_call_does_not_go_into_the_same_folder(run):
    with pytest.raises(ValueError, match="n_clusters=6; now n_clusters=2"):
        run_attention_heads(run[0], n_clusters=2, **CALL)


def test_intervals_hold_their_level_on_drawn_numbers():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(40, 600))
    mean, low, high = picture_means(values, 400, seed=0)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    assert 0.90 < np.mean((low < 0) & (high > 0)) < 0.98


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"]
)
def test_networks_of_full_size_start_near_even_attention(name, tmp_path):
    run_attention_heads(tmp_path, model=f"timm:{name}@seeded:0", **CALL)
    assert read_table(tmp_path / "checks.parquet")["holds"].all()
    layers = attention_layers(load_backbone(f"timm:{name}", "seeded:0"))
    assert {layer.grid for layer in layers} == {(14, 14)}
