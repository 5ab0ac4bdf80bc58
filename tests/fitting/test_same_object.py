"""Probes of object binding: formulas, rank, ablation, recovery."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import log_loss

from neurovis.fitting.same_object import (
    PROBES,
    PairProbe,
    ablate_directions,
    form_spectrum,
    pair_accuracy,
    pair_logits,
    pair_loss,
    quadratic_form,
    same_pairs,
    shuffle_directions,
    truncate_probe,
)
from neurovis.fitting.same_object_fit import (
    PairProbeSettings,
    fit_class_probe,
    fit_identity_probe,
    fit_pair_probe,
    mask_costs,
)

FAST = PairProbeSettings(n_epochs=30, batch_size=8, learning_rate=3e-3)
LONG = PairProbeSettings(n_epochs=60, batch_size=8, learning_rate=0.03)


def bound_tokens(
    n_pictures=80, n_tokens=24, n_channels=16, rank=3, noise=0.3, seed=0, outside=1.5
):
    """Tokens whose object lies in a known subspace; objects are drawn per picture."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n_channels, n_channels)))[0][:, :rank]
    labels = rng.integers(rank, size=(n_pictures, n_tokens))
    # Objects lie at right angles, turned anew in every picture.
    places = np.linalg.qr(rng.standard_normal((n_pictures, rank, rank)))[0]
    own = np.take_along_axis(places, labels[..., None], axis=1)
    # What lies outside of the subspace is louder and says nothing.
    drawn = rng.standard_normal((n_pictures, n_tokens, n_channels))
    within = drawn @ basis @ basis.T
    tokens = 3 * own @ basis.T + noise * within + outside * (drawn - within)
    return tokens, labels, basis


def test_probes_are_their_formulas_pair_by_pair():
    rng = np.random.default_rng(0)
    x, w, square = rng.normal(size=(5, 4)), rng.normal(size=4), rng.normal(size=(4, 4))
    b = 0.3
    form = (square + square.T) / (2 * np.sqrt(4))
    for i in range(5):
        for j in range(5):
            expected = {
                "linear": w @ x[i] + b + w @ x[j] + b,
                "diagonal": w @ (x[i] * x[j]) + b,
                "quadratic": x[i] @ form @ x[j] + b,
            }
            for kind in PROBES:
                weights = square if kind == "quadratic" else w
                found = pair_logits(kind, x, weights, b)[i, j]
                assert found == pytest.approx(expected[kind], abs=1e-12)


def test_frozen_numbers_of_the_probes():
    rng = np.random.default_rng(0)
    x, square = rng.standard_normal((5, 8)), rng.standard_normal((8, 8))
    bias, w = rng.standard_normal(), rng.standard_normal(8)
    logits = pair_logits("quadratic", x, square, bias)
    assert logits[0, 1] == pytest.approx(-1.2528681654, abs=1e-8)
    assert pair_logits("linear", x, w, bias)[1, 1] == pytest.approx(2.6891925102)
    assert pair_logits("diagonal", x, w, bias)[2, 3] == pytest.approx(3.4226484123)
    labels = [0, 1, 1, 2, 0]
    assert pair_loss(logits, labels) == pytest.approx(0.7931050155, abs=1e-8)
    assert pair_accuracy(logits, labels) == pytest.approx(8 / 15)


def test_loss_is_that_of_sklearn_and_accuracy_counts_the_upper_triangle():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 6, 6))
    logits = logits + logits.swapaxes(1, 2)
    labels = rng.integers(3, size=(3, 6))
    same = same_pairs(labels)
    p = 1 / (1 + np.exp(-logits.ravel()))
    assert pair_loss(logits, labels) == pytest.approx(log_loss(same.ravel(), p))
    right = [
        (logits[k, i, j] > 0) == (labels[k, i] == labels[k, j])
        for k in range(3)
        for i in range(6)
        for j in range(i, 6)
    ]
    assert pair_accuracy(logits, labels) == pytest.approx(np.mean(right))
    assert np.isnan(pair_accuracy(np.ones((1, 1)), [0], diagonal=False))


def test_a_logit_of_zero_says_different():
    assert pair_accuracy(np.zeros((2, 2)), [0, 1], diagonal=False) == 1.0
    assert pair_accuracy(np.zeros((2, 2)), [0, 0], diagonal=False) == 0.0


def test_all_probes_are_symmetric_and_tokens_may_be_stacked():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 3, 5, 4))
    for kind in PROBES:
        w = rng.normal(size=(4, 4) if kind == "quadratic" else 4)
        found = pair_logits(kind, x, w, 0.1)
        np.testing.assert_allclose(found, found.swapaxes(-1, -2), atol=1e-12)
        np.testing.assert_allclose(found[1, 2], pair_logits(kind, x[1, 2], w, 0.1))


def test_spectrum_rebuilds_the_form_and_full_truncation_changes_nothing():
    rng = np.random.default_rng(3)
    probe = PairProbe("quadratic", rng.normal(size=(6, 6)), 0.2)
    values, vectors = form_spectrum(probe.form)
    assert (np.diff(np.abs(values)) <= 1e-12).all()
    np.testing.assert_allclose((vectors * values) @ vectors.T, probe.form, atol=1e-12)
    x = rng.normal(size=(4, 6))
    whole = truncate_probe(probe, 6)
    np.testing.assert_allclose(whole.logits(x), probe.logits(x), atol=1e-10)
    first = truncate_probe(probe, 1)
    assert np.linalg.matrix_rank(first.form) == 1
    np.testing.assert_allclose(quadratic_form(first.weights), first.form)
    diagonal = PairProbe("diagonal", rng.normal(size=6), 0.0)
    np.testing.assert_allclose(
        truncate_probe(diagonal, 6).logits(x), diagonal.logits(x), atol=1e-10
    )


def test_ablation_removes_the_subspace_and_leaves_the_rest():
    rng = np.random.default_rng(4)
    basis = np.linalg.qr(rng.normal(size=(5, 2)))[0]
    x = rng.normal(size=(3, 7, 5))
    gone = ablate_directions(x, basis, 1.0)
    np.testing.assert_allclose(gone @ basis, 0, atol=1e-12)
    half = ablate_directions(x, basis, 0.5)
    np.testing.assert_allclose(half, (x + gone) / 2, atol=1e-12)
    np.testing.assert_allclose(ablate_directions(x, basis, 0.0), x)
    mixed = shuffle_directions(x, basis, rng)
    np.testing.assert_allclose(
        ablate_directions(mixed, basis), ablate_directions(x, basis), atol=1e-12
    )
    for before, after in zip(x @ basis, mixed @ basis, strict=True):
        np.testing.assert_allclose(np.sort(before[:, 0]), np.sort(after[:, 0]))
    assert not np.allclose(mixed, x)


def test_identity_in_a_low_rank_subspace_is_found_and_lost_with_it():
    tokens, labels, basis = bound_tokens()
    train, test = slice(0, 60), slice(60, 80)
    scores = {}
    for kind in PROBES:
        fit = fit_pair_probe(tokens[train], labels[train], kind=kind, settings=LONG)
        logits = fit.probe.logits(tokens[test])
        scores[kind] = pair_accuracy(logits, labels[test], diagonal=False)
    usual = 1 - same_pairs(labels[test])[:, ~np.eye(24, dtype=bool)].mean()
    # Objects are drawn anew in every picture: one token alone tells nothing.
    assert scores["linear"] < usual + 0.02
    assert scores["quadratic"] > 0.85
    assert scores["quadratic"] > scores["diagonal"] + 0.05
    values, vectors = form_spectrum(fit.probe.form)
    assert np.linalg.svd(basis.T @ vectors[:, :3])[1].min() > 0.9
    assert abs(values[2]) > 2 * abs(values[3])
    kept = truncate_probe(fit.probe, 3).logits(tokens[test])
    assert pair_accuracy(kept, labels[test], diagonal=False) > 0.85
    one = truncate_probe(fit.probe, 1).logits(tokens[test])
    assert pair_accuracy(one, labels[test], diagonal=False) < 0.83
    lost = fit.probe.logits(ablate_directions(tokens[test], vectors[:, :3]))
    assert pair_accuracy(lost, labels[test], diagonal=False) < usual + 0.02


def test_tokens_without_identity_give_no_more_than_the_usual_answer():
    rng = np.random.default_rng(5)
    tokens = rng.normal(size=(60, 20, 8))
    labels = rng.integers(3, size=(60, 20))
    fit = fit_pair_probe(tokens[:45], labels[:45], settings=FAST)
    logits = fit.probe.logits(tokens[45:])
    usual = 1 - same_pairs(labels[45:])[:, ~np.eye(20, dtype=bool)].mean()
    assert pair_accuracy(logits, labels[45:], diagonal=False) < usual + 0.02


def test_a_fit_is_repeatable_and_keeps_the_best_epoch():
    tokens, labels, _ = bound_tokens(20, 12)
    settings = PairProbeSettings(n_epochs=12, batch_size=4, learning_rate=0.05)
    first = fit_pair_probe(tokens, labels, settings=settings, seed=3)
    again = fit_pair_probe(tokens, labels, settings=settings, seed=3)
    np.testing.assert_array_equal(first.probe.weights, again.probe.weights)
    assert first.best_epoch == int(first.curves["val_loss"].to_numpy().argmin())
    held = pair_loss(first.probe.logits(tokens[16:]), labels[16:])
    assert held == pytest.approx(first.curves["val_loss"].min(), abs=1e-5)
    other = fit_pair_probe(tokens, labels, settings=settings, seed=4)
    assert not np.array_equal(first.probe.weights, other.probe.weights)
    last = PairProbeSettings(n_epochs=2, batch_size=4, validation_share=0)
    fit = fit_pair_probe(tokens, labels, settings=last)
    assert fit.best_epoch == 1
    assert fit.curves["val_loss"].isna().all()


def test_rate_falls_after_sixteen_epochs_only():
    assert PairProbeSettings() == PairProbeSettings(8, 256, 1e-3, 16, 0.2, 0.2)
    tokens, labels, _ = bound_tokens(10, 8)
    never = PairProbeSettings(n_epochs=16, batch_size=4, step_epochs=99)
    falls = PairProbeSettings(n_epochs=17, batch_size=4)
    kept = PairProbeSettings(n_epochs=17, batch_size=4, step_epochs=99)
    losses = [
        fit_pair_probe(tokens, labels, settings=s).curves["loss"].to_numpy()
        for s in (never, falls, kept)
    ]
    np.testing.assert_array_equal(losses[0], losses[1][:16])
    # The rate of epoch 16 moves its second batch.
    assert losses[1][16] != losses[2][16]


def test_class_probe_names_classes_that_are_there():
    rng = np.random.default_rng(6)
    classes = rng.integers(3, size=(40, 15))
    tokens = np.eye(3)[classes] * 3 + rng.normal(size=(40, 15, 3))
    settings = PairProbeSettings(n_epochs=40, batch_size=8, learning_rate=0.02)
    fit = fit_class_probe(tokens[:30], classes[:30], 3, settings=settings)
    assert (fit.predict(tokens[30:]) == classes[30:]).mean() > 0.85


def test_identity_probe_gives_objects_queries_of_their_own():
    rng = np.random.default_rng(7)
    labels = rng.integers(3, size=(40, 15)) * 5
    tokens = np.eye(3)[labels // 5] * 4 + 0.3 * rng.normal(size=(40, 15, 3))
    settings = PairProbeSettings(n_epochs=60, batch_size=8, learning_rate=0.03)
    fit = fit_identity_probe(tokens[:30], labels[:30], n_queries=6, settings=settings)
    answers = fit.predict(tokens[30:])
    found = (same_pairs(answers) == same_pairs(labels[30:])).mean()
    assert found > 0.95


def test_mask_costs_are_sigmoid_entropy_and_dice():
    rng = np.random.default_rng(8)
    z = torch.from_numpy(rng.normal(size=(4, 9)))
    masks = torch.from_numpy((rng.random((3, 9)) < 0.4).astype(float))
    found = mask_costs(z, masks).numpy()
    p = 1 / (1 + np.exp(-z.numpy()))
    for q in range(4):
        for k in range(3):
            m = masks[k].numpy()
            entropy = -np.mean(m * np.log(p[q]) + (1 - m) * np.log(1 - p[q]))
            dice = 1 - (2 * (p[q] * m).sum() + 1) / (p[q].sum() + m.sum() + 1)
            assert found[q, k] == pytest.approx(5 * entropy + 5 * dice)
    assert len(linear_sum_assignment(found)[0]) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair_logits("cubic", np.ones((2, 2)), np.ones(2)), "quadratic"),
        (lambda: pair_logits("linear", np.ones((2, 3)), np.ones(2)), "n_tokens, 2"),
        (lambda: pair_logits("quadratic", np.ones((2, 2)), np.ones(2)), "shape"),
        (lambda: pair_logits("linear", [[np.nan]], [1.0]), "not finite"),
        (lambda: pair_loss(np.ones((2, 3)), [0, 1]), "logits"),
        (lambda: form_spectrum([[0.0, 1.0], [0.0, 0.0]]), "symmetric"),
        (lambda: ablate_directions(np.ones((2, 2)), np.ones((2, 1))), "orthonormal"),
        (lambda: truncate_probe(PairProbe("linear", np.ones(2), 0.0), 1), "no form"),
        (lambda: truncate_probe(PairProbe("diagonal", np.ones(2), 0.0), 3), "rank"),
        (lambda: PairProbeSettings(gamma=2.0), "gamma"),
        (lambda: fit_pair_probe(np.ones((3, 2, 2)), np.zeros((3, 3), int)), "labels"),
        (lambda: fit_pair_probe(np.ones((1, 2, 2)), np.zeros((1, 2), int)), "too few"),
        (
            lambda: fit_class_probe(np.ones((9, 2, 2)), np.full((9, 2), 2), 2),
            "within 0..1",
        ),
        (
            lambda: fit_identity_probe(
                np.ones((9, 2, 2)), np.tile([0, 1], (9, 1)), n_queries=1
            ),
            "2 objects",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
