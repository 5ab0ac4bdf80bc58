"""Objectives without labels: loops in float64, limits, invariances, gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurovis.core.rng import generator
from neurovis.fitting.view_losses import distillation, nt_xent, retrieval_accuracy

LOSSES = (nt_xent, distillation)


def draw(n=6, width=5, seed=0, dtype=torch.float64):
    values = generator(seed, "embeddings").standard_normal((2, n, width))
    a, b = torch.from_numpy(values).to(dtype)
    return a, (a + b / 2)


def loop_nt_xent(a, b, temperature):
    views = [row / math.sqrt(sum(v * v for v in row)) for row in (*a, *b)]
    n, total = len(a), 0.0
    for i, view in enumerate(views):
        cosines = [sum(view * other) / temperature for other in views]
        others = [math.exp(c) for k, c in enumerate(cosines) if k != i]
        total -= math.log(math.exp(cosines[(i + n) % (2 * n)]) / sum(others))
    return total / (2 * n)


def loop_retrieval(a, b):
    views = np.concatenate([a, b])
    n, hits = len(a), 0
    for i, view in enumerate(views):
        best, nearest = -2.0, None
        for k, other in enumerate(views):
            cosine = view @ other / np.linalg.norm(view) / np.linalg.norm(other)
            if k != i and cosine > best:
                best, nearest = cosine, k
        hits += nearest == (i + n) % (2 * n)
    return hits / (2 * n)


# ------------------------------------------------------------------- against loops


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_matches_loops(temperature):
    a, b = draw()
    expected = loop_nt_xent(a.numpy(), b.numpy(), temperature)
    assert nt_xent(a, b, temperature).item() == pytest.approx(expected, rel=1e-12)
    single = nt_xent(a.float(), b.float(), temperature)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-5)


def test_distillation_is_one_minus_the_mean_correlation_of_numpy():
    a, b = draw(n=9, width=4)
    r = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.T.numpy(), b.T.numpy(), strict=True)]
    assert distillation(a, b).item() == pytest.approx(1 - np.mean(r), rel=1e-12)


def test_distillation_is_half_the_mean_squared_error_of_standardised_features():
    a, b = draw(n=9, width=4)
    x, y = ((v - v.mean(0)) / v.std(0, correction=0) for v in (a, b))
    half = (x - y).square().mean().item() / 2
    assert distillation(a, b).item() == pytest.approx(half, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_retrieval_accuracy_matches_loops(seed):
    a, b = draw(n=12, width=3, seed=seed)
    found = retrieval_accuracy(a, b)
    assert found == pytest.approx(loop_retrieval(a.numpy(), b.numpy()))
    assert 0 < found < 1


def test_numbers_of_this_version_stay():
    a, b = draw(dtype=torch.float32)
    assert nt_xent(a, b).item() == pytest.approx(0.6470221, rel=1e-5)
    assert distillation(a, b).item() == pytest.approx(0.04878743, rel=1e-5)
    assert retrieval_accuracy(a, b) == pytest.approx(11 / 12)


# ----------------------------------------------------------- symmetry, invariance


@pytest.mark.parametrize("loss", [*LOSSES, retrieval_accuracy])
def test_the_two_batches_may_be_swapped(loss):
    a, b = draw()
    assert float(loss(a, b)) == pytest.approx(float(loss(b, a)), rel=1e-12)


@pytest.mark.parametrize("loss", [*LOSSES, retrieval_accuracy])
@given(order=st.permutations(range(6)), columns=st.permutations(range(5)))
def test_order_of_pictures_and_of_features_does_not_matter(loss, order, columns):
    a, b = draw()
    mixed = loss(a[order][:, columns], b[order][:, columns])
    assert float(mixed) == pytest.approx(float(loss(a, b)), rel=1e-9)


@pytest.mark.parametrize("score", [nt_xent, retrieval_accuracy])
def test_lengths_of_embeddings_do_not_matter(score):
    a, b = draw()
    lengths = torch.tensor([0.1, 1, 3, 10, 50, 1000], dtype=a.dtype)[:, None]
    scaled = score(a * lengths, b * lengths.flip(0))
    assert float(scaled) == pytest.approx(float(score(a, b)), rel=1e-9)


def test_distillation_ignores_gains_and_offsets_of_features():
    a, b = draw()
    gains = torch.tensor([1e-30, 0.1, 1, 10, 1e30])
    found = distillation((a * gains).float(), (b - 3).float()).item()
    assert found == pytest.approx(distillation(a, b).item(), rel=1e-4)


# ------------------------------------------------------------------------- limits


def test_nt_xent_of_equal_orthogonal_views_is_known_in_closed_form():
    a = torch.eye(4, dtype=torch.float64)
    for temperature in (0.05, 0.2, 1.0):
        expected = math.log1p(6 * math.exp(-1 / temperature))
        assert nt_xent(a, a, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_collapsed_embeddings_give_chance():
    same = torch.ones(7, 3) * torch.tensor([0.1, 0.3, -2.0])
    assert nt_xent(same, same).item() == pytest.approx(math.log(13), rel=1e-6)
    assert retrieval_accuracy(same, same) == pytest.approx(1 / 13)


def test_distillation_ends_are_0_for_equal_and_2_for_opposite_features():
    a, _ = draw()
    assert distillation(a, a).item() == pytest.approx(0, abs=1e-12)
    assert distillation(-a, a).item() == pytest.approx(2, rel=1e-12)


def test_distillation_leaves_features_out_that_are_constant_in_either_batch():
    a, b = draw(width=4, dtype=torch.float32)
    expected = distillation(a[:, :2], b[:, :2]).item()
    a[:, 2], b[:, 3] = 0.1, 0.7
    a.requires_grad_()
    loss = distillation(a, b)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert a.grad[:, 2:].eq(0).all()
    assert a.grad[:, :2].ne(0).all()


def test_distillation_of_constant_features_alone_is_undefined():
    assert math.isnan(distillation(torch.ones(3, 2), draw(3, 2)[1]).item())


@pytest.mark.parametrize("loss", [*LOSSES, retrieval_accuracy])
def test_values_that_are_not_finite_are_not_hidden(loss):
    for value in (math.nan, math.inf):
        a, b = draw()
        a[1, 2] = value
        assert math.isnan(float(loss(a, b)))


def test_equal_views_of_distinct_pictures_are_all_found():
    a, _ = draw()
    assert retrieval_accuracy(a, 3 * a) == 1


def test_partners_that_share_the_first_place_count_by_their_part():
    a = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    # Views 0 and 1 have three nearest each, one of them the partner.
    assert retrieval_accuracy(a, a) == pytest.approx((4 / 3 + 2) / 6)


# ---------------------------------------------------------------------- gradients


def test_gradients_of_nt_xent_match_differences():
    a, b = (v.requires_grad_() for v in (0.5 * v for v in draw(4, 3)))
    assert torch.autograd.gradcheck(nt_xent, (a, b))


def test_gradient_of_distillation_matches_differences_and_spares_the_teacher():
    a, b = draw(5, 3)
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: distillation(x, b), (a,))
    b.requires_grad_()
    distillation(a, b).backward()
    assert b.grad is None
    assert a.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_descent_lowers_the_loss(loss):
    a, b = draw(dtype=torch.float32)
    a.requires_grad_()
    before = loss(a, b)
    before.backward()
    after = loss(a.detach() - 0.01 * a.grad, b)
    assert after.item() < before.item()


def test_low_temperatures_stay_finite():
    a, b = draw(dtype=torch.float32)
    a.requires_grad_()
    loss = nt_xent(a, b, temperature=1e-4)
    loss.backward()
    assert math.isfinite(loss.item())
    assert a.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_of_collapsed_embeddings_stay_finite(loss):
    same = torch.full((4, 3), 0.1, requires_grad=True)
    target = torch.full((4, 3), 0.1)
    if loss is distillation:  # one feature that is defined
        with torch.no_grad():
            same[0, 0] = 0.2
            target[:, 0] = torch.arange(4)
    loss(same, target).backward()
    assert same.grad.isfinite().all()


# ---------------------------------------------------------------- precision, checks


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_and_autocast_compute_in_float32(loss):
    a, b = (v.bfloat16() for v in draw())
    expected = loss(a.float(), b.float())
    assert loss(a, b).dtype == torch.float32
    assert torch.equal(loss(a, b), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(a.float(), b.float()), expected)


def test_float64_stays_float64():
    for loss in LOSSES:
        assert loss(*draw()).dtype == torch.float64


@pytest.mark.parametrize("score", [*LOSSES, retrieval_accuracy])
def test_arguments_are_checked(score):
    a, b = draw()
    with pytest.raises(TypeError, match="must be a tensor of floats; got ndarray"):
        score(a.numpy(), b)
    with pytest.raises(TypeError, match=r"tensor of floats; got torch\.int64"):
        score(a, b.long())
    for wrong in (b[:4], b[:, :2], b[0]):
        with pytest.raises(ValueError, match="must have one shape"):
            score(a, wrong)
    for few in (a[:1], a[:, :0]):
        with pytest.raises(ValueError, match="B of 2 or more; got"):
            score(few, few)


def test_the_temperature_is_checked():
    a, b = draw()
    with pytest.raises(ValueError, match="`temperature` must be above 0"):
        nt_xent(a, b, 0)
    with pytest.raises(ValueError, match=r"`temperature` must be within \[0"):
        nt_xent(a, b, math.nan)


def test_inputs_stay_as_they_are():
    a, b = draw()
    before = a.clone(), b.clone()
    for score in (*LOSSES, retrieval_accuracy):
        score(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])
