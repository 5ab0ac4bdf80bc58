"""Devices, memory, batches and precision."""

import gc
import logging
import os
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurovis.core import device
from neurovis.core.device import (
    AUTO_BATCH,
    autocast_dtype,
    deterministic,
    exact_float32,
    free_memory_bytes,
    in_batches,
    is_out_of_memory,
    resolve,
)

TOO_MUCH = 2**55  # bytes, beyond any address space: the allocator itself refuses
CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA device"
)
needs_no_cuda = pytest.mark.skipif(
    torch.cuda.is_available(), reason="this machine has a CUDA device"
)


def double(batch):
    return [2 * i for i in batch]


def batches_of_at_most(limit, seen):
    """Return a function that doubles, and truly runs out of memory above `limit`."""

    def function(batch):
        seen.append(len(batch))
        if len(batch) > limit:
            torch.empty(TOO_MUCH, dtype=torch.uint8)
        return double(batch)

    return function


# ------------------------------------------------------------------- devices


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu")])
def test_the_cpu_is_always_there(device):
    assert resolve(device) == CPU


@needs_no_cuda
def test_auto_falls_back_to_what_there_is():
    best = "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve("auto").type == best


@needs_no_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda:0")])
def test_a_device_asked_for_by_name_never_falls_back(device):
    with pytest.raises(ValueError, match=r"not available.*device='auto'"):
        resolve(device)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has MPS")
def test_mps_is_refused_where_it_is_absent():
    with pytest.raises(ValueError, match="'mps' is not available"):
        resolve("mps")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cuda:-1", "xpu", "CPU"])
def test_unknown_names_are_refused(device):
    with pytest.raises(ValueError, match="`device` must be"):
        resolve(device)


@pytest.mark.gpu
@needs_cuda
def test_cuda_devices_are_resolved_with_their_index():
    n_devices = torch.cuda.device_count()
    assert resolve("cuda") == torch.device("cuda", torch.cuda.current_device())
    assert resolve("auto").type == "cuda"
    with pytest.raises(ValueError, match=f"are 0 to {n_devices - 1}"):
        resolve(f"cuda:{n_devices}")


def test_mixed_precision_on_the_cpu_is_bfloat16():
    assert autocast_dtype(CPU) == torch.bfloat16


def write_group(folder, names, limit, used, cache):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, (limit, used, f"{cache[0]} {cache[1]}"), strict=True):
        (folder / name).write_text(f"{text}\n")


V2 = ("memory.max", "memory.current", "memory.stat")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_control_group_above_the_process_counts(tmp_path, version):
    groups, mount = tmp_path / "cgroup", tmp_path / "fs"
    names, cache = (
        (V2, "inactive_file") if version == 2 else (V1, "total_inactive_file")
    )
    line = "0::/slurm/job" if version == 2 else "4:cpu,memory:/slurm/job"
    groups.write_text(f"1:name=systemd:/\n{line}\n")
    top = mount if version == 2 else mount / "memory"
    write_group(top / "slurm", names, 1000, 700, (cache, 50))
    write_group(top / "slurm" / "job", names, 900, 100, (cache, 0))
    write_group(top / "other", names, 10, 10, (cache, 0))
    free = device._control_group_memory(groups, mount)
    assert free == 1000 - 700 + 50
    write_group(top / "slurm", names, "max", 700, (cache, 50))
    assert device._control_group_memory(groups, mount) == 800
    # A container shows the group of the process at its top, under another path.
    groups.write_text(line.replace("/slurm/job", "/of/the/host"))
    write_group(top, names, 500, 600, (cache, 0))
    assert device._control_group_memory(groups, mount) == 0
    assert device._control_group_memory(tmp_path / "none", mount) > 2**60


def test_free_memory_lies_between_nothing_and_what_is_built_in():
    built_in = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = free_memory_bytes(CPU)
    assert isinstance(free, int)
    assert 0 < free <= built_in


# ------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("device 0"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("unable to mmap 8 bytes: Cannot allocate memory (12)"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("not enough memory: you tried to allocate"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_a_shortage_of_memory_is_told_from_other_errors(error, short):
    assert is_out_of_memory(error) is short


@given(st.integers(0, 60), st.integers(1, 70), st.integers(1, 70))
def test_results_keep_their_order_whatever_fits(n_items, batch_size, limit):
    seen = []
    items = list(range(n_items))
    found = in_batches(batches_of_at_most(limit, seen), items, batch_size)
    assert found == double(items)
    assert all(size <= batch_size for size in seen)


def test_batches_halve_until_they_fit_and_stay_small(caplog):
    seen = []
    with caplog.at_level(logging.WARNING):
        in_batches(batches_of_at_most(3, seen), list(range(20)), 16)
    assert seen == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    sizes = [int(r.getMessage().split()[-1]) for r in caplog.records]
    assert sizes == [8, 4, 2]


def test_halving_counts_from_the_batch_that_failed():
    seen = []
    in_batches(batches_of_at_most(3, seen), list(range(5)), 1000)
    assert seen == [5, 2, 2, 1]


@pytest.mark.parametrize(
    "run_out",
    [
        lambda: torch.empty(TOO_MUCH, dtype=torch.uint8),
        lambda: np.empty(TOO_MUCH, np.uint8),
        lambda: bytearray(TOO_MUCH),
    ],
    ids=["torch", "numpy", "python"],
)
def test_every_allocator_is_understood_and_one_item_is_the_end(run_out):
    def function(batch):
        run_out()
        return batch

    with pytest.raises(MemoryError, match=r"Item 0 alone does not fit.*smaller input"):
        in_batches(function, [1, 2, 3], 2)


def test_the_item_that_does_not_fit_is_named():
    def function(batch):
        if 6 in batch:
            torch.empty(TOO_MUCH, dtype=torch.uint8)
        return batch

    with pytest.raises(MemoryError, match="Item 6 alone"):
        in_batches(function, list(range(9)), 4)


def test_other_errors_pass_at_once():
    seen = []

    def function(batch):
        seen.append(len(batch))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        in_batches(function, [1, 2, 3, 4], 4)
    assert seen == [4]


def test_what_a_failed_batch_held_is_freed_before_the_next_try():
    held = []

    def function(batch):
        gc.disable()  # reference counts alone must free it
        try:
            assert all(reference() is None for reference in held)
        finally:
            gc.enable()
        large = torch.zeros(10)
        held.append(weakref.ref(large))
        if len(batch) > 1:
            torch.empty(TOO_MUCH, dtype=torch.uint8)
        return double(batch)

    assert in_batches(function, [1, 2, 3, 4], 4) == [2, 4, 6, 8]
    assert len(held) == 6


@pytest.mark.parametrize("wrong", [lambda batch: batch[:-1], lambda batch: [*batch, 0]])
def test_a_function_that_loses_or_adds_results_is_refused(wrong):
    with pytest.raises(ValueError, match="one result per item; it got 3"):
        in_batches(wrong, [1, 2, 3, 4], 3)


def test_auto_starts_small_or_fills_half_of_the_free_memory():
    seen = []
    items = list(range(AUTO_BATCH + 5))
    in_batches(batches_of_at_most(999, seen), items)
    assert seen == [AUTO_BATCH, 5]
    seen.clear()
    in_batches(batches_of_at_most(999, seen), items, item_bytes=1)
    assert seen == [AUTO_BATCH + 5]
    seen.clear()
    in_batches(batches_of_at_most(999, seen), items[:3], item_bytes=TOO_MUCH)
    assert seen == [1, 1, 1]


def test_tensors_are_cut_and_returned_row_by_row():
    items = torch.arange(12.0).reshape(6, 2)
    found = in_batches(lambda x: x + 1, items, 4)
    assert torch.equal(torch.stack(found), items + 1)


@pytest.mark.parametrize("batch_size", [0, -1, float("nan"), "automatic"])
def test_batch_sizes_out_of_range_are_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        in_batches(double, [1], batch_size)


@pytest.mark.gpu
@needs_cuda
def test_batches_halve_on_a_real_cuda_device():
    device = resolve("cuda")
    item_bytes = free_memory_bytes(device) // 3
    seen = []

    def function(batch):
        seen.append(len(batch))
        large = torch.ones(len(batch), item_bytes, dtype=torch.uint8, device=device)
        return large[:, 0].tolist()

    assert in_batches(function, list(range(4)), 4, device=device) == [1, 1, 1, 1]
    assert seen == [4, 2, 2]


# ----------------------------------------------------------------- precision


def deterministic_state():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.fixture
def _keep_settings():
    before = deterministic_state()
    matmul = torch.get_float32_matmul_precision()
    convolution = torch.backends.cudnn.allow_tf32
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before[2:4]
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolution


@pytest.mark.usefixtures("_keep_settings")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    "before",
    [
        (False, False, False, False, None),
        (True, True, True, False, ":16:8"),
        (True, False, True, True, None),
    ],
)
def test_deterministic_sets_and_restores_everything(monkeypatch, before, fails):
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before[2:4]
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if before[4]:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", before[4])
    inside = None
    try:
        with deterministic():
            inside = deterministic_state()
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert inside == (True, False, False, True, ":4096:8")
    assert deterministic_state() == before


def test_deterministic_refuses_what_has_no_deterministic_form():
    pool = torch.nn.MaxUnpool2d(2)
    values, index = torch.ones(1, 1, 2, 2), torch.arange(4).reshape(1, 1, 2, 2)
    with deterministic(), pytest.raises(RuntimeError, match="deterministic"):
        pool(values, index)
    assert pool(values, index).sum() == 4


def precision_state():
    state = []
    if hasattr(torch.backends, "fp32_precision"):
        cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
        modules = [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]
        modules += [mkldnn.matmul, mkldnn.conv, mkldnn.rnn]
        state = [module.fp32_precision for module in modules]
    tf32 = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    return [*state, torch.get_float32_matmul_precision(), *tf32]


@pytest.mark.usefixtures("_keep_settings")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("convolution", [False, True])
@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
def test_exact_float32_sets_and_restores_everything(matmul, convolution, fails):
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolution
    before = precision_state()
    inside = None
    try:
        with exact_float32():
            inside = precision_state()
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert set(inside) <= {"ieee", "highest", False}
    assert inside[-3:] == ["highest", False, False]
    assert precision_state() == before


@pytest.mark.skipif(
    not hasattr(torch.backends, "fp32_precision"), reason="torch before 2.9"
)
def test_exact_float32_restores_settings_of_the_newer_kind():
    # Mixed settings make torch refuse to tell the older flags: keep what it tells.
    modules = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]
    before = [module.fp32_precision for module in modules]
    try:
        for module in modules:
            module.fp32_precision = "tf32"
        with exact_float32():
            assert [module.fp32_precision for module in modules] == ["ieee", "ieee"]
        assert [module.fp32_precision for module in modules] == ["tf32", "tf32"]
    finally:
        for module, precision in zip(modules, before, strict=True):
            module.fp32_precision = precision


def test_convolutions_and_products_work_inside_exact_float32():
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    w = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    with exact_float32():
        found = torch.nn.functional.conv2d(x, w)
        product = x[0, 0] @ x[0, 1]
    exact = torch.nn.functional.conv2d(x.double(), w.double())
    torch.testing.assert_close(found.double(), exact, rtol=2e-6, atol=0)
    exact = x[0, 0].double() @ x[0, 1].double()
    torch.testing.assert_close(product.double(), exact, rtol=2e-6, atol=0)


@pytest.mark.gpu
@needs_cuda
def test_products_on_cuda_are_exact_inside_and_free_outside():
    device = resolve("cuda")
    a = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ a.double()
    x = torch.rand(2, 64, 32, 32, generator=torch.Generator().manual_seed(1))
    w = torch.rand(64, 64, 3, 3, generator=torch.Generator().manual_seed(2))
    exact_conv = torch.nn.functional.conv2d(x.double(), w.double())
    with exact_float32():
        found = (a.to(device) @ a.to(device)).cpu().double()
        conv = torch.nn.functional.conv2d(x.to(device), w.to(device)).cpu().double()
    assert ((found - exact).abs() / exact).max() < 5e-6
    assert ((conv - exact_conv).abs() / exact_conv).max() < 5e-6
