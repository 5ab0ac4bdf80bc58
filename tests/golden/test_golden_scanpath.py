"""Measures of scanpaths and maps against reference code (see the family's README).

Tolerance: absolute 1e-6 + relative 1e-6; 1e-5 where the reference is float32; counts,
strings and edit distances exact; the per-trial table of people 1e-9.
"""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from analysis.conditional_maps import (
    conditional_auc,
    conditional_information_gain,
    conditional_nss,
)
from analysis.fixated_pixels import fixated_pixels
from analysis.fixation_auc import auc, auc_borji, auc_judd, auc_per_fixation
from analysis.fixation_maps import (
    cc,
    information_gain,
    kl_divergence,
    log_likelihood,
    nss,
    nss_per_fixation,
    sim,
)
from analysis.multimatch import Simplification, multimatch
from analysis.recurrence import cross_recurrence, self_recurrence
from analysis.scanpath_distances import (
    dtw,
    eyenalysis,
    frechet,
    hausdorff,
    mannan_distance,
    stde,
    tde,
)
from analysis.scanpath_sets import pack_scanpaths
from analysis.scanpath_strings import (
    levenshtein,
    scanmatch,
    sequence_score,
    string_edit_distance,
)
from analysis.scanpath_symbols import expand_by_duration, grid_cells, scanmatch_cells
from analysis.search_efficiency import (
    behaviour_delta,
    behaviour_vectors,
    found_by_step,
    in_target_boxes,
    probability_mismatch,
    scanpath_ratio,
    steps_to_target,
    tfp_auc,
)
from data_loaders.amazon_covers import load_amazon_covers
from tests.conftest import missing

FAMILY = "scanpath"
# Files by how their names begin; a held-back set may number them.
KINDS = {
    "pairs": "check_pair",
    "saliency": "check_map",
    "search": "check_search",
    "behaviour": "check_behaviour",
    "amazon_human_loo": "check_amazon",
}


def find_cases(folder):
    """List (id, checker, arguments) for everything in the family folder."""
    cases = []
    for path in sorted(folder.iterdir()):
        kind = next((k for k in KINDS if path.name.startswith(k)), None)
        if path.name == "README.md":
            continue
        if kind is None or path.suffix not in {".json", ".csv"}:
            cases.append((path.name, check_unknown, (path,)))
            continue
        checker = globals()[KINDS[kind]]
        if path.suffix == ".csv":
            cases.append((path.stem, checker, (path,)))
            continue
        content = json.loads(path.read_text())
        if kind == "pairs":
            cases += [
                (f"{path.stem}-{pair['name']}", checker, (pair,))
                for pair in content["pairs"]
            ]
        elif kind == "saliency":
            cases += [
                (f"{path.stem}-{each['name']}", checker, (each,))
                for each in content["maps"]
            ]
            cases.append((f"{path.stem}-conditional", check_conditional, (content,)))
        else:
            cases.append((path.stem, checker, (content,)))
    return cases


def check_unknown(path):
    pytest.fail(f"{path} is not of the form that the README describes")


def test_golden_file(golden_case, request):
    _, checker, arguments = golden_case
    if checker is check_amazon:
        arguments = (*arguments, request)
    checker(*arguments)


def close(ours, theirs, tolerance=1e-6):
    theirs = np.array(theirs, np.float64)  # null becomes NaN
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------- pairs


def check_pair(case):
    expected = dict(case["expected"])
    screen, grid, rho = case["screen"], tuple(case["grid_rows_cols"]), case["rho"]
    a, b = (np.array(case[side], np.float64).reshape(-1, 3) for side in "ab")
    for points in (a, b):
        points[:, 2] = np.round(points[:, 2] * 1000)  # s to ms
    # The second of each pair is the prediction where order matters.
    human, pred = pack_scanpaths([a]), pack_scanpaths([b])
    cells = partial(grid_cells, screen_px=screen, grid=grid)
    strings = [_symbols(cells(paths)) for paths in (human, pred)]
    assert strings == [case["cells_a"], case["cells_b"]]
    ids = (cells(pred), cells(human))

    def value(measure, *args, **options):
        return measure(*args, **options)[0, 0]

    match = partial(value, multimatch, pred, human, screen_px=screen)
    ties = case["name"].startswith(("stationary", "revisits"))
    kept = [0, 2, 3] if ties else [0, 1, 2, 3, 4]
    five = _several(expected.pop("multimatch"), 5)
    close(match()[kept], five[kept])
    if "multimatch_grouped" in expected:
        rule = Simplification(direction_deg=45, duration_ms=300, amplitude=0.1)
        five = _several(expected.pop("multimatch_grouped"), 5)
        close(match(simplify=rule)[kept], five[kept])
    if "multimatch_cvlab_padded" in expected:
        four = _several(expected.pop("multimatch_cvlab_padded"), 4)
        kept = [i for i in kept if i < 4]
        close(match(pad="cvlab")[kept], four[kept], 1e-5)
    for name, bin_ms in (("scanmatch_nodur", None), ("scanmatch_dur_100ms", 100.0)):
        if name in expected:
            check_scanmatch(human, pred, screen, grid, bin_ms, expected.pop(name))
    plain = {
        "levenshtein": (levenshtein, ids, {}),
        "levenshtein_normalised": (levenshtein, ids, {"normalise": True}),
        "sequence_score_nw": (sequence_score, ids, {}),
        "string_edit_5x5": (
            string_edit_distance,
            (pred, human),
            {"screen_px": screen},
        ),
        "stde": (stde, (pred, human), {"screen_px": screen}),
        "dtw": (dtw, (pred, human), {}),
        "frechet": (frechet, (pred, human), {}),
        "hausdorff": (hausdorff, (pred, human), {}),
        "eyenalysis": (eyenalysis, (pred, human), {}),
        "mannan_d2": (mannan_distance, (pred, human), {"screen_px": screen}),
    }
    for name, (measure, sets, options) in plain.items():
        if name in expected:
            tolerance = 1e-5 if name == "sequence_score_nw" else 1e-6
            ours = value(measure, *sets, **options)
            theirs = expected.pop(name)
            if name in {"levenshtein", "string_edit_5x5"} and theirs is not None:
                assert ours == theirs
            close(ours, theirs, tolerance)
    for k, theirs in (expected.pop("tde", None) or {}).items():
        close(value(tde, pred, human, k=int(k)), theirs)
    if "crqa" in expected:
        four = _four(expected.pop("crqa"))
        close(value(cross_recurrence, pred, human, radius_px=rho), four)
    if "rqa_a" in expected:
        close(self_recurrence(human, radius_px=rho)[0], _four(expected.pop("rqa_a")))
    assert not expected, f"not compared: {sorted(expected)}"


def check_scanmatch(human, pred, screen, grid, bin_ms, expected):
    score = scanmatch(
        pred, human, screen_px=screen, grid=grid, threshold=3.5, temporal_bin_ms=bin_ms
    )[0, 0]
    if expected is None:
        assert np.isnan(score)
        return
    close(score, expected["score"])
    for paths, name in ((human, "seq_a"), (pred, "seq_b")):
        if expected.get(name) is None:
            continue
        cells = scanmatch_cells(paths, screen_px=screen, grid=grid)
        if bin_ms is not None:
            cells = expand_by_duration(
                cells, paths.duration_ms, bin_ms=bin_ms, rounding="nearest"
            )
        assert _symbols(cells) == expected[name]


def _symbols(cells):
    return cells.symbols[0, : cells.n_symbols[0]].tolist()


def _several(values, n):
    """Values of a list; a single null stands for all."""
    return np.array([None] * n if values is None else values, np.float64)


def _four(values):
    """REC, DET, LAM, CORM of a mapping or a list; null gives four NaN."""
    if values is None:
        return [None] * 4
    if isinstance(values, dict):
        return [values[name] for name in ("REC", "DET", "LAM", "CORM")]
    return values


# -------------------------------------------------------------------------- maps


def check_map(case):
    pred, human_map, baseline = (
        np.array(case[name], np.float64)
        for name in ("saliency_map", "gt_map", "baseline_map")
    )
    human = fixated_pixels(case["fix_x"], case["fix_y"], pred.shape)
    other = fixated_pixels(case["other_fix_x"], case["other_fix_y"], pred.shape)
    draws = [np.array(case["borji_flat_indices"])]
    calls = {
        "NSS": lambda: nss(pred, human)[0],
        "NSS_per_fixation": lambda: nss_per_fixation(pred, human),
        "NSS_ddof1_fixationmap": lambda: nss(pred, human, variant="vame")[0],
        "CC": lambda: cc(pred, human_map)[0],
        "SIM_sum_normalised": lambda: sim(pred, human_map)[0],
        "SIM_range_then_sum": lambda: sim(pred, human_map, variant="range")[0],
        "KL_MIT": lambda: kl_divergence(pred, human_map)[0],
        "KL_min1e-20": lambda: kl_divergence(pred, human_map, variant="pysaliency")[0],
        "KL_VAME_eps1e-12": lambda: kl_divergence(pred, human_map, variant="vame")[0],
        "AUC_uniform_exact": lambda: auc(pred, human, "uniform")[0],
        "AUC_per_fixation_uniform": lambda: auc_per_fixation(pred, human, "uniform"),
        "AUC_unfixated_exact": lambda: auc(pred, human)[0],
        "sAUC_exact": lambda: auc(pred, human, other)[0],
        "AUC_Judd_matlab_nojitter": lambda: auc_judd(pred, human)[0],
        "AUC_Judd_VAME_nojitter": lambda: auc_judd(pred, human, variant="vame")[0],
        "AUC_Judd_pysaliency_nojitter": lambda: auc_judd(
            pred, human, variant="pysaliency"
        )[0],
        "AUC_Borji_given_indices": lambda: auc_borji(pred, human, indices=draws)[0],
        "IG_bits_eps": lambda: information_gain(pred, human, baseline)[0],
        "log_likelihood_nats_per_fix": lambda: log_likelihood(pred, human)[0],
    }
    unknown = set(case["expected"]) - set(calls)
    assert not unknown, f"not compared: {sorted(unknown)}"
    for name, theirs in case["expected"].items():
        ours = calls[name]()
        if theirs is None:
            assert np.isnan(ours).all(), name
        else:
            close(ours, theirs)


def check_conditional(content):
    case = content["conditional"]
    maps = np.array(case["maps"], np.float64)
    next_x, next_y = np.array(case["next_fix_xy"]).T
    human = fixated_pixels(
        next_x, next_y, maps.shape[1:], map_index=range(len(maps)), n_maps=len(maps)
    )
    baseline = np.array(case["baseline_map"], np.float64)
    gain = conditional_information_gain(maps, human, baseline)
    expected = dict(case["expected"])
    close(np.nanmean(gain), expected.pop("cIG_mean_bits"))
    close(np.nanmean(conditional_nss(maps, human)), expected.pop("cNSS_mean_ddof1"))
    close(np.nanmean(conditional_auc(maps, human)), expected.pop("cAUC_mean"), 1e-5)
    assert not expected


# ----------------------------------------------------------------- search, behaviour


def check_search(case):
    expected, paths = case["expected"], case["scanpaths"]
    boxes = [case["bboxes_xywh"][f"{p['task']}_{p['name']}"] for p in paths]
    x, y, width, height = np.array(boxes, np.float64).T
    edges = np.column_stack([x, y, x + width, y + height])
    n_steps = case["max_step"] + 1
    gaze = pack_scanpaths([np.column_stack([p["X"], p["Y"]]) for p in paths])
    gaze = gaze.cut(n_steps)
    on_target = in_target_boxes(gaze, edges)
    steps = steps_to_target(on_target)
    theirs = np.array(expected["num_step_to_target"], np.float64)
    theirs[theirs >= 1000] = np.nan
    np.testing.assert_array_equal(steps, theirs)
    tasks = np.array([p["task"] for p in paths])
    found = found_by_step(steps, n_steps=n_steps, groups=tasks)
    close(found, expected["mean_cdf"])
    close(tfp_auc(found), expected["cdf_auc"])
    part = np.isin([p["subject"] for p in paths], expected["subset_subjects"])
    subset = found_by_step(steps[part], n_steps=n_steps, groups=tasks[part])
    close(subset, expected["subset_mean_cdf"])
    close(probability_mismatch(found, subset), expected["prob_mismatch"])
    centres = np.column_stack([x + width / 2, y + height / 2])
    ratio = np.nanmean(scanpath_ratio(gaze, on_target, centres))
    close(ratio, expected["avg_scanpath_ratio"])


def check_behaviour(case):
    trials = case["trials"]
    targets = [trial["target"] for trial in trials]
    human, model = (
        behaviour_vectors([trial[who] for trial in trials], targets)
        for who in ("human", "model")
    )
    close(human, [trial["human_vector"] for trial in trials])
    close(human.mean(0), case["human_mean"])
    close(model.mean(0), case["model_mean"])
    close(behaviour_delta(model, human), case["delta"])


# ------------------------------------------------------------------ people, Amazon


def check_amazon(path, request):
    data = request.getfixturevalue("data_folder") / "amazon_covers"
    if not data.is_dir():
        missing(f"{data} is not there: the table needs the fixations")
    from tasks.object_search import human_leave_one_out

    theirs = pd.read_csv(path)
    ours = human_leave_one_out(load_amazon_covers(data)).astype({"subject": int})
    ours = ours.astype({"collage": int})
    both = theirs.merge(ours, on=["collage", "subject"], suffixes=("", "_ours"))
    assert len(both) == len(theirs)
    for name in theirs.columns.drop(["collage", "subject"]):
        np.testing.assert_allclose(
            both[f"{name}_ours"], both[name], rtol=1e-9, atol=1e-9, err_msg=name
        )
