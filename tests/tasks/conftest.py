"""Sets, runs and looks that tests of experiments share."""

from functools import cache

import numpy as np
import pytest

from neurovis.core.unit_responses import save_responses
from tasks.rsa import run_rsa
from tests.tasks.rsa_examples import CALL, DATA, FEATURES, make_units, write_objects92


@pytest.fixture(scope="session")
def kept_looks():
    """Covers that networks are trained on, drawn once for each seed."""
    from tasks.oat_looks import N_LOOKS, synthetic_looks

    kept = cache(synthetic_looks)
    return lambda seed, n=N_LOOKS: kept(seed, n).copy()


@pytest.fixture(scope="module")
def one_set_of_looks(kept_looks):
    """Train networks on covers that are drawn once."""
    from tasks import fit_oat, oat_model, oat_pretraining

    with pytest.MonkeyPatch.context() as patch:
        for module in (fit_oat, oat_model, oat_pretraining):
            patch.setattr(module, "synthetic_looks", kept_looks)
        yield


@pytest.fixture(scope="session")
def objects(tmp_path_factory):
    return write_objects92(tmp_path_factory.mktemp("data") / "objects92")


@pytest.fixture(scope="session")
def rsa_run(objects, tmp_path_factory):
    """Features of a network and of colours beside simulated IT; not to be changed."""
    out = tmp_path_factory.mktemp("rsa") / "run"
    sources = ["human IT", "monkey IT"]
    run_rsa(DATA.format(objects), FEATURES, out, source=sources, **CALL)
    return out


@pytest.fixture
def units(tmp_path):
    hidden, responses = make_units()
    save_responses(tmp_path / "units", responses)
    rng = np.random.default_rng(3)
    ids = [f"p{i:02d}" for i in range(30)]
    other = rng.normal(size=(30, 10)).astype(np.float32)
    path = tmp_path / "features.npz"
    np.savez(path, stimulus_id=np.array(ids), hidden=hidden, other=other)
    return f"responses:{tmp_path / 'units'}", f"file:{path}", responses, hidden
