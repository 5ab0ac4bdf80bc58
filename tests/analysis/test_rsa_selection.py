"""Layers chosen on other stimuli, against plain loops and simulated experiments."""

import numpy as np
import pytest
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from analysis.multiple_tests import fdr_adjusted
from analysis.rdms import make_rdm
from analysis.rsa import MEASURES, compare_rdms
from analysis.rsa_selection import select_layers, weighted_similarities

MODEL_OF = ["deep", "deep", "deep", "flat"]


def simulate(n_subjects=4, n_stimuli=14, noise=1.5, seed=0):
    """Layers of two models, the second of which is closest to the subjects."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n_stimuli, 10))

    def noisy(amount):
        return make_rdm(truth + amount * rng.normal(size=truth.shape), "euclidean")

    layers = np.array([noisy(amount) for amount in (4.0, 0.5, 3.0, 2.0)])
    return layers, np.array([noisy(noise) for _ in range(n_subjects)])


def generator(seed=0):
    return np.random.default_rng(seed)


def resampled(rdms, counts):
    """Rows and columns as often as they count, NaN where a stimulus meets itself."""
    stimuli = np.repeat(np.arange(len(counts)), counts)
    rows = []
    for rdm in rdms:
        square = squareform(rdm)
        np.fill_diagonal(square, np.nan)
        taken = square[np.ix_(stimuli, stimuli)]
        rows.append(taken[np.triu_indices(len(stimuli), 1)])
    return np.array(rows)


@pytest.mark.parametrize("measure", MEASURES)
def test_weights_count_as_repeated_stimuli(measure):
    layers, people = simulate()
    rng = generator(5)
    counts = np.array([rng.multinomial(14, [1 / 14] * 14) for _ in range(4)])
    counts = np.concatenate([counts, [[1] * 7 + [0] * 7, [1] * 14]])
    found = weighted_similarities(layers, people, counts, measure)
    a, b, plain = layers, people, measure
    if measure == "spearman":  # ranks of the whole set, then Pearson
        a, b, plain = (*(rankdata(x, axis=1) for x in (a, b)), "pearson")
    for row, weights in zip(found, counts, strict=True):
        rows, columns = resampled(a, weights), resampled(b, weights)
        expected = compare_rdms(rows, columns, plain, nan="omit")
        np.testing.assert_allclose(row, expected, atol=1e-10)


def test_ranks_taken_once_or_anew_give_the_same_spread():
    layers, people = simulate(n_stimuli=40)
    rng = generator(5)
    counts = np.array([rng.multinomial(40, [1 / 40] * 40) for _ in range(60)])
    once = weighted_similarities(layers, people, counts).mean(axis=2)
    anew = np.array(
        [
            compare_rdms(resampled(layers, c), resampled(people, c), nan="omit").mean(1)
            for c in counts
        ]
    )
    np.testing.assert_allclose(once.std(axis=0), anew.std(axis=0), rtol=0.06)
    np.testing.assert_allclose(once.mean(axis=0), anew.mean(axis=0), atol=0.004)


def test_a_layer_is_scored_on_the_half_that_did_not_choose_it():
    layers, people = simulate()
    found = select_layers(
        layers, MODEL_OF, people, "pearson", n_splits=6, n_bootstrap=5, rng=generator()
    )
    rng = generator()
    values, chosen = [], np.zeros(4)
    for _ in range(6):
        first = np.zeros(14, int)
        first[rng.permutation(14)[:7]] = 1
        similar = [
            compare_rdms(resampled(layers, h), resampled(people, h), "pearson").mean(1)
            for h in (first, 1 - first)
        ]
        for here, there in ((0, 1), (1, 0)):
            deep = int(np.argmax(similar[here][:3]))
            chosen[deep] += 1 / 12
            chosen[3] += 1 / 12
            values.append([similar[there][deep], similar[there][3]])
    np.testing.assert_allclose(found.chosen.estimate, np.mean(values, axis=0))
    np.testing.assert_allclose(found.share, chosen)
    table = found.model_table()
    assert table["layer"].tolist() == [int(np.argmax(chosen[:3])), 3]
    assert table["chosen_share"].tolist() == pytest.approx([chosen[:3].max(), 1.0])


def test_layers_have_the_scores_of_all_stimuli_and_draws_of_a_plain_loop():
    layers, people = simulate()
    found = select_layers(
        layers, MODEL_OF, people, "cosine", n_splits=2, n_bootstrap=6, rng=generator()
    )
    expected = compare_rdms(layers, people, "cosine")
    np.testing.assert_allclose(found.scores, expected)
    rng = generator()
    for _ in range(2):
        rng.permutation(14)
    drawn = [rng.integers(0, 14, 14) for _ in range(6)]
    subjects = rng.integers(0, 4, (6, 4))
    for k, (stimuli, chosen) in enumerate(zip(drawn, subjects, strict=True)):
        counts = np.bincount(stimuli, minlength=14)
        similar = compare_rdms(
            resampled(layers, counts), resampled(people, counts), "cosine", nan="omit"
        )
        draws = found.layers.draws
        np.testing.assert_allclose(draws["images"][k], similar.mean(axis=1))
        np.testing.assert_allclose(draws["both"][k], similar[:, chosen].mean(axis=1))
        only = expected[:, chosen].mean(axis=1)
        np.testing.assert_allclose(draws["subjects"][k], only)
        weighted = [draws["both"][k][:3] @ found.share[:3], draws["both"][k][3]]
        np.testing.assert_allclose(found.chosen.draws["both"][k], weighted)


def test_the_true_layer_is_chosen_and_its_model_wins():
    layers, people = simulate(n_subjects=9, n_stimuli=40, noise=0.5)
    found = select_layers(layers, MODEL_OF, people, n_bootstrap=200, rng=generator())
    table = found.model_table()
    assert table["layer"].tolist() == [1, 3]
    assert table["chosen_share"][0] > 0.95
    row = found.differences().iloc[0]
    assert row["difference"] > 0
    assert row["p_value"] < 0.01
    assert row["p_fdr"] == fdr_adjusted([row["p_value"]])[0]


def test_the_largest_of_many_layers_without_signal_is_above_zero_and_the_fair_is_not():
    fair, largest = [], []
    for seed in range(60):
        rng = generator(seed)
        layers = rng.random((12, 190))
        found = select_layers(
            layers,
            ["noise"] * 12,
            rng.random((1, 190)),
            over="images",
            n_splits=10,
            n_bootstrap=2,
            rng=rng,
        )
        table = found.model_table()
        fair.append(table["score"][0])
        largest.append(table["best_score"][0])
    error = np.std(fair) / 60**0.5
    assert abs(np.mean(fair)) < 3 * error < 0.04
    assert np.mean(largest) > 0.08


@pytest.mark.slow
@pytest.mark.slow
def test_more_layers_are_no_advantage():
    hits = wins = 0
    n = 300
    for seed in range(n):
        rng = generator(seed)
        truth = rng.normal(size=(60, 20))
        noisy = [
            make_rdm(truth + 1.5 * rng.normal(size=truth.shape), "euclidean")
            for _ in range(10)
        ]
        subject = make_rdm(truth + 2 * rng.normal(size=truth.shape), "euclidean")
        found = select_layers(
            noisy,
            ["many"] * 9 + ["one"],
            subject,
            over="images",
            n_splits=20,
            n_bootstrap=200,
            rng=rng,
        )
        row = found.differences().iloc[0]
        hits += row["p_value"] < 0.05
        wins += row["p_value"] < 0.05 and row["difference"] > 0
    assert 0.015 < hits / n < 0.09
    assert wins / n < 0.06


def test_a_layer_without_dissimilarities_is_undefined_and_never_chosen():
    layers, people = simulate()
    layers[1, 0] = np.nan
    found = select_layers(layers, MODEL_OF, people, n_bootstrap=5, rng=generator())
    assert np.isnan(found.scores[1]).all()
    assert found.share[1] == 0
    assert np.isfinite(found.model_table()["score"]).all()
    alone = select_layers(layers[1:2], ["lost"], people, n_bootstrap=5, rng=generator())
    assert np.isnan(alone.model_table()["score"][0])


def test_models_keep_their_order_and_equal_seeds_give_equal_draws():
    layers, people = simulate()
    names = ["z", "a", "z", "b"]
    found = [
        select_layers(layers, names, people, n_bootstrap=5, rng=generator(3))
        for _ in range(2)
    ]
    assert found[0].models == ("z", "a", "b")
    assert found[0].layer_table()["model"].tolist() == names
    np.testing.assert_array_equal(
        found[0].chosen.draws["both"], found[1].chosen.draws["both"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measure": "dot"}, "`measure` must be one of"),
        ({"over": "voxels"}, "`over` must be one of"),
        ({"model_of": ["deep"]}, "names 1 of 4 layers"),
        ({"layers": np.ones((4, 3)), "rdms": np.ones((2, 3))}, "3 stimuli"),
        ({"layers": np.ones((4, 5))}, "`layers`"),
        ({"n_splits": 0}, "`n_splits`"),
        ({"rdms": "one"}, "Use over='images'"),
    ],
)
def test_wrong_arguments_are_told(change, message):
    layers, people = simulate()
    call = {"layers": layers, "model_of": MODEL_OF, "rdms": people} | change
    if isinstance(call["rdms"], str):
        call["rdms"] = people[:1]
    first = [call.pop(name) for name in ("layers", "model_of", "rdms")]
    with pytest.raises(ValueError, match=message):
        select_layers(*first, rng=generator(), **call)
