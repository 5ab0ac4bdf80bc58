"""Decisions of people and networks against stored values (see the family's README).

Tolerance 1e-9. Held-back sets may have other experiments, observers and seeds; every
value of a file is checked, and an entry of no known kind fails.
"""

import json
from fnmatch import fnmatch

import numpy as np
import pytest

from analysis.error_consistency import accuracy, consistency_table
from analysis.recognition_benchmark import benchmark_summary, consistency_by_condition
from analysis.response_entropy import mean_response_entropy
from analysis.shape_bias import shape_bias, shape_bias_by_category
from analysis.sixteen_classes import (
    CATEGORIES,
    CLASS_INDICES,
    sixteen_class_decisions,
    sixteen_class_probabilities,
)
from data_loaders.model_vs_human import EXPERIMENTS, load_model_vs_human, texture_of

FAMILY = "behaviour"
PATTERNS = ("error_consistency.json", "decision_mapping_16.json")
RULES = {"choice": "mean", "choice_sum_rule": "sum", "choice_max_rule": "max"}
# Shorter names of the values of the benchmark.
VALUES = {
    "obs": "observed_consistency",
    "kap": "error_consistency",
    "ad": "accuracy_difference",
}
PAIR = {
    "acc1": "accuracy_first",
    "acc2": "accuracy_second",
    **{name: name for name in ("n", "expected", "observed", "kappa")},
}


def find_cases(folder):
    """List (id, checker, arguments) for every entry of the files of this module."""
    cases = []
    for path in sorted(folder.iterdir()):
        if not any(fnmatch(path.name, pattern) for pattern in PATTERNS):
            continue
        content = json.loads(path.read_text())
        if path.name == "decision_mapping_16.json":
            checks = {"categories": check_categories, "indices": check_indices}
            checks["cases"] = check_mapping
        else:
            checks = CONSISTENCY_CHECKS
        for key, value in content.items():
            if key != "notes":
                check = checks.get(key, check_unknown)
                cases.append((f"{path.stem}-{key}", check, (value,)))
    return cases


def check_unknown(entry):
    pytest.fail(f"an entry of no known kind: {str(entry)[:200]}", pytrace=False)


def test_golden_entry(golden_case, request):
    _, check, arguments = golden_case
    if check in CONSISTENCY_CHECKS.values():
        arguments = (*arguments, request.getfixturevalue("trials"))
    check(*arguments)


@pytest.fixture(scope="module")
def trials(data_folder):
    """All trials; a condition of a whole experiment is called "None"."""
    table = load_model_vs_human(data_folder / "model_vs_human", observers="all").table
    single = [name for name, known in EXPERIMENTS.items() if len(known.conditions) == 1]
    alone = table["experiment"].isin(single)
    return table.assign(condition=table["condition"].mask(alone, "None"))


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def check_accuracy(entry, trials):
    for experiment, observers in entry.items():
        for subject, conditions in observers.items():
            own = trials[
                (trials["experiment"] == experiment) & (trials["subject"] == subject)
            ]
            assert len(own)
            for condition, value in conditions.items():
                rows = own[own["condition"] == condition]
                close(accuracy(rows["response"], rows["truth"]), value)


def check_entropy(entry, trials):
    people = trials[trials["is_human"] & trials["experiment"].isin(entry)]
    bits = mean_response_entropy(people).set_index(["experiment", "condition"])
    for experiment, conditions in entry.items():
        for condition, value in conditions.items():
            close(bits.loc[(experiment, condition), "entropy_bits"], value)


def check_pair(trials, experiment, condition, names, values):
    rows = trials[
        (trials["experiment"] == experiment) & (trials["condition"] == condition)
    ]
    got = consistency_table(rows, first=[names[0]], second=[names[1]]).iloc[0]
    assert set(values) == set(PAIR)
    for name, column in PAIR.items():
        close(got[column], values[name])


def check_pairs(entry, trials):
    for experiment, pairs in entry.items():
        for names, conditions in pairs.items():
            for condition, values in split_by_condition(conditions).items():
                check_pair(trials, experiment, condition, names.split("|"), values)


def split_by_condition(values):
    """Values by condition; those of a whole experiment may stand alone."""
    return {"None": values} if "kappa" in values else values


def check_human_network(entry, trials):
    for experiment, networks in entry.items():
        means = consistency_by_condition(trials[trials["experiment"] == experiment])
        for network, people in networks.items():
            for person, values in people.items():
                if person == "_mean_kappa":
                    own = means[means["decision_maker"] == network]
                    close(own["error_consistency"].item(), values)
                    continue
                for condition, each in split_by_condition(values).items():
                    check_pair(trials, experiment, condition, (network, person), each)


def cue_conflict(trials, observer):
    rows = trials[trials["experiment"] == "cue-conflict"]
    if observer == "humans_pooled":
        rows = rows[rows["is_human"]]
    else:
        rows = rows[rows["subject"] == observer]
    assert len(rows)
    textures = [texture_of(name) for name in rows["image_id"]]
    return rows["response"], rows["truth"], textures


def check_shape_bias(entry, trials):
    for observer, values in entry.items():
        got = shape_bias(*cue_conflict(trials, observer))
        for name, value in values.items():
            close(getattr(got, name), value)


def check_shape_bias_by_category(entry, trials):
    for observer, values in entry.items():
        table = shape_bias_by_category(*cue_conflict(trials, observer))
        assert table["category"].tolist() == sorted(values)
        got = table.set_index("category")["shape_bias"]
        close(got.to_numpy(), [values[name] for name in got.index])


def check_benchmark(entry, trials):
    summary = benchmark_summary(trials[trials["is_human"]])
    got = summary.set_index(["experiment", "metric"])["value"]
    for name, value in entry.items():
        if name != "per_experiment":
            close(got["all", VALUES.get(name, name)], value)
    for experiment, values in entry["per_experiment"].items():
        for name, value in values.items():
            close(got[experiment, VALUES.get(name, name)], value)


CONSISTENCY_CHECKS = {
    "accuracy": check_accuracy,
    "entropy_bits": check_entropy,
    "human_human": check_pairs,
    "human_cnn": check_human_network,
    "cnn_cnn": check_pairs,
    "shape_bias": check_shape_bias,
    "shape_bias_by_category": check_shape_bias_by_category,
    "benchmark_humans": check_benchmark,
}


def check_categories(entry):
    assert list(CATEGORIES) == entry


def check_indices(entry):
    assert {name: list(members) for name, members in CLASS_INDICES.items()} == entry


def check_mapping(entry):
    assert entry
    for case in entry:
        unknown = set(case) - {"seed", "logits", "aggregated_row0", *RULES}
        assert not unknown
        said = "numpy default_rng(seed).standard_normal((6,1000))*2, softmax"
        assert case["logits"] == said
        probabilities = drawn_probabilities(case["seed"])
        for name, rule in RULES.items():
            got = sixteen_class_decisions(probabilities, rule)
            assert got.tolist() == case[name]
        means = sixteen_class_probabilities(probabilities)[0]
        close(means, case["aggregated_row0"])


def drawn_probabilities(seed):
    logits = np.random.default_rng(seed).standard_normal((6, 1000)) * 2
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
