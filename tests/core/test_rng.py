"""Random streams: keyed by identity, independent of everything else."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neurovis.core.rng import generator, spawn_for_item, torch_generator

seeds = st.integers(0, 2**70)
keys = st.lists(st.text(max_size=5) | st.integers(), max_size=4)


@given(seeds, keys)
def test_equal_arguments_give_equal_numbers(seed, keys):
    first = generator(seed, *keys).integers(2**63, size=4)
    np.testing.assert_array_equal(first, generator(seed, *keys).integers(2**63, size=4))


@given(seeds, keys, seeds, keys)
def test_other_arguments_give_other_numbers(seed_a, keys_a, seed_b, keys_b):
    same_keys = [(type(k), k) for k in keys_a] == [(type(k), k) for k in keys_b]
    a, b = (
        generator(seed, *keys).integers(2**63, size=2).tolist()
        for seed, keys in ((seed_a, keys_a), (seed_b, keys_b))
    )
    assert (a == b) == (seed_a == seed_b and same_keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, "a"), (1, "a", "")),
        ((1, "ab"), (1, "a", "b")),
        ((1, "1"), (1, 1)),
        ((1, 2), (12,)),
        ((0,), (0, 0)),
        ((0, "a", "b"), (0, "b", "a")),
    ],
)
def test_keys_that_look_alike_are_kept_apart(one, other):
    assert generator(*one).random() != generator(*other).random()


def test_numbers_are_those_of_today():
    # Fixed so that stimuli and scores of a seed stay what they are.
    assert generator(0).integers(1000, size=3).tolist() == [384, 170, 804]
    assert generator(7, "jitter", 3).integers(1000, size=3).tolist() == [750, 635, 766]
    assert spawn_for_item(7, "trial").integers(1000, size=3).tolist() == [762, 405, 313]
    draws = torch.randint(1000, (3,), generator=torch_generator(7, "noise"))
    assert draws.tolist() == [927, 157, 30]


def test_numpy_whole_numbers_are_as_good_as_plain_ones():
    assert generator(np.int64(3), np.uint8(4)).random() == generator(3, 4).random()


def test_items_draw_the_same_in_any_order_and_grouping():
    items = [f"stimulus-{i}" for i in range(20)]
    forward = {k: spawn_for_item(5, k).normal(size=3) for k in items}
    for k in reversed(items):
        np.testing.assert_array_equal(spawn_for_item(5, k).normal(size=3), forward[k])


def test_items_draw_the_same_in_another_process():
    code = "from neurovis.core.rng import *; print(spawn_for_item(5, 'é').random())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert float(done.stdout) == spawn_for_item(5, "é").random()


def test_an_item_and_a_purpose_of_one_name_differ():
    assert spawn_for_item(0, "a").random() != generator(0, "a").random()


def test_streams_of_neighbouring_items_look_independent_and_uniform():
    draws = np.array([spawn_for_item(0, i).random(2) for i in range(4000)])
    assert stats.kstest(draws[:, 0], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 4 / np.sqrt(4000)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 4 / np.sqrt(4000)


def test_torch_streams_repeat_and_differ_by_key():
    def draw(*keys):
        return torch.rand(4, generator=torch_generator(3, *keys))

    assert torch.equal(draw("a"), draw("a"))
    assert not torch.equal(draw("a"), draw("b"))
    assert torch_generator(3).device == torch.device("cpu")


def test_global_random_states_are_not_touched():
    def states():
        numpy_state = np.random.get_state()  # noqa: NPY002
        return (
            random.getstate(),
            numpy_state[1].tolist(),
            torch.get_rng_state().tolist(),
        )

    before = states()
    generator(1, "a").normal(size=5)
    spawn_for_item(1, "a").normal(size=5)
    torch.rand(3, generator=torch_generator(1, "a"))
    assert states() == before


@pytest.mark.parametrize("make", [generator, torch_generator, spawn_for_item])
def test_seeds_and_keys_of_another_kind_are_refused(make):
    for seed in (1.0, "1", None, True, np.random.default_rng(0)):
        with pytest.raises(TypeError, match="`seed` must be an int"):
            make(seed, "a")
    with pytest.raises(ValueError, match="got -1"):
        make(-1, "a")
    for key in (1.5, None, True, b"a", ("a",)):
        with pytest.raises(TypeError, match="`keys` must be text or whole numbers"):
            make(0, key)


def test_torch_is_not_imported_until_it_is_needed():
    code = (
        "import sys, neurovis.core.rng, neurovis.core.types, neurovis.core.store, "
        "neurovis.core.log, neurovis.core.provenance\n"
        "neurovis.core.rng.generator(0).random()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
