"""eccNET against outputs of the published implementation (see the family's README).

Tolerances are those stated with the files: pooling 1e-6; features 1e-4 of the
maximum; raw maps 2e-5 of the maximum; combined and sharpened 5e-5; fixations exact.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from neurovis.adapters.eccentric_pooling import (
    PoolingRule,
    eccentric_pool,
    pooling_zones,
    stage_rule,
)
from neurovis.adapters.eccnet import MARGIN_PX, EccNet, Variant
from neurovis.adapters.search_loop import fit_trial, items_fixated
from neurovis.adapters.search_maps import enlarge_map, normalise_map, sharpen_map
from neurovis.adapters.trunk_weights import load_trunk
from neurovis.adapters.trunks import full_pass, pooling_rules
from neurovis.core.observers import SearchRules, SearchTrial

FAMILY = "eccnet"
KINDS = {"avg": "average", "max": "max"}
# Sharpening settings of dog_d0, dog_d1, dog_d2, as the README lists them.
DOGS = {"0": ((3, 1), (5, 3)), "1": ((5, 3), (7, 5)), "2": ((3, 0), (5, 1))}
CASE_FILES = {"meta.json", "stimulus.png", "target.png", "gt.png", "gt_mask.npz"}


def find_cases(folder):
    """List (id, checker, arguments) for everything in the family folder."""
    cases = []
    for path in sorted(p for p in folder.iterdir() if p.name != "README.md"):
        if path.is_dir() and (path / "meta.json").is_file():
            runs = json.loads((path / "meta.json").read_text())["runs"]
            cases += [(f"{path.name}/{m}", check_run, (path, m)) for m in runs]
            known = CASE_FILES | {f"{model}.npz" for model in runs}
            extra = sorted(p for p in path.iterdir() if p.name not in known)
            cases += [(f"{path.name}/{p.name}", check_unknown, (p,)) for p in extra]
        elif path.is_dir():
            for file in sorted(path.iterdir()):
                cases += component_cases(file)
        else:
            cases.append((path.name, check_unknown, (path,)))
    return cases


def component_cases(file):
    name = file.name
    if name == "README.md":
        return []
    if name.startswith("pooling") and file.suffix in {".json", ".npz"}:
        if file.suffix == ".npz":  # checked with its .json
            missing = not file.with_suffix(".json").is_file()
            return [(name, check_unknown, (file,))] if missing else []
        cases = json.loads(file.read_text())
        return [(f"{file.stem}:{k}", check_pooling, (file, k)) for k in cases]
    if name.startswith("ecc_tables") and file.suffix == ".json":
        tables = json.loads(file.read_text())
        return [(f"{file.stem}:{k}", check_table, (tables[k],)) for k in tables]
    if name.startswith("components") and file.suffix == ".npz":
        with np.load(file) as arrays:
            keys = [k for k in arrays.files if not k.endswith("_in")]
        return [(f"{file.stem}:{k}", check_component, (file, k)) for k in keys]
    return [(name, check_unknown, (file,))]


def test_golden(golden_case):
    _, check, arguments = golden_case
    check(*arguments)


def check_unknown(path):
    pytest.fail(f"{path} is of no known kind: support it or name it", pytrace=False)


def check_pooling(file, name):
    case = json.loads(file.read_text())[name]
    with np.load(file.with_suffix(".npz")) as arrays:
        expected, zone = arrays[f"{name}_y"], arrays[f"{name}_zone"]
    draw = np.random.RandomState(case["input_seed"])
    x = draw.randn(1, case["rows"], case["cols"], case["channels"])
    x = torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2)
    rule = PoolingRule(case["deg2px"], case["ecc_slope"], kind=KINDS[case["pool_type"]])
    zones = pooling_zones(max(case["rows"], case["cols"]), rule)
    assert list(zones.windows) == case["rf_sizes"]
    assert list(zones.diameters) == case["ecc_border"]
    np.testing.assert_array_equal(zones.index, zone)
    pooled = eccentric_pool(x, rule)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-6)


def check_table(table):
    checked = 0
    for key, expected in table.items():
        if key.startswith("pool"):
            rule = stage_rule(2 ** (int(key.removeprefix("pool")) - 1), window=2)
            zones = pooling_zones(expected["input"], rule)
            assert list(zones.windows) == expected["rf_sizes"]
            assert list(zones.diameters) == expected["outer_diameter_input_px"]
            assert len(zones.windows) == expected["n_zones"]
            assert len(zones.index) == expected["output"]
            checked += 1
    assert checked


def check_component(file, key):
    with np.load(file) as arrays:
        expected = arrays[key]
        source = arrays[key.split("_")[0].replace("dog", "up") + "_in"]
    if key.startswith("up_"):
        ours = enlarge_map(source.astype(np.float64), int(key.split("_")[1]))
    elif key.startswith("dog_d"):
        ours = sharpen_map(source.astype(np.float64), DOGS[key[len("dog_d") :]])
    elif key.startswith("norm_"):
        ours = normalise_map(source)
    else:
        check_unknown(file.parent / f"{file.name}:{key}")
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-5)


def read_rgb(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def close(ours, expected, of_maximum, scale=None):
    scale = np.abs(expected).max() if scale is None else scale
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= of_maximum * scale


def check_run(folder, model):
    meta = json.loads((folder / "meta.json").read_text())
    run, experiment = meta["runs"][model], meta["experiment"]
    assert meta["corner_bias"] == MARGIN_PX
    with np.load(folder / f"{model}.npz") as arrays:
        expected = dict(arrays)
    with Image.open(folder / "gt.png") as picture:
        target_area = np.asarray(picture.convert("L")) > 125
    areas = None
    if meta["has_gt_mask"]:
        with np.load(folder / "gt_mask.npz") as arrays:
            areas = arrays["gt_mask"] > 125
    trial = SearchTrial(
        folder.name,
        read_rgb(folder / "stimulus.png"),
        read_rgb(folder / "target.png"),
        target_area,
        areas,
    )
    trial = fit_trial(
        trial,
        tuple(experiment["stim_shape"][:2]),
        tuple(experiment["tar_shape"][:2]),
    )
    rules = SearchRules(
        eye_radius_px=experiment["eye_res"],
        max_saccades=experiment["NumFix"],
        tolerance_px=experiment["ior_size"],
        background=experiment["bg_value"],
        layer_weighting={"nl": "max", "l": "equal"}[experiment["weight_pattern"]],
        sharpening=tuple(tuple(pair) for pair in experiment["dog_size"]),
        px_per_deg=experiment["deg2px"],
    )
    weights = f"seeded:{meta['weights_seed']}/{meta['width_divisor']}"
    variant = Variant(
        model,
        eccentric=run["ecc_depth"] > 0,
        kind=KINDS[run["pool_type"]],
        layers=tuple(run["out_layer"]),
    )
    trunk = load_trunk("vgg16", weights)
    observer = EccNet(trunk, variant, device="cpu")
    path, glances = observer.watch(trial, rules)

    fixations = np.stack([path.y_px, path.x_px], 1) - 0.5
    if experiment["fix"] is not None:
        fixations = np.asarray(experiment["fix"])[items_fixated(path, trial.item_areas)]
    np.testing.assert_array_equal(fixations, expected["fixations"])

    pixels = trunk.preprocess(torch.from_numpy(trial.target[None].copy()))
    close(pixels[0].permute(1, 2, 0).numpy(), expected["target_input"], 1e-6)
    sought = observer.target_features(trial.target, rules.px_per_deg)
    for block, ours, seen in zip((3, 4, 5), sought, glances[0].features, strict=True):
        theirs = expected[f"target_feat{block}"]
        close(ours.permute(1, 2, 0).numpy(), theirs, 1e-4)
        theirs = expected[f"stim_feat{block}"]
        ours = seen.permute(1, 2, 0).numpy()[..., : theirs.shape[-1]]
        close(ours, theirs, 1e-4)

    n = len(expected["raw_maps"])
    assert len(glances) == n == run["n_maps"]
    close(np.stack([g.raw for g in glances]), expected["raw_maps"], 2e-5)
    ours = np.stack([g.combined for g in glances])
    close(ours, expected["combined"], 5e-5, scale=1)
    ours = np.stack([g.sharpened for g in glances])
    close(ours, expected["sharpened"], 5e-5, scale=1)
    for glance, attention in zip(glances, expected["attn_full"], strict=False):
        half = run["window"] // 2
        whole = np.zeros((run["window"], run["window"]))
        row, column = (
            c - f + half
            for c, f in zip(glance.landing_corner, glance.fixation, strict=True)
        )
        height, width = glance.landing.shape
        whole[row : row + height, column : column + width] = glance.landing
        close(whole, attention, 5e-5, scale=1)
    if "pool_Layer3" in expected:
        check_pooled_layers(trunk, trial, rules, expected)
    for name, table in run["pooling_layers"].items():
        rule = pooling_rules(
            trunk,
            eccentric=variant.eccentric,
            kind=variant.kind,
            px_per_deg=rules.px_per_deg,
        )[int(name.removeprefix("Layer")) - 1]
        zones = pooling_zones(table["in_rows"], rule)
        assert list(zones.windows) == table["rf_sizes"]
        assert list(zones.diameters) == table["ecc_border"]
        assert len(zones.index) == table["out"]


def check_pooled_layers(trunk, trial, rules, expected):
    """Compare whole-window poolings at the first fixation."""
    height, width = trial.image.shape[:2]
    half = rules.eye_radius_px + MARGIN_PX
    window = np.full((2 * half, 2 * half, 3), rules.background, np.uint8)
    top, left = half - height // 2, half - width // 2
    window[top : top + height, left : left + width] = trial.image
    stages = pooling_rules(trunk, px_per_deg=rules.px_per_deg)
    _, pooled = full_pass(trunk, torch.from_numpy(window[None]), stages)
    for layer in (3, 4):
        theirs = expected[f"pool_Layer{layer}"]
        close(pooled[layer - 1][0].permute(1, 2, 0).numpy(), theirs, 1e-4)
