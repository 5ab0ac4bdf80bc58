"""Ceilings and scores of brain data against reference numbers (see the family README).

Tolerance: relative 1e-8 + absolute 1e-10.
"""

import numpy as np
import pytest

from analysis.ceilings import estimate_ncsnr
from analysis.metrics import algonauts_score, challenge_score, pearson_r
from neurovis.core.noise_ceiling import explainable_fraction

FAMILY = "encoding"
# Files by how their names begin; a held-back set may number them.
KINDS = {"noise_ceiling": "check_noise_ceiling", "algonauts_metric": "check_algonauts"}
# Solvers and readouts of encoding models, which the suite does not have yet.
PLANNED = ("ridge_", "fracridge_", "tbe_", "readout_")


def find_cases(folder):
    """List (id, checker, arguments) for everything in the family folder."""
    cases = []
    for path in sorted(folder.iterdir()):
        if path.name == "README.md":
            continue
        kind = next((k for k in KINDS if path.name.startswith(k)), None)
        checker = check_unknown
        if path.suffix == ".npz" and kind is not None:
            checker = globals()[KINDS[kind]]
        elif path.suffix == ".npz" and path.name.startswith(PLANNED):
            checker = check_planned
        cases.append((path.name, checker, (path,)))
    return cases


def check_unknown(path):
    pytest.fail(f"{path} is not of the form that the README describes")


def check_planned(path):
    pytest.skip(f"{path.name}: encoding models are not supported yet")


def test_golden_file(golden_case):
    _, checker, arguments = golden_case
    checker(*arguments)


def close(ours, theirs, name):
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10, err_msg=name)


def _read(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def check_noise_ceiling(path):
    content = _read(path)
    estimate = estimate_ncsnr(content.pop("betas"))
    close(estimate.noise_sd, content.pop("noise_sd"), "noise_sd")
    close(estimate.total_variance, content.pop("total_var"), "total_var")
    close(estimate.ncsnr, content.pop("ncsnr"), "ncsnr")
    three = estimate.ceiling([3])
    close(100 * three, content.pop("nc3_percent"), "nc3_percent")
    counts, expected = content.pop("repeat_counts_3_2_1"), content.pop("nc_fraction")
    assert len(counts) == len(expected)
    for row, theirs in zip(counts, expected, strict=True):
        n_repeats = np.repeat([3, 2, 1], row)
        close(explainable_fraction(estimate.ncsnr, n_repeats), theirs, f"{row}")
        close(estimate.ceiling(n_repeats), theirs, f"{row}")
    assert not content, f"not compared: {sorted(content)}"


def check_algonauts(path):
    content = _read(path)
    scores = []
    for side in ("lh", "rh"):
        measured, predicted, ceiling = (
            content.pop(f"{side}_{name}") for name in ("test", "pred", "noise_ceiling")
        )
        r = np.nan_to_num(pearson_r(measured, predicted))
        close(r, np.nan_to_num(content.pop(f"{side}_corr")), f"{side}_corr")
        scores.append(algonauts_score(measured, predicted, ceiling))
        theirs = content.pop(f"{side}_noise_normalised")
        close(scores[-1], theirs, f"{side}_noise_normalised")
    both = challenge_score(scores)
    close(both.median, content.pop("score_median"), "score_median")
    close(both.mean, content.pop("score_mean"), "score_mean")
    assert not content, f"not compared: {sorted(content)}"
