"""Simulated searchers of known rule over the objects of a display."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from analysis.policy_statistics import policy_statistics
from neurovis.adapters.object_tokens import token_nats
from neurovis.adapters.search_policy import (
    SHELF_SEARCHER,
    SearchPolicy,
    random_policy,
    simulate_trials,
)
from neurovis.core.object_displays import FreeDisplay, ObjectDisplay, regular_display
from neurovis.core.object_scanpaths import FittedScanpathModel, ObjectTrial, TokenModel
from neurovis.core.rng import generator

# No rule is left out: each factor differs from none.
RICH = SearchPolicy(
    start=(0.3, 0.6),
    start_sd=(0.2, 0.3),
    saccade_sd=(0.8, 1.5),
    refixate=0.2,
    inhibition=0.25,
    momentum=0.7,
    guidance=(0.4, 0.2, 0.1),
    stop_on_target=0.5,
    stop_elsewhere=0.05,
    tail=0.3,
    memory=3,
    lapse=0.05,
    max_fixations=12,
)


def grid(name="d", target=7, rows=3, cols=4):
    size = (30.0 * cols, 20.0 * rows)
    return regular_display(name, rows=rows, cols=cols, size_px=size, target_cell=target)


def free(name="f", target=2, n=9, seed=0):
    draw = np.random.default_rng(seed)
    corner = draw.uniform(0, 80, size=(n, 2))
    boxes = np.hstack([corner, corner + draw.uniform(3, 20, size=(n, 2))])
    return FreeDisplay(name, boxes, 100, 100, target)


def as_lists(paths):
    return [path.tolist() for path in paths]


# -------------------------------------------------------------- exact probabilities


def brute_next(policy, display, path):
    """Distribution of the next token from the definition, object by object."""
    n, target, here = display.n_cells, display.target_cell, path[-1]
    places = display.coordinates.tolist()
    stop = policy.stop_on_target if here == target else policy.stop_elsewhere
    if len(path) >= policy.max_fixations:
        stop = 1.0
    jump = 0.0
    if here != target and policy.guidance:
        away = max(1, int(math.dist(places[here], places[target]) + 1e-9))
        jump = policy.guidance[min(away, len(policy.guidance)) - 1]
    known = path[:-1]
    if policy.memory is not None:
        known = known[max(len(known) - policy.memory, 0) :]
    others = [i for i in range(n) if i != here]
    if policy.guidance:
        others = [i for i in others if i != target]
    weights = {}
    for i in others:
        down, right = (b - a for a, b in zip(places[here], places[i], strict=True))
        q = (down / policy.saccade_sd[0]) ** 2 + (right / policy.saccade_sd[1]) ** 2
        weight = (1 - policy.tail) * math.exp(-q / 2)
        weight += policy.tail * math.exp(-math.sqrt(q))
        weight *= policy.inhibition if i in known else 1.0
        if len(path) > 1 and path[-2] != here and math.hypot(down, right) > 0:
            last = [a - b for a, b in zip(places[here], places[path[-2]], strict=True)]
            if math.hypot(*last) > 0:
                angle = math.atan2(down, right) - math.atan2(*last)
                weight *= math.exp(policy.momentum * math.cos(angle))
        weights[i] = weight
    stay = policy.refixate if others else 1.0
    chances = [0.0] * (n + 1)
    chances[n] = stop
    chances[target] += (1 - stop) * jump
    chances[here] += (1 - stop) * (1 - jump) * stay
    for i in others:
        share = (1 - policy.lapse) * weights[i] / sum(weights.values())
        share += policy.lapse / len(others)
        chances[i] += (1 - stop) * (1 - jump) * (1 - stay) * share
    return chances


def brute_first(policy, display):
    weights = []
    for x, y in display.centres_px.tolist():
        down = (y / display.height_px - policy.start[0]) / policy.start_sd[0]
        right = (x / display.width_px - policy.start[1]) / policy.start_sd[1]
        weights.append(math.exp(-(down**2 + right**2) / 2))
    floor = policy.lapse / display.n_cells
    shares = [(1 - policy.lapse) * w / sum(weights) + floor for w in weights]
    return [*shares, 0.0]


VARIANTS = {
    "rich": RICH,
    "round numbers": SHELF_SEARCHER,
    "no guidance": replace(RICH, guidance=()),
    "no memory": replace(RICH, memory=0),
    "no tail": replace(RICH, tail=0),
    "only tail": replace(RICH, tail=1),
    "no momentum": replace(RICH, momentum=0),
    "short": replace(RICH, max_fixations=4),
}


@pytest.mark.parametrize("display", [grid(), free()], ids=["grid", "free"])
@pytest.mark.parametrize("policy", VARIANTS.values(), ids=VARIANTS)
def test_probabilities_match_the_definition_object_by_object(policy, display):
    draw = np.random.default_rng(1)
    paths = draw.integers(display.n_cells, size=(6, 7)).tolist()
    paths += [[display.target_cell] * 3, [1, 1, 2, 2, 1]]
    for path in paths:
        expected = [brute_first(policy, display)]
        expected += [
            brute_next(policy, display, path[:i]) for i in range(1, len(path) + 1)
        ]
        found = policy.token_probabilities(display, path)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_random_searchers_give_distributions_that_match_the_definition(
    seed, rows, cols, any_place
):
    draw = np.random.default_rng(seed)
    n = rows * cols
    target = int(draw.integers(n))
    display = free("f", target, n, seed) if any_place else grid("d", target, rows, cols)
    path = draw.integers(n, size=draw.integers(1, 9)).tolist()
    policy = random_policy(seed)
    found = policy.token_probabilities(display, path)
    assert found.shape == (len(path) + 1, n + 1)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert found[0, -1] == 0
    if n > 2:
        assert (found[1:] > 0).all()
        assert (found[0, :-1] > 0).all()
    np.testing.assert_allclose(found[-1], brute_next(policy, display, path), rtol=1e-9)
    again = SearchPolicy(**json.loads(json.dumps(policy.identity))["search policy"])
    assert again == policy


def test_the_target_is_next_with_exactly_the_probability_of_its_distance():
    display = grid(target=0, rows=1, cols=6)
    for cell, expected in zip(range(1, 6), (0.4, 0.2, 0.1, 0.1, 0.1), strict=True):
        given_tokens = RICH.token_probabilities(display, [cell])[1]
        assert given_tokens[0] / (1 - given_tokens[-1]) == pytest.approx(expected)
        expected_stay = (1 - expected) * RICH.refixate
        stay = given_tokens[cell] / (1 - given_tokens[-1])
        assert stay == pytest.approx(expected_stay)


def test_whole_distances_of_free_displays_survive_rounding():
    size = (2.1, 0.3)
    display = regular_display("d", rows=1, cols=7, size_px=size, target_cell=6)
    places = FreeDisplay("d", display.boxes_px, *size, 6)
    exact = np.hypot(*(places.coordinates - places.coordinates[6]).T)
    assert (exact.astype(int) != np.arange(6, -1, -1)).any()  # 2 became 1.99...
    steps = replace(RICH, guidance=(0.6, 0.5, 0.4, 0.3, 0.2, 0.1))
    for cell in range(7):
        np.testing.assert_allclose(
            steps.token_probabilities(places, [cell]),
            steps.token_probabilities(display, [cell]),
            atol=1e-12,
        )


def test_far_objects_are_reached_even_where_their_weights_underflow():
    display = regular_display("d", rows=1, cols=200, size_px=(200, 1), target_cell=0)
    sharp = replace(RICH, saccade_sd=(0.01, 0.01), tail=0, lapse=0, momentum=0)
    # From 1 the target is excluded from moves: only objects further right are left.
    moves = sharp.token_probabilities(display, [1])[1]
    assert moves[2] == pytest.approx(0.95 * 0.6 * 0.8)


@pytest.mark.parametrize("n", [1, 2])
def test_the_eye_stays_where_no_other_object_is_allowed(n):
    display = grid(target=0, rows=1, cols=n)
    here = n - 1
    found = RICH.token_probabilities(display, [here])[1]
    if n == 1:
        np.testing.assert_allclose(found, [0.5, 0.5])
    else:
        np.testing.assert_allclose(found, [0.95 * 0.4, 0.95 * 0.6, 0.05])


def test_objects_at_one_place_have_no_direction():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10], [20, 20, 30, 30]]
    display = FreeDisplay("d", boxes, 40, 40, 3)
    for path in ([0, 1], [2, 0]):
        found = RICH.token_probabilities(display, path)
        np.testing.assert_allclose(found[-1], brute_next(RICH, display, path))


def test_the_end_is_certain_at_the_longest_length_and_beyond():
    found = replace(RICH, max_fixations=3).token_probabilities(grid(), [0, 1, 2, 3])
    assert found[:3, -1].max() < 1
    assert found[3:].tolist() == [[0.0] * 12 + [1.0]] * 2


def test_probabilities_depend_on_the_past_only():
    whole = RICH.token_probabilities(grid(), [0, 5, 7, 7, 2])
    part = RICH.token_probabilities(grid(), [0, 5, 7])
    np.testing.assert_array_equal(whole[:4], part)


def test_without_guidance_the_target_is_an_object_as_others():
    blind = replace(RICH, guidance=())
    moved = [blind.token_probabilities(grid(target=t), [0, 5]) for t in (7, 10)]
    np.testing.assert_allclose(*moved)


# ------------------------------------------------------------------------- samples


def all_scanpaths(policy, display):
    """Probability of every scanpath, by the product of its tokens."""
    chances = {}
    n, longest = display.n_cells, policy.max_fixations
    for length in range(1, longest + 1):
        for path in itertools.product(range(n), repeat=length):
            given_tokens = policy.token_probabilities(display, path)
            tokens = [*path, n]
            chances[path] = given_tokens[np.arange(length + 1), tokens].prod()
    return chances


@pytest.mark.parametrize("memory", [None, 1])
def test_samples_have_the_probabilities_of_their_tokens(memory):
    display = grid(target=2, rows=1, cols=3)
    policy = replace(RICH, max_fixations=4, memory=memory)
    chances = all_scanpaths(policy, display)
    assert len(chances) == 3 + 9 + 27 + 81
    assert sum(chances.values()) == pytest.approx(1, abs=1e-12)
    n = 20_000
    counts = Counter(tuple(path.tolist()) for path in policy.sample(display, n, seed=4))
    assert set(counts) <= set(chances)
    common = [path for path, chance in chances.items() if n * chance >= 5]
    observed = [counts[path] for path in common]
    expected = [n * chances[path] for path in common]
    observed.append(n - sum(observed))
    expected.append(n - sum(expected))
    assert len(common) > 60
    assert chisquare(observed, expected).pvalue > 0.001


@pytest.mark.parametrize("policy", VARIANTS.values(), ids=VARIANTS)
def test_samples_are_the_inverse_of_summed_token_probabilities(policy):
    for display in (grid(rows=4, cols=6), free(n=20)):
        for number, path in enumerate(policy.sample(display, 40, seed=6)):
            keys = "search policy", display.stimulus_id, number
            uniform = generator(6, *keys).random(policy.max_fixations)
            sums = policy.token_probabilities(display, path).cumsum(axis=1)
            n = min(len(path) + 1, policy.max_fixations)  # the last end is certain
            found = (sums[:n] <= uniform[:n, None]).sum(axis=1)
            assert found.tolist() == [*path.tolist(), display.n_cells][:n]


def test_first_objects_are_drawn_from_their_distribution():
    display = free(n=12)
    counts = np.bincount([p[0] for p in RICH.sample(display, 8000)], minlength=12)
    expected = 8000 * np.array(brute_first(RICH, display)[:-1])
    assert chisquare(counts, expected).pvalue > 0.001


@pytest.mark.parametrize("display", [grid(rows=4, cols=6), free(n=20)])
def test_own_scanpaths_cost_their_entropy(display):
    excess = []
    for path in RICH.sample(display, 1500, seed=2):
        given_tokens = RICH.token_probabilities(display, path)
        logs = np.log(np.where(given_tokens > 0, given_tokens, 1))
        entropy = -(given_tokens * logs).sum()
        nats = token_nats(RICH, ObjectTrial(display, "s", path))
        excess.append(nats.sum() - entropy)
    error = np.std(excess, ddof=1) / np.sqrt(len(excess))
    assert 0 < error < 0.2
    assert abs(np.mean(excess)) < 3 * error


def test_other_searchers_cost_more_nats_than_the_one_who_searched():
    display = grid(rows=4, cols=6)
    trials = simulate_trials(RICH, [display], n_observers=500)

    def nats(policy):
        return np.concatenate([token_nats(policy, t) for t in trials]).mean()

    best = nats(RICH)
    for other in (SHELF_SEARCHER, VARIANTS["no momentum"], VARIANTS["no guidance"]):
        assert nats(replace(other, max_fixations=12)) > best


def test_statistics_of_samples_recover_the_rule():
    """Every rate within 4 binomial standard errors, at a limit that is never met."""
    policy = replace(
        SHELF_SEARCHER, stop_elsewhere=0.03, inhibition=1.0, max_fixations=2000
    )
    displays = [grid(f"d{i}", (37 * i) % 84, 6, 14) for i in range(150)]
    trials = simulate_trials(policy, displays, n_observers=10, seed=1)
    table = policy_statistics(trials).set_index("statistic")
    expected = {
        "target_from_1": 0.45,
        "target_from_2": 0.15,
        "target_from_3": 0.07,
        "target_from_4": 0.04,
        "stop_on_target": 0.4,
        "stop_elsewhere": 0.03,
    }
    for name, rate in expected.items():
        n = table.loc[name, "n"]
        assert n > 500, name
        error = np.sqrt(rate * (1 - rate) / n)
        assert abs(table.loc[name, "value"] - rate) < 4 * error, name
    # Off the target the eye stays if the target did not attract it.
    stays, chances = [], []
    for trial in trials:
        path, goal = trial.cells, trial.display.target_cell
        places = trial.display.coordinates
        away = np.hypot(*(places[path[:-1]] - places[goal]).T).astype(int)
        jump = np.append(0, policy.guidance)[np.minimum(away, 4)]
        stays.extend(path[1:] == path[:-1])
        chances.extend((1 - jump) * policy.refixate)
    stays, chances = np.array(stays), np.array(chances)
    error = np.sqrt((chances * (1 - chances)).mean() / len(stays))
    assert abs(stays.mean() - chances.mean()) < 4 * error
    assert table.loc["refixation", "value"] == pytest.approx(stays.mean())


def test_each_preference_moves_the_statistic_that_it_governs():
    displays = [grid(f"d{i}", (37 * i) % 84, 6, 14) for i in range(40)]

    def statistic(name, **changes):
        policy = replace(SHELF_SEARCHER, **changes)
        trials = simulate_trials(policy, displays, n_observers=5)
        return policy_statistics(trials).set_index("statistic").loc[name, "value"]

    assert statistic("revisit", inhibition=0.02) < statistic("revisit", inhibition=1)
    assert statistic("saccade", tail=1) > statistic("saccade") + 0.5
    assert statistic("saccade_down", saccade_sd=(3, 2.2)) > statistic("saccade_down")
    assert statistic("start_down", start=(0.9, 0.5)) > 0.7
    assert statistic("revisit", memory=0) > statistic("revisit")
    assert statistic("revisit", momentum=2) < statistic("revisit")


# -------------------------------------------------------------------------- streams


@pytest.mark.parametrize("display", [grid(), free()], ids=["grid", "free"])
def test_a_sample_is_the_same_however_many_are_asked(display):
    some = as_lists(RICH.sample(display, 5, seed=3))
    assert as_lists(RICH.sample(display, 700, seed=3))[:5] == some
    assert as_lists(RICH.sample(display, 5, seed=3)) == some
    assert all(path.dtype == np.int64 for path in RICH.sample(display, 2))


def test_other_seeds_displays_and_numbers_give_other_samples():
    base = as_lists(RICH.sample(grid(), 20))
    assert as_lists(RICH.sample(grid(), 20, seed=1)) != base
    assert as_lists(RICH.sample(grid("other"), 20)) != base
    assert len({tuple(path) for path in base}) > 10


def test_observers_on_many_displays_do_as_each_alone():
    displays = [grid("a"), free("b"), grid("c", 3, 2, 2), grid("e", 1), free("g", 4)]
    policies = [RICH, SHELF_SEARCHER, random_policy(0), replace(RICH, guidance=())]
    trials = simulate_trials(policies, displays, seed=5)
    expected = [
        (display.stimulus_id, f"sim{k}", policy.sample(display, k + 1, seed=5)[k])
        for display in displays
        for k, policy in enumerate(policies)
    ]
    assert len(trials) == len(expected)
    for trial, (name, subject, path) in zip(trials, expected, strict=True):
        assert (trial.display.stimulus_id, trial.subject) == (name, subject)
        assert trial.cells.tolist() == path.tolist()


def test_one_policy_serves_all_observers():
    same = simulate_trials([RICH] * 3, [grid()])
    trials = simulate_trials(RICH, [grid()], n_observers=3)
    assert [t.fingerprint for t in trials] == [t.fingerprint for t in same]
    assert as_lists(RICH.sample(grid(), 3)) == as_lists(t.cells for t in trials)
    assert [t.subject for t in simulate_trials(RICH, [grid()])] == ["sim0"]


def test_a_longer_limit_only_prolongs_scanpaths():
    short = as_lists(replace(RICH, max_fixations=3).sample(grid(), 50))
    long = as_lists(RICH.sample(grid(), 50))
    assert short == [path[:3] for path in long]
    assert max(map(len, long)) > 3


def test_scanpaths_end_at_the_longest_length():
    for longest in (1, 5):
        never = replace(RICH, stop_on_target=0, stop_elsewhere=0, max_fixations=longest)
        assert {len(path) for path in never.sample(grid(), 30)} == {longest}


# ----------------------------------------------------------------- what they are


def test_policies_are_fitted_models():
    assert isinstance(RICH, FittedScanpathModel)
    assert isinstance(RICH, TokenModel)


def test_identities_are_json_and_tell_policies_apart():
    text = json.dumps(RICH.identity)
    assert SearchPolicy(**json.loads(text)["search policy"]) == RICH
    assert replace(RICH, tail=0.4).identity != RICH.identity
    scalars = replace(RICH, tail=np.float32(0.5), max_fixations=np.int64(9))
    assert json.loads(json.dumps(scalars.identity))["search policy"]["tail"] == 0.5


def test_random_searchers_lie_in_their_ranges_and_differ():
    many = [random_policy(0, "searcher", i) for i in range(300)]
    assert len(set(many)) == 300
    assert random_policy(0, "searcher", 7) == many[7]
    assert random_policy(1, "searcher", 7) != many[7]
    ranges = {
        "refixate": (0.05, 0.3),
        "inhibition": (0.05, 1),
        "momentum": (0, 1),
        "stop_on_target": (0.2, 0.9),
        "stop_elsewhere": (0.002, 0.04),
        "tail": (0, 0.5),
        "lapse": (0.002, 0.03),
    }
    for name, (low, high) in ranges.items():
        found = np.array([getattr(policy, name) for policy in many])
        assert low <= found.min() <= found.max() <= high
        assert found.min() < low + 0.1 * (high - low)
        assert found.max() > high - 0.1 * (high - low)
    for policy in many:
        assert policy.saccade_sd[0] <= policy.saccade_sd[1]
        assert list(policy.guidance) == sorted(policy.guidance, reverse=True)
    spans = {policy.memory for policy in many}
    assert spans == {None, *range(1, 17)}


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"start": (0.4, 1.2)}, ValueError, r"`start\[1\]` must be within \[0, 1\]"),
        ({"start": (0.4,)}, ValueError, r"`start` must have shape \(2\)"),
        ({"start_sd": (0, 0.1)}, ValueError, r"`start_sd\[0\]` must be within"),
        ({"saccade_sd": (1, -1)}, ValueError, r"`saccade_sd\[1\]` must be within"),
        ({"saccade_sd": 1.0}, ValueError, r"`saccade_sd` must have shape \(2\)"),
        ({"guidance": (0.2, 1.1)}, ValueError, r"`guidance\[1\]` must be within"),
        ({"guidance": 0.2}, ValueError, r"`guidance` must have shape \(any\)"),
        ({"guidance": ("a",)}, TypeError, r"`guidance\[0\]` must be a number"),
        ({"refixate": 1.01}, ValueError, "`refixate` must be within"),
        ({"refixate": None}, TypeError, "`refixate` must be a number"),
        ({"inhibition": 0}, ValueError, "`inhibition` must be within"),
        ({"inhibition": 1.5}, ValueError, "`inhibition` must be within"),
        ({"momentum": -0.1}, ValueError, "`momentum` must be within"),
        ({"momentum": np.inf}, ValueError, "`momentum` must be within"),
        ({"stop_on_target": np.nan}, ValueError, "`stop_on_target` must be within"),
        ({"stop_elsewhere": -1}, ValueError, "`stop_elsewhere` must be within"),
        ({"tail": 2}, ValueError, "`tail` must be within"),
        ({"lapse": 2}, ValueError, "`lapse` must be within"),
        ({"memory": -1}, ValueError, "`memory` must be within"),
        ({"memory": 1.5}, ValueError, "`memory` must be a whole number"),
        ({"max_fixations": 0}, ValueError, "`max_fixations` must be within"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, kind, message):
    with pytest.raises(kind, match=message):
        replace(RICH, **changes)


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(ValueError, match="`n_samples` must be within"):
        RICH.sample(grid(), 0)
    with pytest.raises(ValueError, match="`seed` must be 0 or more"):
        RICH.sample(grid(), 1, seed=-1)
    with pytest.raises(ValueError, match="`cells` must name objects"):
        RICH.token_probabilities(grid(), [12])
    with pytest.raises(ValueError, match="`n_observers` must be within"):
        simulate_trials(RICH, [grid()], n_observers=0)
    with pytest.raises(ValueError, match="got 2 for 3 observers"):
        simulate_trials([RICH] * 2, [grid()], n_observers=3)
    with pytest.raises(ValueError, match="`policy` must be one policy"):
        simulate_trials([], [grid()])
    with pytest.raises(ValueError, match="`displays` must hold at least one"):
        simulate_trials(RICH, [])
    with pytest.raises(ValueError, match=r"each `stimulus_id` once.*'d', 'd'"):
        simulate_trials(RICH, [grid(), grid(target=1)])


def test_displays_are_left_as_they_were():
    display = ObjectDisplay("d", [10, 20, 40], [5, 15], 50, 20, 3)
    places = display.coordinates.copy()
    path = np.array([0, 3, 3])
    RICH.token_probabilities(display, path)
    RICH.sample(display, 10)
    np.testing.assert_array_equal(display.coordinates, places)
    assert path.tolist() == [0, 3, 3]
