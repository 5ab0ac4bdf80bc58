"""Heuristic scanpaths over objects, and simple models of the next one."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.adapters.object_baselines import (
    LONGEST_SAMPLE,
    OBJECT_BASELINES,
    ObjectBaseline,
)
from neurovis.adapters.object_tokens import (
    TOKEN_BASELINES,
    TokenBaseline,
    target_distances,
    token_nats,
)
from neurovis.adapters.object_training import TrainingScanpaths
from neurovis.core.object_displays import ObjectDisplay, regular_display
from neurovis.core.object_scanpaths import (
    KNOWLEDGE,
    FittedScanpathModel,
    ObjectTrial,
    TokenModel,
)

COPIES = ("human_other_collage", "human_nearest_target")
ORACLE_STOP = tuple(k for k in OBJECT_BASELINES if k.endswith("oracle_stop"))
WITH_HUMAN_LENGTH = (*COPIES, "chance_uniform", "centre_gaussian", "density_map")
WITH_HUMAN_START = (
    "nearest_unvisited_oracle_stop",
    "saccade_markov",
    "direct_to_target_oracle",
)


def make_display(name, target, rows=4, cols=5):
    size = (100.0 * cols, 80.0 * rows)
    return regular_display(name, rows=rows, cols=cols, size_px=size, target_cell=target)


def make_trials(rows=4, cols=5, n_displays=6, n_subjects=3, seed=0):
    """Random scanpaths that end on their target in two of three trials."""
    draw = np.random.default_rng(seed)
    trials = []
    for number in range(n_displays):
        target = int(draw.integers(rows * cols))
        display = make_display(f"d{number}", target, rows, cols)
        for subject in range(n_subjects):
            cells = draw.integers(rows * cols, size=draw.integers(1, 9))
            if subject:
                cells[-1] = target
            trials.append(ObjectTrial(display, f"s{subject}", cells))
    return trials


TRIALS = make_trials()
NEW = make_display("new", 13)


def samples(kind, trials=TRIALS, display=NEW, n=20, seed=0):
    made = ObjectBaseline(kind).fit(trials).sample(display, n, seed)
    return [path.tolist() for path in made]


# --------------------------------------------------------------------- displays


@given(
    st.lists(st.floats(-50, 550), min_size=1, max_size=20),
    st.lists(st.floats(-50, 400), min_size=1, max_size=20),
)
def test_a_position_belongs_to_the_object_with_the_nearest_centre(x, y):
    n = min(len(x), len(y))
    x, y = np.array(x[:n]), np.array(y[:n])
    display = ObjectDisplay("d", [40, 130, 410], [20, 100], 500, 300, 0)
    to_centres = np.hypot(
        x[:, None] - display.centres_px[:, 0], y[:, None] - display.centres_px[:, 1]
    )
    found = to_centres[np.arange(n), display.cells_at(x, y)]
    np.testing.assert_allclose(found, to_centres.min(axis=1), atol=1e-9)


def test_centres_are_numbered_row_by_row():
    display = regular_display("d", rows=2, cols=3, size_px=(30, 20), target_cell=5)
    assert display.centres_px.tolist() == [
        *([5, 5], [15, 5], [25, 5]),
        *([5, 15], [15, 15], [25, 15]),
    ]
    assert (display.rows, display.cols, display.n_cells) == (2, 3, 6)


def test_trials_without_positions_lie_at_centres():
    trial = ObjectTrial(NEW, "s", [0, 7])
    assert trial.xy_px.tolist() == [[50, 40], [250, 120]]
    assert trial.tokens.tolist() == [0, 7, 20]


def test_fingerprints_tell_trials_apart():
    first = ObjectTrial(NEW, "s", [0, 7])
    same = ObjectTrial(replace(NEW), "s", np.array([0, 7]))
    others = [
        ObjectTrial(NEW, "t", [0, 7]),
        ObjectTrial(NEW, "s", [7, 0]),
        ObjectTrial(NEW, "s", [0, 7], [[1, 1], [250, 120]]),
        ObjectTrial(replace(NEW, target_cell=12), "s", [0, 7]),
    ]
    assert first.fingerprint == same.fingerprint
    assert len({first.fingerprint, *(t.fingerprint for t in others)}) == 5


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"target_cell": 20}, ValueError, "`target_cell` must be within"),
        ({"col_centres_px": [3, 3]}, ValueError, "`col_centres_px` must grow"),
        ({"row_centres_px": []}, ValueError, "`row_centres_px` must grow"),
        ({"width_px": 0}, ValueError, "`width_px`"),
    ],
)
def test_displays_that_cannot_be_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        replace(NEW, **change)


@pytest.mark.parametrize(
    ("cells", "xy", "error", "words"),
    [
        ([], None, ValueError, "`cells` is empty"),
        ([0, 20], None, ValueError, "objects 0..19; got 0 to 20"),
        ([-1], None, ValueError, "got -1 to -1"),
        ([0.0, 1.0], None, TypeError, "whole numbers; got dtype float64"),
        ([0, 1], [[1, 2]], ValueError, "`xy_px` must have shape"),
        ([0], [[np.nan, 2]], ValueError, "not finite"),
    ],
)
def test_trials_that_cannot_be_are_refused(cells, xy, error, words):
    with pytest.raises(error, match=words):
        ObjectTrial(NEW, "s", cells, xy)


# -------------------------------------------------------------------- statistics


def brute_transitions(trials, rows, cols, smoothing):
    """Counts of displacements by loops, renormalised over objects that exist."""
    counts = Counter()
    for trial in trials:
        for a, b in itertools.pairwise(trial.cells.tolist()):
            counts[b // cols - a // cols, b % cols - a % cols] += 1
    table = np.zeros((rows * cols, rows * cols))
    for a, b in np.ndindex(table.shape):
        step = b // cols - a // cols, b % cols - a % cols
        table[a, b] = counts[step] + smoothing
    return table / table.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("smoothing", [0.05, 1.0])
def test_transitions_are_displacement_counts_over_objects_that_exist(smoothing):
    ours = TrainingScanpaths.of(TRIALS).transitions(smoothing)
    np.testing.assert_allclose(ours, brute_transitions(TRIALS, 4, 5, smoothing))


def test_an_object_without_any_known_way_out_is_left_anywhere():
    # The only displacement known leads out of the grid from the right column.
    trial = ObjectTrial(make_display("d", 0, 1, 3), "s", [0, 1])
    expected = [[0, 1, 0], [0, 0, 1], [1 / 3] * 3]
    np.testing.assert_allclose(TrainingScanpaths.of([trial]).transitions(), expected)


def test_stops_are_counted_off_and_on_the_target():
    display = make_display("d", 3)
    trials = [
        ObjectTrial(display, "a", [3, 1, 3]),
        ObjectTrial(display, "b", [3, 3, 2]),
        ObjectTrial(display, "c", [0]),
    ]
    counts = TrainingScanpaths.of(trials).stop_counts
    assert counts.tolist() == [[2, 3], [1, 4]]  # ends, visits; off, on


# -------------------------------------------------------------------- heuristics


def test_reading_order_goes_row_by_row_to_the_target():
    assert samples("reading_order_oracle_stop", n=1) == [list(range(14))]


def test_snake_order_turns_back_in_every_second_row():
    expected = [*range(5), *range(9, 4, -1), 10, 11, 12, 13]
    assert samples("snake_order_oracle_stop", n=1) == [expected]


@pytest.mark.parametrize("kind", OBJECT_BASELINES)
def test_samples_are_scanpaths_of_the_display(kind):
    made = samples(kind, n=50)
    assert len(made) == 50
    assert all(path and 0 <= min(path) <= max(path) < 20 for path in made)
    if ObjectBaseline(kind).stochastic:
        assert len({tuple(path) for path in made}) > 1
    else:
        assert len({tuple(path) for path in made}) == 1


@pytest.mark.parametrize("kind", ORACLE_STOP)
def test_oracle_stops_visit_each_object_once_and_the_target_last(kind):
    for path in samples(kind, n=50):
        assert len(set(path)) == len(path)
        assert path[-1] == NEW.target_cell


@pytest.mark.parametrize("kind", WITH_HUMAN_LENGTH)
def test_lengths_are_those_of_training_scanpaths(kind):
    known = {len(trial.cells) for trial in TRIALS}
    assert {len(path) for path in samples(kind, n=200)} <= known


@pytest.mark.parametrize("kind", WITH_HUMAN_START)
def test_first_objects_are_those_of_training_scanpaths(kind):
    first = {int(trial.cells[0]) for trial in TRIALS}
    assert {path[0] for path in samples(kind, n=300)} == first


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_training_scanpaths_of_other_displays(kind):
    display = TRIALS[0].display
    others = {
        tuple(t.cells.tolist())
        for t in TRIALS
        if t.display.stimulus_id != display.stimulus_id
    }
    made = {tuple(path) for path in samples(kind, display=display, n=300)}
    assert made <= others
    if kind == "human_other_collage":
        assert made == others


def test_the_nearest_target_is_nearest_in_rows_plus_columns():
    targets = {"far": 0, "near": 8, "as_near": 12, "diagonal": 19}
    trials = [
        ObjectTrial(make_display(name, target), "s", [place])
        for place, (name, target) in enumerate(targets.items())
    ]
    made = samples("human_nearest_target", trials, n=100)
    assert {path[0] for path in made} == {1, 2}  # ties are drawn


def test_nearest_unvisited_goes_to_a_nearest_object_and_draws_ties():
    row, col = np.divmod(np.arange(20), 5)
    seconds = Counter()
    for path in samples("nearest_unvisited_oracle_stop", n=400):
        unvisited = set(range(20))
        for here, there in itertools.pairwise(path):
            unvisited.discard(here)
            distance = np.hypot(row - row[here], col - col[here])
            assert distance[there] == min(distance[i] for i in unvisited)
        if len(path) > 1 and path[0] == TRIALS[0].cells[0]:
            seconds[path[1]] += 1
    assert len(seconds) > 1


def test_direct_scanpaths_have_two_fixations_even_from_the_target():
    trial = ObjectTrial(NEW, "s", [NEW.target_cell])
    assert samples("direct_to_target_oracle", [trial], n=1) == [[13, 13]]


def test_markov_scanpaths_end_on_the_target_or_at_the_limit():
    lengths = Counter()
    for path in samples("saccade_markov", n=300):
        assert len(path) <= LONGEST_SAMPLE
        if len(path) < LONGEST_SAMPLE:
            assert path[-1] == NEW.target_cell
        lengths[len(path) == LONGEST_SAMPLE] += 1
    assert lengths[False] > 0


def test_markov_never_stops_where_people_never_did():
    display = make_display("d", 3)
    trial = ObjectTrial(display, "s", [3, 4, 3, 4])
    made = samples("saccade_markov", [trial], display=display, n=20)
    assert {len(path) for path in made} == {LONGEST_SAMPLE}


def test_markov_moves_as_people_do():
    made = samples("saccade_markov", n=2000)
    counts = np.zeros((20, 20))
    for path in made:
        np.add.at(counts, (path[:-1], path[1:]), 1)
    visits = counts.sum(axis=1, keepdims=True)
    expected = brute_transitions(TRIALS, 4, 5, 0.0)
    error = np.sqrt(expected * (1 - expected) / np.maximum(visits, 1))
    deviation = np.abs(counts / np.maximum(visits, 1) - expected)
    assert (deviation[visits[:, 0] > 50] <= 5 * error[visits[:, 0] > 50] + 1e-12).all()
    assert (visits[:, 0] > 50).sum() > 10


def test_density_and_chance_draw_objects_at_their_rates():
    counts = np.bincount(np.concatenate([t.cells for t in TRIALS]), minlength=20)
    rates = {"density_map": counts / counts.sum(), "chance_uniform": np.full(20, 0.05)}
    for kind, expected in rates.items():
        cells = np.concatenate(samples(kind, n=3000))
        shares = np.bincount(cells, minlength=20) / len(cells)
        error = np.sqrt(expected * (1 - expected) / len(cells))
        assert (np.abs(shares - expected) <= 5 * error + 1e-12).all(), kind


def test_gaussian_recovers_mean_and_covariance_of_positions():
    draw = np.random.default_rng(3)
    display = make_display("d", 0, rows=60, cols=60)
    mean, cov = np.array([0.45, 0.4]), np.array([[0.01, 0.004], [0.004, 0.008]])
    xy = draw.multivariate_normal(mean, cov, 4000) * [6000, 4800]
    cells = display.cells_at(*xy.T)
    trials = [
        ObjectTrial(display, f"{i}", part, where)
        for i, (part, where) in enumerate(
            zip(np.split(cells, 40), np.split(xy, 40), strict=True)
        )
    ]
    made = samples("centre_gaussian", trials, replace(display, stimulus_id="new"), 200)
    row, col = np.divmod(np.concatenate(made), 60)
    found = (np.column_stack([col, row]) + 0.5) / 60
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.005)
    np.testing.assert_allclose(np.cov(found.T), cov, atol=0.001)


def test_gaussian_points_are_drawn_anew_where_they_fall_outside():
    # A Gaussian twice as wide as the display: clipping would fill the edges.
    display = make_display("d", 0, rows=1, cols=10)
    xy = np.column_stack([np.repeat([-600.0, 500.0, 1600.0], 40), np.full(120, 40.0)])
    trial = ObjectTrial(display, "s", np.full(120, 4), xy)
    cells = np.concatenate(samples("centre_gaussian", [trial], display, 50))
    shares = np.bincount(cells, minlength=10) / len(cells)
    assert shares.max() < 0.12
    assert shares.min() > 0.08


@pytest.mark.parametrize("kind", OBJECT_BASELINES)
def test_the_same_seed_gives_the_same_samples_whatever_else_is_asked(kind):
    fitted = ObjectBaseline(kind).fit(TRIALS)
    first = [path.tolist() for path in fitted.sample(NEW, 5, seed=3)]
    fitted.sample(TRIALS[0].display, 4, seed=3)
    assert [path.tolist() for path in fitted.sample(NEW, 9, seed=3)][:5] == first


@pytest.mark.parametrize(
    "kind", [k for k in OBJECT_BASELINES if ObjectBaseline(k).stochastic]
)
def test_other_seeds_and_other_displays_give_other_samples(kind):
    base = samples(kind, n=30)
    assert samples(kind, n=30, seed=1) != base
    assert samples(kind, display=replace(NEW, stimulus_id="other"), n=30) != base


@pytest.mark.parametrize("kind", OBJECT_BASELINES)
def test_the_order_of_training_data_does_not_matter(kind):
    order = np.random.default_rng(1).permutation(len(TRIALS))
    shuffled = [TRIALS[i] for i in order]
    assert samples(kind, shuffled) == samples(kind)


@pytest.mark.parametrize("kind", OBJECT_BASELINES)
def test_validation_data_are_learnt_from_too(kind):
    fitted = ObjectBaseline(kind).fit(TRIALS[:9], TRIALS[9:])
    assert [path.tolist() for path in fitted.sample(NEW, 20)] == samples(kind)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_every_heuristic_works_on_every_grid(rows, cols, seed):
    trials = make_trials(rows, cols, n_displays=3, n_subjects=2, seed=seed)
    display = make_display("new", rows * cols - 1, rows, cols)
    for kind in OBJECT_BASELINES:
        for path in samples(kind, trials, display, n=2, seed=seed):
            assert 0 <= min(path) <= max(path) < rows * cols
    for kind in TOKEN_BASELINES:
        nats = token_nats(TokenBaseline(kind).fit(trials), trials[0])
        assert np.isfinite(nats).all()


# ------------------------------------------------------------------------ tokens


def test_uniform_tokens_have_one_way_less_to_begin():
    fitted = TokenBaseline("uniform_tokens").fit(TRIALS)
    nats = token_nats(fitted, ObjectTrial(NEW, "s", [4, 4, 1]))
    np.testing.assert_allclose(nats, [np.log(20), *[np.log(21)] * 3])


def brute_nats(kind, trials, trial):
    """Nats per token from the definitions, one token after the other."""
    rows, cols, n = 4, 5, 20
    target = trial.display.target_cell
    first = Counter(int(t.cells[0]) for t in trials)
    nats = [-np.log((first[int(trial.cells[0])] + 0.5) / (len(trials) + 0.5 * n))]
    if kind == "unigram_tokens":
        counts = Counter(token for t in trials for token in t.tokens.tolist())
        total = sum(counts.values()) + 0.5 * (n + 1)
        return [*nats, *(-np.log((counts[k] + 0.5) / total) for k in trial.tokens[1:])]
    moves = brute_transitions(trials, rows, cols, 0.05)
    stops, visits = np.zeros((2, 2))
    jumps, starts = Counter(), Counter()

    def distance(cell, goal):
        return int(np.hypot(cell // cols - goal // cols, cell % cols - goal % cols))

    for t in trials:
        goal = t.display.target_cell
        for cell, after in itertools.pairwise(t.tokens.tolist()):
            visits[int(cell == goal)] += 1
            stops[int(cell == goal)] += after == n
            if after != n:
                starts[distance(cell, goal)] += 1
                jumps[distance(cell, goal)] += after == goal
    for cell, after in itertools.pairwise(trial.tokens.tolist()):
        on = int(cell == target)
        stop = (stops[on] + 0.5) / (visits[on] + 1)
        if after == n:
            nats.append(-np.log(stop))
            continue
        chance = moves[cell, after]
        if kind == "displacement_jump_tokens" and not on:
            away = distance(cell, target)
            jump = (jumps[away] + 0.5) / (starts[away] + 10)
            rest = (1 - jump) * chance / (1 - moves[cell, target])
            chance = jump if after == target else rest
        nats.append(-np.log((1 - stop) * chance))
    return nats


@pytest.mark.parametrize("kind", TOKEN_BASELINES[1:])
def test_token_models_match_their_definitions_token_by_token(kind):
    fitted = TokenBaseline(kind).fit(TRIALS[3:])
    for trial in TRIALS[:3]:
        expected = brute_nats(kind, TRIALS[3:], trial)
        np.testing.assert_allclose(token_nats(fitted, trial), expected)


@pytest.mark.parametrize("kind", TOKEN_BASELINES)
def test_token_probabilities_are_distributions_that_cannot_end_at_once(kind):
    fitted = TokenBaseline(kind).fit(TRIALS)
    given_tokens = fitted.token_probabilities(NEW, np.array([0, 13, 13, 7]))
    assert given_tokens.shape == (5, 21)
    assert (given_tokens >= 0).all()
    np.testing.assert_allclose(given_tokens.sum(axis=1), 1)
    assert given_tokens[0, -1] == 0


@pytest.mark.parametrize("kind", TOKEN_BASELINES)
def test_probabilities_depend_on_the_past_only(kind):
    fitted = TokenBaseline(kind).fit(TRIALS)
    whole = fitted.token_probabilities(NEW, np.array([0, 13, 7, 2]))
    part = fitted.token_probabilities(NEW, np.array([0, 13]))
    np.testing.assert_array_equal(whole[:3], part)


def test_tokens_of_the_data_they_were_fitted_on_cost_less_with_more_knowledge():
    means = []
    for kind in TOKEN_BASELINES:
        fitted = TokenBaseline(kind).fit(TRIALS)
        nats = np.concatenate([token_nats(fitted, trial) for trial in TRIALS])
        means.append(nats.mean())
    assert means == sorted(means, reverse=True)


def test_distances_are_euclidean_and_rounded_down():
    row, col = np.divmod(np.arange(84), 14)
    expected = [int(np.hypot(r - 2, c - 5)) for r, c in zip(row, col, strict=True)]
    found = target_distances(np.arange(84), 2 * 14 + 5, cols=14)
    assert found.tolist() == expected


class Wrong:
    """Gives what was put in."""

    def __init__(self, given_tokens):
        self.given_tokens = given_tokens

    def token_probabilities(self, display, cells):
        return self.given_tokens


def test_an_excluded_token_costs_infinitely_many_nats():
    sure = np.zeros((2, 21))
    sure[:, 0] = 1
    nats = token_nats(Wrong(sure), ObjectTrial(NEW, "s", [0]))
    assert nats.tolist() == [0, np.inf]


@pytest.mark.parametrize(
    "wrong", [np.full((2, 20), 0.05), np.full((2, 21), 0.1), np.full((1, 21), 1 / 21)]
)
def test_what_is_no_distribution_over_tokens_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must return \(2, 21\) with rows that sum"):
        token_nats(Wrong(wrong), ObjectTrial(NEW, "s", [0]))


# ------------------------------------------------------------------ all of them


ALL = [ObjectBaseline(k) for k in OBJECT_BASELINES]
ALL += [TokenBaseline(k) for k in TOKEN_BASELINES]


@pytest.mark.parametrize("model", ALL, ids=lambda m: m.kind)
def test_models_say_who_they_are_and_what_they_know(model):
    assert model.name == model.kind
    assert replace(model, label="mine").name == "mine"
    assert model.knows in KNOWLEDGE
    assert [note.startswith(f"{model.name}: ") for note in model.notes] == [True]
    assert replace(model, label="mine").identity == model.identity
    position = "knows where" in model.notes[0]
    assert position == (model.knows == "position")
    fitted = model.fit(TRIALS)
    assert isinstance(fitted, FittedScanpathModel) == (model.kind in OBJECT_BASELINES)
    assert isinstance(fitted, TokenModel) == (model.kind in TOKEN_BASELINES)


@pytest.mark.parametrize("model", ALL, ids=lambda m: m.kind)
def test_what_cannot_be_learnt_from_is_refused(model):
    with pytest.raises(ValueError, match="`training` is empty"):
        model.fit([])
    other = ObjectTrial(make_display("other", 0, 2, 2), "s", [1])
    with pytest.raises(ValueError, match="'other' has 2 x 2"):
        model.fit([*TRIALS, other])


def test_displays_of_another_grid_are_refused():
    small = make_display("small", 0, 2, 2)
    for kind in OBJECT_BASELINES:
        with pytest.raises(ValueError, match="'small' has 2 x 2"):
            samples(kind, display=small)
    for kind in TOKEN_BASELINES:
        fitted = TokenBaseline(kind).fit(TRIALS)
        with pytest.raises(ValueError, match="'small' has 2 x 2"):
            fitted.token_probabilities(small, np.array([0]))


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="`n_samples` must be within"):
        ObjectBaseline("chance_uniform").fit(TRIALS).sample(NEW, 0)


@pytest.mark.parametrize("kind", COPIES)
def test_nothing_to_copy_from_another_display_is_refused(kind):
    with pytest.raises(ValueError, match="All training scanpaths are on 'd0'"):
        samples(kind, TRIALS[:3], display=TRIALS[0].display)


@pytest.mark.parametrize("make", [ObjectBaseline, TokenBaseline])
def test_unknown_kinds_are_refused_with_a_suggestion(make):
    near = {ObjectBaseline: "chance_unifrom", TokenBaseline: "unigram_token"}[make]
    with pytest.raises(ValueError, match="Did you mean"):
        make(near)
