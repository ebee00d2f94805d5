"""Threads, PyTorch's and the pool's: who runs what, after a fork, in workers, and with which numbers."""

from __future__ import annotations

import contextlib
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ops.scan_inputs import detached, image_inputs
from swin_umamba.ops.native import openmp, threads
from swin_umamba.ops.native.ss2d_scan import ss2d_scan_backward, ss2d_scan_forward
from swin_umamba.ops.native.threads import run_items, sum_in_order

PATIENCE = 300.0
"""Seconds after which what hangs is given up: far more than anything takes, however busy the machine is."""

needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)


needs_openmp = pytest.mark.skipif(
    openmp.parallel() is None, reason="PyTorch's threads take no work from others on this system"
)


@pytest.fixture(params=[pytest.param("PyTorch's threads", marks=needs_openmp), "pool"])
def three_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "pool":
        monkeypatch.setattr(openmp, "parallel", lambda: None)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield request.param
    torch.set_num_threads(before)


def scan_once() -> Tensor:
    torch.manual_seed(0)
    inputs = image_inputs(6, 7, d_inner=70, dtype=torch.float32)
    return ss2d_scan_forward(*detached(inputs))[0]


class Scans(Dataset):
    """A data set that runs the kernels, as a transform with a network in it would."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        return scan_once()


@pytest.mark.usefixtures("three_threads")
def test_every_item_runs_once() -> None:
    counts = [0] * 100
    barrier = threading.Barrier(3, timeout=PATIENCE)

    def work(item: int) -> None:
        if item < 3:
            barrier.wait()  # passes only if three threads are at work
        counts[item] += 1

    run_items(work, 100)
    assert counts == [1] * 100


def test_no_thread_is_started_where_pytorch_has_them(three_threads: str) -> None:
    barrier = threading.Barrier(3, timeout=PATIENCE)
    takers: list[set[int]] = [set(), set()]

    def work(item: int, call: int) -> None:
        barrier.wait()
        takers[call].add(threading.get_native_id())

    for call in (0, 1):
        torch.ones(2**20).exp()
        run_items(lambda item, call=call: work(item, call), 3)  # type: ignore[misc]
    assert takers[0] == takers[1]
    assert threading.get_native_id() in takers[0]
    started = {thread.native_id for thread in threading.enumerate() if "scan" in thread.name}
    assert bool(takers[0] & started) == (three_threads == "pool")


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_an_item_reaches_the_caller() -> None:
    def work(item: int) -> None:
        if item == 5:
            raise ValueError("item 5")

    with pytest.raises(ValueError, match="item 5"):
        run_items(work, 20)
    run_items(lambda item: None, 20)


@needs_openmp
def test_what_a_signal_raises_outside_of_all_items_reaches_the_caller() -> None:
    run, hook = openmp.parallel(), sys.unraisablehook
    assert run is not None
    ended: list[int] = []

    def task() -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        ended.append(threading.get_native_id())

    with pytest.raises(KeyboardInterrupt):
        run(task, 3)
    assert len(ended) == 2
    assert sys.unraisablehook is hook


@pytest.mark.usefixtures("three_threads")
def test_calls_from_several_threads_at_once() -> None:
    expected = scan_once()
    inputs = detached(image_inputs(6, 7, d_inner=70, dtype=torch.float32))
    alone = ss2d_scan_forward(*inputs)[0]
    results: list[Tensor | None] = [None] * 8

    def call(index: int) -> None:
        torch.set_num_threads(1 + index % 4)
        results[index] = ss2d_scan_forward(*inputs)[0]

    callers = [threading.Thread(target=call, args=(index,)) for index in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=PATIENCE)
    assert all(result is not None and torch.equal(result, alone) for result in results)
    assert torch.equal(scan_once(), expected)


@needs_fork
@pytest.mark.usefixtures("three_threads")
def test_forked_child_starts_its_own_threads() -> None:
    expected = scan_once()  # the pool of this process exists now
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        torch.set_num_threads(3)
        sender.send(scan_once().numpy())

    process = context.Process(target=child)
    process.start()
    try:
        assert receiver.poll(PATIENCE), "the child hangs"
        assert torch.equal(torch.from_numpy(receiver.recv()), expected)
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    "method", [pytest.param("fork", marks=needs_fork), pytest.param("spawn", marks=pytest.mark.slow)]
)
def test_data_loader_workers(method: str) -> None:
    expected = scan_once()
    loader = DataLoader(
        Scans(), batch_size=None, num_workers=1, multiprocessing_context=method, timeout=PATIENCE
    )
    scans = list(loader)
    assert len(scans) == 2
    assert all(torch.equal(scan, expected) for scan in scans)


def test_sum_in_order() -> None:
    terms = torch.randn(5, 3, 2)
    expected = (((terms[0] + terms[1]) + terms[2]) + terms[3]) + terms[4]
    assert torch.equal(sum_in_order(terms), expected)
    assert torch.equal(sum_in_order(torch.empty(0, 3)), torch.zeros(3))


def denormals_are_zero() -> bool:
    return sys.float_info.min / 2 == 0.0


@pytest.fixture(params=[False, True], ids=["kept before", "flushed before"])
def mode_of_caller(request: pytest.FixtureRequest) -> Iterator[bool]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    torch.set_flush_denormal(request.param)
    yield request.param
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("three_threads")
def test_items_flush_denormals_and_the_caller_does_not_notice(mode_of_caller: bool) -> None:
    flushed = [False] * 50

    def work(item: int) -> None:
        flushed[item] = denormals_are_zero()

    run_items(work, 50)
    assert all(flushed)
    assert denormals_are_zero() == mode_of_caller


def test_the_mode_is_restored_after_an_error(mode_of_caller: bool) -> None:
    def work(item: int) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        run_items(work, 1)
    assert denormals_are_zero() == mode_of_caller


def scan_that_dies_out() -> list[Tensor]:
    """A scan whose input is zero but in one pixel, and so is its gradient."""
    torch.manual_seed(0)
    inputs = detached(image_inputs(1, 600, batch=1, d_inner=16, dtype=torch.float32))
    inputs[0][:, :, 1:-1] = 0
    inputs[3] = torch.full((4, 16), 0.5)
    inputs[4] = torch.full((4, 16, 3), -0.5)
    y, states = ss2d_scan_forward(*inputs)
    grad_y = torch.zeros_like(y)
    grad_y[:, :, [0, -1]] = 1
    return [y, states, *ss2d_scan_backward(grad_y, states, *inputs)]


def count_denormals(tensors: list[Tensor]) -> int:
    smallest_normal = np.finfo(np.float32).tiny
    sizes = [np.abs(tensor.numpy()) for tensor in tensors]
    return sum(int(((size > 0) & (size < smallest_normal)).sum()) for size in sizes)


def test_states_that_die_out_become_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    torch.set_flush_denormal(False)
    y, states, *gradients = scan_that_dies_out()
    assert count_denormals([y, states, *gradients]) == 0
    monkeypatch.setattr(threads, "denormals_flushed", contextlib.nullcontext)
    kept = scan_that_dies_out()
    assert count_denormals(kept) > 1000
    for flushed, expected in zip([y, states, *gradients], kept, strict=True):
        torch.testing.assert_close(flushed, expected, rtol=1e-5, atol=1e-36)


@pytest.mark.usefixtures("mode_of_caller")
def test_the_thread_count_does_not_change_what_dies_out() -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(scan_that_dies_out())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_numpys_limits_are_measured_before_denormals_are_flushed() -> None:
    code = "import sys, swin_umamba.ops.native.threads; assert 'numpy.ma' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
