"""Probes of object binding and efficient probing (see the README of the family).

Tolerance: 1e-8.
"""

import json
from fnmatch import fnmatch

import numpy as np
import pytest

from neurovis.fitting.efficient_probe import efficient_attention, efficient_pool
from neurovis.fitting.same_object import pair_accuracy, pair_logits, pair_loss

FAMILY = "behaviour"
PATTERNS = ("probes.json",)
ORDER = (
    "rng=default_rng(seed); X(5,8), W(8,8), b scalar, w(8); then x(2,6,8), q(2,8), "
    "V(8,8), all standard_normal"
)


def find_cases(folder):
    """List (id, checker, arguments) for the files of this part."""
    return [
        (path.stem, check_probes, (path,))
        for path in sorted(folder.iterdir())
        if any(fnmatch(path.name, pattern) for pattern in PATTERNS)
    ]


def check_unknown(path):
    pytest.fail(f"{path} is not of the form that the README describes")


def test_golden_file(golden_case):
    _, checker, arguments = golden_case
    checker(*arguments)


def close(ours, theirs, name):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8, err_msg=name)


def check_probes(path):
    content = json.loads(path.read_text())
    cases = content.pop("cases")
    assert cases
    assert not content
    for case in cases:
        assert case.pop("draw_order") == ORDER
        rng = np.random.default_rng(case.pop("seed"))
        tokens = rng.standard_normal((5, 8))
        square = rng.standard_normal((8, 8))
        bias = rng.standard_normal()
        vector = rng.standard_normal(8)
        pictures = rng.standard_normal((2, 6, 8))
        queries = rng.standard_normal((2, 8))
        values = rng.standard_normal((8, 8))
        logits = pair_logits("quadratic", tokens, square, bias)
        close(logits, case.pop("quadratic"), "quadratic")
        for kind, name in (("linear", "linear"), ("diagonal", "diag_quadratic")):
            close(pair_logits(kind, tokens, vector, bias), case.pop(name), name)
        labels = case.pop("labels")
        accuracy = case.pop("acc_upper_triangle_incl_diag")
        close(pair_accuracy(logits, labels), accuracy, "accuracy")
        close(pair_loss(logits, labels), case.pop("bce_all_pairs"), "loss")
        pooled = efficient_pool(pictures, queries, values)
        close(pooled, case.pop("ep_output"), "ep_output")
        attention = efficient_attention(pictures, queries)
        close(attention[0], case.pop("ep_attention_b0"), "ep_attention_b0")
        assert not case
