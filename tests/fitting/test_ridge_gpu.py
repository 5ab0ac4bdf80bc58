"""Ridge regression on a CUDA device as on the CPU (run by hand: pytest -m gpu)."""

import numpy as np
import pytest
import torch

from neurovis.core.rng import generator
from neurovis.fitting.ridge import (
    RidgeCV,
    fold_scores,
    gcv_errors,
    loo_residuals,
    solve_ridge,
)

ALPHAS = [1.0, 10.0, 100.0, 1000.0]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def make_data(dtype="f8", n=90, p=70, v=300):
    rng = generator(0, "ridge gpu")
    X = rng.standard_normal((n, p)) + 1
    Y = X @ rng.standard_normal((p, v)) + 5 * rng.standard_normal((n, v))
    return X.astype(dtype), Y.astype(dtype)


@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"cv": 4},
        {"cv": 4, "search": "window"},
        {"cv": "loo"},
        {"cv": "loo", "search": "window", "scoring": "r2"},
        {"cv": "gcv"},
        {"cv": 4, "scoring": "correlation"},
        {"cv": 4, "scoring": "r2", "selection": "shared"},
        {"cv": 4, "selection": "conservative"},
        {"cv": [range(0, 90, 3), range(1, 90, 3)], "n_targets_batch": 37},
        {"cv": 4, "fit_intercept": False},
    ],
    ids=str,
)
def test_estimator_gives_the_same_on_cuda(solver, standardize, options):
    X, Y = make_data()
    Y[3, 7], Y[:, 9] = np.nan, 2.0
    both = {"solver": solver, "standardize": standardize, "nan": "omit", **options}
    cpu, cuda = (
        RidgeCV(ALPHAS, device=device, **both).fit(X, Y) for device in ("cpu", "cuda")
    )
    names = ["alphas_", "cv_scores_", "coef_", "intercept_"]
    for name in names + ["dual_coef_"] * (solver == "dual"):
        ours, theirs = getattr(cuda, name), getattr(cpu, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(cuda.predict(X), cpu.predict(X), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(cuda.score(X, Y), cpu.score(X, Y), rtol=1e-8)


@pytest.mark.parametrize("solver", ["dual", "primal"])
def test_functions_give_the_same_on_cuda(solver):
    X, Y = make_data()
    for call in (
        lambda **o: fold_scores(X, Y, ALPHAS, cv=4, **o),
        lambda **o: loo_residuals(X, Y, ALPHAS, **o),
        lambda **o: gcv_errors(X, Y, ALPHAS, **o),
        lambda **o: solve_ridge(X, Y, np.geomspace(1, 100, 300), **o)[0],
        lambda **o: solve_ridge(X, Y, 3.0, **o)[1],
    ):
        cpu, cuda = (call(solver=solver, device=d) for d in ("cpu", "cuda"))
        np.testing.assert_allclose(cuda, cpu, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize("cv", [5, "loo", "gcv"])
def test_tensors_on_cuda_are_taken_and_predictions_come_back_there(solver, cv):
    X, Y = (torch.from_numpy(a).cuda() for a in make_data())
    model = RidgeCV(ALPHAS, cv=cv, solver=solver, device="cuda").fit(X, Y)
    assert model.predict(X).device.type == "cuda"
    assert model.coef_.device.type == model.alphas_.device.type == "cpu"
    across = RidgeCV(ALPHAS, cv=cv, solver=solver, device="cpu").fit(X, Y)
    assert across.predict(X).device.type == "cuda"
    torch.testing.assert_close(model.predict(X), across.predict(X))
    r2 = model.score(X, Y)
    np.testing.assert_allclose(r2, model.score(X.cpu(), Y.cpu()), rtol=1e-9)


@pytest.mark.parametrize("solver", ["dual", "primal"])
def test_float32_on_cuda_is_as_exact_as_on_the_cpu(solver):
    X, Y = make_data("f4")
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True  # must not be used
    try:
        cuda = RidgeCV(ALPHAS, solver=solver, device="cuda").fit(X, Y)
        found = cuda.predict(X)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    exact = RidgeCV(ALPHAS, device="cpu").fit(X.astype("f8"), Y.astype("f8"))
    np.testing.assert_array_equal(cuda.alphas_, exact.alphas_)
    distance = np.linalg.norm(found - exact.predict(X), axis=0)
    assert (distance / np.linalg.norm(found, axis=0)).max() < 5e-5
