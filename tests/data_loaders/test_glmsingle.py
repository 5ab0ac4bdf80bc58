"""Outputs of GLMsingle and MATLAB: every layout gives the numbers of the array."""

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from data_loaders import glmsingle
from data_loaders.beta_preparation import BetaPart, Recording, prepare_responses
from data_loaders.betas import load_betas
from data_loaders.glmsingle import open_trials, read_design
from data_loaders.pickled_npy import file_offset, read_pickled_npy
from neurovis.core.brain_space import VolumeSpace
from neurovis.core.errors import DataCorruptError

GRID = (7, 5, 6)
N_TRIALS = 90
BETAS = np.random.default_rng(0).normal(size=(*GRID, N_TRIALS)).astype(np.float32)
AB = list(enumerate("ab"))
FLAT = BETAS.reshape(-1, N_TRIALS, order="F").T  # (trials, units), x fastest


def python_npy(path, betas):
    np.save(path.with_suffix(".npy"), {"betasmd": betas, "R2": betas[..., 0]})
    return path.with_suffix(".npy")


def python_hdf5(path, betas, **options):
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        file.create_dataset("betasmd", data=betas, **options)
        file.create_dataset("xvaltrend", data=h5py.Empty("f"))
        file.create_dataset("R2", data=betas[..., 0])
    return path.with_suffix(".hdf5")


def matlab_73(path, betas):
    with h5py.File(path.with_suffix(".mat"), "w") as file:
        file.create_dataset("modelmd", data=betas.T, chunks=True, compression="gzip")
        file.create_dataset("R2", data=betas[..., 0].T)
    return path.with_suffix(".mat")


def matlab_7(path, betas):
    scipy.io.savemat(path.with_suffix(".mat"), {"modelmd": betas, "R2": betas[..., 0]})
    return path.with_suffix(".mat")


WAYS = {
    "npy": python_npy,
    "npy, columns first": lambda p, b: python_npy(p, np.asfortranarray(b)),
    "npy, big-endian": lambda p, b: python_npy(p, b.astype(">f4")),
    "hdf5": python_hdf5,
    "hdf5 in chunks": lambda p, b: python_hdf5(p, b, chunks=True),
    "hdf5 packed": lambda p, b: python_hdf5(p, b, compression="gzip"),
    "MATLAB 7.3": matlab_73,
    "MATLAB 7": matlab_7,
}


@pytest.mark.parametrize("way", WAYS)
def test_chosen_units_are_those_of_the_array(tmp_path, way):
    file = open_trials(WAYS[way](tmp_path / "TYPED_FITHRF_GLMDENOISE_RR", BETAS))
    assert (file.grid, file.n_trials, file.scale) == (GRID, N_TRIALS, 1.0)
    rng = np.random.default_rng(1)
    for places in (
        np.arange(210),
        np.array([0]),
        np.array([209]),
        np.sort(rng.permutation(210)[:50]),
    ):
        assert np.array_equal(file.read(places), FLAT[:, places])
    rows = np.array([3, 7, 80])
    out = np.empty((4, 3), np.float32)
    file.read_into(out, np.array([1, 7, 8, 200]), rows)
    assert np.array_equal(out, FLAT[np.ix_(rows, [1, 7, 8, 200])].T)


@pytest.mark.parametrize("way", WAYS)
def test_units_without_a_volume_stay_in_their_order(tmp_path, way):
    betas = BETAS.reshape(210, 1, 1, N_TRIALS)
    file = open_trials(WAYS[way](tmp_path / "a", betas))
    assert file.grid == (210,)
    chosen = np.arange(3, 210, 7)
    assert np.array_equal(file.read(chosen), betas[chosen, 0, 0].T)


def test_a_large_array_is_read_from_its_place_in_the_file(tmp_path):
    path = python_npy(tmp_path / "a", BETAS)
    array = read_pickled_npy(path)["betasmd"]
    offset = file_offset(array)
    stored = path.read_bytes()[offset : offset + array.nbytes]
    assert stored == BETAS.tobytes()
    small = read_pickled_npy(python_npy(tmp_path / "b", BETAS[:2, :2, :2]))["betasmd"]
    assert file_offset(small) is None
    file = open_trials(tmp_path / "b.npy")
    assert np.array_equal(file.read([1, 6]), FLAT[:, [1, 7 * 5 + 7]]) is True


@settings(max_examples=60)
@given(data=st.data())
def test_slabs_of_a_packed_file_give_any_units(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "slabs.hdf5"
    if not path.exists():
        python_hdf5(path, BETAS, compression="gzip")
    buffer = data.draw(st.sampled_from([1, 40_000, 10**7]))
    places = data.draw(st.sets(st.integers(0, 209), min_size=1, max_size=60))
    places = np.array(sorted(places))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glmsingle, "BUFFER_BYTES", buffer)
        assert np.array_equal(open_trials(path).read(places), FLAT[:, places])


@pytest.mark.parametrize("buffer", [1, 3000, 10**7])
def test_pieces_of_a_matlab_file_give_all_trials(tmp_path, monkeypatch, buffer):
    file = open_trials(matlab_7(tmp_path / "a", BETAS))
    assert file.is_sequential
    monkeypatch.setattr(glmsingle, "BUFFER_BYTES", buffer)
    places = np.array([0, 5, 100, 209])
    assert np.array_equal(file.read(places), FLAT[:, places])


@pytest.mark.parametrize("way", WAYS)
def test_blocks_of_units_give_the_same_as_all_at_once(tmp_path, way):
    files = tuple(open_trials(WAYS[way](tmp_path / n, BETAS + i)) for i, n in AB)
    places = np.arange(0, 210, 3)
    trials = pd.DataFrame({"file": np.repeat([0, 1], N_TRIALS)})
    trials = trials.assign(session=trials["file"] + 1, row=[*range(N_TRIALS)] * 2)
    trials = trials.assign(stimulus_id=[f"i{t % 60:02d}" for t in range(2 * N_TRIALS)])
    space = VolumeSpace("native", GRID)
    part, units = BetaPart(files, places), space.locate(places)
    recording = Recording("a", "b", (part,), trials, units, space=space)
    whole = prepare_responses(recording)
    blocks = prepare_responses(recording, units_per_block=11, store=tmp_path / "store")
    assert blocks.betas.tobytes() == whole.betas.tobytes()
    chosen = FLAT[:, places].astype(float)
    scored = (chosen - chosen.mean(0)) / chosen.std(0)
    expected = [np.tile(scored, (2, 1))[i::60].mean(0) for i in range(60)]
    np.testing.assert_allclose(whole.betas, expected, atol=3e-6)


def test_other_names_and_axes_are_read_when_told(tmp_path):
    np.save(tmp_path / "a.npy", {"betas_run1": BETAS, "betas_run2": BETAS + 1})
    file = open_trials(tmp_path / "a.npy", dataset="betas_run2")
    assert np.array_equal(file.read([5]), FLAT[:, [5]] + 1)
    with pytest.raises(ValueError, match=r"one of \['betas_run1', 'betas_run2'\]"):
        open_trials(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="Did you mean 'betas_run"):
        open_trials(tmp_path / "a.npy", dataset="betas_run")
    table = {"psc": FLAT, "notes": np.zeros((2, 2))}  # trials x units in MATLAB
    scipy.io.savemat(tmp_path / "b.mat", table)
    file = open_trials(tmp_path / "b.mat", dataset="psc", trials_axis="first")
    assert (file.n_trials, file.grid) == (N_TRIALS, (210,))
    assert np.array_equal(file.read([5, 7]), FLAT[:, [5, 7]])
    file = open_trials(tmp_path / "b.mat", dataset="psc")
    assert (file.n_trials, file.grid) == (210, (N_TRIALS,))
    with h5py.File(tmp_path / "c.mat", "w") as c:
        c.create_dataset("psc", data=FLAT.T)  # how h5py shows it
    file = open_trials(tmp_path / "c.mat", dataset="psc", trials_axis="first")
    assert np.array_equal(file.read([5, 7]), FLAT[:, [5, 7]])


def test_integers_are_divided_by_the_scale(tmp_path):
    stored = (BETAS * 100).astype(np.int16)
    file = open_trials(python_npy(tmp_path / "a", stored), scale=300)
    expected = stored.reshape(-1, N_TRIALS, order="F").T / np.float32(300)
    assert np.array_equal(file.read(np.arange(210)), expected)
    assert file.limits == pytest.approx((-109.2267, 109.2233), abs=1e-4)


@pytest.mark.parametrize("way", ["npy", "hdf5", "MATLAB 7"])
def test_trials_cannot_be_first_where_they_never_are(tmp_path, way):
    path = WAYS[way](tmp_path / "a", BETAS)
    if way == "hdf5":
        # (trials, Z, Y, X) is what "first" says there: another array then.
        assert open_trials(path, trials_axis="first").n_trials == 7
        return
    with pytest.raises(ValueError, match="`trials_axis` cannot be 'first'"):
        open_trials(path, trials_axis="first")


def test_volumes_have_trials_last(tmp_path):
    np.save(tmp_path / "a.npy", BETAS)
    with pytest.raises(ValueError, match=r"np.moveaxis\(array, 0, -1\)"):
        open_trials(tmp_path / "a.npy", trials_axis="first")
    (tmp_path / "a.nii").touch()
    with pytest.raises(ValueError, match="its last axis are trials"):
        open_trials(tmp_path / "a.nii", trials_axis="first")
    with pytest.raises(ValueError, match="must be one of 'first', 'last'"):
        open_trials(tmp_path / "a.npy", trials_axis="middle")


@pytest.mark.parametrize("way", WAYS)
def test_a_cut_file_is_refused(tmp_path, way):
    path = WAYS[way](tmp_path / "a", BETAS)
    content = path.read_bytes()
    for n in (0, 10, 200, len(content) // 2, len(content) - 40_000):
        path.write_bytes(content[:n])
        with pytest.raises(DataCorruptError, match=r"a\.(npy|hdf5|mat)"):
            open_trials(path).read(np.arange(210))


def test_a_file_that_shrinks_after_opening_is_refused(tmp_path):
    for way in ("npy", "hdf5"):
        path = WAYS[way](tmp_path / "a", BETAS)
        file = open_trials(path)
        with path.open("rb+") as cut:
            cut.truncate(30_000)
        with pytest.raises(DataCorruptError, match="truncated"):
            file.read(np.arange(210))


def test_what_is_no_betas_is_refused(tmp_path):
    cases = [
        ({"betasmd": BETAS[0]}, "must hold real numbers"),
        ({"betasmd": BETAS.astype(complex)}, "must hold real numbers"),
        ([BETAS], "the dictionary that GLMsingle saves; it holds a list"),
        ({"betasmd": BETAS[:0]}, "must hold real numbers"),
    ]
    for value, match in cases:
        array = np.empty((), object)
        array[()] = value
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(DataCorruptError, match=match):
            open_trials(tmp_path / "a.npy")


# --------------------------------------------------------------------------- design


def save_design(path, order, per_run, **params):
    design = {
        "design": [np.zeros((4, 3))],
        "stimdur": 3,
        "tr": np.float64(1.6),
        "params": {"pcstop": 1.05, "fracs": np.linspace(1, 0.05, 20), **params},
        "stimorder": [np.int64(c) for c in order],
        "numtrialrun": per_run,
    }
    np.save(path, design)


def test_the_saved_design_tells_the_conditions(tmp_path):
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(30), 3))
    path = tmp_path / "DESIGNINFO.npy"
    save_design(path, order, [40, 50], sessionindicator=np.array([[1, 2]]))
    python_npy(tmp_path / "TYPED_FITHRF_GLMDENOISE_RR", BETAS)
    (tmp_path / "TYPEB_FITHRF.npy").touch()
    found = load_betas(tmp_path, path)
    scored = np.concatenate(
        [(p - p.mean(0)) / p.std(0) for p in np.split(FLAT.astype(float), [40])]
    )
    ids = np.array([f"condition-{c}" for c in order])
    expected = [scored[ids == i].mean(0) for i in np.unique(ids)]
    np.testing.assert_allclose(found.betas, expected, atol=2e-6)
    assert found.stimuli["n_repeats"].tolist() == [3] * 30
    save_design(path, order, [40, 50])
    table = read_design(path)
    assert "session" not in table
    assert table["run"].tolist() == [1] * 40 + [2] * 50


def test_a_design_that_contradicts_itself_is_refused(tmp_path):
    path = tmp_path / "DESIGNINFO.npy"
    save_design(path, [0, 1, 2], [2])
    with pytest.raises(DataCorruptError, match="adds up to another number"):
        read_design(path)
    np.save(path, {"stimorder": [1]})
    with pytest.raises(DataCorruptError, match=r"must be the DESIGNINFO\.npy"):
        read_design(path)
    np.save(path, pd.DataFrame({"a": [1]}).to_numpy())
    with pytest.raises(DataCorruptError, match=r"must be the DESIGNINFO\.npy"):
        read_design(path)
