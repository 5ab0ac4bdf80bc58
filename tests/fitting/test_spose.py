"""SPoSE embeddings and linear maps from odd-one-out choices."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import linregress

import neurovis.fitting.spose as spose
from analysis.odd_one_out import (
    choice_nll,
    choice_probabilities,
    odd_one_out_accuracy,
)
from analysis.simulated_triplets import (
    draw_triplets,
    simulate_choices,
    sparse_embedding,
)
from neurovis.core.errors import DataCorruptError
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.spose import SposeSettings, choose_penalty, fit_spose
from neurovis.fitting.spose_loss import (
    has_converged,
    order_dimensions,
    pair_members,
    prune_dimensions,
    spose_loss,
)
from neurovis.fitting.triplet_alignment import (
    cross_validate_alignment,
    fit_alignment,
)

QUICK = SposeSettings(
    n_dimensions=6, penalty=0.02, learning_rate=0.02, max_epochs=12, checkpoint_every=2
)


def choices(n=20, d=3, n_triplets=600, seed=0):
    truth = sparse_embedding(n, d, share=0.5, seed=seed)
    return simulate_choices(truth, draw_triplets(n, n_triplets, seed=seed), seed=seed)


# ---------------------------------------------------------------------- loss


def test_loss_is_the_formula():
    rng = np.random.default_rng(0)
    w, rows = rng.normal(0.1, 0.3, (8, 4)), draw_triplets(8, 10)
    expected = choice_nll(w, rows)
    expected += 0.01 * np.maximum(-w, 0).sum() + 0.3 / 8 * np.abs(w).sum()
    found = spose_loss(torch.from_numpy(w), torch.from_numpy(rows), 0.3)
    assert found.item() == pytest.approx(expected)


def test_one_step_is_one_step_of_adam_on_the_loss():
    rows = choices(n_triplets=32)
    settings = SposeSettings(n_dimensions=5, penalty=0.5, batch_size=32)
    run = spose._Run(rows, 20, settings, 3, torch.device("cpu"), None)
    run.weights[0, 0], run.weights[1, 1] = 0.0, -0.2
    weights = run.weights.clone().requires_grad_()
    adam = torch.optim.Adam([weights], lr=0.001)
    batch = torch.from_numpy(rows)
    for _ in range(3):
        adam.zero_grad()
        loss = spose_loss(weights, batch, 0.5)
        loss.backward()
        adam.step()
        found = run._step(*pair_members(batch))
        assert found[0].item() == pytest.approx(loss.item(), abs=1e-5)
        torch.testing.assert_close(run.weights, weights.detach(), atol=2e-6, rtol=0)


def test_convergence_is_the_published_rule():
    rng = np.random.default_rng(0)
    losses = list(np.exp(-np.arange(140) / 10) + 0.02 * rng.normal(size=140))
    expected = []
    for n in range(1, 141):
        line = linregress(range(50), losses[n - 50 : n]) if n >= 50 else None
        expected.append(line is not None and (line.slope > 0 or line.pvalue > 0.1))
    found = [has_converged(losses[:n]) for n in range(1, 141)]
    assert found == expected
    assert not all(found[50:])
    assert any(found)


def test_dimensions_are_sorted_and_pruned():
    x = np.array([[0.1, 0.0, 0.5, -2.0], [0.05, 1.0, 0.4, 0.0]])
    assert order_dimensions(x).tolist() == [3, 1, 2, 0]
    assert prune_dimensions(x).tolist() == [[0.0, 0.5], [1.0, 0.4]]
    assert prune_dimensions(x, 5).shape == (2, 0)


# ------------------------------------------------------------------ recovery


def test_a_known_embedding_is_recovered():
    truth = sparse_embedding(40, 4, share=0.5, seed=1)
    rows = simulate_choices(truth, draw_triplets(40, 11_000))
    train, test = rows[:9000], rows[9000:]
    settings = SposeSettings(
        n_dimensions=12,
        penalty=0.05,
        learning_rate=0.05,
        batch_size=600,
        max_epochs=45,
    )
    fit = fit_spose(train, settings=settings, validation=test)
    best = choice_probabilities(truth, test).max(axis=1).mean()
    accuracy = odd_one_out_accuracy(fit.embedding, test)
    assert accuracy > best - 0.03
    assert choice_nll(fit.embedding, test) < choice_nll(truth, test) + 0.03
    last = fit.curves.iloc[-1]
    assert last["val_accuracy"] == pytest.approx(
        odd_one_out_accuracy(fit.weights, test), abs=2e-3
    )
    assert last["val_nll"] == pytest.approx(choice_nll(fit.weights, test), abs=1e-4)
    assert fit.embedding.shape[1] == 4
    r = np.corrcoef(truth.T, fit.embedding.T)[:4, 4:]
    matched = r[linear_sum_assignment(-r)]
    assert matched.min() > 0.93


def test_a_penalty_is_chosen_by_other_choices():
    rows = choices(n_triplets=900)
    fit, table = choose_penalty(
        rows[:500], rows[500:], [0.02, 100.0], n_objects=20, settings=QUICK
    )
    assert table["chosen"].tolist() == [True, False]
    assert table["val_nll"].iloc[0] < table["val_nll"].iloc[1]
    assert table["val_nll"].iloc[0] == choice_nll(fit.embedding, rows[500:])


def test_a_large_penalty_leaves_no_dimension():
    settings = SposeSettings(n_dimensions=3, penalty=100.0, max_epochs=300)
    fit = fit_spose(choices(n_triplets=50), settings=settings, n_objects=20)
    assert fit.embedding.shape == (20, 0)
    assert np.abs(fit.weights).max() < 0.1


def test_validation_changes_nothing_in_the_fit():
    rows = choices()
    one = fit_spose(rows[:400], settings=QUICK, n_objects=20)
    two = fit_spose(rows[:400], settings=QUICK, n_objects=20, validation=rows[400:])
    np.testing.assert_array_equal(one.weights, two.weights)
    assert "val_nll" not in one.curves
    assert two.curves["val_nll"].notna().all()


# ------------------------------------------------------------------- resuming


def test_an_interrupted_fit_ends_with_equal_bits(tmp_path, monkeypatch):
    rows = choices()
    whole = fit_spose(rows, settings=QUICK, validation=rows[:50], folder=tmp_path / "a")
    epoch = spose._Run._epoch

    def killed(self, number):
        if number == 7:
            raise KeyboardInterrupt
        return epoch(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(spose._Run, "_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            fit_spose(rows, settings=QUICK, validation=rows[:50], folder=tmp_path / "b")
    assert (tmp_path / "b" / "checkpoint.safetensors").exists()
    resumed = fit_spose(
        rows, settings=QUICK, validation=rows[:50], folder=tmp_path / "b"
    )
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    pd.testing.assert_frame_equal(resumed.curves, whole.curves)

    with monkeypatch.context() as patch:
        patch.setattr(spose._Run, "train", None)  # a finished fit is read
        again = fit_spose(
            rows, settings=QUICK, validation=rows[:50], folder=tmp_path / "b"
        )
    np.testing.assert_array_equal(again.weights, whole.weights)
    assert again.stopped == whole.stopped


def test_another_fit_in_the_folder_is_refused(tmp_path):
    rows = choices()
    fit_spose(rows, settings=QUICK, folder=tmp_path)
    with pytest.raises(ValueError, match="seed"):
        fit_spose(rows, settings=QUICK, seed=1, folder=tmp_path)
    with pytest.raises(ValueError, match="triplets"):
        fit_spose(rows[1:], settings=QUICK, n_objects=20, folder=tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(DataCorruptError):
        fit_spose(rows, settings=QUICK, folder=tmp_path)


def test_a_loss_that_is_not_finite_is_reported():
    settings = SposeSettings(n_dimensions=2, learning_rate=1e30, max_epochs=5)
    with pytest.raises(ValueError, match="learning_rate"):
        fit_spose(choices(n_triplets=20), settings=settings)


@pytest.mark.parametrize(
    "wrong",
    [{"n_dimensions": 0}, {"penalty": -1}, {"learning_rate": 0}, {"window": 2}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SposeSettings(**wrong)


def test_wrong_triplets_are_refused():
    with pytest.raises(ValueError, match="within 0 and 4"):
        fit_spose([[0, 1, 7]], n_objects=5)
    with pytest.raises(ValueError, match="penalties"):
        choose_penalty(choices(), choices(), [])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_fit_on_cuda_agrees_with_the_cpu():
    rows = choices()
    cpu = fit_spose(rows, settings=QUICK)
    cuda = fit_spose(rows, settings=QUICK, device="cuda")
    np.testing.assert_allclose(cuda.weights, cpu.weights, atol=1e-3)


# ------------------------------------------------------------------ alignment


def test_a_hidden_map_of_features_is_learned():
    x = np.random.default_rng(0).standard_normal((45, 8))
    hidden = np.diag(np.r_[1.5, 1.5, np.zeros(6)])
    rows = simulate_choices(x @ hidden, draw_triplets(45, 5000))
    settings = TrainSettings(
        max_epochs=12, patience=None, learning_rate=0.03, clip_norm=None
    )
    table = cross_validate_alignment(x, rows, penalties=[1e-3], settings=settings)
    assert (table["accuracy"] > table["accuracy_before"] + 0.1).all()
    assert table["nll"].mean() < 0.8
    best = choice_probabilities(x @ hidden, rows).max(axis=1).mean()
    assert table["accuracy"].mean() > best - 0.1


def test_folds_are_disjoint_in_their_objects():
    x = np.random.default_rng(0).standard_normal((12, 2))
    rows = draw_triplets(12, 400)
    few = TrainSettings(max_epochs=1)
    table = cross_validate_alignment(x, rows, penalties=[0.1], settings=few)
    # By chance 1/55 of the triplets lie within a fold of four, 56/220 outside.
    assert table["n_test"].sum() == pytest.approx(400 * 3 * 4 / 220, abs=15)
    assert table["n_train"].mean() == pytest.approx(400 * 56 / 220, rel=0.2)


def test_alignment_without_test_triplets_is_undefined():
    x = np.random.default_rng(0).standard_normal((30, 2))
    table = cross_validate_alignment(x, [[0, 1, 2]], settings=TrainSettings())
    assert table["accuracy"].isna().all()


def test_a_mapped_feature_depends_on_no_other_object():
    x = np.random.default_rng(0).standard_normal((10, 3))
    few = TrainSettings(max_epochs=1)
    fit = fit_alignment(x, draw_triplets(10, 20), penalties=[0.1], settings=few)
    np.testing.assert_allclose(fit.apply(x[4:5]), fit.apply(x)[4:5])
    assert fit.matrix.shape == (3, 3)
    with pytest.raises(ValueError, match="5 triplets"):
        fit_alignment(x, [[0, 1, 2]])
    with pytest.raises(ValueError, match="the same"):
        fit_alignment(np.ones((10, 2)), draw_triplets(10, 20))
