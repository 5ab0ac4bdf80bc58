"""What every loader of brain data promises, whatever its files look like."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from data_loaders.algonauts import load_algonauts
from data_loaders.betas import load_betas
from data_loaders.bids_betas import load_bids_betas
from data_loaders.nsd import load_nsd
from data_loaders.objects_fmri import load_objects_fmri
from data_loaders.rdm_sets import load_net2brain78, load_objects92
from data_loaders.simulated_algonauts import simulate_algonauts
from data_loaders.simulated_nsd import simulate_nsd
from data_loaders.v4_images import RECORDINGS, load_v4_images
from neurovis.core.files import read_table, sha256_file, write_table
from neurovis.core.pictures import write_png
from neurovis.core.unit_responses import open_responses, save_responses
from stimuli.category_pictures import make_category_pictures

SIMULATED = "simulated"


def load_laboratory(folder, **options):
    """Load the files that `_write_laboratory` wrote."""
    folder = Path(folder)
    pictures = folder / "pictures"
    files = [folder / f"betas_session{i}.npy" for i in (1, 2)]
    return load_betas(files, folder / "events.csv", pictures=pictures, **options)


def _write_laboratory(folder, drawn):
    """Write two sessions of 20 trials, as a laboratory would keep them."""
    folder.mkdir()
    order = []
    for session in (1, 2):
        rng = np.random.default_rng(session)
        np.save(folder / f"betas_session{session}.npy", rng.normal(size=(20, 12)))
        order += [int(i) for i in rng.permutation(np.repeat(np.arange(10), 2))]
    names = drawn.table["stimulus_id"]
    for i in range(10):
        write_png(folder / "pictures" / f"{names[i]}.png", drawn.load(i))
    events = pd.DataFrame({"session": np.repeat([1, 2], 20)})
    write_table(folder / "events.csv", events.assign(stimulus_id=names[order].tolist()))


def _write_bids(folder):
    """Write two runs of 10 trials with 24 voxels, as a BIDS derivative."""
    func = folder / "sub-01" / "func"
    func.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for run in (1, 2):
        stem = f"sub-01_task-images_run-{run}"
        data = rng.normal(size=(4, 3, 2, 10)).astype(np.float32)
        affine = np.diag([1.8, 1.8, 1.8, 1])
        nib.save(nib.Nifti1Image(data, affine), func / f"{stem}_statmap.nii.gz")
        events = pd.DataFrame({"onset": np.arange(10.0), "duration": 3.0})
        events["stimulus_id"] = [f"picture-{i}" for i in rng.permutation(10)]
        events.to_csv(func / f"{stem}_events.tsv", sep="\t", index=False)


# Of each: the loader, its folder, and arguments that follow the folder.
UNIT_LOADERS = {
    "objects_fmri": (load_objects_fmri, "objects_fmri", ()),
    **{
        f"v4_images {name}": (load_v4_images, "v4_images", (name,))
        for name in RECORDINGS
    },
    "v4_images trials": (
        partial(load_v4_images, trials=True),
        "v4_images",
        ("210325",),
    ),
    "nsd": (load_nsd, f"{SIMULATED} nsd", (1,)),
    "nsd trials": (partial(load_nsd, average=False), f"{SIMULATED} nsd", (1,)),
    "nsd surface": (partial(load_nsd, space="fsaverage"), f"{SIMULATED} nsd", (1,)),
    "algonauts": (load_algonauts, f"{SIMULATED} algonauts", (1,)),
    "algonauts test": (
        partial(load_algonauts, split="test"),
        f"{SIMULATED} algonauts",
        (1,),
    ),
    "betas": (load_laboratory, f"{SIMULATED} laboratory", ()),
    "betas trials": (
        partial(load_laboratory, average=False),
        f"{SIMULATED} laboratory",
        (),
    ),
    "bids": (load_bids_betas, f"{SIMULATED} bids", ("01", "images")),
}
RDM_LOADERS = {
    "objects92": (load_objects92, "objects92", ()),
    "net2brain78": (load_net2brain78, "net2brain78", ()),
}


@dataclass
class Loaded:
    """What one loader gave, and the state of its files before."""

    load: object
    folder: Path
    arguments: tuple
    files: dict
    data: object

    def again(self):
        return self.load(str(self.folder), *self.arguments)


def _hashes(folder):
    return {p: sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Folders of simulated data, by name."""
    root = tmp_path_factory.mktemp("simulated")
    drawn = make_category_pictures(500, size_px=16)
    pictures = list(drawn.images)  # drawn once
    small = {"n_subjects": 1, "n_vertices": (162, 162), "picture_px": 16}
    simulate_nsd(
        root / "nsd",
        pictures,
        drawn.table,
        n_sessions=1,
        volume_shape=(10, 12, 10),
        **small,
    )
    simulate_algonauts(
        root / "algonauts",
        pictures,
        drawn.table,
        n_sessions=2,
        n_test_sessions=1,
        **small,
    )
    _write_laboratory(root / "laboratory", drawn)
    _write_bids(root / "bids")
    return root


@pytest.fixture(scope="module")
def cache():
    return {}


def _loaded(name, loaders, cache, request):
    if name not in cache:
        load, place, arguments = loaders[name]
        if place.startswith(SIMULATED):
            root = request.getfixturevalue("simulated")
            folder = root / place.removeprefix(f"{SIMULATED} ")
        else:
            folder = request.getfixturevalue("data_folder") / place
        files = _hashes(folder)
        cache[name] = Loaded(load, folder, arguments, files, load(folder, *arguments))
    return cache[name]


@pytest.fixture(params=UNIT_LOADERS)
def units_loaded(request, cache):
    """Each loader's responses, loaded once."""
    return _loaded(request.param, UNIT_LOADERS, cache, request)


@pytest.fixture(params=RDM_LOADERS)
def rdms_loaded(request, cache):
    """Each loader's matrices, loaded once."""
    return _loaded(request.param, RDM_LOADERS, cache, request)


@pytest.fixture(params=[*UNIT_LOADERS, *RDM_LOADERS])
def loaded(request, cache):
    """Whatever was loaded."""
    return _loaded(request.param, UNIT_LOADERS | RDM_LOADERS, cache, request)


@pytest.fixture
def responses(units_loaded):
    return units_loaded.data


@pytest.fixture
def stack(rdms_loaded):
    return rdms_loaded.data


def _assert_same_responses(one, other):
    np.testing.assert_array_equal(one.betas, other.betas)
    assert one.betas.dtype == other.betas.dtype
    assert_frame_equal(one.stimuli, other.stimuli)
    assert_frame_equal(one.units, other.units)
    for name in ("name", "subject", "families", "response_unit", "notes"):
        assert getattr(one, name) == getattr(other, name)
    assert dict(one.fingerprints) == dict(other.fingerprints)


# ---------------------------------------------------------------------- responses


def test_betas_are_float32_and_finite(responses):
    assert responses.betas.dtype == np.float32
    assert responses.betas.shape == (len(responses), responses.n_units)
    assert min(responses.betas.shape) > 0
    assert np.isfinite(responses.betas).all()
    # No unit is silent, and none is a copy of its neighbour by a wrong stride.
    assert (responses.betas.std(axis=0) > 0).all()


def test_stimuli_and_units_are_identified(responses):
    for table, column in (
        (responses.stimuli, "stimulus_id"),
        (responses.units, "unit_id"),
    ):
        assert str(table[column].dtype) == "str"
        assert (table[column].str.len() > 0).all()
        assert table.index.equals(pd.RangeIndex(len(table)))
        assert not table.columns.duplicated().any()
        # No column of mixed objects: such a table cannot be written.
        assert not [c for c in table if table[c].dtype == object]
    assert responses.units["unit_id"].is_unique
    assert str(responses.stimuli["n_repeats"].dtype) == "int64"
    assert (responses.stimuli["n_repeats"] >= 1).all()
    single = (responses.stimuli["n_repeats"] == 1).all()
    assert responses.is_averaged or single


def test_single_trials_average_to_one_row_per_stimulus(responses):
    averaged = responses.average()
    assert averaged.is_averaged
    counts = responses.stimuli.groupby("stimulus_id")["n_repeats"].sum()
    table = averaged.stimuli.set_index("stimulus_id")["n_repeats"]
    assert table.to_dict() == counts.to_dict()
    if responses.is_averaged:
        order = responses.stimuli["stimulus_id"].argsort().to_numpy()
        np.testing.assert_array_equal(averaged.betas, responses.betas[order])


def test_every_label_is_a_region(responses):
    regions = responses.regions()
    assert tuple(regions) == tuple(responses.families)
    assert any(regions.values()) or not regions
    for family, labels in regions.items():
        for label in labels:
            inside = responses.in_region(f"{family}:{label}")
            assert inside.any()
            assert (responses.units[family][inside] == label).all()
        union = responses.in_region(family)
        assert union.sum() == responses.units[family].isin(labels).sum()


def test_places_lead_back_to_the_units(responses):
    if responses.space is None:
        with pytest.raises(ValueError, match="no known place"):
            responses.to_maps(np.zeros(responses.n_units))
        return
    numbers = np.arange(1.0, responses.n_units + 1)
    maps = responses.to_maps(numbers)
    found = np.concatenate([m[np.isfinite(m)] for m in maps.values()])
    np.testing.assert_array_equal(np.sort(found), numbers)


def test_choosing_rows_and_units_keeps_them_aligned(responses):
    rows, units = np.array([5, 0, 3]), np.array([2, 1])
    part = responses.select_stimuli(rows).select_units(units)
    np.testing.assert_array_equal(
        part.betas, np.asarray(responses.betas)[np.ix_(rows, units)]
    )
    expected = responses.stimuli["stimulus_id"].to_numpy()[rows].tolist()
    assert part.stimuli["stimulus_id"].tolist() == expected
    expected = responses.units["unit_id"].to_numpy()[units].tolist()
    assert part.units["unit_id"].tolist() == expected
    if responses.pictures is not None:
        for i, row in enumerate(rows):
            assert (part.pictures[i] == responses.pictures[int(row)]).all()


def test_what_was_loaded_comes_back_from_disk(responses, tmp_path):
    save_responses(tmp_path, responses)
    back = open_responses(tmp_path, pictures=responses.pictures)
    _assert_same_responses(back, responses)
    assert isinstance(back.betas, np.memmap)
    assert type(back.space) is type(responses.space)
    if responses.space is not None:
        assert back.space.n_units == responses.space.n_units
        for one, other in zip(
            back.to_maps(responses.betas[0]).values(),
            responses.to_maps(responses.betas[0]).values(),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_loading_twice_gives_equal_responses(units_loaded):
    _assert_same_responses(units_loaded.again(), units_loaded.data)


# ----------------------------------------------------------------------- matrices


def test_matrices_are_dissimilarities(stack):
    n = len(stack.stimuli)
    assert stack.rdms.dtype == np.float64
    assert stack.rdms.shape == (len(stack.table), n * (n - 1) // 2)
    assert np.isfinite(stack.rdms).all()
    assert (stack.rdms >= 0).all()
    assert (stack.rdms.std(axis=1) > 0).all()
    full = stack.square()
    np.testing.assert_array_equal(full, full.transpose(0, 2, 1))
    assert (np.diagonal(full, axis1=1, axis2=2) == 0).all()


def test_tables_of_matrices_can_be_written(stack, tmp_path):
    for name, table in (("table", stack.table), ("stimuli", stack.stimuli)):
        assert not [c for c in table if table[c].dtype == object]
        write_table(tmp_path / f"{name}.parquet", table)
        assert_frame_equal(read_table(tmp_path / f"{name}.parquet"), table)
    for column in ("source", "subject", "measure"):
        assert str(stack.table[column].dtype) == "str"
    assert (stack.table["source"].str.len() > 0).all()
    assert not stack.table.duplicated().any()
    assert stack.stimuli["stimulus_id"].is_unique


def test_matrices_are_chosen_by_their_factors(stack):
    for i in (0, len(stack) - 1):
        row = stack.table.iloc[i].to_dict()
        one = stack.select(**row)
        assert len(one) == 1
        np.testing.assert_array_equal(one.rdms[0], stack.rdms[i])


def test_loading_twice_gives_equal_matrices(rdms_loaded):
    again, stack = rdms_loaded.again(), rdms_loaded.data
    np.testing.assert_array_equal(again.rdms, stack.rdms)
    assert_frame_equal(again.table, stack.table)
    assert_frame_equal(again.stimuli, stack.stimuli)
    assert again.fingerprints == stack.fingerprints
    assert again.notes == stack.notes


# ---------------------------------------------------------------------- all of them


def test_pictures_are_read_when_asked_for_and_stay_aligned(loaded):
    data = loaded.data
    if data.pictures is None:
        assert loaded.load in (load_objects_fmri, load_bids_betas)
        return
    assert isinstance(data.pictures, Sequence)
    assert len(data.pictures) == len(data.stimuli)
    for i in (0, len(data.stimuli) // 2, len(data.stimuli) - 1):
        picture = data.pictures[i]
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == 3
        assert picture.std() > 0
        np.testing.assert_array_equal(data.pictures[i], picture)
    last = len(data.stimuli) - 1
    np.testing.assert_array_equal(data.pictures[-1], data.pictures[last])
    np.testing.assert_array_equal(data.pictures[2:5][1], data.pictures[3])
    with pytest.raises(IndexError):
        data.pictures[last + 1]
    # Rows of one stimulus have one picture, rows of two have two.
    identity = data.stimuli["stimulus_id"]
    for row in (1, last):
        same = np.flatnonzero(identity == identity[row])[[0, -1]]
        first, final = (data.pictures[int(i)] for i in same)
        np.testing.assert_array_equal(first, final)
        other = int(np.flatnonzero(identity != identity[row])[0])
        assert not np.array_equal(data.pictures[other], first)


def test_files_that_were_read_are_told_by_content(loaded):
    assert loaded.data.fingerprints
    for name, mark in loaded.data.fingerprints.items():
        assert name
        assert re.fullmatch("[0-9a-f]{64}", mark)


def test_notes_are_sentences_and_tell_what_was_simulated(loaded):
    notes = loaded.data.notes
    assert isinstance(notes, tuple)
    for note in notes:
        assert note.endswith(".")
    assert len(set(notes)) == len(notes)
    told = any("simulat" in note.lower() for note in notes)
    assert told == (loaded.folder / "neurovis_simulation.json").exists()
    lines = loaded.data.describe()
    assert lines[len(lines) - len(notes) :] == [f"note: {note}" for note in notes]
    assert all("\n" not in line for line in lines)


def test_loading_leaves_the_files_as_they_were(loaded):
    loaded.again()
    assert _hashes(loaded.folder) == loaded.files
