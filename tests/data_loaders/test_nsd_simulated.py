"""Loading a simulated NSD tree: what is read is what was written."""

import numpy as np
import pandas as pd
import pytest

from data_loaders.nsd import check_nsd, describe_nsd, load_nsd, split_nsd
from data_loaders.nsd_maps import read_map
from data_loaders.nsd_transforms import map_to_fsaverage, map_to_native
from data_loaders.simulated_nsd import simulate_nsd
from neurovis.core.brain_space import HEMISPHERES

FAMILIES = ("prf-visualrois", "floc-faces", "floc-places", "streams")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (950, 16, 16, 3), dtype=np.uint8))
    kinds = np.array(["faces", "bodies", "places", "words", "objects"])
    labels = pd.DataFrame({"category": kinds[np.arange(950) % 5]})
    return simulate_nsd(
        tmp_path_factory.mktemp("simulated") / "nsd",
        pictures,
        labels,
        n_subjects=2,
        n_sessions=(2, 1),
        volume_shape=(8, 10, 8),
        spaces=("func1pt8mm", "fsaverage", "nativesurface"),
        n_vertices=(642, 642),
        picture_px=16,
        n_nan=2,
    )


def truth(tree, space, subject="subj01"):
    path = tree / "neurovis_simulation" / f"{subject}_{space}.parquet"
    return pd.read_parquet(path).set_index("unit_id")


def test_a_simulated_tree_is_whole(tree):
    text = "\n".join(check_nsd(tree))
    assert "2 subjects, 2 sessions" in text
    assert "simulated" in text
    assert "subj01 fsaverage betas_fithrf_GLMdenoise_RR: sessions 1-2, grid (642,)" in (
        text
    )
    assert "subj02 func1pt8mm betas_fithrf_GLMdenoise_RR: sessions 1, grid" in text
    text = "\n".join(describe_nsd(tree, 1, preparation="b3"))
    assert "Natural Scenes Dataset, simulated" in text
    assert "1500 trials of" in text


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage", "nativesurface"])
def test_labels_and_incomplete_units_are_those_of_the_truth(tree, space):
    found = load_nsd(tree, 1, space=space, incomplete="nan", families=FAMILIES)
    units = found.units.set_index("unit_id")
    known = truth(tree, space)
    both = known.index.intersection(units.index)
    assert len(both) == len(known)
    for family in FAMILIES:
        labels = units.loc[both, family].astype(object).fillna("").tolist()
        assert labels == known[family].fillna("").tolist()
        assert len(set(labels)) >= 2
    undefined = set(found.units["unit_id"][np.isnan(found.betas[0])])
    bad = known.index[known["is_incomplete"]]
    assert 1 <= len(bad) <= 3  # of voxels some lie outside cortex
    assert set(bad) & set(both) <= undefined
    dropped = load_nsd(tree, 1, space=space, families=FAMILIES)
    assert set(dropped.units["unit_id"]) == set(units.index) - undefined


def test_responses_recover_the_true_ceiling(tree):
    found = load_nsd(tree, 1, space="fsaverage", regions="nsdgeneral")
    known = truth(tree, "fsaverage").loc[found.units["unit_id"], "ncsnr"].to_numpy()
    computed = found.units["ncsnr"].to_numpy()
    good = (known > 0.4) & np.isfinite(computed)
    assert good.sum() > 30
    assert np.median(computed[good] / known[good]) == pytest.approx(1, abs=0.1)
    assert np.median(computed[known == 0]) < 0.15


def test_pictures_and_shared_ones_are_those_of_the_truth(tree):
    found = {s: load_nsd(tree, s, regions="V1") for s in (1, 2)}
    shared = {
        s: set(r.stimuli.loc[r.stimuli["shared"], "nsd_id"]) for s, r in found.items()
    }
    ids = {s: set(r.stimuli["nsd_id"]) for s, r in found.items()}
    assert ids[1] & ids[2] == shared[1] & shared[2]
    for responses in found.values():
        rows = split_nsd(responses)
        picked = responses.stimuli["shared"].to_numpy()
        assert picked[rows["test"]].all()
        assert not picked[rows["train"]].any()
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (950, 16, 16, 3), dtype=np.uint8)
    for row in (0, 100):
        number = found[1].stimuli["nsd_id"][row]
        np.testing.assert_array_equal(found[1].pictures[row], drawn[number])


def test_labels_moved_to_fsaverage_and_back_agree(tree):
    folder = tree / "nsddata/freesurfer/subj01/label"
    native = {h: read_map(folder / f"{h}.streams.mgz") for h in HEMISPHERES}
    moved = map_to_fsaverage(tree, 1, native)
    assert {h: len(m) for h, m in moved.items()} == {"lh": 642, "rh": 642}
    back = map_to_native(tree, 1, moved)
    for h in HEMISPHERES:
        assert len(back[h]) == len(native[h])
        assert np.mean(back[h] == native[h]) > 0.9
