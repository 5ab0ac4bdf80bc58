"""Small observers of drawings: they learn, resume, and let gradients through."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from data_loaders.simulated_selectivity import simulate_selective_units
from neurovis.adapters.sketch_generator import CATEGORIES
from neurovis.core.rng import own_torch_stream
from tasks.braindive_observers import (
    Observers,
    encoder_table,
    look_at,
    region_columns,
    to_pixels,
    weak_encoders,
)
from tasks.braindive_scores import METRICS
from tasks.sketch_observers import (
    EMBEDDING,
    LOOKS,
    EmbeddingEncoder,
    SketchLook,
    SketchNetwork,
    fit_embedding_encoder,
    name_classes,
    train_sketch_network,
)
from tasks.sketch_training import draw_sketches

N = 400


@pytest.fixture(scope="module")
def drawings():
    """Drawings to train on, their labels, and others; not to be changed."""
    drawn, table = draw_sketches(N, seed=1)
    labels = table["category"].map(CATEGORIES.index).to_numpy(np.int64)
    others, other_table = draw_sketches(100, seed=2)
    other_labels = other_table["category"].map(CATEGORIES.index).to_numpy(np.int64)
    return drawn, labels, to_pixels(others), other_labels


@pytest.fixture(scope="module")
def network(drawings):
    """A trained network; not to be changed."""
    drawn, labels, *_ = drawings
    return train_sketch_network("judge", drawn, labels, epochs=8, seed=0)


@pytest.fixture(scope="module")
def fitted(drawings, network):
    """Responses to the drawings, and an encoder of them; not to be changed."""
    drawn, labels, *_ = drawings
    pictures = to_pixels(drawn)
    names = [CATEGORIES[i] for i in labels]
    responses = simulate_selective_units(
        pictures, names, regions=CATEGORIES, n_units=6, nuisance_sd=0.0, n_repeats=20
    )
    return responses, fit_embedding_encoder(network, responses, pictures, n_test=100)


def random_network(role="judge", seed=0):
    with own_torch_stream(seed, "random"):
        return SketchNetwork(LOOKS[role], 5).eval().requires_grad_(False)


# --------------------------------------------------------------------- networks


def test_a_short_training_names_categories_of_other_drawings(drawings, network):
    _, _, others, labels = drawings
    shares, embedding = name_classes(network, others)
    assert (shares.argmax(1) == labels).mean() > 0.45  # chance is .2
    assert shares.shape == (100, 5)
    assert shares.dtype == np.float64
    np.testing.assert_allclose(shares.sum(1), 1)
    assert embedding.shape == (100, EMBEDDING)
    untrained, _ = name_classes(random_network(), others)
    assert (untrained.argmax(1) == labels).mean() < 0.45


def test_what_is_seen_does_not_depend_on_the_batch(drawings, network):
    others = np.concatenate([drawings[2]] * 3)  # more than the 256 of one pass
    shares, embedding = name_classes(network, others)
    alone, single = name_classes(network, others[299:])
    np.testing.assert_allclose(shares[299:], alone, atol=1e-6)
    np.testing.assert_allclose(embedding[299:], single, atol=1e-5)
    np.testing.assert_allclose(shares[:100], shares[200:], atol=1e-6)


def test_equal_calls_train_equal_weights_and_kept_ones_are_read(tmp_path, drawings):
    drawn, labels, *_ = drawings
    call = {"epochs": 1, "seed": 3}
    before = torch.get_rng_state()
    first = train_sketch_network("guide", drawn[:100], labels[:100], **call)
    assert torch.equal(torch.get_rng_state(), before)
    kept = train_sketch_network(
        "guide", drawn[:100], labels[:100], folder=tmp_path, **call
    )
    again = train_sketch_network(
        "guide", drawn[:100], labels[:100], folder=tmp_path, **call
    )
    for name, value in first.state_dict().items():
        assert torch.equal(kept.state_dict()[name], value)
        assert torch.equal(again.state_dict()[name], value)
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())
    other = train_sketch_network("guide", drawn[:100], labels[:100], epochs=1, seed=4)
    assert not torch.equal(other.head.weight, first.head.weight)
    with pytest.raises(ValueError, match="pictures"):
        train_sketch_network(
            "guide", drawn[100:200], labels[:100], folder=tmp_path, **call
        )


def test_networks_differ_in_kernel_and_activation():
    assert len({(look.kernel, look.activation) for look in LOOKS.values()}) == 3
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for role, look in LOOKS.items():
        network = random_network(role)
        assert network.layers[0].kernel_size == (look.kernel, look.kernel)
        assert network.embed(x).shape == (2, EMBEDDING)
        torch.testing.assert_close(network(x), network.head(network.embed(x)))
    # Only the guide knows noise.
    assert [role for role, look in LOOKS.items() if look.noise_sd] == ["guide"]


def test_unknown_roles_and_activations_are_refused(drawings):
    drawn, labels, *_ = drawings
    with pytest.raises(ValueError, match="judge"):
        train_sketch_network("juge", drawn, labels)
    with pytest.raises(ValueError, match="activation"):
        SketchLook(3, "tanh")


# --------------------------------------------------------------------- encoders


def test_few_drawings_give_an_encoder_near_what_the_categories_allow(drawings, fitted):
    responses, encoder = fitted
    ceiling = np.sqrt(responses.units["noise_ceiling"].to_numpy())
    assert ceiling.min() > 0.8
    # The network knows about half of the categories; a voxel knows all.
    assert encoder.test_r.mean() > 0.45 * ceiling.mean()
    assert encoder.test_r.shape == (30,)
    names = np.array(CATEGORIES)[drawings[1]]
    hot = (names[:, None] == np.array(CATEGORIES)).astype(float)
    known = Ridge(1e-6).fit(hot[:300], responses.betas[:300]).predict(hot[300:])
    best = [
        np.corrcoef(a, b)[0, 1]
        for a, b in zip(known.T, responses.betas[300:].T, strict=True)
    ]
    assert np.mean(best) == pytest.approx(ceiling.mean(), abs=0.05)
    assert encoder.test_r.mean() < np.mean(best)


def test_the_encoder_is_a_ridge_regression_on_unit_embeddings(
    drawings, network, fitted
):
    responses, encoder = fitted
    pictures = to_pixels(drawings[0])
    _, embedded = name_classes(network, pictures)
    rows = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    predicted = encoder.predict(pictures)
    np.testing.assert_allclose(
        predicted,
        rows @ encoder.coef.numpy() + encoder.intercept.numpy(),
        rtol=1e-4,
        atol=1e-4,
    )
    r = [
        np.corrcoef(a, b)[0, 1]
        for a, b in zip(predicted[300:].T, responses.betas[300:].T, strict=True)
    ]
    np.testing.assert_allclose(encoder.test_r, r, atol=1e-4)
    # Each voxel has one of the penalties: no other data were used.
    for voxel in (0, 17):
        fits = [
            Ridge(10.0**k).fit(rows[:300], responses.betas[:300, voxel]).coef_
            for k in range(-3, 4)
        ]
        gaps = [np.abs(c - encoder.coef.numpy()[:, voxel]).max() for c in fits]
        assert min(gaps) < 0.01 * np.abs(encoder.coef.numpy()[:, voxel]).max()


def test_predictions_of_levels_and_of_tensors_agree(drawings, fitted):
    _, encoder = fitted
    others = drawings[2]
    images = torch.from_numpy(others).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(encoder(images), encoder.predict(others), atol=1e-4)


def test_gradients_of_an_encoder_are_those_of_finite_differences(fitted):
    # In double precision, so that differences can be small.
    _, encoder = fitted
    with own_torch_stream(0, "double"):
        network = SketchNetwork(LOOKS["judge"], 5)
    network.load_state_dict(encoder.network.state_dict())
    double = EmbeddingEncoder(
        network.double().eval().requires_grad_(False),
        encoder.coef.double(),
        encoder.intercept.double(),
        encoder.test_r,
    )
    stream = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 32, 32, generator=stream, dtype=torch.float64)
    image.requires_grad_(True)
    (gradient,) = torch.autograd.grad(double(image)[0, 4], image)
    assert float(gradient.abs().max()) > 1e-4
    for place in ((0, 0, 3, 3), (0, 1, 16, 20), (0, 2, 31, 0)):
        step = torch.zeros_like(image)
        step[place] = 1e-4
        rise = double(image.detach() + step)[0, 4] - double(image.detach() - step)[0, 4]
        assert float(rise) / 2e-4 == pytest.approx(float(gradient[place]), rel=1e-3)


def test_brightness_of_the_embedding_does_not_matter(fitted):
    # The embedding has length 1 before it is weighed.
    _, encoder = fitted
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rows = F.normalize(encoder.network.embed(images), dim=1)
    torch.testing.assert_close(encoder(images), rows @ encoder.coef + encoder.intercept)
    assert encoder(images).shape == (3, 30)


def test_fingerprints_tell_weights_apart(fitted):
    _, encoder = fitted
    same = EmbeddingEncoder(
        encoder.network, encoder.coef.clone(), encoder.intercept, encoder.test_r
    )
    other = EmbeddingEncoder(
        encoder.network, encoder.coef + 1e-3, encoder.intercept, encoder.test_r
    )
    foreign = EmbeddingEncoder(
        random_network(), encoder.coef, encoder.intercept, encoder.test_r
    )
    marks = {e.fingerprint for e in (encoder, other, foreign)}
    assert same.fingerprint == encoder.fingerprint
    assert len(marks) == 3


@pytest.mark.parametrize("n_test", [5, 360])
def test_too_few_pictures_are_refused(drawings, network, fitted, n_test):
    with pytest.raises(ValueError, match="At least 50 pictures to fit and 10 to test"):
        fit_embedding_encoder(network, fitted[0], to_pixels(drawings[0]), n_test=n_test)


def test_pictures_and_responses_must_belong_together(drawings, network, fitted):
    with pytest.raises(ValueError, match="400 rows"):
        fit_embedding_encoder(
            network, fitted[0], to_pixels(drawings[0])[:200], n_test=50
        )


# -------------------------------------------------------------------- observers


def test_all_observers_look_at_images_meant_for_a_region(drawings, network, fitted):
    responses, encoder = fitted
    other = EmbeddingEncoder(
        random_network("brain"), encoder.coef, encoder.intercept, encoder.test_r
    )
    seen = Observers(encoder, other, network, (responses, responses))
    others, labels = drawings[2], drawings[3]
    table, embedding = look_at(others, "body", seen)
    assert list(table.columns) == [*METRICS, "judge_label"]
    columns = responses.units["region"].to_numpy() == "body"
    shares, expected = name_classes(network, others)
    np.testing.assert_allclose(embedding, expected)
    np.testing.assert_allclose(
        table["guide_activation"], encoder.predict(others)[:, columns].mean(1)
    )
    heldout = other.predict(others)
    np.testing.assert_allclose(
        table["heldout_activation"], heldout[:, columns].mean(1), rtol=1e-5
    )
    np.testing.assert_allclose(
        table["off_target_activation"], heldout[:, ~columns].mean(1), atol=1e-5
    )
    hits = shares.argmax(1) == CATEGORIES.index("body")
    np.testing.assert_array_equal(table["judge_accuracy"], hits)
    assert table["judge_label"].tolist() == [CATEGORIES[i] for i in shares.argmax(1)]
    np.testing.assert_allclose(table["judge_confidence"], shares.max(1))
    second, _ = name_classes(other.network, others)
    np.testing.assert_array_equal(
        table["second_judge_accuracy"], second.argmax(1) == CATEGORIES.index("body")
    )
    ends = np.isin(others, (0, 255)).reshape(100, -1).mean(1)
    np.testing.assert_allclose(table["saturated_share"], ends)
    # Of what the judge names rightly, bodies drive the region of bodies most.
    means = [table["guide_activation"][labels == i].mean() for i in range(5)]
    assert int(np.argmax(means)) == CATEGORIES.index("body")


def test_encoders_are_told_beside_their_ceiling(network, fitted):
    responses, encoder = fitted
    weak = EmbeddingEncoder(
        network, encoder.coef, encoder.intercept, 0 * encoder.test_r
    )
    seen = Observers(encoder, weak, network, (responses, responses))
    table = encoder_table(seen).set_index(["encoder", "region"])
    columns = region_columns(responses)
    assert set(columns) == set(CATEGORIES)
    for region, mask in columns.items():
        assert table.loc[("guide", region), "test_r"] == pytest.approx(
            encoder.test_r[mask].mean()
        )
        ceiling = np.sqrt(responses.units["noise_ceiling"][mask]).mean()
        assert table.loc[("held-out", region), "ceiling"] == pytest.approx(ceiling)
    assert table.loc[("guide", "all"), "test_r"] == pytest.approx(encoder.test_r.mean())
    notes = weak_encoders(seen)
    assert "The held-out encoder reaches 0.00 of its ceiling" in notes[-1]
    strong = EmbeddingEncoder(
        network,
        encoder.coef,
        encoder.intercept,
        np.sqrt(responses.units["noise_ceiling"].to_numpy()),
    )
    assert weak_encoders(Observers(strong, strong, network, seen.responses)) == []
