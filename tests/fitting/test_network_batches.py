"""Batches read ahead: the same in the same order, and no thread that stays."""

import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from neurovis.core.rng import generator
from neurovis.fitting.network_batches import (
    Batches,
    InputBatches,
    ReadAhead,
    are_small,
    read_rows,
)
from neurovis.fitting.network_fit import fit_network, predict_network
from neurovis.fitting.network_parts import ResponseBlocks, check_targets
from neurovis.fitting.train import TrainSettings

FEW = TrainSettings(max_epochs=2, learning_rate=0.01, monitor="loss")


def draw(*shape, seed=0):
    values = generator(seed, "batches", *shape).standard_normal(shape)
    return values.astype(np.float32)


class Reader:
    """Rows that are not in memory; tells which thread read them."""

    def __init__(self, values, fail_at=None):
        self.values, self.shape = values, values.shape
        self.fail_at, self.reads, self.threads = fail_at, [], set()

    def __getitem__(self, rows):
        self.threads.add(threading.current_thread().name)
        self.reads.append(rows.tolist())
        if len(self.reads) == self.fail_at:
            raise OSError("the disk is gone")
        return self.values[rows]


class Items(list):
    """Notes what was made, and whether two were made at once."""

    def __init__(self, items):
        super().__init__(items)
        self.made, self.busy, self.overlaps = [], 0, 0

    def __getitem__(self, index):
        self.busy += 1
        self.overlaps += self.busy > 1
        time.sleep(0.001)
        self.made.append(index)
        self.busy -= 1
        return super().__getitem__(index)


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("read-ahead")]


# ------------------------------------------------------------------- reading ahead


def test_one_item_ahead_is_made_in_order_by_one_thread():
    items = Items("abcde")
    with ReadAhead() as ahead:
        found = ahead.over(items)
        assert len(found) == 5
        assert found[0] == "a"
        assert len(readers()) == 1
        rest = [found[i] for i in range(1, 5)]
        assert rest == list("bcde")
        assert items.made == [0, 1, 2, 3, 4]
        assert list(found) == list("abcde")
    assert items.overlaps == 0
    assert readers() == []


def test_it_can_start_inside_and_jump():
    items = Items("abcde")
    with ReadAhead() as ahead:
        found = ahead.over(items)
        assert [found[3], found[4]] == ["d", "e"]
        assert items.made == [3, 4]
        assert [found[0], found[2]] == ["a", "c"]
    assert items.overlaps == 0


def test_an_error_comes_where_its_item_is_asked_for():
    class Broken(Items):
        def __getitem__(self, index):
            if index == 2:
                raise OSError("the disk is gone")
            return super().__getitem__(index)

    with ReadAhead() as ahead:
        found = ahead.over(Broken("abc"))
        assert [found[0], found[1]] == ["a", "b"]
        with pytest.raises(OSError, match="the disk is gone"):
            found[2]
        assert list(ahead.over(Items("xy"))) == ["x", "y"]
    assert readers() == []


def test_an_interrupted_block_leaves_no_thread():
    with pytest.raises(KeyboardInterrupt), ReadAhead() as ahead:  # noqa: PT012
        assert ahead.over(Items("abc"))[0] == "a"
        raise KeyboardInterrupt
    assert readers() == []


def test_without_a_thread_the_items_are_those_that_were_given():
    items = Items("ab")
    with ReadAhead(is_threaded=False) as ahead:
        assert ahead.over(items) is items


# ------------------------------------------------------------------------- in fits


def test_a_fit_with_a_thread_has_the_bits_of_one_without():
    x, y = draw(60, 3), draw(60, 4, seed=1)
    module = nn.Linear(3, 4)
    lazy = Reader(x)
    with_thread = fit_network(module, lazy, y, settings=FEW, batch_size=7)
    assert all(name.startswith("read-ahead") for name in lazy.threads)
    n_batches = -(-len(with_thread.trained) // 7) + -(-len(with_thread.held) // 28)
    assert len(lazy.reads) == 2 * n_batches  # nothing is read twice or for nothing
    without = fit_network(module, x, y, settings=FEW, batch_size=7)
    assert torch.equal(with_thread.module.weight, without.module.weight)
    assert with_thread.training.curves.equals(without.training.curves)
    rows = [3, 50, 0]
    assert np.array_equal(
        predict_network(module, lazy, rows=rows, batch_size=2),
        predict_network(module, x, rows=rows, batch_size=2),
    )
    assert readers() == []


def test_a_reader_that_fails_ends_the_fit_with_its_error_and_no_thread():
    x, y = draw(60, 3), draw(60, 4, seed=1)
    with pytest.raises(OSError, match="the disk is gone"):
        fit_network(nn.Linear(3, 4), Reader(x, fail_at=5), y, settings=FEW)
    assert readers() == []


class Stops(nn.Linear):
    """Is interrupted in its third call."""

    n_calls = 0

    def forward(self, x):
        type(self).n_calls += 1
        if type(self).n_calls == 3:
            raise KeyboardInterrupt
        return super().forward(x)


def test_an_interrupted_fit_leaves_no_thread():
    x, y = draw(60, 3), draw(60, 4, seed=1)
    with pytest.raises(KeyboardInterrupt):
        fit_network(Stops(3, 4), Reader(x), y, settings=FEW, batch_size=8)
    assert Stops.n_calls == 3
    assert readers() == []


def test_small_arrays_need_no_thread_and_files_do(tmp_path):
    x = np.zeros((10, 3), np.float32)
    assert are_small((x, torch.zeros(10, 2)), 10)
    assert not are_small((x, Reader(x)), 10)
    wide = np.lib.stride_tricks.as_strided(x, (2**15, 2**9), (0, 0))
    assert not are_small((wide,), 2**15)  # 64 MB
    assert are_small((wide,), 2**15 - 1)
    np.save(tmp_path / "x.npy", x)
    assert not are_small((np.load(tmp_path / "x.npy", mmap_mode="r"),), 10)


def test_batches_for_cuda_are_pinned(monkeypatch):
    pinned = []

    def pin(tensor):
        pinned.append(tuple(tensor.shape))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    x, y = draw(6, 3), draw(6, 4)
    batches = Batches((x,), check_targets(y, 6, None), np.arange(6), 4, pin=True)
    assert torch.equal(batches[0].measured, torch.from_numpy(y[:4]))
    assert pinned == [(4, 3), (4, 4), (4,)]
    reads = InputBatches((x,), np.arange(6), 4, pin=True)
    assert [len(values) for (values,) in reads] == [4, 2]
    assert pinned[3:] == [(4, 3), (2, 3)]


def test_what_is_read_keeps_its_order_in_memory():
    tokens = draw(5, 2, 2, 7).transpose(0, 3, 1, 2)  # (n, channels, height, width)

    class View(Reader):
        def __getitem__(self, rows):
            return self.values.transpose(0, 2, 3, 1)[rows].transpose(0, 3, 1, 2)

    (found,) = read_rows((View(tokens),), np.arange(3))
    assert found.flatten(2).transpose(1, 2).is_contiguous()
    np.testing.assert_array_equal(found.numpy(), tokens[:3])


# ------------------------------------------------------------------ several blocks


def side_by_side(blocks):
    n, k = ResponseBlocks(blocks).shape
    whole, row, unit = np.full((n, k), np.nan, np.float32), 0, 0
    for block in blocks:
        rows, units = block.shape
        whole[row : row + rows, unit : unit + units] = block
        row, unit = row + rows, unit + units
    return whole


def make_blocks():
    blocks = (draw(30, 4), draw(20, 3, seed=1), draw(10, 5, seed=2))
    blocks[1][3, 1] = np.nan
    return blocks


def test_blocks_are_the_matrix_that_they_stand_for():
    blocks = make_blocks()
    whole, parts = side_by_side(blocks), np.arange(12) % 3
    found = check_targets(ResponseBlocks(blocks), 60, parts)
    dense = check_targets(whole, 60, parts)
    assert all(
        np.shares_memory(a, b) for a, b in zip(found.blocks, blocks, strict=True)
    )
    assert torch.equal(found.n_measured, dense.n_measured)
    rows = np.array([0, 29, 30, 49, 50, 59, 33])
    np.testing.assert_array_equal(found.take(rows).numpy(), whole[rows])
    np.testing.assert_array_equal(found.take(rows[:2]).numpy(), whole[rows[:2]])


@pytest.mark.parametrize("loss", ["mean", "mean+ccc", "sum"])
def test_a_fit_to_blocks_is_that_to_their_matrix(loss):
    x, blocks = draw(60, 3), make_blocks()
    options = {
        "parts": np.repeat([0, 1, 2], [4, 3, 5]), "loss": loss, "settings": FEW,
        "batch_size": 8, "groups": np.arange(60) % 20, "validation": 0.3,
    }  # fmt: skip
    module = nn.Linear(3, 12)
    found = fit_network(module, x, ResponseBlocks(blocks), **options)
    dense = fit_network(module, x, side_by_side(blocks), **options)
    assert torch.equal(found.module.weight, dense.module.weight)
    np.testing.assert_allclose(
        found.training.curves[["val_loss", "val_r"]],
        dense.training.curves[["val_loss", "val_r"]],
        rtol=1e-6,
    )


def test_wrong_blocks_are_refused():
    x, blocks = draw(60, 3), make_blocks()
    module = nn.Linear(3, 12)
    with pytest.raises(ValueError, match=r"must have shape \(60, n_units\).*\(50, 7\)"):
        fit_network(module, x, ResponseBlocks(blocks[:2]))
    blocks[2][:, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 12 units are NaN.*first is unit 8"):
        fit_network(module, x, ResponseBlocks(blocks))


def test_responses_of_a_file_are_read_where_they_lie(tmp_path):
    x, y = draw(40, 3), draw(40, 4, seed=1)
    np.save(tmp_path / "y.npy", y)
    lazy = np.load(tmp_path / "y.npy", mmap_mode="r")
    targets = check_targets(lazy, 40, None)
    assert np.shares_memory(targets.blocks[0], lazy)
    module = nn.Linear(3, 4)
    one, two = (fit_network(module, x, v, settings=FEW).module for v in (y, lazy))
    assert torch.equal(one.weight, two.weight)
