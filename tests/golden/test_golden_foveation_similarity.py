"""Similarity of pictures, and style transfer, against reference code (see the README).

Tolerance: similarity 1e-6; style transfer 1e-5 (the reference is float32).
"""

import re
from fnmatch import fnmatch

import numpy as np
import pytest
import torch

from analysis.image_similarity import mse, mutual_information, ssim
from neurovis.foveation.style_codec import adain, coral, foveated_adain

FAMILY = "foveation"
PATTERNS = ("adain*", "mi_ssim*")


def find_cases(folder):
    """List (id, checker, arguments) for the files of this part."""
    cases = []
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in PATTERNS):
            checker = check_pairs if path.name.startswith("mi_ssim") else check_transfer
            cases.append((path.stem, checker, (path,)))
    return cases


def check_unknown(path):
    pytest.fail(f"{path} holds no file like {' or '.join(PATTERNS)}")


def test_golden_file(golden_case):
    _, checker, arguments = golden_case
    checker(*arguments)


def check_pairs(path):
    with np.load(path) as file:
        content = dict(file)
    a, b = content.pop("a"), content.pop("b")
    compared = 0
    for name, theirs in content.items():
        bins = re.fullmatch(r"mi(\d+)_bits", name)
        if bins:
            n_bins = int(bins[1])
            ours = mutual_information(a, b, n_bins=n_bins, binning="published")
        else:
            assert name in {"ssim", "mse"}, f"not compared: {name}"
            ours = ssim(a, b) if name == "ssim" else mse(a, b)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6, err_msg=name)
        compared += np.size(ours)
    assert compared >= len(content) > 0


def check_transfer(path):
    """Groups of arrays: what comes before the last "_" of their names."""
    with np.load(path) as file:
        content = {name: file[name] for name in file}
    groups = {}
    for name, values in content.items():
        group, _, part = name.rpartition("_")
        groups.setdefault(group, {})[part] = torch.from_numpy(values)
    assert groups, f"{path} is empty"
    for group, parts in groups.items():
        theirs = parts.pop("out")
        kinds = {
            ("content", "style"): adain,
            ("source", "target"): coral,
            ("alpha", "content", "masks", "noise"): foveated_adain,
        }
        function = kinds.get(tuple(sorted(parts)))
        assert function, f"not compared: {group} with {sorted(parts)}"
        ours = function(**parts)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=group)
