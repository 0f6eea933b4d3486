"""What stands for the GPU where numba's CUDA simulator is switched on (NUMBA_ENABLE_CUDASIM=1).

numba's simulator runs each thread of a block as a thread of Python, polls them all until they
block, wraps every array access in two objects, and knows no warps. This one keeps numba's device
arrays and its emulated functions and replaces the rest: threads are greenlets that give way at
barriers alone, so that a run is repeatable and takes a sixtieth of the time, and the warp
primitives that our kernels use are there (`syncwarp`, `shfl_sync`, `shfl_xor_sync`,
`ballot_sync`). After every barrier the threads run in the opposite order, which makes a missing
barrier show: what one thread was to write before another reads is then sometimes not written yet.
Shared memory starts as 0xA5 bytes, so that reading what nobody wrote shows as well.

What it cannot show: types (numba infers none here, a test compiles every kernel to PTX instead),
races between blocks, which run one after the other, and anything about time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import greenlet
import numba.cuda.simulator.cudadrv.devicearray
import numba.cuda.simulator.kernelapi
import numba.np.numpy_support
import numpy as np
from numba import types

kernelapi: Any = numba.cuda.simulator.kernelapi
numpy_support: Any = numba.np.numpy_support
DeviceArray: Any = numba.cuda.simulator.cudadrv.devicearray.FakeCUDAArray

WARP = 32
POISON = 0xA5

Group = tuple[str, int]
"""Who waits at a barrier together: ("block", 0) or ("warp", its number)."""


class _Thread(greenlet.greenlet):  # type: ignore[misc]
    """One thread of a block; it gives way at barriers, telling which one it has reached."""

    def __init__(self, run: Callable[[], None], block: _Block, number: int) -> None:
        super().__init__(run)
        self.block, self.number = block, number
        self.place = kernelapi.Dim3(number, 0, 0)
        self.turns = {"block": 0, "warp": 0}

    def wait(self, kind: str) -> None:
        self.parent.switch((kind, self.number // WARP if kind == "warp" else 0))

    def exchange(self, kind: str, value: Any) -> dict[int, Any]:
        """What all threads at this barrier brought, by their numbers."""
        group = self.number // WARP if kind == "warp" else 0
        turn = self.turns[kind] = self.turns[kind] + 1
        brought = self.block.brought
        brought.setdefault((kind, group, turn), {})[self.number] = value
        brought.pop((kind, group, turn - 2), None)  # all have read it, or could not be here
        self.wait(kind)
        return brought[kind, group, turn]


class _Block:
    """The threads of one block, their shared memory and what they exchange at barriers."""

    def __init__(self, threads: int, index: tuple[int, ...], shared: int) -> None:
        self.threads, self.index = threads, kernelapi.Dim3(*index)
        self.dynamic = np.full(shared, POISON, np.uint8)
        self.static: dict[Any, Any] = {}
        self.brought: dict[tuple[str, int, int], dict[int, Any]] = {}

    def run(self, function: Callable[..., None], arguments: list[Any]) -> None:
        def run_thread() -> None:
            with np.errstate(over="ignore"):  # integers of the device wrap without a word
                function(*arguments)

        live = [_Thread(run_thread, self, i) for i in range(self.threads)]
        waiting: dict[_Thread, Group] = {}
        while live:
            for thread in live:
                if thread not in waiting:
                    reached = thread.switch()
                    if not thread.dead:
                        waiting[thread] = reached
            live = [thread for thread in live if not thread.dead][::-1]
            released = set(_complete(live, waiting))
            if live and not released:
                raise RuntimeError(f"threads wait at different barriers: {set(waiting.values())}")
            waiting = {t: group for t, group in waiting.items() if group not in released}


def _complete(live: list[_Thread], waiting: dict[_Thread, Group]) -> Iterator[Group]:
    """The barriers that all live threads they are for have reached."""
    if live and all(waiting[thread][0] == "block" for thread in live):
        yield ("block", 0)
        return
    for warp in {thread.number // WARP for thread in live}:
        group = ("warp", warp)
        if all(waiting[thread] == group for thread in live if thread.number // WARP == warp):
            yield group


class _Shared:
    def array(self, shape: Any, dtype: Any) -> Any:
        """One array for each line of code that asks; size 0 is the launch's dynamic memory."""
        block = _thread().block
        kind = numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else np.dtype(dtype)
        if shape == 0:
            return block.dynamic[: block.dynamic.size // kind.itemsize * kind.itemsize].view(kind)
        caller = sys._getframe(1)
        key = (caller.f_code, caller.f_lineno)
        if key not in block.static:
            size = int(np.prod(shape)) * kind.itemsize
            block.static[key] = np.full(size, POISON, np.uint8).view(kind).reshape(shape)
        return block.static[key]


def _thread() -> Any:
    return greenlet.getcurrent()


class _Cuda(kernelapi.FakeCUDAModule):  # type: ignore[misc]
    """The names of `numba.cuda` that kernels use, for the thread that runs."""

    def __init__(self) -> None:
        super().__init__((1, 1, 1), (1, 1, 1), 0)
        self._shared = _Shared()

    @property
    def threadIdx(self) -> Any:
        return _thread().place

    @property
    def blockIdx(self) -> Any:
        return _thread().block.index

    @property
    def laneid(self) -> int:
        return int(_thread().number % WARP)

    def syncthreads(self) -> None:
        _thread().wait("block")

    def syncthreads_or(self, value: Any) -> int:
        return int(any(_thread().exchange("block", bool(value)).values()))

    def syncwarp(self) -> None:
        _thread().wait("warp")

    def shfl_sync(self, mask: int, value: Any, lane: int) -> Any:
        thread = _thread()
        return thread.exchange("warp", value)[thread.number // WARP * WARP + int(lane) % WARP]

    def shfl_xor_sync(self, mask: int, value: Any, lanes: int) -> Any:
        return self.shfl_sync(mask, value, self.laneid ^ lanes)

    def ballot_sync(self, mask: int, value: Any) -> Any:
        given = _thread().exchange("warp", bool(value))
        bits = np.uint32(sum(1 << number % WARP for number, yes in given.items() if yes))
        return bits.view(np.int32)  # signed, as numba types it

    def fma(self, a: float, b: float, c: float) -> float:
        """a * b + c rounded once: Dekker's exact product, and a sum that is rounded once."""
        a, b, c = float(a), float(b), float(c)
        high = a * b
        if not math.isfinite(high) or abs(high) < 1e-290:
            return high + c
        parts = []
        for value in (a, b):
            big = value * 134217729.0
            head = big - (big - value)
            parts.append((head, value - head))
        (a1, a2), (b1, b2) = parts
        low = ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2
        return math.fsum((high, low, c))


cuda = _Cuda()


class Kernel:
    """A kernel as `numba.cuda.jit` makes one: `kernel[blocks, threads, stream, shared](...)`."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.py_func = function
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., None]:
        blocks, threads, _, shared = configuration
        grid = tuple(blocks) if isinstance(blocks, tuple) else (blocks,)
        grid = (*grid, 1, 1)[:3]
        if not all(type(size) is int for size in grid):
            raise TypeError(f"blocks {blocks!r}: launches take Python's integers, no others")
        if min(grid) < 1 or max(grid[1:]) > 65_535 or not 1 <= threads <= 1024:
            raise ValueError(f"a launch of {blocks} blocks of {threads} threads")
        if shared > 49_152:
            raise ValueError(f"{shared} bytes of shared memory, above the 48 KB of any launch")

        def launch(*arguments: Any) -> None:
            given = [_on_device(argument) for argument in arguments]
            cuda.blockDim = kernelapi.Dim3(threads, 1, 1)
            cuda.gridDim = kernelapi.Dim3(*grid)
            for index in product(*map(range, grid[::-1])):
                _Block(threads, index[::-1], shared).run(self.py_func, given)

        return launch


def _on_device(argument: Any) -> Any:
    """The array behind a device array; a host array here would be read as device memory there."""
    if isinstance(argument, tuple):
        parts = [_on_device(part) for part in argument]
        return type(argument)(*parts) if hasattr(argument, "_fields") else tuple(parts)
    if isinstance(argument, DeviceArray):
        array = argument._ary
        if not array.flags.c_contiguous:
            raise ValueError("kernels take C-contiguous arrays")
        return array
    if isinstance(argument, np.ndarray):
        raise TypeError(f"a host array {argument.dtype}{list(argument.shape)} given to a kernel")
    return argument
