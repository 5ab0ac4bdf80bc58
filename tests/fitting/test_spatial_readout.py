"""Queries as a spatial readout: recovery, and a linear readout of equal size."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV

from neurovis.fitting.spatial_readout import fit_spatial_readout


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 16, 6))
    queries, weights = rng.normal(size=(2, 6)) * 4, rng.normal(size=(2, 6))
    attention = np.exp(np.einsum("mc,bnc->bmn", queries / np.sqrt(6), x))
    attention /= attention.sum(-1, keepdims=True)
    signal = np.einsum("bmn,bnc,mc->bm", attention, x, weights)
    y = 3 + signal + 0.1 * rng.normal(size=signal.shape)
    return x, y, attention


def test_content_that_moves_is_recovered_and_a_linear_readout_of_equal_size_fails(
    simulated,
):
    x, y, attention = simulated
    fit = fit_spatial_readout(x[:400], y[:400])
    predicted = fit.predict(x[400:])
    flat = x.reshape(len(x), -1)
    parts = PCA(fit.n_parameters - 1).fit(flat[:400])
    linear = RidgeCV(np.logspace(-2, 5, 15)).fit(parts.transform(flat[:400]), y[:400])
    other = linear.predict(parts.transform(flat[400:]))
    assert linear.coef_.shape[1] + 1 == fit.n_parameters
    for region in range(2):
        r = np.corrcoef(predicted[:, region], y[400:, region])[0, 1]
        lower = np.corrcoef(other[:, region], y[400:, region])[0, 1]
        assert r > 0.9
        assert r > lower + 0.3
        maps = fit.attention(x[400:])[:, region]
        same = maps.argmax(-1) == attention[400:, region].argmax(-1)
        assert same.mean() > 0.8
    np.testing.assert_allclose(predicted.mean(0), y[400:].mean(0), atol=0.2)


def test_fits_are_repeatable_and_refuse_bad_input(simulated):
    x, y, _ = simulated
    first, again = (
        fit_spatial_readout(x[:50], y[:50], n_epochs=3, seed=2) for _ in range(2)
    )
    np.testing.assert_array_equal(first.queries, again.queries)
    with pytest.raises(ValueError, match="responses"):
        fit_spatial_readout(x[:50], y[:40])
    with pytest.raises(ValueError, match="n_epochs"):
        fit_spatial_readout(x[:50], y[:50], n_epochs=0)
    with pytest.raises(ValueError, match="two pictures"):
        fit_spatial_readout(x[:1], y[:1])
