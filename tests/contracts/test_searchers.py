"""What every observer of a search promises, whatever it computes."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from neurovis.adapters import MODELS, load_model
from neurovis.adapters.eccnet import VARIANTS
from neurovis.adapters.search_loop import items_fixated
from neurovis.adapters.trunk_weights import darknet_tiny_shapes
from neurovis.core.files import canonical_json
from neurovis.core.observers import SearchRules, SearchTrial

BACKGROUND = 27
CELL, GRID = 40, 3
SIDE = CELL * GRID
RULES = SearchRules(
    eye_radius_px=SIDE,
    max_saccades=GRID**2 + 1,
    tolerance_px=4,
    background=BACKGROUND,
)
NETWORKS = tuple(VARIANTS)
NEED_A_FILE = tuple(name for name in VARIANTS if VARIANTS[name].weights)


def cells(n_rows=GRID, n_columns=GRID, margin=0):
    """Areas of a grid of cells, row by row."""
    areas = np.zeros((n_rows * n_columns, n_rows * CELL, n_columns * CELL), bool)
    for number, area in enumerate(areas):
        top, left = (CELL * n for n in divmod(number, n_columns))
        area[
            top + margin : top + CELL - margin, left + margin : left + CELL - margin
        ] = 1
    return areas


def make_trial(number, n_columns=GRID, *, natural=False):
    """A display with a random picture in every cell; one of them is the target."""
    draw = np.random.default_rng(number)
    areas = cells(n_columns=n_columns)
    target_cell = int(draw.integers(len(areas)))
    image = np.full((*areas.shape[1:], 3), BACKGROUND, np.uint8)
    for number_of_cell in range(len(areas)):
        top, left = (CELL * n + 8 for n in divmod(number_of_cell, n_columns))
        picture = draw.integers(0, 256, (24, 24, 3), np.uint8)
        image[top : top + 24, left : left + 24] = picture
        if number_of_cell == target_cell:
            target = picture
    return SearchTrial(
        f"display {number}",
        image,
        target,
        areas[target_cell],
        None if natural else areas,
    )


GRIDDED = [make_trial(n) for n in range(4)]
NATURAL = [make_trial(n, natural=True) for n in range(4, 7)]


@pytest.fixture(scope="module")
def observers(tmp_path_factory):
    """Every model by name; those that need a training get a file of numbers."""
    path = tmp_path_factory.mktemp("weights") / "trained.safetensors"
    draw = torch.Generator().manual_seed(0)
    state = {
        name: torch.rand(shape, generator=draw) * 0.2
        for name, shape in darknet_tiny_shapes().items()
    }
    save_file(state, path)
    found = {}
    for name in MODELS:
        options = {}
        if name in NETWORKS:
            options = {"weights": "seeded:0/16", "device": "cpu"}
        if name in NEED_A_FILE:
            options |= {"weights": str(path), "backbone": "darknet_tiny"}
        found[name] = load_model(name, **options)
    return found


@pytest.fixture(scope="module")
def searched(observers):
    """Trials and scanpaths of every observer, computed once per kind of display."""
    return {
        (name, kind): list(
            zip(trials, observers[name].search(trials, RULES, seed=5), strict=True)
        )
        for name in MODELS
        for kind, trials in (("grid", GRIDDED), ("natural", NATURAL))
    }


def pixels(path):
    """Rows and columns of the fixated pixels."""
    rows, columns = path.y_px - 0.5, path.x_px - 0.5
    assert (rows == np.floor(rows)).all()
    assert (columns == np.floor(columns)).all()
    return np.stack([rows, columns], 1).astype(int)


def square(fixation, side):
    """Slices of the square around a fixation, cut at the border."""
    rows, columns = (slice(max(f - side // 2, 0), f + side // 2) for f in fixation)
    return rows, columns


def is_same(one, other):
    return (
        (one.subject, one.stimulus_id, one.found)
        == (other.subject, other.stimulus_id, other.found)
        and np.array_equal(one.x_px, other.x_px)
        and np.array_equal(one.y_px, other.y_px)
    )


every_model = pytest.mark.parametrize("name", MODELS)
every_kind = pytest.mark.parametrize("kind", ["grid", "natural"])


# -------------------------------------------------------------------- fixations


@every_kind
@every_model
def test_there_is_one_scanpath_per_display_in_order(searched, name, kind):
    for trial, path in searched[name, kind]:
        assert (path.subject, path.stimulus_id) == (name, trial.stimulus_id)
        assert len(path) == len(path.y_px) == len(path.duration_ms) >= 1
        assert np.isnan(path.duration_ms).all()
        assert isinstance(path.found, bool)


@every_kind
@every_model
def test_the_first_fixation_is_the_centre(searched, name, kind):
    for trial, path in searched[name, kind]:
        height, width = trial.image.shape[:2]
        assert pixels(path)[0].tolist() == [height // 2, width // 2]


@every_kind
@every_model
def test_no_fixation_leaves_the_display(searched, name, kind):
    for trial, path in searched[name, kind]:
        assert (pixels(path) >= 0).all()
        # The far border is included, as published.
        assert (pixels(path) <= trial.image.shape[:2]).all()


@every_model
def test_no_item_is_visited_twice(searched, name):
    for trial, path in searched[name, "grid"]:
        visited = items_fixated(path, trial.item_areas)[1:].tolist()
        assert 0 not in visited
        assert len(set(visited)) == len(visited) == path.n_saccades


@every_model
def test_no_place_is_visited_twice_without_item_areas(searched, name):
    for trial, path in searched[name, "natural"]:
        inhibited = np.zeros(trial.image.shape[:2], bool)
        for before, after in zip(pixels(path)[:-1], pixels(path)[1:], strict=True):
            inhibited[square(before, RULES.tolerance_px)] = True
            assert not inhibited[tuple(after)]


@every_kind
@every_model
def test_found_means_that_the_target_is_within_the_tolerance(searched, name, kind):
    for trial, path in searched[name, kind]:
        on_target = [
            bool(trial.target_area[square(fixation, RULES.tolerance_px)].any())
            for fixation in pixels(path)
        ]
        if kind == "grid":  # the initial fixation does not count, as published
            on_target[0] = False
        assert path.found == on_target[-1]
        assert not any(on_target[:-1])


@every_model
def test_every_target_on_a_full_grid_is_found(searched, name):
    for _, path in searched[name, "grid"]:
        assert path.found
        assert 1 <= path.n_saccades <= GRID**2


@every_kind
@every_model
def test_a_search_ends_after_the_allowed_saccades(observers, searched, name, kind):
    short = replace(RULES, max_saccades=2)
    trials = [trial for trial, _ in searched[name, kind]]
    for path, (_, full) in zip(
        observers[name].search(trials, short, seed=5), searched[name, kind], strict=True
    ):
        assert path.n_saccades == min(full.n_saccades, 2)
        assert path.found == (full.found and full.n_saccades <= 2)
        np.testing.assert_array_equal(pixels(path), pixels(full)[: len(path)])


@every_model
def test_saccades_reach_no_farther_than_the_eye(observers, name):
    near = replace(RULES, eye_radius_px=45, max_saccades=6)
    for path in observers[name].search(NATURAL[:2], near, seed=5):
        assert np.abs(np.diff(pixels(path), axis=0)).max(initial=0) <= 45


@every_model
def test_a_target_under_the_first_fixation_ends_a_search_without_items(observers, name):
    centre = np.zeros((SIDE, SIDE), bool)
    centre[SIDE // 2 + 1, SIDE // 2 - 1] = True
    trial = SearchTrial("centre", GRIDDED[0].image, GRIDDED[0].target, centre)
    (path,) = observers[name].search([trial], RULES)
    assert (path.n_saccades, path.found) == (0, True)


@every_model
def test_a_bare_display_is_searched_to_the_end(observers, name):
    image = np.full((SIDE, SIDE, 3), BACKGROUND, np.uint8)
    corner = np.zeros((SIDE, SIDE), bool)
    corner[-1, -1] = True
    areas = cells(margin=4)
    for trial in (
        SearchTrial("bare", image, image[:24, :24], corner),
        SearchTrial("bare", image, image[:24, :24], areas[8], areas),
    ):
        (path,) = observers[name].search([trial], RULES, seed=0)
        assert np.isfinite(path.x_px).all()
        assert path.found or path.n_saccades == RULES.max_saccades
        assert (pixels(path) <= SIDE).all()


@every_model
def test_displays_need_not_be_square_nor_equal_in_size(observers, name):
    trials = [make_trial(20 + n, n_columns=n) for n in (2, 3, 4)]
    rules = replace(RULES, eye_radius_px=4 * CELL, max_saccades=12)
    together = observers[name].search(trials, rules, seed=1)
    for trial, path in zip(trials, together, strict=True):
        assert path.found
        height, width = trial.image.shape[:2]
        assert pixels(path)[0].tolist() == [height // 2, width // 2]
        assert is_same(path, observers[name].search([trial], rules, seed=1)[0])


# ------------------------------------------------------------ inputs and streams


@every_model
def test_inputs_are_not_changed(observers, name):
    trials = [make_trial(0), make_trial(4, natural=True)]
    fields = ("image", "target", "target_area", "item_areas")
    before = [
        None if getattr(t, f) is None else getattr(t, f).copy()
        for t in trials
        for f in fields
    ]
    observers[name].search(trials, RULES, seed=5)
    after = [getattr(t, f) for t in trials for f in fields]
    assert all(
        np.array_equal(a, b)
        for a, b in zip(after, before, strict=True)
        if b is not None
    )


@every_kind
@every_model
def test_the_same_seed_gives_the_same_scanpaths(observers, searched, name, kind):
    trials = [trial for trial, _ in searched[name, kind]]
    again = observers[name].search(trials, RULES, seed=5)
    for path, (_, first) in zip(again, searched[name, kind], strict=True):
        assert is_same(path, first)


@every_model
def test_order_and_grouping_of_trials_do_not_matter(observers, searched, name):
    pairs = searched[name, "grid"]
    backwards = observers[name].search([t for t, _ in pairs[::-1]], RULES, seed=5)
    for path, (_, first) in zip(backwards, pairs[::-1], strict=True):
        assert is_same(path, first)
    for trial, first in pairs[:2]:
        assert is_same(observers[name].search([trial], RULES, seed=5)[0], first)


@pytest.mark.parametrize("name", NETWORKS)
def test_searching_in_lockstep_gives_the_scanpaths_of_one_by_one(
    observers, searched, name
):
    model = observers[name]
    together = type(model)(model.trunk, model.variant, device="cpu", batch_size=3)
    pairs = searched[name, "grid"]
    paths = together.search([trial for trial, _ in pairs], RULES)
    for path, (_, first) in zip(paths, pairs, strict=True):
        assert is_same(path, first)


@every_model
def test_global_random_states_are_left_alone(observers, name):
    states = (
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        torch.get_rng_state().tolist(),
    )
    observers[name].search(GRIDDED[:1], RULES, seed=5)
    assert states == (
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        torch.get_rng_state().tolist(),
    )


# ------------------------------------------------------------------- bad input


@every_model
def test_no_displays_are_an_error(observers, name):
    with pytest.raises(ValueError, match="`trials` is empty"):
        observers[name].search([], RULES)


@every_model
def test_an_empty_target_area_is_an_error_before_anything_is_computed(observers, name):
    nowhere = np.zeros((SIDE, SIDE), bool)
    trial = SearchTrial("lost", GRIDDED[0].image, GRIDDED[0].target, nowhere)
    with pytest.raises(ValueError, match="lost: `target_area` is empty"):
        observers[name].search([*GRIDDED, trial], RULES)


@every_model
def test_empty_item_areas_are_an_error(observers, name):
    first = GRIDDED[0]
    for areas in (np.zeros((2, SIDE, SIDE), bool), np.zeros((0, SIDE, SIDE), bool)):
        trial = SearchTrial(
            "bare", first.image, first.target, first.target_area, item_areas=areas
        )
        with pytest.raises(ValueError, match="bare: `item_areas` are empty"):
            observers[name].search([trial], RULES)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"image": np.zeros((SIDE, SIDE, 3))}, TypeError, "`image`.*uint8.*float64"),
        ({"image": np.zeros((SIDE, SIDE), np.uint8)}, ValueError, "`image`.*shape"),
        ({"target": np.zeros((0, 4, 3), np.uint8)}, ValueError, "`target` is empty"),
        (
            {"target_area": np.zeros((SIDE, SIDE), np.uint8)},
            TypeError,
            "`target_area`.*bool.*uint8",
        ),
        ({"target_area": np.ones((4, 4), bool)}, ValueError, r"\(120, 120\); got"),
        ({"item_areas": np.ones((SIDE, SIDE), bool)}, ValueError, r"\(any, 120, 120\)"),
        ({"item_areas": np.ones((2, SIDE, SIDE))}, TypeError, "`item_areas`.*bool"),
    ],
)
def test_displays_of_wrong_kind_or_shape_cannot_be_made(change, error, message):
    first = GRIDDED[0]
    arguments = {
        "stimulus_id": "wrong",
        "image": first.image,
        "target": first.target,
        "target_area": first.target_area,
    }
    with pytest.raises(error, match=message):
        SearchTrial(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eye_radius_px": 0}, "`eye_radius_px`"),
        ({"max_saccades": 0}, "`max_saccades`"),
        ({"tolerance_px": 1}, "`tolerance_px`"),
        ({"background": 256}, "`background`"),
        ({"layer_weighting": "mean"}, "`layer_weighting`.*'mean'"),
        ({"sharpening": ((2, 1.0), (5, 3.0))}, "sharpening.*got 2"),
        ({"px_per_deg": 0.5}, "`px_per_deg`"),
    ],
)
def test_rules_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(RULES, **change)


# --------------------------------------------------------------- name and notes


@every_model
def test_names_are_those_of_the_list_unless_another_is_given(observers, name):
    assert observers[name].name == name


@every_model
def test_random_weights_are_noted_and_nothing_else_is(observers, name):
    expected = ()
    if name in NETWORKS and name not in NEED_A_FILE:
        expected = (f"{name}: untrained weights (seeded:0/16)",)
    assert observers[name].notes == expected


def test_identities_tell_every_two_observers_apart(observers):
    texts = {}
    for name, observer in observers.items():
        texts.setdefault(canonical_json(dict(observer.identity)), []).append(name)
    # These two differ in their weights only, and here share a file.
    same = [names for names in texts.values() if len(names) > 1]
    assert same == [["eccnet-rot90", "eccnet-mnist"]]


def test_an_identity_depends_on_weights_and_not_on_the_label():
    def identity(**options):
        return load_model("eccnet", device="cpu", **options).identity

    first = identity(weights="seeded:0/16")
    assert identity(weights="seeded:0/16", label="mine") == first
    assert identity(weights="seeded:1/16")["weights"] != first["weights"]
    assert identity(weights="seeded:0/16", preprocessing="imagenet") != first


def test_a_label_names_scanpaths_and_notes():
    model = load_model("ivsn", weights="seeded:0/16", device="cpu", label="mine")
    assert model.name == "mine"
    assert model.notes == ("mine: untrained weights (seeded:0/16)",)
    assert model.search(GRIDDED[:1], RULES)[0].subject == "mine"


@pytest.mark.parametrize("name", NEED_A_FILE)
def test_models_of_a_special_training_refuse_random_weights(name):
    with pytest.raises(ValueError, match=f"`{name}` is eccnet with weights trained on"):
        load_model(name, weights="seeded:0/16")


def test_an_unknown_model_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match=r"`model`.*got 'iven'.*Did you mean 'ivsn'"):
        load_model("iven")


# ----------------------------------------------------------------------- chance


def test_chance_needs_half_the_items_on_average():
    n_items, n_trials = GRID**2, 600
    # Gaps between items: no landing beside the target counts.
    areas = cells(margin=4)
    first = GRIDDED[0]
    draw = np.random.default_rng(1)
    trials = [
        SearchTrial(
            f"t{i}", first.image, first.target, areas[draw.integers(n_items)], areas
        )
        for i in range(n_trials)
    ]
    paths = load_model("chance").search(trials, RULES, seed=3)
    counts = np.array([path.n_saccades for path in paths])
    assert all(path.found for path in paths)
    # Without return every rank of the target is equally likely.
    error = np.sqrt((n_items**2 - 1) / 12 / n_trials)
    assert abs(counts.mean() - (n_items + 1) / 2) < 3 * error
    expected = n_trials / n_items
    chi2 = ((np.bincount(counts, minlength=n_items + 1)[1:] - expected) ** 2).sum()
    assert chi2 / expected < 26.1  # 0.1 % of a chi-square of 8 degrees of freedom


def test_chance_depends_on_the_seed_and_on_the_identity_of_the_display():
    chance = load_model("chance")
    first = chance.search(GRIDDED, RULES, seed=0)
    other = chance.search(GRIDDED, RULES, seed=1)
    assert not all(is_same(a, b) for a, b in zip(first, other, strict=True))
    trial = GRIDDED[0]
    renamed = SearchTrial(
        "another", trial.image, trial.target, trial.target_area, trial.item_areas
    )
    again = chance.search([renamed], RULES, seed=0)[0]
    assert not np.array_equal(again.x_px, first[0].x_px)
