"""OAT trained on simulated searchers, and the weights that come with the suite."""

from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from neurovis.adapters.oat import SHIPPED, load_oat
from neurovis.adapters.oat_network import small_config
from neurovis.adapters.object_tokens import token_nats
from neurovis.adapters.search_policy import SHELF_SEARCHER, simulate_trials
from neurovis.core.files import sha256_json
from neurovis.core.object_scanpaths import ObjectTrial
from neurovis.core.tensors import hash_state_dict
from stimuli.shelf_displays import make_shelves, shelf_displays
from tasks.oat_looks import COVER_SIZE_PX, synthetic_looks
from tasks.oat_pretraining import NOTE, Curriculum, pretrain_oat, searcher_trials
from tasks.object_search_data import trials_fingerprint

pytestmark = pytest.mark.usefixtures("one_set_of_looks")

FEW = Curriculum(n_epochs=2, n_small=1, n_displays=4, n_observers=2)


def grids(trials):
    displays = {t.display.stimulus_id: t.display for t in trials}
    return [(d.rows, d.cols) for d in displays.values()]


# -------------------------------------------------------------------- curriculum


def test_searches_depend_on_epoch_and_seed_only():
    first = trials_fingerprint(searcher_trials(1, FEW, seed=3))
    assert trials_fingerprint(searcher_trials(1, FEW, seed=3)) == first
    others = [searcher_trials(2, FEW, seed=3), searcher_trials(1, FEW, seed=4)]
    assert first not in {trials_fingerprint(trials) for trials in others}
    # The number of epochs does not matter, but for when displays become large.
    longer = replace(FEW, n_epochs=9)
    assert trials_fingerprint(searcher_trials(1, longer, seed=3)) == first


def test_every_searcher_of_an_epoch_searches_every_display_once():
    trials = searcher_trials(0, FEW)
    pairs = {(t.subject, t.display.stimulus_id) for t in trials}
    assert len(pairs) == len(trials) == 4 * 2
    assert {who for who, _ in pairs} == {"sim0", "sim1"}
    assert all(t.display.appearance is None for t in trials)


def test_no_display_comes_in_two_epochs():
    names = [
        {t.display.stimulus_id for t in searcher_trials(epoch, FEW)}
        for epoch in range(4)
    ]
    assert len(set.union(*names)) == 4 * 4


def test_early_epochs_have_small_displays_and_later_ones_large():
    plan = Curriculum(n_epochs=4, n_small=2, n_displays=150, n_observers=1)
    small = grids(searcher_trials(0, plan) + searcher_trials(1, plan))
    assert set(small) == {(r, c) for r in (2, 3) for c in (3, 4, 5)}
    large = grids(searcher_trials(2, plan))
    assert {r for r, _ in large} == {3, 4, 5, 6}
    assert {c for _, c in large} == set(range(7, 15))
    # Half of them, and one in 32 of the others.
    assert 0.4 < large.count((6, 14)) / len(large) < 0.65


def test_targets_are_anywhere_and_searchers_of_many_kinds():
    plan = Curriculum(n_displays=200, n_observers=1)
    shares = [
        t.display.target_cell / t.display.n_cells for t in searcher_trials(99, plan)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.08)
    lengths = [
        np.mean([len(t.cells) for t in searcher_trials(epoch, replace(FEW, n_small=0))])
        for epoch in range(8)
    ]
    assert max(lengths) > 2 * min(lengths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_epochs": 0}, "`n_epochs`"),
        ({"n_small": -1}, "`n_small`"),
        ({"n_displays": 0}, "`n_displays`"),
        ({"n_observers": 0}, "`n_observers`"),
    ],
)
def test_plans_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Curriculum(**changes)


def test_what_the_shipped_weights_were_trained_on_stays_what_it_is():
    trials = searcher_trials(0, FEW) + searcher_trials(1, FEW)
    assert sha256_json([t.cells.tolist() for t in trials])[:16] == "a063f2bd0fb6a2ed"
    levels = np.rint(1e4 * synthetic_looks(0, n=20)).astype(int)
    assert sha256_json(levels.tolist())[:16] == "b221b82dedd122ae"


# ------------------------------------------------------------------ pretraining


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    return folder, *pretrain_oat(folder, curriculum=FEW, seed=1)


def test_pretraining_gives_a_small_network_that_has_seen_no_people(pretrained):
    _, observer, done = pretrained
    config = observer.network.config
    assert config == small_config(appearance="features", n_features=120, dropout=0.0)
    assert observer.knows == "appearance"
    assert observer.max_fixations == 55
    assert observer.notes == (NOTE,)
    assert "no data of people" in NOTE
    assert done.curves["val_nats"].notna().tolist() == [False, True]
    assert (done.n_epochs, done.best_epoch) == (2, 1)


@pytest.mark.slow
def test_pretraining_again_gives_equal_weights(pretrained):
    folder, observer, done = pretrained
    again, once_more = pretrain_oat(curriculum=FEW, seed=1)
    assert again.identity == observer.identity
    assert once_more.curves.equals(done.curves)
    # In its folder it is read and not trained.
    before = (folder / "model.safetensors").stat().st_mtime_ns
    read, _ = pretrain_oat(folder, curriculum=FEW, seed=1)
    assert read.identity == observer.identity
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_with_another_pretraining_is_refused(pretrained):
    folder, _, _ = pretrained
    with pytest.raises(ValueError, match=r"holds a training with .*pretraining"):
        pretrain_oat(folder, curriculum=replace(FEW, n_displays=5), seed=1)


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="`target_position` must be one of"):
        pretrain_oat(target_position="yes", curriculum=FEW)
    with pytest.raises(ValueError, match="`seed` must be within"):
        pretrain_oat(seed=-1, curriculum=FEW)


# -------------------------------------------------------------- shipped weights


@pytest.fixture(scope="module")
def shipped():
    return {name: load_oat(weights=name, device="cpu") for name in SHIPPED}


@pytest.fixture(scope="module")
def displays():
    """Shelves of 84 covers that no network has seen."""
    stimuli = make_shelves(12, rows=6, cols=14, targets_per_shelf=2, seed=77)
    return shelf_displays(stimuli, size_px=COVER_SIZE_PX)


@pytest.fixture(scope="module")
def trials(displays):
    """Searches on them by a rule that was not among those of the training."""
    return simulate_trials(SHELF_SEARCHER, displays, n_observers=3, seed=5)


def share_found(observer, displays, n_samples=4):
    made = observer.sample_displays(displays, n_samples)
    return np.mean(
        [
            path[-1] == display.target_cell
            for display, paths in zip(displays, made, strict=True)
            for path in paths
        ]
    )


def mean_nats(observer, trials, displays):
    of = {display.stimulus_id: display for display in displays}
    moved = [
        ObjectTrial(of[t.display.stimulus_id], t.subject, t.cells, t.xy_px)
        for t in trials
    ]
    return -np.concatenate(observer.log_likelihood(moved)).mean()


def all_alike(display):
    """Every object looks as the target does."""
    looks = np.tile(display.appearance[display.target_cell], (display.n_cells, 1))
    return replace(display, appearance=looks)


def with_other_looks(display):
    """The same covers at other places: another one is searched for."""
    order = np.random.default_rng(1).permutation(display.n_cells)
    return replace(display, appearance=display.appearance[order])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_small_and_say_that_they_are_simulated(shipped, name):
    file = resources.files("neurovis.adapters") / f"oat_{name}.safetensors"
    with resources.as_file(file) as path:
        assert path.stat().st_size <= 5e6
    observer = shipped[name]
    assert observer.notes == (NOTE,)
    assert "simulated searchers" in observer.notes[0]
    assert observer.max_fixations == 55
    told = name.endswith("told")
    assert observer.knows == ("position" if told else "appearance")
    assert observer.network.config == small_config(
        appearance="features",
        n_features=120,
        target_position="true" if told else "none",
        dropout=0.0,
    )


def test_the_untold_network_finds_targets_by_their_look(shipped, displays):
    observer = shipped["shelf-searcher"]
    # Measured .68 with other draws; the searchers .71, at random .01.
    assert share_found(observer, displays) > 0.55
    # Where all objects look alike it finds nothing.
    assert share_found(observer, [all_alike(d) for d in displays]) < 0.1


def test_the_told_network_needs_no_looks(shipped, displays):
    observer = shipped["shelf-searcher-told"]
    assert share_found(observer, displays) > 0.55
    assert share_found(observer, [all_alike(d) for d in displays]) > 0.5


def test_without_looks_the_untold_network_foretells_worse(shipped, displays, trials):
    observer = shipped["shelf-searcher"]
    nats = mean_nats(observer, trials, displays)
    # Measured 3.26 and 3.55; 3.11 of the searcher itself.
    own = np.concatenate([token_nats(SHELF_SEARCHER, t) for t in trials]).mean()
    assert own < nats < own + 0.25
    alike = [all_alike(d) for d in displays]
    assert mean_nats(observer, trials, alike) > nats + 0.15
    # Which covers stand where does not matter, but for the target.
    others = [with_other_looks(d) for d in displays]
    assert mean_nats(observer, trials, others) == pytest.approx(nats, abs=0.03)
    # Who is told where the target is needs them not.
    told = shipped["shelf-searcher-told"]
    nats = mean_nats(told, trials, displays)
    assert own < nats < own + 0.25
    assert mean_nats(told, trials, alike) == pytest.approx(nats, abs=0.05)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shelf-searcher", [-3.7329, -3.0911, -2.2782, -3.4076, -2.0484, -0.7592]),
        ("shelf-searcher-told", [-3.7994, -2.7939, -2.5481, -2.968, -2.4065, -0.646]),
    ],
)
def test_likelihoods_of_shipped_weights_stay_what_they_are(
    shipped, displays, name, expected
):
    display = displays[0]
    trial = ObjectTrial(display, "ann", [30, 31, 31, 17, display.target_cell])
    (found,) = shipped[name].log_likelihood([trial])
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_finite_and_all_different(shipped, name):
    state = shipped[name].network.state_dict()
    assert all(np.isfinite(value.numpy()).all() for value in state.values())
    hashes = {hash_state_dict(each.network.state_dict()) for each in shipped.values()}
    assert len(hashes) == len(SHIPPED)
